"""What a run of a job would do, from what the file, the ledger and the series say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bulk_issue.app.agreement import Selection, agreement
from bulk_issue.app.checked import Checked, Earlier
from bulk_issue.app.intake import Intake
from bulk_issue.ledger import SqliteLedger
from bulk_issue.model import JobSpec, JobState, Series
from bulk_issue.outlook import Plan, outlook
from bulk_issue.ports import JobSummary
from bulk_issue.states import RowState
from bulk_issue.survey import Served, Survey, compare


def served(ledger: SqliteLedger, spec: JobSpec) -> Served:
    """Says which customers have a coupon of the job's series and occasion, and from which row."""
    return lambda keys: ledger.views.served(spec.org, spec.series_id, spec.again, keys)


async def unfinished(ledger: SqliteLedger, spec: JobSpec) -> list[JobSummary]:
    """Unfinished jobs of other contents of the same file, for the same series and occasion."""

    def same_file(other: JobSpec) -> bool:
        mine, theirs = ((each.path, each.org, each.series_id, each.again) for each in (spec, other))
        return mine == theirs and spec.id != other.id

    others = [
        found
        for job in ledger.views.known()
        if same_file(job.spec) and job.state not in (JobState.CANCELLED, JobState.REGISTERING)
        if (found := ledger.views.job(job.spec.id)) is not None
    ]
    # rows that wait in a rerun of this job's failures are the rerun's
    return [
        each for each in others if each.tally.get(RowState.IN_FLIGHT, 0) or await ledger.work.pending(each.job.spec.id)
    ]


async def look_ahead(
    ledger: SqliteLedger,
    spec: JobSpec,
    series: Series | None,
    plan: Plan,
    now: float,
    *,
    counted: Survey | None = None,
    file: Intake | None = None,
    which: Selection = Selection.PENDING,
    codes: Sequence[str] = (),
) -> Checked:
    """What a run begun now would do; `counted` is what the file's rows are, where somebody counted them.

    Of the rejected rows those with one of `codes` are meant; without any, all.
    """
    job = await ledger.jobs.find(spec.id)
    known = job is not None and job.state is not JobState.REGISTERING
    tally = await ledger.work.tally(spec.id) if known else None
    pending = 0
    if known and which is Selection.REJECTED:
        rejected = ledger.views.rejected(spec.id)
        pending = sum(rows for code, rows in rejected.items() if not codes or code in codes)
    elif known:
        pending = await ledger.work.pending(spec.id, retried=which is Selection.RETRIED)
    agreed = agreement(spec, tally, pending=pending, counted=counted, which=which)
    ahead = outlook(agreed.rows, series, plan, now)
    earlier = []
    if not known and file is not None:
        for each in await unfinished(ledger, spec):
            difference = compare(ledger.views.customers(each.job.spec.id), file.chunks())
            earlier.append(Earlier(job=each.job.spec.id, tally=each.tally, difference=difference))
    return Checked(
        outlook=ahead,
        agreement=replace(agreed, rows=ahead.rows, worth=ahead.liability),
        columns=file.columns if file else {},
        blank=file.source.blank if file else 0,
        survey=counted,
        series=series,
        job=spec.id if known else None,
        tally=tally,
        earlier=earlier,
        notes=list(file.source.notes) if file else [],
    )
