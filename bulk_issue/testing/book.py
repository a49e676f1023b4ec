"""The model server's own book: every arrival and every coupon. The judge of the client's promises."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from bulk_issue.model import JobId


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Whose request it was: the ledger's name for it."""

    job: JobId
    row: int
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A request that reached the server, whatever it made of it."""

    #: Virtual second.
    at: float
    request: Request
    key: str = field(repr=False)
    #: True if it was over the limit.
    limited: bool = False
    #: True for the second delivery of one request.
    repeated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A coupon that exists."""

    number: int
    code: str = field(repr=False)
    series: int
    customer: int
    #: Virtual seconds: when it came to be, and from when on the record shows it.
    created: float
    visible: float
    store: str | None
    #: None for coupons that others have given.
    request: Request | None = None


@dataclass(slots=True)
class Book:
    """What really happened."""

    arrivals: list[Arrival] = field(default_factory=list)
    #: Pairs of requests that named one customer alike and were under way together.
    together: list[tuple[Request, Request]] = field(default_factory=list)
    _of: defaultdict[int, list[Entry]] = field(default_factory=lambda: defaultdict(list))

    def enter(self, entry: Entry) -> None:
        self._of[entry.customer].append(entry)

    def of(self, customer: int) -> Sequence[Entry]:
        """Every coupon of a customer, in the order of issue."""
        return tuple(self._of.get(customer, ()))

    def ours(self, customer: int) -> Sequence[Entry]:
        """The customer's coupons that requests have brought."""
        return tuple(entry for entry in self.of(customer) if entry.request is not None)

    @property
    def coupons(self) -> Sequence[Entry]:
        """Every coupon that a request has brought."""
        return tuple(entry for entries in self._of.values() for entry in entries if entry.request is not None)

    @property
    def refused(self) -> int:
        """How many requests were over the limit."""
        return sum(arrival.limited for arrival in self.arrivals)

    def worst_window(self, per: float) -> int:
        """The most arrivals in any window of `per` seconds, second deliveries aside."""
        window: deque[float] = deque()
        worst = 0
        for arrival in self.arrivals:
            if arrival.repeated:
                continue
            window.append(arrival.at)
            while window[0] <= arrival.at - per:
                window.popleft()
            worst = max(worst, len(window))
        return worst
