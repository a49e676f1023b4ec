"""The parts of a workbook that is a zip archive, looked at before anybody unfolds them in memory.

The rule: no part is larger than it says, all together are within the bounds of `opening`, and no table is wider and
longer than a sheet of customers can be. calamine keeps a sheet as a full rectangle: one cell in the last row and column
would take hundreds of gigabytes.
"""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from bulk_issue.errors import SourceError
from bulk_issue.source.opening import MOST_BYTES, MOST_TIMES, UNSUSPICIOUS

#: Cells of the rectangle around a sheet's content: 64 columns of a full sheet.
MOST_CELLS = 1 << 26
_BLOCK = 1 << 20


@dataclass(slots=True)
class Extent:
    """The rectangle around the cells seen so far, counted from 0."""

    top: int = -1
    left: int = -1
    bottom: int = -1
    right: int = -1

    def add(self, top: int, left: int, bottom: int, right: int) -> None:
        """Make it hold these cells, too."""
        self.top = top if self.top < 0 else min(self.top, top)
        self.left = left if self.left < 0 else min(self.left, left)
        self.bottom, self.right = max(self.bottom, bottom), max(self.right, right)

    def check(self, path: Path, sheet: str) -> None:
        """Refuse what no list of customers is."""
        rows, columns = self.bottom + 1, self.right + 1  # whatever is above and left of it may be filled, too
        if rows * columns > MOST_CELLS:
            raise SourceError(
                f"{path}: the cells of the sheet {sheet!r} are scattered over {rows} rows and {columns} columns",
                hint="Delete what stands far away from the list, or copy the list into a new workbook.",
            )


def parts_of(path: Path, file: BinaryIO) -> zipfile.ZipFile:
    """The archive, each part of which was unpacked once to see that it has the size it says. Raises `SourceError`."""
    packed = file.seek(0, 2)
    archive = zipfile.ZipFile(file)
    parts = archive.infolist()
    twice = [name for name, times in Counter(part.filename for part in parts).items() if times > 1]
    if twice:
        raise SourceError(f"{path} holds a part twice: {twice[0]!r}", hint="Save it again in the spreadsheet program.")
    most = min(MOST_BYTES, max(UNSUSPICIOUS, packed * MOST_TIMES))
    total = sum(part.file_size for part in parts)
    for part in parts:
        if total > most or _larger(archive, part):
            raise SourceError(
                f"{path} unpacks to more than any list of customers",
                hint=f"The most is {MOST_BYTES >> 30} GiB and {MOST_TIMES} times its size. Save the sheet as CSV.",
            )
    return archive


def blocks(archive: zipfile.ZipFile, part: str) -> Iterator[bytes]:
    """A part's content, some of it at a time."""
    with archive.open(part) as content:
        while block := content.read(_BLOCK):
            yield block


def _larger(archive: zipfile.ZipFile, part: zipfile.ZipInfo) -> bool:
    """Whether a part unpacks to more than it says: zipfile stops at what it says, calamine reads on."""
    longer = copy(part)
    longer.file_size = part.file_size + 1
    with archive.open(longer) as content:
        size = 0
        while block := content.read(_BLOCK):
            size += len(block)
    return size > part.file_size
