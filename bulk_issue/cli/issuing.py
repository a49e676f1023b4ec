"""The commands that talk to Capillary: `run`, `check`, `resume`, `retry`, `reconcile`, `audit`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bulk_issue.cli import frame, header, nexts, session, values
from bulk_issue.cli import options as opt
from bulk_issue.cli.telling import Told
from bulk_issue.ending import ExitCode
from bulk_issue.errors import ConfigError
from bulk_issue.saying import count

if TYPE_CHECKING:
    from bulk_issue.app import Desk, Report
    from bulk_issue.config import Reading
    from bulk_issue.model import Job


@click.command(cls=Told)
@click.argument("file", type=click.Path(path_type=Path))
@opt.option("--series", type=int, required=True, help="The coupon series.")
@opt.option("--again", default="", help="Issue again to customers who were served: a name for this occasion.")
@opt.account_options
@opt.reading_options
@opt.limit_options
@opt.files_options
@opt.ledger_option
@opt.tell_options
@opt.talk_options
def run(file: Path, series: int, again: str, **options: Any) -> int:
    """Issue a coupon to each customer of FILE (CSV or Excel), or go on with it."""

    def issue(reading: Reading, _said: list[str]) -> int:
        config = values.config(options, series, again, reading=reading)
        return session.shown(options, config, lambda desk: desk.run(file, session.talk(options, config)))

    return header.settled(options, values.reading(options), issue)


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@opt.option("--series", type=int, help="The coupon series; without it only the file is checked.")
@opt.option("--again", default="", help="The name under which customers are served again.")
@opt.account_options
@opt.reading_options
@opt.limit_options
@opt.ledger_option
@opt.json_option("For machines.")
def check(file: Path, series: int | None, again: str, **options: Any) -> int:
    """Show what FILE holds and what a run would do. Issues nothing.

    Ends with 0 (clean), 1 (problems in rows, or stock or validity can't last), 2 (the file can't be read, or
    credentials or series are refused) or 3 (Capillary can't be asked).
    """
    from bulk_issue import app, before
    from bulk_issue.outlook import Plan

    def look(reading: Reading, _said: list[str]) -> int:
        config = values.config(options, series, again, reading=reading) if series is not None else None
        plan = Plan.of(config) if config else values.plan(options)
        checked = frame.in_loop(lambda _asked: app.check(file, reading, config, plan, values.omit(options)))
        if options["as_json"]:
            frame.say_facts(before.check_facts(checked), indent=2)
        else:
            frame.say_all(before.check_words(checked, plan, heading=str(file)))
        assert checked.survey is not None
        if checked.outlook.rows and checked.series is not None and checked.series.closed:
            raise ConfigError(
                f"series {checked.series.id} {checked.series.closed}: nothing can be issued from it",
                hint="Nothing was issued. Extend it in Capillary, or take another series.",
            )
        return ExitCode.FAILURES if checked.survey.problems or checked.outlook.short else ExitCode.DONE

    return header.settled(options, values.reading(options), look)


# --- go on with a job -------------------------------------------------------------------------------------------


def _job_command(name: str, *, required: bool, issues: bool = True) -> Callable[[Callable[..., int]], click.Command]:
    """What the commands that go on with a registered job have in common."""
    return lambda command: click.command(name, cls=Told)(
        click.argument("job", required=required)(
            opt.stacked(
                opt.account_options,
                *(opt.omit_options if issues else ()),
                opt.limit_options,
                opt.files_options,
                opt.ledger_option,
                opt.tell_options,
                opt.talk_options,
            )(command)
        )
    )


@_job_command("resume", required=False)
def resume(job: str | None, **options: Any) -> int:
    """Go on with JOB without its file; without JOB, with the only one that isn't finished."""
    return _resume(job, options)


@opt.option("--code", "codes", multiple=True, help="Only rows rejected with this error code. May be repeated.")
@opt.option("--cancelled", is_flag=True, help="The rows that were cancelled, in place of the rejected ones.")
def _retry(job: str, codes: tuple[str, ...], cancelled: bool, **options: Any) -> int:  # noqa: FBT001 - click passes flags so
    """Issue JOB's rejected rows once more, all or by --code, or those that were cancelled. Others stay as they are."""
    if cancelled and codes:
        raise click.UsageError("--cancelled and --code exclude one another: cancelled rows have no error code.")

    async def put_back(desk: Desk, found: Job) -> list[Report]:
        return await desk.retry(found, session.talk(options, desk.config), codes, cancelled=cancelled)

    return _on_job(job, options, put_back)


retry = _job_command("retry", required=True)(_retry)


@opt.option(
    "--decisions",
    type=click.Path(path_type=Path, dir_okay=False),
    help="in_doubt.csv with its _decision column filled in: `issued CODE` or `not issued`.",
)
@opt.option("--why", default="", help="Why you decided so; kept with the decisions.")
def _reconcile(job: str, decisions: Path | None, why: str, **options: Any) -> int:
    """Settle JOB's rows in doubt from Capillary's record, or by a person's --decisions. Issues nothing."""
    from bulk_issue import app

    async def settle(desk: Desk, found: Job) -> list[Report]:
        if decisions is not None:
            landed, late = await desk.decide(found, decisions, app.who(), why)
            too_late = f", {count(late, 'row')} settled already" if late else ""
            frame.say(f"{count(landed, 'decision')} recorded{too_late}", err=True)
        return await desk.reconcile(found)

    return _on_job(job, options, settle)


reconcile = _job_command("reconcile", required=True, issues=False)(_reconcile)


@click.command()
@click.argument("job")
@opt.option("--sample", type=click.IntRange(min=1), help="Only this number of rows, chosen at random.")
@opt.account_options
@opt.limit_options
@opt.ledger_option
@opt.talk_options
def audit(job: str, sample: int | None, **options: Any) -> int:
    """Read the coupons of JOB's issued rows back from Capillary and compare. Issues nothing.

    A coupon that shouldn't be there is recorded (exit code 5); one that isn't there, or can't be read, is told (1).
    """
    from bulk_issue import app
    from bulk_issue.cli import words
    from bulk_issue.progress import Reporter

    found, config = session.job_and_config(job, options)
    with Reporter(quiet=options["quiet"], as_json=options["as_json"], completed=frame.completed) as reporter:

        async def read_back(asked: asyncio.Event) -> tuple[app.Audited, bool]:
            async with app.desk(config, reporter, asked, app.Files()) as desk:
                return await desk.audit(found, sample), asked.is_set()

        audited, stopped = frame.in_loop(read_back)
    if options["as_json"]:
        frame.say_facts(words.audit_facts(found.spec.id, audited, stopped=stopped))
    else:
        frame.say_all(words.audit_words(found.spec.id, audited, nexts.here(), stopped=stopped))
    if stopped:
        return ExitCode.ASKED
    if audited.counts[app.Seen.EXCESS]:
        return ExitCode.DOUBT
    return ExitCode.FAILURES if audited.remarkable else ExitCode.DONE


def _resume(job: str | None, options: dict[str, Any]) -> int:
    async def go_on(desk: Desk, found: Job) -> list[Report]:
        return await desk.resume(found, session.talk(options, desk.config))

    return _on_job(job, options, go_on)


def _on_job(job: str | None, options: dict[str, Any], work: Callable[[Desk, Job], Awaitable[list[Report]]]) -> int:
    """Find the job, take its series and name, and work on it."""
    found, config = session.job_and_config(job, options)
    return session.shown(options, config, lambda desk: work(desk, found))
