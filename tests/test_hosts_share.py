"""The whole command line on a ledger in PostgreSQL: killed processes, a server that restarts or dies under them.

Real processes, sockets and SIGKILL; the oracle is the sandbox's own book.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from bulk_issue.app.workers import set_up
from bulk_issue.sandbox.server import Sandbox
from bulk_issue.sandbox.settings import Settings
from tests.cluster import Cluster
from tests.console import QUICK, Console, ended, mobiles
from tests.pages import Server


@pytest.fixture
async def console(cluster: Cluster, tmp_path: Path) -> AsyncIterator[Console]:
    async with Sandbox(Settings(rate=0, latency=0.01)) as box:
        place = cluster.url(cluster.database())
        yield Console(tmp_path, box, {"BULK_ISSUE_LEDGER": place.url})


def issued(console: Console) -> int:
    return len(console.box.book.coupons_of(console.box.series_id))


async def test_kill_9_again_and_again_then_the_same_command(console: Console) -> None:
    file = console.customers("c.csv", mobiles(150))
    kills = 0
    for at in (30, 90):
        kills += await console.killed(file, lambda at=at: issued(console) >= at)  # type: ignore[misc]
    done = await console.run(file)

    assert done.code == 0, done.err
    assert kills == 2
    assert len(console.results(file)) == 150
    console.check_book(file)


@pytest.mark.parametrize("how", ["fast", "kill"])
async def test_the_database_restarts_or_dies_under_a_run(cluster: Cluster, console: Console, how: str) -> None:
    file = console.customers("c.csv", mobiles(400))
    process = await console.start("run", file, "--series", console.box.series_id, *QUICK)
    while issued(console) < 60:
        await asyncio.sleep(0.002)
    await asyncio.to_thread(*((cluster.kill,) if how == "kill" else (cluster.stop, how)))
    before = issued(console)
    await asyncio.to_thread(cluster.start)
    done = await ended(process)

    assert before < 400
    assert done.code == 0, done.out + done.err
    assert len(console.results(file)) == 400
    console.check_book(file)


def stop_between_transactions(cluster: Cluster, pid: int) -> None:
    """Stop the process where it isn't within a transaction: there its session, and its hold, would end after 10 s."""
    state = Path(f"/proc/{pid}/stat")
    busy = f"SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'bulk-issue {pid} on %'"
    while True:
        os.kill(pid, signal.SIGSTOP)
        while state.read_text(encoding="ascii").rpartition(") ")[2][0] != "T":
            os.sched_yield()
        if cluster.sql(f"{busy} AND state <> 'idle'") == "0":
            return
        os.kill(pid, signal.SIGCONT)


async def test_two_hosts_with_overlapping_files_and_a_second_run_of_one(cluster: Cluster, console: Console) -> None:
    files = [console.customers(f"c{at}.csv", mobiles(300, start)) for at, start in enumerate((0, 150))]
    slow = ("--rate", 6000)  # 100 a second: the first still runs when the second begins
    first, second = [("run", file, "--series", console.box.series_id, *QUICK, *slow) for file in files]
    one = await console.start(*first)
    while issued(console) < 5:
        await asyncio.sleep(0.002)
    two = await console.start(*second)
    await asyncio.to_thread(
        stop_between_transactions, cluster, one.pid
    )  # it holds its job for as long as somebody else looks
    again = await console(*first)
    one.send_signal(signal.SIGCONT)
    done, other = await ended(one), await ended(two)

    assert again.code == 6
    assert str(one.pid) in again.err
    assert (done.code, other.code) == (0, 0), done.err + other.err
    assert issued(console) == 450
    console.check_book(*files)


async def test_the_page_is_served_on_a_shared_ledger(cluster: Cluster, console: Console) -> None:
    place = console.env["BULK_ISSUE_LEDGER"]
    file = console.customers("c.csv", mobiles(3))
    await console.run(file)
    await set_up(cluster.url(place.partition("@/")[2].partition("?")[0], "bulk_issue_owner"))
    await console("defer", console.customers("d.csv", mobiles(3, 3)), "--series", console.box.series_id)
    async with (
        Server(console.folder, console.box, ("--ledger", place)) as server,
        aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as browser,
        browser.get(server.address) as answer,
    ):
        page = await answer.text()

    assert "c.csv" in page
    assert "waits for a worker" in page
    assert (console.folder / "data" / "bulk-issue" / "ledger.db.page").is_dir()


async def test_the_ledgers_password_is_neither_taken_from_argv_nor_shown(console: Console) -> None:
    place = console.env["BULK_ISSUE_LEDGER"].replace("bulk_issue@", "bulk_issue:s3cret@")
    file = console.customers("c.csv", mobiles(3))
    refused = await console("status", "--ledger", place)
    console.env["BULK_ISSUE_LEDGER"] = place
    done = await console.run(file)
    shown = await console("status")

    assert refused.code == 2
    assert "PGPASSWORD" in refused.err
    assert (done.code, shown.code) == (0, 0), done.err
    everything = refused.out + refused.err + done.out + done.err + shown.out + shown.err
    assert "s3cret" not in everything
    assert "Ledger: postgresql://bulk_issue@" in everything
