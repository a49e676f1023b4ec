"""What the services need of the world, as protocols. The docstrings are the guarantees that adapters keep.

The ledger has four faces, each with its own protocol: `Jobs` (what there is), `Work` (who may send what), `Doubts`
(rows that wait for the server's record) and `Views` (read-only, for files and status). Every method of the first three
is one transaction: on return it is on disk (`synchronous=FULL`), on an exception nothing of it is.
A write that the ledger refuses raises `LedgerUnavailable`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum, unique
from typing import Protocol

from bulk_issue.model import (
    Answer,
    Coupon,
    Decision,
    Identifier,
    IdentifierKind,
    Intent,
    Job,
    JobId,
    JobSpec,
    JobState,
    Lineage,
    Moment,
    Outcome,
    Reading,
    Row,
    Series,
    Tally,
    Unreadable,
)
from bulk_issue.states import Event, RowState

# --- the outside world ------------------------------------------------------------------------------------------


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


class Observer(Protocol):
    """Is told how a run goes."""

    def __call__(self, progress: Progress) -> None: ...


# --- the ledger -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The rate limit of an account: at most `rate` requests in any window of `per` seconds."""

    account: str
    rate: int
    per: float
    #: How long a permit whose request got no answer stays taken, besides `per`: time-out + grace.
    unanswered: float
    #: How long after its intent a request may still be under way: until it may leave no more, and the time-out.
    lingers: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """The right to run a job, from `Jobs.hold` until `Jobs.release` or the process' death."""

    job: JobId
    #: Unique to this run; stands in every row and attempt that it begins.
    token: str
    #: Rows that a dead holder had left in flight and that are in doubt now.
    recovered: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSummary:
    """A job with its rows by state, for lists."""

    job: Job
    tally: Tally
    #: Reruns of its failures that work rows of it which may still change: going on is theirs.
    waiting_in: Sequence[JobId] = ()


class Jobs(Protocol):
    """What jobs there are, and what people do to them."""

    async def find(self, job: JobId) -> Job | None: ...

    async def register(
        self, spec: JobSpec, chunks: Iterable[Sequence[Row]], blank: Callable[[], int], now: Moment
    ) -> Job:
        """Write a job and its rows in one pass over `chunks`, a commit a chunk; READY only when all are in.

        What an interrupted registration of the same job left behind is removed first. A row whose `lineage` names a
        REJECTED row of a known job with the same identifier key becomes LINKED to it, and that row is PENDING again,
        queued for this job; a row with a corrected identifier makes the parent's row SUPERSEDED. Lineage to a job
        that this ledger doesn't know raises `LedgerError`. `blank` is asked after the last chunk.
        """
        ...

    async def unregister(self, job: JobId) -> bool:
        """Forget a job that never sent a row; False, and nothing changed, if it ever did."""
        ...

    async def hold(self, job: JobId, budget: Budget, now: Moment) -> Hold:
        """Become the job's holder and RUNNING; raises `JobHeld` naming the pid if a living process is.

        Rows that a dead holder left IN_FLIGHT are IN_DOUBT on return, given up at `now`. The budget becomes the
        account's for all processes; `ConfigError` if another living run uses the account with other values.
        """
        ...

    async def release(
        self, hold: Hold, state: JobState, because: str, now: Moment, exit_code: int | None = None
    ) -> None:
        """Let the job go; its run is on record with its end. `exit_code` is None where the run was cut short."""
        ...

    async def retry(self, job: JobId, codes: Sequence[str]) -> int:
        """REJECTED rows (with one of `codes`, or all if empty) are PENDING again with fresh attempts; says how many.

        Those of other jobs that records of this one are LINKED to are among them.
        """
        ...

    async def cancel(self, job: JobId) -> int:
        """PENDING rows are CANCELLED and the job with them; says how many. Rows in doubt stay so."""
        ...

    async def account(self, account: str, org: str | None = None) -> str | None:
        """The org that an account belongs to; remembers `org` if one is given and none was known."""
        ...

    async def orgs(self, host: str) -> frozenset[str]:
        """The orgs that accounts of this host are known to belong to."""
        ...

    def running_elsewhere(self, job: JobId) -> bool:
        """Whether another living process runs the job."""
        ...


