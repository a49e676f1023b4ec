"""With --look-first nothing is sent to whom the record shows with a coupon of the series. On virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from bulk_issue.ending import ExitCode
from bulk_issue.job import Ending
from bulk_issue.model import Intent, JobId, Meaning, Moment, Outcome, ReadProblem
from bulk_issue.retry import decide
from bulk_issue.states import Event, RowState
from bulk_issue.testing import Look, mobile, on_virtual_time, refusal
from bulk_issue.testing import fates as f
from tests.hosts import SERIES, Host, Killed, few_polls, rows_of, spec


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with few_polls():
        yield


def key(n: int) -> str:
    return mobile(n).key


async def ended(host: Host, n: int, **settings: Any) -> Ending:
    rows = rows_of([mobile(each) for each in range(n)])
    ending = await host.process(spec(), rows, look_first=True, **settings).run()
    assert isinstance(ending, Ending), ending
    return ending


def sent_to(host: Host) -> set[str]:
    return {arrival.key for arrival in host.server.book.arrivals}


@on_virtual_time
async def test_who_holds_a_coupon_of_the_series_is_held_and_gets_no_request(tmp_path: Path) -> None:
    host = Host.with_server(tmp_path)
    for n, series in ((0, SERIES), (2, SERIES), (3, SERIES + 1)):
        host.server.give(key(n), series, ago=1_000_000.0)
    ending = await ended(host, 5)

    assert host.states() == ["held", "issued", "held", "issued", "issued"]
    assert ending.exit_code is ExitCode.DONE
    assert sent_to(host) == {key(1), key(3), key(4)}
    assert host.ask("SELECT count(*) FROM permits WHERE job = 1 AND row IN (1, 3)") == [(0,)]
    assert {reason for (reason,) in host.ask("SELECT reason FROM rows WHERE state = 'held'")} == {
        "The record shows a coupon of this series for this customer."
    }


@on_virtual_time
async def test_the_look_comes_after_the_intent_and_before_the_request(tmp_path: Path) -> None:
    host = Host.with_server(tmp_path)
    states: list[Any] = []

    def look(_key: str) -> Look:
        states.append(host.ask("SELECT state FROM rows WHERE number = 1"))
        return f.SEEN

    host.server.looks = look
    await ended(host, 1)

    assert states[0] == [("in_flight",)]
    assert host.violations == []


@on_virtual_time
async def test_a_record_that_can_not_be_read_sends_nothing(tmp_path: Path) -> None:
    host = Host.with_server(tmp_path)
    broken = Look(problem=ReadProblem.UNREADABLE)
    host.server.looks = lambda who: broken if who == key(1) else f.SEEN
    ending = await ended(host, 4)

    assert host.states() == ["issued", "rejected", "issued", "issued"]
    assert sent_to(host) == {key(0), key(2), key(3)}
    assert ending.exit_code is ExitCode.FAILURES
    ((reason,),) = host.ask("SELECT reason FROM rows WHERE number = 2")
    assert reason.startswith("Busy: not processed in 4 attempts. The customer's coupons couldn't be read")


@on_virtual_time
async def test_an_account_that_may_not_read_is_told_before_anything_is_sent(tmp_path: Path) -> None:
    host = Host.with_server(tmp_path)
    host.server.looks = lambda _who: Look(problem=ReadProblem.REFUSED)
    ending = await ended(host, 4)

    assert ending.exit_code is ExitCode.STOPPED
    assert ending.stop is not None and "--look-first" in ending.stop.because
    assert (host.server.book.arrivals, host.states()) == ([], ["pending"] * 4)


@on_virtual_time
async def test_a_throttled_look_up_pauses_and_costs_the_row_no_attempt(tmp_path: Path) -> None:
    host = Host.with_server(tmp_path)
    throttled = [Look(problem=ReadProblem.THROTTLED, retry_after=20.0)] * 6
    host.server.looks = lambda who: throttled.pop() if who == key(1) and throttled else f.SEEN
    ending = await ended(host, 3)

    assert ending.exit_code is ExitCode.DONE
    assert asyncio.get_running_loop().time() >= 6 * 20
    assert len(host.server.book.arrivals) == 3


@on_virtual_time
async def test_a_customer_whom_the_record_does_not_know_is_the_requests_own_question(tmp_path: Path) -> None:
    host = Host.with_server(tmp_path, unknown=frozenset({key(1)}))
    await ended(host, 3)

    assert key(1) in sent_to(host)


@on_virtual_time
async def test_that_a_customer_is_not_known_counts_only_from_a_proven_look_up(tmp_path: Path) -> None:
    """The record hides customer 1, who has a coupon: requests know them."""
    host = Host.with_server(tmp_path, hidden=frozenset({key(1)}), tells_bearers=False)
    host.server.give(key(1), SERIES, ago=1_000_000.0)
    ending = await ended(host, 3)

    assert sent_to(host) == {key(0), key(2)}
    assert host.states() == ["issued", "rejected", "issued"]
    assert ending.exit_code is ExitCode.FAILURES
    ((reason,),) = host.ask("SELECT reason FROM rows WHERE number = 2")
    assert "doesn't know the customer" in reason


@on_virtual_time
async def test_a_record_that_lists_nobody_without_coupons_is_no_obstacle(tmp_path: Path) -> None:
    host = Host.with_server(tmp_path, unlisted=True)
    host.server.give(key(2), SERIES, ago=1_000_000.0)
    ending = await ended(host, 5)

    assert host.states() == ["issued", "issued", "held", "issued", "issued"]
    assert ending.exit_code is ExitCode.DONE


@pytest.mark.parametrize("canary", [0, 1])
@pytest.mark.parametrize("unlisted", [True, False])
@on_virtual_time
async def test_before_the_reader_is_proven_one_row_goes_at_a_time(
    tmp_path: Path, canary: int, *, unlisted: bool
) -> None:
    """The record shows coupons a minute late: meanwhile its silence says nothing."""
    late = lambda: 60.0 if asyncio.get_running_loop().time() < 30.0 else 0.0  # noqa: E731
    host = Host.with_server(tmp_path, lag=late, unlisted=unlisted)
    ending = await ended(host, 6, canary=canary)
    arrived = [arrival.at for arrival in host.server.book.arrivals]

    assert ending.exit_code is ExitCode.DONE
    assert len(arrived) == 6
    assert arrived[1] >= 60.0


@on_virtual_time
async def test_a_first_row_that_is_refused_leaves_its_place_to_the_next(tmp_path: Path) -> None:
    host = Host.with_server(tmp_path, refusals={key(n): refusal(740, "marked as fraud") for n in range(3)})
    ending = await ended(host, 6, canary=0)
    arrived = sorted((arrival.at, arrival.key) for arrival in host.server.book.arrivals)

    assert host.states() == ["rejected"] * 3 + ["issued"] * 3
    assert ending.exit_code is ExitCode.FAILURES
    assert all(later > earlier + 0.05 for (earlier, _), (later, _) in pairwise(arrived[:4]))


@on_virtual_time
async def test_a_record_that_never_shows_what_was_given_stops_the_run_after_one_coupon(tmp_path: Path) -> None:
    host = Host.with_server(tmp_path, lag=lambda: 1e9)
    ending = await ended(host, 5)

    assert len(host.server.book.coupons) == 1
    assert ending.exit_code is ExitCode.STOPPED
    assert ending.stop is not None and "hasn't yet shown a coupon" in ending.stop.because
    assert host.states() == ["issued"] + ["pending"] * 4


def test_a_row_that_was_ever_in_doubt_is_held_only_by_the_records_last_word() -> None:
    """The look may have shown the row's own coupon, of an earlier attempt."""
    who, now = mobile(1), Moment(0.0, 0.0, "boot")
    facts: dict[str, Any] = {"job": JobId("j"), "row": 1, "attempt": 2, "spent": 1, "holder": "h", "series_id": SERIES}
    found = Outcome(meaning=Meaning.HELD)
    fresh, doubted = (
        decide(None, found, Intent(doubted=was, identifier=who, begun=now, send_by=5, **facts), max_attempts=4, draw=0)
        for was in (False, True)
    )

    assert fresh.event is Event.HELD
    assert (doubted.event, doubted.if_absent) == (Event.UNCLEAR, RowState.HELD)


@on_virtual_time
async def test_a_process_killed_at_the_look_leaves_nothing_that_is_sent_twice(tmp_path: Path) -> None:
    point, killed = 0, True
    while killed:
        world = tmp_path / str(point)
        world.mkdir()
        host = Host.with_server(world)
        host.server.give(key(1), SERIES, ago=1_000_000.0)
        process = host.process(spec(), rows_of([mobile(n) for n in range(2)]), look_first=True, grace=5.0)
        process.dies_in = point
        killed = isinstance(await process.run(), Killed)
        await ended(host, 2, grace=5.0)
        assert sent_to(host) <= {key(0)}, point
        assert len(host.server.book.coupons) <= 2, point
        assert (host.violations, host.resent_unsettled()) == ([], []), point
        host.close()
        point += 2

    assert point > 20


@on_virtual_time
async def test_look_ups_keep_pace_with_a_long_job(tmp_path: Path) -> None:
    host = Host.with_server(tmp_path, rate=300)
    ending = await ended(host, 400)

    assert ending.exit_code is ExitCode.DONE
    assert asyncio.get_running_loop().time() < 100
    assert host.ask("SELECT max(attempt) FROM rows") == [(1,)]
