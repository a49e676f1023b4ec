"""How jobs stand, in words: the table of all, one with its history, and what the desk asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from bulk_issue import deferred
from bulk_issue.cli.nexts import Next
from bulk_issue.cli.words import cancelled_words, held_words, pending_words, waiting_words
from bulk_issue.commands import command
from bulk_issue.model import JobState, rows_in
from bulk_issue.ports import JobSummary, RunFacts, WorkerFacts
from bulk_issue.saying import count, duration, number, tally_words
from bulk_issue.shown import SHOWN, remedy, utc
from bulk_issue.states import RowState

if TYPE_CHECKING:
    from bulk_issue.app.inquiry import Sighting, Standing

_HEADER = ("job", "made", "state", "series", "rows", "issued", "held", "failed", "in doubt", "pending", "file")
#: Columns of numbers, set to the right.
_NUMBERS = frozenset({"rows", "issued", "held", "failed", "in doubt", "pending"})


def table(jobs: Sequence[JobSummary]) -> Iterator[str]:
    """Every job, one a line, newest first."""
    if not jobs:
        return
    lines = [_HEADER, *(_cells(each) for each in jobs)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(_HEADER))]
    for line in lines:
        cells = zip(_HEADER, line, widths, strict=True)
        padded = [cell.rjust(width) if name in _NUMBERS else cell.ljust(width) for name, cell, width in cells]
        yield "  ".join(padded).rstrip()


def worker_words(workers: Sequence[WorkerFacts]) -> Iterator[str]:
    """Every worker, one a line, the oldest first."""
    if workers:
        yield ""
        yield "Workers:"
    for each in workers:
        does = f"has job {each.job}" if each.job else "waits"
        seen = f"{'LOST, ' if each.lost else ''}seen {duration(each.seen_ago)} ago"
        yield f"  process {each.pid} on {each.host}, since {_when(each.since)}, of {each.account}: {does}, {seen}"


def _cells(each: JobSummary) -> tuple[str, ...]:
    job, tally = each.job, each.tally
    series = f"{job.spec.series_id}" + (f" ({job.spec.again})" if job.spec.again else "")

    def rows(*states: RowState) -> str:
        return number(sum(tally.get(state, 0) for state in states)) if job.rows else ""

    return (
        job.spec.id,
        _when(job.created),
        str(job.state),
        series,
        number(job.rows),
        rows(RowState.ISSUED),
        rows(RowState.HELD),
        rows(RowState.REJECTED, RowState.INVALID),
        rows(RowState.IN_DOUBT, *([] if job.state is JobState.RUNNING else [RowState.IN_FLIGHT])),
        rows(RowState.PENDING),
        Path(job.spec.path).name,
    )


def job_words(each: Standing, following: Next) -> Iterator[str]:
    """One job: how it stands, why, and what to do next."""
    job, tally = each.summary.job, each.summary.tally
    yield f"Job {job.spec.id}: {job.state}{' (a process runs it now)' if each.running else ''}"
    yield f"  file {job.spec.path}"
    yield f"  series {job.spec.series_id}, org {job.spec.org}" + (f", again {job.spec.again}" if job.spec.again else "")
    yield f"  {count(job.rows, 'row')}: {tally_words(tally)}"
    for other in each.parents:
        yield f"  runs failures of job {other.job.spec.id} again ({Path(other.job.spec.path).name})"
    for other in each.reruns:
        yield f"  failures run again as job {other.job.spec.id}: {tally_words(other.tally)}"
    if job.stopped_because:
        yield f"  {'' if job.state is JobState.PURGED else 'stopped: '}{job.stopped_because}"
    if said := deferred.words(job, tally, each.workers, running=each.running):
        yield f"  {said} ({command('worker')})"
    for code, reason, rows in each.reasons:
        yield f"  {number(rows)} × {code}: {reason}"
        if advice := remedy(code):
            yield f"      {advice}"
    history = each.history
    if history.requests:
        total = sum(n for _, n in history.requests)
        said = ", ".join(f"{number(n)} {event.replace('_', ' ')}" for event, n in history.requests)
        yield f"Requests: {number(total)} ({said})"
    if history.lookups:
        yield f"Look-ups in Capillary's record: {number(sum(n for _, n in history.lookups))}"
        yield from (f"  {number(n)} × {finding}" for finding, n in history.lookups)
    if history.decisions:
        yield f"Decided by a person: {count(history.decisions, 'row')}"
    if each.runs:
        yield "Runs, the last first:"
        yield from (f"  {_run(run, running=each.running)}" for run in each.runs)
    if each.running or job.deferred:
        return
    yield from waiting_words(each.summary.waiting_in, following)
    if each.summary.waiting_in:
        return
    yield from held_words(job.spec, each.held_back, following)
    if tally.get(RowState.PENDING, 0) > rows_in(each.held_back):
        yield from pending_words(job, tally, job.stopped_because, following)
    elif tally.get(RowState.IN_DOUBT, 0) or tally.get(RowState.IN_FLIGHT, 0):
        yield f"Next: {following('reconcile', job.spec.id)}"
    if job.state is not JobState.PURGED:
        yield from cancelled_words(job.spec.id, tally.get(RowState.CANCELLED, 0), following)


def _run(run: RunFacts, *, running: bool) -> str:
    by = f"{_when(run.started)}  {run.who}@{run.host}, process {run.pid}, version {run.version}"
    if run.ended is None:
        left = f", {count(run.in_flight, 'request')} under way" if run.in_flight or (running and run.held) else ""
        return f"{by}: {'runs now' if running and run.held else 'was cut short'}{left}"
    end = f"exit code {run.exit_code}" if run.exit_code is not None else "was cut short"
    return f"{by}: {duration(run.ended - run.started)}, {end}" + (f" ({run.because})" if run.because else "")


def sighting_words(seen: Sighting) -> str:
    """One row in which what was asked for stands. The code is shown: it is what the desk asks for."""
    again = f", again {seen.again}" if seen.again else ""
    where = f"job {seen.job}, row {seen.row} of {Path(seen.file).name}, series {seen.series_id}{again}"
    status = SHOWN[seen.state][0]
    when = f" at {utc(seen.issued_at)}" if seen.issued_at is not None else ""
    code = f" with code {seen.code}" if seen.code else ""
    reason = f": {seen.error_code} {seen.reason}".rstrip() if seen.error_code or seen.reason else ""
    purged = " (its job was purged: the code is forgotten)" if seen.purged else ""
    told = f"{status}{code}{when}{purged}{reason}; {where}"
    if not seen.excess:
        return told
    return f"The code asked for is a coupon too many (EXCESS): revoke that one in Capillary. Its customer's row: {told}"


def _when(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds).astimezone():%Y-%m-%d %H:%M}"
