"""How a file's rows get into the ledger: a job that is being registered, its chunks, and what makes it ready.

The rule: a job can be run only when every row of its file is in; one whose registration was cut short is removed whole.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from json.encoder import encode_basestring

from sqlalchemy import Connection, and_, delete, exists, func, insert, or_, select, update

from bulk_issue import model
from bulk_issue.alike import altered
from bulk_issue.errors import ConfigError, JobPurged, LedgerError
from bulk_issue.ledger.database import AnyRow, Database
from bulk_issue.ledger.lineage import named, real_row
from bulk_issue.ledger.restored import mark
from bulk_issue.ledger.schema import DOUBTED, attempts, excess, jobs, lookups, permits, rows, runs, scope
from bulk_issue.model import NOBODY, Alike, JobId, JobSpec, JobState, LeftOut, Moment, Withheld
from bulk_issue.rows import problem, withheld
from bulk_issue.states import CLAIMING, Event, RowState, after, sources

#: The columns of a row that is registered.
NEW_ROW = (
    *("job", "number", "queue", "state", "kind", "value", "key", "cells", "due", "attempt", "spent", "doubted"),
    *("error_code", "reason", "of_job", "of_row", "withheld"),
)
#: What says why a row that names a customer isn't to be sent.
_MARK = ("withheld", "error_code", "reason")
#: Of rows that stay pending all the same, until a person says what they are.
_HELD_BACK = frozenset({Withheld.ALIKE_EXCLUDED, Withheld.ALIKE_SERVED})
#: Its due, attempt, spent and doubted.
UNTOUCHED = (0.0, 0, 0, 0)


def begin(tx: Connection, database: Database, spec: JobSpec, now: Moment, left_out: LeftOut = NOBODY) -> int:
    """Write the job down as being registered; its number, which no other registration ever had.

    What an earlier reading of the same file has sent stays on record: its attempts go over to the new number.
    """
    old = take_back(tx, database, spec.id)
    if old is not None:
        tx.execute(update(jobs).where(jobs.c.seq == old).values(id=f"{spec.id}, read before"))
    seq = int(
        tx.execute(
            insert(jobs)
            .values(
                id=spec.id,
                org=spec.org,
                series_id=spec.series_id,
                again=spec.again,
                scope=scope(spec.org, spec.series_id),
                account=spec.account,
                path=spec.path,
                sha256=spec.sha256,
                header=json.dumps(spec.header, ensure_ascii=False),
                reading=json.dumps(dict(spec.reading), ensure_ascii=False),
                state=str(JobState.REGISTERING),
                rows=0,
                blank=0,
                cancelled=0,
                deferred=0,
                list_path=left_out.path,
                list_sha256=left_out.sha256,
                alike=left_out.alike,
                created=now.wall,
                because="",
            )
            .returning(jobs.c.seq)
        ).scalar_one()
    )
    if old is not None:
        for table in (attempts, permits, lookups, runs):
            tx.execute(update(table).where(table.c.job == old).values(job=seq))
        tx.execute(delete(jobs).where(jobs.c.seq == old))
    return seq


def add(tx: Connection, database: Database, seq: int, chunk: Sequence[model.Row]) -> None:
    """Write rows down."""
    parents = {row.lineage.job for row in chunk if row.lineage is not None}
    numbers = {job: _parent(tx, database, job) for job in parents}
    database.dialect.insert_rows(
        tx,
        rows,
        NEW_ROW,
        [
            (
                seq,
                row.number,
                seq,
                "pending" if (wrong := _wrong(row)) is None or row.withheld in _HELD_BACK else "invalid",
                row.identifier and row.identifier.kind.value,
                row.identifier and row.identifier.value,
                row.identifier and row.identifier.key,
                # as json.dumps, at a quarter of its cost for a list of texts
                f"[{','.join(map(encode_basestring, row.cells))}]",
                *UNTOUCHED,
                wrong and wrong.code,
                wrong and wrong.reason,
                numbers[row.lineage.job] if row.lineage else None,
                row.lineage.row if row.lineage else None,
                row.withheld,
            )
            for row in chunk
        ],
    )


def _wrong(row: model.Row) -> model.Problem | None:
    """Why the row isn't to be sent."""
    return row.problem if row.withheld is None else withheld(row.withheld, row.like)


def _parent(tx: Connection, database: Database, job: JobId) -> int:
    """The number of the job that a failures file came from."""
    seq, state, because = stands(tx, database, job)
    if state is JobState.PURGED:
        hint = "To issue to customers of this file as new rows, remove its columns _job and _row."
        raise JobPurged(job, because, hint=hint)
    return seq


def stands(tx: Connection, database: Database, job: JobId) -> tuple[int, JobState, str]:
    """The job's number, and its state and why.

    Raises `LedgerError` if another job is meant than was found before: this one was taken back meanwhile, and its file
    perhaps registered again, read in another way.
    """
    seq = database.number(tx, job)
    found = tx.execute(select(jobs.c.state, jobs.c.because).where(jobs.c.seq == seq, jobs.c.id == job)).first()
    if found is None:
        database.forget(job)
        raise LedgerError(
            f"job {job} was registered anew meanwhile, or the ledger replaced",
            hint="Nothing was sent for it here. Run the same command again.",
        )
    return seq, JobState(found.state), found.because


