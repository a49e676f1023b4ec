"""Workers: real processes on one ledger in PostgreSQL, brought jobs by the engine; the oracle is the sandbox's book."""

from __future__ import annotations

import asyncio
import signal
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from bulk_issue.sandbox.server import Sandbox
from bulk_issue.sandbox.settings import Settings
from tests.cluster import Cluster
from tests.console import QUICK, Console, ended, mobiles


@pytest.fixture
async def console(cluster: Cluster, tmp_path: Path) -> AsyncIterator[Console]:
    async with Sandbox(Settings(rate=0, latency=0.01)) as box:
        name = cluster.database()
        made = Console(tmp_path, box, {"BULK_ISSUE_LEDGER": cluster.url(name, "bulk_issue_owner").url})
        done = await made("worker", "--set-up")
        assert done.code == 0, done.err
        made.env["BULK_ISSUE_LEDGER"] = cluster.url(name).url
        yield made


def issued(console: Console) -> int:
    return len(console.box.book.coupons_of(console.box.series_id))


async def until(true: Callable[[], bool]) -> None:
    while not true():
        await asyncio.sleep(0.005)


async def worker(console: Console, *options: object) -> Process:
    return await console.start("worker", *QUICK, *options)


def written(console: Console, file: Path) -> bool:
    return any(file.with_name(f"{file.name}-results").glob("*/summary.json"))


async def test_a_deferred_job_is_issued_by_the_workers_that_wait(console: Console) -> None:
    file = console.customers("c.csv", mobiles(300))
    deferred = await console("defer", file, "--series", console.box.series_id, *QUICK)
    assert deferred.code == 0, deferred.err
    assert issued(console) == 0
    workers = [await worker(console, "--rate", 6000) for _ in range(2)]
    await until(lambda: written(console, file))
    for each in workers:
        each.send_signal(signal.SIGTERM)
    done = [await ended(each) for each in workers]

    assert [each.code for each in done] == [0, 0], [each.err for each in done]
    assert len(console.results(file)) == 300
    console.check_book(file)
