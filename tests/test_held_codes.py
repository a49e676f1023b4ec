"""One list to mail from: rows whose customers had a coupon before bear its code, too. Real processes, real sandbox."""

from __future__ import annotations

import csv
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from bulk_issue.sandbox.book import Endpoint, IssuedCoupon
from bulk_issue.sandbox.series import CouponSeries
from bulk_issue.sandbox.server import Sandbox
from bulk_issue.sandbox.settings import Settings
from tests.console import QUICK, Console, mobiles
from tests.test_inquiry import find

#: Whom the sandbox refuses with 709, and whose coupon of 30 days ago it shows to those who read.
HOLDS = "919800000709"
ALSO_HOLDS = "919800010709"
UNREGISTERED = "919800000701"


@pytest.fixture
async def box() -> AsyncIterator[Sandbox]:
    async with Sandbox(Settings(rate=0)) as started:
        yield started


@pytest.fixture
def console(box: Sandbox, tmp_path: Path) -> Console:
    return Console(tmp_path, box)


def code_of(box: Sandbox, mobile: str) -> str:
    """The code of a customer's only coupon, as the server's own book has it."""
    (coupon,) = coupons_of(box, mobile)
    return coupon.code


def coupons_of(box: Sandbox, mobile: str) -> list[IssuedCoupon]:
    customer = box.world.customer(f"mobile:{mobile}")
    assert customer is not None
    return [each for each in box.book.coupons_of(box.series_id) if each.customer == customer.id]


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as opened:
        return list(csv.DictReader(opened))


def job_of(console: Console, file: Path) -> str:
    return str(console.summary(file)["job"])


async def test_a_held_row_bears_the_code_of_the_coupon_that_the_customer_has(console: Console, box: Sandbox) -> None:
    file = console.customers("c.csv", [*mobiles(3), HOLDS])
    done = await console.run(file)

    assert done.code == 0, done.err
    held = console.results(file)[3]
    assert (held["_status"], held["_coupon_code"]) == ("held", code_of(box, HOLDS))
    assert held["_valid_till"] and held["_customer_id"]
    assert not held["_warnings"]
    assert "4 rows have a code, 0 have none" in done.out
    assert console.summary(file)["with_code"] == 4 and console.summary(file)["without_code"] == 0


async def test_duplicates_bear_the_code_of_the_row_that_they_repeat_of_this_job_or_another(
    console: Console, box: Sandbox
) -> None:
    numbers = [*mobiles(2), HOLDS]
    first = console.customers("first.csv", [*numbers, numbers[0], HOLDS])
    assert (await console.run(first)).code == 0
    second = console.customers("second.csv", [*numbers, *mobiles(1, start=7)])
    assert (await console.run(second)).code == 0

    for file in (first, second):
        for row in console.results(file):
            assert row["_coupon_code"] == code_of(box, row["mobile"]), row["_status"]
    assert [row["_status"] for row in console.results(second)] == ["duplicate"] * 3 + ["issued"]
    assert box.book.requests() == 4  # two issued, one refused as held, and the new one


async def test_a_superseded_row_bears_the_code_of_the_row_that_replaced_it(console: Console, box: Sandbox) -> None:
    file = console.customers("c.csv", [*mobiles(2), UNREGISTERED])
    assert (await console.run(file)).code == 1
    (failures,) = file.with_name("c.csv-results").glob("*/failures.csv")
    right = mobiles(1, start=50)[0]
    corrected = failures.with_name("corrected.csv")
    corrected.write_text(failures.read_text(encoding="utf-8-sig").replace(UNREGISTERED, right), encoding="utf-8")
    assert (await console.run(corrected)).code == 0

    assert [row["_status"] for row in console.results(file)] == ["issued", "issued", "superseded"]
    assert console.results(file)[2]["_coupon_code"] == code_of(box, right)

    done = await console("export", job_of(console, file), "--served", "--out", file.with_name("mail"))
    assert done.code == 0, done.err
    served = table(file.with_name("mail") / "served.csv")
    # the corrected number is the one to mail to, and each customer stands there once
    assert served == [{"mobile": mobile, "_coupon_code": code_of(box, mobile)} for mobile in [*mobiles(2), right]]


