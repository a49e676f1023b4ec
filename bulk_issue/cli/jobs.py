"""The commands that need the ledger alone: `status`, `find`, `cancel`, `export`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from bulk_issue.cli import frame, session
from bulk_issue.cli import options as opt
from bulk_issue.ending import ExitCode
from bulk_issue.errors import ConfigError
from bulk_issue.model import IdentifierKind
from bulk_issue.saying import count
from bulk_issue.states import RowState

if TYPE_CHECKING:
    from bulk_issue.app import Report
    from bulk_issue.config import LedgerUrl
    from bulk_issue.ledger import SqliteLedger
    from bulk_issue.model import Job, JobId


#: Seconds between two looks of --watch.
WATCH = 2.0


@click.command()
@click.argument("job", required=False)
@opt.ledger_option
@opt.json_option("For machines.")
@opt.option("--watch", is_flag=True, help="Look every 2 seconds, until nothing runs or Ctrl-C.")
def status(job: str | None, ledger: Path | LedgerUrl, as_json: bool, watch: bool) -> int:  # noqa: FBT001 - click passes flags so
    """List all jobs, or show one: counts, failures with their remedies, requests, look-ups and runs."""
    from bulk_issue import app

    async def look(asked: asyncio.Event) -> int:
        async with app.existing(ledger) as opened:
            while True:
                lines, running = _look(opened, job, ledger, as_json=as_json)
                if watch and sys.stdout.isatty():
                    click.clear()
                frame.say_all(lines)
                if not watch or not running or asked.is_set():
                    return ExitCode.DONE
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(WATCH):
                        await asked.wait()
                        return ExitCode.DONE

    named = click.get_current_context().get_parameter_source("ledger") is ParameterSource.COMMANDLINE
    if job is None and not named and isinstance(ledger, Path) and not ledger.exists():
        frame.say_all([] if as_json else [f"No jobs yet in {ledger}."])
        return ExitCode.DONE
    return frame.in_loop(look, farewell="The watch ends; the job goes on.")


def _look(ledger: SqliteLedger, job: str | None, place: Path | LedgerUrl, *, as_json: bool) -> tuple[list[str], bool]:
    """What there is to see now, and whether any of it is running."""
    from bulk_issue.app import inquiry
    from bulk_issue.cli import standing, words

    jobs = ledger.views.jobs()
    if job is None:
        running = any(ledger.jobs.running_elsewhere(each.job.spec.id) for each in jobs)
        if as_json:
            return [json.dumps(words.as_facts(each)) for each in jobs], running
        table = list(standing.table(jobs)) or [f"No jobs yet in {place}."]
        return [*table, *standing.worker_words(ledger.views.workers())], running
    by_name = {each.job.spec.id: each for each in jobs}
    one = inquiry.standing(ledger, by_name[session.matching(by_name, job)], jobs)
    if as_json:
        facts = {**words.as_facts(one.summary, one.parents, one.reruns), "running": one.running}
        facts["workers"] = [asdict(each) for each in one.workers]
        facts |= {"reasons": one.reasons, "runs": [asdict(run) for run in one.runs], **asdict(one.history)}
        return [json.dumps(facts, indent=None if one.running else 2)], one.running
    return list(standing.job_words(one, partial(opt.carried, click.get_current_context()))), one.running


@click.command()
@opt.ledger_option
@opt.option(
    "--kind",
    type=click.Choice([str(kind) for kind in IdentifierKind]),
    help="What is asked for. Default: any identifier, or a code.",
)
@opt.json_option("For machines: one JSON object a row.")
def find(ledger: Path | LedgerUrl, kind: str | None, as_json: bool) -> int:  # noqa: FBT001 - click passes flags so
    """Say whether customers got a coupon, and where codes come from.

    Identifiers or codes are asked for, or read from the standard input, one a line; never from the command line, where
    other users could see them. Exit code 0 if a row was found for each, 1 if not.
    """
    from bulk_issue import app
    from bulk_issue.app import inquiry
    from bulk_issue.cli import standing

    app.there(ledger)
    if sys.stdin.isatty():
        frame.say("Identifier or code: ", err=True)
    try:
        lines = [sys.stdin.readline()] if sys.stdin.isatty() else sys.stdin.readlines()
    except UnicodeDecodeError:
        raise ConfigError("what was asked for isn't text", hint="Write it in UTF-8.") from None
    asked = [line.strip() for line in lines if line.strip()]
    if not asked:
        raise ConfigError("nothing was asked for", hint="Write identifiers or codes to the standard input, one a line.")
    found = frame.in_loop(lambda _asked: inquiry.find(ledger, asked, IdentifierKind(kind) if kind else None))
    for at, sightings in enumerate(found, 1):
        which = f"{at}: " if len(asked) > 1 else ""
        for each in sightings:
            frame.say(json.dumps({"asked": at} | asdict(each)) if as_json else which + standing.sighting_words(each))
        if not sightings and not as_json:
            frame.say(f"{which}This ledger knows nothing of it.")
    return ExitCode.DONE if all(found) else ExitCode.FAILURES


@click.command()
@click.argument("job")
@opt.ledger_option
def cancel(job: str, ledger: Path | LedgerUrl) -> int:
    """Put JOB's pending rows aside, for good. Rows in doubt are still reconciled."""
    from bulk_issue import app

    async def put_aside() -> tuple[Job, int, int]:
        async with app.existing(ledger) as opened:
            found = session.find(opened, job)
            rows = await opened.jobs.cancel(found.spec.id) if await opened.work.unfinished(found.spec.id) else 0
            tally = await opened.work.tally(found.spec.id)
            return found, rows, tally.get(RowState.IN_DOUBT, 0) + tally.get(RowState.IN_FLIGHT, 0)

    found, rows, doubtful = frame.in_loop(lambda _asked: put_aside())
    if not rows and not doubtful:
        frame.say(f"Job {found.spec.id} has ended and has no pending rows; nothing was changed.")
        return ExitCode.DONE
    frame.say(f"Job {found.spec.id} is cancelled; {count(rows, 'pending row')} put aside.")
    if doubtful:
        flags = "".join(f" {shlex.quote(flag)}" for flag in opt.carried(click.get_current_context(), "reconcile"))
        frame.say(
            f"  {count(doubtful, 'row')} in doubt: to be settled all the same; where no coupon came, cancelled too."
        )
        frame.say(f"Next: bulk-issue reconcile {found.spec.id}{flags}")
    return ExitCode.DONE


