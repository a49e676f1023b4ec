"""The command line through the real console script: exit codes, what is printed, and what a bad day looks like."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import shlex
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import click
import openpyxl  # type: ignore[import-untyped]
import pytest

from bulk_issue.cli import commands
from bulk_issue.sandbox.book import Endpoint
from bulk_issue.sandbox.faults import fault
from bulk_issue.sandbox.series import CouponSeries
from bulk_issue.sandbox.server import Sandbox
from bulk_issue.sandbox.settings import Settings
from tests.console import QUICK, Console, mobiles


@pytest.fixture
async def console(tmp_path: Path) -> AsyncIterator[Console]:
    async with Sandbox(Settings(rate=0)) as box:
        yield Console(tmp_path, box)


# --- every exit code --------------------------------------------------------------------------------------------


async def test_0_every_row_issued_or_a_duplicate_of_such(console: Console) -> None:
    done = await console.run(console.customers("c.csv", [*mobiles(3), mobiles(1)[0]]))

    assert done.code == 0
    assert "3 issued, 1 duplicate" in done.out
    assert "Done: nothing is left to do." in done.out


async def test_1_some_rows_rejected_or_invalid(console: Console) -> None:
    done = await console.run(console.customers("c.csv", [*mobiles(2), "919800000701", "9.19E+11"]))

    assert done.code == 1
    assert "Check the country code" in done.out
    assert "failures.csv --series 544770" in done.out


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"name,mobile\n", "no "),
        (b"name,city\nAsha,Pune\n", "no column names a customer"),
        (b"%PDF-1.7\x00\x01\x02", "PDF"),
        (b"mobile\n\xff\xfe91\n", ""),
    ],
)
async def test_2_a_file_that_cannot_be_used(console: Console, content: bytes, says: str) -> None:
    file = console.folder / "c.csv"
    file.write_bytes(content)
    done = await console.run(file)

    assert done.code == 2
    assert says in done.err
    assert "Traceback" not in done.err
    assert console.box.book.requests() == 0


async def test_2_no_credentials_and_no_address(console: Console) -> None:
    file = console.customers("c.csv", mobiles(1))
    console.env = {"BULK_ISSUE_PASSWORD": ""}
    assert (await console.run(file)).code == 2
    console.env = {"BULK_ISSUE_BASE_URL": "http://api.example.com"}
    done = await console.run(file)

    assert done.code == 2
    assert "unencrypted" in done.err


async def test_2_a_ledger_that_would_be_another_one_in_each_folder(console: Console) -> None:
    file = console.customers("c.csv", mobiles(1))
    console.env = {"BULK_ISSUE_LEDGER": "led.db"}
    for done in (await console.run(file), await console("status"), await console("ledger", "path")):
        assert done.code == 2
        assert "relative path" in done.err
    assert console.box.book.requests() == 0


async def test_a_relative_ledger_is_told_by_its_whole_path(console: Console) -> None:
    flag = "--ledger", os.path.relpath(console.folder / "led.db")  # noqa: ASYNC240 - looks at no disk
    done = await console.run(console.customers("c.csv", mobiles(2)), "--first", 1, *flag)
    path = (await console("ledger", "path", *flag)).out.strip()

    assert Path(path).is_absolute()
    assert f"Ledger: {path}\n" in done.err


async def test_2_a_mistyped_ledger_is_not_made_by_looking_for_its_jobs(console: Console) -> None:
    typo = console.folder / "typo.db"
    commands = ("status", "status j1", "find", "export j1", "cancel j1", "resume j1", "retry j1")
    done = await asyncio.gather(*(console(*each.split(), "--ledger", typo) for each in commands))

    assert [each.code for each in done] == [2] * len(commands)
    assert all(f"there is no ledger at {typo}" in each.err for each in done)
    assert list(console.folder.iterdir()) == []


async def test_without_a_ledger_there_are_no_jobs_yet_and_status_makes_none(console: Console) -> None:
    done, facts = await console("status"), await console("status", "--json")

    assert (done.code, done.out) == (0, f"No jobs yet in {console.folder / 'ledger.db'}.\n")
    assert (facts.code, facts.out) == (0, "")
    assert (await console("status", "j1")).code == 2
    assert list(console.folder.iterdir()) == []


async def test_2_an_unknown_option(console: Console) -> None:
    done = await console("run", "c.csv", "--series", 1, "--nonsense")

    assert done.code == 2
    assert "nonsense" in done.err


async def test_2_the_output_folder_cannot_be_written(console: Console) -> None:
    (console.folder / "out").write_text("a file where the folder should be")
    done = await console.run(console.customers("c.csv", mobiles(1)), "--out", console.folder / "out")

    assert done.code == 2
    assert "--out" in done.err
    assert console.box.book.requests() == 0


async def test_2_results_and_rows_in_doubt_are_no_input(console: Console) -> None:
    file = console.customers("c.csv", mobiles(2))
    await console.run(file)
    (results,) = console.folder.glob("c.csv-results/*/results.csv")
    done = await console.run(results)

    assert done.code == 2
    assert "failures.csv" in done.err


async def test_3_wrong_password_stops_at_the_canary_and_the_right_one_goes_on(console: Console) -> None:
    file = console.customers("c.csv", mobiles(5))
    console.env = {"BULK_ISSUE_PASSWORD": "wrong"}
    stopped = await console.run(file)
    counts = console.summary(file)["counts"]
    console.env = {}

    assert stopped.code == 3
    assert "credentials" in stopped.out
    assert isinstance(counts, dict)
    assert counts["pending"] == 5
    assert (await console.run(file)).code == 0
    console.check_book(file)


async def test_3_a_series_that_is_not_there(console: Console) -> None:
    file = console.customers("c.csv", mobiles(2))
    done = await console("run", file, "--series", 99)

    assert done.code == 3
    assert "series 99" in done.err
    assert console.box.book.requests() == 0


async def test_3_an_unreachable_host(console: Console) -> None:
    console.env = {"BULK_ISSUE_BASE_URL": "http://127.0.0.1:1"}
    done = await console.run(console.customers("c.csv", mobiles(2)))

    assert done.code == 3
    assert "refused" in done.err


async def test_3_five_rejections_and_no_coupon_stop_the_run(console: Console) -> None:
    file = console.customers("c.csv", [f"9198{n:04d}0701" for n in range(20)])
    done = await console.run(file)

    assert done.code == 3
    assert console.box.book.requests() == 5


async def test_4_first_n_rows(console: Console) -> None:
    file = console.customers("c.csv", mobiles(10))
    done = await console.run(file, "--first", 4)

    assert done.code == 4
    assert "4 issued, 6 pending" in done.out
    assert (await console.run(file)).code == 0
    console.check_book(file)


async def test_5_rows_in_doubt_and_a_persons_decision(console: Console) -> None:
    """Reading back is refused: what can't be known is left to a person, and the exit code says so."""
    file = console.customers("c.csv", mobiles(3))
    settings = Settings(rate=0, denied=frozenset({Endpoint.COUPONS, Endpoint.COUPONS_V11}))
    async with Sandbox(settings) as box:
        console.box = box
        box.faults.script(None, fault("drop-after"), fault("drop-before"))
        done = await console.run(file)
        assert done.code == 5, done.err
        assert "may not read coupons back" in done.err
        (doubtful,) = console.folder.glob("c.csv-results/*/in_doubt.csv")
        lines = doubtful.read_text(encoding="utf-8-sig").splitlines()
        coupons = {coupon.named: coupon.code for coupon in box.book.coupons_of(box.series_id)}
        decided = [lines[0]]
        for line in lines[1:]:
            mobile = next(cell for cell in line.split(",") if cell.startswith("9198"))
            code = coupons.get(f"mobile:{mobile}")
            decided.append(line + (f"issued {code}" if code else "not issued"))
        job = str(console.summary(file)["job"])
        first, second = (re.findall(r"9198\d+", line)[0] for line in decided[1:])
        swapped = "\n".join(decided).replace(first, "?").replace(second, first)
        doubtful.write_text(swapped.replace("?", second) + "\n", encoding="utf-8")
        sorted_alone = await console("reconcile", job, "--decisions", doubtful)
        assert sorted_alone.code == 2
        assert f"line 2: it names another customer than row 2 of job {job} does" in sorted_alone.err
        doubtful.write_text("\n".join(decided) + "\n", encoding="utf-8")
        forgot = await console("reconcile", job, *QUICK, "--reconcile-for", 0)
        (kept,) = doubtful.parent.glob("in_doubt-edited-*.csv")
        assert f"Kept: {kept}" in forgot.out
        settled = await console("reconcile", job, "--decisions", kept)
        assert "2 decisions recorded" in settled.err
        again = await console.run(file)

        assert again.code == 0, again.out
        assert not doubtful.exists()
        assert len(list(doubtful.parent.glob("in_doubt-edited-*.csv"))) == 1
        console.check_book(file)


