"""CSV and Excel as records: every cell, every number, and refusals that say what next."""

from __future__ import annotations

import codecs
import csv
import gzip
import hashlib
import io
import os
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any, Literal

import openpyxl  # type: ignore[import-untyped]
import pytest
import xlsxwriter  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st

from bulk_issue.columns import ALL_COLUMNS, OUR_COLUMNS
from bulk_issue.config import Reading
from bulk_issue.customer_columns import columns
from bulk_issue.errors import BulkIssueError, ConfigError, SourceError
from bulk_issue.model import JobId, Lineage, Record
from bulk_issue.rows import judge
from bulk_issue.source import archive, delimited, open_source, opening, tables, valid_email

PLAIN = Reading()
FILES = Path(__file__).parent / "awkward"
JOB = "5a3e91c07d"


def records(path: Path, reading: Reading = PLAIN) -> list[Record]:
    with open_source(path, reading) as source:
        return [record for chunk in source.chunks() for record in chunk]


def cells(path: Path, reading: Reading = PLAIN) -> list[tuple[str, ...]]:
    return [record.cells for record in records(path, reading)]


def written(folder: Path, content: str | bytes, name: str = "in.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def refusal(path: Path, reading: Reading = PLAIN) -> BulkIssueError:
    with pytest.raises(BulkIssueError) as refused, open_source(path, reading) as source:
        list(source.chunks())
    assert refused.value.exit_code == 2
    assert refused.value.hint.endswith((".", "?"))
    return refused.value


@pytest.fixture
def by_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    """The csv module may look at the header, but not read on."""

    def refuse(*_: object) -> Iterator[list[list[str]]]:
        raise AssertionError("read on by the csv module")

    monkeypatch.setattr(delimited.Delimited, "_by_csv", refuse)


# --- CSV: every cell comes back ---------------------------------------------------------------------------------

TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
AWKWARD = st.text(st.sampled_from("ab0 ,;\t\"'\r\n\x00\x1e\x1c\u2028\ufeffé"), max_size=6)


@settings(max_examples=300, deadline=None)
@given(
    table=st.integers(1, 4).flatmap(
        lambda width: st.lists(st.lists(TEXT | AWKWARD, min_size=width, max_size=width), min_size=1, max_size=12)
    ),
    terminator=st.sampled_from(["\n", "\r\n", "\r"]),
    delimiter=st.sampled_from(",;\t|"),
    quote_all=st.booleans(),
    block=st.integers(1, 40),
    chunk=st.integers(1, 5),
)
def test_every_cell_of_any_table_comes_back(
    tmp_path_factory: pytest.TempPathFactory,
    table: list[list[str]],
    terminator: str,
    delimiter: str,
    quote_all: bool,  # noqa: FBT001
    block: int,
    chunk: int,
) -> None:
    header = [f"c{number}" for number in range(len(table[0]))]
    # Before Python 3.13 the writer quotes only those line breaks that are its own.
    broken = any(mark in cell for row in table for cell in row for mark in "\r\n")
    text = io.StringIO()
    quoting: Literal[0, 1] = csv.QUOTE_ALL if quote_all or broken else csv.QUOTE_MINIMAL
    csv.writer(text, delimiter=delimiter, lineterminator=terminator, quoting=quoting).writerows([header, *table])
    path = written(tmp_path_factory.mktemp("in"), text.getvalue())
    # Said, not found: a cell such as "A0" beneath "c0" makes the two look like customers, and the reader asks.
    reading = Reading(delimiter=delimiter, encoding="utf-8", header_row=1)
    filled = [tuple(row) for row in table if "".join(row).strip()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delimited, "BLOCK", block)
        patch.setattr(tables, "CHUNK", chunk)

        if not filled:
            assert "no records below it" in refusal(path, reading).message
            return
        with open_source(path, reading) as source:
            found = [record for some in source.chunks() for record in some]

    assert [record.cells for record in found] == filled
    assert [record.number for record in found] == list(range(1, len(filled) + 1))
    assert all(record.problem is None for record in found)
    assert source.blank == len(table) - len(filled)


@settings(max_examples=300, deadline=None)
@given(
    text=st.text(st.sampled_from('ab ,,,"\r\n\n\n'), max_size=60),
    block=st.integers(1, 20),
    chunk=st.integers(1, 4),
)
def test_pandas_and_the_csv_module_read_any_text_alike(
    tmp_path_factory: pytest.TempPathFactory, text: str, block: int, chunk: int
) -> None:
    path = written(tmp_path_factory.mktemp("in"), f"x,y\n{text}\nlast,one")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delimited, "BLOCK", block)
        patch.setattr(tables, "CHUNK", chunk)
        try:
            mixed = records(path)
        except SourceError:
            with path.open(newline="") as file, pytest.raises(csv.Error):
                list(csv.reader(file, strict=True))
            return

    with path.open(newline="") as file:
        rows = [row for row in csv.reader(file) if "".join(row).strip()][1:]
    assert [record.cells for record in mixed] == [(*row, *[""] * (2 - len(row))) for row in rows]
    assert [record.problem is not None for record in mixed] == [len(row) != 2 for row in rows]


@pytest.mark.usefixtures("by_pandas")
@pytest.mark.parametrize("terminator", ["\n", "\r\n", "\r"])
def test_sound_files_are_read_by_pandas_to_the_end(tmp_path: Path, terminator: str) -> None:
    rows = [("919800000001", "Köln", "x"), ("0007", 'said "hi"', "a,b"), ("", "NA", ""), ("null", " spaced ", "1e5")]
    text = io.StringIO()
    csv.writer(text, lineterminator=terminator).writerows([("a", "b", "c"), *rows])

    assert cells(written(tmp_path, text.getvalue())) == rows
    assert cells(written(tmp_path, text.getvalue().removesuffix(terminator))) == rows


