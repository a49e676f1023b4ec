"""Rows in doubt are settled from the record alone, and every error ends in "unclear". On virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bulk_issue.config import Share
from bulk_issue.ending import ExitCode
from bulk_issue.job import Ending
from bulk_issue.model import Identifier, IdentifierKind, Intent, Reading, ReadProblem, Unreadable
from bulk_issue.testing import (
    ByCustomer,
    Fate,
    Look,
    ModelServer,
    Repeat,
    VirtualClock,
    arriving_after,
    mobile,
    on_virtual_time,
    processed_after,
    refusal,
)
from bulk_issue.testing import fates as f
from tests.hosts import SERIES, Host, few_polls, rows_of, spec

A = spec()
GRACE, TIMEOUT = 120.0, 30.0
#: The customer whose row is in doubt: the second, after the canary.
WHO = mobile(1)
#: Processed when its row has been settled as absent and sent again.
TOO_LATE = processed_after(TIMEOUT + 2 * GRACE + 50.0)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with few_polls():
        yield


def now() -> float:
    return asyncio.get_running_loop().time()


def people(n: int) -> list[Any]:
    return rows_of([mobile(each) for each in range(n)])


async def ended(host: Host, n: int = 3, **settings: Any) -> Ending:
    ending = await host.process(A, people(n), **settings).run()
    assert isinstance(ending, Ending), ending
    return ending


def with_doubt(folder: Path, *fates: Fate, **ways: Any) -> Host:
    """A machine on which the second row's requests have these fates."""
    return Host.with_server(folder, fates=ByCustomer({WHO.key: fates}), **ways)


def looked_at(host: Host) -> list[float]:
    """When the row in doubt was looked up."""
    looks: list[float] = []
    usual = host.server.looks

    def look(key: str) -> Look:
        if key == WHO.key:
            looks.append(now())
        return usual(key)

    host.server.looks = look
    return looks


def failing_looks(host: Host, problem: ReadProblem, times: int) -> None:
    """The first look-ups of the row in doubt bring nothing."""
    left, usual = [times], host.server.looks

    def look(key: str) -> Look:
        seen = usual(key)
        if key == WHO.key and left[0]:
            left[0] -= 1
            return replace(seen, problem=problem)
        return seen

    host.server.looks = look


def findings(host: Host) -> list[str]:
    return [finding for (finding,) in host.ask("SELECT finding FROM lookups WHERE row = 2 ORDER BY id")]


def code_of(host: Host, row: int = 2) -> str | None:
    ((code,),) = host.ask("SELECT code FROM rows WHERE number = ?", row)
    return None if code is None else str(code)


def only_coupon(host: Host, who: Identifier = WHO) -> str:
    (entry,) = host.server.book.ours(host.server.customer(who.key))
    return entry.code


def settled(host: Host, ending: Ending) -> bool:
    """Whether all went well, and the row has the code of its customer's one coupon."""
    return ending.exit_code is ExitCode.DONE and str(code_of(host)).lower() == only_coupon(host).lower()


# --- found and absent ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fate", [f.UNANSWERED, f.BROKEN_AFTER, f.TRUNCATED, f.HTML, f.ERROR_AFTER, f.SERVICE_TIMEOUT])
@on_virtual_time
async def test_a_coupon_that_came_of_a_doubtful_request_is_found_with_its_code(tmp_path: Path, fate: Fate) -> None:
    host = with_doubt(tmp_path, fate)
    ending = await ended(host)

    assert settled(host, ending)
    assert len(host.server.book.arrivals) == 3


@pytest.mark.parametrize("fate", [f.LOST, f.BROKEN_BEFORE, f.ERROR_BEFORE])
@on_virtual_time
async def test_a_row_without_a_coupon_is_sent_again(tmp_path: Path, fate: Fate) -> None:
    host = with_doubt(tmp_path, fate)
    ending = await ended(host)

    assert settled(host, ending)
    assert host.ask("SELECT attempt FROM rows WHERE number = 2") == [(2,)]


