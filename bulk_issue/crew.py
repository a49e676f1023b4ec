"""What a run works with, and the parts that it makes of it: what sends, reconciles and reads once more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from bulk_issue.audit import Audit
from bulk_issue.config import AT_ONCE, Config, Pace
from bulk_issue.health import Health, Limits
from bulk_issue.held import HeldCodes
from bulk_issue.look import LookFirst
from bulk_issue.model import Job, Series
from bulk_issue.pool import Patience, Pool, Terms
from bulk_issue.ports import Clock, Hold, Issuer, Ledger, Limiter, Observer, Progress, Records
from bulk_issue.readers import Readers
from bulk_issue.reconcile import Reconciler


@dataclass(frozen=True, slots=True, kw_only=True)
class Hand:
    """The job, the settings and the world that one run is given."""

    job: Job
    config: Config
    series: Series | None
    ledger: Ledger
    issuer: Issuer
    records: Records
    clock: Clock
    draw: Callable[[], float]
    #: Makes a pacer: even or at once.
    pacer: Callable[[bool], Limiter]
    #: Paces look-ups.
    lookups: Limiter
    observer: Observer
    #: Set to stop: no new intents, requests under way end.
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    def pool(self, hold: Hold, health: Health, readers: Readers, pending: int, patience: Patience) -> Pool:
        """What sends, as the settings say."""
        config = self.config
        return Pool(
            hold=hold,
            work=self.ledger.work,
            issuer=self.issuer,
            limiter=self.pacer(self._even(pending)),
            clock=self.clock,
            health=health,
            terms=Terms(
                budget=config.budget,
                connections=config.connections,
                send_within=config.leaves_within,
                max_attempts=config.max_attempts,
                generic=self.generic,
                series_ends=self.series.ends if self.series is not None else None,
                first=config.first,
                between=config.between,
            ),
            patience=patience,
            draw=self.draw,
            asked=self.asked,
            blind=lambda: readers.blind,
            on_throttled=readers.rest,
            on_reply=readers.saw,
            after_canary=readers.read_canary,
            look_first=LookFirst(readers=readers) if config.look_first else None,
        )

    async def readers(self) -> Readers:
        """The readers of the server's record, with what they have proven."""
        readers = Readers(
            job=self.job.spec.id,
            doubts=self.ledger.doubts,
            work=self.ledger.work,
            records=self.records,
            limiter=self.lookups,
            clock=self.clock,
            draw=self.draw,
            account=self.config.account.name,
            on_message=self.tell,
        )
        await readers.load()
        return readers

    def reconciler(self, readers: Readers, health: Health) -> Reconciler:
        """What settles rows in doubt."""
        return Reconciler(
            job=self.job.spec.id,
            doubts=self.ledger.doubts,
            readers=readers,
            clock=self.clock,
            draw=self.draw,
            grace=self.config.grace,
            generic=self.generic,
            on_settled=lambda doubt, event: health.settled(doubt.reason, event),
        )

    def audit(self, readers: Readers, enough: Callable[[], bool]) -> Audit:
        """What reads coupons once more."""
        return Audit(
            job=self.job.spec.id,
            doubts=self.ledger.doubts,
            readers=readers,
            clock=self.clock,
            generic=self.generic,
            enough=enough,
        )

    def held_codes(self, readers: Readers, enough: Callable[[], bool]) -> HeldCodes:
        """What reads the coupons that the customers of held rows have."""
        return HeldCodes(
            job=self.job.spec.id,
            held=self.ledger.held,
            readers=readers,
            clock=self.clock,
            enough=enough,
            on_begin=lambda: self.tell("The codes that customers had before are read from the record. Ctrl-C is safe."),
        )

    @property
    def limits(self) -> Limits:
        config = self.config
        return Limits(max_doubt=config.max_doubt, max_failures=config.max_failures, canary=config.canary)

    @property
    def generic(self) -> bool:
        return self.series is not None and self.series.generic

    def _even(self, pending: int) -> bool:
        if self.config.look_first:
            return True  # look-ups are
        match self.config.pace:
            case Pace.EVEN:
                return True
            case Pace.BURST:
                return False
            case Pace.AUTO:
                return pending > min(AT_ONCE, self.config.rate)

    def tell(self, message: str, words: str = "") -> None:
        """One sentence for whoever watches."""
        job, rows = self.job.spec.id, self.job.rows
        self.observer(Progress(job=job, phase="", tally={}, rows=rows, message=message, words=words))
