"""Files for people: results, failures, rows in doubt and a summary, as views of the ledger.

The rule: nobody ever finds a half-written file in the folder, and no cell of the input is lost or altered. Files are
written in a private folder beside their places, synced, and renamed. They are never the record: deleting them loses
nothing, writing them again is always right.

A record with more cells than the header keeps the surplus behind our columns, without a header: ours stay in their
places, and what is left without them is the record as it was. One with fewer is filled up with empty cells.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum, unique
from pathlib import Path
from typing import Any

import xlsxwriter  # type: ignore[import-untyped]
from xlsxwriter.exceptions import XlsxWriterException  # type: ignore[import-untyped]

from bulk_issue.columns import ALL_COLUMNS, OUR_COLUMNS
from bulk_issue.errors import ConfigError, LedgerError, SinkError
from bulk_issue.model import Job, JobId
from bulk_issue.ports import ResultRow, Views
from bulk_issue.shown import (
    DECISION,
    EXCLUDED,
    FAILURES,
    IN_DOUBT,
    NO_COUPON,
    RESULTS,
    SHOWN,
    WIDTHS,
    remedy,
    show,
    utc,
)
from bulk_issue.states import RowState

SUMMARY = "summary.json"
NAMES = (RESULTS, FAILURES, IN_DOUBT)
#: Lines that an Excel sheet holds, its header included.
SHEET_LINES = 1_048_576

_ASIDE = ".bulk-issue-writing-"
#: No write takes so many seconds: an older folder was left behind by a kill.
_ABANDONED = 24 * 3600.0


@unique
class Columns(StrEnum):
    """Which of our columns are written."""

    STANDARD = "standard"
    ALL = "all"


@unique
class Format(StrEnum):
    """What kind of files is written. The value is their ending."""

    CSV = "csv"
    XLSX = "xlsx"


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
    files: Sequence[Path]


# --- the folder -------------------------------------------------------------------------------------------------


def claim_folder(out: Path, job: JobId) -> None:
    """Prove, before a run starts, that its files can be written to `out`; the folder is there on return.

    Raises `ConfigError` if the folder holds other files under our names (another job's, or a person's), or can't be
    written to. A folder is a job's by the `job` in its summary.json; where that is gone or torn, by its own name.
    """
    try:
        if occupied := _occupied(out, job):
            raise ConfigError(f"--out {out}: {occupied}", hint="Give another folder.")
        with _aside(out) as aside, (aside / "probe").open("wb") as probe:
            probe.write(bytes(4096))
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as exc:
        raise ConfigError(f"--out {out} can't be written to: {exc.strerror}", hint="Give another folder.") from exc


def _occupied(out: Path, job: JobId) -> str:
    """Why the folder isn't this job's to write to; empty if it is."""
    try:
        facts = json.loads((out / SUMMARY).read_bytes())
    except FileNotFoundError:
        names = [f"{name}.{ending}" for ending in Format for name in NAMES]
        found = next((name for name in names if (out / name).exists()), "")
        return f"it holds a {found}, and no {SUMMARY} says whose" if found and not _named_for(job, out) else ""
    except ValueError:
        if _named_for(job, out):  # torn, by a power cut or a full disk
            return ""
        facts = None
    if not isinstance(facts, dict) or not isinstance(facts.get("job"), str):
        return f"its {SUMMARY} is not one of bulk-issue's"
    return "" if facts["job"] == job else f"it holds the files of job {facts['job']}"


def format_in(out: Path) -> Format:
    """Which kind of files a job's folder holds."""
    return Format.XLSX if (out / f"{RESULTS}.{Format.XLSX}").exists() else Format.CSV


def _named_for(job: JobId, out: Path) -> bool:
    """Whether the folder's own name says whose it is, as the default one's does."""
    return out.name.endswith(f"-{job}")


@contextmanager
def _aside(out: Path) -> Iterator[Path]:
    """A private folder within `out`, gone afterwards; also clears away what killed writes left there."""
    out.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left in out.glob(f"{_ASIDE}*"):
        with suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime > _ABANDONED:
                shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=_ASIDE, ignore_cleanup_errors=True) as aside:
        yield Path(aside)


