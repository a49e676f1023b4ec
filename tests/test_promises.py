"""The promises, each as a story of one machine: the real job, pool, reconciler and ledger against the model server.

What a single module promises is tested beside that module. Here stands what only shows in the whole; `tests.planted`
breaks each promise on purpose and names the test, here or there, that must see it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from bulk_issue.config import Pace
from bulk_issue.ending import ExitCode
from bulk_issue.job import Ending
from bulk_issue.ledger import open_ledger
from bulk_issue.model import Meaning, Outcome, ReadProblem
from bulk_issue.ports import Budget, Landed, Settlement
from bulk_issue.states import Event
from bulk_issue.testing import (
    ByCustomer,
    Dice,
    Fate,
    Look,
    ModelServer,
    VirtualClock,
    arriving_after,
    mobile,
    on_virtual_time,
)
from bulk_issue.testing.fates import ERROR_AFTER, ERROR_BEFORE, GOOD, SEEN, UNANSWERED, processed_after
from tests.clocks import ManualClock
from tests.hosts import Host, Process, few_polls, rows_of, spec

TIMEOUT, GRACE = 5.0, 40.0
THREE, FIVE, SIX = range(1, 4), range(1, 6), range(1, 7)
#: A limit that the stories of the limit run into.
TIGHT: dict[str, Any] = {"rate": 3, "per": 60.0, "canary": 0, "pace": Pace.BURST}


@contextmanager
def machine(folder: Path, **ways: Any) -> Iterator[Host]:
    """A machine and a server with these ways; no request may have left without its intent on disk."""
    clock = VirtualClock()
    host = Host(folder, ModelServer(clock=clock, timeout=TIMEOUT, **ways), clock)
    try:
        yield host
        assert host.violations == []
    finally:
        host.close()


def command(host: Host, customers: Sequence[int], **settings: Any) -> Process:
    """`bulk-issue run` with a file of these customers."""
    return host.process(spec(), rows_of([mobile(n) for n in customers]), grace=GRACE, **settings)


async def ended(process: Process) -> Ending:
    end = await process.run()
    assert isinstance(end, Ending), end
    return end


def requests_for(host: Host, customer: int) -> int:
    return sum(arrival.key == mobile(customer).key for arrival in host.server.book.arrivals)


async def assert_one_coupon_each(host: Host, customers: Sequence[int]) -> None:
    """Every customer has one coupon at the server, and the ledger has it for just that customer's row.

    Judged when whatever was still under way has taken effect.
    """
    await asyncio.sleep(600.0)
    keys = [mobile(n).key for n in customers]
    coupons = [host.server.book.ours(host.server.customer(key)) for key in keys]

    assert [len(each) for each in coupons] == [1] * len(keys)
    recorded = host.ask("SELECT key, code FROM rows ORDER BY number")
    assert recorded == [(key, only.code) for key, (only,) in zip(keys, coupons, strict=True)]


# --- 1: intent first --------------------------------------------------------------------------------------------


@on_virtual_time
async def test_no_request_leaves_without_its_intent_on_disk(tmp_path: Path) -> None:
    """The machine looks into the ledger file in the moment in which a request leaves."""
    with machine(tmp_path) as host:
        await ended(command(host, (1, 2, 1)))

    assert [requests_for(host, customer) for customer in (1, 2)] == [1, 1]


async def test_a_commit_is_flushed_to_the_disk(tmp_path: Path) -> None:
    ledger = await open_ledger(tmp_path / "ledger.db")
    flushes = await ledger._db.write(lambda tx: tx.exec_driver_sql("PRAGMA synchronous").scalar())
    await ledger.close()

    assert flushes == 2  # FULL: before a commit returns


# --- 2: never twice ---------------------------------------------------------------------------------------------


@on_virtual_time
async def test_a_request_without_an_answer_is_looked_up_and_never_sent_again(tmp_path: Path) -> None:
    with machine(tmp_path, fates=ByCustomer({mobile(2).key: [UNANSWERED]})) as host:
        end = await ended(command(host, THREE))

        assert requests_for(host, 2) == 1
        await assert_one_coupon_each(host, THREE)
        assert end.exit_code is ExitCode.DONE


@on_virtual_time
async def test_a_coupon_that_comes_long_after_the_time_out_is_the_rows(tmp_path: Path) -> None:
    fates = ByCustomer({mobile(2).key: [processed_after(TIMEOUT + GRACE - 1.0)]})
    with machine(tmp_path, fates=fates) as host:
        end = await ended(command(host, THREE))

        await assert_one_coupon_each(host, THREE)
        assert end.exit_code is ExitCode.DONE


@on_virtual_time
async def test_a_coupon_that_shows_only_after_the_first_look_is_the_rows(tmp_path: Path) -> None:
    fates = ByCustomer({mobile(2).key: [processed_after(TIMEOUT + GRACE - 1.0)]})
    with machine(tmp_path, fates=fates, lag=lambda: 5.0) as host:
        end = await ended(command(host, THREE))

        await assert_one_coupon_each(host, THREE)
        assert end.exit_code is ExitCode.DONE


@on_virtual_time
async def test_a_coupon_that_exists_and_shows_at_the_last_moment_is_the_rows(tmp_path: Path) -> None:
    fates = ByCustomer({mobile(2).key: [processed_after(TIMEOUT + GRACE - 1.0)]})
    with machine(tmp_path, fates=fates) as host:
        host.server.lag = lambda: GRACE - 2.0 if host.server.book.coupons else 0.0
        end = await ended(command(host, THREE))

        await assert_one_coupon_each(host, THREE)
        assert end.exit_code is ExitCode.DONE


@on_virtual_time
async def test_a_time_in_which_nothing_can_be_looked_up_proves_nothing(tmp_path: Path) -> None:
    failing = [Look(problem=ReadProblem.UNREADABLE)] * 5

    def looks(key: str) -> Look:
        return failing.pop() if key == mobile(2).key and failing else SEEN

    with machine(tmp_path, fates=ByCustomer({mobile(2).key: [UNANSWERED]}), looks=looks) as host:
        end = await ended(command(host, THREE))

        assert not failing
        await assert_one_coupon_each(host, THREE)
        assert end.exit_code is ExitCode.DONE


@on_virtual_time
async def test_whoever_sets_our_clock_moves_no_coupon_out_of_its_window(tmp_path: Path) -> None:
    """Set right after the reader was measured: all that is compared since is the server's own time."""
    with machine(tmp_path, fates=ByCustomer({mobile(2).key: [UNANSWERED]})) as host:
        steps = [3600.0]

        def looks(_key: str) -> Look:
            if steps:
                host.clock.step(steps.pop())
            return SEEN

        host.server.looks = looks
        end = await ended(command(host, THREE))

        await assert_one_coupon_each(host, THREE)
        assert end.exit_code is ExitCode.DONE


