"""Turn a ledger that was put back from a backup into one that may be used: it knows what it doesn't know.

What that means for each row: see `restored`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import Connection, func, insert, select, update

from bulk_issue.alike import form
from bulk_issue.errors import JobHeld
from bulk_issue.ledger import home, permits
from bulk_issue.ledger.batch import insert_many
from bulk_issue.ledger.database import Database
from bulk_issue.ledger.restored import put_in_doubt
from bulk_issue.ledger.schema import IN_DOUBT, PENDING, accounts, attempts, backups, claims, jobs, restores, rows, runs
from bulk_issue.ledger.takeover import adopt, give_up, later
from bulk_issue.model import JobId, JobState, Moment
from bulk_issue.states import Event, RowState, sources

#: Rows that are put in doubt at a time.
AT_A_TIME = 2_000
#: States whose rows may be sent once more: by a run, after a person has put them back, or as no duplicates.
_AGAIN = (Event.RETRY, Event.PUT_BACK, Event.FREED)
_SENDABLE = [str(state) for state in (RowState.PENDING, *(each for event in _AGAIN for each in sources(event)))]
#: Seconds for which an account rests whose `per` isn't known.
REST = 60.0

_CLAIM = insert_many(claims, "scope", "key", "again", "job", "row", "open", "alike", "learned", if_new=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What a restore found in the backup."""

    #: Since when nothing is known, epoch seconds: when the backup was made.
    since: float
    jobs: int
    #: Rows whose fate is unknown, by job, in doubt now or before they may be sent.
    doubtful: dict[str, int] = field(default_factory=dict)


def reopen(tx: Connection, database: Database, now: Moment, who: str, nothing_since: str) -> Restored:
    """Make the ledger know that it was put back; on return nothing of it may be sent without a look at the record.

    Unless `nothing_since` says how a person (`who`) knows that nothing was sent since the backup: then only what was on
    the way or in doubt at the backup is in doubt. Raises `JobHeld` while a job runs.
    """
    # one that was being registered at the backup is removed whole by the next run of its file
    known = tx.execute(select(jobs.c.seq, jobs.c.id).where(jobs.c.state != str(JobState.REGISTERING))).all()
    for job in known:
        if database.holders.held_by_others(JobId(job.id)):
            raise JobHeld(f"job {job.id} runs on this ledger now", hint="Stop it first; nothing was changed.")
    home.move_in(tx)
    since = _since(tx)
    # a run that was cut off from the ledger that was lost may have requests on their way
    now = later(now, tx.scalar(select(func.max(runs.c.lingers))) or 0.0)
    token = tx.execute(
        insert(restores)
        .values(
            since_wall=since.wall,
            since_boot=since.boot,
            since_boot_id=since.boot_id,
            at_wall=now.wall,
            at_boot=now.boot,
            at_boot_id=now.boot_id,
            trusted=now.wall if nothing_since else None,
            who=who if nothing_since else None,
            why=nothing_since or None,
        )
        .returning(restores.c.id)
    ).scalar_one()
    for job in known:
        adopt(tx, job.seq, now)
        give_up(tx, job.seq, now)
    # a row that was in doubt may have been settled and sent since
    given_up = {"given_up_wall": now.wall, "given_up_boot": now.boot, "given_up_boot_id": now.boot_id}
    nothing_seen = {"empty_wall": None, "empty_boot": None, "empty_boot_id": None}
    tx.execute(update(rows).where(IN_DOUBT).values(given_up | nothing_seen))
    if not nothing_since:
        tx.execute(update(rows).where(rows.c.state.in_(_SENDABLE)).values(restored=token))
        for job in known:
            _doubt_pending(tx, job.seq, now)
    because = "restored from a backup"
    tx.execute(
        update(jobs).where(jobs.c.state == str(JobState.RUNNING)).values(state=str(JobState.STOPPED), because=because)
    )
    tx.execute(update(jobs).values(holder=None))
    cut_short = {"state": str(JobState.STOPPED), "because": because}
    tx.execute(update(runs).where(runs.c.ended.is_(None)).values(cut_short))
    # the lost ledger knew of requests that the account's limit still counts
    for account in tx.execute(select(accounts.c.account, accounts.c.per)).all():
        at, _was_set = database.dialect.clock(tx, account.account, now)
        permits.pause(tx, account.account, account.per or REST, at)
    doubtful = tx.execute(
        select(jobs.c.id, func.count())
        .join(jobs, jobs.c.seq == rows.c.job)
        .where(IN_DOUBT | (PENDING & rows.c.restored.is_not(None)))
        .group_by(jobs.c.id)
        .order_by(jobs.c.id)
    )
    return Restored(since=since.wall, jobs=len(known), doubtful=dict(tuple(each) for each in doubtful))


def _since(tx: Connection) -> Moment:
    """The latest moment that the copy is known to hold: its own backup's, or what happened in it later.

    Rows that still wait for their look since an earlier restore widen it: what they don't know began then.
    """
    last = tx.execute(
        select(backups.c.at_wall, backups.c.at_boot, backups.c.at_boot_id).order_by(backups.c.id.desc()).limit(1)
    ).first()
    begun = tx.execute(
        select(attempts.c.begun_wall, attempts.c.begun_boot, attempts.c.begun_boot_id)
        .order_by(attempts.c.begun_wall.desc())
        .limit(1)
    ).first()
    known = [Moment(*each) for each in (last, begun) if each is not None]
    created = tx.scalar(select(func.max(jobs.c.created)))
    since = max(known, key=lambda moment: moment.wall, default=Moment(created or 0.0, 0.0, ""))
    unsettled = tx.execute(
        select(restores.c.since_wall, restores.c.since_boot, restores.c.since_boot_id)
        .where(restores.c.id.in_(select(rows.c.restored).where(rows.c.restored.is_not(None))))
        .order_by(restores.c.since_wall)
        .limit(1)
    ).first()
    return min(since, Moment(*unsettled), key=lambda moment: moment.wall) if unsettled else since


def _doubt_pending(tx: Connection, seq: int, now: Moment) -> None:
    """Put a job's pending rows in doubt, as far as their customers have no other row that is open or served."""
    last = 0
    while some := tx.execute(
        select(rows.c.job, rows.c.number, rows.c.key, rows.c.restored, jobs.c.scope, jobs.c.again)
        .join(jobs, jobs.c.seq == rows.c.job)
        .where(rows.c.job == seq, PENDING, rows.c.number > last)
        .order_by(rows.c.number)
        .limit(AT_A_TIME)
    ).all():
        _CLAIM.of_tuples(
            tx, [(row.scope, row.key, row.again, row.job, row.number, 1, form(row.key), 0) for row in some]
        )
        first, last = some[0].number, some[-1].number
        mine = select(claims.c.row).where(claims.c.job == seq, claims.c.row.between(first, last))
        won = set(tx.execute(mine).scalars())
        put_in_doubt(tx, [row for row in some if row.number in won], now)
