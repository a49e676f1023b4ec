"""The commands that look after the ledger itself. None of them talks to Capillary."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from bulk_issue.cli import frame, nexts
from bulk_issue.cli import options as opt
from bulk_issue.commands import command
from bulk_issue.ending import ExitCode
from bulk_issue.errors import ConfigError
from bulk_issue.saying import count

if TYPE_CHECKING:
    from bulk_issue.app.care import Restored
    from bulk_issue.config import LedgerUrl

F = TypeVar("F", bound=Callable[..., object])

#: Seconds: what was issued a moment ago may still have to be told apart from what is being issued.
YOUNGEST = 24 * 3600.0

nothing_since_option: Callable[[F], F] = opt.option(
    "--nothing-since",
    default="",
    metavar="WHY",
    help="Nothing was issued since the backup, and how you know: e.g. moved to a new machine. Kept with your name.",
)


@click.group()
def ledger() -> None:
    """Look after the ledger: the record of what was sent."""


@ledger.command()
@opt.ledger_option
def path(ledger: Path | LedgerUrl) -> int:
    """Print where the ledger is."""
    frame.say(str(ledger))
    return ExitCode.DONE


@ledger.command()
@opt.ledger_option
@opt.json_option("For machines: one JSON object a finding.")
def check(ledger: Path | LedgerUrl, as_json: bool) -> int:  # noqa: FBT001 - click passes flags so
    """Look whether the ledger is sound. Changes nothing; exit code 7 if it isn't."""
    from bulk_issue.app import care
    from bulk_issue.findings import Grade

    found = frame.in_loop(lambda _asked: care.check(ledger))
    for each in found:
        if as_json:
            frame.say_facts(asdict(each))
            continue
        frame.say(f"{each.grade:<7}  {each.said}")
        if each.remedy:
            frame.say(f"{'':<7}  {each.remedy}")
    return ExitCode.TROUBLE if any(each.grade is Grade.FAILED for each in found) else ExitCode.DONE


@ledger.command()
@click.argument("to", metavar="FILE", type=click.Path())  # as it was written: a / at its end means a folder
@opt.ledger_option
def backup(to: str, ledger: Path | LedgerUrl) -> int:
    """Copy the ledger to FILE, or into a folder that is there, under a name with the time. Safe while jobs run.

    The copy is complete, checked and readable by you only. It holds the customers of your files: keep it as well
    as the ledger, and on another disk.
    """
    from bulk_issue.app import care

    frame.say(str(frame.in_loop(lambda _asked: care.backup(ledger, to))))
    return ExitCode.DONE


@ledger.command()
@click.argument("source", metavar="BACKUP", type=click.Path(path_type=Path))
@opt.ledger_option
@opt.option("--replace", is_flag=True, help="Replace a ledger that is there and sound. A copy of it is kept.")
@nothing_since_option
def restore(source: Path, ledger: Path | LedgerUrl, replace: bool, nothing_since: str) -> int:  # noqa: FBT001 - as click passes it
    """Put BACKUP in the ledger's place. Refused while others have the ledger open.

    What was issued since the backup isn't known to it. So every row that might be sent is in doubt from then on, and
    is settled from Capillary's record before anything is sent for it; the rows of files that are run later, too.
    """
    from bulk_issue.app import care

    done = frame.in_loop(lambda _asked: care.restore(ledger, source, replace=replace, nothing_since=nothing_since))
    if done.kept:
        frame.say(f"What was there before is kept: {done.kept}")
    frame.say_all(_restored_words(done.restored, ledger, known=bool(nothing_since)))
    return ExitCode.DONE


@ledger.command()
@opt.ledger_option
@nothing_since_option
def reopen(ledger: Path | LedgerUrl, nothing_since: str) -> int:
    """Say that the ledger was put back from a backup by other means: pg_restore, a copy of the machine's disk.

    Does to its rows what `restore` does: nothing that might have been sent since is sent without a look first.
    """
    from bulk_issue.app import care

    done = frame.in_loop(lambda _asked: care.reopen(ledger, nothing_since=nothing_since))
    frame.say_all(_restored_words(done, ledger, known=bool(nothing_since)))
    return ExitCode.DONE


