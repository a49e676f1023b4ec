"""A first record that may be a customer or the columns' names: nobody is lost, and nothing is guessed."""

from __future__ import annotations

import asyncio
import os
import pty
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bulk_issue.config import Reading
from bulk_issue.customer_columns import like_a_customer
from bulk_issue.errors import HeaderUnclear
from bulk_issue.model import IdentifierKind as K
from bulk_issue.sandbox.server import Sandbox
from bulk_issue.sandbox.settings import Settings
from bulk_issue.source import open_source
from tests.console import QUICK, Console, mobiles

FIRST = "919800000011"


@pytest.mark.parametrize(
    ("record", "below"),
    [
        (["Asha", FIRST], ["Ravi", "919800000012"]),
        (["+91 98000-00011", "x"], []),
        (["asha@shop.example"], ["ravi@shop.example"]),
        (["9.198E+11"], ["x"]),
        (["C0017", "Pune"], ["C0018", "Delhi"]),
        (["544770.0"], []),
    ],
)
def test_a_record_of_values_may_be_a_customer(record: list[str], below: list[str]) -> None:
    assert like_a_customer(record, below)


@pytest.mark.parametrize(
    ("record", "below"),
    [
        (["name", "Kontakt"], ["Asha", FIRST]),
        (["mobile", "919800000011"], ["919800000011", "5"]),
        (["Tel 1", "Tel 2"], [FIRST, "919800000012"]),
        (["Region", "2024", "2025"], ["North", "17", "18"]),
        (["@handle", "Kontakt"], ["@asha", FIRST]),
        (["name", ""], []),
    ],
)
def test_a_record_of_names_is_a_header(record: list[str], below: list[str]) -> None:
    assert not like_a_customer(record, below)


@pytest.fixture
async def console(tmp_path: Path) -> AsyncIterator[Console]:
    async with Sandbox(Settings(rate=0)) as box:
        yield Console(tmp_path, box)


def headless(folder: Path, *numbers: str) -> Path:
    path = folder / "c.csv"
    path.write_text("".join(f"N{at},{number}\n" for at, number in enumerate(numbers, 1)), encoding="utf-8")
    return path


def test_a_column_that_a_person_named_after_the_first_customer_is_no_header(tmp_path: Path) -> None:
    file = headless(tmp_path, FIRST, "919800000012")
    for reading in (Reading(), Reading(map={K.MOBILE: FIRST}), Reading(map={K.EXTERNAL_ID: "N1"})):
        with pytest.raises(HeaderUnclear) as asked:
            open_source(file, reading)
        assert asked.value.record == 1 and asked.value.first == ("N1", FIRST)
        assert FIRST not in asked.value.message + asked.value.hint + asked.value.cells
    with open_source(file, Reading(no_header=True)) as source:
        assert len(next(source.chunks())) == 2
    with open_source(file, Reading(header_row=1)) as source:
        assert len(next(source.chunks())) == 1


async def test_without_a_terminal_it_is_refused_with_both_answers(console: Console, tmp_path: Path) -> None:
    file = headless(tmp_path, *mobiles(3))
    for command in ("run", "check"):
        terms = QUICK if command == "run" else ()
        said = await console(
            command, file, "--series", console.box.series_id, "--map", f"mobile={mobiles(1)[0]}", *terms
        )
        assert said.code == 2
        assert "--no-header" in said.err and "--header-row 1" in said.err
        assert mobiles(1)[0] not in said.err
    assert console.box.book.requests() == 0

    done = await console.run(file, "--no-header", "--map", "mobile=column 2")
    assert done.code == 0, done.err
    assert len(console.box.book.coupons_of(console.box.series_id)) == 3


async def test_a_list_of_whom_to_leave_out_without_a_header_is_refused(console: Console, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    out.write_text("".join(f"{number}\n" for number in mobiles(2)), encoding="utf-8")
    done = await console.run(console.customers("c.csv", mobiles(3)), "--exclude", out)
    assert done.code == 2
    assert "out.csv" in done.err and "Put a line above it" in done.err and "--no-header" not in done.err


@pytest.mark.parametrize(("answer", "served"), [("customer", 3), ("names", 2), ("", 0)])
async def test_on_a_terminal_the_person_is_asked(console: Console, tmp_path: Path, answer: str, served: int) -> None:
    # a day as a column's name: not a customer
    first = f"Kontakt,{20260101}" if answer == "names" else f"{mobiles(1)[0]},N1"
    file = tmp_path / "c.csv"
    rest = [f"{number},{at}" for at, number in enumerate(mobiles(3)[1:])]
    file.write_text("\n".join([first, *rest]), encoding="utf-8")
    here, there = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bulk_issue", "run", str(file), "--series", str(console.box.series_id), *QUICK),
        *("--map", f"mobile={first.split(',', maxsplit=1)[0]}"),
        env=console.environment(),
        stdin=there,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    os.close(there)
    os.write(here, f"{answer}\n".encode() if answer else b"\n\x04\x04")
    _, err = await process.communicate()
    os.close(here)
    assert process.returncode == (0 if served else 2), err.decode()
    assert len(console.box.book.coupons_of(console.box.series_id)) == served
