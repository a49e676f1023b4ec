"""Care of the ledger: backups are whole, a restore sends nothing blindly, a purge serves nobody twice.

Rules of the ledger on a clock of the test's own; whole stories with real processes against the sandbox's book.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bulk_issue.config import LedgerUrl
from bulk_issue.errors import ConfigError, JobHeld, LedgerUnavailable
from bulk_issue.findings import Grade
from bulk_issue.ledger import backups, open_ledger, purging
from bulk_issue.ledger.database import Database
from bulk_issue.ledger.locks import Locks
from bulk_issue.ledger.schema import metadata
from bulk_issue.ledger.soundness import examine
from bulk_issue.model import Coupon, JobId, JobState, Lineage
from bulk_issue.ports import Served
from bulk_issue.sandbox.server import Sandbox
from bulk_issue.sandbox.settings import Settings
from bulk_issue.states import Event
from bulk_issue.states import RowState as S
from tests.clocks import ManualClock
from tests.console import Console, ended, mobiles
from tests.test_ledger import BUDGET, JOB, Desk, half_registered, mobile, row, spec
from tests.test_mishaps import asking


@pytest.fixture
async def desk(place: Path | LedgerUrl) -> AsyncIterator[Desk]:
    async with opened(place, ManualClock()) as made:
        yield made


@pytest.fixture
async def file_desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """For what only a file can do."""
    async with opened(tmp_path / "ledger.db", ManualClock()) as made:
        yield made


@contextlib.asynccontextmanager
async def opened(place: Path | LedgerUrl, clock: ManualClock) -> AsyncIterator[Desk]:
    ledger = await open_ledger(place)
    yield Desk(ledger, clock, place)
    with contextlib.suppress(RuntimeError):  # the test closed it
        await ledger.close()


@pytest.fixture
async def console(tmp_path: Path) -> AsyncIterator[Console]:
    async with Sandbox(Settings(rate=0)) as box:
        yield Console(tmp_path, box)


def file(desk: Desk) -> Path:
    assert isinstance(desk.place, Path)
    return desk.place


def everything(desk: Desk) -> bytes:
    """All that the ledger keeps, as bytes."""
    if isinstance(desk.place, Path):
        assert backups.compact(desk.place)
        return b"".join(path.read_bytes() for path in desk.place.parent.glob("ledger.db*") if path.is_file())
    tables = [f"SELECT {name}::text FROM {name}" for name in metadata.tables]
    return repr([desk.look(table) for table in tables]).encode()


@contextlib.asynccontextmanager
async def put_back(
    desk: Desk, tmp_path: Path, *, who: str = "", nothing_since: str = "", before: float = 50.0, after: float = 500.0
) -> AsyncIterator[Desk]:
    """The ledger as of `before` seconds from now, put back `after` seconds later: a file elsewhere."""
    desk.clock.forward(before)
    place = desk.place
    if isinstance(place, Path):
        place = tmp_path / f"{place.stem}-new.db"
        copy = await backups.back_up(file(desk), place.with_suffix(".backup"), desk.clock.now())
        now = desk.clock.forward(after)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(Database, "seconds", staticmethod(lambda: desk.clock.boot))
            await backups.restore(place, copy, now, replace=False, who=who, nothing_since=nothing_since)
        async with opened(place, desk.clock) as old:
            yield old
        return
    await desk.ledger.care.stamp(desk.clock.now())
    await desk.ledger.close()
    now = desk.clock.forward(after)
    async with opened(place, desk.clock) as old:
        await old.ledger.care.reopen(now, who, nothing_since)
        yield old


def wrong(of: Desk | Path) -> list[str]:
    in_file = isinstance(of, Path) or isinstance(of.place, Path)
    found = examine(of if isinstance(of, Path) else file(of)) if in_file else of.ledger.care.findings()  # type: ignore[union-attr]
    return [finding.said for finding in found if finding.grade is Grade.FAILED]


# --- restore ----------------------------------------------------------------------------------------------------


async def test_rows_that_could_be_sent_are_in_doubt_from_the_backup_to_the_restore(desk: Desk, tmp_path: Path) -> None:
    await desk.register([row(n) for n in range(1, 5)])
    hold = await desk.hold()
    await desk.issue(await desk.one(hold), "CODE1")
    await desk.doubt(await desk.one(hold))
    flying = await desk.one(hold)
    async with put_back(desk, tmp_path) as old:
        assert await old.states() == [S.ISSUED, S.IN_DOUBT, S.IN_DOUBT, S.IN_DOUBT]
        doubtful, in_flight, pending = sorted(await old.doubts(), key=lambda doubt: doubt.row)
        assert in_flight.sent == flying.begun
        assert pending.sent.wall == pytest.approx(desk.clock.wall - 500.0)
        assert {doubtful.given_up, in_flight.given_up, pending.given_up} == {desk.clock.now()}
        assert wrong(old) == []


async def test_nothing_of_a_restored_ledger_is_sent_before_the_record_was_asked(desk: Desk, tmp_path: Path) -> None:
    await desk.register([row(1), row(2)])
    async with put_back(desk, tmp_path) as old:
        desk.clock.forward(BUDGET.per)
        hold = await old.hold()
        assert not (await old.begin(hold)).intents
        for doubt in await old.doubts():
            assert await old.ledger.doubts.settle(doubt, Event.ABSENT, None, "not there", None, desk.clock.now())
        assert [intent.row for intent in (await old.begin(hold)).intents] == [1, 2]


async def test_a_rejected_row_that_is_retried_after_a_restore_is_looked_up_first(desk: Desk, tmp_path: Path) -> None:
    """The lost ledger may have retried it, and have got a coupon."""
    await desk.register([row(1)])
    hold = await desk.hold()
    await desk.finish(desk.settlement(await desk.one(hold), Event.REJECTED))
    await desk.release(hold)
    async with put_back(desk, tmp_path) as old:
        assert await old.states() == [S.REJECTED]
        desk.clock.forward(BUDGET.per)
        await old.ledger.jobs.retry(JOB, [])
        assert not (await old.begin(await old.hold())).intents
        assert await old.states() == [S.IN_DOUBT]


async def test_a_cancelled_row_that_is_put_back_after_a_restore_is_looked_up_first(desk: Desk, tmp_path: Path) -> None:
    """The lost ledger may have put it back before, and have got a coupon."""
    await desk.register([row(1)])
    await desk.ledger.jobs.cancel(JOB)
    async with put_back(desk, tmp_path) as old:
        assert await old.states() == [S.CANCELLED]
        desk.clock.forward(BUDGET.per)
        await old.ledger.jobs.put_back(JOB)
        assert not (await old.begin(await old.hold())).intents
        assert await old.states() == [S.IN_DOUBT]


async def test_a_file_that_the_backup_did_not_know_is_looked_up_until_a_person_trusts(
    desk: Desk, tmp_path: Path
) -> None:
    async with put_back(desk, tmp_path) as old:
        await old.register([row(1)])
        assert not (await old.begin(await old.hold())).intents
        assert await old.states() == [S.IN_DOUBT]
        await old.ledger.care.trust("asha", "nothing was run", desk.clock.now())
        await old.register([row(1, mobile(7))], spec("job-b"))
        assert len((await old.begin(await old.hold("job-b"))).intents) == 1
        assert await old.ledger.care.gap() is None


async def test_what_was_being_registered_at_the_backup_claims_nobody(desk: Desk, tmp_path: Path) -> None:
    """The next run of its file removes its rows; a claim that stayed would keep the customer from every file."""
    await half_registered(desk)
    async with put_back(desk, tmp_path) as old:
        await old.register([row(2)])
        await old.ledger.care.trust("asha", "nothing was run", desk.clock.now())
        await old.register([row(1)], spec("job-b"))
        desk.clock.forward(BUDGET.per)
        assert len((await old.begin(await old.hold("job-b"))).intents) == 1
        assert wrong(old) == []


async def test_a_customer_with_rows_under_two_names_is_looked_up_for_each(desk: Desk, tmp_path: Path) -> None:
    await desk.register([row(1)])
    await desk.register([row(1)], spec("job-b", again="diwali"))
    async with put_back(desk, tmp_path) as old:
        desk.clock.forward(BUDGET.per)
        assert (await old.states(), await old.states("job-b")) == ([S.IN_DOUBT], [S.PENDING])
        (first,) = await old.doubts()
        await old.ledger.doubts.settle(
            first, Event.FOUND, Coupon(code="C", series_id=544770), "there", None, desk.clock.now()
        )
        desk.clock.forward(10.0)
        assert not (await old.begin(await old.hold("job-b"))).intents
        assert await old.states("job-b") == [S.IN_DOUBT]


async def test_a_restore_of_a_restore_reaches_back_to_the_first_backup(desk: Desk, tmp_path: Path) -> None:
    await desk.register([row(1)])
    await desk.register([row(1)], spec("job-b", again="diwali"))
    async with put_back(desk, tmp_path) as first:
        backed_up = desk.clock.wall - 500.0
        async with put_back(first, tmp_path) as second:
            assert {doubt.sent.wall for doubt in await second.doubts()} == {backed_up}


async def test_the_lost_ledgers_requests_still_count_against_the_limit(desk: Desk, tmp_path: Path) -> None:
    await desk.register([row(1)])
    hold = await desk.hold()
    await desk.finish(desk.settlement(await desk.one(hold), Event.NOT_PROCESSED))
    await desk.release(hold)
    async with put_back(desk, tmp_path, who="asha", nothing_since="nobody ran anything") as old:
        begun = await old.begin(await old.hold())
        assert (list(begun.intents), begun.seconds) == ([], BUDGET.per)


async def test_who_knows_that_nothing_was_sent_since_needs_no_look(desk: Desk, tmp_path: Path) -> None:
    await desk.register([row(1), row(2)])
    await desk.begin(await desk.hold(), 1)
    async with put_back(desk, tmp_path, who="asha", nothing_since="a planned move") as old:
        assert await old.states() == [S.IN_DOUBT, S.PENDING]
        desk.clock.forward(BUDGET.per)
        assert [intent.row for intent in (await old.begin(await old.hold())).intents] == [2]
        assert await old.ledger.care.gap() is None


async def test_a_restore_is_refused_while_a_job_runs(file_desk: Desk, tmp_path: Path) -> None:
    await file_desk.register([row(1)])
    copy = await backups.back_up(file(file_desk), tmp_path / "copy.db", file_desk.clock.now())
    await file_desk.hold()

    with pytest.raises(JobHeld):
        await backups.restore(file(file_desk), copy, file_desk.clock.now(), replace=True)
    assert await file_desk.states() == [S.PENDING]


async def test_a_restore_is_refused_while_anybody_has_the_ledger_open(file_desk: Desk, tmp_path: Path) -> None:
    """One that only waits would go on with what it knew: numbers of jobs that are others' now."""
    await file_desk.register([row(1)])
    copy = await backups.back_up(file(file_desk), tmp_path / "copy.db", file_desk.clock.now())

    with pytest.raises(JobHeld, match=f"is open in process {os.getpid()}$"):
        await backups.restore(file(file_desk), copy, file_desk.clock.now(), replace=True)
    await file_desk.ledger.close()
    await backups.restore(file(file_desk), copy, file_desk.clock.now(), replace=True)