async def test_7_a_ledger_of_a_newer_version(console: Console) -> None:
    file = console.customers("c.csv", mobiles(2))
    await console.run(file)
    with sqlite3.connect(console.folder / "ledger.db") as ledger:
        ledger.execute("UPDATE alembic_version SET version_num = '9999'")
    ledger.close()
    done = await console.run(file)

    assert done.code == 7
    assert "newer bulk-issue" in done.err


def test_7_a_bug_ends_with_a_clear_word_and_a_private_log(tmp_path: Path) -> None:
    script = "import bulk_issue.app as app, bulk_issue.cli as cli\napp.check = None\ncli.main()"
    (tmp_path / "c.csv").write_text("mobile\n919800000001\n")
    done = subprocess.run(
        [sys.executable, "-c", script, "check", str(tmp_path / "c.csv")],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"XDG_STATE_HOME": str(tmp_path)},
    )
    (log,) = tmp_path.rglob("bug-*.log")

    assert done.returncode == 7
    assert "Traceback" not in done.stderr
    assert str(log) in done.stderr
    assert "TypeError" in log.read_text()
    assert log.stat().st_mode & 0o777 == 0o600


async def test_a_reader_that_has_gone_ends_neither_the_run_nor_the_exit_code(console: Console) -> None:
    file = console.customers("c.csv", mobiles(5))
    process = await console.start("run", file, "--series", console.box.series_id, *QUICK)
    for pipe in (process.stdout, process.stderr):
        assert pipe is not None
        pipe._transport.close()  # type: ignore[attr-defined]

    assert await process.wait() == 0
    console.check_book(file)