@click.command()
@click.argument("job")
@opt.option("--codes", is_flag=True, help="Only the issued codes, as Capillary's revoke call takes them: revoke.jsonl.")
@opt.files_options
@opt.ledger_option
def export(job: str, ledger: Path | LedgerUrl, codes: bool, **options: Any) -> int:  # noqa: FBT001 - click passes flags so
    """Write JOB's files again, from the ledger alone.

    With --codes: a plan to undo the job. Each line of revoke.jsonl is the body of one POST /v2/coupon/revoke, with at
    most 50 codes. bulk-issue itself revokes nothing.
    """
    from bulk_issue import app
    from bulk_issue.app.inquiry import revoke_plan
    from bulk_issue.cli import words

    async def plan() -> tuple[Path, int, Sequence[JobId]]:
        async with app.existing(ledger) as opened:
            return revoke_plan(opened, session.find(opened, job), options["out"])

    if codes:
        path, many, reruns = frame.in_loop(lambda _asked: plan())
        too = f", those of its reruns ({', '.join(reruns)}) among them" if reruns else ""
        frame.say(f"{path}: {count(many, 'code')}{too}. Nothing was revoked.")
        return ExitCode.DONE

    async def write() -> Report:
        async with app.existing(ledger) as opened:
            return await app.export(opened, session.find(opened, job), session.files(options))

    report = frame.in_loop(lambda _asked: write())
    carried = partial(opt.carried, click.get_current_context())
    again = ["bulk-issue", "resume", report.job.spec.id, *carried("resume")]
    frame.say_all(words.report_words(report, again, carried))
    return ExitCode.DONE