async def test_nobody_opens_a_ledger_that_is_being_restored(file_desk: Desk) -> None:
    await file_desk.ledger.close()
    with Locks(file(file_desk)).alone(), pytest.raises(LedgerUnavailable, match="being restored"):
        await file_desk.another()
    await (await file_desk.another()).close()


async def test_no_job_gets_the_number_of_one_that_a_restore_has_removed(file_desk: Desk, tmp_path: Path) -> None:
    empty = await backups.back_up(file(file_desk), tmp_path / "empty.db", file_desk.clock.now())
    await file_desk.register([row(1)])
    copy = await backups.back_up(file(file_desk), tmp_path / "copy.db", file_desk.clock.now())
    await file_desk.register([row(1)], spec("job-b"))
    await file_desk.ledger.close()
    for at, backup in enumerate((copy, empty), 3):
        await backups.restore(file(file_desk), backup, file_desk.clock.forward(1.0), replace=True)
        async with opened(file(file_desk), file_desk.clock) as now:
            await now.register([row(1)], spec("job-c"))
            assert now.look("SELECT max(seq) FROM jobs") == [(at,)]


async def test_a_sound_ledger_is_replaced_only_when_asked_and_a_copy_is_kept(file_desk: Desk, tmp_path: Path) -> None:
    await file_desk.register([row(1)])
    copy = await backups.back_up(file(file_desk), tmp_path / "copy.db", file_desk.clock.now())
    await file_desk.register([row(1, mobile(9))], spec("job-b"))
    await file_desk.ledger.close()

    with pytest.raises(ConfigError, match="sound"):
        await backups.restore(file(file_desk), copy, file_desk.clock.now(), replace=False)
    done = await backups.restore(file(file_desk), copy, file_desk.clock.now(), replace=True)
    assert done.kept is not None
    now, kept = await open_ledger(file(file_desk)), await open_ledger(done.kept)
    try:
        assert (len(now.views.jobs()), len(kept.views.jobs())) == (1, 2)
    finally:
        await now.close()
        await kept.close()


