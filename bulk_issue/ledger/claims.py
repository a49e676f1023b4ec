"""Whose a customer is: the claims that rows hold, under every name that a reply gave, and coupons that break them."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, and_, delete, or_, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from bulk_issue.ledger.schema import claims, excess, rows
from bulk_issue.states import CLAIMING, RowState


def keep_claim(tx: Connection, job: int, row: int, state: RowState) -> None:
    """A claim exists exactly for a row in one of the CLAIMING states, and is open while that may still change."""
    of_row = and_(claims.c.job == job, claims.c.row == row)
    if state not in CLAIMING:
        tx.execute(delete(claims).where(of_row))
    elif state in (RowState.ISSUED, RowState.HELD):
        tx.execute(update(claims).where(of_row).values(open=0))


def claim_aliases(
    tx: Connection, scope: str, again: str, job: int, row: int, keys: Iterable[str], customer_id: int | None
) -> set[str]:
    """Claim what a reply says of the customer too; the codes of other rows that had claimed one of these already."""
    names = sorted(set(keys))
    if not names:
        return set()
    same = {"scope": scope, "again": again, "job": job, "row": row, "open": 0, "customer_id": customer_id}
    tx.execute(upsert(claims).values([{"key": key, **same} for key in names]).on_conflict_do_nothing())
    others = tx.execute(
        select(rows.c.code)
        .select_from(claims)
        .join(rows, and_(rows.c.job == claims.c.job, rows.c.number == claims.c.row))
        .where(claims.c.scope == scope, claims.c.again == again, claims.c.key.in_(names))
        .where(or_(claims.c.job != job, claims.c.row != row), rows.c.code.is_not(None))
    )
    return {code.casefold() for (code,) in others}


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
