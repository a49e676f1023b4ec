"""The rule under test: a decision is exactly what a person wrote, or the file is refused."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulk_issue.decisions import read_decisions
from bulk_issue.errors import SourceError
from bulk_issue.model import Decision, JobId, Lineage

HEADER = ["name", "_row", "_status", "_job", "_decision"]


def line(row: int | str, decision: str, job: str = "job-a", name: str = "Ann") -> list[str]:
    return [name, str(row), "in_doubt", job, decision]


def save(
    path: Path, *lines: list[str], delimiter: str = ",", encoding: str = "utf-8-sig", header: list[str] = HEADER
) -> Path:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter).writerows([header, *lines])
    path.write_bytes(text.getvalue().encode(encoding))
    return path


def decided(row: int, code: str | None, job: str = "job-a") -> Decision:
    return Decision(lineage=Lineage(job=JobId(job), row=row), code=code)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-8", "cp1252"])
def test_a_file_saved_by_a_spreadsheet_says_the_same(tmp_path: Path, delimiter: str, encoding: str) -> None:
    path = save(
        tmp_path / "in_doubt.csv",
        line(3, "issued AB12", name='Müller; "Jo", Ltd.\nBerlin'),
        line(5, ""),
        line(8, "not issued"),
        line(8, "issued 0012", job="job-b"),
        delimiter=delimiter,
        encoding=encoding,
    )

    assert read_decisions(path) == [decided(3, "AB12"), decided(8, None), decided(8, "0012", "job-b")]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("issued aB-12/x", "aB-12/x"),
        ("  Issued\u00a0 AB12 ", "AB12"),
        ("not issued", None),
        (" Not  Issued ", None),
    ],
)
def test_case_and_blanks_around_the_words_do_not_matter(tmp_path: Path, text: str, code: str | None) -> None:
    assert read_decisions(save(tmp_path / "d.csv", line(1, text))) == [decided(1, code)]


@pytest.mark.parametrize(
    "text",
    [
        "yes",
        "issued",
        "issued: AB12SECRET",
        "AB12SECRET",
        "issued AB12 SECRET",
        "notissued",
        "not",
        "0",
        "issued AB\x07",
    ],
)
def test_anything_else_is_refused_and_the_row_named_but_not_the_text(tmp_path: Path, text: str) -> None:
    path = save(tmp_path / "d.csv", line(1, "not issued"), line(12, text))

    with pytest.raises(SourceError, match=r"d\.csv, line 3 \(row 12 of job job-a\)") as caught:
        read_decisions(path)

    assert caught.value.exit_code == 2
    assert "not issued" in caught.value.hint
    assert "SECRET" not in caught.value.message + caught.value.hint


@given(st.text())
def test_no_text_is_taken_for_an_absence_but_the_words_themselves(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = save(tmp_path_factory.mktemp("d") / "d.csv", line(1, text))
    try:
        decisions = read_decisions(path)
    except SourceError:
        return

    assert all(decision.code or text.lower().split() == ["not", "issued"] for decision in decisions)


def test_a_code_in_a_foreign_encoding_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "d.csv", line(1, "issued ABÜ"), encoding="cp1252")

    with pytest.raises(SourceError, match="line 2"):
        read_decisions(path)


@pytest.mark.parametrize(
    ("row", "job"), [("", "job-a"), ("1.5", "job-a"), ("²", "job-a"), ("9" * 30, "job-a"), ("1", " ")]
)
def test_a_decision_without_its_row_is_refused(tmp_path: Path, row: str, job: str) -> None:
    path = save(tmp_path / "d.csv", line(row, "not issued", job=job))

    with pytest.raises(SourceError, match=r"line 2: .* _job and _row"):
        read_decisions(path)


@pytest.mark.parametrize(
    ("text", "beside", "taken"),
    [
        ("not issued", "SECRET12", False),
        ("issued AB12", "SECRET12", False),
        ("issued AB12", " ab12 ", True),
        ("issued AB12", "", True),
        ("not issued", " ", True),
        ("", "SECRET12", True),
    ],
)
def test_a_decision_and_a_code_beside_it_must_agree(tmp_path: Path, text: str, beside: str, *, taken: bool) -> None:
    path = save(tmp_path / "d.csv", [beside, *line(1, text)], header=["_coupon_code", *HEADER])
    if taken:
        assert len(read_decisions(path)) == bool(text)
        return
    with pytest.raises(SourceError, match=r"line 2 \(row 1 of job job-a\): .* contradict") as caught:
        read_decisions(path)

    assert "SECRET" not in caught.value.message + caught.value.hint


def test_two_decisions_for_one_row_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "d.csv", line(1, "not issued"), line(1, "issued AB12"))

    with pytest.raises(SourceError, match="line 3: a second decision for row 1 of job job-a"):
        read_decisions(path)


def test_of_two_columns_with_one_name_ours_is_the_last(tmp_path: Path) -> None:
    path = save(tmp_path / "d.csv", ["not issued", *line(1, "issued AB12")], header=["_decision", *HEADER])

    assert read_decisions(path) == [decided(1, "AB12")]


def test_our_columns_are_enough_in_any_order_and_behind_a_bom(tmp_path: Path) -> None:
    path = save(tmp_path / "d.csv", ["not issued", "7", "job-a"], header=["_decision", "_row", "_job"])

    assert read_decisions(path) == [decided(7, None)]


def test_blank_and_short_lines_hold_no_decision(tmp_path: Path) -> None:
    path = save(tmp_path / "d.csv", [], ["Ann", "1"], ["", "", "", "", ""], line(2, "not issued"), [])

    assert read_decisions(path) == [decided(2, None)]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"name,_row,_job\nAnn,1,job-a\n", id="no-decision-column"),
        pytest.param("_job,_row,_decision\n".encode("utf-16"), id="utf-16"),
        pytest.param(b"PK\x03\x04\x14\x00\x00", id="workbook"),
    ],
)
def test_a_file_without_our_columns_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "d.csv"
    path.write_bytes(content)

    with pytest.raises(SourceError, match="_decision") as caught:
        read_decisions(path)
    assert "in_doubt.csv" in caught.value.hint


def test_a_file_that_can_not_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="No such file"):
        read_decisions(tmp_path / "missing.csv")
    with pytest.raises(SourceError, match="not a CSV file"):
        read_decisions(save(tmp_path / "d.csv", line(1, "x" * 200_000)))


def test_a_decision_does_not_show_its_code() -> None:
    assert "AB12" not in repr(decided(1, "AB12"))