# --- before the first request ------------------------------------------------------------------------------------


async def test_a_series_that_can_not_last_stops_before_the_first_request(tmp_path: Path) -> None:
    scarce, old = CouponSeries(stock=3, sends_messages=True), CouponSeries(id=2, expired=True)
    async with Sandbox(Settings(rate=0, series=(scarce, old))) as box:
        console = Console(tmp_path, box)
        file = console.customers("c.csv", mobiles(5))
        short, expired = await console.run(file), await console("run", file, "--series", 2, *QUICK)
        checked = await console("check", file, "--series", scarce.id)
        assert box.book.requests() == 0
        part = await console.run(file, "--first", 3)
        rest = await console.run(file, "--yes-short")

    assert (short.code, expired.code, checked.code) == (2, 2, 1)
    assert "coupons that the series has left: 3; rows to send: 5" in short.err
    assert "--yes-short" in short.err and "--yes-short" in checked.out
    assert "may send customers a message" in checked.out
    assert "expired" in expired.err
    assert "3 issued, 2 pending" in part.out
    assert rest.code == 3  # Capillary says so itself


async def test_check_says_what_a_finished_file_has_left_to_send(console: Console) -> None:
    file = console.customers("c.csv", [*mobiles(3), "919800000740"])
    before = await console("check", file, "--series", console.box.series_id)
    await console.run(file, "--first", 2)
    half = await console("check", file, "--series", console.box.series_id)
    await console.run(file)
    facts = json.loads((await console("check", file, "--series", console.box.series_id, "--json")).out)

    assert "To send: 4 rows at 300 a minute: at once" in before.out
    assert "Worth at most 2\N{NO-BREAK SPACE}000" in before.out
    assert "2 issued, 2 pending" in half.out and "To send: 2 rows" in half.out
    assert "already served" not in half.out
    assert (facts["outlook"]["rows"], facts["tally"]) == (0, {"issued": 3, "rejected": 1})


