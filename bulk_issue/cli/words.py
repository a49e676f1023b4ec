"""What commands say at their end: counts, where the files are, and the next command, only if it is true."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bulk_issue.audit import Audited, Seen
from bulk_issue.ending import ExitCode
from bulk_issue.model import JobId, Lineage
from bulk_issue.ports import JobSummary
from bulk_issue.saying import count, duration, number, tally_words
from bulk_issue.shown import remedy
from bulk_issue.states import RowState

if TYPE_CHECKING:
    from bulk_issue.app import Report


#: The flags that a further command needs, given its name.
Carried = Callable[[str], Sequence[str]]


def report_words(report: Report, again: Sequence[str], carried: Carried) -> Iterator[str]:
    """How a run ended. `again`: the command that would be run again."""
    ending, job, tally = report.ending, report.job, report.ending.tally
    took = f" in {duration(report.summary.duration_s)}" if report.summary.duration_s >= 1 else ""
    yield f"Job {job.spec.id}, series {job.spec.series_id}: {count(job.rows, 'row')}{took}"
    yield f"  {tally_words(tally)}"
    if ending.sent == 0:
        yield "  Nothing was sent this time."
    if job.blank:
        yield f"  ({count(job.blank, 'blank record')} in the file, not counted)"
    if ending.excess:
        yield f"  EXCESS: {count(ending.excess, 'coupon')} too many. See results.csv, and revoke them in Capillary."
    if ending.stop is not None:
        yield f"Stopped: {ending.stop.because}"
        if ending.stop.hint:
            yield f"  {ending.stop.hint}"
    for code, reason, rows in list(report.reasons)[:5]:
        yield f"  {number(rows)} × {code}: {reason}"
        if advice := remedy(code):
            yield f"      {advice}"
    if len(report.reasons) > 5:
        yield f"  … and {count(len(report.reasons) - 5, 'more reason')}: see the failures file."
    yield f"Files: {report.out}/ ({', '.join(sorted(path.name for path in report.written.files))})"
    for path in report.written.edited:
        yield f"Kept: {path} (it had been edited, and not been run or decided from)"
    yield from next_words(report, again, carried)


def next_words(report: Report, again: Sequence[str], carried: Carried) -> Iterator[str]:
    """The next command, if there is something to do."""
    job, tally = report.job.spec, report.ending.tally

    def flags(command: str) -> str:
        return "".join(f" {shlex.quote(flag)}" for flag in carried(command))

    for rerun in report.ending.waiting_in:
        yield f"Next: bulk-issue resume {rerun}{flags('resume')}   (rows of this job wait in the run of their failures)"
    if report.ending.waiting_in and report.ending.stop is None:
        return
    if tally.get(RowState.PENDING, 0):
        yield f"Next: {shlex.join(again)}   (goes on where this stopped; nothing is sent twice)"
    elif tally.get(RowState.IN_DOUBT, 0) or tally.get(RowState.IN_FLIGHT, 0):
        reconcile = f"bulk-issue reconcile {job.id}{flags('reconcile')}"
        yield f"Next: {reconcile}   (asks Capillary again about the rows in doubt)"
        yield "  or decide by hand: fill in the column _decision of in_doubt.csv, then the same with"
        yield f"  --decisions {shlex.quote(str(_in_doubt(report)))}"
    elif failures := next((path for path in report.written.files if path.stem == "failures"), None):
        name = shlex.quote(str(failures))
        yield "Next: correct the failures where needed, and run them:"
        again_name = f" --again {shlex.quote(job.again)}" if job.again else ""
        yield f"  bulk-issue run {name} --series {job.series_id}{again_name}{flags('run')}"
    elif report.ending.exit_code is ExitCode.DONE:
        yield "Done: nothing is left to do."


def _in_doubt(report: Report) -> Path:
    return next((path for path in report.written.files if path.stem == "in_doubt"), report.out / "in_doubt.csv")


def audit_words(job: JobId, audited: Audited, *, stopped: bool) -> Iterator[str]:
    """What reading the coupons back has shown; rows by number only."""
    read = sum(audited.counts.values())
    yield f"Job {job}: {count(read, 'coupon')} looked up" + (", then stopped as asked" if stopped else "")
    said = {
        Seen.CONFIRMED: "in Capillary's record, as issued",
        Seen.EXCESS: "with a second coupon that should not exist: revoke it in Capillary",
        Seen.MISSING: "not in Capillary's record: revoked there, or the customer was merged with another",
        Seen.UNREAD: "couldn't be read: run the audit again later",
    }
    for seen, meaning in said.items():
        if audited.counts[seen]:
            yield f"  {number(audited.counts[seen])} {meaning}{_rows(audited.remarkable.get(seen, ()), job)}"
    if audited.counts[Seen.EXCESS]:
        yield f"Next: bulk-issue export {job}   (results.csv then names these coupons in _warnings)"


def _rows(rows: Sequence[Lineage], job: JobId) -> str:
    """The first of these rows, by number."""
    named = ", ".join(f"{row.row}" if row.job == job else f"{row.row} of {row.job}" for row in rows[:10])
    return f" (row {named}{' …' if len(rows) > 10 else ''})" if rows else ""


def audit_facts(job: JobId, audited: Audited, *, stopped: bool) -> Mapping[str, object]:
    """The same for machines."""
    rows = {str(seen): [{"job": row.job, "row": row.row} for row in rows] for seen, rows in audited.remarkable.items()}
    return {"job": job, "counts": audited.counts, "rows": rows, "stopped": stopped}


def as_facts(
    each: JobSummary, parents: Sequence[JobSummary] = (), reruns: Sequence[JobSummary] = ()
) -> Mapping[str, object]:
    """One job for machines."""
    job = each.job
    return {
        "job": job.spec.id,
        "state": str(job.state),
        "file": job.spec.path,
        "series_id": job.spec.series_id,
        "org": job.spec.org,
        "again": job.spec.again,
        "rows": job.rows,
        "counts": {str(state): rows for state, rows in each.tally.items()},
        "created": job.created,
        "started": job.started,
        "ended": job.ended,
        "stopped_because": job.stopped_because,
        "deferred": job.deferred,
        "parents": [other.job.spec.id for other in parents],
        "reruns": [other.job.spec.id for other in reruns],
    }
