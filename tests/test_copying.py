"""A ledger that moves from its file into PostgreSQL: nothing is lost, nothing issued twice, never two in use."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from bulk_issue.config import LedgerUrl
from bulk_issue.errors import ConfigError, JobHeld, LedgerError
from bulk_issue.ledger import backups, copying, open_ledger
from bulk_issue.ledger import moved as mark
from bulk_issue.ledger.schema import metadata
from bulk_issue.model import Identifier, IdentifierKind
from bulk_issue.ports import Budget, Wait
from bulk_issue.sandbox.server import Sandbox
from bulk_issue.sandbox.settings import Settings
from bulk_issue.states import RowState as S
from tests.clocks import ManualClock
from tests.cluster import Cluster
from tests.console import Console, mobiles
from tests.test_ledger import BUDGET, JOB, Desk, file_desk, invalid, mobile, row, spec

__all__ = ["file_desk"]

ROOT = Path(__file__).parent.parent


@pytest.fixture
def url(cluster: Cluster) -> LedgerUrl:
    return cluster.url(cluster.database())


@asynccontextmanager
async def there(url: LedgerUrl, clock: ManualClock) -> AsyncIterator[Desk]:
    """The copy in use, on another host: the file's boot is not its own."""
    ledger = await open_ledger(url)
    try:
        yield Desk(ledger, clock, url)
    finally:
        await ledger.close()


async def moved(desk: Desk, url: LedgerUrl) -> dict[str, int]:
    assert isinstance(desk.place, Path)
    copied = await copying.copy(desk.place, url)
    assert copied is not None
    return dict(copied)


def contents(place: Path) -> dict[str, int]:
    with closing(sqlite3.connect(place)) as file:
        return {name: file.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in map(str, copying.TABLES)}


async def half_done(desk: Desk) -> None:
    """A job with rows in every kind of state, and its run gone."""
    await desk.register([*(row(n) for n in range(1, 7)), invalid(7), row(8, mobile(1))])
    hold = await desk.hold()
    issued, doubtful, *_in_flight = (await desk.begin(hold, 4)).intents
    await desk.issue(issued, "CODE1", 77)
    await desk.doubt(doubtful)
    desk.ledger.jobs._locks.free(JOB)  # as its process' death does


async def test_a_copied_job_goes_on_where_it_was_and_issues_only_the_rest(file_desk: Desk, url: LedgerUrl) -> None:
    await half_done(file_desk)
    before = contents(file_desk.place)  # type: ignore[arg-type]

    assert await moved(file_desk, url) == before
    async with there(url, file_desk.clock) as desk:
        assert await desk.states() == await file_desk.states()
        assert list(desk.ledger.views.results(JOB)) == list(file_desk.ledger.views.results(JOB))
        hold = await desk.hold()
        assert hold.recovered == 2
        assert [intent.row for intent in (await desk.begin(hold)).intents] == [5, 6]
        assert await desk.states() == [S.ISSUED, *[S.IN_DOUBT] * 3, *[S.IN_FLIGHT] * 2, S.INVALID, S.DUPLICATE]


async def test_whoever_was_served_is_a_duplicate_in_the_copy_and_new_rows_get_new_numbers(
    file_desk: Desk, url: LedgerUrl
) -> None:
    await half_done(file_desk)
    await moved(file_desk, url)
    async with there(url, file_desk.clock) as desk:
        for table, number in (("jobs", "seq"), ("permits", "id")):  # a number that collides would be tried again
            ((last, new),) = desk.look(
                f"SELECT max({number}), nextval(pg_get_serial_sequence('{table}', '{number}')) FROM {table}"
            )
            assert (table, new) == (table, int(str(last)) + 1)
        await desk.register([row(1, mobile(1)), row(2, mobile(100))], spec("job-b"))
        hold = await desk.hold("job-b")

        (intent,) = (await desk.begin(hold)).intents
        assert intent.row == 2
        await desk.doubt(intent)
        assert await desk.states("job-b") == [S.DUPLICATE, S.IN_DOUBT]


async def test_every_permit_of_the_file_counts_as_taken_now_on_the_databases_clock(
    file_desk: Desk, url: LedgerUrl
) -> None:
    """The boot clock says that they were free long ago, or will be in years: neither means anything there."""
    four = Budget(account=BUDGET.account, rate=4, per=60.0, unanswered=150.0)
    await file_desk.register(row(n) for n in range(1, 7))
    hold = await file_desk.hold(budget=four)
    for at, intent in enumerate((await file_desk.begin(hold, 4, four)).intents):
        await file_desk.issue(intent, f"CODE{at}")
    await file_desk.release(hold)
    await moved(file_desk, url)
    now = file_desk.clock.now()
    elsewhere = ManualClock(now.wall + 90_000.0, now.boot + 90_000.0, "the database's")
    async with there(url, elsewhere) as desk:
        hold = await desk.hold(budget=four)
        begun = await desk.begin(hold, 4, four)
        assert (list(begun.intents), begun.wait) == ([], Wait.PERMITS)
        assert 59.0 < begun.seconds <= 61.0
        elsewhere.forward(begun.seconds + 1.0)
        assert [intent.row for intent in (await desk.begin(hold, 4, four)).intents] == [5, 6]


