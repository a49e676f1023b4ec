"""The commands that need the ledger alone: `status`, `cancel`, `export`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bulk_issue.cli import frame, session
from bulk_issue.cli import options as opt
from bulk_issue.ending import ExitCode
from bulk_issue.model import JobState
from bulk_issue.saying import count

if TYPE_CHECKING:
    from bulk_issue.app import Report
    from bulk_issue.config import LedgerUrl
    from bulk_issue.model import Job


@click.command()
@click.argument("job", required=False)
@opt.ledger_option
@opt.json_option("For machines.")
def status(job: str | None, ledger: Path | LedgerUrl, as_json: bool) -> int:  # noqa: FBT001 - click passes flags so
    """List all jobs, or show one."""
    from bulk_issue import app
    from bulk_issue.cli import words

    async def look() -> Iterable[str]:
        async with app.opened(ledger) as opened:
            jobs = opened.views.jobs()
            if job is not None:
                one = session.matching(jobs, job)
                name, views = one.job.spec.id, opened.views
                by_name = {each.job.spec.id: each for each in jobs}
                story = [[by_name[other] for other in others] for others in (views.parents(name), views.reruns(name))]
                if as_json:
                    return [json.dumps(words.as_facts(one, *story), indent=2)]
                running = opened.jobs.running_elsewhere(name)
                parents, reruns = story
                return list(words.job_words(one, views.reasons(name), running=running, parents=parents, reruns=reruns))
            if as_json:
                return [json.dumps(words.as_facts(each)) for each in jobs]
            return list(words.jobs_table(jobs)) or [f"No jobs yet in {ledger}."]

    frame.say_all(frame.in_loop(lambda _asked: look()))
    return ExitCode.DONE


@click.command()
@click.argument("job")
@opt.ledger_option
def cancel(job: str, ledger: Path | LedgerUrl) -> int:
    """Put JOB's pending rows aside. Rows in doubt are still reconciled."""
    from bulk_issue import app

    async def put_aside() -> tuple[Job, int]:
        async with app.opened(ledger) as opened:
            found = session.find(opened, job)
            if found.state is JobState.ENDED:
                return found, 0
            return found, await opened.jobs.cancel(found.spec.id)

    found, rows = frame.in_loop(lambda _asked: put_aside())
    if found.state is JobState.ENDED:
        frame.say(f"Job {found.spec.id} has ended and has no pending rows; nothing was changed.")
    else:
        frame.say(f"Job {found.spec.id} is cancelled; {count(rows, 'pending row')} put aside.")
    return ExitCode.DONE


@click.command()
@click.argument("job")
@opt.files_options
@opt.ledger_option
def export(job: str, ledger: Path | LedgerUrl, **options: Any) -> int:
    """Write JOB's files again, from the ledger alone."""
    from bulk_issue import app
    from bulk_issue.cli import words

    async def write() -> Report:
        async with app.opened(ledger) as opened:
            return await app.export(opened, session.find(opened, job), session.files(options))

    report = frame.in_loop(lambda _asked: write())
    where = opt.where(click.get_current_context())
    frame.say_all(words.report_words(report, ["bulk-issue", "resume", report.job.spec.id, *where], where))
    return ExitCode.DONE
