"""The values that travel between the parts: frozen, typed, without behaviour that needs IO.

Times are `Moment`s. Money and ids are text or int, never float. Whatever names a customer or is worth money
(identifier values, coupon codes, bodies) stays out of every `repr`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum, unique
from typing import NewType

from bulk_issue.states import RowState

JobId = NewType("JobId", str)


@dataclass(frozen=True, slots=True)
class Moment:
    """One instant on two clocks: UTC for people and servers, and the boot clock, which nobody can set.

    `wall` is seconds since the epoch; `boot` is seconds on CLOCK_BOOTTIME (it counts suspend), meaningful only
    together with `boot_id`.
    """

    wall: float
    boot: float
    boot_id: str

    def since(self, earlier: Moment) -> float:
        """Seconds from `earlier` to here: by the boot clock where both are of one boot, otherwise by the wall.

        Somebody may have set the wall clock meanwhile, or it is another host's: good for people, never to decide by.
        """
        if self.boot_id == earlier.boot_id:
            return self.boot - earlier.boot
        return self.wall - earlier.wall


@unique
class IdentifierKind(StrEnum):
    """The ways to name a customer, in the order in which a row's identifier is chosen."""

    ID = "id"
    EXTERNAL_ID = "externalId"
    MOBILE = "mobile"
    EMAIL = "email"


@dataclass(frozen=True, slots=True)
class Identifier:
    """How a row names its customer: what is sent, and the key under which duplicates are found."""

    kind: IdentifierKind
    #: The exact text that is sent (`id` goes out as a JSON integer).
    value: str = field(repr=False)
    #: The normalised form with its kind, e.g. `mobile:919800000001`.
    key: str = field(repr=False)

    @property
    def masked(self) -> str:
        """For people and logs: the kind and at most the last two characters."""
        return f"{self.kind} …{self.value[-2:]}" if len(self.value) > 4 else f"{self.kind} …"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Why a record names no usable customer: in plain words, with the remedy."""

    code: str
    reason: str
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """The row of an earlier job that a record of a failures file came from."""

    job: JobId
    row: int


@unique
class Alike(StrEnum):
    """What a person says of all look-alikes of a job."""

    #: They are other people: send to them.
    SEND = "send"
    #: They are the same people: leave them out.
    SKIP = "skip"


@unique
class Removed(StrEnum):
    """What becomes of customers who were removed from the file of an unfinished job."""

    #: They are sent to as well.
    FINISH = "finish"
    #: They are sent nothing, and their rows are cancelled.
    DROP = "drop"
    #: Their rows stay pending until somebody says which.
    HOLD = "hold"


@unique
class Withheld(StrEnum):
    """Why a row that names a customer is not to be sent, whatever its state; what `_error_code` shows."""

    #: The suppression list names its customer.
    EXCLUDED = "excluded"
    #: The list names somebody who looks like its customer: held back until a person says what they are.
    ALIKE_EXCLUDED = "alike-excluded"
    #: A customer who looks like its own was served: held back likewise.
    ALIKE_SERVED = "alike-served"
    #: Another content of the file has the customer no more: held back likewise.
    REMOVED = "removed"


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """Who is left out of a job, as its record has it. It is no part of how the job's records are read."""

    #: The suppression list: where it is, and the digest of what was applied last. Empty: there is none.
    path: str = ""
    sha256: str = ""
    #: None: nobody has said yet.
    alike: Alike | None = None


#: Nobody is left out.
NOBODY = LeftOut()


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldBack:
    """Rows that are held back for one reason."""

    rows: int
    #: The numbers of the first few.
    first: tuple[int, ...]


def only_alike(held: Mapping[Withheld, HeldBack]) -> Mapping[Withheld, HeldBack]:
    """The rows that wait for a word on who their customers are; those who were removed from a file wait for another."""
    return {why: rows for why, rows in held.items() if why is not Withheld.REMOVED}


