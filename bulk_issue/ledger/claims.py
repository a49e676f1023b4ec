"""Whose a customer is: the claims that rows hold, under every name that a reply gave, and coupons that break them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, bindparam, delete, or_, select, true, update

from bulk_issue.alike import alike, form, span
from bulk_issue.ledger import placeholders
from bulk_issue.ledger.batch import Batch, insert_many, update_many
from bulk_issue.ledger.coupons import alias_keys, number_key
from bulk_issue.ledger.database import AnyRow, upsert
from bulk_issue.ledger.forgotten import forms
from bulk_issue.ledger.placeholders import differ
from bulk_issue.ledger.schema import claims, excess, rows
from bulk_issue.model import Coupon, IdentifierKind
from bulk_issue.states import CLAIMING, RowState

#: A row by job and number, the state that it is in from now on, and its customer's number where a reply says it.
Stands = tuple[int, int, RowState, str | None]
#: A customer as a row names it: scope and key, and the row's job and number.
Named = tuple[str, str, int, int]

_ITS = and_(claims.c.job == bindparam("its_job"), claims.c.row == bindparam("its_row"))
_INHERIT = (
    update(claims)
    .where(_ITS, claims.c.heir_job.is_not(None))
    .values(job=claims.c.heir_job, row=claims.c.heir_row, heir_job=None, heir_row=None, open=0, learned=1)
)
_DROP = delete(claims).where(_ITS)
_CLOSE = update_many(claims, ("job", "row"), ("open", "customer"), to={"customer": "COALESCE(claims.customer, {new})"})
_NAME = insert_many(claims, "scope", "key", "again", "job", "row", "open", "alike", "learned", "customer", if_new=True)
_CLAIMED = (
    select(claims.c.scope, claims.c.key, claims.c.again, claims.c.open, claims.c.job, claims.c.row)
    .where(claims.c.scope == bindparam("its_scope"), claims.c.key.in_(bindparam("its_keys", expanding=True)))
    # whoever takes the claim away must see the duplicates that are made because of it
    .with_for_update(read=True, key_share=True)
)
_OTHERS = Batch(
    """
    SELECT asked.column1 AS scope, asked.column2 AS key, asked.column3 AS its_job, asked.column4 AS its_row,
        claims.again, claims.customer, rows.code
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
    given_up = [{"its_job": job, "its_row": row} for job, row, state, _ in moved if state not in CLAIMING]
    if given_up:
        tx.execute(_INHERIT, given_up)
        tx.execute(_DROP, given_up)
    final = (RowState.ISSUED, RowState.HELD)
    _CLOSE(
        tx,
        [{"job": job, "row": row, "open": 0, "customer": who} for job, row, state, who in moved if state in final],
    )


def keep_claim(tx: Connection, job: int, row: int, state: RowState, who: str | None) -> None:
    """`keep_claims` for one row."""
    keep_claims(tx, [(job, row, state, who)])


def claim_aliases(tx: Connection, row: AnyRow, coupon: Coupon, at: float) -> bool:
    """Claim every name that a coupon gives its customer for this row too; the row's own claim is closed by now.

    A name that replies of other numbers bore is a placeholder from now on. False if another row of the customer has
    another code: there are two coupons, and this one is recorded as excess.
    """
    who = number_key(coupon)
    (names,) = aliases(tx, [(row, coupon)])
    shared = _shared(tx, row, names, who)
    if shared:
        placeholders.unmask(tx, row.scope, shared)
        names = [name for name in names if name not in shared]
    claim_names(tx, [(row, names, who)])
    known = forms(tx, [row.key, *names])
    others = _of(row.job, row.number) & _may_be(tx, who)
    coupons = _coupons(tx, others, _HEIR)
    if names:
        coupons += _claimed_by_others(tx, row, names, who)
    mine = {*forms(tx, [coupon.code.casefold()])}
    by = {known.get(key, key) for key, code in coupons if code and code.casefold() not in mine}
    if not by:
        return True
    because = "the customer has a coupon of another row, under another identifier"
    record_excess(tx, row.job, row.number, coupon.code, because, at, sorted(by))
    return False


