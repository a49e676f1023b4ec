"""Changes of many rows in one statement.

Two costs decide here (measured). A statement that SQLAlchemy puts together again costs fifty times its execution; and
Python's sqlite3 lets go of the interpreter for every step of a statement, so that a writer beside a busy event loop
waits its turn again for each of them. `executemany` is one step and one turn a row; a statement over a list of VALUES
is one for all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, CursorResult, Table

from bulk_issue.ledger.database import AnyRow

#: Rows of one statement: SQLite takes some thousands of values at a time.
MOST = 500

#: How drivers write the place of a value.
PLACES = {"qmark": "?", "pyformat": "%s"}

_Take = Callable[[Mapping[str, Any]], tuple[Any, ...]]


class Batch:
    """A statement with a place for a list of VALUES; each row is given as a mapping with the columns of that list."""

    def __init__(self, sql: str, columns: Sequence[str]) -> None:
        self._sql = sql
        first, second, *others = columns
        self._take: _Take = itemgetter(first, second, *others)
        #: One row's place, as each driver writes it.
        self._one = {style: f"({', '.join([place] * len(columns))})" for style, place in PLACES.items()}

    def __call__(self, tx: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Execute it for all of these; of several rows that touch the same thing, which one counts is open."""
        self.of_tuples(tx, list(map(self._take, rows)))

    def of_tuples(self, tx: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """The same, each row given by its values in the order of the columns."""
        for _ in self._executed(tx, rows):
            pass

    def select(self, tx: Connection, rows: Sequence[tuple[Any, ...]]) -> Iterator[AnyRow]:
        """What a SELECT finds for these."""
        for result in self._executed(tx, rows):
            yield from result

    def _executed(self, tx: Connection, rows: Sequence[tuple[Any, ...]]) -> Iterator[CursorResult[Any]]:
        one = self._one[tx.dialect.paramstyle]
        for at in range(0, len(rows), MOST):
            some = rows[at : at + MOST]
            sql = self._sql.format(values=", ".join([one] * len(some)))
            yield tx.exec_driver_sql(sql, tuple(chain.from_iterable(some)))


def insert_many(table: Table, *columns: str, if_new: bool = False, returning: str = "") -> Batch:
    """Insert rows with these columns; `if_new` leaves out those that a unique index has already."""
    ending = " ON CONFLICT DO NOTHING" * if_new + f" RETURNING {returning}" * bool(returning)
    return Batch(f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES {{values}}{ending}", columns)


def update_many(
    table: Table, keys: Sequence[str], columns: Sequence[str], *, to: Mapping[str, str] | None = None, also: str = ""
) -> Batch:
    """Set these columns of the rows that have these keys; `now_KEY` names a key that is among the columns too.

    `to` writes a column's new value in SQL, where {new} is the value given; `also` is one more condition.
    """
    given = [*(f"now_{key}" if key in columns else key for key in keys), *columns]
    new = {name: f"new.column{at}" for at, name in enumerate(given, 1)}
    # a column of VALUES that are all NULL has no type in PostgreSQL
    new |= {name: f"CAST({new[name]} AS {table.c[name].type})" for name in columns}
    changes = (f"{name} = {(to or {}).get(name, '{new}').format(new=new[name])}" for name in columns)
    same = (f"{table.name}.{key} = {new[name]}" for key, name in zip(keys, given, strict=False))
    where = " AND ".join([*same, *([also] if also else [])])
    return Batch(f"UPDATE {table.name} SET {', '.join(changes)} FROM (VALUES {{values}}) AS new WHERE {where}", given)