@pytest.mark.usefixtures("by_pandas")
@pytest.mark.parametrize("block", range(1, 12))
def test_a_line_break_is_one_however_the_blocks_fall(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(delimited, "BLOCK", block)
    for text in ("a\r\n1\r\n22\r\n333\r\n", "a\r\r1\r22\r333", "a\r\r\n1\n22\r333\r"):
        with open_source(written(tmp_path, text), PLAIN) as source:
            assert [record.cells[0] for chunk in source.chunks() for record in chunk] == ["1", "22", "333"]
            assert source.blank == text.startswith("a\r\r")


@pytest.mark.parametrize("text", ['a,b\n1,5" pipe\n2,x\n', "a,b\n1,x\0\n"])
def test_what_pandas_would_stumble_over_is_not_given_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    path = written(tmp_path, text)
    monkeypatch.setattr(delimited, "_Marked", None)

    assert cells(path)[0] == tuple(text.split("\n")[1].split(","))


def test_line_breaks_in_quotes_are_kept_as_they_are(tmp_path: Path) -> None:
    rows = [("1", "two\nlines"), ("2", "two\r\nlines"), ("3", "\rx\r"), ("4", '"\n"')]
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows([("a", "b"), *rows])

    assert cells(written(tmp_path, text.getvalue())) == rows


def test_nothing_is_taken_for_a_number_or_for_missing(tmp_path: Path) -> None:
    row = ("000123", "NaN", "N/A", "true", "1e5", "2026-01-31", " x ", "'1")

    assert cells(written(tmp_path, "a,b,c,d,e,f,g,h\n" + ",".join(row) + "\n")) == [row]


def test_nul_bytes_stay_in_their_cells(tmp_path: Path) -> None:
    assert cells(written(tmp_path, "a,b\n1,x\0y\n2,\0\n")) == [("1", "x\0y"), ("2", "\0")]


def test_blank_records_are_counted_and_have_no_number(tmp_path: Path) -> None:
    with open_source(written(tmp_path, '\n\n a,b\n\n1,2\n,\n  \n" ",\t\n3,4\n\n'), PLAIN) as source:
        for _ in range(2):
            found = [(record.number, record.cells) for chunk in source.chunks() for record in chunk]

            assert found == [(1, ("1", "2")), (2, ("3", "4"))]
            assert source.blank == 5
        assert source.header == (" a", "b")


def test_chunks_are_bounded_and_follow_one_another(tmp_path: Path) -> None:
    path = written(tmp_path, "a,b\n" + "".join(f"{number},x\n" for number in range(1, 45_001)))
    with open_source(path, PLAIN) as source:
        sizes = []
        for chunk in source.chunks():
            assert all(record.cells[0] == str(record.number) for record in chunk)
            sizes.append(len(chunk))

    assert sum(sizes) == 45_000 and max(sizes) <= tables.CHUNK


def test_the_hash_is_that_of_the_bytes(tmp_path: Path) -> None:
    path = written(tmp_path, "\ufeffa\n1\n")
    with open_source(path, PLAIN) as source:
        assert source.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_blank_records_above_the_header_do_not_shift_the_columns(tmp_path: Path) -> None:
    assert cells(written(tmp_path, ",,,,\n\na,b\n1,2\n3,4\n")) == [("1", "2"), ("3", "4")]


# --- CSV: ragged records ----------------------------------------------------------------------------------------


def test_records_that_do_not_fit_the_header_keep_their_cells_and_say_so(tmp_path: Path) -> None:
    path = written(tmp_path, "a,b,c\n1,2,3\n4,5\n6,7,8,9,\n10,11,\n12\n13,14,15\n")

    found = records(path)

    assert [record.cells for record in found] == [
        ("1", "2", "3"),
        ("4", "5", ""),
        ("6", "7", "8", "9", ""),
        ("10", "11", ""),
        ("12", "", ""),
        ("13", "14", "15"),
    ]
    assert [record.problem and record.problem.reason for record in found] == [
        None,
        "the record has 2 cells where the header has 3",
        "the record has 5 cells where the header has 3",
        None,
        "the record has 1 cells where the header has 3",
        None,
    ]
    assert {record.problem.code for record in found if record.problem} == {"ragged"}


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("x", ("x", "")),
        ("x,y,z", ("x", "y", "z")),
        ("x" + "," * 13, ("x", *[""] * 13)),
        ('x,y"z', ("x", 'y"z')),
        ("x,y\x1e", ("x", "y\x1e")),
        ("x,\0", ("x", "\0")),
    ],
)
@pytest.mark.parametrize("at", [0, 1, 48, 49, 50, 98, 99])
def test_what_pandas_can_not_be_trusted_with_costs_no_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, kept: tuple[str, ...], at: int
) -> None:
    monkeypatch.setattr(tables, "CHUNK", 50)
    lines = [f"{number},é" for number in range(100)]
    lines[at] = line

    found = records(written(tmp_path, "\r\n".join(["a,b", *lines])))

    expected: list[tuple[str, ...]] = [(str(number), "é") for number in range(100)]
    expected[at] = kept
    assert [record.cells for record in found] == expected
    assert [record.number for record in found] == list(range(1, 101))


@pytest.mark.parametrize("ending", ["", "\n", "\n4,5\n", '\n4,"5"\n', '\n4,5\n6,"7\n'])
def test_a_quote_that_is_never_closed_is_refused_with_its_line(tmp_path: Path, ending: str) -> None:
    error = refusal(written(tmp_path, f'a,b\n1,"x\ny"\n3,"z{ending}'))

    assert "in.csv, line 4: a cell begins with a quote and doesn't end with one" in error.message


def test_a_lone_quote_at_the_end_is_refused(tmp_path: Path) -> None:
    assert "line 3" in refusal(written(tmp_path, 'a\n1\n"')).message


