"""How a job stands, for its page: from the ledger, whoever runs it, with what this server's own run says of itself.

Many may look at once and a job may have a million rows: what takes long to count is counted seldom, at most a twentieth
of the time, and never in the server's loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bulk_issue import deferred
from bulk_issue.app.agreement import Agreement, Selection, agreement
from bulk_issue.clock import SystemClock
from bulk_issue.config import Config
from bulk_issue.ledger import SqliteLedger
from bulk_issue.model import HeldBack, Job, JobId, JobState, Tally, Withheld, only_alike, rows_in
from bulk_issue.ports import Doubtful, Pulse, RunFacts
from bulk_issue.saying import THROUGH, shown_tally
from bulk_issue.states import RowState
from bulk_issue.web.works import Work, Works

#: Counting takes at most one part in so many of the time.
SHARE = 20.0
#: Rows in doubt that a page lists, and stretches of its chart.
MOST_DOUBTS, STRETCHES = 50, 60
#: What is counted together at once.
_FINISHED = frozenset(THROUGH)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What takes its time to count."""

    reasons: Sequence[tuple[str, str, int]]
    #: Rows that can be sent again, by error code.
    rejected: Mapping[str, int]
    pulse: Sequence[Pulse]
    runs: Sequence[RunFacts]
    parents: Sequence[JobId]
    reruns: Sequence[JobId]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A job at one moment."""

    job: Job
    tally: Tally
    #: Rows that a run would send.
    to_send: int
    #: This server's run of it, going on or the last that ended here.
    work: Work | None
    #: Whether anybody runs it, and whether that is this server.
    running: bool
    here: bool
    waiting_in: Sequence[JobId]
    #: Rows in doubt, those given up longest ago first.
    doubts: Sequence[Doubtful]
    #: Rows that wait until a person says who their customers are.
    held_back: Mapping[Withheld, HeldBack]
    #: Who runs it or what it waits for, if it is left to workers.
    left: str
    #: How many of the account's requests each job has now.
    shares: Mapping[JobId, int]
    counted: Counted

    @property
    def name(self) -> str:
        return Path(self.job.spec.path).name

    @property
    def through(self) -> int:
        return sum(self.tally.get(state, 0) for state in _FINISHED)

    @property
    def pending(self) -> int:
        return self.tally.get(RowState.PENDING, 0)

    @property
    def go_on(self) -> Agreement:
        """What going on would send."""
        return agreement(self.job.spec, self.tally, self.job.left_out, pending=self.to_send)

    def again(self, code: str = "") -> Agreement:
        """What sending again would send: the rows rejected with this code, or all."""
        rejected = self.counted.rejected
        rows = rejected.get(code, 0) if code else sum(rejected.values())
        return agreement(self.job.spec, self.tally, self.job.left_out, pending=rows, which=Selection.REJECTED)

    @property
    def served(self) -> bool:
        """Whether anybody in its file may have a coupon."""
        return any(self.tally.get(state, 0) for state in (RowState.ISSUED, RowState.HELD, RowState.DUPLICATE))

    @property
    def held(self) -> int:
        return rows_in(only_alike(self.held_back))

    @property
    def cancelled(self) -> int:
        return self.tally.get(RowState.CANCELLED, 0)

    @property
    def in_doubt(self) -> int:
        """Rows in doubt; while the job runs, those on the wire aren't."""
        on_the_wire = 0 if self.running else self.tally.get(RowState.IN_FLIGHT, 0)
        return self.tally.get(RowState.IN_DOUBT, 0) + on_the_wire

    @property
    def counts(self) -> Sequence[tuple[RowState, int]]:
        if not self.running:
            return shown_tally(self.tally)
        return shown_tally({state: rows for state, rows in self.tally.items() if state is not RowState.IN_FLIGHT})

    @property
    def phase(self) -> str:
        """What goes on, in a few words."""
        if self.running:
            if self.here and self.work is not None and self.work.stopping:
                return "stopping: requests under way end"
            if self.here and self.work is not None and self.work.progress is not None:
                return self.work.progress.phase
            return "issuing" if self.pending else "reconciling"
        if deferred.waits(self.job, running=self.running):
            return "waits for a worker"
        if self.job.state is JobState.RUNNING:
            return "interrupted"
        if self.job.state is JobState.STOPPED and self.job.stopped_because == "as asked":
            return "paused"
        return str(self.job.state)


class Board:
    """Answers how jobs stand."""

    def __init__(self, ledger: SqliteLedger, works: Works, config: Config) -> None:
        self._ledger, self._works, self._config = ledger, works, config
        self._clock = SystemClock()
        #: By job: what was counted, when, and how long that took.
        self._counted: dict[JobId, tuple[float, float, Counted]] = {}
        self._locks: dict[JobId, asyncio.Lock] = {}

    async def standing(self, job: JobId) -> Standing | None:
        """How the job stands now; None if the ledger doesn't know it."""
        work = self._works.find(job)
        here = work is not None and not work.ended.is_set()
        running = here or self._ledger.jobs.running_elsewhere(job)
        views = self._ledger.views
        # views only: whatever takes the ledger's write lock would wait for the runs, and they for it
        found = await asyncio.to_thread(views.job, job)
        if found is None:
            return None
        workers = await asyncio.to_thread(views.workers) if found.job.deferred else ()
        return Standing(
            left=deferred.words(found.job, found.tally, workers, running=running),
            job=found.job,
            tally=found.tally,
            to_send=await asyncio.to_thread(views.pending, job),
            work=work,
            here=here,
            running=running,
            waiting_in=found.waiting_in,
            doubts=await asyncio.to_thread(views.doubtful, job, MOST_DOUBTS),
            held_back=await asyncio.to_thread(views.held_back, job),
            shares=await asyncio.to_thread(views.shares, found.job.spec.account, self._clock.now()),
            counted=await self._count(job),
        )

    def forget(self, job: JobId) -> None:
        """Count again: a person changed something."""
        self._counted.pop(job, None)

    async def _count(self, job: JobId) -> Counted:
        async with self._locks.setdefault(job, asyncio.Lock()):
            at, took, counted = self._counted.get(job, (0.0, 0.0, None))
            started = time.monotonic()
            if counted is None or started - at > SHARE * took:
                counted = await asyncio.to_thread(self._read, job)
                self._counted[job] = (time.monotonic(), time.monotonic() - started, counted)
            return counted

    def _read(self, job: JobId) -> Counted:
        views = self._ledger.views
        return Counted(
            reasons=views.reasons(job),
            rejected=views.rejected(job),
            pulse=views.pulse(job, STRETCHES),
            runs=views.runs(job),
            parents=views.parents(job),
            reruns=views.reruns(job),
        )
