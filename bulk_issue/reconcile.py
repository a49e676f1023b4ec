"""Settle rows in doubt from the server's record.

The rule: nothing is concluded before the grace has passed since a request was given up, from a reader that hasn't
proven itself, or from a look-up that failed in any way. Which coupon is whose is `candidates`' decision; this module
asks, waits and writes down. It never sends an issue request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from bulk_issue.candidates import PROMPT, RESOLUTION, Finding, Found, Nothing, Unsure, judge, measure
from bulk_issue.errors import LedgerUnavailable
from bulk_issue.model import Identifier, IdentifierKind, JobId, Lineage, Moment, Reading, ReadProblem, Unreadable
from bulk_issue.ports import Clock, Doubt, Doubts, Issued, Limiter, ReaderFacts, Records, Work
from bulk_issue.retry import backoff
from bulk_issue.states import Event, RowState

#: Seconds between the two empty reads that absence takes, at least.
SECOND_LOOK = 10.0
#: Seconds after the canary's answer at which it is read back, until it shows.
READ_BACK_AT = (0.0, 1.0, 3.0, 8.0)
#: Rows of one kind that are read back to prove a reader before the next try, and among how many they are chosen.
PROOFS, AMONG = 3, 20
#: Seconds until a row is looked up again after a look-up that settled nothing.
LOOK_AGAIN, LOOK_AGAIN_LONGEST = 5.0, 60.0
#: Seconds until a refused reader is tried again.
REFUSED_FOR = 300.0
#: A coupon that was created so many seconds after a row's last request isn't taken for the row's any more.
LATEST = 3600.0
#: Tries of a look-up at the end, after which nobody looks again.
LAST_TRIES = 3
#: Seconds that the loop sleeps at most: another process may have left rows in doubt.
NAP = 5.0

_IF_ABSENT = {
    RowState.PENDING: Event.ABSENT,
    RowState.HELD: Event.ABSENT_HELD,
    RowState.REJECTED: Event.ABSENT_REJECTED,
}


@dataclass(slots=True)
class Reconciler:
    """One run's readers of the record."""

    job: JobId
    doubts: Doubts
    work: Work
    records: Records
    #: Look-ups have a limit of their own.
    limiter: Limiter
    clock: Clock
    draw: Callable[[], float]
    account: str
    grace: float
    generic: bool = False
    #: Told when a row was settled.
    on_settled: Callable[[], None] = lambda: None
    #: Told, once, what people should know about the readers.
    on_message: Callable[[str], None] = lambda _text: None
    #: Set whenever a row was settled.
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    _facts: dict[tuple[str, IdentifierKind], ReaderFacts] = field(default_factory=dict)
    _refused_until: float = 0.0
    _paused_until: float = 0.0
    _told: bool = False
    #: Rows that were read back: another look at them measures nothing new.
    _seen: set[tuple[JobId, int]] = field(default_factory=set)
    _tries: dict[tuple[JobId, int, int], int] = field(default_factory=dict)
    _not_before: dict[tuple[JobId, int, int], float] = field(default_factory=dict)

    @property
    def blind(self) -> bool:
        """Whether this account may not read the record at all."""
        return self.clock.now().boot < self._refused_until

    @property
    def _resting(self) -> bool:
        return self.clock.now().boot < self._paused_until

    def rest(self, seconds: float) -> None:
        """No look-ups for so long: the account was throttled."""
        self._paused_until = max(self._paused_until, self.clock.now().boot + seconds)

    async def load(self) -> None:
        """Take up what readers had proven in earlier runs of this job."""
        for facts in await self.doubts.readers(self.job, self.account):
            self._facts[facts.endpoint, facts.kind] = facts

    # --- proving a reader ---------------------------------------------------------------------------------------

    async def read_canary(self) -> None:
        """Read back a coupon that this job was just given, waiting a little for it to show."""
        for pause in READ_BACK_AT:
            await self.clock.sleep(pause)
            fresh = [issued for kind in IdentifierKind for issued in await self.doubts.issued(self.job, kind, 1)]
            if not fresh or self.blind or self._resting:
                return
            shown = [await self._read_back(issued) for issued in fresh]
            if all(shown):
                return

    async def _read_back(self, issued: Issued) -> bool:
        """Look for a coupon that a reply gave; whether it shows (or nothing ever will)."""
        reading = await self._read(issued.identifier)
        if isinstance(reading, Unreadable):
            return reading.problem is ReadProblem.REFUSED
        facts = measure(issued, reading)
        if facts is None:
            return False
        known = self._facts.get((facts.endpoint, facts.kind))
        if known is not None and facts.offset is None:
            # a slow answer measures nothing, and takes nothing back
            facts = replace(facts, offset=known.offset, true_utc=known.true_utc)
        self._facts[facts.endpoint, facts.kind] = facts
        self._seen.add((issued.job, issued.row))
        await self.doubts.prove(self.job, self.account, facts, self.clock.now())
        return True

    async def _prove(self, endpoint: str, kind: IdentifierKind) -> None:
        """Read back some coupons, those with the quickest answers first, until a reader is proven and measured."""
        issued = await self.doubts.issued(self.job, kind, AMONG)
        quickest = sorted(issued, key=lambda each: each.answered.since(each.sent))
        for each in [each for each in quickest if (each.job, each.row) not in self._seen][:PROOFS]:
            await self._read_back(each)
            if not self._wanting(endpoint, kind):
                return

    def _wanting(self, endpoint: str, kind: IdentifierKind) -> bool:
        """Whether a reader isn't proven yet, or its clock not measured."""
        facts = self._facts.get((endpoint, kind))
        return facts is None or facts.offset is None

    # --- settling -----------------------------------------------------------------------------------------------

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
        if now.boot < max(self._paused_until, self._refused_until):
            return min(max(self._paused_until, self._refused_until) - now.boot, NAP)
        before = Moment(now.wall - self.grace, now.boot - self.grace, now.boot_id)
        # those that wait for their next look may be the first in the list
        for doubt in await self.doubts.due(self.job, before, 100 + len(self._not_before)):
            if self._ready(doubt):
                await self._settle(doubt)
            if self.clock.now().boot < max(self._paused_until, self._refused_until):
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
        reading = await self._read(doubt.identifier)
        finding: Finding
        if isinstance(reading, Unreadable):
            finding = Unsure(because=reading.reason)
        else:
            reader = reading.endpoint, doubt.identifier.kind
            facts = self._facts.get(reader)
            if self._wanting(*reader):
                await self._prove(*reader)
                if self._facts.get(reader) != facts:
                    return  # look again with what is known now: this reading is older than the proof
            finding = judge(doubt, reading, facts, grace=self.grace, generic=self.generic)
        now = self.clock.now()
        match finding:
            case Found(coupon=coupon, at=at):
                because = "found in Capillary's record"
                done = await self.doubts.settle(doubt, Event.FOUND, coupon, because, at, now, shared=self.generic)
                if not done:
                    await self._later(doubt, "the coupon belongs to another row of this customer")
                    return
            case Nothing() if self._second_look(doubt, began):
                event = _IF_ABSENT[doubt.if_absent]
                await self.doubts.settle(doubt, event, None, "not in Capillary's record", None, now)
            case Nothing():
                await self.doubts.note(doubt, "nothing yet; one more look follows", now, empty=True)
                self._not_before[_name(doubt)] = now.boot + max(SECOND_LOOK, self._shown_by - now.since(doubt.given_up))
                return
            case Unsure(because=because):
                await self._later(doubt, because)
                return
        self._tries.pop(_name(doubt), None)
        self._not_before.pop(_name(doubt), None)
        self.changed.set()
        self.on_settled()

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

    async def _later(self, doubt: Doubt, because: str) -> None:
        """Note a look-up that settled nothing, and when the next one is."""
        now = self.clock.now()
        await self.doubts.note(doubt, because, now, empty=False)
        tries = self._tries[_name(doubt)] = self._tries.get(_name(doubt), 0) + 1
        pause = backoff(tries - 1, self.draw(), first=LOOK_AGAIN, longest=LOOK_AGAIN_LONGEST)
        self._not_before[_name(doubt)] = now.boot + pause

    async def _read(self, identifier: Identifier) -> Reading | Unreadable:
        await self.limiter.acquire(1)
        began = self.clock.now()
        reading = await self.records.coupons(identifier)
        if isinstance(reading, Reading):
            return reading if reading.at.since(began) <= PROMPT else replace(reading, server_time=None)
        if reading.problem is ReadProblem.REFUSED:
            self._refused_until = self.clock.now().boot + REFUSED_FOR
            if not self._told:
                self._told = True
                self.on_message(
                    "This account may not read coupons back: rows in doubt can only be settled by a person. "
                    f"({reading.reason})"
                )
        elif reading.problem is ReadProblem.THROTTLED:
            seconds = reading.retry_after if reading.retry_after is not None else backoff(3, self.draw())
            self.rest(seconds)
            await self.work.pause(self.account, seconds, self.clock.now())
        return reading

    # --- the last read ------------------------------------------------------------------------------------------

    async def reread(self, enough: Callable[[], bool]) -> None:
        """Read every settled row that was ever in doubt once more, and record a coupon beside its own as excess."""
        before, last = None, None
        while found := await self.doubts.doubted(self.job, last, 100):
            for issued in found:
                if self.blind or enough():
                    return
                before, last = last, Lineage(job=issued.job, row=issued.row)
                reading = await self._read_at_last(issued.identifier)
                if reading is None:
                    continue
                facts = self._facts.get((reading.endpoint, issued.identifier.kind))
                if not self._second_coupons(issued, reading, facts):
                    continue
                # What the customer got for another row since the list was made is nobody's excess.
                for now in await self.doubts.doubted(self.job, before, 1):
                    same = (now.job, now.row) == (last.job, last.row)
                    for code in self._second_coupons(now, reading, facts) if same else ():
                        because = "a second coupon appeared in Capillary's record"
                        await self.doubts.excess(now.job, now.row, code, because, self.clock.now())

    async def _read_at_last(self, identifier: Identifier) -> Reading | None:
        """A look-up that tells the time too; None if a few tries bring none."""
        for _ in range(LAST_TRIES):
            while self._resting:
                await self.clock.sleep(NAP)
            reading = await self._read(identifier)
            if isinstance(reading, Reading) and reading.server_time is not None:
                return reading
            if self.blind:
                return None
        return None

    def _second_coupons(self, issued: Issued, reading: Reading, facts: ReaderFacts | None) -> list[str]:
        """Codes that the record shows for the row beside its own, and that its requests may have brought after all."""
        if facts is None or facts.offset is None or reading.server_time is None or self.generic:
            return []
        now = reading.server_time + facts.offset
        first = now - reading.at.since(issued.sent) - RESOLUTION
        last = now - reading.at.since(issued.answered) + LATEST
        return [
            coupon.code
            for coupon in reading.coupons
            if coupon.series_id == issued.series_id
            and coupon.created is not None
            and coupon.true_utc == facts.true_utc
            and first <= coupon.created <= last
            and (None in (coupon.issued_at, facts.issued_at) or coupon.issued_at == facts.issued_at)
            and coupon.code.casefold() not in issued.known_codes | {issued.code.casefold()}
        ]


def _name(doubt: Doubt) -> tuple[JobId, int, int]:
    return doubt.job, doubt.row, doubt.attempt
