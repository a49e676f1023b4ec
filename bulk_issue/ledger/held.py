"""Which coupon the customer of a HELD row has, and which coupon a row bears that was given none itself.

The rule: these codes are shown, and nothing else. No claim, no proof of a reader, no judgement of a row in doubt and no
plan to revoke reads them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, and_, insert, or_, select

from bulk_issue.ledger.batch import Batch
from bulk_issue.ledger.coupons import columns_of, dump_warnings, load_warnings
from bulk_issue.ledger.database import AnyRow, Face, beside, transaction, upsert
from bulk_issue.ledger.lineage import homes
from bulk_issue.ledger.schema import NOT_DUPLICATE, held, jobs, lookups, rows
from bulk_issue.model import Coupon, Identifier, IdentifierKind, JobId, Lineage, Moment
from bulk_issue.ports import HeldRow
from bulk_issue.states import RowState

UNREAD = "the customer has a coupon already; its code wasn't read from Capillary's record"
FORGOTTEN = "the code was forgotten when its job was purged"


class LedgerHeld(Face):
    """See `ports.Held`."""

    @beside
    def unread(self, tx: Connection, job: JobId, behind: Lineage | None, limit: int) -> Sequence[HeldRow]:
        queue = self._db.number(tx, job)
        home, number = (self._db.number(tx, behind.job), behind.row) if behind else (0, 0)
        found = tx.execute(
            select(rows.c.number, rows.c.kind, rows.c.value, rows.c.key, jobs.c.id, jobs.c.series_id)
            .join(jobs, jobs.c.seq == rows.c.job)
            .outerjoin(held, and_(held.c.job == rows.c.job, held.c.row == rows.c.number))
            .where(rows.c.job.in_(homes(tx, queue)), rows.c.queue == queue, rows.c.state == str(RowState.HELD))
            .where(held.c.job.is_(None), or_(rows.c.job > home, and_(rows.c.job == home, rows.c.number > number)))
            .order_by(rows.c.job, rows.c.number)
            .limit(limit)
        )
        return [
            HeldRow(
                job=JobId(row.id),
                row=row.number,
                series_id=row.series_id,
                identifier=Identifier(IdentifierKind(row.kind), row.value, row.key),
            )
            for row in found
        ]

    @transaction
    def keep(self, tx: Connection, row: HeldRow, coupon: Coupon | None, because: str, now: Moment) -> None:
        its = {"job": self._db.number(tx, row.job), "row": row.row}
        what = dict.fromkeys(("code", "coupon_id", "customer_id", "offer", "warnings"))
        if coupon is not None:
            what |= {**columns_of(coupon), "warnings": dump_warnings(coupon.warnings)}
        what |= {"because": because or None, "at": now.wall}
        kept = upsert(tx, held).values(**its, **what)
        tx.execute(kept.on_conflict_do_update(index_elements=list(its), set_=what))
        finding = "the coupon of a held row" if coupon is not None else "no coupon to give for a held row"
        tx.execute(insert(lookups).values(**its, attempt=0, at=now.wall, finding=finding))


# --- the coupon that a row bears --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Borne:
    """The coupon that a row is shown with, and the row that has it."""

    place: Lineage
    #: The columns of a coupon; `code` is None where it can't be told, and `warnings` say why.
    code: str | None
    coupon_id: int | None
    customer_id: int | None
    offer: str | None
    warnings: tuple[str, ...] = ()


#: A row by its job's number and its own.
Place = tuple[int, int]
#: Rows in these states may bear a coupon that stands elsewhere.
BEARING = frozenset({"held", "duplicate", "superseded", "linked"})
#: The row that stands for another: so many steps at most (each rerun of failures may add one).
STEPS = 100

_STANDING = Batch(
    """
    SELECT rows.job, rows.number, rows.state, rows.of_job, rows.of_row, jobs.id,
        rows.code, rows.coupon_id, rows.customer_id, rows.offer,
        held.at, held.code AS held_code, held.coupon_id AS held_coupon, held.customer_id AS held_customer,
        held.offer AS held_offer, held.warnings, held.because
    FROM (VALUES {values}) AS asked
    JOIN rows ON rows.job = asked.column1 AND rows.number = asked.column2
    JOIN jobs ON jobs.seq = rows.job
    LEFT JOIN held ON held.job = rows.job AND held.row = rows.number
    """,
    ("job", "number"),
)


class Bearers:
    """Finds the coupons that rows of one snapshot bear."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        #: By job: its SUPERSEDED rows, each with the row that replaced it.
        self._replaced: dict[int, Mapping[int, Place]] = {}

    def of(self, seq: int, numbers: Iterable[int]) -> dict[int, Borne]:
        """By number, the coupons that these rows of a job bear; those that bear none are missing."""
        found: dict[int, Borne] = {}
        asked: dict[int, Place] = {number: (seq, number) for number in numbers}
        for _ in range(STEPS):
            if not asked:
                break
            places = list(dict.fromkeys(asked.values()))
            standing = {(row.job, row.number): row for row in _STANDING.select(self._connection, places)}
            following: dict[int, Place] = {}
            for number, place in asked.items():
                row = standing[place]
                match RowState(row.state):
                    case RowState.ISSUED:
                        found[number] = _issued(row)
                    case RowState.HELD:
                        found[number] = _held(row)
                    case RowState.LINKED | RowState.DUPLICATE if row.of_job is not None:
                        following[number] = (row.of_job, row.of_row)
                    case RowState.SUPERSEDED:
                        if (by := self._replacing(row.job).get(row.number)) is not None:
                            following[number] = by
                    case _:
                        pass
            asked = following
        return found

    def _replacing(self, seq: int) -> Mapping[int, Place]:
        if seq not in self._replaced:
            found = self._connection.execute(
                select(rows.c.of_row, rows.c.job, rows.c.number)
                .where(rows.c.of_job == seq, NOT_DUPLICATE, rows.c.state != "linked")
                .order_by(rows.c.job)
            )
            self._replaced[seq] = {replaced: (job, number) for replaced, job, number in found}
        return self._replaced[seq]


def _issued(row: AnyRow) -> Borne:
    place = Lineage(job=JobId(row.id), row=row.number)
    told = bool(row.offer)  # a purged row's code is a hash
    return Borne(
        place=place,
        code=row.code if told else None,
        coupon_id=row.coupon_id,
        customer_id=row.customer_id,
        offer=row.offer,
        warnings=() if told else (FORGOTTEN,),
    )


def _held(row: AnyRow) -> Borne:
    told = row.held_code is not None and bool(row.held_offer)
    why = () if told else (FORGOTTEN if row.held_code is not None else row.because or UNREAD,)
    return Borne(
        place=Lineage(job=JobId(row.id), row=row.number),
        code=row.held_code if told else None,
        coupon_id=row.held_coupon,
        customer_id=row.held_customer,
        offer=row.held_offer,
        warnings=(*load_warnings(row.warnings), *why),
    )
