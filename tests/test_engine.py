"""The engine's queue, as workers and those who defer use it, in the tests' own PostgreSQL."""

from __future__ import annotations

import asyncio
import datetime as dt
import io
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from procrastinate import utils

from bulk_issue import engine as engines
from bulk_issue.config import LedgerUrl
from bulk_issue.engine import Cron, Duties, Engine, opened
from bulk_issue.errors import ConfigError, LedgerError, LedgerUnavailable
from bulk_issue.ledger import open_ledger
from bulk_issue.model import JobId
from tests.cluster import Cluster

JOB, OTHER = JobId("j1"), JobId("j2")
OFTEN = Cron(name="often", expression="* * * * *", zone=ZoneInfo("UTC"))


class Ahead(datetime):
    """The clock of a host that is an hour ahead."""

    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> Any:
        return datetime.now(tz) + timedelta(hours=1)


@pytest.fixture
def database(cluster: Cluster) -> str:
    return cluster.database()


@pytest.fixture
def place(cluster: Cluster, database: str) -> LedgerUrl:
    return cluster.url(database, "bulk_issue_owner")


@pytest.fixture
def ask(cluster: Cluster, database: str) -> Callable[[str], str]:
    return lambda statement: cluster.sql(f"SET search_path = bulk_issue; {statement}", database)


async def nothing(*_given: object) -> None:
    pass


async def no_jobs() -> list[JobId]:
    return []


async def work(place: LedgerUrl, asked: asyncio.Event, **duties: Any) -> None:
    """One worker, until `asked`."""
    usual: dict[str, Any] = {"run": nothing, "scheduled": nothing, "waiting": no_jobs}
    async with opened(place, "host#user") as engine:
        await engine.work(Duties(**(usual | duties)), asked, lambda: None)


async def one_task(place: LedgerUrl, outcome: float | Exception) -> None:
    """One worker that has a task end so, and stops."""
    asked = asyncio.Event()

    async def run(_job: JobId, _worker: int) -> float:
        asked.set()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    await work(place, asked, run=run)


async def deferred(place: LedgerUrl, defer: Callable[[Engine], Awaitable[Any]]) -> None:
    async with opened(place, "host#user") as engine:
        await defer(engine)


# --- tasks --------------------------------------------------------------------------------------------------------


async def test_an_account_may_have_a_long_name(place: LedgerUrl, ask: Callable[[str], str]) -> None:
    for account in ("k" * 300, "k" * 301):
        async with opened(place, account) as engine:
            await engine.defer(JOB)

    assert ask("SELECT count(DISTINCT queue_name) FROM procrastinate_jobs") == "2"


async def test_deferred_again_a_job_begins_anew_beside_the_task_that_is_worked_on(
    place: LedgerUrl, ask: Callable[[str], str]
) -> None:
    async with opened(place, "host#user") as engine:
        await engine.defer(OTHER)
        await engine.defer(JOB)
        ask("UPDATE procrastinate_jobs SET status = 'doing' WHERE args->>'job' = 'j1'")
        await engine.defer(JOB)
        ask("UPDATE procrastinate_jobs SET scheduled_at = '2100-01-01' WHERE status = 'todo'")
        await engine.defer(JOB)

    found = ask("SELECT status, scheduled_at IS NOT NULL FROM procrastinate_jobs WHERE args->>'job' = 'j1' ORDER BY id")
    assert found.splitlines() == ["doing|f", "todo|f"]
    assert ask("SELECT count(*) FROM procrastinate_jobs WHERE args->>'job' = 'j2'") == "1"


async def test_however_many_defer_a_job_at_once_one_worker_has_it(place: LedgerUrl, ask: Callable[[str], str]) -> None:
    async with opened(place, "host#user") as one, opened(place, "host#user") as other:
        await asyncio.gather(*(engine.defer(JOB) for engine in (one, other) * 3))
    for _ in range(6):
        ask("SELECT procrastinate_fetch_job_v2(NULL, NULL)")

    assert ask("SELECT count(*) FROM procrastinate_jobs WHERE status = 'doing'") == "1"


async def test_a_job_that_cant_be_run_lets_the_others_go_first(place: LedgerUrl) -> None:
    """It was there first, and is due again before a worker is free: it would keep them waiting for ever."""
    asked, ran = asyncio.Event(), list[JobId]()

    async def run(job: JobId, _worker: int) -> None:
        ran.append(job)
        if len(ran) == 1:
            await deferred(place, lambda engine: engine.defer(OTHER))
            raise ConfigError("these credentials are another org's")
        asked.set()

    await deferred(place, lambda engine: engine.defer(JOB))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(engines, "FAILED", 0.0)
        await work(place, asked, run=run)

    assert ran == [JOB, OTHER]


