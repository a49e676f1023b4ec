"""A clock that moves only when told to."""

from __future__ import annotations

from bulk_issue.model import Moment


class ManualClock:
    def __init__(self, wall: float = 1_800_000_000.0, boot: float = 1_000.0, boot_id: str = "boot-1") -> None:
        self.wall, self.boot, self.boot_id = wall, boot, boot_id

    def now(self) -> Moment:
        return Moment(self.wall, self.boot, self.boot_id)

    def forward(self, seconds: float) -> Moment:
        self.wall += seconds
        self.boot += seconds
        return self.now()

    async def sleep(self, seconds: float) -> None:
        self.forward(seconds)
