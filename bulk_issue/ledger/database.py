"""How transactions are run, and what their errors mean. What SQLite and PostgreSQL do differently is in `Dialect`.

Every port method of the ledger is written once, as a plain function of a connection; `transaction` makes it an async
method. The seam is `Database.write`: a thread of its own in real runs, so that the event loop never waits for the
disk, and inline in the simulation, so that one seed is one history. Either way it is the same code.
"""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial, update_wrapper
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Protocol, TypeAlias, TypeVar

from sqlalchemy import Connection, Engine, Table, exc, select

from bulk_issue.commands import command
from bulk_issue.errors import LedgerError
from bulk_issue.ledger import schema
from bulk_issue.model import JobId, Moment

P = ParamSpec("P")
T = TypeVar("T")
#: A row of a query: what its columns are is known where it is made.
AnyRow: TypeAlias = Any


class Holders(Protocol):
    """Who runs a job now: whoever has taken it, until it is freed or its process dies."""

    def take(self, job: JobId) -> None:
        """Hold the job; raises `JobHeld` naming the living holder's pid."""
        ...

    def free(self, job: JobId) -> None:
        """Let the job go; nothing happens if it isn't held here."""
        ...

    def held_by_others(self, job: JobId) -> bool:
        """Whether a living process, other than through this ledger, holds the job."""
        ...

    def expel(self, job: JobId, host: str, pid: int) -> None:
        """Take the hold from that process, which may be standing still; nothing happens if it doesn't hold the job."""
        ...

    def leave(self) -> None:
        """The ledger isn't open here any more; until then no restore puts another one in its place."""
        ...


