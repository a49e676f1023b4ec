"""One table as a CSV file or a workbook: every cell is text, and stays the text that it is."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bulk_issue.commands import command
from bulk_issue.errors import SinkError
from bulk_issue.model import JobId
from bulk_issue.shown import RESULTS, WIDTHS, remedy

#: Lines that an Excel sheet holds, its header included.
SHEET_LINES = 1_048_576

#: Writes one line of a table.
Write = Callable[[Sequence[str]], object]


@contextmanager
def csv_table(path: Path, header: Sequence[str]) -> Iterator[Write]:
    """UTF-8 with a byte order mark, so that Excel takes it for what it is."""
    # CRLF: with it every version of `csv` quotes both CR and LF. What UTF-8 can't hold (half a surrogate pair in an
    # answer's text) is written escaped rather than not at all.
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        file.write("\ufeff")
        write: Write = csv.writer(file, lineterminator="\r\n").writerow
        write(header)
        yield write


@contextmanager
def xlsx_table(
    path: Path,
    header: Sequence[str],
    facts: Callable[[], Mapping[str, Any]],
    reasons: Counter[tuple[str, str]],
) -> Iterator[Write]:
    """A workbook of text cells. Failures have no second sheet, so that reading them back needs no choice of sheet."""
    import xlsxwriter  # type: ignore[import-untyped]  # noqa: PLC0415 - files are mostly CSV

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
                        hint=as_csv(facts()["job"]),
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


def as_csv(job: JobId) -> str:
    """What to do with what doesn't fit into a workbook."""
    return f"CSV has no such bound: {command('export', job, '--format', 'csv')}"
