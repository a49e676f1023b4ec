"""What kind of file it is: by its content, never by its name."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from enum import StrEnum, unique
from pathlib import Path
from typing import BinaryIO

from bulk_issue.errors import SourceError


@unique
class Kind(StrEnum):
    """What a file can be read as."""

    TEXT = "text"
    XLSX = ".xlsx"
    XLSB = ".xlsb"
    XLS = ".xls"
    ODS = ".ods"
    #: Something of the others, packed.
    GZIP = "gzip"
    ZIP = "zip"


_SAVE_AS = "Open it in the spreadsheet program and save it as .xlsx or as CSV UTF-8."
_NO_TABLE = "Export the customers as CSV UTF-8 or .xlsx."

#: How files begin that are often taken for a table.
_MAGIC: Sequence[tuple[bytes, str, str]] = (
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
_COMPOUND = b"\xd0\xcf\x11\xe0"
#: What a workbook with a password calls its content, in a compound file's list of names.
_LOCKED = "EncryptedPackage".encode("utf-16-le")
_UTF_16_OR_32 = (b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")
_MARKUP = (b"<!doctype", b"<html", b"<?xml")
#: Parts by which the kinds of zip files are told apart.
_PARTS = (("xl/workbook.xml", Kind.XLSX), ("xl/workbook.bin", Kind.XLSB), ("content.xml", Kind.ODS))
_NUMBERS = "Index/Document.iwa"


def kind_of(path: Path, file: BinaryIO, *, encoded: bool) -> Kind:
    """What the file is; `SourceError` saying so for what no reader here can read.

    `encoded` says that somebody named the encoding: then text may look like anything.
    """
    file.seek(0)
    head = file.read(4096)
    if not head:
        raise SourceError(f"{path} is empty", hint="Is it the right file?")
    for magic, what, hint in _MAGIC:
        if head.startswith(magic):
            raise SourceError(f"{path} is {what}", hint=hint)
    if head.startswith(b"\x1f\x8b"):
        return Kind.GZIP
    if head.startswith(_COMPOUND):
        if _LOCKED in head + file.read(1 << 20):
            raise SourceError(f"{path} has a password", hint="Take the password off in the spreadsheet program.")
        return Kind.XLS
    if head.startswith(b"PK\x03\x04"):
        return _zipped(path, file)
    if head.lstrip().lower().startswith(_MARKUP):
        raise SourceError(f"{path} is a web page or XML", hint=_NO_TABLE)
    controls = sum(byte < 9 or 13 < byte < 32 for byte in head)
    if controls > max(4, len(head) // 10) and not encoded and not head.startswith(_UTF_16_OR_32):
        raise SourceError(
            f"{path} is not text", hint=f"{_NO_TABLE} If it is text in UTF-16, say so: --encoding utf-16-le."
        )
    return Kind.TEXT


def _zipped(path: Path, file: BinaryIO) -> Kind:
    try:
        parts = zipfile.ZipFile(file).namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise SourceError(f"{path} is cut short or damaged", hint=f"Get it again. {_SAVE_AS}") from error
    if _NUMBERS in parts:
        raise SourceError(f"{path} is an Apple Numbers document", hint=_SAVE_AS)
    return next((kind for part, kind in _PARTS if part in parts), Kind.ZIP)