async def test_between_starts_nothing_outside_of_its_hours_and_says_when_it_goes_on(console: Console) -> None:
    file = console.customers("c.csv", mobiles(3))
    hour = datetime.now(UTC).hour
    closed = f"{(hour + 2) % 24:02}:00-{(hour + 4) % 24:02}:00"
    opened = f"{hour:02}:00-{(hour + 2) % 24:02}:00"
    done = await console.run(file, "--between", closed, "--zone", "UTC")

    assert done.code == 4
    assert f"from {closed[:5]} on" in done.err  # the forecast
    assert f"The same command goes on from {closed[:5]}" in done.out
    assert console.box.book.requests() == 0
    assert (await console.run(file, "--between", closed)).code == 2
    assert (await console.run(file, "--between", closed, "--zone", "Mars/Base")).code == 2
    assert (await console.run(file, "--between", opened, "--zone", "UTC")).code == 0


# --- another content under the same path -------------------------------------------------------------------------


async def test_an_earlier_contents_job_is_finished_first_and_reported(console: Console) -> None:
    await console.run(console.customers("c.csv", [*mobiles(3), "919800000740"]), "--first", 1)
    file = console.customers("c.csv", [mobiles(1)[0], *mobiles(2, 50)])
    check = await console("check", file, "--series", console.box.series_id)
    done = await console.run(file, "--changed", "finish")
    reports = [line for line in done.out.splitlines() if line.startswith("Job ")]

    assert "isn't finished: 1 issued, 3 pending" in check.out
    assert "2 added, 3 removed, 0 changed, 1 the same" in check.out
    assert "2 added, 3 removed, 0 changed, 1 the same" in done.err
    assert len(reports) == 2
    assert "3 issued, 1 rejected" in done.out and "2 issued, 1 duplicate" in done.out
    assert done.code == 1  # the earlier job's
    assert (await console.run(file)).code == 0
    assert not console.box.book.duplicates(console.box.series_id)


async def test_first_counts_over_both_jobs_of_a_run(console: Console) -> None:
    await console.run(console.customers("c.csv", mobiles(4)), "--first", 1)
    file = console.customers("c.csv", mobiles(4, 50))
    before = console.box.book.requests()
    five = await console.run(file, "--first", 5)
    sent = console.box.book.requests() - before
    none = await console.run(console.customers("c.csv", mobiles(9, 90)), "--first", 2, "--json")

    assert (sent, five.code) == (5, 4)
    assert "2 issued, 2 pending" in five.out
    assert none.code == 4
    counts = [json.loads(line)["counts"] for line in none.out.splitlines()]
    assert [(each["issued"], each["pending"]) for each in counts] == [(4, 0), (0, 9)]
    assert console.box.book.requests() - before - sent == 2


async def test_the_new_content_waits_while_the_earlier_job_can_not_be_finished(console: Console) -> None:
    await console.run(console.customers("c.csv", mobiles(4)), "--first", 1)
    file = console.customers("c.csv", mobiles(4, 50))
    done = await console.run(file, "--first", 1)

    assert done.code == 4
    assert "2 issued, 2 pending" in done.out
    assert "waits until that job is finished" in done.err
    assert len(list(console.folder.glob("c.csv-results/*/summary.json"))) == 1


