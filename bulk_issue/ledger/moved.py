"""The mark of a ledger file that was moved to a database: nobody goes on with it, for two ledgers would issue twice.

The file itself refuses every change, by triggers: so it does in processes that have it open, in older versions of this
program, and by hand. Reading goes on. The mark is made just before the copy is committed, and says so (`done` is 0)
until it is known to be.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from sqlalchemy import Connection, inspect, text

from bulk_issue.ledger.schema import metadata

_TABLE = "moved"
#: What a refused change is told; the place follows.
_SAID = "this ledger was moved to "
_CHANGES = ("INSERT", "UPDATE", "DELETE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Where a ledger was moved to."""

    #: As people know it; without a password.
    place: str
    #: The database itself, by whatever name it is reached.
    identity: str
    #: Whether the copy is known to be committed there.
    done: bool


def find(tx: Connection) -> Mark | None:
    """The ledger's mark; None if it wasn't moved."""
    if not inspect(tx).has_table(_TABLE):
        return None
    row = tx.exec_driver_sql(f"SELECT place, identity, done FROM {_TABLE}").one()
    return Mark(place=row.place, identity=row.identity, done=bool(row.done))


def place_in(file: sqlite3.Connection) -> str:
    """Where the ledger in a file was moved to; empty if it wasn't."""
    if not file.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (_TABLE,)).fetchone():
        return ""
    return str(file.execute(f"SELECT place FROM {_TABLE}").fetchone()[0])


def mark(tx: Connection, place: str, identity: str) -> None:
    """Refuse every change from this transaction's end on."""
    tx.exec_driver_sql(f"CREATE TABLE {_TABLE} (place TEXT NOT NULL, identity TEXT NOT NULL, done INTEGER NOT NULL)")
    tx.execute(text(f"INSERT INTO {_TABLE} VALUES (:place, :identity, 0)"), {"place": place, "identity": identity})
    said = f"{_SAID}{place}".replace("'", "''")
    for table, change in _refused():
        tx.exec_driver_sql(
            f"CREATE TRIGGER {_trigger(table, change)} BEFORE {change} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{said}'); END"
        )


def settle(tx: Connection) -> None:
    """The copy is committed."""
    tx.exec_driver_sql(f"UPDATE {_TABLE} SET done = 1")


def lift(tx: Connection) -> None:
    """The copy was never committed: the ledger is in use again."""
    for table, change in _refused():
        tx.exec_driver_sql(f"DROP TRIGGER {_trigger(table, change)}")
    tx.exec_driver_sql(f"DROP TABLE {_TABLE}")


def named_in(error: str) -> str:
    """The place that a refused change was told; empty for any other error."""
    return error.removeprefix(_SAID) if error.startswith(_SAID) else ""


def _refused() -> list[tuple[str, str]]:
    return [(table, change) for table in metadata.tables for change in _CHANGES]


def _trigger(table: str, change: str) -> str:
    return f"moved_{table}_{change.lower()}"
