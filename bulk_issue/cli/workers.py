"""The commands for jobs that are left to workers: `defer`, `worker`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from bulk_issue.cli import frame, nexts, session, values
from bulk_issue.cli import options as opt
from bulk_issue.cli.telling import Telling, ToldByJob
from bulk_issue.ending import ExitCode
from bulk_issue.errors import BulkIssueError, ConfigError
from bulk_issue.saying import count

if TYPE_CHECKING:
    from bulk_issue.app import Report
    from bulk_issue.job import Ending
    from bulk_issue.model import Job
    from bulk_issue.sink import Summary


def _unless_job(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    """What a file must be given with; a job knows it, whatever the environment says."""
    if value is None and ctx.params.get("job") is None:
        raise click.MissingParameter(ctx=ctx, param=param)
    return value


def _one_worker(ctx: click.Context, _param: click.Parameter, value: object) -> None:
    """Refuse to be told how many workers run a job: it is one."""
    if value is not None:
        raise click.UsageError(
            "A job is run by one worker, so --workers (workers =) is gone: leave it out. Several workers run several "
            "jobs at once; all of an account share its limit.",
            ctx,
        )


@click.command()
@click.argument("file", type=click.Path(path_type=Path), required=False, callback=_unless_job)
@opt.option("--series", type=int, callback=_unless_job, help="The coupon series.")
@opt.option("--again", default="", help="Issue again to customers who were served: a name for this occasion.")
@opt.option(
    "--job",
    is_eager=True,
    help="In place of FILE and what is said of it: a job that is registered already, e.g. one that was stopped.",
)
@opt.option("--workers", hidden=True, expose_value=False, callback=_one_worker, help="Gone: one worker runs a job.")
@opt.account_options
@opt.reading_options
@opt.rate_options
@opt.ledger_option
@opt.talk_options
def defer(file: Path | None, series: int, again: str, job: str | None, **options: Any) -> int:
    """Leave FILE to the workers: check and register it here, issue its coupons there.

    The ledger must be in PostgreSQL; the workers are those of the same account (`bulk-issue worker`). Settings of
    speed and safety are theirs; --rate and --per are for the forecast. Deferred again, as FILE or as --job, a job that
    was stopped goes on.
    """
    from bulk_issue.app import workers as left
    from bulk_issue.progress import Reporter

    what: Path | Job
    if file is not None and job is None:
        what, config = file, values.config(options, series, again, reading=values.reading(options))
    else:
        _refuse_of_a_file(click.get_current_context())
        what, config = session.job_and_config(job, options)
    with Reporter(quiet=options["quiet"], as_json=options["as_json"], completed=frame.completed) as reporter:

        async def leave(asked: asyncio.Event) -> list[Job]:
            talk = session.talk(options, config, deferred=True)
            return await left.defer(config, what, talk, reporter, asked)

        jobs = frame.in_loop(leave)
        for each in jobs:
            reporter.say(f"Job {each.spec.id}, {count(each.rows, 'row')}: left to workers; one of them runs it.")
            reporter.say(f"Next: {nexts.here()('status', each.spec.id)}")
        if not jobs:
            reporter.say("Nothing of it is left to do: nothing was deferred.")
    return ExitCode.DONE


def _refuse_of_a_file(ctx: click.Context) -> None:
    """A job goes on as it was registered: what says how a file is read would change nothing."""
    root = ctx.find_root().command
    assert isinstance(root, click.Group)
    known = {param.name for param in root.commands["resume"].params}
    for param in ctx.command.params:
        if param.name not in known and ctx.get_parameter_source(str(param.name)) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{param.get_error_hint(ctx)} is said of a file, and --job goes on without it.", ctx)


@click.command(cls=ToldByJob)
@opt.account_options
@opt.limit_options
@opt.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the result files, one for each job in it. Default: beside the input, if that is there.",
)
@opt.option("--set-up", is_flag=True, help="Make the workers' tables, once, as the owner of the ledger's, and end.")
@opt.ledger_option
@opt.tell_options
@opt.talk_options
def worker(*, set_up: bool, **options: Any) -> int:
    """Work on the deferred jobs of this account, until SIGTERM or Ctrl-C: requests under way end, others go on.

    It runs one job at a time. Start one or more on each host, under a service manager: without its database for a
    minute it ends with exit code 7.
    It also defers what the settings schedule: [[schedule]] entries of --config, each once, however many workers wait.
    """
    from bulk_issue.app import workers as left
    from bulk_issue.cli import schedule, words
    from bulk_issue.progress import Reporter

    if options["first"] is not None:
        raise ConfigError(
            "--first isn't for workers",
            hint="Leave it out; `run` sends a part of a file.",
        )
    if set_up:
        frame.in_loop(lambda _asked: left.set_up(options["ledger"]))
        frame.say("The workers' tables are there.")
        return ExitCode.DONE
    context = click.get_current_context()
    config = values.config(options, 1)  # the series is each job's own
    scheduled = schedule.entries(context, defer)
    told = context.find_object(Telling)
    assert told is not None

    async def ended(ending: Ending, summary: Summary) -> None:
        await asyncio.to_thread(told.job_ended, ending, summary)  # whoever has to be told may be slow

    async def given_up(what: str, error: BulkIssueError) -> None:
        await asyncio.to_thread(told.failed, what, error)

    def reported(report: Report) -> None:
        frame.say_all(words.report_words(report, nexts.Next(context), ("defer", "--job")))

    with Reporter(quiet=options["quiet"], as_json=options["as_json"], completed=frame.completed) as reporter:
        reporter.say(f"Ledger: {config.ledger}")

        async def work(asked: asyncio.Event) -> ExitCode:
            return await left.Worker(
                config=config,
                observer=told.observing(reporter),
                asked=asked,
                out=options["out"],
                on_report=reported,
                on_end=ended,
                on_given_up=given_up,
                schedule=scheduled,
            ).work()

        return frame.in_loop(work)