@on_virtual_time
async def test_nobody_looks_before_the_grace_has_passed_and_absence_takes_two_looks(tmp_path: Path) -> None:
    host = with_doubt(tmp_path, f.LOST)
    looks = looked_at(host)
    await ended(host)
    ((given_up,),) = host.ask("SELECT at_boot FROM attempts WHERE row = 2 AND attempt = 1")

    assert looks[0] >= given_up - 5_000.0 + GRACE
    assert looks[1] - looks[0] >= 10.0
    assert findings(host) == ["nothing yet; one more look follows", "not in Capillary's record"]


@on_virtual_time
async def test_a_request_that_is_processed_when_the_grace_is_nearly_over_is_found(tmp_path: Path) -> None:
    host = with_doubt(tmp_path, processed_after(TIMEOUT + GRACE - 1.0))

    assert settled(host, await ended(host))


@on_virtual_time
async def test_a_look_that_began_too_early_is_not_the_second_however_late_it_ends(tmp_path: Path) -> None:
    """A process that starts anew looks at once; what it reads is seconds older than the answer."""
    host = with_doubt(tmp_path, f.UNANSWERED)
    host.server.lag = lambda: 275.0 if now() > 0.1 else 0.0
    host.server.looks = lambda key: Look(seconds=18.0) if key == WHO.key and 265.0 <= now() < 270.0 else f.SEEN
    first = host.process(A, people(2))
    asyncio.get_running_loop().call_later(265.0, first.kill)
    await first.run()
    empty = host.ask("SELECT count(*) FROM lookups WHERE finding LIKE 'nothing yet%'")
    await ended(host, 2)

    assert empty == [(1,)]
    assert code_of(host) == only_coupon(host)


@pytest.mark.parametrize("canary", [0, 1])
@on_virtual_time
async def test_a_record_that_shows_late_is_given_its_time(tmp_path: Path, canary: int) -> None:
    """A coupon exists when the grace ends at the latest, and shows when another has; the canary's showed at once."""
    late = lambda: GRACE - 3.0 if now() > 1.0 else 0.0  # noqa: E731 - the model server asks for a lag at each coupon
    host = with_doubt(tmp_path, processed_after(TIMEOUT + GRACE - 1.0), lag=late)

    assert settled(host, await ended(host, canary=canary))


@on_virtual_time
async def test_rows_of_a_dead_process_wait_for_the_grace_after_its_death(tmp_path: Path) -> None:
    host = with_doubt(tmp_path, arriving_after(GRACE + 2.0))
    process = host.process(A, people(3))
    asyncio.get_running_loop().call_later(5.0, process.kill)
    await process.run()
    looks = looked_at(host)
    ending = await ended(host)

    assert looks[0] >= 5.0 + GRACE
    assert settled(host, ending)


@pytest.mark.parametrize("boot", [1.0, 30 * 24 * 3600.0], ids=["a reboot", "another host, up for a month"])
@on_virtual_time
async def test_in_another_boot_the_grace_begins_anew(tmp_path: Path, boot: float) -> None:
    """The wall clock is an hour ahead, too: neither it nor the uptime tells how long ago the request was given up."""
    host = with_doubt(tmp_path, arriving_after(60.0, breaks=0.5))
    process = host.process(A, people(3))
    asyncio.get_running_loop().call_later(5.0, process.kill)
    await process.run()
    host.clock.reboot(boot)
    host.clock.step(3600.0)
    looks = looked_at(host)
    ending = await ended(host)

    assert looks[0] >= 5.0 + GRACE
    assert settled(host, ending)
    assert len(host.server.book.ours(host.server.customer(WHO.key))) == 1


@on_virtual_time
async def test_an_answer_ties_its_boots_clock_to_the_servers(tmp_path: Path) -> None:
    """No look-up was made in that boot, and the wall clock was set ahead: the first answer had told the time."""
    host = with_doubt(tmp_path, f.UNANSWERED)
    first = host.process(A, people(4), first=2, canary=0)
    asyncio.get_running_loop().call_later(5.0, first.kill)
    await first.run()
    host.clock.reboot()
    host.clock.step(3600.0)
    ending = await ended(host, 4)

    assert settled(host, ending)
    assert findings(host)[-1] == "found in Capillary's record"