@unique
class Wait(StrEnum):
    """Why `begin` gave fewer intents than asked for."""

    #: Nothing is pending: the queue is drained.
    DRAINED = "drained"
    #: Every permit is taken, or the account is paused.
    PERMITS = "permits"
    #: What is pending isn't due yet, or waits for another row of the same customer.
    DUE = "due"


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """What one `begin` committed."""

    intents: Sequence[Intent]
    #: Rows that lost their claim and are DUPLICATE now.
    duplicates: int = 0
    #: Why there are fewer than asked for; None if there aren't.
    wait: Wait | None = None
    #: Seconds after which asking again makes sense (0 for DRAINED).
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What an answer does to its row and permit."""

    intent: Intent
    event: Event
    outcome: Outcome
    #: When the answer arrived or the request was given up.
    at: Moment
    #: False if surely nothing left: the permit is free at once.
    left: bool
    #: True if there was an answer: the permit is free `per` after it. Otherwise it stays taken as `Budget` says.
    answered: bool
    #: True if this attempt counts against the row's bound.
    counts: bool
    #: For NOT_PROCESSED: wall second before which the row isn't sent again.
    due: float = 0.0
    #: For UNCLEAR: what absence from the record would make of the row.
    if_absent: RowState = RowState.PENDING


@unique
class Landed(StrEnum):
    """What became of a settlement."""

    #: The row moved as the settlement says.
    LANDED = "landed"
    #: The row had moved on; the attempt keeps the answer, nothing else changed.
    STALE = "stale"
    #: The row had moved on and this answer carries a coupon: it is recorded as excess.
    EXCESS = "excess"


class Work(Protocol):
    """Who may send what, now."""

    async def begin(self, hold: Hold, n: int, budget: Budget, now: Moment, send_within: float) -> Begun:
        """Commit up to `n` intents with their claims, permits and attempts, in the order in which rows are due.

        No intent without a permit: at most `rate` permits of the account are taken at any moment, by all processes.
        No intent without a claim: a row whose customer is claimed by another becomes DUPLICATE of that row.
        A row whose customer has a row of the same series IN_FLIGHT or IN_DOUBT under another `again` name waits.
        """
        ...

    async def finish(self, settlements: Sequence[Settlement]) -> Sequence[Landed]:
        """Commit what answers mean; one verdict for each, in order. Guarded by state, attempt and holder.

        A late ISSUED still lands on its own row while that is IN_DOUBT with the same attempt. With ISSUED the
        coupon's customer id and identifiers are claimed too; if another row claimed one of them with another code,
        that is recorded as excess.
        """
        ...

    async def pause(self, account: str, seconds: float, now: Moment) -> None:
        """No permit of the account is given for that long, in any process; the longest pause wins."""
        ...

    async def pending(self, job: JobId) -> int:
        """How many rows this job has to send: its own, and those that a failures file queued for it."""
        ...

    async def unfinished(self, job: JobId) -> int:
        """How many of the rows that this job works may still change without a person's doing."""
        ...

    async def waiting_in(self, job: JobId) -> Sequence[JobId]:
        """The reruns of this job's failures that work rows of it which may still change."""
        ...

    async def tally(self, job: JobId) -> Tally:
        """Rows by state of the job; a LINKED row counts as the row that it is linked to."""
        ...

    async def firsts(self, job: JobId) -> Tally:
        """The job's DUPLICATE rows by the state of the row that has their claim."""
        ...

    async def excess(self, job: JobId) -> int:
        """How many excess coupons are recorded for the job's rows."""
        ...


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

    async def decide(self, decisions: Sequence[Decision], who: str, why: str, now: Moment) -> int:
        """A person's decisions on rows in doubt: all of them, or none.

        Says how many rows that settled: the others had been settled already. Raises `LedgerError` for a row that is on
        the wire, or unknown.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultRow:
    """A row as people see it. For LINKED rows: state, coupon and errors are those of the linked row."""

    job: JobId
    number: int
    cells: tuple[str, ...] = field(repr=False)
    state: RowState
    coupon: Coupon | None = None
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulse:
    """A stretch of time, by its begin (epoch seconds): requests begun in it, and how many of them brought a coupon."""

    at: float
    requests: int
    issued: int


class Views(Protocol):
    """Read-only and synchronous: for the sink and for status. Never blocks a running job."""

    def results(self, job: JobId, states: frozenset[RowState] | None = None) -> Iterator[ResultRow]:
        """Every row in input order (or those whose shown state is among `states`), streamed."""
        ...

    def traffic(self, job: JobId, per: float, since: float = 0.0) -> Traffic:
        """The requests of the job's runs, those begun before `since` (epoch seconds) left out."""
        ...

    def served(self, org: str, series_id: int, again: str, keys: Sequence[str]) -> Mapping[str, Lineage]:
        """Which of these identifier keys are claimed, and by which row. At most some thousands at a time."""
        ...

    def parents(self, job: JobId) -> Sequence[JobId]:
        """The jobs whose rows this job's records are, or replace."""
        ...

    def reruns(self, job: JobId) -> Sequence[JobId]:
        """The jobs that ran failures of this job again, in the order in which they did."""
        ...

    def customers(self, job: JobId) -> Iterator[tuple[str | None, tuple[str, ...]]]:
        """The identifier key (None where there is none) and the cells of every row in input order, streamed."""
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

    def pulse(self, job: JobId, stretches: int) -> Sequence[Pulse]:
        """The job's requests over time, in at most so many stretches of one length; those without any are left out."""
        ...

    def shares(self, account: str, now: Moment) -> Mapping[JobId, int]:
        """Who has how many of the account's permits now."""
        ...

    def reasons(self, job: JobId) -> Sequence[tuple[str, str, int]]:
        """(error code, reason, rows) of the rejected and invalid rows, most frequent first."""
        ...


class Ledger(Protocol):
    """The durable record of jobs, rows, attempts, claims and permits: the only truth."""

    @property
    def jobs(self) -> Jobs: ...

    @property
    def work(self) -> Work: ...

    @property
    def doubts(self) -> Doubts: ...

    @property
    def views(self) -> Views: ...

    async def close(self) -> None: ...
