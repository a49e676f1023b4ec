"""Whole histories from a seed: faults, crashes, restarts and clocks against the promises.

    python -m tests.simulation --seeds 10000 --start 0
    python -m tests.simulation --people --seeds 1000

One seed is one history. It draws a server with its ways, some files, settings, people who have a say meanwhile
(`tests.people`) and a time of trouble; after that time everything goes well, and each file's command is run again until
there is nothing left to do. Then `tests.oracle` compares the server's book with the ledger. A history is *within* what
promise 2 rests on (docs/design.md) or *outside* of it: there requests are delivered twice, or take effect after the
grace.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from bulk_issue.config import LedgerUrl, Pace, Share
from bulk_issue.ending import ExitCode
from bulk_issue.errors import BulkIssueError, JobHeld
from bulk_issue.health import StopKind
from bulk_issue.job import Ending
from bulk_issue.model import Identifier, IdentifierKind, Intent, JobSpec, ReadProblem, Row
from bulk_issue.testing import Canned, Dice, Fate, Look, ModelServer, Repeat, VirtualClock, mobile, refusal, run
from bulk_issue.testing import fates as f
from tests import tired_person
from tests.cluster import running
from tests.hosts import SERIES, Host, Killed, Process, few_polls, memory_folder, rows_of, spec
from tests.oracle import judge
from tests.people import Act, People, acts, second_names

#: Virtual seconds after which a history is stuck.
LONGEST = 6 * 3600.0
#: Runs of a command after the trouble has ended, before its job counts as one that never ends.
RUNS = 12
#: What a brand puts into many profiles; a request that names it means a customer of its own.
EVERYBODYS = Identifier(IdentifierKind.EMAIL, "none@example.com", "email:none@example.com")
#: With these nothing is left that another run could settle.
_DONE = (ExitCode.DONE, ExitCode.FAILURES)
#: Lines of a history that a failure shows.
SHOWN = 60
_TO_SEND = "SELECT 1 FROM rows JOIN jobs ON jobs.seq = queue WHERE jobs.id = ? AND rows.state = 'pending' LIMIT 1"


@dataclass(slots=True, kw_only=True)
class Plan:
    """What a seed decides. Small numbers, so that much happens in few steps."""

    seed: int
    within: bool
    random: Random = field(repr=False)
    jobs: list[tuple[JobSpec, list[Row]]] = field(repr=False)
    settings: dict[str, Any]
    timeout: float
    grace: float
    rate: int
    per: float
    repeat: Repeat
    #: Seconds until the record shows a coupon, at most.
    lag: float
    #: Share of requests, and of look-ups, that meet with a fault in the time of trouble.
    share: float
    share_of_looks: float
    #: When the time of trouble ends.
    heals: float
    kills: int
    reboots: bool
    #: Whether reading the record is refused for good.
    blind: bool
    #: Of how many runs two are started at once.
    twins: float
    stops: float
    ledger_trouble: list[tuple[float, float]]
    expired_tokens: list[float]
    wall_steps: list[tuple[float, float]]
    offset: float
    zone: float
    with_iso: bool
    legacy: bool
    store: str | None
    unknown: frozenset[str] = field(repr=False)
    refusals: dict[str, Canned] = field(repr=False)
    #: Coupons that customers had before: of the series or another, of our store or another; and how long before.
    older: list[tuple[str, int, str | None, float]] = field(repr=False)
    #: Share of first requests before which another channel has just given the customer a coupon.
    meddled: float
    #: What a write to the disk takes, at most.
    disk: float = 0.0
    #: Customers who stand in the files under two names, by the second one; and whether replies tell both.
    twofold: dict[Identifier, Identifier] = field(default_factory=dict, repr=False)
    tells_names: bool = False
    #: A name that stands in many profiles, and whether everybody's reply tells it or only some.
    placeholder: Identifier | None = field(default=None, repr=False)
    everybodys: bool = False
    #: Whether the record lists nobody without coupons, and whether it tells who bears an identifier.
    unlisted: bool = False
    tells_bearers: bool = True
    #: What people do meanwhile.
    acts: list[Act] = field(default_factory=list)


def plan(seed: int) -> Plan:
    """What this seed decides; nothing else does."""
    random = Random(seed)
    chance, pick, between = random.random, random.choice, random.uniform
    within = chance() < 0.8
    timeout, grace = pick((2.0, 5.0, 10.0)), pick((10.0, 20.0, 40.0))
    per = pick((5.0, 10.0, 60.0))
    rate = random.randint(2, 12) if per < 60 else random.randint(10, 60)
    repeat = pick((Repeat.NEW, Repeat.NEW, Repeat.NEW, Repeat.SAME, Repeat.REFUSED, Repeat.GENERIC))
    if not within:
        repeat = Repeat.NEW
    customers = _customers(random)
    keys = [customer.key for customer in customers]
    some = partial(_some, random, keys)
    drawn = Plan(
        seed=seed,
        within=within,
        random=random,
        jobs=_jobs(random, customers, others=repeat is Repeat.NEW),
        settings={
            "grace": grace,
            "rate": rate,
            "per": per,
            "pace": pick(tuple(Pace)),
            "connections": pick((1, 3, 10, 50)),
            "canary": pick((0, 1, 1, 3)),
            "max_attempts": pick((1, 2, 4, 4)),
            "max_doubt": pick((Share(percent=100.0), Share(percent=100.0), Share(percent=10.0), Share(count=3))),
            "max_failures": pick((Share(percent=100.0), Share(percent=5.0))),
            "reconcile_for": pick((60.0, 600.0)),
            "first": pick((None, None, None, 3)),
        },
        timeout=timeout,
        grace=grace,
        rate=rate,
        per=per,
        repeat=repeat,
        lag=pick((0.0, 0.0, 5.0, grace - 0.1, grace - 0.1)),
        share=pick((0.0, 0.1, 0.25, 0.5)),
        share_of_looks=pick((0.0, 0.0, 0.1, 0.4)),
        heals=between(5.0, 120.0),
        kills=pick((0, 0, 1, 2, 5)),
        reboots=chance() < 0.05,
        blind=chance() < 0.05,
        twins=pick((0.0, 0.0, 0.5)),
        stops=pick((0.0, 0.0, 0.3)),
        ledger_trouble=[(between(0, 60), pick((1.0, 20.0, 50.0, 90.0))) for _ in range(pick((0, 0, 0, 1, 2)))],
        expired_tokens=[between(0, 60) for _ in range(pick((0, 0, 1, 3)))],
        wall_steps=[(between(0, 100), between(-4000, 4000)) for _ in range(pick((0, 0, 0, 1, 2)))],
        offset=pick((0.0, between(-600, 600))),
        zone=pick((0.0, 19800.0, between(-60, 60))),
        with_iso=chance() < 0.5,
        legacy=chance() < 0.1,
        store=pick((None, "till01", "till01")),
        unknown=frozenset(some(0.05)) if chance() < 0.3 else frozenset(),
        refusals=dict.fromkeys(some(0.1), refusal(740, "customer is marked as fraud")) if chance() < 0.3 else {},
        older=[
            (key, pick((SERIES, SERIES + 1)), pick((None, "till01", "store99")), between(60, 400_000))
            for key in some(0.3 if chance() < 0.4 else 0.0)
        ],
        meddled=pick((0.0, 0.0, 0.0, 0.1)),
    )
    # dice of its own: a seed that once showed something goes on to show it where nobody has a say
    _populate(drawn, customers, Random(f"people of {seed}"))
    _share_a_name(drawn, Random(f"placeholder of {seed}"))
    return drawn


def _share_a_name(plan: Plan, random: Random) -> None:
    """In some histories many profiles bear one name, and some files have a record that names its customer so."""
    if random.random() < 0.6:
        return
    plan.placeholder, plan.everybodys = EVERYBODYS, random.random() < 0.5
    for at, (job, rows) in enumerate(plan.jobs):
        if random.random() < 0.5:
            named = [row.identifier for row in rows]
            named.insert(random.randint(0, len(named)), EVERYBODYS)
            plan.jobs[at] = job, rows_of(named)


def _populate(plan: Plan, customers: Sequence[Identifier], random: Random) -> None:
    """Give some customers a second name in the files, people their say, and the disk its time."""
    plan.disk = random.choice((0.0, 0.0, 0.02, 0.5))
    plan.acts = acts(random, len(plan.jobs), plan.heals)
    ordinary = [who for who in customers if who.key not in plan.unknown and who.key not in plan.refusals]
    plan.twofold = second_names(random, ordinary)
    plan.tells_names = random.random() < 0.7
    for at, (job, rows) in enumerate(plan.jobs):
        named = [row.identifier for row in rows]
        for second in plan.twofold:
            if random.random() < 0.6:
                named.insert(random.randint(0, len(named)), second)
        plan.jobs[at] = job, rows_of(named)
    plan.unlisted, plan.tells_bearers = random.random() < 0.3, random.random() < 0.7


def _customers(random: Random) -> list[Identifier]:
    """Some people, in some histories by two kinds of identifier (nobody by both)."""
    mobiles = [mobile(n) for n in range(random.randint(3, 20))]
    mails = [f"a{n}@example.com" for n in range(random.choice((0, 0, 5)))]
    return mobiles + [Identifier(IdentifierKind.EMAIL, mail, f"email:{mail}") for mail in mails]


def _some(random: Random, keys: Sequence[str], share: float) -> list[str]:
    return [key for key in keys if random.random() < share]


def _jobs(random: Random, customers: Sequence[Identifier], *, others: bool) -> list[tuple[JobSpec, list[Row]]]:
    """Overlapping files of one series, with repeated customers and records that name nobody."""
    jobs = []
    for n in range(random.choice((1, 1, 2, 3))):
        named: list[Identifier | None] = random.sample(list(customers), random.randint(1, len(customers)))
        named += [random.choice(customers) for _ in range(random.choice((0, 0, 2)))]
        named += [None] * random.choice((0, 0, 1))
        random.shuffle(named)
        again = "more" if others and n == 1 and random.random() < 0.4 else ""
        jobs.append((spec(f"job-{'abc'[n]}", again=again), rows_of(named)))
    return jobs


# --- what goes wrong --------------------------------------------------------------------------------------------


def _faults(plan: Plan) -> list[Any]:
    """The faults that a request may meet with, each drawn anew."""
    careful = plan.kills or plan.ledger_trouble or plan.reboots
    after_giving_up = plan.grace - 0.1
    # A request that a crash gives up the moment it left must take effect within the grace all the same.
    latest = after_giving_up if careful else plan.timeout + after_giving_up

    def late(random: Random) -> Fate:
        """Processed, or even on its way, until after it was given up."""
        held_up = random.choice((0.0, 0.0, random.uniform(0.0, 5.0)))
        made = random.choice((f.processed_after, f.arriving_after))
        return made(random.uniform(plan.timeout * 0.8, latest - 0.03), held_up=held_up)

    def broken_and_late(random: Random) -> Fate:
        breaks = random.uniform(0.01, plan.timeout)
        made = random.choice((f.processed_after, f.arriving_after))
        return made(random.uniform(breaks, after_giving_up - 0.03 + breaks * (not careful)), breaks=breaks)

    def held_up(random: Random) -> Fate:
        return Fate(held_up=random.uniform(0.0, 8.0))

    def slow(random: Random) -> Fate:
        return Fate(there=random.uniform(0, 0.4) * plan.timeout, work=random.uniform(0, 0.5) * plan.timeout)

    plain = (
        f.UNREACHABLE,
        f.LOST,
        f.BROKEN_BEFORE,
        f.BROKEN_AFTER,
        f.UNANSWERED,
        f.TRUNCATED,
        f.HTML,
        f.ERROR_BEFORE,
        f.ERROR_AFTER,
        f.SERVICE_TIMEOUT,
        f.LOCKED,
        f.QUEUE_EMPTY,
        f.EXHAUSTED,
        f.BUSY,
        f.busy_for(3),
        f.UNHEARD_OF,
        f.FAILED_AFTER,
        f.FAILED_BEFORE,
        f.FOR_NO_CAUSE,
        f.SEARCH_BUSY,
    )
    faults: list[Any] = [late, broken_and_late, held_up, slow, *(lambda _, fate=fate: fate for fate in plain)]
    if not plan.within:

        def twice(random: Random) -> Fate:
            return replace(f.GOOD, repeated=random.uniform(0, 20), back=random.choice((0.02, 0.02, None)))

        def too_late(random: Random) -> Fate:
            return f.processed_after(plan.timeout + plan.grace + random.uniform(1, 60))

        faults += [twice, twice, too_late, too_late]
    if plan.random.random() < 0.5:  # some histories know only some of them
        faults = plan.random.sample(faults, plan.random.randint(1, 5))
    return faults


def _looks(plan: Plan, random: Random) -> Any:
    """How look-ups go in the time of trouble."""

    def look(_key: str) -> Look:
        if plan.blind:
            return Look(problem=ReadProblem.REFUSED)
        seconds = random.uniform(0.01, 0.2)
        if random.random() < plan.share_of_looks:
            problem = random.choice((ReadProblem.UNREADABLE, ReadProblem.UNREADABLE, ReadProblem.THROTTLED, None))
            return Look(problem=problem, seconds=random.uniform(0.01, 8.0), retry_after=random.choice((None, 2.0)))
        return Look(seconds=seconds)

    return look


# --- a history --------------------------------------------------------------------------------------------------


class History:
    """One seed's history."""

    def __init__(self, seed: int, folder: Path, place: LedgerUrl | None = None) -> None:
        self.plan = plan(seed)
        #: A ledger in PostgreSQL; None for a file.
        self.place = place
        #: The files of the plan, and those that people make of failures.
        self.jobs = list(self.plan.jobs)
        #: Seconds after a request was given up in which it may still have an effect.
        self.longest = self.plan.timeout + self.plan.grace + 100.0
        #: Everybody who stands in the files, by the text that names them.
        self.names = {row.identifier.value: row.identifier for _, rows in self.jobs for row in rows if row.identifier}
        self.folder = folder
        self.host: Host
        self.ends: list[tuple[JobSpec, Ending | BulkIssueError | Killed]] = []
        #: Customers with a coupon that nobody can tell from ours with certainty.
        self.ambiguous: set[int] = set()
        self.complaints: list[str] = []
        self._running: list[Process] = []
        self._started = 0
        self._takers: list[asyncio.Task[Any]] = []

    @property
    def log(self) -> list[str]:
        return self.host.log

    async def happen(self) -> None:
        plan = self.plan
        clock = VirtualClock()
        self.server = server = ModelServer(
            clock=clock,
            timeout=plan.timeout,
            rate=plan.rate,
            per=plan.per,
            repeat=plan.repeat,
            offset=plan.offset,
            zone=plan.zone,
            with_iso=plan.with_iso,
            legacy=plan.legacy,
            store=plan.store,
            unknown=plan.unknown,
            unlisted=plan.unlisted,
            tells_bearers=plan.tells_bearers,
            refusals=plan.refusals,
            fates=Dice(plan.random, _faults(plan), plan.share),
            looks=_looks(plan, plan.random),
            lag=lambda: plan.random.choice((0.0, plan.lag)),
            alias={second.key: first.key for second, first in plan.twofold.items()},
        )
        self.host = host = Host(self.folder, server, clock, self.place)
        host.disk = plan.disk
        self._introduce()
        for key, series, store, ago in plan.older:
            server.give(key, series, ago=ago, store=store)
        server.on_departure = self._depart
        loop = asyncio.get_running_loop()
        for at, seconds in plan.ledger_trouble:
            loop.call_later(at, self._refuse_writes, seconds)
        for at in plan.expired_tokens:
            loop.call_later(at, server.expire_token)
        for at, seconds in plan.wall_steps:
            loop.call_later(at, clock.step, seconds)
        if self.place is not None:  # runs lose their hold, and live
            dice = Random(f"sessions of {plan.seed}")
            for _ in range(dice.choice((0, 1, 3))):
                loop.call_later(dice.uniform(0.0, plan.heals), self._end_sessions)
        loop.call_later(plan.heals, self._heal)
        if plan.reboots:
            loop.call_later(plan.heals / 2, self._reboot)
        people = People(self, Random(f"deeds of {plan.seed}"))
        try:
            async with asyncio.TaskGroup() as operators:
                for job, rows in plan.jobs:
                    operators.create_task(self.operate(job, rows))
                    if plan.random.random() < plan.twins:
                        operators.create_task(self.operate(job, rows))
                for act in plan.acts:
                    operators.create_task(people.do(act))
            await asyncio.gather(*self._takers)
            await self._once_more()
            judge(self)
        except BaseExceptionGroup as group:
            self.complaints.append(f"broke down: {group.exceptions[0]!r}")
        finally:
            host.close()
        self.complaints += host.violations

    def _introduce(self) -> None:
        """The server knows its customers before they are first named, in the order of their numbers."""
        if self.plan.twofold:
            for number in range(20):
                self.server.customer(mobile(number).key)
        if self.plan.tells_names:
            for second, first in self.plan.twofold.items():
                self.server.profiles[self.server.customer(first.key)] = (first, second)
        if self.plan.placeholder is not None:
            # dice of its own, as above
            random = Random(f"profiles of {self.plan.seed}")
            for who in sorted({self.server.customer(who.key) for who in self.names.values()}):
                if self.plan.everybodys or random.random() < 0.4:
                    told = self.server.profiles.get(who, ())
                    self.server.profiles[who] = (*told, self.plan.placeholder)

    def _depart(self, intent: Intent) -> None:
        self.host.look_at_intent(intent)
        self._meddle(intent)

    def _meddle(self, intent: Intent) -> None:
        """Another channel gives the customer a coupon of the series, seconds before our first request."""
        if intent.attempt == 1 and self.plan.random.random() < self.plan.meddled:
            ago = self.host.clock.now().since(intent.begun) + self.plan.random.uniform(5.0, 9.0)
            self.server.give(intent.identifier.key, SERIES, ago=ago, store=self.plan.random.choice((None, "store99")))
            self.ambiguous.add(self.server.customer(intent.identifier.key))

    def _refuse_writes(self, seconds: float) -> None:
        if self._healed:
            return
        self.host.note(f"the ledger refuses writes for {seconds:g} s")
        self.host.ledger_down_until = asyncio.get_running_loop().time() + seconds

    def _end_sessions(self) -> None:
        """The holds of all runs are gone, and somebody takes a job before its holder is back."""
        self.host.end_sessions()
        self._takers.append(asyncio.create_task(self._run(*self.plan.random.choice(self.jobs))))

    def _heal(self) -> None:
        self.host.note("all is well from now on")
        self.host.ledger_down_until = 0.0
        server = self.server
        assert isinstance(server.fates, Dice)
        server.fates.share = 0.0
        self.plan.meddled = 0.0
        if not self.plan.blind:
            server.looks = lambda _key: f.SEEN

    def _reboot(self) -> None:
        self.host.note("the machine starts again")
        for process in self._running:
            process.kill()
        self.host.clock.reboot()

    @property
    def _healed(self) -> bool:
        return asyncio.get_running_loop().time() >= self.plan.heals

    async def operate(self, job: JobSpec, rows: list[Row]) -> None:
        """The same command again and again, until there is nothing left that it could do."""
        runs = 0
        while runs < RUNS:
            healed = self._healed
            ended = await self._run(job, rows)
            if healed:
                runs += 1
                if isinstance(ended, JobHeld) or (isinstance(ended, Ending) and _final(ended)):
                    return
            await asyncio.sleep(self.plan.random.uniform(0.1, 30.0) * (1 + runs))
        self.complaints.append(f"{job.id} doesn't end in {RUNS} runs")

    async def _run(self, job: JobSpec, rows: list[Row]) -> Ending | BulkIssueError | Killed:
        plan, random = self.plan, self.plan.random
        self._started += 1
        settings = dict(plan.settings)
        if self._healed:
            settings |= {"first": None, "max_failures": Share(percent=100.0), "reconcile_for": 600.0}
        process = self.host.process(job, rows, seed=plan.seed * 1000 + self._started, **settings)
        loop = asyncio.get_running_loop()
        timers = []
        if not self._healed:
            if plan.kills:
                plan.kills -= 1
                if random.random() < 0.7:
                    process.dies_in = random.randint(0, 60)
                else:
                    timers.append(loop.call_later(random.uniform(0, 40), process.kill))
            if random.random() < plan.stops:
                timers.append(loop.call_later(random.uniform(0, 20), process.asked.set))
        self.host.note(f"{job.id} starts")
        self._running.append(process)
        ended = await process.run()
        self._running.remove(process)
        for timer in timers:
            timer.cancel()
        self.ends.append((job, ended))
        if isinstance(ended, Ending) and ended.stop is None and not plan.acts and self.host.ask(_TO_SEND, job.id):
            self.complaints.append(f"{job.id} ended for no reason with rows to send")
        self.host.note(f"{job.id} ends: {_in_words(ended)}")
        return ended

    async def _once_more(self) -> None:
        """Promise 7: every command once more, long after; it sends nothing for what is done.

        Where not all is done, twice: what another job's coupon has proven since may still settle a row, and its
        duplicates end as it does.
        """
        await asyncio.sleep(300.0)
        ends = [await self._run(job, rows) for job, rows in self.jobs]
        if not all(isinstance(end, Ending) and end.exit_code in _DONE for end in ends):
            for job, rows in self.jobs:
                await self._run(job, rows)


