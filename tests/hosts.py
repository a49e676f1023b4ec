"""One machine in virtual time: a ledger file, and processes that run jobs on it and may die at any await.

The real job, pool, reconciler, limiter and ledger; the client's place is taken by the model server. A process that is
killed leaves what the kernel leaves of it: committed transactions, requests on the network, and free locks.
"""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import psycopg
from sqlalchemy import Connection, Dialect, create_engine

from bulk_issue import job as job_module
from bulk_issue import pool as pool_module
from bulk_issue import reconcile as reconcile_module
from bulk_issue.config import Account, Config, LedgerUrl
from bulk_issue.crew import Hand
from bulk_issue.errors import BulkIssueError, LedgerUnavailable
from bulk_issue.job import Ending, Run
from bulk_issue.ledger import SqliteLedger, open_ledger
from bulk_issue.ledger.clocks import DatabaseClock
from bulk_issue.limiter import Pacer
from bulk_issue.model import Answer, Identifier, Intent, JobId, JobSpec, Problem, Reading, Row, Series, Unreadable
from bulk_issue.ports import Hold, Landed, Progress
from bulk_issue.states import Event
from bulk_issue.testing import ModelServer, VirtualClock

T = TypeVar("T")
SERIES = 544770
ORG = "100001"
ACCOUNT = Account(base_url="http://127.0.0.1:1", user="till01", password="secret")


def memory_folder() -> str | None:
    """A folder whose fsync costs nothing, if there is one: no power fails in virtual time."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


@contextmanager
def few_polls() -> Iterator[None]:
    """Look less often at what an event will tell anyway: nobody watches, and it is half of a history's work."""
    kept = job_module.TICK, job_module.POLL, pool_module.LOOK_AGAIN, reconcile_module.NAP
    job_module.TICK, job_module.POLL, pool_module.LOOK_AGAIN, reconcile_module.NAP = 60.0, 7.0, 5.0, 20.0
    try:
        yield
    finally:
        job_module.TICK, job_module.POLL, pool_module.LOOK_AGAIN, reconcile_module.NAP = kept


@cache
def _empty_ledger() -> bytes:
    """A ledger without jobs: migrating a new one takes longer than most histories."""
    with tempfile.TemporaryDirectory(dir=memory_folder()) as folder:
        path = Path(folder) / "ledger.db"

        async def make() -> None:
            await (await open_ledger(path, inline=True)).close()

        with suppress(StopIteration):
            make().send(None)  # inline, nothing in it waits for a loop
        return path.read_bytes()


@cache
def _statements() -> tuple[Dialect, dict[Any, Any]]:
    return create_engine("sqlite://").dialect, {}


def _keep_statements(ledger: SqliteLedger) -> None:
    """Don't compile every statement anew for each process: that would be most of a history's work."""
    dialect, compiled = _statements()
    for engine in (ledger._db._engine, ledger._db._readers):
        engine.dialect = dialect
        engine.update_execution_options(compiled_cache=compiled)
    if ledger._db._connection is not None:
        ledger._db._connection.close()
        ledger._db._connection = None


def configured(path: Path | LedgerUrl, **settings: Any) -> Config:
    """A run's settings, with the patience of virtual time."""
    return Config(account=ACCOUNT, series_id=SERIES, ledger=path, **settings)


def spec(name: str = "job-a", *, again: str = "") -> JobSpec:
    return JobSpec(
        id=JobId(name),
        org=ORG,
        series_id=SERIES,
        again=again,
        account=ACCOUNT.name,
        path=f"/files/{name}.csv",
        sha256="0" * 64,
        header=("customer",),
    )


def rows_of(customers: Sequence[Identifier | None]) -> list[Row]:
    """The rows of a file with these customers; None stands for a record that names nobody."""
    nobody = Problem(code="no-identifier", reason="no identifier")
    return [
        Row(number=n, cells=(who.value if who else "",), identifier=who, problem=None if who else nobody)
        for n, who in enumerate(customers, 1)
    ]


class LoopsClock(DatabaseClock):
    """A database's clock in virtual time: no host's reboot or step moves it."""

    def __init__(self) -> None:
        super().__init__(lambda: asyncio.get_running_loop().time())

    def seconds(self, tx: Connection) -> float:
        del tx
        return asyncio.get_running_loop().time()


