"""Three workers on three "hosts", and all that can happen to hosts; then the sandbox's book is asked what is true.

Each host is a process under a service manager that starts it again whenever it ends. Its ways to the database and to
the API are its own, and can be cut: nothing passes for a while, and then every connection is broken. Processes are
killed, or stand still for longer than their beats may; the database is restarted, and killed, and its sessions are
ended. Several jobs of one account are deferred once, and nobody touches them again. Their files name some customers
twice.

`python -m tests.chaos` (or `make torture`) for long ones; tests/test_chaos.py has a short one.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import socket
import sys
import tempfile
import time
from asyncio import StreamReader, StreamWriter
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from bulk_issue.app.workers import set_up
from bulk_issue.sandbox.server import Sandbox
from bulk_issue.sandbox.settings import Settings
from tests.cluster import Cluster, running
from tests.console import mobiles
from tests.victims import TERMS, Verdict, Victims, judge

#: The strict server's limit, and what the workers are told of it.
RATE, PER = 60, 2.0
LIMIT = ("--rate", RATE, "--per", PER, "--grace", 2, "--connections", 4, "--pace", "burst")
HOSTS, JOBS = 3, 3
#: Seconds after which the jobs must have ended, counted from the last thing that happened.
LONGEST = 100.0
#: Beats may stand still for 1.5 s here: how long a host stands still, or is cut off.
WHILE = (2.0, 3.5)

Opened = Callable[[], Awaitable[tuple[StreamReader, StreamWriter]]]


class Way:
    """The way from a host to a service."""

    def __init__(self, to: Opened) -> None:
        self._to = to
        self._open = asyncio.Event()
        self._open.set()
        self._passing: set[StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def opened(self, at: socket.socket | None = None) -> AsyncIterator[int]:
        """The port at which it begins; that of a socket on another host, if there is one."""
        where: Any = {"sock": at} if at is not None else {"host": "127.0.0.1", "port": 0}
        server = await asyncio.start_server(self._pass, **where)
        try:
            yield int(server.sockets[0].getsockname()[1])
        finally:
            server.close()
            self._open.set()
            self._break()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def cut(self, seconds: float) -> None:
        """Let nothing pass for so long; what was on the way is lost, and so is every connection."""
        self._open.clear()
        await asyncio.sleep(seconds)
        self._break()
        self._open.set()

    def _break(self) -> None:
        for writer in self._passing:
            writer.transport.abort()

    async def _pass(self, reader: StreamReader, writer: StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._passing.add(writer)
        try:
            await self._open.wait()
            with contextlib.suppress(OSError):
                there, back = await self._to()
                self._passing.add(back)
                try:
                    async with asyncio.TaskGroup() as tasks:
                        tasks.create_task(self._carry(reader, back))
                        tasks.create_task(self._carry(there, writer))
                finally:
                    back.transport.abort()
                    self._passing.discard(back)
        finally:
            writer.transport.abort()
            self._passing.discard(writer)
            self._tasks.discard(task)

    async def _carry(self, reader: StreamReader, writer: StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                await self._open.wait()
                writer.write(data)
                await writer.drain()
        writer.close()


@dataclass(slots=True)
class Host:
    """A worker under a service manager."""

    console: Victims
    to_database: Way
    to_api: Way
    log: Path
    over: bool = False
    process: Process | None = None
    exits: Counter[int] = field(default_factory=Counter)

    async def live(self) -> None:
        """Start the worker again and again."""
        while not self.over:
            with self.log.open("ab") as log:
                self.process = await self.console.start("worker", *TERMS, *LIMIT, "--quiet", into=log)
            self.exits[await self.process.wait()] += 1

    def signal(self, number: signal.Signals) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(number)

    async def stand_still(self, seconds: float) -> None:
        self.signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        self.signal(signal.SIGCONT)


@dataclass(slots=True, kw_only=True)
class Chaos:
    """One story."""

    cluster: Cluster
    folder: Path
    seed: int
    #: Of each file.
    rows: int
    #: What happens, each begun so many seconds (at most) after the one before.
    events: Sequence[str]
    apart: float
    log: list[str] = field(default_factory=list)
    _database: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def run(self) -> Verdict:
        """Let it all happen, and judge when the jobs have ended by themselves."""
        dice, name = Random(self.seed), self.cluster.database()
        async with Sandbox(Settings(rate=RATE, per=PER, latency=0.01, jitter=0.01, seed=self.seed)) as box:
            await set_up(self.cluster.url(name, "bulk_issue_owner"))
            whole = Victims(self.folder, box, {"BULK_ISSUE_LEDGER": self.cluster.url(name).url}, "tests.hurried_worker")
            apart = self.rows * 3 // 4
            files = [whole.customers(f"c{at}.csv", mobiles(self.rows, at * apart)) for at in range(JOBS)]
            for file in files:
                deferred = await whole("defer", file, "--series", box.series_id)
                assert deferred.code == 0, deferred.err
            async with self._hosts(whole, name) as hosts:
                while not box.book.requests():
                    await asyncio.sleep(0.01)
                async with asyncio.TaskGroup() as tasks:
                    for event in self.events:
                        await asyncio.sleep(dice.uniform(0.1, self.apart))
                        tasks.create_task(self._happens(event, dice.choice(hosts), dice.uniform(*WHILE)))
                ended = await self._ended(whole)
            verdict = judge(whole, *files)
            verdict.exits += not ended
            return verdict

    @asynccontextmanager
    async def _hosts(self, whole: Victims, name: str) -> AsyncIterator[list[Host]]:
        async with contextlib.AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
            hosts: list[Host] = []
            for number in range(HOSTS):
                database = Way(lambda: asyncio.open_unix_connection(self.cluster.folder / ".s.PGSQL.5432"))
                api = Way(lambda: asyncio.open_connection("127.0.0.1", int(whole.box.url.rpartition(":")[2])))
                at, by = [await stack.enter_async_context(way.opened()) for way in (database, api)]
                place = f"postgresql://bulk_issue@127.0.0.1:{at}/{name}?connect_timeout=2"
                console = Victims(self.folder, whole.box, {"BULK_ISSUE_LEDGER": place, "API_BY": str(by)}, whole.module)
                hosts.append(Host(console, database, api, self.folder / f"host-{number}.log"))
                tasks.create_task(hosts[-1].live())
            try:
                yield hosts
            finally:
                for host in hosts:
                    host.over = True
                    host.signal(signal.SIGCONT)
                    host.signal(signal.SIGTERM)
                self.log.append(f"exits: {', '.join(str(dict(host.exits)) for host in hosts)}")

    async def _happens(self, event: str, host: Host, seconds: float) -> None:
        self.log.append(f"{time.monotonic():.1f} {event} {host.log.stem} {seconds:.1f}")
        match event:
            case "kill":
                host.signal(signal.SIGKILL)
            case "stand still":
                await host.stand_still(seconds)
            case "cut off the database":
                await host.to_database.cut(seconds)
            case "cut off the API":
                await host.to_api.cut(seconds)
            case "sessions ended":
                ends = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'bulk_issue'"
                async with self._database:
                    await asyncio.to_thread(self.cluster.sql, ends)
            case "database restarts" | "database killed":
                async with self._database:
                    await asyncio.to_thread(self.cluster.kill if event.endswith("killed") else self.cluster.stop)
                    await asyncio.sleep(seconds / 2)
                    await asyncio.to_thread(self.cluster.start)

    async def _ended(self, whole: Victims) -> bool:
        """Whether the jobs have ended, their files written, without a hand."""
        deadline = time.monotonic() + LONGEST
        database = whole.env["BULK_ISSUE_LEDGER"].partition("?")[0].rpartition("/")[2]
        while time.monotonic() < deadline:
            asked = "SELECT DISTINCT state, deferred FROM bulk_issue.jobs"
            found = (await asyncio.to_thread(self.cluster.sql, asked, database)).splitlines()
            if not {*found} - {"ended|0", "stopped|0"}:
                self.log.append(f"{time.monotonic():.1f} {found}")
                return found == ["ended|0"]
            await asyncio.sleep(0.1)
        self.log.append(f"{time.monotonic():.1f} NOT ENDED: {found}")
        return False


EVENTS = (
    "kill",
    "stand still",
    "cut off the database",
    "cut off the API",
    "sessions ended",
    "database restarts",
    "database killed",
)


async def main() -> int:
    given = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    given.add_argument("--stories", type=int, default=10)
    given.add_argument("--rows", type=int, default=250)
    given.add_argument("--seed", type=int, default=1)
    options = given.parse_args()
    total = Verdict()
    with running() as cluster:
        for seed in range(options.seed, options.seed + options.stories):
            dice, began = Random(seed), time.monotonic()
            events = dice.choices(EVENTS, k=12)
            folder = tempfile.mkdtemp(prefix="chaos-")
            chaos = Chaos(cluster=cluster, folder=Path(folder), seed=seed, rows=options.rows, events=events, apart=3.0)
            verdict = await chaos.run()
            total.add(verdict)
            print(f"story {seed}: {', '.join(events)}; {time.monotonic() - began:.0f} s; {verdict}", flush=True)
            if not verdict.clean:
                print(f"  NOT CLEAN, kept in {folder}", *chaos.log, sep="\n  ", flush=True)
    print("Every promise was kept." if total.clean else "A PROMISE WAS BROKEN.")
    return 0 if total.clean else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
