"""Workers: real processes on one ledger in PostgreSQL, brought jobs by the engine; the oracle is the sandbox's book."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bulk_issue.app.workers import set_up
from bulk_issue.sandbox.faults import fault
from bulk_issue.sandbox.server import Sandbox
from bulk_issue.sandbox.settings import Settings
from tests.cluster import Cluster
from tests.console import QUICK, Console, ended, mobiles
from tests.servers import Server, answer


@pytest.fixture
async def console(cluster: Cluster, tmp_path: Path) -> AsyncIterator[Console]:
    name = cluster.database()
    await set_up(cluster.url(name, "bulk_issue_owner"))
    async with Sandbox(Settings(rate=0, latency=0.01)) as box:
        yield Console(tmp_path, box, {"BULK_ISSUE_LEDGER": cluster.url(name).url}, "tests.hurried_worker")


def issued(console: Console) -> int:
    return len(console.box.book.coupons_of(console.box.series_id))


async def until(true: Callable[[], bool]) -> None:
    while not true():
        await asyncio.sleep(0.005)


async def worker(console: Console, *options: object) -> Process:
    return await console.start("worker", *QUICK, *options)


def written(console: Console, file: Path) -> bool:
    return any(file.with_name(f"{file.name}-results").glob("*/summary.json"))


async def deferred(console: Console, rows: int, *options: object) -> Path:
    file = console.customers("c.csv", mobiles(rows))
    done = await console("defer", file, "--series", console.box.series_id, *QUICK, *options)
    assert done.code == 0, done.err
    return file


async def the_rest(console: Console, file: Path, *workers: Process) -> None:
    """Let these workers finish the job, and ask the book."""
    await until(lambda: written(console, file) or all(each.returncode is not None for each in workers))
    for each in workers:
        each.send_signal(signal.SIGTERM)
    done = [await ended(each) for each in workers]
    assert {each.code for each in done} == {0}, [each.out + each.err for each in done]
    states = [row["_status"] for row in console.results(file)]
    assert set(states) == {"issued"}
    console.check_book(file)


SLOW = ("--rate", 12000, "--connections", 4, "--timeout", 1)


async def test_a_worker_that_is_asked_to_stop_leaves_the_job_to_another(console: Console) -> None:
    file = await deferred(console, 400)
    first = await worker(console, *SLOW)
    await until(lambda: issued(console) >= 40)
    first.send_signal(signal.SIGTERM)
    done = await ended(first)
    before = issued(console)

    assert done.code == 4, done.err
    assert before < 400
    await the_rest(console, file, await worker(console, *SLOW))


async def test_the_others_go_on_without_a_worker_that_stands_still(console: Console) -> None:
    file = await deferred(console, 600)
    first = await worker(console, *SLOW)
    await until(lambda: issued(console) >= 40)
    second = await worker(console, *SLOW)
    first.send_signal(signal.SIGSTOP)
    await the_rest(console, file, second)
    first.send_signal(signal.SIGCONT)  # it wakes up when all is done
    first.send_signal(signal.SIGTERM)
    done = await ended(first)

    assert "Traceback" not in done.err
    assert issued(console) == 600


async def test_a_worker_whose_database_restarts_goes_on_or_ends_and_says_so(cluster: Cluster, console: Console) -> None:
    file = await deferred(console, 600)
    first = await worker(console, *SLOW)
    await until(lambda: issued(console) >= 40)
    await asyncio.to_thread(cluster.stop)
    await asyncio.to_thread(cluster.start)
    await until(lambda: written(console, file) or first.returncode is not None)
    if first.returncode is not None:
        done = await ended(first)
        assert done.code == 7, done.err
        assert "database" in done.err
        assert "Traceback" not in done.err
        first = await worker(console, *SLOW)

    await the_rest(console, file, first)


async def test_a_halt_stops_everybody_until_a_person_defers_again(console: Console) -> None:
    file = await deferred(console, 600, "--workers", 3)
    series = console.box.world.series
    first, *others = [await worker(console, *SLOW) for _ in range(3)]
    await until(lambda: issued(console) >= 60)
    kept = series[console.box.series_id]
    series[console.box.series_id] = replace(kept, expired=True)
    await until(lambda: written(console, file))
    asked = console.box.book.requests()
    status = await console("status")
    for each in others:
        each.send_signal(signal.SIGTERM)
    done = [await ended(each) for each in others]

    assert {each.code for each in done} == {0}, [each.err for each in done]
    assert "stopped" in status.out
    assert issued(console) < 600
    assert console.box.book.requests() == asked
    series[console.box.series_id] = kept
    for path in file.with_name(f"{file.name}-results").glob("*/summary.json"):
        path.unlink()
    assert (await console("defer", file, "--series", console.box.series_id, *QUICK)).code == 0
    await the_rest(console, file, first)


async def test_a_deferred_job_is_issued_by_the_workers_that_wait_and_status_shows_them(console: Console) -> None:
    file = await deferred(console, 300)
    assert issued(console) == 0
    (job,) = [json.loads(line)["job"] for line in (await console("status", "--json")).out.splitlines()]
    waits, shown = (await console("status", job)).out, ""
    workers = [await worker(console, "--rate", 3000, "--connections", 4) for _ in range(2)]
    while "runs now beside another" not in shown:
        shown = (await console("status", job)).out

    assert "left to at most 2 workers" in waits
    for each in workers:
        assert f"process {each.pid}, " in shown
    assert shown.count("runs now") == 2
    assert "s ago" in shown
    await the_rest(console, file, *workers)


async def test_the_end_of_each_job_is_told_when_it_comes(console: Console) -> None:
    log, metrics = console.folder / "log.jsonl", console.folder / "worker.prom"
    async with Server.scripted(answer()) as chat:
        console.env["BULK_ISSUE_NOTIFY"] = f"json://127.0.0.1:{chat.port}/"
        first = await worker(console, "--log-file", log, "--metrics", metrics)
        for rows, name in ((3, "a.csv"), (5, "b.csv")):
            file = console.customers(name, mobiles(rows, rows * 10))
            await console("defer", file, "--series", console.box.series_id, *QUICK)
            await until(lambda: written(console, file))  # noqa: B023 - awaited at once
        await until(lambda: len(chat.requests) == 2)
        first.send_signal(signal.SIGTERM)
        done = await ended(first)
        told = [json.loads(request.body) for request in chat.requests]
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]

    assert done.code == 0, done.err
    assert [each["title"] for each in told] == ["bulk-issue worker: done (exit code 0)"] * 2
    assert "3 rows: 3 issued" in told[0]["message"] and "5 rows: 5 issued" in told[1]["message"]
    assert [line["event"] for line in lines if line["event"] not in ("note", "progress")] == [
        *("began", "job_ended", "job_ended", "ended"),
    ]
    assert 'state="issued"} 5' in metrics.read_text(encoding="utf-8")
    assert 'bulk_issue_last_exit_code{command="worker"} 0' in metrics.read_text(encoding="utf-8")


async def test_the_second_signal_leaves_at_once(cluster: Cluster, console: Console) -> None:
    console.box.faults.script_for(f"mobile:{mobiles(1)[0]}", fault("hang-after"))
    await deferred(console, 5)
    process = await worker(console, "--timeout", 60)
    await until(lambda: console.box.book.requests() > 0)
    for _ in range(2):
        process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.1)  # two signals at once are one
    done = await ended(process)

    assert done.code == 4, done.err
    assert "Traceback" not in done.err


async def test_without_the_workers_tables_it_is_said_who_makes_them(cluster: Cluster, console: Console) -> None:
    name = cluster.database()
    console.env["BULK_ISSUE_LEDGER"] = cluster.url(name).url
    refused = await ended(await worker(console))
    console.env["BULK_ISSUE_LEDGER"] = cluster.url(name, "bulk_issue_owner").url
    made = await console("worker", "--set-up")

    assert refused.code == 7
    assert "--set-up" in refused.err
    assert made.code == 0, made.err


def test_whoever_has_no_workers_loads_nothing_of_them(tmp_path: Path) -> None:
    program = (
        "import sys\nimport bulk_issue.app, bulk_issue.cli.workers\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules} | {n for n in sys.modules if 'engine' in n}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert {"procrastinate", "croniter", "psycopg", "bulk_issue.engine"} & set(done.stdout.split()) == set()


def test_a_missing_engine_is_named_with_its_extra(tmp_path: Path) -> None:
    program = (
        "import sys\nsys.modules['procrastinate'] = None\nfrom bulk_issue.cli import main\n"
        "sys.argv = ['bulk-issue', 'worker', '--ledger', 'postgresql://ann@127.0.0.1:1/x', '--user', 'a',"
        " '--base-url', 'http://127.0.0.1:1']\nmain()\n"
    )
    environment = os.environ | {"BULK_ISSUE_PASSWORD": "x"}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=False, env=environment
    )

    assert done.returncode == 2, done.stderr
    assert "bulk-issue[workers]" in done.stderr


async def test_workers_need_a_ledger_that_can_be_shared(console: Console) -> None:
    console.env["BULK_ISSUE_LEDGER"] = str(console.folder / "ledger.db")
    file = console.customers("c.csv", mobiles(3))
    for command in (("worker",), ("defer", file, "--series", console.box.series_id)):
        done = await console(*command)
        assert done.code == 2
        assert "postgresql://" in done.err
