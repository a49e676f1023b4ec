"""A look into a file before anything is done with it: its first records, and the cells that are damaged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from bulk_issue.app.intake import Intake, intake
from bulk_issue.config import Reading
from bulk_issue.model import JobId, Row
from bulk_issue.source import open_source

#: Records that a look shows.
SHOWN = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """The top of a file, as it stands there."""

    header: tuple[str, ...]
    #: (number, cells) of the first records.
    records: Sequence[tuple[int, tuple[str, ...]]] = field(repr=False)
    #: What the reading went by: delimiter and encoding, or sheet.
    used: Mapping[str, str]
    #: The job whose failures the file holds, if it is such a file.
    origin: JobId | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """One row that names no usable customer, and the cell that is to blame."""

    row: int
    #: The column's name; empty where no single cell is to blame.
    column: str
    cell: str = field(repr=False)
    reason: str
    remedy: str


def preview(path: Path, reading: Reading) -> Preview:
    """The top of a file, whether or not its columns name customers; raises `SourceError` if it can't be read."""
    with open_source(path, reading) as source:
        records = [record for chunk in islice(source.chunks(), 1) for record in chunk[:SHOWN]]
        origins = (record.lineage.job for record in records if record.lineage is not None)
        return Preview(
            header=source.header,
            records=[(record.number, record.cells) for record in records],
            used=dict(source.reading),
            origin=next(origins, None),
        )


def damaged(path: Path, reading: Reading, most: int) -> list[Damage]:
    """The first so many rows that name no usable customer. Reads only as far as it must."""
    with intake(path, reading) as file:
        return list(islice(_damaged(file), most))


def _damaged(file: Intake) -> Iterator[Damage]:
    for row in (row for chunk in file.chunks() for row in chunk):
        if row.problem is not None:
            at = _to_blame(row, file)
            yield Damage(
                row=row.number,
                column="" if at is None else file.source.header[at],
                cell="" if at is None else row.cells[at],
                reason=row.problem.reason,
                remedy=row.problem.remedy,
            )


def _to_blame(row: Row, file: Intake) -> int | None:
    """The filled cell that the reason names; None for a record that is damaged as a whole, or names nobody."""
    reason = row.problem.reason if row.problem else ""
    return next((at for at in file.places.values() if row.cells[at].strip() and f"(column {at + 1})" in reason), None)