def test_a_cell_without_end_is_refused(tmp_path: Path) -> None:
    error = refusal(written(tmp_path, 'a,b\n1,2\n3,"' + "x,y\n" * 100_000))

    assert "line 3: a cell begins with a quote" in error.message


# --- CSV: delimiters --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", list(",;\t|"))
def test_the_delimiter_is_found(tmp_path: Path, delimiter: str) -> None:
    rows = [["mobile", "name"], ["919800000001", 'Asha, "A"'], ["919800000002", "Ravi; R"], ["919800000003", "x|y"]]
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter).writerows(rows)
    with open_source(written(tmp_path, text.getvalue()), PLAIN) as source:
        assert source.header == ("mobile", "name")
        assert source.reading == {"delimiter": delimiter, "encoding": "utf-8"}


@pytest.mark.parametrize(
    "text", ["mobile\n919800000001\n", "member_id\n12\n13\n", "note\n" + "9;1\n" * 30, "e-mail\na@b.c"]
)
def test_one_column_needs_no_delimiter(tmp_path: Path, text: str) -> None:
    with open_source(written(tmp_path, text), PLAIN) as source:
        assert source.header == (text.partition("\n")[0],)
        assert [record.problem for chunk in source.chunks() for record in chunk if record.problem] == []


def test_two_records_are_enough_to_find_it(tmp_path: Path) -> None:
    with open_source(written(tmp_path, "name;mobile\nAsha;919800000001\n"), PLAIN) as source:
        assert source.header == ("name", "mobile")


@pytest.mark.parametrize(("given_as", "delimiter"), [("#", "#"), ("\\t", "\t"), ("tab", "\t"), (";", ";"), ("§", "§")])
def test_a_delimiter_that_is_given_is_used(tmp_path: Path, given_as: str, delimiter: str) -> None:
    path = written(tmp_path, f"a,a{delimiter}b\n1,1{delimiter}2\n")

    assert cells(path, Reading(delimiter=given_as)) == [("1,1", "2")]


@pytest.mark.parametrize("wrong", ["ab", '"', "\n"])
def test_an_impossible_delimiter_is_refused(tmp_path: Path, wrong: str) -> None:
    error = refusal(written(tmp_path, "a\n1\n"), Reading(delimiter=wrong))

    assert isinstance(error, ConfigError) and "--delimiter" in error.message


@pytest.mark.parametrize("delimiter", list(",;\t|"))
def test_the_delimiter_is_found_below_a_title(tmp_path: Path, delimiter: str) -> None:
    path = written(tmp_path, f"Campaign Diwali\n\nName{delimiter}Mobile No\nAsha{delimiter}919800000001\n")
    with open_source(path, PLAIN) as source:
        assert source.header == ("Name", "Mobile No")
        assert "record 3" in source.notes[0]


def test_two_records_that_may_be_the_header_are_asked_about(tmp_path: Path) -> None:
    path = written(tmp_path, "Customer email\n\nName,Mobile No\nAsha,919800000001\n")

    error = refusal(path)
    assert "may stand in record 1 or 3" in error.message and "--header-row 3" in error.hint
    assert cells(path, Reading(header_row=3)) == [("Asha", "919800000001")]


def test_a_cell_that_is_too_long_is_refused_as_that(tmp_path: Path) -> None:
    path = written(tmp_path, 'a,b\n1,"' + "x" * 200_000 + '"\n2,3,4\n')

    assert "line 2: a cell of over 131072 characters" in refusal(path).message


# --- CSV: encodings ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mark", "codec"),
    [
        (b"", "utf-8"),
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
    ],
)
def test_a_byte_order_mark_says_the_encoding_and_is_no_part_of_the_header(
    tmp_path: Path, mark: bytes, codec: str
) -> None:
    path = written(tmp_path, mark + '"mobile",name\r\n919800000001,Köln अ 🎉\r\n'.encode(codec))
    with open_source(path, PLAIN) as source:
        assert source.header == ("mobile", "name")
        assert [record.cells for chunk in source.chunks() for record in chunk] == [("919800000001", "Köln अ 🎉")]


@pytest.mark.parametrize("codec", ["cp1252", "iso-8859-15", "utf-16-le", "shift_jis", "utf-8"])
def test_an_encoding_that_is_given_is_used(tmp_path: Path, codec: str) -> None:
    name = "花子" if codec == "shift_jis" else "Zoë"
    path = written(tmp_path, f"mobile,name\n919800000001,{name}\n".encode(codec))
    with open_source(path, Reading(encoding=codec)) as source:
        assert [record.cells[1] for chunk in source.chunks() for record in chunk] == [name]
        assert source.reading["encoding"] == codec


def test_a_file_that_is_not_utf8_is_refused_with_line_and_byte(tmp_path: Path) -> None:
    error = refusal(written(tmp_path, "mobile,name\n1,é\n".encode() + "2,Zoë\n".encode("cp1252")))

    assert "is not UTF-8 text: byte 22 (line 3)" in error.message
    assert "--encoding cp1252" in error.hint
    assert "Zo" not in error.message


@pytest.mark.parametrize("block", [1, 2, 3, 7, 64])
def test_the_place_of_a_wrong_byte_does_not_depend_on_the_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(delimited, "BLOCK", block)
    text = "a\n€\n€\n".encode()

    assert "byte 13 (line 4)" in refusal(written(tmp_path, text + b"xy\xe2\x82")).message
    assert "byte 11 (line 4)" in refusal(written(tmp_path, text + b"\xff\n" * 9)).message


def test_an_encoding_that_is_given_is_strict_too(tmp_path: Path) -> None:
    error = refusal(written(tmp_path, "a\nZoë\n".encode("cp1252")), Reading(encoding="ascii"))

    assert "is not ASCII text: byte 5 (line 2)" in error.message


