"""Can it work from here? `doctor`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from bulk_issue.cli import frame, values
from bulk_issue.cli import options as opt
from bulk_issue.ending import ExitCode

if TYPE_CHECKING:
    from bulk_issue.app.doctor import Finding


@click.command()
@opt.option("--series", type=int, required=True, help="The coupon series.")
@opt.account_options
@opt.limit_options
@opt.ledger_option
@opt.json_option("For machines: one JSON object a line.")
def doctor(series: int, **options: Any) -> int:
    """Look whether a run could work from here: host, credentials, clock, series, reading back, ledger. Issues nothing.

    Ends with 0 if nothing failed (warnings leave it so), otherwise with 1.
    """
    from bulk_issue.app.doctor import ONLY_THE_CANARY, Grade, examine

    config = values.config(options, series)

    async def look() -> list[Finding]:
        return [finding async for finding in examine(config)]

    found = frame.in_loop(lambda _asked: look(), farewell="Stopping.")
    if options["as_json"]:
        frame.say_all((json.dumps(asdict(finding)) for finding in found), exact=True)
    else:
        for finding in found:
            frame.say(f"{finding.grade:<7}  {finding.what}: {finding.said}")
            if finding.remedy:
                frame.say(f"{'':<7}  {finding.remedy}")
        frame.say(ONLY_THE_CANARY)
    return ExitCode.FAILURES if any(finding.grade is Grade.FAILED for finding in found) else ExitCode.DONE
