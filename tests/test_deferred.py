"""What people are told of a job that is left to workers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bulk_issue.deferred import waits, words
from bulk_issue.model import Job, JobState
from bulk_issue.ports import WorkerFacts
from bulk_issue.states import RowState
from tests.test_ledger import spec

JOB = Job(spec=spec(), state=JobState.READY, rows=3, blank=0, created=0.0, deferred=True)
IDLE = WorkerFacts(account=JOB.spec.account, host="one", pid=7, since=0.0, seen_ago=2.0, job=None)
BUSY = replace(IDLE, job=JOB.spec.id)
LEFT = {RowState.IN_FLIGHT: 2}


@pytest.mark.parametrize(
    ("workers", "running", "said"),
    [
        ([], False, "waits for one (none of its account is there); 2 rows under way when the last one was cut short"),
        ([replace(IDLE, account="another")], False, "none of its account"),
        ([IDLE, replace(IDLE, seen_ago=16.0)], False, "waits for one (1 worker of its account, 1 without a job)"),
        ([BUSY], True, "run by process 7 on one, seen 2 s ago"),
        ([replace(BUSY, seen_ago=16.0)], True, "process 7 on one, is lost (seen 16 s ago); 2 rows under way"),
        ([IDLE], True, "another process runs it now"),
    ],
)
def test_who_runs_it_or_what_it_waits_for(workers: list[WorkerFacts], running: object, said: str) -> None:
    assert said in words(JOB, LEFT, workers, running=bool(running))
    assert waits(JOB, running=bool(running)) is not running


def test_nothing_is_said_of_a_job_that_is_left_to_nobody() -> None:
    alone = replace(JOB, deferred=False)

    assert words(alone, LEFT, [IDLE], running=False) == ""
    assert not waits(alone, running=False)