@on_virtual_time
async def test_a_boot_in_which_the_server_never_answered_leaves_its_coupon_to_a_person(tmp_path: Path) -> None:
    """Nothing ties that boot's clock to the record, and the wall clock may have been set."""
    host = Host.with_server(tmp_path, fates=ByCustomer({mobile(each).key: (f.UNANSWERED,) for each in range(2)}))
    first = host.process(A, people(4), first=2, canary=0)
    asyncio.get_running_loop().call_later(5.0, first.kill)
    await first.run()
    host.clock.reboot()
    ending = await ended(host, 4)

    assert host.states().count("in_doubt") == 2
    assert ending.exit_code is ExitCode.DOUBT
    assert "the time of the request by the server's clock isn't known" in findings(host)[-1]


# --- what the row's last answer had been --------------------------------------------------------------------------


@on_virtual_time
async def test_already_held_after_a_doubt_that_came_to_nothing_is_held(tmp_path: Path) -> None:
    host = with_doubt(tmp_path, f.LOST, repeat=Repeat.REFUSED)
    host.server.give(WHO.key, SERIES, ago=86_400.0)
    ending = await ended(host)

    assert ending.exit_code is ExitCode.DONE
    assert host.states() == ["issued", "held", "issued"]


@on_virtual_time
async def test_already_held_after_a_doubt_is_issued_if_the_record_shows_our_coupon(tmp_path: Path) -> None:
    """Somebody on the way asked twice, and passed on the second answer."""
    host = with_doubt(
        tmp_path, f.LOST, Fate(answer=refusal(709, "Coupon processing failed: user already has a coupon"))
    )

    assert settled(host, await ended(host))


@on_virtual_time
async def test_a_rejection_after_a_doubt_waits_for_the_record(tmp_path: Path) -> None:
    host = with_doubt(tmp_path, f.LOST)
    host.server.refusals = {WHO.key: refusal(740, "customer is marked as fraud")}
    ending = await ended(host)

    assert ending.exit_code is ExitCode.FAILURES
    assert host.ask("SELECT state, error_code FROM rows WHERE number = 2") == [("rejected", "740")]
    assert findings(host).count("not in Capillary's record") == 2


@pytest.mark.parametrize(("fates", "attempts"), [([f.UNHEARD_OF], 4), ([f.LOST, f.ERROR_BEFORE], 2)])
@on_virtual_time
async def test_what_is_unknown_or_used_up_is_rejected_by_the_record_only(
    tmp_path: Path, fates: list[Fate], attempts: int
) -> None:
    host = with_doubt(tmp_path, *fates)
    await ended(host, max_attempts=attempts)

    assert host.states() == ["issued", "rejected", "issued"]
    assert findings(host)[-1] == "not in Capillary's record"


@pytest.mark.parametrize("fate", [f.FAILED_AFTER, f.SEARCH_BUSY])
@on_virtual_time
async def test_a_refusal_behind_which_a_coupon_was_issued_costs_no_second_one(tmp_path: Path, fate: Fate) -> None:
    """Called a rejection, it would be put back by a person's `retry`."""
    host = with_doubt(tmp_path, fate)
    ending = await ended(host)
    async with host.ledger() as ledger:
        put_back = await ledger.jobs.retry(A.id, ["709", "http-461"])
    again = await ended(host)

    assert put_back == 0
    assert settled(host, ending)
    assert again.exit_code is ExitCode.DONE