async def test_a_worker_is_on_record_as_long_as_the_engine_counts_on_it(
    place: LedgerUrl, ask: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that stood still is forgotten by the others. It can't take a job then, and must come back as another."""
    monkeypatch.setattr(engines, "LOOK", 0.01)
    ledger = await open_ledger(place)

    async def looked() -> list[JobId]:
        if ledger.views.workers():
            ask("DELETE FROM procrastinate_workers")
        return []

    with pytest.raises(LedgerUnavailable, match="taken for lost"):
        await work(place, asyncio.Event(), waiting=looked)
    assert ledger.views.workers() == []
    await ledger.close()


async def test_a_task_that_ends_by_a_bug_goes_behind_all_others_for_ever_longer(
    place: LedgerUrl, ask: Callable[[str], str]
) -> None:
    await deferred(place, lambda engine: engine.defer(JOB))
    pauses = list[float]()
    for _ in range(3):
        await one_task(place, ValueError())
        found = "SELECT extract(epoch FROM scheduled_at - at) FROM procrastinate_jobs j JOIN procrastinate_events e"
        pauses.append(
            float(ask(f"{found} ON job_id = j.id WHERE type = 'deferred_for_retry' ORDER BY e.id DESC LIMIT 1"))
        )
        ask("UPDATE procrastinate_jobs SET scheduled_at = NULL")
    await deferred(place, lambda engine: engine.defer(OTHER))
    await one_task(place, 0.0)

    assert pauses[0] * 1.5 < pauses[1] < pauses[2] / 1.5
    assert ask("SELECT priority FROM procrastinate_jobs WHERE attempts = 3 AND args->>'job' = 'j1'") == "-3"
    ask("UPDATE procrastinate_jobs SET priority = -5000")
    await one_task(place, ValueError())
    assert ask("SELECT bool_and(scheduled_at < now() + interval '1 hour') FROM procrastinate_jobs") == "t"


async def test_a_task_waits_by_the_clock_of_the_database(
    place: LedgerUrl, ask: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    await deferred(place, lambda engine: engine.defer(JOB))
    monkeypatch.setattr(engines, "datetime", Ahead)
    await one_task(place, 1000.0)

    assert ask("SELECT scheduled_at <= now() + interval '1000 s' FROM procrastinate_jobs") == "t"


async def test_a_dead_workers_task_is_handed_on_by_the_clock_of_the_database(
    place: LedgerUrl, ask: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    await deferred(place, lambda engine: engine.defer(JOB))
    ask("UPDATE procrastinate_jobs SET status = 'doing'")
    monkeypatch.setattr(utils, "utcnow", lambda: Ahead.now(UTC))
    asked = asyncio.Event()

    async def looked() -> list[JobId]:
        asked.set()
        return []

    await work(place, asked, waiting=looked)

    assert ask("SELECT count(*) FROM procrastinate_jobs WHERE status = 'doing' OR scheduled_at > now()") == "0"


# --- looking after them -------------------------------------------------------------------------------------------


async def test_what_is_due_is_so_by_the_clock_of_the_database(
    place: LedgerUrl, ask: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "datetime", Ahead)
    asked = asyncio.Event()

    async def looked() -> list[JobId]:
        asked.set()
        return []

    await work(place, asked, waiting=looked, crons=[OFTEN])

    assert ask("SELECT count(*), bool_and(due <= now()) FROM bulk_issue_dues") == "1|t"


async def test_what_is_made_up_for_is_late_since_it_was_deferred(place: LedgerUrl, ask: Callable[[str], str]) -> None:
    due, asked, lates = datetime.now(UTC) - timedelta(hours=7), asyncio.Event(), list[float]()

    async def scheduled(_entry: str, _due: datetime, late: float) -> None:
        lates.append(late)
        asked.set()

    async with opened(place, "host#user") as engine:
        await engine.due(OFTEN, due - timedelta(days=1), due - timedelta(days=1))
        ask("DELETE FROM procrastinate_jobs")
        assert await engine.due(OFTEN, due, await engine.now())
    await work(place, asked, scheduled=scheduled)

    assert lates[0] < 3600


async def test_a_look_that_fails_is_repeated_for_a_while(place: LedgerUrl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "LOOK", 0.01)
    asked, looks = asyncio.Event(), 0

    async def fails() -> list[JobId]:
        nonlocal looks
        looks += 1
        if looks == 3:
            asked.set()
        raise LedgerUnavailable("held up")

    await work(place, asked, waiting=fails)
    monkeypatch.setattr(engines, "PATIENCE", 0.0)
    with pytest.raises(LedgerUnavailable, match="held up"):
        await work(place, asyncio.Event(), waiting=fails)


# --- its database -------------------------------------------------------------------------------------------------


async def test_tables_of_another_version_are_called_so(place: LedgerUrl, ask: Callable[[str], str]) -> None:
    await deferred(place, nothing)
    ask("DROP FUNCTION procrastinate_fetch_job_v2")
    with pytest.raises(LedgerError, match="another version"):
        await work(place, asyncio.Event())


async def test_its_sessions_hold_up_nobody_for_long(place: LedgerUrl) -> None:
    async with opened(place, "host#user") as engine:
        for setting in ("idle_in_transaction_session_timeout", "lock_timeout"):
            found = await engine._connector.execute_query_one_async(f"SHOW {setting}")
            assert found[setting] == "10s"


def test_the_driver_keeps_its_words_to_itself() -> None:
    told, root = io.StringIO(), logging.getLogger()
    root.addHandler(handler := logging.StreamHandler(told))
    for name in ("psycopg", "psycopg.pool", "procrastinate.worker"):
        logging.getLogger(name).warning("its words")
    root.removeHandler(handler)

    assert told.getvalue() == ""