async def test_the_file_refuses_every_change_afterwards_and_names_the_new_ledger(
    file_desk: Desk, url: LedgerUrl
) -> None:
    await half_done(file_desk)
    open_before = file_desk.ledger
    await moved(file_desk, url)
    opened_later = await file_desk.another()
    try:
        for ledger in (open_before, opened_later):
            with pytest.raises(LedgerError, match="was moved to postgresql://bulk_issue@/ledger_"):
                await ledger.jobs.hold(JOB, BUDGET, file_desk.clock.now())
            with pytest.raises(LedgerError, match="was moved to"):
                await ledger.jobs.register(spec("job-b"), [[row(1)]], lambda: 0, file_desk.clock.now())
            with pytest.raises(LedgerError, match="was moved to"):
                await ledger.jobs.cancel(JOB)
            assert await ledger.jobs.find(JOB) is not None
    finally:
        await opened_later.close()


async def test_no_backup_takes_the_place_of_a_file_that_was_moved(file_desk: Desk, url: LedgerUrl) -> None:
    """With --nothing-since its rows would be sent beside those of the new ledger."""
    await half_done(file_desk)
    assert isinstance(file_desk.place, Path)
    before = file_desk.place.with_name("before.db")
    await backups.back_up(file_desk.place, before, file_desk.clock.now())
    await moved(file_desk, url)
    file_desk.ledger.jobs._locks.leave()  # as its process' death does

    with pytest.raises(ConfigError, match="was moved to postgresql://"):
        await backups.restore(file_desk.place, before, file_desk.clock.now(), replace=True)


async def test_no_table_of_a_moved_file_can_be_changed_by_hand_or_by_an_older_version(tmp_path: Path) -> None:
    place = tmp_path / "ledger.db"
    ledger = await open_ledger(place)
    with closing(sqlite3.connect(place)) as file:
        for table in metadata.tables.values():
            file.execute(f"INSERT INTO {table.name} VALUES ({', '.join('1' for _ in table.columns)})")
        file.commit()
    await ledger._db.write(lambda tx: mark.mark(tx, "it's elsewhere", "x"))
    await ledger.close()

    with closing(sqlite3.connect(place)) as file:
        for table in metadata.tables.values():
            column = f'"{table.columns.keys()[0]}"'
            for change in ("INSERT INTO {} DEFAULT VALUES", "DELETE FROM {}", f"UPDATE {{}} SET {column} = {column}"):
                with pytest.raises(sqlite3.DatabaseError, match="moved to it's elsewhere"):
                    file.execute(change.format(table.name))


async def test_a_job_that_runs_keeps_the_ledger_where_it_is(file_desk: Desk, url: LedgerUrl) -> None:
    await file_desk.register([row(1), row(2)])
    hold = await file_desk.hold()

    with pytest.raises(JobHeld):
        await moved(file_desk, url)
    assert len((await file_desk.begin(hold)).intents) == 2
    async with there(url, file_desk.clock) as desk:
        assert desk.ledger.views.jobs() == []


async def test_only_an_empty_database_takes_a_copy_and_only_one_does(
    file_desk: Desk, url: LedgerUrl, cluster: Cluster
) -> None:
    await half_done(file_desk)
    async with there(url, file_desk.clock) as desk:
        await desk.register([row(1)], spec("job-b"))
    with pytest.raises(ConfigError, match="in use already: its table jobs"):
        await moved(file_desk, url)
    await moved(file_desk, cluster.url(cluster.database()))

    with pytest.raises(LedgerError, match=r"was moved to .* already"):
        await moved(file_desk, cluster.url(cluster.database()))


async def test_what_postgresql_cannot_hold_is_replaced_and_counts_as_the_same(file_desk: Desk, url: LedgerUrl) -> None:
    """In an order of keys, too, that isn't the file's."""
    odd = [
        Identifier(IdentifierKind.EXTERNAL_ID, text, f"externalId:{text}")
        for text in ("a\0b", "ab", "aé", "a\U0001f600")
    ]
    await file_desk.register(row(n, who) for n, who in enumerate(odd, 1))
    hold = await file_desk.hold()
    await file_desk.begin(hold)
    await file_desk.release(hold)

    assert (await moved(file_desk, url))["claims"] == 4
    async with there(url, file_desk.clock) as desk:
        first, *_others = desk.ledger.views.results(JOB)
        assert first.cells == ("name 1", odd[0].value)