@pytest.mark.parametrize(
    ("canary", "seconds", "in_doubt"), [(1, 10.0, 5), (0, 2 * GRACE + 60.0, 60)], ids=["from the start", "after one"]
)
@on_virtual_time
async def test_a_file_whose_rows_are_refused_for_no_cause_ends_soon(
    tmp_path: Path, canary: int, seconds: float, in_doubt: int
) -> None:
    """The breaker waits for the record once, not for every row."""
    fates = {mobile(n).key: [f.FOR_NO_CAUSE] * 9 for n in range(1 - canary, 300)}
    host = Host.with_server(tmp_path, fates=ByCustomer(fates))
    ending = await ended(host, 300, canary=canary)

    assert ending.exit_code is ExitCode.STOPPED
    assert now() < seconds
    assert host.states().count("in_doubt") <= in_doubt
    assert len(host.server.book.coupons) == 1 - canary


@on_virtual_time
async def test_where_a_fifth_is_refused_for_no_cause_the_others_are_issued(tmp_path: Path) -> None:
    fates = {mobile(n).key: [f.FOR_NO_CAUSE] for n in range(1, 300, 5)}
    host = Host.with_server(tmp_path, fates=ByCustomer(fates))
    ending = await ended(host, 300, max_failures=Share(percent=100.0))

    assert ending.exit_code is ExitCode.FAILURES
    assert (host.states().count("issued"), host.states().count("rejected")) == (240, 60)
    assert now() < 60.0 + 5 * GRACE


# --- who may say so -----------------------------------------------------------------------------------------------


@on_virtual_time
async def test_a_reader_that_has_shown_nothing_settles_nothing(tmp_path: Path) -> None:
    host = Host.with_server(tmp_path, fates=ByCustomer({mobile(n).key: [f.LOST] for n in range(3)}))
    ending = await ended(host)

    assert ending.exit_code is ExitCode.DOUBT
    assert host.states() == ["in_doubt"] * 3


@on_virtual_time
async def test_a_job_of_a_single_doubtful_row_borrows_the_coupon_of_another_job(tmp_path: Path) -> None:
    """The coupon may be hours old: it proves the reader, and a found one is as safe as ever, or unclear."""
    host = with_doubt(tmp_path, f.LOST)
    await host.process(A, people(1)).run()
    ending = await host.process(spec("job-b"), rows_of([WHO])).run()

    assert isinstance(ending, Ending)
    assert ending.exit_code is ExitCode.DONE
    assert only_coupon(host)


@on_virtual_time
async def test_a_doubtful_canary_is_settled_when_a_later_row_proves_the_reader(tmp_path: Path) -> None:
    host = Host.with_server(tmp_path, fates=ByCustomer({mobile(0).key: [f.UNANSWERED]}))
    ending = await ended(host)

    assert ending.exit_code is ExitCode.DONE
    assert code_of(host, 1) == only_coupon(host, mobile(0))


@on_virtual_time
async def test_a_kind_of_identifier_is_proven_by_coupons_of_its_own_kind(tmp_path: Path) -> None:
    mail = Identifier(IdentifierKind.EMAIL, "a@example.com", "email:a@example.com")
    host = Host.with_server(tmp_path, fates=ByCustomer({mail.key: [f.LOST]}))
    ending = await host.process(A, rows_of([mobile(0), mail])).run()

    assert isinstance(ending, Ending)
    assert ending.exit_code is ExitCode.DOUBT
    assert host.states() == ["issued", "in_doubt"]


@on_virtual_time
async def test_where_reading_is_refused_the_run_says_so_goes_on_and_leaves_its_doubt(tmp_path: Path) -> None:
    host = with_doubt(tmp_path, f.UNANSWERED, looks=lambda _key: Look(problem=ReadProblem.REFUSED))
    process = host.process(A, people(3))
    ending = await process.run()

    assert isinstance(ending, Ending)
    assert ending.exit_code is ExitCode.DOUBT
    assert host.states() == ["issued", "in_doubt", "issued"]
    assert len([said for said in process.messages if "may not read" in said]) == 1


