"""Whose a customer is: the claims that rows hold, under every name that a reply gave, and coupons that break them."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, and_, delete, or_, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from bulk_issue.ledger.coupons import alias_keys
from bulk_issue.ledger.database import AnyRow
from bulk_issue.ledger.schema import claims, excess, rows
from bulk_issue.model import Coupon, IdentifierKind
from bulk_issue.rows import key
from bulk_issue.states import CLAIMING, RowState

#: What a name is kept under for a row whose reply gave it when another row had claimed it already.
ALSO = "also "


def keep_claim(tx: Connection, job: int, row: int, state: RowState) -> None:
    """A claim exists exactly for a row in one of the CLAIMING states, and is open while that may still change.

    A claim that a row gives up goes to the row that a reply has meanwhile named the same customer for, if there is one.
    """
    of_row = and_(claims.c.job == job, claims.c.row == row)
    if state in (RowState.ISSUED, RowState.HELD):
        tx.execute(update(claims).where(of_row).values(open=0))
    elif state not in CLAIMING:
        given_up = tx.execute(select(claims).where(of_row, claims.c.customer_id.is_not(None))).first()
        heir = (
            given_up
            and tx.execute(
                select(claims.c.job, claims.c.row).where(
                    claims.c.scope == given_up.scope,
                    claims.c.again == given_up.again,
                    claims.c.key.in_(_both([key(IdentifierKind.ID, str(given_up.customer_id))])),
                    claims.c.open == 0,
                )
            ).first()
        )
        if heir:
            tx.execute(update(claims).where(of_row).values(job=heir.job, row=heir.row, open=0))
        else:
            tx.execute(delete(claims).where(of_row))


def claim_aliases(tx: Connection, row: AnyRow, coupon: Coupon, at: float) -> bool:
    """Claim every name that a coupon gives its customer for this row too.

    False if another row has one of them with another code: the customer has two coupons, and this one is excess.
    """
    names = sorted(set(alias_keys(coupon)))
    if not names:
        return True
    same = {"scope": row.scope, "again": row.again, "job": row.job, "row": row.number, "open": 0}
    known = {"customer_id": coupon.customer_id}
    tx.execute(upsert(claims).values([{"key": name, **same, **known} for name in names]).on_conflict_do_nothing())
    theirs = and_(
        claims.c.scope == row.scope,
        claims.c.again == row.again,
        claims.c.key.in_(_both(names)),
        or_(claims.c.job != row.job, claims.c.row != row.number),
    )
    if taken := tx.scalars(select(claims.c.key).where(theirs, claims.c.key.in_(names))).all():
        also = [{"key": ALSO + name, **same, **known} for name in taken]
        tx.execute(upsert(claims).values(also).on_conflict_do_nothing())
    tx.execute(update(claims).where(theirs, claims.c.open == 1).values(known))
    others = tx.scalars(
        select(rows.c.code)
        .select_from(claims)
        .join(rows, and_(rows.c.job == claims.c.job, rows.c.number == claims.c.row))
        .where(theirs, rows.c.code.is_not(None))
    )
    if {code.casefold() for code in others} <= {coupon.code.casefold()}:
        return True
    because = "the customer has a coupon of another row, under another identifier"
    record_excess(tx, row.job, row.number, coupon.code, because, at)
    return False


def _both(names: Sequence[str]) -> list[str]:
    """The names, and what a second row of such a customer is kept under."""
    return [*names, *(ALSO + name for name in names)]


def codes_of_others(tx: Connection, scope: str, key: str, job: int, row: int) -> frozenset[str]:
    """Codes, in lower case, of all other rows of this customer of the series, whatever their job or `again` name."""
    held = tx.execute(
        select(rows.c.code)
        .select_from(claims)
        .join(rows, and_(rows.c.job == claims.c.job, rows.c.number == claims.c.row))
        .where(claims.c.scope == scope, claims.c.key == key, rows.c.code.is_not(None))
        .where(or_(claims.c.job != job, claims.c.row != row))
    )
    return frozenset(code.casefold() for (code,) in held)


def record_excess(tx: Connection, job: int, row: int, code: str, because: str, at: float) -> None:
    """Keep a coupon that should not exist; once for each row and code."""
    found = {"job": job, "row": row, "code": code, "because": because, "at": at}
    tx.execute(upsert(excess).values(found).on_conflict_do_nothing())