def rows_in(held: Mapping[Withheld, HeldBack]) -> int:
    """How many rows are held back."""
    return sum(each.rows for each in held.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A person's word on one row in doubt."""

    lineage: Lineage
    #: The coupon that the customer got; None if none was issued.
    code: str | None = field(repr=False)


@dataclass(slots=True, kw_only=True)  # not frozen, as Row
class Record:
    """One data record as it stands in the file. `number` 1 is the first after the header."""

    number: int
    #: Every cell as text, without the columns that we added to a failures file.
    cells: tuple[str, ...] = field(repr=False)
    lineage: Lineage | None = None
    #: Set where the reader itself found the record unusable (ragged, hidden).
    problem: Problem | None = None
    #: Where it stands in a sheet: the row's number, and how many columns are left of its first cell. 0: in no sheet.
    line: int = 0
    left: int = 0
    #: Cells that the file itself shows to be damaged: column (from 0) -> code of the problem.
    damage: Mapping[int, str] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)  # not frozen: a million are made, and frozen ones take three times as long
class Row:
    """A record that was judged: either it names a customer, or it has a problem.

    One that names a customer may be withheld all the same; `like` is then the row that its customer looks like.
    """

    number: int
    cells: tuple[str, ...] = field(repr=False)
    identifier: Identifier | None
    problem: Problem | None = None
    lineage: Lineage | None = None
    #: The address of the cell that has the problem, as a spreadsheet names it (`B17`); empty where there is none.
    cell: str = ""
    withheld: Withheld | None = None
    like: Lineage | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Coupon:
    """Every documented field of a successful reply. Numbers stay as the text of the JSON."""

    code: str = field(repr=False)
    series_id: int | None = None
    description: str = ""
    discount_code: str = ""
    valid_till: str = ""
    valid_till_date_time: str = ""
    discount_type: str = ""
    discount_value: str = ""
    discount_upto: str = ""
    discount_on: str = ""
    detailed_info: str = ""
    redemption_count: int | None = None
    coupon_id: int | None = None
    customer_id: int | None = field(default=None, repr=False)
    #: What the reply says of the customer, as (type, value) pairs.
    identifiers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """The durable promise that one request is about to be sent. Whoever holds this value found it on disk."""

    #: The job whose row this is.
    job: JobId
    row: int
    #: 1 for the row's first request; with (job, row) the request's name in the ledger.
    attempt: int
    #: Attempts before this one that count against the row's bound.
    spent: int
    #: True if an earlier attempt of this row was ever in doubt.
    doubted: bool
    #: The run that wrote this intent.
    holder: str
    series_id: int
    identifier: Identifier
    begun: Moment
    #: Boot-clock second after which the request must no longer be sent.
    send_by: float


@unique
class FaultKind(StrEnum):
    """What went wrong instead of a reply."""

    #: No connection: refused, unknown host, TLS, or no answer to the connect.
    CONNECT = "connect"
    #: `send_by` had passed before the first byte was written.
    LATE = "late"
    #: No token could be had for the request (a transient reason; a refusal raises JobHalted).
    AUTH = "auth"
    #: No complete answer in time.
    TIMEOUT = "timeout"
    #: The connection broke.
    RESET = "reset"
    #: The run was cancelled while the request was under way.
    CANCELLED = "cancelled"
    #: Anything else that the HTTP library reports.
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came back, whatever it is. `body` holds at most the first 256 KiB."""

    status: int
    #: Header names in lower case.
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    #: When the last byte had arrived.
    at: Moment
    #: True if the credential of this request was fetched for it (always, under Basic auth).
    fresh_credential: bool = False
    #: True if the body was longer.
    cut: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What went wrong instead. `sent` is False only if surely not one byte of the request left."""

    kind: FaultKind
    sent: bool
    detail: str = ""
    #: When the request was given up.
    at: Moment


Answer = Reply | Fault


