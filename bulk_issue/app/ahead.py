"""What a run of a job would do, from what the file, the ledger and the series say."""

from __future__ import annotations

from bulk_issue.app.checked import Checked, Earlier
from bulk_issue.app.intake import Intake
from bulk_issue.ledger import SqliteLedger
from bulk_issue.model import Job, JobSpec, JobState, Series
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
    job: Job | None,
    series: Series | None,
    plan: Plan,
    now: float,
    *,
    counted: Survey | None = None,
    file: Intake | None = None,
) -> Checked:
    """What a run begun now would do; `counted` is what the file's rows are, where somebody counted them."""
    known = job is not None and job.state is not JobState.REGISTERING
    # a registered job's pending rows hold duplicates that only sending shows, a count of the file rows that are done
    pending = [await ledger.work.pending(spec.id)] if known else []
    pending += [counted.to_send] if counted is not None else []
    earlier = []
    if not known and file is not None:
        for each in await unfinished(ledger, spec):
            difference = compare(ledger.views.customers(each.job.spec.id), file.chunks())
            earlier.append(Earlier(job=each.job.spec.id, tally=each.tally, difference=difference))
    return Checked(
        outlook=outlook(min(pending), series, plan, now),
        columns=file.columns if file else {},
        blank=file.source.blank if file else 0,
        survey=counted,
        series=series,
        job=spec.id if known else None,
        tally=await ledger.work.tally(spec.id) if known else None,
        earlier=earlier,
        notes=list(file.source.notes) if file else [],
    )
