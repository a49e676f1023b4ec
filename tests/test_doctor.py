"""What `doctor` finds before a campaign, with a remedy for each line that isn't ok; and that it issues nothing."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from bulk_issue.config import LedgerUrl
from bulk_issue.sandbox.book import Endpoint
from bulk_issue.sandbox.series import CouponSeries
from bulk_issue.sandbox.server import Sandbox
from bulk_issue.sandbox.settings import Settings
from tests.console import Console, Done, mobiles

ALL = ["host", "credentials", "series", "reading back", "clock", "ledger"]


@pytest.fixture
async def console(tmp_path: Path) -> AsyncIterator[Console]:
    async with Sandbox(Settings(rate=0)) as box:
        yield Console(tmp_path, box)


async def doctor(console: Console, *arguments: object) -> tuple[Done, dict[str, dict[str, str]]]:
    """What it said, and its findings by what they are about."""
    done = await console("doctor", "--series", console.box.series_id, "--json", *arguments)
    assert console.box.book.requests() == 0  # it issues nothing, whatever it finds
    return done, {each["what"]: each for each in map(json.loads, done.out.splitlines())}


def grades(found: dict[str, dict[str, str]]) -> dict[str, str]:
    return {what: each["grade"] for what, each in found.items()}


async def test_where_all_is_well_every_line_is_ok_and_the_canary_is_named(console: Console) -> None:
    done, found = await doctor(console)
    words = await console("doctor", "--series", console.box.series_id)

    assert done.code == 0
    assert grades(found) == dict.fromkeys(ALL, "ok")
    assert "canary" in words.out
    assert console.box.password not in words.out + done.out


async def test_oauth_credentials_are_tried_too(console: Console) -> None:
    console.env = {
        "BULK_ISSUE_USER": "",
        "BULK_ISSUE_PASSWORD": "",
        "BULK_ISSUE_CLIENT_KEY": console.box.client_key,
        "BULK_ISSUE_CLIENT_SECRET": console.box.client_secret,
    }
    assert grades((await doctor(console))[1]) == dict.fromkeys(ALL, "ok")
    console.env["BULK_ISSUE_CLIENT_SECRET"] = "wrong"
    done, found = await doctor(console)

    assert done.code == 1
    assert found["credentials"]["grade"] == "failed"


async def test_wrong_credentials_fail_and_nothing_further_is_asked_of_the_server(console: Console) -> None:
    console.env = {"BULK_ISSUE_PASSWORD": "wrong"}
    done, found = await doctor(console)

    assert done.code == 1
    assert grades(found) == {"host": "ok", "credentials": "failed", "clock": "ok", "ledger": "ok"}
    assert found["credentials"]["remedy"]


async def test_a_host_that_can_not_be_reached_fails_and_the_ledger_is_looked_at_all_the_same(console: Console) -> None:
    console.env = {"BULK_ISSUE_BASE_URL": "http://127.0.0.1:1"}
    done, found = await doctor(console)

    assert done.code == 1
    assert grades(found) == {"host": "failed", "ledger": "ok"}
    assert "refused" in found["host"]["said"]
    assert "--base-url" in found["host"]["remedy"]


async def test_an_account_that_may_not_read_is_warned_what_becomes_of_doubts(tmp_path: Path) -> None:
    denied = frozenset({Endpoint.COUPONS, Endpoint.COUPONS_V11, Endpoint.SERIES})
    async with Sandbox(Settings(rate=0, denied=denied)) as box:
        done, found = await doctor(Console(tmp_path, box))

    assert done.code == 0
    assert grades(found) == dict.fromkeys(ALL, "ok") | {"series": "warning", "reading back": "warning"}
    assert "/v2/customers/coupons" in found["reading back"]["remedy"]


async def test_clocks_that_are_apart_are_told_with_their_offset(tmp_path: Path) -> None:
    async with Sandbox(Settings(rate=0, clock_offset=-120.0)) as box:
        done, found = await doctor(Console(tmp_path, box))

    assert done.code == 0
    assert found["clock"]["grade"] == "warning"
    assert "2 min ahead of the server's" in found["clock"]["said"]
    assert "NTP" in found["clock"]["remedy"]


@pytest.mark.parametrize(
    ("series", "says"),
    [
        (CouponSeries(id=2), "no series 1"),
        (CouponSeries(id=1, expired=True), "expired"),
        (CouponSeries(id=1, stock=0), "no coupons left"),
    ],
)
async def test_a_series_that_can_not_be_issued_from_fails(tmp_path: Path, series: CouponSeries, says: str) -> None:
    async with Sandbox(Settings(rate=0, series=(series,))) as box:
        console = Console(tmp_path, box)
        done = await console("doctor", "--series", 1)

        assert done.code == 1
        assert says in done.out
        assert box.book.requests() == 0


async def test_a_ledger_in_a_synchronised_folder_fails(console: Console) -> None:
    console.env = {"BULK_ISSUE_LEDGER": str(console.folder / "Dropbox" / "ledger.db")}
    done, found = await doctor(console)

    assert done.code == 1
    assert "synchronised" in found["ledger"]["said"]
    assert "local disk" in found["ledger"]["remedy"]


async def test_a_damaged_ledger_fails(console: Console) -> None:
    await console.run(console.customers("c.csv", mobiles(300)))
    ledger = console.folder / "ledger.db"
    with closing(sqlite3.connect(ledger)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(ledger.read_bytes())
    middle = len(content) // 2 // 4096 * 4096
    content[middle : middle + 8192] = b"\xff" * 8192
    ledger.write_bytes(content)
    done = await console("doctor", "--series", console.box.series_id)

    assert done.code == 1
    assert "failed   ledger" in done.out
    assert "backup" in done.out


async def test_a_ledger_in_postgres_is_looked_at_where_it_is(console: Console, place: Path | LedgerUrl) -> None:
    url = place.url if isinstance(place, LedgerUrl) else str(place)
    console.env = {"BULK_ISSUE_LEDGER": url}
    assert (await doctor(console))[1]["ledger"]["grade"] == "ok"


async def test_a_database_that_can_not_be_reached_fails(console: Console) -> None:
    console.env = {"BULK_ISSUE_LEDGER": "postgresql://nobody@127.0.0.1:1/none"}
    done, found = await doctor(console)

    assert done.code == 1
    assert found["ledger"]["grade"] == "failed"
    assert found["ledger"]["remedy"]
