"""Who takes part in a job, where several hosts share the ledger: its lead, shares, their beats, and who is lost.

The rule: a run is found to be lost in a transaction of its own, after which its token begins nothing. Which run may be
lost is judged by others, from beats that don't come; here a run that has beaten since is never lost.
"""

from __future__ import annotations

import getpass
import json
import os
import secrets
import socket
from collections.abc import Callable

from sqlalchemy import ColumnElement, Connection, and_, bindparam, exists, func, insert, or_, select, text, update

from bulk_issue import __version__
from bulk_issue.errors import ConfigError, JobHalted, JobHeld
from bulk_issue.ledger import home
from bulk_issue.ledger.database import Database, Face, beside, transaction
from bulk_issue.ledger.schema import IN_DOUBT, accounts, jobs, rows, runs
from bulk_issue.ledger.takeover import adopt, give_up, later
from bulk_issue.model import Alike, JobId, JobState, Moment
from bulk_issue.ports import Budget, Hold, Member, Muster, Part

_NOW = text("SELECT extract(epoch FROM clock_timestamp())::float8")
#: Seconds without a beat after which a run isn't seen any more.
UNSEEN = 15.0
#: A run that goes on, as far as anybody has found.
LIVING = and_(runs.c.ended.is_(None), runs.c.lost == 0)
_SHARES = and_(LIVING, runs.c.part == str(Part.SHARE), runs.c.job == jobs.c.seq, runs.c.token == bindparam("token"))
#: Of a cancelled job nothing is pending: its shares find that, and leave.
_SHARED = jobs.c.state.in_((str(JobState.RUNNING), str(JobState.CANCELLED)))
_STANDS = select(
    or_(jobs.c.holder == bindparam("token"), and_(_SHARED, exists().where(_SHARES))).label("may"),
    jobs.c.halted,
    jobs.c.alike,
).where(jobs.c.seq == bindparam("queue"))


def may_begin(tx: Connection, queue: int, hold: Hold) -> Alike | None:
    """Raise `JobHeld` where this run may begin no rows of the job any more, and `JobHalted` where nobody may.

    `LedgerError` where the ledger was put back. Otherwise: what the look-alikes of the job's customers are.
    """
    home.stay(tx)
    job = tx.execute(_STANDS, {"queue": queue, "token": hold.token}).one()
    if not job.may:
        raise JobHeld(f"job {hold.job} was taken over by another run", hint="Let that run go on.")
    if job.halted is not None:
        because, hint = json.loads(job.halted)
        raise JobHalted(because, hint=hint)
    return None if job.alike is None else Alike(job.alike)


def enter(tx: Connection, database: Database, seq: int, part: Part, budget: Budget, now: Moment) -> str:
    """Put a run of this process on record; its token. Raises `LedgerError` where the ledger was put back."""
    home.stay(tx)
    token = secrets.token_hex(8)
    tx.execute(
        insert(runs).values(
            token=token,
            job=seq,
            who=who(),
            pid=os.getpid(),
            host=socket.gethostname(),
            version=__version__,
            started=now.wall,
            part=str(part),
            beat=beat(tx, database),
            lost=0,
            lingers=lingers(database, budget),
        )
    )
    return token


def goes_on(tx: Connection, database: Database, queue: int, job: JobId) -> bool:
    """Whether somebody runs the job now, other than through this ledger: a lead, or a share whose beats come.

    Not the word on who may send: a share that isn't seen may come back.
    """
    if database.holders.held_by_others(job):
        return True
    last = tx.scalar(select(func.max(runs.c.beat)).where(runs.c.job == queue, runs.c.part == str(Part.SHARE), LIVING))
    now = beat(tx, database)
    return now is not None and last is not None and abs(now - last) <= UNSEEN


def succeed(tx: Connection, queue: int) -> ColumnElement[bool]:
    """Earlier leads are lost, now that there is another: whose rows those are that no living share began."""
    tx.execute(update(runs).where(runs.c.job == queue, runs.c.part == str(Part.LEAD), LIVING).values(lost=1))
    return rows.c.holder.not_in(select(runs.c.token).where(runs.c.job == queue, LIVING))


