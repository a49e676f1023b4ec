"""The engine that brings deferred jobs to workers: procrastinate, in the ledger's own database.

It only schedules. Its queue may be lost, a task may run twice or on two hosts at once: which jobs wait for workers, and
who may send a row, is the ledger's word alone. So whatever goes wrong here is repaired by deferring again.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import procrastinate
import psycopg
from croniter import CroniterError, croniter
from procrastinate import exceptions, jobs, retry, worker

from bulk_issue.commands import command
from bulk_issue.config import LedgerUrl
from bulk_issue.errors import BulkIssueError, ConfigError, LedgerError, LedgerUnavailable
from bulk_issue.ledger.postgres import WRITER, parameters
from bulk_issue.model import JobId
from bulk_issue.ports.views import LOST_AFTER

#: Seconds between two beats of a worker, and after how many without one its tasks are another's.
BEAT, STALLED = 5.0, LOST_AFTER
#: Seconds between two looks for tasks of dead workers, and for deferred jobs without a task.
LOOK = 5.0
#: For how many seconds such looks may fail, before the worker ends.
PATIENCE = 60.0
#: Seconds until a worker tries a job again that couldn't be run.
FAILED = 30.0
#: How often the pause before a task that ended by a bug doubles; the longest is 43 minutes.
DOUBLED = 9
#: Seconds that the engine has to put its task back when the worker leaves at once.
LEAVE = 3.0
#: Seconds between two looks for new tasks, should no notice of one have come.
POLL = 5.0
TASK, SCHEDULED = "run", "scheduled"
#: An entry that was never due before isn't made up for when it is later than this; one that was is, whenever a worker
#: looks, for its last due time.
NEW_FOR = timedelta(minutes=10)
#: Once for each entry and due time, in the transaction that defers it.
_DUE = """
INSERT INTO bulk_issue_dues SELECT %(entry)s, %(due)s
WHERE %(due)s > %(new)s OR EXISTS (SELECT FROM bulk_issue_dues WHERE entry = %(entry)s)
ON CONFLICT DO NOTHING RETURNING 1
"""
#: The newest stays: by it the entry is known.
_PRUNE = "DELETE FROM bulk_issue_dues WHERE entry = %(entry)s AND due < %(due)s - interval '400 days'"
#: Who a worker is; nothing comes back where the engine has no such worker any more. Those that are gone are forgotten.
_HERE = """
WITH gone AS (DELETE FROM bulk_issue_workers WHERE worker NOT IN (SELECT id FROM procrastinate_workers))
INSERT INTO bulk_issue_workers SELECT id, %(account)s, %(host)s, %(pid)s, now() FROM procrastinate_workers
WHERE id = %(worker)s ON CONFLICT (worker) DO UPDATE SET account = excluded.account RETURNING worker
"""
#: What orders those who make the engine's tables.
_ORDER = "SELECT pg_advisory_xact_lock(hashtextextended(current_schema() || '/bulk-issue/engine', 0))"
_IF_MISSING = """
DO $bulk_issue$ BEGIN
    IF to_regclass('procrastinate_jobs') IS NULL THEN EXECUTE $engine${schema}$engine$; END IF;
    IF to_regclass('bulk_issue_dues') IS NULL THEN
        CREATE TABLE bulk_issue_dues (entry text, due timestamptz, PRIMARY KEY (entry, due));
    END IF;
    IF to_regclass('bulk_issue_workers') IS NULL THEN
        CREATE TABLE bulk_issue_workers (
            worker bigint PRIMARY KEY, account text, host text, pid int, since timestamptz
        );
    END IF;
END $bulk_issue$
"""

_OTHER_VERSION = (
    psycopg.errors.UndefinedColumn,
    psycopg.errors.UndefinedFunction,
    psycopg.errors.UndefinedObject,
    psycopg.errors.UndefinedTable,
)

for _name in ("procrastinate", "psycopg"):  # what goes wrong is said by us, in our words
    logging.getLogger(_name).addHandler(logging.NullHandler())
    logging.getLogger(_name).propagate = False


class TryAgain(Exception):
    """The task isn't done; a worker should go on with it after so many seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class _Later(retry.RetryDecision):
    """Back after so many seconds, by the database's clock: when that is, is asked as the task goes back."""

    def __init__(self, seconds: float, priority: int) -> None:
        super().__init__(priority=priority)
        self.seconds = seconds


