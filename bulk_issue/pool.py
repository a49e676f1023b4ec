"""Issue what is pending: intent, request, record, in this order and no other.

The safety argument is `Pool._issue` with the two ports that it stands between. `Work.begin` returns an intent only
after intent, claim and permit are on disk in one transaction; `_issue` is the only one that requests (`_request`, at
most once) and takes nothing but such an intent; whatever ends it, the row is IN_FLIGHT on disk until `Work.finish` has
committed what the answer means. A crash or a cancelled task at any point between leaves a row that the next holder
finds in flight and takes for doubtful. Nothing here ever sends a row twice, because nothing here sends: it begins, and
lets `begin` decide. Where answers wait when rows may begin, `Work.turn` does both in one transaction: what it returns
is on disk as what the two of them return.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from bulk_issue.classify import Asked, classify
from bulk_issue.commands import command
from bulk_issue.errors import BulkIssueError, ConfigError, JobHalted, JobHeld, LedgerUnavailable
from bulk_issue.health import PATIENCE, Health, Stop, StopKind
from bulk_issue.hours import Hours
from bulk_issue.look import LookFirst
from bulk_issue.model import Answer, Fault, FaultKind, Intent, Meaning, Moment, Outcome, Reply
from bulk_issue.ports import Begun, Budget, Clock, Hold, Issuer, Landed, Limiter, Settlement, Wait, Work
from bulk_issue.retry import THROTTLED, backoff, decide

#: Seconds for which a write that the ledger refuses is tried again before the run gives up.
LEDGER_PATIENCE = 60.0
#: Seconds between two tries of such a write.
LEDGER_PAUSE = 1.0
#: Seconds after which the pool looks again, whatever it waits for: a signal or another process may have changed it.
LOOK_AGAIN = 1.0
#: Turns of the event loop without an answer after which those that came are recorded.
QUIET = 5

T = TypeVar("T")


@dataclass(slots=True)
class Patience:
    """A run's patience with a ledger that refuses writes: a minute, for all of its parts together."""

    clock: Clock
    #: Boot second since which the ledger refuses; None while it doesn't.
    down_since: float | None = None

    async def insist(self, write: Callable[[], Awaitable[T]]) -> T:
        """Try the write again while the ledger refuses it, for a minute."""
        while True:
            try:
                done = await write()
            except LedgerUnavailable:
                now = self.clock.now().boot
                if self.down_since is None:
                    self.down_since = now
                if now - self.down_since > LEDGER_PATIENCE:
                    raise
                await self.clock.sleep(LEDGER_PAUSE)
            else:
                self.down_since = None
                return done


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a run's requests have in common."""

    budget: Budget
    connections: int
    send_within: float
    max_attempts: int
    #: GENERIC series: everybody has the same code.
    generic: bool = False
    #: When the series ends, epoch seconds; None if its facts don't say.
    series_ends: float | None = None
    #: At most so many intents in this run; None for no bound.
    first: int | None = None
    #: Nothing new starts outside of these hours.
    between: Hours | None = None


def outside(hours: Hours | None, now: float) -> Stop | None:
    """Why nothing may start at this hour, and when it may; None if it may."""
    if hours is None or hours.open_at(now):
        return None
    return Stop(
        kind=StopKind.ASKED,
        because=f"outside of the hours --between {hours}",
        hint=f"The same command goes on from {hours.when(hours.opens_at(now))} ({hours.zone}).",
    )


