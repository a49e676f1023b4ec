"""Workers, as the engine's tables beside the ledger's tell of them; none where it never made its tables.

The engine alone says when a worker was seen last. Which job it holds is read from the ledger: its run is the holder.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, text

from bulk_issue.ledger.database import AnyRow
from bulk_issue.model import JobId
from bulk_issue.ports import WorkerFacts

_THERE = text("SELECT to_regclass('bulk_issue_workers') IS NOT NULL")
_WORKERS = text("""
SELECT each.account, each.host, each.pid, extract(epoch FROM each.since)::float8 AS since, jobs.id AS job,
    greatest(extract(epoch FROM clock_timestamp() - engine.last_heartbeat), 0)::float8 AS seen_ago
FROM bulk_issue_workers AS each JOIN procrastinate_workers AS engine ON engine.id = each.worker
    LEFT JOIN (runs JOIN jobs ON jobs.holder = runs.token) ON runs.worker = each.worker
ORDER BY each.since, each.worker
""")
_LOST = text("""
SELECT jobs.id, runs.host, runs.pid FROM jobs JOIN runs ON runs.token = jobs.holder
WHERE jobs.account = :account AND runs.worker IS NOT NULL AND NOT EXISTS (
    SELECT FROM procrastinate_workers AS engine
    WHERE engine.id = runs.worker AND engine.last_heartbeat > clock_timestamp() - :silent * interval '1 second'
)
""")


def workers(connection: Connection) -> Sequence[WorkerFacts]:
    """All workers that the engine has on record, the oldest first."""
    if connection.dialect.name == "sqlite" or not connection.scalar(_THERE):
        return []
    return [
        WorkerFacts(
            account=each.account,
            host=each.host,
            pid=each.pid,
            since=each.since,
            seen_ago=each.seen_ago,
            job=None if each.job is None else JobId(each.job),
        )
        for each in connection.execute(_WORKERS)
    ]


def lost_holders(tx: Connection, account: str, silent: float) -> Sequence[AnyRow]:
    """The account's jobs that a worker holds which the engine hasn't seen for so many seconds; and where it runs."""
    return tx.execute(_LOST, {"account": account, "silent": silent}).all()