def _final(ended: Ending) -> bool:
    """Whether another run would find nothing to do; what waits for other jobs' rows waits for good by now."""
    waits = ended.stop is not None and ended.stop.kind is StopKind.STALLED
    put_aside = ended.exit_code is ExitCode.ASKED and (ended.stop is None or ended.stop.kind is StopKind.CANCELLED)
    return waits or put_aside or ended.exit_code in (ExitCode.DONE, ExitCode.FAILURES, ExitCode.DOUBT)


def _in_words(ended: Ending | BulkIssueError | Killed) -> str:
    if isinstance(ended, Ending):
        counts = ", ".join(f"{count} {state}" for state, count in sorted(ended.tally.items()))
        stop = f" ({ended.stop.because})" if ended.stop else ""
        return f"exit {ended.exit_code:d}: {counts}, {ended.excess} excess{stop}"
    # what it says names the holder's process, which is another each time
    return type(ended).__name__ if isinstance(ended, JobHeld) else f"{type(ended).__name__} {ended}"


def history(seed: int, place: LedgerUrl | None = None) -> History:
    """Let a seed's history happen."""
    with tempfile.TemporaryDirectory(dir=memory_folder()) as folder, few_polls():
        past = History(seed, Path(folder), place)
        try:
            run(past.happen, end=LONGEST)
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to this seed
            past.complaints.append(f"broke down: {error!r}")
        return past


