"""Intent, request, record: in this order, and not a second time without a settled record. On virtual time."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from bulk_issue.config import Pace, Share
from bulk_issue.ending import ExitCode
from bulk_issue.errors import JobHeld, LedgerUnavailable
from bulk_issue.health import StopKind
from bulk_issue.job import Ending
from bulk_issue.model import ReadProblem
from bulk_issue.testing import (
    ByCustomer,
    Canned,
    Fate,
    Look,
    Repeat,
    Script,
    busy_for,
    mobile,
    on_virtual_time,
    processed_after,
    refusal,
)
from bulk_issue.testing import fates as f
from tests.hosts import Host, Killed, few_polls, rows_of, spec

A = spec()
HOUR = 3600.0


def people(n: int) -> list[Any]:
    return rows_of([mobile(each) for each in range(n)])


def key(n: int) -> str:
    return mobile(n).key


def now() -> float:
    return asyncio.get_running_loop().time()


async def ended(host: Host, n: int, **settings: Any) -> Ending:
    """One run over n customers, to its end."""
    ending = await host.process(A, people(n), **settings).run()
    assert isinstance(ending, Ending), ending
    return ending


def check_book(host: Host) -> None:
    """Nobody has two coupons, and no request left without its intent or again without a settled record."""
    given = [entry.customer for entry in host.server.book.coupons]
    assert len(given) == len(set(given))
    assert host.violations == []
    assert host.resent_unsettled() == []
    assert host.server.book.together == []


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with few_polls():
        yield


# --- the order ----------------------------------------------------------------------------------------------------


@on_virtual_time
async def test_intent_claim_and_permit_are_on_disk_when_a_request_leaves(tmp_path: Path) -> None:
    host = Host.with_server(tmp_path)
    seen: list[Any] = []

    def look(intent: Any) -> None:
        seen.append(host.ask("SELECT state FROM rows WHERE number = ?", intent.row))
        host.look_at_intent(intent)

    host.server.on_departure = look
    await ended(host, 30)

    assert seen == [[("in_flight",)]] * 30
    assert host.violations == []


@pytest.mark.parametrize(
    ("start", "settings"),
    [(0, {}), (1, {}), (0, {"connections": 1, "canary": 0, "pace": Pace.BURST})],
    ids=["even", "odd", "answers-with-intents"],
)
@on_virtual_time
async def test_a_process_killed_at_any_point_leaves_nothing_that_is_sent_twice(
    tmp_path: Path, start: int, settings: dict[str, Any]
) -> None:
    """A world for each point that a run passes (every other one here); the next run of the same command finishes it."""
    point, killed = start, True
    while killed:
        world = tmp_path / str(point)
        world.mkdir()
        # one row goes well, one is processed and one isn't, and neither is answered
        fates = {key(1): [f.BROKEN_AFTER], key(2): [f.BROKEN_BEFORE]}
        host = Host.with_server(world, fates=ByCustomer(fates))
        process = host.process(A, people(3), grace=5.0, **settings)
        process.dies_in = point
        killed = isinstance(await process.run(), Killed)
        ending = await ended(host, 3, grace=5.0)
        check_book(host)
        host.close()
        # a job whose one proof died with the process may have nothing to prove the reader with
        assert ending.exit_code in (ExitCode.DONE, ExitCode.DOUBT), point
        if ending.exit_code is ExitCode.DONE:
            assert len(host.server.book.coupons) == 3
        point += 2

    assert point > 40


@on_virtual_time
async def test_a_process_killed_while_it_recovers_and_reconciles_changes_nothing(tmp_path: Path) -> None:
    """The recovery of a recovery: killed at each point of the second run, and then at each of the third."""
    for second in range(0, 40, 3):
        world = tmp_path / str(second)
        world.mkdir()
        host = Host.with_server(world, fates=ByCustomer({key(1): [f.UNANSWERED], key(2): [f.LOST]}), timeout=10.0)
        first = host.process(A, people(3), grace=5.0, connections=2)
        first.dies_in = 17
        await first.run()
        for dies_in in (second, second // 2):
            process = host.process(A, people(3), grace=5.0)
            process.dies_in = dies_in
            await process.run()
        await ended(host, 3, grace=5.0)
        check_book(host)
        host.close()


@on_virtual_time
async def test_answers_are_recorded_though_the_job_was_taken_over_meanwhile(tmp_path: Path) -> None:
    host = Host.with_server(tmp_path)

    def taken_over(_: object) -> None:
        with closing(sqlite3.connect(tmp_path / "ledger.db")) as other, other:
            other.execute("UPDATE jobs SET holder = 'another run'")

    host.server.on_departure = taken_over
    ended = await host.process(A, people(3), connections=1, canary=0, pace=Pace.BURST).run()

    assert isinstance(ended, JobHeld)
    assert host.states() == ["issued", "pending", "pending"]


@on_virtual_time
async def test_requests_under_way_end_when_the_job_was_taken_over_and_nothing_new_begins(tmp_path: Path) -> None:
    fates = ByCustomer({key(1): [processed_after(8.0)], key(2): [processed_after(9.0)]})
    host = Host.with_server(tmp_path, fates=fates)

    def taken_over(intent: Any) -> None:
        if intent.row == 3:
            with closing(sqlite3.connect(tmp_path / "ledger.db")) as other, other:
                other.execute("UPDATE jobs SET holder = 'another run'")

    host.server.on_departure = taken_over
    ended = await host.process(A, people(5), connections=3, canary=0, pace=Pace.BURST).run()

    assert isinstance(ended, JobHeld)
    assert host.states() == ["issued"] * 3 + ["pending"] * 2


@on_virtual_time
async def test_a_request_that_waited_past_its_moment_is_not_sent(tmp_path: Path) -> None:
    host = Host.with_server(tmp_path, fates=Script([f.GOOD, Fate(held_up=5.1)]))
    ending = await ended(host, 2)

    assert ending.exit_code is ExitCode.DONE
    assert host.ask("SELECT event, sent FROM attempts WHERE row = 2 ORDER BY attempt") == [
        ("not_processed", 0),
        ("issued", 1),
    ]
    assert len(host.server.book.arrivals) == 2


@on_virtual_time
async def test_an_answer_for_another_series_closes_the_connections(tmp_path: Path) -> None:
    wrong = Canned.of_json(200, {"code": "SOMEBODYS1", "seriesId": 1})
    host = Host.with_server(tmp_path, fates=Script([f.GOOD, Fate(answer=wrong), Fate(answer=wrong)]))
    ending = await ended(host, 5, connections=1)

    assert host.server.resets == 2
    assert ending.exit_code is ExitCode.STOPPED
    assert host.states()[1:3] == ["in_doubt", "in_doubt"]


# --- how many, and when -------------------------------------------------------------------------------------------


@on_virtual_time
async def test_rows_go_one_at_a_time_until_the_canary_has_its_coupon_and_is_read_back(tmp_path: Path) -> None:
    host = Host.with_server(tmp_path, fates=Script([f.ERROR_BEFORE, processed_after(3.0)]))
    looks: list[float] = []
    host.server.looks = lambda _key: looks.append(now()) or f.SEEN  # type: ignore[func-returns-value]
    await ended(host, 10, grace=5.0)
    arrivals = [arrival.at for arrival in host.server.book.arrivals]

    assert arrivals[1] >= arrivals[0] + 0.02  # the first answer was on its way back so long
    assert arrivals[2] > looks[0] > arrivals[1] + 3.0
    assert arrivals[8] < arrivals[2] + 1.0


@on_virtual_time
async def test_first_n_sends_no_more_than_n_rows(tmp_path: Path) -> None:
    host = Host.with_server(tmp_path)
    first = await ended(host, 20, first=7)
    sent = len(host.server.book.arrivals)
    rest = await ended(host, 20)

    assert (first.exit_code, sent) == (ExitCode.ASKED, 7)
    assert first.stop is not None and "--first 7" in first.stop.because
    assert (rest.exit_code, len(host.server.book.arrivals)) == (ExitCode.DONE, 20)


@on_virtual_time
async def test_the_first_signal_lets_requests_end_and_starts_no_more(tmp_path: Path) -> None:
    host = Host.with_server(tmp_path, fates=Script([f.GOOD], then=processed_after(8.0)))
    process = host.process(A, people(100), connections=10, pace=Pace.BURST)
    asyncio.get_running_loop().call_later(3.0, process.asked.set)
    ending = await process.run()

    assert isinstance(ending, Ending)
    assert ending.exit_code is ExitCode.ASKED
    assert host.states().count("issued") == len(host.server.book.arrivals) == 11
    assert host.states().count("pending") == 89


@on_virtual_time
async def test_a_short_job_goes_at_once_and_a_long_one_evenly(tmp_path: Path) -> None:
    host = Host.with_server(tmp_path, rate=300)
    await ended(host, 60)
    short = [arrival.at for arrival in host.server.book.arrivals][1:]
    again = spec("job-b", again="more")
    assert isinstance(await host.process(again, people(200), canary=0).run(), Ending)
    long = [arrival.at for arrival in host.server.book.arrivals][60:]

    assert short[-1] - short[0] < 1.0
    assert long[-1] - long[0] == pytest.approx(199 / 5, abs=2.0)
    assert max(b - a for a, b in pairwise(long)) < 1.0


@pytest.mark.parametrize("pace", list(Pace))
@on_virtual_time
async def test_the_limit_holds_in_any_window_and_is_used(tmp_path: Path, pace: Pace) -> None:
    """At a strict server nothing is refused; of what the answers' time leaves, 99 % are used."""
    host = Host.with_server(tmp_path, rate=60)
    await ended(host, 400, rate=60, pace=pace, connections=60)
    arrivals = [arrival.at for arrival in host.server.book.arrivals]
    took, answer = arrivals[-1] - arrivals[1], 0.07
    windows = took / 60.0

    assert host.server.book.refused == 0
    assert host.server.book.worst_window(60.0) <= 60
    assert 398 / (60 * windows) >= 0.99 * 60 / (60 + answer) or pace is Pace.BURST
    if pace is Pace.BURST:  # whole windows at once: the last one is cut off by the end of the job
        assert 360 / 60 * (60 + answer) >= 0.99 * took