# --- commands ---------------------------------------------------------------------------------------------------


async def test_the_failures_file_reruns_just_the_failed_rows(console: Console) -> None:
    file = console.customers("c.csv", [*mobiles(3), "919800000701", "919800000740"])
    await console.run(file)
    before = console.box.book.requests()
    (failures,) = console.folder.glob("c.csv-results/*/failures.csv")
    text = failures.read_text(encoding="utf-8").replace("919800000701", "919877770001")
    failures.write_text(text, encoding="utf-8")
    done = await console.run(failures)

    assert done.code == 1
    assert console.box.book.requests() - before == 2
    assert [row["_status"] for row in console.results(failures)] == ["issued", "rejected"]
    assert [row["_status"] for row in console.results(file)] == ["issued"] * 3 + ["superseded", "rejected"]
    parent, rerun = str(console.summary(file)["job"]), str(console.summary(failures)["job"])
    assert console.results(file)[3]["_reason"] == f"corrected as row 1 of job {rerun}: issued"
    assert f"failures run again as job {rerun}: 1 issued, 1 rejected" in (await console("status", parent)).out
    assert f"runs failures of job {parent} again" in (await console("status", rerun)).out
    assert json.loads((await console("status", parent, "--json")).out)["reruns"] == [rerun]


async def test_failures_that_were_edited_outlast_another_run_of_their_file(console: Console) -> None:
    file = console.customers("c.csv", [*mobiles(2), "12345"])
    await console.run(file)
    (failures,) = console.folder.glob("c.csv-results/*/failures.csv")
    failures.write_text(failures.read_text(encoding="utf-8").replace("12345", "919877770001"), encoding="utf-8")
    nightly = await console.run(file)
    (kept,) = failures.parent.glob("failures-edited-*.csv")
    rerun = await console.run(kept)
    again = await console.run(file)

    assert f"Kept: {kept}" in nightly.out
    assert rerun.code == 0, rerun.out
    assert again.code == 0
    assert not failures.exists()
    assert [path.name for path in failures.parent.glob("failures*.csv")] == [kept.name]
    assert console.box.book.count(console.box.series_id) == 3


async def test_a_failure_that_is_corrected_at_the_second_try_is_one_story(console: Console) -> None:
    file = console.customers("c.csv", [*mobiles(2), "12345"])
    await console.run(file)
    (failures,) = console.folder.glob("c.csv-results/*/failures.csv")
    await console.run(failures)
    (again,) = failures.parent.glob("failures.csv-results/*/failures.csv")
    again.write_text(again.read_text(encoding="utf-8").replace("12345", "919877770001"), encoding="utf-8")
    done = await console.run(again)
    job = str(console.summary(file)["job"])
    reruns = [str(console.summary(each)["job"]) for each in (failures, again)]
    status = json.loads((await console("status", job, "--json")).out)
    plan = await console("export", job, "--codes")

    assert done.code == 0
    assert [row["_status"] for row in console.results(file)] == ["issued", "issued", "superseded"]
    assert [row["_status"] for row in console.results(failures)] == ["superseded"]
    assert (status["reruns"], status["reasons"]) == (reruns, [])
    assert f"3 codes, those of its reruns ({', '.join(reruns)}) among them" in plan.out


async def test_a_failures_workbook_that_a_spreadsheet_saved_again_keeps_its_lineage(console: Console) -> None:
    file = console.customers("c.csv", [*mobiles(2), "919800000701", "919800000740"])
    await console.run(file, "--format", "xlsx")
    (failures,) = console.folder.glob("c.csv-results/*/failures.xlsx")
    book = openpyxl.load_workbook(failures)
    cell = next(cell for cell in book.active["B"] if cell.value == "919800000701")
    cell.value = "919877770001"
    book.save(failures)
    before = console.box.book.requests()
    done = await console.run(failures, "--format", "csv")

    assert done.code == 1, done.err
    assert console.box.book.requests() - before == 2
    assert [row["_status"] for row in console.results(failures)] == ["issued", "rejected"]
    (out,) = file.with_name("c.csv-results").iterdir()
    assert sorted(path.name for path in out.glob("results.*")) == ["results.xlsx"]  # the parent's keep their format
    lines = list(openpyxl.load_workbook(out / "results.xlsx")["results"].values)
    status = lines[0].index("_status")
    assert [line[status] for line in lines[1:]] == ["issued", "issued", "superseded", "rejected"]
    await console("export", str(console.summary(file)["job"]))
    assert not list(out.glob("*.xlsx"))


