"""Where a ledger in PostgreSQL lives, so that a copy of it that was put back by the database's own means is noticed.

A dump that is restored gets a database with a number of its own, often on another server. It knows nothing of what was
issued since, so nobody begins a row there until `reopen` has seen to that, which writes down where it lives now. What
is put back in its own place (the files of a whole server, a dump read into the same database) isn't noticed.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select

from bulk_issue.commands import command
from bulk_issue.errors import LedgerError
from bulk_issue.ledger.schema import home

_DATABASE = "SELECT oid::text FROM pg_database WHERE datname = current_database()"
_MAY_ASK = "SELECT has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')"
_SERVER = "SELECT system_identifier::text FROM pg_control_system()"


@dataclass(frozen=True, slots=True)
class Home:
    """A database."""

    #: Its number on its server.
    database: str
    #: The number that a server is given when it is made; None where this role may not ask for it.
    server: str | None

    def is_other_than(self, other: Home) -> bool:
        """Whether these are surely two."""
        unknown = None in (self.server, other.server)
        return self.database != other.database or (self.server != other.server and not unknown)


def settle_in(tx: Connection) -> None:
    """Write down where a new ledger lives."""
    here = _here(tx)
    if here is not None and tx.execute(select(home)).first() is None:
        tx.execute(insert(home).values(database=here.database, server=here.server))


def move_in(tx: Connection) -> None:
    """From now on the ledger lives here."""
    tx.execute(delete(home))
    settle_in(tx)


def stay(tx: Connection) -> None:
    """Raise `LedgerError` where the ledger lived elsewhere: this is a copy that was put back."""
    here = _here(tx)
    if here is None:
        return
    written = tx.execute(select(home.c.database, home.c.server)).first()
    if written is not None and here.is_other_than(Home(*written)):
        raise LedgerError(
            "this database was put back or copied: it may not know of all coupons that were issued",
            hint=f"Stop all workers and runs, then run: {command('ledger', 'reopen')}",
        )


def _here(tx: Connection) -> Home | None:
    """The database of this connection; None for a file, which `restore` alone puts back."""
    if tx.dialect.name == "sqlite":
        return None
    if "home" not in tx.info:  # a session stays in its database
        server = tx.exec_driver_sql(_SERVER).scalar_one() if tx.exec_driver_sql(_MAY_ASK).scalar() else None
        tx.info["home"] = Home(tx.exec_driver_sql(_DATABASE).scalar_one(), server)
    found: Home = tx.info["home"]
    return found
