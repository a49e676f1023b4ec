"""Whether this is the ledger that was in use, and all of it: nobody begins a row in another one.

A file says it itself when it came without what was recorded last (see `journal`). In PostgreSQL the ledger knows where
it lives, so that a copy of it that was put back by the database's own means is noticed: a dump that is restored gets a
database with a number of its own, often on another server. Neither knows what was issued since, so nobody begins a row
there until `reopen` has seen to that. What is put back in its own place (the files of a whole server, a dump read into
the same database) isn't noticed.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select

from bulk_issue.commands import command
from bulk_issue.errors import LedgerError
from bulk_issue.ledger import journal
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
    """From now on the ledger lives here, and goes on with what it knows."""
    if tx.dialect.name == "sqlite":
        journal.go_without(tx)
        return
    tx.execute(delete(home))
    settle_in(tx)


def stay(tx: Connection) -> None:
    """Raise `LedgerError` where this may not be all of the ledger that was in use."""
    if (doubt := doubtful(tx)) is not None:
        raise doubt


def doubtful(tx: Connection) -> LedgerError | None:
    """Why this may not be all of the ledger that was in use; None if nothing speaks for that."""
    if tx.dialect.name == "sqlite":
        return _without_journal(tx)
    written = tx.execute(select(home.c.database, home.c.server)).first()
    here = _here(tx)
    if here is None or written is None or not here.is_other_than(Home(*written)):
        return None
    return LedgerError(
        "this database was put back or copied: it may not know of all coupons that were issued",
        hint=f"Stop all workers and runs, then run: {command('ledger', 'reopen')}",
    )


def _without_journal(tx: Connection) -> LedgerError | None:
    missing = journal.was_missing(tx)
    if not missing:
        return None
    return LedgerError(
        f"the ledger came without its journal ({missing}): what was recorded last is missing, "
        "and it may not know of all coupons that were issued",
        hint=(
            f"Use the ledger that it was copied from, or restore a backup ({command('ledger', 'restore', 'BACKUP')}). "
            f"If both are lost, run: {command('ledger', 'reopen')}"
        ),
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