@on_virtual_time
async def test_the_limit_outlives_a_killed_process(tmp_path: Path) -> None:
    host = Host.with_server(tmp_path, rate=10, fates=Script([], then=f.BROKEN_AFTER))
    process = host.process(A, people(40), rate=10, connections=10, canary=0, max_doubt=Share(percent=100.0))
    asyncio.get_running_loop().call_later(0.3, process.kill)
    await process.run()
    await ended(host, 40, rate=10, canary=0, max_doubt=Share(percent=100.0), reconcile_for=0.0)

    assert host.server.book.refused == 0
    assert host.server.book.worst_window(60.0) <= 10


@on_virtual_time
async def test_requests_that_arrive_long_after_they_were_given_up_are_still_within_the_limit(tmp_path: Path) -> None:
    """Held up until the last moment, given up, and delivered when the grace is nearly over."""
    late = Fate(held_up=4.9, there=10.0 + 20.0 - 0.1)
    host = Host.with_server(tmp_path, rate=5, per=10.0, timeout=10.0, fates=Script([late] * 5))
    await ended(host, 40, rate=5, per=10.0, grace=20.0, canary=0, max_doubt=Share(percent=100.0), pace=Pace.BURST)

    assert host.server.book.refused == 0
    assert host.server.book.worst_window(10.0) <= 5


