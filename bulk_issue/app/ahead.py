"""What a run of a job would do, from what the file, the ledger and the series say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from bulk_issue.app.agreement import Selection, agreement
from bulk_issue.app.changed import difference
from bulk_issue.app.changed import pending as waiting
from bulk_issue.app.checked import Checked, Earlier
from bulk_issue.app.intake import Intake
from bulk_issue.app.left_out import Change
from bulk_issue.ledger import SqliteLedger
from bulk_issue.model import Alike, HeldBack, JobSpec, JobState, Series, Withheld
from bulk_issue.outlook import Plan, outlook
from bulk_issue.ports import JobSummary, Served
from bulk_issue.states import RowState
from bulk_issue.survey import Known, Survey


def served(ledger: SqliteLedger, spec: JobSpec, word: Alike | None) -> Known:
    """Says which customers have a coupon of the job's series, and from which rows.

    Look-alikes only where nobody has said that they are other people; those of the same file are.
    """

    def known(keys: Sequence[str]) -> Mapping[str, Served]:
        found = ledger.views.served(spec.org, spec.series_id, spec.again, keys)
        return {
            key: replace(each, alike=None)
            if each.alike is not None and (word is Alike.SEND or each.alike.job == spec.id)
            else each
            for key, each in found.items()
        }

    return known


def earlier_contents(ledger: SqliteLedger, spec: JobSpec) -> Iterator[JobSummary]:
    """Jobs of other contents of the same file, for the same series and occasion, that weren't cancelled."""
    for job in ledger.views.known():
        mine, theirs = ((each.path, each.org, each.series_id, each.again) for each in (spec, job.spec))
        if mine == theirs and spec.id != job.spec.id and job.state not in (JobState.CANCELLED, JobState.REGISTERING):
            found = ledger.views.job(job.spec.id)
            if found is not None:
                yield found


async def unfinished(ledger: SqliteLedger, spec: JobSpec) -> list[JobSummary]:
    """Those of them that have rows to send, or on the wire."""
    # rows that wait in a rerun of a job's failures are the rerun's
    return [
        each
        for each in earlier_contents(ledger, spec)
        if each.tally.get(RowState.IN_FLIGHT, 0) or await ledger.work.pending(each.job.spec.id)
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
    change: Change | None = None,
) -> Checked:
    """What a run begun now would do; `counted` is what the file's rows are, where somebody counted them.

    Of the rejected rows those with one of `codes` are meant; without any, all. `change` is what the suppression list of
    now does to the job; if it isn't done yet, it is foreseen.
    """
    job = await ledger.jobs.find(spec.id)
    known = job is not None and job.state is not JobState.REGISTERING
    change = change or Change()
    tally = await ledger.work.tally(spec.id) if known else None
    pending = 0
    if known and which is Selection.REJECTED:
        rejected = ledger.views.rejected(spec.id)
        pending = sum(rows for code, rows in rejected.items() if not codes or code in codes)
    elif known and which is Selection.CANCELLED:
        pending = ledger.views.cancelled(spec.id)
    elif known:
        pending = await ledger.work.pending(spec.id, retried=which is Selection.RETRIED)
        pending += 0 if change.done else change.sendable
    agreed = agreement(spec, tally, change.left_out, pending=pending, counted=counted, which=which)
    ahead = outlook(agreed.rows, series, plan, now)
    earlier = []
    if not known and file is not None:
        for each in await unfinished(ledger, spec):
            found = difference(ledger, each.job.spec.id, file)
            removed = waiting(ledger, each.job.spec.id, found)
            earlier.append(Earlier(job=each.job.spec.id, tally=each.tally, difference=found, removed=removed))
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
        left_out=change.left_out,
        held_back=look_alikes(counted) if counted is not None and not change.done else ledger.views.held_back(spec.id),
        list_added=change.added,
        list_removed=change.removed,
        new_occasion="" if not spec.again or _is_known(ledger, spec) else spec.again,
        notes=list(file.source.notes) if file else [],
    )


def look_alikes(counted: Survey) -> Mapping[Withheld, HeldBack]:
    """The look-alikes that a survey has found."""
    found = {
        Withheld.ALIKE_EXCLUDED: HeldBack(rows=counted.alike_excluded, first=tuple(counted.alike_excluded_rows)),
        Withheld.ALIKE_SERVED: HeldBack(rows=counted.alike_served, first=tuple(counted.alike_served_rows)),
    }
    return {why: held for why, held in found.items() if held.rows}


def _is_known(ledger: SqliteLedger, spec: JobSpec) -> bool:
    """Whether a run for this occasion has begun."""
    same = (spec.org, spec.series_id, spec.again)
    jobs = ((job, job.spec) for job in ledger.views.known())
    return any(job.started is not None and (its.org, its.series_id, its.again) == same for job, its in jobs)
