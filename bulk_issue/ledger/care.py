"""What looks after the ledger itself: stamps of backups, what a restore left unknown, and forgetting customers."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from bulk_issue.findings import Finding
from bulk_issue.ledger import purging, reopen, restored, soundness
from bulk_issue.ledger.database import Face, transaction
from bulk_issue.ledger.purging import Purged
from bulk_issue.ledger.reopen import Restored
from bulk_issue.ledger.schema import backups
from bulk_issue.model import Moment


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """The time between a backup and its restore that nobody has accounted for; epoch seconds."""

    since: float
    until: float


class LedgerCare(Face):
    """What the commands of `bulk-issue ledger` do."""

    @transaction
    def stamp(self, tx: Connection, now: Moment) -> None:
        """Write down that a backup is made."""
        restored.stamp(tx, now)

    @transaction
    def last_backup(self, tx: Connection) -> float | None:
        """When the last backup was made, epoch seconds."""
        found: float | None = tx.scalar(select(func.max(backups.c.at_wall)))
        return found

    async def reopen(self, now: Moment, who: str = "", nothing_since: str = "") -> Restored:
        """Make a ledger that was put back usable; nothing of it is sent before the server's record was asked.

        `nothing_since`: how `who` knows that nothing was sent since the backup, so that no look is needed. Raises
        `JobHeld` while a job runs.
        """
        clock = self._db.going_on(now)
        return await self._db.write(lambda tx: reopen.reopen(tx, self._db, clock(), who, nothing_since))

    @transaction
    def gap(self, tx: Connection) -> Gap | None:
        """What a restore left unknown, until a person says that it is accounted for."""
        found = restored.open_restore(tx)
        return Gap(since=found.since_wall, until=found.at_wall) if found else None

    @transaction
    def trust(self, tx: Connection, who: str, why: str, now: Moment) -> int:
        """A person's word that what was issued in the gap is accounted for; rows that need no look any more."""
        return restored.trust(tx, who, why, now)

    async def purge(self, before: float, who: str, now: Moment) -> list[Purged]:
        """Forget the customers of jobs that ended before that moment (epoch seconds); the jobs.

        Cut short, it is finished by the next purge.
        """
        marked = await self._db.write(lambda tx: purging.mark(tx, self._db.holders, before, who, now))
        for job in marked:
            last: int | None = 0
            while last is not None:
                behind = last
                last = await self._db.write(lambda tx, seq=job.seq, behind=behind: purging.forget(tx, seq, behind))  # type: ignore[misc]
        return [job.said for job in marked]

    def findings(self) -> list[Finding]:
        """Whether rows, claims and requests agree with each other, in one snapshot."""
        with self._db.read() as connection:
            return list(soundness.agreement(lambda query: connection.exec_driver_sql(query).scalar()))