async def test_export_served_writes_each_customer_who_has_a_coupon_once(console: Console, box: Sandbox) -> None:
    numbers = mobiles(2)
    first = console.customers("first.csv", [*numbers, HOLDS])
    assert (await console.run(first)).code == 0
    second = console.customers("second.csv", [*numbers, numbers[1], HOLDS, UNREGISTERED, ALSO_HOLDS])
    assert (await console.run(second)).code == 1

    done = await console("export", job_of(console, second), "--served", "--out", second.with_name("mail"))
    assert done.code == 0, done.err
    assert "4 customers" in done.out and "1 row" in done.out
    (written,) = second.with_name("mail").iterdir()
    assert written.stat().st_mode & 0o777 == 0o600
    assert table(written) == [
        {"mobile": each, "_coupon_code": code_of(box, each)} for each in [*numbers, HOLDS, ALSO_HOLDS]
    ]
    both = await console("export", job_of(console, second), "--served", "--codes")
    assert both.code == 2


@pytest.mark.parametrize("series", [{"generic_code": "SAME1"}, {}], ids=["generic", "unique"])
async def test_a_held_coupon_is_never_revoked_nor_audited_and_find_shows_it(
    tmp_path: Path, series: dict[str, str]
) -> None:
    async with Sandbox(Settings(rate=0, series=(CouponSeries(**series),))) as box:  # type: ignore[arg-type]
        console = Console(tmp_path, box)
        file = console.customers("c.csv", [*mobiles(2), HOLDS])
        assert (await console.run(file)).code == 0
        job, code = job_of(console, file), console.results(file)[2]["_coupon_code"]
        assert code == code_of(box, HOLDS)

        assert (await console("export", job, "--codes")).code == 0
        (plan,) = file.with_name("c.csv-results").glob("*/revoke.jsonl")
        revoked = {each for line in plan.read_text().splitlines() for each in json.loads(line)["couponCodes"]}
        assert (code in revoked) is bool(series)  # everybody's code is in it for the two rows that were issued
        audited = await console("audit", job, *("--rate", "60000"))
        assert "2 coupons looked up" in audited.out
        with closing(sqlite3.connect(tmp_path / "ledger.db")) as ledger:
            assert ledger.execute("SELECT count(*) FROM claims WHERE key LIKE ?", (f"%{code}%",)).fetchone() == (0,)
        asked = await find(console, f"{HOLDS}\n{code}\n")
        assert asked.code == 0
        assert f"held with code {code}" in asked.out


async def test_where_the_record_cant_be_read_the_cell_stays_empty_and_says_so(tmp_path: Path) -> None:
    denied = frozenset({Endpoint.COUPONS, Endpoint.COUPONS_V11})
    async with Sandbox(Settings(rate=0, denied=denied)) as box:
        console = Console(tmp_path, box)
        file = console.customers("c.csv", [*mobiles(2), HOLDS])
        done = await console.run(file)

        held = console.results(file)[2]
        assert (held["_status"], held["_coupon_code"]) == ("held", "")
        assert "wasn't read" in held["_warnings"]
        assert "2 rows have a code, 1 has none" in done.out


async def test_a_reader_that_has_proven_nothing_is_not_believed(console: Console, box: Sandbox) -> None:
    """All of the file had a coupon before: nothing that this ledger was given proves that the record is read right."""
    file = console.customers("c.csv", [HOLDS, ALSO_HOLDS])
    done = await console.run(file)

    assert done.code == 0, done.err
    assert [(row["_status"], row["_coupon_code"]) for row in console.results(file)] == [("held", "")] * 2
    assert all("wasn't read" in row["_warnings"] for row in console.results(file))
    # another job of the series proves the readers, and `reconcile` reads what was left
    assert (await console.run(console.customers("d.csv", mobiles(2)))).code == 0
    assert (await console("reconcile", job_of(console, file), *QUICK)).code == 0
    assert [row["_coupon_code"] for row in console.results(file)] == [code_of(box, HOLDS), code_of(box, ALSO_HOLDS)]
