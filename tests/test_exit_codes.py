"""Each exit code, by the console script as it is installed; and that the list people read is the list there is."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bulk_issue.ending import ExitCode
from bulk_issue.sandbox.book import Endpoint
from bulk_issue.sandbox.faults import fault
from bulk_issue.sandbox.server import Sandbox
from bulk_issue.sandbox.settings import Settings
from tests.console import QUICK, Console, Done, ended, mobiles

ROOT = Path(__file__).parent.parent
SCRIPT = Path(sys.executable).with_name("bulk-issue")


@pytest.fixture
async def console(tmp_path: Path) -> AsyncIterator[Console]:
    denied = frozenset({Endpoint.COUPONS, Endpoint.COUPONS_V11})  # rows in doubt stay so
    async with Sandbox(Settings(rate=0, denied=denied)) as box:
        yield Console(tmp_path, box)


async def start(console: Console, *arguments: object) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        SCRIPT,
        *map(str, arguments),
        env=console.environment(),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def run(console: Console, file: Path, *arguments: object) -> Done:
    return await ended(await start(console, "run", file, "--series", console.box.series_id, *QUICK, *arguments))


async def test_done_failures_asked_and_stopped_by_what_became_of_the_rows(console: Console) -> None:
    good = console.customers("good.csv", mobiles(3))
    some = console.customers("some.csv", [*mobiles(1, 50), "919800000701"])
    none = console.customers("none.csv", [f"9198{n:04d}0701" for n in range(9)])

    assert (await run(console, good, "--first", 1)).code == ExitCode.ASKED
    assert (await run(console, good)).code == ExitCode.DONE
    assert (await run(console, some)).code == ExitCode.FAILURES
    assert (await run(console, none)).code == ExitCode.STOPPED


async def test_usage_for_what_can_not_be_meant(console: Console) -> None:
    file = console.customers("c.csv", mobiles(1))

    assert (await run(console, console.folder / "none.csv")).code == ExitCode.USAGE
    assert (await run(console, file, "--rate", "many")).code == ExitCode.USAGE
    assert (await run(console, file, "--rate", 0)).code == ExitCode.USAGE
    assert console.box.book.requests() == 0


async def test_doubt_for_a_row_that_nobody_knows_of(console: Console) -> None:
    console.box.faults.script(None, fault("drop-after"))

    assert (await run(console, console.customers("c.csv", mobiles(3)))).code == ExitCode.DOUBT


async def test_held_for_a_job_that_another_process_runs_and_its_pid_is_named(console: Console) -> None:
    file = console.customers("c.csv", mobiles(3))
    console.box.faults.script(fault("hang-before"))
    first = await start(console, "run", file, "--series", console.box.series_id, *QUICK, "--timeout", 60)
    while not console.box.book.requests():
        await asyncio.sleep(0.01)
    second = await run(console, file)
    first.kill()
    await ended(first)

    assert second.code == ExitCode.HELD
    assert f"process {first.pid}" in second.err


async def test_trouble_for_a_ledger_that_can_not_be_used(console: Console) -> None:
    console.env = {"BULK_ISSUE_LEDGER": str(console.folder / "Dropbox" / "ledger.db")}

    assert (await run(console, console.customers("c.csv", mobiles(1)))).code == ExitCode.TROUBLE


async def test_trouble_for_a_bug_that_is_raised_while_rows_are_sent(console: Console) -> None:
    """Where it came from goes to a private file; its words go nowhere, since nobody knows what is in them."""
    (console.folder / "sitecustomize.py").write_text(
        "import bulk_issue.client\n"
        "async def issue(self, intent):\n"
        "    raise KeyError(intent.identifier.value)\n"
        "bulk_issue.client.Client.issue = issue\n"
    )
    console.env = {"PYTHONPATH": os.pathsep.join([str(console.folder), os.environ.get("PYTHONPATH", "")])}
    file = console.customers("c.csv", mobiles(2))
    done = await run(console, file, "--log-file", console.folder / "log")
    console.env = {}
    (details,) = console.folder.rglob("bug-*.log")

    assert done.code == ExitCode.TROUBLE
    assert "KeyError: …" in details.read_text()
    assert "raise KeyError(intent.identifier.value)" in details.read_text()
    assert details.stat().st_mode & 0o777 == 0o600
    for private in mobiles(2):
        assert private not in done.out + done.err + (console.folder / "log").read_text() + details.read_text()
    assert '"exit": "trouble"' in (console.folder / "log").read_text()
    assert (await run(console, file)).code == ExitCode.DOUBT  # what was begun is in doubt, the rest was issued


def test_the_readme_says_what_each_exit_code_means() -> None:
    told = (ROOT / "README.md").read_text(encoding="utf-8").partition("| exit code | means |")[2]

    assert re.findall(r"^\| (\d) \| \S", told, re.MULTILINE)[: len(ExitCode)] == [str(int(code)) for code in ExitCode]


@pytest.mark.parametrize("code", ExitCode)
def test_the_page_on_unattended_runs_names_each_exit_code(code: ExitCode) -> None:
    told = (ROOT / "docs" / "cron.md").read_text(encoding="utf-8").partition("## Exit codes")[2].partition("##")[0]

    assert re.search(rf"(^|· ){int(code)} \w", told, re.MULTILINE)
