"""A person's decisions about rows in doubt, each held against the row that it is about."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bulk_issue.app.intake import judge_record
from bulk_issue.config import Reading
from bulk_issue.countries import country
from bulk_issue.customer_columns import columns
from bulk_issue.decisions import Misplaced, decided, read_decisions
from bulk_issue.errors import ConfigError
from bulk_issue.model import Decision, Job, Lineage, Record
from bulk_issue.ports import Views
from bulk_issue.source import sheet_records
from bulk_issue.states import RowState


def decisions(path: Path, job: Job, views: Views) -> list[Decision]:
    """The decisions of a file, as CSV or as a workbook, about rows of this job; raises `ConfigError`, `SourceError`."""
    misplaced = _misplaced(job, views)
    sheet = sheet_records(path)
    if sheet is None:
        found = read_decisions(path, misplaced)
    else:
        header, *records = sheet or [[]]
        found = decided(path, header, ((f"row {at}", record) for at, record in enumerate(records, 2)), misplaced)
    if not found:
        raise ConfigError(
            f"{path} holds no decision", hint="Fill in its _decision column: `issued CODE` or `not issued`."
        )
    if strangers := {each.lineage.job for each in found} - {job.spec.id}:
        raise ConfigError(
            f"{path} is about job {', '.join(sorted(strangers))}, not {job.spec.id}", hint="Name that job instead."
        )
    return found


def _misplaced(job: Job, views: Views) -> Misplaced:
    """Says whether a record names another customer than its row: a column that was sorted alone decides for others.

    A cell that a spreadsheet has damaged names nobody, and says nothing.
    """
    header, reading = job.spec.header, Reading().like(job.spec.reading)
    places, plan = columns(header, reading.map, reading.identify_by), country(reading.country)

    def key(cells: tuple[str, ...]) -> str | None:
        named = judge_record(Record(number=1, cells=cells), places, reading.identify_by, country=plan).identifier
        return named.key if named is not None else None

    doubtful = frozenset({RowState.IN_DOUBT, RowState.IN_FLIGHT})
    keys = {row.number: key(row.cells) for row in views.results(job.spec.id, doubtful)}

    def misplaced(lineage: Lineage, record: Mapping[str, str]) -> bool:
        named = key(tuple(record.get(name, "") for name in header))
        return named is not None and named != keys.get(lineage.row, named)

    return misplaced
