"""Who takes part in a job on several hosts: what the docstrings of `ports.Members` guarantee, on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from bulk_issue.config import LedgerUrl
from bulk_issue.errors import ConfigError, JobHalted, JobHeld, LedgerError, LedgerUnavailable
from bulk_issue.ledger import SqliteLedger, open_ledger
from bulk_issue.model import JobState, Moment
from bulk_issue.ports import Budget, Hold, Landed, Member, Part, Wait
from bulk_issue.states import Event
from bulk_issue.states import RowState as S
from tests.clocks import ManualClock
from tests.cluster import Cluster
from tests.test_ledger import BUDGET, JOB, Desk, row, said, spec

LONGEST = replace(BUDGET, lingers=35.0)


@pytest.fixture
async def desk(cluster: Cluster) -> AsyncIterator[Desk]:
    place = cluster.url(cluster.database())
    ledger = await open_ledger(place)
    yield Desk(ledger, ManualClock(), place)
    await ledger.close()


@pytest.fixture
async def other(desk: Desk) -> AsyncIterator[SqliteLedger]:
    """The ledger as another host opens it."""
    opened = await desk.another()
    yield opened
    await opened.close()


async def seen(desk: Desk, by: SqliteLedger, hold: Hold) -> Member:
    """The one other member that this one finds."""
    (member,) = (await by.members.beat(hold, desk.clock.now())).others
    return member


async def test_a_share_begins_rows_beside_the_lead_and_none_twice(desk: Desk, other: SqliteLedger) -> None:
    await desk.register(row(n) for n in range(1, 7))
    lead = await desk.hold()
    share = await other.members.share(JOB, BUDGET, desk.clock.now())
    mine = (await desk.begin(lead, 2)).intents
    theirs = (await other.work.begin(share, 2, BUDGET, desk.clock.now(), 5.0)).intents

    assert [intent.row for intent in (*mine, *theirs)] == [1, 2, 3, 4]
    assert {intent.holder for intent in theirs} == {share.token}
    assert await desk.issue(theirs[0], "CODE3") is Landed.LANDED


async def test_members_see_each_other_and_who_leads(desk: Desk, other: SqliteLedger) -> None:
    await desk.register([row(1)])
    lead = await desk.hold()
    share = await other.members.share(JOB, BUDGET, desk.clock.now())
    found = await other.members.beat(share, desk.clock.now())

    assert [(member.part, member.token) for member in found.others] == [(Part.LEAD, lead.token)]
    assert found.led
    assert (await seen(desk, desk.ledger, lead)).part is Part.SHARE
    first = await seen(desk, other, share)
    await desk.ledger.members.beat(lead, desk.clock.now())
    assert (await seen(desk, other, share)).beat > first.beat
    await other.members.leave(share, "", desk.clock.now())
    assert not (await desk.ledger.members.beat(lead, desk.clock.now())).others


async def test_a_lost_share_begins_nothing_and_only_its_rows_are_in_doubt(desk: Desk, other: SqliteLedger) -> None:
    await desk.register(row(n) for n in range(1, 6))
    lead = await desk.hold()
    share = await other.members.share(JOB, BUDGET, desk.clock.now())
    await desk.begin(lead, 1)
    (flying, late) = (await other.work.begin(share, 2, BUDGET, desk.clock.now(), 5.0)).intents
    assert await desk.ledger.members.lose(lead, await seen(desk, desk.ledger, lead), LONGEST, desk.clock.now())

    assert await desk.states() == [S.IN_FLIGHT, S.IN_DOUBT, S.IN_DOUBT, S.PENDING, S.PENDING]
    with pytest.raises(JobHeld):
        await other.work.begin(share, 1, BUDGET, desk.clock.now(), 5.0)
    with pytest.raises(JobHeld):
        await other.members.beat(share, desk.clock.now())
    assert not await desk.ledger.doubts.due(JOB, desk.clock.forward(34.9), 10)
    assert len(await desk.ledger.doubts.due(JOB, desk.clock.forward(0.2), 10)) == 2
    assert await desk.issue(flying, "CODE2") is Landed.LANDED  # late, and its own
    assert (await desk.finish(desk.settlement(late, Event.NOT_PROCESSED)))[0] is Landed.STALE


async def test_whoever_has_beaten_since_is_not_lost(desk: Desk, other: SqliteLedger) -> None:
    await desk.register([row(1)])
    lead = await desk.hold()
    share = await other.members.share(JOB, BUDGET, desk.clock.now())
    member = await seen(desk, desk.ledger, lead)
    await other.members.beat(share, desk.clock.now())

    assert not await desk.ledger.members.lose(lead, member, LONGEST, desk.clock.now())
    assert (await other.work.begin(share, 1, BUDGET, desk.clock.now(), 5.0)).intents


async def free(ledger: SqliteLedger, desk: Desk) -> Hold | None:
    """The job, if its hold is free by now."""
    with suppress(JobHeld):
        return await ledger.jobs.hold(JOB, LONGEST, desk.clock.now())
    return None


async def test_a_lead_that_stands_still_is_replaced_though_its_session_lives(desk: Desk, other: SqliteLedger) -> None:
    """SIGSTOP, a frozen virtual machine: the advisory lock would be held for ever."""
    await desk.register(row(n) for n in range(1, 5))
    old = await desk.hold()
    third = await desk.another()
    share = await other.members.share(JOB, BUDGET, desk.clock.now())
    (theirs,) = (await other.work.begin(share, 1, BUDGET, desk.clock.now(), 5.0)).intents
    (flying,) = (await desk.begin(old, 1)).intents
    with pytest.raises(JobHeld):
        await third.jobs.hold(JOB, LONGEST, desk.clock.now())
    assert await other.members.lose(share, await seen(desk, other, share), LONGEST, desk.clock.now())
    assert not (await other.members.beat(share, desk.clock.now())).led

    while not (lead := await free(third, desk)):
        pass  # its session is being ended
    assert lead.recovered == 1
    assert await desk.states() == [S.IN_FLIGHT, S.IN_DOUBT, S.PENDING, S.PENDING]  # the living share's row is its own
    with pytest.raises(LedgerUnavailable):  # its session was ended
        await desk.begin(old)
    with pytest.raises(JobHeld):
        await desk.begin(old)
    assert await desk.issue(theirs, "CODE1") is Landed.LANDED
    assert await desk.issue(flying, "CODE2") is Landed.LANDED
    await third.close()


async def test_nobody_begins_a_row_of_a_halted_job_until_its_lead_has_ended_it(desk: Desk, other: SqliteLedger) -> None:
    await desk.register([row(1), row(2)])
    lead = await desk.hold()
    share = await other.members.share(JOB, BUDGET, desk.clock.now())
    await other.members.halt(share, "the series has expired", "Ask for more.")
    for ledger, hold in ((desk.ledger, lead), (other, share)):
        with pytest.raises(JobHalted, match="expired") as caught:
            await ledger.work.begin(hold, 1, BUDGET, desk.clock.now(), 5.0)
        assert caught.value.hint == "Ask for more."
    await desk.release(lead)
    with pytest.raises(JobHeld):
        await other.work.begin(share, 1, BUDGET, desk.clock.now(), 5.0)
    await other.members.halt(share, "too late", "")

    assert (await desk.begin(await desk.hold(), 2)).wait is None


async def test_a_lead_that_lets_go_leaves_the_job_to_the_others(desk: Desk, other: SqliteLedger) -> None:
    await desk.register([row(1)])
    await desk.ledger.jobs.defer(JOB, 2)
    lead = await desk.hold()
    share = await other.members.share(JOB, BUDGET, desk.clock.now())
    await desk.ledger.jobs.release(lead, JobState.RUNNING, "", desk.clock.now())

    assert not (await other.members.beat(share, desk.clock.now())).led
    assert (await other.work.begin(share, 1, BUDGET, desk.clock.now(), 5.0)).intents
    assert desk.look("SELECT workers FROM jobs") == [(2,)]


async def test_what_another_host_gave_up_counts_from_when_the_lead_finds_it(desk: Desk, other: SqliteLedger) -> None:
    """Two hosts' wall clocks may be minutes apart: a grace that was cut short would be a second coupon."""
    await desk.register([row(1)])
    lead = await desk.hold()
    share = await other.members.share(JOB, BUDGET, desk.clock.now())
    (intent,) = (await other.work.begin(share, 1, BUDGET, desk.clock.now(), 5.0)).intents
    unclear = desk.settlement(intent, Event.UNCLEAR, answered=False)
    await desk.finish(replace(unclear, at=Moment(desk.clock.wall - 600.0, 3.0, "another host's boot")))

    assert not await desk.ledger.doubts.due(JOB, desk.clock.now(), 10)
    await desk.ledger.members.beat(lead, desk.clock.now())
    (doubt,) = await desk.ledger.doubts.due(JOB, desk.clock.now(), 10)
    assert doubt.given_up == desk.clock.now()
    assert (await other.members.beat(share, desk.clock.now())).doubts == 1


