"""Look before a request leaves: whoever holds a coupon of the series in the server's record gets no other.

The rule: where the look-up doesn't show that the customer holds none, nothing is sent. A customer whom the record
doesn't know holds none; whether one may be issued to them is the request's own question.
"""

from __future__ import annotations

from dataclasses import dataclass

from bulk_issue.model import Intent, Meaning, Outcome, Reading, ReadProblem
from bulk_issue.ports import Limiter, Records
from bulk_issue.retry import THROTTLED

#: The `_error_code` of rows that weren't sent because of what the look-up showed.
LOOK_UP = "look-up"

REFUSED = "Without reading coupons there is no --look-first: leave it out, or use an account that may read them."


@dataclass(frozen=True, slots=True, kw_only=True)
class LookFirst:
    """Reads a customer's coupons. Look-ups share their limit with those that settle rows in doubt."""

    records: Records
    limiter: Limiter

    async def __call__(self, intent: Intent) -> Outcome | None:
        """What keeps the request from being sent, None if nothing does."""
        await self.limiter.acquire(1)
        found = await self.records.coupons(intent.identifier)
        if isinstance(found, Reading):
            series = {coupon.series_id for coupon in found.coupons}
            if intent.series_id in series:
                return _kept(Meaning.HELD, "The record shows a coupon of this series for this customer.")
            if None in series:
                return _kept(Meaning.NOT_PROCESSED, "The record doesn't say of which series a coupon is.")
            return None
        match found.problem:
            case ReadProblem.NOT_FOUND:
                return None
            case ReadProblem.REFUSED:
                return _kept(Meaning.HALT, f"{found.reason}. {REFUSED}")
            case ReadProblem.THROTTLED:
                return _kept(Meaning.NOT_PROCESSED, found.reason, code=THROTTLED, retry_after=found.retry_after)
            case ReadProblem.UNREADABLE:
                return _kept(Meaning.NOT_PROCESSED, f"The customer's coupons couldn't be read: {found.reason}")


def _kept(meaning: Meaning, reason: str, *, code: str = LOOK_UP, retry_after: float | None = None) -> Outcome:
    return Outcome(meaning=meaning, error_code=code, reason=reason, retry_after=retry_after)
