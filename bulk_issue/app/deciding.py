"""A person's decisions about rows in doubt, each held against the row that it is about, and the server's record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from bulk_issue.app.intake import judge_record
from bulk_issue.candidates import holds
from bulk_issue.config import Reading as HowRead
from bulk_issue.countries import country
from bulk_issue.customer_columns import columns
from bulk_issue.decisions import Misplaced, decided, read_decisions
from bulk_issue.errors import ConfigError
from bulk_issue.model import Decision, Identifier, Job, Lineage, Reading, ReadProblem, Record, Unreadable
from bulk_issue.ports import Doubts, Limiter, Records, Views
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


async def refuse_unknown(
    decisions: Sequence[Decision], doubts: Doubts, records: Records, limiter: Limiter, series_id: int
) -> None:
    """Raise `ConfigError` for a code that the record of its customer, where it can be read, doesn't show."""
    for decision in decisions:
        customer = await doubts.customer(decision.lineage) if decision.code is not None else None
        if customer is None or decision.code is None:
            continue
        await limiter.acquire(1)
        found = await _read(records, customer)
        if found is None or holds(found, decision.code, series_id):
            continue
        lineage = decision.lineage
        raise ConfigError(
            f"row {lineage.row} of job {lineage.job} can't have got that coupon: Capillary's record doesn't show it",
            hint="Look this customer up in Capillary and copy the code from there. Nothing was recorded.",
        )


async def _read(records: Records, customer: Identifier) -> Reading | None:
    """What the record shows of a customer whom it knows; None where it can't be read."""
    found = await records.coupons(customer)
    if isinstance(found, Unreadable) and found.problem is ReadProblem.NOT_FOUND:
        found = await records.coupons_by_bearer(customer)
    return found if isinstance(found, Reading) and not found.names_nobody else None


def _misplaced(job: Job, views: Views) -> Misplaced:
    """Says whether a record names another customer than its row: a column that was sorted alone decides for others.

    A cell that a spreadsheet has damaged names nobody, and says nothing.
    """
    header, reading = job.spec.header, HowRead().like(job.spec.reading)
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
