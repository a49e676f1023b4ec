"""Another content under the path of an unfinished job: what has changed, and what becomes of those who were removed.

The rule: who stands in the file no more is sent nothing that a person hasn't said. A content that shares no customer
with the earlier one is the next batch, and removes nobody.
"""

from __future__ import annotations

from bulk_issue.app.intake import Intake
from bulk_issue.ledger import SqliteLedger
from bulk_issue.model import JobId, Removed, Withheld
from bulk_issue.states import RowState
from bulk_issue.survey import Difference, compare


def difference(ledger: SqliteLedger, job: JobId, file: Intake) -> Difference:
    """How the file differs from the content that the job was registered with."""
    waiting = (row.number for row in ledger.omissions.candidates(job))
    return compare(ledger.views.customers(job), file.chunks(), waiting)


async def settle(ledger: SqliteLedger, job: JobId, found: Difference, word: Removed) -> int:
    """Do with the removed customers' rows what a person, or the settings, say of them; how many are left pending."""
    match word:
        case Removed.FINISH:
            held = [row.number for row in ledger.omissions.candidates(job) if row.withheld is Withheld.REMOVED]
            await ledger.omissions.withhold(job, dict.fromkeys(held))
        case Removed.DROP:
            await ledger.omissions.withhold(job, dict.fromkeys(found.unsent, Withheld.REMOVED))
            await ledger.omissions.drop(job)
        case Removed.HOLD:
            await ledger.omissions.withhold(job, dict.fromkeys(found.unsent, Withheld.REMOVED))
    held_back = ledger.views.held_back(job).get(Withheld.REMOVED)
    return held_back.rows if held_back is not None else 0


def pending(ledger: SqliteLedger, job: JobId, found: Difference) -> list[int]:
    """The removed customers' rows that are not sent yet."""
    unsent = set(found.unsent)
    rows = ledger.omissions.candidates(job)
    return [row.number for row in rows if row.number in unsent and row.state is RowState.PENDING]
