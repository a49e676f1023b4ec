"""After any crash and any fault: no customer has two coupons, and every row is accounted for.

Real processes, real sockets, real SIGKILL. The oracle is the sandbox's own book, never our ledger.
"""

from __future__ import annotations

import asyncio
import csv
import signal
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from bulk_issue.sandbox.faults import fault
from bulk_issue.sandbox.server import Sandbox
from bulk_issue.sandbox.settings import Settings
from tests.console import QUICK, Console, ended, mobiles


@pytest.fixture
async def console(tmp_path: Path) -> AsyncIterator[Console]:
    async with Sandbox(Settings(rate=0, latency=0.01)) as box:
        yield Console(tmp_path, box)


def issued(console: Console) -> int:
    return len(console.box.book.coupons_of(console.box.series_id))


async def test_kill_9_again_and_again_then_the_same_command(console: Console) -> None:
    file = console.customers("c.csv", mobiles(150))
    kills = 0
    for at in (1, 2, 30, 31, 90, 149):
        kills += await console.killed(file, lambda at=at: issued(console) >= at)  # type: ignore[misc]
    done = await console.run(file)

    assert done.code == 0, done.err
    assert kills >= 4
    assert len(console.results(file)) == 150
    console.check_book(file)


async def test_kill_9_while_rows_are_in_doubt(tmp_path: Path) -> None:
    """Answers are lost before and after the coupon was issued, and the process dies while it reconciles."""
    faults = {"drop-after": 0.1, "drop-before": 0.1}
    async with Sandbox(Settings(rate=0, latency=0.01, fault_rates=faults, seed=7)) as box:
        console = Console(tmp_path, box)
        file = console.customers("c.csv", mobiles(40))
        await console.killed(file, lambda: issued(console) >= 20)
        await console.killed(file, lambda: issued(console) >= 30)
        done = await console.run(file)

        assert done.code == 0, done.out + done.err
        console.check_book(file)


async def test_faults_of_every_kind_end_with_one_coupon_for_each(tmp_path: Path) -> None:
    settings = Settings(
        rate=0, latency=0.005, faults=0.15, seed=3, fault_seconds=1.0, clock_offset=-61.0, iso_dates=False
    )
    async with Sandbox(settings) as box:
        console = Console(tmp_path, box)
        # every tenth customer holds a coupon of the series that is a month old
        numbers = [n[:-4] + "0709" if at % 10 == 0 else n for at, n in enumerate(mobiles(40))]
        file = console.customers("c.csv", numbers)
        done = await console.run(file)

        assert done.code == 0, done.out + done.err
        assert console.summary(file)["responses_429"] is not None
        console.check_book(file)


async def test_two_runs_of_one_file(console: Console) -> None:
    file = console.customers("c.csv", mobiles(1500))
    first = await console.start("run", file, "--series", console.box.series_id, *QUICK)
    while issued(console) < 5:
        await asyncio.sleep(0.002)
    second = await console.run(file)
    done = await ended(first)

    assert second.code == 6
    assert str(first.pid) in second.err
    assert done.code == 0
    console.check_book(file)


async def test_three_processes_with_overlapping_files(console: Console) -> None:
    files = [console.customers(f"c{at}.csv", mobiles(120, start)) for at, start in enumerate((0, 60, 30))]
    done = await asyncio.gather(*(console.run(file) for file in files))

    assert [each.code for each in done] == [0, 0, 0], [each.err for each in done]
    assert issued(console) == 180
    console.check_book(*files)


async def test_the_first_signal_ends_what_is_under_way(console: Console) -> None:
    file = console.customers("c.csv", mobiles(400))
    process = await console.start("run", file, "--series", console.box.series_id, *QUICK)
    while issued(console) < 20:
        await asyncio.sleep(0.002)
    process.send_signal(signal.SIGTERM)
    stopped = await ended(process)
    counts = console.summary(file)["counts"]

    assert stopped.code == 4
    assert isinstance(counts, dict)
    assert counts["in_doubt"] == 0
    assert counts["issued"] == issued(console) < 400
    assert "Next: " in stopped.out
    assert (await console.run(file)).code == 0
    console.check_book(file)


async def test_the_finished_command_again_sends_nothing(console: Console) -> None:
    file = console.customers("c.csv", [*mobiles(20), "919800000701"])
    first = await console.run(file)
    requests = console.box.book.requests()
    again = await console.run(file)

    assert (first.code, again.code) == (1, 1)
    assert console.box.book.requests() == requests


