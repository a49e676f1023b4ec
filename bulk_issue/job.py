"""One run of one job: hold it, issue, reconcile, let it go.

The order: become the holder (what a dead holder left in flight is in doubt from then on); send row by row until the
canary has its coupon, and read that coupon back; issue the rest while rows in doubt are reconciled alongside; then
reconcile what is left for a bounded time; then read once more every row that was ever in doubt.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from bulk_issue.audit import Audited
from bulk_issue.crew import Hand
from bulk_issue.ending import ExitCode, conclude
from bulk_issue.errors import BulkIssueError, JobHeld, LedgerUnavailable
from bulk_issue.health import Health, Stop, StopKind
from bulk_issue.model import (
    HeldBack,
    IdentifierKind,
    Job,
    JobId,
    JobState,
    Moment,
    Tally,
    Withheld,
    only_alike,
    rows_in,
)
from bulk_issue.pool import Patience, Pool
from bulk_issue.ports import Hold, Progress
from bulk_issue.readers import Readers
from bulk_issue.reconcile import Reconciler
from bulk_issue.saying import count, duration
from bulk_issue.states import RowState

#: Seconds between two looks at whether a row in doubt was settled.
POLL = 1.0
#: Seconds that the last read of rows that were in doubt has at least.
LAST_READ = 60.0
#: The ticker spends at most this share of the time on counting.
TICK, TICK_SHARE = 0.5, 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a run ended."""

    job: Job
    tally: Tally
    exit_code: ExitCode
    stop: Stop | None
    excess: int
    began: Moment
    ended: Moment
    #: Intents that this run wrote; None where nothing was run.
    sent: int | None = None
    #: Reruns of the job's failures that work rows of it which may still change.
    waiting_in: Sequence[JobId] = ()
    #: Rows that a person has to say something about before they are sent.
    held_back: Mapping[Withheld, HeldBack] = field(default_factory=dict)


async def nothing() -> None:
    """Nothing is left to be done before the first intent."""


