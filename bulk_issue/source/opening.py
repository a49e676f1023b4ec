"""The bytes to read: a file as it is, standard input kept in a private file, or what a packed file holds.

The rule: nothing is unpacked beyond a stated size, and what is unpacked or kept has no name in the file system, so that
nobody else can open it and nothing is left behind.
"""

from __future__ import annotations

import gzip
import shutil
import stat
import sys
import tempfile
import unicodedata
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from bulk_issue.errors import SourceError
from bulk_issue.source.kinds import Kind, kind_of

#: The name that stands for standard input, and the one under which its job is known.
STDIN, STDIN_NAME = Path("-"), Path("stdin")
#: What a file may unpack to. A sheet of a million customers is a tenth of this; a bomb is a thousand times as much.
MOST_BYTES = 4 << 30
#: Above so many bytes a file that unpacks to more than so many times its size is a bomb: a table shrinks to a 50th.
UNSUSPICIOUS, MOST_TIMES = 256 << 20, 200
_BLOCK = 1 << 20


def opened(path: Path, *, encoded: bool) -> tuple[BinaryIO, Kind]:
    """The file to read and what it is; packed files are unpacked. Raises `SourceError` if there is none to be had."""
    file = _spooled() if path == STDIN else _file(path)
    try:
        kind = kind_of(path, file, encoded=encoded)
        if kind in (Kind.GZIP, Kind.ZIP):
            with file as packed:
                file = _unpacked(path, packed, kind)
            kind = kind_of(path, file, encoded=encoded)
            if kind in (Kind.GZIP, Kind.ZIP):
                raise SourceError(f"{path} is packed more than once", hint="Unpack it first.")
    except BaseException:
        file.close()
        raise
    return file, kind


def _file(path: Path) -> BinaryIO:
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in str(path)):
        raise SourceError("the file's name has characters that can't be shown or kept", hint="Rename it first.")
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise SourceError(f"{path} is a folder", hint="Give the path of one file in it.")
        if not stat.S_ISREG(mode):
            raise SourceError(f"{path} is not a regular file", hint="Save it to a file, or give it as - on a pipe.")
        return path.open("rb")
    except FileNotFoundError:
        raise SourceError(f"{path}: there is no such file", hint="Check the path and its spelling.") from None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "its name can't be one"
        raise SourceError(f"{path} can't be opened: {why}", hint="Check who may read it.") from error


def _spooled() -> BinaryIO:
    """Standard input, kept: it is read more than once."""
    if sys.stdin is None or sys.stdin.isatty():  # closed, or a person's keyboard
        raise SourceError("there is nothing on standard input", hint="Pipe the file in, or give its path.")
    kept = tempfile.TemporaryFile()  # noqa: SIM115 - whoever reads it closes it
    try:
        shutil.copyfileobj(sys.stdin.buffer, kept, _BLOCK)
    except OSError as error:
        kept.close()
        raise SourceError(f"standard input can't be read: {error}", hint="Give the file's path instead.") from error
    kept.flush()
    return kept


def _unpacked(path: Path, packed: BinaryIO, kind: Kind) -> BinaryIO:
    size = packed.seek(0, 2)
    packed.seek(0)
    kept = tempfile.TemporaryFile()  # noqa: SIM115 - see above
    try:
        with gzip.open(packed) if kind is Kind.GZIP else _only_part(path, packed) as content:
            done = 0
            while block := content.read(_BLOCK):
                done += len(block)
                if done > MOST_BYTES or done > max(UNSUSPICIOUS, size * MOST_TIMES):
                    raise SourceError(
                        f"{path} unpacks to more than any list of customers ({done >> 20} MiB and on)",
                        hint=f"The most is {MOST_BYTES >> 30} GiB and {MOST_TIMES} times its size. Unpack it yourself.",
                    )
                kept.write(block)
    except (EOFError, zlib.error, zipfile.BadZipFile, gzip.BadGzipFile, NotImplementedError, RuntimeError) as error:
        kept.close()
        raise SourceError(f"{path} is cut short or damaged: {error}", hint="Get it again.") from error
    except BaseException:
        kept.close()
        raise
    kept.flush()
    return kept


def _only_part(path: Path, packed: BinaryIO) -> BinaryIO:
    """The one file in a zip archive; what programs add by themselves doesn't count."""
    archive = zipfile.ZipFile(packed)
    parts = [part for part in archive.infolist() if not part.is_dir() and not _added(PurePosixPath(part.filename))]
    if len(parts) != 1:
        names = ", ".join(PurePosixPath(part.filename).name for part in parts[:10])
        raise SourceError(
            f"{path} holds {len(parts)} files{f': {names}' if names else ''}", hint="Unpack it and give one of them."
        )
    if parts[0].flag_bits & 1:
        raise SourceError(f"{path} has a password", hint="Unpack it first.")
    return archive.open(parts[0])  # type: ignore[return-value]  # a reader of bytes, which is all that is asked of it


def _added(name: PurePosixPath) -> bool:
    return "__MACOSX" in name.parts or name.name.startswith(".")
