"""Whose a customer is: the claims that rows hold, under every name that a reply gave, and coupons that break them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import Connection, and_, bindparam, delete, literal_column, or_, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from bulk_issue.ledger.batch import Batch
from bulk_issue.ledger.database import AnyRow
from bulk_issue.ledger.schema import claims, excess, rows
from bulk_issue.states import CLAIMING, RowState

#: Rows by job and number, and the state that each is in from now on.
Stands = tuple[int, int, RowState]
_OF_ROW = and_(claims.c.job == bindparam("its_job"), claims.c.row == bindparam("its_row"))
_DROP = Batch(delete(claims).where(_OF_ROW))
_CLOSE = Batch(update(claims).where(_OF_ROW).values(open=literal_column("0")))
_NAME = Batch(
    upsert(claims).values(open=literal_column("0")).on_conflict_do_nothing(),
    *("scope", "key", "again", "job", "row", "customer_id"),
)
_NAMED = (
    select(claims.c.scope, claims.c.key, claims.c.again, claims.c.open, claims.c.job, claims.c.row, rows.c.code)
    .join(rows, and_(rows.c.job == claims.c.job, rows.c.number == claims.c.row))
    .where(claims.c.scope == bindparam("its_scope"), claims.c.key.in_(bindparam("its_keys", expanding=True)))
)


def keep_claims(tx: Connection, moved: Iterable[Stands]) -> None:
    """A claim exists exactly for a row in one of the CLAIMING states, and is open while that may still change."""
    dropped, closed = list[dict[str, int]](), list[dict[str, int]]()
    for job, row, state in moved:
        if state not in CLAIMING:
            dropped.append({"its_job": job, "its_row": row})
        elif state in (RowState.ISSUED, RowState.HELD):
            closed.append({"its_job": job, "its_row": row})
    _DROP(tx, dropped)
    _CLOSE(tx, closed)


def keep_claim(tx: Connection, job: int, row: int, state: RowState) -> None:
    """`keep_claims` for one row."""
    keep_claims(tx, [(job, row, state)])


def claim_names(tx: Connection, names: Iterable[tuple[str, str, str, int, int, int | None]]) -> None:
    """Claim what replies say of customers (scope, key, again, job, row, customer id); what is claimed stays so."""
    columns = ("scope", "key", "again", "job", "row", "customer_id")
    _NAME(tx, [dict(zip(columns, each, strict=True)) for each in names])


def named(tx: Connection, names: Iterable[tuple[str, str]]) -> Mapping[tuple[str, str], Sequence[AnyRow]]:
    """Who claims these customers (scope, key), under whatever `again` name, and the codes of those rows."""
    keys: dict[str, list[str]] = {}
    for scope, key in dict.fromkeys(names):
        keys.setdefault(scope, []).append(key)
    found: dict[tuple[str, str], list[AnyRow]] = {}
    for scope, its in keys.items():
        for row in tx.execute(_NAMED, {"its_scope": scope, "its_keys": its}):
            found.setdefault((row.scope, row.key), []).append(row)
    return found


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
