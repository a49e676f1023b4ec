"""The ledger as people see it: read-only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from bulk_issue.model import Coupon, HeldBack, Identifier, Job, JobId, Lineage, Moment, Withheld
from bulk_issue.ports.jobs import JobSummary
from bulk_issue.states import RowState

#: What a row without a coupon offers.
NO_OFFER = Coupon(code="")
#: A worker that the engine hasn't seen for so many seconds is lost: its job is another's.
LOST_AFTER = 15.0


@dataclass(slots=True, kw_only=True)  # not frozen: a million are made, and frozen ones take twice as long
class ResultRow:
    """A row as people see it. For LINKED rows: state, coupon and errors are those of the linked row.

    The coupon is the one that its customer has: of HELD rows the one that was there before, of DUPLICATE rows the first
    row's, of SUPERSEDED rows that of the row that replaced it. Where it can't be told, `warnings` say why.
    """

    job: JobId
    number: int
    cells: tuple[str, ...] = field(repr=False)
    state: RowState
    #: The coupon: its code (empty if there is none), its ids, and in `offer` the rest of it, without these three.
    code: str = field(default="", repr=False)
    coupon_id: int | None = None
    customer_id: int | None = field(default=None, repr=False)
    offer: Coupon = NO_OFFER
    error_code: str = ""
    reason: str = ""
    warnings: tuple[str, ...] = ()
    attempts: int = 0
    #: Epoch seconds, UTC.
    issued_at: float | None = None
    request_id: str = ""
    #: For DUPLICATE: the row that has the claim; for SUPERSEDED: the one that replaced it; and how that stands.
    first: Lineage | None = None
    first_state: RowState | None = None
    #: The row, of whatever job, whose coupon this is; None for a customer without one.
    bearer: Lineage | None = None

    @property
    def coupon(self) -> Coupon | None:
        """The coupon as one value."""
        if not self.code:
            return None
        return replace(self.offer, code=self.code, coupon_id=self.coupon_id, customer_id=self.customer_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What the ledger knows of a job's requests."""

    requests: int
    responses_429: int
    lookups: int
    excess: int
    #: The most requests in any window of the account's `per` seconds, by our own clock.
    worst_window: int
    #: When the first and the last of these requests were begun, epoch seconds.
    first_sent: float | None = None
    last_sent: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubtful:
    """A row in doubt as people see it. Times are epoch seconds."""

    job: JobId
    row: int
    identifier: Identifier
    sent: float
    #: When a proven reader first found nothing, if it did.
    empty_since: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """One run of a job, as the ledger remembers it. Times are epoch seconds."""

    who: str
    pid: int
    host: str
    version: str
    started: float
    #: None while it goes on, and for one that was killed.
    ended: float | None
    #: None while it goes on, and for one that was cut short.
    exit_code: int | None
    state: str
    because: str
    #: Whether it holds the job, as far as the ledger knows: one that was killed does until another takes over.
    held: bool
    #: Rows that it has on the wire, or left there when it was cut short.
    in_flight: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerFacts:
    """A worker process, as the engine knows it."""

    account: str
    host: str
    pid: int
    #: When it came, epoch seconds.
    since: float
    #: Seconds since the engine saw it last, by the database's clock.
    seen_ago: float
    #: The job that it holds; None while it waits.
    job: JobId | None

    @property
    def lost(self) -> bool:
        """Whether its jobs are others' by now."""
        return self.seen_ago > LOST_AFTER


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulse:
    """A stretch of time, by its begin (epoch seconds): requests begun in it, and how many of them brought a coupon."""

    at: float
    requests: int
    issued: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """Which rows have a coupon of one customer and series, or may get one just now."""

    #: Of this occasion; and of a customer who looks like this one, where there is none.
    by: Lineage | None = None
    alike: Lineage | None = None
    #: Of other occasions, by their names.
    elsewhere: Mapping[str, Lineage] = field(default_factory=dict)


class Views(Protocol):
    """Read-only and synchronous: for the sink and for status. Never blocks a running job."""

    def results(self, job: JobId, states: frozenset[RowState] | None = None) -> Iterator[ResultRow]:
        """Every row in input order (or those whose shown state is among `states`), streamed."""
        ...

    def traffic(self, job: JobId, per: float, since: float = 0.0) -> Traffic:
        """The requests of the job's runs, those begun before `since` (epoch seconds) left out."""
        ...

    def served(self, org: str, series_id: int, again: str, keys: Sequence[str]) -> Mapping[str, Served]:
        """Which of these identifier keys are claimed, and by which rows. At most some thousands at a time."""
        ...

    def held_back(self, job: JobId) -> Mapping[Withheld, HeldBack]:
        """The rows that a person has to say something about before they are sent, by reason."""
        ...

    def origins(self, rows: Sequence[Lineage]) -> Mapping[Lineage, tuple[str, Lineage]]:
        """The identifier key of each of these rows and whose it is: its own, or that of the row it was run again from.

        Rows of which this ledger knows no key are left out.
        """
        ...

    def parents(self, job: JobId) -> Sequence[JobId]:
        """The jobs whose rows this job's records are, or replace; and theirs, and so on."""
        ...

    def reruns(self, job: JobId) -> Sequence[JobId]:
        """The jobs that ran failures of this job again; and theirs, and so on."""
        ...

    def customers(self, job: JobId) -> Iterator[tuple[int, str | None, tuple[str, ...]]]:
        """Number, identifier key (None where there is none) and cells of every row in input order, streamed."""
        ...

    def known(self) -> Sequence[Job]:
        """Every job, newest first, its rows uncounted."""
        ...

    def jobs(self) -> Sequence[JobSummary]:
        """How every job stands, newest first."""
        ...

    def job(self, job: JobId) -> JobSummary | None:
        """How one job stands; None if there is no such job."""
        ...

    def doubtful(self, job: JobId, limit: int) -> Sequence[Doubtful]:
        """Rows in doubt, those given up longest ago first."""
        ...

    def runs(self, job: JobId) -> Sequence[RunFacts]:
        """The job's runs, the last first."""
        ...

    def workers(self) -> Sequence[WorkerFacts]:
        """All workers of this ledger, the oldest first; lost ones as long as the engine has them on record."""
        ...

    def pulse(self, job: JobId, stretches: int) -> Sequence[Pulse]:
        """The job's requests over time, in at most so many stretches of one length; those without any are left out."""
        ...

    def shares(self, account: str, now: Moment) -> Mapping[JobId, int]:
        """Who has how many of the account's permits now."""
        ...

    def reasons(self, job: JobId) -> Sequence[tuple[str, str, int]]:
        """(error code, reason, rows) of the rejected and invalid rows, most frequent first."""
        ...

    def pending(self, job: JobId) -> int:
        """How many rows this job has to send, as `Work.pending`."""
        ...

    def rejected(self, job: JobId) -> Mapping[str, int]:
        """By error code, how many rows `Jobs.retry` would put back to be sent: who is left out isn't."""
        ...

    def cancelled(self, job: JobId) -> int:
        """How many rows `Jobs.put_back` would put back to be sent: who is left out isn't."""
        ...