async def test_all_who_take_part_keep_to_one_limit(desk: Desk, other: SqliteLedger) -> None:
    await desk.register([row(1)])
    await desk.hold()
    for budget in (replace(BUDGET, rate=200), replace(BUDGET, account="host#nobody")):
        with pytest.raises(ConfigError, match=r"100 requests per 60 s|another account"):
            await other.members.share(JOB, budget, desk.clock.now())


async def test_a_stopped_job_that_is_deferred_is_ready_again(desk: Desk) -> None:
    await desk.register([row(1)])
    await desk.release(await desk.hold())
    await desk.ledger.jobs.defer(JOB, 3)
    found = await desk.ledger.jobs.find(JOB)

    assert found is not None
    assert (found.state, found.workers) == (JobState.READY, 3)


async def test_a_file_has_no_members(tmp_path: Path) -> None:
    ledger = await open_ledger(tmp_path / "ledger.db")
    assert not ledger.members.several
    await ledger.close()


# --- whoever goes on doesn't know how long the lost one's requests take -------------------------------------------


PATIENT = replace(BUDGET, lingers=65.0)


async def given_up_in(desk: Desk, by: SqliteLedger) -> float:
    """Seconds until the one row in doubt counts as given up."""
    due = await by.doubts.next_due(JOB)
    assert due is not None
    assert due.boot_id == desk.clock.boot_id
    return due.boot - desk.clock.boot


