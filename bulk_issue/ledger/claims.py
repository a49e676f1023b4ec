"""Whose a customer is: the claims that rows hold, under every name that a reply gave, and coupons that break them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, bindparam, delete, or_, select, update

from bulk_issue.alike import alike, form, span
from bulk_issue.ledger.batch import Batch, insert_many, update_many
from bulk_issue.ledger.coupons import alias_keys
from bulk_issue.ledger.database import AnyRow, upsert
from bulk_issue.ledger.forgotten import forms
from bulk_issue.ledger.schema import claims, excess, rows
from bulk_issue.model import Coupon
from bulk_issue.states import CLAIMING, RowState

#: A row by job and number, and the state that it is in from now on.
Stands = tuple[int, int, RowState]
#: A customer as a row names it: scope and key, and the row's job and number.
Named = tuple[str, str, int, int]

_ITS = and_(claims.c.job == bindparam("its_job"), claims.c.row == bindparam("its_row"))
_INHERIT = (
    update(claims)
    .where(_ITS, claims.c.heir_job.is_not(None))
    .values(job=claims.c.heir_job, row=claims.c.heir_row, heir_job=None, heir_row=None, open=0)
)
_DROP = delete(claims).where(_ITS)
_CLOSE = update_many(claims, ("job", "row"), ("open",))
_NAME = insert_many(claims, "scope", "key", "again", "job", "row", "open", "alike", if_new=True)
_CLAIMED = select(claims.c.scope, claims.c.key, claims.c.again, claims.c.open, claims.c.job, claims.c.row).where(
    claims.c.scope == bindparam("its_scope"), claims.c.key.in_(bindparam("its_keys", expanding=True))
)
_OTHERS = Batch(
    """
    SELECT asked.column1 AS scope, asked.column2 AS key, asked.column3 AS its_job, asked.column4 AS its_row,
        claims.again, rows.code
    FROM (VALUES {values}) AS asked
    JOIN claims ON claims.scope = asked.column1 AND claims.key = asked.column2
    JOIN rows ON rows.job = claims.job AND rows.number = claims.row
    WHERE NOT (claims.job = asked.column3 AND claims.row = asked.column4)
    """,
    ("scope", "key", "job", "row"),
)
_ALIKE = Batch(
    """
    SELECT asked.column5 AS asked, claims.key, claims.job, claims.row, claims.again, claims.open, jobs.id
    FROM (VALUES {values}) AS asked
    JOIN claims ON claims.scope = asked.column1 AND claims.again = asked.column2
        AND claims.alike >= asked.column3 AND claims.alike <= asked.column4
    JOIN jobs ON jobs.seq = claims.job
    """,
    ("scope", "again", "low", "high", "asked"),
)


class Looks(NamedTuple):
    """A customer whose look-alikes are asked for: of the same series and occasion, but not in these jobs."""

    scope: str
    again: str
    key: str
    but: tuple[int, ...] = ()


def keep_claims(tx: Connection, moved: Iterable[Stands]) -> None:
    """A claim exists exactly for a row in one of the CLAIMING states, and is open while that may still change.

    A claim that is given up goes to its heir, if a reply has meanwhile named the same customer for another row.
    """
    moved = list(moved)
    given_up = [{"its_job": job, "its_row": row} for job, row, state in moved if state not in CLAIMING]
    if given_up:
        tx.execute(_INHERIT, given_up)
        tx.execute(_DROP, given_up)
    final = (RowState.ISSUED, RowState.HELD)
    _CLOSE(tx, [{"job": job, "row": row, "open": 0} for job, row, state in moved if state in final])


def keep_claim(tx: Connection, job: int, row: int, state: RowState) -> None:
    """`keep_claims` for one row."""
    keep_claims(tx, [(job, row, state)])


def claim_aliases(tx: Connection, row: AnyRow, coupon: Coupon, at: float) -> bool:
    """Claim every name that a coupon gives its customer for this row too.

    False if another row of the customer has another code: there are two coupons, and this one is recorded as excess.
    """
    names = aliases(row, coupon)
    codes = _codes(tx, _of(row.job, row.number), _HEIR)
    if names:
        claim = {"scope": row.scope, "again": row.again, "job": row.job, "row": row.number, "open": 0}
        its = [{"key": name, "alike": form(name), **claim} for name in names]
        mine = upsert(tx, claims).values(its).on_conflict_do_nothing()
        tx.execute(mine)
        codes |= _claimed_by_others(tx, row, names)
    if {code.casefold() for code in codes if code} <= {*forms(tx, [coupon.code.casefold()])}:
        return True
    because = "the customer has a coupon of another row, under another identifier"
    record_excess(tx, row.job, row.number, coupon.code, because, at)
    return False


def _claimed_by_others(tx: Connection, row: AnyRow, names: Sequence[str]) -> set[str | None]:
    """The codes of other rows that have claimed one of these names; of those still open this row is the heir."""
    theirs = and_(
        claims.c.scope == row.scope,
        claims.c.again == row.again,
        claims.c.key.in_(forms(tx, names)),
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


def claim_names(tx: Connection, named: Sequence[tuple[AnyRow, Sequence[str]]]) -> None:
    """`claim_aliases` for many rows whose names nobody else has claimed."""
    _NAME.of_tuples(
        tx,
        [(row.scope, name, row.again, row.job, row.number, 0, form(name)) for row, names in named for name in names],
    )


def aliases(row: AnyRow, coupon: Coupon) -> list[str]:
    """The names, beside its own, that a coupon gives the customer of a row."""
    return sorted({*alias_keys(coupon)} - {row.key})


def claimed(tx: Connection, names: Iterable[tuple[str, str]]) -> Mapping[tuple[str, str], Sequence[AnyRow]]:
    """The claims on these customers (scope, key), under whatever `again` name."""
    keys: dict[str, list[str]] = {}
    for scope, key in dict.fromkeys(names):
        keys.setdefault(scope, []).append(key)
    found: dict[tuple[str, str], list[AnyRow]] = {}
    for scope, its in keys.items():
        known = forms(tx, its)
        for row in tx.execute(_CLAIMED, {"its_scope": scope, "its_keys": list(known)}):
            found.setdefault((row.scope, known[row.key]), []).append(row)
    return found


def look_alikes(tx: Connection, looks: Iterable[Looks]) -> Mapping[Looks, AnyRow]:
    """A claim on somebody who looks like each of these customers, where there is one.

    Purged customers aren't found so: only whoever has their identifier exactly can know them again.
    """
    wanted = list(dict.fromkeys(looks))
    asked = [(look.scope, look.again, *its, at) for at, look in enumerate(wanted) if (its := span(look.key))]
    found: dict[Looks, AnyRow] = {}
    for claim in _ALIKE.select(tx, asked):
        look = wanted[claim.asked]
        if claim.job not in look.but and alike(look.key, claim.key):
            found.setdefault(look, claim)
    return found


def claimed_by_others(tx: Connection, named: Iterable[Named]) -> Mapping[Named, Sequence[AnyRow]]:
    """Claims of other rows on customers whom a row names, with the `again` names and the codes of those rows."""
    named = dict.fromkeys(named)
    known = forms(tx, (key for _, key, _, _ in named))
    stands: dict[str, list[str]] = {}
    for text, key in known.items():
        stands.setdefault(key, []).append(text)
    asked = [(scope, text, job, row) for scope, key, job, row in named for text in stands[key]]
    found: dict[Named, list[AnyRow]] = {}
    for row in _OTHERS.select(tx, asked):
        found.setdefault((row.scope, known[row.key], row.its_job, row.its_row), []).append(row)
    return found


def codes_of_others(tx: Connection, scope: str, key: str, job: int, row: int) -> frozenset[str]:
    """Codes, in lower case, of all other rows of this customer of the series, whatever their job or `again` name."""
    held = tx.execute(
        select(rows.c.code)
        .select_from(claims)
        .join(rows, and_(rows.c.job == claims.c.job, rows.c.number == claims.c.row))
        .where(claims.c.scope == scope, claims.c.key.in_(forms(tx, [key])), rows.c.code.is_not(None))
        .where(or_(claims.c.job != job, claims.c.row != row))
    )
    return frozenset(code.casefold() for (code,) in held)


def record_excess(tx: Connection, job: int, row: int, code: str, because: str, at: float) -> None:
    """Keep a coupon that should not exist; once for each row and code."""
    found = {"job": job, "row": row, "code": code, "because": because, "at": at}
    tx.execute(upsert(tx, excess).values(found).on_conflict_do_nothing())