class _Again(retry.BaseRetryStrategy):
    """Every task that isn't done goes back, whatever ended it.

    One that couldn't be run goes behind all others, so that they don't wait for it. So does one that ended by a bug,
    each time after twice the pause: it must not end worker after worker. Its priority counts how often it did.
    """

    def get_retry_decision(self, *, exception: BaseException, job: jobs.Job) -> _Later:
        match exception:
            case TryAgain():
                return _Later(exception.seconds, 0)
            case BulkIssueError():
                return _Later(FAILED, job.priority - 1)
            case Exception():
                return _Later(LOOK * 2 ** min(-job.priority, DOUBLED), job.priority - 1)
            case _:  # cancelled, to leave at once
                return _Later(LOOK, job.priority)


class _Worker(worker.Worker):
    """Says when it begins to stop."""

    on_stop: Callable[[], None]
    now: Callable[[], Awaitable[datetime]]

    def stop(self) -> None:
        self.on_stop()
        super().stop()  # type: ignore[no-untyped-call]

    async def _persist_job_status(self, *args: Any, **kwargs: Any) -> None:
        with suppress(exceptions.ConnectorException):  # the task is another worker's by now, or the beat says the rest
            if isinstance(later := kwargs.get("retry_decision"), _Later):
                later.retry_at = await self.now() + timedelta(seconds=later.seconds)
            await super()._persist_job_status(*args, **kwargs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cron:
    """When something is due, again and again."""

    name: str
    #: Five fields, or six with the seconds last.
    expression: str
    zone: ZoneInfo

    def __post_init__(self) -> None:
        if not croniter.is_valid(self.expression):
            raise ConfigError(
                f"the schedule {self.name} has a cron expression that can't be understood: {self.expression!r}",
                hint='E.g. cron = "0 2 * * *" for every night at two.',
            )
        try:
            self.last(datetime.now(UTC))
        except CroniterError as error:
            raise ConfigError(
                f"the schedule {self.name} is never due: {self.expression!r}", hint="There is no such day."
            ) from error

    def last(self, now: datetime) -> datetime:
        """When it was due last."""
        return croniter(self.expression, now.astimezone(self.zone)).get_prev(datetime)


@dataclass(frozen=True, slots=True, kw_only=True)
class Duties:
    """What a worker does. Each says after how many seconds a worker should go on, or None if there is no more.

    Raises `BulkIssueError` where it can't be done here and now.
    """

    #: Run this job, by the worker of this number.
    run: Callable[[JobId, int], Awaitable[float | None]]
    #: Given the name of the entry, when it was due, and how many seconds ago it was deferred.
    scheduled: Callable[[str, datetime, float], Awaitable[float | None]]
    #: The jobs that are left to workers; on return those of lost workers are free to be taken.
    waiting: Callable[[], Awaitable[Sequence[JobId]]]
    crons: Sequence[Cron] = ()


class Engine:
    """The queue of one account's jobs."""

    def __init__(self, app: procrastinate.App, connector: procrastinate.PsycopgConnector, account: str) -> None:
        self._app, self._connector, self._account = app, connector, account
        #: Short, however long the account's name is: the database takes 63 bytes for the channel of its notices.
        self._queue = hashlib.sha256(account.encode()).hexdigest()[:16]

    async def now(self) -> datetime:
        """The database's clock, by which tasks wait: the only one that all hosts share."""
        found = await self._connector.execute_query_one_async("SELECT clock_timestamp() AS now")
        now: datetime = found["now"]
        return now

    async def defer(self, job: JobId) -> None:
        """Bring a job to a worker; a task that waits begins again. Of the tasks of one job one runs at a time."""
        with _translated():
            for each in await self._tasks():
                if each.task_kwargs.get("job") == job and each.id and each.status == "todo":
                    await self._app.job_manager.cancel_job_by_id_async(each.id, delete_job=True)
            await self._defer(job)

    async def _defer(self, job: JobId) -> None:
        task = self._app.configure_task(TASK, queue=self._queue, lock=f"{self._queue}/{job}")
        await task.defer_async(job=job)

    async def _tasks(self) -> list[jobs.Job]:
        """The tasks of jobs that wait or are worked on."""
        found = await self._app.job_manager.list_jobs_async(queue=self._queue, task=TASK)
        return [each for each in found if each.status in ("todo", "doing")]

    async def due(self, cron: Cron, due: datetime, now: datetime) -> bool:
        """Defer an entry of the schedule, once for each due time, however many workers say so; whether this did.

        With another expression or zone it is a new entry.
        """
        entry = f"{self._queue} {cron.name} {cron.expression} {cron.zone}"
        given = {"entry": entry, "due": due, "new": now - NEW_FOR}
        with _translated():
            async with self._connector.pool.connection() as connection, connection.transaction():
                if await (await connection.execute(_DUE, given)).fetchone() is None:
                    return False
                await connection.execute(_PRUNE, given)
                task = self._app.configure_task(SCHEDULED, queue=self._queue, connection=connection)
                await task.defer_async(entry=cron.name, due=due.isoformat(), since=now.isoformat())
        return True

    async def work(self, duties: Duties, asked: asyncio.Event, on_end: Callable[[], None]) -> None:
        """Work on one task after the other until `asked`.

        A job that waits for workers and has no task is deferred again. Raises `LedgerUnavailable` when the engine ends
        by itself, as it does when its connection breaks; `on_end` is told before, so that what is under way can end.
        """
        busy = set[asyncio.Task[Any]]()

        async def do(work: Awaitable[float | None]) -> None:
            task = asyncio.current_task()
            assert task is not None
            busy.add(task)
            try:
                seconds = await work
            finally:
                busy.discard(task)
            if seconds is not None:
                raise TryAgain(seconds)

        @self._app.task(name=TASK, retry=_Again())
        async def run(job: str) -> None:
            assert engine.worker_id is not None
            await do(duties.run(JobId(job), engine.worker_id))

        @self._app.task(name=SCHEDULED, retry=_Again())
        async def run_scheduled(entry: str, due: str, since: str) -> None:
            late = await self.now() - datetime.fromisoformat(since)
            await do(duties.scheduled(entry, datetime.fromisoformat(due), late.total_seconds()))

        engine = _Worker(
            self._app,
            queues=[self._queue],
            fetch_job_polling_interval=POLL,
            install_signal_handlers=False,
            update_heartbeat_interval=BEAT,
            stalled_worker_timeout=STALLED,
            delete_jobs="successful",
        )
        engine.on_stop, engine.now = on_end, self.now
        running = asyncio.create_task(engine.run())  # type: ignore[no-untyped-call]
        others = [asyncio.create_task(self._look_after(duties, engine)), asyncio.create_task(asked.wait())]
        try:
            await asyncio.wait([running, *others], return_when=asyncio.FIRST_COMPLETED)
            engine.stop()
            await asyncio.wait([running])  # by itself, a cancelled engine would wait for what is under way
            with _translated():
                await running
                if others[0].done():  # looking after others failed
                    await others[0]
        except asyncio.CancelledError:  # to leave at once
            for task in busy:
                task.cancel()
            engine.stop()
            with suppress(TimeoutError, exceptions.ConnectorException):
                async with asyncio.timeout(LEAVE):
                    await running
            raise
        finally:
            for task in others:
                task.cancel()
            on_end()
        if not asked.is_set():
            raise LedgerUnavailable(
                "the worker's engine ended: its connection to the database broke",
                hint="Look whether the database is up and can be reached from here.",
            )

    async def _look_after(self, duties: Duties, engine: worker.Worker) -> None:
        """Look after the queue again and again; what can't be had now is looked for again, for a minute."""
        deferred = dict[str, datetime]()
        failing: float | None = None
        here = True
        while here:
            try:
                with _translated():
                    here = await self._show(engine)
                    await self._look(duties, deferred)
                failing = None
            except LedgerUnavailable:
                failing = failing or time.monotonic()
                if time.monotonic() - failing > PATIENCE:
                    raise
            await asyncio.sleep(LOOK if here else 0.0)
        raise LedgerUnavailable(
            "this worker wasn't seen for a while and was taken for lost",
            hint="Its host stood still or was cut off; its job is another worker's. Start it again.",
        )

    async def _show(self, engine: worker.Worker) -> bool:
        """Put on record who this worker is; whether the engine still counts on it: otherwise it could take no job."""
        its = {"worker": engine.worker_id, "account": self._account, "host": socket.gethostname(), "pid": os.getpid()}
        return engine.worker_id is None or bool(await self._connector.execute_query_all_async(_HERE, **its))

    async def _look(self, duties: Duties, deferred: dict[str, datetime]) -> None:
        """Hand on the tasks of workers that are dead or stand still, and defer what is due or was forgotten."""
        manager, now = self._app.job_manager, await self.now()
        for cron in duties.crons:
            last = cron.last(now)
            if deferred.get(cron.name) != last:
                await self.due(cron, last, now)
                deferred[cron.name] = last
        for job in await manager.get_stalled_jobs(queue=self._queue, seconds_since_heartbeat=STALLED):
            with suppress(exceptions.ConnectorException):  # another worker has just done so
                await manager.retry_job(job, retry_at=now)
        known = {str(job.task_kwargs.get("job")) for job in await self._tasks()}
        for name in await duties.waiting():
            if name not in known:
                await self._defer(name)


@asynccontextmanager
async def opened(place: LedgerUrl, account: str) -> AsyncIterator[Engine]:
    """The engine beside a ledger, its tables made first where they are missing."""
    connector = procrastinate.PsycopgConnector(
        conninfo="", kwargs=parameters(place), configure=_configure, min_size=1, max_size=4, timeout=10
    )
    app = procrastinate.App(connector=connector)
    with _translated():
        async with app.open_async():
            await _make(app, connector)
            yield Engine(app, connector, account)


async def _configure(connection: psycopg.AsyncConnection[Any]) -> None:
    """Sessions are as patient as the ledger's: one that stands still within a transaction holds up nobody for long."""
    await connection.execute(WRITER)
    await connection.commit()


async def _make(app: procrastinate.App, connector: procrastinate.PsycopgConnector) -> None:
    """Make the engine's tables, once, even if another process does so now."""
    schema = app.schema_manager.get_schema().replace("%", "%%")
    await connector.execute_query_async(f"{_ORDER}; {_IF_MISSING.format(schema=schema)}")


@contextmanager
def _translated() -> Iterator[None]:
    """The engine's errors as ours, in the database's own words; no value of a row is ever among them."""
    try:
        yield
    except (exceptions.ConnectorException, psycopg.Error) as error:
        cause = error.__cause__ if isinstance(error.__cause__, psycopg.Error) else error
        if isinstance(cause, psycopg.errors.InsufficientPrivilege):
            raise LedgerError(
                "this role may not make or use the workers' tables",
                hint=f"They are made by their owner: run {command('worker', '--set-up')} once with that role.",
            ) from error
        if isinstance(cause, _OTHER_VERSION):
            raise LedgerError(
                f"the workers' tables are of another version: {' '.join(str(cause).split())}",
                hint="Install the same version of bulk-issue[workers] on all hosts. Where the tables are older, drop "
                f"what is named procrastinate_…, then run {command('worker', '--set-up')} as their owner: no job is "
                "lost.",
            ) from error
        raise LedgerUnavailable(
            f"the workers' engine can't reach its database: {' '.join(str(cause).split()) or type(cause).__name__}",
            hint="Look whether the database is up and can be reached from here, then start this again.",
        ) from error
