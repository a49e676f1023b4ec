"""Looking after the ledger, without Capillary: check, backup, restore, trust, purge."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bulk_issue.app.desk import existing, there
from bulk_issue.clock import SystemClock
from bulk_issue.commands import command
from bulk_issue.config import LedgerUrl
from bulk_issue.errors import ConfigError
from bulk_issue.findings import Finding
from bulk_issue.ledger import backups
from bulk_issue.ledger.backups import PutBack
from bulk_issue.ledger.purging import Purged
from bulk_issue.ledger.reopen import Restored
from bulk_issue.ledger.runs import who
from bulk_issue.ledger.soundness import examine


@dataclass(frozen=True, slots=True, kw_only=True)
class Purge:
    """What a purge did."""

    jobs: list[Purged]
    #: False if other processes kept the file from giving its free pages back.
    compacted: bool


async def check(ledger: Path | LedgerUrl) -> list[Finding]:
    """What can be said of the ledger; changes nothing."""
    if isinstance(ledger, Path):
        there(ledger)
        return list(examine(ledger))
    async with existing(ledger) as ours:
        return ours.care.findings()


async def backup(ledger: Path | LedgerUrl, to: Path | str) -> Path:
    """Copy the ledger to a new file or into a folder that is there, whatever runs meanwhile; the copy."""
    there(ledger)
    return await backups.back_up(_file(ledger), to, SystemClock().now())


async def restore(ledger: Path | LedgerUrl, source: Path, *, replace: bool, nothing_since: str) -> PutBack:
    """Put a backup in the ledger's place, so that nothing of it is sent without a look at the record.

    `nothing_since`: how the user knows that nothing was sent since; empty where they don't.
    """
    now = SystemClock().now()
    return await backups.restore(
        _file(ledger), source, now, replace=replace, who=_who(nothing_since), nothing_since=nothing_since
    )


async def reopen(ledger: Path | LedgerUrl, *, nothing_since: str) -> Restored:
    """What `restore` does to the rows, for a ledger that was put back by other means."""
    async with existing(ledger) as ours:
        return await ours.care.reopen(SystemClock().now(), _who(nothing_since), nothing_since)


async def trust(ledger: Path | LedgerUrl, why: str) -> int | None:
    """A person's word that all that was issued since the backup is accounted for; None if nobody asks for it."""
    async with existing(ledger) as ours:
        if await ours.care.gap() is None:
            return None
        return await ours.care.trust(who(), why, SystemClock().now())


async def purge(ledger: Path | LedgerUrl, older_than: float) -> Purge:
    """Forget the customers of jobs that ended so many seconds ago or earlier."""
    async with existing(ledger) as ours:
        now = SystemClock().now()
        done = await ours.care.purge(now.wall - older_than, who(), now)
    return Purge(jobs=done, compacted=not isinstance(ledger, Path) or backups.compact(ledger))


def _file(ledger: Path | LedgerUrl) -> Path:
    """The ledger's file; raises `ConfigError` for a database: that has means of its own."""
    if isinstance(ledger, Path):
        return ledger
    raise ConfigError(
        f"the ledger {ledger} is a database",
        hint=f"Use its own means, e.g. pg_dump and pg_restore, and after a restore: {command('ledger', 'reopen')}.",
    )


def _who(said: str) -> str:
    return who() if said else ""


__all__ = [
    "Finding",
    "Purge",
    "PutBack",
    "Restored",
    "backup",
    "check",
    "purge",
    "reopen",
    "restore",
    "trust",
]
