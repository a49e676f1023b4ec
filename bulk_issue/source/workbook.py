"""Excel and OpenDocument workbooks, read by calamine, as the text that a person would expect in a CSV.

A sheet is read whole. What a number can't say is left visible and not repaired: beyond 15 digits Excel itself has lost
some, so such a number comes out with its `.0` or exponent, and the check of the cell refuses it. What calamine
doesn't show of an .xlsx is read from its XML (`sheet`); of the other kinds it can't be seen, and a note says so.
"""

from __future__ import annotations

import datetime as dt
import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO
from xml.etree import ElementTree as ET
from xml.parsers import expat

import python_calamine as calamine

from bulk_issue.config import Reading
from bulk_issue.customer_columns import names_customers
from bulk_issue.errors import SourceError
from bulk_issue.source import binary, opendocument, tables
from bulk_issue.source.archive import Extent, parts_of
from bulk_issue.source.kinds import Kind
from bulk_issue.source.sheet import RowDetails, SheetXml
from bulk_issue.source.tables import LOOKED_AT, Chunk, Marks

_UNSEEN = (
    "Of {kind} files hidden rows, error cells, formulas without a value and zeros that only a number's format shows "
    "can't be seen. Where that matters, save the sheet as .xlsx."
)


class Workbook:
    """One sheet of a workbook; `SourceError` on opening if it can't be read or isn't clear which sheet is meant."""

    def __init__(self, path: Path, file: BinaryIO, kind: Kind, reading: Reading) -> None:
        self._path, self._reading = path, reading
        self._xml: SheetXml | None = None
        notes: list[str] = []
        with _translated(path):
            self._extents = _extents(path, file, kind)
            file.seek(0)
            self._sheet = self._choose(calamine.load_workbook(file), reading.sheet, notes)
            if kind is Kind.XLSX:
                self._xml = SheetXml(zipfile.ZipFile(file), self._sheet.name)
            elif kind is Kind.XLSB and self._extents(self._sheet.name).right + 1 > _width(self._sheet):
                raise SourceError(
                    f"{path}: not all columns of the sheet {self._sheet.name!r} can be read",
                    hint="Open it in the spreadsheet program and save it as .xlsx.",
                )
        if self._xml is None:
            notes.append(_UNSEEN.format(kind=kind))
        self.notes = tuple(notes)

    @property
    def used(self) -> dict[str, str]:
        return {"sheet": self._sheet.name}

    @property
    def left(self) -> int:
        return self._sheet.start[1] if self._sheet.start else 0

    def records(self) -> Iterator[list[str]]:
        """Every row of the sheet from the top."""
        return (cells for cells, _ in self._rows())

    def chunks(self, above: int, width: int) -> Iterator[Chunk]:  # noqa: ARG002 - all rows have as many cells
        """The rows below the first `above` ones."""
        rest = islice(self._rows(), above, None)
        first = above + 1
        while some := list(islice(rest, tables.CHUNK)):
            marks = {at: _marks(details, self.left) for at, (_, details) in enumerate(some) if details is not None}
            yield Chunk([cells for cells, _ in some], first, marks)
            first += len(some)

    def _rows(self) -> Iterator[tuple[list[str], RowDetails | None]]:
        with _translated(self._path):
            yield from self._rows_with_details()

    def _rows_with_details(self) -> Iterator[tuple[list[str], RowDetails | None]]:
        details = self._xml.details() if self._xml is not None else iter(())
        following = next(details, None)
        for at, values in enumerate(self._sheet.iter_rows()):
            while following is not None and following[0] < at:
                following = next(details, None)
            cells = [_text(value) for value in values]
            found = following[1] if following is not None and following[0] == at else None
            if found is not None:
                for column, text in found.errors.items():
                    if 0 <= column - self.left < len(cells):
                        cells[column - self.left] = text
            yield cells, found

    def _choose(self, book: calamine.CalamineWorkbook, wanted: str, notes: list[str]) -> calamine.CalamineSheet:
        """The sheet that was asked for; otherwise the only visible one with content, or with a header of customers."""
        known = [sheet for sheet in book.sheets_metadata if sheet.typ == calamine.SheetTypeEnum.WorkSheet]
        names = [sheet.name for sheet in known]
        if wanted:
            if wanted not in names and wanted.isascii() and wanted.isdigit() and 0 < int(wanted) <= len(names):
                wanted = names[int(wanted) - 1]
            if wanted not in names:
                raise SourceError(
                    f"{self._path} has no sheet {wanted!r}; its sheets are {_listed(names)}",
                    hint="Name one with --sheet, or give its number.",
                )
            return self._loaded(book, wanted)
        visible = [sheet.name for sheet in known if sheet.visible == calamine.SheetVisibleEnum.Visible]
        sheets = [sheet for name in visible if (sheet := self._loaded(book, name)).height]
        if not sheets:
            raise SourceError(
                f"{self._path} has nothing in its visible sheets ({_listed(names)})", hint="Is it the right file?"
            )
        if len(sheets) == 1:
            return sheets[0]
        lists = [sheet for sheet in sheets if self._is_list(sheet)]
        if len(lists) != 1:
            what = f"{len(lists)} of its sheets look" if lists else "none of its sheets looks"
            raise SourceError(
                f"{self._path} has {len(sheets)} sheets with content "
                f"({_listed([sheet.name for sheet in sheets])}), and {what} like a list of customers",
                hint=f'Say which one, e.g. --sheet "{(lists or sheets)[0].name}".',
            )
        notes.append(f"Of {len(sheets)} sheets with content only {lists[0].name!r} names customers: that one is read.")
        return lists[0]

    def _loaded(self, book: calamine.CalamineWorkbook, name: str) -> calamine.CalamineSheet:
        """The sheet, unfolded in memory; refused before that if it is too large."""
        self._extents(name).check(self._path, name)
        return book.get_sheet_by_name(name)

    def _is_list(self, sheet: calamine.CalamineSheet) -> bool:
        tops = ([_text(value) for value in values] for values in islice(sheet.iter_rows(), LOOKED_AT))
        return any(names_customers(names, self._reading.map, self._reading.identify_by) for names in tops)