class LedgerMembers(Face):
    """See `ports.Members`."""

    @property
    def several(self) -> bool:
        return self._db.dialect.outlived

    @transaction
    def share(self, tx: Connection, job: JobId, budget: Budget, now: Moment) -> Hold:
        seq = self._db.number(tx, job)
        known = tx.execute(select(accounts.c.rate, accounts.c.per).where(accounts.c.account == budget.account)).first()
        if known is None or (known.rate, known.per) != (budget.rate, budget.per):
            # an account that nobody has run with is known by its org alone
            said = f"{known.rate} requests per {known.per:g} s" if known and known.per else "another account"
            raise ConfigError(
                f"job {job} is run with {said}, this worker has {budget.rate} per {budget.per:g} s of {budget.account}",
                hint="Give all who take part in a job the same credentials, --rate and --per.",
            )
        return Hold(job=job, token=enter(tx, self._db, seq, Part.SHARE, budget, now))

    async def beat(self, hold: Hold, now: Moment) -> Muster:
        return await self._beat(hold, self._db.going_on(now))

    @beside
    def _beat(self, tx: Connection, hold: Hold, clock: Callable[[], Moment]) -> Muster:
        queue = self._db.number(tx, hold.job)
        mine = and_(runs.c.token == hold.token, LIVING)
        part = tx.scalar(update(runs).where(mine).values(beat=beat(tx, self._db)).returning(runs.c.part))
        holder = tx.scalar(select(jobs.c.holder).where(jobs.c.seq == queue))
        if part is None or (part == Part.LEAD and holder != hold.token):
            raise JobHeld(f"job {hold.job} was taken over by another run", hint="Let that run go on.")
        if part == Part.LEAD:
            adopt(tx, queue, clock())
        found = tx.execute(select(runs).where(runs.c.job == queue, LIVING, runs.c.token != hold.token))
        doubts = select(func.count()).select_from(rows)
        return Muster(
            others=[
                Member(
                    job=hold.job, token=run.token, part=Part(run.part), host=run.host, pid=run.pid, beat=run.beat or 0.0
                )
                for run in found
            ],
            led=holder is not None,
            doubts=tx.scalar(doubts.where(rows.c.queue == queue, IN_DOUBT, rows.c.holder == hold.token)) or 0,
        )

    @transaction
    def halt(self, tx: Connection, hold: Hold, because: str, hint: str) -> None:
        its = and_(jobs.c.seq == self._db.number(tx, hold.job), jobs.c.halted.is_(None))
        mine = exists().where(runs.c.token == hold.token, LIVING)
        running = jobs.c.state == str(JobState.RUNNING)
        tx.execute(update(jobs).where(its, running, mine).values(halted=json.dumps([because, hint])))

    async def lose(self, hold: Hold, member: Member, budget: Budget, now: Moment) -> bool:
        lost = await self._lose(hold, member, budget, self._db.going_on(now))
        if lost and member.part is Part.LEAD:
            await self._db.call(lambda: self._db.holders.expel(member.job, member.host, member.pid))
        return lost

    @transaction
    def _lose(self, tx: Connection, hold: Hold, member: Member, budget: Budget, clock: Callable[[], Moment]) -> bool:
        queue = self._db.number(tx, member.job)
        if not tx.execute(_STANDS, {"queue": queue, "token": hold.token}).one().may:
            return False  # others have gone on without this run
        silent = and_(runs.c.token == member.token, runs.c.beat == member.beat, LIVING)
        its = tx.scalar(update(runs).where(silent).values(lost=1).returning(runs.c.lingers))
        if its is None:
            return False
        if member.part is Part.LEAD:
            tx.execute(update(jobs).where(jobs.c.seq == queue, jobs.c.holder == member.token).values(holder=None))
        else:
            give_up(tx, queue, rows.c.holder == member.token, later(clock(), max(its, budget.lingers)))
        return True

    @beside
    def leave(self, tx: Connection, hold: Hold, because: str, now: Moment) -> None:
        mine = and_(runs.c.token == hold.token, LIVING)
        tx.execute(update(runs).where(mine).values(ended=now.wall, exit_code=0, because=because))


def lingers(database: Database, budget: Budget) -> float:
    """How long a request of a run that is gone may be on its way; its process may live where it outlives its hold."""
    return budget.lingers if database.dialect.outlived else 0.0


def who() -> str:
    """Whose hand it is, for the record: the login name, or the number of a user who has none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # which of them depends on the version of Python
        return f"uid {os.getuid()}"


def beat(tx: Connection, database: Database) -> float | None:
    """The database's clock; None where a process can't outlive its hold."""
    return float(tx.execute(_NOW).scalar_one()) if database.dialect.outlived else None
