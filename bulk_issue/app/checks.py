"""What can be known before the first issue."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from bulk_issue.app.ahead import look_alikes, served
from bulk_issue.app.checked import Checked
from bulk_issue.app.desk import desk
from bulk_issue.app.intake import intake
from bulk_issue.app.left_out import Change, foreseen, leaving_out
from bulk_issue.app.reports import Files
from bulk_issue.clock import SystemClock
from bulk_issue.commands import command
from bulk_issue.config import NOTHING_SAID, Config, Omit, Reading
from bulk_issue.errors import ConfigError
from bulk_issue.model import JobState, ReadProblem, Unreadable
from bulk_issue.outlook import Plan, outlook
from bulk_issue.ports import Observer
from bulk_issue.survey import survey


async def check(path: Path, reading: Reading, config: Config | None, plan: Plan, omit: Omit = NOTHING_SAID) -> Checked:
    """Everything that can be known before the first issue; with a `config`, also what Capillary and the ledger say.

    `omit` says whom to leave out where there is no `config`.
    """
    notes: list[str] = []
    if config is None:
        with intake(path, reading) as bare, leaving_out(bare, omit, None, None) as (file, left_out):
            counted = survey(file.chunks())
            ahead = outlook(counted.to_send, None, plan, SystemClock().now().wall)
            notes = [*file.source.notes, "Without --series, served customers and the series' facts aren't checked."]
            return Checked(
                outlook=ahead,
                columns=file.columns,
                survey=counted,
                blank=file.source.blank,
                left_out=left_out,
                held_back=look_alikes(counted),
                notes=notes,
            )
    asked, told = asyncio.Event(), notes.append
    observer: Observer = lambda progress: told(progress.message)  # noqa: E731
    async with desk(config, observer, asked, Files()) as at:
        with intake(path, reading, at.recorded) as bare:
            facts = await at.facts()
            if isinstance(facts, Unreadable):
                _answered(facts, config)
            series = at.readable(facts)
            spec = at.spec(bare, await at.org(series))
            job = await at.ledger.jobs.find(spec.id)
            with at.leaving_out(bare, job) as (file, left_out):
                counted = survey(file.chunks(), served(at.ledger, spec, left_out.alike))
                change = Change(left_out=left_out)
                if job is not None and job.state is not JobState.REGISTERING:
                    change = foreseen(at.ledger, job, config.omit)
                    notes += [change.words] if change.words else []
                checked = await at.checked(spec, series, counted, file, change=change)
            return replace(checked, notes=[*checked.notes, *notes])


def _answered(facts: Unreadable, config: Config) -> None:
    """Raise `ConfigError` where asking again changes nothing: the credentials or the series have to be others."""
    if facts.of_credentials:
        raise ConfigError(
            f"Capillary refuses the credentials ({facts.reason})",
            hint="Nothing was issued. Check user and password, or client key and secret, and that they belong to this "
            f"--base-url; {command('doctor', '--series', config.series_id)} looks closer.",
        )
    if facts.problem is ReadProblem.NOT_FOUND:
        raise ConfigError(
            f"Capillary knows no coupon series {config.series_id}", hint="Check --series; nothing was issued."
        )
