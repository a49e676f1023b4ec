"""Settle rows in doubt from the server's record.

The rule: nothing is concluded before the grace has passed since a request was given up, from a reader that hasn't
proven itself, or from a look-up that failed in any way. Which coupon is whose is `candidates`' decision; this module
asks, waits and writes down. It never sends an issue request.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from bulk_issue.candidates import Finding, Found, Nothing, Unsure, judge
from bulk_issue.errors import LedgerUnavailable
from bulk_issue.model import JobId, Moment, Reading, ReadProblem, Unreadable
from bulk_issue.ports import Clock, Doubt, Doubts
from bulk_issue.readers import Readers
from bulk_issue.retry import backoff
from bulk_issue.states import Event, RowState

#: Seconds between the two empty reads that absence takes, at least.
SECOND_LOOK = 10.0
#: Seconds until a row is looked up again after a look-up that settled nothing.
LOOK_AGAIN, LOOK_AGAIN_LONGEST = 5.0, 60.0
#: Seconds that the loop sleeps at most: another process may have left rows in doubt.
NAP = 5.0

#: Why a look-up may fail and the next one not.
_PASSING = (ReadProblem.UNREADABLE, ReadProblem.THROTTLED)

_IF_ABSENT = {
    RowState.PENDING: Event.ABSENT,
    RowState.HELD: Event.ABSENT_HELD,
    RowState.REJECTED: Event.ABSENT_REJECTED,
}


@dataclass(slots=True, kw_only=True)
class Reconciler:
    """Settles one run's rows in doubt."""

    job: JobId
    doubts: Doubts
    readers: Readers
    clock: Clock
    draw: Callable[[], float]
    grace: float
    generic: bool = False
    #: Told when a row was settled, and how.
    on_settled: Callable[[Doubt, Event], None] = lambda _doubt, _event: None

    _tries: dict[tuple[JobId, int, int], int] = field(default_factory=dict)
    _not_before: dict[tuple[JobId, int, int], float] = field(default_factory=dict)
    #: Rows that the record, as it was last read, can't settle, and when that look was begun.
    _stuck: dict[tuple[JobId, int, int], Moment] = field(default_factory=dict)

    def stuck(self, since: Moment) -> int:
        """Rows in doubt that the record, as it was read since then, can't settle."""
        return sum(began.since(since) >= 0 for began in self._stuck.values())

    async def run(self) -> None:
        """Settle what becomes due, until cancelled."""
        while True:
            try:
                pause = await self.step()
            except LedgerUnavailable:  # what was read can be read again; those who record answers say when it lasts
                pause = NAP
            await self.clock.sleep(pause)

    async def step(self) -> float:
        """Look up every row that is due now; seconds until another may be."""
        now = self.clock.now()
        if now.boot < self.readers.back_at:
            return min(self.readers.back_at - now.boot, NAP)
        before = Moment(now.wall - self.grace, now.boot - self.grace, now.boot_id)
        # those that wait for their next look may be the first in the list
        due = await self.doubts.due(self.job, before, 100 + len(self._not_before))
        names = {_name(doubt) for doubt in due}
        self._stuck = {name: began for name, began in self._stuck.items() if name in names}  # a person may have decided
        for doubt in due:
            if self._ready(doubt):
                await self._settle(doubt)
            if self.clock.now().boot < self.readers.back_at:
                break
        return await self._until_next()

    async def _until_next(self) -> float:
        now = self.clock.now()
        first = await self.doubts.next_due(self.job)
        if first is None:
            return 1.0
        waits = [self.grace - now.since(first)]
        waits += [at - now.boot for at in self._not_before.values()]
        return min(max(min((wait for wait in waits if wait > 0), default=1.0), 0.05), NAP)

    def _ready(self, doubt: Doubt) -> bool:
        now = self.clock.now().boot
        return now >= self._not_before.get(_name(doubt), 0.0)

    async def _settle(self, doubt: Doubt) -> None:
        """One look at the record for one row."""
        began = self.clock.now()
        reading = await self.readers.read(doubt.identifier)
        finding: Finding
        passing = False  # what the record says stays so once a coupon would show
        if isinstance(reading, Unreadable):
            finding = Unsure(because=reading.reason)
            passing = reading.problem in _PASSING
        else:
            if await self.readers.learn(reading, doubt.identifier):
                return  # look again with what is known now: this reading is older than the proof
            facts = self.readers.facts(reading, doubt.identifier)
            passing = facts is None and await self._may_be_proven(doubt, reading)
            boots = await self.readers.boots(doubt.sent, doubt.given_up)
            finding = judge(doubt, reading, facts, grace=self.grace, generic=self.generic, boots=boots)
        now = self.clock.now()
        lasting = not passing and began.since(doubt.given_up) >= self._shown_by
        match finding:
            case Found(coupon=coupon, at=at):
                because = "found in Capillary's record"
                event = Event.FOUND
                done = await self.doubts.settle(doubt, event, coupon, because, at, now, shared=self.generic)
                if not done:
                    because = "the coupon belongs to another row of this customer"
                    await self._later(doubt, because, began, lasting=lasting)
                    return
            case Nothing() if self._second_look(doubt, began):
                event = _IF_ABSENT[doubt.if_absent]
                await self.doubts.settle(doubt, event, None, "not in Capillary's record", None, now)
            case Nothing():
                await self.doubts.note(doubt, "nothing yet; one more look follows", now, empty=True)
                self._not_before[_name(doubt)] = now.boot + max(SECOND_LOOK, self._shown_by - now.since(doubt.given_up))
                return
            case Unsure(because=because):
                await self._later(doubt, because, began, lasting=lasting)
                return
        self._tries.pop(_name(doubt), None)
        self._not_before.pop(_name(doubt), None)
        self._stuck.pop(_name(doubt), None)
        self.on_settled(doubt, event)

    @property
    def _shown_by(self) -> float:
        """Seconds after a request was given up by which its coupon shows: it exists within one grace, and shows within
        another (docs/design.md).
        """
        return 2 * self.grace

    def _second_look(self, doubt: Doubt, began: Moment) -> bool:
        """Whether a look that was begun then is late enough to count as the second."""
        if doubt.empty_since is None or began.since(doubt.given_up) < self._shown_by:
            return False
        return began.since(doubt.empty_since) >= SECOND_LOOK

    async def _may_be_proven(self, doubt: Doubt, reading: Reading) -> bool:
        """Whether a coupon that could prove the reader may still be about to show."""
        now, proofs = self.clock.now(), await self.readers.proofs(doubt.identifier, reading)
        return any(now.since(proof.answered) < self._shown_by for proof in proofs)

    async def _later(self, doubt: Doubt, because: str, began: Moment, *, lasting: bool) -> None:
        """Note a look-up that settled nothing, and when the next one is; `lasting` where it will settle nothing."""
        self._stuck.pop(_name(doubt), None)
        if lasting:
            self._stuck[_name(doubt)] = began
        now = self.clock.now()
        await self.doubts.note(doubt, because, now, empty=False)
        tries = self._tries[_name(doubt)] = self._tries.get(_name(doubt), 0) + 1
        pause = backoff(tries - 1, self.draw(), first=LOOK_AGAIN, longest=LOOK_AGAIN_LONGEST)
        self._not_before[_name(doubt)] = now.boot + pause


def _name(doubt: Doubt) -> tuple[JobId, int, int]:
    return doubt.job, doubt.row, doubt.attempt
