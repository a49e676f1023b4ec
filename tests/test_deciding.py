"""A person's decision that can't be true is refused, by the command line and by the page, before it costs a coupon."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from bulk_issue.sandbox.book import Endpoint
from bulk_issue.sandbox.faults import fault
from bulk_issue.sandbox.series import CouponSeries
from bulk_issue.sandbox.server import Sandbox
from bulk_issue.sandbox.settings import Settings
from tests.console import Console, mobiles
from tests.test_web import Visitor, visiting


@dataclass
class Doubtful:
    """A job whose first row has its coupon; of the second nobody knows that it has one, of the third that it hasn't."""

    console: Console
    box: Sandbox
    job: str
    path: Path

    def code(self, at: int) -> str:
        (coupon,) = [each for each in self.box.book.coupons_of(self.box.series_id) if mobiles(3)[at] in each.named]
        return coupon.code

    def write(self, *decisions: str) -> Path:
        """A copy of in_doubt.csv with these decisions."""
        header, *lines = self.path.read_text(encoding="utf-8-sig").splitlines()
        copy = self.console.folder / "decided.csv"
        copy.write_text("\n".join([header, *map(str.__add__, lines, decisions)]) + "\n", encoding="utf-8")
        return copy

    async def decide(self, *decisions: str) -> tuple[int, str]:
        done = await self.console(
            *("reconcile", self.job, "--decisions", self.write(*decisions), "--reconcile-for", 0, "--grace", 2)
        )
        return done.code, done.err

    def states(self) -> list[str]:
        return [row["_status"] for row in self.console.results(self.console.folder / "c.csv")]


def found_in(folder: Path) -> list[Path]:
    return list(folder.glob("c.csv-results/*/in_doubt.csv"))


@asynccontextmanager
async def doubtful(folder: Path, **settings: object) -> AsyncIterator[Doubtful]:
    async with Sandbox(Settings(rate=0, **settings)) as box:  # type: ignore[arg-type]
        box.faults.script(None, fault("drop-after"), fault("drop-before"))
        console = Console(folder, box)
        file = console.customers("c.csv", mobiles(3))
        done = await console.run(file, "--reconcile-for", 0)
        assert done.code == 5, done.err
        (path,) = found_in(folder)
        yield Doubtful(console, box, str(console.summary(file)["job"]), path)


async def test_a_decision_on_the_command_line_is_held_against_ledger_and_record(tmp_path: Path) -> None:
    async with doubtful(tmp_path) as case:
        others, own = case.code(0), case.code(1)
        for decisions, because in (
            (("", f"issued {others.lower()}"), "row 3 of job"),
            ((f"issued {own}", f"issued {own}"), "Capillary's record doesn't show it"),
            (("issued INVENTED1", "not issued"), "Capillary's record doesn't show it"),
            ((f"issued {own}", f"issued {own}X"), "Capillary's record doesn't show it"),
            (("", f"not issued {own}"), "can't be understood"),
        ):
            code, said = await case.decide(*decisions)
            assert (code, because in said) == (2, True), said
            assert own not in said and others not in said
        assert case.states() == ["issued", "in_doubt", "in_doubt"]

        _, said = await case.decide(f"issued {own.lower()}", "not issued")
        assert "2 decisions recorded" in said


async def test_where_the_record_can_not_be_read_a_code_is_taken(tmp_path: Path) -> None:
    denied = frozenset({Endpoint.COUPONS, Endpoint.COUPONS_V11, Endpoint.LOOKUP, Endpoint.COUPONS_BY_ID})
    async with doubtful(tmp_path, denied=denied) as case:
        code, said = await case.decide("", f"issued {case.code(0).lower()}")
        assert (code, "another customer has it (row 1 of job" in said) == (2, True), said
        code, said = await case.decide("issued SAME", "issued same")
        assert (code, "another customer has it (row 2 of job" in said) == (2, True), said
        assert case.states() == ["issued", "in_doubt", "in_doubt"]
        code, said = await case.decide("issued INVENTED1", "")

        assert "1 decision recorded" in said
        assert code == 5


async def test_in_a_generic_series_everybodys_code_is_taken(tmp_path: Path) -> None:
    series = (CouponSeries(generic_code="EVERYBODYS"),)
    async with doubtful(tmp_path, series=series) as case:
        _, said = await case.decide(f"issued {case.code(0)}", "")

        assert "1 decision recorded" in said, said


# --- the page ---------------------------------------------------------------------------------------------------


async def decided(visitor: Visitor, job: str, row: int, verdict: str, code: str) -> tuple[int, str]:
    form = {"csrf": await visitor.csrf(), "home": job, "row": row, "verdict": verdict, "code": code, "who": "Asha"}
    return await visitor.post(f"/jobs/{job}/decide", form | {"why": "looked"})


async def test_a_decision_on_the_page_is_held_against_the_same(tmp_path: Path) -> None:
    async with doubtful(tmp_path) as case, visiting(tmp_path, at=case.box) as visitor:
        await visitor.sign_in()
        others, own = case.code(0), case.code(1)
        for row, verdict, code, because in (
            (2, "not issued", own, "no coupon was issued, and names a code"),
            (3, "issued", others, "record doesn't show it"),
            (3, "issued", "INVENTED1", "record doesn't show it"),
            (2, "issued", f"{own}X", "record doesn't show it"),
        ):
            status, text = await decided(visitor, case.job, row, verdict, code)
            (alert,) = re.findall(r'role="alert".*?</', text, re.DOTALL)
            assert (status, because in text.replace("&#39;", "'")) == (422, True)
            assert "--" not in alert

        status, text = await decided(visitor, case.job, 2, "issued", own)
        assert (status, "Your decision is recorded" in text) == (200, True)
        status, text = await decided(visitor, case.job, 3, "not issued", "")
        assert (status, "Your decision is recorded" in text) == (200, True)


async def test_the_form_warns_of_the_second_coupon(tmp_path: Path) -> None:
    async with doubtful(tmp_path) as case, visiting(tmp_path, at=case.box) as visitor:
        await visitor.sign_in()
        _, text = await visitor.get(f"/jobs/{case.job}")

        assert text.count("the customer gets a second coupon") == 2


@pytest.mark.parametrize("password", ["wrong", "demo-password"])
async def test_a_decision_is_taken_though_capillary_can_not_be_asked(tmp_path: Path, password: str) -> None:
    """Wrong credentials: the ledger's own word has to do."""
    async with doubtful(tmp_path) as case:
        case.console.env["BULK_ISSUE_PASSWORD"] = password
        _, said = await case.decide(f"issued {case.code(1)}", "")

        assert "1 decision recorded" in said, said
