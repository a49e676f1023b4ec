"""Which row a record is: the records of failures files stand for rows of earlier jobs."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, select

from bulk_issue.ledger.database import AnyRow
from bulk_issue.ledger.schema import rows


def real_row(tx: Connection, job: int, number: int) -> AnyRow | None:
    """The row itself, where a record of a rerun only stands for it; None if there is no such row."""
    while True:
        wanted = (rows.c.job, rows.c.number, rows.c.state, rows.c.key, rows.c.of_job, rows.c.of_row)
        row = tx.execute(select(*wanted).where(rows.c.job == job, rows.c.number == number)).first()
        if row is None or row.state != "linked":
            return row
        job, number = row.of_job, row.of_row


def named(tx: Connection, row: AnyRow | None) -> AnyRow | None:
    """The row, or the nearest one that it was run again from, that names a customer."""
    while row is not None and row.key is None:
        row = real_row(tx, row.of_job, row.of_row) if row.of_job is not None else None
    return row


def homes(tx: Connection, seq: int) -> Sequence[int]:
    """The jobs whose rows a job may work: itself, and those that its records are linked to."""
    linked = select(rows.c.of_job).where(rows.c.job == seq, rows.c.state == "linked").distinct()
    return [seq, *tx.scalars(linked)]
