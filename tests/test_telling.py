"""What reaches those who weren't watching: the log, the metrics, the notification. None of them changes the outcome."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bulk_issue.ending import ExitCode
from bulk_issue.model import JobId
from bulk_issue.ports import Progress
from bulk_issue.sandbox.book import Endpoint
from bulk_issue.sandbox.faults import fault
from bulk_issue.sandbox.server import Sandbox
from bulk_issue.sandbox.settings import Settings
from bulk_issue.states import RowState
from bulk_issue.telling import End, JobEnd
from bulk_issue.telling.log import EventLog
from bulk_issue.telling.metrics import write_metrics
from bulk_issue.telling.notify import title
from tests.console import Console, mobiles
from tests.servers import Server, answer, drop

DOCS = Path(__file__).parent.parent / "docs" / "cron.md"
JOB = JobEnd(
    job=JobId("j123456789"),
    series_id=7,
    rows=3,
    counts={"issued": 2, "rejected": 1, "in_doubt": 0},
    requests=4,
    responses_429=1,
    excess=0,
    duration_s=1.5,
    exit_code=ExitCode.FAILURES,
)
END = End(command="run", exit_code=ExitCode.FAILURES, at=1795000000.25, duration_s=2.0, rate=300, per=60.0, jobs=[JOB])


@pytest.fixture
async def console(tmp_path: Path) -> AsyncIterator[Console]:
    async with Sandbox(Settings(rate=0)) as box:
        yield Console(tmp_path, box)


def logged(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


# --- the log ----------------------------------------------------------------------------------------------------


async def test_the_log_tells_a_run_from_its_beginning_to_its_exit_code(console: Console) -> None:
    log = console.folder / "log.jsonl"
    file = console.customers("c.csv", [*mobiles(2), "919800000701"])
    first = await console.run(file, "--first", 1, "--log-file", log)
    await console.run(file, "--log-file", log)
    lines = logged(log)

    assert first.code == 4
    assert "Job " in first.out  # the words go on
    assert [line["event"] for line in lines if line["event"] not in ("note", "progress")] == [
        *("began", "job_ended", "ended"),
        *("began", "job_ended", "ended"),
    ]
    runs = {line["run"] for line in lines}
    assert len(runs) == 2
    ends = [line for line in lines if line["event"] == "job_ended"]
    assert [(end["exit_code"], end["level"], end["counts"]["issued"]) for end in ends] == [
        (4, "warning", 1),
        (1, "warning", 2),
    ]
    assert ends[0]["stopped"] == "--first 1: so many rows were sent"
    assert ends[1]["job"] == console.summary(file)["job"]
    assert (lines[-1]["exit_code"], lines[-1]["exit"]) == (1, "failures")


async def test_what_keeps_a_run_from_starting_is_logged_too(console: Console) -> None:
    log = console.folder / "log.jsonl"
    missing = await console.run(console.folder / "none.csv", "--log-file", log)
    console.env = {"BULK_ISSUE_PASSWORD": ""}
    anybody = await console.run(console.customers("c.csv", mobiles(1)), "--log-file", log)
    ends = [line for line in logged(log) if line["event"] == "ended"]

    assert (missing.code, anybody.code) == (2, 2)
    assert [(end["exit_code"], end["level"]) for end in ends] == [(2, "error"), (2, "error")]
    assert "password is missing" in ends[1]["message"]


async def test_the_log_on_the_error_output_stands_in_place_of_words(console: Console) -> None:
    done = await console.run(console.customers("c.csv", mobiles(2)), "--log-file", "-")

    assert done.code == 0
    assert [json.loads(line)["event"] for line in done.err.splitlines()][-1] == "ended"


async def test_the_log_for_people_is_one_line_an_event(console: Console) -> None:
    log = console.folder / "log.txt"
    await console.run(console.customers("c.csv", mobiles(2)), "--log-file", log, "--log-format", "text")
    lines = log.read_text().splitlines()

    assert re.match(r"\d{4}-\d\d-\d\dT[\d:.]+Z \[info +\] ended +.*exit=done", lines[-1])


def test_the_documented_schema_is_what_is_written(tmp_path: Path) -> None:
    """docs/cron.md has a row for every event, with exactly its fields."""
    documented = {
        event: set(re.findall(r"`(\w+)`", fields))
        for event, fields in re.findall(r"^\| `(\w+)` \| (.*?) \|", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    }
    log = EventLog(tmp_path / "log", "run", as_json=True)
    log.began()
    log.progress(Progress(job=JOB.job, phase="issuing", tally={RowState.ISSUED: 1}, rows=3))
    log.progress(Progress(job=JOB.job, phase="", tally={}, rows=3, message="a sentence"))
    log.job_ended(JOB)
    log.untold("metrics", "no space left")
    log.ended(replace(END, error="ConfigError", message="wrong", hint="mend it"))
    log.close()
    lines = logged(tmp_path / "log")

    always = documented.pop("every")
    assert {line["event"]: set(line) - always for line in lines} == documented
    assert all(always <= set(line) for line in lines)


async def test_a_log_that_can_not_be_written_is_said_before_anything_is_sent(console: Console) -> None:
    done = await console.run(console.customers("c.csv", mobiles(2)), "--log-file", console.folder / "no" / "log")

    assert done.code == 2
    assert "--log-file" in done.err
    assert console.box.book.requests() == 0


async def test_a_bug_is_logged_by_its_kind_only(tmp_path: Path, console: Console) -> None:
    log = tmp_path / "log"
    telling = EventLog(log, "run", as_json=True)
    telling.ended(replace(END, exit_code=ExitCode.TROUBLE, error="KeyError"))
    telling.close()
    (line,) = logged(log)

    assert (line["exit"], line["error"], line["message"], line["level"]) == ("trouble", "KeyError", "", "error")


# --- metrics ----------------------------------------------------------------------------------------------------


def samples(path: Path) -> dict[str, list[tuple[dict[str, str], float]]]:
    """What Prometheus' own parser makes of the file."""
    families = text_string_to_metric_families(path.read_text(encoding="utf-8"))
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in families:
        assert family.documentation, family.name
        assert family.type in ("gauge", "counter"), family.name
        for sample in family.samples:
            found.setdefault(sample.name, []).append((dict(sample.labels), sample.value))
    return found


