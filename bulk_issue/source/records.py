"""A file as records: their numbers, the user's columns among ours, and the row of an earlier job that a record was."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Sequence
from io import BufferedReader
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from bulk_issue.columns import ALL_COLUMNS
from bulk_issue.config import Reading
from bulk_issue.errors import SourceError
from bulk_issue.model import JobId, Lineage, Problem, Record
from bulk_issue.rows import PROBLEMS, problem
from bulk_issue.source.delimited import Delimited
from bulk_issue.source.kinds import is_workbook
from bulk_issue.source.workbook import Workbook
from bulk_issue.states import RowState

#: What may be run again.
FAILED = frozenset({RowState.REJECTED.value, RowState.INVALID.value})

_ROW_NUMBER = re.compile(r"[1-9][0-9]{0,17}").fullmatch

#: What to do with a file of ours that is no failures file, by the status of the record that shows it.
_INSTEAD = {
    RowState.PENDING.value: "To send what is pending: bulk-issue resume {job}. ",
    RowState.IN_DOUBT.value: "To settle what is in doubt: bulk-issue reconcile {job}. ",
}


class _Table(Protocol):
    """What a reader of one kind of file offers. Each call starts again from the top."""

    @property
    def used(self) -> dict[str, str]:
        """What the reading went by."""
        ...

    def records(self) -> Iterator[list[str]]:
        """Every record, one by one: for a look."""
        ...

    def chunks(self, above: int) -> Iterator[Sequence[Sequence[str]]]:
        """The records below the header, which is the `above`th record; each with exactly the cells it has."""
        ...


class Source:
    """An input file. Iterated any number of times, but once at a time; close it or use it in a `with`."""

    def __init__(self, path: Path, file: BufferedReader, reading: Reading) -> None:
        self._path = path
        self._file = file
        self._stamp = _stamp(file)
        #: Of the file's bytes.
        self.sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        self._table: _Table = (
            Workbook(path, reading)
            if is_workbook(path, file, encoded=bool(reading.encoding))
            else Delimited(path, file, reading)
        )
        #: What the reading went by: delimiter and encoding, or sheet.
        self.reading = self._table.used
        #: Wholly blank records below the header, which are not rows; complete after an iteration.
        self.blank = 0
        self._above, names = self._find_header()
        self._width = len(names)
        #: True if this is one of our own result files.
        self.lineage = {"_job", "_row"} <= set(names)
        # A name of ours that stands there twice was the user's the first time.
        self._ours = {name: at for at, name in enumerate(names) if self.lineage and name in ALL_COLUMNS}
        self._theirs = [at for at in range(self._width) if at not in self._ours.values()]
        #: The user's columns.
        self.header = tuple(names[at] for at in self._theirs)
        if self.lineage:
            self._check_lineage()

    def chunks(self) -> Iterator[list[Record]]:
        """The records that aren't blank, numbered from 1 without gaps, some 20 000 at a time.

        Raises `SourceError` if the file was changed meanwhile: its records would not be those of `sha256`.
        """
        self.blank = number = 0
        for chunk in self._table.chunks(self._above):
            records = []
            for cells in chunk:
                if not "".join(cells).strip():
                    self.blank += 1
                    continue
                number += 1
                records.append(self._record(number, cells))
            if records:
                yield records
        if _stamp(self._file) != self._stamp:
            raise SourceError(f"{self._path} was changed while it was read", hint="Run it again when it is complete.")

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _record(self, number: int, cells: Sequence[str]) -> Record:
        trouble: Problem | None = None
        if len(cells) != self._width:
            trouble = problem("ragged", found=len(cells), expected=self._width)
            cells = self._filled(cells)
        if not self.lineage:
            return Record(number=number, cells=tuple(cells), problem=trouble)
        job, row, _ = self._origin(cells)
        if trouble is None and self._ours_in(cells, "_error_code") == "ragged":
            # Filled up for the result file, it looks sound now; yet its cells may stand under the wrong names.
            trouble = Problem(code="ragged", reason="the record was ragged before", remedy=PROBLEMS["ragged"][1])
        return Record(
            number=number,
            cells=(*(cells[at] for at in self._theirs), *cells[self._width :]),
            lineage=Lineage(job=JobId(job), row=int(row)) if job else None,
            problem=trouble,
        )

    def _filled(self, cells: Sequence[str]) -> Sequence[str]:
        """At least as many cells as the header has; what is too much stays where it is, behind them."""
        return [*cells, *[""] * (self._width - len(cells))]

    def _find_header(self) -> tuple[int, tuple[str, ...]]:
        """The first record that isn't blank, and which one it is."""
        records = self._table.records()
        for above, cells in enumerate(records, 1):
            if "".join(cells).strip():
                if not any("".join(rest).strip() for rest in records):
                    raise SourceError(
                        f"{self._path} has a header and no records below it",
                        hint="Is it the right file? The first record must hold the columns' names.",
                    )
                return above, tuple(cells)
        raise SourceError(f"{self._path} holds nothing but blanks", hint="Is it the right file?")

    def _ours_in(self, cells: Sequence[str], name: str) -> str:
        return cells[self._ours[name]].strip() if name in self._ours else ""

    def _origin(self, cells: Sequence[str]) -> tuple[str, str, str]:
        """Job, row and status as the record tells them; all three blank in a record that somebody added."""
        return self._ours_in(cells, "_job"), self._ours_in(cells, "_row"), self._ours_in(cells, "_status")

    def _check_lineage(self) -> None:
        """Refuse a result file that holds anything but failures, before anything is registered."""
        number = 0
        for chunk in self._table.chunks(self._above):
            for cells in chunk:
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
                        f"{self._path} is a result file of bulk-issue, and its record {number} is {found}: "
                        "only rejected and invalid rows can be run again",
                        hint=f"{_INSTEAD.get(status, '').format(job=job)}To run the failures again, give failures.csv.",
                    )
                if not job or not _ROW_NUMBER(row):
                    raise SourceError(
                        f"{self._path}, record {number}: its _job and _row don't say which row it was",
                        hint="Copy them from the failures.csv that it came from, or empty _job, _row and _status.",
                    )


def open_source(path: Path, reading: Reading) -> Source:
    """The file, looked at once from end to end. Raises `SourceError` if it can't be read exactly."""
    if str(path) == "-":
        raise SourceError("standard input can't be read", hint="Save it to a file and give its path.")
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise SourceError(f"{path} is a folder", hint="Give the path of one file in it.")
        if not stat.S_ISREG(mode):
            raise SourceError(f"{path} is not a regular file", hint="Save it to a file and give its path.")
        file = path.open("rb")
    except FileNotFoundError:
        raise SourceError(f"{path}: there is no such file", hint="Check the path and its spelling.") from None
    except OSError as error:
        raise SourceError(f"{path} can't be opened: {error.strerror}", hint="Check who may read it.") from error
    try:
        return Source(path, file, reading)
    except BaseException:
        file.close()
        raise


def _stamp(file: BufferedReader) -> tuple[int, int]:
    state = os.fstat(file.fileno())
    return state.st_size, state.st_mtime_ns
