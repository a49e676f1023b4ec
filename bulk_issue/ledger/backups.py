"""Copies of the ledger: made while it is in use, and put back in its place.

A backup is one private file, complete and checked when it has its name. A restore is prepared beside the ledger, made
to know what it doesn't know (`reopen`), and only then put in place, in one transaction of SQLite's: whatever crashes
on the way, the ledger is the old one or the new one, never a copy that may be sent from. What was there before is kept.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bulk_issue.aside import aside_in
from bulk_issue.commands import command
from bulk_issue.errors import ConfigError, LedgerError, LedgerUnavailable
from bulk_issue.ledger import journal, moved, open_ledger, trusted
from bulk_issue.ledger.database import create_private
from bulk_issue.ledger.locks import Locks
from bulk_issue.ledger.reopen import Restored
from bulk_issue.model import Moment

#: The tables that make a file a ledger.
_TABLES = frozenset({"jobs", "rows", "claims", "attempts", "alembic_version"})


@dataclass(frozen=True, slots=True, kw_only=True)
class PutBack:
    """What a restore did."""

    restored: Restored
    #: Where the ledger that was there before is kept, if there was one.
    kept: Path | None


async def back_up(ledger: Path, where: Path | str, now: Moment) -> Path:
    """Copy the ledger, running jobs or not, to a new private file; on return it is complete, checked and on disk.

    A folder gets a file named by the time. An existing file is never overwritten; a name that looks like a folder's,
    without a suffix or with a / at its end, is never a file's.
    """
    to = _place(ledger, where, now)
    opened = await open_ledger(ledger)
    try:
        await opened.care.stamp(now)
    finally:
        await opened.close()
    try:
        with _beside(to) as copy:
            _copy(ledger, copy)
            if found := unsound(copy):
                raise LedgerError(
                    f"the copy of {ledger} is damaged, so the ledger is: {found}",
                    hint=f"Run {command('ledger', 'check')}, and restore an earlier backup.",
                )
            _publish(copy, to)
    except OSError as error:
        raise ConfigError(f"{to} can't be written: {error.strerror}", hint="Name another place.") from error
    return to


async def restore(
    ledger: Path, backup: Path, now: Moment, *, replace: bool, who: str = "", nothing_since: str = ""
) -> PutBack:
    """Put a backup in the ledger's place; nothing of it is sent before the server's record was asked.

    A sound ledger that is there is replaced only where `replace` says so. Raises `JobHeld` while any process has it
    open: one that waits for an answer would go on with what it knew. With `nothing_since`, `who` says how they know
    that nothing was sent since the backup: then no look is needed.
    """
    ledger = trusted(ledger)
    with _beside(ledger) as copy:
        _take(backup, copy)
        with Locks(ledger).alone():
            found = unsound(ledger) if ledger.stat().st_size else "empty"
            if not found:
                _refuse_if_moved(ledger)
            if not found and not replace:
                raise ConfigError(
                    f"the ledger {ledger} is sound: a restore would forget what was sent since the backup",
                    hint="If that is meant, add --replace; the ledger that is there is kept beside it.",
                )
            opened = await open_ledger(copy)
            try:
                restored = await opened.care.reopen(now, who, nothing_since)
            finally:
                await opened.close()
            if not found:
                _count_on(copy, ledger)
            kept = _keep(ledger, now, damaged=bool(found))
            (_replace_damaged if found else _copy_over)(copy, ledger)
    return PutBack(restored=restored, kept=kept)


def compact(ledger: Path) -> bool:
    """Give back what was deleted, so that no trace of it stays in the file; False if others use the ledger now."""
    try:
        with closing(_connect(ledger)) as connection:
            connection.execute("VACUUM")
            busy, *_rest = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            journal.keep(connection)
    except sqlite3.OperationalError:
        return False
    return not busy


def unsound(path: Path) -> str:
    """What is wrong with the file as SQLite sees it; empty if nothing is."""
    try:
        with closing(_look(path)) as connection:
            said = [line for (line,) in connection.execute("PRAGMA integrity_check(3)")]
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.OperationalError as error:
        raise LedgerUnavailable(f"{path} can't be read now: {error}", hint="Try again.") from error
    except sqlite3.DatabaseError as error:
        return str(error)
    if said != ["ok"]:
        return "; ".join(said)
    missing = sorted(_TABLES - tables)
    return f"it has no table {missing[0]}" if missing else ""


def _place(ledger: Path, where: Path | str, now: Moment) -> Path:
    """Where the copy goes."""
    if not ledger.exists():
        raise ConfigError(f"there is no ledger at {ledger}", hint="--ledger names another one.")
    to = Path(where)
    if to.is_dir():
        to = to / f"{ledger.stem}-{_utc(now)}.db"
    elif not to.suffix or str(where).endswith(os.sep):
        raise ConfigError(
            f"there is no folder {where}", hint="Make it, or mount it, first; or name a file, with a suffix like .db."
        )
    if to.exists():
        raise ConfigError(f"{to} exists already", hint="Name a new file, or a folder: the file is named by the time.")
    return to


def _take(backup: Path, copy: Path) -> None:
    """Take a copy of the backup, which itself is never opened: a look would change it."""
    if not backup.is_file():
        raise ConfigError(f"there is no backup {backup}", hint="Name the file that `ledger backup` wrote.")
    shutil.copyfile(backup, copy)
    with suppress(FileNotFoundError):  # of a copy that was made by other means
        shutil.copyfile(f"{backup}-wal", f"{copy}-wal")
    if found := unsound(copy):
        raise ConfigError(f"{backup} is no backup that can be restored: {found}", hint="Name an earlier one.")


def _refuse_if_moved(ledger: Path) -> None:
    with closing(_look(ledger)) as connection:
        place = moved.place_in(connection)
    if place:
        raise ConfigError(
            f"the ledger {ledger} was moved to {place}: with a restored one beside it coupons would be issued twice",
            hint=f"Use --ledger {place}. If that one is lost, restore into another file, with its --ledger.",
        )


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A name for a private file in a folder of its own beside `path`, gone afterwards."""
    with aside_in(path.parent) as folder:
        copy = folder / path.name
        create_private(copy)
        yield copy