@on_virtual_time
async def test_answers_that_are_recorded_together_go_to_their_own_rows(tmp_path: Path) -> None:
    """They gather while the ledger can't be written, and come in the opposite order of their rows."""
    with machine(tmp_path) as host:

        def fates(key: str, _attempt: int) -> Fate:
            if key == mobile(5).key:
                host.ledger_down_until = asyncio.get_running_loop().time() + 1.5
            return GOOD if key == mobile(1).key else processed_after(1.2 - int(key[-1]) / 5)

        host.server.fates = fates
        await ended(command(host, FIVE))

        assert host.refused_writes
        await assert_one_coupon_each(host, FIVE)


async def test_an_answer_to_another_run_moves_no_row(tmp_path: Path) -> None:
    """A ledger that was put back counts its attempts anew: only the holder tells them from those that are lost."""
    ledger, clock = await open_ledger(tmp_path / "ledger.db"), ManualClock()
    budget = Budget(account="host#user", rate=100, per=60.0, unanswered=150.0)
    await ledger.jobs.register(spec(), [rows_of([mobile(1)])], lambda: 0, clock.now())
    hold = await ledger.jobs.hold(spec().id, budget, clock.now())
    (intent,) = (await ledger.work.begin(hold, 1, budget, clock.now(), 5.0)).intents
    refused = Settlement(
        intent=replace(intent, holder="of a run whose record is lost"),
        event=Event.REJECTED,
        outcome=Outcome(meaning=Meaning.REJECTED),
        at=clock.now(),
        left=True,
        answered=True,
        counts=True,
    )

    assert await ledger.work.finish([refused]) == [Landed.STALE]
    assert await ledger.work.finish([replace(refused, intent=intent)]) == [Landed.LANDED]
    await ledger.close()


