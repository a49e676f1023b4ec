"""What reaches those who weren't watching: the log, the metrics, the notification. None of them changes the outcome."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
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
from bulk_issue.telling import End, JobEnd, Untold, notify
from bulk_issue.telling.log import EventLog
from bulk_issue.telling.metrics import write_metrics
from bulk_issue.telling.notify import Notifier, title
from tests.console import QUICK, Console, ended, mobiles
from tests.servers import Server, answer, drop

DOCS = Path(__file__).parent.parent / "docs" / "cron.md"
JOB = JobEnd(
    job=JobId("j123456789"),
    file="tonight.csv",
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


async def test_nothing_is_said_in_words_beside_a_log_on_the_error_output(console: Console) -> None:
    """Neither errors, nor what couldn't be told, nor what is said to an impatient hand: they are events."""
    console.box.faults.script(None, fault("hang-after"))
    run = ("run", console.customers("c.csv", mobiles(3)), "--series", console.box.series_id, *QUICK)
    process = await console.start(*run, "--log-file", "-", "--metrics", console.folder / "no" / "x.prom")
    while console.box.book.requests() < 2:
        await asyncio.sleep(0.01)
    process.terminate()
    stopped = await ended(process)
    wrong = await console.run(console.folder / "none.csv", "--log-file", "-")
    many = await console.run(console.folder / "none.csv", "--rate", "many", "--log-file", "-")
    events = [[json.loads(line) for line in done.err.splitlines()] for done in (stopped, wrong, many)]

    assert (stopped.code, wrong.code, many.code) == (4, 2, 2)
    assert any(line["event"] == "note" and line["text"].startswith("Stopping:") for line in events[0])
    assert [line["event"] for line in events[0]][-2:] == ["ended", "untold"]
    assert [line["event"] for line in (events[1][-1], events[2][-1])] == ["ended", "ended"]
    assert "none.csv" in events[1][-1]["message"]
    assert re.fullmatch(r"'--rate' .*has a value that can't be meant", events[2][-1]["message"])


@pytest.mark.parametrize("how", ["json", "text"])
async def test_a_log_on_a_full_disk_changes_nothing_but_a_line_of_words(console: Console, how: str) -> None:
    file = console.customers("c.csv", mobiles(2))
    done = await console.run(file, "--log-file", "/dev/full", "--log-format", how)

    assert done.code == 0
    assert "The log could not be delivered (No space left on device); the run is not affected." in done.err
    console.check_book(file)


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
    entry = {"entry": "bulk_issue"}
    job = entry | {"job_id": str(console.summary(file)["job"]), "series_id": str(console.box.series_id)}
    rows = {labels.pop("state"): (labels, value) for labels, value in found["bulk_issue_rows"]}

    assert rows["issued"] == (job, 2.0)
    assert rows["rejected"] == (job, 1.0)
    assert rows["in_doubt"] == (job, 0.0)
    assert found["bulk_issue_requests_total"] == [(job, 3.0)]
    assert found["bulk_issue_last_exit_code"] == [(entry | {"command": "run"}, 1.0)]
    assert found["bulk_issue_rate_limit_requests"] == [(entry, 60000.0)]
    assert metrics.stat().st_mode & 0o777 == 0o644
    assert [path.name for path in console.folder.iterdir() if "prom" in path.name] == ["bulk_issue.prom"]


def test_every_metric_is_named_and_valued_as_prometheus_wants_it(tmp_path: Path) -> None:
    path = tmp_path / 'x"\\\n.prom'
    write_metrics(path, replace(END, jobs=[replace(JOB, job=JobId('j"\\\n'))]))
    found = samples(path)

    assert all(name.startswith("bulk_issue_") for name in found)
    every = {"entry": 'x"\\\n', "command": "run"}
    assert found["bulk_issue_last_end_timestamp_seconds"] == [(every, 1795000000.25)]
    assert found["bulk_issue_throttled_requests_total"][0][0]["job_id"] == 'j"\\\n'


def test_two_cron_entries_measure_side_by_side(tmp_path: Path) -> None:
    """node_exporter reads the files of its folder as one, and refuses a sample that is in two of them."""
    for name in ("north.prom", "south.prom"):
        write_metrics(tmp_path / name, END)
    found = [
        (name, tuple(sorted(labels.items())))
        for path in tmp_path.iterdir()
        for name, values in samples(path).items()
        for labels, _value in values
    ]

    assert len(found) == 2 * len(list(samples(tmp_path / "north.prom"))) + 2 * (len(JOB.counts) - 1)
    assert len(found) == len(set(found))


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
        missing = await console.run(tmp_path / "none\x1b[2J\n.csv")
        console.env |= {"BULK_ISSUE_PASSWORD": box.password}
        await console.run(console.customers("e.csv", mobiles(1, 90)))
        job = str(console.summary(file)["job"])
    told = [json.loads(request.body) for request in chat.requests]

    assert (doubt.code, missing.code) == (5, 2)
    run = f"bulk-issue run on {socket.gethostname()}"
    assert [(each["title"], each["type"]) for each in told] == [
        (f"{run}: stopped as asked (exit code 4)", "warning"),
        (f"{run}: rows in doubt (exit code 5)", "warning"),
        (f"{run}: stopped (exit code 3)", "failure"),
        (f"{run}: not started (exit code 2)", "failure"),
        (f"{run}: done (exit code 0)", "success"),
    ]
    assert f"Job {job} (c.csv), series {box.series_id}: 4 rows: 1 issued, 3 pending" in told[0]["message"]
    assert "1 in doubt" in told[1]["message"]
    assert f"bulk-issue status {job}" in told[1]["message"]
    assert "none\N{REPLACEMENT CHARACTER}[2J\N{REPLACEMENT CHARACTER}.csv" in told[3]["message"]


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