async def test_prometheus_reads_what_a_run_has_measured(console: Console) -> None:
    metrics = console.folder / "bulk_issue.prom"
    file = console.customers("c.csv", [*mobiles(2), "919800000701"])
    await console.run(file, "--metrics", metrics)
    found = samples(metrics)
    job = {"job_id": str(console.summary(file)["job"]), "series_id": str(console.box.series_id)}
    rows = {labels.pop("state"): (labels, value) for labels, value in found["bulk_issue_rows"]}

    assert rows["issued"] == (job, 2.0)
    assert rows["rejected"] == (job, 1.0)
    assert rows["in_doubt"] == (job, 0.0)
    assert found["bulk_issue_requests_total"] == [(job, 3.0)]
    assert found["bulk_issue_last_exit_code"] == [({"command": "run"}, 1.0)]
    assert found["bulk_issue_rate_limit_requests"] == [({}, 60000.0)]
    assert metrics.stat().st_mode & 0o777 == 0o644
    assert [path.name for path in console.folder.iterdir() if "prom" in path.name] == ["bulk_issue.prom"]


def test_every_metric_is_named_and_valued_as_prometheus_wants_it(tmp_path: Path) -> None:
    path = tmp_path / "x.prom"
    write_metrics(path, replace(END, jobs=[replace(JOB, job=JobId('j"\\\n'))]))
    found = samples(path)

    assert all(name.startswith("bulk_issue_") for name in found)
    assert found["bulk_issue_last_end_timestamp_seconds"] == [({"command": "run"}, 1795000000.25)]
    assert found["bulk_issue_throttled_requests_total"][0][0]["job_id"] == 'j"\\\n'