# --- answers that stop or slow a run down --------------------------------------------------------------------------


@on_virtual_time
async def test_a_halt_puts_its_row_behind_all_others_and_lets_requests_end(tmp_path: Path) -> None:
    fates = {key(1): [f.EXHAUSTED], key(2): [processed_after(5.0)]}
    host = Host.with_server(tmp_path, fates=ByCustomer(fates))
    stopped = await ended(host, 6, connections=2)
    states = host.states()
    begun = len(host.server.book.arrivals)
    rest = await ended(host, 6, connections=1)
    order = [arrival.request.row for arrival in host.server.book.arrivals[begun:]]

    assert stopped.exit_code is ExitCode.STOPPED
    assert stopped.stop is not None and stopped.stop.kind is StopKind.HALTED
    assert states == ["issued", "pending", "issued", "pending", "pending", "pending"]
    assert rest.exit_code is ExitCode.DONE
    assert order == [4, 5, 6, 2]


@on_virtual_time
async def test_an_expired_token_costs_no_attempt_and_stops_nobody(tmp_path: Path) -> None:
    host = Host.with_server(tmp_path)
    asyncio.get_running_loop().call_later(3.0, host.server.expire_token)
    ending = await ended(host, 120, max_attempts=1)
    refused = host.ask("SELECT row FROM attempts WHERE error_code = 'http-401'")

    assert refused
    assert ending.exit_code is ExitCode.DONE
    check_book(host)


@on_virtual_time
async def test_credentials_that_are_refused_twice_halt_the_run(tmp_path: Path) -> None:
    host = Host.with_server(tmp_path, authorized=False)
    ending = await ended(host, 20)

    assert ending.exit_code is ExitCode.STOPPED
    assert ending.stop is not None and ending.stop.kind is StopKind.HALTED
    assert len(host.server.book.arrivals) == 2
    assert host.states() == ["pending"] * 20


