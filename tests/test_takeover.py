"""Another run takes a job over while the old one may be alive: what `ports.Jobs.hold` guarantees, on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import suppress
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from bulk_issue.app.workers import set_up
from bulk_issue.config import LedgerUrl
from bulk_issue.errors import ConfigError, JobHeld, LedgerError, LedgerUnavailable
from bulk_issue.ledger import SqliteLedger, open_ledger
from bulk_issue.model import JobState, Moment
from bulk_issue.ports import Budget, Hold, Landed
from bulk_issue.ports.views import LOST_AFTER
from bulk_issue.states import Event
from bulk_issue.states import RowState as S
from tests.clocks import ManualClock
from tests.cluster import Cluster
from tests.test_ledger import BUDGET, JOB, Desk, row, said, spec

LONGEST, PATIENT = replace(BUDGET, lingers=35.0), replace(BUDGET, lingers=65.0)
ELSEWHERE = "another host's boot"


@pytest.fixture
def name(cluster: Cluster) -> str:
    return cluster.database()


@pytest.fixture
async def desk(cluster: Cluster, name: str) -> AsyncIterator[Desk]:
    place = cluster.url(name)
    ledger = await open_ledger(place)
    yield Desk(ledger, ManualClock(), place)
    await ledger.close()


@pytest.fixture
async def other(desk: Desk) -> AsyncIterator[SqliteLedger]:
    """The ledger as another host opens it."""
    opened = await desk.another()
    yield opened
    await opened.close()


async def let_go(desk: Desk) -> None:
    """As its session's end lets a job go, the process' death among the reasons."""
    await desk.ledger._db.call(lambda: desk.ledger._db.holders.free(JOB))


async def given_up_in(desk: Desk, by: SqliteLedger) -> float:
    """Seconds until the one row in doubt counts as given up."""
    due = await by.doubts.next_due(JOB)
    assert due is not None
    assert due.boot_id == desk.clock.boot_id
    return due.boot - desk.clock.boot


async def test_a_run_that_was_replaced_begins_nothing_and_settles_only_its_own_rows(
    desk: Desk, other: SqliteLedger
) -> None:
    await desk.register(row(n) for n in range(1, 5))
    old = await desk.hold(budget=LONGEST)
    flying, late = (await desk.begin(old, 2)).intents
    await let_go(desk)
    new = await other.jobs.hold(JOB, BUDGET, desk.clock.now())

    assert new.recovered == 2
    assert await desk.states() == [S.IN_DOUBT, S.IN_DOUBT, S.PENDING, S.PENDING]
    with pytest.raises(JobHeld, match="taken over"):
        await desk.begin(old, 1)
    with pytest.raises(JobHeld, match="taken over"):
        await desk.ledger.jobs.confirm(old)
    assert not await desk.ledger.doubts.due(JOB, desk.clock.forward(34.9), 10)
    assert len(await desk.ledger.doubts.due(JOB, desk.clock.forward(0.2), 10)) == 2
    assert await desk.issue(flying, "CODE1") is Landed.LANDED  # late, and its own
    assert (await desk.finish(desk.settlement(late, Event.NOT_PROCESSED)))[0] is Landed.STALE
    assert not await desk.ledger.jobs.release(old, JobState.STOPPED, "as asked", desk.clock.now(), 4)
    await other.jobs.confirm(new)
    found = await other.jobs.find(JOB)
    assert found is not None
    assert found.state is JobState.RUNNING


async def test_who_held_the_job_before_gets_its_lock_back_without_its_rows(desk: Desk, other: SqliteLedger) -> None:
    """The server restarts, another run takes the job and ends; the first one reconnects, and finds the lock free."""
    await desk.register([row(1), row(2)])
    old = await desk.hold()
    await let_go(desk)
    new = await other.jobs.hold(JOB, BUDGET, desk.clock.now())
    await other.jobs.release(new, JobState.STOPPED, "", desk.clock.now())
    await desk.ledger._db.call(lambda: desk.ledger._db.holders.take(JOB))

    with pytest.raises(JobHeld, match="taken over"):
        await desk.begin(old, 1)
    with pytest.raises(JobHeld, match="taken over"):
        await desk.ledger.jobs.confirm(old)


async def free(ledger: SqliteLedger, desk: Desk) -> Hold | None:
    """The job, if its hold is free by now."""
    with suppress(JobHeld):
        return await ledger.jobs.hold(JOB, LONGEST, desk.clock.now())
    return None


async def a_worker(cluster: Cluster, name: str, seconds_ago: float) -> int:
    """A worker that the engine saw last so long ago, by its number."""
    await set_up(cluster.url(name, "bulk_issue_owner"))
    seen = f"now() - interval '{seconds_ago} s'"
    made = f"INSERT INTO bulk_issue.procrastinate_workers (last_heartbeat) VALUES ({seen}) RETURNING id"
    worker = int(cluster.sql(made, name))
    cluster.sql(
        f"INSERT INTO bulk_issue.bulk_issue_workers VALUES ({worker}, '{BUDGET.account}', 'there', 7, now())", name
    )
    return worker


async def test_a_worker_that_stands_still_is_replaced_though_its_session_lives(
    cluster: Cluster, name: str, desk: Desk, other: SqliteLedger
) -> None:
    """SIGSTOP, a frozen virtual machine: the advisory lock would be held for ever."""
    await desk.register(row(n) for n in range(1, 4))
    worker = await a_worker(cluster, name, LOST_AFTER + 1)
    old = await desk.ledger.jobs.hold(JOB, BUDGET, desk.clock.now(), worker=worker)
    (flying,) = (await desk.begin(old, 1)).intents
    (shown,) = other.views.workers()
    assert (shown.job, shown.lost, shown.host) == (JOB, True, "there")
    assert await free(other, desk) is None
    await other.jobs.evict(BUDGET.account, LOST_AFTER)
    async with asyncio.timeout(60.0):
        while not (new := await free(other, desk)):
            pass  # its session is being ended

    assert new.recovered == 1
    with pytest.raises(LedgerUnavailable):  # its session was ended
        await desk.begin(old)
    with pytest.raises(JobHeld):
        await desk.begin(old)
    assert await desk.issue(flying, "CODE2") is Landed.LANDED


@pytest.mark.parametrize("who", ["a worker that the engine sees", "a person"])
async def test_nobody_else_is_evicted(cluster: Cluster, name: str, desk: Desk, other: SqliteLedger, who: str) -> None:
    await desk.register([row(1)])
    worker = await a_worker(cluster, name, 0.0)
    hold = await desk.ledger.jobs.hold(JOB, BUDGET, desk.clock.now(), worker=worker if who != "a person" else None)
    for account in (BUDGET.account, "host#nobody"):
        await other.jobs.evict(account, LOST_AFTER)

    assert await free(other, desk) is None
    assert (await desk.begin(hold)).intents


async def test_a_stopped_job_that_is_deferred_is_ready_again(desk: Desk) -> None:
    await desk.register([row(1)])
    await desk.release(await desk.hold())
    await desk.ledger.jobs.defer(JOB)
    found = await desk.ledger.jobs.find(JOB)

    assert found is not None
    assert (found.state, found.deferred) == (JobState.READY, True)


# --- when nothing of the old run can be on its way ----------------------------------------------------------------


@pytest.mark.parametrize(("its", "mine"), [(PATIENT, LONGEST), (LONGEST, PATIENT)])
async def test_requests_of_a_run_that_is_gone_are_given_up_by_the_longer_time_out(
    desk: Desk, other: SqliteLedger, its: Budget, mine: Budget
) -> None:
    await desk.register([row(1)])
    await desk.begin(await desk.hold(budget=its), 1, its)
    await let_go(desk)
    await other.jobs.hold(JOB, mine, desk.clock.now())

    assert await given_up_in(desk, other) == 65.0


async def test_what_another_host_gave_up_counts_from_when_the_next_holder_finds_it(
    desk: Desk, other: SqliteLedger
) -> None:
    """Two hosts' wall clocks may be minutes apart: a grace that was cut short would be a second coupon."""
    await desk.register([row(1)])
    hold = await desk.hold()
    unclear = desk.settlement(await desk.one(hold), Event.UNCLEAR, answered=False)
    await desk.finish(replace(unclear, at=Moment(desk.clock.wall - 600.0, 3.0, ELSEWHERE)))
    await desk.release(hold)

    assert not await other.doubts.due(JOB, desk.clock.now(), 10)
    await other.jobs.hold(JOB, BUDGET, desk.clock.now())
    (doubt,) = await other.doubts.due(JOB, desk.clock.now(), 10)
    assert doubt.given_up == desk.clock.now()


