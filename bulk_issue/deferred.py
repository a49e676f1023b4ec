"""What people are told of a job that is left to workers: who runs it, what it waits for, what a lost worker left."""

from __future__ import annotations

from collections.abc import Sequence

from bulk_issue.model import Job, JobState, Tally
from bulk_issue.ports import WorkerFacts
from bulk_issue.saying import count, duration
from bulk_issue.states import RowState


def waits(job: Job, *, running: bool) -> bool:
    """Whether the job waits for a worker."""
    return job.deferred and not running and job.state in (JobState.READY, JobState.RUNNING)


def holder_of(job: Job, workers: Sequence[WorkerFacts]) -> WorkerFacts | None:
    """The worker that holds the job, as far as ledger and engine know."""
    return next((each for each in workers if each.job == job.spec.id), None)


def words(job: Job, tally: Tally, workers: Sequence[WorkerFacts], *, running: bool) -> str:
    """One sentence, without its full stop; empty for a job that isn't left to workers."""
    if not job.deferred:
        return ""
    holder = holder_of(job, workers)
    if holder is not None and holder.lost:
        return (
            f"left to workers: its worker, process {holder.pid} on {holder.host}, is lost (seen "
            f"{duration(holder.seen_ago)} ago){_left(tally)}; another one that waits takes over"
        )
    if holder is not None:
        where = f"process {holder.pid} on {holder.host}"
        return f"left to workers: run by {where}, seen {duration(holder.seen_ago)} ago"
    if running:
        return "left to workers: another process runs it now; they go on when that has ended"
    its = [each for each in workers if each.account == job.spec.account and not each.lost]
    idle = sum(each.job is None for each in its)
    there = (
        f"{count(len(its), 'worker')} of its account, {idle} without a job" if its else "none of its account is there"
    )
    return f"left to workers: waits for one ({there}){_left(tally)}"


def _left(tally: Tally) -> str:
    rows = tally.get(RowState.IN_FLIGHT, 0)
    return f"; {count(rows, 'row')} under way when the last one was cut short" if rows else ""
