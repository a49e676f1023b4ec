"""The command line: arguments in, words and an exit code out. Everything else is `app`'s.

Importing this module loads neither pandas nor aiohttp nor SQLAlchemy: `--help` answers at once, and each command
imports what it needs.
"""

from __future__ import annotations

import asyncio
import getpass
import json
import sys
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from bulk_issue import __version__
from bulk_issue.cli import frame
from bulk_issue.cli import options as opt
from bulk_issue.ending import ExitCode, heaviest
from bulk_issue.errors import ConfigError

if TYPE_CHECKING:
    from bulk_issue.app import Checked, Desk, Files, Report, Talk
    from bulk_issue.config import Config, LedgerUrl
    from bulk_issue.ledger import SqliteLedger
    from bulk_issue.model import Job
    from bulk_issue.ports import JobSummary
    from bulk_issue.survey import Difference


def main() -> NoReturn:
    """Run a command and exit as documented, whatever happens."""
    sys.exit(frame.exit_code(commands, sys.argv[1:]))


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="bulk-issue")
def commands() -> None:
    """Issue exactly one Capillary coupon to each customer of a file.

    Running the same command again is always right: it goes on where it stopped and sends nothing twice.
    """


# --- run, check -------------------------------------------------------------------------------------------------


@commands.command()
@click.argument("file", type=click.Path(path_type=Path))
@opt.option("--series", type=int, required=True, help="The coupon series.")
@opt.option("--again", default="", help="Issue again to customers who were served: a name for this occasion.")
@opt.profile_options
@opt.account_options
@opt.reading_options
@opt.limit_options
@opt.files_options
@opt.ledger_option
@opt.talk_options
def run(file: Path, series: int, again: str, **options: Any) -> int:
    """Issue a coupon to each customer of FILE (CSV or Excel), or go on with it."""
    config = opt.config(options, series, again, reading=opt.reading(options))
    return _session(
        options,
        config,
        lambda desk: desk.run(file, _talk(options, config)),
        ["bulk-issue", *sys.argv[1:]],
    )


@commands.command()
@click.argument("file", type=click.Path(path_type=Path))
@opt.option("--series", type=int, help="The coupon series; without it only the file is checked.")
@opt.option("--again", default="", help="The name under which customers are served again.")
@opt.profile_options
@opt.account_options
@opt.reading_options
@opt.limit_options
@opt.ledger_option
@opt.json_option("For machines.")
def check(file: Path, series: int | None, again: str, **options: Any) -> int:
    """Show what FILE holds and what a run would do. Issues nothing."""
    from bulk_issue import app, before
    from bulk_issue.outlook import Plan

    reading = opt.reading(options)
    config = opt.config(options, series, again, reading=reading) if series is not None else None
    plan = Plan.of(config) if config else opt.plan(options)
    checked = frame.in_loop(lambda _asked: app.check(file, reading, config, plan))
    if options["as_json"]:
        frame.say(json.dumps(before.check_facts(checked), indent=2))
    else:
        _say(before.check_words(checked, plan, heading=str(file)))
    assert checked.survey is not None
    return ExitCode.FAILURES if checked.survey.problems or checked.outlook.short else ExitCode.DONE


# --- go on with a job -------------------------------------------------------------------------------------------


def _job_command(name: str, *, required: bool) -> Callable[[Callable[..., int]], click.Command]:
    """What the commands that go on with a registered job have in common."""
    return lambda command: commands.command(name)(
        click.argument("job", required=required)(
            opt.stacked(
                opt.profile_options,
                opt.account_options,
                opt.limit_options,
                opt.files_options,
                opt.ledger_option,
                opt.talk_options,
            )(command)
        )
    )


@_job_command("resume", required=False)
def resume(job: str | None, **options: Any) -> int:
    """Go on with JOB without its file; without JOB, with the only one that isn't finished."""
    return _resume(job, options)


