"""What must hold of a history: the server's book against the ledger.

*Within* what promise 2 rests on: exactly one coupon for each customer and `--again` name, its code in the ledger, and
no row left in doubt but where the tool can't know: reading is refused, no reply of the job has given a coupon to
prove the reader (or, quickly enough, to measure its clock) with, the customer isn't known to the record, or another
channel's coupon can't be told from ours (after a reboot, ours neither: only the wall clock tells its age, and that
may have been set). A customer whom the files name in two ways may get a coupon under each until a reply has told both
names; then no more, and that there are two is told. A name that replies of two customers bore makes nobody a duplicate.

*Outside* (a request delivered twice, or taking effect after the grace) a customer may have more. The tool looks again
at rows that were ever in doubt, once, at the job's end: each coupon of such a row that the record showed then must be
that row's own, recorded as excess, or its row in doubt still. A row whose request was answered clearly is never
looked at again: a second delivery of that request is for `audit` to find.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Its:
    """A row as the ledger file has it; one that only stands for another's is left out or followed."""

    seq: int
    job: str
    again: str
    number: int
    #: The job that works it.
    queue: str
    state: str
    kind: str | None
    key: str | None
    #: In lower case.
    code: str | None
    doubted: bool
    of: tuple[int, int]


class _Oracle:
    def __init__(self, history: History) -> None:
        self.history, self.plan = history, history.plan
        self.host, self.server, self.book = history.host, history.server, history.server.book
        self.say = history.complaints.append
        self.all = {
            (each[0], each[3]): Its(
                seq=each[0],
                job=each[1],
                again=each[2],
                number=each[3],
                queue=each[4],
                state=each[5],
                kind=each[6],
                key=each[7],
                code=each[8],
                doubted=bool(each[9]),
                of=each[10:12],
            )
            for each in self.host.ask(_ROWS)
        }
        self.rows = [row for row in self.all.values() if row.state != "linked"]
        self.keys = {(row.job, row.number): row.key for row in self.rows}
        self.twofold = {self.server.customer(first.key) for first in self.plan.twofold.values()}
        self.excess = [(job, number, code) for job, number, code in self.host.ask(_EXCESS)]

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
            self._one_coupon_of_all_names()
            self._a_placeholder_names_nobody()
            self._doubts_have_a_reason()
        else:
            self._excess_is_told()
        self._codes_exist()

    # --- promise 3 ----------------------------------------------------------------------------------------------

    def _nothing_lost(self) -> None:
        for job, rows in self.history.jobs:
            numbers = [row.number for row in self.all.values() if row.job == job.id]
            if numbers != [row.number for row in rows]:
                self.say(f"{job.id} has rows {numbers}")
        for row in self.rows:
            if row.state == "in_flight" or (row.state == "pending" and not self._waits(row)):
                self.say(f"{row.job}/{row.number} is {row.state} when all is over")

    def _waits(self, row: Its) -> bool:
        """Whether a row of the same customer is in doubt under another `--again` name: until that is settled."""
        return any(its.again != row.again and its.key == row.key and its.state == "in_doubt" for its in self.rows)

    def _exit_codes(self) -> None:
        last: dict[str, Ending] = {}
        for job, ended in self.history.ends:
            if isinstance(ended, Ending):
                last[job.id] = ended
                if sum(ended.tally.values()) != ended.job.rows:
                    self.say(f"{job.id} counts {ended.tally} and has {ended.job.rows} rows")
            elif isinstance(ended, BulkIssueError) and ended.exit_code not in (6, 7):
                self.say(f"{job.id} ended with {ended!r}")
        for job, rows in self.history.jobs:
            if job.id not in last:
                self.say(f"{job.id} never ended")
                continue
            code = self._expected(job.id)
            if last[job.id].exit_code is not code:
                self.say(f"{job.id} ended with {last[job.id].exit_code!r} and should with {code!r}")
            if len(rows) != last[job.id].job.rows:
                self.say(f"{job.id} lost rows")

    def _expected(self, job: str) -> ExitCode:
        """What the job's last run should have ended with, by how its rows stand."""
        meant = [self._meant(row) for row in self.all.values() if row.job == job]
        # whose customer another row has, that row counts
        states = {self._followed(row).state for row in meant}
        named = {(row.job, row.number) for row in meant}
        if any(row.state == "pending" and row.queue == job for row in self.rows):
            return ExitCode.STOPPED
        if states & {"pending", "cancelled"}:
            return ExitCode.ASKED
        if "in_doubt" in states or any((name, number) in named for name, number, _ in self.excess):
            return ExitCode.DOUBT
        return ExitCode.FAILURES if states & {"rejected", "invalid"} else ExitCode.DONE

    def _meant(self, row: Its) -> Its:
        """The row itself, where a record of a rerun only stands for it."""
        while row.state == "linked":
            row = self.all[row.of]
        return row

    def _followed(self, row: Its) -> Its:
        """The row that had the claim."""
        return self._meant(self.all[row.of]) if row.state == "duplicate" else row

    # --- promise 4 ----------------------------------------------------------------------------------------------

    def _limit(self) -> None:
        worst = self.book.worst_window(self.plan.per)
        if worst > self.plan.rate:
            self.say(f"{worst} requests in {self.plan.per:g} s, {self.plan.rate} allowed")

    # --- promise 2 ----------------------------------------------------------------------------------------------

    def _coupons(self) -> dict[tuple[str, str | None], list[Entry]]:
        """Coupons that requests have brought, by `--again` name and the name of the customer in the request."""
        again = {job.id: job.again for job, _ in self.history.jobs}
        found: dict[tuple[str, str | None], list[Entry]] = defaultdict(list)
        for entry in self.book.coupons:
            assert entry.request is not None
            found[again[entry.request.job], self.keys[entry.request.job, entry.request.row]].append(entry)
        return found

    def _one_coupon_each(self) -> None:
        coupons = self._coupons()
        for (again, key), entries in coupons.items():
            if len(entries) > 1:
                self.say(f"customer {key} has {len(entries)} coupons ({again!r}): {entries}")
        settled: dict[tuple[str, str | None], set[str]] = defaultdict(set)
        for row in self.rows:
            if row.key is None:
                continue
            entries = coupons.get((row.again, row.key), [])
            settled[row.again, row.key].add(row.state)
            new = self.plan.repeat in (Repeat.NEW, Repeat.REFUSED) and self.server.customer(row.key) not in self.twofold
            if row.state == "issued" and new and [entry.code.lower() for entry in entries] != [row.code]:
                self.say(f"{row.job}/{row.number} has code {row.code}, the book {entries}")
            if row.state == "held" and entries:
                self.say(f"{row.job}/{row.number} is held, and its coupon is {entries}")
        for name, states in settled.items():
            if coupons.get(name) and not states & {"issued", "in_doubt"}:
                self.say(f"customer {name} has a coupon that no row has: {states}")
        for job, number, code in self.excess:
            customer = self.server.customer(self.keys[job, number] or "")
            if customer not in self.history.ambiguous | self.twofold:
                self.say(f"{job}/{number} has {code} in excess, and there is none")

    def _a_placeholder_names_nobody(self) -> None:
        """Once replies of two customers bore a name, a row is a duplicate by it only of one that names it itself."""
        shared = self.plan.placeholder
        if shared is None or len(self.host.told_of.get(shared.key, ())) < 2:
            return
        for row in self.rows:
            if row.state == "duplicate" and row.key == shared.key and self._followed(row).key != shared.key:
                self.say(f"{row.job}/{row.number} is taken for the customer of {row.of}, by a placeholder")

    def _one_coupon_of_all_names(self) -> None:
        """A customer of two names may get a coupon under each, until a reply has told both; and then it is told."""
        again = {job.id: job.again for job, _ in self.history.jobs}
        query = "SELECT jobs.id, row FROM decisions JOIN jobs ON jobs.seq = decisions.job"
        decided = {(job, row) for job, row in self.host.ask(query)}
        of_customer: dict[tuple[str, int], list[Entry]] = defaultdict(list)
        for entry in self.book.coupons:
            assert entry.request is not None
            of_customer[again[entry.request.job], entry.customer].append(entry)
        for (name, customer), entries in of_customer.items():
            if customer not in self.twofold:
                continue
            for entry in entries:
                self._sent_unknowing(name, entry)
            its = [
                row for row in self.rows if row.again == name and row.key and self.server.customer(row.key) == customer
            ]
            if len(entries) < 2 or any(row.state == "in_doubt" for row in its):
                continue
            names = {(row.job, row.number) for row in its}
            if names & decided:
                continue  # a person names a code and no customer
            told = {code for job, number, code in self.excess if (job, number) in names}
            if not told:
                self.say(f"nobody tells that customer {customer} has {entries}")

    def _sent_unknowing(self, again: str, entry: Entry) -> None:
        """No coupon came of a request that was begun when a reply had told of its customer by that very name."""
        assert entry.request is not None
        request = entry.request.job, entry.request.row
        known = self.host.named.get((again, self.keys[request] or ""))
        begun = self.host.begun.get((*request, entry.request.attempt))
        if known is not None and begun is not None and begun > known and self.plan.repeat is Repeat.NEW:
            self.say(f"{request} was sent for a customer whom an earlier reply had named so")

    def _codes_exist(self) -> None:
        for row in self.rows:
            if (row.state == "issued") != (row.code is not None):
                self.say(f"{row.job}/{row.number} is {row.state} with code {row.code}")
            if row.code is None or row.key is None:
                continue
            entries = self.book.of(self.server.customer(row.key))
            if row.code not in {entry.code.lower() for entry in entries}:
                self.say(f"{row.job}/{row.number} has a code that its customer doesn't have")

    def _doubts_have_a_reason(self) -> None:
        for row in self.rows:
            if row.state != "in_doubt" or self.plan.blind or row.key is None:
                continue
            customer = self.server.customer(row.key)
            missing = row.key in self.plan.unknown or (self.plan.unlisted and not self.book.of(customer))
            if missing and not self.plan.tells_bearers:
                continue
            proofs = self.host.ask(_PROOFS, row.job, row.kind)
            has_one = any(entry.series == SERIES for entry in self.book.of(customer))
            vague = customer in self.history.ambiguous | self.twofold
            if not proofs or vague or (has_one and self.plan.reboots):
                continue
            if has_one and min(took for (took,) in proofs) > MEASURABLE:
                continue
            if self.plan.repeat is Repeat.SAME and (self.plan.older or self.history.ambiguous):
                continue  # the reader may be measured with a coupon that is older than the reply that gave it
            name = f"{row.job}/{row.number} ({row.again!r})"
            self.say(f"{name} is left in doubt: {self.book.of(customer)}, {self._facts(row.job)}")

    def _facts(self, job: str) -> list[Any]:
        query = "SELECT readers.* FROM readers JOIN jobs ON jobs.seq = readers.job WHERE jobs.id = ?"
        return self.host.ask(query, job)

    # --- outside of what it rests on ----------------------------------------------------------------------------

    def _excess_is_told(self) -> None:
        # of two requests of one customer either may have brought the coupon that either row has
        told = {(self.keys[job, number], code) for job, number, code in self.excess}
        told |= {(row.key, row.code) for row in self.rows}
        coupons = self._coupons()
        # told when that row is settled: until then the record may show a coupon of its own beside these
        open_elsewhere = {row.key for row in self.rows if row.state in OPEN}
        stopped = {job.id for job, ended in self.history.ends[-len(self.history.jobs) :] if _stopped(ended)}
        for row in self.rows:
            closed = row.doubted and row.state not in OPEN and row.kind is not None
            if (
                not closed
                or row.key in open_elsewhere
                or row.queue in stopped
                or not self._could_look(row.queue, str(row.kind))
            ):
                continue
            for entry in coupons.get((row.again, row.key), []):
                its = entry.code.lower()
                if entry.request is None or (entry.request.job, entry.request.row) != (row.job, row.number):
                    continue
                if (row.key, its) not in told:
                    self.say(f"{row.job}/{row.number} ({row.state}) has {row.code}; nobody tells of {entry}")

    def _could_look(self, job: str, kind: str) -> bool:
        query = (
            "SELECT 1 FROM readers JOIN jobs ON jobs.seq = readers.job"
            " WHERE jobs.id = ? AND kind = ? AND offset IS NOT NULL"
        )
        return not self.plan.blind and bool(self.host.ask(query, job, kind))


def _stopped(ended: object) -> bool:
    """Whether a run ended before its job did: then the last look is still to come."""
    return isinstance(ended, Ending) and ended.exit_code is ExitCode.STOPPED


_ROWS = (
    "SELECT rows.job, jobs.id, jobs.again, rows.number, work.id, rows.state, rows.kind, rows.key, lower(rows.code),"
    " rows.doubted, rows.of_job, rows.of_row FROM rows JOIN jobs ON jobs.seq = rows.job"
    " JOIN jobs AS work ON work.seq = rows.queue ORDER BY rows.job, rows.number"
)
_EXCESS = "SELECT jobs.id, excess.row, lower(excess.code) FROM excess JOIN jobs ON jobs.seq = excess.job"
_PROOFS = (
    "SELECT at_boot - begun_boot FROM rows JOIN jobs ON jobs.seq = rows.job"
    " JOIN attempts ON attempts.job = rows.job AND attempts.row = number AND attempts.attempt = rows.attempt"
    " WHERE jobs.id = ? AND rows.kind = ? AND rows.state = 'issued' AND rows.doubted = 0"
)
