"""The sample files are what their script writes, and show what they are meant to show."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections import Counter
from itertools import chain
from pathlib import Path

import pytest

from bulk_issue.columns import OUR_COLUMNS
from bulk_issue.config import Reading
from bulk_issue.customer_columns import columns
from bulk_issue.model import IdentifierKind, Row
from bulk_issue.rows import judge
from bulk_issue.sandbox.customers import REFUSED
from bulk_issue.source import open_source, valid_email

SAMPLES = Path(__file__).parent.parent / "samples"

#: What becomes of the awkward records of customers.csv, by row.
PROBLEMS = {
    60: "no-identifier",
    61: "scientific",
    62: "decimal",
    63: "mobile-characters",
    64: "mobile-length",
    65: "email-form",
    900: "ragged",
}
REJECTED = {101: 701, 350: 701, 351: 740, 720: 740, 1100: 701}


def judged(name: str, folder: Path = SAMPLES) -> dict[int, Row]:
    with open_source(folder / name, Reading()) as source:
        places = columns(source.header, {})
        return {
            record.number: judge(record, places, None, valid_email) for record in chain.from_iterable(source.chunks())
        }


def problems(found: dict[int, Row]) -> dict[int, str]:
    return {number: row.problem.code for number, row in found.items() if row.problem}


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The samples as the script writes them now."""
    folder = tmp_path_factory.mktemp("samples")
    subprocess.run([sys.executable, SAMPLES / "make_samples.py", folder], check=True, cwd=SAMPLES.parent)
    return folder


@pytest.mark.parametrize("name", ["customers.csv", "failures.csv", "bulk-issue.toml"])
def test_the_samples_are_what_the_script_writes(fresh: Path, name: str) -> None:
    assert (SAMPLES / name).read_bytes() == (fresh / name).read_bytes()


def test_the_workbook_is_what_the_script_writes(fresh: Path) -> None:
    # Compressed bytes depend on the zlib at hand.
    assert judged("customers.xlsx") == judged("customers.xlsx", fresh)


def test_customers_are_mostly_sound_and_have_every_kind_of_trouble() -> None:
    found = judged("customers.csv")

    assert list(found) == list(range(1, 1201))
    assert problems(found) == PROBLEMS
    assert Counter(row.identifier.kind for row in found.values() if row.identifier) == {
        IdentifierKind.EXTERNAL_ID: 2,
        IdentifierKind.EMAIL: 1,
        IdentifierKind.MOBILE: 1190,
    }
    assert found[10].cells[5] == "vegetarian,\nallergic to nuts"
    assert found[12].cells[0] == "अनीता Example"
    assert found[40].identifier is not None and found[40].identifier.value == "000000000123"


def test_one_customer_stands_there_three_times_and_nobody_else_twice() -> None:
    keys = Counter(row.identifier.key for row in judged("customers.csv").values() if row.identifier)

    assert [count for count in keys.values() if count > 1] == [3]


def test_the_workbook_names_the_same_customers() -> None:
    sheet, text = judged("customers.xlsx"), judged("customers.csv")

    assert problems(sheet) == {number: code for number, code in PROBLEMS.items() if number != 900}
    assert all(sheet[number].identifier == row.identifier for number, row in text.items() if number != 900)


@pytest.mark.parametrize("name", ["customers.csv", "customers.xlsx"])
def test_one_blank_record_is_in_each(name: str) -> None:
    with open_source(SAMPLES / name, Reading()) as source:
        list(source.chunks())
        assert source.blank == 1


def test_the_sandbox_refuses_a_handful() -> None:
    found = judged("customers.csv")
    refused = {
        number: REFUSED[row.identifier.value[-4:]]
        for number, row in found.items()
        if row.identifier and row.identifier.value[-4:] in REFUSED
    }

    assert refused == REJECTED


def test_the_failures_are_rows_of_one_job_with_cells_as_they_were() -> None:
    found, origin = judged("failures.csv"), judged("customers.csv")

    rows = {row.lineage.row: row for row in found.values() if row.lineage}
    assert sorted(rows) == sorted({*PROBLEMS, *REJECTED})
    assert {number: row.problem.code for number, row in rows.items() if row.problem} == PROBLEMS
    assert all(rows[number].identifier == origin[number].identifier for number in REJECTED)
    assert all(row.cells == origin[number].cells for number, row in rows.items())
    header = (SAMPLES / "failures.csv").read_text(encoding="utf-8-sig").partition("\n")[0]
    assert header.strip().endswith(",".join(OUR_COLUMNS))


def test_every_setting_of_the_sample_is_an_option_of_run() -> None:
    from bulk_issue.cli import commands

    profiles = tomllib.loads((SAMPLES / "bulk-issue.toml").read_text(encoding="utf-8"))
    options = {option for param in commands.commands["run"].params for option in param.opts}

    assert "default" in profiles
    for settings in profiles.values():
        assert {f"--{name.replace('_', '-')}" for name in settings} <= options
        assert not {"password", "client_secret"} & settings.keys()
