"""Who is left out of a job after it was registered: the suppression list as it changes, and look-alikes.

The rule: `rows.withheld` alone decides, and `begin` heeds it, so a mark that is on disk holds for every run of the
job. What is shown of a row (its state, code and reason) follows the mark, where the row's state lets it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, and_, bindparam, case, func, or_, select, update

from bulk_issue.errors import JobHeld
from bulk_issue.ledger.claims import Looks, look_alikes
from bulk_issue.ledger.coupons import load
from bulk_issue.ledger.database import AnyRow, Face, transaction
from bulk_issue.ledger.schema import HELD_BACK, PENDING, jobs, rows
from bulk_issue.model import Alike, HeldBack, JobId, LeftOut, Withheld
from bulk_issue.ports import Candidate
from bulk_issue.rows import withheld
from bulk_issue.states import Event, RowState, after, sources

#: Rows that are fetched or changed at a time.
AT_A_TIME = 2_000
#: Rows that are named of each reason.
NAMED = 5

_S = RowState
#: The states of rows that may be sent some time, or might have been but for the list.
_MAY_BE_SENT = (_S.PENDING, _S.IN_FLIGHT, _S.IN_DOUBT, _S.REJECTED)
_EXCLUDED = str(Withheld.EXCLUDED)
_INVALID = str(after(_S.PENDING, Event.EXCLUDE))

_meant = rows.alias("meant")
_LINKED = and_(_meant.c.job == rows.c.of_job, _meant.c.number == rows.c.of_row, rows.c.state == "linked")


def _shown(name: str) -> Any:
    """A column of the row itself, or of the row that it is linked to."""
    return case((rows.c.state == "linked", _meant.c[name]), else_=rows.c[name]).label(name)


_READMITTED = and_(_shown("state").in_(map(str, sources(Event.READMIT))), _shown("withheld") == _EXCLUDED)
_CANDIDATES = (
    select(rows.c.number, rows.c.cells, *map(_shown, ("job", "state", "withheld", "queue")))
    .add_columns(_shown("number").label("its_number"))
    .select_from(rows.outerjoin(_meant, _LINKED))
    .where(
        rows.c.job == bindparam("seq"),
        or_(_shown("state").in_(map(str, _MAY_BE_SENT)), _READMITTED),
        # a row that another job works is that one's, until it is rejected again
        or_(_shown("queue") == bindparam("seq"), _shown("state") == str(_S.REJECTED)),
    )
    .order_by(rows.c.number)
)
_ITS = and_(rows.c.job == bindparam("its_job"), rows.c.number == bindparam("its_row"))
_NOTHING = {"withheld": None, "error_code": None, "reason": None}
_MARK = update(rows).where(_ITS).values(withheld=bindparam("why"))


def _said(why: Withheld) -> dict[str, str]:
    return {"withheld": str(why), "error_code": str(why), "reason": withheld(why).reason}


_EXCLUDE = update(rows).where(_ITS, PENDING).values(state=_INVALID, **_said(Withheld.EXCLUDED))
_HOLD_BACK = {
    why: update(rows).where(_ITS, PENDING).values(**_said(why)) for why in (Withheld.ALIKE_EXCLUDED, Withheld.REMOVED)
}
_LET_GO = update(rows).where(_ITS, PENDING).values(**_NOTHING)
_READMIT = (
    update(rows)
    .where(_ITS, or_(*(rows.c.state == str(state) for state in sources(Event.READMIT))), rows.c.withheld == _EXCLUDED)
    .values(state=str(after(_S.INVALID, Event.READMIT)), due=0.0, **_NOTHING)
)
_DUPLICATE = (
    update(rows)
    .where(_ITS, PENDING)
    .values(
        state=str(after(_S.PENDING, Event.CLAIM_LOST)),
        of_job=bindparam("of"),
        of_row=bindparam("of_its"),
        **_NOTHING,
    )
)


class LedgerOmissions(Face):
    """See `ports.Omissions`."""

    def candidates(self, job: JobId) -> Iterator[Candidate]:
        with self._db.read() as connection:
            seq = self._db.number(connection, job)
            stream = connection.execution_options(yield_per=AT_A_TIME).execute(_CANDIDATES, {"seq": seq})
            for row in stream:
                why = Withheld(row.withheld) if row.withheld else None
                cells = tuple(load(row.cells))
                yield Candidate(number=row.number, cells=cells, state=RowState(row.state), withheld=why)

    async def withhold(self, job: JobId, marks: Mapping[int, Withheld | None]) -> None:
        wanted = list(marks.items())
        for at in range(0, len(wanted), AT_A_TIME):
            await self._withhold(job, wanted[at : at + AT_A_TIME])

    @transaction
    def _withhold(self, tx: Connection, job: JobId, marks: Sequence[tuple[int, Withheld | None]]) -> None:
        wanted = dict(marks)
        seq = self._db.number(tx, job)
        found = tx.execute(_CANDIDATES.where(rows.c.number.in_(list(wanted))), {"seq": seq}).all()
        by_mark: dict[Withheld | None, list[dict[str, object]]] = {}
        for row in found:
            its = {"its_job": row.job, "its_row": row.its_number}
            by_mark.setdefault(wanted[row.number], []).append(its)
        for why, its_rows in by_mark.items():
            if why is None:
                self._refuse_to_let_go(job)
            if why is not Withheld.EXCLUDED:
                tx.execute(_READMIT, its_rows)
            if why is None:
                tx.execute(_LET_GO, its_rows)
            tx.execute(_MARK, [its | {"why": why and str(why)} for its in its_rows])
            if why is not None:
                tx.execute(_EXCLUDE if why is Withheld.EXCLUDED else _HOLD_BACK[why], its_rows)

    def _refuse_to_let_go(self, job: JobId) -> None:
        """Raise `JobHeld` while another process runs the job: it would send what nobody there has agreed to."""
        if self._db.holders.held_by_others(job):
            raise JobHeld(
                f"job {job} is being run by another process, and this would give it more to send",
                hint="Nothing was changed. Wait for it to end, or stop it, and do this again.",
            )

    @transaction
    def drop(self, tx: Connection, job: JobId) -> int:
        removed = and_(HELD_BACK, rows.c.withheld == str(Withheld.REMOVED))
        its = and_(rows.c.queue == self._db.number(tx, job), removed)
        cancelled = str(after(_S.PENDING, Event.CANCEL))
        return tx.execute(update(rows).where(its).values(state=cancelled)).rowcount

    @transaction
    def settle(self, tx: Connection, job: JobId, left_out: LeftOut) -> None:
        seq = self._db.number(tx, job)
        if left_out.alike is Alike.SEND and tx.scalar(select(jobs.c.alike).where(jobs.c.seq == seq)) != Alike.SEND:
            self._refuse_to_let_go(job)
        said = {"list_path": left_out.path, "list_sha256": left_out.sha256, "alike": left_out.alike}
        tx.execute(update(jobs).where(jobs.c.seq == seq).values(said))
        by_why = {Withheld.EXCLUDED: _EXCLUDE}
        match left_out.alike:
            case Alike.SEND:
                by_why |= {Withheld.ALIKE_EXCLUDED: _LET_GO, Withheld.ALIKE_SERVED: _LET_GO}
            case Alike.SKIP:
                by_why[Withheld.ALIKE_EXCLUDED] = _EXCLUDE
        last = (-1, -1)
        while some := self._held(tx, seq, last):
            last = (some[-1].job, some[-1].number)
            for why, statement in by_why.items():
                its_rows = [{"its_job": row.job, "its_row": row.number} for row in some if row.withheld == why]
                if its_rows:
                    tx.execute(statement, its_rows)
            if Withheld.ALIKE_SERVED not in by_why:
                served = [row for row in some if row.withheld == Withheld.ALIKE_SERVED]
                self._settle_served(tx, job, served, skip=left_out.alike is Alike.SKIP)

    def _held(self, tx: Connection, seq: int, behind: tuple[int, int]) -> Sequence[AnyRow]:
        job, number = behind
        further = or_(rows.c.job > job, and_(rows.c.job == job, rows.c.number > number))
        wanted = (rows.c.job, rows.c.number, rows.c.key, rows.c.withheld, jobs.c.scope, jobs.c.again)
        found = select(*wanted).join(jobs, jobs.c.seq == rows.c.job).where(rows.c.queue == seq, HELD_BACK, further)
        return tx.execute(found.order_by(rows.c.job, rows.c.number).limit(AT_A_TIME)).all()

    def _settle_served(self, tx: Connection, job: JobId, held: Sequence[AnyRow], *, skip: bool) -> None:
        """Rows whose look-alike has its claim no more go; the others are duplicates of it, if a person says so.

        Those stay that another process would send now: its next look lets them go.
        """
        seq = self._db.number(tx, job)
        wanted = [Looks(row.scope, row.again, row.key, (row.job, seq)) for row in held]
        found = look_alikes(tx, wanted)
        gone, same = list[dict[str, object]](), list[dict[str, object]]()
        for row, look in zip(held, wanted, strict=True):
            its = {"its_job": row.job, "its_row": row.number}
            claim = found.get(look)
            if claim is None:
                gone.append(its)
            elif skip:
                same.append(its | {"of": claim.job, "of_its": claim.row})
        if gone and not self._db.holders.held_by_others(job):
            tx.execute(_LET_GO, gone)
        if same:
            tx.execute(_DUPLICATE, same)

    async def held_back(self, job: JobId) -> Mapping[Withheld, HeldBack]:
        return await self._held_back(job)

    @transaction
    def _held_back(self, tx: Connection, job: JobId) -> Mapping[Withheld, HeldBack]:
        return held_back(tx, self._db.number(tx, job))


def held_back(tx: Connection, seq: int) -> Mapping[Withheld, HeldBack]:
    """The pending rows of a job's queue that are withheld, by reason."""
    its = and_(rows.c.queue == seq, HELD_BACK)
    counted = tx.execute(select(rows.c.withheld, func.count()).where(its).group_by(rows.c.withheld)).all()
    found = {}
    for why, many in counted:
        first = select(rows.c.number).where(its, rows.c.withheld == why).order_by(rows.c.number).limit(NAMED)
        found[Withheld(why)] = HeldBack(rows=many, first=tuple(tx.scalars(first)))
    return found