@on_virtual_time
async def test_a_customer_whom_the_record_does_not_know_is_not_absent(tmp_path: Path) -> None:
    host = with_doubt(tmp_path, f.LOST, unknown=frozenset({WHO.key}), tells_bearers=False)
    ending = await ended(host)

    assert ending.exit_code is ExitCode.DOUBT
    assert len(host.server.book.arrivals) == 2


@on_virtual_time
async def test_a_customer_whom_nobody_knows_is_absent_by_a_look_up_that_found_the_canarys(tmp_path: Path) -> None:
    host = with_doubt(tmp_path, f.LOST, unknown=frozenset({WHO.key}))
    ending = await ended(host)

    assert ending.exit_code is ExitCode.FAILURES
    assert host.ask("SELECT state, error_code FROM rows WHERE number = 2") == [("rejected", "701")]
    assert now() < 4 * (2 * GRACE + TIMEOUT)


@on_virtual_time
async def test_a_customer_without_coupons_is_absent_though_the_record_does_not_list_them(tmp_path: Path) -> None:
    host = with_doubt(tmp_path, f.LOST, unlisted=True)

    assert settled(host, await ended(host))
    assert host.ask("SELECT attempt FROM rows WHERE number = 2") == [(2,)]


class KnowsNobody(ModelServer):
    """Its look-up of bearers never finds anybody."""

    async def coupons_by_bearer(self, identifier: Identifier) -> Reading | Unreadable:
        found = await super().coupons_by_bearer(identifier)
        return replace(found, coupons=(), customer_id=None) if isinstance(found, Reading) else found


@on_virtual_time
async def test_a_look_up_that_has_found_nobody_yet_settles_nothing(tmp_path: Path) -> None:
    """It bears on the canary's customer, too: that nobody bears this is then no news."""
    clock = VirtualClock()
    fates = ByCustomer({WHO.key: [f.LOST]})
    host = Host(tmp_path, KnowsNobody(clock=clock, fates=fates, unlisted=True), clock)
    ending = await ended(host)

    assert ending.exit_code is ExitCode.DOUBT
    assert host.states() == ["issued", "in_doubt", "issued"]
    assert "hasn't yet shown a coupon" in findings(host)[-1]


@pytest.mark.parametrize(
    ("kind", "value", "canary"),
    [
        (IdentifierKind.MOBILE, "9800000001", "919800000009"),
        (IdentifierKind.EXTERNAL_ID, "3873472", "000003873473"),
        (IdentifierKind.EMAIL, "Asha@Example.com", "ravi@example.com"),
    ],
)
@on_virtual_time
async def test_that_nobody_bears_an_identifier_of_another_form_says_nothing(
    tmp_path: Path, kind: IdentifierKind, value: str, canary: str
) -> None:
    """The issue call may know a customer by what the look-up doesn't."""
    first, second = (Identifier(kind, each, f"{kind}:{each}") for each in (canary, value))
    host = Host.with_server(tmp_path, fates=ByCustomer({second.key: [f.UNANSWERED]}))
    host.server.hidden = frozenset({second.key})
    ending = await host.process(A, rows_of([first, second])).run()

    assert isinstance(ending, Ending)
    assert ending.exit_code is ExitCode.DOUBT
    assert host.states() == ["issued", "in_doubt"]


@pytest.mark.parametrize(
    ("ways", "because"),
    [
        ({"unknown": frozenset({WHO.key}), "tells_bearers": False}, "the customer isn't known"),
        ({"repeat": Repeat.NEW}, "2 coupons"),
    ],
)
@on_virtual_time
async def test_rows_that_nothing_can_settle_hold_up_the_end_for_two_graces(
    tmp_path: Path, ways: dict[str, Any], because: str
) -> None:
    host = with_doubt(tmp_path, replace(f.UNANSWERED, repeated=1.0), **ways)
    ending = await ended(host)

    assert ending.exit_code is ExitCode.DOUBT
    assert because in findings(host)[-1]
    assert now() < TIMEOUT + 2 * GRACE + 70.0
    began = now()
    again = await ended(host)
    assert again.exit_code is ExitCode.DOUBT
    assert now() - began < 30.0


