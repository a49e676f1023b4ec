"""Who may send what, now: intents with their claims and permits, and what answers do to them.

Promises 1, 2 and 4 are kept here. `begin` writes intent, claim, permit and attempt in one transaction or none of them;
`finish` moves a row only from a state and attempt that the table in `states` allows, and tells who came too late.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from sqlalchemy import Connection, and_, bindparam, exists, func, or_, select, update

from bulk_issue.alike import form
from bulk_issue.ledger import permits
from bulk_issue.ledger.answers import settle
from bulk_issue.ledger.batch import insert_many, update_many
from bulk_issue.ledger.claims import Looks, claimed, look_alikes
from bulk_issue.ledger.database import AnyRow, Face, beside, transaction
from bulk_issue.ledger.restored import put_in_doubt
from bulk_issue.ledger.runs import may_begin
from bulk_issue.ledger.schema import RETRIED, SENDABLE, STILL_OPEN, attempts, claims, excess, jobs, rows
from bulk_issue.model import Alike, Identifier, IdentifierKind, Intent, JobId, Lineage, Moment, Tally, Withheld
from bulk_issue.ports import Begun, Budget, Hold, Landed, Settlement, Wait
from bulk_issue.rows import withheld
from bulk_issue.shown import EXCLUDED
from bulk_issue.states import OPEN, Event, RowState, after

#: A `due` further ahead than any backoff is the work of a stepped clock: such rows become due.
FAR_AHEAD = 120.0
#: Seconds for which a row waits whose customer has a row of the series open under another `again` name.
OPEN_ELSEWHERE = 5.0
#: Duplicates that one transaction passes at most, so that it stays short.
PASSED_AT_ONCE = 500

#: The next rows that are due, fresh ones first.
_DUE = (
    select(
        rows.c.job,
        rows.c.number,
        rows.c.kind,
        rows.c.value,
        rows.c.key,
        rows.c.attempt,
        rows.c.spent,
        rows.c.doubted,
        rows.c.restored,
        jobs.c.id,
        jobs.c.series_id,
        jobs.c.scope,
        jobs.c.again,
    )
    .join(jobs, jobs.c.seq == rows.c.job)
    .where(rows.c.queue == bindparam("queue"), SENDABLE, rows.c.due <= bindparam("now"))
    .order_by(rows.c.due, rows.c.number)
    .limit(bindparam("n"))
    .with_for_update(of=rows, skip_locked=True)
)
_NEXT_DUE = select(func.min(rows.c.due)).where(rows.c.queue == bindparam("queue"), SENDABLE)
#: The same of all pending rows, and of those that a person has put back.
_ITS_DUE = {False: _DUE, True: _DUE.where(RETRIED)}
_ITS_NEXT_DUE = {False: _NEXT_DUE, True: _NEXT_DUE.where(RETRIED)}
_CLAIM = insert_many(
    claims, "scope", "key", "again", "job", "row", "open", "alike", "learned", if_new=True, returning="job, row"
)
_ATTEMPT = insert_many(attempts, "job", "row", "attempt", "holder", "begun_wall", "begun_boot", "begun_boot_id")
_STILL = "rows.state = 'pending'"
_BEGIN = update_many(rows, ("job", "number"), ("state", "attempt", "holder"), also=_STILL)
_DUPLICATE = update_many(rows, ("job", "number"), ("state", "of_job", "of_row"), also=_STILL)
_LATER = update_many(rows, ("job", "number"), ("due",), also=_STILL)
_HOLD_BACK = update_many(rows, ("job", "number"), ("withheld", "error_code", "reason"), also=_STILL)


class LedgerWork(Face):
    """See `ports.Work`."""

    @beside
    def begin(self, tx: Connection, hold: Hold, n: int, budget: Budget, now: Moment, send_within: float) -> Begun:
        return self._begin(tx, hold, n, budget, now, send_within)

    @transaction
    def turn(
        self,
        tx: Connection,
        settlements: Sequence[Settlement],
        hold: Hold,
        n: int,
        budget: Budget,
        now: Moment,
        send_within: float,
    ) -> tuple[Sequence[Landed], Begun]:
        return self._finish(tx, settlements), self._begin(tx, hold, n, budget, now, send_within)

    def _begin(self, tx: Connection, hold: Hold, n: int, budget: Budget, now: Moment, send_within: float) -> Begun:
        queue = self._db.number(tx, hold.job)
        looks_alike = may_begin(tx, queue, hold)
        at, was_set = self._db.dialect.clock(tx, budget.account, now)
        if was_set:
            permits.clock_was_set(tx, budget, at)
        free, seconds = permits.free_now(tx, budget, at)
        wanted = min(n, free)
        won, passed, sendable = self._take(tx, queue, wanted, hold, now, looks_alike)
        permits.take(tx, budget, at, send_within, [(row.job, row.number, row.attempt + 1) for row in won])
        intents = self._intents(tx, won, hold, now, send_within)
        if (n and len(intents) == n) or passed >= PASSED_AT_ONCE:
            return Begun(intents=intents, duplicates=passed)
        if sendable:  # there are rows, but no permits
            return Begun(intents=intents, duplicates=passed, wait=Wait.PERMITS, seconds=seconds)
        due = tx.scalar(_ITS_NEXT_DUE[hold.retried], {"queue": queue})
        if due is None:
            return Begun(intents=intents, duplicates=passed, wait=Wait.DRAINED)
        if len(intents) == free:
            return Begun(intents=intents, duplicates=passed, wait=Wait.PERMITS, seconds=seconds)
        late = rows.c.due > now.wall + FAR_AHEAD
        if tx.execute(update(rows).where(rows.c.queue == queue, SENDABLE, late).values(due=now.wall)).rowcount:
            due = now.wall
        return Begun(intents=intents, duplicates=passed, wait=Wait.DUE, seconds=max(due - now.wall, 0.0))

    def _take(
        self, tx: Connection, queue: int, wanted: int, hold: Hold, now: Moment, looks_alike: Alike | None
    ) -> tuple[list[AnyRow], int, bool]:
        """Claim the customers of the next rows, as many as wanted, and set aside the rows before them that can't be.

        The rows that got their claim, how many were set aside, and whether there is another one that could be sent. A
        row that loses its claim costs neither permit nor pace: it is passed whether or not there is a permit.
        """
        won, passed, look = list[AnyRow](), 0, max(wanted, 1)
        while passed < PASSED_AT_ONCE:
            pending = tx.execute(_ITS_DUE[hold.retried], {"queue": queue, "now": now.wall, "n": look}).all()
            free, lost = self._parted(tx, pending)
            free, same, held = self._looked_alike(tx, queue, free, looks_alike)
            lost += same
            room = wanted - len(won)
            winners = self._claim(tx, free[:room])
            unknown = put_in_doubt(tx, winners, now)
            winners = [row for row in winners if (row.job, row.number) not in unknown]
            self._fly(tx, winners, hold)
            self._set_aside(tx, lost, now)
            self._hold_back(tx, held)
            won += winners
            passed += len(lost) + len(held) + len(unknown)
            if not pending or (len(won) == wanted and (len(free) > room or not (lost or held))):
                return won, passed, len(free) > room
            look = PASSED_AT_ONCE if not winners else max(wanted - len(won), 1)
        return won, passed, False

    def _parted(self, tx: Connection, pending: Sequence[AnyRow]) -> tuple[list[AnyRow], list[tuple[AnyRow, AnyRow]]]:
        """Rows whose customer is free, and those whose customer another row claims, with the claim.

        Of several rows of one customer only the first is in either: the others come up again.
        """
        taken = claimed(tx, ((row.scope, row.key) for row in pending))
        free, lost = dict[tuple[str, str], AnyRow](), list[tuple[AnyRow, AnyRow]]()
        for row in pending:
            theirs = taken.get((row.scope, row.key), ())
            same = next((claim for claim in theirs if claim.again == row.again), None)
            other = same or next((claim for claim in theirs if claim.open), None)
            if other is None:
                free.setdefault((row.scope, row.key), row)
            else:
                lost.append((row, other))
        return list(free.values()), lost

    def _looked_alike(
        self, tx: Connection, queue: int, free: Sequence[AnyRow], word: Alike | None
    ) -> tuple[list[AnyRow], list[tuple[AnyRow, AnyRow]], list[tuple[AnyRow, AnyRow]]]:
        """Of rows whose customer is free: those that may go, duplicates by a person's word, and those to hold back.

        The latter two have a claim of another job on somebody who looks like their customer. Two jobs that begin such
        customers at the very same moment don't see each other; no index can hold that they may be one.
        """
        if word is Alike.SEND:
            return list(free), [], []
        wanted = {(row.job, row.number): Looks(row.scope, row.again, row.key, (row.job, queue)) for row in free}
        found = look_alikes(tx, wanted.values())
        if not found:
            return list(free), [], []
        alike = [(row, claim) for row in free if (claim := found.get(wanted[row.job, row.number])) is not None]
        others = [row for row in free if wanted[row.job, row.number] not in found]
        return (others, alike, []) if word is Alike.SKIP else (others, [], alike)

    def _hold_back(self, tx: Connection, held: Sequence[tuple[AnyRow, AnyRow]]) -> None:
        """Rows that wait until a person says whether their customer is the one who was served."""
        why = Withheld.ALIKE_SERVED
        _HOLD_BACK(
            tx,
            [
                {
                    "job": row.job,
                    "number": row.number,
                    "withheld": str(why),
                    "error_code": str(why),
                    "reason": withheld(why, Lineage(job=JobId(claim.id), row=claim.row)).reason,
                }
                for row, claim in held
            ],
        )

    def _claim(self, tx: Connection, free: Sequence[AnyRow]) -> list[AnyRow]:
        """Claim these customers; the rows that got their claim.

        The others lost it to another process just now (only where several write at once), and come up again.
        """
        asked = [(row.scope, row.key, row.again, row.job, row.number, 1, form(row.key), 0) for row in free]
        landed = {(claim.job, claim.row) for claim in _CLAIM.select(tx, asked)}
        return [row for row in free if (row.job, row.number) in landed]

    def _fly(self, tx: Connection, winners: Sequence[AnyRow], hold: Hold) -> None:
        """These rows, which have their claim, are in flight."""
        in_flight = str(after(RowState.PENDING, Event.BEGIN))
        _BEGIN(
            tx,
            [
                {
                    "job": row.job,
                    "number": row.number,
                    "state": in_flight,
                    "attempt": row.attempt + 1,
                    "holder": hold.token,
                }
                for row in winners
            ],
        )

    def _set_aside(self, tx: Connection, lost: Sequence[tuple[AnyRow, AnyRow]], now: Moment) -> None:
        """Rows without a claim: duplicates of the row that has it, or to be tried again when that has settled."""
        duplicate = str(after(RowState.PENDING, Event.CLAIM_LOST))
        same = [(row, claim) for row, claim in lost if claim.again == row.again]
        waiting = [row for row, claim in lost if claim.again != row.again]
        _DUPLICATE(
            tx,
            [
                {
                    "job": row.job,
                    "number": row.number,
                    "state": duplicate,
                    "of_job": claim.job,
                    "of_row": claim.row,
                }
                for row, claim in same
            ],
        )
        later = now.wall + OPEN_ELSEWHERE
        _LATER(tx, [{"job": row.job, "number": row.number, "due": later} for row in waiting])

    def _intents(
        self, tx: Connection, won: Sequence[AnyRow], hold: Hold, now: Moment, send_within: float
    ) -> list[Intent]:
        """Attempts of rows that got their claim, and what is to be sent of them."""
        _ATTEMPT(
            tx,
            [
                {
                    "job": row.job,
                    "row": row.number,
                    "attempt": row.attempt + 1,
                    "holder": hold.token,
                    "begun_wall": now.wall,
                    "begun_boot": now.boot,
                    "begun_boot_id": now.boot_id,
                }
                for row in won
            ],
        )
        return [
            Intent(
                job=JobId(row.id),
                row=row.number,
                attempt=row.attempt + 1,
                spent=row.spent,
                doubted=bool(row.doubted),
                holder=hold.token,
                series_id=row.series_id,
                identifier=Identifier(IdentifierKind(row.kind), row.value, row.key),
                begun=now,
                send_by=now.boot + send_within,
            )
            for row in won
        ]

    # --- what answers do ----------------------------------------------------------------------------------------

    @transaction
    def finish(self, tx: Connection, settlements: Sequence[Settlement]) -> Sequence[Landed]:
        return self._finish(tx, settlements)

    def _finish(self, tx: Connection, settlements: Sequence[Settlement]) -> list[Landed]:
        numbers = {name: self._db.number(tx, name) for name in {s.intent.job for s in settlements}}
        requests = [(numbers[s.intent.job], s.intent.row, s.intent.attempt) for s in settlements]
        arrived = self._db.dialect.arrived(tx)
        permits.answered(tx, [(*r, arrived or s.at) for r, s in zip(requests, settlements, strict=True) if s.answered])
        permits.never_left(tx, [r for r, s in zip(requests, settlements, strict=True) if not s.left])
        return settle(tx, requests, settlements)

    @transaction
    def pause(self, tx: Connection, account: str, seconds: float, now: Moment) -> None:
        permits.pause(tx, account, seconds, self._db.dialect.clock(tx, account, now)[0])

    # --- counts -------------------------------------------------------------------------------------------------

    @beside
    def pending(self, tx: Connection, job: JobId, *, retried: bool = False) -> int:
        which = [rows.c.queue == self._db.number(tx, job), SENDABLE, *([RETRIED] if retried else [])]
        return tx.scalar(select(func.count()).select_from(rows).where(*which)) or 0

    @beside
    def unfinished(self, tx: Connection, job: JobId) -> int:
        return sum(self._still_open(tx, job).values())

    @beside
    def still_open(self, tx: Connection, job: JobId) -> Tally:
        return self._still_open(tx, job)

    def _still_open(self, tx: Connection, job: JobId) -> Tally:
        queue = self._db.number(tx, job)
        # a query for each partial index, and one statement: what moves from state to state is seen in one of them
        each = [select(func.count()).select_from(rows).where(rows.c.queue == queue, state) for state in STILL_OPEN]
        counts = tx.execute(select(*(count.scalar_subquery() for count in each))).one()
        return dict(zip((RowState.PENDING, RowState.IN_FLIGHT, RowState.IN_DOUBT), counts, strict=True))

    @beside
    def waiting_in(self, tx: Connection, job: JobId) -> Sequence[JobId]:
        return waiting_in(tx, self._db.number(tx, job))

    @beside
    def tally(self, tx: Connection, job: JobId) -> Tally:
        return tally(tx, self._db.number(tx, job))

    @beside
    def firsts(self, tx: Connection, job: JobId) -> Tally:
        """DUPLICATE rows by the state of the row that has their claim."""
        first = rows.alias()
        seq = self._db.number(tx, job)
        counted = tx.execute(
            select(first.c.state, func.count())
            .select_from(rows)
            .join(first, and_(first.c.job == rows.c.of_job, first.c.number == rows.c.of_row))
            .where(rows.c.job == seq, rows.c.state == "duplicate")
            .group_by(first.c.state)
        )
        counts = Counter({RowState(state): count for state, count in counted})
        real = rows.alias()
        through = tx.execute(
            select(first.c.state, func.count())
            .select_from(rows)
            .join(real, and_(real.c.job == rows.c.of_job, real.c.number == rows.c.of_row))
            .join(first, and_(first.c.job == real.c.of_job, first.c.number == real.c.of_row))
            .where(rows.c.job == seq, rows.c.state == "linked", real.c.state == "duplicate")
            .group_by(first.c.state)
        )
        for state, count in through:
            counts[RowState(state)] += count
        return dict(counts)

    @beside
    def excluded(self, tx: Connection, job: JobId) -> int:
        its = and_(rows.c.job == self._db.number(tx, job), rows.c.state == str(RowState.INVALID))
        return tx.scalar(select(func.count()).select_from(rows).where(its, rows.c.error_code == EXCLUDED)) or 0

    @beside
    def excess(self, tx: Connection, job: JobId) -> int:
        seq = self._db.number(tx, job)
        its = and_(rows.c.of_job == excess.c.job, rows.c.of_row == excess.c.row)
        linked = exists().where(rows.c.job == seq, rows.c.state == "linked", its)
        mine = or_(excess.c.job == seq, linked)
        return tx.scalar(select(func.count()).select_from(excess).where(mine)) or 0


# --- shared with the other faces --------------------------------------------------------------------------------


def tally(tx: Connection, seq: int) -> Tally:
    """Rows of a job by state; a LINKED row counts as the row that it is linked to."""
    counts: Counter[RowState] = Counter()
    for state, count in tx.execute(select(rows.c.state, func.count()).where(rows.c.job == seq).group_by(rows.c.state)):
        counts[RowState(state)] = count
    if counts.pop(RowState.LINKED, 0):
        meant = rows.alias()
        for state, count in tx.execute(
            select(meant.c.state, func.count())
            .select_from(rows)
            .join(meant, and_(meant.c.job == rows.c.of_job, meant.c.number == rows.c.of_row))
            .where(rows.c.job == seq, rows.c.state == "linked")
            .group_by(meant.c.state)
        ):
            counts[RowState(state)] += count
    return dict(counts)


def waiting_in(tx: Connection, seq: int) -> Sequence[JobId]:
    """The other jobs that work rows of this one which may still change."""
    theirs = select(rows.c.queue).where(rows.c.job == seq, rows.c.state.in_(OPEN), rows.c.queue != seq)
    return [JobId(name) for name in tx.scalars(select(jobs.c.id).where(jobs.c.seq.in_(theirs)).order_by(jobs.c.seq))]
