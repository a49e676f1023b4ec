"""The durable record of jobs, rows, attempts, claims and permits: the only truth.

`open_ledger` gives its faces (see `ports`). SQLite in WAL mode with `synchronous=FULL`: what a method has returned
from survives a power cut. One ledger file belongs on one host's own disk; processes of that host may share it. Several
hosts share a ledger in PostgreSQL.
"""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect

from bulk_issue.config import LedgerUrl
from bulk_issue.errors import ConfigError, LedgerError, SchemaMismatch
from bulk_issue.ledger import home
from bulk_issue.ledger.database import Database, Dialect, create_private
from bulk_issue.ledger.doubts import LedgerDoubts
from bulk_issue.ledger.held import LedgerHeld
from bulk_issue.ledger.history import LedgerHistory
from bulk_issue.ledger.jobs import LedgerJobs
from bulk_issue.ledger.omissions import LedgerOmissions
from bulk_issue.ledger.schema import HEAD
from bulk_issue.ledger.sqlite import Sqlite
from bulk_issue.ledger.views import LedgerViews
from bulk_issue.ledger.work import LedgerWork

if TYPE_CHECKING:
    from bulk_issue.ledger.care import LedgerCare

__all__ = ["HEAD", "SqliteLedger", "open_database", "open_ledger", "trusted"]

#: File systems on which locks or fsync can't be trusted.
NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "afs", "ceph", "fuse.glusterfs"})
#: Folders that a program synchronises behind our back: it may roll the file back, or copy it half-written.
SYNCED = ("dropbox", "onedrive", "google drive", "googledrive", "icloud drive", "mobile documents")


class SqliteLedger:
    """See `ports.Ledger`."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self.jobs = LedgerJobs(database)
        self.work = LedgerWork(database)
        self.doubts = LedgerDoubts(database)
        self.omissions = LedgerOmissions(database)
        self.held = LedgerHeld(database)
        self.views = LedgerViews(database)
        self.history = LedgerHistory(database)

    @cached_property
    def care(self) -> LedgerCare:
        from bulk_issue.ledger.care import LedgerCare  # noqa: PLC0415 - a run starts without it

        return LedgerCare(self._db)

    async def close(self) -> None:
        await self._db.close()


async def open_ledger(place: Path | LedgerUrl, *, inline: bool = False) -> SqliteLedger:
    """Open the ledger, making or migrating it first; raises `LedgerError` where it can't be trusted."""
    return SqliteLedger(await open_database(place, inline=inline))


async def open_database(place: Path | LedgerUrl, *, inline: bool = False) -> Database:
    """The ledger without its faces; as `open_ledger` otherwise."""
    database = Database(_dialect(place), inline=inline)
    try:
        await database.write(_make)
    except BaseException:
        await database.close()
        raise
    return database


def _dialect(place: Path | LedgerUrl) -> Dialect:
    if isinstance(place, Path):
        return Sqlite(trusted(place))
    try:
        from bulk_issue.ledger.postgres import Postgres  # noqa: PLC0415 - an extra: nobody else has its driver
    except ImportError as error:
        raise ConfigError(
            "a ledger in PostgreSQL needs psycopg, which isn't installed",
            hint="Run: pip install 'bulk-issue[postgres]'",
        ) from error
    return Postgres(place)


def _make(connection: Connection) -> None:
    _migrate(connection)
    home.settle_in(connection)


def _migrate(connection: Connection) -> None:
    version = None
    if inspect(connection).has_table("alembic_version"):
        version = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    if version == HEAD:
        return
    if version is not None and version > HEAD:
        raise SchemaMismatch(
            f"this ledger was written by a newer bulk-issue (schema {version}, this one knows {HEAD})",
            hint="Use the newer version; nothing was changed.",
        )
    from alembic import command  # noqa: PLC0415 - only a new or old ledger pays for the import
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def trusted(path: Path) -> Path:
    """The file's own path, whatever names it, so that its locks are the same for all; the file made if it wasn't there.

    Raises `LedgerError` where it mustn't lie.
    """
    try:
        given = path.expanduser().absolute()
    except RuntimeError:
        raise LedgerError(f"the ledger {path} is in nobody's home", hint="Name another place with --ledger.") from None
    path = Path(os.path.realpath(given))
    parts = {part.lower() for part in (*given.parts, *path.parts)}
    named = next((name for name in SYNCED if any(name in part for part in parts)), None)
    if named is not None:
        raise LedgerError(
            f"the ledger {path} lies in a synchronised folder ({named})",
            hint="It may be rolled back there, and coupons issued twice. Put it on a local disk (--ledger).",
        )
    kind = _file_system(path)
    if kind in NETWORK:
        raise LedgerError(
            f"the ledger {path} lies on a network file system ({kind})",
            hint="Locks and fsync can't be trusted there. Put it on a local disk (--ledger).",
        )
    try:
        create_private(path)
    except OSError as error:
        raise LedgerError(
            f"the ledger {path} can't be opened: {error.strerror}", hint="Name another place with --ledger."
        ) from error
    return path


def _file_system(path: Path) -> str:
    """The kind of file system that a path lies on, empty where the system doesn't tell."""
    mounts = Path("/proc/mounts")
    if not mounts.exists():
        return ""
    best, kind = "", ""
    for line in mounts.read_text(encoding="utf-8", errors="replace").splitlines():
        _device, folder, found, *_rest = line.split(" ")
        folder = folder.replace("\\040", " ")
        if path.is_relative_to(folder) and len(folder) >= len(best):
            best, kind = folder, found
    return kind