async def test_a_lost_shares_requests_are_given_up_by_its_own_time_out(desk: Desk, other: SqliteLedger) -> None:
    await desk.register([row(1)])
    lead = await desk.hold(budget=LONGEST)
    share = await other.members.share(JOB, PATIENT, desk.clock.now())
    await other.work.begin(share, 1, PATIENT, desk.clock.now(), 5.0)
    assert await desk.ledger.members.lose(lead, await seen(desk, desk.ledger, lead), LONGEST, desk.clock.now())
    assert await given_up_in(desk, desk.ledger) == 65.0
    await desk.ledger.jobs.release(lead, JobState.RUNNING, "", desk.clock.now())

    elsewhere = Desk(await desk.another(), ManualClock(boot=9.0, boot_id="boot-2"), desk.place)
    await elsewhere.hold(budget=LONGEST)
    assert await given_up_in(elsewhere, elsewhere.ledger) == 65.0
    await elsewhere.ledger.close()


@pytest.mark.parametrize(("its", "mine"), [(PATIENT, LONGEST), (LONGEST, PATIENT)])
async def test_a_dead_leads_requests_are_given_up_by_the_longer_time_out(
    desk: Desk, other: SqliteLedger, its: Budget, mine: Budget
) -> None:
    await desk.register([row(1)])
    await desk.begin(await desk.hold(budget=its), 1, its)
    await let_go(desk)
    await other.jobs.hold(JOB, mine, desk.clock.now())

    assert await given_up_in(desk, other) == 65.0


