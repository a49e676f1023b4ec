"""What becomes of rows whose run is gone: what it left in flight is in doubt, and given up no earlier than it can be.

A process on a host that was cut off may be alive, with requests on their way; such rows are given up when none can be.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, and_, func, or_, select, update

from bulk_issue.ledger.answers import in_doubt
from bulk_issue.ledger.schema import IN_DOUBT, IN_FLIGHT, attempts, rows, runs
from bulk_issue.model import Moment
from bulk_issue.states import Event, RowState, after


def give_up(tx: Connection, queue: int, now: Moment) -> int:
    """Rows of the job in flight are in doubt, given up `now`; how many there were."""
    left = tx.execute(
        select(rows.c.job, rows.c.number, rows.c.attempt, rows.c.sent_wall).where(rows.c.queue == queue, IN_FLIGHT)
    ).all()
    doubtful = in_doubt(RowState.PENDING, now)
    to = str(after(RowState.IN_FLIGHT, Event.HOLDER_DIED))
    for row in left:
        own = and_(rows.c.job == row.job, rows.c.number == row.number)
        tx.execute(update(rows).where(own, IN_FLIGHT).values(state=to, spent=rows.c.spent + 1, **doubtful))
        if row.sent_wall is None:
            tx.execute(update(rows).where(own).values(**_begun_as_sent(row.job, row.number, row.attempt)))
    return len(left)


def adopt(tx: Connection, queue: int, now: Moment) -> None:
    """Rows in doubt that were given up on another host, or before a reboot, were given up `now` at the latest.

    Only wall clocks tell how long ago that was, and somebody may have set one. A row's grace must neither be cut short
    nor last until a far day.
    """
    elsewhere = rows.c.given_up_boot_id != now.boot_id
    given_up = {"given_up_wall": now.wall, "given_up_boot": now.boot, "given_up_boot_id": now.boot_id}
    nothing_seen = {"empty_wall": None, "empty_boot": None, "empty_boot_id": None}
    tx.execute(update(rows).where(rows.c.queue == queue, IN_DOUBT, elsewhere).values(given_up | nothing_seen))


def lingering(tx: Connection, queue: int) -> float:
    """For how many seconds requests of rows in flight or in doubt may be on their way, as their own runs had it."""
    begun = (select(rows.c.holder).where(rows.c.queue == queue, state) for state in (IN_FLIGHT, IN_DOUBT))
    its = or_(*(runs.c.token.in_(each) for each in begun))
    return float(tx.scalar(select(func.max(runs.c.lingers)).where(its)) or 0.0)


def later(now: Moment, seconds: float) -> Moment:
    """So many seconds after that."""
    return Moment(now.wall + seconds, now.boot + seconds, now.boot_id)


def _begun_as_sent(job: int, number: int, attempt: int) -> dict[str, Any]:
    """The moment of an attempt's intent, as the columns for the earliest doubtful request."""
    its = and_(attempts.c.job == job, attempts.c.row == number, attempts.c.attempt == attempt)
    return {
        "sent_wall": select(attempts.c.begun_wall).where(its).scalar_subquery(),
        "sent_boot": select(attempts.c.begun_boot).where(its).scalar_subquery(),
        "sent_boot_id": select(attempts.c.begun_boot_id).where(its).scalar_subquery(),
    }
