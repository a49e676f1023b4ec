"""What commands share: a run that is shown and reported, the questions before it, and which job is meant."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from bulk_issue.cli import frame, nexts, values
from bulk_issue.cli.telling import Telling
from bulk_issue.commands import command
from bulk_issue.ending import heaviest
from bulk_issue.errors import ConfigError

if TYPE_CHECKING:
    from bulk_issue.app import Checked, Desk, Files, Report, Talk
    from bulk_issue.config import Config
    from bulk_issue.errors import AgreementChanged
    from bulk_issue.ledger import SqliteLedger
    from bulk_issue.model import Alike, Job, JobId, Removed
    from bulk_issue.ports import JobSummary
    from bulk_issue.survey import Difference


#: Characters of a job's name that are enough to mean it.
SHORTEST = 4


def shown(options: dict[str, Any], config: Config, work: Callable[[Desk], Awaitable[list[Report]]]) -> int:
    """Run what talks to Capillary, show how it goes, say how it ended."""
    from bulk_issue import app
    from bulk_issue.cli import words
    from bulk_issue.progress import Reporter

    context = click.get_current_context()
    told = context.find_object(Telling)
    with Reporter(quiet=options["quiet"], as_json=options["as_json"], completed=frame.completed) as reporter:
        reporter.say(f"Ledger: {config.ledger}")

        async def session(asked: asyncio.Event) -> list[Report]:
            observer = told.observing(reporter) if told else reporter
            async with app.desk(config, observer, asked, files(options)) as desk:
                return await work(desk)

        reports = frame.in_loop(session)
    if told:
        for report in reports:
            told.job_ended(report.ending, report.summary)
    for report in reports:
        if options["as_json"]:
            facts = report.summary.facts() | {"counts": dict(report.written.counts), "out": str(report.out)}
            frame.say_facts(facts)
        else:
            frame.say_all(words.report_words(report, nexts.Next(context)))
    return heaviest(report.ending.exit_code for report in reports)


def files(options: dict[str, Any]) -> Files:
    """Where result files go, and what is in them."""
    from bulk_issue.app import Files
    from bulk_issue.sink import Columns, Format

    return Files(out=options["out"], columns=Columns(options["columns"]), format=Format(options["format_"]))


def talk(options: dict[str, Any], config: Config, *, deferred: bool = False) -> Talk:
    """How a run shows and asks. Only a terminal is asked: a cron job said what it wants by its options."""
    from bulk_issue import before
    from bulk_issue.app import Talk
    from bulk_issue.model import Alike, Removed
    from bulk_issue.outlook import Plan
    from bulk_issue.saying import count

    asks = not (options["yes"] or options["as_json"]) and sys.stdin.isatty()

    def show(checked: Checked) -> None:
        if not options["quiet"] and not options["as_json"]:
            frame.say_all(before.check_words(checked, replace(Plan.of(config), deferred=deferred)), err=True)

    def alike(checked: Checked) -> Alike | None:
        if not asks:
            return None
        frame.say_all(before.look_alike_words(checked), err=True)
        word = frame.choose(
            "Are they the same people (skip: leave them out), or others (send)? hold: not now",
            [*map(str, Alike), "hold"],
            default="hold",
        )
        return Alike(word) if word and word != "hold" else None

    def confirm(checked: Checked, changed: AgreementChanged | None) -> bool:
        rows = checked.outlook.rows
        if changed is not None:
            frame.say(f"Since you were asked, {changed.message}.", err=True)
        unusual = changed is not None or checked.new_occasion
        if not asks or (rows <= options["confirm_above"] and not unusual):
            return True
        return frame.ask(f"Issue {count(rows, 'coupon')} now?")

    def changed(earlier: JobSummary, found: Difference, removed: Sequence[int]) -> Removed | None:
        if not options["as_json"]:
            frame.say_all(before.earlier_words(earlier.job.spec.id, earlier.tally, found, removed), err=True)
        if not asks:
            return Talk().changed(earlier, found, removed)
        word = frame.choose(
            f"{count(len(removed), 'removed customer')}: send to them too (finish), send them nothing (drop), decide "
            "later and go on with the others (hold), or stop",
            [*map(str, Removed), "stop"],
            default="stop",
        )
        return Removed(word) if word and word != "stop" else None

    return Talk(show=show, alike=alike, confirm=confirm, changed=changed)


def find(ledger: SqliteLedger, name: str | None) -> Job:
    """The job of this name or beginning; without a name the only unfinished one."""
    jobs = {job.spec.id: job for job in ledger.views.known()}
    if name is not None:
        return jobs[matching(jobs, name)]
    unfinished = [job for job in jobs.values() if job.state in ("ready", "stopped", "running", "paused")]
    if len(unfinished) == 1:
        return unfinished[0]
    names = ", ".join(each.spec.id for each in unfinished) or "none"
    raise ConfigError(
        f"name the job: {len(unfinished)} are unfinished ({names})", hint=f"{command('status')} lists them."
    )


def matching(jobs: Iterable[JobId], name: str) -> JobId:
    """The one job of this name or beginning."""
    if len(name) < SHORTEST:  # `cancel "$JOB"` with an empty variable would mean whatever job there is
        raise ConfigError(f"{name!r} is too short for a job", hint=f"Write {SHORTEST} characters of it at least.")
    found = [job for job in jobs if job.startswith(name)]
    if len(found) == 1:
        return found[0]
    many = f"{len(found)} jobs begin with {name}" if found else f"this ledger knows no job {name}"
    raise ConfigError(many, hint=f"{command('status')} lists them; --ledger names another ledger.")


def job_and_config(job: str | None, options: dict[str, Any]) -> tuple[Job, Config]:
    """The job, and the settings with its series and name."""
    from bulk_issue import app

    async def look() -> Job:
        async with app.existing(options["ledger"]) as ledger:
            return find(ledger, job)

    found = frame.in_loop(lambda _asked: look())
    return found, values.config(options, found.spec.series_id, found.spec.again)
