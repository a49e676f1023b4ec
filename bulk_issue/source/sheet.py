"""What calamine doesn't show of an .xlsx sheet, read from its XML: hidden rows, error cells, formulas without a saved
value, and numbers that only their format gives leading zeros. One pass, a block at a time, in step with the records.
"""

from __future__ import annotations

import posixpath
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.etree import ElementTree as ET

from bulk_issue.errors import SourceError

#: Bytes of XML at a time, and at most for a row: what has more is no list.
_BLOCK, _LONGEST_ROW = 1 << 20, 64 << 20

_ROW = re.compile(rb"<(?:\w+:)?row\b([^>]*?)(?:/>|>(.*?)</(?:\w+:)?row>)", re.DOTALL)
_CELL = re.compile(rb"<(?:\w+:)?c\b([^>]*?)(?:/>|>(.*?)</(?:\w+:)?c>)", re.DOTALL)
_FORMULA = re.compile(rb"<(?:\w+:)?f[\s>/]")
_VALUE = re.compile(rb"<(?:\w+:)?v[^>/]*>([^<]*)<")
_NUMBER = re.compile(rb"""\br=["'](\d+)["']""")
_PLACE = re.compile(rb"""\br=["']([A-Z]+)\d+["']""")
_STYLE = re.compile(rb"""\bs=["'](\d+)["']""")
_ERROR = re.compile(rb"""\bt=["']e["']""")
_TEXT = re.compile(rb"""\bt=["'](?!n["'])""")
_HIDDEN = re.compile(rb"""\bhidden=["'](?:1|true)["']""")
_WHOLE = re.compile(rb"\d{1,15}(?:\.0+)?").fullmatch


@dataclass(slots=True)
class RowDetails:
    """What is remarkable in one row of the sheet; columns count from 0."""

    hidden: bool = False
    #: What Excel shows instead of a value, e.g. `#N/A`.
    errors: dict[int, str] = field(default_factory=dict)
    #: The code of what is wrong with a cell.
    damage: dict[int, str] = field(default_factory=dict)


class SheetXml:
    """One sheet's part of an open archive; raises `LookupError` or `ET.ParseError` if there is no such part."""

    def __init__(self, parts: zipfile.ZipFile, sheet: str) -> None:
        self._parts, self._sheet = parts, sheet
        self._part = _part(parts, sheet)
        #: Style -> how many digits it shows at least.
        self._padding = _padding(parts)
        words = [rb"""\bt=["']e["']""", rb"<(?:\w+:)?f[\s>/]"]
        if self._padding:
            words.append(rb"""\bs=["'](?:%b)["']""" % b"|".join(str(style).encode() for style in self._padding))
        self._remarkable = re.compile(b"|".join(words))

    def details(self) -> Iterator[tuple[int, RowDetails]]:
        """The rows with something remarkable, counted from 0, in the sheet's order."""
        last = -1
        for attributes, body in self._rows():
            number = _NUMBER.search(attributes)
            at = int(number[1]) - 1 if number else last + 1
            if at <= last:
                raise SourceError(
                    f"the sheet {self._sheet!r} has its rows in no order",
                    hint="Save it again in a spreadsheet program.",
                )
            last = at
            hidden = _HIDDEN.search(attributes) is not None
            if hidden or (body and self._remarkable.search(body)):
                yield at, self._row(hidden, body or b"")

    def _rows(self) -> Iterator[tuple[bytes, bytes | None]]:
        with self._parts.open(self._part) as xml:
            rest = b""
            while block := xml.read(_BLOCK):
                text, end = rest + block, 0
                for row in _ROW.finditer(text):
                    end = row.end()
                    yield row[1], row[2]
                rest = text[end:]
                if len(rest) > _LONGEST_ROW:
                    raise SourceError(
                        f"the sheet {self._sheet!r} has a row of more than {_LONGEST_ROW >> 20} MiB",
                        hint="That is no list of customers; save the sheet as CSV.",
                    )

    def _row(self, hidden: bool, body: bytes) -> RowDetails:  # noqa: FBT001 - see its only caller
        found = RowDetails(hidden=hidden)
        column = -1
        for cell in _CELL.finditer(body):
            attributes, content = cell[1], cell[2] or b""
            place, style = _PLACE.search(attributes), _STYLE.search(attributes)
            column = _column(place[1]) if place else column + 1
            value = _VALUE.search(content)
            if _ERROR.search(attributes):
                found.errors[column] = value[1].decode() if value else "#N/A"
            elif _FORMULA.search(content) and not (value and value[1]) and b"<is>" not in content:
                found.damage[column] = "uncached"
            elif style and value and _WHOLE(value[1]) and not _TEXT.search(attributes):
                digits = len(str(int(float(value[1]))))
                if digits < self._padding.get(int(style[1]), 0):
                    found.damage[column] = "padded"
        return found


def _column(letters: bytes) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + letter - 64
    return number - 1


def _part(parts: zipfile.ZipFile, sheet: str) -> str:
    """The name of the sheet's part in the archive."""
    book = ET.fromstring(parts.read("xl/workbook.xml"))  # noqa: S314 - expat bounds entities itself
    links = ET.fromstring(parts.read("xl/_rels/workbook.xml.rels"))  # noqa: S314 - expat bounds entities itself
    entry = {entry.get("name"): entry for entry in book.iterfind(".//{*}sheet")}[sheet]
    link = {name.rpartition("}")[2]: value for name, value in entry.attrib.items()}["id"]
    target = {found.get("Id"): found.get("Target", "") for found in links}[link]
    return posixpath.normpath(posixpath.join("xl", target)).lstrip("/")


def _padding(parts: zipfile.ZipFile) -> dict[int, int]:
    """The styles that show numbers with leading zeros, and how many digits they show at least."""
    if "xl/styles.xml" not in parts.namelist():
        return {}
    styles = ET.fromstring(parts.read("xl/styles.xml"))  # noqa: S314 - expat bounds entities itself
    codes = {int(each.get("numFmtId", "0")): each.get("formatCode", "") for each in styles.iterfind(".//{*}numFmt")}
    padding = {}
    for style, each in enumerate(styles.iterfind("{*}cellXfs/{*}xf")):
        digits = _digits(codes.get(int(each.get("numFmtId", "0")), ""))
        if digits > 1:
            padding[style] = digits
    return padding


def _digits(code: str) -> int:
    """How many digits a number format shows at least: the zeros before its point."""
    positive = re.sub(r'\[[^\]]*\]|"[^"]*"|\\.|[-() /+_*]', "", code.split(";", maxsplit=1)[0])
    return len(positive.partition(".")[0]) if re.fullmatch(r"0+(\..*)?", positive) else 0