async def someone_waits(cluster: Cluster) -> None:
    """Until a transaction waits for another one that runs alone."""
    look = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    while await asyncio.to_thread(cluster.sql, look) == "0":
        pass  # each look takes its time


ALONE = "SELECT pg_advisory_xact_lock(hashtextextended(current_schema() || '/bulk-issue', 0))"


@pytest.mark.parametrize("usual", ["read committed", "repeatable read", "serializable"])
async def test_a_begin_that_waited_for_a_takeover_sees_it(cluster: Cluster, name: str, usual: str) -> None:
    """Whatever the database's usual isolation is: a snapshot from before the wait would show the old holder."""
    cluster.sql(f"ALTER DATABASE {name} SET default_transaction_isolation = '{usual}'")
    place = cluster.url(name)
    desk = Desk(await open_ledger(place), ManualClock(), place)
    await desk.register([row(1)])
    hold = await desk.hold()
    with psycopg.connect(place.url) as another:
        another.execute(ALONE)
        waiting = asyncio.create_task(desk.begin(hold, 1))
        await someone_waits(cluster)
        another.execute("UPDATE jobs SET holder = 'another'")
    with pytest.raises(JobHeld):
        await waiting

    assert await desk.states() == [S.PENDING]
    await desk.ledger.close()


@pytest.mark.parametrize("deed", ["hold", "reopen"])
async def test_waiting_for_the_ledger_cuts_no_grace_short(
    cluster: Cluster, desk: Desk, other: SqliteLedger, deed: str
) -> None:
    """Meanwhile the old run went on: its requests were given up after the moment when the wait began."""
    await desk.register([row(1)])
    await desk.begin(await desk.hold(budget=LONGEST), 1, LONGEST)
    await let_go(desk)
    now = desk.clock.now()
    waits: Coroutine[Any, Any, object] = (
        other.jobs.hold(JOB, LONGEST, now) if deed == "hold" else other.care.reopen(now)
    )
    assert isinstance(desk.place, LedgerUrl)
    with psycopg.connect(desk.place.url) as someone:
        someone.execute(ALONE)
        waiting = asyncio.create_task(waits)
        await someone_waits(cluster)
        desk.clock.forward(8.0)
    await waiting

    assert await given_up_in(desk, other) == 35.0


