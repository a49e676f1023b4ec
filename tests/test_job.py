"""One run of one job, from becoming its holder to letting it go. On virtual time."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bulk_issue.config import Share
from bulk_issue.ending import ExitCode
from bulk_issue.errors import JobHeld, LedgerUnavailable
from bulk_issue.hours import Hours
from bulk_issue.job import Ending, Run
from bulk_issue.model import JobId, ReadProblem
from bulk_issue.testing import ByCustomer, Look, Repeat, Script, mobile, on_virtual_time, processed_after, refusal
from bulk_issue.testing import fates as f
from tests.hosts import Host, Killed, Process, few_polls, rows_of, spec

A = spec()


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with few_polls():
        yield


def now() -> float:
    return asyncio.get_running_loop().time()


def people(n: int, first: int = 0) -> list[Any]:
    return rows_of([mobile(each) for each in range(first, first + n)])


async def ended(host: Host, n: int, **settings: Any) -> Ending:
    ending = await host.process(A, people(n), **settings).run()
    assert isinstance(ending, Ending), ending
    return ending


@on_virtual_time
async def test_a_finished_command_run_again_sends_nothing(tmp_path: Path) -> None:
    host = Host.with_server(tmp_path, refusals={mobile(1).key: refusal(740, "customer is marked as fraud")})
    first = await ended(host, 5)
    again = await ended(host, 5)

    assert (first.exit_code, again.exit_code) == (ExitCode.FAILURES, ExitCode.FAILURES)
    assert (first.tally, len(host.server.book.arrivals)) == (again.tally, 5)


@on_virtual_time
async def test_a_job_is_run_by_one_process_at_a_time(tmp_path: Path) -> None:
    host = Host.with_server(tmp_path)
    first, second = await asyncio.gather(host.process(A, people(30)).run(), host.process(A, people(30)).run())

    assert isinstance(first, Ending) and first.exit_code is ExitCode.DONE
    assert isinstance(second, JobHeld) and second.exit_code == 6
    assert len(host.server.book.arrivals) == 30


@on_virtual_time
async def test_three_processes_with_overlapping_files_give_each_customer_one_coupon(tmp_path: Path) -> None:
    host = Host.with_server(tmp_path, rate=40)
    files = [(spec(f"job-{n}"), people(20, first)) for n, first in enumerate((0, 10, 5))]
    endings = await asyncio.gather(*(host.process(job, rows, rate=40).run() for job, rows in files))

    assert [each.exit_code for each in endings if isinstance(each, Ending)] == [ExitCode.DONE] * 3
    assert len(host.server.book.coupons) == len({entry.customer for entry in host.server.book.coupons}) == 30
    assert host.server.book.worst_window(60.0) <= 40
    assert host.server.book.refused == 0


@on_virtual_time
async def test_a_row_that_was_in_flight_at_the_holders_death_is_in_doubt_and_told(tmp_path: Path) -> None:
    host = Host.with_server(tmp_path, fates=ByCustomer({mobile(1).key: [processed_after(20.0)]}))
    process = host.process(A, people(3))
    asyncio.get_running_loop().call_later(5.0, process.kill)
    killed = await process.run()
    states = host.states()
    again = host.process(A, people(3))
    ending = await again.run()

    assert isinstance(killed, Killed)
    assert states == ["issued", "in_flight", "issued"]
    assert isinstance(ending, Ending) and ending.exit_code is ExitCode.DONE
    assert [message for message in again.messages if "in flight" in message]
    (waits,) = [message for message in again.messages if "Ctrl-C" in message]
    assert waits.startswith("1 row in doubt: looked up for ")
    assert len(host.server.book.arrivals) == 3


@on_virtual_time
async def test_a_process_killed_while_it_registers_leaves_a_job_that_registers_anew(tmp_path: Path) -> None:
    for point in range(8):
        world = tmp_path / str(point)
        world.mkdir()
        host = Host.with_server(world)
        process = host.process(A, people(6))
        process.dies_in = point
        await process.run()
        ending = await ended(host, 6)
        host.close()

        assert (ending.exit_code, ending.job.rows) == (ExitCode.DONE, 6), point


@on_virtual_time
async def test_the_exit_code_follows_a_duplicates_first_row(tmp_path: Path) -> None:
    host = Host.with_server(tmp_path, refusals={mobile(0).key: refusal(740, "customer is marked as fraud")})
    host.server.fates = ByCustomer({mobile(1).key: [f.LOST]})
    # the customer of the only row stands in doubt, and nothing proves a reader
    await host.process(spec("job-b"), people(1, 1), reconcile_for=0.0).run()
    doubtful = await host.process(A, people(1, 1)).run()

    assert isinstance(doubtful, Ending)
    assert host.states() == ["duplicate"]
    assert doubtful.exit_code is ExitCode.DOUBT


@on_virtual_time
async def test_reconciling_takes_its_time_and_no_more(tmp_path: Path) -> None:
    unknown = mobile(1)
    host = Host.with_server(tmp_path, unknown=frozenset({unknown.key}), fates=ByCustomer({unknown.key: [f.LOST]}))
    ending = await ended(host, 3, reconcile_for=300.0)

    assert ending.exit_code is ExitCode.DOUBT
    assert 330 <= now() < 340  # the time-out, and the 300 s after it


@on_virtual_time
async def test_what_the_record_puts_back_is_issued_in_the_same_run(tmp_path: Path) -> None:
    host = Host.with_server(tmp_path, fates=Script([f.GOOD, f.LOST, f.ERROR_BEFORE, f.BROKEN_BEFORE]))
    ending = await ended(host, 10)

    assert ending.exit_code is ExitCode.DONE
    assert len(host.server.book.coupons) == 10


@on_virtual_time
async def test_a_row_that_is_put_back_between_two_reads_is_sent_in_the_same_run(tmp_path: Path) -> None:
    """Whatever the run reads first about its row in doubt is old when it comes: by then the row is pending."""
    host = Host.with_server(tmp_path, fates=ByCustomer({mobile(1).key: [f.LOST]}))
    process = host.process(A, people(2))
    ready = process._ready

    async def with_slow_reads() -> Run:
        run = await ready()
        for face, name in ((run.parts.ledger.work, "pending"), (run.parts.ledger.work, "still_open")):
            setattr(face, name, slow(getattr(face, name)))
        return run

    def slow(read: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def read_slowly(job: JobId, **which: bool) -> Any:
            seen = await read(job, **which)
            while asyncio.current_task() is process._task and "in_doubt" in host.states():
                await asyncio.sleep(1.0)
            return seen

        return read_slowly

    process._ready = with_slow_reads  # type: ignore[method-assign]
    ending = await process.run()

    assert isinstance(ending, Ending)
    assert ending.exit_code is ExitCode.DONE
    assert host.states() == ["issued", "issued"]


@on_virtual_time
async def test_what_the_record_puts_back_during_the_last_read_is_issued_too(tmp_path: Path) -> None:
    """The time for reconciling is over when the second look at row 3 is due; row 2 is read for the last time then."""
    fates = ByCustomer({mobile(1).key: [f.UNANSWERED], mobile(2).key: [f.LOST]})
    host = Host.with_server(tmp_path, fates=fates)
    host.server.looks = lambda key: Look(seconds=18.0) if key == mobile(1).key and now() > 265.0 else f.SEEN
    ending = await ended(host, 3, reconcile_for=236.0)

    assert ending.exit_code is ExitCode.DONE
    assert host.states() == ["issued"] * 3


@on_virtual_time
async def test_reconcile_issues_nothing(tmp_path: Path) -> None:
    host = Host.with_server(tmp_path, fates=ByCustomer({mobile(1).key: [f.BROKEN_BEFORE]}))
    await ended(host, 5, first=3, reconcile_for=0.0)
    sent = len(host.server.book.arrivals)
    ending = await host.process(A, people(5)).reconcile()

    assert isinstance(ending, Ending)
    assert (host.states().count("in_doubt"), len(host.server.book.arrivals)) == (0, sent)


@pytest.mark.parametrize("state", ["ready", "running"])
@on_virtual_time
async def test_a_job_that_waits_for_workers_still_waits_when_it_was_reconciled(tmp_path: Path, state: str) -> None:
    host = Host.with_server(tmp_path, fates=ByCustomer({mobile(1).key: [f.BROKEN_BEFORE]}))
    await ended(host, 5, first=3, reconcile_for=0.0)
    async with host.ledger() as ledger:
        await ledger.jobs.defer(A.id)
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as other, other:
        other.execute("UPDATE jobs SET state = ?", (state,))  # ready, or handed over by a worker
    await host.process(A, people(5)).reconcile()
    waits = host.ask("SELECT state, deferred FROM jobs")
    await ended(host, 5)
    again = await host.process(A, people(5)).reconcile()

    assert waits == [(state, 1)]
    assert isinstance(again, Ending)
    assert host.ask("SELECT state FROM jobs") == [("ended",)]


@on_virtual_time
async def test_a_worker_that_is_asked_to_stop_hands_a_cancelled_jobs_doubts_over(tmp_path: Path) -> None:
    host = Host.with_server(tmp_path, fates=ByCustomer({mobile(1).key: [f.UNANSWERED]}))
    process, ready = host.process(A, people(9), connections=1), Process._ready

    async def handing_over(process: Process) -> Run:
        run = await ready(process)
        run.worker = 7
        return run

    process._ready = partial(handing_over, process)  # type: ignore[method-assign]

    async def cancel_and_stop() -> None:
        while "in_doubt" not in host.states():
            await asyncio.sleep(0.5)
        async with host.ledger() as ledger:
            await ledger.jobs.cancel(A.id)
        process.asked.set()

    stopped, _ = await asyncio.gather(process.run(), cancel_and_stop())
    handed_over = host.ask("SELECT state FROM jobs")
    another = host.process(A, people(9))
    another._ready = partial(handing_over, another)  # type: ignore[method-assign]
    ending = await another.run()

    assert isinstance(stopped, Ending)
    assert handed_over == [("running",)]
    assert isinstance(ending, Ending)
    assert host.ask("SELECT state FROM jobs") == [("cancelled",)]
    assert "in_doubt" not in host.states()


@pytest.mark.parametrize("how", ["run", "reconcile"])
@on_virtual_time
async def test_a_run_that_waits_for_the_record_ends_when_another_one_holds_its_job(tmp_path: Path, how: str) -> None:
    """It begins nothing, so nothing else tells it: it would write files of a job that isn't its own."""
    host = Host.with_server(tmp_path, fates=ByCustomer({mobile(1).key: [f.BROKEN_BEFORE]}))
    if how == "reconcile":
        await ended(host, 3, reconcile_for=0.0)
    host.server.looks = lambda _key: Look(problem=ReadProblem.UNREADABLE)
    process = host.process(A, people(3))

    async def another_takes_it() -> None:
        while not host.ask("SELECT 1 FROM jobs WHERE holder IS NOT NULL") or "in_doubt" not in host.states():
            await asyncio.sleep(0.5)
        with closing(sqlite3.connect(tmp_path / "ledger.db")) as other, other:
            other.execute("UPDATE jobs SET holder = 'another'")

    ending, _ = await asyncio.gather(process.run() if how == "run" else process.reconcile(), another_takes_it())

    assert isinstance(ending, JobHeld)
    assert now() < 600.0  # not at the end of its time for reconciling
    assert host.ask("SELECT state, holder FROM jobs") == [("running", "another")]
    assert host.ask("SELECT because FROM runs ORDER BY started DESC LIMIT 1") == [("another run took the job over",)]


