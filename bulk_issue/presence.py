"""Being seen by the others who take part in a job, and seeing who isn't any more.

Whoever takes part beats every few seconds. Another member is lost when its beat stands still for longer than `SILENT`
by the clock of whoever looks: looks that failed, or came late, count for nothing. So neither a restart of the
database, nor anybody's clock, nor an observer that stood still itself makes others lost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from bulk_issue.errors import LedgerUnavailable
from bulk_issue.health import Stop, StopKind
from bulk_issue.ports import Budget, Clock, Hold, Member, Members, Muster, Part

#: Seconds between two beats.
BEAT = 5.0
#: Seconds between two looks at whether this run has to halt the job.
LOOK = 1.0
#: A member whose last beat stands for so many seconds is lost.
SILENT = 15.0
#: Beats further apart than this say nothing of what was between them.
GAP = 2 * BEAT
#: Why a run stops that would be the same for everybody; the rest may be this host's own trouble.
EVERYBODYS = frozenset({StopKind.HALTED, StopKind.FAILURES})


@dataclass(slots=True, kw_only=True)
class Presence:
    """One run's."""

    hold: Hold
    part: Part
    members: Members
    budget: Budget
    clock: Clock
    #: Why this run begins nothing more, if so.
    stopped: Callable[[], Stop | None]
    #: Told when nobody leads the job.
    on_leaderless: Callable[[], None] = lambda: None
    #: Told when a row that this run had left in doubt was settled.
    on_settled: Callable[[], None] = lambda: None
    _halted: bool = False
    #: By token: the beat that was seen last, and the boot second at which it was seen first.
    _seen: dict[str, tuple[float, float]] = field(default_factory=dict)
    _looked: float = 0.0
    _doubts: int = 0
    _leaderless: int = 0

    async def keep(self) -> None:
        """Beat and look until cancelled; raises `JobHeld` when others go on without this run."""
        while True:
            try:
                await self._beat()
            except LedgerUnavailable:  # whoever begins and records says so when it lasts
                self._seen.clear()  # nobody else could beat either
                await self.clock.sleep(LOOK)
                continue
            for _ in range(int(BEAT / LOOK)):
                await self.clock.sleep(LOOK)
                await self.tell()

    async def tell(self) -> None:
        """Halt the job if this run has stopped for a reason that is everybody's."""
        stop = self.stopped()
        if stop is None or stop.kind not in EVERYBODYS or self._halted:
            return
        try:
            await self.members.halt(self.hold, stop.because, stop.hint)
            self._halted = True
        except LedgerUnavailable:
            pass  # at the next look

    async def _beat(self) -> None:
        muster = await self.members.beat(self.hold, self.clock.now())
        if muster.doubts < self._doubts:
            self.on_settled()
        self._doubts = muster.doubts
        lead_is_lost = False
        for member in self._silent(muster):
            if await self.members.lose(self.hold, member, self.budget, self.clock.now()):
                lead_is_lost |= member.part is Part.LEAD
        # one that has just let go of the job, or is about to take it, isn't missed at once
        self._leaderless = 0 if muster.led else self._leaderless + 1
        if lead_is_lost or self._leaderless > 1:
            self.on_leaderless()

    def _silent(self, muster: Muster) -> list[Member]:
        """Members that this run has to go on without: the lead without shares, shares without the lead."""
        now = self.clock.now().boot
        before = self._seen if now - self._looked <= GAP else {}
        self._looked = now
        self._seen = {}
        for member in muster.others:
            beat, since = before.get(member.token, (member.beat, now))
            self._seen[member.token] = (member.beat, since if beat == member.beat else now)
        return [
            member
            for member in muster.others
            if member.part is not self.part and now - self._seen[member.token][1] > SILENT
        ]