async def test_a_damaged_ledger_is_replaced_and_kept(file_desk: Desk, tmp_path: Path) -> None:
    await file_desk.register([row(1)])
    copy = await backups.back_up(file(file_desk), tmp_path / "copy.db", file_desk.clock.now())
    await file_desk.ledger.close()
    file(file_desk).write_bytes(b"not a database at all " * 400)

    assert wrong(file(file_desk))
    done = await backups.restore(file(file_desk), copy, file_desk.clock.now(), replace=False)
    assert done.kept is not None
    assert done.kept.read_bytes().startswith(b"not a database")
    assert wrong(file(file_desk)) == []


@pytest.mark.parametrize("content", [b"", b"hello", None])
async def test_what_is_no_backup_is_refused_and_the_ledger_stays(
    file_desk: Desk, tmp_path: Path, content: bytes | None
) -> None:
    await file_desk.register([row(1)])
    other = tmp_path / "other"
    if content is None:
        with sqlite3.connect(other) as database:
            database.execute("CREATE TABLE t (x)")
        database.close()
    else:
        other.write_bytes(content)

    with pytest.raises(ConfigError, match="no backup"):
        await backups.restore(file(file_desk), other, file_desk.clock.now(), replace=True)
    assert await file_desk.states() == [S.PENDING]