@pytest.mark.parametrize(("first", "code"), [(3, ExitCode.DONE), (2, ExitCode.ASKED)])
@on_virtual_time
async def test_what_first_n_rows_left_in_doubt_is_settled_in_the_same_run(
    tmp_path: Path, first: int, code: ExitCode
) -> None:
    host = Host.with_server(tmp_path, fates=ByCustomer({mobile(1).key: [f.UNANSWERED]}))
    ending = await ended(host, 3, first=first)

    assert ending.exit_code is code
    assert host.states() == ["issued"] * first + ["pending"] * (3 - first)


@on_virtual_time
async def test_too_many_rejections_stop_the_run(tmp_path: Path) -> None:
    fraud = {mobile(n).key: refusal(740, "customer is marked as fraud") for n in range(1, 100)}
    host = Host.with_server(tmp_path, refusals=fraud)
    stopped = await ended(host, 100, max_failures=Share(count=9), connections=1)
    none_yet = Host.with_server(_folder(tmp_path), refusals={mobile(0).key: fraud[mobile(1).key], **fraud})
    first = await none_yet.process(A, people(100)).run()

    assert stopped.exit_code is ExitCode.STOPPED
    assert host.states().count("rejected") == 10
    assert isinstance(first, Ending) and first.exit_code is ExitCode.STOPPED
    assert none_yet.states().count("rejected") == 5


