"""The commands that need the ledger alone: `status`, `find`, `cancel`, `export`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from bulk_issue.cli import frame, nexts, session
from bulk_issue.cli import options as opt
from bulk_issue.ending import ExitCode
from bulk_issue.errors import ConfigError, LedgerError
from bulk_issue.model import IdentifierKind
from bulk_issue.saying import count, tally_words
from bulk_issue.states import RowState

if TYPE_CHECKING:
    from bulk_issue.app import Report
    from bulk_issue.config import LedgerUrl
    from bulk_issue.ledger import SqliteLedger
    from bulk_issue.model import Job, JobId, Tally


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
            _warn(opened.history.doubtful())
            while True:
                lines, running = _look(opened, job, ledger, as_json=as_json)
                if watch and sys.stdout.isatty():
                    click.clear()
                frame.say_all(lines, exact=as_json)
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


def _warn(doubt: LedgerError | None) -> None:
    if doubt is not None:
        frame.say(f"Warning: {doubt.message}.\n  {doubt.hint}", err=True)


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
    return list(standing.job_words(one, nexts.here())), one.running


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
    _warn(frame.in_loop(lambda _asked: inquiry.doubtful(ledger)))
    found = frame.in_loop(lambda _asked: inquiry.find(ledger, asked, IdentifierKind(kind) if kind else None))
    for at, sightings in enumerate(found, 1):
        which = f"{at}: " if len(asked) > 1 else ""
        for each in sightings:
            if as_json:
                frame.say_facts({"asked": at} | asdict(each))
            else:
                frame.say(which + standing.sighting_words(each), exact=True)
        if not sightings and not as_json:
            frame.say(f"{which}This ledger knows nothing of it.")
    return ExitCode.DONE if all(found) else ExitCode.FAILURES


@click.command()
@click.argument("job")
@opt.option("--why", default="", help="Why; told where the job runs, and kept with your name.")
@opt.option("--yes", is_flag=True, help="Don't ask. Needed where nobody can be asked.")
@opt.ledger_option
def cancel(job: str, why: str, yes: bool, ledger: Path | LedgerUrl) -> int:  # noqa: FBT001 - click passes flags so
    """Put JOB's pending rows aside. Rows in doubt are still reconciled.

    Asks first. `retry JOB --cancelled` takes it back.
    """
    from bulk_issue import app
    from bulk_issue.cli import words

    async def look() -> tuple[Job, Tally, bool]:
        async with app.existing(ledger) as opened:
            found = session.find(opened, job)
            tally = await opened.work.tally(found.spec.id)
            waits = await opened.work.unfinished(found.spec.id) or await opened.omissions.held_back(found.spec.id)
            return found, tally if waits else {}, opened.jobs.running_elsewhere(found.spec.id)

    async def put_aside(job: JobId) -> tuple[int, int]:
        async with app.existing(ledger) as opened:
            rows = await opened.jobs.cancel(job, app.who(), why)
            tally = await opened.work.tally(job)
            return rows, tally.get(RowState.IN_DOUBT, 0) + tally.get(RowState.IN_FLIGHT, 0)

    found, tally, running = frame.in_loop(lambda _asked: look())
    if not tally:
        frame.say(f"Job {found.spec.id} has ended and has no pending rows; nothing was changed.")
        return ExitCode.DONE
    if not yes and not _agreed(found, tally, running=running):
        frame.say("Nothing was changed.", err=True)
        return ExitCode.ASKED
    rows, doubtful = frame.in_loop(lambda _asked: put_aside(found.spec.id))
    frame.say(f"Job {found.spec.id} is cancelled; {count(rows, 'pending row')} put aside.")
    if doubtful:
        frame.say(
            f"  {count(doubtful, 'row')} in doubt: to be settled all the same; where no coupon came, cancelled too."
        )
        frame.say(f"Next: {nexts.here()('reconcile', found.spec.id)}")
    frame.say_all(words.cancelled_words(found.spec.id, rows, nexts.here()))
    return ExitCode.DONE


def _agreed(job: Job, tally: Tally, *, running: bool) -> bool:
    """Whether the person at the terminal wants it cancelled, having seen what would be lost."""
    if not sys.stdin.isatty():
        raise ConfigError(
            f"job {job.spec.id} isn't cancelled without a yes",
            hint="Nothing was changed. Where nobody can be asked, add --yes.",
        )
    pending = count(tally.get(RowState.PENDING, 0), "pending row")
    frame.say(f"Job {job.spec.id}: {Path(job.spec.path).name}, series {job.spec.series_id}", err=True)
    frame.say(f"  {tally_words(tally)}", err=True)
    if running:
        frame.say("  A process runs it now: it ends when its requests under way have ended.", err=True)
    frame.say("  Pending rows will not be sent. Coupons that were issued stay issued.", err=True)
    return frame.ask(f"Put {pending} aside?")


@click.command()
@click.argument("job")
@opt.option("--codes", is_flag=True, help="Only the issued codes, as Capillary's revoke call takes them: revoke.jsonl.")
@opt.option("--served", is_flag=True, help="Only the list to mail from: customers and their codes, served.csv.")
@opt.files_options
@opt.ledger_option
def export(job: str, ledger: Path | LedgerUrl, codes: bool, served: bool, **options: Any) -> int:  # noqa: FBT001 - click passes flags so
    """Write JOB's files again, from the ledger alone.

    With --served: one row for each customer of JOB and of its reruns who has a coupon, whether or not JOB issued it.

    With --codes: a plan to undo the job. Each line of revoke.jsonl is the body of one POST /v2/coupon/revoke, with at
    most 50 codes. bulk-issue itself revokes nothing.
    """
    from bulk_issue import app
    from bulk_issue.app.inquiry import revoke_plan
    from bulk_issue.cli import words

    if codes and served:
        raise ConfigError("--codes and --served are two lists", hint="Ask for one of them at a time.")

    async def mailing() -> app.Served:
        async with app.existing(ledger) as opened:
            return app.served(opened, session.find(opened, job), session.files(options))

    if served:
        frame.say_all(words.served_words(frame.in_loop(lambda _asked: mailing())))
        return ExitCode.DONE

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
    frame.say_all(words.report_words(report, nexts.here()))
    return ExitCode.DONE
