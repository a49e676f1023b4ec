"""Processes that die, seen from their parent: where they were, and what became of their rows.

They are forked from a server process that has imported everything: real processes with their own sockets, locks and
death, but a start costs hundredths of a second.

The oracle is the sandbox's own book, never our ledger; of the ledger it asks only whether each request that arrived
had its intent on disk.
"""

from __future__ import annotations

import asyncio
import csv
import itertools
import multiprocessing
import os
import sqlite3
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, fields
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psycopg

from bulk_issue.config import LedgerUrl
from bulk_issue.sandbox.book import IssuedCoupon
from bulk_issue.sandbox.faults import fault
from bulk_issue.sandbox.server import Sandbox
from bulk_issue.sandbox.settings import Settings
from tests import crash_child
from tests.console import Console, Done, mobiles

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        *("__main__", "tests.crash_child", "bulk_issue.app", "bulk_issue.cli.words", "bulk_issue.progress"),
        *("alembic.command", "alembic.config", "pandas", "sqlalchemy.dialects.sqlite"),
    ]
)
#: No process here has work for so many seconds.
HUNG = 110.0
#: What `crash_child` ends with where it was told to die.
CRASHED = 137
#: Terms under which rows in doubt are settled within seconds, and no row runs out of attempts for being killed.
TERMS = ("--timeout", "2", "--max-doubt", "100%", "--max-failures", "100%", "--max-attempts", "100")


@dataclass(frozen=True, slots=True)
class Point:
    """One point that a process passed, at a monotonic second."""

    at: float
    name: str


@dataclass(slots=True)
class Victim:
    """A running process that names its points on a pipe."""

    process: BaseProcess
    pipe: Connection
    #: Told of each point as soon as it is read.
    watch: Callable[[Victim, Point], None]
    out: Path
    err: Path
    points: list[Point] = field(default_factory=list)
    #: The monotonic second of its SIGKILL.
    killed: float | None = None
    _rest: bytes = b""
    _silent: asyncio.Event = field(default_factory=asyncio.Event)

    def listen(self) -> None:
        """Read what the pipe holds now."""
        told = os.read(self.pipe.fileno(), 1 << 16)
        if not told:
            asyncio.get_running_loop().remove_reader(self.pipe.fileno())
            self.pipe.close()
            self._silent.set()
            return
        *lines, self._rest = (self._rest + told).split(b"\n")
        for line in lines:
            at, _, name = line.decode().partition(" ")
            self.points.append(Point(float(at), name))
            self.watch(self, self.points[-1])

    def kill(self) -> None:
        """SIGKILL, unless it has ended."""
        if self.killed is None and self.process.exitcode is None:
            self.process.kill()
            self.killed = time.monotonic()

    async def ended(self) -> Done:
        """How it ended. One that hangs is killed, and so didn't end well."""
        try:
            async with asyncio.timeout(HUNG):
                await self._silent.wait()
        except TimeoutError:
            self.process.kill()
            await self._silent.wait()
        # Not in a thread: whoever starts another process polls this one too, and the exit code can be read only once.
        gone, loop = asyncio.Event(), asyncio.get_running_loop()
        loop.add_reader(self.process.sentinel, gone.set)
        await gone.wait()
        loop.remove_reader(self.process.sentinel)
        self.process.join()
        assert self.process.exitcode is not None
        return Done(self.process.exitcode, _text(self.out), _text(self.err))

    @property
    def last(self) -> Point:
        return self.points[-1] if self.points else Point(0.0, "start-up")


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _heedless(_victim: Victim, _point: Point) -> None:
    """Watch nothing."""