class Killed(BaseException):
    """The process is gone; whatever of it still runs must not reach the world any more."""


class Host:
    """The machine."""

    def __init__(self, folder: Path, server: ModelServer, clock: VirtualClock, place: LedgerUrl | None = None) -> None:
        self.path: Path | LedgerUrl = place or folder / "ledger.db"
        if isinstance(self.path, Path):
            self.path.write_bytes(_empty_ledger())
        self.server, self.clock = server, clock
        self.log: list[str] = []
        #: Broken promises that can be seen in the moment only.
        self.violations: list[str] = []
        #: Until this virtual second the ledger refuses every write.
        self.ledger_down_until = 0.0
        self.refused_writes = 0
        #: What one write to the disk takes, at most; a process' writes wait for one another.
        self.disk = 0.0
        #: What was committed, in its order: intents, and names that a reply gave of a customer (`again` name, key).
        self.begun: dict[tuple[str, int, int], int] = {}
        self.named: dict[tuple[str, str], int] = {}
        #: The customers whose replies told a name, by that.
        self.told_of: dict[str, set[int]] = {}
        #: By job: the runs that have begun rows of it, in their order.
        self.holders: dict[str, list[str]] = {}
        #: Rows that a person put back.
        self.put_back: set[tuple[Any, ...]] = set()
        self._eye: sqlite3.Connection | psycopg.Connection[Any] | None = None
        server.on_departure = self.look_at_intent
        server.on_event = self.note

    @classmethod
    def with_server(cls, folder: Path, **ways: Any) -> Host:
        """A machine of its own with a server of these ways."""
        clock = VirtualClock()
        return cls(folder, ModelServer(clock=clock, **ways), clock)

    def note(self, text: str) -> None:
        self.log.append(f"{asyncio.get_running_loop().time():10.3f}  {text}")

    def ask(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """What stands in the ledger, read by nobody's code but the database's."""
        if isinstance(self.path, LedgerUrl):
            if self._eye is None:
                self._eye = psycopg.connect(self.path.url, autocommit=True)
            said = query.replace(" IS NOT 'not", " IS DISTINCT FROM 'not").replace(" offset ", ' "offset" ')
            return self._eye.execute(said.replace("?", "%s"), values).fetchall()
        if self._eye is None:
            self._eye = sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)
        return self._eye.execute(query, values).fetchall()

    def states(self, job: str = "job-a") -> list[str]:
        """How the job's rows stand, in their order."""
        query = "SELECT rows.state FROM rows JOIN jobs ON jobs.seq = rows.job WHERE jobs.id = ? ORDER BY number"
        return [state for (state,) in self.ask(query, job)]

    def resent_unsettled(self) -> list[tuple[Any, ...]]:
        """Attempts that were followed by another, though neither their answer, the record nor a person allowed it."""
        found = self.ask(
            "SELECT jobs.id, one.row, one.attempt, one.event FROM attempts AS one JOIN jobs ON jobs.seq = one.job"
            " JOIN attempts AS next ON next.job = one.job AND next.row = one.row AND next.attempt = one.attempt + 1"
            " WHERE one.event IS NOT 'not_processed' AND NOT EXISTS (SELECT 1 FROM lookups"
            " WHERE lookups.job = one.job AND lookups.row = one.row AND lookups.attempt = one.attempt"
            " AND finding = 'not in Capillary''s record') AND NOT EXISTS (SELECT 1 FROM decisions"
            " WHERE decisions.job = one.job AND decisions.row = one.row AND code IS NULL)"
        )
        return [each for each in found if not (each[3] == "rejected" and each[:2] in self.put_back)]

    async def opened(self) -> SqliteLedger:
        """The ledger as one more process opens it."""
        ledger = await open_ledger(self.path, inline=True)
        ledger._db.seconds = asyncio.get_running_loop().time
        if isinstance(self.path, Path):
            _keep_statements(ledger)
        else:
            ledger._db.dialect._clock = LoopsClock()  # type: ignore[attr-defined]
        return ledger

    @asynccontextmanager
    async def ledger(self) -> AsyncIterator[SqliteLedger]:
        """The ledger in a process that opens it for a moment, when its disk can be written."""
        await asyncio.sleep(max(self.ledger_down_until - asyncio.get_running_loop().time(), 0.0))
        ledger = await self.opened()
        try:
            yield ledger
        finally:
            await ledger.close()

    def committed(self, method: str, done: Any, arguments: tuple[Any, ...]) -> None:
        """Note what a transaction has promised or told."""
        if method == "begin":
            if done.intents:
                self._note_holder(arguments[0])
            for intent in done.intents:
                self.begun[intent.job, intent.row, intent.attempt] = len(self.begun) + len(self.named)
        elif method == "finish":
            for settlement, landed in zip(arguments[0], done, strict=True):
                if settlement.event is Event.ISSUED and landed is not Landed.STALE:
                    self._note_names(settlement.intent)
        elif method == "turn":
            landed, begun = done
            self.committed("finish", landed, arguments)
            self.committed("begin", begun, arguments[1:])

    def _note_holder(self, hold: Hold) -> None:
        """A run that was followed by another one must begin nothing more."""
        before = self.holders.setdefault(hold.job, [])
        if hold.token in before[:-1]:
            self.violations.append(f"{hold.job} was gone on with by a run that another one had replaced")
        elif hold.token not in before:
            before.append(hold.token)

    def end_sessions(self) -> None:
        """As a restart of the database ends them, and every hold with them; a file has none."""
        if isinstance(self.path, LedgerUrl):
            self.note("all sessions are ended")
            self.ask(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

    def _note_names(self, intent: Intent) -> None:
        """A reply has named its customer in every way that the server knows."""
        customer = self.server.customer(intent.identifier.key)
        again = self.ask("SELECT again FROM jobs WHERE id = ?", intent.job)[0][0]
        others = (each.key for each in self.server.profiles.get(customer, ()))
        for key in (f"id:{customer}", *others):
            self.told_of.setdefault(key, set()).add(customer)
            self.named.setdefault((again, key), len(self.begun) + len(self.named))

    def close(self) -> None:
        if self._eye is not None:
            self._eye.close()

    def look_at_intent(self, intent: Intent) -> None:
        """Promise 1: the intent is on disk when its request leaves; and its permit and claim with it."""
        found = self.ask(
            "SELECT rows.state, rows.attempt, attempts.attempt, claims.open,"
            " (SELECT count(*) FROM permits WHERE job = rows.job AND row = rows.number AND attempt = rows.attempt)"
            " FROM rows JOIN jobs ON jobs.seq = rows.job"
            " LEFT JOIN attempts ON attempts.job = rows.job AND attempts.row = number AND attempts.attempt = ?"
            " LEFT JOIN claims ON claims.job = rows.job AND claims.row = number AND claims.key = rows.key"
            " WHERE jobs.id = ? AND rows.number = ?",
            intent.attempt,
            intent.job,
            intent.row,
        )
        if found != [("in_flight", intent.attempt, intent.attempt, 1, 1)]:
            self.violations.append(f"{intent.job}/{intent.row}.{intent.attempt} left, and the ledger says {found}")

    def process(self, job: JobSpec, rows: Sequence[Row], *, seed: int = 0, **settings: Any) -> Process:
        settings.setdefault("timeout", self.server.timeout)
        return Process(self, job, rows, configured(self.path, **settings), Random(seed))


class Process:
    """One `bulk-issue run` in a process of its own."""

    def __init__(self, host: Host, job: JobSpec, rows: Sequence[Row], config: Config, random: Random) -> None:
        self.host, self.job, self.rows, self.config, self.random = host, job, rows, config, random
        self.asked = asyncio.Event()
        self.dead = False
        #: Dies at the point (a write, a request, an answer, a look-up) that is so many away; None: at none.
        self.dies_in: int | None = None
        self.messages: list[str] = []
        self.ledger: SqliteLedger | None = None
        self._writer = asyncio.Lock()
        self._task: asyncio.Task[Ending] | None = None

    # --- the life of it -----------------------------------------------------------------------------------------

    async def run(self) -> Ending | BulkIssueError | Killed:
        """Run to the end, whatever kind of end it is."""
        return await self._lives(self._issue())

    async def reconcile(self) -> Ending | BulkIssueError | Killed:
        return await self._lives(self._reconcile())

    async def _lives(self, main: Any) -> Ending | BulkIssueError | Killed:
        self._task = asyncio.create_task(main)
        try:
            await asyncio.wait([self._task])
        finally:
            self._free_locks()
            if self.ledger is not None:
                await self.ledger.close()
        if self.dead:
            if not self._task.cancelled():
                self._task.exception()
            return Killed()
        error = self._task.exception()
        if isinstance(error, BulkIssueError):
            return error
        if error is not None:
            raise error
        return self._task.result()

    def kill(self) -> None:
        """SIGKILL: nothing more is written or sent, locks are free, what was sent is under way."""
        if self._task is None or self._task.done() or self.dead:
            return
        self.host.note(f"{self.job.id} is killed")
        self.dead = True
        self._free_locks()
        self._task.cancel()

    def _free_locks(self) -> None:
        if self.ledger is not None:
            self.ledger.jobs._locks.free(self.job.id)

    def point(self, name: str) -> None:
        """A moment in which the process may die."""
        if self.dead:
            raise Killed
        if self.dies_in is not None:
            self.dies_in -= 1
            if self.dies_in < 0:
                self.host.note(f"{self.job.id} dies {name}")
                self.kill()
                raise Killed

    # --- what it does -------------------------------------------------------------------------------------------

    async def _issue(self) -> Ending:
        return await (await self._ready()).issue()

    async def _reconcile(self) -> Ending:
        return await (await self._ready()).reconcile()

    async def _ready(self) -> Run:
        self.ledger = ledger = await self.host.opened()
        self._watch_writes(ledger)
        middle = len(self.rows) // 2
        chunks = [chunk for chunk in (self.rows[:middle], self.rows[middle:]) if chunk]
        job = await ledger.jobs.register(self.job, chunks, lambda: 0, self.host.clock.now())
        mortal = Mortal(self)
        parts = Hand(
            job=job,
            config=self.config,
            series=await mortal.series(SERIES),  # type: ignore[arg-type]  # the model server always knows
            ledger=ledger,
            issuer=mortal,
            records=mortal,
            clock=self.host.clock,
            draw=self.random.random,
            pacer=lambda even: Pacer(self.config.rate, self.config.per, even=even),
            lookups=Pacer(300, 60.0, even=True),
            observer=self._observe,
            asked=self.asked,
        )
        return Run(parts)

    def _watch_writes(self, ledger: SqliteLedger) -> None:
        write: Callable[..., Awaitable[Any]] = ledger._db.write

        async def watched(work: Any, **how: bool) -> Any:
            async with self._writer:
                await self._disk()
                self.point("before a write")
                if asyncio.get_running_loop().time() < self.host.ledger_down_until:
                    self.host.refused_writes += 1
                    raise LedgerUnavailable("the ledger can't be written, as scripted")
                done = await write(work, **how)
                its = dict(zip(work.__code__.co_freevars, work.__closure__ or (), strict=True))
                if {"method", "args"} <= its.keys():
                    self.host.committed(its["method"].cell_contents.__name__, done, its["args"].cell_contents)
                self.point("after a write")
            await self._disk()
            return done

        ledger._db.write = watched  # type: ignore[method-assign]

    async def _disk(self) -> None:
        """What other tasks do while the disk writes."""
        if self.host.disk:
            await asyncio.sleep(self.random.uniform(0.0, self.host.disk / 2))

    def _observe(self, progress: Progress) -> None:
        if progress.message:
            self.messages.append(progress.message)


class Mortal:
    """The server's ports as one process uses them."""

    def __init__(self, process: Process) -> None:
        self._process, self._server = process, process.host.server

    async def issue(self, intent: Intent) -> Answer:
        self._process.point("before a request")
        answer = await self._server.issue(intent)
        self._process.point("before an answer is recorded")
        return answer

    async def reset(self) -> None:
        await self._server.reset()

    async def coupons(self, identifier: Identifier) -> Reading | Unreadable:
        self._process.point("before a look-up")
        reading = await self._server.coupons(identifier)
        self._process.point("after a look-up")
        return reading

    async def coupons_by_bearer(self, identifier: Identifier) -> Reading | Unreadable:
        self._process.point("before a look-up of the bearer")
        reading = await self._server.coupons_by_bearer(identifier)
        self._process.point("after a look-up of the bearer")
        return reading

    async def series(self, series_id: int) -> Series | Unreadable:
        return await self._server.series(series_id)
