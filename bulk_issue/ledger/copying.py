"""Copying a ledger from its file into an empty PostgreSQL database, which is in use from then on, and the file no more.

At no moment may both be used, whatever dies when. Nothing runs meanwhile: every job of the file is held, and a write
transaction keeps all others from it. The database takes everything in one transaction, in which each row is read back
and compared: until it commits, nobody sees anything of it. Just before, the file gets a mark under which it refuses
every change (`moved`). Whatever is cut short is found and finished, or begun again, by the next call.

Moments are copied as they are. Those on this host's clock mean nothing to others, who see that by the boot's id: what
they then assume is what they assume after a reboot (`permits.agree`, `takeover.adopt`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, TypeAlias

from sqlalchemy import ColumnElement, Connection, Table, Text, collate, func, select, text

from bulk_issue.config import LedgerUrl
from bulk_issue.errors import ConfigError, LedgerError
from bulk_issue.ledger import home as homes
from bulk_issue.ledger import moved, open_database, trusted
from bulk_issue.ledger.database import AnyRow, Database, without_nul
from bulk_issue.ledger.locks import Locks
from bulk_issue.ledger.schema import home, jobs, metadata

#: What of a column of a key the rows are ordered by.
Key: TypeAlias = Callable[[ColumnElement[Any]], ColumnElement[Any]]
#: What is copied; where the ledger lives is the target's own.
TABLES = [table for table in metadata.sorted_tables if table is not home]
#: Rows in memory at once.
CHUNK = 2000

_IDENTITY = text(
    "SELECT system_identifier || '/' || current_database() || '/' || current_schema() FROM pg_control_system()"
)


async def copy(source: Path, target: LedgerUrl) -> Mapping[str, int] | None:
    """Move the ledger: how many rows of each table were copied, and found there to be the same.

    None if all was there already: an earlier call was cut short just before its last word. Raises `JobHeld` while a
    job of the source runs, `ConfigError` where the target holds anything or the source nothing, and `LedgerError` where
    the two differ, or where the source was moved elsewhere. After any error the target is as it was.
    """
    here = await open_database(source)
    try:
        there = await open_database(target)
        try:
            copied = await there.write(_Move(here, there, Locks(trusted(source)), str(target)))
        finally:
            await there.close()
        await here.write(moved.settle)
    finally:
        await here.close()
    return copied


@dataclass(frozen=True, slots=True)
class _Move:
    """The target's transaction, around one of the source that ends first."""

    source: Database
    target: Database
    locks: Locks
    place: str

    def __call__(self, there: Connection) -> Mapping[str, int] | None:
        with self.source.connected() as connection:
            return self.source.dialect.transact(connection, lambda here: self._move(here, there), alone=True)

    def _move(self, here: Connection, there: Connection) -> Mapping[str, int] | None:
        with self.locks.all():
            with self.target.translated():
                there.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")  # the source may be slow
                identity = str(there.execute(_IDENTITY).scalar_one())
            if mark := moved.find(here):
                if mark.done or mark.identity != identity:
                    raise LedgerError(
                        f"the ledger {self.source.dialect.place} was moved to {mark.place} already",
                        hint=f"Use --ledger {mark.place}. Copied to two places, coupons would be issued twice.",
                    )
                if self._arrived(here, there):
                    return None
                moved.lift(here)
            self._refuse_what_cannot_be(here, there)
            counts = {table.name: self._copy(here, there, table) for table in TABLES}
            moved.mark(here, self.place, identity)
            return counts

    def _arrived(self, here: Connection, there: Connection) -> bool:
        """Whether an earlier copy was committed: one job of it is there only if all is."""
        its = select(jobs.c.seq, jobs.c.id, jobs.c.created)
        with self.target.translated():
            known = {tuple(row) for row in there.execute(its)}
        return any(tuple(row) in known for row in here.execute(its).all())

    def _refuse_what_cannot_be(self, here: Connection, there: Connection) -> None:
        homes.stay(here)
        if here.execute(select(jobs.c.seq).limit(1)).first() is None:
            raise ConfigError(
                f"the ledger {self.source.dialect.place} holds no jobs",
                hint=f"There is nothing to copy: use --ledger {self.place} from now on.",
            )
        with self.target.translated():
            for table in TABLES:
                if there.execute(select(text("1")).select_from(table).limit(1)).first() is not None:
                    raise ConfigError(
                        f"the ledger {self.place} is in use already: its table {table.name} isn't empty",
                        hint="A ledger can only be copied into an empty database. Nothing was changed.",
                    )

    # --- one table ----------------------------------------------------------------------------------------------

    def _copy(self, here: Connection, there: Connection, table: Table) -> int:
        with self.target.translated():
            self.target.dialect.insert_rows(there, table, table.columns.keys(), self._rows(self.source, here, table))
            if (number := table.autoincrement_column) is not None:  # new rows go on after the copied ones
                there.execute(
                    text(
                        f"SELECT setval(pg_get_serial_sequence('{table.name}', '{number.name}'), {number.name}) "
                        f"FROM {table.name} ORDER BY {number.name} DESC LIMIT 1"
                    )
                )
        return self._compared(here, there, table)

    def _compared(self, here: Connection, there: Connection, table: Table) -> int:
        """Compare every value of every row; how many rows they are. Raises `LedgerError` where they differ."""
        connection = here.connection.driver_connection
        assert connection is not None
        connection.create_function(_NO_NUL, 1, _kept, deterministic=True)
        count = 0
        with (
            closing(self._rows(self.source, here, table, _by_bytes_here)) as ours,
            closing(self._rows(self.target, there, table, _by_bytes_there)) as theirs,
        ):
            for one, other in zip_longest(ours, theirs):
                count += 1
                if one != other and (one is None or other is None or tuple(map(_kept, one)) != tuple(other)):
                    raise LedgerError(
                        f"the copy in {self.place} is not the same as {self.source.dialect.place}: "
                        f"row {count} of the table {table.name} differs{_in_what(table, one, other)}",
                        hint="Nothing was moved; go on with the old ledger. Please report this bug.",
                    )
        return count

    def _rows(
        self, database: Database, tx: Connection, table: Table, key: Key | None = None
    ) -> Generator[AnyRow, None, None]:
        """The table's rows, in the order of their keys if asked; a chunk in memory at a time."""
        order = [key(column) for column in table.primary_key] if key else []
        its = select(table).order_by(*order)
        with database.translated(), tx.execute(its, execution_options={"yield_per": CHUNK}) as found:
            yield from found


_NO_NUL = "bulk_issue_no_nul"


def _kept(value: object) -> object:
    """The value as PostgreSQL keeps it."""
    return without_nul(value) if isinstance(value, str) else value


def _by_bytes_here(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return getattr(func, _NO_NUL)(column) if isinstance(column.type, Text) else column


def _by_bytes_there(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return collate(column, "C") if isinstance(column.type, Text) else column


def _in_what(table: Table, one: AnyRow | None, other: AnyRow | None) -> str:
    """Names of columns, never a value: they may be a customer's."""
    if one is None or other is None:
        return f" (missing in the {'file' if one is None else 'database'})"
    pairs = zip(table.columns.keys(), one, other, strict=True)
    return f" in {', '.join(name for name, mine, its in pairs if _kept(mine) != its)}"