@dataclass(slots=True)
class Victims(Console):
    """Runs `crash_child` in the place of `bulk-issue`."""

    _started: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def spawn(
        self, *arguments: object, watch: Callable[[Victim, Point], None] = _heedless, **settings: object
    ) -> Victim:
        """Start it; `settings` are those of `crash_child`."""
        environment = self.environment() | {name: str(value) for name, value in settings.items()}
        listening, telling = FORKS.Pipe(duplex=False)
        number = next(self._started)
        out, err = self.folder / f"{number}.out", self.folder / f"{number}.err"
        given = ([*map(str, arguments)], environment, telling, str(out), str(err))
        process = FORKS.Process(target=crash_child.run, args=given)
        process.start()
        telling.close()
        victim = Victim(process, listening, watch, out, err)
        asyncio.get_running_loop().add_reader(listening.fileno(), victim.listen)
        return victim

    async def until_end(self, *arguments: object, **settings: Any) -> tuple[Done, list[str]]:
        """Run it to its end; with the names of the points that it passed."""
        victim = self.spawn(*arguments, **settings)
        return await victim.ended(), [point.name for point in victim.points]

    def intents(self) -> int:
        """How many intents are on disk."""
        if place := self.env.get("BULK_ISSUE_LEDGER"):
            with psycopg.connect(place) as elsewhere:
                (count,) = elsewhere.execute("SELECT count(*) FROM attempts").fetchone() or (0,)
                return int(count)
        path = self.folder / "ledger.db"
        if not path.exists():
            return 0
        with closing(sqlite3.connect(path.as_uri() + "?mode=ro", uri=True, timeout=10)) as ledger:
            if not ledger.execute("SELECT 1 FROM sqlite_master WHERE name = 'attempts'").fetchone():
                return 0
            (count,) = ledger.execute("SELECT count(*) FROM attempts").fetchone()
        return int(count)


# --- the oracle -------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Verdict:
    """What is wrong, by kind; all zero when every promise was kept."""

    duplicates: int = 0
    lost: int = 0
    wrong_codes: int = 0
    in_doubt: int = 0
    over_the_limit: int = 0
    without_intent: int = 0
    #: Commands that ended otherwise than they should have.
    exits: int = 0

    def add(self, other: Verdict) -> None:
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))

    @property
    def clean(self) -> bool:
        return not any(getattr(self, each.name) for each in fields(self))


def judge(victims: Victims, *files: Path) -> Verdict:
    """Hold the files' results against the book, when every command has ended."""
    box, verdict = victims.box, Verdict()
    issued: defaultdict[int, list[IssuedCoupon]] = defaultdict(list)
    served_before: set[int] = set()
    for coupon in box.book.coupons_of(box.series_id):
        if coupon.request:
            issued[coupon.customer].append(coupon)
        else:
            served_before.add(coupon.customer)
    verdict.duplicates = sum(len(coupons) - 1 for coupons in issued.values())
    verdict.without_intent = max(0, box.book.requests() - victims.intents())
    told: Counter[int] = Counter()
    customers: set[int] = set()
    doubtful: set[int] = set()
    for file in files:
        with file.open(encoding="utf-8", newline="") as opened:
            records = list(csv.DictReader(opened))
        try:
            results = victims.results(file)
        except (OSError, IndexError):
            results = []
        verdict.lost += abs(len(records) - len(results))
        for number, (record, result) in enumerate(zip(records, results, strict=False), 1):
            customer = box.world.customers.find(f"mobile:{record['mobile']}")
            assert customer is not None
            customers.add(customer.id)
            if (result["_row"], result["mobile"]) != (str(number), record["mobile"]):
                verdict.lost += 1
            match result["_status"]:
                case "issued":
                    told[customer.id] += 1
                    if result["_coupon_code"] not in {coupon.code for coupon in issued[customer.id]}:
                        verdict.wrong_codes += 1
                case "held" if customer.id in served_before and not issued[customer.id]:
                    told[customer.id] += 1
                case "duplicate":
                    pass
                case "in_doubt":
                    verdict.in_doubt += 1
                    doubtful.add(customer.id)
                case _:
                    verdict.lost += 1
    # every customer stands in one row as served, and has one coupon of ours unless one was there before
    verdict.lost += sum(not told[customer] for customer in customers - doubtful)
    verdict.lost += sum(not issued[customer] for customer in customers - doubtful - served_before)
    verdict.wrong_codes += sum(max(0, count - 1) for count in told.values())
    if box.settings.rate:
        verdict.over_the_limit = len(box.book.violations) + max(
            0, box.book.worst_window(box.settings.per) - box.settings.rate
        )
    return verdict