def seal(tx: Connection, seq: int, count: int, blank: int) -> None:
    """Make the job ready, and join its rows with those of the job that they were rejected in.

    Raises `ConfigError` where a row isn't of the job that it names.
    """
    parent_job, own_job = jobs.alias(), jobs.alias()
    related = tx.execute(
        select(
            rows.c.number,
            rows.c.state,
            rows.c.key,
            rows.c.of_job,
            rows.c.of_row,
            *(rows.c[name] for name in _MARK),
            own_job.c.alike,
            own_job.c.reading,
            parent_job.c.reading.label("their_reading"),
            and_(parent_job.c.scope == own_job.c.scope, parent_job.c.again == own_job.c.again).label("kin"),
        )
        .join(own_job, own_job.c.seq == rows.c.job)
        .join(parent_job, parent_job.c.seq == rows.c.of_job)
        .where(rows.c.job == seq, rows.c.of_job.is_not(None))
    ).all()
    for row in related:
        theirs = real_row(tx, row.of_job, row.of_row)
        if theirs is None or not row.kin:
            raise ConfigError(
                f"row {row.number} comes from a job of another series or has a changed _row cell",
                hint="Run a failures file with the series (and --again name) of the job that wrote it.",
            )
        if row.state == "invalid":
            continue
        if (was := named(tx, theirs)) is not None and _altered(row, was.key):
            _refuse(tx, seq, row, was)
        else:
            _join(tx, seq, row, theirs)
    mark(tx, seq)
    tried = select(func.max(attempts.c.attempt)).where(attempts.c.job == seq, attempts.c.row == rows.c.number)
    before = exists().where(attempts.c.job == seq, attempts.c.row == rows.c.number)
    tx.execute(update(rows).where(rows.c.job == seq, before).values(attempt=tried.scalar_subquery()))
    tx.execute(update(jobs).where(jobs.c.seq == seq).values(state=str(JobState.READY), rows=count, blank=blank))


def _altered(row: AnyRow, was: str) -> bool:
    """Whether a record's identifier may be no correction, but what a spreadsheet made of the one before.

    A person may have said that it is meant: in so many words, or by the country whose code they gave.
    """
    countries = (json.loads(text).get("country", "") for text in (row.reading, row.their_reading))
    return row.alike != Alike.SEND and altered(was, row.key, *countries)


def _refuse(tx: Connection, seq: int, row: AnyRow, was: AnyRow) -> None:
    """The record names nobody: what it says was made of another row's identifier, which stays as it is."""
    kind, _, _ = row.key.partition(":")
    job = tx.scalar(select(jobs.c.id).where(jobs.c.seq == was.job))
    wrong = problem("altered", column=kind, row=was.number, job=job)
    nobody = {"kind": None, "value": None, "key": None, "withheld": None}
    tx.execute(
        update(rows)
        .where(rows.c.job == seq, rows.c.number == row.number)
        .values(state="invalid", error_code=wrong.code, reason=wrong.reason, **nobody)
    )


def _join(tx: Connection, seq: int, row: AnyRow, theirs: AnyRow) -> None:
    """A record of a failures file *is* its parent's row, or, with another identifier, replaces it."""
    its_parent = and_(rows.c.job == theirs.job, rows.c.number == theirs.number)
    state = RowState(theirs.state)
    if row.key != theirs.key:
        _supersede(tx, theirs)
        return
    tx.execute(
        update(rows)
        .where(rows.c.job == seq, rows.c.number == row.number)
        .values(state="linked", of_job=theirs.job, of_row=theirs.number)
    )
    if state is RowState.REJECTED:
        moved = str(after(state, Event.RETRY))
        marks = {name: getattr(row, name) for name in _MARK} if row.withheld else {}
        tx.execute(update(rows).where(its_parent).values(state=moved, queue=seq, spent=0, due=0.0, **marks))


def _supersede(tx: Connection, row: AnyRow | None) -> None:
    """Put a failure aside, and the one that it was when it was run again without a correction, and so on."""
    while row is not None and (state := RowState(row.state)) in sources(Event.SUPERSEDE):
        its = and_(rows.c.job == row.job, rows.c.number == row.number)
        tx.execute(update(rows).where(its).values(state=str(after(state, Event.SUPERSEDE))))
        row = real_row(tx, row.of_job, row.of_row) if row.of_job is not None else None


def nothing_came_of(tx: Connection, job: JobId) -> bool:
    """Whether a job has issued, held and doubted nothing, no row of it has to do with another job's, and nobody has
    cancelled it.
    """
    seq = select(jobs.c.seq).where(jobs.c.id == job).scalar_subquery()
    came = or_(rows.c.state.in_([str(state) for state in CLAIMING]), DOUBTED)
    own_kin = and_(rows.c.of_job.is_not(None), rows.c.state != "duplicate")
    found = (
        select(rows.c.number).where(rows.c.job == seq, or_(came, own_kin)).limit(1),
        select(rows.c.number).where(rows.c.of_job == seq, rows.c.job != seq).limit(1),
        select(excess.c.id).where(excess.c.job == seq).limit(1),
        select(jobs.c.seq).where(jobs.c.id == job, jobs.c.cancelled == 1),
    )
    return all(tx.scalar(each) is None for each in found)


def forget(tx: Connection, database: Database, job: JobId) -> None:
    """Remove a job's rows, so that its file can be read again."""
    tx.execute(update(jobs).where(jobs.c.id == job).values(state=str(JobState.REGISTERING)))
    take_back(tx, database, job)


def take_back(tx: Connection, database: Database, job: JobId) -> int | None:
    """Remove what an unfinished registration left; the number that a job has which has sent requests already."""
    seq = tx.scalar(select(jobs.c.seq).where(jobs.c.id == job, jobs.c.state == str(JobState.REGISTERING)))
    if seq is None:
        return None
    tx.execute(delete(rows).where(rows.c.job == seq))
    database.forget(job)
    if tx.scalar(select(attempts.c.row).where(attempts.c.job == seq).limit(1)) is not None:
        return int(seq)
    tx.execute(delete(jobs).where(jobs.c.seq == seq))
    return None
