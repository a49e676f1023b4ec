"""Which coupon a customer has who had one before: the choice, the bounds of reading, and how the ledger keeps it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bulk_issue import held
from bulk_issue.config import LedgerUrl
from bulk_issue.held import current
from bulk_issue.job import Ending
from bulk_issue.ledger import open_ledger
from bulk_issue.ledger.held import FORGOTTEN, UNREAD
from bulk_issue.model import Coupon, JobId, JobState, Lineage, Moment, Reading, RecordedCoupon
from bulk_issue.states import Event
from bulk_issue.states import RowState as S
from bulk_issue.testing import on_virtual_time
from tests.clocks import ManualClock
from tests.hosts import SERIES, Host, few_polls, rows_of, spec
from tests.test_ledger import JOB, Desk, mobile, row
from tests.test_ledger import spec as ledger_spec

NOW = 1_790_000_000.0
DAY = 86_400.0


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with few_polls():
        yield


# --- which of several -------------------------------------------------------------------------------------------


def recorded(code: str, age: float | None = DAY, **changes: Any) -> RecordedCoupon:
    plain = RecordedCoupon(code=code, series_id=SERIES, created=None if age is None else NOW - age, redemption_count=0)
    return replace(plain, **changes)


def chosen(*coupons: RecordedCoupon) -> str | Coupon:
    reading = Reading(
        coupons=coupons, endpoint="v2/customers/coupons", server_time=NOW, at=Moment(NOW, 5.0, "boot-1"), customer_id=77
    )
    found = current(reading, SERIES, NOW)
    return found.code if isinstance(found, Coupon) and found.customer_id == 77 else f"! {found}"


def test_the_newest_coupon_that_can_be_used_is_the_one() -> None:
    assert chosen(recorded("ONE")) == "ONE"
    assert chosen(recorded("OLD", 9 * DAY), recorded("NEW", DAY), recorded("OTHER", 0.0, series_id=SERIES + 1)) == "NEW"
    assert chosen(recorded("USED", 0.0, redemption_count=1), recorded("OLD", 9 * DAY)) == "OLD"
    past = recorded("PAST", 0.0, valid_till_date_time="2020-01-01T00:00:00Z")
    assert chosen(past, recorded("OLD", 9 * DAY, valid_till="2099-01-01")) == "OLD"
    assert chosen(recorded("SAME", None), recorded("SAME", None)) == "SAME"
    assert chosen(recorded("A", DAY, coupon_id=5), recorded("B", DAY, coupon_id=6)) == "B"


def test_where_the_record_leaves_it_open_no_code_is_given() -> None:
    assert chosen() == f"! {held.NONE_SHOWN}"
    assert chosen(recorded("OTHER", series_id=SERIES + 1)) == f"! {held.NONE_SHOWN}"
    assert chosen(recorded("WHOSE", series_id=None)) == f"! {held.NO_SERIES}"
    assert chosen(recorded("USED", redemption_count=2)) == f"! {held.NONE_USABLE}"
    assert chosen(recorded("A", None), recorded("B", DAY)) == f"! {held.NO_NEWEST}"
    assert chosen(recorded("A", DAY), recorded("B", DAY)) == f"! {held.NO_NEWEST}"


# --- the bounds -------------------------------------------------------------------------------------------------


async def ended(host: Host, n: int, **settings: Any) -> Ending:
    ending = await host.process(spec(), rows_of([mobile(each) for each in range(n)]), **settings).run()
    assert isinstance(ending, Ending), ending
    return ending


def codes(host: Host) -> dict[int, str]:
    return dict(host.ask("SELECT row, code FROM held ORDER BY row"))


@on_virtual_time
async def test_held_rows_are_read_for_a_bounded_time_and_the_next_run_goes_on(tmp_path: Path) -> None:
    host = Host.with_server(tmp_path)
    given = {n: host.server.give(mobile(n).key, SERIES, ago=1_000_000.0).code for n in range(1, 31)}
    began = asyncio.get_running_loop().time()
    await ended(host, 31, look_first=True, reconcile_for=0.0)
    assert codes(host) == {}
    assert asyncio.get_running_loop().time() - began < 600

    ending = await host.process(spec(), rows_of([mobile(each) for each in range(31)])).run()
    assert isinstance(ending, Ending)
    assert codes(host) == {n + 1: code for n, code in given.items()}
    assert ending.tally == {S.ISSUED: 1, S.HELD: 30}


@on_virtual_time
async def test_nothing_is_kept_of_a_customer_whom_the_record_doesnt_show(tmp_path: Path) -> None:
    host = Host.with_server(tmp_path)
    host.server.give(mobile(1).key, SERIES, ago=1_000_000.0)
    await ended(host, 2, look_first=True, reconcile_for=0.0)
    host.server.unknown = frozenset({mobile(1).key})
    await host.process(spec(), rows_of([mobile(each) for each in range(2)])).run()
    assert codes(host) == {}


# --- how the ledger keeps it ------------------------------------------------------------------------------------


@pytest.fixture
async def desk(place: Path | LedgerUrl) -> AsyncIterator[Desk]:
    ledger = await open_ledger(place)
    yield Desk(ledger, ManualClock(), place)
    await ledger.close()


OLD = Coupon(code="OldOne1", series_id=544770, valid_till="2036-05-09", coupon_id=9, customer_id=77)


async def one_held(desk: Desk, job: str = JOB, **options: Any) -> None:
    """A job with one row whose customer had a coupon before, and one that is issued."""
    await desk.register([row(1), row(2)], ledger_spec(job, **options))
    hold = await desk.hold(job)
    first, second = (await desk.begin(hold)).intents
    await desk.finish(desk.settlement(first, Event.HELD))
    await desk.issue(second, "CODE2")
    await desk.release(hold)


async def keep(desk: Desk, coupon: Coupon | None = OLD, because: str = "", job: str = JOB) -> None:
    (unread,) = await desk.ledger.held.unread(JobId(job), None, 10)
    await desk.ledger.held.keep(unread, coupon, because, desk.clock.now())


async def test_a_held_row_shows_what_is_kept_of_its_customers_coupon(desk: Desk) -> None:
    await one_held(desk)
    shown, _ = desk.ledger.views.results(JOB)
    assert (shown.code, shown.warnings) == ("", (UNREAD,))
    assert shown.bearer == Lineage(job=JOB, row=1)

    (unread,) = await desk.ledger.held.unread(JOB, None, 10)
    assert (unread.row, unread.identifier, unread.series_id) == (1, mobile(1), 544770)
    assert not await desk.ledger.held.unread(JOB, Lineage(job=JOB, row=1), 10)
    await desk.ledger.held.keep(unread, None, "why", desk.clock.now())
    shown, _ = desk.ledger.views.results(JOB)
    assert (shown.code, shown.warnings) == ("", ("why",))
    assert not await desk.ledger.held.unread(JOB, None, 10)

    await desk.ledger.held.keep(unread, OLD, "", desk.clock.now())
    shown, issued = desk.ledger.views.results(JOB)
    assert (shown.code, shown.customer_id, shown.coupon_id, shown.offer.valid_till) == ("OldOne1", 77, 9, "2036-05-09")
    assert (shown.state, shown.warnings, shown.issued_at) == (S.HELD, (), None)
    assert (issued.code, issued.bearer) == ("CODE2", Lineage(job=JOB, row=2))


async def test_a_held_coupon_is_no_claim_and_no_code_of_the_customers_rows(desk: Desk) -> None:
    await one_held(desk)
    before = desk.look("SELECT * FROM claims")
    await keep(desk)

    assert desk.look("SELECT * FROM claims") == before
    assert desk.look("SELECT count(*) FROM excess") == [(0,)]
    # the same customer in doubt under another name: the old coupon may be the one that comes of it (it is given again)
    await desk.register([row(1)], ledger_spec("job-b", again="diwali"))
    await desk.doubt(await desk.one(await desk.hold("job-b")))
    (doubt,) = await desk.doubts("job-b")
    assert doubt.known_codes == frozenset()
    assert await desk.ledger.doubts.settle(doubt, Event.FOUND, OLD, "found", NOW, desk.clock.now())
    # nothing reads a held coupon back
    assert [each.row for each in await desk.ledger.doubts.with_coupon(JOB, None, 10)] == [2]


async def test_duplicates_of_another_job_and_rerun_records_bear_the_same_code(desk: Desk) -> None:
    await one_held(desk)
    await keep(desk)
    await desk.register([row(1), row(2), row(3, mobile(1))], ledger_spec("job-b"))
    assert not (await desk.begin(await desk.hold("job-b"))).intents

    shown = list(desk.ledger.views.results(JobId("job-b")))
    assert [each.state for each in shown] == [S.DUPLICATE] * 3
    assert [each.code for each in shown] == ["OldOne1", "CODE2", "OldOne1"]
    assert {each.bearer for each in shown} == {Lineage(job=JOB, row=1), Lineage(job=JOB, row=2)}


async def test_a_purge_forgets_held_coupons_and_find_still_tells_where_a_code_was(desk: Desk) -> None:
    await one_held(desk)
    await keep(desk)
    (seen,) = desk.ledger.history.sightings([], "OLDONE1")
    assert (seen.row, seen.code, seen.state) == (1, "OldOne1", S.HELD)
    await desk.register([row(1)], ledger_spec("job-b"))
    await desk.begin(await desk.hold("job-b"))
    await desk.ledger.jobs.release(await desk.hold(), JobState.ENDED, "", desk.clock.now())
    await desk.ledger.care.purge(desk.clock.now().wall + 1, "me", desk.clock.now())

    assert "OldOne1" not in str(desk.look("SELECT * FROM held"))
    assert [(one.row, one.code, one.purged) for one in desk.ledger.history.sightings([], "OldOne1")] == [(1, "", True)]
    (duplicate,) = desk.ledger.views.results(JobId("job-b"))
    assert (duplicate.code, duplicate.warnings) == ("", (FORGOTTEN,))
