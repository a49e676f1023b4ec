"""Workers: real processes on one ledger in PostgreSQL, brought jobs by the engine; the oracle is the sandbox's book."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bulk_issue.app.workers import set_up
from bulk_issue.cli import commands, frame
from bulk_issue.sandbox.faults import fault
from bulk_issue.sandbox.server import Sandbox
from bulk_issue.sandbox.settings import Settings
from tests.cluster import Cluster
from tests.console import QUICK, Console, ended, mobiles
from tests.servers import Server, answer
from tests.test_hosts_share import stop_between_transactions


@pytest.fixture
async def console(cluster: Cluster, tmp_path: Path) -> AsyncIterator[Console]:
    name = cluster.database()
    await set_up(cluster.url(name, "bulk_issue_owner"))
    async with Sandbox(Settings(rate=0, latency=0.01)) as box:
        yield Console(tmp_path, box, {"BULK_ISSUE_LEDGER": cluster.url(name).url}, "tests.hurried_worker")


def issued(console: Console) -> int:
    return len(console.box.book.coupons_of(console.box.series_id))


async def until(true: Callable[[], bool]) -> None:
    while not true():
        await asyncio.sleep(0.005)


async def worker(console: Console, *options: object) -> Process:
    return await console.start("worker", *QUICK, *options)


def written(console: Console, file: Path) -> bool:
    return any(file.with_name(f"{file.name}-results").glob("*/summary.json"))


async def deferred(console: Console, rows: int, *options: object) -> Path:
    file = console.customers("c.csv", mobiles(rows))
    done = await console("defer", file, "--series", console.box.series_id, *options)
    assert done.code == 0, done.err
    return file


async def the_rest(console: Console, file: Path, *workers: Process) -> None:
    """Let these workers finish the job, and ask the book."""
    await until(lambda: written(console, file) or all(each.returncode is not None for each in workers))
    for each in workers:
        each.send_signal(signal.SIGTERM)
    done = [await ended(each) for each in workers]
    assert {each.code for each in done} == {0}, [each.out + each.err for each in done]
    states = [row["_status"] for row in console.results(file)]
    assert set(states) == {"issued"}
    console.check_book(file)


SLOW = ("--rate", 12000, "--connections", 4, "--timeout", 1)


async def test_a_worker_that_is_asked_to_stop_leaves_the_job_to_another(console: Console) -> None:
    file = await deferred(console, 400)
    first = await worker(console, *SLOW)
    await until(lambda: issued(console) >= 40)
    first.send_signal(signal.SIGTERM)
    done = await ended(first)
    before = issued(console)

    assert done.code == 4, done.err
    assert before < 400
    await the_rest(console, file, await worker(console, *SLOW))


async def test_a_worker_leaves_out_whom_the_list_names_when_it_begins(console: Console) -> None:
    out = console.customers("out.csv", mobiles(1))
    file = await deferred(console, 6, "--exclude", out)
    console.customers("out.csv", mobiles(3))
    one = await worker(console)
    await until(lambda: written(console, file) or one.returncode is not None)
    one.send_signal(signal.SIGTERM)
    done = await ended(one)

    assert done.code == 0, done.err
    assert "The suppression list has changed: 2 customers added." in done.err
    assert [row["_status"] for row in console.results(file)] == ["invalid"] * 3 + ["issued"] * 3
    console.check_book(file)


async def test_the_doubts_of_a_cancelled_job_outlast_its_worker(console: Console) -> None:
    file = await deferred(console, 400)
    first = await worker(console, *SLOW, "--grace", 600)  # it settles nothing before it is killed
    await until(lambda: issued(console) >= 40)
    console.box.faults.script(*[fault("hang-after")] * 4)
    asked = console.box.book.requests()
    await until(lambda: console.box.book.requests() >= asked + 4)
    (job,) = [json.loads(line)["job"] for line in (await console("status", "--json")).out.splitlines()]
    cancelled = await console("cancel", job, "--yes")
    first.kill()
    await ended(first)
    second = await worker(console, *SLOW)
    await until(lambda: written(console, file))
    second.send_signal(signal.SIGTERM)
    done = await ended(second)

    assert "pending rows put aside" in cancelled.out
    assert done.code == 0, done.err
    assert {row["_status"] for row in console.results(file)} == {"issued", "cancelled"}
    console.check_book(file)


async def test_the_others_go_on_without_a_worker_that_stands_still(console: Console) -> None:
    file = await deferred(console, 600)
    first = await worker(console, *SLOW)
    await until(lambda: issued(console) >= 40)
    second = await worker(console, *SLOW)
    first.send_signal(signal.SIGSTOP)
    await until(lambda: written(console, file))
    first.send_signal(signal.SIGCONT)  # it wakes up when all is done, and takes the next job
    second.send_signal(signal.SIGTERM)
    await ended(second)
    again = console.customers("d.csv", mobiles(20, 600))
    await console("defer", again, "--series", console.box.series_id)
    await until(lambda: written(console, again) or first.returncode is not None)
    first.send_signal(signal.SIGTERM)
    done = await ended(first)

    assert done.code == 0, done.err
    assert "Traceback" not in done.err
    assert "taken over" in done.err
    assert issued(console) == 620
    console.check_book(file, again)


async def test_a_row_in_doubt_of_a_worker_that_stands_still_is_settled_by_another(
    console: Console, cluster: Cluster
) -> None:
    """Nothing is pending, and the session of the one that stands still lives: nobody but the engine can tell."""
    file = await deferred(console, 60)
    name = console.env["BULK_ISSUE_LEDGER"].partition("@/")[2].partition("?")[0]
    first = await worker(console, *SLOW)
    await until(lambda: issued(console) >= 50)
    console.box.faults.script(fault("hang-after"))
    states = "SELECT string_agg(DISTINCT state, ' ' ORDER BY state) FROM bulk_issue.rows"
    while await asyncio.to_thread(cluster.sql, states, name) != "in_doubt issued":
        assert first.returncode is None
    await asyncio.to_thread(stop_between_transactions, cluster, first.pid)
    second = await worker(console, *SLOW)
    await until(lambda: written(console, file) or second.returncode is not None)
    lost = await console("status")
    first.kill()
    await ended(first)
    second.send_signal(signal.SIGTERM)
    done = await ended(second)

    assert done.code == 0, done.err
    assert {row["_status"] for row in console.results(file)} == {"issued"}
    assert f"process {second.pid} on" in lost.out
    console.check_book(file)


async def test_a_job_that_cant_be_run_keeps_no_other_waiting(console: Console) -> None:
    """Its series is gone; the one worker takes the next job, and says why."""
    series = console.box.world.series
    other = console.box.series_id + 1
    series[other] = replace(series[console.box.series_id], id=other)
    broken = console.customers("a.csv", mobiles(3, 50))
    assert (await console("defer", broken, "--series", other)).code == 0
    del series[other]
    file = await deferred(console, 20)
    first = await worker(console, *SLOW)
    await until(lambda: written(console, file) or first.returncode is not None)
    first.send_signal(signal.SIGTERM)
    done = await ended(first)

    assert "Traceback" not in done.err
    assert "Job j" in done.err
    assert {row["_status"] for row in console.results(file)} == {"issued"}


async def test_a_worker_whose_database_restarts_goes_on_or_ends_and_says_so(cluster: Cluster, console: Console) -> None:
    file = await deferred(console, 600)
    first = await worker(console, *SLOW)
    await until(lambda: issued(console) >= 40)
    await asyncio.to_thread(cluster.stop)
    await asyncio.to_thread(cluster.start)
    await until(lambda: written(console, file) or first.returncode is not None)
    if first.returncode is not None:
        done = await ended(first)
        assert done.code == 7, done.err
        assert "database" in done.err
        assert "Traceback" not in done.err
        first = await worker(console, *SLOW)

    await the_rest(console, file, first)


async def test_a_halted_job_stays_stopped_until_a_person_defers_it_again(console: Console) -> None:
    file = await deferred(console, 600, "--again", "spring")
    series = console.box.world.series
    workers = [await worker(console, *SLOW) for _ in range(2)]
    await until(lambda: issued(console) >= 60)
    kept = series[console.box.series_id]
    series[console.box.series_id] = replace(kept, stock=0)
    await until(lambda: written(console, file))
    asked = console.box.book.requests()
    status = await console("status")
    for each in workers:
        each.send_signal(signal.SIGTERM)
    done = [await ended(each) for each in workers]
    lead = "When that is put right: bulk-issue "
    (hint,) = [line for each in done for line in each.out.splitlines() if line.startswith(f"{lead}defer")]

    assert {each.code for each in done} == {0}, [each.err for each in done]
    assert "stopped" in status.out
    assert issued(console) < 600
    assert console.box.book.requests() == asked
    series[console.box.series_id] = kept
    for path in file.with_name(f"{file.name}-results").glob("*/summary.json"):
        path.unlink()
    again = await console(*shlex.split(hint.removeprefix(lead).partition("   (")[0]))
    assert again.code == 0, again.err
    await the_rest(console, file, await worker(console, *SLOW))


async def test_workers_take_a_job_each_and_status_shows_who_has_which(console: Console) -> None:
    files = [console.customers(f"c{at}.csv", mobiles(300, at * 300)) for at in range(3)]
    for file in files:
        assert (await console("defer", file, "--series", console.box.series_id)).code == 0
    jobs = [json.loads(line)["job"] for line in (await console("status", "--json")).out.splitlines()]
    waits = (await console("status", jobs[0])).out
    workers = [await worker(console, "--rate", 600, "--connections", 4) for _ in range(2)]
    shown = ""
    while shown.count("has job") < 2:
        shown = (await console("status")).out
    having = [job for job in jobs if f"has job {job}" in shown]
    one = (await console("status", having[0])).out

    assert "waits for one (none of its account is there)" in waits
    for each in workers:
        assert f"process {each.pid} on " in shown
    assert len(having) == 2
    assert "left to workers: run by process" in one
    assert "runs now" in one
    for each in workers:
        each.send_signal(signal.SIGTERM)
    assert [(await ended(each)).code for each in workers] == [4, 4]


async def test_a_job_is_deferred_without_its_file_if_this_ledger_knows_it(console: Console) -> None:
    file = await deferred(console, 3)
    (job,) = [json.loads(line)["job"] for line in (await console("status", "--json")).out.splitlines()]
    file.unlink()
    done = await console("defer", "--job", job[:5])
    unknown = await console("defer", "--job", "j999")
    stranger = await console("defer", "--job", job, "--org", "7")

    assert done.code == 0, done.err
    assert unknown.code == stranger.code == 2
    assert "knows no job" in unknown.err
    assert "now says 7" in stranger.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "Missing argument '[FILE]'"),
        (["c.csv"], "Missing option '--series'"),
        (["c.csv", "--job", "j1"], "'[FILE]' is said of a file"),
        (["--job", "j1", "--again", "spring"], "'--again'"),
        (["--job", "j1", "--sheet", "2"], "'--sheet'"),
        (["c.csv", "--series", "1", "--first", "3"], "No such option"),
        (["c.csv", "--series", "1", "--workers", "3"], "A job is run by one worker"),
        (["c.csv", "--series", "1", "--between", "09:00-21:00"], "No such option"),
        (["c.csv", "--series", "1", "--look-first"], "No such option"),
    ],
)
def test_what_defer_would_leave_undone_is_refused(
    capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert frame.exit_code(commands, ["defer", *words, "--ledger", "postgresql://ann@127.0.0.1:1/x"]) == 2
    assert said in capsys.readouterr().err


async def test_a_profile_is_for_workers_and_defer_whose_forecast_says_what_it_knows(console: Console) -> None:
    profile = console.folder / "p.toml"
    profile.write_text(
        '[default]\nfirst = 3\nbetween = "09:00-21:00"\nzone = "Asia/Kolkata"\nlook_first = true\nrate = 60\n',
        encoding="utf-8",
    )
    file = console.customers("c.csv", mobiles(90))
    done = await console("defer", file, "--series", console.box.series_id, "--config", profile)

    assert done.code == 0, done.err
    assert "To send: 90 rows at 60 a minute: 2 min, once workers begin" in done.err
    assert "until" not in done.err


async def test_a_job_is_moved_to_another_account_only_while_nobody_runs_it(console: Console, cluster: Cluster) -> None:
    other = replace(
        console, env=console.env | {"BULK_ISSUE_BASE_URL": console.box.url.replace("127.0.0.1", "localhost")}
    )
    words = ("--series", console.box.series_id, "--org", "100001")
    file = await deferred(console, 400, "--org", "100001")
    (job,) = [json.loads(line)["job"] for line in (await console("status", "--json")).out.splitlines()]
    first = await worker(console, "--rate", 1200)
    await until(lambda: issued(console) > 0)
    refused = await other("defer", "--job", job, "--org", "100001")
    first.send_signal(signal.SIGTERM)
    await ended(first)
    before = issued(console)
    moved = await other("defer", file, *words)

    assert refused.code == 2, refused.err
    assert "is run by the account" in refused.err
    assert moved.code == 0, moved.err
    theirs = await worker(console)
    name = console.env["BULK_ISSUE_LEDGER"].partition("@/")[2].partition("?")[0]
    tasks = "SELECT count(*) FROM bulk_issue.procrastinate_jobs"
    while await asyncio.to_thread(cluster.sql, tasks, name) != "2":  # theirs take no part any more
        await asyncio.sleep(0.05)
    assert issued(console) == before
    await the_rest(other, file, theirs, await worker(other, *SLOW))


async def test_a_folder_that_cant_be_looked_for_is_none_of_this_host(console: Console, cluster: Cluster) -> None:
    await deferred(console, 3)
    name = console.env["BULK_ISSUE_LEDGER"].partition("@/")[2].partition("?")[0]
    cluster.sql("UPDATE bulk_issue.jobs SET path = '/' || repeat('x', 300) || '/c.csv'", name)
    process = await worker(console)
    while await asyncio.to_thread(cluster.sql, "SELECT deferred FROM bulk_issue.jobs", name) != "0":
        assert process.returncode is None
    process.send_signal(signal.SIGTERM)
    done = await ended(process)

    assert done.code == 0, done.err
    assert "its folder isn't on this host" in done.err


async def test_corrected_failures_end_where_the_files_of_their_job_cant_be_looked_for(
    console: Console, cluster: Cluster
) -> None:
    file = console.customers("c.csv", [*mobiles(2), "12"])
    assert (await console.run(file)).code == 1
    (failures,) = file.with_name("c.csv-results").glob("*/failures.csv")
    corrected = failures.read_text(encoding="utf-8-sig").replace(",12,", f",{mobiles(1, 50)[0]},")
    failures.write_text(corrected, encoding="utf-8")
    done = await console("defer", failures, "--series", console.box.series_id)
    name = console.env["BULK_ISSUE_LEDGER"].partition("@/")[2].partition("?")[0]
    cluster.sql("UPDATE bulk_issue.jobs SET path = '/' || repeat('x', 300) || '/c.csv' WHERE deferred = 0", name)
    process = await worker(console)
    await until(lambda: written(console, failures) or process.returncode is not None)
    process.send_signal(signal.SIGTERM)
    ending = await ended(process)

    assert done.code == 0, done.err
    assert ending.code == 0, ending.err
    assert issued(console) == 3


def test_a_database_that_cant_be_reached_is_said_at_once_in_the_ledgers_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BULK_ISSUE_PASSWORD", "x")
    account = ["--base-url", "http://127.0.0.1:1", "--user", "till"]
    code = frame.exit_code(commands, ["worker", *account, "--ledger", "postgresql://ann@127.0.0.1:1/x"])

    assert code == 7
    assert "Error: the ledger postgresql://ann@127.0.0.1:1/x can't be" in capsys.readouterr().err


async def test_the_end_of_each_job_is_told_when_it_comes(console: Console) -> None:
    log, metrics = console.folder / "log.jsonl", console.folder / "worker.prom"
    async with Server.scripted(answer()) as chat:
        console.env["BULK_ISSUE_NOTIFY"] = f"json://127.0.0.1:{chat.port}/"
        first = await worker(console, "--log-file", log, "--metrics", metrics)
        for rows, name in ((3, "a.csv"), (5, "b.csv")):
            file = console.customers(name, mobiles(rows, rows * 10))
            await console("defer", file, "--series", console.box.series_id)
            await until(lambda: written(console, file))  # noqa: B023 - awaited at once
        await until(lambda: len(chat.requests) == 2)
        first.send_signal(signal.SIGTERM)
        done = await ended(first)
        told = [json.loads(request.body) for request in chat.requests]
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]

    assert done.code == 0, done.err
    assert [each["title"] for each in told] == [f"bulk-issue worker on {socket.gethostname()}: done (exit code 0)"] * 2
    assert "3 rows: 3 issued" in told[0]["message"] and "5 rows: 5 issued" in told[1]["message"]
    assert [line["event"] for line in lines if line["event"] not in ("note", "progress")] == [
        *("began", "job_ended", "job_ended", "ended"),
    ]
    assert 'state="issued"} 5' in metrics.read_text(encoding="utf-8")
    assert 'bulk_issue_last_exit_code{entry="worker",command="worker"} 0' in metrics.read_text(encoding="utf-8")


async def test_the_second_signal_leaves_at_once(cluster: Cluster, console: Console) -> None:
    console.box.faults.script_for(f"mobile:{mobiles(1)[0]}", fault("hang-after"))
    await deferred(console, 5)
    process = await worker(console, "--timeout", 60)
    await until(lambda: console.box.book.requests() > 0)
    for _ in range(2):
        process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.1)  # two signals at once are one
    done = await ended(process)

    assert done.code == 4, done.err
    assert "Traceback" not in done.err


async def test_without_the_workers_tables_it_is_said_who_makes_them(cluster: Cluster, console: Console) -> None:
    name = cluster.database()
    console.env["BULK_ISSUE_LEDGER"] = cluster.url(name).url
    refused = await ended(await worker(console))
    console.env["BULK_ISSUE_LEDGER"] = cluster.url(name, "bulk_issue_owner").url
    made = await console("worker", "--set-up")

    assert refused.code == 7
    assert "--set-up" in refused.err
    assert made.code == 0, made.err


def test_whoever_has_no_workers_loads_nothing_of_them(tmp_path: Path) -> None:
    program = (
        "import sys\nimport bulk_issue.app, bulk_issue.cli.workers\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules} | {n for n in sys.modules if 'engine' in n}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert {"procrastinate", "croniter", "psycopg", "bulk_issue.engine"} & set(done.stdout.split()) == set()


def test_a_missing_engine_is_named_with_its_extra(tmp_path: Path) -> None:
    program = (
        "import sys\nsys.modules['procrastinate'] = None\nfrom bulk_issue.cli import main\n"
        "sys.argv = ['bulk-issue', 'worker', '--ledger', 'postgresql://ann@127.0.0.1:1/x', '--user', 'a',"
        " '--base-url', 'http://127.0.0.1:1']\nmain()\n"
    )
    environment = os.environ | {"BULK_ISSUE_PASSWORD": "x"}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=False, env=environment
    )

    assert done.returncode == 2, done.stderr
    assert "bulk-issue[workers]" in done.stderr


async def test_workers_need_a_ledger_that_can_be_shared(console: Console) -> None:
    console.env["BULK_ISSUE_LEDGER"] = str(console.folder / "ledger.db")
    file = console.customers("c.csv", mobiles(3))
    for command in (("worker",), ("defer", file, "--series", console.box.series_id)):
        done = await console(*command)
        assert done.code == 2
        assert "postgresql://" in done.err