# --- backup -----------------------------------------------------------------------------------------------------


async def test_a_backup_is_private_whole_and_overwrites_nothing(file_desk: Desk, tmp_path: Path) -> None:
    await file_desk.register([row(1), row(2)])
    await file_desk.begin(await file_desk.hold(), 1)
    folder = tmp_path / "copies"
    folder.mkdir()
    copy = await backups.back_up(file(file_desk), folder, file_desk.clock.now())

    assert copy.stat().st_mode & 0o777 == 0o600
    assert list(folder.iterdir()) == [copy]
    assert wrong(copy) == []
    with pytest.raises(ConfigError, match="exists already"):
        await backups.back_up(file(file_desk), copy, file_desk.clock.now())


@pytest.mark.parametrize("name", ["copies", "copies.d/"])
async def test_a_folder_that_is_missing_never_becomes_a_file(file_desk: Desk, tmp_path: Path, name: str) -> None:
    """E.g. a disk that isn't mounted: the first night's copy would take the folder's name, and every later one fail."""
    with pytest.raises(ConfigError, match="there is no folder"):
        await backups.back_up(file(file_desk), f"{tmp_path}/{name}", file_desk.clock.now())
    (tmp_path / name).mkdir()
    assert (await backups.back_up(file(file_desk), f"{tmp_path}/{name}", file_desk.clock.now())).parent.name in name


