"""The ledger in PostgreSQL, for several hosts: its connections, transactions, errors, clock and holders.

Safety rests on rows, not on sessions: who may send is what `jobs.holder` says in the transaction that begins, and an
answer lands only where state, attempt and holder are as they were. Advisory locks order transactions and keep a second
run from starting; when a session ends with them, nothing is sent twice, it is only noticed later.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import psycopg
from psycopg import conninfo, pq, sql
from psycopg.types.string import StrDumper
from sqlalchemy import Connection, Engine, QueuePool, Table, create_engine, exc, text

from bulk_issue.commands import command
from bulk_issue.config import LOOPBACK, LedgerUrl
from bulk_issue.errors import ConfigError, LedgerError, LedgerUnavailable
from bulk_issue.ledger import permits
from bulk_issue.ledger.clocks import DatabaseClock
from bulk_issue.ledger.database import Database, Holders, without_nul
from bulk_issue.ledger.holders import AdvisoryHolders, session_name
from bulk_issue.model import Moment

T = TypeVar("T")

#: How often a transaction that collided with another one is run.
TURNS = 5
#: What PostgreSQL says then: serialization failure, deadlock, and a claim that two begins made at once.
COLLIDED = frozenset({"40001", "40P01", "23505"})
#: Classes of errors that pass: connection, resources, intervention of an operator, system; and locks, deadlocks.
PASSING = ("08", "53", "57", "58", "40", "55", "25")
#: Seconds for which a commit whose answer was lost is asked for.
ASK = 50.0
#: Seconds between two such questions.
ASK_AGAIN = 0.5

#: A dead host's session ends within 15 s, and with it the hold of its job. The URL may say otherwise.
_PATIENCE = {
    "connect_timeout": "10",
    "keepalives_idle": "5",
    "keepalives_interval": "3",
    "keepalives_count": "3",
    "tcp_user_timeout": "14000",
    "target_session_attrs": "read-write",
}
_SESSION = """
SET lock_timeout = '10s';
SET tcp_keepalives_idle = 5;
SET tcp_keepalives_interval = 3;
SET tcp_keepalives_count = 3;
SET tcp_user_timeout = '14s';
"""
#: A process that stands still within a transaction holds up all others; its session is ended.
WRITER = f"""
{_SESSION} SET default_transaction_isolation = 'read committed';
SET idle_in_transaction_session_timeout = '10s'; SET statement_timeout = 0;
"""
_READER = f"""
{_SESSION} SET default_transaction_read_only = on; SET default_transaction_isolation = 'repeatable read';
SET idle_in_transaction_session_timeout = 0; SET statement_timeout = 0;
"""
_ORDER = "hashtextextended(current_schema() || '/bulk-issue', 0)"
_ALONE = text(f"SELECT pg_advisory_xact_lock({_ORDER})")
_BESIDE = text(f"SELECT pg_advisory_xact_lock_shared({_ORDER})")


class _NoNul(StrDumper):
    """PostgreSQL's text holds every character but one."""

    def dump(self, obj: str) -> Any:
        return super().dump(without_nul(obj))