async def let_go(desk: Desk) -> None:
    """As the process' death lets its job go."""
    await desk.ledger._db.call(lambda: desk.ledger._db.holders.free(JOB))


@pytest.mark.parametrize("deed", ["hold", "lose", "beat", "reopen"])
async def test_waiting_for_the_ledger_cuts_no_grace_short(
    cluster: Cluster, desk: Desk, other: SqliteLedger, deed: str
) -> None:
    """Meanwhile the others went on: their requests were given up after the moment when the wait began."""
    await desk.register([row(1)])
    lead = await desk.hold(budget=LONGEST)
    share = await other.members.share(JOB, LONGEST, desk.clock.now())
    (intent,) = (await other.work.begin(share, 1, LONGEST, desk.clock.now(), 5.0)).intents
    member, now = await seen(desk, desk.ledger, lead), desk.clock.now()
    waits: Coroutine[Any, Any, object]
    match deed:
        case "lose":
            waits = desk.ledger.members.lose(lead, member, LONGEST, now)
        case "beat":
            unclear = desk.settlement(intent, Event.UNCLEAR, answered=False)
            await desk.finish(replace(unclear, at=Moment(now.wall, 3.0, "another host's boot")))
            waits = desk.ledger.members.beat(lead, now)
        case _:
            await other.members.leave(share, "", now)
            await let_go(desk)
            waits = other.jobs.hold(JOB, LONGEST, now) if deed == "hold" else other.care.reopen(now)
    assert isinstance(desk.place, LedgerUrl)
    with psycopg.connect(desk.place.url) as someone:
        someone.execute("SELECT pg_advisory_xact_lock(hashtextextended(current_schema() || '/bulk-issue', 0))")
        waiting = asyncio.create_task(waits)
        look = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        while await asyncio.to_thread(cluster.sql, look) == "0":
            pass  # each look takes its time
        desk.clock.forward(8.0)
    await waiting

    assert await given_up_in(desk, desk.ledger) == (0.0 if deed == "beat" else 35.0)


# --- one limit ----------------------------------------------------------------------------------------------------


async def test_a_share_keeps_to_the_limit_that_another_lead_gave_the_account(desk: Desk, other: SqliteLedger) -> None:
    await desk.register(row(n) for n in range(1, 50))
    await desk.register([row(n) for n in range(50, 60)], spec("job-b"))
    lead = await desk.hold()
    share = await other.members.share(JOB, BUDGET, desk.clock.now())
    await desk.ledger.jobs.release(lead, JobState.RUNNING, "", desk.clock.now())
    lead = await desk.hold("job-b", replace(BUDGET, rate=10))

    assert len((await other.work.begin(share, 40, BUDGET, desk.clock.now(), 5.0)).intents) == 10
    await desk.release(lead)
    await desk.hold(budget=replace(BUDGET, per=30.0))
    with pytest.raises(ConfigError, match=r"100 requests per 30.0 s now"):
        await other.work.begin(share, 1, BUDGET, desk.clock.now(), 5.0)


async def test_a_rate_that_was_raised_is_no_shares_that_agreed_to_the_lower_one(
    desk: Desk, other: SqliteLedger
) -> None:
    few = replace(BUDGET, rate=10)
    await desk.register(row(n) for n in range(1, 50))
    lead = await desk.hold(budget=few)
    share = await other.members.share(JOB, few, desk.clock.now())
    await desk.ledger.jobs.release(lead, JobState.RUNNING, "", desk.clock.now())
    await desk.hold()

    assert len((await other.work.begin(share, 40, few, desk.clock.now(), 5.0)).intents) == 10


async def test_an_account_that_nobody_has_run_with_shares_in_nothing(desk: Desk, other: SqliteLedger) -> None:
    await desk.register([row(1)])
    await desk.hold()
    await other.jobs.account("host#other", "100001")
    with pytest.raises(ConfigError, match="another account"):
        await other.members.share(JOB, replace(BUDGET, account="host#other"), desk.clock.now())


# --- what people do meanwhile -------------------------------------------------------------------------------------