async def drip(writer: asyncio.StreamWriter) -> None:
    """Answers a byte at a time, without an end: no time-out between two of them ever comes."""
    writer.write(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.1)


@pytest.mark.filterwarnings("ignore:'imghdr':DeprecationWarning")  # apprise loads all that it has
async def test_of_a_notification_that_gets_no_end_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker lives on, and has many of them."""
    monkeypatch.setattr(notify, "PATIENCE", 4.0)
    async with Server.scripted(drip) as chat:
        notifier = Notifier(f"json://127.0.0.1:{chat.port}/")
        with pytest.raises(Untold, match="no answer in time"):
            await asyncio.to_thread(notifier.tell, END)
        await chat.until(lambda server: len(server.ended) == server.connections)


async def test_a_command_ends_although_its_notification_does_not(console: Console) -> None:
    (console.folder / "sitecustomize.py").write_text("from bulk_issue.telling import notify\nnotify.PATIENCE = 4.0\n")
    console.env = {"PYTHONPATH": os.pathsep.join([str(console.folder), os.environ.get("PYTHONPATH", "")])}
    async with Server.scripted(drip) as chat:
        console.env["BULK_ISSUE_NOTIFY"] = f"json://127.0.0.1:{chat.port}/"
        done = await console.run(console.customers("c.csv", mobiles(2)))

    assert done.code == 0
    assert "The notification could not be delivered (no answer in time)" in done.err


# --- what keeps a command from starting -------------------------------------------------------------------------


def notify_file(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "notify"
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("what", ["setting", "option", "unknown", "missing", "addresses"])
async def test_all_are_told_of_what_keeps_a_command_from_being_understood(console: Console, what: str) -> None:
    log, metrics = console.folder / "log", console.folder / "x.prom"
    settings = console.folder / "wrong.toml"
    settings.write_text("[default\n")
    async with Server.scripted(answer()) as chat:
        addresses = f"json://127.0.0.1:{chat.port}/\n"
        console.env = {"BULK_ISSUE_LOG_FILE": str(log)}
        file, series = console.customers("c.csv", mobiles(2)), ("--series", console.box.series_id)
        wrong: tuple[object, ...]
        match what:
            case "setting":
                wrong = (file, *series, "--config", settings)
            case "option":
                wrong = (file, *series, "--rate", "many")
            case "unknown":
                wrong = (file, *series, "--password-is", "planted-s3cret")
            case "missing":
                wrong = (file,)
            case _:
                wrong, addresses = (file, *series), addresses + "planted-s3cret\n"
        told = ("--metrics", metrics, "--notify-file", notify_file(console.folder, addresses))
        done = await console("run", *wrong, *told)
    (note,) = (json.loads(request.body) for request in chat.requests)
    began, end = logged(log)

    assert done.code == 2
    assert "Error: " in done.err
    assert (began["event"], end["event"], end["exit_code"]) == ("began", "ended", 2)
    assert end["message"] in note["message"]
    assert "File: c.csv" in note["message"]
    assert note["type"] == "failure"
    assert [value for _labels, value in samples(metrics)["bulk_issue_last_exit_code"]] == [2.0]
    assert "planted-s3cret" not in log.read_text() + note["message"]
    assert console.box.book.requests() == 0


async def test_who_can_not_be_told_is_told_to_the_others(console: Console) -> None:
    metrics, log = console.folder / "x.prom", console.folder / "log"
    file = console.customers("c.csv", mobiles(2))
    async with Server.scripted(answer()) as chat:
        addresses = notify_file(console.folder, f"json://127.0.0.1:{chat.port}/\n")
        no_log = await console.run(
            file, "--log-file", console.folder / "no" / "log", "--metrics", metrics, "--notify-file", addresses
        )
        addresses.chmod(0o644)
        readable = await console.run(file, "--log-file", log, "--notify-file", addresses)
    (note,) = (json.loads(request.body) for request in chat.requests)

    assert (no_log.code, readable.code) == (2, 2)
    assert "--log-file" in note["message"]
    assert [value for _labels, value in samples(metrics)["bulk_issue_last_exit_code"]] == [2.0]
    assert "can be read by others" in logged(log)[-1]["message"]
    assert console.box.book.requests() == 0


@pytest.mark.parametrize("code", ExitCode)
def test_every_exit_code_has_a_title(code: ExitCode) -> None:
    assert f"(exit code {int(code)})" in title(replace(END, exit_code=code))
