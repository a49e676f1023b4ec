"""Excel workbooks (.xlsx), read by calamine, as the text that a person would expect in a CSV.

A sheet is read whole. What a number can't say is left visible instead of mended: beyond 15 digits Excel itself has lost
some, so such a number comes out with its `.0` or exponent, and whoever judges the cell refuses it. calamine shows error
cells (#N/A …) as empty (measured, 0.9.1); an identifier that is an error must not look blank, so they are read from the
sheet's XML.
"""

from __future__ import annotations

import datetime as dt
import posixpath
import re
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import python_calamine as calamine

from bulk_issue.config import Reading
from bulk_issue.errors import SourceError

CHUNK = 20_000
#: What a sheet of a million customers unpacks to is a tenth of this; a bomb is a thousand times as much.
MOST_BYTES = 4 << 30

#: Bytes of XML at a time, and at most for an error cell (a formula has up to 8 192 characters).
_BLOCK, _LONGEST_ERROR = 1 << 20, 1 << 16
_ERROR_CELL = re.compile(rb'<(?:\w+:)?c\s([^>]*\bt=["\']e["\'][^>]*)(?<!/)>(.*?)</(?:\w+:)?c>', re.DOTALL)
_VALUE = re.compile(rb"<(?:\w+:)?v>([^<]*)<")
_PLACE = re.compile(rb'\br=["\']([A-Z]+)(\d+)["\']')


class Workbook:
    """One sheet of a workbook; `SourceError` on opening if it can't be read or isn't clear which sheet is meant."""

    def __init__(self, path: Path, reading: Reading) -> None:
        self._path = path
        try:
            with zipfile.ZipFile(path) as parts:
                if sum(part.file_size for part in parts.infolist()) > MOST_BYTES:
                    raise SourceError(
                        f"{path} unpacks to more than {MOST_BYTES >> 30} GiB",
                        hint="That is no list of customers; save the sheet as CSV.",
                    )
                self._sheet = self._choose(calamine.load_workbook(path), reading.sheet)
                self._errors = _errors(parts, self._sheet.name)
        except (zipfile.BadZipFile, calamine.CalamineError, ET.ParseError, LookupError, EOFError) as error:
            raise SourceError(
                f"{path} can't be read as an Excel workbook: {error}",
                hint="Open it in the spreadsheet program and save it again as .xlsx or as CSV UTF-8.",
            ) from error

    @property
    def used(self) -> dict[str, str]:
        return {"sheet": self._sheet.name}

    def records(self) -> Iterator[list[str]]:
        """Every row of the sheet from the top."""
        left = self._sheet.start[1] if self._sheet.start else 0
        for at, values in enumerate(self._sheet.iter_rows()):
            cells = [_text(value) for value in values]
            for column, text in self._errors.get(at, {}).items():
                cells[column - left] = text
            yield cells

    def chunks(self, above: int) -> Iterator[list[list[str]]]:
        """The rows below the header, which is the `above`th; all of them have as many cells."""
        rest = islice(self.records(), above, None)
        while some := list(islice(rest, CHUNK)):
            yield some

    def _choose(self, book: calamine.CalamineWorkbook, wanted: str) -> calamine.CalamineSheet:
        """The sheet that was asked for, otherwise the only one among the visible that isn't empty."""
        known = [sheet for sheet in book.sheets_metadata if sheet.typ == calamine.SheetTypeEnum.WorkSheet]
        names = ", ".join(repr(sheet.name) for sheet in known)
        if wanted:
            if wanted not in (sheet.name for sheet in known):
                raise SourceError(
                    f"{self._path} has no sheet {wanted!r}; its sheets are {names}", hint="Name one with --sheet."
                )
            return book.get_sheet_by_name(wanted)
        visible = [sheet.name for sheet in known if sheet.visible == calamine.SheetVisibleEnum.Visible]
        sheets = [sheet for name in visible if (sheet := book.get_sheet_by_name(name)).height]
        if not sheets:
            raise SourceError(f"{self._path} has nothing in its visible sheets ({names})", hint="Is it the right file?")
        if len(sheets) > 1:
            filled = ", ".join(repr(sheet.name) for sheet in sheets)
            raise SourceError(
                f"{self._path} has {len(sheets)} sheets with content: {filled}",
                hint=f'Say which one, e.g. --sheet "{sheets[0].name}".',
            )
        return sheets[0]


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


def _errors(parts: zipfile.ZipFile, sheet: str) -> Mapping[int, Mapping[int, str]]:
    """The sheet's error cells: row -> column -> what Excel shows, counted from 0."""
    found: defaultdict[int, dict[int, str]] = defaultdict(dict)
    with parts.open(_part(parts, sheet)) as xml:
        rest = b""
        while block := xml.read(_BLOCK):
            text = rest + block
            end = text.rfind(b"c>") + 2  # the end of a cell, with any prefix
            rest = text[max(end, len(text) - _LONGEST_ERROR) :]
            if b'="e"' not in text and b"='e'" not in text:
                continue
            for cell in _ERROR_CELL.finditer(text, 0, end):
                place, value = _PLACE.search(cell[1]), _VALUE.search(cell[2])
                if place is None:
                    raise SourceError(
                        f"the sheet {sheet!r} holds a spreadsheet's errors (#N/A …)",
                        hint="Mend the formulas, or save the sheet as CSV UTF-8.",
                    )
                column = sum((letter - 64) * 26**power for power, letter in enumerate(reversed(place[1])))
                found[int(place[2]) - 1][column - 1] = value[1].decode() if value else "#N/A"
    return dict(found)


def _part(parts: zipfile.ZipFile, sheet: str) -> str:
    """The name of the sheet's part in the archive."""
    book = ET.fromstring(parts.read("xl/workbook.xml"))  # noqa: S314 - expat bounds entities itself
    links = ET.fromstring(parts.read("xl/_rels/workbook.xml.rels"))  # noqa: S314 - expat bounds entities itself
    entry = {entry.get("name"): entry for entry in book.iterfind(".//{*}sheet")}[sheet]
    link = {name.rpartition("}")[2]: value for name, value in entry.attrib.items()}["id"]
    target = {found.get("Id"): found.get("Target", "") for found in links}[link]
    return posixpath.normpath(posixpath.join("xl", target)).lstrip("/")
