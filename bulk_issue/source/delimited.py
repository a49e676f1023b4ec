"""CSV files, read by pandas, exactly.

Theory of operation. pandas pads short records, may cut long ones, and lets a quote that nobody closed swallow records,
all without a word. So it reads the text with an end mark before every line break, as one more cell: where every last
column is the mark and no other cell holds one, each record is one line with exactly the header's cells. At the first
chunk where that isn't so, and for files with NULs or an odd number of quotes (for an open one pandas would hold all the
rest in memory), the csv module reads on from the same record: it keeps every cell, and a record of several lines must
be quoted by the book. Both follow the same rules otherwise, at the same pace.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterator
from io import TextIOBase
from itertools import chain, islice, product
from pathlib import Path
from typing import BinaryIO, TextIO

from bulk_issue.columns import OURS
from bulk_issue.config import Reading
from bulk_issue.customer_columns import names_customers
from bulk_issue.errors import ConfigError, SourceError
from bulk_issue.source import tables
from bulk_issue.source.tables import LOOKED_AT, Chunk

#: Characters in a block of text (larger blocks fray the heap: +90 MB at 10 M records, measured).
BLOCK = 1 << 16
#: Characters that the delimiter is guessed from.
SAMPLE = 16_384
#: ASCII's own record separator.
MARK = "\x1e"
DELIMITERS = ",;\t|"
#: Encodings that a file may be in, those of the widest use first.
USUAL = ("cp1252", "cp1250", "cp1251", "shift_jis", "gb18030", "big5", "euc_kr", "cp1256", "cp1253", "cp437")
#: A last line of our own.
_END = "(end of file)"

#: UTF-32's little-endian mark begins with UTF-16's.
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class _Misfit(Exception):
    """A chunk for which pandas can't be trusted. Never leaves this module."""


class Delimited:
    """One CSV file; `SourceError` on opening if it isn't text of its encoding from end to end."""

    def __init__(self, path: Path, file: BinaryIO, reading: Reading) -> None:
        self._path = path
        self._file = file
        self._encoding = _encoding(file, reading.encoding)
        plain = self._survey()
        self._delimiter = self._of_ours() or _delimiter(reading.delimiter) or self._sniff(reading)
        #: False if pandas needn't try.
        self._plain = plain and self._delimiter.isascii()

    @property
    def used(self) -> dict[str, str]:
        return {"delimiter": self._delimiter, "encoding": self._encoding}

    def records(self) -> Iterator[list[str]]:
        """Every record from the top, by the csv module. Raises `SourceError` where quotes make nonsense of lines."""
        raw: list[str] = []
        with self._text() as text:
            reader = csv.reader(_noting(text, raw), delimiter=self._delimiter)
            try:
                for record in reader:
                    if len(raw) > 1:
                        next(csv.reader(raw, delimiter=self._delimiter, strict=True))
                    if raw[-1] is _END:
                        return
                    yield record
                    raw.clear()
            except csv.Error as error:
                if len(raw) == 1 and "field limit" in str(error):
                    raise SourceError(
                        f"{self._path}, line {reader.line_num}: a cell of over {csv.field_size_limit()} characters",
                        hint="Leave that column out, or shorten the cell.",
                    ) from error
                raise SourceError(
                    f"{self._path}, line {reader.line_num - len(raw) + 1}: a cell begins with a quote and "
                    "doesn't end with one",
                    hint='Close the quote, or write a quote that belongs to the text twice ("").',
                ) from error

    notes: tuple[str, ...] = ()
    left = 0

    def chunks(self, above: int, width: int) -> Iterator[Chunk]:
        """The records below the first `above` ones; each with exactly the cells it has."""
        done = 0
        try:
            for chunk in self._by_pandas(width):
                yield Chunk(chunk[max(above - done, 0) :])
                done += len(chunk)
        except _Misfit:
            for rest in self._by_csv(max(above, done)):
                yield Chunk(rest)

    def _by_pandas(self, width: int) -> Iterator[list[tuple[str, ...]]]:
        if not self._plain:
            raise _Misfit
        import pandas as pd  # noqa: PLC0415 - half a second that a workbook needn't spend

        with self._text() as text:
            try:
                with pd.read_csv(
                    _Marked(text, self._delimiter),
                    sep=self._delimiter,
                    header=None,
                    names=range(width + 1),
                    dtype=object,
                    keep_default_na=False,
                    na_filter=False,
                    skip_blank_lines=False,
                    chunksize=tables.CHUNK,
                ) as frames:
                    for frame in frames:
                        *cells, ends = (frame[column].tolist() for column in frame)
                        if ends.count(MARK) != len(ends) or any(MARK in "".join(column) for column in cells):
                            raise _Misfit
                        yield list(zip(*cells, strict=True))
            except pd.errors.ParserError as error:
                raise _Misfit from error

    def _by_csv(self, done: int) -> Iterator[list[list[str]]]:
        rest = islice(self.records(), done, None)
        while some := list(islice(rest, tables.CHUNK)):
            yield some

    def _text(self) -> TextIO:
        self._file.seek(0)
        return open(self._file.fileno(), encoding=self._encoding, newline="", closefd=False)

    def _survey(self) -> bool:
        """Decode the file once, from end to end; say whether it has nothing that pandas would stumble over."""
        decoder = codecs.getincrementaldecoder(self._encoding)()
        self._file.seek(0)
        done = lines = quotes = 0
        plain = True
        while True:
            block = self._file.read(BLOCK)
            done += len(block)
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeError as error:
                if not isinstance(error, UnicodeDecodeError):  # a stream of UTF-16 or -32 that doesn't say its order
                    raise SourceError(
                        f"{self._path} is not {self._encoding.upper()} text: {error}",
                        hint="Name its byte order too: --encoding utf-16-le or utf-16-be.",
                    ) from None
                line = lines + error.object[: error.start].count(b"\n") + 1
                raise SourceError(
                    f"{self._path} is not {self._encoding.removesuffix('-sig').upper()} text: byte "
                    f"{done - len(error.object) + error.start + 1} (line {line}) fits no character",
                    hint=f"Save it as CSV UTF-8, or name its encoding{self._fitting()}",
                ) from None
            if not block:
                return plain and quotes % 2 == 0
            lines += text.count("\n")
            quotes += text.count('"')
            plain = plain and "\0" not in text  # pandas 2.2 cuts a cell there (measured)

    def _fitting(self) -> str:
        """Usual encodings in which the file's beginning is text: a proposal, only a person sees if names are right."""
        self._file.seek(0)
        sample = self._file.read(1 << 20)
        fitting = []
        for encoding in USUAL:
            try:
                codecs.getincrementaldecoder(encoding)().decode(sample)
            except UnicodeDecodeError:
                continue
            fitting.append(f"--encoding {encoding}")
        return f". These fit: {', '.join(fitting[:4])}. Look at names with accents to tell which." if fitting else "."

    def _of_ours(self) -> str:
        """A result file has commas, whatever was said of the file that it came from."""
        with self._text() as text:
            header = text.readline(SAMPLE)
        return "," if set(header.strip().replace('"', "").split(",")) >= OURS else ""

    def _sniff(self, reading: Reading) -> str:
        with self._text() as text:
            sample = text.read(SAMPLE)
        whole = sample.splitlines()[: -1 if len(sample) == SAMPLE else None] or [sample]
        filled = [line for line in whole[(reading.header_row or 1) - 1 :] if line.strip()]
        header = filled[0] if filled else ""
        if not any(delimiter in header for delimiter in DELIMITERS):
            # a title, or one column: the names below a title tell by being names
            for line, delimiter in product(filled[:LOOKED_AT], DELIMITERS):
                names = next(csv.reader([line], delimiter=delimiter), [])
                if len(names) > 1 and names_customers(names, reading.map, reading.identify_by):
                    return delimiter
        try:
            found = csv.Sniffer().sniff("\n".join(whole), DELIMITERS).delimiter
        except csv.Error:
            found = ""
        # What the header doesn't hold is no delimiter; a file of one column needs none, and a comma does no harm there.
        return found if found and found in header else max(DELIMITERS, key=header.count)