def failing(seed: int, place: LedgerUrl | None = None) -> tuple[int, str] | None:
    """The seed with what is wrong with its history, if anything is."""
    past = history(seed, place)
    if not past.complaints:
        return None
    lines = [f"seed {seed}: {past.plan}", *(line for line in past.log[-SHOWN:]), *past.complaints]
    return seed, "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Let histories happen, and show those that break a promise.")
    parser.add_argument("--seeds", type=int, default=1000, help="how many")
    parser.add_argument("--start", type=int, default=0, help="the first")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--show", action="store_true", help="print the whole of each history")
    parser.add_argument("--people", action="store_true", help="histories of a tired person before both faces")
    parser.add_argument("--postgres", action="store_true", help="ledgers in PostgreSQL, one history after another")
    options = parser.parse_args(arguments)
    seeds = range(options.start, options.start + options.seeds)
    if options.show:
        for seed in seeds:
            past = tired_person.history(tired_person.plan(seed)) if options.people else history(seed)
            print(f"seed {seed}: {past.plan}", *past.log, *past.complaints, sep="\n")
        return 0
    began, failures = time.monotonic(), 0
    happen: Callable[[int], tuple[int, str] | None] = tired_person.failing if options.people else failing
    if options.postgres:
        with running() as cluster:
            for seed in seeds:
                database = cluster.database()
                if found := failing(seed, cluster.url(database)):
                    failures += 1
                    print(found[1], flush=True)
                else:
                    cluster.sql(f"DROP DATABASE {database}")
        print(f"{len(seeds)} histories on PostgreSQL in {time.monotonic() - began:.0f} s, {failures} failing")
        return 1 if failures else 0
    with ProcessPoolExecutor(options.processes) as pool:
        for found in pool.map(happen, seeds, chunksize=20):
            if found is not None:
                failures += 1
                print(found[1], flush=True)
    took = time.monotonic() - began
    print(f"{len(seeds)} histories in {took:.0f} s, {failures} failing")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