class Postgres:
    """See `database.Dialect`."""

    #: A session ends when its host is cut off, and the process on it may live.
    outlived = True

    def __init__(self, url: LedgerUrl) -> None:
        self.place = str(url)
        self._parameters = parameters(url)
        self._write = self._engine(WRITER)
        self._read = self._engine(_READER)
        self._clock = DatabaseClock()
        self._holders: AdvisoryHolders | None = None

    def engine(self, *, read_only: bool) -> Engine:
        return self._read if read_only else self._write

    def holders(self, database: Database) -> Holders:
        self._holders = AdvisoryHolders(database)
        return self._holders

    def _engine(self, session: str) -> Engine:
        def connect() -> psycopg.Connection[Any]:
            connection = psycopg.connect(**self._parameters)
            connection.adapters.register_dumper(str, _NoNul)
            connection.execute(session)
            connection.commit()
            return connection

        return create_engine(
            "postgresql+psycopg://",
            creator=connect,
            poolclass=QueuePool,
            pool_size=4,
            pool_pre_ping=True,
            hide_parameters=True,
        )

    def attach(self, connection: Connection) -> None:
        with connection.begin():
            self._trust(connection)
            if self._holders is not None:
                self._holders.attach(connection)

    def detach(self, connection: Connection) -> None:
        pass

    def _trust(self, connection: Connection) -> None:
        """Raise `LedgerError` where a committed intent may be lost."""
        setting = connection.exec_driver_sql(
            "SELECT current_setting('fsync') AS fsync, current_setting('full_page_writes') AS pages,"
            " current_setting('server_encoding') AS encoding, current_setting('synchronous_commit') AS commits"
        ).one()
        if (setting.fsync, setting.pages, setting.encoding) != ("on", "on", "UTF8"):
            raise LedgerError(
                f"the database server of {self.place} can't be trusted with a ledger: fsync is {setting.fsync}, "
                f"full_page_writes is {setting.pages}, the encoding is {setting.encoding}",
                hint="A lost intent is a second coupon. Use a server with fsync and full_page_writes on, and UTF8.",
            )
        if setting.commits not in ("on", "remote_apply"):
            connection.exec_driver_sql("SET SESSION synchronous_commit = on")

    # --- transactions -------------------------------------------------------------------------------------------

    def transact(self, connection: Connection, work: Callable[[Connection], T], *, alone: bool) -> T:
        for turn in range(1, TURNS + 1):
            try:
                return self._transact(connection, work, alone=alone)
            except exc.DBAPIError as error:
                if turn == TURNS or _sqlstate(error) not in COLLIDED:
                    raise
        raise AssertionError("the last turn returns or raises")

    def _transact(self, connection: Connection, work: Callable[[Connection], T], *, alone: bool) -> T:
        transaction = connection.begin()
        try:
            connection.execute(_ALONE if alone else _BESIDE)
            done = work(connection)
            number = connection.exec_driver_sql("SELECT pg_current_xact_id_if_assigned()::text").scalar()
        except BaseException:
            self._clock.forget()
            transaction.close()
            raise
        try:
            transaction.commit()
        except exc.DBAPIError:
            if number is None or not connection.invalidated or not self._committed(number):
                self._clock.forget()
                raise
        self._clock.keep()
        return done

    def _committed(self, number: str) -> bool:
        """Whether that transaction is on disk: the connection broke while it was being committed."""
        deadline = time.monotonic() + ASK
        while time.monotonic() < deadline:
            try:
                with self._write.connect() as connection:
                    status = connection.exec_driver_sql("SELECT pg_xact_status(%s::xid8)", (number,)).scalar()
            except exc.DBAPIError:
                status = None
            if status in ("committed", "aborted"):
                return bool(status == "committed")
            time.sleep(ASK_AGAIN)
        raise LedgerError(
            f"the ledger {self.place} went away while it took something in, and didn't come back to say whether it did",
            hint="Run the same command again when the database is back: what it took in is found there.",
        )

    def translated(self, error: exc.DBAPIError) -> LedgerError:
        state = _sqlstate(error)
        said = self._words(error)
        if error.connection_invalidated or state.startswith(PASSING) or isinstance(error, exc.OperationalError):
            return LedgerUnavailable(
                f"the ledger {self.place} can't be written or read now: {said}",
                hint="Look whether the database is up and can be reached from here, then run again.",
            )
        if state == "42501":
            return LedgerError(
                f"the ledger {self.place} can't be used by this role: {said}",
                hint="samples/postgres-role.sql shows the rights it needs. New tables are made by their owner: "
                f"run {command('status')} once with the owner's role.",
            )
        return LedgerError(
            f"the ledger {self.place} can't be used: {said}", hint="Nothing was changed. Please report this bug."
        )

    def _words(self, error: exc.DBAPIError) -> str:
        """What the database says, but for what may hold a value of a row: `DETAIL` and the texts of data errors."""
        state, orig = _sqlstate(error), error.orig
        if isinstance(orig, psycopg.Error) and state[:2] in ("22", "23"):
            return f"{type(orig).__name__} ({state})"
        said = getattr(getattr(orig, "diag", None), "message_primary", None) or str(orig)
        for name in ("password", "sslpassword"):
            if secret := self._parameters.get(name):
                said = said.replace(str(secret), "***")
        return " ".join(said.split())

    # --- bulk, clock --------------------------------------------------------------------------------------------

    def insert_rows(self, tx: Connection, table: Table, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        driver = tx.connection.driver_connection
        assert isinstance(driver, psycopg.Connection)
        into = sql.SQL("COPY {} ({}) FROM STDIN").format(
            sql.Identifier(table.name), sql.SQL(", ").join(map(sql.Identifier, columns))
        )
        try:
            with driver.cursor() as cursor, cursor.copy(into) as copy:
                for row in rows:
                    copy.write_row(row)
        except psycopg.Error as error:  # as SQLAlchemy raises what goes through it
            raise exc.DBAPIError.instance("COPY", None, error, psycopg.Error, dialect=tx.dialect) from error

    def clock(self, tx: Connection, account: str, now: Moment) -> tuple[Moment, bool]:
        permits.lock(tx, account)  # first: while another process' transaction is waited for, time goes on
        seconds, was_set = self._clock.read(tx, account)
        return Moment(now.wall, seconds, "database"), was_set

    def arrived(self, tx: Connection) -> Moment | None:
        seconds = self._clock.latest(tx)
        return Moment(seconds, seconds, "database")


def parameters(url: LedgerUrl) -> dict[str, Any]:
    """What libpq is told: the URL's word first, then the environment's where libpq looks there itself, then ours."""
    try:
        given = conninfo.conninfo_to_dict(url.url)
    except psycopg.Error:
        raise ConfigError(
            f"the ledger's URL {url} can't be understood",
            hint="Write postgresql://USER@HOST/DATABASE?sslmode=verify-full, with parameters that libpq knows.",
        ) from None  # the driver quotes the whole URL, password and all
    usual = {
        option.keyword.decode(): option.val.decode() for option in pq.Conninfo.get_defaults() if option.val is not None
    }
    hosts = str(given.get("hostaddr") or given.get("host") or usual.get("host") or "").split(",")
    local = all(host in LOOPBACK or host.startswith(("/", "@")) or not host for host in hosts)
    if not local and "sslmode" not in given and usual.get("sslmode", "prefer") == "prefer":
        given["sslmode"] = "require"  # libpq's own default falls back to plain text
    mine = {"application_name": session_name(os.getpid(), socket.gethostname()), "client_encoding": "UTF8"}
    return {**_PATIENCE, **given, **mine}


def _sqlstate(error: exc.DBAPIError) -> str:
    return getattr(error.orig, "sqlstate", None) or ""