def _restored_words(done: Restored, ledger: Path | LedgerUrl, *, known: bool) -> Iterator[str]:
    rows = sum(done.doubtful.values())
    since = datetime.fromtimestamp(done.since).astimezone()
    yield f"Restored {ledger}: {count(done.jobs, 'job')}, as of {since:%F %T %z}."
    if known:
        yield f"Nothing was issued since then, as you say. In doubt already: {count(rows, 'row')}."
        return
    yield f"What was issued since then isn't known. In doubt until Capillary's record was asked: {count(rows, 'row')}."
    if rows:
        yield "Next, for each of these jobs (two look-ups a row, 300 a minute):"
    for job, its in done.doubtful.items():
        yield f"  {nexts.here()('resume', job, '--reconcile-for', '12h')}   ({count(its, 'row')})"
    yield "Then run again every file that was run since the backup: its customers are looked up before they are sent."
    yield f"When all that was issued since is accounted for: {command('ledger', 'trust', '--why', 'WHY')}"


@ledger.command()
@opt.ledger_option
@opt.option("--why", default="", help="How you know. Needed, and kept with your name and the time.")
def trust(ledger: Path | LedgerUrl, why: str) -> int:
    """Say that all that was issued between a backup and its restore is accounted for.

    From then on new rows are sent without a look first. Rows that are in doubt stay so until they are settled.
    """
    from bulk_issue.app import care

    if not why.strip():
        raise ConfigError(
            "--why is missing", hint="Nothing was recorded. Say how you know, e.g. --why 'all files ran again'."
        )
    rows = frame.in_loop(lambda _asked: care.trust(ledger, why))
    if rows is None:
        frame.say("This ledger was not restored, or all is accounted for already.")
    else:
        frame.say(f"Recorded. {count(rows, 'row')} freed of the look before the send; rows in doubt stay in doubt.")
    return ExitCode.DONE


@ledger.command()
@opt.ledger_option
@opt.option("--older-than", type=opt.Duration(), required=True, help="Only jobs that ended so long ago, e.g. 90d.")
def purge(ledger: Path | LedgerUrl, older_than: float) -> int:
    """Forget the customers and coupon codes of finished jobs. This can't be taken back.

    What stays: counts, error codes, times; and who was served, as keyed hashes, so that nobody is issued twice. What
    goes: every cell, identifier and coupon code. Purged jobs can't be exported or retried any more. Result files and
    backups are yours to delete.
    """
    from bulk_issue.app import care

    if older_than < YOUNGEST:
        raise ConfigError("--older-than is less than a day", hint="Nothing was forgotten. Write e.g. 90d.")
    done = frame.in_loop(lambda _asked: care.purge(ledger, older_than))
    for job in done.jobs:
        ended = datetime.fromtimestamp(job.ended).astimezone()
        frame.say(f"{job.job}: {count(job.rows, 'row')} forgotten (ended {ended:%F})")
    frame.say(f"{count(len(done.jobs), 'job')} purged. Backups and result files still hold what they held.")
    if not done.compacted:
        frame.say("Others use the ledger now: run this again when nothing runs, to clear the file's free pages.")
    return ExitCode.DONE


@ledger.command()
@opt.option(
    "--ledger",
    "--from",
    "ledger",
    type=opt.LedgerPlace(),
    default=opt.default_ledger,
    show_default="one per user of this machine",
    help="The ledger's file.",
)
@opt.option(
    "--to",
    "target",
    type=opt.LedgerPlace(),
    required=True,
    of="copy",
    help="An empty database: postgresql://USER@HOST/DATABASE.",
)
def copy(ledger: Path | LedgerUrl, target: Path | LedgerUrl) -> int:
    """Move the ledger from its file into PostgreSQL, for several hosts. Refused while a job runs.

    Every row is read back and compared before the database's transaction is committed. From then on the file refuses
    every change: two ledgers in use would issue twice. If this is cut short, run the same command again.
    """
    from bulk_issue.app import moving

    copied = frame.in_loop(lambda _asked: moving.copy(ledger, target))
    if copied is None:
        frame.say(f"The ledger was in {target} already, every row of it: the last copy was cut short at its very end.")
    else:
        frame.say(f"{count(sum(copied.values()), 'row')} copied to {target}, and each compared with its original:")
        frame.say_all(f"  {name:<10}  {rows:>12,}" for name, rows in copied.items() if rows)
    frame.say(f"{ledger} can be read, but not be changed any more. From now on, everywhere: --ledger {target}")
    return ExitCode.DONE
