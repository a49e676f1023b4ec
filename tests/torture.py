"""`make torture KILLS=1000`: real processes, real sockets, real SIGKILL; then the sandbox's book is asked what is true.

First the walk: a small file is run with a crash at each of its numbered points, with a second crash in the recovery.
Then the kills. A campaign is one ledger, one sandbox and one to three files that name some of the same customers, each
run by a process of its own. Its processes are killed again and again, every other time aimed at an intent, a send, an
answer or a commit (the process names each point on a pipe as it passes it), otherwise at random; then the same commands
run to their ends. Some campaigns have the limit lifted, the others a strict server; some have faults of every kind.

A kill counts for the point that the process had passed last, and as aimed if that was at most 5 ms before.

Last the worst run (`--worst` for it alone): one campaign of three files at a strict server at which a quarter of all
requests and of all look-ups meets with a fault, of every kind, with the breaker off and kills at random.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from random import Random

from bulk_issue.sandbox.faults import NAMES, fault
from bulk_issue.sandbox.server import Sandbox
from bulk_issue.sandbox.settings import Settings
from tests.cluster import Cluster, running
from tests.console import Done, mobiles
from tests.victims import TERMS, Point, Verdict, Victim, Victims, crash_scene, judge, points_of_scene

#: What kills are aimed at: any of the points that begin so.
AIMS = ("begin:", "send:", "answer", "finish:")
#: A kill is aimed if the process had passed such a point at most so many seconds before.
NEAR = 0.005
#: How much later than its point an aimed kill is sent, at most: the signal takes a while too.
LATER = 0.003
#: The strict server's limit: every campaign runs into it.
RATE, PER = 20, 2.0
#: Rounds of the same commands after which everything must have ended: a row may wait for another job's row in doubt.
ROUNDS = 5
#: Two empty reads are 2 s apart.
HURRY = 5
#: Kills that each file of a campaign gets.
KILLS_A_FILE = 12
#: Of the worst run: the share of requests and look-ups that meet with a fault, the rows of each of its three files, and
#: the kills that each gets.
WORST_FAULTS, WORST_ROWS, WORST_KILLS = 0.25, 150, 8
#: Campaigns at once: while some processes start, others wait for the server's record.
AT_ONCE = 6


# --- the plan of one campaign -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One campaign, by its seed."""

    seed: int
    files: Sequence[Sequence[str]]
    strict: bool
    faults: float
    connections: int
    pace: str
    #: Share of look-ups that meet with a fault.
    read_faults: float = 0.0
    #: Whether a token is fetched for the requests: only then one can expire.
    oauth: bool = False
    #: Faults that the first file's customers meet with, one each, whatever the share brings.
    faults_for_sure: Sequence[str] = ()
    #: Whether kills are aimed at points.
    aimed: bool = True
    kills_a_file: int = KILLS_A_FILE

    @classmethod
    def worst(cls, seed: int) -> Plan:
        """One campaign in which everything goes wrong that can."""
        return cls(
            seed=seed,
            files=[mobiles(WORST_ROWS, start=number * WORST_ROWS // 2) for number in range(3)],
            strict=True,
            faults=WORST_FAULTS,
            connections=8,
            pace="burst",
            read_faults=WORST_FAULTS,
            oauth=True,
            faults_for_sure=NAMES,
            aimed=False,
            kills_a_file=WORST_KILLS,
        )

    @classmethod
    def draw(cls, seed: int) -> Plan:
        dice = Random(seed)
        files: list[list[str]] = []
        for number in range(dice.choice((1, 2, 2, 3))):
            count = dice.randint(20, 60)
            numbers = mobiles(count, start=number * dice.randint(10, 40))
            # each job is given some coupons itself: without one it has nothing to prove its reader of the record with
            numbers += mobiles(10, start=1000 + 100 * number)
            # a customer may stand in a file twice, and one in ten files has one who was served before
            numbers += dice.sample(numbers, 2)
            if dice.random() < 0.1:
                numbers.append(f"91980{seed % 1000:03d}0709")
            files.append(numbers)
        strict = dice.random() < 0.4
        return cls(
            seed=seed,
            files=files,
            strict=strict,
            faults=dice.choice((0.0, 0.0, 0.1, 0.25)),
            connections=dice.randint(4, 8),
            pace=dice.choice(("auto", "burst")),
        )

    @property
    def settings(self) -> Settings:
        return Settings(
            rate=RATE if self.strict else 0,
            per=PER,
            latency=0.01,
            jitter=0.01,
            faults=self.faults,
            read_faults=self.read_faults,
            # late coupons come, and hidden ones show, well within the grace
            fault_seconds=0.4,
            seed=self.seed,
        )

    @property
    def terms(self) -> tuple[object, ...]:
        limit = (RATE, PER) if self.strict else (60000, 60)
        return (
            *TERMS,
            *("--grace", "2", "--rate", limit[0], "--per", limit[1]),
            *("--connections", self.connections, "--pace", self.pace),
        )

    def __str__(self) -> str:
        sizes = "+".join(str(len(file)) for file in self.files)
        limit = f"{RATE}/{PER:g} s {self.pace}" if self.strict else "no limit"
        return f"campaign {self.seed}: rows {sizes}, {limit}, {self.faults:.0%} faults, {self.connections} at once"


@dataclass(slots=True)
class Tally:
    """What all campaigns came to."""

    campaigns: int = 0
    strict: int = 0
    faulty: int = 0
    requests: int = 0
    rows: int = 0
    #: Faults that requests and look-ups met with, by kind.
    faults: Counter[str] = field(default_factory=Counter)
    #: Kills by the point passed last, and those of them at most `NEAR` after it.
    kills: Counter[str] = field(default_factory=Counter)
    near: Counter[str] = field(default_factory=Counter)
    verdict: Verdict = field(default_factory=Verdict)

    @property
    def aimed(self) -> int:
        return sum(count for name, count in self.near.items() if name.startswith(AIMS))

    def killed(self, victim: Victim) -> None:
        assert victim.killed is not None
        self.kills[victim.last.name] += 1
        self.near[victim.last.name] += victim.killed - victim.last.at <= NEAR


# --- killing ----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Aim:
    """Kills its process just after the so many-th point of a kind."""

    at: str
    countdown: int
    later: float

    def __call__(self, victim: Victim, point: Point) -> None:
        if point.name.startswith(self.at):
            self.countdown -= 1
            if self.countdown == 0:
                wait = point.at + self.later - time.monotonic()
                if wait <= 0:
                    victim.kill()
                else:
                    asyncio.get_running_loop().call_later(wait, victim.kill)


@dataclass(slots=True)
class Blind:
    """Kills its process so many seconds after its first sign of life, wherever it is."""

    seconds: float

    def __call__(self, victim: Victim, _point: Point) -> None:
        if len(victim.points) == 1:
            asyncio.get_running_loop().call_later(self.seconds, victim.kill)


@dataclass(slots=True)
class Torture:
    """Kills until there are enough of them."""

    wanted: int
    seed: int
    deadline: float
    #: The server that has the ledgers; None for files.
    cluster: Cluster | None = None
    tally: Tally = field(default_factory=Tally)
    _planned: int = 0

    @property
    def enough(self) -> bool:
        return self.tally.kills.total() >= self.wanted or time.monotonic() > self.deadline

    async def run(self) -> None:
        """Campaign after campaign, a few at once."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(AT_ONCE):
                tasks.create_task(self._campaigns())

    async def _campaigns(self) -> None:
        while not self.enough:
            plan = Plan.draw(self.seed + self._planned)
            self._planned += 1
            await self.campaign(plan)

    async def campaign(self, plan: Plan) -> None:
        """Kill, let everything end, and judge."""
        folder = Path(tempfile.mkdtemp(prefix=f"torture-{plan.seed}-"))
        before = self.tally.kills.total()
        async with Sandbox(plan.settings) as box:
            victims = Victims(folder, box)
            if plan.oauth:
                victims.env = with_token(box)
            if self.cluster:
                victims.env["BULK_ISSUE_LEDGER"] = self.cluster.url(self.cluster.database()).url
            for name, number in zip(plan.faults_for_sure, plan.files[0], strict=False):
                box.faults.script_for(f"mobile:{number}", fault(name, plan.settings.fault_seconds))
            files = [victims.customers(f"c{at}.csv", numbers) for at, numbers in enumerate(plan.files)]
            await asyncio.gather(
                *(self._kill_again_and_again(victims, plan, file, at) for at, file in enumerate(files))
            )
            verdict, words = await _to_the_end(victims, plan, files)
            verdict.add(judge(victims, *files))
            self.tally.requests += box.book.requests()
            self.tally.faults.update(fault.fault for fault in box.book.faults)
        self.tally.rows += sum(len(numbers) for numbers in plan.files)
        self.tally.campaigns += 1
        self.tally.strict += plan.strict
        self.tally.faulty += plan.faults > 0
        self.tally.verdict.add(verdict)
        mine = self.tally.kills.total() - before
        print(f"{plan}; {self.tally.kills.total()} kills so far (+{mine} while it ran)", flush=True)
        if verdict.clean:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            print(f"  NOT CLEAN: {verdict}\n  kept in {folder}\n{words}", flush=True)

    async def _kill_again_and_again(self, victims: Victims, plan: Plan, file: Path, at: int) -> None:
        """Run one file's command and kill it, until it has had its kills or comes to its end."""
        dice = Random(f"{plan.seed} {at}")
        for number in range(plan.kills_a_file):
            if self.enough:
                return
            victim = self._start(victims, plan, file, self._way(dice, plan, aimed=number % 2 == 0))
            done = await victim.ended()
            if victim.killed is not None and done.code == -9:
                self.tally.killed(victim)
            elif done.code in (0, 5):
                return  # ended before its time came

    def _way(self, dice: Random, plan: Plan, *, aimed: bool) -> Aim | Blind:
        """How the next process dies; kills too late to count as aimed are made up for."""
        behind = self.tally.aimed < self.tally.kills.total() / 2
        if plan.aimed and (aimed or behind):
            fewest = min(AIMS, key=lambda aim: (sum(_of(self.tally.near, aim)), dice.random()))
            aim = dice.choice((fewest, *AIMS))
            return Aim(at=aim, countdown=dice.randint(1, 10), later=dice.uniform(0.0, LATER))
        # issuing takes less than a second, reconciling and writing some seconds
        return Blind(seconds=dice.choice((dice.uniform(0.0, 0.6), dice.uniform(0.3, 4.0))))

    def _start(self, victims: Victims, plan: Plan, file: Path, watch: Callable[[Victim, Point], None]) -> Victim:
        arguments = ("run", file, "--series", victims.box.series_id, *plan.terms)
        return victims.spawn(*arguments, watch=watch, HURRY=HURRY)


async def _to_the_end(victims: Victims, plan: Plan, files: Sequence[Path]) -> tuple[Verdict, str]:
    """The same commands until all have ended as they should; what was wrong with them."""
    verdict, ends = Verdict(), list[Done]()
    for _ in range(ROUNDS):
        arguments = ("--series", victims.box.series_id, *plan.terms)
        ends = [
            done
            for done, _ in await asyncio.gather(
                *(victims.until_end("run", file, *arguments, HURRY=HURRY) for file in files)
            )
        ]
        if all(done.code == 0 for done in ends):
            return verdict, ""
    verdict.exits = sum(done.code != 0 for done in ends)
    return verdict, "\n".join(done.out + done.err for done in ends)


def with_token(box: Sandbox) -> dict[str, str]:
    """The environment in which requests carry an OAuth token."""
    names = {"USER": "", "PASSWORD": "", "CLIENT_KEY": box.client_key, "CLIENT_SECRET": box.client_secret}
    return {f"BULK_ISSUE_{name}": value for name, value in names.items()}


def _of(counts: Counter[str], aim: str) -> Iterable[int]:
    return (count for name, count in counts.items() if name.startswith(aim))


# --- the walk ---------------------------------------------------------------------------------------------------


async def walk(seed: int) -> tuple[int, int, Verdict]:
    """Crash at each point of the scene, and once more in the recovery: points, crashes, what was wrong."""
    dice, total, crashes = Random(seed), Verdict(), 0
    async with _folder() as folder:
        points = await points_of_scene(folder / "0")
        print(f"The walk: {len(points)} points of {len(set(points))} kinds.", flush=True)
        slots = asyncio.Semaphore(AT_ONCE)

        async def step(number: int) -> None:
            nonlocal crashes
            async with slots:
                second = dice.randint(2, len(points))
                crashed = await crash_scene(folder / str(number), number, second)
            crashes += len(crashed.died_at)
            total.add(crashed.verdict)
            if not crashed.verdict.clean:
                print(f"  NOT CLEAN: {crashed.words}", flush=True)

        await asyncio.gather(*(step(number) for number in range(1, len(points) + 1)))
        return len(points), crashes, total


@asynccontextmanager
async def _folder() -> AsyncIterator[Path]:
    with tempfile.TemporaryDirectory(prefix="torture-walk-") as folder:
        yield Path(folder)


# --- the worst run ----------------------------------------------------------------------------------------------


async def worst(seed: int) -> Verdict:
    """One run in which everything goes wrong that can; prints its figures."""
    began = time.monotonic()
    torture = Torture(10**9, seed, began + 3600.0)
    await torture.campaign(Plan.worst(seed))
    tally = torture.tally
    print(
        f"The worst run: {tally.rows} rows in 3 files, {tally.requests} requests, {tally.faults.total()} faults of "
        f"{len(tally.faults)} of {len(NAMES)} kinds, {tally.kills.total()} kills at random, "
        f"{time.monotonic() - began:.0f} s: {tally.verdict}\n",
        flush=True,
    )
    return tally.verdict


# --- the report -------------------------------------------------------------------------------------------------


def report(tally: Tally, seed: int, seconds: float) -> Iterable[str]:
    """The tables, as Markdown."""
    yield "| the process had just passed | kills | at most 5 ms before |"
    yield "|---|--:|--:|"
    aimed_first = sorted(tally.kills, key=lambda name: (not name.startswith(AIMS), name))
    for name in aimed_first:
        yield f"| {name} | {tally.kills[name]} | {tally.near[name]} |"
    yield f"| **all** | **{tally.kills.total()}** | **{tally.near.total()}** |"
    yield ""
    yield "| | |"
    yield "|---|--:|"
    yield f"| campaigns (with a strict server, with faults) | {tally.campaigns} ({tally.strict}, {tally.faulty}) |"
    yield f"| kills | {tally.kills.total()} |"
    yield f"| of them within 5 ms of an intent, a send, an answer or a commit | {tally.aimed} |"
    yield f"| issue requests that arrived | {tally.requests} |"
    for each in fields(tally.verdict):
        yield f"| {each.name.replace('_', ' ')} | {getattr(tally.verdict, each.name)} |"
    yield ""
    yield f"Seed {seed}, {seconds:.0f} s."


async def main() -> int:
    """Walk, kill, report; 0 if every promise was kept and there were as many kills as asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=1000, help="how many, at least")
    parser.add_argument("--seed", type=int, default=1, help="of the first campaign")
    parser.add_argument("--minutes", type=float, default=60.0, help="start no campaign after so many")
    parser.add_argument("--no-walk", action="store_true", help="kill only")
    parser.add_argument("--worst", action="store_true", help="only the run in which a quarter of everything fails")
    parser.add_argument("--postgres", action="store_true", help="ledgers in PostgreSQL; kills only")
    given = parser.parse_args()
    sys.setswitchinterval(0.0005)
    began = time.monotonic()
    if given.worst:
        return 0 if (await worst(given.seed)).clean else 1
    walked = Verdict()
    if given.postgres:
        with running() as cluster:
            torture = Torture(given.kills, given.seed, began + given.minutes * 60.0, cluster)
            await torture.run()
        print("\n", *(f"{line}\n" for line in report(torture.tally, given.seed, time.monotonic() - began)), sep="")
        return 0 if torture.tally.verdict.clean and torture.tally.kills.total() >= given.kills else 1
    if not given.no_walk:
        points, crashes, walked = await walk(given.seed)
        took = time.monotonic() - began
        print(f"The walk: {points} points, {crashes} crashes, {took:.0f} s: {walked}\n", flush=True)
    torture = Torture(given.kills, given.seed, began + given.minutes * 60.0)
    await torture.run()
    print("\n", *(f"{line}\n" for line in report(torture.tally, given.seed, time.monotonic() - began)), sep="")
    kept = (await worst(given.seed)).clean and walked.clean and torture.tally.verdict.clean
    if torture.tally.kills.total() < given.kills:
        print(f"Time is up: {torture.tally.kills.total()} of {given.kills} kills.")
        return 1
    print("Every promise was kept." if kept else "A PROMISE WAS BROKEN.")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