class Dialect(Protocol):
    """What a database does in its own way."""

    #: What people know the ledger by; never with a password.
    place: str
    #: Whether a holder that was replaced may be alive still, with requests on their way.
    outlived: bool

    def engine(self, *, read_only: bool) -> Engine: ...

    def holders(self, database: Database) -> Holders: ...

    def attach(self, connection: Connection) -> None:
        """Make a new connection the writer's."""
        ...

    def detach(self, connection: Connection) -> None:
        """The writer's connection is about to close, the last of this process'."""
        ...

    def transact(self, connection: Connection, work: Callable[[Connection], T], *, alone: bool) -> T:
        """Run `work` in one transaction that no other one of the ledger sees half of, or sees it half done.

        Those that aren't `alone` may run beside each other.
        """
        ...

    def translated(self, error: exc.DBAPIError) -> LedgerError:
        """The error as ours: unavailable where the same call may succeed later. No value of a row is in it."""
        ...

    def insert_rows(self, tx: Connection, table: Table, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Insert many rows of a table at once."""
        ...

    def clock(self, tx: Connection, account: str, now: Moment) -> tuple[Moment, bool]:
        """The moment on the clock that permits go by, and whether that clock was set since this process last saw it."""
        ...

    def arrived(self, tx: Connection) -> Moment | None:
        """A moment on the clock of permits before which all that is being recorded has arrived.

        None where that is the processes' own clock, which says it exactly.
        """
        ...


class Database:
    """The connections to one ledger."""

    #: Seconds on a clock that counts suspend.
    seconds: Callable[[], float] = partial(time.clock_gettime, getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))

    def __init__(self, dialect: Dialect, *, inline: bool) -> None:
        self.dialect = dialect
        self._inline = inline
        self.holders = dialect.holders(self)
        self._engine = dialect.engine(read_only=False)
        self._readers = dialect.engine(read_only=True)
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger")
        self._connection: Connection | None = None
        self._numbers: dict[str, int] = {}

    async def write(self, work: Callable[[Connection], T], *, alone: bool = True) -> T:
        """Run `work` in one transaction: all of it is on disk on return, nothing of it after an exception.

        A cancelled caller leaves no half transaction: it either never begins, or runs to its end without the caller.
        """
        return await self.call(lambda: self._transact(work, alone=alone))

    async def call(self, work: Callable[[], T]) -> T:
        """Run `work` where transactions are run, in its turn."""
        if self._inline:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._writer, work)

    def _transact(self, work: Callable[[Connection], T], *, alone: bool = True) -> T:
        with self.connected() as connection:
            return self.dialect.transact(connection, work, alone=alone)

    @contextmanager
    def connected(self) -> Iterator[Connection]:
        """Lend the writer's connection, to its own thread only; a new one if the last one broke."""
        with self.translated():
            if self._connection is None:
                fresh = self._engine.connect()
                try:
                    self.dialect.attach(fresh)
                except BaseException:
                    fresh.close()
                    raise
                self._connection = fresh
            try:
                yield self._connection
            finally:
                if self._connection.invalidated:
                    self._connection.close()
                    self._connection = None

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Lend a read-only connection: a snapshot of its own that never blocks the writer."""
        with self.translated(), self._readers.connect() as connection:
            yield connection

    @contextmanager
    def translated(self) -> Iterator[None]:
        """What this database says in the body, raised as an error of ours."""
        try:
            yield
        except exc.DBAPIError as error:
            ours = self.dialect.translated(error)
            raise ours from (error if ours.__cause__ is None else ours.__cause__)

    def going_on(self, now: Moment) -> Callable[[], Moment]:
        """What time it is, where it is `now` at this call: a transaction may have waited long for the others."""
        began = self.seconds()

        def moment() -> Moment:
            passed = self.seconds() - began
            return Moment(now.wall + passed, now.boot + passed, now.boot_id)

        return moment

    def number(self, connection: Connection, job: JobId) -> int:
        """The job's number in this ledger; raises `LedgerError` for one that it doesn't know."""
        if job not in self._numbers:
            seq = connection.scalar(select(schema.jobs.c.seq).where(schema.jobs.c.id == job))
            if seq is None:
                raise LedgerError(
                    f"this ledger ({self.dialect.place}) knows no job {job}",
                    hint=f"{command('status')} lists its jobs; --ledger names another ledger.",
                )
            self._numbers[job] = int(seq)
        return self._numbers[job]

    def know(self, job: JobId, seq: int) -> None:
        """Go by this number from now on: whoever asked for the job was shown the one that has it."""
        self._numbers[job] = seq

    def forget(self, job: JobId) -> None:
        """Forget a job's number: its registration was taken back."""
        self._numbers.pop(job, None)

    async def close(self) -> None:
        self._writer.submit(self._close).result()
        self._writer.shutdown()
        self.holders.leave()

    def _close(self) -> None:
        # The writer's goes last: SQLite moves the rest of its journal when the last connection closes that may write.
        self._readers.dispose()
        if self._connection is not None:
            self.dialect.detach(self._connection)
            self._connection.close()
        self._engine.dispose()


class Face:
    """What the ledger's faces share: the database."""

    def __init__(self, database: Database) -> None:
        self._db = database


F = TypeVar("F", bound=Face)


def transaction(
    method: Callable[Concatenate[F, Connection, P], T],
) -> Callable[Concatenate[F, P], Coroutine[Any, Any, T]]:
    """Make an async method of a function that works inside one transaction, while no other one changes the ledger."""

    async def run(self: F, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._db.write(lambda connection: method(self, connection, *args, **kwargs))

    return update_wrapper(run, method)  # type: ignore[return-value]  # its type is still that of `run`


def beside(
    method: Callable[Concatenate[F, Connection, P], T],
) -> Callable[Concatenate[F, P], Coroutine[Any, Any, T]]:
    """Like `transaction`, for what other processes may do at the same time where the database has several writers.

    Such a function locks what it reads before it changes it, or only reads.
    """

    async def run(self: F, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._db.write(lambda connection: method(self, connection, *args, **kwargs), alone=False)

    return update_wrapper(run, method)  # type: ignore[return-value]  # its type is still that of `run`


def upsert(tx: Connection, table: Table) -> Any:
    """An INSERT with ON CONFLICT, as this connection's database writes it."""
    if tx.dialect.name == "sqlite":
        from sqlalchemy.dialects.sqlite import insert  # noqa: PLC0415 - one or the other

        return insert(table)
    from sqlalchemy.dialects.postgresql import insert as insert_there  # noqa: PLC0415 - one or the other

    return insert_there(table)


def without_nul(text: str) -> str:
    """The text as PostgreSQL keeps it, which holds every character but one."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


def create_private(path: Path) -> None:
    """Make the file and its folder, readable by nobody else, if they aren't there."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # One that is there is never opened here: closing it would end this process' locks on it, those of SQLite's
    # connections too, and another process, alone as it seems, would remove the -wal that is being written.
    with suppress(FileExistsError):
        # SQLite gives -wal and -shm the mode of the database file
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    if not os.access(path, os.R_OK | os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