@on_virtual_time
async def test_a_429_pauses_the_account_in_every_process(tmp_path: Path) -> None:
    fates = ByCustomer({key(3): [busy_for(40)]})
    host = Host.with_server(tmp_path, fates=fates)
    other = spec("job-b")
    elsewhere = rows_of([mobile(n) for n in range(1000, 1200)])
    first, second = await asyncio.gather(
        host.process(A, people(20), connections=1).run(),
        host.process(other, elsewhere, connections=5).run(),
    )
    refused = next(arrival.at for arrival in host.server.book.arrivals if arrival.key == key(3))
    after = [arrival.at - refused for arrival in host.server.book.arrivals if arrival.at > refused + 0.2]

    assert isinstance(first, Ending) and isinstance(second, Ending)
    assert (first.exit_code, second.exit_code) == (ExitCode.DONE, ExitCode.DONE)
    assert min(after) >= 40.0
    assert host.ask("SELECT count(*) FROM attempts WHERE error_code = 'http-429'") == [(1,)]


@on_virtual_time
async def test_nothing_but_429_for_a_quarter_of_an_hour_stops_the_run(tmp_path: Path) -> None:
    host = Host.with_server(tmp_path, fates=Script([], then=f.BUSY))
    ending = await ended(host, 20)

    assert ending.exit_code is ExitCode.STOPPED
    assert ending.stop is not None and ending.stop.kind is StopKind.STALLED
    assert 900 < now() < 1000
    assert host.states() == ["pending"] * 20
    assert host.ask("SELECT max(spent) FROM rows") == [(0,)]


@on_virtual_time
async def test_a_row_that_is_never_processed_is_rejected_as_busy_after_its_attempts(tmp_path: Path) -> None:
    host = Host.with_server(tmp_path, fates=ByCustomer({key(1): [f.LOCKED] * 9}))
    ending = await ended(host, 3, max_attempts=3)

    assert ending.exit_code is ExitCode.FAILURES
    assert host.states() == ["issued", "rejected", "issued"]
    assert len([each for each in host.server.book.arrivals if each.key == key(1)]) == 3


@on_virtual_time
async def test_an_hour_of_500s_leaves_a_handful_of_rows_in_doubt(tmp_path: Path) -> None:
    """The breaker: at most ten rows and those in flight, whatever a cron job does in that hour."""
    host = Host.with_server(tmp_path)
    asyncio.get_running_loop().call_later(10.0, setattr, host.server, "fates", Script([], then=f.ERROR_BEFORE))
    worst = 0
    while now() < HOUR:
        ending = await ended(host, 200, connections=20)
        worst = max(worst, host.states().count("in_doubt"))
        assert ending.exit_code is ExitCode.STOPPED
        assert ending.stop is not None and ending.stop.kind is StopKind.BREAKER
    host.server.fates = Script([])
    await ended(host, 200, connections=20)

    assert worst <= 10 + 20
    assert set(host.states()) <= {"issued", "rejected"}  # some had drawn their four attempts by then
    check_book(host)


@on_virtual_time
async def test_an_hour_of_500s_from_the_start_leaves_a_handful_of_rows_in_doubt(tmp_path: Path) -> None:
    host = Host.with_server(tmp_path, fates=Script([], then=f.ERROR_AFTER))
    ending = await ended(host, 500)

    assert ending.exit_code is ExitCode.STOPPED
    assert host.states().count("in_doubt") <= 10


@on_virtual_time
async def test_while_the_record_cannot_be_read_the_open_breaker_probes_rarely(tmp_path: Path) -> None:
    host = Host.with_server(tmp_path, looks=lambda _key: Look(problem=ReadProblem.REFUSED))
    asyncio.get_running_loop().call_later(10.0, setattr, host.server, "fates", Script([], then=f.ERROR_AFTER))
    ending = await ended(host, 500, connections=1)

    assert ending.exit_code is ExitCode.STOPPED
    assert host.states().count("in_doubt") <= 10


# --- a ledger that refuses writes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [0.5, 3.0, 12.0, 130.0, 140.0])
@on_virtual_time
async def test_a_ledger_that_refuses_writes_for_half_a_minute_costs_nothing(tmp_path: Path, at: float) -> None:
    fates = ByCustomer({key(3): [f.UNANSWERED], key(4): [f.LOST]})
    host = Host.with_server(tmp_path, fates=fates)

    def refuse() -> None:
        host.ledger_down_until = now() + 30.0

    asyncio.get_running_loop().call_later(at, refuse)
    ending = await ended(host, 70)

    assert host.refused_writes > 0
    assert ending.exit_code is ExitCode.DONE
    assert host.ask("SELECT count(*) FROM rows WHERE doubted = 1") == [(2,)]
    check_book(host)


