"""Look before a request leaves: a customer who holds a coupon of the series in the server's record gets no other.

The rule: nothing is sent unless a proven reader shows that the customer holds none; that nobody knows the customer is
such a reading, too (`readers`). Before a first coupon nothing can be proven: then one row goes at a time, for each kind
of identifier, until its answer is on record.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from bulk_issue.model import IdentifierKind, Intent, Meaning, Outcome, Reading, ReadProblem, Unreadable
from bulk_issue.readers import Readers, form
from bulk_issue.retry import THROTTLED, UNPROVEN

#: The `_error_code` of rows that weren't sent because of what the look-up showed.
LOOK_UP = "look-up"

REFUSED = "Without reading coupons there is no --look-first: leave it out, or use an account that may read them."
#: What an unproven reader is told apart by: the kind of identifier, and where it knows nobody, its form.
Unproven = tuple[IdentifierKind, str]


@dataclass(slots=True, kw_only=True)
class LookFirst:
    """Reads a customer's coupons. Look-ups share their limit with those that settle rows in doubt."""

    readers: Readers
    #: Rows on their way without proof.
    _first: dict[Unproven, Intent] = field(default_factory=dict)

    async def __call__(self, intent: Intent) -> Outcome | None:
        """What keeps the request from being sent, None if nothing does."""
        found = await self.readers.read(intent.identifier)
        if isinstance(found, Unreadable):
            return await self._unread(intent, found)
        series = {coupon.series_id for coupon in found.coupons}
        if intent.series_id in series:
            return _kept(Meaning.HELD, "The record shows a coupon of this series for this customer.")
        if None in series:
            return _kept(Meaning.NOT_PROCESSED, "The record doesn't say of which series a coupon is.")
        if self.readers.facts(found, intent.identifier) is None:
            await self.readers.learn(found, intent.identifier)
        if self.readers.facts(found, intent.identifier) is not None:
            return None
        if await self._goes_first(intent, found):
            return None
        return _kept(
            Meaning.NOT_PROCESSED,
            "The record hasn't yet shown a coupon that this job was given: that it shows none here says nothing.",
            code=UNPROVEN,
        )

    def recorded(self, intent: Intent) -> None:
        """The answer to this row, if there was one, is on record."""
        self._first = {unproven: first for unproven, first in self._first.items() if first != intent}

    async def _goes_first(self, intent: Intent, found: Reading | None) -> bool:
        """Whether the row may go without proof: there is no coupon yet that could prove the reader."""
        nobodys = found is not None and found.names_nobody
        unproven = intent.identifier.kind, form(intent.identifier) if nobodys else ""
        if unproven in self._first:
            return False
        self._first[unproven] = intent  # before the ledger is asked: what goes together now is on record by then
        if not await self.readers.proofs(intent.identifier, found):
            return True
        del self._first[unproven]
        return False

    async def _unread(self, intent: Intent, found: Unreadable) -> Outcome | None:
        match found.problem:
            case ReadProblem.NOT_FOUND:
                if await self._goes_first(intent, None):
                    return None
                because = "The record doesn't know the customer, which doesn't say that they hold no coupon."
                return _kept(Meaning.NOT_PROCESSED, because)
            case ReadProblem.REFUSED:
                return _kept(Meaning.HALT, f"{found.reason}. {REFUSED}")
            case ReadProblem.THROTTLED:
                return _kept(Meaning.NOT_PROCESSED, found.reason, code=THROTTLED, retry_after=found.retry_after)
            case ReadProblem.UNREADABLE:
                return _kept(Meaning.NOT_PROCESSED, f"The customer's coupons couldn't be read: {found.reason}")


def _kept(meaning: Meaning, reason: str, *, code: str = LOOK_UP, retry_after: float | None = None) -> Outcome:
    return Outcome(meaning=meaning, error_code=code, reason=reason, retry_after=retry_after)
