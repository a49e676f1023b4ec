"""Rows that wait for the server's record or a person, and what the record's readers have proven."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, and_, exists, func, insert, or_, select, update

from bulk_issue.errors import LedgerError
from bulk_issue.ledger.claims import claim_aliases, codes_of_others, keep_claim, record_excess
from bulk_issue.ledger.coupons import columns_of, dump_warnings, number_key
from bulk_issue.ledger.database import AnyRow, Face, beside, transaction, upsert
from bulk_issue.ledger.deciding import refuse_codes_of_others
from bulk_issue.ledger.lineage import real_row
from bulk_issue.ledger.schema import (
    DOUBTED,
    IN_DOUBT,
    ISSUED,
    WORKED_BY,
    attempts,
    boots,
    claims,
    decided,
    jobs,
    lookups,
    readers,
    rows,
)
from bulk_issue.model import Coupon, Decision, Identifier, IdentifierKind, JobId, Lineage, Moment
from bulk_issue.ports import Doubt, Issued, ReaderFacts
from bulk_issue.states import OPEN, Event, RowState, after

#: Jobs, the newest first, in which a coupon is looked for that proves a reader.
LATEST_JOBS = 100


class LedgerDoubts(Face):
    """See `ports.Doubts`."""

    @beside
    def due(self, tx: Connection, job: JobId, before: Moment, limit: int) -> Sequence[Doubt]:
        queue = self._db.number(tx, job)
        # by the clock of this boot alone; what was given up by another one is due once a holder has adopted it
        given_up = and_(rows.c.given_up_boot_id == before.boot_id, rows.c.given_up_boot <= before.boot)
        found = tx.execute(
            select(rows, jobs.c.id, jobs.c.series_id, jobs.c.scope)
            .join(jobs, jobs.c.seq == rows.c.job)
            .where(rows.c.queue == queue, IN_DOUBT, given_up)
            .order_by(rows.c.given_up_wall, rows.c.number)
            .limit(limit)
        ).all()
        return [self._doubt(tx, row) for row in found]

    def _doubt(self, tx: Connection, row: AnyRow) -> Doubt:
        given_up = _moment(row, "given_up")
        assert given_up is not None
        return Doubt(
            job=JobId(row.id),
            row=row.number,
            attempt=row.attempt,
            spent=row.spent,
            series_id=row.series_id,
            identifier=_identifier(row),
            sent=_moment(row, "sent") or given_up,
            given_up=given_up,
            if_absent=RowState(row.if_absent or RowState.PENDING),
            known_codes=codes_of_others(tx, row.scope, row.key, row.job, row.number),
            empty_since=_moment(row, "empty"),
            reason=row.reason or "",
        )

    @beside
    def next_due(self, tx: Connection, job: JobId) -> Moment | None:
        queue = self._db.number(tx, job)
        row = tx.execute(
            select(rows.c.given_up_wall, rows.c.given_up_boot, rows.c.given_up_boot_id)
            .where(rows.c.queue == queue, IN_DOUBT)
            .order_by(rows.c.given_up_wall)
            .limit(1)
        ).first()
        return _moment(row, "given_up") if row else None

    @transaction
    def note(self, tx: Connection, doubt: Doubt, finding: str, now: Moment, *, empty: bool) -> None:
        seq = self._db.number(tx, doubt.job)
        self._log(tx, seq, doubt, finding, now.wall)
        if empty and doubt.empty_since is None:
            tx.execute(
                update(rows)
                .where(rows.c.job == seq, rows.c.number == doubt.row, rows.c.attempt == doubt.attempt)
                .values(empty_wall=now.wall, empty_boot=now.boot, empty_boot_id=now.boot_id)
            )

    def _log(self, tx: Connection, seq: int, doubt: Doubt, finding: str, at: float) -> None:
        tx.execute(insert(lookups).values(job=seq, row=doubt.row, attempt=doubt.attempt, at=at, finding=finding))

    @transaction
    def settle(
        self,
        tx: Connection,
        doubt: Doubt,
        event: Event,
        coupon: Coupon | None,
        because: str,
        at: float | None,
        now: Moment,
        *,
        shared: bool = False,
    ) -> bool:
        seq = self._db.number(tx, doubt.job)
        self._log(tx, seq, doubt, because, now.wall)
        row = self._row(tx, seq, doubt.row)
        if row.state != "in_doubt" or row.attempt != doubt.attempt:
            return False
        if coupon is not None and not shared:
            others = codes_of_others(tx, row.scope, row.key, row.job, row.number)
            if coupon.code.casefold() in others:
                return False
        self._move(tx, row, event, coupon, because, now.wall if at is None else at)
        return True

    @beside
    def customer(self, tx: Connection, lineage: Lineage) -> Identifier | None:
        meant = real_row(tx, self._db.number(tx, lineage.job), lineage.row)
        row = self._row(tx, meant.job, meant.number) if meant is not None else None
        return _identifier(row) if row is not None and row.kind is not None else None

    @transaction
    def decide(
        self,
        tx: Connection,
        decisions: Sequence[Decision],
        who: str,
        why: str,
        now: Moment,
        *,
        shared: bool = False,
    ) -> int:
        if not shared:
            refuse_codes_of_others(tx, [*self._in_doubt(tx, decisions)])
        return sum(self._decide(tx, decision.lineage, decision.code, who, why, now) for decision in decisions)

    def _in_doubt(self, tx: Connection, decisions: Sequence[Decision]) -> Iterator[tuple[Decision, AnyRow]]:
        """The decisions on rows that are in doubt still, with these rows."""
        for decision in decisions:
            meant = real_row(tx, self._db.number(tx, decision.lineage.job), decision.lineage.row)
            if meant is not None and meant.state == "in_doubt":
                yield decision, self._row(tx, meant.job, meant.number)

    def _decide(self, tx: Connection, lineage: Lineage, code: str | None, who: str, why: str, now: Moment) -> bool:
        meant = real_row(tx, self._db.number(tx, lineage.job), lineage.row)
        if meant is None:
            raise LedgerError(
                f"job {lineage.job} has no row {lineage.row}", hint="Use the file as bulk-issue wrote it."
            )
        row = self._row(tx, meant.job, meant.number)
        if row.state == "in_flight":
            raise LedgerError(
                f"row {lineage.row} of job {lineage.job} is on the wire just now",
                hint="Decide on rows when no run of the job is going on.",
            )
        if row.state != "in_doubt":
            return False
        if (wait := _given_up_in(row, now)) > 0:
            raise LedgerError(
                f"row {lineage.row} of job {lineage.job} may be on the wire still: whoever sent it is lost",
                hint=f"Decide on it in {wait:.0f} s.",
            )
        tx.execute(insert(decided).values(job=row.job, row=row.number, at=now.wall, who=who, why=why, code=code))
        if code is None:
            event = {"held": Event.ABSENT_HELD, "rejected": Event.ABSENT_REJECTED}.get(row.if_absent, Event.ABSENT)
            self._move(tx, row, event, None, f"decided by {who}: not issued", None)
        else:
            coupon = Coupon(code=code, series_id=row.series_id, warnings=(f"decided by {who}",))
            self._move(tx, row, Event.FOUND, coupon, f"decided by {who}", now.wall)
        return True

    def _row(self, tx: Connection, seq: int, number: int) -> AnyRow:
        found = tx.execute(
            select(rows, jobs.c.scope, jobs.c.again, jobs.c.series_id, WORKED_BY.c.cancelled)
            .join(jobs, jobs.c.seq == rows.c.job)
            .join(WORKED_BY, WORKED_BY.c.seq == rows.c.queue)
            .where(rows.c.job == seq, rows.c.number == number)
        ).first()
        assert found is not None
        return found

    def _move(
        self, tx: Connection, row: AnyRow, event: Event, coupon: Coupon | None, because: str, at: float | None
    ) -> None:
        """Settle a row in doubt."""
        to = after(RowState(row.state), event)
        if to is RowState.PENDING and row.cancelled:
            to = after(to, Event.CANCEL)
        values: dict[str, Any] = {"state": str(to), "if_absent": None}
        for name in ("sent", "given_up", "empty"):
            values |= {f"{name}_wall": None, f"{name}_boot": None, f"{name}_boot_id": None}
        if to is RowState.ISSUED:
            assert coupon is not None
            values |= {
                **columns_of(coupon),
                "issued_at": at,
                "warnings": dump_warnings(coupon.warnings),
                "error_code": "",
                "reason": "",
            }
        elif to is RowState.PENDING:
            values |= {"due": 0.0, "error_code": "", "reason": ""}
        elif not row.reason:
            values["reason"] = because
        tx.execute(
            update(rows)
            .where(rows.c.job == row.job, rows.c.number == row.number)
            .where(rows.c.state == row.state, rows.c.attempt == row.attempt)
            .values(values)
        )
        keep_claim(tx, row.job, row.number, to, number_key(coupon) if coupon else None)
        if coupon is not None and at is not None:
            claim_aliases(tx, row, coupon, at)

    # --- readers ------------------------------------------------------------------------------------------------

    @beside
    def boots(self, tx: Connection, account: str) -> Mapping[str, float]:
        found = tx.execute(select(boots.c.boot_id, boots.c.zero).where(boots.c.account == account))
        return {row.boot_id: row.zero for row in found}

    @beside
    def keep_boot(self, tx: Connection, account: str, boot_id: str, zero: float) -> None:
        kept = upsert(tx, boots).values(account=account, boot_id=boot_id, zero=zero)
        tx.execute(kept.on_conflict_do_nothing())

    @beside
    def readers(self, tx: Connection, job: JobId, account: str) -> Sequence[ReaderFacts]:
        seq = self._db.number(tx, job)
        found = tx.execute(select(readers).where(readers.c.job == seq, readers.c.account == account))
        return [
            ReaderFacts(
                endpoint=row.endpoint,
                kind=IdentifierKind(row.kind),
                offset=row.offset,
                true_utc=bool(row.true_utc),
                issued_at=row.issued_at,
            )
            for row in found
        ]

    @transaction
    def prove(self, tx: Connection, job: JobId, account: str, facts: ReaderFacts, now: Moment) -> None:
        name = {
            "job": self._db.number(tx, job),
            "account": account,
            "endpoint": facts.endpoint,
            "kind": str(facts.kind),
        }
        seen = {
            "offset": facts.offset,
            "true_utc": int(facts.true_utc),
            "issued_at": facts.issued_at,
            "proven": now.wall,
        }
        found = upsert(tx, readers).values(**name, **seen)
        tx.execute(found.on_conflict_do_update(index_elements=list(name), set_=seen))

    @beside
    def issued(self, tx: Connection, job: JobId, kind: IdentifierKind, limit: int) -> Sequence[Issued]:
        seq = self._db.number(tx, job)
        own = tx.execute(select(jobs.c.scope, jobs.c.account).where(jobs.c.seq == seq)).one()
        others = (
            select(jobs.c.seq)
            .where(jobs.c.scope == own.scope, jobs.c.account == own.account, jobs.c.seq != seq)
            .order_by(jobs.c.seq.desc())
            .limit(LATEST_JOBS)
        )
        for queue in (seq, *tx.scalars(others)):
            found = tx.execute(
                _read_back(rows.c.attempt)
                .where(rows.c.queue == queue, ISSUED, rows.c.kind == str(kind))
                # the only request of a row is as good: a restore may have put it in doubt before it had any
                .where(or_(rows.c.doubted == 0, rows.c.attempt == 1))
                .where(_LAST.c.event == str(Event.ISSUED))
                .order_by(rows.c.number.desc())
                .limit(limit)
            ).all()
            if found:
                return [_issued(row, frozenset()) for row in found]
        return []

    @beside
    def doubted(self, tx: Connection, job: JobId, behind: Lineage | None, limit: int) -> Sequence[Issued]:
        queue = self._db.number(tx, job)
        home, number = (self._db.number(tx, behind.job), behind.row) if behind else (0, 0)
        further = or_(rows.c.job > home, and_(rows.c.job == home, rows.c.number > number))
        # the customer's coupon of a row that is open may be in the record, and not yet in the ledger
        open_elsewhere = exists().where(claims.c.scope == jobs.c.scope, claims.c.key == rows.c.key, claims.c.open == 1)
        found = tx.execute(
            _read_back(1)
            .where(rows.c.queue == queue, DOUBTED, rows.c.state.not_in(OPEN), further, ~open_elsewhere)
            .order_by(rows.c.job, rows.c.number)
            .limit(limit)
        ).all()
        return [_issued(row, codes_of_others(tx, row.scope, row.key, row.job, row.number)) for row in found]

    @beside
    def with_coupon(self, tx: Connection, job: JobId, behind: Lineage | None, limit: int) -> Sequence[Issued]:
        seq = self._db.number(tx, job)
        home, number = (self._db.number(tx, behind.job), behind.row) if behind else (seq, 0)
        found: list[AnyRow] = []
        if home == seq:
            own = _read_back(1).where(rows.c.job == seq, rows.c.number > number, ISSUED)
            found += tx.execute(own.order_by(rows.c.number).limit(limit)).all()
            home, number = 0, 0
        link = rows.alias()
        its = and_(link.c.of_job == rows.c.job, link.c.of_row == rows.c.number, link.c.state == "linked")
        further = or_(rows.c.job > home, and_(rows.c.job == home, rows.c.number > number))
        linked = _read_back(1).join(link, its).where(link.c.job == seq, ISSUED, further)
        found += tx.execute(linked.order_by(rows.c.job, rows.c.number).limit(limit - len(found))).all()
        return [_issued(row, codes_of_others(tx, row.scope, row.key, row.job, row.number)) for row in found]

    @transaction
    def excess(self, tx: Connection, job: JobId, row: int, code: str, because: str, now: Moment) -> None:
        record_excess(tx, self._db.number(tx, job), row, code, because, now.wall)


def _moment(row: AnyRow, name: str) -> Moment | None:
    values = row._mapping  # noqa: SLF001 - SQLAlchemy's public name for a row as a mapping
    wall = values[f"{name}_wall"]
    if wall is None:
        return None
    return Moment(wall, values[f"{name}_boot"] or 0.0, values[f"{name}_boot_id"] or "")


def _given_up_in(row: AnyRow, now: Moment) -> float:
    """Seconds until the row's request counts as given up; across hosts and reboots only wall clocks tell."""
    given_up = _moment(row, "given_up")
    if given_up is None:
        return 0.0
    return given_up.boot - now.boot if given_up.boot_id == now.boot_id else given_up.wall - now.wall


