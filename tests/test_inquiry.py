"""Seeing how jobs stand, finding a customer or a code, and the plan to undo a job: with the real console script."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bulk_issue.ledger import open_ledger
from bulk_issue.model import JobId
from bulk_issue.sandbox.server import Sandbox
from bulk_issue.sandbox.settings import Settings
from bulk_issue.states import Event
from bulk_issue.states import RowState as S
from tests.clocks import ManualClock
from tests.console import Console, Done, mobiles
from tests.test_ledger import JOB, Desk, row


@pytest.fixture
async def console(tmp_path: Path) -> AsyncIterator[Console]:
    async with Sandbox(Settings(rate=0)) as box:
        yield Console(tmp_path, box)


async def find(console: Console, asked: str, *arguments: str) -> Done:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bulk_issue", "find", *arguments),
        env=console.environment(),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(asked.encode())
    assert process.returncode is not None
    return Done(process.returncode, out.decode(), err.decode())


async def test_status_shows_what_happened_and_what_to_do(console: Console) -> None:
    file = console.customers("c.csv", [*mobiles(4), "919800000701"])
    await console.run(file, "--first", 2)
    await console.run(file)
    job = str(console.summary(file)["job"])
    table, one, facts = await asyncio.gather(
        console("status"), console("status", job, "--watch"), console("status", job, "--json")
    )

    header, line = table.out.splitlines()
    assert re.split(r" {2,}", header) == [
        *("job", "made", "state", "series", "rows", "issued", "held", "failed", "in doubt", "pending", "file")
    ]
    assert line.split()[0] == job
    assert line.split()[4:] == ["544770", "5", "4", "0", "1", "0", "0", "c.csv"]
    assert "1 × 701: " in one.out
    assert "Check the country code" in one.out
    assert "Requests: 5 (4 issued, 1 rejected)" in one.out
    assert len(re.findall(r"@.*, process \d+, version .*: .*exit code [14]", one.out)) == 2
    told = json.loads(facts.out)
    assert [run["exit_code"] for run in told["runs"]] == [1, 4]
    assert all(run["who"] and run["host"] for run in told["runs"])
    assert told["requests"] == [["issued", 4], ["rejected", 1]]
    assert told["running"] is False


async def test_find_tells_the_desk_what_a_customer_got_and_where_a_code_comes_from(console: Console) -> None:
    good, bad = mobiles(1)[0], "919800000701"
    file = console.customers("c.csv", [good, bad])
    await console.run(file)
    code = console.results(file)[0]["_coupon_code"]
    by_mobile, by_code, refused, unknown, nothing = await asyncio.gather(
        find(console, f"+{good[:2]} {good[2:]}\n"),
        find(console, code.lower(), "--json"),
        find(console, bad, "--kind", "mobile"),
        find(console, mobiles(1, 900)[0]),
        find(console, "\n"),
    )

    assert (by_mobile.code, by_code.code, refused.code, unknown.code, nothing.code) == (0, 0, 0, 1, 2)
    assert f"issued with code {code}" in by_mobile.out
    assert "row 1 of c.csv, series 544770" in by_mobile.out
    assert json.loads(by_code.out)["row"] == 1
    assert refused.out.startswith("rejected: 701 ")
    assert "knows nothing of it" in unknown.out


async def test_find_answers_each_line_and_knows_mobiles_without_their_country_code(console: Console) -> None:
    file = console.customers("c.csv", ["9800001111", "919800021111"])
    await console.run(file, "--country", "in")
    done = await find(console, "9800001111\n98-0000-3111\n0980002 1111\n")

    assert done.code == 1
    assert [line.partition(" ")[0] + line.split(" ")[1] for line in done.out.splitlines()] == [
        *("1:issued", "2:This", "3:issued"),
    ]


async def test_the_plan_to_undo_a_job_names_each_issued_code_once_in_groups_of_50(console: Console) -> None:
    file = console.customers("c.csv", [*mobiles(60), "919800000701"])
    await console.run(file)
    job = str(console.summary(file)["job"])
    done = await console("export", job, "--codes")
    (plan,) = console.folder.glob("c.csv-results/*/revoke.jsonl")
    bodies = [json.loads(line) for line in plan.read_text().splitlines()]

    assert done.code == 0
    assert "60 codes. Nothing was revoked." in done.out
    assert plan.stat().st_mode & 0o777 == 0o600
    assert [set(body) for body in bodies] == [{"couponSeriesId", "couponCodes"}] * 2
    assert [len(body["couponCodes"]) for body in bodies] == [50, 10]
    codes = [code for body in bodies for code in body["couponCodes"]]
    assert set(codes) == {coupon.code for coupon in console.box.book.coupons_of(console.box.series_id)}


async def test_history_counts_look_ups_and_decisions(tmp_path: Path) -> None:
    desk = Desk(await open_ledger(tmp_path / "ledger.db"), ManualClock(), tmp_path / "ledger.db")
    try:
        await desk.register([row(1), row(2)])
        hold = await desk.hold()
        await desk.doubt(await desk.one(hold))
        (doubt,) = await desk.doubts()
        await desk.ledger.doubts.settle(doubt, Event.ABSENT, None, "not in Capillary's record", None, desk.clock.now())
        await desk.one(hold)
        history = desk.ledger.history.of(JOB)

        assert list(history.lookups) == [("not in Capillary's record", 1)]
        assert sorted(history.requests) == [("unanswered", 1), ("unclear", 1)]
        assert history.decisions == 0
        (run,) = desk.ledger.views.runs(JOB)
        assert (run.ended, run.exit_code) == (None, None)
        by_key = desk.ledger.history.sightings(["mobile:919800000002"], "")
        assert [(seen.job, seen.row, seen.state) for seen in by_key] == [(JobId(JOB), 2, S.PENDING)]
    finally:
        await desk.ledger.close()
