"""What kind of file it is: by its content, never by its name."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from io import BufferedReader
from pathlib import Path

from bulk_issue.errors import SourceError

_SAVE_AS = "Open it in the spreadsheet program and save it as .xlsx or as CSV UTF-8."
_NO_TABLE = "Export the customers as CSV UTF-8 or .xlsx."

#: How files begin that are often taken for a table.
_MAGIC: Sequence[tuple[bytes, str, str]] = (
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook (.xls), or one with a password", _SAVE_AS),
    (b"\x1f\x8b", "packed with gzip", "Unpack it first (gunzip)."),
    (b"%PDF", "a PDF", _NO_TABLE),
    (b"\x89PNG", "an image", _NO_TABLE),
    (b"\xff\xd8\xff", "an image", _NO_TABLE),
    (b"GIF8", "an image", _NO_TABLE),
    (b"PAR1", "a Parquet file", _NO_TABLE),
    (b"SQLite format 3", "a database", _NO_TABLE),
    (b"7z\xbc\xaf", "an archive", "Unpack it first."),
    (b"Rar!", "an archive", "Unpack it first."),
    (b"{\\rtf", "a text document (RTF)", _NO_TABLE),
)
_UTF_16_OR_32 = (b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")
_MARKUP = (b"<!doctype", b"<html", b"<?xml")
#: Parts by which the kinds of zip files are told apart.
_ZIPPED = (
    ("xl/workbook.bin", "a binary Excel workbook (.xlsb)", _SAVE_AS),
    ("content.xml", "an OpenDocument file (.ods)", _SAVE_AS),
    ("Index/Document.iwa", "an Apple Numbers document", _SAVE_AS),
    ("", "a zip archive", "Unpack it first."),
)


def is_workbook(path: Path, file: BufferedReader, *, encoded: bool) -> bool:
    """True for .xlsx, False for text; `SourceError` saying what it is for anything else.

    `encoded` says that somebody named the encoding: then text may look like anything.
    """
    file.seek(0)
    head = file.read(4096)
    if not head:
        raise SourceError(f"{path} is empty", hint="Is it the right file?")
    for magic, what, hint in _MAGIC:
        if head.startswith(magic):
            raise SourceError(f"{path} is {what}", hint=hint)
    if head.lstrip().lower().startswith(_MARKUP):
        raise SourceError(f"{path} is a web page or XML", hint=_NO_TABLE)
    if head.startswith(b"PK\x03\x04"):
        try:
            parts = zipfile.ZipFile(file).namelist()
        except zipfile.BadZipFile:
            return True  # cut short: whoever reads workbooks says so
        if "xl/workbook.xml" in parts:
            return True
        what, hint = next((what, hint) for part, what, hint in _ZIPPED if not part or part in parts)
        raise SourceError(f"{path} is {what}", hint=hint)
    controls = sum(byte < 9 or 13 < byte < 32 for byte in head)
    if controls > max(4, len(head) // 10) and not encoded and not head.startswith(_UTF_16_OR_32):
        raise SourceError(
            f"{path} is not text", hint=f"{_NO_TABLE} If it is text in UTF-16, say so: --encoding utf-16-le."
        )
    return False