@click.option("--code", "codes", multiple=True, help="Only rows rejected with this error code. May be repeated.")
def _retry(job: str, codes: tuple[str, ...], **options: Any) -> int:
    """Put JOB's rejected rows back, all or by --code, and issue them."""
    from bulk_issue import app

    async def put_back() -> int:
        async with app.opened(options["ledger"]) as ledger:
            found = _find(ledger, job)
            return await ledger.jobs.retry(found.spec.id, codes)

    rows = frame.in_loop(lambda _asked: put_back())
    if not options["quiet"]:
        frame.say(f"{rows} rejected rows are pending again.", err=True)
    return _resume(job, options)


retry = _job_command("retry", required=True)(_retry)


@click.option(
    "--decisions",
    type=click.Path(path_type=Path, dir_okay=False),
    help="in_doubt.csv with its _decision column filled in: `issued CODE` or `not issued`.",
)
@click.option("--why", default="", help="Why you decided so; kept with the decisions.")
def _reconcile(job: str, decisions: Path | None, why: str, **options: Any) -> int:
    """Settle JOB's rows in doubt from Capillary's record, or by a person's --decisions. Issues nothing."""

    async def settle(desk: Desk, found: Job) -> list[Report]:
        if decisions is not None:
            landed, late = await desk.decide(found, decisions, getpass.getuser(), why)
            frame.say(
                f"{landed} decisions recorded" + (f", {late} rows were settled already" if late else ""), err=True
            )
        return await desk.reconcile(found)

    return _on_job(job, options, settle, ["bulk-issue", "resume", job])


reconcile = _job_command("reconcile", required=True)(_reconcile)


@commands.command()
@click.argument("job")
@opt.option("--sample", type=click.IntRange(min=1), help="Only so many rows, chosen at random.")
@opt.profile_options
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

    found, config = _job_and_config(job, options)
    with Reporter(quiet=options["quiet"], as_json=options["as_json"]) as reporter:

        async def read_back(asked: asyncio.Event) -> tuple[app.Audited, bool]:
            async with app.desk(config, reporter, asked, app.Files()) as desk:
                return await desk.audit(found, sample), asked.is_set()

        audited, stopped = frame.in_loop(read_back)
    if options["as_json"]:
        frame.say(json.dumps(words.audit_facts(found.spec.id, audited, stopped=stopped)))
    else:
        _say(words.audit_words(found.spec.id, audited, stopped=stopped))
    if stopped:
        return ExitCode.ASKED
    if audited.counts[app.Seen.EXCESS]:
        return ExitCode.DOUBT
    return ExitCode.FAILURES if audited.remarkable else ExitCode.DONE


def _resume(job: str | None, options: dict[str, Any]) -> int:
    async def go_on(desk: Desk, found: Job) -> list[Report]:
        return await desk.resume(found, _talk(options, desk.config))

    return _on_job(job, options, go_on, ["bulk-issue", "resume", *([job] if job else [])])


def _on_job(
    job: str | None, options: dict[str, Any], work: Callable[[Desk, Job], Awaitable[list[Report]]], again: list[str]
) -> int:
    """Find the job, take its series and name, and work on it."""
    found, config = _job_and_config(job, options)
    return _session(options, config, lambda desk: work(desk, found), again)


def _job_and_config(job: str | None, options: dict[str, Any]) -> tuple[Job, Config]:
    """The job, and the settings with its series and name."""
    from bulk_issue import app

    async def look() -> Job:
        async with app.opened(options["ledger"]) as ledger:
            return _find(ledger, job)

    found = frame.in_loop(lambda _asked: look())
    return found, opt.config(options, found.spec.series_id, found.spec.again)


# --- without Capillary ------------------------------------------------------------------------------------------


@commands.command()
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
                one = _matching(jobs, job)
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

    _say(frame.in_loop(lambda _asked: look()))
    return ExitCode.DONE