async def test_a_decision_in_a_workbook_counts_too(console: Console) -> None:
    file = console.customers("c.csv", mobiles(2))
    denied = Settings(rate=0, denied=frozenset({Endpoint.COUPONS, Endpoint.COUPONS_V11}))
    async with Sandbox(denied) as box:
        console.box = box
        box.faults.script(None, fault("drop-before"))
        assert (await console.run(file, "--format", "xlsx")).code == 5
        (doubtful,) = console.folder.glob("c.csv-results/*/in_doubt.xlsx")
        book = openpyxl.load_workbook(doubtful)
        sheet = book.active
        sheet.cell(2, next(cell.column for cell in sheet[1] if cell.value == "_decision")).value = "Not issued"
        book.save(doubtful)
        settled = await console("reconcile", str(console.summary(file)["job"]), "--decisions", doubtful)

        assert "1 decision recorded" in settled.err
        assert (await console.run(file)).code == 0


async def test_rows_that_wait_in_an_unfinished_rerun_are_told_to_go_on_there(console: Console) -> None:
    file = console.customers("c.csv", [*mobiles(2), "919800000701", "919800000740"])
    await console.run(file)
    (failures,) = console.folder.glob("c.csv-results/*/failures.csv")
    await console.run(failures, "--first", 1)
    rerun = str(console.summary(failures)["job"])
    again = await console.run(file)
    status = await console("status", str(console.summary(file)["job"]))

    assert again.code == 4
    for said in (again.out, status.out):
        assert re.findall(r"^Next: bulk-issue resume (\w+)", said, re.MULTILINE) == [rerun]


async def test_retry_cancel_status_export(console: Console) -> None:
    file = console.customers("c.csv", [*mobiles(4), "919800000740"])
    await console.run(file, "--first", 2)
    job = str(console.summary(file)["job"])

    status = await console("status")
    assert job in status.out
    assert re.search(rf"{job} .* stopped +544770 +5 +2 +0 +0 +0 +3 ", status.out)
    shown = json.loads((await console("status", job[:5], "--json")).out)
    assert shown["counts"] == {"issued": 2, "pending": 3}
    assert (await console("resume", "--max-failures", "100%")).code == 1
    retried = await console("retry", job, "--code", "740", "--max-failures", "100%")
    assert retried.code == 1
    assert "1 rejected row of 740 is pending again" in retried.err
    mistaken = await console("retry", job, "--max-failures", "many")
    assert mistaken.code == 2
    assert json.loads((await console("status", job, "--json")).out)["counts"] == {"issued": 4, "rejected": 1}
    assert "No rejected row of 999 is left" in (await console("retry", job, "--code", "999")).err
    (out,) = file.with_name("c.csv-results").iterdir()
    (out / "results.csv").unlink()
    assert (await console("export", job)).code == 0
    assert len(console.results(file)) == 5
    other = console.customers("d.csv", mobiles(6, 100))
    await console.run(other, "--first", 1)
    nameless = await console("cancel", "")
    assert nameless.code == 2
    assert "too short" in nameless.err
    cancelled = await console("cancel", str(console.summary(other)["job"]), "--yes")
    assert "5 pending rows put aside" in cancelled.out
    assert (await console.run(other)).code == 4
    console.check_book(file, other)


