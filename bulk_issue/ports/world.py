"""The outside world: the clock, Capillary's calls and record, pacing, and who watches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from bulk_issue.model import Answer, Identifier, Intent, JobId, Moment, Reading, Series, Tally, Unreadable


class Clock(Protocol):
    """Time, and waiting for it."""

    def now(self) -> Moment: ...

    async def sleep(self, seconds: float) -> None: ...


class Issuer(Protocol):
    """Sends issue requests."""

    async def issue(self, intent: Intent) -> Answer:
        """Send exactly one request, or none if `send_by` has passed; never raises for what the network does.

        `Fault.sent` is False only if surely no byte left. Raises `JobHalted` if credentials are refused before
        anything was sent.
        """
        ...

    async def reset(self) -> None:
        """Close all idle connections: what they might still deliver belongs to nobody."""
        ...


class Records(Protocol):
    """Reads the server's record; changes nothing there."""

    async def coupons(self, identifier: Identifier) -> Reading | Unreadable:
        """All coupons of one customer, every page; anything less is `Unreadable`."""
        ...

    async def coupons_by_bearer(self, identifier: Identifier) -> Reading | Unreadable:
        """The same by another reader, which tells nobody from no coupon: for both the reading is empty."""
        ...

    async def series(self, series_id: int) -> Series | Unreadable:
        """The series' facts; `Unreadable(NOT_FOUND)` if the server knows no such series."""
        ...


class Limiter(Protocol):
    """Paces this process; the ledger's permits keep the limit itself."""

    async def acquire(self, up_to: int) -> int:
        """Wait until at least one request may start; say how many may (1 … up_to)."""
        ...

    def steady(self) -> None:
        """Spread requests evenly for the next hour: the server's own count reached its limit."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What a run looks like from outside at one moment. No personal data."""

    job: JobId
    phase: str
    tally: Tally
    rows: int
    #: Issue requests per minute over the last minute, and the limit in the same unit.
    rate: float = 0.0
    limit: float = 0.0
    seconds_left: float | None = None
    #: One sentence worth telling once ("reading back is refused …"); empty most of the time.
    message: str = ""
    #: A person's own words that follow the message: for a screen, never for a log.
    words: str = ""


class Observer(Protocol):
    """Is told how a run goes."""

    def __call__(self, progress: Progress) -> None: ...
