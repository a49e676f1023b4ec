"""What must hold of a history: the server's book against the ledger.

*Within* what promise 2 rests on: exactly one coupon for each customer and `--again` name, its code in the ledger, and
no row left in doubt but where the tool can't know: reading is refused, no reply of the job has given a coupon to
prove the reader (or, quickly enough, to measure its clock) with, the customer isn't known to the record, or another
channel's coupon can't be told from ours (after a reboot, ours neither: only the wall clock tells its age, and that
may have been set).

*Outside* (a request delivered twice, or taking effect after the grace) a customer may have more. The tool looks again
at rows that were ever in doubt, once, at the job's end: each coupon of such a row that the record showed then must be
that row's own, recorded as excess, or its row in doubt still. A row whose request was answered clearly is never
looked at again: a second delivery of that request is for `audit` to find.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from bulk_issue.candidates import MEASURABLE
from bulk_issue.ending import ExitCode
from bulk_issue.errors import BulkIssueError
from bulk_issue.job import Ending
from bulk_issue.states import OPEN
from bulk_issue.testing import Entry, Repeat
from tests.hosts import SERIES

if TYPE_CHECKING:
    from tests.simulation import History


def judge(history: History) -> None:
    """Add a complaint for everything that is wrong."""
    _Oracle(history).judge()


class _Oracle:
    def __init__(self, history: History) -> None:
        self.history, self.plan = history, history.plan
        self.host, self.server, self.book = history.host, history.server, history.server.book
        self.say = history.complaints.append
        self.rows = self.host.ask(
            "SELECT jobs.id, jobs.again, rows.number, rows.state, rows.kind, rows.key, lower(rows.code), rows.doubted"
            " FROM rows JOIN jobs ON jobs.seq = rows.job ORDER BY rows.job, rows.number"
        )

    def judge(self) -> None:
        self._nothing_lost()
        self._exit_codes()
        self._limit()
        if resent := self.host.resent_unsettled():
            self.say(f"sent again without a settled record: {resent}")
        for pair in self.book.together:
            self.say(f"two requests for one customer were under way together: {pair}")
        if self.plan.within:
            self._one_coupon_each()
            self._doubts_have_a_reason()
        else:
            self._excess_is_told()
        self._codes_exist()

    # --- promise 3 ----------------------------------------------------------------------------------------------

    def _nothing_lost(self) -> None:
        for job, rows in self.plan.jobs:
            numbers = [number for name, _, number, *_ in self.rows if name == job.id]
            if numbers != [row.number for row in rows]:
                self.say(f"{job.id} has rows {numbers}")
        for job, again, number, state, _, key, *_ in self.rows:
            if state == "in_flight" or (state == "pending" and not self._waits(again, key)):
                self.say(f"{job}/{number} is {state} when all is over")

    def _waits(self, again: str, key: str) -> bool:
        """Whether a row of the same customer is in doubt under another `--again` name: until that is settled."""
        return any(name != again and its == key and state == "in_doubt" for _, name, _, state, _, its, *_ in self.rows)

    def _exit_codes(self) -> None:
        last: dict[str, Ending] = {}
        for job, ended in self.history.ends:
            if isinstance(ended, Ending):
                last[job.id] = ended
                if sum(ended.tally.values()) != ended.job.rows:
                    self.say(f"{job.id} counts {ended.tally} and has {ended.job.rows} rows")
            elif isinstance(ended, BulkIssueError) and ended.exit_code not in (6, 7):
                self.say(f"{job.id} ended with {ended!r}")
        for job, rows in self.plan.jobs:
            if job.id not in last:
                self.say(f"{job.id} never ended")
                continue
            states = {state for name, _, _, state, *_ in self.rows if name == job.id} - {"duplicate"}
            states |= {state for (state,) in self.host.ask(_FIRSTS, job.id)}
            excess = self.host.ask(_EXCESS + " WHERE jobs.id = ?", job.id)
            code = ExitCode.DONE
            if states & {"rejected", "invalid"}:
                code = ExitCode.FAILURES
            if states & {"in_doubt"} or excess:
                code = ExitCode.DOUBT
            if any(name == job.id and state == "pending" for name, _, _, state, *_ in self.rows):
                code = ExitCode.STOPPED
            if last[job.id].exit_code is not code:
                self.say(f"{job.id} ended with {last[job.id].exit_code!r} and should with {code!r}: {states}")
            if len(rows) != last[job.id].job.rows:
                self.say(f"{job.id} lost rows")

    # --- promise 4 ----------------------------------------------------------------------------------------------

    def _limit(self) -> None:
        worst = self.book.worst_window(self.plan.per)
        if worst > self.plan.rate:
            self.say(f"{worst} requests in {self.plan.per:g} s, {self.plan.rate} allowed")

    # --- promise 2 ----------------------------------------------------------------------------------------------

    def _coupons(self) -> dict[tuple[str, int], list[Entry]]:
        """Coupons that requests have brought, by `--again` name and customer."""
        again = {job.id: job.again for job, _ in self.plan.jobs}
        found: dict[tuple[str, int], list[Entry]] = defaultdict(list)
        for entry in self.book.coupons:
            assert entry.request is not None
            found[again[entry.request.job], entry.customer].append(entry)
        return found

    def _one_coupon_each(self) -> None:
        coupons = self._coupons()
        for (again, customer), entries in coupons.items():
            if len(entries) > 1:
                self.say(f"customer {customer} has {len(entries)} coupons ({again!r}): {entries}")
        settled: dict[tuple[str, int], set[str]] = defaultdict(set)
        for job, again, number, state, _, key, code, _ in self.rows:
            if key is None:
                continue
            customer = self.server.customer(key)
            entries = coupons.get((again, customer), [])
            settled[again, customer].add(state)
            new = self.plan.repeat in (Repeat.NEW, Repeat.REFUSED)
            if state == "issued" and new and [entry.code.lower() for entry in entries] != [code]:
                self.say(f"{job}/{number} has code {code}, the book {entries}")
            if state == "held" and entries:
                self.say(f"{job}/{number} is held, and its coupon is {entries}")
        for name, states in settled.items():
            if coupons.get(name) and not states & {"issued", "in_doubt"}:
                self.say(f"customer {name} has a coupon that no row has: {states}")
        for job, number, code in self.host.ask(_EXCESS):
            customer = next(self.server.customer(row[5]) for row in self.rows if (row[0], row[2]) == (job, number))
            if customer not in self.history.ambiguous:
                self.say(f"{job}/{number} has {code} in excess, and there is none")

    def _codes_exist(self) -> None:
        for job, _, number, state, _, key, code, _ in self.rows:
            if (state == "issued") != (code is not None):
                self.say(f"{job}/{number} is {state} with code {code}")
            if code is None:
                continue
            entries = self.book.of(self.server.customer(key))
            if code not in {entry.code.lower() for entry in entries}:
                self.say(f"{job}/{number} has a code that its customer doesn't have")

    def _doubts_have_a_reason(self) -> None:
        for job, again, number, state, kind, key, _, _ in self.rows:
            if state != "in_doubt" or self.plan.blind or key in self.plan.unknown:
                continue
            customer = self.server.customer(key)
            proofs = self.host.ask(_PROOFS, job, kind)
            has_one = any(entry.series == SERIES for entry in self.book.of(customer))
            if not proofs or customer in self.history.ambiguous or (has_one and self.plan.reboots):
                continue
            if has_one and min(took for (took,) in proofs) > MEASURABLE:
                continue
            if self.plan.repeat is Repeat.SAME and (self.plan.older or self.history.ambiguous):
                continue  # the reader may be measured with a coupon that is older than the reply that gave it
            self.say(f"{job}/{number} ({again!r}) is left in doubt: {self.book.of(customer)}, {self._facts(job)}")

    def _facts(self, job: str) -> list[Any]:
        query = "SELECT readers.* FROM readers JOIN jobs ON jobs.seq = readers.job WHERE jobs.id = ?"
        return self.host.ask(query, job)

    # --- outside of what it rests on ----------------------------------------------------------------------------

    def _excess_is_told(self) -> None:
        told = {(job, number, code) for job, number, code in self.host.ask(_EXCESS)}
        coupons = self._coupons()
        stopped = {job.id for job, ended in self.history.ends[-len(self.plan.jobs) :] if _stopped(ended)}
        for job, again, number, state, kind, key, code, doubted in self.rows:
            if not doubted or state in OPEN or job in stopped or not self._could_look(job, kind):
                continue
            for entry in coupons.get((again, self.server.customer(key)), []):
                its = entry.code.lower()
                if entry.request is None or (entry.request.job, entry.request.row) != (job, number):
                    continue
                if its != code and (job, number, its) not in told:
                    self.say(f"{job}/{number} ({state}) has {code}; nobody tells of {entry}")

    def _could_look(self, job: str, kind: str) -> bool:
        query = (
            "SELECT 1 FROM readers JOIN jobs ON jobs.seq = readers.job"
            " WHERE jobs.id = ? AND kind = ? AND offset IS NOT NULL"
        )
        return not self.plan.blind and bool(self.host.ask(query, job, kind))


def _stopped(ended: object) -> bool:
    """Whether a run ended before its job did: then the last look is still to come."""
    return isinstance(ended, Ending) and ended.exit_code is ExitCode.STOPPED


_FIRSTS = (
    "SELECT first.state FROM rows JOIN jobs ON jobs.seq = rows.job"
    " JOIN rows AS first ON first.job = rows.of_job AND first.number = rows.of_row"
    " WHERE jobs.id = ? AND rows.state = 'duplicate'"
)
_EXCESS = "SELECT jobs.id, excess.row, lower(excess.code) FROM excess JOIN jobs ON jobs.seq = excess.job"
_PROOFS = (
    "SELECT at_boot - begun_boot FROM rows JOIN jobs ON jobs.seq = rows.job"
    " JOIN attempts ON attempts.job = rows.job AND attempts.row = number AND attempts.attempt = rows.attempt"
    " WHERE jobs.id = ? AND rows.kind = ? AND rows.state = 'issued' AND rows.doubted = 0"
)