def _shared(tx: Connection, row: AnyRow, names: Sequence[str], who: str | None) -> Sequence[str]:
    """Names that this reply bears, and that replies of other numbers bore under whatever `again` name."""
    if who is None:
        return ()
    known = forms(tx, [row.key, *names, who])
    its = and_(claims.c.scope == row.scope, claims.c.key.in_(known), claims.c.customer.is_not(None))
    borne = tx.execute(select(claims.c.key, claims.c.customer).where(its)).all()
    shared = {known[claim.key] for claim in borne if differ(known, claim.customer, who)}
    return sorted(name for name in shared if not name.startswith(_NUMBER))


def _claimed_by_others(tx: Connection, row: AnyRow, names: Sequence[str], who: str | None) -> list[tuple[str, str]]:
    """The coupons of other rows that have claimed one of these names; of those still open this row is the heir."""
    theirs = and_(
        claims.c.scope == row.scope,
        claims.c.again == row.again,
        claims.c.key.in_(forms(tx, names)),
        or_(claims.c.job != row.job, claims.c.row != row.number),
        _may_be(tx, who),
    )
    coupons = _coupons(tx, theirs, _HOLDER) + _coupons(tx, theirs, _HEIR)
    nobodys = and_(theirs, claims.c.open == 1, claims.c.heir_job.is_(None))
    tx.execute(update(claims).where(nobodys).values(heir_job=row.job, heir_row=row.number))
    tx.execute(update(claims).where(theirs, claims.c.customer.is_(None)).values(customer=who))
    return coupons


_NUMBER = f"{IdentifierKind.ID}:"
_HOLDER = and_(rows.c.job == claims.c.job, rows.c.number == claims.c.row)
_HEIR = and_(rows.c.job == claims.c.heir_job, rows.c.number == claims.c.heir_row)


def _may_be(tx: Connection, who: str | None) -> ColumnElement[bool]:
    """Claims that aren't those of another customer, by their number."""
    return true() if who is None else or_(claims.c.customer.is_(None), claims.c.customer.in_(forms(tx, [who])))


def _coupons(tx: Connection, which: ColumnElement[bool], whose: ColumnElement[bool]) -> list[tuple[str, str]]:
    """The names that these claims are on, with the codes that their holders or heirs have."""
    return [(key, code) for key, code in tx.execute(select(claims.c.key, rows.c.code).join(rows, whose).where(which))]


def _of(job: int, row: int) -> ColumnElement[bool]:
    return and_(claims.c.job == job, claims.c.row == row)


def claim_names(tx: Connection, named: Sequence[tuple[AnyRow, Sequence[str], str | None]]) -> None:
    """Claim these names for these rows, whose customers have these numbers, where nobody else has claimed them."""
    _NAME.of_tuples(
        tx,
        [
            (row.scope, name, row.again, row.job, row.number, 0, form(name), 1, who)
            for row, names, who in named
            for name in names
        ],
    )


def aliases(tx: Connection, issued: Sequence[tuple[AnyRow, Coupon]]) -> list[Sequence[str]]:
    """The names, beside its own, that each row's coupon gives its customer; placeholders are none."""
    told = [(row, sorted({*alias_keys(coupon)} - {row.key})) for row, coupon in issued]
    nobodys = placeholders.known(tx, [(row.scope, name) for row, names in told for name in names])
    return [[name for name in names if (row.scope, name) not in nobodys] for row, names in told]


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


def record_excess(
    tx: Connection, job: int, row: int, code: str, because: str, at: float, names: Sequence[str] = ()
) -> None:
    """Keep a coupon that should not exist, once for each row and code; `names`: what it rests on, if on names."""
    rests_on = json.dumps(list(names)) if names else None
    found = {"job": job, "row": row, "code": code, "because": because, "at": at, "names": rests_on}
    tx.execute(upsert(tx, excess).values(found).on_conflict_do_nothing())