@pytest.mark.parametrize("name", ["klingon", "rot13", "hex"])
def test_an_encoding_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    error = refusal(written(tmp_path, "a\n1\n"), Reading(encoding=name))

    assert isinstance(error, ConfigError) and repr(name) in error.message


# --- what is not a table ----------------------------------------------------------------------------------------


def zipped(*names: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as parts:
        for name in names:
            parts.writestr(zipfile.ZipInfo(name), "x")  # without the time of day
    return packed.getvalue()


@pytest.mark.parametrize(
    ("content", "message", "hint"),
    [
        (b"", "is empty", "right file"),
        (b"\n \n\r\n", "nothing but blanks", "right file"),
        (b"mobile,name\n", "a header and no records below it", "first record"),
        (b"mobile,name\n,\n\n", "a header and no records below it", "first record"),
        (b"%PDF-1.7\n%\xe2\xe3", "is a PDF", "CSV UTF-8"),
        (b"\x89PNG\r\n\x1a\n\0\0", "is an image", "CSV UTF-8"),
        (b"\xff\xd8\xff\xe0\0", "is an image", "CSV UTF-8"),
        (gzip.compress(gzip.compress(b"a\n1\n", mtime=0), mtime=0), "is packed more than once", "Unpack"),
        (gzip.compress(b"a\n1\n" * 100, mtime=0)[:-9], "is cut short or damaged", "Get it again"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "can't be read as a workbook", "save it again as .xlsx"),
        (b"\xd0\xcf\x11\xe0" + "EncryptedPackage".encode("utf-16-le"), "has a password", "Take the password off"),
        (zipped("mimetype", "content.xml"), "can't be read as a workbook", "save it again as .xlsx"),
        (zipped("xl/workbook.bin"), "can't be read as a workbook", "save it again as .xlsx"),
        (zipped("Index/Document.iwa"), "is an Apple Numbers document", "save it as .xlsx"),
        (zipped("one.csv", "two.csv", "__MACOSX/._one.csv"), "holds 2 files: one.csv, two.csv", "give one of them"),
        (zipped("__MACOSX/._one.csv"), "holds 0 files", "give one of them"),
        (b"<!DOCTYPE html>\n<title>Sign in</title>", "is a web page or XML", "CSV UTF-8"),
        (b"  <HTML><table>", "is a web page or XML", "CSV UTF-8"),
        (bytes(range(256)) * 8, "is not text", "--encoding utf-16-le"),
        ("mobile\n1\n".encode("utf-16-le"), "is not text", "--encoding utf-16-le"),
    ],
)
def test_what_is_not_a_table_of_customers_is_refused_by_what_it_is(
    tmp_path: Path, content: bytes, message: str, hint: str
) -> None:
    error = refusal(written(tmp_path, content))

    assert message in error.message and "in.csv" in error.message
    assert hint in error.hint


def test_a_missing_file_a_folder_and_a_pipe_are_refused(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "none.csv").message
    assert "is a folder" in refusal(tmp_path).message
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in refusal(tmp_path / "pipe").message


def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "a\n1\n")
    path.chmod(0)
    someone = os.geteuid()
    if someone == 0:
        os.seteuid(65_534)  # root may read everything
    try:
        error = refusal(path)
    finally:
        os.seteuid(someone)

    assert "can't be opened: Permission denied" in error.message


def test_a_file_that_is_changed_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "a\n1\n")
    with open_source(path, PLAIN) as source:
        path.write_text("a\n1\n2\n")
        with pytest.raises(SourceError, match="was changed while it was read"):
            list(source.chunks())


def test_a_source_closes_its_file(tmp_path: Path) -> None:
    with open_source(written(tmp_path, "a\n1\n"), PLAIN) as source:
        pass
    assert source._file.closed


# --- Excel ------------------------------------------------------------------------------------------------------

Sheets = dict[str, Sequence[Sequence[Any]]]


def book(folder: Path, sheets: Sheets, change: Callable[[Any], None] = lambda _: None) -> Path:
    made = openpyxl.Workbook()
    made.remove(made.worksheets[0])
    for name, rows in sheets.items():
        sheet = made.create_sheet(name)
        for row in rows:
            sheet.append(row)
    change(made)
    made.save(folder / "in.xlsx")
    return folder / "in.xlsx"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (919800000001, "919800000001"),
        (919800000001.0, "919800000001"),
        (999999999999999, "999999999999999"),
        (-5, "-5"),
        (0, "0"),
        (12.5, "12.5"),
        (1234567890123456, "1234567890123456.0"),
        (123456789012345678, "1.234567890123457e+17"),
        ("000123", "000123"),
        (" x ", " x "),
        ("1E+5", "1E+5"),
        ("a\nb", "a\nb"),
        ("Köln अ", "Köln अ"),
        (True, "TRUE"),
        (False, "FALSE"),
        (date(2026, 1, 31), "2026-01-31"),
        (datetime(2026, 1, 31, 5, 6), "2026-01-31 05:06:00"),  # noqa: DTZ001 - cells have no zone
        (time(3, 4), "03:04:00"),
        (timedelta(days=1, hours=2), "1 day, 2:00:00"),
        (None, ""),
    ],
)
def test_a_cell_becomes_the_text_that_a_person_expects(tmp_path: Path, value: object, text: str) -> None:
    assert cells(book(tmp_path, {"S": [["mobile", "x"], [value, "y"]]})) == [(text, "y")]


def test_errors_are_seen_wherever_the_table_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def change(made: Any) -> None:
        for place, text in (("AB6", "#N/A"), ("AC7", "#REF!"), ("AC8", "#DIV/0!")):
            made["S"][place].value = text
            made["S"][place].data_type = "e"

    blank: list[Any] = [None] * 27
    rows = [[], [], [], [], [*blank, "mobile", "x"], [*blank, None, 1], [*blank, 2], [*blank, 3]]
    path = book(tmp_path, {"Other": [], "S": rows}, change)

    for size in (1 << 20, 1000, 100):
        monkeypatch.setattr(archive, "_BLOCK", size)
        assert cells(path) == [("#N/A", "1"), ("2", "#REF!"), ("3", "#DIV/0!")]