@unique
class Meaning(StrEnum):
    """What an answer means for its row."""

    ISSUED = "issued"
    HELD = "held"
    REJECTED = "rejected"
    NOT_PROCESSED = "not_processed"
    UNCLEAR = "unclear"
    #: Not processed, and no other row of the job would fare better.
    HALT = "halt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The verdict on one answer."""

    meaning: Meaning
    #: Capillary's code, otherwise `http-503`, `fault-timeout` …
    error_code: str = ""
    #: One sentence for a person.
    reason: str = ""
    coupon: Coupon | None = None
    warnings: tuple[str, ...] = ()
    #: Seconds that a 429 asked for.
    retry_after: float | None = None
    #: For UNCLEAR: what becomes of the row if the record shows that no coupon came of it.
    if_absent: RowState = RowState.PENDING
    #: The reply named another series: nothing on this connection can be trusted.
    misdirected: bool = False
    request_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedCoupon:
    """One coupon of a customer as the server's record shows it."""

    code: str = field(repr=False)
    series_id: int | None
    #: Epoch seconds as the record writes them (whole seconds; the zone may be mislabelled), None if unreadable.
    created: float | None
    #: True if `created` comes from a field that is documented to be in true UTC (`…ISO`).
    true_utc: bool = False
    coupon_id: int | None = None
    issued_at: str | None = None
    valid_till: str = ""
    valid_till_date_time: str = ""
    discount_type: str = ""
    discount_value: str = ""
    description: str = ""
    redemption_count: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """All coupons that the record shows for one customer, every page of it."""

    coupons: tuple[RecordedCoupon, ...]
    #: The endpoint that answered, e.g. `v2/customers/coupons`.
    endpoint: str
    #: Epoch seconds of the answer's own `Date` header, None if it had none.
    server_time: float | None
    #: When the first page's answer had arrived (the moment that `server_time` belongs to).
    at: Moment
    customer_id: int | None = field(default=None, repr=False)
    #: True if it was first asked who bears the identifier.
    by_bearer: bool = False

    @property
    def names_nobody(self) -> bool:
        """Whether it says that nobody bears the identifier."""
        return self.by_bearer and self.customer_id is None


@unique
class ReadProblem(StrEnum):
    """Why a look-up says nothing."""

    #: This account may not read (401 and 403 on every endpoint).
    REFUSED = "refused"
    #: The record doesn't know the customer: that is not the same as "has no coupon".
    NOT_FOUND = "not_found"
    #: 429.
    THROTTLED = "throttled"
    #: Anything else: time-out, 5xx, a body that can't be read, pages that changed under the reader.
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A look-up that says nothing about the row."""

    problem: ReadProblem
    reason: str
    at: Moment
    retry_after: float | None = None
    #: The status of the answer, where there was one.
    status: int | None = None

    @property
    def of_credentials(self) -> bool:
        """Whether the credentials were refused, and not only what this account may read."""
        return self.problem is ReadProblem.REFUSED and self.status in (None, 401)


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """What the server says of a coupon series; None where it doesn't say (fact sheet in docs/api.md)."""

    id: int
    org_id: str | None = None
    description: str = ""
    valid_till: str = ""
    expired: bool | None = None
    #: Coupons left to issue, None for no bound.
    stock_left: int | None = None
    max_per_customer: int | None = None
    multiple_allowed: bool | None = None
    #: A repeated issue returns the existing coupon instead of a new one.
    resends: bool | None = None
    generic: bool = False
    third_party_codes: bool = False
    sends_messages: bool | None = None
    min_days_between: int | None = None
    discount_type: str = ""
    discount_value: str = ""
    #: The most that a percentage takes off.
    discount_upto: str = ""
    #: When its validity ends, epoch seconds.
    ends: float | None = None

    @property
    def closed(self) -> str:
        """Why no coupon of it can be issued now; empty if that isn't known."""
        return "has expired" if self.expired else "has no coupons left" if self.stock_left == 0 else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """What a job is: one input content, one series, one org, one `again` name; and how its records are read."""

    id: JobId
    org: str
    series_id: int
    again: str
    account: str
    path: str
    sha256: str
    header: tuple[str, ...]
    #: Options that decide which customer a record names (`map`, `identify_by`, `encoding` …), as text.
    reading: Mapping[str, str] = field(default_factory=dict)


@unique
class JobState(StrEnum):
    """A job's own life."""

    REGISTERING = "registering"
    READY = "ready"
    RUNNING = "running"
    STOPPED = "stopped"
    PAUSED = "paused"
    ENDED = "ended"
    CANCELLED = "cancelled"
    #: Ended or cancelled, and its customers forgotten: counts are left, and claims as keyed hashes.
    PURGED = "purged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as the ledger knows it."""

    spec: JobSpec
    state: JobState
    #: Rows registered, and wholly blank records that were not rows.
    rows: int
    blank: int
    created: float
    started: float | None = None
    ended: float | None = None
    #: Why the last run stopped, for people; empty if it ended.
    stopped_because: str = ""
    #: The kind of that, a `StopKind`; empty where nothing stopped it, or the run was cut short.
    stop_kind: str = ""
    #: Whether it is left to workers.
    deferred: bool = False
    left_out: LeftOut = NOBODY


#: How many rows stand in each state; states without rows are missing.
Tally = Mapping[RowState, int]
