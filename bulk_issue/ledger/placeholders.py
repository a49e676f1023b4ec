"""Names that replies of several customers bore: a brand writes them into every profile, or a family shares a number.

The rule: the customer's number in a reply says who is who. A name that replies of two numbers bear names nobody: no
reply teaches it any more, and what had been concluded from it is taken back. What a row's own record says stays: rows
that name their customer by the placeholder themselves go on to be duplicates of each other.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence

from sqlalchemy import Connection, bindparam, delete, select, update

from bulk_issue.ledger.batch import insert_many
from bulk_issue.ledger.database import AnyRow
from bulk_issue.ledger.forgotten import HASHED, Hash, forms
from bulk_issue.ledger.schema import WORKED_BY, claims, excess, jobs, placeholders, rows
from bulk_issue.model import JobState
from bulk_issue.states import Event, RowState, after

#: Why rows that were duplicates may be sent: what a row says, and its job if that had ended.
FREED = "by a name that stands in the profiles of several customers"

_KNOWN = select(placeholders.c.scope, placeholders.c.key).where(
    placeholders.c.scope == bindparam("its_scope"), placeholders.c.key.in_(bindparam("its_keys", expanding=True))
)
_KEPT = insert_many(placeholders, "scope", "key", if_new=True)
_BEHIND = (
    select(rows.c.job, rows.c.number, rows.c.queue, WORKED_BY.c.cancelled)
    .join(WORKED_BY, WORKED_BY.c.seq == rows.c.queue)
    .where(rows.c.of_job == bindparam("its_job"), rows.c.of_row == bindparam("its_row"))
    .where(rows.c.state == "duplicate", rows.c.key.in_(bindparam("its_keys", expanding=True)))
)


def known(tx: Connection, names: Iterable[tuple[str, str]]) -> Collection[tuple[str, str]]:
    """Those of these names (scope, key) that are placeholders."""
    keys: dict[str, set[str]] = {}
    for scope, key in names:
        keys.setdefault(scope, set()).add(key)
    found = set[tuple[str, str]]()
    for scope, its in keys.items():
        texts = forms(tx, its)
        found |= {(scope, texts[one.key]) for one in tx.execute(_KNOWN, {"its_scope": scope, "its_keys": list(texts)})}
    return found


def unmask(tx: Connection, scope: str, keys: Sequence[str]) -> None:
    """Take these names for placeholders from now on, and take back what was concluded from them.

    Rows that had learned them give them up; rows that were duplicates of those by them may be sent; a coupon that was
    excess by nothing else isn't.
    """
    _KEPT.of_tuples(tx, [(scope, key) for key in keys])
    its = (claims.c.scope == scope) & claims.c.key.in_(list(forms(tx, keys)))
    # before the duplicates are looked for: a process that makes one holds the claim that it lost to
    learned = tx.execute(delete(claims).where(its, claims.c.learned == 1).returning(claims.c.job, claims.c.row)).all()
    tx.execute(update(claims).where(its).values(heir_job=None, heir_row=None))
    for job, number in dict.fromkeys((claim.job, claim.row) for claim in learned):
        _free(tx, tx.execute(_BEHIND, {"its_job": job, "its_row": number, "its_keys": list(keys)}).all())
    _take_back(tx, scope, {*keys})


def forget(tx: Connection, hashed: Hash) -> None:
    """Keep the placeholders as hashes only: what two customers share may be private to them."""
    plain = tx.execute(select(placeholders).where(placeholders.c.key.not_like(f"{HASHED}%"))).all()
    tx.execute(delete(placeholders).where(placeholders.c.key.not_like(f"{HASHED}%")))
    _KEPT.of_tuples(tx, [(one.scope, hashed(one.key)) for one in plain])


def _free(tx: Connection, duplicates: Sequence[AnyRow]) -> None:
    """These rows are no duplicates; in a job that was cancelled they are cancelled, one that had ended goes on."""
    free = after(RowState.DUPLICATE, Event.FREED)
    for row in duplicates:
        to = after(free, Event.CANCEL) if row.cancelled else free
        tx.execute(
            update(rows)
            .where(rows.c.job == row.job, rows.c.number == row.number)
            .values(state=str(to), of_job=None, of_row=None, due=0.0, reason=f"Was taken for a duplicate {FREED}.")
        )
    for queue in dict.fromkeys(row.queue for row in duplicates):
        ended = (jobs.c.seq == queue) & (jobs.c.state == str(JobState.ENDED))
        tx.execute(
            update(jobs)
            .where(ended)
            .values(state=str(JobState.STOPPED), because=f"rows that can be sent were taken for duplicates {FREED}")
        )


def _take_back(tx: Connection, scope: str, keys: set[str]) -> None:
    """Forget excess that rests on these names alone."""
    resting = select(excess.c.id, excess.c.names).join(jobs, jobs.c.seq == excess.c.job)
    for one in tx.execute(resting.where(jobs.c.scope == scope, excess.c.names.is_not(None))).all():
        names = json.loads(one.names)
        left = [name for name in names if name not in keys]
        if not left:
            tx.execute(delete(excess).where(excess.c.id == one.id))
        elif len(left) < len(names):
            tx.execute(update(excess).where(excess.c.id == one.id).values(names=json.dumps(left)))


def differ(known: Mapping[str, str], theirs: str | None, mine: str | None) -> bool:
    """Whether two numbers, as keys, are those of two customers; `known` has the text of each form (see `forms`)."""
    return theirs is not None and mine is not None and known.get(theirs, theirs) != mine
