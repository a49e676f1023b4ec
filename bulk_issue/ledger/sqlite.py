"""The ledger in one SQLite file: one writer at a time over all processes of one host, the boot clock, OS file locks."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, QueuePool, Table, create_engine, event, exc

from bulk_issue.errors import LedgerError, LedgerUnavailable
from bulk_issue.ledger import moved
from bulk_issue.ledger.batch import insert_many
from bulk_issue.ledger.database import Database, Holders
from bulk_issue.ledger.journal import Journal
from bulk_issue.ledger.locks import Locks
from bulk_issue.model import Moment

T = TypeVar("T")

#: Connections that are kept open for the next readers.
KEPT = 8
#: Milliseconds for which a writer waits for another process' transaction.
BUSY_MS = 10_000


class Sqlite:
    """See `database.Dialect`."""

    #: The kernel frees a holder's lock at its death, and death closes its connections.
    outlived = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = _identity(path)
        self._journal = Journal(path)
        self.place = str(path)

    def engine(self, *, read_only: bool) -> Engine:
        def connect() -> sqlite3.Connection:
            target = self._path.absolute().as_uri() + ("?mode=ro" if read_only else "")
            connection = sqlite3.connect(target, uri=True, timeout=BUSY_MS / 1000, check_same_thread=False)
            connection.isolation_level = None  # transactions begin where we say, not where the driver guesses
            # FULL: NORMAL may lose a committed intent in a power cut, and that would be a second coupon
            connection.execute("PRAGMA synchronous = FULL")
            if not read_only:
                self._journal.begin(connection)
            return connection

        # Named: without a file in its URL SQLAlchemy takes SingletonThreadPool, which closes connections that other
        # threads are using, and that ends the process. This one lends each to one thread at a time, and as many as are
        # asked for; it keeps some, because each close asks all other processes for a moment whether it is the last.
        engine = create_engine(
            "sqlite://", creator=connect, poolclass=QueuePool, pool_size=KEPT, max_overflow=-1, hide_parameters=True
        )
        begin = "BEGIN" if read_only else "BEGIN IMMEDIATE"
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
        return engine

    def holders(self, database: Database) -> Holders:
        del database
        locks = Locks(self._path)
        locks.enter()
        return locks

    def attach(self, connection: Connection) -> None:
        pass

    def detach(self, connection: Connection) -> None:
        self._journal.end(_driver(connection))

    def transact(self, connection: Connection, work: Callable[[Connection], T], *, alone: bool) -> T:
        del alone  # BEGIN IMMEDIATE: there is one writer at a time anyway
        file = _driver(connection)
        before = file.total_changes
        with connection.begin():
            if _identity(self._path) != self._file:
                # what is written into a file that nobody sees any more doesn't keep anybody from sending it again
                raise LedgerError(
                    f"the ledger {self.place} was moved, deleted or replaced while it was in use",
                    hint="Nothing more is sent. Put it back where it was before anything is run again.",
                )
            done = work(connection)
            if recorded := file.total_changes != before:
                self._journal.changed(connection)
        if recorded:
            self._journal.committed(file)
        return done

    def translated(self, error: exc.DBAPIError) -> LedgerError:
        if place := moved.named_in(str(error.orig)):
            return LedgerError(
                f"the ledger {self.place} was moved to {place}; nothing was written here",
                hint=f"Use --ledger {place}. If that copy was cut short, run the same `ledger copy` again.",
            )
        if isinstance(error, exc.OperationalError):
            return LedgerUnavailable(
                f"the ledger can't be written or read now: {error.orig}",
                hint="Look at the disk's free space and at other programs that hold the file, then run again.",
            )
        return LedgerError(
            f"the ledger can't be used: {error.orig}",
            hint="If the file is damaged, restore a backup; rows are safe as of that backup.",
        )

    def insert_rows(self, tx: Connection, table: Table, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        insert_many(table, *columns).of_tuples(tx, [tuple(row) for row in rows])

    def clock(self, tx: Connection, account: str, now: Moment) -> tuple[Moment, bool]:
        del tx, account
        return now, False  # nobody can set the boot clock; what a reboot means is the permits' own business

    def arrived(self, tx: Connection) -> None:
        pass


def _driver(connection: Connection) -> sqlite3.Connection:
    """SQLite's own connection."""
    its = connection.connection.driver_connection
    assert isinstance(its, sqlite3.Connection)
    return its


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file has this name; None if there is none."""
    try:
        its = path.stat()
    except FileNotFoundError:
        return None
    return its.st_dev, its.st_ino
