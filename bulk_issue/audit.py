"""Read settled rows once more: those that were ever in doubt at a job's end, and for `audit` all that have a coupon.

The rule: a coupon that a row's requests may have brought beside its own is recorded as excess; nothing else changes.
What can't be read is said to be unread, never to be missing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum, unique

from bulk_issue.candidates import second_coupons, shows
from bulk_issue.model import Identifier, JobId, Lineage, Reading
from bulk_issue.ports import Clock, Doubts, Issued
from bulk_issue.readers import Readers

#: Tries of a look-up, after which nobody looks again.
TRIES = 3
#: Seconds between two looks at whether look-ups may go on.
NAP = 5.0
#: Rows that are fetched at a time.
PAGE = 100
#: Rows of one kind that are named.
FIRST = 1000

#: Rows of a job in a fixed order, from behind one of them, so many at most.
Rows = Callable[[JobId, Lineage | None, int], Awaitable[Sequence[Issued]]]


@unique
class Seen(StrEnum):
    """What a row's coupon looks like in the record."""

    #: The record shows it.
    CONFIRMED = "confirmed"
    #: The record shows it, and another one that the row's requests may have brought.
    EXCESS = "excess"
    #: The record doesn't show it: it was revoked, or belongs to another customer now, or never was.
    MISSING = "missing"
    #: The record couldn't be read.
    UNREAD = "unread"


@dataclass(slots=True)
class Audited:
    """What `audit` saw: the rows by what their coupons look like."""

    counts: dict[Seen, int] = field(default_factory=lambda: dict.fromkeys(Seen, 0))
    #: The first rows whose coupon isn't simply confirmed.
    remarkable: dict[Seen, list[Lineage]] = field(default_factory=dict)

    def note(self, row: Lineage, seen: Seen) -> None:
        self.counts[seen] += 1
        if seen is not Seen.CONFIRMED and len(first := self.remarkable.setdefault(seen, [])) < FIRST:
            first.append(row)


@dataclass(slots=True, kw_only=True)
class Audit:
    """One more reading of a job's settled rows."""

    job: JobId
    doubts: Doubts
    readers: Readers
    clock: Clock
    generic: bool
    #: True when there is no more time, or a person asked to stop.
    enough: Callable[[], bool]

    async def doubted(self) -> None:
        """Read every settled row that was ever in doubt, as far as there is time."""
        async for before, issued in self._walk(self.doubts.doubted):
            await self._look(self.doubts.doubted, before, issued)

    async def issued(self, chosen: Callable[[int], bool]) -> Audited:
        """Read those rows with a coupon whose place (0 = the first) is chosen, as far as there is time."""
        audited, place = Audited(), 0
        async for before, issued in self._walk(self.doubts.with_coupon):
            if chosen(place):
                seen = await self._look(self.doubts.with_coupon, before, issued)
                audited.note(_row(issued), seen)
            place += 1
        return audited

    async def _walk(self, rows: Rows) -> AsyncIterator[tuple[Lineage | None, Issued]]:
        """Every row, with the one before it."""
        before: Lineage | None = None
        while found := await rows(self.job, before, PAGE):
            for issued in found:
                if self.enough():
                    return
                yield before, issued
                before = _row(issued)

    async def _look(self, rows: Rows, before: Lineage | None, issued: Issued) -> Seen:
        """Read one customer's record, and keep what it shows too much."""
        reading = await self._read(issued.identifier)
        if reading is None:
            return Seen.UNREAD
        await self.readers.learn(reading, issued.identifier)
        facts = self.readers.facts(reading, issued.identifier)
        boots = await self.readers.boots(issued.sent, issued.answered)
        codes: list[str] = []
        if not self.generic and second_coupons(issued, reading, facts, boots):
            # What the customer got for another row since the rows were fetched is nobody's excess.
            for now in await rows(self.job, before, 1):
                codes = second_coupons(now, reading, facts, boots) if _row(now) == _row(issued) else []
        for code in codes:
            because = "a second coupon appeared in Capillary's record"
            await self.doubts.excess(issued.job, issued.row, code, because, self.clock.now())
        if codes:
            return Seen.EXCESS
        if shows(issued, reading):
            return Seen.CONFIRMED
        return Seen.UNREAD if reading.by_bearer and facts is None else Seen.MISSING

    async def _read(self, identifier: Identifier) -> Reading | None:
        """A look-up that tells the time too; None if a few tries bring none."""
        for _ in range(TRIES):
            if self.readers.blind:
                return None
            while self.readers.resting and not self.enough():
                await self.clock.sleep(NAP)
            reading = await self.readers.read(identifier)
            if isinstance(reading, Reading) and reading.server_time is not None:
                return reading
        return None


def _row(issued: Issued) -> Lineage:
    return Lineage(job=issued.job, row=issued.row)