@pytest.mark.parametrize("processed", [False, True])
@pytest.mark.parametrize("readable", [True, False])
@on_virtual_time
async def test_an_hour_of_500s_leaves_at_most_ten_rows_in_doubt_beside_those_in_flight(
    tmp_path: Path, *, processed: bool, readable: bool
) -> None:
    """Whether the requests are processed or not, and whether the record can be read or not."""
    began, hour = 40.0, 3600.0
    broken = ERROR_AFTER if processed else ERROR_BEFORE
    under_way: list[int] = []
    with machine(tmp_path, rate=300) as host, few_polls():

        def fates(_key: str, _attempt: int) -> Fate:
            now = asyncio.get_running_loop().time()
            if now < began:
                return GOOD
            if not under_way:
                under_way.append(host.states().count("in_flight"))
            return broken

        def looks(_key: str) -> Look:
            return Look(problem=None if readable else ReadProblem.UNREADABLE)

        host.server.fates, host.server.looks = fates, looks
        process = command(host, range(600))
        run = asyncio.create_task(process.run())
        most = 0
        while asyncio.get_running_loop().time() < began + hour and not run.done():
            await asyncio.sleep(1.0)
            most = max(most, host.states().count("in_doubt"))
        end = await run

        assert isinstance(end, Ending)
        assert end.exit_code is ExitCode.STOPPED
        assert host.states().count("issued") > 100
        assert most - under_way[0] <= 10


# --- 4: never over the limit ------------------------------------------------------------------------------------


@on_virtual_time
async def test_a_run_right_after_another_keeps_to_what_is_left_of_the_limit(tmp_path: Path) -> None:
    with machine(tmp_path) as host:
        await ended(command(host, SIX, **TIGHT, first=3))
        await ended(command(host, SIX, **TIGHT))

        assert host.server.book.worst_window(60.0) == 3
        await assert_one_coupon_each(host, SIX)


@on_virtual_time
async def test_a_run_right_after_a_kill_keeps_to_what_is_left_of_the_limit(tmp_path: Path) -> None:
    with machine(tmp_path) as host:
        killed = command(host, SIX, **TIGHT)
        asyncio.get_running_loop().call_later(0.03, killed.kill)
        await killed.run()
        assert len(host.server.book.arrivals) == 3
        await ended(command(host, SIX, **TIGHT))

        assert host.server.book.worst_window(60.0) == 3
        await assert_one_coupon_each(host, SIX)


@on_virtual_time
async def test_requests_that_were_given_up_count_for_as_long_as_they_may_arrive(tmp_path: Path) -> None:
    """Three requests are on their way until the grace has nearly passed; the server counts them when they arrive."""
    late = {mobile(n).key: [arriving_after(TIMEOUT + GRACE - 1.0)] for n in THREE}
    with machine(tmp_path, fates=ByCustomer(late), rate=3) as host:
        await ended(command(host, SIX, **TIGHT))

        assert host.server.book.worst_window(60.0) == 3
        assert host.server.book.refused == 0
        await assert_one_coupon_each(host, SIX)


@on_virtual_time
async def test_two_processes_keep_the_limit_whoever_sets_the_clock_and_however_the_network_jitters(
    tmp_path: Path,
) -> None:
    jitter = Dice(Random(4), [lambda random: Fate(there=random.uniform(0.0, 2.0), back=random.uniform(0.0, 2.0))], 1.0)
    with machine(tmp_path, fates=jitter, rate=3) as host:
        for at, seconds in ((70.0, 3600.0), (130.0, -7200.0), (200.0, 1800.0)):
            asyncio.get_running_loop().call_later(at, host.clock.step, seconds)
        other = host.process(spec("job-b"), rows_of([mobile(n) for n in range(11, 18)]), grace=GRACE, **TIGHT)
        await asyncio.gather(ended(command(host, range(1, 8), **TIGHT)), ended(other))

        assert host.server.book.worst_window(60.0) == 3
        assert host.server.book.refused == 0
        assert len(host.server.book.coupons) == 14


# --- 7 and 8: again is safe, and what went wrong is told --------------------------------------------------------


@on_virtual_time
async def test_the_finished_command_again_sends_nothing(tmp_path: Path) -> None:
    with machine(tmp_path) as host:
        await ended(command(host, THREE))
        end = await ended(command(host, THREE))

        assert end.exit_code is ExitCode.DONE
        assert len(host.server.book.arrivals) == 3


@on_virtual_time
async def test_a_coupon_that_comes_after_the_grace_is_told_by_the_next_run(tmp_path: Path) -> None:
    fates = ByCustomer({mobile(2).key: [processed_after(TIMEOUT + 2 * GRACE + 30.0)]})
    with machine(tmp_path, fates=fates) as host:
        first = await ended(command(host, THREE))
        await asyncio.sleep(60.0)
        second = await ended(command(host, THREE))

        assert (first.exit_code, first.excess) == (ExitCode.DONE, 0)
        assert (second.exit_code, second.excess) == (ExitCode.DOUBT, 1)
        assert len(host.server.book.arrivals) == 4
