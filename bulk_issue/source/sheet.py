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

from defusedxml.ElementTree import fromstring  # type: ignore[import-untyped]

from bulk_issue.errors import SourceError
from bulk_issue.source.archive import Extent, blocks

#: Bytes of XML at most for a row (what has more is no list), and for a tag.
_LONGEST_ROW, _LONGEST_TAG = 64 << 20, 1 << 16

_ROW = re.compile(rb"<(?:\w+:)?row\b([^>]*?)(?:/>|>(.*?)</(?:\w+:)?row>)", re.DOTALL)
_CELL = re.compile(rb"<(?:\w+:)?c\b([^>]*?)(?:/>|>(.*?)</(?:\w+:)?c>)", re.DOTALL)
_FORMULA = re.compile(rb"<(?:\w+:)?f[\s>/]")
_VALUE = re.compile(rb"<(?:\w+:)?v[^>/]*>([^<]*)<")
_NUMBER = re.compile(rb"""\br=["'](\d+)["']""")
_PLACE = re.compile(rb"""\br=["']([A-Z]+)\d+["']""")
#: A cell beyond column Z or row 999 999: up to there any rectangle is small enough.
_FAR = re.compile(rb"""\br\s*=\s*["'](?:[A-Za-z]{2,}\d|[A-Za-z]?\d{7})""")
_REFERENCE = re.compile(rb"""\br\s*=\s*["']([A-Za-z]*)(\d+)["']""")
_STYLE = re.compile(rb"""\bs=["'](\d+)["']""")
_ERROR = re.compile(rb"""\bt=["']e["']""")
_TEXT = re.compile(rb"""\bt=["'](?!n["'])""")
_HIDDEN = re.compile(rb"""\bhidden=["'](?:1|true)["']""")
_WHOLE = re.compile(rb"\d{1,15}(?:\.0+)?").fullmatch
#: Parts of a number format: literals, blanks and fillers, conditions and colours, and single characters.
_TOKEN = re.compile(r'"[^"]*"|\\.|[_*].|\[[^\]]*\]|.', re.DOTALL)
#: Digits that no number has: for formats that show digits of their own, or a hundredfold.
_OTHERS = 99
#: The percentages among the formats that every workbook has (ECMA-376, 18.8.30).
_PERCENT = {9: "0%", 10: "0.00%"}


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
        book = fromstring(parts.read("xl/workbook.xml"), forbid_dtd=True)
        self._part = _part(parts, book, sheet)
        #: Style -> how many digits it shows at least.
        self._padding = _padding(parts)
        #: True if a formula's 0 is only what a program wrote that can't calculate (xlsxwriter: documented).
        self._uncalculated = any(each.get("fullCalcOnLoad") in ("1", "true") for each in book.iterfind("{*}calcPr"))
        words = [rb"""\bt=["']e["']""", rb"<(?:\w+:)?f[\s>/]"]
        if self._padding:
            words.append(rb"""\bs=["'](?:%b)["']""" % b"|".join(str(style).encode() for style in self._padding))
        self._remarkable = re.compile(b"|".join(words))

    def extent(self) -> Extent:
        """The rectangle around the cells, by the places that they name; all of a usual list's is taken for granted."""
        found = Extent()
        if any(_FAR.search(text) for text in self._tags()):
            for text in self._tags():
                for letters, number in set(_REFERENCE.findall(text)):
                    row, column = int(number) - 1, max(_column(letters.upper()), 0)
                    found.add(row, column, row, column)
        return found

    def _tags(self) -> Iterator[bytes]:
        """The XML in blocks that end between tags."""
        rest = b""
        for block in blocks(self._parts, self._part):
            text = rest + block
            end = max(text.rfind(b"<"), 0)
            yield text[:end]
            rest = text[max(end, len(text) - _LONGEST_TAG) :]
        yield rest

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
        rest = b""
        for block in blocks(self._parts, self._part):
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
            elif _FORMULA.search(content) and self._lacks_value(value[1] if value else b"", content):
                found.damage[column] = "uncached"
            elif style and value and _WHOLE(value[1]) and not _TEXT.search(attributes):
                digits = len(str(int(float(value[1]))))
                if digits < self._padding.get(int(style[1]), 0):
                    found.damage[column] = "padded"
        return found

    def _lacks_value(self, value: bytes, formula: bytes) -> bool:
        return (not value and b"<is>" not in formula) or (self._uncalculated and value == b"0")


def _column(letters: bytes) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + letter - 64
    return number - 1


def _part(parts: zipfile.ZipFile, book: ET.Element, sheet: str) -> str:
    """The name of the sheet's part in the archive."""
    links = fromstring(parts.read("xl/_rels/workbook.xml.rels"), forbid_dtd=True)
    entry = {entry.get("name"): entry for entry in book.iterfind(".//{*}sheet")}[sheet]
    link = {name.rpartition("}")[2]: value for name, value in entry.attrib.items()}["id"]
    target = {found.get("Id"): found.get("Target", "") for found in links}[link]
    return posixpath.normpath(posixpath.join("xl", target)).lstrip("/")


def _padding(parts: zipfile.ZipFile) -> dict[int, int]:
    """The styles that show numbers with leading zeros, and how many digits they show at least."""
    if "xl/styles.xml" not in parts.namelist():
        return {}
    styles = fromstring(parts.read("xl/styles.xml"), forbid_dtd=True)
    codes = dict(_PERCENT) | {
        int(each.get("numFmtId", "0")): each.get("formatCode", "") for each in styles.iterfind(".//{*}numFmt")
    }
    padding = {}
    for style, each in enumerate(styles.iterfind("{*}cellXfs/{*}xf")):
        digits = _digits(codes.get(int(each.get("numFmtId", "0")), ""))
        if digits > 1:
            padding[style] = digits
    return padding


def _digits(code: str) -> int:
    """How many digits a number format shows at least: more than any number has where it shows some of its own."""
    digits = 0
    for token in _TOKEN.findall(code):
        match token[0]:
            case ";" | ".":
                break
            case "0":
                digits += 1
            case '"' | "\\" if any(map(str.isdigit, token)):
                return _OTHERS
            case "%" | "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9":
                return _OTHERS
            case letter if letter in "@/" or letter.isalpha():  # a text, a fraction, a date, an exponent, General
                return 0
    return digits
