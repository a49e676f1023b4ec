"""bulk-issue as a library: the same run as the command line's, as one call.

    from pathlib import Path
    from bulk_issue import Account, Config, issue

    config = Config(
        account=Account(base_url="https://eu.api.capillarytech.com", user="till01", password=...),
        series_id=544770,
        ledger=Path("/var/lib/campaigns/ledger.db"),
    )
    reports = issue("customers.csv", config, on_progress=lambda progress: print(progress.phase))

Everything that holds for `bulk-issue run` holds here: calling it again with the same customers goes on where it
stopped and sends nothing twice, as long as the ledger is the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from bulk_issue.app import campaign
from bulk_issue.app.campaign import Customers
from bulk_issue.app.reports import Files, Report
from bulk_issue.config import Account, Config, Omit, Pace, Reading, Share
from bulk_issue.ending import ExitCode
from bulk_issue.errors import BulkIssueError
from bulk_issue.model import Alike, IdentifierKind
from bulk_issue.ports import Progress, ResultRow
from bulk_issue.states import RowState


async def issue_async(
    customers: Customers,
    config: Config,
    *,
    out: Path | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    on_row: Callable[[ResultRow], None] | None = None,
    stop: asyncio.Event | None = None,
) -> list[Report]:
    """Issue exactly one coupon to each customer, or go on with it.

    `customers` is a file (CSV or a workbook), or an iterable of mappings from column to cell; those are kept as a
    private file in `out`. `out` is the folder of the result files, by default beside the input. `on_progress` is told
    about twice a second how the run goes, `on_row` at the end how each row stands; both on the event loop. When `stop`
    is set, nothing new is sent, and what is under way ends. Nobody is asked anything: unfinished jobs of earlier
    contents of the same file are finished first.

    There is a report for each job, the last one for these customers (or for an earlier content, if that couldn't be
    finished). `Report.ending.exit_code` says how it ended, as the command line's exit code does. Raises
    `BulkIssueError` where the run can't go on; its `hint` says what to do.
    """

    def tell(progress: Progress) -> None:
        if on_progress is not None:
            on_progress(progress)

    return await campaign.issue(
        customers,
        config,
        files=Files(out=out),
        observer=tell,
        asked=stop or asyncio.Event(),
        on_row=on_row,
    )


def issue(
    customers: Customers,
    config: Config,
    *,
    out: Path | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    on_row: Callable[[ResultRow], None] | None = None,
) -> list[Report]:
    """`issue_async` for programs without an event loop; returns when the run has ended."""
    return asyncio.run(issue_async(customers, config, out=out, on_progress=on_progress, on_row=on_row))


__all__ = [
    "Account",
    "Alike",
    "BulkIssueError",
    "Config",
    "Customers",
    "ExitCode",
    "IdentifierKind",
    "Omit",
    "Pace",
    "Progress",
    "Reading",
    "Report",
    "ResultRow",
    "RowState",
    "Share",
    "issue",
    "issue_async",
]
