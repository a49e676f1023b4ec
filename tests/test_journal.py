"""The ledger's file and its journal: after a clean end all is in the file, and a file that came alone says so."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bulk_issue.app import inquiry
from bulk_issue.errors import LedgerError
from bulk_issue.findings import Grade
from bulk_issue.ledger import backups, open_ledger
from bulk_issue.ledger.soundness import examine
from bulk_issue.sandbox.server import Sandbox
from bulk_issue.sandbox.settings import Settings
from tests.clocks import ManualClock
from tests.console import Console, ended, mobiles
from tests.test_ledger import Desk, row
from tests.test_web import visiting

SAID = "came without its journal"


@pytest.fixture
async def console(tmp_path: Path) -> AsyncIterator[Console]:
    async with Sandbox(Settings(rate=0)) as box:
        yield Console(tmp_path, box)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    ledger = await open_ledger(tmp_path / "ledger.db")
    yield Desk(ledger, ManualClock(), tmp_path / "ledger.db")
    with contextlib.suppress(RuntimeError):  # the test closed it
        await ledger.close()


def beside(ledger: Path) -> list[str]:
    """What SQLite keeps beside the ledger."""
    return sorted(path.name for path in ledger.parent.glob(f"{ledger.name}-*"))


def alone(ledger: Path, at: str = "alone.db") -> Path:
    """A copy of the file, and of nothing beside it."""
    return Path(shutil.copy(ledger, ledger.with_name(at)))


def wrong(ledger: Path) -> list[str]:
    return [finding.said for finding in examine(ledger) if finding.grade is Grade.FAILED]


# --- all is in the file ---------------------------------------------------------------------------------------------


async def test_after_a_run_all_is_in_the_file(console: Console) -> None:
    ledger = console.folder / "ledger.db"
    done = await console.run(console.customers("c.csv", mobiles(5)))

    assert done.code == 0
    assert beside(ledger) == []
    copy = alone(ledger)
    status = await console("status", "--ledger", copy)
    check = await console("ledger", "check", "--ledger", copy)
    assert (status.code, check.code) == (0, 0)
    assert "c.csv" in status.out
    assert SAID not in status.err + check.out


async def test_after_a_kill_the_next_command_moves_all_into_the_file(console: Console) -> None:
    ledger = console.folder / "ledger.db"
    file = console.customers("c.csv", mobiles(100))
    assert await console.killed(file, lambda: len(console.box.book.coupons_of(console.box.series_id)) > 5)
    assert beside(ledger) == ["ledger.db-shm", "ledger.db-wal"]
    status = await console("status")

    assert status.code == 0
    assert SAID not in status.err
    assert beside(ledger) == []
    assert SAID not in " ".join(wrong(ledger))
    assert (await console.run(file)).code == 0
    console.check_book(file)


@pytest.mark.parametrize("first", [0, 1])
async def test_the_last_one_that_closes_moves_all_into_the_file(desk: Desk, tmp_path: Path, first: int) -> None:
    await desk.register([row(1)])
    both = [desk.ledger, await desk.another()]
    for ledger in both:
        assert ledger.views.jobs()
    await both.pop(first).close()

    assert beside(tmp_path / "ledger.db") == ["ledger.db-shm", "ledger.db-wal"]
    assert SAID in " ".join(wrong(alone(tmp_path / "ledger.db")))
    await both.pop().close()
    assert beside(tmp_path / "ledger.db") == []
    assert SAID not in " ".join(wrong(alone(tmp_path / "ledger.db", "later.db")))


async def test_from_the_first_change_on_the_file_says_that_it_needs_its_journal(desk: Desk, tmp_path: Path) -> None:
    new = alone(tmp_path / "ledger.db", "new.db")
    await desk.register([row(1)])

    assert SAID in " ".join(wrong(alone(tmp_path / "ledger.db")))
    assert SAID in " ".join(wrong(new))


async def test_several_processes_at_once_leave_all_in_the_file(console: Console) -> None:
    files = [console.customers(f"{n}.csv", mobiles(20, 100 * n)) for n in range(2)]
    quick = ("--series", console.box.series_id, "--rate", "60000", "--connections", "2")
    runs = [await console.start("run", file, *quick) for file in files]
    looks = [await console.start("status", "--watch")]
    codes = [(await ended(each)).code for each in runs]
    await asyncio.gather(*(ended(each) for each in looks))

    assert codes == [0, 0]
    assert beside(console.folder / "ledger.db") == []
    assert wrong(console.folder / "ledger.db") == []
    console.check_book(*files)


async def test_a_look_at_a_whole_ledger_changes_no_byte_of_it(desk: Desk, tmp_path: Path) -> None:
    await desk.register([row(1)])
    await desk.ledger.close()
    before = (tmp_path / "ledger.db").read_bytes()
    again = await desk.another()
    assert again.views.jobs()
    await again.close()

    assert (tmp_path / "ledger.db").read_bytes() == before


# --- a file that came alone -------------------------------------------------------------------------------------------


async def test_a_copy_of_a_ledger_in_use_without_its_journal_says_so_and_is_not_sent_from(console: Console) -> None:
    file = console.customers("c.csv", mobiles(100))
    assert await console.killed(file, lambda: len(console.box.book.coupons_of(console.box.series_id)) > 5)
    copy = alone(console.folder / "ledger.db")
    sent = console.box.book.requests()
    here = ("--ledger", copy)
    check = await console("ledger", "check", *here)
    status = await console("status", *here)
    run = await console.run(file, *here)

    assert (check.code, status.code, run.code) == (7, 0, 7), run.err
    for said in (check.out, status.err, run.err):
        assert f"{SAID} ({copy}-wal)" in said
        assert "reopen" in said
    assert SAID in " ".join(wrong(copy))  # also after others have looked into it
    assert console.box.book.requests() == sent


async def test_what_a_missing_journal_held_is_settled_by_reopen(console: Console) -> None:
    file = console.customers("c.csv", mobiles(12))
    slow = ("--rate", "20", "--per", "1", "--pace", "even")
    assert await console.killed(file, lambda: len(console.box.book.coupons_of(console.box.series_id)) > 3, *slow)
    copy = alone(console.folder / "ledger.db")
    for path in console.folder.glob("ledger.db*"):
        path.rename(path.with_name(f"lost-{path.name}"))
    copy.rename(console.folder / "ledger.db")
    refused = await console.run(file)
    reopened = await console("ledger", "reopen")
    done = await console.run(file, "--reconcile-for", "1s")

    assert (refused.code, reopened.code) == (7, 0), reopened.err
    assert SAID not in done.err
    assert wrong(console.folder / "ledger.db") == []
    assert not console.box.book.duplicates(console.box.series_id)


def emptied(ledger: Path) -> None:
    """What a copy of the file of a new ledger was when SQLite had moved nothing into it yet."""
    with contextlib.closing(sqlite3.connect(ledger)) as file:
        file.execute("PRAGMA journal_mode = WAL")
    ledger.chmod(0o600)
    assert ledger.stat().st_size == 4096


async def test_a_copy_with_nothing_in_it_says_so(tmp_path: Path) -> None:
    emptied(tmp_path / "ledger.db")
    before = wrong(tmp_path / "ledger.db")
    ledger = await open_ledger(tmp_path / "ledger.db")
    try:
        doubt = ledger.history.doubtful()
        desk = Desk(ledger, ManualClock(), tmp_path / "ledger.db")
        await desk.register([row(1)])
        with pytest.raises(LedgerError, match=SAID):
            await desk.hold()
        await ledger.care.reopen(desk.clock.now())
        await desk.hold()
    finally:
        await ledger.close()

    assert SAID in " ".join(before)
    assert doubt is not None
    assert wrong(tmp_path / "ledger.db") == []


async def test_who_finds_nobody_in_such_a_copy_is_told_why(tmp_path: Path) -> None:
    emptied(tmp_path / "ledger.db")

    doubt = await inquiry.doubtful(tmp_path / "ledger.db")

    assert doubt is not None
    assert SAID in doubt.message


async def test_the_page_says_it_in_its_own_words(tmp_path: Path) -> None:
    emptied(tmp_path / "ledger.db")
    async with visiting(tmp_path) as visitor:
        await visitor.sign_in()
        _, text = await visitor.get("/")
    (tmp_path / "other").mkdir()
    async with visiting(tmp_path / "other") as visitor:
        await visitor.sign_in()
        _, whole = await visitor.get("/")

    assert "This record of campaigns isn't complete" in text
    assert "isn't complete" not in whole


async def test_a_new_ledger_and_a_backup_of_one_in_use_are_whole(desk: Desk, tmp_path: Path) -> None:
    copy = await backups.back_up(tmp_path / "ledger.db", tmp_path / "copy.db", desk.clock.now())
    assert desk.ledger.history.doubtful() is None
    assert wrong(copy) == []
    again = await open_ledger(copy)
    assert again.history.doubtful() is None
    await again.close()
    assert wrong(alone(copy)) == []


async def test_new_ledgers_that_are_opened_at_once_are_whole(tmp_path: Path) -> None:
    async def opened_and_closed() -> None:
        ledger = await open_ledger(tmp_path / "ledger.db")
        assert ledger.history.doubtful() is None
        await ledger.close()

    def one() -> None:
        asyncio.run(opened_and_closed())

    for _ in range(10):
        await asyncio.gather(*(asyncio.to_thread(one) for _ in range(5)))
        assert beside(tmp_path / "ledger.db") == []
        (tmp_path / "ledger.db").unlink()


async def test_what_looks_without_opening_leaves_the_journal(desk: Desk, tmp_path: Path) -> None:
    """A restore that is refused must not make the ledger look like one that came alone."""
    await desk.register([row(1)])
    ledger = tmp_path / "ledger.db"
    for path in [ledger, *ledger.parent.glob("ledger.db-*")]:  # as a kill leaves it
        shutil.copyfile(path, tmp_path / path.name.replace("ledger", "killed"))
    assert backups.unsound(tmp_path / "killed.db") == ""
    assert wrong(alone(tmp_path / "killed.db")) != []
    killed = await open_ledger(tmp_path / "killed.db")
    try:
        assert killed.history.doubtful() is None
        assert len(killed.views.jobs()) == 1
    finally:
        await killed.close()