def _identifier(row: AnyRow) -> Identifier:
    return Identifier(IdentifierKind(row.kind), row.value, row.key)


_FIRST, _LAST = attempts.alias(), attempts.alias()


def _read_back(first: Any) -> Any:
    """Rows with two of their attempts: when `first` was begun, and when the last one was begun and answered."""
    return (
        select(
            rows.c.job,
            rows.c.number,
            rows.c.kind,
            rows.c.value,
            rows.c.key,
            rows.c.code,
            rows.c.doubted,
            jobs.c.id,
            jobs.c.series_id,
            jobs.c.scope,
            _FIRST.c.begun_wall.label("sent_wall"),
            _FIRST.c.begun_boot.label("sent_boot"),
            _FIRST.c.begun_boot_id.label("sent_boot_id"),
            func.coalesce(_LAST.c.at_wall, _LAST.c.begun_wall).label("ended_wall"),
            func.coalesce(_LAST.c.at_boot, _LAST.c.begun_boot).label("ended_boot"),
            _LAST.c.begun_boot_id.label("ended_boot_id"),
        )
        .join(jobs, jobs.c.seq == rows.c.job)
        .join(_FIRST, and_(_FIRST.c.job == rows.c.job, _FIRST.c.row == rows.c.number, _FIRST.c.attempt == first))
        .join(_LAST, and_(_LAST.c.job == rows.c.job, _LAST.c.row == rows.c.number, _LAST.c.attempt == rows.c.attempt))
    )


def _issued(row: AnyRow, known_codes: frozenset[str]) -> Issued:
    sent, ended = _moment(row, "sent"), _moment(row, "ended")
    assert sent is not None
    assert ended is not None
    return Issued(
        job=JobId(row.id),
        row=row.number,
        series_id=row.series_id,
        identifier=_identifier(row),
        code=row.code or "",
        sent=sent,
        answered=ended,
        known_codes=known_codes,
        doubted=bool(row.doubted),
    )
