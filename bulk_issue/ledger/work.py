"""Who may send what, now: intents with their claims and permits, and what answers do to them.

Promises 1, 2 and 4 are kept here. `begin` writes intent, claim, permit and attempt in one transaction or none of them;
`finish` moves a row only from a state and attempt that the table in `states` allows, and tells who came too late.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, and_, bindparam, exists, func, insert, or_, select, update

from bulk_issue.errors import JobHeld
from bulk_issue.ledger import permits
from bulk_issue.ledger.claims import claim_aliases, codes_of_others, keep_claim, record_excess
from bulk_issue.ledger.coupons import dump_coupon, dump_warnings
from bulk_issue.ledger.database import AnyRow, Face, beside, transaction, upsert
from bulk_issue.ledger.schema import PENDING, STILL_OPEN, WORKED_BY, attempts, claims, excess, jobs, rows
from bulk_issue.model import Identifier, IdentifierKind, Intent, JobId, Moment, Tally
from bulk_issue.ports import Begun, Budget, Hold, Landed, Settlement, Wait
from bulk_issue.states import OPEN, Event, RowState, after

#: A `due` further ahead than any backoff is the work of a stepped clock: such rows become due.
FAR_AHEAD = 120.0
#: Seconds for which a row waits whose customer has a row of the series open under another `again` name.
OPEN_ELSEWHERE = 5.0
#: Duplicates that one transaction passes at most, so that it stays short.
PASSED_AT_ONCE = 500


class LedgerWork(Face):
    """See `ports.Work`."""

    @beside
    def begin(self, tx: Connection, hold: Hold, n: int, budget: Budget, now: Moment, send_within: float) -> Begun:
        queue = self._db.number(tx, hold.job)
        if tx.scalar(select(jobs.c.holder).where(jobs.c.seq == queue)) != hold.token:
            raise JobHeld(f"job {hold.job} was taken over by another run", hint="Let that run go on.")
        at, was_set = self._db.dialect.clock(tx, budget.account, now)
        if was_set:
            permits.clock_was_set(tx, budget, at)
        free, seconds = permits.free_now(tx, budget, at)
        if free == 0:
            nothing_left = self._next_due(tx, queue) is None
            return Begun(intents=(), wait=Wait.DRAINED if nothing_left else Wait.PERMITS, seconds=seconds)
        wanted, passed = min(n, free), 0
        won: list[AnyRow] = []
        while len(won) < wanted and passed < PASSED_AT_ONCE:
            pending = self._pending(tx, queue, wanted - len(won), now)
            if not pending:
                break
            winners = self._claim(tx, pending)
            passed += len(pending) - len(winners)
            won += winners
            self._begin_rows(tx, winners, hold)
            self._set_aside(tx, [row for row in pending if row not in winners], now)
        if won:
            taken = [(row.job, row.number, row.attempt + 1) for row in won]
            permits.take(tx, budget, at, send_within, taken)
        intents = self._intents(tx, won, hold, now, send_within)
        if len(intents) == n or passed >= PASSED_AT_ONCE:
            return Begun(intents=intents, duplicates=passed)
        if len(intents) == free:
            return Begun(intents=intents, duplicates=passed, wait=Wait.PERMITS, seconds=0.0)
        due = self._next_due(tx, queue)
        if due is None:
            return Begun(intents=intents, duplicates=passed, wait=Wait.DRAINED)
        late = rows.c.due > now.wall + FAR_AHEAD
        if tx.execute(update(rows).where(rows.c.queue == queue, PENDING, late).values(due=now.wall)).rowcount:
            due = now.wall
        return Begun(intents=intents, duplicates=passed, wait=Wait.DUE, seconds=max(due - now.wall, 0.0))

    def _pending(self, tx: Connection, queue: int, n: int, now: Moment) -> Sequence[AnyRow]:
        """The next rows that are due, fresh ones first."""
        return tx.execute(
            select(
                rows.c.job,
                rows.c.number,
                rows.c.kind,
                rows.c.value,
                rows.c.key,
                rows.c.attempt,
                rows.c.spent,
                rows.c.doubted,
                jobs.c.id,
                jobs.c.series_id,
                jobs.c.scope,
                jobs.c.again,
            )
            .join(jobs, jobs.c.seq == rows.c.job)
            .where(
                rows.c.queue == queue,
                PENDING,
                rows.c.due <= now.wall,
            )
            .order_by(rows.c.due, rows.c.number)
            .limit(n)
            .with_for_update(of=rows, skip_locked=True)
        ).all()

    def _next_due(self, tx: Connection, queue: int) -> float | None:
        due: float | None = tx.scalar(select(func.min(rows.c.due)).where(rows.c.queue == queue, PENDING))
        return due

    def _claim(self, tx: Connection, pending: Sequence[AnyRow]) -> list[AnyRow]:
        """Claim the customers of these rows; the rows that got their claim."""
        landed = tx.execute(
            upsert(tx, claims)
            .values(
                [
                    {
                        "scope": row.scope,
                        "key": row.key,
                        "again": row.again,
                        "job": row.job,
                        "row": row.number,
                        "open": 1,
                    }
                    for row in pending
                ]
            )
            .on_conflict_do_nothing()
            .returning(claims.c.job, claims.c.row)
        )
        names = {(job, number) for job, number in landed}
        return [row for row in pending if (row.job, row.number) in names]

    def _begin_rows(self, tx: Connection, won: Sequence[AnyRow], hold: Hold) -> None:
        if won:
            tx.execute(
                update(rows)
                .where(rows.c.job == bindparam("its_job"), rows.c.number == bindparam("its_row"))
                .where(PENDING)
                .values(state=str(after(RowState.PENDING, Event.BEGIN)), attempt=rows.c.attempt + 1, holder=hold.token),
                [{"its_job": row.job, "its_row": row.number} for row in won],
            )

    def _set_aside(self, tx: Connection, lost: Sequence[AnyRow], now: Moment) -> None:
        """Rows without a claim: duplicates of the row that has it, or to be tried again when that has settled."""
        for row in lost:
            winner = tx.execute(
                select(claims.c.job, claims.c.row).where(
                    claims.c.scope == row.scope, claims.c.key == row.key, claims.c.again == row.again
                )
            ).first()
            values: dict[str, Any] = {"due": now.wall + OPEN_ELSEWHERE}
            if winner is not None:
                state = str(after(RowState.PENDING, Event.CLAIM_LOST))
                values = {"state": state, "of_job": winner.job, "of_row": winner.row}
            tx.execute(update(rows).where(rows.c.job == row.job, rows.c.number == row.number, PENDING).values(values))

    def _intents(
        self, tx: Connection, won: Sequence[AnyRow], hold: Hold, now: Moment, send_within: float
    ) -> list[Intent]:
        if not won:
            return []
        tx.execute(
            insert(attempts),
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
        named = {name: self._db.number(tx, name) for name in {s.intent.job for s in settlements}}
        requests = [(named[s.intent.job], s.intent.row, s.intent.attempt) for s in settlements]
        arrived = self._db.dialect.arrived(tx)
        permits.answered(tx, [(*r, arrived or s.at) for r, s in zip(requests, settlements, strict=True) if s.answered])
        permits.never_left(tx, [r for r, s in zip(requests, settlements, strict=True) if not s.left])
        found = {
            (row.job, row.number): row
            for job in named.values()
            for row in self._standing(tx, job, [number for its_job, number, _ in requests if its_job == job])
        }
        verdicts = [
            self._settle(tx, found[request[:2]], settlement)
            for request, settlement in zip(requests, settlements, strict=True)
        ]
        tx.execute(
            update(attempts)
            .where(attempts.c.job == bindparam("its_job"), attempts.c.row == bindparam("its_row"))
            .where(attempts.c.attempt == bindparam("its_attempt"))
            .values(
                {
                    name: bindparam(f"new_{name}")
                    for name in ("at_wall", "at_boot", "sent", "event", "error_code", "reason", "request_id", "landed")
                }
            ),
            [
                {
                    "its_job": job,
                    "its_row": row,
                    "its_attempt": attempt,
                    "new_at_wall": s.at.wall,
                    "new_at_boot": s.at.boot,
                    "new_sent": int(s.left),
                    "new_event": str(s.event),
                    "new_error_code": s.outcome.error_code,
                    "new_reason": s.outcome.reason,
                    "new_request_id": s.outcome.request_id,
                    "new_landed": str(landed),
                }
                for (job, row, attempt), s, landed in zip(requests, settlements, verdicts, strict=True)
            ],
        )
        return verdicts

    def _standing(self, tx: Connection, job: int, numbers: Sequence[int]) -> Sequence[AnyRow]:
        """How these rows of a job stand. One job a query: SQLite reads a whole job for an IN over pairs."""
        return tx.execute(
            select(
                rows.c.job,
                rows.c.number,
                rows.c.key,
                rows.c.state,
                rows.c.attempt,
                rows.c.holder,
                rows.c.spent,
                rows.c.code,
                rows.c.sent_wall,
                jobs.c.scope,
                jobs.c.again,
                WORKED_BY.c.cancelled,
            )
            .join(jobs, jobs.c.seq == rows.c.job)
            .join(WORKED_BY, WORKED_BY.c.seq == rows.c.queue)
            .where(rows.c.job == job, rows.c.number.in_(numbers))
        ).all()

    def _settle(self, tx: Connection, row: AnyRow, settlement: Settlement) -> Landed:
        """Move one row as its answer says, if it still is where that answer finds it."""
        state = RowState(row.state)
        mine = row.attempt == settlement.intent.attempt and (
            (state is RowState.IN_FLIGHT and row.holder == settlement.intent.holder)
            # a definite answer that comes late still settles its own row
            or (state is RowState.IN_DOUBT and settlement.event is Event.ISSUED)
        )
        coupon = settlement.outcome.coupon
        if not mine:
            if settlement.event is not Event.ISSUED or coupon is None or coupon.code == row.code:
                return Landed.STALE
            record_excess(
                tx, row.job, row.number, coupon.code, "an answer came when the row had moved on", settlement.at.wall
            )
            return Landed.EXCESS
        to = after(state, settlement.event)
        if to is RowState.PENDING and row.cancelled:
            to = after(to, Event.CANCEL)
        outcome, at = settlement.outcome, settlement.at
        values: dict[str, Any] = {
            "state": str(to),
            "error_code": outcome.error_code,
            "reason": outcome.reason,
            "request_id": outcome.request_id,
            "spent": row.spent + settlement.counts,
        }
        if to is RowState.PENDING:
            values["due"] = settlement.due
        elif to is RowState.IN_DOUBT:
            values |= in_doubt(settlement.if_absent, at)
            if row.sent_wall is None:
                begun = settlement.intent.begun
                values |= {"sent_wall": begun.wall, "sent_boot": begun.boot, "sent_boot_id": begun.boot_id}
        warnings = list(outcome.warnings)
        landed = Landed.LANDED
        if to is RowState.ISSUED and coupon is not None:
            key = settlement.intent.identifier.key
            if coupon.code.casefold() in codes_of_others(tx, row.scope, key, row.job, row.number):
                warnings.append("reused: this coupon was issued before")
            values |= {
                "code": coupon.code,
                "coupon": dump_coupon(coupon),
                "customer_id": coupon.customer_id,
                "issued_at": at.wall,
                "warnings": dump_warnings(warnings),
                "error_code": "",
                "reason": "",
            }
        tx.execute(
            update(rows)
            .where(rows.c.job == row.job, rows.c.number == row.number)
            .where(rows.c.state == row.state, rows.c.attempt == row.attempt)
            .values(values)
        )
        keep_claim(tx, row.job, row.number, to)
        if to is RowState.ISSUED and coupon is not None and not claim_aliases(tx, row, coupon, at.wall):
            landed = Landed.EXCESS
        return landed

    @transaction
    def pause(self, tx: Connection, account: str, seconds: float, now: Moment) -> None:
        permits.pause(tx, account, seconds, self._db.dialect.clock(tx, account, now)[0])

    # --- counts -------------------------------------------------------------------------------------------------

    @beside
    def pending(self, tx: Connection, job: JobId) -> int:
        queue = self._db.number(tx, job)
        return tx.scalar(select(func.count()).select_from(rows).where(rows.c.queue == queue, PENDING)) or 0

    @beside
    def unfinished(self, tx: Connection, job: JobId) -> int:
        queue = self._db.number(tx, job)
        # one query for each partial index
        counted = (select(func.count()).select_from(rows).where(rows.c.queue == queue, state) for state in STILL_OPEN)
        return sum(tx.scalar(count) or 0 for count in counted)

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


def in_doubt(if_absent: RowState, given_up: Moment) -> dict[str, Any]:
    """The columns of a row that becomes doubtful."""
    return {
        "doubted": 1,
        "if_absent": str(if_absent),
        "given_up_wall": given_up.wall,
        "given_up_boot": given_up.boot,
        "given_up_boot_id": given_up.boot_id,
        "empty_wall": None,
        "empty_boot": None,
        "empty_boot_id": None,
    }
