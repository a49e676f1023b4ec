"""Files as other programs write them (tests/awkward/make.py), and files that are no table at all."""

from __future__ import annotations

import gzip
import io
import json
import tomllib
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bulk_issue.app.intake import intake
from bulk_issue.config import Reading
from bulk_issue.errors import BulkIssueError
from bulk_issue.model import IdentifierKind

FOLDER = Path(__file__).parent / "awkward"
EXPECTED: Mapping[str, Mapping[str, Any]] = tomllib.loads((FOLDER / "expected.toml").read_text(encoding="utf-8"))


def said(path: Path, reading: Reading) -> list[str]:
    """The key of every record's customer, or what is wrong with it and where."""
    with intake(path, reading) as file:
        rows = [row for chunk in file.chunks() for row in chunk]
    return [
        row.identifier.key if row.identifier else f"{row.problem and row.problem.code} {row.cell}".strip()
        for row in rows
    ]


def test_every_file_has_its_verdict() -> None:
    made = {path.name for path in FOLDER.iterdir() if path.suffix not in (".py", ".toml", ".pyc")} - {"__pycache__"}

    assert made == set(EXPECTED)
    assert len(made) >= 60


@pytest.mark.parametrize("name", EXPECTED)
def test_a_file_of_another_program_gives_what_it_must(name: str) -> None:
    expected = EXPECTED[name]
    options = dict(expected.get("with", {}))
    options["map"] = {IdentifierKind(kind): column for kind, column in options.get("map", {}).items()}
    if "refused" in expected:
        with pytest.raises(BulkIssueError) as refused:
            said(FOLDER / name, Reading(**options))
        assert expected["refused"] in refused.value.message
        assert refused.value.hint
    else:
        assert said(FOLDER / name, Reading(**options)) == expected["rows"]


# --- no file, however broken, gives a traceback -----------------------------------------------------------------

WORKBOOKS = [
    (FOLDER / name).read_bytes() for name in ("numbers.xlsx", "sheetjs-narrow.xlsb", "excel97.xls", "pandas.ods")
]
MANY = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def taken_or_refused(folder: Path, content: bytes, reading: Reading | None = None) -> None:
    """The file is read, or refused by an error of ours; anything else fails."""
    path = folder / "any"
    path.write_bytes(content)
    with suppress(BulkIssueError):
        said(path, reading or Reading(map={IdentifierKind.MOBILE: "column 1"}, no_header=True))


@MANY
@given(
    content=st.binary(max_size=3000), encoding=st.sampled_from(["", "utf-8", "cp1252", "utf-16", "utf-32", "shift_jis"])
)
@example(content=b"\xff\xfe", encoding="")
@example(content=b'"', encoding="")
@example(content=b"\x1f\x8b", encoding="")
@example(content=b"PK\x03\x04", encoding="")
def test_any_bytes_are_read_or_refused(tmp_path: Path, content: bytes, encoding: str) -> None:
    reading = Reading(map={IdentifierKind.MOBILE: "column 1"}, no_header=True, encoding=encoding)
    taken_or_refused(tmp_path, content, reading)


@MANY
@given(data=st.data(), workbook=st.sampled_from(WORKBOOKS))
def test_a_damaged_workbook_is_read_or_refused(tmp_path: Path, data: st.DataObject, workbook: bytes) -> None:
    end = data.draw(st.integers(0, len(workbook)))
    at = data.draw(st.integers(0, len(workbook)))
    junk = data.draw(st.binary(max_size=40))
    taken_or_refused(tmp_path, (workbook[:at] + junk + workbook[at + len(junk) :])[:end])


@MANY
@given(data=st.data())
def test_a_workbook_with_damaged_parts_is_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    with zipfile.ZipFile(io.BytesIO(data.draw(st.sampled_from([WORKBOOKS[0], WORKBOOKS[1], WORKBOOKS[3]])))) as origin:
        parts = {name: origin.read(name) for name in origin.namelist()}
    name = data.draw(st.sampled_from(sorted(parts)))
    at = data.draw(st.integers(0, len(parts[name])))
    parts[name] = (
        parts[name][:at] + data.draw(st.binary(max_size=20)) + parts[name][at + data.draw(st.integers(0, 50)) :]
    )
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as changed:
        for each, content in parts.items():
            changed.writestr(each, content)
    taken_or_refused(tmp_path, made.getvalue())


ENTITIES = (
    b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "lol">'
    + b"".join(b'<!ENTITY %c "%s">' % (97 + n, b"&%c;" % (96 + n) * 10) for n in range(1, 12))
    + b"]>"
)
OUTSIDE = b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize(
    "part", ["xl/workbook.xml", "xl/_rels/workbook.xml.rels", "xl/styles.xml", "xl/worksheets/sheet1.xml"]
)
@pytest.mark.parametrize("trick", [ENTITIES, OUTSIDE])
def test_entities_are_neither_unfolded_nor_fetched(tmp_path: Path, part: str, trick: bytes) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(WORKBOOKS[0])) as origin, zipfile.ZipFile(made, "w") as changed:
        for each in origin.namelist():
            content = origin.read(each)
            if each == part:
                content = trick + content.partition(b"?>")[2].replace(b"Customers", b"&k;").replace(b"E7", b"&a;")
            changed.writestr(each, content)
    taken_or_refused(tmp_path, made.getvalue())
    assert b"root:" not in (tmp_path / "any").read_bytes()


def test_a_file_that_is_packed_in_itself_again_is_refused(tmp_path: Path) -> None:
    taken_or_refused(tmp_path, gzip.compress(gzip.compress(json.dumps({"a": 1}).encode())))


def test_a_failures_file_is_no_measure_of_what_is_usual(tmp_path: Path) -> None:
    """Its short numbers are there because they are short: one that a person accepted goes."""
    numbers = [f"{12345670 + n},{n + 1},invalid,,j1" for n in range(40)]
    short = "1234567,41,invalid,{},j1"
    for kept, verdict in (("short", "short"), ("", "externalId:1234567")):
        path = tmp_path / "failures.csv"
        path.write_text("\n".join(["External ID,_row,_status,_error_code,_job", *numbers, short.format(kept)]))

        assert said(path, Reading())[-1] == verdict
