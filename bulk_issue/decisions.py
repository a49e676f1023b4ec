"""What a person decided about rows in doubt: in_doubt.csv (or .xlsx) with its `_decision` column filled in.

A decision can put a row back to be sent, so nothing is guessed: what isn't exactly `issued CODE`, `not issued` or blank
refuses the whole file, naming the row; so does another code in `_coupon_code`. The file may have been saved by a
spreadsheet (`;` or tab, BOM or none, another encoding in cells that don't matter here, blank lines at the end).
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TextIO

from bulk_issue.commands import command
from bulk_issue.errors import SourceError
from bulk_issue.model import Decision, JobId, Lineage

_WANTED = ("_job", "_row", "_decision")
#: Blank in the files of rows in doubt.
CODE = "_coupon_code"
_NOT_OURS = "Give the job's in_doubt.csv or .xlsx with _decision filled in, its other columns as they were."
_ALLOWED = "Write `issued CODE` or `not issued` into _decision, or leave it blank."


#: Whether a record, given as its cells by column, names another customer than its row does.
Misplaced = Callable[[Lineage, Mapping[str, str]], bool]


def _nobody_knows(_row: Lineage, _record: Mapping[str, str]) -> bool:
    return False


def read_decisions(path: Path, misplaced: Misplaced = _nobody_knows) -> list[Decision]:
    """Every decision of the file, in its order; rows without one are left out. Raises `SourceError`."""
    try:
        # Cells in another encoding don't matter here, our own are ASCII; a decision with such bytes is refused.
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            return _decisions(path, file, misplaced)
    except OSError as exc:
        raise SourceError(f"can't read {path}: {exc.strerror}", hint="Give the in_doubt.csv of the job.") from exc
    except csv.Error as exc:
        raise SourceError(f"{path} is not a CSV file: {exc}", hint="Save it as `CSV UTF-8`.") from exc


def _decisions(path: Path, file: TextIO, misplaced: Misplaced) -> list[Decision]:
    delimiter, header = _layout(path, file)
    file.seek(0)
    reader = csv.reader(file, delimiter=delimiter)
    next(reader)
    return decided(path, header, ((f"line {reader.line_num}", record) for record in reader), misplaced)


def decided(
    path: Path, header: list[str], records: Iterable[tuple[str, list[str]]], misplaced: Misplaced = _nobody_knows
) -> list[Decision]:
    """The decisions among records, each with the place where it stands. Raises `SourceError`."""
    if not set(_WANTED) <= set(header):
        raise _not_ours(path, header)
    # Ours come after the user's columns: of two with one name it's the last.
    job_at, row_at, decision_at = (len(header) - 1 - header[::-1].index(name) for name in _WANTED)
    code_at = len(header) - 1 - header[::-1].index(CODE) if CODE in header else None
    decisions: dict[Lineage, Decision] = {}
    for place, record in records:
        cells = record + [""] * (len(header) - len(record))  # spreadsheets drop empty cells at the end of a line
        text = cells[decision_at].strip()
        if not text:
            continue
        where = f"{path}, {place}"
        job, row = cells[job_at].strip(), cells[row_at].strip()
        if not job or not (row.isascii() and row.isdigit() and len(row) < 19):
            raise SourceError(f"{where}: a decision without a readable _job and _row", hint="Restore both columns.")
        lineage = Lineage(job=JobId(job), row=int(row))
        if lineage in decisions:
            raise SourceError(f"{where}: a second decision for row {row} of job {job}", hint="Keep one of them.")
        if misplaced(lineage, dict(reversed(list(zip(header, cells, strict=False))))):
            raise SourceError(
                f"{where}: it names another customer than row {row} of job {job} does",
                hint=f"Was one column sorted without the others? {command('export', job)} writes the file as it was.",
            )
        where = f"{where} (row {row} of job {job})"
        code, beside = _code(text, where), cells[code_at].strip() if code_at is not None else ""
        if beside and beside.casefold() != (code or "").casefold():
            raise SourceError(
                f"{where}: the decision and the code in {CODE} contradict each other",
                hint=f"Write `issued` with that code, or `not issued` and clear {CODE}. Nothing was recorded.",
            )
        decisions[lineage] = Decision(lineage=lineage, code=code)
    return list(decisions.values())


def _layout(path: Path, file: TextIO) -> tuple[str, list[str]]:
    """The delimiter under which the first line holds our columns, and that line."""
    for delimiter in ",;\t":
        file.seek(0)
        header = next(csv.reader(file, delimiter=delimiter), [])
        if set(_WANTED) <= set(header):
            return delimiter, header
    file.seek(0)
    raise _not_ours(path, next(csv.reader(file), []))


def _not_ours(path: Path, header: Iterable[str]) -> SourceError:
    missing = [name for name in _WANTED if name not in set(header)]
    return SourceError(f"{path} has no column {' and no '.join(missing)}", hint=_NOT_OURS)


def _code(text: str, where: str) -> str | None:
    """The code of `issued CODE`, None for `not issued`. The text stays out of the error: it may hold a code."""
    match text.split():
        case [no, word] if (no.lower(), word.lower()) == ("not", "issued"):
            return None
        case [word, code] if word.lower() == "issued" and code.isprintable():
            return code
        case _:
            raise SourceError(f"{where}: the decision can't be understood", hint=_ALLOWED)