@on_virtual_time
async def test_a_record_that_can_not_be_read_for_a_while_is_waited_for(tmp_path: Path) -> None:
    host = with_doubt(tmp_path, f.LOST)
    usual = host.server.looks
    host.server.looks = lambda key: Look(problem=ReadProblem.UNREADABLE) if 200 < now() < 500 else usual(key)

    assert settled(host, await ended(host))


@pytest.mark.parametrize("problem", [ReadProblem.UNREADABLE, ReadProblem.THROTTLED])
@on_virtual_time
async def test_a_look_up_that_fails_is_tried_again(tmp_path: Path, problem: ReadProblem) -> None:
    host = with_doubt(tmp_path, f.LOST)
    failing_looks(host, problem, 5)
    ending = await ended(host)

    assert settled(host, ending)
    assert findings(host)[:5] == [f"the look-up was {problem}, as scripted"] * 5


@on_virtual_time
async def test_a_429_on_a_look_up_pauses_sending_and_looking(tmp_path: Path) -> None:
    host = with_doubt(tmp_path, f.BROKEN_BEFORE, rate=60)
    looks: list[float] = []

    def look(key: str) -> Look:
        looks.append(now())
        throttled = key == WHO.key and len([at for at in looks if at > GRACE]) == 1
        return Look(problem=ReadProblem.THROTTLED, retry_after=45.0) if throttled else f.SEEN

    host.server.looks = look
    await ended(host, 250, rate=60)
    refused = next(at for at in looks if at > GRACE)

    assert not [at for at in looks if refused < at < refused + 45.0]
    assert not [each for each in host.server.book.arrivals if refused + 0.2 < each.at < refused + 45.0]


@on_virtual_time
async def test_many_rows_that_cannot_be_settled_hold_up_no_other(tmp_path: Path) -> None:
    """Customers whom the record doesn't know come first, more than are looked up at a time."""
    unknown = [mobile(n) for n in range(1, 131)]
    fates = {who.key: [f.BROKEN_BEFORE] for who in (*unknown, mobile(500))}
    nobody = frozenset(who.key for who in unknown)
    host = Host.with_server(tmp_path, unknown=nobody, tells_bearers=False, fates=ByCustomer(fates))
    rows = rows_of([mobile(0), *unknown, mobile(500)])
    await host.process(A, rows, max_doubt=Share(percent=100.0), grace=5.0, reconcile_for=150.0).run()

    assert host.states()[-1] == "issued"


# --- whose coupon it is -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [0.0, -420.0, 600.0])
@pytest.mark.parametrize("zone", [0.0, 19_800.0, -7.0])
@pytest.mark.parametrize("ways", [{}, {"legacy": True}, {"with_iso": True}])
@on_virtual_time
async def test_whatever_the_servers_clocks_say_the_right_coupon_is_found(
    tmp_path: Path, offset: float, zone: float, ways: dict[str, Any]
) -> None:
    """Older coupons of the series are another's, an hour old or ten seconds."""
    host = with_doubt(tmp_path, f.UNANSWERED, offset=offset, zone=zone, **ways)
    host.server.give(WHO.key, SERIES, ago=3600.0)
    host.server.give(WHO.key, SERIES, ago=10.0)

    assert settled(host, await ended(host))


@on_virtual_time
async def test_older_coupons_alone_are_no_coupon_of_ours(tmp_path: Path) -> None:
    host = with_doubt(tmp_path, f.LOST)
    host.server.give(WHO.key, SERIES, ago=10.0)

    assert settled(host, await ended(host))


@on_virtual_time
async def test_a_coupon_from_seconds_before_the_request_leaves_it_open(tmp_path: Path) -> None:
    host = with_doubt(tmp_path, f.LOST)

    def meddle(intent: Intent) -> None:
        if intent.row == 2:
            host.server.give(WHO.key, SERIES, ago=3.6)

    host.server.on_departure = meddle
    ending = await ended(host)

    assert ending.exit_code is ExitCode.DOUBT
    assert "created before the request" in findings(host)[-1]