@commands.command()
@click.argument("job")
@opt.ledger_option
def cancel(job: str, ledger: Path | LedgerUrl) -> int:
    """Put JOB's pending rows aside. Rows in doubt are still reconciled."""
    from bulk_issue import app

    async def put_aside() -> tuple[Job, int]:
        async with app.opened(ledger) as opened:
            found = _find(opened, job)
            return found, await opened.jobs.cancel(found.spec.id)

    found, rows = frame.in_loop(lambda _asked: put_aside())
    frame.say(f"Job {found.spec.id} is cancelled; {rows} rows were put aside.")
    return ExitCode.DONE


@commands.command()
@click.argument("job")
@opt.files_options
@opt.ledger_option
def export(job: str, ledger: Path | LedgerUrl, **options: Any) -> int:
    """Write JOB's files again, from the ledger alone."""
    from bulk_issue import app
    from bulk_issue.cli import words

    async def write() -> Report:
        async with app.opened(ledger) as opened:
            return await app.export(opened, _find(opened, job), _files(options))

    report = frame.in_loop(lambda _asked: write())
    _say(words.report_words(report, ["bulk-issue", "resume", report.job.spec.id]))
    return ExitCode.DONE


# --- the page ---------------------------------------------------------------------------------------------------


@commands.command()
@opt.page_options
@opt.profile_options
@opt.account_options
@opt.limit_options
@opt.ledger_option
@click.option("--set-password", is_flag=True, help="Ask for a password, write its hash to --sign-in-file, and end.")
def serve(*, set_password: bool, **options: Any) -> int:
    """Serve the upload page: campaigns without a terminal, on this machine's ledger and with this account.

    It prints an address that signs in once. Runs that were going on when it ended are gone on with.
    """
    try:
        from bulk_issue.web import access, server
    except ModuleNotFoundError as error:
        raise ConfigError(f"{error.name} isn't installed", hint="Run: pip install 'bulk-issue[web]'") from error
    if set_password:
        path = options["sign_in_file"]
        if path is None:
            raise ConfigError("--set-password needs a --sign-in-file", hint="Say which file is to hold the hash.")
        access.set_password(path, click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
        frame.say(f"The password's hash is in {path}.")
        return ExitCode.DONE
    settings = opt.page(options)
    told = lambda address: frame.say(f"Sign in once at {address}")  # noqa: E731
    frame.say(f"Ledger: {options['ledger']}", err=True)
    frame.in_loop(lambda asked: server.serve(settings, asked, told))
    return ExitCode.DONE


# --- the stand-in ------------------------------------------------------------------------------------------------


@commands.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Loopback address to listen on.")
@click.option("--port", type=int, default=8080, show_default=True, help="0 takes a free one.")
@click.option("--rate", type=int, default=300, show_default=True, help="The strict limit: so many requests (0: none) …")
@click.option("--per", type=opt.Duration(), default="60", show_default=True, help="… in any window of so long.")
@click.option("--latency", type=float, default=0.05, show_default=True, help="Seconds that an answer takes …")
@click.option("--jitter", type=float, default=0.02, show_default=True, help="… give or take so many.")
@click.option("--faults", type=click.FloatRange(0, 1), default=0.0, help="Share of requests that go wrong.")
@click.option("--seed", type=int, default=0, help="Which faults, of all that could be.")
@click.option("--book", type=click.Path(path_type=Path, dir_okay=False), help="File that keeps what was really issued.")
def sandbox(**options: Any) -> int:
    """Run a stand-in for Capillary's API on this machine, to try everything without a real coupon.

    Mobiles that end in 0701, 0721, 0740 or 0742 are refused with that code; 0709 has an older coupon of the series.
    """
    from bulk_issue.sandbox.server import Sandbox
    from bulk_issue.sandbox.settings import Settings

    host, port = options.pop("host"), options.pop("port")

    async def serve(asked: asyncio.Event) -> None:
        async with Sandbox(Settings(**options), host=host, port=port) as box:
            series = ", ".join(str(each.id) for each in box.settings.series)
            _say(
                [
                    f"Sandbox: {box.url}   (series {series}; Ctrl-C ends it)",
                    f"  Basic:  --user {box.user}   BULK_ISSUE_PASSWORD={box.password}",
                    f"  OAuth:  --client-key {box.client_key}   BULK_ISSUE_CLIENT_SECRET={box.client_secret}",
                ]
            )
            await asked.wait()

    frame.in_loop(serve, farewell="The sandbox ends.")
    return ExitCode.DONE


# --- shared -----------------------------------------------------------------------------------------------------


def _session(
    options: dict[str, Any], config: Config, work: Callable[[Desk], Awaitable[list[Report]]], again: list[str]
) -> int:
    """Run what talks to Capillary, show how it goes, say how it ended."""
    from bulk_issue import app
    from bulk_issue.cli import words
    from bulk_issue.progress import Reporter

    with Reporter(quiet=options["quiet"], as_json=options["as_json"]) as reporter:
        reporter.say(f"Ledger: {config.ledger}")

        async def session(asked: asyncio.Event) -> list[Report]:
            async with app.desk(config, reporter, asked, _files(options)) as desk:
                return await work(desk)

        reports = frame.in_loop(session)
    for report in reports:
        if options["as_json"]:
            facts = report.summary.facts() | {"counts": dict(report.written.counts), "out": str(report.out)}
            frame.say(json.dumps(facts))
        else:
            _say(words.report_words(report, again))
    return heaviest(report.ending.exit_code for report in reports)


def _files(options: dict[str, Any]) -> Files:
    from bulk_issue.app import Files
    from bulk_issue.sink import Columns, Format

    return Files(out=options["out"], columns=Columns(options["columns"]), format=Format(options["format_"]))


def _talk(options: dict[str, Any], config: Config) -> Talk:
    """How a run shows and asks. Only a terminal is asked: a cron job said what it wants by its options."""
    from bulk_issue import before
    from bulk_issue.app import Talk
    from bulk_issue.outlook import Plan
    from bulk_issue.saying import count

    asks = not (options["yes"] or options["as_json"]) and sys.stdin.isatty()

    def show(checked: Checked) -> None:
        if not options["quiet"] and not options["as_json"]:
            _say(before.check_words(checked, Plan.of(config)), err=True)

    def confirm(checked: Checked) -> bool:
        rows = checked.outlook.rows
        if rows <= options["confirm_above"] or not asks:
            return True
        return frame.ask(f"Issue {count(rows, 'coupon')} now?")

    def finish_first(earlier: JobSummary, difference: Difference) -> bool:
        if not options["as_json"]:
            _say(before.earlier_words(earlier.job.spec.id, earlier.tally, difference), err=True)
        if asks:
            return frame.ask("Finish it first?", default=True)
        if not options["as_json"]:
            frame.say("  It is finished first.", err=True)
        return True

    return Talk(show=show, confirm=confirm, finish_first=finish_first)


def _find(ledger: SqliteLedger, name: str | None) -> Job:
    """The job of this name or beginning; without a name the only unfinished one."""
    jobs = ledger.views.jobs()
    if name is not None:
        return _matching(jobs, name).job
    unfinished = [each.job for each in jobs if each.job.state in ("ready", "stopped", "running", "paused")]
    if len(unfinished) == 1:
        return unfinished[0]
    names = ", ".join(each.spec.id for each in unfinished) or "none"
    raise ConfigError(
        f"name the job: {len(unfinished)} are unfinished ({names})", hint="`bulk-issue status` lists them."
    )


def _matching(jobs: Iterable[JobSummary], name: str) -> JobSummary:
    found = [each for each in jobs if each.job.spec.id.startswith(name)]
    if len(found) == 1:
        return found[0]
    many = f"{len(found)} jobs begin with {name}" if found else f"this ledger knows no job {name}"
    raise ConfigError(many, hint="`bulk-issue status` lists them; --ledger names another ledger.")


def _say(lines: Iterable[str], *, err: bool = False) -> None:
    for line in lines:
        frame.say(line, err=err)