def test_a_cell_without_a_place_stands_behind_the_one_before(tmp_path: Path) -> None:
    def change(made: Any) -> None:
        made["S"]["A2"].data_type = "e"

    path = rewritten(book(tmp_path, {"S": [["mobile"], ["#N/A"], [1]]}, change), b' r="A2" t="e"', b' t="e"')

    assert cells(path) == [("#N/A",), ("1",)]


def rewritten(path: Path, old: bytes, new: bytes) -> Path:
    """The workbook with its first sheet's XML changed."""
    with zipfile.ZipFile(path) as parts:
        contents = {name: parts.read(name) for name in parts.namelist()}
    assert old in contents["xl/worksheets/sheet1.xml"]
    contents["xl/worksheets/sheet1.xml"] = contents["xl/worksheets/sheet1.xml"].replace(old, new)
    with zipfile.ZipFile(path, "w") as parts:
        for name, content in contents.items():
            parts.writestr(name, content)
    return path


def test_rows_of_a_sheet_are_numbered_and_blank_ones_counted(tmp_path: Path) -> None:
    path = book(tmp_path, {"S": [[], ["mobile", "name"], [1, "a"], [None, " "], [2, None], [], [None, "c"]]})
    with open_source(path, PLAIN) as source:
        found = [(record.number, record.cells) for chunk in source.chunks() for record in chunk]

        assert found == [(1, ("1", "a")), (2, ("2", "")), (3, ("", "c"))]
        assert (source.header, source.blank, source.reading) == (("mobile", "name"), 2, {"sheet": "S"})
        assert source.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_workbook_is_known_by_its_content(tmp_path: Path) -> None:
    path = book(tmp_path, {"S": [["mobile"], [1]]}).rename(tmp_path / "in.csv")

    assert cells(path) == [("1",)]


def test_empty_and_hidden_sheets_do_not_count(tmp_path: Path) -> None:
    def change(made: Any) -> None:
        made["Lists"].sheet_state = "hidden"

    path = book(tmp_path, {"Empty": [], "S": [["mobile"], [1]], "Lists": [["a"], ["b"]]}, change)

    assert cells(path) == [("1",)]
    assert cells(path, Reading(sheet="Lists")) == [("b",)]


def test_several_sheets_must_be_chosen_from(tmp_path: Path) -> None:
    path = book(tmp_path, {"North": [["mobile"], [1]], "South": [["mobile"], [2]], "Empty": []})

    error = refusal(path)
    assert "has 2 sheets with content ('North', 'South'), and 2 of its sheets look like a list" in error.message
    assert '--sheet "North"' in error.hint
    assert cells(path, Reading(sheet="South")) == cells(path, Reading(sheet="2")) == [("2",)]
    assert "no sheet 'West'; its sheets are 'North', 'South', 'Empty'" in refusal(path, Reading(sheet="West")).message


def test_the_only_sheet_that_names_customers_is_taken_and_told(tmp_path: Path) -> None:
    path = book(tmp_path, {"Notes": [["About this file"], ["Campaign", "Diwali"]], "List": [["Phone No."], [2]]})

    with open_source(path, PLAIN) as source:
        assert source.reading == {"sheet": "List"}
        assert "only 'List' names customers" in source.notes[0]


# --- what a sheet shows beside its cells ------------------------------------------------------------------------


def judged(path: Path) -> list[tuple[str, str]]:
    """(code of the problem, cell) of every record; two empty texts for a sound one."""
    with open_source(path, PLAIN) as source:
        places = columns(source.header, {})
        rows = [judge(record, places) for chunk in source.chunks() for record in chunk]
    return [(row.problem.code if row.problem else "", row.cell) for row in rows]


def test_hidden_rows_lost_zeros_and_formulas_without_a_value_are_told_by_their_cell(tmp_path: Path) -> None:
    def change(made: Any) -> None:
        sheet = made["S"]
        sheet["C3"].number_format = "0000000000"
        sheet["C4"].number_format = "0000000000"
        sheet["C5"] = "=C4&1"
        sheet.row_dimensions[6].hidden = True

    ids: list[Any] = ["External ID", "0000000001", 123, 1234567890, None, "0000000002"]
    path = book(tmp_path, {"S": [["", "x", each] for each in ids]}, change)

    assert judged(path) == [("", ""), ("padded", "C3"), ("", ""), ("uncached", "C5"), ("hidden", "B6")]


def test_what_the_file_showed_stays_wrong_in_a_failures_file_until_somebody_says_otherwise(tmp_path: Path) -> None:
    line = f"9198,rejected,,{JOB},1\n"
    head = "External ID,_status,_error_code,_job,_row\n"
    path = written(tmp_path, head + line.replace("rejected,", "invalid,padded") + line)

    assert [code for code, _ in judged(path)] == ["padded", ""]


def test_of_other_workbooks_it_is_said_what_can_not_be_seen(tmp_path: Path) -> None:
    with open_source(FILES / "excel97.xls", PLAIN) as source:
        assert "Of .xls files hidden rows" in source.notes[0]


# --- packed files and standard input ----------------------------------------------------------------------------


