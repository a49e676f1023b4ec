"""A cancel asks first, is told where the job runs, and can be taken back."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bulk_issue.sandbox.server import Sandbox
from bulk_issue.sandbox.settings import Settings
from tests.console import QUICK, Console, Done, ended, mobiles


@pytest.fixture
async def console(tmp_path: Path) -> AsyncIterator[Console]:
    async with Sandbox(Settings(rate=0)) as box:
        yield Console(tmp_path, box)


async def half_done(console: Console) -> str:
    """A job with two coupons issued and three rows pending."""
    file = console.customers("c.csv", mobiles(5))
    assert (await console.run(file, "--first", 2)).code == 4
    return str(console.summary(file)["job"])


async def counts(console: Console, job: str) -> dict[str, int]:
    found: dict[str, int] = json.loads((await console("status", job, "--json")).out)["counts"]
    return found


async def at_a_terminal(console: Console, answer: str, *arguments: object) -> Done:
    """The command, its questions being answered on a terminal."""
    ours, theirs = os.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bulk_issue", *map(str, arguments)),
        env=console.environment(),
        stdin=theirs,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    os.close(theirs)
    os.write(ours, answer.encode())
    done = await ended(process)
    os.close(ours)
    return done


async def test_without_a_terminal_it_needs_a_yes_and_changes_nothing_otherwise(console: Console) -> None:
    job = await half_done(console)
    refused = await console("cancel", job)
    kept = await counts(console, job)
    done = await console("cancel", job, "--yes")

    assert (refused.code, done.code) == (2, 0)
    assert "--yes" in refused.err and "nothing was changed" in refused.err.lower()
    assert kept == {"issued": 2, "pending": 3}
    assert await counts(console, job) == {"issued": 2, "cancelled": 3}


async def test_on_a_terminal_it_says_what_would_be_lost_and_enter_changes_nothing(console: Console) -> None:
    job = await half_done(console)
    no = await at_a_terminal(console, "\n", "cancel", job)
    kept = await counts(console, job)
    yes = await at_a_terminal(console, "y\n", "cancel", job, "--why", "the wrong series")

    assert (no.code, yes.code) == (4, 0)
    assert "c.csv" in no.err and "2 issued, 3 pending" in no.err
    assert "Put 3 pending rows aside? [y/N]" in no.err
    assert kept == {"issued": 2, "pending": 3}
    assert await counts(console, job) == {"issued": 2, "cancelled": 3}
    assert "the wrong series" in (await console("status", job)).out


async def test_cancelled_rows_are_put_back_and_sent_by_retry(console: Console) -> None:
    job = await half_done(console)
    done = await console("cancel", job, "--yes")
    back = await console("retry", job, "--cancelled", *QUICK)
    again = await console("retry", job, "--cancelled", *QUICK)

    assert f"bulk-issue retry {job} --cancelled" in done.out
    assert "3 cancelled rows are pending again" in back.err
    assert (back.code, await counts(console, job)) == (0, {"issued": 5})
    assert "No cancelled row is left to put back" in again.err
    assert "cancelled by" not in (await console("status", job)).out
    assert not console.box.book.duplicates(console.box.series_id)


async def test_retry_alone_leaves_cancelled_rows_where_they_are(console: Console) -> None:
    job = await half_done(console)
    await console("cancel", job, "--yes")
    both = await console("retry", job, "--cancelled", "--code", "701")

    assert both.code == 2
    assert (await console("retry", job, *QUICK)).code == 4
    assert await counts(console, job) == {"issued": 2, "cancelled": 3}


async def test_the_screen_of_a_running_job_says_who_cancelled_it_and_why(console: Console) -> None:
    file = console.customers("c.csv", mobiles(400))
    log = console.folder / "log.jsonl"
    flags = (*QUICK, "--pace", "even", "--rate", "600", "--log-file", log)
    run = await console.start("run", file, "--series", console.box.series_id, *flags)
    while console.box.book.count(console.box.series_id) < 10 and run.returncode is None:
        await asyncio.sleep(0.01)
    (job,) = [json.loads(line)["job"] for line in (await console("status", "--json")).out.splitlines()]
    console.env = {"LOGNAME": "asha"}
    await console("cancel", job, "--yes", "--why", "the wrong series")
    done = await ended(run)

    assert done.code == 4
    assert "Cancelled by asha" in done.err and "the wrong series" in done.err
    assert "Stopped: cancelled by asha" in done.out and "the wrong series" in done.out
    assert "cancelled by asha" in log.read_text() and "the wrong series" not in log.read_text()
