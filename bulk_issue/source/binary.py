"""The stated size of a sheet of a binary workbook (.xlsb): a reader that finds fewer columns has lost some.

Records are an id and a size, both in groups of 7 bits, and so many bytes of content (MS-XLSB 2.1.4).
"""

from __future__ import annotations

import posixpath
import struct
import zipfile
from collections.abc import Iterator
from typing import IO
from xml.etree import ElementTree as ET

#: Ids of the records for a sheet's name and for its size.
_SHEET, _SIZE = 156, 148


def stated_width(parts: zipfile.ZipFile, sheet: str) -> int:
    """How many columns, from A on, the sheet says it has; raises `LookupError` if there is no such sheet."""
    with parts.open("xl/workbook.bin") as book:
        names = dict(_named(content) for kind, content in _records(book) if kind == _SHEET)
    links = ET.fromstring(parts.read("xl/_rels/workbook.bin.rels"))  # noqa: S314 - expat bounds entities itself
    targets = {link.get("Id"): link.get("Target", "") for link in links}
    part = posixpath.normpath(posixpath.join("xl", targets[names[sheet]])).lstrip("/")
    with parts.open(part) as content:
        for kind, size in _records(content):
            if kind == _SIZE:
                *_, last = struct.unpack_from("<4I", size)
                return int(last) + 1
    return 0


def _named(content: bytes) -> tuple[str, str]:
    """A sheet's name and the id of the link to its part."""
    link, after = _string(content, 8)
    name, _ = _string(content, after)
    return name, link


def _string(content: bytes, at: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<I", content, at)
    end = at + 4 + 2 * length
    return content[at + 4 : end].decode("utf-16-le"), end


def _records(part: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    while (kind := _number(part, 2)) is not None:
        size = _number(part, 4)
        yield kind, part.read(size or 0)


def _number(part: IO[bytes], most: int) -> int | None:
    """A number in groups of 7 bits, the least first; None at the end."""
    value = 0
    for group in range(most):
        byte = part.read(1)
        if not byte:
            return None
        value |= (byte[0] & 0x7F) << (7 * group)
        if byte[0] < 0x80:
            break
    return value