async def test_nobody_decides_on_a_row_whose_request_may_be_on_the_wire(desk: Desk, other: SqliteLedger) -> None:
    await desk.register([row(1), row(2)])
    lead = await desk.hold()
    share = await other.members.share(JOB, LONGEST, desk.clock.now())
    await other.work.begin(share, 1, LONGEST, desk.clock.now(), 5.0)
    assert await desk.ledger.members.lose(lead, await seen(desk, desk.ledger, lead), LONGEST, desk.clock.now())
    await desk.release(lead)
    decide = other.doubts.decide
    for host in (desk.clock.now(), Moment(desk.clock.wall, 3.0, "another host's boot")):
        with pytest.raises(LedgerError, match="on the wire"):
            await decide([said(1, None)], "ann", "", host)
    assert await desk.states() == [S.IN_DOUBT, S.PENDING]

    assert await decide([said(1, None)], "ann", "", desk.clock.forward(35.0)) == 1


async def test_a_halt_that_no_lead_took_in_is_over_when_a_person_defers_or_runs_again(
    desk: Desk, other: SqliteLedger
) -> None:
    await desk.register([row(1), row(2)])
    await desk.ledger.jobs.defer(JOB, 2)

    async def halted() -> None:
        lead = await desk.ledger.jobs.hold(JOB, BUDGET, desk.clock.now(), anew=False)
        share = await other.members.share(JOB, BUDGET, desk.clock.now())
        await other.members.halt(share, "the series has expired", "")
        await desk.ledger.jobs.release(lead, JobState.RUNNING, "", desk.clock.now())  # SIGTERM, before it saw that
        await other.members.leave(share, "", desk.clock.now())

    await halted()
    worker = await desk.ledger.jobs.hold(JOB, BUDGET, desk.clock.now(), anew=False)
    with pytest.raises(JobHalted):  # nobody said that it is over
        await desk.begin(worker, 1)
    await other.jobs.defer(JOB, 3)  # nor that what the lead is about to take in is
    with pytest.raises(JobHalted):
        await desk.begin(worker, 1)
    await desk.ledger.jobs.release(worker, JobState.RUNNING, "", desk.clock.now())
    await desk.ledger.jobs.defer(JOB, 2)
    worker = await desk.ledger.jobs.hold(JOB, BUDGET, desk.clock.now(), anew=False)
    assert (await desk.begin(worker, 1)).intents
    await desk.release(worker)

    await halted()
    assert (await desk.begin(await desk.hold(), 1)).intents


async def test_reopening_is_refused_while_shares_go_on_and_gives_up_when_nothing_can_be_on_its_way(
    desk: Desk, other: SqliteLedger
) -> None:
    await desk.register([row(1)])
    lead = await desk.hold(budget=LONGEST)
    share = await other.members.share(JOB, PATIENT, desk.clock.now())
    await other.work.begin(share, 1, PATIENT, desk.clock.now(), 5.0)
    await desk.ledger.jobs.release(lead, JobState.RUNNING, "", desk.clock.now())
    with pytest.raises(JobHeld):
        await desk.ledger.care.reopen(desk.clock.now())
    assert await desk.states() == [S.IN_FLIGHT]
    desk.look("UPDATE runs SET beat = beat - 16 RETURNING 1")
    await desk.ledger.care.reopen(desk.clock.now())

    assert await given_up_in(desk, desk.ledger) == 65.0


async def test_a_share_of_a_job_that_is_cancelled_finds_nothing_to_begin(desk: Desk, other: SqliteLedger) -> None:
    await desk.register([row(1), row(2)])
    await desk.hold()
    share = await other.members.share(JOB, BUDGET, desk.clock.now())
    (flying,) = (await other.work.begin(share, 1, BUDGET, desk.clock.now(), 5.0)).intents
    await desk.ledger.jobs.cancel(JOB)

    assert (await other.work.begin(share, 1, BUDGET, desk.clock.now(), 5.0)).wait is Wait.DRAINED
    assert await desk.issue(flying, "CODE1") is Landed.LANDED
