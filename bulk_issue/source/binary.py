"""Where a sheet of a binary workbook (.xlsb) has its cells: a reader that finds fewer columns has lost some.

Records are an id and a size, both in groups of 7 bits, and so many bytes of content (MS-XLSB 2.1.4).
"""

from __future__ import annotations

import posixpath
import struct
import zipfile
from collections.abc import Iterable, Iterator

from defusedxml.ElementTree import fromstring  # type: ignore[import-untyped]

from bulk_issue.source.archive import Extent, blocks

#: Ids of records (MS-XLSB 2.3.2): a sheet's name; a row's number; cells that name their column, formulas included, and
#: short ones that follow the last cell (some writers', and what calamine passes over); cells without content.
_SHEET, _ROW, _CELLS, _SHORT, _BLANK = 156, 0, frozenset({*range(1, 12), 62}), range(12, 19), (1, 12)
#: Bytes of the largest record that says where something is.
_LONGEST = 1 << 16


def extent(parts: zipfile.ZipFile, sheet: str) -> Extent:
    """The rectangle around a sheet's cells; raises `LookupError` if there is no such sheet."""
    names = dict(_named(content) for kind, content in _records(blocks(parts, "xl/workbook.bin")) if kind == _SHEET)
    links = fromstring(parts.read("xl/_rels/workbook.bin.rels"), forbid_dtd=True)
    targets = {link.get("Id"): link.get("Target", "") for link in links}
    found, row, column = Extent(), 0, 0
    for kind, content in _records(blocks(parts, posixpath.normpath(posixpath.join("xl", targets[names[sheet]])))):
        if kind == _ROW:
            (row,) = struct.unpack_from("<I", content)
        elif kind in _CELLS:
            (column,) = struct.unpack_from("<I", content)
        elif kind in _SHORT:
            column += 1
        else:
            continue
        if kind not in (_ROW, *_BLANK):
            found.add(row, column, row, column)
    return found


def _named(content: bytes) -> tuple[str, str]:
    """A sheet's name and the id of the link to its part."""
    link, after = _string(content, 8)
    name, _ = _string(content, after)
    return name, link


def _string(content: bytes, at: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<I", content, at)
    end = at + 4 + 2 * length
    return content[at + 4 : end].decode("utf-16-le"), end


def _records(content: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """The records with the beginnings of their contents."""
    text, at = b"", 0
    for block in content:
        text, at = text[at:] + block, 0
        while (head := _head(text, at)) is not None and (end := head[2] + head[1]) <= len(text):
            yield head[0], text[head[2] : min(end, head[2] + _LONGEST)]
            at = end


def _head(text: bytes, at: int) -> tuple[int, int, int] | None:
    """Id and size of the record there, and where its content begins; None if that isn't all there."""
    if at + 6 > len(text) and not _complete(text, at):
        return None
    kind = text[at]
    at += 1
    if kind >= 0x80:
        kind = (kind & 0x7F) | text[at] << 7
        at += 1
    size = shift = 0
    while True:
        byte = text[at]
        at += 1
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80 or shift == 28:
            return kind, size, at


def _complete(text: bytes, at: int) -> bool:
    """Whether a record's head ends before the text does."""
    left = text[at : at + 6]
    if not left:
        return False
    size = left[2:6] if left[0] >= 0x80 else left[1:5]
    return len(size) == 4 or any(byte < 0x80 for byte in size)
