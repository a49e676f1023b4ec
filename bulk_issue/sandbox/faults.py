"""What goes wrong, and for whom: by script, or by a seeded plan.

A fault says two things: what the client sees, and when the coupon is issued (before the answer is lost, seconds after
it, or not at all). Scripted faults go first: those for the customer that a request names, then those for the next
request whoever it names. The plan draws by seed, customer and how often that customer was named, so it doesn't depend
on the order in which requests arrive.

A fault's name is what it shows and when it issues: `drop-after`, `504-later`, `429`, `slow`; `NAMES` lists all.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum, unique
from itertools import accumulate

from bulk_issue.errors import ConfigError
from bulk_issue.sandbox.book import Endpoint


@unique
class FaultKind(StrEnum):
    """What the client sees."""

    #: The connection is closed without an answer.
    DROP = "drop"
    #: No answer, until the client goes.
    HANG = "hang"
    #: HTTP 500 as JSON, the others as a gateway's HTML.
    HTTP_500 = "500"
    HTTP_502 = "502"
    HTTP_503 = "503"
    HTTP_504 = "504"
    #: HTML: the origin is down, not "customer busy".
    HTTP_521 = "521"
    #: HTTP 200 whose body ends early.
    TRUNCATED = "truncated"
    #: HTTP 200 with a page instead of JSON.
    HTML = "html"
    #: HTTP 200 with a complete body that isn't JSON.
    UNREADABLE = "unreadable"
    #: HTTP 200 with errorCode 748, coupon service timed out.
    SERVICE_TIMED_OUT = "748"
    #: HTTP 200 with errorCode 709, whose text wraps an inner time-out.
    FAILED = "709"
    #: HTTP 400 that speaks of trouble of the server's own.
    BLAMED = "400"
    #: HTTP 461, search engine busy: when it searches, nobody says.
    SEARCH_BUSY = "461"
    #: HTTP 307 to the same address: who follows it asks again.
    REDIRECT = "307"
    #: The true answer, late or with a coupon that reads don't show yet.
    ANSWER = "answer"
    #: HTTP 429 within the limit.
    LIMITED = "429"
    #: The token is revoked: HTTP 401. Under Basic there is nothing that could expire, and the fault is passed over.
    EXPIRED = "401"
    #: HTTP 503 with errorCode 4001, authorisation status unavailable.
    AUTHORISATION_DOWN = "4001"
    #: HTTP 200 with errorCode 5005, queue empty.
    QUEUE_EMPTY = "5005"


@unique
class When(StrEnum):
    """When the coupon is issued."""

    #: The fault came before: never.
    BEFORE = "before"
    #: The fault came after: the coupon exists when the client sees it.
    AFTER = "after"
    #: Late commit: `late` seconds after the client has seen the fault.
    LATER = "later"


#: These say that nothing was processed, and nothing is.
REFUSING = frozenset(
    {
        FaultKind.LIMITED,
        FaultKind.EXPIRED,
        FaultKind.AUTHORISATION_DOWN,
        FaultKind.QUEUE_EMPTY,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that goes wrong. Durations are seconds."""

    kind: FaultKind
    when: When = When.BEFORE
    #: From the answer to the coupon, where it is issued LATER.
    late: float = 0.0
    #: From the coupon to the first read that shows it.
    hidden: float = 0.0
    #: From the request to the answer.
    delay: float = 0.0

    def __post_init__(self) -> None:
        if self.kind in REFUSING and self.when is not When.BEFORE:
            raise ConfigError(f"fault {self.kind} says that nothing was processed", hint="It issues nothing: BEFORE.")
        if self.kind is FaultKind.ANSWER and self.when is not When.AFTER:
            raise ConfigError("a true answer comes after the coupon", hint="Give when=When.AFTER.")

    @property
    def name(self) -> str:
        if self.kind is FaultKind.ANSWER:
            return "hidden" if self.hidden else "slow"
        return self.kind if self.kind in REFUSING else f"{self.kind}-{self.when}"


def catalogue(seconds: float) -> Mapping[str, Fault]:
    """Every fault by its name; `seconds` is how late, slow and hidden they are."""
    lost = [kind for kind in FaultKind if kind not in REFUSING and kind is not FaultKind.ANSWER]
    faults = [
        *(Fault(kind=kind, when=when) for kind in lost for when in (When.BEFORE, When.AFTER)),
        *(Fault(kind=kind, when=When.LATER, late=seconds) for kind in lost),
        *(Fault(kind=kind) for kind in FaultKind if kind in REFUSING),
        Fault(kind=FaultKind.ANSWER, when=When.AFTER, delay=seconds),
        Fault(kind=FaultKind.ANSWER, when=When.AFTER, hidden=seconds),
    ]
    return {fault.name: fault for fault in faults}


NAMES = tuple(catalogue(1.0))


def fault(name: str, seconds: float = 2.0) -> Fault:
    """The fault of that name."""
    try:
        return catalogue(seconds)[name]
    except KeyError:
        raise ConfigError(f"no fault is called {name!r}", hint=f"There are: {', '.join(NAMES)}.") from None


class Faults:
    """Says of every request what goes wrong with it, if anything."""

    def __init__(self, plans: Mapping[Endpoint, Mapping[Fault, float]], *, seed: int) -> None:
        """`plans` gives each fault its share of an endpoint's requests."""
        self._plans = {
            endpoint: list(zip(accumulate(plan.values()), plan, strict=True)) for endpoint, plan in plans.items()
        }
        self._seed = seed
        self._seen: Counter[tuple[Endpoint, str]] = Counter()
        self._next: defaultdict[Endpoint, deque[Fault | None]] = defaultdict(deque)
        self._next_for: defaultdict[tuple[Endpoint, str], deque[Fault | None]] = defaultdict(deque)

    def script(self, *faults: Fault | None, endpoint: Endpoint = Endpoint.ISSUE) -> None:
        """What happens to the endpoint's next requests, one each; None lets one pass unharmed."""
        self._next[endpoint].extend(faults)

    def script_for(self, named: str, *faults: Fault | None, endpoint: Endpoint = Endpoint.ISSUE) -> None:
        """What happens to the endpoint's next requests that name this customer so, e.g. `mobile:919800000001`."""
        self._next_for[endpoint, named].extend(faults)

    def draw(self, endpoint: Endpoint, named: str) -> Fault | None:
        """What goes wrong with this request; None for nothing."""
        if own := self._next_for.get((endpoint, named)):
            return own.popleft()
        if any_ := self._next.get(endpoint):
            return any_.popleft()
        plan = self._plans.get(endpoint)
        if not plan:
            return None
        self._seen[endpoint, named] += 1
        draw = random.Random(f"{self._seed} {endpoint} {named} {self._seen[endpoint, named]}").random()
        return next((fault for bound, fault in plan if draw < bound), None)