def packed(name: str, content: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as parts:
        parts.writestr(name, content)
        parts.writestr("__MACOSX/._" + name, b"x")
    return made.getvalue()


def test_a_packed_file_is_the_same_content(tmp_path: Path) -> None:
    plain = b"mobile\n919800000001\n"
    contents = {"a.csv": plain, "a.csv.gz": gzip.compress(plain), "a.zip": packed("a.csv", plain)}
    hashes = set()
    for name, content in contents.items():
        with open_source(written(tmp_path, content, name), PLAIN) as source:
            hashes.add(source.sha256)
            assert [record.cells for chunk in source.chunks() for record in chunk] == [("919800000001",)]

    assert hashes == {hashlib.sha256(plain).hexdigest()}


def test_a_packed_workbook_is_read_too(tmp_path: Path) -> None:
    path = book(tmp_path, {"S": [["mobile"], [1]]})

    assert cells(written(tmp_path, packed("in.xlsx", path.read_bytes()), "in.zip")) == [("1",)]


@pytest.mark.parametrize("pack", [gzip.compress, lambda content: packed("a.csv", content)])
def test_what_unpacks_to_no_list_of_customers_is_refused_on_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pack: Callable[[bytes], bytes]
) -> None:
    monkeypatch.setattr(opening, "UNSUSPICIOUS", 1 << 20)
    bomb = written(tmp_path, pack(b"0" * (64 << 20)))

    assert "unpacks to more than any list of customers (" in refusal(bomb).message


def test_standard_input_is_read_like_a_file(tmp_path: Path) -> None:
    read = (
        "from pathlib import Path; from bulk_issue.config import Reading; from bulk_issue.source import open_source\n"
        "with open_source(Path('-'), Reading()) as source:\n"
        "    print(source.path, [record.cells for chunk in source.chunks() for record in chunk])"
    )
    done = subprocess.run([sys.executable, "-c", read], input=b"mobile\n1\n", capture_output=True, check=True)

    assert done.stdout.decode().strip() == "stdin [('1',)]"


# --- the header -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("above", ["Diwali campaign\n\n", "Diwali campaign,,\nmade by,Asha,\n", "\n"])
def test_titles_above_the_header_are_passed_over(tmp_path: Path, above: str) -> None:
    assert cells(written(tmp_path, above + "name,mobile,city,note,vip\nAsha,1,x,y,z\n")) == [
        ("Asha", "1", "x", "y", "z")
    ]


def test_what_may_be_a_record_is_not_taken_for_a_title(tmp_path: Path) -> None:
    """A first record of as many cells is a header, however odd: a record above the real one must not vanish."""
    path = written(tmp_path, "Kunde,Telefonnummer,Kanal\nAsha,1,mobile\nRavi,2,post\n")

    with open_source(path, PLAIN) as source:
        assert source.header == ("Kunde", "Telefonnummer", "Kanal")


def test_in_a_single_column_no_record_is_a_title(tmp_path: Path) -> None:
    assert cells(written(tmp_path, "Kunde\nMAIL\n1\n")) == [("MAIL",), ("1",)]


def test_the_header_is_where_somebody_says(tmp_path: Path) -> None:
    path = written(tmp_path, "a,b\nmobile,x\n1,2\n")

    assert cells(path, Reading(header_row=2)) == [("1", "2")]
    assert "that record is blank" in refusal(written(tmp_path, "\na\n1\n"), Reading(header_row=1)).message
    assert "has no such record" in refusal(path, Reading(header_row=9)).message


def test_without_a_header_the_first_record_is_a_customer(tmp_path: Path) -> None:
    path = written(tmp_path, "Asha;919800000001\nRavi;919800000002\n")

    with open_source(path, Reading(no_header=True)) as source:
        assert source.header == ("column 1", "column 2")
        assert sum(len(chunk) for chunk in source.chunks()) == 2


def test_a_wrong_byte_comes_with_the_encodings_that_fit(tmp_path: Path) -> None:
    error = refusal(written(tmp_path, "mobile,name\n1,José\n".encode("cp1252")))

    assert "--encoding cp1252" in error.hint


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "nothing in its visible sheets"),
        ([["mobile"]], "a header and no records"),
        ([[" "], [" "]], "nothing but blanks"),
    ],
)
def test_a_sheet_without_records_is_refused(tmp_path: Path, rows: list[list[str]], message: str) -> None:
    assert message in refusal(book(tmp_path, {"S": rows})).message


def test_a_workbook_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    path = book(tmp_path, {"S": [["mobile"], [1]]})
    path.write_bytes(path.read_bytes()[:-200])

    assert "is cut short or damaged" in refusal(path).message


def test_a_workbook_with_a_broken_sheet_is_refused(tmp_path: Path) -> None:
    path = rewritten(book(tmp_path, {"S": [["mobile"], [1]]}), b"</sheetData>", b"<row")

    assert "can't be read as a workbook" in refusal(path).message


def test_a_workbook_that_unpacks_to_too_much_is_refused_unopened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = book(tmp_path, {"S": [["mobile"], [1]]})
    monkeypatch.setattr(archive, "MOST_BYTES", 1000)

    assert "unpacks to more than" in refusal(path).message


def test_a_part_that_is_larger_than_it_says_is_refused_unopened(tmp_path: Path) -> None:
    path = book(tmp_path, {"S": [["mobile"], [1]]})
    content = path.read_bytes()
    with zipfile.ZipFile(path) as parts:
        size = struct.pack("<I", parts.getinfo("xl/worksheets/sheet1.xml").file_size)
    assert content.count(size) == 2
    path.write_bytes(content.replace(size, struct.pack("<I", 10)))

    error = refusal(path).message
    assert "unpacks to more than" in error or "can't be read as a workbook" in error


def test_a_workbook_that_holds_a_part_twice_is_refused(tmp_path: Path) -> None:
    path = book(tmp_path, {"S": [["mobile"], [1]]})
    with zipfile.ZipFile(path, "a") as parts, pytest.warns(UserWarning, match="Duplicate"):
        parts.writestr("xl/worksheets/sheet1.xml", parts.read("xl/worksheets/sheet1.xml"))

    assert "holds a part twice" in refusal(path).message


