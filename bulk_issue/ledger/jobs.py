"""What jobs there are, and what people do to them: register, hold, release, retry, cancel."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from sqlalchemy import ColumnElement, Connection, and_, case, exists, func, or_, select, true, update

from bulk_issue import model
from bulk_issue.commands import command
from bulk_issue.errors import ConfigError, JobPurged
from bulk_issue.ledger import permits, registering
from bulk_issue.ledger.database import AnyRow, Database, Face, beside, transaction, upsert
from bulk_issue.ledger.runs import confirm, enter, lingers
from bulk_issue.ledger.schema import PENDING, RETRIED, accounts, jobs, rows, runs
from bulk_issue.ledger.takeover import adopt, give_up, later, lingering
from bulk_issue.ledger.workers import lost_holders
from bulk_issue.model import NOBODY, Alike, Job, JobId, JobSpec, JobState, LeftOut, Moment
from bulk_issue.ports import Budget, Hold
from bulk_issue.states import Event, RowState, after, sources


class LedgerJobs(Face):
    """See `ports.Jobs`."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._locks = database.holders

    # --- what there is ------------------------------------------------------------------------------------------

    @beside
    def find(self, tx: Connection, job: JobId) -> Job | None:
        found = tx.execute(select(jobs).where(jobs.c.id == job)).first()
        if found is None:
            return None
        self._db.know(job, found.seq)
        return as_job(found)

    def running_elsewhere(self, job: JobId) -> bool:
        """Whether another living process runs the job."""
        return self._locks.held_by_others(job)

    @transaction
    def account(self, tx: Connection, account: str, org: str | None = None) -> str | None:
        if org is not None:
            tx.execute(
                upsert(tx, accounts)
                .values(account=account, org=org)
                .on_conflict_do_update(index_elements=["account"], set_={"org": func.coalesce(accounts.c.org, org)})
            )
        return tx.scalar(select(accounts.c.org).where(accounts.c.account == account))

    @beside
    def orgs(self, tx: Connection, host: str) -> frozenset[str]:
        """The orgs that accounts of this host are known to belong to."""
        found = tx.execute(select(accounts.c.org).where(accounts.c.account.startswith(f"{host}#", autoescape=True)))
        return frozenset(org for (org,) in found if org is not None)

    # --- registering --------------------------------------------------------------------------------------------

    async def register(
        self,
        spec: JobSpec,
        chunks: Iterable[Sequence[model.Row]],
        blank: Callable[[], int],
        now: Moment,
        left_out: LeftOut = NOBODY,
    ) -> Job:
        await self._db.call(lambda: self._locks.take(spec.id))
        try:
            known = await self.find(spec.id)
            if known is not None and known.state is not JobState.REGISTERING:
                return known
            seq = await self._begin_registering(spec, now, left_out)
            count, blanks = await self._add_all(seq, chunks), blank()
            await self._seal(seq, count, blanks)
        except BaseException:
            await self._take_back(spec.id)
            raise
        finally:
            await self._db.call(lambda: self._locks.free(spec.id))
        found = await self.find(spec.id)
        assert found is not None
        return found

    async def _add_all(self, seq: int, chunks: Iterable[Sequence[model.Row]]) -> int:
        """Add all rows, one chunk being written while the next is read, and no more than that; how many they are."""
        count = 0
        written: asyncio.Task[None] | None = None
        try:
            for chunk in chunks:
                if written is not None:
                    await written
                written = asyncio.create_task(self._add(seq, chunk))
                await asyncio.sleep(0)  # the writer has it before the next chunk keeps this thread busy
                count += len(chunk)
        finally:
            if written is not None:
                await written
        return count

    @transaction
    def _begin_registering(self, tx: Connection, spec: JobSpec, now: Moment, left_out: LeftOut) -> int:
        return registering.begin(tx, self._db, spec, now, left_out)

    @transaction
    def _seal(self, tx: Connection, seq: int, count: int, blank: int) -> None:
        registering.seal(tx, seq, count, blank)

    @transaction
    def _take_back(self, tx: Connection, job: JobId) -> None:
        registering.take_back(tx, self._db, job)

    @beside
    def _add(self, tx: Connection, seq: int, chunk: Sequence[model.Row]) -> None:
        registering.add(tx, self._db, seq, chunk)

    @transaction
    def unregister(self, tx: Connection, job: JobId) -> bool:
        if self._locks.held_by_others(job) or not registering.nothing_came_of(tx, job):
            return False
        registering.forget(tx, self._db, job)
        return True

    # --- running ------------------------------------------------------------------------------------------------

    async def hold(self, job: JobId, budget: Budget, now: Moment, *, worker: int | None = None) -> Hold:
        clock = self._db.going_on(now)
        await self._db.call(lambda: self._locks.take(job))
        try:
            return await self._hold(job, budget, clock, worker)
        except BaseException:
            await self._db.call(lambda: self._locks.free(job))
            raise

    @transaction
    def _hold(
        self, tx: Connection, job: JobId, budget: Budget, clock: Callable[[], Moment], worker: int | None
    ) -> Hold:
        seq, now = self._registered(tx, job), clock()
        self._agree(tx, job, budget, now)
        token = enter(tx, self._db, seq, budget, now, worker)
        given_up = later(now, max(lingers(self._db, budget), lingering(tx, seq)))
        adopt(tx, seq, given_up)
        recovered = give_up(tx, seq, given_up)
        before = _stood(tx, seq)
        tx.execute(
            update(jobs)
            .where(jobs.c.seq == seq)
            .values(
                state=str(JobState.RUNNING),
                holder=token,
                account=budget.account,
                started=func.coalesce(jobs.c.started, now.wall),
                ended=None,
                because=_unless_cancelled(""),
                stop_kind=None,
            )
        )
        return Hold(job=job, token=token, recovered=recovered, before=before)

    def _registered(self, tx: Connection, job: JobId) -> int:
        """The number of a job that all rows of its file are in: a part of it must be neither run nor changed."""
        seq, state, because = registering.stands(tx, self._db, job)
        if state is JobState.PURGED:
            raise JobPurged(job, because)
        if state is JobState.REGISTERING:
            raise ConfigError(
                f"job {job} was never registered completely",
                hint=f"Run its file again: {command('run', 'FILE', '--series', 'ID')}",
            )
        return seq

    def _agree(self, tx: Connection, job: JobId, budget: Budget, now: Moment) -> None:
        """One limit for all who use the account now."""
        known = tx.execute(select(accounts.c.rate, accounts.c.per).where(accounts.c.account == budget.account)).first()
        if known and known.rate is not None and (known.rate, known.per) != (budget.rate, budget.per):
            running = tx.execute(
                select(jobs.c.id).where(
                    jobs.c.account == budget.account, jobs.c.state == str(JobState.RUNNING), jobs.c.id != job
                )
            )
            for (other,) in running:
                if self._locks.held_by_others(other):
                    raise ConfigError(
                        f"job {other} uses this account now at {known.rate} requests per {known.per:g} s",
                        hint=f"Use --rate {known.rate} --per {known.per:g} too, or wait until it has ended.",
                    )
        permits.agree(tx, budget, self._db.dialect.clock(tx, budget.account, now)[0])

    async def release(
        self,
        hold: Hold,
        state: JobState,
        because: str,
        now: Moment,
        exit_code: int | None = None,
        *,
        stop_kind: str = "",
    ) -> bool:
        try:
            return await self._release(hold, state, because, now, exit_code, stop_kind)
        finally:
            await self._db.call(lambda: self._locks.free(hold.job))

    @transaction
    def _release(
        self,
        tx: Connection,
        hold: Hold,
        state: JobState,
        because: str,
        now: Moment,
        exit_code: int | None,
        stop_kind: str,
    ) -> bool:
        seq = self._db.number(tx, hold.job)
        done = {"state": str(state), "because": because}
        mine = and_(jobs.c.seq == seq, jobs.c.holder == hold.token)
        let_go = update(jobs).where(mine).values(holder=None, ended=now.wall, stop_kind=stop_kind or None)
        its_end = let_go.values(state=str(state), because=_unless_cancelled(because))
        held = tx.execute(its_end).rowcount == 1
        end = {"exit_code": exit_code, **done} if held else {"because": "another run took the job over"}
        tx.execute(update(runs).where(runs.c.token == hold.token).values(ended=now.wall, **end))
        return held

    @beside
    def confirm(self, tx: Connection, hold: Hold) -> None:
        confirm(tx, self._db.number(tx, hold.job), hold)

    @transaction
    def defer(self, tx: Connection, job: JobId, account: str | None = None) -> None:
        its = jobs.c.seq == self._registered(tx, job)
        its_account = tx.execute(select(jobs.c.account).where(its)).scalar_one()
        if account not in (None, its_account) and self._locks.held_by_others(job):
            raise ConfigError(
                f"job {job} is run by the account {its_account} now, these credentials are those of {account}",
                hint="Use the same credentials, or wait until that run has ended.",
            )
        tx.execute(update(jobs).where(its).values(deferred=1, account=account or its_account))
        stopped = jobs.c.state.not_in((str(JobState.RUNNING), str(JobState.READY)))
        tx.execute(update(jobs).where(its, stopped).values(state=str(JobState.READY)))

    @beside
    def waiting(self, tx: Connection, account: str) -> Sequence[JobId]:
        found = select(jobs.c.id).where(jobs.c.account == account, jobs.c.deferred == 1).order_by(jobs.c.seq)
        return [JobId(name) for name in tx.scalars(found)]

    async def evict(self, account: str, silent: float) -> None:
        for each in await self._lost(account, silent):
            await self._db.call(partial(self._locks.expel, JobId(each.id), each.host, each.pid))

    @beside
    def _lost(self, tx: Connection, account: str, silent: float) -> Sequence[AnyRow]:
        return lost_holders(tx, account, silent)

    @beside
    def dismiss(self, tx: Connection, job: JobId) -> None:
        done = jobs.c.state.not_in((str(JobState.RUNNING), str(JobState.READY)))
        tx.execute(update(jobs).where(jobs.c.id == job, done).values(deferred=0))

    # --- what people do -----------------------------------------------------------------------------------------

    @transaction
    def retry(self, tx: Connection, job: JobId, codes: Sequence[str]) -> int:
        seq = self._registered(tx, job)
        _forget_retried(tx, seq)
        back = {"state": str(after(RowState.REJECTED, Event.RETRY)), "queue": seq, "spent": 0, "due": 0.0, "retried": 1}
        done = [tx.execute(update(rows).where(which).values(back)).rowcount for which in to_retry(seq, codes)]
        tx.execute(update(jobs).where(jobs.c.seq == seq).values(cancelled=0))
        return sum(done)

    @transaction
    def cancel(self, tx: Connection, job: JobId, who: str = "", why: str = "") -> int:
        seq = self._registered(tx, job)
        moved = str(after(RowState.PENDING, Event.CANCEL))
        done = tx.execute(update(rows).where(_worked_by(seq, Event.CANCEL)).values(state=moved))
        because = "cancelled" + (f" by {who}" if who else "") + (f": {why}" if why else "")
        cancelled = {"state": str(JobState.CANCELLED), "cancelled": 1, "because": because}
        tx.execute(update(jobs).where(jobs.c.seq == seq).values(cancelled))
        return done.rowcount

    @transaction
    def put_back(self, tx: Connection, job: JobId) -> int:
        seq = self._registered(tx, job)
        _forget_retried(tx, seq)
        moved = str(after(RowState.CANCELLED, Event.PUT_BACK))
        back = {"state": moved, "queue": seq, "spent": 0, "due": 0.0, "retried": 1}
        done = tx.execute(update(rows).where(to_put_back(seq)).values(back))
        # a run of it that settles its doubts goes on, and sends them
        state = JobState.RUNNING if self._locks.held_by_others(job) else JobState.STOPPED
        cancelled = and_(jobs.c.seq == seq, jobs.c.state == str(JobState.CANCELLED))
        tx.execute(update(jobs).where(cancelled).values(state=str(state)))
        tx.execute(update(jobs).where(jobs.c.seq == seq, jobs.c.cancelled == 1).values(cancelled=0, because=""))
        return done.rowcount


