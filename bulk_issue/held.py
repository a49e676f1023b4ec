"""Read which coupon the customer of a held row has, so that the row can be mailed.

The rule: a code is taken only from a reader that has proven itself, and only where the record says which one it is: a
coupon that can still be used, the newest of them. Nothing is sent, nothing is claimed, and no row moves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum, auto

from bulk_issue.candidates import as_coupon
from bulk_issue.model import Coupon, IdentifierKind, JobId, Lineage, Reading, RecordedCoupon, Unreadable
from bulk_issue.ports import Clock, Held, HeldRow
from bulk_issue.readers import Readers
from bulk_issue.wire import validity_end

#: Rows that are fetched at a time.
PAGE = 100
#: Look-ups in a row that say nothing, after which nobody asks on.
PATIENCE = 5
#: Seconds between two looks at whether look-ups may go on.
NAP = 1.0

NONE_SHOWN = "the customer has a coupon already, and Capillary's record shows none of this series"
NONE_USABLE = "the customer's coupons of this series are redeemed or have expired"
NO_SERIES = "the customer has a coupon already, and Capillary's record doesn't say of which series"
NO_NEWEST = "the customer has several coupons of this series, and Capillary's record doesn't say which is the newest"


def current(reading: Reading, series_id: int, now: float) -> Coupon | str:
    """The newest coupon of the series that can still be used (`now`: epoch seconds); otherwise why there is none."""
    ours = [coupon for coupon in reading.coupons if coupon.series_id == series_id]
    if not ours:
        return NO_SERIES if any(coupon.series_id is None for coupon in reading.coupons) else NONE_SHOWN
    usable = [coupon for coupon in ours if not coupon.redemption_count and not _expired(coupon, now)]
    if not usable:
        return NONE_USABLE
    if len({coupon.code for coupon in usable}) > 1:
        if any(coupon.created is None for coupon in usable):
            return NO_NEWEST
        usable.sort(key=_age, reverse=True)
        if _age(usable[0]) == _age(usable[1]) and usable[0].code != usable[1].code:
            return NO_NEWEST
    coupon = as_coupon(usable[0], reading)
    return replace(coupon, warnings=coupon.warnings[1:])  # nothing was settled


def _age(coupon: RecordedCoupon) -> tuple[float, int]:
    return coupon.created or 0.0, coupon.coupon_id or 0


def _expired(coupon: RecordedCoupon, now: float) -> bool:
    end = validity_end(coupon.valid_till_date_time, coupon.valid_till)
    return end is not None and end < now


class _Said(Enum):
    """What one look-up said."""

    KEPT = auto()
    #: Nothing that can be kept.
    NOTHING = auto()
    #: The reader of this kind of identifier has proven nothing, and can't.
    UNPROVEN = auto()


@dataclass(slots=True, kw_only=True)
class HeldCodes:
    """One run's look-ups for held rows. They share the limit of look-ups with those that settle rows in doubt."""

    job: JobId
    held: Held
    readers: Readers
    clock: Clock
    #: True when there is no more time, or a person asked to stop.
    enough: Callable[[], bool]
    #: Told, once, before the first look-up.
    on_begin: Callable[[], None] = lambda: None
    _unproven: set[IdentifierKind] = field(default_factory=set)

    async def read(self) -> None:
        """Look up the customer of each held row of whose coupon nothing is kept, as far as there is time.

        Rows of which nothing could be read are read by the next call.
        """
        behind: Lineage | None = None
        silent = 0
        while rows := await self.held.unread(self.job, behind, PAGE):
            if behind is None:
                self.on_begin()
            for row in rows:
                behind = Lineage(job=row.job, row=row.row)
                if row.identifier.kind in self._unproven:
                    continue
                while self.readers.resting and not self.enough():
                    await self.clock.sleep(NAP)
                if self.enough() or self.readers.blind or silent >= PATIENCE:
                    return
                said = await self._look(row)
                silent = silent + 1 if said is _Said.NOTHING else 0
                if said is _Said.UNPROVEN:
                    self._unproven.add(row.identifier.kind)

    async def _look(self, row: HeldRow) -> _Said:
        """One customer's record."""
        who = row.identifier
        reading = await self.readers.read(who)
        if isinstance(reading, Unreadable) or reading.names_nobody:
            return _Said.NOTHING
        if self.readers.facts(reading, who) is None:
            await self.readers.learn(reading, who)
            if self.readers.facts(reading, who) is None:
                return _Said.UNPROVEN
        now = self.clock.now()
        found = current(reading, row.series_id, now.wall if reading.server_time is None else reading.server_time)
        if isinstance(found, Coupon):
            await self.held.keep(row, found, "", now)
        else:
            await self.held.keep(row, None, found, now)
        return _Said.KEPT