@pytest.mark.parametrize(
    "far", [b'<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>', b'<row r="99999999"><c><v>1</v></c></row>']
)
def test_cells_that_are_scattered_over_the_sheet_are_refused_unfolded(tmp_path: Path, far: bytes) -> None:
    path = rewritten(book(tmp_path, {"S": [["mobile"], [1]]}), b"</sheetData>", far + b"</sheetData>")

    assert "are scattered over" in refusal(path).message


@pytest.mark.parametrize(("rows", "columns"), [(1 << 20, 100), (100_000_000, 1)])
def test_cells_of_an_ods_that_count_for_millions_are_refused_unfolded(tmp_path: Path, rows: int, columns: int) -> None:
    path = ods(tmp_path, rows, columns)

    assert f"over {rows} rows and {columns} columns" in refusal(path).message


def test_an_ods_may_repeat_cells_within_reason(tmp_path: Path) -> None:
    assert len(cells(ods(tmp_path, 3, 2))) == 2


def ods(folder: Path, rows: int, columns: int) -> Path:
    """A workbook with one cell, written once for a rectangle."""
    names = " ".join(
        f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"' for name in ("office", "table", "text")
    )
    content = (
        f"<office:document-content {names}><office:body><office:spreadsheet>"
        f'<table:table table:name="S"><table:table-row table:number-rows-repeated="{rows}">'
        f'<table:table-cell office:value-type="string" table:number-columns-repeated="{columns}">'
        "<text:p>x</text:p></table:table-cell></table:table-row></table:table>"
        "</office:spreadsheet></office:body></office:document-content>"
    )
    with zipfile.ZipFile(folder / "in.ods", "w") as parts:
        parts.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        parts.writestr("content.xml", content)
        parts.writestr("META-INF/manifest.xml", "<x/>")
    return folder / "in.ods"


@pytest.mark.parametrize(
    ("code", "shown_otherwise"),
    [
        ("0000000000", True),
        ("00000-00000", True),
        ('"+91"0', True),
        ("\\9\\1 0", True),
        ("0%", True),
        ("#0000000000", True),
        ("0000000000;-0", True),
        ("000000000", False),  # no more digits than it has
        ('"No. "0', False),
        ("0.00", False),
        ("#,##0", False),
        ("0.00E+00", False),
        ("[<=9999999]000-0000;(000) 000-0000", False),
        ("@", False),
        ("[Red]0", False),
    ],
)
def test_a_number_that_is_shown_with_other_digits_is_damaged(
    tmp_path: Path,
    code: str,
    shown_otherwise: bool,  # noqa: FBT001
) -> None:
    def change(made: Any) -> None:
        made["S"]["B2"].number_format = code

    (record,) = records(book(tmp_path, {"S": [["name", "mobile"], ["x", 987654321]]}, change))

    assert dict(record.damage) == ({1: "padded"} if shown_otherwise else {})
    assert record.cells == ("x", "987654321")


def test_a_formula_that_was_never_calculated_has_no_value(tmp_path: Path) -> None:
    """XlsxWriter writes 0 for each, and asks whoever opens the file to calculate."""
    path = tmp_path / "in.xlsx"
    made = xlsxwriter.Workbook(path)
    sheet = made.add_worksheet()
    sheet.write_row(0, 0, ["externalId", "n"])
    sheet.write_formula(1, 0, "=B2")
    sheet.write_formula(2, 0, "=B3", value=12)
    made.close()

    assert [dict(record.damage) for record in records(path)] == [{0: "uncached"}, {}]


# --- our own files ----------------------------------------------------------------------------------------------


def our_file(folder: Path, *rows: dict[str, str], names: Sequence[str] = ("mobile", *OUR_COLUMNS)) -> Path:
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="", lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(rows)
    return written(folder, b"\xef\xbb\xbf" + text.getvalue().encode(), "failures.csv")


def ours(row: str, status: str = "rejected", job: str = JOB, **more: str) -> dict[str, str]:
    return {"mobile": f"91980000000{row}", "_row": row, "_status": status, "_job": job, **more}


@pytest.mark.parametrize("names", [("mobile", *OUR_COLUMNS), (*ALL_COLUMNS, "mobile")])
def test_a_failures_file_gives_the_users_cells_and_the_rows_they_were(tmp_path: Path, names: Sequence[str]) -> None:
    path = our_file(tmp_path, ours("7", _reason="a, b"), ours("9", "invalid"), names=names)
    with open_source(path, PLAIN) as source:
        found = [record for chunk in source.chunks() for record in chunk]

        assert (source.header, source.lineage) == (("mobile",), True)
    assert [record.cells for record in found] == [("919800000007",), ("919800000009",)]
    assert [record.lineage for record in found] == [Lineage(job=JobId(JOB), row=7), Lineage(job=JobId(JOB), row=9)]


def test_a_record_that_somebody_added_has_no_lineage(tmp_path: Path) -> None:
    found = records(our_file(tmp_path, ours("7"), {"mobile": "919800000099"}))

    assert [record.lineage is None for record in found] == [False, True]


def test_a_workbook_of_ours_is_known_too(tmp_path: Path) -> None:
    path = book(tmp_path, {"S": [["mobile", "_row", "_status", "_job"], ["919800000001", 7, "rejected", JOB]]})

    assert records(path)[0].lineage == Lineage(job=JobId(JOB), row=7)


def test_without_job_and_row_our_names_are_the_users(tmp_path: Path) -> None:
    for header in ("mobile,_row,_status", "mobile,_job,_status", "mobile,_x,_y"):
        with open_source(written(tmp_path, f"{header}\n1,2,issued\n"), PLAIN) as source:
            assert (source.header, source.lineage) == (tuple(header.split(",")), False)
            assert [record.cells for chunk in source.chunks() for record in chunk] == [("1", "2", "issued")]


