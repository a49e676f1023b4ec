"""Whose a customer is: the claims that rows hold, under every name that a reply gave, and coupons that break them."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, and_, delete, or_, select, update

from bulk_issue.ledger.coupons import alias_keys
from bulk_issue.ledger.database import AnyRow, upsert
from bulk_issue.ledger.schema import claims, excess, rows
from bulk_issue.model import Coupon
from bulk_issue.states import CLAIMING, RowState


def keep_claim(tx: Connection, job: int, row: int, state: RowState) -> None:
    """A claim exists exactly for a row in one of the CLAIMING states, and is open while that may still change.

    A claim that is given up goes to its heir, if a reply has meanwhile named the same customer for another row.
    """
    of_row = _of(job, row)
    if state in (RowState.ISSUED, RowState.HELD):
        tx.execute(update(claims).where(of_row).values(open=0))
    elif state not in CLAIMING:
        inherited = {"job": claims.c.heir_job, "row": claims.c.heir_row, "heir_job": None, "heir_row": None, "open": 0}
        tx.execute(update(claims).where(of_row, claims.c.heir_job.is_not(None)).values(inherited))
        tx.execute(delete(claims).where(of_row))


def claim_aliases(tx: Connection, row: AnyRow, coupon: Coupon, at: float) -> bool:
    """Claim every name that a coupon gives its customer for this row too.

    False if another row of the customer has another code: there are two coupons, and this one is recorded as excess.
    """
    names = sorted({*alias_keys(coupon)} - {row.key})
    codes = _codes(tx, _of(row.job, row.number), _HEIR)
    if names:
        claim = {"scope": row.scope, "again": row.again, "job": row.job, "row": row.number, "open": 0}
        mine = upsert(tx, claims).values([{"key": name, **claim} for name in names]).on_conflict_do_nothing()
        if tx.execute(mine).rowcount < len(names):
            codes |= _claimed_by_others(tx, row, names)
    if {code.casefold() for code in codes if code} <= {coupon.code.casefold()}:
        return True
    because = "the customer has a coupon of another row, under another identifier"
    record_excess(tx, row.job, row.number, coupon.code, because, at)
    return False


def _claimed_by_others(tx: Connection, row: AnyRow, names: Sequence[str]) -> set[str | None]:
    """The codes of other rows that have claimed one of these names; of those still open this row is the heir."""
    theirs = and_(
        claims.c.scope == row.scope,
        claims.c.again == row.again,
        claims.c.key.in_(names),
        or_(claims.c.job != row.job, claims.c.row != row.number),
    )
    codes = _codes(tx, theirs, _HOLDER) | _codes(tx, theirs, _HEIR)
    nobodys = and_(theirs, claims.c.open == 1, claims.c.heir_job.is_(None))
    tx.execute(update(claims).where(nobodys).values(heir_job=row.job, heir_row=row.number))
    return codes


_HOLDER = and_(rows.c.job == claims.c.job, rows.c.number == claims.c.row)
_HEIR = and_(rows.c.job == claims.c.heir_job, rows.c.number == claims.c.heir_row)


def _codes(tx: Connection, which: ColumnElement[bool], whose: ColumnElement[bool]) -> set[str | None]:
    """The coupons that holders or heirs of some claims have."""
    return {*tx.scalars(select(rows.c.code).join(claims, whose).where(which))}


def _of(job: int, row: int) -> ColumnElement[bool]:
    return and_(claims.c.job == job, claims.c.row == row)


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
    tx.execute(upsert(tx, excess).values(found).on_conflict_do_nothing())
