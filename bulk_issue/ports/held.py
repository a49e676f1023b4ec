"""Rows whose customers had a coupon before, and which one that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from bulk_issue.model import Coupon, Identifier, JobId, Lineage, Moment


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldRow:
    """A HELD row whose customer's coupon isn't on record."""

    job: JobId
    row: int
    series_id: int
    identifier: Identifier


class Held(Protocol):
    """Which coupon the customer of a HELD row has: kept for people. It is no claim on that code."""

    async def unread(self, job: JobId, behind: Lineage | None, limit: int) -> Sequence[HeldRow]:
        """HELD rows, among those that this job works, of whose coupon nothing is kept; in a fixed order.

        Those up to the row `behind` are left out.
        """
        ...

    async def keep(self, row: HeldRow, coupon: Coupon | None, because: str, now: Moment) -> None:
        """Keep what the record shows: the coupon, or `because` there is none to give; what was kept is replaced."""
        ...