async def test_reopening_gives_up_when_nothing_can_be_on_its_way(desk: Desk) -> None:
    await desk.register([row(1)])
    hold = await desk.hold(budget=PATIENT)
    await desk.begin(hold, 1, PATIENT)
    await let_go(desk)
    await desk.ledger.care.reopen(desk.clock.now())

    assert await given_up_in(desk, desk.ledger) == 65.0


async def test_nobody_decides_on_a_row_whose_request_may_be_on_the_wire(desk: Desk, other: SqliteLedger) -> None:
    await desk.register([row(1), row(2)])
    await desk.begin(await desk.hold(budget=LONGEST), 1, LONGEST)
    await let_go(desk)
    new = await other.jobs.hold(JOB, LONGEST, desk.clock.now())
    await other.jobs.release(new, JobState.STOPPED, "", desk.clock.now())
    decide = other.doubts.decide
    for host in (desk.clock.now(), Moment(desk.clock.wall, 3.0, ELSEWHERE)):
        with pytest.raises(LedgerError, match="on the wire"):
            await decide([said(1, None)], "ann", "", host)
    assert await desk.states() == [S.IN_DOUBT, S.PENDING]

    assert await decide([said(1, None)], "ann", "", desk.clock.forward(35.0)) == 1


# --- one limit ----------------------------------------------------------------------------------------------------


async def test_a_run_that_was_cut_off_keeps_to_the_limit_that_others_have_agreed_on_since(
    desk: Desk, other: SqliteLedger
) -> None:
    await desk.register(row(n) for n in range(1, 50))
    await desk.register([row(n) for n in range(50, 60)], spec("job-b"))
    hold = await desk.hold()
    await let_go(desk)  # its session ended: nobody sees that it goes on
    theirs = await other.jobs.hold(spec("job-b").id, replace(BUDGET, rate=10), desk.clock.now())

    assert len((await desk.begin(hold, 40)).intents) == 10
    await other.jobs.release(theirs, JobState.STOPPED, "", desk.clock.now())
    await other.jobs.hold(spec("job-b").id, replace(BUDGET, per=30.0), desk.clock.now())
    with pytest.raises(ConfigError, match=r"100 requests per 30.0 s now"):
        await desk.begin(hold, 1)


async def test_a_rate_that_was_raised_is_not_for_a_run_that_agreed_to_the_lower_one(
    desk: Desk, other: SqliteLedger
) -> None:
    few = replace(BUDGET, rate=10)
    await desk.register(row(n) for n in range(1, 50))
    await desk.register([row(50)], spec("job-b"))
    hold = await desk.hold(budget=few)
    await let_go(desk)
    await other.jobs.hold(spec("job-b").id, BUDGET, desk.clock.now())

    assert len((await desk.begin(hold, 40, few)).intents) == 10
