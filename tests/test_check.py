"""What `check` ends with: what a script that asks before a start may rely on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bulk_issue.ending import ExitCode
from bulk_issue.sandbox.book import Endpoint
from bulk_issue.sandbox.series import CouponSeries
from bulk_issue.sandbox.server import Sandbox
from bulk_issue.sandbox.settings import Settings
from tests.console import Console, Done, mobiles

CREDENTIALS = [f"BULK_ISSUE_{name}" for name in ("USER", "PASSWORD", "CLIENT_KEY", "CLIENT_SECRET")]
OLD, EMPTY = CouponSeries(id=2, expired=True), CouponSeries(id=3, stock=0)


@pytest.fixture
async def console(tmp_path: Path) -> AsyncIterator[Console]:
    async with Sandbox(Settings(rate=0, series=(CouponSeries(), OLD, EMPTY))) as box:
        yield Console(tmp_path, box)


async def check(console: Console, *names: str, series: int | None = None) -> Done:
    file = console.customers("c.csv", [*mobiles(3), *names])
    return await console("check", file, "--series", series or console.box.series_id)


async def test_0_for_a_clean_file_and_1_for_problems_in_rows(console: Console) -> None:
    assert (await check(console)).code == ExitCode.DONE
    assert (await check(console, "9.19E+11")).code == ExitCode.FAILURES


async def test_2_for_a_file_that_can_not_be_read(console: Console) -> None:
    done = await console("check", console.folder / "none.csv", "--series", console.box.series_id)

    assert done.code == ExitCode.USAGE


@pytest.mark.parametrize(
    "wrong",
    [
        {"BULK_ISSUE_PASSWORD": "wrong"},
        dict(zip(CREDENTIALS, ("", "", "key", "wrong"), strict=True)),
    ],
)
async def test_2_for_credentials_that_are_refused(console: Console, wrong: dict[str, str]) -> None:
    console.env = wrong
    done = await check(console)

    assert done.code == ExitCode.USAGE
    assert "refuses the credentials" in done.err
    assert "nothing was issued" in done.err.lower()


@pytest.mark.parametrize(
    ("series", "says"), [(99, "knows no coupon series 99"), (OLD.id, "has expired"), (EMPTY.id, "has no coupons left")]
)
async def test_2_for_a_series_that_is_refused(console: Console, series: int, says: str) -> None:
    done = await check(console, series=series)

    assert done.code == ExitCode.USAGE
    assert says in done.err


async def test_3_when_capillary_can_not_be_asked(console: Console) -> None:
    console.env = {"BULK_ISSUE_BASE_URL": "http://127.0.0.1:1"}

    assert (await check(console)).code == ExitCode.STOPPED


async def test_0_where_only_the_facts_of_the_series_may_not_be_read(tmp_path: Path) -> None:
    async with Sandbox(Settings(rate=0, denied=frozenset({Endpoint.SERIES}))) as box:
        done = await check(Console(tmp_path, box))

    assert done.code == ExitCode.DONE
    assert "facts can't be read" in done.out
