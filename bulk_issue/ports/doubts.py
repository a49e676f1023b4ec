"""Rows that wait for the server's record, and what its readers have shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from bulk_issue.model import Coupon, Decision, Identifier, IdentifierKind, JobId, Lineage, Moment
from bulk_issue.states import Event, RowState


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """A row in doubt, and all that is needed to settle it."""

    job: JobId
    row: int
    attempt: int
    spent: int
    series_id: int
    identifier: Identifier
    #: The earliest doubtful attempt's intent, and the moment when the last one was given up: in the boot, and on the
    #: host, of whoever holds the job now (taking it over is giving up).
    sent: Moment
    given_up: Moment
    if_absent: RowState
    #: Codes, in lower case, that the ledger knows for other rows of this customer.
    known_codes: frozenset[str] = field(repr=False)
    #: When a proven reader first found nothing, if it did.
    empty_since: Moment | None = None
    #: Why it is in doubt, in words that name nobody.
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A row whose coupon a reply gave, to read back."""

    job: JobId
    row: int
    series_id: int
    identifier: Identifier
    code: str = field(repr=False)
    #: When its first request was begun, and when the last one was answered or given up.
    sent: Moment
    answered: Moment
    #: Codes, in lower case, that the ledger knows for other rows of this customer.
    known_codes: frozenset[str] = field(default=frozenset(), repr=False)
    #: True if it was ever in doubt: then a request of it may have taken effect long after the answer.
    doubted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderFacts:
    """What a reader has shown of itself in this job by reading back a coupon that a reply had given."""

    endpoint: str
    kind: IdentifierKind
    #: Seconds that the record's clock is ahead of the server's `Date`; None while unmeasured.
    offset: float | None = None
    #: Which of the record's date fields the offset belongs to (`RecordedCoupon.true_utc`).
    true_utc: bool = False
    #: The store that our coupons are recorded for.
    issued_at: str | None = None


class Doubts(Protocol):
    """Rows that wait for the server's record, and what its readers have proven."""

    async def due(self, job: JobId, before: Moment, limit: int) -> Sequence[Doubt]:
        """Rows IN_DOUBT that were given up before that moment, longest ago first."""
        ...

    async def next_due(self, job: JobId) -> Moment | None:
        """When the row that was given up longest ago was given up; None if no row is in doubt."""
        ...

    async def note(self, doubt: Doubt, finding: str, now: Moment, *, empty: bool) -> None:
        """Log a look-up that settled nothing; `empty` keeps the first time a proven reader found nothing."""
        ...

    async def settle(
        self,
        doubt: Doubt,
        event: Event,
        coupon: Coupon | None,
        because: str,
        at: float | None,
        now: Moment,
        *,
        shared: bool = False,
    ) -> bool:
        """FOUND, ABSENT, ABSENT_HELD or ABSENT_REJECTED, if the row is still IN_DOUBT with that attempt; says so.

        `at` is the record's own time of the coupon. A code that another row of the same customer has is refused,
        unless it is `shared` (GENERIC series).
        """
        ...

    async def customer(self, lineage: Lineage) -> Identifier | None:
        """Whom a row names; None if there is no such row, or it names nobody."""
        ...

    async def decide(
        self, decisions: Sequence[Decision], who: str, why: str, now: Moment, *, shared: bool = False
    ) -> int:
        """A person's decisions on rows in doubt: all of them, or none.

        Says how many rows that settled: the others had been settled already. Raises `LedgerError` for a row that is on
        the wire, or may be by a process that is lost, or is unknown; and `ConfigError` for a code that another customer
        of the series has, unless it is `shared` (GENERIC series).
        """
        ...

    async def boots(self, account: str) -> Mapping[str, float]:
        """By boot id, the server's epoch seconds at second 0 of that boot's clock, as far as they were kept."""
        ...

    async def keep_boot(self, account: str, boot_id: str, zero: float) -> None:
        """Keep that of one boot; what is kept already stays."""
        ...

    async def readers(self, job: JobId, account: str) -> Sequence[ReaderFacts]:
        """What this account's readers have proven in this job."""
        ...

    async def prove(self, job: JobId, account: str, facts: ReaderFacts, now: Moment) -> None: ...

    async def issued(self, job: JobId, kind: IdentifierKind, limit: int) -> Sequence[Issued]:
        """Rows that a reply gave a coupon to and that were never in doubt, the last in the file first.

        Of this job; while that has none, of the newest other job of the same series and account that has some.
        """
        ...

    async def doubted(self, job: JobId, behind: Lineage | None, limit: int) -> Sequence[Issued]:
        """Settled rows, among those that this job works, that were ever in doubt, for the last read, in a fixed order.

        They come with their `known_codes`; those up to the row `behind` are left out.
        """
        ...

    async def with_coupon(self, job: JobId, behind: Lineage | None, limit: int) -> Sequence[Issued]:
        """ISSUED rows of the job, and those that its records are LINKED to, in a fixed order; see `doubted`."""
        ...

    async def excess(self, job: JobId, row: int, code: str, because: str, now: Moment) -> None:
        """Record a coupon that no row should have."""
        ...