def test_other_columns_with_an_underscore_are_the_users(tmp_path: Path) -> None:
    with open_source(our_file(tmp_path, ours("7"), names=("_mine", "mobile", *OUR_COLUMNS)), PLAIN) as source:
        assert source.header == ("_mine", "mobile")


def test_a_users_column_of_our_name_comes_back_as_theirs(tmp_path: Path) -> None:
    path = written(tmp_path, f"mobile,_status,_row,_status,_job\n1,vip,7,rejected,{JOB}\n")
    with open_source(path, PLAIN) as source:
        assert source.header == ("mobile", "_status")
        assert [record.cells for chunk in source.chunks() for record in chunk] == [("1", "vip")]


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        ("issued", "give failures.csv"),
        ("held", "give failures.csv"),
        ("duplicate", "give failures.csv"),
        ("cancelled", "give failures.csv"),
        ("superseded", "give failures.csv"),
        ("pending", f"bulk-issue resume {JOB}"),
        ("in_doubt", f"bulk-issue reconcile {JOB}"),
    ],
)
def test_a_file_with_anything_but_failures_is_refused_before_its_first_record(
    tmp_path: Path, status: str, hint: str
) -> None:
    path = our_file(tmp_path, ours("7"), ours("8"), ours("9", status))

    with pytest.raises(SourceError) as refused:
        open_source(path, PLAIN)
    assert f"its record 3 is {status}" in refused.value.message
    assert hint in refused.value.hint


def test_what_is_no_status_is_refused_and_not_quoted(tmp_path: Path) -> None:
    for status in ("", "919800000001", "Rejected"):
        message = refusal(our_file(tmp_path, ours("7", status))).message
        assert "record 1 is no status of ours" in message and "9198" not in message
    path = written(tmp_path, f"mobile,_row,_job\n1,7,{JOB}\n")
    assert "no status of ours" in refusal(path).message


@pytest.mark.parametrize(("row", "job"), [("", JOB), ("0", JOB), ("7.5", JOB), ("x", JOB), ("7", ""), ("٧", JOB)])
def test_a_record_that_does_not_say_which_row_it_was_is_refused(tmp_path: Path, row: str, job: str) -> None:
    error = refusal(our_file(tmp_path, {**ours("1"), "_row": row, "_job": job}))

    assert "record 1: its _job and _row don't say which row it was" in error.message


@pytest.mark.parametrize(
    "given",
    [
        Reading(no_header=True),
        Reading(header_row=4),
        Reading(delimiter=";"),
        Reading(encoding="utf-16"),
        Reading(sheet="Customers"),
    ],
)
def test_a_failures_file_is_read_with_the_settings_of_the_file_that_it_came_from(
    tmp_path: Path, given: Reading
) -> None:
    assert cells(our_file(tmp_path, ours("7"), ours("9")), given) == [("919800000007",), ("919800000009",)]


def test_what_a_sheet_shows_of_a_failures_file_counts_too(tmp_path: Path) -> None:
    def change(made: Any) -> None:
        made["S"]["B2"].number_format = "0000000000"
        made["S"]["C3"].value = "=1+1"
        made["S"].row_dimensions[4].hidden = True

    rows = [[row, 1, "x", "invalid", "", JOB] for row in (7, 8, 9)]
    path = book(tmp_path, {"S": [["_row", "mobile", "name", "_status", "_error_code", "_job"], *rows]}, change)
    first, second, third = records(path)

    assert (dict(first.damage), dict(second.damage)) == ({0: "padded"}, {1: "uncached"})
    assert third.problem and third.problem.code == "hidden"
    assert first.line == 0  # the columns moved: no address is better than a wrong one


def test_a_record_that_was_ragged_stays_so_until_somebody_says_that_it_is_mended(tmp_path: Path) -> None:
    path = our_file(tmp_path, ours("7", "invalid", _error_code="ragged"), ours("8", "invalid", _error_code="date"))

    assert [record.problem and record.problem.code for record in records(path)] == ["ragged", None]


def test_a_surplus_behind_our_columns_stays_with_the_users_cells(tmp_path: Path) -> None:
    path = written(tmp_path, f"mobile,_row,_status,_job\n1,7,invalid,{JOB},x,y\n2,8,rejected,{JOB}\n")
    first, second = records(path)

    assert (first.cells, first.problem and first.problem.code) == (("1", "x", "y"), "ragged")
    assert (second.cells, second.problem) == (("2",), None)
    assert first.lineage == Lineage(job=JobId(JOB), row=7)


# --- e-mail addresses -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "valid"),
    [
        ("a@shop.example", True),
        ("A.B+c-d_e@Shop.co.in", True),
        ("o'neil@shop.example", True),
        ("ü@bücher.example", True),
        ("a@shop", False),
        ("a@shop.test", False),
        ("a@ex_ample.com", False),
        ("a..b@shop.example", False),
        (".a@shop.example", False),
        ("a b@shop.example", False),
        ("a@b@shop.example", False),
        ("@shop.example", False),
        ("a@", False),
        ("", False),
        ("a@" + "b" * 64 + ".example", False),
        ("a" * 60 + "@" + "b." * 100 + "example", False),
    ],
)
def test_emails_are_checked_by_their_form(address: str, valid: bool) -> None:  # noqa: FBT001
    assert valid_email(address) is valid


def test_reading_a_workbook_or_refusing_a_file_loads_no_pandas(tmp_path: Path) -> None:
    import subprocess

    path = book(tmp_path, {"S": [["mobile"], [1]]})
    code = (
        "import sys; from pathlib import Path; from bulk_issue.config import Reading\n"
        "from bulk_issue.source import open_source\n"
        f"list(open_source(Path({str(path)!r}), Reading()).chunks())\n"
        "sys.exit('pandas' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
