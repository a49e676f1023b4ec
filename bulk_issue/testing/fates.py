"""What becomes of one request, or of one look-up, between a client and the model server.

Times are seconds from one stage to the next, so that a fate can be read as a story: held up, on its way, at work, on
its way back. What isn't said goes well.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from bulk_issue.model import ReadProblem


@dataclass(frozen=True, slots=True, kw_only=True)
class Canned:
    """An answer that says nothing of what was done."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @classmethod
    def of_json(cls, status: int, body: Mapping[str, Any]) -> Canned:
        return cls(status=status, headers={"content-type": "application/json"}, body=json.dumps(body).encode())


def refusal(code: int, message: str, status: int = 200) -> Canned:
    """A refusal as the sibling endpoints document it."""
    error = {"status": False, "code": code, "message": message}
    return Canned.of_json(status, {"errors": [error], "warnings": []})


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What becomes of one issue request."""

    #: Until a connection is there. A request that has waited past its `send_by` isn't sent.
    held_up: float = 0.0
    #: False: no connection can be had, and nothing leaves.
    connects: bool = True
    #: Until it arrives; None: it never does.
    there: float | None = 0.02
    #: Until it is processed, from its arrival on.
    work: float = 0.03
    #: Until the answer is back, from then on; None: it never is.
    back: float | None = 0.02
    #: The connection breaks so long after the request left; None: it holds.
    breaks: float | None = None
    #: False: the answer is given on arrival, and nothing is processed.
    processed: bool = True
    #: What is answered, whatever was done; None: what was done.
    answer: Canned | None = None
    #: It is delivered a second time, so long after the first.
    repeated: float | None = None


#: In the order in which a request can fail: before it left, before it was processed, after.
GOOD = Fate()
UNREACHABLE = Fate(connects=False)
LOST = Fate(there=None)
BROKEN_BEFORE = Fate(there=None, breaks=0.5)
BROKEN_AFTER = Fate(back=None, breaks=0.5)
UNANSWERED = Fate(back=None)
TRUNCATED = Fate(answer=Canned(status=200, body=b'{"code": "AB'))
HTML = Fate(answer=Canned(status=502, headers={"content-type": "text/html"}, body=b"<html>Bad Gateway</html>"))
ERROR_BEFORE = Fate(processed=False, answer=Canned(status=500, body=b"oops"))
ERROR_AFTER = Fate(answer=Canned(status=500, body=b"oops"))
SERVICE_TIMEOUT = Fate(answer=refusal(748, "coupon service timed out"))
LOCKED = Fate(processed=False, answer=Canned.of_json(521, {"message": "several actions for this customer"}))
QUEUE_EMPTY = Fate(processed=False, answer=refusal(5005, "queue empty for series"))
EXHAUSTED = Fate(processed=False, answer=refusal(5001, "max create for series exceeded"))
BUSY = Fate(processed=False, answer=Canned(status=429))
#: 709 whose text wraps an inner time-out, with and without a coupon; and in words that nobody knows.
FAILED_AFTER = Fate(answer=refusal(709, "Coupon processing failed: Read timed out"))
FAILED_BEFORE = Fate(processed=False, answer=FAILED_AFTER.answer)
FOR_NO_CAUSE = Fate(processed=False, answer=refusal(709, "Coupon processing failed: the rule engine said no"))
SEARCH_BUSY = Fate(answer=Canned(status=461))
UNHEARD_OF = Fate(processed=False, answer=refusal(9876, "something that nobody has documented"))


def busy_for(seconds: float) -> Fate:
    """A 429 with Retry-After."""
    return Fate(processed=False, answer=Canned(status=429, headers={"retry-after": f"{seconds:g}"}))


def processed_after(seconds: float, **others: Any) -> Fate:
    """Processed so long after it left, and answered if anybody still waits."""
    return replace(Fate(there=0.0, work=seconds), **others)


def arriving_after(seconds: float, **others: Any) -> Fate:
    """On its way for so long, and then processed."""
    return replace(Fate(there=seconds), **others)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What becomes of one look-up. The record is read half-way through its `seconds`."""

    seconds: float = 0.04
    #: What it says instead of the record.
    problem: ReadProblem | None = None
    retry_after: float | None = None


SEEN = Look()

#: Asked for each request with the identifier's key and the attempt's number; for each look-up with the key.
Fates = Callable[[str, int], Fate]
Looks = Callable[[str], Look]


class Script:
    """Fates in the order of the requests; afterwards everything goes well, or as `then` says."""

    def __init__(self, fates: Iterable[Fate], *, then: Fate = GOOD) -> None:
        self._left = list(fates)[::-1]
        self._then = then

    def __call__(self, _key: str, _attempt: int) -> Fate:
        return self._left.pop() if self._left else self._then


class ByCustomer:
    """Fates of a customer's requests in their order; everybody else's go well, or as `then` says."""

    def __init__(self, fates: Mapping[str, Sequence[Fate]], *, then: Fate = GOOD) -> None:
        self._left = {key: list(of_key)[::-1] for key, of_key in fates.items()}
        self._then = then

    def __call__(self, key: str, _attempt: int) -> Fate:
        left = self._left.get(key)
        return left.pop() if left else self._then


class Dice:
    """Each request draws its fate: with `share` of probability one of `fates`, otherwise a good one."""

    def __init__(self, random: Random, fates: Sequence[Callable[[Random], Fate]], share: float) -> None:
        self._random, self._fates, self.share = random, fates, share

    def __call__(self, _key: str, _attempt: int) -> Fate:
        if self._random.random() >= self.share or not self._fates:
            return replace(GOOD, there=self._random.uniform(0.001, 0.1), work=self._random.uniform(0.001, 0.3))
        return self._random.choice(self._fates)(self._random)