def _folder(path: Path) -> Path:
    """Another machine's place."""
    (path / "other").mkdir()
    return path / "other"


@on_virtual_time
async def test_a_ledger_that_is_refused_at_the_start_ends_the_run_before_anything_is_sent(tmp_path: Path) -> None:
    host = Host.with_server(tmp_path)
    host.ledger_down_until = 10.0
    error = await host.process(A, people(3)).run()

    assert isinstance(error, LedgerUnavailable)
    assert host.server.book.arrivals == []


@on_virtual_time
async def test_25_percent_faults_of_every_kind_and_kills_end_with_nothing_in_doubt(tmp_path: Path) -> None:
    """The breaker is off; the record can be read: no duplicates, no losses, no wrong codes, no doubt."""
    every = [f.UNREACHABLE, f.LOST, f.BROKEN_BEFORE, f.BROKEN_AFTER, f.UNANSWERED, f.TRUNCATED, f.HTML, f.ERROR_BEFORE]
    every += [f.ERROR_AFTER, f.SERVICE_TIMEOUT, f.LOCKED, f.QUEUE_EMPTY, f.BUSY, f.busy_for(2)]
    fates = Script([each for fate in every * 2 for each in (f.GOOD, f.GOOD, f.GOOD, fate)])
    host = Host.with_server(tmp_path, fates=fates, repeat=Repeat.NEW, rate=60)
    settings: dict[str, Any] = {"rate": 60, "max_doubt": Share(percent=100.0), "max_attempts": 9}
    for seconds in (1.0, 40.0, 170.0):
        process = host.process(A, people(90), **settings)
        asyncio.get_running_loop().call_later(seconds, process.kill)
        await process.run()
    ending = await ended(host, 90, **settings)
    codes = host.ask("SELECT key, lower(code) FROM rows")
    book = {(key, host.server.book.ours(host.server.customer(key))[0].code.lower()) for key, _ in codes}

    assert ending.exit_code is ExitCode.DONE
    assert len(host.server.book.coupons) == 90
    assert set(codes) == book
    assert (host.server.book.refused, host.violations, host.resent_unsettled()) == (0, [], [])
    assert host.server.book.worst_window(60.0) <= 60


@on_virtual_time
async def test_nothing_starts_outside_of_the_hours_and_the_same_command_goes_on_within(tmp_path: Path) -> None:
    host = Host.with_server(tmp_path, rate=60)
    opened = datetime.fromtimestamp(host.clock.now().wall, UTC).replace(second=0, microsecond=0)
    minute = f"{opened:%H:%M}-{opened + timedelta(minutes=2):%H:%M}"
    between = Hours.parse(minute, UTC)
    first = await ended(host, 200, rate=60, between=between)
    sent, stopped_at = len(host.server.book.arrivals), now()
    again = await ended(host, 200, rate=60, between=between)

    assert first.exit_code is again.exit_code is ExitCode.ASKED
    assert first.stop is not None and f"--between {minute} UTC" in first.stop.because
    assert "goes on from" in first.stop.hint
    assert 60 <= sent < 200 and stopped_at <= 121
    assert len(host.server.book.arrivals) == sent
    await asyncio.sleep(86_400 - now())
    await ended(host, 200, rate=60, between=between)
    assert len(host.server.book.arrivals) > sent