@pytest.mark.parametrize(
    "doing",
    [
        pytest.param("back_up(at / 'ledger.db', at / 'b.db', now)", id="backup"),
        pytest.param("restore(at / 'new.db', at / 'a.db', now, replace=False)", id="restore"),
    ],
)
async def test_what_a_killed_one_has_left_is_cleared_away_after_a_day(
    file_desk: Desk, tmp_path: Path, doing: str
) -> None:
    await file_desk.register([row(1)])
    await backups.back_up(file(file_desk), tmp_path / "a.db", file_desk.clock.now())
    killed = f"""
import asyncio, os, signal
from pathlib import Path
from bulk_issue.clock import SystemClock
from bulk_issue.ledger import backups
backups.unsound = lambda copy: os.kill(os.getpid(), signal.SIGKILL)
at, now = Path({str(tmp_path)!r}), SystemClock().now()
asyncio.run(backups.{doing})
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", killed)
    assert await process.wait() == -signal.SIGKILL
    (left,) = (each for each in tmp_path.iterdir() if each.name.startswith("."))  # noqa: ASYNC240
    assert any(mobile(1).value.encode() in each.read_bytes() for each in left.iterdir())  # why it mustn't stay

    await backups.back_up(file(file_desk), tmp_path / "c.db", file_desk.clock.now())
    assert left.exists()  # whoever writes it may live
    os.utime(left, (0, 0))
    await backups.back_up(file(file_desk), tmp_path / "d.db", file_desk.clock.now())
    assert not left.exists()


# --- check ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("DELETE FROM claims", "hold no claim"),
        ("UPDATE rows SET state = 'rejected' WHERE state = 'issued'", "were issued nothing"),
        ("UPDATE rows SET code = NULL", "without a code"),
        ("DELETE FROM attempts", "without a request"),
        ("DELETE FROM rows WHERE number = 2", "number of rows"),
        ("UPDATE rows SET of_row = 99 WHERE state = 'duplicate'", "duplicates of rows"),
    ],
)
async def test_check_sees_what_the_promises_rest_on(file_desk: Desk, damage: str, says: str) -> None:
    await file_desk.register([row(1), row(2), row(3, mobile(1))])
    hold = await file_desk.hold()
    await file_desk.issue(await file_desk.one(hold), "CODE1")
    await file_desk.begin(hold)
    assert wrong(file(file_desk)) == []
    with sqlite3.connect(file(file_desk)) as database:
        database.execute(damage)
    database.close()

    assert says in " ".join(wrong(file(file_desk)))


# --- purge ------------------------------------------------------------------------------------------------------


async def finished(desk: Desk) -> None:
    """A finished job: row 1 issued, row 2 rejected."""
    await desk.register([row(1), row(2)])
    hold = await desk.hold()
    await desk.issue(await desk.one(hold), "SECRETCODE1", customer=4711_4711)
    await desk.finish(desk.settlement(await desk.one(hold), Event.REJECTED))
    await desk.ledger.jobs.release(hold, JobState.ENDED, "", desk.clock.now())


async def purged(desk: Desk, older_than: float = 0.0) -> list[JobId]:
    now = desk.clock.forward(100.0)
    return [each.job for each in await desk.ledger.care.purge(now.wall - older_than, "asha", now)]


async def test_a_purge_leaves_no_trace_of_customers_or_codes_and_keeps_the_counts(desk: Desk) -> None:
    await finished(desk)
    before = await desk.ledger.work.tally(JOB)
    assert await purged(desk) == [JOB]
    after = await desk.ledger.work.tally(JOB)
    await desk.ledger.close()

    assert after == before == {S.ISSUED: 1, S.REJECTED: 1}
    content = everything(desk)
    for trace in (mobile(1).value, mobile(2).value, "name 1", "SECRETCODE1", "secretcode1", "47114711"):
        assert trace.encode() not in content


async def test_nobody_is_served_twice_after_a_purge_whatever_the_identifier(desk: Desk) -> None:
    await finished(desk)
    await purged(desk)
    by_id = row(1).identifier
    assert by_id is not None
    known_by_id = type(by_id)(kind=type(by_id.kind)("id"), value="47114711", key="id:47114711")
    await desk.register([row(1), row(2, known_by_id), row(3)], spec("job-b"))
    begun = await desk.begin(await desk.hold("job-b"))

    assert [intent.row for intent in begun.intents] == [3]
    results = list(desk.ledger.views.results(JobId("job-b")))
    assert [result.state for result in results] == [S.DUPLICATE, S.DUPLICATE, S.IN_FLIGHT]
    assert {result.first for result in results[:2]} == {Lineage(job=JOB, row=1)}
    assert dict(desk.ledger.views.served("100001", 544770, "", [mobile(1).key, mobile(9).key])) == {
        mobile(1).key: Served(by=Lineage(job=JOB, row=1))
    }


async def test_a_purged_customer_is_served_again_under_another_name(desk: Desk) -> None:
    await finished(desk)
    await purged(desk)
    await desk.register([row(1)], spec("job-b", again="diwali"))

    assert len((await desk.begin(await desk.hold("job-b"))).intents) == 1


async def test_young_unfinished_and_held_jobs_are_not_purged(desk: Desk) -> None:
    await finished(desk)
    assert await purged(desk, older_than=1000.0) == []
    await desk.ledger.jobs.retry(JOB, [])
    assert await purged(desk) == []
    hold = await desk.hold()
    await desk.finish(desk.settlement(await desk.one(hold), Event.REJECTED))
    await desk.ledger.jobs.release(hold, JobState.ENDED, "", desk.clock.now())
    other = await desk.another()
    await other.jobs.hold(JOB, BUDGET, desk.clock.now())
    assert await purged(desk) == []
    await other.close()


async def test_a_purge_that_was_cut_short_is_finished_by_the_next(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    await finished(desk)
    monkeypatch.setattr(purging, "AT_A_TIME", 1)
    before, database = desk.clock.forward(100.0).wall, desk.ledger._db
    (marked,) = await database.write(lambda tx: purging.mark(tx, database.holders, before, "asha", desk.clock.now()))
    await database.write(lambda tx: purging.forget(tx, marked.seq, 0))

    assert mobile(2).value.encode() in everything(desk)
    assert await purged(desk, older_than=1000.0) == [JOB]
    content = everything(desk)
    assert not any(trace.encode() in content for trace in (mobile(1).value, mobile(2).value, "name 2", "SECRETCODE1"))
    assert await purged(desk) == []


async def test_what_a_purged_job_can_no_longer_do_is_said(desk: Desk) -> None:
    await finished(desk)
    await purged(desk)

    with pytest.raises(ConfigError, match=r"purged on .* by asha"):
        await desk.hold()
    with pytest.raises(ConfigError, match="purged"):
        await desk.ledger.jobs.retry(JOB, [])
    with pytest.raises(ConfigError, match="forgotten") as caught:
        await desk.register([row(1, mobile(2), lineage=Lineage(job=JOB, row=2))], spec("job-b"))
    assert "_job and _row" in caught.value.hint


async def test_a_parent_stays_while_a_rerun_shows_its_rows(desk: Desk) -> None:
    await finished(desk)
    await desk.register([row(1, mobile(2), lineage=Lineage(job=JOB, row=2))], spec("job-b"))
    hold = await desk.hold("job-b")
    await desk.finish(desk.settlement(await desk.one(hold), Event.REJECTED))
    await desk.release(hold)

    assert await purged(desk) == []


#: A restore pauses the account for as long as its limit looks back.
ONE_SECOND = ("--rate", "1000", "--per", "1")

# --- with real processes ----------------------------------------------------------------------------------------


async def test_a_restored_ledger_finds_what_was_issued_since_and_sends_only_the_rest(console: Console) -> None:
    """Three issued, a backup, three more issued and a new file run; then the disk is lost."""
    file, later = console.customers("c.csv", mobiles(7)), console.customers("later.csv", mobiles(2, 500))
    await console.run(file, "--first", 3, *ONE_SECOND)
    copy = (await console("ledger", "backup", console.folder)).out.strip()
    await console.run(file, "--first", 3, *ONE_SECOND)
    await console.run(later, *ONE_SECOND)
    shutil.rmtree(console.folder / "ledger.db.locks")
    for left in console.folder.glob("ledger.db*"):
        left.unlink()
    restored = await console("ledger", "restore", copy)
    assert restored.code == 0, restored.err
    assert "record was asked: 4 rows." in restored.out

    # the new file again, saved with one customer more: coupons of the series' other job prove its reader
    later = console.customers("later.csv", mobiles(3, 500))
    both = await asyncio.gather(console.run(file, *ONE_SECOND), console.run(later, *ONE_SECOND))

    assert [done.code for done in both] == [0, 0], both[0].out + both[1].out
    assert len(issued(console)) == 10
    assert not console.box.book.duplicates(console.box.series_id)
    console.check_book(file, later)


def issued(console: Console) -> list[str]:
    return [coupon.code for coupon in console.box.book.coupons_of(console.box.series_id)]


async def test_a_backup_taken_while_a_job_runs_can_be_restored(console: Console) -> None:
    file = console.customers("c.csv", mobiles(300))
    process = await console.start("run", file, "--series", console.box.series_id, "--rate", "60000", "--quiet")
    while len(console.box.book.coupons_of(console.box.series_id)) < 20:
        await asyncio.sleep(0.002)
    copy = await console("ledger", "backup", console.folder / "copy.db")
    await process.communicate()

    assert (copy.code, process.returncode) == (0, 0)
    assert wrong(console.folder / "copy.db") == []
    restored = await console("ledger", "restore", console.folder / "copy.db", "--ledger", console.folder / "new.db")
    assert restored.code == 0, restored.err
    assert (await console("ledger", "check", "--ledger", console.folder / "new.db")).code == 0


async def test_a_run_that_waits_at_its_question_is_left_with_its_ledger(console: Console) -> None:
    """With another one in its place, the number that it knows its job by would be another file's."""
    file, earlier = console.customers("c.csv", mobiles(3)), console.customers("earlier.csv", mobiles(1, 500))
    await console.run(earlier)
    copy = (await console("ledger", "backup", console.folder)).out.strip()
    async with asking(console, file) as (process, answer):
        restored = await console("ledger", "restore", copy, "--replace")
        answer("y")
        done = await ended(process)

    assert restored.code == 6
    assert f"is open in process {process.pid}" in restored.err
    assert done.code == 0, done.err
    console.check_book(file, earlier)


