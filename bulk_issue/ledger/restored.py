"""What a restored ledger doesn't know, and how it keeps that from issuing twice.

Between the moment of a backup and that of its restore, the ledger that was lost may have issued coupons. So every row
that might be sent is marked with the restore (`reopen`), rows of jobs that are registered later included (`mark`). A
marked row goes in doubt before it may be sent, as if one request, from the backup to the restore, had got no answer;
from there it takes the only ways out of doubt that there are: the server's record, or a person's decision. Later jobs
are marked until a person says that all that was issued meanwhile is accounted for (`trust`).
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, insert, select, update

from bulk_issue.ledger.database import AnyRow
from bulk_issue.ledger.schema import PENDING, backups, restores, rows
from bulk_issue.model import Moment
from bulk_issue.states import Event, RowState, after


def stamp(tx: Connection, now: Moment) -> None:
    """Write down that a backup is about to be made, so that the copy holds its own moment."""
    tx.execute(insert(backups).values(at_wall=now.wall, at_boot=now.boot, at_boot_id=now.boot_id))


def put_in_doubt(tx: Connection, claimed: Sequence[AnyRow], now: Moment) -> frozenset[tuple[int, int]]:
    """Of these pending rows, which have their claim, those that no ledger knows the fate of are in doubt on return.

    Which ones these are, by job and number.
    """
    marked = [row for row in claimed if row.restored is not None]
    if not marked:
        return frozenset()
    gaps = {gap.id: gap for gap in tx.execute(select(restores))}
    tx.execute(
        update(rows)
        .where(rows.c.job == bindparam("its_job"), rows.c.number == bindparam("its_row"), PENDING)
        .values(
            state=str(after(RowState.PENDING, Event.RESTORED)),
            restored=None,
            doubted=1,
            if_absent=str(RowState.PENDING),
            reason="The ledger was restored from a backup: a coupon may have been issued since that backup.",
            sent_wall=bindparam("from_wall"),
            sent_boot=bindparam("from_boot"),
            sent_boot_id=bindparam("from_boot_id"),
            given_up_wall=bindparam("to_wall"),
            given_up_boot=bindparam("to_boot"),
            given_up_boot_id=bindparam("to_boot_id"),
            empty_wall=None,
            empty_boot=None,
            empty_boot_id=None,
        ),
        [
            {"its_job": row.job, "its_row": row.number, **_from(gaps[row.restored]), **_to(gaps[row.restored], now)}
            for row in marked
        ],
    )
    return frozenset((row.job, row.number) for row in marked)


def _from(gap: AnyRow) -> dict[str, object]:
    return {"from_wall": gap.since_wall, "from_boot": gap.since_boot, "from_boot_id": gap.since_boot_id}


def _to(gap: AnyRow, now: Moment) -> dict[str, object]:
    """When the gap ended; across a reboot only the wall clock tells, and somebody may have set it."""
    end = Moment(gap.at_wall, gap.at_boot, gap.at_boot_id)
    end = end if end.boot_id == now.boot_id else now
    return {"to_wall": end.wall, "to_boot": end.boot, "to_boot_id": end.boot_id}


def open_restore(tx: Connection) -> AnyRow | None:
    """The last restore that nobody has said to be accounted for; None if there is none."""
    return tx.execute(
        select(restores).where(restores.c.trusted.is_(None)).order_by(restores.c.id.desc()).limit(1)
    ).first()


def mark(tx: Connection, seq: int) -> None:
    """Mark the rows of a job that is being registered, if an open restore may have lost what it was issued."""
    gap = open_restore(tx)
    if gap is not None:
        tx.execute(update(rows).where(rows.c.job == seq, PENDING).values(restored=gap.id))


def trust(tx: Connection, who: str, why: str, now: Moment) -> int:
    """A person's word that all that was issued since the backup is accounted for; how many rows lost their mark."""
    unmarked = tx.execute(update(rows).where(rows.c.restored.is_not(None)).values(restored=None)).rowcount
    tx.execute(update(restores).where(restores.c.trusted.is_(None)).values(trusted=now.wall, who=who, why=why))
    return unmarked
