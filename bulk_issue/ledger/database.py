"""One SQLite file, one writer: how transactions are run and what their errors mean.

Every port method of the ledger is written once, as a plain function of a connection; `transaction` makes it an async
method. The seam is `Database.write`: a thread of its own in real runs, so that the event loop never waits for the
disk, and inline in the simulation, so that one seed is one history. Either way it is the same code.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import update_wrapper
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeAlias, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, exc, select

from bulk_issue.errors import LedgerError, LedgerUnavailable
from bulk_issue.ledger import schema
from bulk_issue.model import JobId

P = ParamSpec("P")
T = TypeVar("T")
#: A row of a query: what its columns are is known where it is made.
AnyRow: TypeAlias = Any

#: Milliseconds for which a writer waits for another process' transaction.
BUSY_MS = 10_000


class Database:
    """The connections to one ledger file."""

    def __init__(self, path: Path, *, inline: bool) -> None:
        self.path = path
        self._inline = inline
        self._engine = _engine(path, read_only=False)
        self._readers = _engine(path, read_only=True)
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger")
        self._connection: Connection | None = None
        self._numbers: dict[str, int] = {}

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in one transaction: all of it is on disk on return, nothing of it after an exception.

        A cancelled caller leaves no half transaction: it either never begins, or runs to its end without the caller.
        """
        if self._inline:
            return self._transact(work)
        return await asyncio.get_running_loop().run_in_executor(self._writer, self._transact, work)

    def _transact(self, work: Callable[[Connection], T]) -> T:
        with translated():
            if self._connection is None:
                self._connection = self._engine.connect()
            with self._connection.begin():
                return work(self._connection)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Lend a read-only connection: a snapshot of its own that never blocks the writer."""
        with translated(), self._readers.connect() as connection:
            yield connection

    def number(self, connection: Connection, job: JobId) -> int:
        """The job's number in this ledger; raises `LedgerError` for one that it doesn't know."""
        if job not in self._numbers:
            seq = connection.scalar(select(schema.jobs.c.seq).where(schema.jobs.c.id == job))
            if seq is None:
                raise LedgerError(
                    f"this ledger ({self.path}) knows no job {job}",
                    hint="`bulk-issue status` lists its jobs; --ledger names another ledger.",
                )
            self._numbers[job] = int(seq)
        return self._numbers[job]

    def forget(self, job: JobId) -> None:
        """Forget a job's number: its registration was taken back."""
        self._numbers.pop(job, None)

    async def close(self) -> None:
        self._writer.submit(self._close).result()
        self._writer.shutdown()

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._engine.dispose()
        self._readers.dispose()


class Face:
    """What the ledger's faces share: the database."""

    def __init__(self, database: Database) -> None:
        self._db = database


F = TypeVar("F", bound=Face)


def transaction(
    method: Callable[Concatenate[F, Connection, P], T],
) -> Callable[Concatenate[F, P], Coroutine[Any, Any, T]]:
    """Make an async method of a function that works inside one transaction."""

    async def run(self: F, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._db.write(lambda connection: method(self, connection, *args, **kwargs))

    return update_wrapper(run, method)  # type: ignore[return-value]  # its type is still that of `run`


@contextmanager
def translated() -> Iterator[None]:
    """SQLAlchemy's errors as ours, by whether the same call may succeed later."""
    try:
        yield
    except exc.OperationalError as error:
        raise LedgerUnavailable(
            f"the ledger can't be written or read now: {error.orig}",
            hint="Look at the disk's free space and at other programs that hold the file, then run again.",
        ) from error
    except exc.DBAPIError as error:
        raise LedgerError(
            f"the ledger can't be used: {error.orig}",
            hint="If the file is damaged, restore a backup; rows are safe as of that backup.",
        ) from error


def _engine(path: Path, *, read_only: bool) -> Engine:
    def connect() -> sqlite3.Connection:
        target = path.absolute().as_uri() + ("?mode=ro" if read_only else "")
        connection = sqlite3.connect(target, uri=True, timeout=BUSY_MS / 1000, check_same_thread=False)
        connection.isolation_level = None  # transactions begin where we say, not where the driver guesses
        if not read_only:
            connection.execute("PRAGMA journal_mode = WAL")
        # FULL: NORMAL may lose a committed intent in a power cut, and that would be a second coupon
        connection.execute("PRAGMA synchronous = FULL")
        return connection

    engine = create_engine("sqlite://", creator=connect, pool_size=4, hide_parameters=True)
    begin = "BEGIN" if read_only else "BEGIN IMMEDIATE"
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
    return engine


def create_private(path: Path) -> None:
    """Make the file and its folder, readable by nobody else, if they aren't there."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # SQLite gives -wal and -shm the mode of the database file
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
