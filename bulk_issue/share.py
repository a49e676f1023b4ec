"""One share in a job that another process leads: begin rows of it, record their answers, nothing else.

What is in doubt is settled by the lead, and so is the job's end. A share leaves when nothing is pending, when it is
asked to, and when nobody leads the job any more: then somebody must.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from enum import Enum, auto

from bulk_issue.crew import Hand
from bulk_issue.errors import ConfigError, JobHeld
from bulk_issue.health import Health, Stop
from bulk_issue.job import first_of
from bulk_issue.ports import Hold, Part
from bulk_issue.presence import LOOK, Presence
from bulk_issue.states import RowState


class Left(Enum):
    """Why a share was left."""

    #: Nothing is pending, or this run found a reason to stop.
    DONE = auto()
    ASKED = auto()
    #: Somebody has to lead the job.
    LEADERLESS = auto()


@dataclass(slots=True, kw_only=True)
class Share(Hand):
    """See above."""

    #: What the pool obeys: set when this run is asked to stop, and when nobody leads the job.
    _away: asyncio.Event = field(default_factory=asyncio.Event)

    async def take(self) -> tuple[Left, Stop | None]:
        """Take part until one of the reasons to leave; raises `JobHeld` if others go on without this run.

        Either way its requests have ended and their answers are on record.
        """
        job = self.job.spec.id
        readers, pending = await self.readers(), await self.ledger.work.pending(job)
        hold = await self.ledger.members.share(job, self.config.budget, self.clock.now())
        health = Health(limits=self.limits, began=self.clock.now().boot)
        pool = self.pool(hold, health, readers, pending)
        pool.asked = self._away
        presence = self._presence(hold, health)
        try:
            async with asyncio.TaskGroup() as tasks:
                others = [tasks.create_task(self.be_seen(presence, pool)), tasks.create_task(self._obey())]
                await self._canary_first()
                await pool.drain()
                for task in others:
                    task.cancel()
        except BaseExceptionGroup as group:
            error = first_of(group)
            # after any other one rows may be in flight: this run is lost, and others give them up
            if isinstance(error, (JobHeld, ConfigError)):
                await self._leave(hold, error.message)
            raise error from group
        await presence.tell()
        await self._leave(hold, health.stop.because if health.stop else "")
        if self.asked.is_set():
            return Left.ASKED, pool.stop
        if self._away.is_set():
            return Left.LEADERLESS, None
        return Left.DONE, pool.stop

    async def _leave(self, hold: Hold, because: str) -> None:
        await self._patience.insist(lambda: self.ledger.members.leave(hold, because, self.clock.now()))

    async def _canary_first(self) -> None:
        """Wait until the job has its first coupon: one row at a time goes before that, and it is the lead's."""
        job = self.job.spec.id
        while self.config.canary and not self._away.is_set():
            tally = await self._patience.insist(lambda: self.ledger.work.tally(job))
            if tally.get(RowState.ISSUED, 0) or tally.get(RowState.HELD, 0) or not tally.get(RowState.PENDING, 0):
                return
            await self.clock.sleep(LOOK)

    async def _obey(self) -> None:
        await self.asked.wait()
        self._away.set()

    def _presence(self, hold: Hold, health: Health) -> Presence:
        return Presence(
            hold=hold,
            part=Part.SHARE,
            members=self.ledger.members,
            budget=self.config.budget,
            clock=self.clock,
            stopped=lambda: health.stop,
            on_leaderless=self._away.set,
            on_settled=health.settled,
        )