@on_virtual_time
async def test_no_intent_is_written_while_answers_wait_for_the_ledger(tmp_path: Path) -> None:
    host = Host.with_server(tmp_path)

    def refuse() -> None:
        host.ledger_down_until = now() + 30.0

    asyncio.get_running_loop().call_later(3.0, refuse)
    await ended(host, 200)
    between = [each for each in host.server.book.arrivals if 3.1 < each.at < 33.0]

    assert between == []


@on_virtual_time
async def test_a_ledger_that_refuses_writes_for_longer_ends_the_run_and_loses_nothing(tmp_path: Path) -> None:
    host = Host.with_server(tmp_path, fates=Script([f.GOOD], then=processed_after(2.0)))

    def refuse() -> None:
        host.ledger_down_until = now() + 90.0

    asyncio.get_running_loop().call_later(3.0, refuse)
    error = await host.process(A, people(30), connections=5).run()
    stopped = now()
    await asyncio.sleep(40)
    ending = await ended(host, 30)

    assert isinstance(error, LedgerUnavailable)
    assert error.exit_code == 7
    assert 60 < stopped - 3.0 < 65
    assert ending.exit_code is ExitCode.DONE
    assert len(host.server.book.coupons) == 30
    check_book(host)


# --- what the customer's other rows are doing ----------------------------------------------------------------------


@on_virtual_time
async def test_the_second_record_of_a_customer_is_a_duplicate_and_sends_nothing(tmp_path: Path) -> None:
    host = Host.with_server(tmp_path)
    ending = await host.process(A, rows_of([mobile(1), mobile(2), mobile(1), None])).run()

    assert isinstance(ending, Ending)
    assert host.states() == ["issued", "issued", "duplicate", "invalid"]
    assert len(host.server.book.arrivals) == 2


@on_virtual_time
async def test_a_run_does_not_wait_for_ever_for_a_row_in_doubt_of_another_job(tmp_path: Path) -> None:
    """Nobody may ever settle it: the run stops, says so, and can be resumed."""
    host = Host.with_server(tmp_path, fates=ByCustomer({key(0): [f.UNANSWERED]}))
    await ended(host, 1, reconcile_for=0.0)
    more = spec("job-b", again="more")
    waiting = await host.process(more, people(3)).run()

    assert isinstance(waiting, Ending)
    assert waiting.exit_code is ExitCode.STOPPED
    assert waiting.stop is not None and "other jobs" in waiting.stop.because
    assert host.states("job-b") == ["pending", "issued", "issued"]
    assert 900 < now() < 1000


@on_virtual_time
async def test_what_is_refused_is_rejected_and_what_is_had_is_held(tmp_path: Path) -> None:
    host = Host.with_server(tmp_path, repeat=Repeat.REFUSED, unknown=frozenset({key(0)}))
    host.server.refusals = {key(1): refusal(740, "customer is marked as fraud")}
    host.server.give(key(2), A.series_id, ago=86_400.0)
    ending = await ended(host, 4)

    assert ending.exit_code is ExitCode.FAILURES
    assert host.states() == ["rejected", "rejected", "held", "issued"]


@on_virtual_time
async def test_a_slow_answer_within_the_time_out_is_no_doubt(tmp_path: Path) -> None:
    host = Host.with_server(tmp_path, fates=Script([], then=replace(processed_after(20.0), back=5.0)))
    await ended(host, 3)

    assert host.ask("SELECT count(*) FROM rows WHERE doubted = 1") == [(0,)]


@on_virtual_time
async def test_a_row_put_back_before_the_clock_was_set_back_is_sent_beside_one_that_waits(tmp_path: Path) -> None:
    host = Host.with_server(tmp_path, fates=ByCustomer({key(0): [f.UNANSWERED], key(1): [f.LOCKED]}))
    await ended(host, 1, reconcile_for=0.0)
    more, rows = spec("job-b", again="more"), rows_of([mobile(1), mobile(0), mobile(2)])
    await host.process(more, rows, first=1).run()
    host.clock.step(-7200.0)
    await host.process(more, rows).run()

    assert host.states("job-b") == ["issued", "pending", "issued"]
