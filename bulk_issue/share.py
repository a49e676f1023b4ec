"""One share in a job that another process leads: begin rows of it, record their answers, nothing else.

What is in doubt is settled by the lead, and so is the job's end. A share leaves when nothing is pending, when it is
asked to, and when nobody leads the job any more: then somebody must.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from enum import Enum, auto

from bulk_issue.crew import Hand
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
        """Take part until one of the reasons to leave; raises `JobHeld` if others go on without this run."""
        job = self.job.spec.id
        hold = await self.ledger.members.share(job, self.config.budget, self.clock.now())
        health = Health(limits=self.limits, began=self.clock.now().boot)
        pool = self.pool(hold, health, await self.readers(), await self.ledger.work.pending(job))
        pool.asked = self._away
        presence = self._presence(hold, health)
        try:
            async with asyncio.TaskGroup() as tasks:
                others = [tasks.create_task(presence.keep()), tasks.create_task(self._obey())]
                await self._canary_first()
                await pool.drain()
                for task in others:
                    task.cancel()
        except BaseExceptionGroup as group:
            raise first_of(group) from group
        await presence.tell()
        stop = health.stop
        await self._patience.insist(
            lambda: self.ledger.members.leave(hold, stop.because if stop else "", self.clock.now())
        )
        if self.asked.is_set():
            return Left.ASKED, pool.stop
        if self._away.is_set():
            return Left.LEADERLESS, None
        return Left.DONE, pool.stop

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
