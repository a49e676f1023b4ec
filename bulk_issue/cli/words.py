"""What commands say at their end: counts, where the files are, and the next command, only if it is true."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bulk_issue.audit import Audited, Seen
from bulk_issue.cli.nexts import Next
from bulk_issue.config import read_so
from bulk_issue.ending import ExitCode
from bulk_issue.model import (
    Alike,
    HeldBack,
    Job,
    JobId,
    JobSpec,
    Lineage,
    Removed,
    Tally,
    Withheld,
    only_alike,
    rows_in,
)
from bulk_issue.ports import JobSummary
from bulk_issue.saying import count, duration, number, tally_words
from bulk_issue.shown import remedy
from bulk_issue.states import RowState

if TYPE_CHECKING:
    from bulk_issue.app import Report, Served

#: Why a run stopped that --first ended.
_FIRST = re.compile(r"--first (\d+):")
#: Customers in these states have, or may have, a coupon: the file is read as it should be.
_SERVED = (RowState.ISSUED, RowState.HELD, RowState.IN_DOUBT, RowState.IN_FLIGHT)


def report_words(report: Report, following: Next, go_on: Sequence[str] = ("resume",)) -> Iterator[str]:
    """How a run ended. `go_on`: the command that goes on with a job, but for the job."""
    ending, job, tally = report.ending, report.job, report.ending.tally
    took = f" in {duration(report.summary.duration_s)}" if report.summary.duration_s >= 1 else ""
    yield f"Job {job.spec.id}, series {job.spec.series_id}: {count(job.rows, 'row')}{took}"
    yield f"  {tally_words(tally)}"
    yield from codes_words(report)
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
    yield from next_words(report, following, go_on)


def codes_words(report: Report) -> Iterator[str]:
    """How many rows can be mailed, where any have a code."""
    coded = report.written.coded
    if coded:
        yield f"  {_have(coded, 'row')} a code, {number(bare := report.job.rows - coded)} {_has(bare)} none"


def served_words(served: Served) -> Iterator[str]:
    """What the list to mail from holds."""
    too = f", those of its reruns ({', '.join(served.reruns)}) among them" if served.reruns else ""
    yield f"{served.path}: {_have(served.customers, 'customer')} a code{too}"
    if served.without:
        yield f"  {_have(served.without, 'row')} no code and {_is(served.without)} not in it: see results.csv"


def _have(value: int, noun: str) -> str:
    return f"{count(value, noun)} {_has(value)}"


def _has(value: int) -> str:
    return "has" if value == 1 else "have"


def _is(value: int) -> str:
    return "is" if value == 1 else "are"


def next_words(report: Report, following: Next, go_on: Sequence[str]) -> Iterator[str]:
    """The next command, if there is something to do."""
    spec, tally, stop = report.job.spec, report.ending.tally, report.ending.stop
    yield from waiting_words(report.ending.waiting_in, following)
    if report.ending.waiting_in and stop is None:
        return
    # a folder is one job's: the flag was about this one, or about another that this command had to do with
    apart = () if following.context.params.get("out") == report.out else ("out",)
    held_back = rows_in(report.ending.held_back)
    yield from held_words(spec, report.ending.held_back, following, apart)
    if tally.get(RowState.PENDING, 0) > held_back:
        yield from pending_words(report.job, tally, stop.because if stop else "", following, go_on, apart)
    elif (not held_back and tally.get(RowState.IN_DOUBT, 0)) or tally.get(RowState.IN_FLIGHT, 0):
        reconcile = following("reconcile", spec.id, apart=apart)
        yield f"Next: {reconcile}   (asks Capillary again about the rows in doubt)"
        yield "  or decide by hand: fill in the column _decision of in_doubt.csv, then"
        yield f"  {following('reconcile', spec.id, '--decisions', _in_doubt(report), apart=apart)}"
    elif failures := next((path for path in report.written.files if path.stem == "failures"), None):
        name = ("--again", spec.again) if spec.again else ()
        yield "Next: correct the failures where needed, and run them:"
        yield f"  {following('run', failures, '--series', spec.series_id, *name)}"
    elif report.ending.exit_code is ExitCode.DONE:
        yield "Done: nothing is left to do."
    yield from cancelled_words(spec.id, tally.get(RowState.CANCELLED, 0), following, apart)


def cancelled_words(job: JobId, rows: int, following: Next, apart: Collection[str] = ()) -> Iterator[str]:
    """How so many cancelled rows are put back."""
    if rows:
        back = following("retry", job, "--cancelled", apart=apart)
        yield f"To take the cancel back: {back}   (sends {count(rows, 'row')})"


def held_words(
    spec: JobSpec, held: Mapping[Withheld, HeldBack], following: Next, apart: Collection[str] = ()
) -> Iterator[str]:
    """What is held back of a job, and how a person says what becomes of it."""
    if alike := rows_in(only_alike(held)):
        yield f"Held back: {count(alike, 'row')} whose customers look like others; see _reason in the results."
        yield from _alike_words(spec.id, following, apart)
    if removed := held.get(Withheld.REMOVED):
        name = ("--again", spec.again) if spec.again else ()
        whole = ("run", spec.path, "--series", spec.series_id, *name, *read_so(spec.reading), "--changed")
        yield f"Held back: {count(removed.rows, 'row')} whose customers were removed from the file; see _reason there."
        yield f"Next: {following(*whole, Removed.DROP)}   (they get no coupon)"
        yield f"  or: {following(*whole, Removed.FINISH)}   (they get one too)"


def _alike_words(job: JobId, following: Next, apart: Collection[str]) -> Iterator[str]:
    """How a person says who those are that look like others."""
    skip, send = (following("resume", job, "--alike", word, apart=apart) for word in (Alike.SKIP, Alike.SEND))
    yield f"Next: {skip}   (they are the same people: leave them out)"
    yield f"  or: {send}   (they are other people: send to them)"


def waiting_words(reruns: Sequence[JobId], following: Next) -> Iterator[str]:
    """Where rows of a job wait that are worked on in the runs of its failures."""
    for rerun in reruns:
        go_on = following("resume", rerun, apart=("out",))
        yield f"Next: {go_on}   (rows of this job wait in the run of their failures)"


def pending_words(
    job: Job,
    tally: Tally,
    because: str,
    following: Next,
    go_on: Sequence[str] = ("resume",),
    apart: Collection[str] = (),
) -> Iterator[str]:
    """How to go on with a job that has pending rows, and what to see to before; `because`: why it was stopped."""
    spec, pending = job.spec, tally[RowState.PENDING]
    if tally.get(RowState.REJECTED, 0) and not any(tally.get(state, 0) for state in _SERVED):
        yield "Before more is sent: find out why nobody got a coupon. Usually it is the wrong column, country code or"
        yield "series: run the file again with the right ones. If only these rows are wrong, `resume` goes on."
        if Path(spec.path).exists():
            name = ("--again", spec.again) if spec.again else ()
            look = following("check", spec.path, "--series", spec.series_id, *name, *read_so(spec.reading))
            yield f"Next: {look}   (shows how the file is read; issues nothing)"
        return
    most = following.most()
    which = f"the other {count(pending, 'row')}" if (first := _FIRST.match(because)) else count(pending, "pending row")
    sends = which if most is None or most >= pending else f"at most {most} of {which}"
    lead = "Next"
    if first:
        lead = f"When the first {first[1]} look right"
    elif because and because != "as asked" and not because.startswith("outside of the hours"):
        lead = "When that is put right"
    yield f"{lead}: {following(*go_on, spec.id, apart=apart)}   (sends {sends}; nothing is sent twice)"


def _in_doubt(report: Report) -> Path:
    return next((path for path in report.written.files if path.stem == "in_doubt"), report.out / "in_doubt.csv")


def audit_words(job: JobId, audited: Audited, following: Next, *, stopped: bool) -> Iterator[str]:
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
        yield f"Next: {following('export', job)}   (results.csv then names these coupons in _warnings)"


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
