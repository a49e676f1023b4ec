"""What an earlier version left, killed in the middle of everything, is opened, resumed and reconciled today."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from bulk_issue.ledger import HEAD, open_ledger
from bulk_issue.model import JobId
from bulk_issue.sandbox.server import Sandbox
from bulk_issue.sandbox.settings import Settings
from bulk_issue.states import RowState as S
from tests.console import QUICK, Console

FIXTURES = Path(__file__).parent / "fixtures"
DUMPS = sorted(FIXTURES.glob("ledger-*.sql"))


def restored(dump: Path, folder: Path) -> Path:
    path = folder / "ledger.db"
    with sqlite3.connect(path) as ledger:
        ledger.executescript(dump.read_text(encoding="utf-8"))
    ledger.close()
    return path


def test_this_schema_has_its_fixture() -> None:
    assert FIXTURES / f"ledger-{HEAD}.sql" in DUMPS


@pytest.mark.parametrize("dump", DUMPS, ids=lambda dump: dump.stem)
async def test_every_row_of_an_old_ledger_is_where_it_was(dump: Path, tmp_path: Path) -> None:
    ledger = await open_ledger(restored(dump, tmp_path))
    try:
        tally = await ledger.work.tally(JobId("job-a"))
        states = {state for job in ("job-a", "job-c") for state in await ledger.work.tally(JobId(job))}
    finally:
        await ledger.close()

    assert sum(tally.values()) == 13
    assert states == set(S) - {S.LINKED}


@pytest.mark.parametrize("dump", DUMPS, ids=lambda dump: dump.stem)
async def test_an_old_ledger_is_resumed_and_reconciled(dump: Path, tmp_path: Path) -> None:
    restored(dump, tmp_path)
    async with Sandbox(Settings(rate=0)) as box:
        console = Console(tmp_path, box)
        out = ("--out", tmp_path / "a")
        done = await console("resume", "job-a", *QUICK, *out)
        rerun = await console("resume", "job-f", *QUICK, "--out", tmp_path / "f")

        assert (done.code, rerun.code) == (4, 0), done.out + done.err + rerun.out + rerun.err
        shown = await console("status", "job-a", "--json")
        assert '"in_doubt"' not in shown.out
        assert '"pending"' not in shown.out
        # rows 5, 6, 8, 9, 12 and 13 of job-a, and both records of the failures file; rows 1 and 2 had theirs before
        assert len(box.book.coupons_of(box.series_id)) == 8
        assert not box.book.duplicates(box.series_id)
