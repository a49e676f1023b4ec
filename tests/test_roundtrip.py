"""Whatever stands in a customer's file comes back as it was, from the results and through a rerun of the failures."""

from __future__ import annotations

import asyncio
import csv
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bulk_issue.app.intake import intake
from bulk_issue.app.reports import Files, export
from bulk_issue.config import Reading
from bulk_issue.ledger import SqliteLedger, open_ledger
from bulk_issue.model import Coupon, IdentifierKind, Job, JobId, JobSpec, Meaning, Moment, Outcome
from bulk_issue.ports import Budget, Settlement
from bulk_issue.sink import Format
from bulk_issue.source import Source, open_source
from bulk_issue.source.kinds import Kind
from bulk_issue.source.workbook import Workbook
from bulk_issue.states import Event, RowState
from tests.hosts import _empty_ledger, _keep_statements, memory_folder

#: The encoding is named: a file with more control characters than letters isn't taken for text otherwise.
READING = Reading(map={IdentifierKind.MOBILE: "mobile"}, delimiter=",", encoding="utf-8")
BUDGET = Budget(account="host#user", rate=1000, per=60.0, unanswered=150.0)
NOW = Moment(1_790_000_000.0, 5_000.0, "boot-1")

#: What spreadsheets and careless programs damage.
AWKWARD = ["", " ", "007", "0", "1e5", "=1+1", "+91", "-1", "@x", "\t", '"', "a\r\nb", "\n", "\r", ",", "é😀", "'x"]
AWKWARD += [
    "TRUE",
    "1/2/2026",
    "9" * 20,
    "_x0041_",
    "\ufeff",
    "\u2028",
    "\x85",
    "#N/A",
    "{}",
    "'",
    "a;b|c",
    "https://x.example",
]
#: Every character but those two, which XML hasn't got.
text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufffe\uffff"), max_size=12)
cells = st.sampled_from(AWKWARD) | text
names = st.sampled_from(["_status", "_row", "_decision", "_error_code", "_coupon_code", "", "=x"]) | text
mobiles = st.integers(0, 30).map(lambda n: f"9198000000{n:02d}") | cells


@dataclass(frozen=True)
class Table:
    """A customer's file: one of its columns names mobiles."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def filled(self) -> list[tuple[str, ...]]:
        """Its rows; a wholly blank record is none."""
        return [row for row in self.rows if "".join(row).strip()]


@st.composite
def tables(draw: st.DrawFn) -> Table:
    others = draw(st.lists(names.filter(lambda name: name.strip().casefold() != "mobile"), max_size=4))
    at = draw(st.integers(0, len(others)))
    width = len(others) + 1
    row = st.tuples(*(mobiles if column == at else cells for column in range(width)))
    rows = draw(st.lists(row, min_size=1, max_size=6).filter(lambda rows: any("".join(row).strip() for row in rows)))
    return Table((*others[:at], "mobile", *others[at:]), tuple(rows))


def saved(folder: Path, table: Table) -> Path:
    path = folder / "customers.csv"
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file).writerows([table.header, *table.rows])
    return path


async def registered(ledger: SqliteLedger, path: Path, name: str) -> tuple[Job, list[str | None]]:
    """A job of this file, and the keys that its rows name."""
    with intake(path, READING) as file:
        keys = [row.identifier.key if row.identifier else None for chunk in file.chunks() for row in chunk]
        spec = JobSpec(
            id=JobId(name),
            org="o",
            series_id=7,
            again="",
            account=BUDGET.account,
            path=str(path),
            sha256=file.source.sha256,
            header=file.source.header,
        )
        return await ledger.jobs.register(spec, file.chunks(), lambda: 0, NOW), keys


async def answered(ledger: SqliteLedger, job: Job, events: Sequence[Event]) -> None:
    """Send every row; they end as `events` say, turn by turn."""
    hold = await ledger.jobs.hold(job.spec.id, BUDGET, NOW)
    begun = await ledger.work.begin(hold, 100, BUDGET, NOW, 5.0)
    coupon = Coupon(code="=007", series_id=7)
    outcomes = {
        Event.ISSUED: Outcome(meaning=Meaning.ISSUED, coupon=coupon),
        Event.REJECTED: Outcome(meaning=Meaning.REJECTED, error_code="740", reason="=fraud"),
    }
    if begun.intents:
        await ledger.work.finish(
            [
                Settlement(
                    intent=intent,
                    event=(event := events[at % len(events)]),
                    outcome=outcomes[event],
                    at=NOW,
                    left=True,
                    answered=True,
                    counts=True,
                )
                for at, intent in enumerate(begun.intents)
            ]
        )
    await ledger.jobs.release(hold, job.state, "", NOW)


def raw(path: Path) -> list[list[str]]:
    """A result file's records, read by nothing of ours where that can be."""
    if path.suffix == ".xlsx":
        with path.open("rb") as file:
            return list(Workbook(path, file, Kind.XLSX, Reading(sheet=path.stem)).records())
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file))


def kept(source: Source) -> list[tuple[str, ...]]:
    return [record.cells for chunk in source.chunks() for record in chunk]


@pytest.mark.parametrize("file_format", Format)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(table=tables(), events=st.lists(st.sampled_from([Event.ISSUED, Event.REJECTED]), min_size=1, max_size=3))
def test_every_cell_comes_back_and_failures_name_the_same_customers(
    file_format: Format, table: Table, events: list[Event]
) -> None:
    with tempfile.TemporaryDirectory(dir=memory_folder()) as folder:
        asyncio.run(_there_and_back(Path(folder), file_format, table, events))


async def _there_and_back(folder: Path, file_format: Format, table: Table, events: Sequence[Event]) -> None:
    (folder / "ledger.db").write_bytes(_empty_ledger())
    ledger = await open_ledger(folder / "ledger.db", inline=True)
    _keep_statements(ledger)
    try:
        path = saved(folder, table)
        with open_source(path, READING) as source:
            assert kept(source) == table.filled
        job, keys = await registered(ledger, path, "j-parent")
        await answered(ledger, job, events)
        out = (await export(ledger, job, Files(out=folder / "out", format=file_format))).out

        width = len(table.header)
        header, *results = raw(out / f"results.{file_format}")
        assert tuple(header[:width]) == table.header
        assert [tuple(line[:width]) for line in results] == table.filled
        status = header.index("_status", width)
        failed = [at for at, line in enumerate(results) if line[status] in ("rejected", "invalid")]

        failures = out / f"failures.{file_format}"
        assert failures.exists() == bool(failed)
        if failed:
            with open_source(failures, READING) as source:
                assert source.header == table.header
                assert kept(source) == [table.filled[at] for at in failed]
            rerun, again = await registered(ledger, failures, "j-rerun")
            assert again == [keys[at] for at in failed]
            tally = await ledger.work.tally(rerun.spec.id)
            assert tally.get(RowState.PENDING, 0) == sum(results[at][status] == "rejected" for at in failed)
            assert ledger.views.parents(rerun.spec.id) == [job.spec.id]
            assert ledger.views.reruns(job.spec.id) == [rerun.spec.id]
    finally:
        await ledger.close()
