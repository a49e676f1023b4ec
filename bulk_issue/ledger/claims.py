"""Whose a customer is: the claims that rows hold, under every name that a reply gave, and coupons that break them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

from sqlalchemy import Connection, and_, bindparam, delete, or_, select
from sqlalchemy.dialects.sqlite import insert as upsert

from bulk_issue.ledger.batch import MOST, insert_many, update_many
from bulk_issue.ledger.database import AnyRow
from bulk_issue.ledger.schema import claims, excess, rows
from bulk_issue.states import CLAIMING, RowState

#: Rows by job and number, and the state that each is in from now on.
Stands = tuple[int, int, RowState]
_DROP = delete(claims).where(claims.c.job == bindparam("its_job"), claims.c.row == bindparam("its_row"))
_CLOSE = update_many(claims, ("job", "row"), ("open",))
_NAME = insert_many(claims, *(NAME := ("scope", "key", "again", "job", "row", "customer_id", "open")), if_new=True)
_CLAIMED = select(claims.c.scope, claims.c.key, claims.c.again, claims.c.open, claims.c.job, claims.c.row).where(
    claims.c.scope == bindparam("its_scope"), claims.c.key.in_(bindparam("its_keys", expanding=True))
)
_OTHERS = """
SELECT asked.column1 AS scope, asked.column2 AS key, asked.column3 AS its_job, asked.column4 AS its_row,
    claims.again, claims.job, claims.row, rows.code
FROM (VALUES {values}) AS asked
JOIN claims ON claims.scope = asked.column1 AND claims.key = asked.column2
JOIN rows ON rows.job = claims.job AND rows.number = claims.row
WHERE NOT (claims.job = asked.column3 AND claims.row = asked.column4)
"""


def keep_claims(tx: Connection, moved: Iterable[Stands]) -> None:
    """A claim exists exactly for a row in one of the CLAIMING states, and is open while that may still change."""
    moved = list(moved)
    dropped = [{"its_job": job, "its_row": row} for job, row, state in moved if state not in CLAIMING]
    if dropped:
        tx.execute(_DROP, dropped)
    final = (RowState.ISSUED, RowState.HELD)
    _CLOSE(tx, [{"job": job, "row": row, "open": 0} for job, row, state in moved if state in final])


def keep_claim(tx: Connection, job: int, row: int, state: RowState) -> None:
    """`keep_claims` for one row."""
    keep_claims(tx, [(job, row, state)])


def claim_names(tx: Connection, names: Iterable[tuple[str, str, str, int, int, int | None]]) -> None:
    """Claim what replies say of customers (scope, key, again, job, row, customer id); what is claimed stays so."""
    _NAME(tx, [dict(zip(NAME, (*each, 0), strict=True)) for each in names])


def claimed(tx: Connection, names: Iterable[tuple[str, str]]) -> Mapping[tuple[str, str], Sequence[AnyRow]]:
    """The claims on these customers (scope, key), under whatever `again` name."""
    keys: dict[str, list[str]] = {}
    for scope, key in dict.fromkeys(names):
        keys.setdefault(scope, []).append(key)
    found: dict[tuple[str, str], list[AnyRow]] = {}
    for scope, its in keys.items():
        for row in tx.execute(_CLAIMED, {"its_scope": scope, "its_keys": its}):
            found.setdefault((row.scope, row.key), []).append(row)
    return found


def others(
    tx: Connection, names: Iterable[tuple[str, str, int, int]]
) -> Mapping[tuple[str, str, int, int], Sequence[AnyRow]]:
    """Other rows than the row itself that claim a customer (scope, key, job, row), and the codes of these."""
    found: dict[tuple[str, str, int, int], list[AnyRow]] = {}
    asked = list(dict.fromkeys(names))
    for at in range(0, len(asked), MOST):
        some = asked[at : at + MOST]
        sql = _OTHERS.format(values=", ".join(["(?, ?, ?, ?)"] * len(some)))
        for row in tx.exec_driver_sql(sql, tuple(chain.from_iterable(some))):
            found.setdefault((row.scope, row.key, row.its_job, row.its_row), []).append(row)
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