@dataclass(slots=True)
class Run:
    """The run that holds its job."""

    parts: Hand
    #: The worker that makes this run: another one goes on when it is asked to stop, or breaks off. None: a person does.
    worker: int | None = None
    _patience: Patience = field(init=False)
    _sent: int = 0
    #: Whether it was said that this run waits for the record; and that the job was cancelled.
    _patient: bool = False
    _told: bool = False

    def __post_init__(self) -> None:
        self._patience = Patience(self.parts.clock)

    async def issue(self, held: Callable[[], Awaitable[None]] = nothing, *, retried: bool = False) -> Ending:
        """Issue what is pending, then settle what is in doubt.

        `held` is awaited once the job is held, before the first intent; what it raises ends the run with nothing sent.
        `retried`: only the rows are sent that a person has put back; others stay pending.
        """
        return await self._held(self._issue, before_first=held, retried=retried)

    async def reconcile(self) -> Ending:
        """Settle what is in doubt; issue nothing."""
        return await self._held(self._reconcile, keeps=True)

    async def audit(self, chosen: Callable[[int], bool]) -> Audited:
        """Read those rows with a coupon once more whose place (0 = the first) is chosen. Takes no hold of the job."""
        audit = self.parts.audit(await self.parts.readers(), self.parts.asked.is_set)
        return await audit.issued(chosen)

    async def _held(
        self,
        work: Callable[[Hold, Moment], Awaitable[Stop | None]],
        *,
        before_first: Callable[[], Awaitable[None]] = nothing,
        retried: bool = False,
        keeps: bool = False,
    ) -> Ending:
        """Do this work as the job's holder; one that waits to be issued goes on waiting if `keeps` says so."""
        began = self.parts.clock.now()
        job = self.parts.job.spec.id
        hold = await self.parts.ledger.jobs.hold(job, self.parts.config.budget, began, worker=self.worker)
        hold = replace(hold, retried=retried)
        left = JobState.RUNNING if self.worker is not None else JobState.STOPPED
        if keeps and hold.before in (JobState.READY, JobState.RUNNING, JobState.PAUSED):
            left = hold.before
        state, because, kind, code = left, "the run was cut short", "", None
        try:
            if hold.recovered:
                self.parts.tell(f"{count(hold.recovered, 'row')} in flight when the last run died: in doubt now.")
            await before_first()
            stop = await work(hold, began)
            tally, firsts, excess, excluded = await self._patience.insist(self._counts)
            code = conclude(tally, firsts, excess, stop, excluded)
            unfinished = await self._patience.insist(lambda: self.parts.ledger.work.unfinished(job)) > 0
            held_back = await self._patience.insist(lambda: self.parts.ledger.omissions.held_back(job))
            state = JobState.STOPPED if unfinished or held_back else JobState.ENDED
            cancelled = None
            if tally.get(RowState.CANCELLED, 0):
                state = JobState.CANCELLED
                cancelled = await self._patience.insist(self._cancelled)
            asked = stop is not None and stop.kind is StopKind.ASKED
            if unfinished and (asked or keeps) and left is not JobState.STOPPED:
                state = left  # others go on; if it was cancelled, with its rows in doubt
            because, kind = (stop.because, str(stop.kind)) if stop is not None and unfinished else ("", "")
            if held_back and not because:
                why = "they look like others, and nobody has said who they are"
                if not only_alike(held_back):
                    why = "their customers were removed from the file, and nobody has said what becomes of them"
                because = f"{count(rows_in(held_back), 'row')} held back: {why}"
            if cancelled is not None:
                because = cancelled.because
        finally:
            mine = await self.parts.ledger.jobs.release(
                hold, state, because, self.parts.clock.now(), code, stop_kind=kind
            )
        if not mine:  # what was counted is another run's work
            raise JobHeld(f"job {job} was taken over by another run", hint="Let that run go on.")
        found = await self.parts.ledger.jobs.find(job)
        assert found is not None
        assert code is not None
        return Ending(
            job=found,
            tally=tally,
            exit_code=code,
            stop=stop if unfinished or (stop and stop.kind is StopKind.HALTED) else cancelled,
            excess=excess,
            began=began,
            ended=self.parts.clock.now(),
            sent=self._sent,
            waiting_in=await self.parts.ledger.work.waiting_in(job),
            held_back=held_back,
        )

    async def _counts(self) -> tuple[Tally, Tally, int, int]:
        """Rows by state, DUPLICATE rows by the state of their first row, excess coupons, and excluded rows."""
        job, work = self.parts.job.spec.id, self.parts.ledger.work
        firsts = await self._firsts()
        return await work.tally(job), firsts, await work.excess(job), await work.excluded(job)

    async def _firsts(self) -> Tally:
        """DUPLICATE rows by the state of their first row, which another run may have on the wire just now."""
        deadline = self.parts.clock.now().boot + self.parts.config.timeout
        while True:
            firsts = await self.parts.ledger.work.firsts(self.parts.job.spec.id)
            waiting = firsts.get(RowState.IN_FLIGHT, 0) and not self.parts.asked.is_set()
            if not waiting or self.parts.clock.now().boot >= deadline:
                return firsts
            await self.parts.clock.sleep(POLL / 4)

    async def _cancelled(self) -> Stop | None:
        """Who cancelled the job and why, told once; None if nobody did, or their rows were put back."""
        found = await self.parts.ledger.jobs.find(self.parts.job.spec.id)
        if found is None or not found.stopped_because.startswith(StopKind.CANCELLED):
            return None
        said, _, why = found.stopped_because.partition(": ")
        if not self._told:
            self._told = True
            end = f"{said.capitalize()}. Nothing more is sent; requests under way end."
            self.parts.tell(end, why and f"Why: {why}")
        return Stop(kind=StopKind.CANCELLED, because=said, hint=why)

    # --- the two kinds of work ----------------------------------------------------------------------------------

    async def _issue(self, hold: Hold, began: Moment) -> Stop | None:
        health = Health(limits=self.parts.limits, began=began.boot)
        readers = await self.parts.readers()
        reconciler = self.parts.reconciler(readers, health)
        pending = await self.parts.ledger.work.pending(hold.job, retried=hold.retried)
        pool = self.parts.pool(hold, health, readers, pending, self._patience)
        async with self._alongside(reconciler, pool):
            stop = await self._to_the_end(pool, reconciler)
            if stop is None or stop.kind is StopKind.ASKED:
                await self._read_held(readers)
        self._sent = pool.begun
        if stop is None and hold.retried:
            return Stop(kind=StopKind.ASKED, because="only the rows that were put back were to be sent")
        return stop

    async def _reconcile(self, hold: Hold, began: Moment) -> Stop | None:
        reconciler = self.parts.reconciler(
            await self.parts.readers(), Health(limits=self.parts.limits, began=began.boot)
        )
        async with self._alongside(reconciler, None):
            await self._settle(hold, reconciler, began.boot + self.parts.config.reconcile_for, sending=False)
            await self._read_held(reconciler.readers)
        return None

    async def _read_held(self, readers: Readers) -> None:
        """Read which coupons the customers of held rows have, for as long as rows in doubt may be read."""
        deadline = self.parts.clock.now().boot + self.parts.config.reconcile_for
        codes = self.parts.held_codes(
            readers, lambda: self.parts.asked.is_set() or self.parts.clock.now().boot >= deadline
        )
        await self._patience.insist(codes.read)

    async def _to_the_end(self, pool: Pool, reconciler: Reconciler) -> Stop | None:
        deadline: float | None = None
        while True:
            await pool.drain()
            spent = pool.stop is not None
            if pool.health.stop is not None or self.parts.asked.is_set():
                return pool.stop
            if deadline is None:
                deadline = self.parts.clock.now().boot + self.parts.config.reconcile_for
            if not await self._settle(pool.hold, reconciler, deadline, sending=not spent):
                return pool.stop

    async def _settle(self, hold: Hold, reconciler: Reconciler, deadline: float, *, sending: bool) -> bool:
        """Wait for the record; True if there is a row to send again, False if there is no more to wait for."""
        job, insist, since = self.parts.job.spec.id, self._patience.insist, self.parts.clock.now()

        def to_send() -> Awaitable[int]:
            return self.parts.ledger.work.pending(job, retried=hold.retried)

        while True:
            await insist(lambda: self.parts.ledger.jobs.confirm(hold))
            rows = await insist(lambda: self.parts.ledger.work.still_open(job))
            if sending and rows[RowState.PENDING] and (not hold.retried or await insist(to_send)):
                return True
            if not rows[RowState.IN_DOUBT]:
                break
            if rows[RowState.IN_DOUBT] <= reconciler.stuck(since):
                doubtful = count(rows[RowState.IN_DOUBT], "row")
                self.parts.tell(f"{doubtful} can't be settled from the record as it stands: a person has to decide.")
                break
            if self.parts.asked.is_set() or reconciler.readers.blind or await insist(self._hopeless):
                return False
            left = deadline - self.parts.clock.now().boot
            if left <= 0:
                break
            if not self._patient:
                self._patient = True
                doubtful = count(rows[RowState.IN_DOUBT], "row")
                self.parts.tell(f"{doubtful} in doubt: looked up for {duration(left)} at most. Ctrl-C is safe.")
            await self.parts.clock.sleep(POLL)
        # rows that nothing can settle use up all the time: the others are read once more all the same
        last = max(deadline, self.parts.clock.now().boot + LAST_READ)
        audit = self.parts.audit(
            reconciler.readers, lambda: self.parts.asked.is_set() or self.parts.clock.now().boot >= last
        )
        await insist(audit.doubted)
        # what the record has put back meanwhile is sent, however late it is
        return sending and not self.parts.asked.is_set() and await insist(to_send) > 0

    async def _hopeless(self) -> bool:
        """Whether no reader has proven itself and no coupon is there to prove one with."""
        job, doubts = self.parts.job.spec.id, self.parts.ledger.doubts
        if await doubts.readers(job, self.parts.config.account.name):
            return False
        return not any([await doubts.issued(job, kind, 1) for kind in IdentifierKind])

    @contextlib.asynccontextmanager
    async def _alongside(self, reconciler: Reconciler, pool: Pool | None) -> AsyncIterator[None]:
        """Reconcile and report while the body runs."""
        try:
            async with asyncio.TaskGroup() as tasks:
                others = [tasks.create_task(reconciler.run()), tasks.create_task(self._tick(pool))]
                yield
                for task in others:
                    task.cancel()
        except BaseExceptionGroup as group:
            raise first_of(group) from group

    async def _tick(self, pool: Pool | None) -> None:
        while True:
            started = self.parts.clock.now()
            with contextlib.suppress(LedgerUnavailable):  # whoever writes says so when it lasts
                await self._report(pool)
            took = self.parts.clock.now().since(started)
            await self.parts.clock.sleep(max(TICK, TICK_SHARE * took))

    async def _report(self, pool: Pool | None) -> None:
        tally = await self.parts.ledger.work.tally(self.parts.job.spec.id)
        if tally.get(RowState.CANCELLED, 0) and not self._told:
            await self._cancelled()
        now = self.parts.clock.now().boot
        rate = sum(1 for at in pool.requests if at > now - 60.0) if pool else 0
        limit = self.parts.config.rate / self.parts.config.per * 60.0
        pending = tally.get(RowState.PENDING, 0)
        phase = "reconciling" if tally.get(RowState.IN_DOUBT, 0) else "finishing"
        if pool is not None and pending:
            phase = "issuing"
        if pool is not None and pool.health.breaker_open:
            phase = "waiting: too many answers are unclear"
        self.parts.observer(
            Progress(
                job=self.parts.job.spec.id,
                phase=phase,
                tally=tally,
                rows=self.parts.job.rows,
                rate=rate,
                limit=limit,
                seconds_left=pending / limit * 60.0 if pending else None,
            )
        )


def first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that a group of tasks failed with: the first of ours, otherwise the first."""
    leaves = [first_of(error) if isinstance(error, BaseExceptionGroup) else error for error in group.exceptions]
    return next((error for error in leaves if isinstance(error, BulkIssueError)), leaves[0])