class _Marked(TextIOBase):
    """The text with one more cell, the mark, before every line break and at the end."""

    def __init__(self, text: TextIO, delimiter: str) -> None:
        self._source = text
        self._mark = delimiter + MARK
        self._last = "\n"

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> str:  # noqa: ARG002 - pandas takes any size
        """The next block; empty at the end."""
        block = self._source.read(BLOCK)
        while block.endswith("\r") and (more := self._source.read(1)):
            block += more
        if not block:
            end, self._last = "" if self._last in "\r\n" else self._mark, "\n"
            return end
        self._last = block[-1]
        returns = block.count("\r")
        if not returns:
            return block.replace("\n", self._mark + "\n")
        if returns == block.count("\n") == block.count("\r\n"):
            return block.replace("\r\n", self._mark + "\r\n")
        return re.sub(r"\r\n?|\n", lambda found: self._mark + found[0], block)


def _encoding(file: BinaryIO, wanted: str) -> str:
    """A byte order mark is certain; otherwise what was asked for, otherwise UTF-8."""
    file.seek(0)
    head = file.read(4)
    for mark, encoding in _BYTE_ORDER_MARKS:
        if head.startswith(mark):
            return encoding
    try:
        "".encode(wanted or "utf-8")  # refuses the codecs that are not for text, too
    except LookupError:
        raise ConfigError(
            f"--encoding {wanted!r} is not known", hint="E.g. utf-8, cp1252, iso-8859-1, utf-16-le, shift_jis."
        ) from None
    return wanted or "utf-8"


def _delimiter(wanted: str) -> str:
    delimiter = {"\\t": "\t", "tab": "\t"}.get(wanted, wanted)
    if len(delimiter) > 1 or delimiter in ('"', "\r", "\n"):
        raise ConfigError(f"--delimiter {wanted!r} can't be one", hint="It is one character; for a tab, write tab.")
    return delimiter


def _noting(text: TextIO, raw: list[str]) -> Iterator[str]:
    """The lines and the end, each noted as it is taken. An open quote swallows the end, too."""
    for line in chain(text, (_END,)):
        raw.append(line)
        yield line