async def test_a_file_saved_again_with_ten_rows_more_issues_ten(console: Console) -> None:
    file = console.customers("c.csv", mobiles(30))
    await console.run(file)
    before = {row["_coupon_code"] for row in console.results(file)}
    console.customers("c.csv", mobiles(40))
    done = await console.run(file)

    assert done.code == 0
    assert issued(console) == 40
    assert before <= {coupon.code for coupon in console.box.book.coupons_of(console.box.series_id)}
    assert [row["_status"] for row in console.results(file)] == ["duplicate"] * 30 + ["issued"] * 10


# --- other processes have a say while a run goes on -----------------------------------------------------------------


#: Slow enough for another process to come in between.
PACED = (*QUICK, "--rate", "80", "--per", "1", "--pace", "even")


def the_job(console: Console) -> str:
    """The ledger's only job."""
    with closing(sqlite3.connect(console.folder / "ledger.db")) as ledger:
        ((job,),) = ledger.execute("SELECT id FROM jobs").fetchall()
    return str(job)


async def going_on(console: Console, file: Path, *arguments: object, until: int) -> asyncio.subprocess.Process:
    """A run of the file that has issued so many coupons."""
    run = await console.start("run", file, "--series", console.box.series_id, *PACED, *arguments)
    while issued(console) < until and run.returncode is None:
        await asyncio.sleep(0.002)
    return run


async def test_cancel_puts_aside_what_a_run_in_another_process_has_not_sent(console: Console) -> None:
    file = console.customers("c.csv", mobiles(400))
    run = await going_on(console, file, until=10)
    cancelled = await console("cancel", the_job(console), "--yes")
    done = await ended(run)
    states = Counter(row["_status"] for row in console.results(file))

    assert (cancelled.code, done.code) == (0, 4)
    assert states["issued"] == issued(console) < 400
    assert states["issued"] + states["cancelled"] == 400
    assert (await console.run(file)).code == 4
    console.check_book(file)


async def test_retry_of_a_job_that_another_process_runs_is_refused_and_changes_nothing(console: Console) -> None:
    file = console.customers("c.csv", ["919800000701", *mobiles(400)])
    run = await going_on(console, file, until=10)
    retried = await console("retry", the_job(console), *PACED)
    done = await ended(run)

    assert (retried.code, done.code) == (6, 1)
    assert "pending again" not in retried.err
    assert console.box.book.requests() == 401
    assert console.results(file)[0]["_status"] == "rejected"
    console.check_book(file)


async def test_decisions_settle_rows_of_a_run_in_another_process(console: Console) -> None:
    """Long before the grace has passed; what was not issued is sent again by the run that goes on."""
    numbers = mobiles(400)
    console.box.faults.script_for(f"mobile:{numbers[1]}", fault("drop-after"))
    console.box.faults.script_for(f"mobile:{numbers[2]}", fault("drop-before"))
    file = console.customers("c.csv", numbers)
    run = await going_on(console, file, "--grace", 600, until=10)
    job, out = the_job(console), console.folder / "out"
    exported = await console("export", job, "--out", out)
    (code,) = {
        coupon.code
        for coupon in console.box.book.coupons_of(console.box.series_id)
        if coupon.customer == customer_id(console, numbers[1])
    }
    with (out / "in_doubt.csv").open(encoding="utf-8-sig", newline="") as opened:
        records = list(csv.DictReader(opened))
    for record in records:  # those on the wire just now stand there too
        record["_decision"] = {"2": f"issued {code}", "3": "not issued"}.get(record["_row"], "")
    with (out / "decided.csv").open("w", encoding="utf-8", newline="") as opened:
        writer = csv.DictWriter(opened, records[0])
        writer.writeheader()
        writer.writerows(records)
    decided = await console("reconcile", job, "--decisions", out / "decided.csv", *PACED, "--grace", 600)
    done = await ended(run)

    assert (exported.code, decided.code, done.code) == (0, 6, 0), (exported, decided, done)
    assert "2 decisions recorded" in decided.err
    assert console.box.book.requests() == 401
    console.check_book(file)


def customer_id(console: Console, number: str) -> int:
    customer = console.box.world.customers.find(f"mobile:{number}")
    assert customer is not None
    return customer.id