@pytest.mark.parametrize(
    ("planted", "said"),
    [
        ("NEW.code = 'OTHER'; RETURN NEW", "row 3 of the table rows differs in code"),
        ("RETURN NULL", "row 3 of the table rows differs"),
        ("NEW.number = 30; RETURN NEW", "row 3 of the table rows differs in number"),
    ],
)
async def test_a_difference_is_found_and_nothing_is_moved(
    file_desk: Desk, url: LedgerUrl, cluster: Cluster, planted: str, said: str
) -> None:
    await half_done(file_desk)
    database = str(url).rpartition("/")[2]
    cluster.sql(
        f"CREATE FUNCTION bulk_issue.wrong() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {planted}; END $$;"
        "CREATE TRIGGER wrong BEFORE INSERT ON bulk_issue.rows FOR EACH ROW WHEN (NEW.number = 3)"
        " EXECUTE FUNCTION bulk_issue.wrong()",
        database,
    )

    with pytest.raises(LedgerError, match=said):
        await moved(file_desk, url)
    assert cluster.sql("SELECT count(*) FROM bulk_issue.jobs", database) == "0"
    assert (await file_desk.hold()).recovered == 2  # the file is in use


@pytest.mark.parametrize(
    ("place", "refused"),
    [
        ("while the rows are read back", False),
        ("before the mark is on disk", False),
        ("after the mark is on disk", True),
        ("after the copy is committed", True),
        ("before the last word", True),
    ],
)
async def test_wherever_a_copy_dies_one_ledger_at_most_is_in_use_and_the_next_copy_ends_it(
    file_desk: Desk,
    url: LedgerUrl,
    cluster: Cluster,
    place: str,
    refused: bool,  # noqa: FBT001 - a parameter
) -> None:
    await half_done(file_desk)
    assert isinstance(file_desk.place, Path)
    before = contents(file_desk.place)
    arguments = ["ledger", "copy", "--from", str(file_desk.place), "--to", url.url]
    child = await asyncio.create_subprocess_exec(sys.executable, "-m", "tests.copy_child", place, *arguments, cwd=ROOT)

    assert await child.wait() == -9
    database = str(url).rpartition("/")[2]
    arrived = place in ("after the copy is committed", "before the last word")
    async with there(url, file_desk.clock) as desk:  # waits for the dead session's transaction
        assert await desk.ledger.jobs.find(JOB) is None or arrived
        if arrived:  # it may be used at once
            await desk.begin(await desk.hold(), 1)
            before = {}
    if refused:
        with pytest.raises(LedgerError, match="was moved to"):
            await file_desk.hold()
        with pytest.raises(LedgerError, match=r"was moved to .* already"):
            await copying.copy(file_desk.place, cluster.url(cluster.database()))
    assert dict(await copying.copy(file_desk.place, url) or {}) == before
    assert cluster.sql("SELECT count(*) FROM bulk_issue.rows", database) == "8"
    with pytest.raises(LedgerError, match=r"was moved to .* already"):
        await copying.copy(file_desk.place, url)


async def test_a_night_that_was_cut_short_is_ended_from_the_copy_by_the_command_line(
    tmp_path: Path, url: LedgerUrl
) -> None:
    async with Sandbox(Settings(rate=0)) as box:
        console = Console(tmp_path, box)
        file = console.customers("customers.csv", mobiles(30))
        assert (await console.run(file, "--first", 12)).code == 4
        nowhere = await console("ledger", "copy", "--from", tmp_path / "none.db", "--to", url.url)
        secret = await console("ledger", "copy", "--to", url.url.replace("bulk_issue@", "bulk_issue:s3cret@"))
        copied = await console("ledger", "copy", "--from", tmp_path / "ledger.db", "--to", url.url)
        assert (nowhere.code, secret.code) == (2, 2)
        assert "BULK_ISSUE_COPY_TO" in secret.err
        assert copied.code == 0, copied.err
        assert "each compared with its original" in copied.out
        refused = await console.run(file)
        assert (refused.code, "was moved to" in refused.err) == (7, True)
        console.env = {"BULK_ISSUE_LEDGER": url.url}
        rest = await console.run(file)
        assert rest.code == 0, rest.err
        console.check_book(file)
        assert len(console.results(file)) == 30
