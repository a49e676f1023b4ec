"""The sandbox's own book: every arrival, every coupon, every injected fault. The judge of the client's promises.

The rule that it keeps: a record is in the book before the answer leaves. With a path it is also a line of a JSON-lines
file, written at once, so that another process can read the book while the sandbox runs and after a kill.
The file names customers and holds codes: it is readable by its owner only.
"""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum, unique
from pathlib import Path
from typing import Any, Self

from bulk_issue.errors import ConfigError


@unique
class Endpoint(StrEnum):
    """What the sandbox is asked."""

    ISSUE = "issue"
    #: GET /v2/customers/coupons
    COUPONS = "coupons"
    #: GET /v1.1/customer/coupons
    COUPONS_V11 = "coupons-v1.1"
    #: GET /v2/customers/lookup
    LOOKUP = "lookup"
    #: GET /v2/customers/{id}/coupons
    COUPONS_BY_ID = "coupons-by-id"
    SERIES = "series"
    TOKEN = "token"  # noqa: S105 - an endpoint's name


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A request that arrived, whatever became of it."""

    #: Host seconds since the epoch, without the sandbox's clock offset; never steps back while the sandbox runs.
    at: float
    #: The user or client key; empty where the credentials were wrong.
    account: str
    endpoint: Endpoint
    #: True if it was refused because of the rate limit: a violation.
    limited: bool
    #: The request's id, as its answer's X-Cap-Requestid header says.
    request: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedCoupon:
    """A coupon that exists."""

    #: The coupon's id in the record; unlike the issue reply's `id` it is never 0.
    number: int
    code: str = field(repr=False)
    series: int
    customer: int
    #: Server seconds since the epoch (clock offset included), and from when on reads show the coupon.
    created: float
    visible: float
    #: The request that it was issued for; empty for coupons that were there before.
    request: str
    #: The identifier that the request named, e.g. `mobile:919800000001`.
    named: str = field(repr=False)
    #: The code of the store that the coupon is recorded for.
    store: str
    redeemed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Injected:
    """A fault that was injected."""

    request: str
    endpoint: Endpoint
    fault: str
    #: The identifier that the request named; empty where it named none.
    named: str = field(repr=False)


Entry = Arrival | IssuedCoupon | Injected
_KINDS: Mapping[str, type[Entry]] = {"arrival": Arrival, "coupon": IssuedCoupon, "fault": Injected}
_HEADS = tuple(f'{{"{name}": {{'.encode() for name in _KINDS)
_NAMES = {kind: (name, tuple(each.name for each in fields(kind))) for name, kind in _KINDS.items()}


class Book:
    """What really happened."""

    def __init__(self, path: Path | None = None) -> None:
        """With a path: go on from what the file holds, and append to it."""
        self.arrivals: list[Arrival] = []
        self.faults: list[Injected] = []
        self._by_series: defaultdict[int, list[IssuedCoupon]] = defaultdict(list)
        self._by_customer: defaultdict[int, list[IssuedCoupon]] = defaultdict(list)
        self._coupons = 0
        self._file: int | None = None
        if path is not None:
            self._load(path)
            self._file = _open(path)

    @classmethod
    def read(cls, path: Path) -> Self:
        """The book as another process has written it so far; nothing is written."""
        book = cls()
        book._load(path)
        return book

    def add(self, entry: Entry) -> None:
        """Enter what happened; on return it is in the file too."""
        if self._file is not None:
            name, parts = _NAMES[type(entry)]
            line = json.dumps({name: {part: getattr(entry, part) for part in parts}}) + "\n"
            os.write(self._file, line.encode())
        self._enter(entry)

    def close(self) -> None:
        """Let go of the file; what is in memory stays readable."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    # --- what the tests ask ---------------------------------------------------------------------------------------

    @property
    def coupons(self) -> int:
        """How many coupons exist."""
        return self._coupons

    def coupons_of(self, series: int) -> Sequence[IssuedCoupon]:
        """Every coupon of the series, in the order of issue; those that were there before have no `request`."""
        return tuple(self._by_series.get(series, ()))

    def coupons_for(self, customer: int) -> Sequence[IssuedCoupon]:
        """Every coupon of the customer, in the order of issue."""
        return tuple(self._by_customer.get(customer, ()))

    def count(self, series: int) -> int:
        """How many coupons of the series exist."""
        return len(self._by_series.get(series, ()))

    def issued_counts(self) -> Counter[tuple[int, int]]:
        """How many coupons requests have brought each (series, customer)."""
        return Counter(
            (each.series, each.customer) for coupons in self._by_series.values() for each in coupons if each.request
        )

    def duplicates(self, series: int) -> dict[int, list[IssuedCoupon]]:
        """Customers whom requests have brought more than one coupon of the series, with those coupons."""
        issued: defaultdict[int, list[IssuedCoupon]] = defaultdict(list)
        for coupon in self._by_series.get(series, ()):
            if coupon.request:
                issued[coupon.customer].append(coupon)
        return {customer: coupons for customer, coupons in issued.items() if len(coupons) > 1}

    def requests(self, endpoint: Endpoint = Endpoint.ISSUE) -> int:
        """How many requests arrived, refused ones included."""
        return sum(each.endpoint is endpoint for each in self.arrivals)

    @property
    def violations(self) -> list[Arrival]:
        """The requests that were refused because of the rate limit."""
        return [each for each in self.arrivals if each.limited]

    def worst_window(self, per: float, endpoint: Endpoint = Endpoint.ISSUE) -> int:
        """The most requests of one account that arrived in any `per` seconds, refused ones included."""
        windows: defaultdict[str, deque[float]] = defaultdict(deque)
        worst = 0
        for arrival in self.arrivals:
            if arrival.endpoint is endpoint:
                window = windows[arrival.account]
                while window and arrival.at - window[0] >= per:
                    window.popleft()
                window.append(arrival.at)
                worst = max(worst, len(window))
        return worst

    # --- the file -------------------------------------------------------------------------------------------------

    def _enter(self, entry: Entry) -> None:
        match entry:
            case Arrival():
                self.arrivals.append(entry)
            case IssuedCoupon():
                self._by_series[entry.series].append(entry)
                self._by_customer[entry.customer].append(entry)
                self._coupons += 1
            case Injected():
                self.faults.append(entry)

    def _load(self, path: Path) -> None:
        if not path.is_file():
            return
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    if line.endswith(b"\n"):
                        self._enter(_entry(json.loads(line)))
                    elif not any(line.startswith(head) or head.startswith(line) for head in _HEADS):
                        raise ValueError
                    # Otherwise it was torn by a kill: what it said never happened.
                except (ValueError, TypeError, KeyError, AttributeError):
                    raise ConfigError(
                        f"line {number} of {path} is not of a sandbox's book", hint="Give another file for the book."
                    ) from None


def _entry(line: dict[str, dict[str, Any]]) -> Entry:
    [(name, parts)] = line.items()
    if "endpoint" in parts:
        parts["endpoint"] = Endpoint(parts["endpoint"])
    return _KINDS[name](**parts)


def _open(path: Path) -> int:
    """The file for appending, without a torn last line."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError as exc:
        raise ConfigError(f"the book can't be kept in {path}", hint="Its folder must exist and be writable.") from exc
    os.fchmod(file, 0o600)
    os.ftruncate(file, path.read_bytes().rfind(b"\n") + 1)
    return file