def _publish(aside: Path, out: Path, fresh: Sequence[str], stale: Sequence[str]) -> list[Path]:
    """Move finished files to their places, in that order, durable and readable for nobody else; then remove others."""
    for name in fresh:
        with (aside / name).open("rb") as file:
            os.fchmod(file.fileno(), 0o600)
            os.fsync(file.fileno())
    files = [(aside / name).replace(out / name) for name in fresh]
    for name in stale:
        (out / name).unlink(missing_ok=True)
    folder = os.open(out, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return files


# --- the files --------------------------------------------------------------------------------------------------


def write_results(
    views: Views,
    job: Job,
    out: Path,
    summary: Summary,
    *,
    columns: Columns = Columns.STANDARD,
    file_format: Format = Format.CSV,
) -> Written:
    """Write every file of the job in one pass over its rows; on return they are on disk and stale ones are gone.

    Raises `SinkError` if they can't be written (also if the folder isn't this job's), and `LedgerError` if the rows
    are not those that were registered; either way the files from before stand untouched.
    """
    spec, ours = job.spec, ALL_COLUMNS if columns is Columns.ALL else OUR_COLUMNS
    counts = dict.fromkeys((status for status, _ in SHOWN.values()), 0)

    reasons: Counter[tuple[str, str]] = Counter()

    def facts() -> dict[str, Any]:
        return replace(summary, counts=counts).facts()

    if file_format is Format.XLSX and job.rows >= SHEET_LINES:
        raise SinkError(f"{job.rows} rows don't fit: an Excel sheet ends at {SHEET_LINES} lines", hint=_as_csv(spec.id))
    try:
        if occupied := _occupied(out, spec.id):
            raise SinkError(f"{out}: {occupied}", hint=f"Write to another one: bulk-issue export {spec.id} --out …")
        with _aside(out) as aside:
            with ExitStack() as tables:
                write: dict[str, _Write] = {}
                for name in NAMES:
                    header = [*spec.header, *ours, *([DECISION] if name == IN_DOUBT else [])]
                    path = aside / f"{name}.{file_format}"
                    csv_file = file_format is Format.CSV
                    table = _csv_table(path, header) if csv_file else _xlsx_table(path, header, facts, reasons)
                    write[name] = tables.enter_context(table)
                kept = _fill(views.results(spec.id), job, ours, write, counts, reasons)
            (aside / SUMMARY).write_text(json.dumps(facts(), indent=2) + "\n", encoding="ascii")
            fresh = {(name, file_format) for name in kept}
            # The summary goes first: it marks the folder as this job's, whatever happens to the moves after it.
            files = _publish(
                aside,
                out,
                fresh=[SUMMARY, *(f"{name}.{file_format}" for name in NAMES if name in kept)],
                stale=[f"{name}.{each}" for name in NAMES for each in Format if (name, each) not in fresh],
            )
    except (OSError, XlsxWriterException) as exc:
        why = exc.strerror if isinstance(exc, OSError) and exc.strerror else exc
        hint = f"Nothing is lost: the ledger has it. When that is mended: bulk-issue export {spec.id}"
        raise SinkError(f"can't write the result files to {out}: {why}", hint=hint) from exc
    return Written(counts=counts, files=files)


def _fill(
    rows: Iterator[ResultRow],
    job: Job,
    ours: Sequence[str],
    write: Mapping[str, _Write],
    counts: dict[str, int],
    reasons: Counter[tuple[str, str]],
) -> set[str]:
    """Write every row to its tables and count it, failures by (status, error code) too.

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
        if row.state in (RowState.REJECTED, RowState.INVALID):
            reasons[status, row.error_code] += 1
        cells, surplus = row.cells, row.cells[width:]
        if len(cells) != width:
            cells = (*cells[:width], *("",) * (width - len(cells)))
        coupon = row.coupon or NO_COUPON
        line = (*cells, *[shown(row, coupon) for shown in shows])
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
        hint="No file was changed. Run `bulk-issue ledger check`; if that finds nothing, please report this bug.",
    )


#: Writes one line of a table.
_Write = Callable[[Sequence[str]], object]


@contextmanager
def _csv_table(path: Path, header: Sequence[str]) -> Iterator[_Write]:
    # CRLF: with it every version of `csv` quotes both CR and LF. What UTF-8 can't hold (half a surrogate pair in an
    # answer's text) is written escaped rather than not at all.
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        file.write("\ufeff")
        write: _Write = csv.writer(file, lineterminator="\r\n").writerow
        write(header)
        yield write


@contextmanager
def _xlsx_table(
    path: Path,
    header: Sequence[str],
    facts: Callable[[], Mapping[str, Any]],
    reasons: Counter[tuple[str, str]],
) -> Iterator[_Write]:
    """A workbook of text cells. Failures have no second sheet, so that reading them back needs no choice of sheet."""
    book = xlsxwriter.Workbook(str(path), {"constant_memory": True, "tmpdir": str(path.parent)})
    book.use_zip64()
    try:
        # Text cells stay text when a person edits them: a mobile keeps its zeros.
        text, bold = book.add_format({"num_format": "@"}), book.add_format({"num_format": "@", "bold": True})
        sheet = book.add_worksheet(path.stem)
        for column, name in enumerate(header):
            sheet.set_column(column, column, WIDTHS.get(name, min(max(len(name) + 4, 12), 30)), text)
        sheet.freeze_panes(1, 0)
        lines = 0

        def write(cells: Sequence[str]) -> None:
            nonlocal lines
            for column, cell in enumerate(cells):
                # Names are written even if they are empty: readers take the first filled column for the first.
                if (cell or not lines) and sheet.write_string(lines, column, _utf8(cell), text if lines else bold):
                    raise SinkError(
                        f"{path.name}, line {lines + 1}, column {column + 1}: the cell doesn't fit into Excel "
                        "(32 767 characters, 16 384 columns)",
                        hint=_as_csv(facts()["job"]),
                    )
            lines += 1

        write(header)
        yield write
        sheet.autofilter(0, 0, lines - 1, len(header) - 1)
        sheet.ignore_errors({"number_stored_as_text": f"A1:XFD{lines}"})
        if path.stem == RESULTS:
            notes = book.add_worksheet("summary")
            notes.set_column(0, 1, 30, text)
            for line, (name, value) in enumerate(_flat(facts())):
                notes.write_string(line, 0, name, bold)
                notes.write_string(line, 1, _utf8(value), text)
            _write_reasons(book.add_worksheet("failures by reason"), reasons, bold, text)
        book.close()
    except BaseException:
        for sheet in book.worksheets():
            with suppress(OSError):
                sheet.row_data_fh.close()
        raise


def _write_reasons(sheet: Any, reasons: Counter[tuple[str, str]], bold: Any, text: Any) -> None:
    """How many rows failed for each reason, and what to do about them."""
    for column, (name, width) in enumerate((("rows", 10), ("_status", 12), ("_error_code", 18), ("_remedy", 100))):
        sheet.set_column(column, column, width, text)
        sheet.write_string(0, column, name, bold)
    sheet.freeze_panes(1, 0)
    for line, ((status, code), rows) in enumerate(reasons.most_common(), 1):
        sheet.write_number(line, 0, rows)
        for column, cell in enumerate((status, code, remedy(code)), 1):
            sheet.write_string(line, column, _utf8(cell), text)


def _flat(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(name, text) of each fact, one for each count."""
    for name, value in facts.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}: {part}", str(each)) for part, each in value.items())
        else:
            yield name, "" if value is None else str(value)


def _utf8(text: str) -> str:
    """The text with what UTF-8 can't hold escaped, as in the CSV files."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def _as_csv(job: JobId) -> str:
    return f"CSV has no such bound: bulk-issue export {job} --format csv"