@pytest.mark.parametrize(
    ("fate", "because"),
    [
        (replace(f.UNANSWERED, repeated=1.0), "2 coupons"),
        (processed_after(TIMEOUT + GRACE + 5.0), "after the request"),
    ],
)
@on_virtual_time
async def test_several_coupons_or_one_after_the_window_leave_it_open(tmp_path: Path, fate: Fate, because: str) -> None:
    host = with_doubt(tmp_path, fate)
    ending = await ended(host)

    assert ending.exit_code is ExitCode.DOUBT
    assert because in findings(host)[-1]


@on_virtual_time
async def test_another_stores_coupon_is_not_taken(tmp_path: Path) -> None:
    host = with_doubt(tmp_path, f.LOST)
    asyncio.get_running_loop().call_later(5.0, lambda: host.server.give(WHO.key, SERIES, store="store99"))
    await ended(host)

    assert host.states() == ["issued", "in_doubt", "issued"]


@pytest.mark.parametrize("repeat", [Repeat.GENERIC, Repeat.SAME])
@on_virtual_time
async def test_series_that_give_a_code_again_are_settled(tmp_path: Path, repeat: Repeat) -> None:
    host = with_doubt(tmp_path, f.UNANSWERED, repeat=repeat)

    assert settled(host, await ended(host))


@on_virtual_time
async def test_two_doubtful_attempts_end_with_one_coupon(tmp_path: Path) -> None:
    host = with_doubt(tmp_path, f.LOST, f.UNANSWERED)

    assert settled(host, await ended(host))


# --- the record's clock -------------------------------------------------------------------------------------------


@on_virtual_time
async def test_a_canary_that_was_slow_measures_nothing_and_a_quicker_answer_does(tmp_path: Path) -> None:
    fates = ByCustomer({mobile(0).key: [processed_after(20.0)], WHO.key: [f.UNANSWERED]})
    host = Host.with_server(tmp_path, fates=fates)

    assert settled(host, await ended(host))


@on_virtual_time
async def test_a_look_up_that_took_long_tells_no_time(tmp_path: Path) -> None:
    """The canary's read-back takes 18 s: the clock that it shows is 9 s older than its answer."""
    host = with_doubt(tmp_path, f.UNANSWERED)
    host.server.looks = lambda key: Look(seconds=18.0) if key == mobile(0).key else f.SEEN

    assert settled(host, await ended(host))


@on_virtual_time
async def test_a_wall_clock_that_is_set_meanwhile_changes_nothing(tmp_path: Path) -> None:
    host = with_doubt(tmp_path, f.UNANSWERED)
    looks = looked_at(host)
    asyncio.get_running_loop().call_later(40.0, host.clock.step, 7200.0)
    asyncio.get_running_loop().call_later(80.0, host.clock.step, -9000.0)
    ending = await ended(host)

    assert looks[0] >= TIMEOUT + GRACE
    assert settled(host, ending)


# --- excess -------------------------------------------------------------------------------------------------------


@on_virtual_time
async def test_a_coupon_that_comes_soon_after_the_grace_is_unclear_and_not_doubled(tmp_path: Path) -> None:
    """The second grace, meant for coupons that show late, catches some requests that took effect late."""
    host = with_doubt(tmp_path, processed_after(TIMEOUT + GRACE + 50.0))
    ending = await ended(host)

    assert ending.exit_code is ExitCode.DOUBT
    assert only_coupon(host)


@on_virtual_time
async def test_a_coupon_that_came_long_after_the_grace_is_excess(tmp_path: Path) -> None:
    """Outside of what promise 2 rests on: the row was sent again, and then the first request took effect."""
    host = with_doubt(tmp_path, TOO_LATE)
    first = await ended(host)
    await asyncio.sleep(100.0)
    failing_looks(host, ReadProblem.UNREADABLE, 2)  # the last read is tried again where it fails
    again = await ended(host)
    early, late = host.server.book.ours(host.server.customer(WHO.key))

    assert (first.exit_code, again.exit_code) == (ExitCode.DONE, ExitCode.DOUBT)
    assert code_of(host) == early.code
    assert host.ask("SELECT row, code FROM excess") == [(2, late.code)]