def _unless_cancelled(because: str) -> ColumnElement[str]:
    """Why a job stands as it does: who cancelled it, and why, is kept whatever runs settle its doubts."""
    return case((jobs.c.cancelled == 1, jobs.c.because), else_=because)


def _forget_retried(tx: Connection, seq: int) -> None:
    """Rows that were put back before are pending like all others: only the last ones are sent by themselves."""
    tx.execute(update(rows).where(rows.c.queue == seq, PENDING, RETRIED).values(retried=0))


def _worked_by(seq: int, event: Event) -> ColumnElement[bool]:
    """The rows of a job, and those that wait in it, which the event may move."""
    return and_(or_(rows.c.job == seq, rows.c.queue == seq), rows.c.state.in_(sources(event)))


def to_put_back(seq: int) -> ColumnElement[bool]:
    """The rows that `put_back` puts back."""
    return _worked_by(seq, Event.PUT_BACK)


def to_retry(seq: int, codes: Sequence[str]) -> Sequence[ColumnElement[bool]]:
    """The rows that `retry` puts back: a job's own, and those that records of it are linked to."""
    rejected = and_(rows.c.state.in_(sources(Event.RETRY)), rows.c.error_code.in_(codes) if codes else true())
    record = rows.alias()
    its = and_(record.c.of_job == rows.c.job, record.c.of_row == rows.c.number)
    linked = exists().where(record.c.job == seq, record.c.state == "linked", its)
    return and_(rows.c.job == seq, rejected), and_(rows.c.job != seq, rejected, linked)


def _stood(tx: Connection, seq: int) -> JobState:
    """How a job stands that is about to be run; one that is left to nobody was cut short if it seems to run."""
    job = tx.execute(select(jobs.c.state, jobs.c.deferred).where(jobs.c.seq == seq)).one()
    state = JobState(job.state)
    return JobState.STOPPED if state is JobState.RUNNING and not job.deferred else state


def as_job(row: AnyRow) -> Job:
    """The job that a row of the table describes."""
    spec = JobSpec(
        id=JobId(row.id),
        org=row.org,
        series_id=row.series_id,
        again=row.again,
        account=row.account,
        path=row.path,
        sha256=row.sha256,
        header=tuple(json.loads(row.header)),
        reading=json.loads(row.reading),
    )
    return Job(
        spec=spec,
        state=JobState(row.state),
        rows=row.rows,
        blank=row.blank,
        created=row.created,
        started=row.started,
        ended=row.ended,
        stopped_because=row.because,
        stop_kind=row.stop_kind or "",
        deferred=bool(row.deferred),
        left_out=LeftOut(
            path=row.list_path, sha256=row.list_sha256, alike=None if row.alike is None else Alike(row.alike)
        ),
    )