def _copy(ledger: Path, to: Path) -> None:
    """A consistent copy in one file, taken without holding up those who write."""
    try:
        with closing(_look(ledger)) as connection:
            connection.execute("VACUUM INTO ?", (str(to),))
    except sqlite3.DatabaseError as error:
        raise LedgerError(
            f"the ledger {ledger} can't be copied: {error}", hint="Look at the disk's free space and `ledger check`."
        ) from error


def _count_on(copy: Path, ledger: Path) -> None:
    """Let the copy give no number that the ledger has given: it was another job's."""
    with closing(_look(ledger)) as old, closing(_connect(copy)) as new:
        for name, last in old.execute("SELECT name, seq FROM sqlite_sequence"):
            known = new.execute("UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = ?", (last, name)).rowcount
            if not known:
                new.execute("INSERT INTO sqlite_sequence VALUES (?, ?)", (name, last))


def _copy_over(source: Path, ledger: Path) -> None:
    """Make the ledger's content that of `source`, in one transaction; who has it open sees the new one from then on."""
    with closing(_connect(source)) as new, closing(_connect(ledger)) as old:
        old.execute("PRAGMA journal_mode = WAL")
        old.execute("PRAGMA synchronous = FULL")
        new.backup(old)
        old.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _replace_damaged(copy: Path, ledger: Path) -> None:
    """Put `copy` in the place of a file that is no sound ledger.

    Without its -wal a damaged ledger might pass for a sound, older one, so it first ceases to be a database at all.
    """
    with ledger.open("r+b") as file:
        file.write(b"A restore was cut short here.".ljust(100))
        file.flush()
        os.fsync(file.fileno())
    for suffix in ("-wal", "-shm"):
        Path(f"{ledger}{suffix}").unlink(missing_ok=True)
    _publish(copy, ledger)


def _keep(ledger: Path, now: Moment, *, damaged: bool) -> Path | None:
    """Keep a copy of what is in the ledger's place; None if nothing is."""
    if not ledger.stat().st_size:
        return None
    kept = ledger.with_name(f"{ledger.name}.before-restore-{_utc(now)}")
    with _beside(kept) as copy:
        if damaged:
            shutil.copyfile(ledger, copy)
            with suppress(FileNotFoundError):
                shutil.copyfile(f"{ledger}-wal", f"{kept}-wal")
        else:
            _copy(ledger, copy)
        _publish(copy, kept)
    return kept


def _publish(copy: Path, to: Path) -> None:
    """Give a finished file its name, durably."""
    with copy.open("rb") as file:
        os.fsync(file.fileno())
    copy.replace(to)
    folder = os.open(to.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=10.0, isolation_level=None)


def _look(path: Path) -> sqlite3.Connection:
    """For reading only: it leaves the journal of a ledger where it is, also if it closes last."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=10.0, isolation_level=None)


def _utc(now: Moment) -> str:
    return f"{datetime.fromtimestamp(now.wall, UTC):%Y%m%dT%H%M%SZ}"
