"""Files for people: results, failures, rows in doubt and a summary, as views of the ledger.

The rule: nobody ever finds a half-written file in the folder, and no cell of the input is lost or altered. Files are
written in a private folder beside their places, synced, and renamed. They are never the record: deleting them loses
nothing, writing them again is always right.

A record with more cells than the header keeps the surplus behind our columns, without a header: ours stay in their
places, and what is left without them is the record as it was. One with fewer is filled up with empty cells.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum, unique
from pathlib import Path
from typing import Any

from xlsxwriter.exceptions import XlsxWriterException  # type: ignore[import-untyped]

from bulk_issue.aside import aside_in
from bulk_issue.columns import ALL_COLUMNS, OUR_COLUMNS
from bulk_issue.commands import command
from bulk_issue.errors import LedgerError, SinkError
from bulk_issue.model import Job, JobId
from bulk_issue.ports import ResultRow, Views
from bulk_issue.shown import DECISION, EXCLUDED, IN_DOUBT, RESULTS, SHOWN, by_status, show, utc
from bulk_issue.sink.folder import (
    NAMES,
    SUMMARY,
    Format,
    claim_folder,
    format_in,
    occupied,
    publish,
    set_edited_aside,
    sha256,
)
from bulk_issue.sink.served import SERVED, write_served
from bulk_issue.sink.tables import SHEET_LINES, Write, as_csv, csv_table, xlsx_table
from bulk_issue.states import RowState

__all__ = [
    "SERVED",
    "SHEET_LINES",
    "SUMMARY",
    "Columns",
    "Format",
    "Summary",
    "Written",
    "claim_folder",
    "format_in",
    "sha256",
    "write_results",
    "write_served",
]


@unique
class Columns(StrEnum):
    """Which of our columns are written."""

    STANDARD = "standard"
    ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One run in numbers. Times are epoch seconds, written as ISO 8601 UTC; the sink fills in `counts`."""

    job: JobId
    file: str
    file_sha256: str
    series_id: int
    org: str
    started_at: float | None
    ended_at: float | None
    duration_s: float
    rows: int
    #: Rows by `_status`.
    counts: Mapping[str, int] = field(default_factory=dict)
    requests: int
    responses_429: int
    lookups: int
    #: What was used of the limit, 1.0 for all of it; None where nothing was sent.
    utilisation: float | None
    worst_window: int
    #: Rows of results.csv that bear a coupon's code, and those that bear none; counted when the file is written.
    with_code: int = 0
    without_code: int = 0
    excess: int
    exit_code: int
    version: str

    def facts(self) -> dict[str, Any]:
        """The summary as it is written."""
        return asdict(self) | {"started_at": utc(self.started_at), "ended_at": utc(self.ended_at)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What one write left in the folder."""

    #: Rows by `_status`, every status named.
    counts: Mapping[str, int]
    #: Rows that bear a coupon's code.
    coded: int
    files: Sequence[Path]
    #: Files of an earlier write that a person had edited, under their new names.
    edited: Sequence[Path] = ()


def write_results(
    views: Views,
    job: Job,
    out: Path,
    summary: Summary,
    *,
    columns: Columns = Columns.STANDARD,
    file_format: Format = Format.CSV,
    taken_in: Collection[str] = (),
) -> Written:
    """Write every file of the job in one pass over its rows; on return they are on disk and stale ones are gone.

    What a person has edited keeps its content under another name, but for what was run or, by its SHA-256, `taken_in`.

    Raises `SinkError` if they can't be written (also if the folder isn't this job's), and `LedgerError` if the rows
    are not those that were registered; either way the files from before stand untouched.
    """
    spec, ours = job.spec, ALL_COLUMNS if columns is Columns.ALL else OUR_COLUMNS
    counts, codes = by_status({}), Counter[bool]()

    reasons: Counter[tuple[str, str]] = Counter()

    def facts() -> dict[str, Any]:
        return replace(summary, counts=counts, with_code=codes[True], without_code=codes[False]).facts()

    if file_format is Format.XLSX and job.rows >= SHEET_LINES:
        raise SinkError(f"{job.rows} rows don't fit: an Excel sheet ends at {SHEET_LINES} lines", hint=as_csv(spec.id))
    try:
        if whose := occupied(out, spec.id):
            raise SinkError(
                f"{out}: {whose}", hint=f"Write to another one: {command('export', spec.id, '--out', 'FOLDER')}."
            )
        with aside_in(out) as aside:
            with ExitStack() as tables:
                write: dict[str, Write] = {}
                for name in NAMES:
                    header = [*spec.header, *ours, *([DECISION] if name == IN_DOUBT else [])]
                    path = aside / f"{name}.{file_format}"
                    csv_file = file_format is Format.CSV
                    table = csv_table(path, header) if csv_file else xlsx_table(path, header, facts, reasons)
                    write[name] = tables.enter_context(table)
                kept = _fill(views.results(spec.id), job, ours, write, counts, reasons, codes)
            (aside / SUMMARY).write_text(json.dumps(facts(), indent=2) + "\n", encoding="ascii")
            fresh = {(name, file_format) for name in kept}
            edited = set_edited_aside(out, lambda: {*taken_in, *(known.spec.sha256 for known in views.known())})
            # The summary goes first: it marks the folder as this job's, whatever happens to the moves after it.
            files = publish(
                aside,
                out,
                fresh=[SUMMARY, *(f"{name}.{file_format}" for name in NAMES if name in kept)],
                stale=[f"{name}.{each}" for name in NAMES for each in Format if (name, each) not in fresh],
            )
    except (OSError, XlsxWriterException) as exc:
        why = exc.strerror if isinstance(exc, OSError) and exc.strerror else exc
        hint = f"Nothing is lost: the ledger has it. When that is put right: {command('export', spec.id)}"
        raise SinkError(f"can't write the result files to {out}: {why}", hint=hint) from exc
    return Written(counts=counts, coded=codes[True], files=files, edited=edited)


def _fill(
    rows: Iterator[ResultRow],
    job: Job,
    ours: Sequence[str],
    write: Mapping[str, Write],
    counts: dict[str, int],
    reasons: Counter[tuple[str, str]],
    codes: Counter[bool],
) -> set[str]:
    """Write every row to its tables and count it, failures by (status, error code) and rows with a code (or not) too.

    Says which tables are worth keeping, the results always.
    """
    width, shows = len(job.spec.header), [show(name) for name in ours]
    last, kept, write_result = 0, {RESULTS}, write[RESULTS]
    for row in rows:
        if row.state not in SHOWN or row.number <= last:
            raise _bug(f"row {row.number} comes after row {last} as {row.state}", job)
        last = row.number
        status, also = SHOWN[row.state]
        if row.error_code == EXCLUDED:
            also = None
        counts[status] += 1
        codes[bool(row.code)] += 1
        if row.state in (RowState.REJECTED, RowState.INVALID):
            reasons[status, row.error_code] += 1
        cells, surplus = row.cells, row.cells[width:]
        if len(cells) != width:
            cells = (*cells[:width], *("",) * (width - len(cells)))
        line = (*cells, *[shown(row) for shown in shows])
        write_result((*line, *surplus))
        if also:
            kept.add(also)
            write[also]((*line, "", *surplus) if also == IN_DOUBT else (*line, *surplus))
    if sum(counts.values()) != job.rows:
        raise _bug(f"{sum(counts.values())} rows, and {job.rows} were registered", job)
    return kept


def _bug(what: str, job: Job) -> LedgerError:
    return LedgerError(
        f"the ledger's view of job {job.spec.id} is wrong: {what}",
        hint=f"No file was changed. Run {command('ledger', 'check')}; if that finds nothing, please report this bug.",
    )
