"""Forget the customers of jobs that ended long ago, and nothing that keeps anybody from being issued twice.

What stays of a row: its number, state, error code and times. Its claims stay as keyed hashes (see `forgotten`), and its
coupon code likewise, so that the desk can still be told which job a code came from.

A job is marked first, and from then on nobody runs it or reads its rows; then its rows are forgotten, some at a time,
so that running jobs need not wait. A purge that was cut short is finished by the next one: until then the job has its
header still.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, bindparam, delete, func, select, update

from bulk_issue.ledger import placeholders
from bulk_issue.ledger.batch import insert_many
from bulk_issue.ledger.database import AnyRow, Holders
from bulk_issue.ledger.forgotten import HASHED, Hash, new_hash
from bulk_issue.ledger.schema import attempts, claims, decided, excess, held, jobs, lookups, rows
from bulk_issue.model import JobId, JobState, Moment
from bulk_issue.states import OPEN

#: Rows that are forgotten in one transaction.
AT_A_TIME = 2_000
#: What a job has as its header when all of it is forgotten.
NOTHING = "[]"

_KEPT = insert_many(claims, "scope", "key", "again", "job", "row", "open", "learned", "customer", if_new=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Purged:
    """A job whose customers were forgotten."""

    job: JobId
    rows: int
    #: When it had ended, epoch seconds.
    ended: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Marked:
    """A job that is purged from now on, and whose rows are to be forgotten."""

    seq: int
    said: Purged


def mark(tx: Connection, holders: Holders, before: float, who: str, now: Moment) -> list[Marked]:
    """Mark every finished job that ended before that moment (epoch seconds), and those left from a purge cut short."""
    because = f"purged on {datetime.fromtimestamp(now.wall, UTC):%Y-%m-%d} by {who}"
    for job in _finished(tx, before):
        if not holders.held_by_others(JobId(job.id)):
            tx.execute(update(jobs).where(jobs.c.seq == job.seq).values(state=str(JobState.PURGED), because=because))
    left = select(jobs.c.seq, jobs.c.id, jobs.c.rows, func.coalesce(jobs.c.ended, jobs.c.created).label("finished"))
    marked = left.where(jobs.c.state == str(JobState.PURGED), jobs.c.header != NOTHING).order_by(jobs.c.seq)
    return [
        Marked(seq=job.seq, said=Purged(job=JobId(job.id), rows=job.rows, ended=job.finished))
        for job in tx.execute(marked)
    ]


def forget(tx: Connection, seq: int, behind: int) -> int | None:
    """Forget the next rows of a marked job behind that number; the last number, None if there are no more."""
    some = tx.execute(
        select(rows.c.number, rows.c.code)
        .where(rows.c.job == seq, rows.c.number > behind)
        .order_by(rows.c.number)
        .limit(AT_A_TIME)
    ).all()
    if not some:
        tx.execute(update(jobs).where(jobs.c.seq == seq).values(header=NOTHING))
        return None
    first, last, hashed = some[0].number, some[-1].number, new_hash(tx)
    _hash_claims(tx, seq, first, last, hashed)
    placeholders.forget(tx, hashed)
    coded = [
        {"its": row.number, "new": hashed(row.code.casefold())} for row in some if row.code and not _done(row.code)
    ]
    if coded:
        its = (rows.c.job == seq) & (rows.c.number == bindparam("its"))
        tx.execute(update(rows).where(its).values(code=bindparam("new")), coded)
    nothing = {"value": None, "key": None, "coupon_id": None, "offer": None, "customer_id": None, "request_id": None}
    tx.execute(
        update(rows)
        .where(rows.c.job == seq, rows.c.number.between(first, last))
        .values(cells=NOTHING, reason=None, warnings=None, **nothing)
    )
    for table, said in (
        (attempts, {"reason": None, "request_id": None}),
        (lookups, {"finding": ""}),
        (decided, {"code": None, "why": ""}),
    ):
        tx.execute(update(table).where(table.c.job == seq, table.c.row.between(first, last)).values(said))
    _forget_held(tx, seq, first, last, hashed)
    its_excess = (excess.c.job == seq) & excess.c.row.between(first, last)
    tx.execute(update(excess).where(its_excess).values(names=None))
    too_many = select(excess.c.id, excess.c.code).where(its_excess)
    for one in tx.execute(too_many).all():
        if not _done(one.code):
            tx.execute(update(excess).where(excess.c.id == one.id).values(code=hashed(one.code.casefold())))
    return int(last)


def _forget_held(tx: Connection, seq: int, first: int, last: int, hashed: Hash) -> None:
    """Of coupons that customers had before, only what tells again which job knew a code."""
    theirs = (held.c.job == seq) & held.c.row.between(first, last)
    for one in tx.execute(select(held.c.row, held.c.code).where(theirs, held.c.code.is_not(None))).all():
        if not _done(one.code):
            coded = update(held).where(held.c.job == seq, held.c.row == one.row)
            tx.execute(coded.values(code=hashed(one.code.casefold())))
    tx.execute(update(held).where(theirs).values(coupon_id=None, customer_id=None, offer=None, warnings=None))


def _done(text: str) -> bool:
    return text.startswith(HASHED)


def _finished(tx: Connection, before: float) -> list[AnyRow]:
    """Finished jobs of that age without open rows, and not shown by a rerun that stays."""
    finished = func.coalesce(jobs.c.ended, jobs.c.created)
    old = {
        job.seq: job
        for job in tx.execute(
            select(jobs.c.seq, jobs.c.id)
            .where(jobs.c.state.in_([str(JobState.ENDED), str(JobState.CANCELLED)]), finished < before)
            .order_by(jobs.c.seq)
        )
    }
    for state in OPEN:
        for its_job, queue in tx.execute(select(rows.c.job, rows.c.queue).where(rows.c.state == str(state)).distinct()):
            old.pop(its_job, None)
            old.pop(queue, None)
    # a rerun's record shows the row that it is: both are forgotten together
    shown = tx.execute(
        select(rows.c.job, rows.c.of_job)
        .join(jobs, jobs.c.seq == rows.c.job)
        .where(rows.c.state == "linked", jobs.c.state != str(JobState.PURGED))
        .distinct()
    ).all()
    while kept := {parent for rerun, parent in shown if parent in old and rerun not in old}:
        for parent in kept:
            del old[parent]
    return list(old.values())


def _hash_claims(tx: Connection, seq: int, first: int, last: int, hashed: Hash) -> None:
    """Put the claims of these rows under their hashes; what a reply said of the customer goes."""
    theirs = (claims.c.job == seq) & claims.c.row.between(first, last) & claims.c.key.not_like(f"{HASHED}%")
    plain = tx.execute(select(claims).where(theirs)).all()
    tx.execute(delete(claims).where(theirs))
    _KEPT.of_tuples(
        tx,
        [
            (one.scope, hashed(one.key), one.again, one.job, one.row, 0, one.learned, _hashed(one.customer, hashed))
            for one in plain
        ],
    )


def _hashed(text: str | None, hashed: Hash) -> str | None:
    return text if text is None or _done(text) else hashed(text)