# --- one small file, in which everything happens once ---------------------------------------------------------------

#: The terms of the scene. One request at a time, so that its points come in the same order each time.
#: The record knows whole seconds: with a shorter grace a coupon may seem to have come after it.
SCENE = (*TERMS, "--timeout", "10", "--connections", "1", "--rate", "60000", "--grace", "2")
#: How `crash_child` hurries there. Three rows in one transaction: the file has several chunks.
HURRIED = {"HURRY": 20, "CHUNK": 3}


@dataclass(slots=True)
class Scene:
    """Seven rows: a canary, an answer that is lost with its coupon, a 429, one served before, plain ones, and a repeat.

    The last row's answer is lost too, before its coupon: absence is proven in it.
    """

    victims: Victims
    file: Path

    @classmethod
    def set_up(cls, folder: Path, box: Sandbox, ledger: LedgerUrl | None = None) -> Scene:
        folder.mkdir(parents=True, exist_ok=True)
        numbers = mobiles(5)
        box.faults.script_for(f"mobile:{numbers[1]}", fault("drop-after"))
        box.faults.script_for(f"mobile:{numbers[2]}", fault("429"))
        box.faults.script_for(f"mobile:{numbers[4]}", fault("drop-before"))
        victims = Victims(folder, box, {"BULK_ISSUE_LEDGER": ledger.url} if ledger else {})
        repeated = [*numbers[:3], "919800010709", numbers[3], numbers[0], numbers[4]]
        return cls(victims, victims.customers("c.csv", repeated))

    async def run(self, **settings: object) -> tuple[Done, list[str]]:
        """The command, once, to its end or its death."""
        # a host that was cut off may send for as long as that; nobody waits here for an answer
        soon = ("--timeout", "2") if self.victims.env else ()
        arguments = ("run", self.file, "--series", self.victims.box.series_id, *SCENE, *soon)
        return await self.victims.until_end(*arguments, **(HURRIED | settings))

    def judge(self, done: Done) -> Verdict:
        """The oracle, after the command that should have finished everything."""
        verdict = judge(self.victims, self.file)
        verdict.exits += done.code != 0
        return verdict

    def sent_without_intent(self) -> int:
        """Requests that arrived and whose intent isn't on disk."""
        return max(0, self.victims.box.book.requests() - self.victims.intents())


@dataclass(frozen=True, slots=True, kw_only=True)
class Crashed:
    """What came of one scene with its crashes."""

    #: The points at which its processes died; shorter than asked for if one came to its end before.
    died_at: Sequence[str]
    verdict: Verdict
    #: For people, where something is wrong.
    words: str


async def crash_scene(folder: Path, *crashes: int | str, ledger: LedgerUrl | None = None) -> Crashed:
    """Die at each of these points, one command after the other, then let the same command finish."""
    async with Sandbox(Settings(rate=0, latency=0.004)) as box:
        scene = Scene.set_up(folder, box, ledger)
        died_at: list[str] = []
        unannounced = exits = 0
        for number in crashes:
            done, points = await scene.run(CRASH_AT=number)
            unannounced += scene.sent_without_intent()
            if done.code != CRASHED:
                exits += done.code != 0
                break
            died_at.append(points[-1])
        done, _ = await scene.run()
        verdict = scene.judge(done)
        verdict.without_intent += unannounced
        verdict.exits += exits
        words = f"{crashes} at {died_at}, then exit {done.code}: {verdict}\n{done.out}{done.err}"
        return Crashed(died_at=died_at, verdict=verdict, words=words)


async def points_of_scene(folder: Path, ledger: LedgerUrl | None = None) -> list[str]:
    """Every point that the scene passes when nothing dies."""
    async with Sandbox(Settings(rate=0, latency=0.004)) as box:
        scene = Scene.set_up(folder, box, ledger)
        done, points = await scene.run()
        verdict = scene.judge(done)
        assert verdict.clean, (verdict, done)
        return points
