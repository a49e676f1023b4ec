"""What the settings schedule is deferred once for each due time, however many workers there are."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from bulk_issue.app.workers import set_up
from bulk_issue.cli import commands, frame
from bulk_issue.config import LedgerUrl
from bulk_issue.engine import Cron, Engine, opened
from bulk_issue.errors import ConfigError
from bulk_issue.sandbox.server import Sandbox
from bulk_issue.sandbox.settings import Settings
from tests.cluster import Cluster
from tests.console import QUICK, Console, ended, mobiles
from tests.servers import Server, answer

NOW = datetime(2026, 11, 23, 2, 0, 30, tzinfo=UTC)
DUE = NOW.replace(second=0)
HOUR = timedelta(hours=1)


@pytest.fixture
def database(cluster: Cluster) -> str:
    return cluster.database()


@pytest.fixture
async def engines(cluster: Cluster, database: str) -> AsyncIterator[list[Engine]]:
    """Those of two workers."""
    place = cluster.url(database, "bulk_issue_owner")
    async with opened(place, "host#user") as one, opened(LedgerUrl(place.url), "host#user") as other:
        yield [one, other]


def tasks(cluster: Cluster, database: str) -> int:
    return int(cluster.sql("SELECT count(*) FROM bulk_issue.procrastinate_jobs", database))


async def test_of_many_workers_one_defers(cluster: Cluster, database: str, engines: list[Engine]) -> None:
    done = await asyncio.gather(*(engine.due("nightly", DUE, NOW) for engine in engines * 4))

    assert sum(done) == 1
    assert tasks(cluster, database) == 1


async def test_a_worker_that_stood_still_defers_nothing_again(
    cluster: Cluster, database: str, engines: list[Engine]
) -> None:
    one, other = engines
    await one.due("nightly", DUE, NOW)
    await one.due("nightly", DUE + timedelta(minutes=5), NOW + timedelta(minutes=5))

    assert not await other.due("nightly", DUE, NOW)
    assert tasks(cluster, database) == 2


async def test_what_no_worker_was_there_for_is_made_up_for_unless_it_is_new(engines: list[Engine]) -> None:
    one, other = engines
    assert not await one.due("nightly", DUE, NOW + HOUR)
    assert await one.due("nightly", DUE + 24 * HOUR, NOW + 24 * HOUR)
    assert await other.due("nightly", DUE + 48 * HOUR, NOW + 57 * HOUR)
    assert not await other.due("weekly", DUE + 48 * HOUR, NOW + 57 * HOUR)


def test_it_is_due_by_the_clock_of_its_zone() -> None:
    nightly = Cron(name="nightly", expression="0 2 * * *", zone=ZoneInfo("Asia/Kolkata"))

    assert nightly.last(NOW) == datetime(2026, 11, 22, 20, 30, tzinfo=UTC)
    with pytest.raises(ConfigError, match="can't be understood"):
        Cron(name="nightly", expression="at two", zone=ZoneInfo("UTC"))


# --- the whole of it ----------------------------------------------------------------------------------------------


@pytest.fixture
async def console(cluster: Cluster, database: str, tmp_path: Path) -> AsyncIterator[Console]:
    await set_up(cluster.url(database, "bulk_issue_owner"))
    async with Sandbox(Settings(rate=0, latency=0.01)) as box:
        yield Console(tmp_path, box, {"BULK_ISSUE_LEDGER": cluster.url(database).url}, "tests.hurried_worker")


def settings(folder: Path, number: int, /, **entry: str) -> Path:
    """A file with one entry."""
    path = folder / "bulk-issue.toml"
    usual = {
        "name": '"often"',
        "cron": '"* * * * * */3"',
        "zone": '"Asia/Kolkata"',
        "file": f'"{folder}/%Y.csv"',
        "series": str(number),
        "again": '"at %H%M%S"',
    }
    lines = [f"{key} = {value}" for key, value in (usual | entry).items()]
    path.write_text("[default]\n\n[[schedule]]\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return path


async def test_two_workers_issue_what_is_scheduled_once_for_each_due_time(console: Console) -> None:
    console.customers(f"{datetime.now(ZoneInfo('Asia/Kolkata')):%Y}.csv", mobiles(5))
    config = settings(console.folder, console.box.series_id)
    workers = [await console.start("worker", *QUICK, "--config", config) for _ in range(2)]
    book = console.box.book
    while len(book.coupons_of(console.box.series_id)) < 15:
        await asyncio.sleep(0.01)
    for each in workers:
        each.send_signal(signal.SIGTERM)
    done = [await ended(each) for each in workers]
    again = await console("status")

    assert {each.code for each in done} <= {0, 4}, [each.err for each in done]
    served = [coupon.customer for coupon in book.coupons_of(console.box.series_id) if coupon.request]
    counts = {served.count(customer) for customer in served}
    assert max(counts) <= again.out.count(".csv")  # a coupon for each job, and a job for each due time
    assert "Schedule often of" in done[0].err + done[1].err


async def test_a_schedule_that_is_given_up_is_told(console: Console) -> None:
    config = settings(console.folder, console.box.series_id)  # and its file isn't there
    async with Server.scripted(answer()) as chat:
        console.env["BULK_ISSUE_NOTIFY"] = f"json://127.0.0.1:{chat.port}/"
        process = await console.start("worker", *QUICK, "--config", config)
        while not chat.requests:
            await asyncio.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        done = await ended(process)
        told = json.loads(chat.requests[0].body)

    assert done.code == 0, done.err
    assert told["title"] == "bulk-issue worker: not started (exit code 2)"
    assert re.search(r"Schedule often of .*\.csv", told["message"])


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"zone": '""'}, "no zone"),
        ({"sereis": "1"}, "Did you mean series"),
        ({"series": '"many"'}, "often"),
        ({"file": "7"}, "no file"),
    ],
)
def test_an_entry_that_cant_be_meant_is_refused_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], entry: dict[str, str], said: str
) -> None:
    place = ["--ledger", "postgresql://ann@127.0.0.1:1/x", "--base-url", "http://127.0.0.1:1", "--user", "till"]
    secret = tmp_path / "password"
    secret.touch(0o600)
    secret.write_text("x", encoding="utf-8")
    words = ["worker", "--config", str(settings(tmp_path, 1, **entry)), *place, "--password-file", str(secret)]

    assert frame.exit_code(commands, words) == 2
    assert said in capsys.readouterr().err
