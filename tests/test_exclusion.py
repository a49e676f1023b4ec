"""Whoever is on a suppression list is never sent to, under whatever identifier the list names them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bulk_issue.app.intake import intake
from bulk_issue.app.left_out import leaving_out
from bulk_issue.config import Omit, Reading
from bulk_issue.errors import BulkIssueError
from bulk_issue.model import IdentifierKind, Withheld
from bulk_issue.sandbox.server import Sandbox
from bulk_issue.sandbox.settings import Settings
from tests.console import Console, mobiles


@pytest.fixture
async def console(tmp_path: Path) -> AsyncIterator[Console]:
    async with Sandbox(Settings(rate=0)) as box:
        yield Console(tmp_path, box)


CUSTOMERS = (
    "mobile,email,name\n919800000001,a@x.example,A\n919800000002,B@x.example,B\n,c@x.example,C\n919800000004,,D\n"
)


def left(folder: Path, excluded: str, **reading: object) -> str:
    """The names of those who aren't left out."""
    (folder / "c.csv").write_text(CUSTOMERS)
    (folder / "out.csv").write_text(excluded)
    omit = Omit(exclude=folder / "out.csv")
    with (
        intake(folder / "c.csv", Reading(**reading)) as bare,  # type: ignore[arg-type]
        leaving_out(bare, omit, None, None) as (file, _),
    ):
        rows = [row for chunk in file.chunks() for row in chunk]
    return "".join(row.cells[2] for row in rows if row.identifier and row.withheld is not Withheld.EXCLUDED)


@pytest.mark.parametrize(
    ("excluded", "names"),
    [
        ("mobile\n+91 98000 00001\n", "BCD"),
        ("email\nb@X.example\nC@x.example\n", "AD"),
        ("phone,e-mail\n919800000004,\n,a@x.example\n,\n", "BC"),
        ("mobile\n919899999999\n", "ABCD"),
    ],
)
def test_a_customer_is_left_out_by_any_identifier(tmp_path: Path, excluded: str, names: str) -> None:
    assert left(tmp_path, excluded) == names


def test_an_identifier_that_is_not_sent_counts_too(tmp_path: Path) -> None:
    assert left(tmp_path, "email\na@x.example\n", identify_by=IdentifierKind.MOBILE) == "BD"


@pytest.mark.parametrize(
    ("excluded", "says"),
    [
        ("mobile\n9.19E+11\n", "1 \\(mobile .column 1. is in scientific notation"),
        ("mobile,email\n919800000001,not an address\n", "1 \\(email .column 2. is not an e-mail address"),
        ("mobile,note\n,somebody\n", "1 \\(no identifier is filled in"),
        ("externalId\nX1\n", "by externalId, the file by email, mobile"),
        ("who\n919800000001\n", "--exclude .*out.csv: no column names a customer"),
        ("", "out.csv is empty"),
    ],
)
def test_a_list_that_can_not_be_applied_whole_is_refused(tmp_path: Path, excluded: str, says: str) -> None:
    with pytest.raises(BulkIssueError, match=says) as caught:
        left(tmp_path, excluded)
    assert caught.value.exit_code == 2
    assert caught.value.hint


async def test_excluded_rows_are_never_sent_and_no_failures(console: Console) -> None:
    file = console.customers("c.csv", [*mobiles(4), "919800000740"])
    out = console.customers("out.csv", mobiles(2))
    done = await console.run(file, "--exclude", out)
    again = await console.run(file, "--exclude", out)

    assert (done.code, again.code) == (1, 1)
    assert "2 × excluded: the customer is on the suppression list" in done.out
    assert [row["_status"] for row in console.results(file)] == ["invalid"] * 2 + ["issued"] * 2 + ["rejected"]
    assert [row["_error_code"] for row in console.results(file)][:2] == ["excluded"] * 2
    (failures,) = console.folder.glob("c.csv-results/*/failures.csv")
    assert failures.read_text().count("\n") == 2
    named = {coupon.named for coupon in console.box.book.coupons_of(console.box.series_id)}
    assert named.isdisjoint(f"mobile:{mobile}" for mobile in mobiles(2))
