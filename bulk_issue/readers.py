"""The readers of the server's record: paced look-ups, and what each reader has shown of itself.

The rule: a reader (endpoint and kind of identifier) counts only once it has shown a coupon that a reply had given, and
what it measured then is kept with the job. A look-up that fails says nothing. That nobody bears an identifier counts
only where the bearer of one of the same form was found: a record may know 919800000001, and not 9800000001.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from bulk_issue.candidates import PROMPT, measure, server_zero
from bulk_issue.errors import LedgerUnavailable
from bulk_issue.model import Identifier, IdentifierKind, JobId, Moment, Reading, ReadProblem, Reply, Unreadable
from bulk_issue.ports import Clock, Doubts, Issued, Limiter, ReaderFacts, Records, Work
from bulk_issue.retry import backoff
from bulk_issue.wire import date_header

#: Seconds after the canary's answer at which it is read back, until it shows.
READ_BACK_AT = (0.0, 1.0, 3.0, 8.0)
#: Rows of one kind that are read back to prove a reader before the next try, and among how many they are chosen.
PROOFS, AMONG = 3, 20
#: Seconds until a refused reader is tried again.
REFUSED_FOR = 300.0

#: One way to ask the record.
Look = Callable[[Identifier], Awaitable[Reading | Unreadable]]


@dataclass(slots=True, kw_only=True)
class Readers:
    """One run's readers."""

    job: JobId
    doubts: Doubts
    work: Work
    records: Records
    #: Look-ups have a limit of their own.
    limiter: Limiter
    clock: Clock
    draw: Callable[[], float]
    account: str
    #: Told, once, what people should know about the readers.
    on_message: Callable[[str], None] = lambda _text: None
    _facts: dict[tuple[str, IdentifierKind], ReaderFacts] = field(default_factory=dict)
    #: The server's epoch seconds at second 0 of the clock of each boot in which it was asked.
    _boots: dict[str, float] = field(default_factory=dict)
    #: Kinds and forms of identifiers whose bearers were found.
    _forms: set[tuple[IdentifierKind, str]] = field(default_factory=set)
    _refused_until: float = 0.0
    #: Until when it isn't asked who bears an identifier: that was refused.
    _no_bearers_until: float = 0.0
    _paused_until: float = 0.0
    _told: bool = False
    #: Rows that were read back: another look at them measures nothing new.
    _seen: set[tuple[JobId, int, bool]] = field(default_factory=set)

    @property
    def blind(self) -> bool:
        """Whether this account may not read the record at all."""
        return self.clock.now().boot < self._refused_until

    @property
    def resting(self) -> bool:
        """Whether look-ups are paused: the account was throttled."""
        return self.clock.now().boot < self._paused_until

    @property
    def back_at(self) -> float:
        """Boot second before which a look-up is pointless."""
        return max(self._paused_until, self._refused_until)

    def rest(self, seconds: float) -> None:
        """No look-ups for so long: the account was throttled."""
        self._paused_until = max(self._paused_until, self.clock.now().boot + seconds)

    async def load(self) -> None:
        """Take up what readers had proven in earlier runs of this job."""
        for facts in await self.doubts.readers(self.job, self.account):
            self._facts[facts.endpoint, facts.kind] = facts
        self._boots |= await self.doubts.boots(self.account)

    async def boots(self, *moments: Moment) -> Mapping[str, float]:
        """The server's seconds at second 0 of the boots of these moments, as far as they are known."""
        if any(moment.boot_id not in self._boots for moment in moments):
            self._boots |= await self.doubts.boots(self.account)  # another host may have begun since
        return self._boots

    async def saw(self, begun: Moment, reply: Reply) -> None:
        """Note, once a boot, what the server's clock showed when a quick answer came."""
        if begun.boot_id not in self._boots and reply.at.since(begun) <= PROMPT:
            date = date_header(reply.headers.get("date", ""))
            if date is not None:
                await self._keep(date, reply.at)

    async def _keep(self, date: float, at: Moment) -> None:
        zero = self._boots[at.boot_id] = server_zero(date, at)
        try:
            await self.doubts.keep_boot(self.account, at.boot_id, zero)
        except LedgerUnavailable:  # the next answer tells it, too
            del self._boots[at.boot_id]

    async def read(self, identifier: Identifier) -> Reading | Unreadable:
        """What the record shows, when it may be asked; by way of the bearer where it doesn't know the customer."""
        reading = await self._look(self.records.coupons, identifier)
        if isinstance(reading, Reading):
            return reading
        if reading.problem is ReadProblem.NOT_FOUND:
            return await self._by_bearer(identifier) or reading
        if reading.problem is ReadProblem.REFUSED:
            self._refused_until = self.clock.now().boot + REFUSED_FOR
            if not self._told:
                self._told = True
                self.on_message(
                    "This account may not read coupons back: rows in doubt can only be settled by a person. "
                    f"({reading.reason})"
                )
        return reading

    async def _by_bearer(self, identifier: Identifier) -> Reading | Unreadable | None:
        """The same by way of the bearer; None where this account may not ask so."""
        if self.clock.now().boot < self._no_bearers_until:
            return None
        reading = await self._look(self.records.coupons_by_bearer, identifier)
        if isinstance(reading, Unreadable) and reading.problem is ReadProblem.REFUSED:
            self._no_bearers_until = self.clock.now().boot + REFUSED_FOR
            return None
        return reading

    async def _look(self, ask: Look, identifier: Identifier) -> Reading | Unreadable:
        """One look-up. An answer that took long brings no `server_time`."""
        await self.limiter.acquire(1)
        began = self.clock.now()
        reading = await ask(identifier)
        if isinstance(reading, Reading):
            if reading.at.since(began) > PROMPT:
                return replace(reading, server_time=None)
            if reading.server_time is not None and reading.at.boot_id not in self._boots:
                await self._keep(reading.server_time, reading.at)
        elif reading.problem is ReadProblem.THROTTLED:
            seconds = reading.retry_after if reading.retry_after is not None else backoff(3, self.draw())
            self.rest(seconds)
            await self.work.pause(self.account, seconds, self.clock.now())
        return reading

    # --- proof --------------------------------------------------------------------------------------------------

    def facts(self, reading: Reading, identifier: Identifier) -> ReaderFacts | None:
        """What the reader of this reading has shown of itself; None while it isn't proven for this identifier."""
        if reading.names_nobody and (identifier.kind, form(identifier)) not in self._forms:
            return None
        return self._facts.get((reading.endpoint, identifier.kind))

    async def learn(self, reading: Reading, identifier: Identifier) -> bool:
        """Prove and measure the reader of this reading, if that is wanting; whether more is known of it now."""
        before = self.facts(reading, identifier)
        if before is None or before.offset is None:
            await self._prove(reading, identifier)
        return self.facts(reading, identifier) != before

    async def proofs(self, identifier: Identifier, reading: Reading | None = None) -> Sequence[Issued]:
        """Some coupons that replies gave and that can prove the reader, those with the quickest answers first."""
        issued = await self.doubts.issued(self.job, identifier.kind, AMONG)
        if reading is not None and reading.names_nobody:
            issued = [each for each in issued if form(each.identifier) == form(identifier)]
        return sorted(issued, key=lambda each: each.answered.since(each.sent))

    async def read_canary(self) -> None:
        """Read back a coupon that this job was just given, waiting a little for it to show."""
        for pause in READ_BACK_AT:
            await self.clock.sleep(pause)
            fresh = [issued for kind in IdentifierKind for issued in await self.doubts.issued(self.job, kind, 1)]
            if not fresh or self.blind or self.resting:
                return
            shown = [await self._read_back(issued) for issued in fresh]
            if all(shown):
                return

    async def _prove(self, reading: Reading, identifier: Identifier) -> None:
        """Read back some coupons, until the reader of this reading is proven and measured."""
        proofs = await self.proofs(identifier, reading)
        for each in [each for each in proofs if (each.job, each.row, reading.by_bearer) not in self._seen][:PROOFS]:
            await self._read_back(each, by_bearer=reading.by_bearer)
            facts = self.facts(reading, identifier)
            if facts is not None and (facts.offset is not None or reading.names_nobody):
                return

    async def _read_back(self, issued: Issued, *, by_bearer: bool = False) -> bool:
        """Look for a coupon that a reply gave; whether it shows (or nothing ever will)."""
        reading = await (self._by_bearer if by_bearer else self.read)(issued.identifier)
        if not isinstance(reading, Reading):
            return reading is None or reading.problem is ReadProblem.REFUSED
        facts = measure(issued, reading)
        if facts is None:
            return False
        known = self._facts.get((facts.endpoint, facts.kind))
        if known is not None and facts.offset is None:
            # a slow answer measures nothing, and takes nothing back
            facts = replace(facts, offset=known.offset, true_utc=known.true_utc)
        self._facts[facts.endpoint, facts.kind] = facts
        self._seen.add((issued.job, issued.row, reading.by_bearer))
        if reading.by_bearer:
            self._forms.add((facts.kind, form(issued.identifier)))
        await self.doubts.prove(self.job, self.account, facts, self.clock.now())
        return True


def form(identifier: Identifier) -> str:
    """What identifiers that a record knows alike have in common: the length of a number, leading zeros, the case."""
    value = identifier.value
    match identifier.kind:
        case IdentifierKind.MOBILE:
            return f"{len(value)} digits"
        case IdentifierKind.EXTERNAL_ID:
            return f"{'digits' if value.isdigit() else 'text'}{' with zeros' * value.startswith('0')}"
        case IdentifierKind.EMAIL:
            return "lower" if value == value.lower() else "mixed"
        case IdentifierKind.ID:
            return ""