async def test_audit_reads_the_coupons_back_and_names_the_row_with_one_that_should_not_be(console: Console) -> None:
    file = console.customers("c.csv", mobiles(3))
    await console.run(file)
    job = str(console.summary(file)["job"])
    confirmed = await console("audit", job)
    with sqlite3.connect(console.folder / "ledger.db") as ledger:
        ledger.execute("UPDATE rows SET code = 'NOBODYS' WHERE number = 2")
    ledger.close()
    told = await console("audit", job, "--json")

    assert (confirmed.code, told.code) == (0, 5)
    assert "3 in Capillary's record, as issued" in confirmed.out
    facts = json.loads(told.out)
    assert facts["counts"] == {"confirmed": 2, "excess": 1, "missing": 0, "unread": 0}
    assert facts["rows"] == {"excess": [{"job": job, "row": 2}]}
    assert console.box.book.requests() == 3
    plan = await console("export", job, "--codes")
    assert "4 codes" in plan.out  # the coupon too many is to be undone too


async def test_check_issues_nothing_and_names_who_was_served(console: Console) -> None:
    await console.run(console.customers("c.csv", mobiles(3)))
    before = console.box.book.requests()
    file = console.customers("d.csv", [*mobiles(5), mobiles(5)[4], "x"])
    done = await console("check", file, "--series", console.box.series_id)
    facts = json.loads((await console("check", file, "--series", console.box.series_id, "--json")).out)

    assert done.code == 1
    assert "3 customers already served" in done.out
    assert "To send: 2 rows" in done.out
    assert facts["survey"]["duplicates"] == 1
    assert console.box.book.requests() == before


async def test_oauth_credentials_work_too(console: Console) -> None:
    console.env = {
        "BULK_ISSUE_USER": "",
        "BULK_ISSUE_PASSWORD": "",
        "BULK_ISSUE_CLIENT_KEY": console.box.client_key,
        "BULK_ISSUE_CLIENT_SECRET": console.box.client_secret,
    }
    file = console.customers("c.csv", mobiles(30))
    done = await console.run(file)

    assert done.code == 0
    assert console.summary(file)["org"] == "100001"
    console.check_book(file)


async def test_settings_come_from_flag_then_environment_then_profile(console: Console) -> None:
    profile = console.folder / "settings.toml"
    profile.write_text('[default]\nfirst = 1\n[night]\nfirst = 2\nmap = {mobile = "Tel"}\n')
    file = console.customers("c.csv", mobiles(9), header=("name", "Tel"))

    done = await console.run(file, "--config", profile, "--profile", "night")
    assert "2 issued, 7 pending" in done.out
    console.env = {"BULK_ISSUE_FIRST": "3"}
    assert "5 issued" in (await console.run(file, "--config", profile, "--profile", "night")).out
    assert "6 issued" in (await console.run(file, "--config", profile, "--profile", "night", "--first", 1)).out


async def test_a_file_is_read_in_another_way_until_something_came_of_it(console: Console) -> None:
    """Wrong column, five rejections, stop: the corrected command issues, and needs no name for an occasion."""
    file = console.folder / "c.csv"
    lines = [f"98{at:06}0701,{mobile}\n" for at, mobile in enumerate(mobiles(8))]
    file.write_text("landline,second\n" + "".join(lines))
    canary = ("--max-failures", "5%")
    wrong = await console.run(file, "--map", "mobile=landline", *canary)
    assert wrong.code == 3
    assert console.box.book.requests() == 5

    corrected = await console.run(file, "--map", "mobile=second", *canary)
    assert corrected.code == 0
    assert "5 rows rejected as it was read before" in corrected.err
    assert "customers named by mobile from 'second'" in corrected.err
    assert console.box.book.requests() == 13
    assert console.summary(file)["requests"] == 13
    console.check_book(file)

    refused = await console.run(file, "--map", "mobile=landline")
    assert refused.code == 2
    assert "map was 'mobile=second' and is 'mobile=landline'" in refused.err
    assert "--again" not in refused.err
    (then,) = re.findall(r"`bulk-issue (run [^`]*)`", refused.err)
    assert (await console(*shlex.split(then), *QUICK)).code == 0
    assert console.box.book.requests() == 13


