"""Bad surroundings: closed streams, nobody's home, impatient hands. Each ends in words and a documented code."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import re
import shlex
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from bulk_issue.cli import frame
from bulk_issue.sandbox.book import Endpoint
from bulk_issue.sandbox.faults import fault
from bulk_issue.sandbox.server import Sandbox
from bulk_issue.sandbox.settings import Settings
from tests.console import QUICK, Console, Done, ended, mobiles

#: As on a machine whose user has no entry in the password file.
NOBODY = """
import pwd
def getpwuid(uid):
    raise KeyError(uid)
pwd.getpwuid = getpwuid
"""


@pytest.fixture
async def console(tmp_path: Path) -> AsyncIterator[Console]:
    async with Sandbox(Settings(rate=0)) as box:
        yield Console(tmp_path, box)


def command(console: Console, file: Path, *arguments: object) -> str:
    """The run of a file as one line for a shell."""
    series = console.box.series_id
    words = [sys.executable, "-m", "bulk_issue", "run", file, "--series", series, *QUICK, *arguments]
    return shlex.join(map(str, words))


@pytest.mark.parametrize("closed", ["2>&-", "<&-", ">&-", "<&- >&- 2>&-"])
async def test_a_closed_stream_is_no_trouble_and_the_ledger_never_takes_its_place(
    console: Console, closed: str
) -> None:
    file = console.customers("c.csv", mobiles(3))
    shell = await asyncio.create_subprocess_shell(f"{command(console, file)} {closed}", env=console.environment())

    assert await shell.wait() == 0
    console.check_book(file)
    assert (await console.run(file)).code == 0


@pytest.mark.parametrize("how", ["gone", "full"])
@pytest.mark.parametrize(("words", "code"), [(["--help"], 0), (["run", "--help"], 0), (["run"], 2), (["no-such"], 2)])
async def test_a_stream_that_can_not_be_written_changes_no_exit_code(
    console: Console, words: list[str], code: int, how: str
) -> None:
    reads, gone = os.pipe()
    os.close(reads)
    with os.fdopen(gone, "wb") as pipe, os.fdopen(os.open("/dev/full", os.O_WRONLY), "wb") as full:
        process = await console.start(*words, into=pipe if how == "gone" else full)

        assert await process.wait() == code


async def test_a_name_that_the_terminal_has_no_letters_for_changes_no_exit_code(console: Console) -> None:
    file = console.customers("दिवाली.csv", mobiles(2))
    console.env = {"PYTHONIOENCODING": "latin-1"}
    said = console.folder / "said.out"
    with os.fdopen(os.open(said, os.O_CREAT | os.O_WRONLY), "wb") as into:
        process = await console.start("run", file, "--series", console.box.series_id, *QUICK, into=into)
        code = await process.wait()

    assert code == 0
    assert "Done: nothing is left to do." in said.read_text("latin-1")
    assert r"\u0926\u093f\u0935\u093e\u0932\u0940.csv" in said.read_text("latin-1")
    console.check_book(file)


# --- nobody's home ----------------------------------------------------------------------------------------------


@pytest.fixture
def nobody(console: Console) -> Console:
    (console.folder / "sitecustomize.py").write_text(NOBODY)
    homeless = dict.fromkeys(("HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "LOGNAME", "USER", "LNAME", "USERNAME"))
    console.env = {"PYTHONPATH": os.pathsep.join([str(console.folder), os.environ.get("PYTHONPATH", "")])}
    console.without = frozenset(homeless)
    return console


async def test_without_a_home_the_ledger_must_be_named_and_then_all_is_well(nobody: Console) -> None:
    file = nobody.customers("c.csv", mobiles(2))
    named = await nobody.run(file)
    nobody.without |= {"BULK_ISSUE_LEDGER"}
    unnamed = await nobody.run(file)
    tilde = await nobody.run(file, "--ledger", "~/ledger.db")

    assert named.code == 0, named.err
    assert (unnamed.code, tilde.code) == (2, 7)
    for done in (unnamed, tilde):
        assert "--ledger" in done.err
        assert "bug" not in done.err


async def test_a_decision_of_a_user_without_a_name_is_recorded(nobody: Console) -> None:
    file = nobody.customers("c.csv", mobiles(2))
    denied = frozenset({Endpoint.COUPONS, Endpoint.COUPONS_V11})
    async with Sandbox(Settings(rate=0, denied=denied)) as box:
        nobody.box = box
        box.faults.script(None, fault("drop-before"))
        assert (await nobody.run(file)).code == 5
        (doubtful,) = nobody.folder.glob("c.csv-results/*/in_doubt.csv")
        doubtful.write_text(doubtful.read_text().rstrip("\r\n") + "not issued\n")
        done = await nobody("reconcile", str(nobody.summary(file)["job"]), "--decisions", doubtful)

    assert "1 decision recorded" in done.err, done.err


def test_where_there_is_no_place_for_a_bugs_details_the_temporary_folder_takes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/dev/null/state")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    _message, hint = frame.explained(KeyError("919800001111"))
    (details,) = tmp_path.glob("bug-*.log")

    assert str(details) in hint
    assert "KeyError: …" in details.read_text()
    assert details.stat().st_mode & 0o777 == 0o600


# --- impatient hands --------------------------------------------------------------------------------------------


async def said(process: asyncio.subprocess.Process, words: str) -> None:
    """Wait until it has said so."""
    assert process.stderr is not None
    heard = b""
    while words.encode() not in heard:
        more = await process.stderr.read(1024)
        assert more, f"it ended without {words!r}: {heard!r}"
        heard += more


@contextlib.asynccontextmanager
async def asking(
    console: Console, file: Path, *arguments: object
) -> AsyncIterator[tuple[asyncio.subprocess.Process, Callable[[str], object]]]:
    """A run of a file of 3 customers that waits at its question, and what answers it."""
    terminal, mine = pty.openpty()
    process = await asyncio.create_subprocess_shell(
        f"exec {command(console, file, '--confirm-above', 1, *arguments)}",
        env=console.environment(),
        stdin=mine,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    os.close(mine)
    await said(process, "Issue 3 coupons now?")
    yield process, lambda word: os.write(terminal, f"{word}\n".encode())
    os.close(terminal)


async def test_further_ctrl_cs_do_not_disturb_the_leaving(console: Console) -> None:
    file = console.customers("c.csv", mobiles(5))
    console.box.faults.script(None, fault("hang-after"))
    process = await console.start("run", file, "--series", console.box.series_id, *QUICK, "--timeout", "60")
    while console.box.book.requests() < 2:
        await asyncio.sleep(0.01)
    process.send_signal(signal.SIGINT)
    await said(process, "Stopping")
    process.send_signal(signal.SIGINT)
    await said(process, "Leaving")
    ending = asyncio.ensure_future(ended(process))
    while process.returncode is None:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGINT)  # send_signal would take the exit status from under asyncio
        await asyncio.wait([ending], timeout=0.002)
    done = await ending
    status = await console("status")

    assert done.code == 4
    assert "Traceback" not in done.err
    assert "running" not in status.out
    assert "in doubt" in status.out
    assert (await console.run(file)).code == 0
    console.check_book(file)


@contextlib.contextmanager
def hangups(handler: signal.Handlers) -> Iterator[None]:
    """What processes that are started meanwhile do about a hangup."""
    before = signal.signal(signal.SIGHUP, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


async def test_a_terminal_that_is_closed_lets_requests_end_and_the_end_is_told(console: Console) -> None:
    log, metrics = console.folder / "log", console.folder / "x.prom"
    file = console.customers("c.csv", mobiles(5))
    console.box.faults.script(None, fault("hang-after"))
    mine, terminal = pty.openpty()
    run = ("run", file, "--series", console.box.series_id, *QUICK, "--log-file", log, "--metrics", metrics)
    with os.fdopen(terminal, "wb", buffering=0) as theirs, hangups(signal.SIG_DFL):
        process = await console.start(*run, into=theirs)
    while console.box.book.requests() < 2:
        await asyncio.sleep(0.01)
    os.close(mine)
    process.send_signal(signal.SIGHUP)
    code = await process.wait()
    last = json.loads(log.read_text().splitlines()[-1])

    assert code == 4
    assert (last["event"], last["exit_code"]) == ("ended", 4)
    assert "bulk_issue_last_exit_code" in metrics.read_text()
    assert (await console.run(file)).code == 0
    console.check_book(file)


async def test_under_nohup_a_hangup_changes_nothing(console: Console) -> None:
    file = console.customers("c.csv", mobiles(5))
    console.box.faults.script(fault("hang-before"))
    with hangups(signal.SIG_IGN):
        process = await console.start("run", file, "--series", console.box.series_id, *QUICK)
    while not console.box.book.requests():
        await asyncio.sleep(0.01)
    process.send_signal(signal.SIGHUP)

    assert (await ended(process)).code == 0
    console.check_book(file)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_before_the_run_is_an_end_that_was_asked_for(console: Console, number: signal.Signals) -> None:
    (console.folder / "sitecustomize.py").write_text(
        "import os, time\n"
        "from bulk_issue.cli import values\n"
        "def config(*_given, **_more):\n"
        f"    os.kill(os.getpid(), {int(number)})\n"
        "    time.sleep(100)\n"
        "values.config = config\n"
    )
    console.env = {"PYTHONPATH": os.pathsep.join([str(console.folder), os.environ.get("PYTHONPATH", "")])}
    log = console.folder / "log"
    with hangups(signal.SIG_DFL):
        done = await console.run(console.customers("c.csv", mobiles(1)), "--log-file", log)

    assert done.code == 4
    assert done.err == "\nStopped at once. Run the same command again to go on; nothing is sent twice.\n"
    assert json.loads(log.read_text().splitlines()[-1])["exit_code"] == 4


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_at_a_question_means_no(console: Console, number: signal.Signals) -> None:
    async with asking(console, console.customers("c.csv", mobiles(3))) as (process, _answer):
        ending = asyncio.create_task(ended(process))
        # a signal just before the terminal is read has no effect until the next one: that is how `input` works
        while not ending.done():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)
            await asyncio.wait({ending}, timeout=2.0)
        done = await ending

    assert done.code == 4
    assert "Nothing was started" in done.err
    assert console.box.book.requests() == 0


async def test_a_file_that_is_read_in_another_way_at_the_question_is_not_issued_as_it_was_read_before(
    console: Console,
) -> None:
    file = console.customers("c.csv", mobiles(3))
    async with asking(console, file) as (process, answer):
        other = await console.run(file, "--map", "mobile=mobile", "--first", 1)
        answer("y")
        done = await ended(process)

    assert (other.code, done.code) == (4, 7)
    assert "registered anew" in done.err and "bug" not in done.err
    assert console.box.book.requests() == 1


# --- words ------------------------------------------------------------------------------------------------------


async def next_command(console: Console, done: Done) -> Done:
    """Do what it says, to the letter."""
    found = re.search(r"^(?:[^:\n]+:|  )\s*bulk-issue (.*?)(?:   \(.*)?$", done.out, re.MULTILINE)
    assert found, done.out
    return await console(*shlex.split(found[1]))


async def test_the_next_command_works_as_it_is_printed(console: Console) -> None:
    """The ledger and the account were named by flags: without these the printed command would be about others."""
    box = console.box
    flags = ["--base-url", box.url, "--user", box.user, "--ledger", console.folder / "a ledger.db"]
    file = console.customers("c.csv", [*mobiles(3), "919800000740"])
    console.without = frozenset({"BULK_ISSUE_BASE_URL", "BULK_ISSUE_USER", "BULK_ISSUE_LEDGER"})
    console.env = {"HOME": str(console.folder)}
    first = await console.run(file, "--first", 2, "--again", "diwali", *flags)
    rest = await next_command(console, first)
    rerun = await next_command(console, rest)

    assert (first.code, rest.code, rerun.code) == (4, 1, 1)
    assert "3 issued, 1 rejected" in rest.out
    assert "1 row" in rerun.out and "1 rejected" in rerun.out
    assert box.book.requests() == 5


async def test_failures_name_the_customers_that_they_named_in_their_job(console: Console) -> None:
    """Read afresh, this file would name the refused customer by her e-mail, and she would have a coupon after all."""
    file = console.folder / "c.csv"
    file.write_text("Phone X,E-mail\n9800001111,a.one@example.com\n9800000740,b.two@example.com\n")
    first = await console.run(file, "--map", "mobile=Phone X", "--country", "in")
    printed = await next_command(console, first)
    (failures,) = console.folder.glob("c.csv-results/*/failures.csv")
    plain = await console.run(failures)

    assert "--rate 60000" in first.out and "--country in" in first.out
    assert (first.code, printed.code, plain.code) == (1, 1, 1)
    assert "customers named by mobile from 'Phone X'" in plain.err
    assert "country IN, map mobile=Phone X" in plain.err
    assert console.box.book.count(console.box.series_id) == 1


async def test_cancelling_what_has_ended_changes_nothing_and_says_so(console: Console) -> None:
    file = console.customers("c.csv", mobiles(2))
    await console.run(file)
    job = str(console.summary(file)["job"])
    done = await console("cancel", job, "--yes")

    assert (done.code, done.out) == (0, f"Job {job} has ended and has no pending rows; nothing was changed.\n")
    assert "cancelled" not in (await console("status", job)).out
    assert (await console.run(file)).code == 0


async def test_one_row_is_one_row(console: Console) -> None:
    file = console.customers("c.csv", [*mobiles(2), "919800000740"])
    stopped = await console.run(file, "--first", 1)
    job = str(console.summary(file)["job"])
    await console.run(file)
    retried = await console("retry", job, *QUICK)

    assert "--first 1: so many rows were sent" in stopped.out
    assert "1 rejected row is pending again." in retried.err