@on_virtual_time
async def test_a_late_coupon_is_excess_after_a_reboot_and_with_the_clock_set_back(tmp_path: Path) -> None:
    """By the wall clock the first request was never sent."""
    host = with_doubt(tmp_path, processed_after(5.0 + 2 * GRACE + 50.0, breaks=0.5))
    first = host.process(A, people(3))
    asyncio.get_running_loop().call_later(5.0, first.kill)
    await first.run()
    host.clock.reboot()
    await ended(host)
    host.clock.step(-3300.0)
    await asyncio.sleep(100.0)
    again = await ended(host)
    _, late = host.server.book.ours(host.server.customer(WHO.key))

    assert again.exit_code is ExitCode.DOUBT
    assert host.ask("SELECT row, code FROM excess") == [(2, late.code)]


@on_virtual_time
async def test_a_second_coupon_that_shows_at_last_is_excess(tmp_path: Path) -> None:
    """The request was delivered twice, and the record showed the first of the two only."""
    host = with_doubt(tmp_path, replace(f.UNANSWERED, repeated=1.0))
    host.server.lag = lambda: 200.0 if now() > 1.0 else 0.0
    first = await ended(host)
    await asyncio.sleep(100.0)
    again = await ended(host)
    shown, late = host.server.book.ours(host.server.customer(WHO.key))

    assert (first.exit_code, again.exit_code) == (ExitCode.DONE, ExitCode.DOUBT)
    assert code_of(host) == shown.code
    assert host.ask("SELECT row, code FROM excess") == [(2, late.code)]


@on_virtual_time
async def test_a_rejected_row_whose_coupon_came_after_all_is_excess(tmp_path: Path) -> None:
    host = with_doubt(tmp_path, TOO_LATE)
    await ended(host, max_attempts=1)
    await asyncio.sleep(100.0)
    again = await ended(host, max_attempts=1)

    assert host.states()[1] == "rejected"
    assert again.exit_code is ExitCode.DOUBT
    assert host.ask("SELECT row, code FROM excess") == [(2, only_coupon(host))]


@on_virtual_time
async def test_what_another_job_is_just_getting_for_the_customer_is_not_excess(tmp_path: Path) -> None:
    """The record shows the other job's coupon before the ledger has its answer."""
    host = with_doubt(tmp_path, f.UNANSWERED)
    await ended(host)
    host.server.fates = ByCustomer({WHO.key: [processed_after(0.1, back=20.0)]})
    more = asyncio.create_task(host.process(spec("job-b", again="more"), people(3), canary=0).run())
    await asyncio.sleep(5.0)
    again = await ended(host)
    await more

    assert (again.exit_code, again.excess) == (ExitCode.DONE, 0)


@on_virtual_time
async def test_a_coupon_that_the_customer_gets_days_later_is_not_excess(tmp_path: Path) -> None:
    host = with_doubt(tmp_path, f.UNANSWERED)
    await ended(host)
    await asyncio.sleep(3 * 86_400.0)
    host.server.give(WHO.key, SERIES)
    again = await ended(host)

    assert (again.exit_code, again.excess) == (ExitCode.DONE, 0)


@on_virtual_time
async def test_rows_that_nothing_can_settle_keep_no_other_from_the_last_read(tmp_path: Path) -> None:
    stranger = mobile(2)
    fates = {WHO.key: [TOO_LATE], stranger.key: [f.LOST]}
    host = Host.with_server(tmp_path, fates=ByCustomer(fates))
    host.server.looks = lambda key: Look(problem=ReadProblem.UNREADABLE) if key == stranger.key else f.SEEN
    ending = await ended(host, reconcile_for=350.0)

    assert host.states() == ["issued", "issued", "in_doubt"]
    assert ending.excess == 1
