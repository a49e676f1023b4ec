"""What the settings schedule is deferred once for each due time, however many workers there are."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from bulk_issue.app.workers import AGAIN, GIVE_UP, LATER, Scheduled, Worker, set_up
from bulk_issue.cli import commands, frame
from bulk_issue.config import Account, Config, LedgerUrl
from bulk_issue.engine import Cron, Engine, opened
from bulk_issue.errors import BulkIssueError, ConfigError
from bulk_issue.sandbox.server import Sandbox
from bulk_issue.sandbox.settings import Settings
from tests.cluster import Cluster
from tests.console import QUICK, Console, ended, mobiles
from tests.servers import Server, answer

NOW = datetime(2026, 11, 23, 2, 0, 30, tzinfo=UTC)
DUE = NOW.replace(second=0)
HOUR = timedelta(hours=1)
NIGHTLY, WEEKLY = (Cron(name=name, expression="0 2 * * *", zone=ZoneInfo("UTC")) for name in ("nightly", "weekly"))


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
    done = await asyncio.gather(*(engine.due(NIGHTLY, DUE, NOW) for engine in engines * 4))

    assert sum(done) == 1
    assert tasks(cluster, database) == 1


async def test_a_worker_that_stood_still_defers_nothing_again(
    cluster: Cluster, database: str, engines: list[Engine]
) -> None:
    one, other = engines
    await one.due(NIGHTLY, DUE, NOW)
    await one.due(NIGHTLY, DUE + timedelta(minutes=5), NOW + timedelta(minutes=5))

    assert not await other.due(NIGHTLY, DUE, NOW)
    assert tasks(cluster, database) == 2


async def test_what_no_worker_was_there_for_is_made_up_for_unless_it_is_new(engines: list[Engine]) -> None:
    one, other = engines
    assert not await one.due(NIGHTLY, DUE, NOW + HOUR)
    assert await one.due(NIGHTLY, DUE + 24 * HOUR, NOW + 24 * HOUR)
    assert await other.due(NIGHTLY, DUE + 48 * HOUR, NOW + 57 * HOUR)
    assert not await other.due(WEEKLY, DUE + 48 * HOUR, NOW + 57 * HOUR)
    for changed in (replace(NIGHTLY, expression="0 3 * * *"), replace(NIGHTLY, zone=ZoneInfo("Asia/Kolkata"))):
        assert not await one.due(changed, DUE + 49 * HOUR, NOW + 57 * HOUR)


async def test_due_times_of_long_ago_are_forgotten_but_for_the_last(
    cluster: Cluster, database: str, engines: list[Engine]
) -> None:
    for days in (0, 1, 500, 1000):
        assert await engines[0].due(NIGHTLY, DUE + 24 * days * HOUR, NOW + 24 * days * HOUR)

    assert cluster.sql("SELECT count(*) FROM bulk_issue.bulk_issue_dues", database) == "1"
    assert await engines[0].due(NIGHTLY, DUE + 24 * 9999 * HOUR, NOW + 25 * 9999 * HOUR)


def test_it_is_due_by_the_clock_of_its_zone() -> None:
    nightly = Cron(name="nightly", expression="0 2 * * *", zone=ZoneInfo("Asia/Kolkata"))

    assert nightly.last(NOW) == datetime(2026, 11, 22, 20, 30, tzinfo=UTC)
    with pytest.raises(ConfigError, match="can't be understood"):
        Cron(name="nightly", expression="at two", zone=ZoneInfo("UTC"))
    with pytest.raises(ConfigError, match="never due"):
        Cron(name="nightly", expression="0 0 31 2 *", zone=ZoneInfo("UTC"))


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
    assert told["title"] == f"bulk-issue worker on {socket.gethostname()}: not started (exit code 2)"
    assert re.search(r"Schedule often of .*\.csv", told["message"])


async def test_entries_of_two_profiles_may_have_the_same_name(console: Console) -> None:
    config = settings(console.folder, console.box.series_id)
    entry = config.read_text(encoding="utf-8").partition("\n\n")[2].replace('"* * * * * */3"', '"* * * * *"')
    both = "".join(entry.replace("%Y.csv", f"{name}.csv") + f'profile = "{name}"\n\n' for name in ("one", "two"))
    config.write_text(f"[one]\n[two]\n{both}", encoding="utf-8")
    for at, name in enumerate(("one", "two")):
        console.customers(f"{name}.csv", mobiles(5, at * 10))
    workers = [await console.start("worker", *QUICK, "--config", config, "--profile", name) for name in ("one", "two")]
    while len(console.box.book.coupons_of(console.box.series_id)) < 10:
        await asyncio.sleep(0.01)
    for each in workers:
        each.send_signal(signal.SIGTERM)
    for each in workers:
        assert (await ended(each)).code in (0, 4)


async def test_what_fails_is_tried_for_some_hours_since_it_was_taken_up_and_then_given_up(
    console: Console, cluster: Cluster, database: str
) -> None:
    account = Account(base_url=console.box.url, user=console.box.user, password=console.box.password)
    config = Config(account=account, series_id=console.box.series_id, ledger=cluster.url(database))
    entry = Scheduled(
        name="nightly",
        profile="default",
        cron="0 2 * * *",
        zone=ZoneInfo("UTC"),
        file=str(console.folder / "absent.csv"),
        again="",
        config=config,
    )
    told = list[str]()

    async def given_up(what: str, error: BulkIssueError) -> None:
        told.append(f"{what}: {error.message}")

    async def job_ended(*_given: object) -> None:
        pass

    worker = Worker(
        config=config,
        observer=lambda _progress: None,
        asked=asyncio.Event(),
        out=None,
        on_report=lambda _report: None,
        on_end=job_ended,
        on_given_up=given_up,
        schedule=[entry],
    )
    for key in (entry.key, "default gone"):
        assert await worker._scheduled(key, DUE - 7 * HOUR, late=1.0) in (AGAIN, LATER)
        assert not told
        assert await worker._scheduled(key, DUE, late=GIVE_UP + 1) is None
        assert told.pop().startswith(f"Schedule {entry.name if key == entry.key else key} of 2026-11-23 02:00: ")


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"between": '"09:00-21:00"'}, "workers' own"),
        ({"look_first": "true"}, "workers' own"),
        ({"first": "3"}, "workers' own"),
        ({"job": '"j1"'}, "doesn't know: job"),
        ({"workers": "3"}, "A job is run by one worker"),
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