async def test_metrics_that_can_not_be_written_change_nothing(console: Console) -> None:
    done = await console.run(console.customers("c.csv", mobiles(2)), "--metrics", console.folder / "no" / "x.prom")

    assert done.code == 0
    assert "metrics could not be delivered" in done.err


# --- notifications ----------------------------------------------------------------------------------------------


async def test_end_stop_and_rows_in_doubt_are_told(tmp_path: Path) -> None:
    denied = frozenset({Endpoint.COUPONS, Endpoint.COUPONS_V11})
    async with Sandbox(Settings(rate=0, denied=denied)) as box, Server.scripted(answer()) as chat:
        console = Console(tmp_path, box, {"BULK_ISSUE_NOTIFY": f"json://127.0.0.1:{chat.port}/"})
        file = console.customers("c.csv", mobiles(4))
        await console.run(file, "--first", 1)
        box.faults.script(fault("drop-after"))
        doubt = await console.run(file)
        console.env |= {"BULK_ISSUE_PASSWORD": "wrong"}
        await console.run(console.customers("d.csv", mobiles(2, 50)))
        missing = await console.run(tmp_path / "none.csv")
        job = str(console.summary(file)["job"])
    told = [json.loads(request.body) for request in chat.requests]

    assert (doubt.code, missing.code) == (5, 2)
    assert [each["title"] for each in told] == [
        "bulk-issue run: stopped as asked (exit code 4)",
        "bulk-issue run: rows in doubt (exit code 5)",
        "bulk-issue run: stopped (exit code 3)",
        "bulk-issue run: not started (exit code 2)",
    ]
    assert f"Job {job}, series {box.series_id}: 4 rows: 1 issued, 3 pending" in told[0]["message"]
    assert "1 in doubt" in told[1]["message"]
    assert f"bulk-issue status {job}" in told[1]["message"]
    assert "none.csv" in told[3]["message"]


@pytest.mark.parametrize("act", [answer(500), drop])
async def test_a_failing_notification_changes_no_outcome(console: Console, act: Any) -> None:
    addresses = console.folder / "notify"
    log = console.folder / "log"
    async with Server.scripted(act) as chat:
        addresses.write_text(f"# the team's channel\njson://user:planted-s3cret@127.0.0.1:{chat.port}/\n")
        addresses.chmod(0o600)
        file = console.customers("c.csv", mobiles(2))
        done = await console.run(file, "--notify-file", addresses, "--log-file", log)

    assert done.code == 0
    assert chat.requests
    assert "notification could not be delivered" in done.err
    assert logged(log)[-1]["event"] == "untold"
    assert "planted-s3cret" not in done.out + done.err + log.read_text()


async def test_addresses_that_can_not_be_used_are_said_before_anything_is_sent(console: Console) -> None:
    addresses = console.folder / "notify"
    addresses.write_text("planted-s3cret\n")
    addresses.chmod(0o644)
    file = console.customers("c.csv", mobiles(2))
    readable = await console.run(file, "--notify-file", addresses)
    addresses.chmod(0o600)
    unclear = await console.run(file, "--notify-file", addresses)
    on_argv = await console.run(file, "--notify", "json://127.0.0.1/")

    assert (readable.code, unclear.code, on_argv.code) == (2, 2, 2)
    assert "chmod 600" in readable.err
    assert "line 1" in unclear.err
    assert "planted-s3cret" not in unclear.err
    assert "--notify-file" in on_argv.err
    assert console.box.book.requests() == 0


@pytest.mark.parametrize("code", ExitCode)
def test_every_exit_code_has_a_title(code: ExitCode) -> None:
    assert f"(exit code {int(code)})" in title(replace(END, exit_code=code))
