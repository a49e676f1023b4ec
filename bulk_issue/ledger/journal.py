"""What a ledger's file says of its journal, so that a copy of the file alone is known for what it is.

SQLite writes what is recorded into the journal (`-wal`) first, and moves it into the file from time to time; the
connection that closes last moves the rest and removes the journal. The file alone, copied meanwhile, looks like a sound
ledger of an earlier moment, and a run on it would issue twice. So the file bears a mark, which is moved into it before
anything else is: as long as anybody records, it says that the journal is needed. A file that says so and came without a
journal is a copy, or its journal was deleted. It is marked for good then, and nobody sends from it (`home.stay`) before
`reopen` has seen to what it doesn't know.

Whether nobody else records is asked of a lock that only they hold, and only within the ledger's write transactions: so
these questions never meet.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import IntEnum, unique
from pathlib import Path

from sqlalchemy import Connection

from bulk_issue.ledger.locks import RecordersLock

#: Seconds for which a new ledger waits for others who make it, too.
PATIENCE = 10.0
_ASK = "PRAGMA user_version"


@unique
class Mark(IntEnum):
    """What the file says; SQLite keeps it as the number that it keeps for programs (`user_version`)."""

    #: What was recorded last may stand in the journal only; also what any file says to which nobody gave a mark.
    NEEDED = 0
    #: Everything stands in the file.
    WHOLE = 1
    #: The journal was needed, and wasn't there.
    MISSING = 2


def journal_of(ledger: Path) -> Path:
    """The file that SQLite keeps beside the ledger while it is in use."""
    return Path(f"{ledger}-wal")


def mark_of(file: sqlite3.Connection) -> Mark:
    """What the ledger says of its journal now."""
    (number,) = file.execute(_ASK).fetchone()
    return next((mark for mark in Mark if mark == number), Mark.NEEDED)


def holds_something(journal: Path) -> bool:
    """Whether anything was written into it: every look into a ledger makes an empty one."""
    try:
        return journal.stat().st_size > 0
    except FileNotFoundError:
        return False


def is_missing(file: sqlite3.Connection, ledger: Path, *, was_there: bool) -> bool:
    """Whether the journal is missing, of a ledger that had one or not before this connection was made."""
    mark = mark_of(file)
    if mark is Mark.NEEDED and not was_there and _keeps_one(file):
        return not holds_something(journal_of(ledger))  # somebody may have begun to record meanwhile
    return mark is Mark.MISSING


def _keeps_one(file: sqlite3.Connection) -> bool:
    return bool(file.execute("PRAGMA journal_mode").fetchone()[0] == "wal")


def _keep_one(file: sqlite3.Connection) -> None:
    """Keep a journal from now on. SQLite doesn't wait here for others who do the same at this moment."""
    patience = time.monotonic() + PATIENCE
    while True:
        try:
            file.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > patience:
                raise
            time.sleep(0.01)
        else:
            return


class Journal:
    """The mark of one file while it is open for writing; all of it is called on the writer's connection."""

    def __init__(self, ledger: Path) -> None:
        self._ledger = ledger
        self._was_there = holds_something(journal_of(ledger))
        self._lock = RecordersLock(ledger)
        #: Whether the others know that we record, and whether the mark is still to be moved into the file.
        self._recording = self._to_be_moved = False

    def begin(self, file: sqlite3.Connection) -> None:
        """Keep a journal from now on, and see whether one is missing. The first thing that a connection does."""
        if not _keeps_one(file):
            with _transaction(file):
                if not _keeps_one(file) and mark_of(file) is Mark.NEEDED:  # nobody was quicker
                    file.execute(_say(Mark.WHOLE))
            _keep_one(file)
        if is_missing(file, self._ledger, was_there=self._was_there) and mark_of(file) is not Mark.MISSING:
            with suppress(sqlite3.OperationalError), _transaction(file):  # on a full disk the next one finds it so
                file.execute(_say(Mark.MISSING))
        self._was_there = True

    def changed(self, tx: Connection) -> None:
        """This transaction records something."""
        if self._recording:
            return
        self._lock.share()
        if tx.exec_driver_sql(_ASK).scalar_one() == Mark.WHOLE:
            tx.exec_driver_sql(_say(Mark.NEEDED))
        self._to_be_moved = True  # also that of another one, who may have died before

    def committed(self, file: sqlite3.Connection) -> None:
        """What was recorded is on disk: let the file itself say that it needs its journal."""
        self._recording = True
        if self._to_be_moved:
            with suppress(sqlite3.OperationalError):  # the next commit tries again
                _busy, there, moved = file.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                self._to_be_moved = moved < there

    def end(self, file: sqlite3.Connection) -> None:
        """The connection is about to close. If nobody else records, the file is whole as soon as SQLite has moved all.

        Where that can't be written, the file goes on needing its journal, which then stays.
        """
        with suppress(sqlite3.Error, OSError):
            if mark_of(file) is Mark.NEEDED:
                file.execute("PRAGMA wal_checkpoint(PASSIVE)")  # makes room for the mark, also on a full disk
                with _transaction(file):
                    alone = self._lock.is_ours_alone()
                    if alone and mark_of(file) is Mark.NEEDED:
                        file.execute(_say(Mark.WHOLE))
                    self._lock.leave()  # before anybody else can ask
        self._lock.leave()
        self._recording = False


def was_missing(tx: Connection) -> str:
    """The journal that this ledger was opened without; empty where it had it."""
    if tx.exec_driver_sql(_ASK).scalar_one() != Mark.MISSING:
        return ""
    return str(journal_of(Path(tx.exec_driver_sql("PRAGMA database_list").all()[0][2])))


def go_without(tx: Connection) -> None:
    """What the missing journal may have held is accounted for from this transaction's end on."""
    if was_missing(tx):
        tx.exec_driver_sql(_say(Mark.NEEDED))


def keep(file: sqlite3.Connection) -> None:
    """Write into a journal that was emptied: those who still use it might die, and it would look like a new one."""
    with _transaction(file):
        file.execute(_say(mark_of(file)))


def _say(mark: Mark) -> str:
    return f"PRAGMA user_version = {mark:d}"


@contextmanager
def _transaction(file: sqlite3.Connection) -> Iterator[None]:
    file.execute("BEGIN IMMEDIATE")
    try:
        yield
        file.execute("COMMIT")
    except BaseException:
        if file.in_transaction:
            file.execute("ROLLBACK")
        raise
