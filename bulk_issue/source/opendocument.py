"""Where a sheet of an OpenDocument workbook (.ods) has its cells, before they are unfolded.

A row or cell is written once and may count for millions (OpenDocument 1.3, 19.675 and 19.679).
"""

from __future__ import annotations

import zipfile
from xml.parsers import expat

from bulk_issue.source.archive import Extent, blocks

_TABLE = "urn:oasis:names:tc:opendocument:xmlns:table:1.0"
_OFFICE = "urn:oasis:names:tc:opendocument:xmlns:office:1.0"
_CELLS = frozenset({f"{_TABLE} table-cell", f"{_TABLE} covered-table-cell"})


class _Reader:
    """Takes in the document's elements."""

    def __init__(self) -> None:
        self.sheets: dict[str, Extent] = {}
        self._sheet = Extent()
        self._row = self._rows = self._column = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if name in _CELLS:
            columns = int(attributes.get(f"{_TABLE} number-columns-repeated", 1))
            if f"{_OFFICE} value-type" in attributes:
                last = self._row + self._rows - 1
                self._sheet.add(self._row, self._column, last, self._column + columns - 1)
            self._column += columns
        elif name == f"{_TABLE} table-row":
            self._row += self._rows
            self._rows, self._column = int(attributes.get(f"{_TABLE} number-rows-repeated", 1)), 0
        elif name == f"{_TABLE} table":
            self._sheet = self.sheets.setdefault(attributes.get(f"{_TABLE} name", ""), Extent())
            self._row = self._rows = 0


def extents(parts: zipfile.ZipFile) -> dict[str, Extent]:
    """The rectangle around each sheet's cells. Raises `ExpatError`, or `ValueError` for a document type of its own."""
    reader = _Reader()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler = reader.start
    parser.StartDoctypeDeclHandler = _refuse
    for block in blocks(parts, "content.xml"):
        parser.Parse(block)
    parser.Parse(b"", True)
    return reader.sheets


def _refuse(*_: object) -> None:
    raise ValueError("it declares a document type")
