"""Who holds a job where several hosts share the ledger: a session's advisory lock, on the writer's own connection.

Whoever loses that connection can begin nothing without a new one, and gets its locks back with it if nobody took them
meanwhile. A lock only keeps a second run from starting: who may send is decided by `jobs.holder` alone.
"""

from __future__ import annotations

from contextlib import suppress

from sqlalchemy import Connection, text

from bulk_issue.errors import JobHeld, LedgerError
from bulk_issue.ledger.database import Database
from bulk_issue.model import JobId

_KEY = "hashtextextended(current_schema() || '/bulk-issue/' || :job, 0)"
_TAKE = text(f"SELECT pg_try_advisory_lock({_KEY})")
_FREE = text(f"SELECT pg_advisory_unlock({_KEY})")
_HELD = f"""
FROM pg_locks LEFT JOIN pg_stat_activity AS session USING (pid), (SELECT {_KEY} AS key) AS wanted
WHERE locktype = 'advisory' AND objsubid = 1 AND granted
    AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND classid::bigint = (key >> 32) & 4294967295 AND objid::bigint = key & 4294967295
"""
_BY_WHOM = text(f"SELECT session.application_name {_HELD}")
_EXPEL = text(f"SELECT pg_terminate_backend(pid) {_HELD} AND session.application_name = :name")
_BY_OTHERS = text(f"SELECT count(*) {_HELD} AND pid <> :mine")


def session_name(pid: int, host: str) -> str:
    """What the sessions of a process are called."""
    return f"bulk-issue {pid} on {host}"[:63]


class AdvisoryHolders:
    """See `database.Holders`."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._held: set[JobId] = set()
        self._mine = 0

    def attach(self, connection: Connection) -> None:
        """Take on a new connection what the last one held."""
        self._mine = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        for job in self._held:
            connection.execute(_TAKE, {"job": job})

    def take(self, job: JobId) -> None:
        if job in self._held:
            raise JobHeld(f"job {job} is being run by this process already", hint="Wait for it to end.")
        with self._db.connected() as connection, connection.begin():
            if not connection.execute(_TAKE, {"job": job}).scalar_one():
                by = connection.execute(_BY_WHOM, {"job": job}).scalar() or "another process"
                raise JobHeld(
                    f"job {job} is being run by process {by.removeprefix('bulk-issue ')}",
                    hint="Wait for it to end, or stop it there with Ctrl-C (or kill -TERM) and run this again.",
                )
        self._held.add(job)

    def free(self, job: JobId) -> None:
        if job not in self._held:
            return
        self._held.discard(job)
        # where that fails the session is gone, and the lock with it
        with suppress(LedgerError), self._db.connected() as connection, connection.begin():
            connection.execute(_FREE, {"job": job})

    def expel(self, job: JobId, host: str, pid: int) -> None:
        # where that fails the next look tries again
        with suppress(LedgerError), self._db.connected() as connection, connection.begin():
            connection.execute(_EXPEL, {"job": job, "name": session_name(pid, host)})

    def leave(self) -> None:
        """Nothing: the session ends, and its locks with it."""

    def held_by_others(self, job: JobId) -> bool:
        with self._db.read() as connection:
            return bool(connection.execute(_BY_OTHERS, {"job": job, "mine": self._mine}).scalar_one())