_BROKEN = (
    zipfile.BadZipFile,
    calamine.CalamineError,
    ET.ParseError,
    expat.ExpatError,
    zlib.error,
    lzma.LZMAError,
    LookupError,
    EOFError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
    struct.error,
)


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """What a broken workbook makes its readers raise, as an error that says what to do."""
    try:
        yield
    except BaseException as error:
        # calamine's Rust panics where a part is shorter than it says: an exception of a class that can't be imported
        if not isinstance(error, _BROKEN) and type(error).__name__ != "PanicException":
            raise
        raise SourceError(
            f"{path} can't be read as a workbook: {error}",
            hint="Open it in the spreadsheet program and save it again as .xlsx or as CSV UTF-8.",
        ) from error


def _extents(path: Path, file: BinaryIO, kind: Kind) -> Callable[[str], Extent]:
    """Says where a sheet has its cells, by its file; of an .xls it says nothing, its sheets are small."""
    if kind is Kind.XLS:
        return lambda _: Extent()
    parts = parts_of(path, file)
    match kind:
        case Kind.XLSX:
            return lambda sheet: SheetXml(parts, sheet).extent()
        case Kind.XLSB:
            return cache(lambda sheet: binary.extent(parts, sheet))
        case _:
            extents = opendocument.extents(parts)
            for sheet, extent in extents.items():
                extent.check(path, sheet)  # calamine unfolds all of them at once
            return extents.__getitem__


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names[:20]) + (", …" if len(names) > 20 else "")


def _width(sheet: calamine.CalamineSheet) -> int:
    return sheet.end[1] + 1 if sheet.end else 0


def _marks(details: RowDetails, left: int) -> Marks:
    return Marks(details.hidden, {column - left: code for column, code in details.damage.items()})


def _text(value: Any) -> str:
    match value:
        case str():
            return value
        case bool():
            return str(value).upper()
        case int() | float():
            # Excel keeps 15 digits of a number: up to there a whole one is exact, beyond the text shows the damage.
            return str(int(value)) if abs(value) < 10**15 and value == int(value) else repr(float(value))
        case dt.datetime():
            return value.isoformat(sep=" ")
        case dt.date() | dt.time():
            return value.isoformat()
        case _:
            return str(value)