async def test_what_changes_while_a_person_is_asked_is_shown_and_asked_about_once_more(console: Console) -> None:
    """They agreed to five coupons; meanwhile a colleague's run of the same job has issued two."""
    file = console.customers("c.csv", mobiles(5))
    terminal, mine = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bulk_issue", "run", file, "--series", str(console.box.series_id), *QUICK),
        *("--confirm-above", "1"),
        env=console.environment() | {"TERM": "dumb"},
        stdin=mine,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None

    async def asked(question: bytes) -> bytes:
        told = b""
        while question not in told:
            told += await process.stderr.read(1)  # type: ignore[union-attr]
        return told

    async with asyncio.timeout(30):
        await asked(b"Issue 5 coupons now? [y/N]: ")
        assert (await console.run(file, "--first", 2)).code == 4
        os.write(terminal, b"y\n")
        again = await asked(b"Issue 3 coupons now? [y/N]: ")
        os.write(terminal, b"n\n")
        assert await process.wait() == 2
    os.close(terminal)
    os.close(mine)

    assert b"what would be sent has changed: rows to send: 5 before, 3 now" in again
    assert console.box.book.requests() == 2


async def test_retry_sends_the_rejected_rows_and_no_others(console: Console) -> None:
    file = console.customers("c.csv", ["919800000701", *mobiles(5)])
    await console.run(file, "--first", 3)
    job = str(console.summary(file)["job"])
    done = await console("retry", job, *QUICK)

    assert done.code == 4
    assert "2 issued, 1 rejected, 3 pending" in done.out
    assert console.box.book.requests() == 4
    assert (await console("resume", job, *QUICK)).code == 1
    assert console.box.book.requests() == 7


@pytest.mark.parametrize(
    ("text", "says"),
    [("[default]\nrat = 3\n", "Did you mean rate?"), ("[default]\npassword = 'x'\n", "secret"), ("[x\n", "TOML")],
)
async def test_a_wrong_profile_is_a_clear_error(console: Console, text: str, says: str) -> None:
    profile = console.folder / "settings.toml"
    profile.write_text(text)
    done = await console.run(console.customers("c.csv", mobiles(1)), "--config", profile)

    assert done.code == 2
    assert says in done.err


async def test_a_secret_file_that_others_can_read_is_refused(console: Console) -> None:
    secret = console.folder / "password"
    secret.write_text(console.box.password)
    secret.chmod(0o644)
    file = console.customers("c.csv", mobiles(1))
    console.env = {"BULK_ISSUE_PASSWORD": ""}

    assert (await console.run(file, "--password-file", secret)).code == 2
    secret.chmod(0o600)
    assert (await console.run(file, "--password-file", secret)).code == 0


async def test_no_secret_identifier_or_code_is_printed(console: Console) -> None:
    """Only the result files hold them."""
    numbers = [*mobiles(20), "919800000701"]
    file = console.customers("c.csv", numbers)
    secrets = [console.box.password, console.box.client_secret]
    spoken = [
        await console.run(file, "--json"),
        await console.run(file),
        await console("status"),
        await console("check", file),
    ]
    codes = [coupon.code for coupon in console.box.book.coupons_of(console.box.series_id)]

    for done in spoken:
        for private in [*numbers, *codes, *secrets]:
            assert private not in done.out + done.err


async def test_json_is_one_object_a_line(console: Console) -> None:
    done = await console.run(console.customers("c.csv", mobiles(5)), "--json")

    assert json.loads(done.out)["counts"]["issued"] == 5
    assert all(isinstance(json.loads(line), dict) for line in done.err.splitlines())


# --- help -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", commands.commands.values(), ids=lambda command: str(command.name))
def test_the_readme_knows_every_command(command: click.Command) -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")

    assert re.search(rf"^\| `{command.name}\b", readme, re.MULTILINE)