@dataclass(slots=True)
class Pool:
    """A run's workers over one hold."""

    hold: Hold
    work: Work
    issuer: Issuer
    limiter: Limiter
    clock: Clock
    health: Health
    terms: Terms
    patience: Patience
    draw: Callable[[], float]
    #: Set when the run is asked to stop: no new intents, requests under way end.
    asked: asyncio.Event
    #: True while the server's record can't be read.
    blind: Callable[[], bool] = lambda: False
    #: Told of every account-wide pause, so that look-ups rest too.
    on_throttled: Callable[[float], None] = lambda _seconds: None
    #: Awaited with each answer and the moment when its request was begun.
    on_reply: Callable[[Moment, Reply], Awaitable[None]] | None = None
    #: Awaited once, when the canary has its coupon and before any other row is begun.
    after_canary: Callable[[], Awaitable[None]] | None = None
    #: Asked before each request, once its intent is on disk: what keeps it from being sent, None if nothing does.
    look_first: LookFirst | None = None
    begun: int = 0
    excess: int = 0
    #: Boot seconds of the latest answers, for the rate that people see.
    requests: deque[float] = field(default_factory=lambda: deque(maxlen=10_000))
    _in_flight: int = 0
    _answered: deque[Settlement] = field(default_factory=deque)
    #: Set when something that `_drained` waits for may have happened.
    _stir: asyncio.Event = field(default_factory=asyncio.Event)
    #: Set when so many starts are wanted that the limiter hasn't granted yet.
    _to_pace: asyncio.Event = field(default_factory=asyncio.Event)
    _wanted: int = 0
    _throttled_in_a_row: int = 0
    #: Starts that the limiter has granted and no intent has used yet.
    _granted: int = 0
    #: Boot second since which all that is pending waits for other jobs' rows; None while it doesn't.
    _waiting_since: float | None = None
    #: Why this run may begin nothing of the job any more, if so.
    _over: BulkIssueError | None = None

    @property
    def stop(self) -> Stop | None:
        """Why no new intents are written any more, if so."""
        if self.health.stop is not None:
            return self.health.stop
        if self.asked.is_set():
            return Stop(kind=StopKind.ASKED, because="as asked")
        if self.terms.first is not None and self.begun >= self.terms.first:
            return Stop(kind=StopKind.ASKED, because=f"--first {self.terms.first}: so many rows were sent")
        return outside(self.terms.between, self.clock.now().wall)

    async def drain(self) -> None:
        """Return when nothing is pending or the run has to stop, and every answer is on record.

        So it is when this raises `JobHeld`, because another run holds the job by now, or `ConfigError`, because the
        account is used with another limit.
        """
        async with asyncio.TaskGroup() as tasks:
            pacer = tasks.create_task(self._pace())
            while not await self._drained(tasks):
                pass
            pacer.cancel()
        if self._over is not None:
            raise self._over

    @property
    def _busy(self) -> int:
        """Rows that are on the wire, or whose answers the ledger hasn't taken in yet."""
        return self._in_flight + len(self._answered)

    async def _drained(self, tasks: asyncio.TaskGroup) -> bool:
        """Commit what was answered and what may begin, or wait for either; True when there is nothing left to do."""
        self._stir.clear()
        await self._gather()
        if self._canary_answered and not self._busy and self._over is None:
            assert self.after_canary is not None
            read_canary, self.after_canary = self.after_canary, None
            await self.patience.insist(read_canary)
        if self._granted == 0 and (wanted := self._room()):
            self._wanted = wanted
            self._to_pace.set()
            await asyncio.sleep(0)  # a limiter that has starts at hand grants them in this very turn of the loop
        room = self._room()
        n = min(room, self._granted)
        if self._answered or n:
            return await self._turn(tasks, n)
        over = self.stop is not None or self._over is not None
        if room == 0 and not self._busy and (over or not await self._pending()):
            return True  # whatever holds new intents back, there is none to write
        await self._stirred(self.health.ask_again_in(self.clock.now().boot))
        return False

    async def _turn(self, tasks: asyncio.TaskGroup, n: int) -> bool:
        """One transaction, and on their way what it has begun; True when there is nothing left to do."""
        landed, begun = await self._commit(list(self._answered), n)
        for verdict in landed:
            recorded = self._answered.popleft()
            if self.look_first is not None:
                self.look_first.recorded(recorded.intent)
            self.excess += verdict is Landed.EXCESS
        self.begun += len(begun.intents)
        self._granted -= len(begun.intents)
        for intent in begun.intents:
            self._in_flight += 1
            tasks.create_task(self._issue(intent))
        self._watch_waiting(begun)
        if begun.wait is Wait.DRAINED:
            if not self._busy:
                return True
            await self._stirred()
        elif begun.wait is not None:
            await self._stirred(begun.seconds)
        return False

    async def _commit(self, answers: Sequence[Settlement], n: int) -> tuple[Sequence[Landed], Begun]:
        """What these answers mean, and up to `n` intents: both in one transaction where there are both."""

        async def commit() -> tuple[Sequence[Landed], Begun]:
            if n == 0 or self.patience.down_since is not None:  # the ledger just refused: nothing new
                return await self.work.finish(answers), Begun(intents=())
            new = self.hold, n, self.terms.budget, self.clock.now(), self.terms.send_within
            try:
                if not answers:
                    return (), await self.work.begin(*new)
                return await self.work.turn(answers, *new)
            except (JobHeld, ConfigError) as over:
                self._over = over  # whoever runs the job now, what is on the wire are requests for its rows
            return await self.work.finish(answers), Begun(intents=())

        return await self.patience.insist(commit)

    async def _gather(self) -> None:
        """Let the loop bring the answers that are coming in: few large transactions cost less than many small ones."""
        quiet = 0
        while self._answered and self._in_flight and quiet < QUIET:
            before = len(self._answered)
            await asyncio.sleep(0)
            quiet = quiet + 1 if len(self._answered) == before else 0

    @property
    def _canary_answered(self) -> bool:
        """Whether it is time to read the canary's coupon back, before any other row is begun."""
        return self.after_canary is not None and self.health.canaries >= max(self.health.limits.canary, 1)

    async def _pace(self) -> None:
        """Ask the limiter for starts when they are wanted. Answers are recorded while it lets us wait."""
        while True:
            await self._to_pace.wait()
            self._granted = await self.limiter.acquire(self._wanted)
            self._to_pace.clear()
            self._stir.set()

    async def _pending(self) -> int:
        return await self.patience.insist(lambda: self.work.pending(self.hold.job, retried=self.hold.retried))

    def _watch_waiting(self, begun: Begun) -> None:
        """Stop if for too long nothing was due: no pause lasts as long, so the rows wait for those of other jobs."""
        if begun.wait is not Wait.DUE or self._busy:
            self._waiting_since = None
            return
        now = self.clock.now().boot
        if self._waiting_since is None:
            self._waiting_since = now
        if now - self._waiting_since > PATIENCE:
            self.health.stall(
                "what is left waits for rows of the same customers that are in doubt in other jobs",
                f"Reconcile those jobs ({command('status')} lists them), then run the same command again.",
            )

    async def _stirred(self, seconds: float = LOOK_AGAIN) -> None:
        """Wait until an answer came or was recorded, for at most so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(seconds, LOOK_AGAIN)):
                await self._stir.wait()

    def _room(self) -> int:
        """How many intents may be written now, as far as it isn't for the limiter to say."""
        if self.stop is not None or self._over is not None or self._canary_answered:
            return 0
        if self.patience.down_since is not None:
            return 0
        idle = self.terms.connections - self._in_flight
        if self.terms.first is not None:
            idle = min(idle, self.terms.first - self.begun)
        if idle <= 0:
            return 0
        return self.health.may_start(idle, self._busy, self.clock.now().boot, blind=self.blind())

    async def _issue(self, intent: Intent) -> None:
        """One intent, at most one request, one outcome to record."""
        answer: Answer | None = None
        outcome = await self._looked(intent)
        if outcome is None:
            answer = await self._request(intent)
            asked = Asked(
                series_id=intent.series_id,
                identifier=intent.identifier,
                now=self.clock.now().wall,
                generic=self.terms.generic,
                series_ends=self.terms.series_ends,
            )
            outcome = classify(answer, asked)
        now = self.clock.now()
        decision = decide(answer, outcome, intent, max_attempts=self.terms.max_attempts, draw=self.draw())
        left = isinstance(answer, Reply) or (answer is not None and answer.sent)
        self._answered.append(
            Settlement(
                intent=intent,
                event=decision.event,
                outcome=decision.outcome,
                at=answer.at if answer is not None else now,
                left=left,
                answered=isinstance(answer, Reply),
                counts=decision.counts,
                due=now.wall + decision.delay,
                if_absent=decision.if_absent,
            )
        )
        self._in_flight -= 1
        self._stir.set()
        if left or outcome.meaning is not Meaning.HELD:  # who was found to hold one is no canary
            fresh = isinstance(answer, Reply) and answer.fresh_credential
            self.health.note(intent, outcome, decision.event, now.boot, self.draw(), fresh=fresh)
        if left:
            self.requests.append(now.boot)
        if outcome.misdirected:
            await self.issuer.reset()
        throttled = answer.status == 429 if isinstance(answer, Reply) else outcome.error_code == THROTTLED
        if throttled:
            await self._throttle(outcome.retry_after)
        elif outcome.meaning is not Meaning.NOT_PROCESSED:
            self._throttled_in_a_row = 0
        if isinstance(answer, Reply) and self.on_reply is not None:
            await self.on_reply(intent.begun, answer)

    async def _looked(self, intent: Intent) -> Outcome | None:
        """What a look before the request keeps it back for, if anything does."""
        if (look := self.look_first) is None:
            return None
        return await self.patience.insist(lambda: look(intent))

    async def _request(self, intent: Intent) -> Answer:
        try:
            return await self.issuer.issue(intent)
        except JobHalted as halt:  # credentials were refused before anything was sent
            self.health.halt(halt.message, halt.hint)
            return Fault(kind=FaultKind.AUTH, sent=False, detail=halt.message, at=self.clock.now())

    async def _throttle(self, retry_after: float | None) -> None:
        """A 429 pauses the account, not one worker."""
        self._throttled_in_a_row += 1
        self.limiter.steady()
        seconds = retry_after if retry_after is not None else backoff(self._throttled_in_a_row, self.draw())
        self.on_throttled(seconds)
        await self.patience.insist(lambda: self.work.pause(self.terms.budget.account, seconds, self.clock.now()))
