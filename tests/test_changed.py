"""Another content under the path of an unfinished job: who was removed gets nothing that nobody has said."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bulk_issue.model import IdentifierKind
from bulk_issue.sandbox.customers import customer_id, name
from bulk_issue.sandbox.faults import fault
from bulk_issue.sandbox.server import Sandbox
from bulk_issue.sandbox.settings import Settings
from tests.console import QUICK, Console, mobiles


@pytest.fixture
async def console(tmp_path: Path) -> AsyncIterator[Console]:
    async with Sandbox(Settings(rate=0)) as box:
        yield Console(tmp_path, box)


def holders(console: Console) -> set[str]:
    """Who has a coupon, by the server's own book."""
    ids = {coupon.customer for coupon in console.box.book.coupons_of(console.box.series_id)}
    everybody = [*mobiles(6), *mobiles(3, 100), "919811112222"]
    found = {each for each in everybody if customer_id(name(IdentifierKind.MOBILE, each)) in ids}
    assert len(found) == len(ids)
    return found


async def half_done(console: Console) -> tuple[Path, list[str]]:
    """A file of six customers, two of whom have their coupon; the list is edited then: the last is removed."""
    numbers = mobiles(6)
    file = console.customers("c.csv", numbers)
    await console.run(file, "--first", 2)
    return console.customers("c.csv", [*numbers[:5], "919811112222"]), numbers


async def test_without_a_terminal_the_removed_are_held_back_and_the_others_go_on(console: Console) -> None:
    file, numbers = await half_done(console)
    done = await console.run(file)

    assert done.code == 4
    assert "1 row held back, removed from the file since (row 6 of then)" in done.err
    assert holders(console) == {*numbers[:5], "919811112222"}
    assert not console.box.book.duplicates(console.box.series_id)
    again = await console.run(file)  # it stays so, and is said, until somebody says what they are
    assert again.code == 4
    assert len(holders(console)) == 6


@pytest.mark.parametrize(("word", "code"), [("finish", 0), ("drop", 4)])
@pytest.mark.parametrize("before", ["at once", "later"])
async def test_the_settings_say_what_becomes_of_the_removed(
    console: Console, word: str, code: int, before: str
) -> None:
    file, numbers = await half_done(console)
    has = word == "finish"
    if before == "later":
        await console.run(file)
    done = await console.run(file, "--changed", word)

    assert done.code == code
    assert (numbers[5] in holders(console)) is has
    assert {*numbers[:5], "919811112222"} <= holders(console)
    done = await console.run(file)
    assert done.code == 0
    assert (numbers[5] in holders(console)) is has


async def test_the_next_batch_removes_nobody(console: Console) -> None:
    file = console.customers("c.csv", mobiles(6))
    await console.run(file, "--first", 2)
    done = await console.run(console.customers("c.csv", mobiles(3, 100)))

    assert done.code == 0
    assert holders(console) == {*mobiles(6), *mobiles(3, 100)}


async def test_a_next_batch_lets_nobody_go_who_was_removed_before(console: Console) -> None:
    file, numbers = await half_done(console)
    await console.run(file)
    done = await console.run(console.customers("c.csv", mobiles(3, 100)))

    assert done.code == 4
    assert holders(console) == {*numbers[:5], "919811112222", *mobiles(3, 100)}


async def test_a_removed_customer_in_doubt_is_not_sent_to_again_either(console: Console) -> None:
    """The record shows that no coupon came of it: the row is pending then, and held back."""
    numbers = mobiles(3)
    file = console.customers("c.csv", numbers)
    console.box.faults.script(None, fault("drop-before"), None)
    await console.run(file, "--reconcile-for", "0")
    assert [row["_status"] for row in console.results(file)].count("in_doubt") == 1
    (doubtful,) = (number for number in numbers if number not in holders(console))
    done = await console.run(
        console.customers("c.csv", [*(each for each in numbers if each != doubtful), "919811112222"])
    )

    assert done.code == 0
    job = next(row["_job"] for row in console.results(file))
    old = next(
        each for each in map(json.loads, (await console("status", "--json")).out.splitlines()) if each["job"] != job
    )
    for again in ("reconcile", "resume"):
        done = await console(again, old["job"], *QUICK)
        assert done.code == 4
        assert "1 row whose customers were removed from the file" in done.out
    assert doubtful not in holders(console)
    assert len(holders(console)) == 3


@pytest.mark.parametrize(
    ("answer", "served"),
    [(b"\n", 0), (b"stop\n", 0), (b"hold\n", 6), (b"drop\n", 6), (b"finish\n", 7)],
)
async def test_on_a_terminal_it_is_asked_and_enter_sends_nothing(console: Console, answer: bytes, served: int) -> None:
    file, _ = await half_done(console)
    terminal, mine = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bulk_issue", "run", file, "--series", str(console.box.series_id), *QUICK),
        env=console.environment() | {"TERM": "dumb"},
        stdin=mine,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    async with asyncio.timeout(100):
        told = b""
        while b"[stop]: " not in told:
            told += await process.stderr.read(1)
        os.write(terminal, answer)
        await process.stderr.read()
        code = await process.wait()
    os.close(terminal)
    os.close(mine)

    assert b"1 added, 1 removed, 0 changed, 5 the same" in told
    assert b"1 of the removed have no coupon yet (row 6 of the earlier content)" in told
    assert len(holders(console)) == (served or 2)
    assert code == {0: 2, 6: 4, 7: 0}[served]
