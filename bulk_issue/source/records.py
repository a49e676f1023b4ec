"""A file as records: their numbers, the user's columns among ours, and the row of an earlier job that a record was."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from bulk_issue.columns import ALL_COLUMNS, OURS
from bulk_issue.commands import command
from bulk_issue.config import Reading
from bulk_issue.customer_columns import like_a_customer, names_customers
from bulk_issue.errors import HeaderUnclear, SourceError
from bulk_issue.model import JobId, Lineage, Problem, Record
from bulk_issue.rows import PROBLEMS, problem
from bulk_issue.source.delimited import Delimited
from bulk_issue.source.kinds import Kind
from bulk_issue.source.opening import STDIN, STDIN_NAME, opened
from bulk_issue.source.tables import LOOKED_AT, Marks, Table
from bulk_issue.source.workbook import Workbook
from bulk_issue.states import RowState

#: What may be run again.
FAILED = frozenset({RowState.REJECTED.value, RowState.INVALID.value})

#: What a person must correct or accept: it can't be seen in the result file any more.
STAYING = frozenset({"ragged", "hidden", "uncached", "padded", "short"})
PROBLEMS_BEFORE = "what was wrong with this record before can't be seen here"
_NOTHING: Mapping[int, str] = {}

_ROW_NUMBER = re.compile(r"[1-9][0-9]{0,17}").fullmatch

#: What to do with a file of ours that is no failures file, by the status of the record that shows it.
_INSTEAD = {
    RowState.PENDING.value: ("To send what is pending", "resume"),
    RowState.IN_DOUBT.value: ("To settle what is in doubt", "reconcile"),
}


def _instead(status: str, job: str) -> str:
    if status not in _INSTEAD:
        return ""
    what, how = _INSTEAD[status]
    return f"{what}: {command(how, job)}. "


class Source:
    """An input file. Iterated any number of times, but once at a time; close it or use it in a `with`."""

    def __init__(self, path: Path, file: BinaryIO, kind: Kind, reading: Reading) -> None:
        self.path = STDIN_NAME if path == STDIN else path
        self._file = file
        self._reading = reading
        self._stamp = _stamp(file)
        file.seek(0)
        #: Of what is read: of a packed file's content.
        self.sha256 = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # what it needs is there
        self._table: Table = (
            Delimited(path, file, reading) if kind is Kind.TEXT else Workbook(path, file, kind, reading)
        )
        #: What the reading went by: delimiter and encoding, or sheet.
        self.reading = self._table.used
        #: Wholly blank records below the header, which are not rows; complete after an iteration.
        self.blank = 0
        #: What people should know: what was chosen by itself, and what can't be seen.
        self.notes = list(self._table.notes)
        self._above, names = self._find_header()
        self._width = len(names)
        #: True if this is one of our own result files.
        self.lineage = set(names) >= OURS
        # A name of ours that stands there twice was the user's the first time.
        self._ours = {name: at for at, name in enumerate(names) if self.lineage and name in ALL_COLUMNS}
        self._theirs = [at for at in range(self._width) if at not in self._ours.values()]
        #: False if the user's columns don't stand where they are counted from, so that cells have no address.
        self._in_place = self._theirs == list(range(len(self._theirs)))
        #: The user's columns.
        self.header = tuple(names[at] for at in self._theirs)
        if self.lineage:
            self._check_lineage()

    def chunks(self) -> Iterator[list[Record]]:
        """The records that aren't blank, numbered from 1 without gaps, some 20 000 at a time.

        Raises `SourceError` if the file was changed meanwhile: its records would not be those of `sha256`.
        """
        self.blank = number = 0
        for chunk in self._table.chunks(self._above, self._width):
            records = []
            for at, cells in enumerate(chunk.lines):
                if not "".join(cells).strip():
                    self.blank += 1
                    continue
                number += 1
                records.append(self._record(number, cells, chunk.first and chunk.first + at, chunk.marks.get(at)))
            if records:
                yield records
        if _stamp(self._file) != self._stamp:
            raise SourceError(f"{self.path} was changed while it was read", hint="Run it again when it is complete.")

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _record(self, number: int, cells: Sequence[str], line: int, marks: Marks | None) -> Record:
        trouble: Problem | None = None
        if len(cells) != self._width:
            trouble = problem("ragged", found=len(cells), expected=self._width)
            cells = self._filled(cells)
        elif marks is not None and marks.hidden:
            trouble = problem("hidden")
        damage = marks.cells if marks is not None else _NOTHING
        lineage = None
        if self.lineage:
            job, row, _ = self._origin(cells)
            lineage = Lineage(job=JobId(job), row=int(row)) if job else None
            if trouble is None and (code := self._ours_in(cells, "_error_code")) in STAYING:
                # In the result file it looks sound now; yet what was wrong with it is still so.
                trouble = Problem(code=code, reason=PROBLEMS_BEFORE, remedy=PROBLEMS[code][1])
            cells = (*(cells[at] for at in self._theirs), *cells[self._width :])
            damage = {at: damage[column] for at, column in enumerate(self._theirs) if column in damage}
        return Record(
            number=number,
            cells=tuple(cells),
            lineage=lineage,
            problem=trouble,
            line=line if self._in_place else 0,
            left=self._table.left,
            damage=damage,
        )

    def _filled(self, cells: Sequence[str]) -> Sequence[str]:
        """At least as many cells as the header has; what is too much stays where it is, behind them."""
        return [*cells, *[""] * (self._width - len(cells))]

    def _find_header(self) -> tuple[int, tuple[str, ...]]:
        """How many records stand above the first of the data, and the columns' names."""
        reading = self._reading
        records = self._table.records()
        top = [(at, cells) for at, cells in enumerate(islice(records, LOOKED_AT), 1) if _count(cells)]
        if not top:
            top = [(at, cells) for at, cells in enumerate(records, LOOKED_AT + 1) if _count(cells)][:1]
        if not top:
            raise SourceError(f"{self.path} holds nothing but blanks", hint="Is it the right file?")
        names: Sequence[str]
        if set(top[0][1]) >= OURS:
            above, names = top[0]  # whatever the settings are: they were given for the file that it came from
        elif reading.no_header:
            return 0, tuple(f"column {at}" for at in range(1, len(top[0][1]) + 1))
        elif reading.header_row:
            above, names = self._asked_for(reading.header_row)
        else:
            above, names = self._by_itself(top)
            if like_a_customer(names, next((cells for at, cells in top if at > above), ())):
                raise HeaderUnclear(str(self.path), above, names)
        below = islice(self._table.records(), above, None)
        if not any(map(_count, below)):
            raise SourceError(
                f"{self.path} has a header and no records below it",
                hint="Is it the right file? The first record must hold the columns' names (otherwise: --no-header).",
            )
        return above, tuple(names)

    def _asked_for(self, number: int) -> tuple[int, Sequence[str]]:
        names = next(islice(self._table.records(), number - 1, None), None)
        if names is None or not _count(names):
            what = "has no such record" if names is None else "that record is blank"
            raise SourceError(f"--header-row {number}: {self.path} {what}", hint="Count from 1, blank records too.")
        return number, names

    def _by_itself(self, top: Sequence[tuple[int, Sequence[str]]]) -> tuple[int, Sequence[str]]:
        """The first record that isn't blank; below titles, the only one that names customers."""
        first = top[0]
        found = [(at, cells) for at, cells in top if self._names_customers(cells)]
        if first in found:
            wider = [at for at, cells in found if _count(cells) > _count(first[1])]
            if wider:
                raise SourceError(
                    f"{self.path}: the columns' names may stand in record {first[0]} or {wider[0]}",
                    hint=f"Say which it is, e.g. --header-row {wider[0]}.",
                )
            return first
        if len(found) != 1:
            return first
        ((at, names),) = found
        titles = [cells for before, cells in top if before < at]
        # a title has fewer cells than the names below it, and of one column nobody can tell
        if _count(names) < 2 or any(_count(cells) > 1 and 2 * _count(cells) >= _count(names) for cells in titles):
            return first
        self.notes.append(f"The columns' names are taken from record {at}: what is above it looks like titles.")
        return at, names

    def _names_customers(self, names: Sequence[str]) -> bool:
        return names_customers(names, self._reading.map, self._reading.identify_by)

    def _ours_in(self, cells: Sequence[str], name: str) -> str:
        return cells[self._ours[name]].strip() if name in self._ours else ""

    def _origin(self, cells: Sequence[str]) -> tuple[str, str, str]:
        """Job, row and status as the record tells them; all three blank in a record that somebody added."""
        return self._ours_in(cells, "_job"), self._ours_in(cells, "_row"), self._ours_in(cells, "_status")

    def _check_lineage(self) -> None:
        """Refuse a result file that holds anything but failures, before anything is registered."""
        number = 0
        for chunk in self._table.chunks(self._above, self._width):
            for cells in chunk.lines:
                if not "".join(cells).strip():
                    continue
                number += 1
                origin = job, row, status = self._origin(self._filled(cells))
                if not any(origin):
                    continue
                if status not in FAILED:
                    # A cell is quoted only if it surely is one of our words.
                    found = status if status in set(RowState) else "no status of ours"
                    raise SourceError(
                        f"{self.path} is a result file of bulk-issue, and its record {number} is {found}: "
                        "only rejected and invalid rows can be run again",
                        hint=f"{_instead(status, job)}To run the failures again, give failures.csv.",
                    )
                if not job or not _ROW_NUMBER(row):
                    raise SourceError(
                        f"{self.path}, record {number}: its _job and _row don't say which row it was",
                        hint="Copy them from the failures.csv that it came from, or empty _job, _row and _status.",
                    )


def open_source(path: Path, reading: Reading) -> Source:
    """The file, looked at once from end to end. Raises `SourceError` if it can't be read exactly."""
    file, kind = opened(path, encoded=bool(reading.encoding))
    try:
        return Source(path, file, kind, reading)
    except BaseException:
        file.close()
        raise


def sheet_records(path: Path) -> list[list[str]] | None:
    """Every record of a workbook's one sheet; None if the file is none. Raises `SourceError` if it can't be read."""
    file, kind = opened(path, encoded=False)
    with file:
        return None if kind is Kind.TEXT else list(Workbook(path, file, kind, Reading()).records())


def _count(cells: Sequence[str]) -> int:
    """How many cells aren't blank."""
    return sum(1 for cell in cells if cell.strip())


def _stamp(file: BinaryIO) -> tuple[int, int]:
    state = os.fstat(file.fileno())
    return state.st_size, state.st_mtime_ns