async def test_a_purged_file_says_so_and_sends_nothing(console: Console) -> None:
    file = console.customers("c.csv", [*mobiles(2), "919800000701"])
    await console.run(file)
    requests = console.box.book.requests()
    with contextlib.closing(sqlite3.connect(console.folder / "ledger.db")) as ledger, ledger:
        ledger.execute("UPDATE jobs SET ended = ended - 2 * 86400")
    young = await console("ledger", "purge", "--older-than", "3d")
    purge = await console("ledger", "purge", "--older-than", "1d")
    (results,) = console.folder.glob("c.csv-results/*/results.csv")
    kept = results.read_bytes()
    same, failures = await console.run(file), await console.run(results.with_name("failures.csv"))
    other = await console.run(console.customers("other.csv", [*mobiles(2), mobiles(1, 700)[0]]))

    assert (young.code, young.out.splitlines()[0][:6]) == (0, "0 jobs")
    assert (purge.code, same.code, failures.code, other.code) == (0, 2, 2, 0), purge.err + other.err
    assert "purged on" in same.err and "_job and _row" in failures.err
    assert results.read_bytes() == kept
    assert console.box.book.requests() == requests + 1


async def test_ledger_check_and_path(console: Console) -> None:
    missing = await console("ledger", "check")
    await console.run(console.customers("c.csv", mobiles(1)))
    sound = await console("ledger", "check")
    os.chmod((await console("ledger", "path")).out.strip(), 0o644)  # noqa: PTH101 - the path as it was printed
    readable = await console("ledger", "check")

    assert (missing.code, sound.code, readable.code) == (2, 0, 7)
    assert "ok       SQLite finds it undamaged" in sound.out
    assert "chmod 600" in readable.out
