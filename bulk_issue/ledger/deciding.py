"""Whether a person's decision can be true, as far as the ledger knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, func, select, union_all

from bulk_issue.errors import ConfigError
from bulk_issue.ledger.claims import codes_of_others
from bulk_issue.ledger.database import AnyRow
from bulk_issue.ledger.forgotten import forms
from bulk_issue.ledger.schema import excess, jobs, rows
from bulk_issue.model import Decision

#: A row in doubt that a person has decided on, as the ledger has it (with its `scope`).
Decided = tuple[Decision, AnyRow]


def refuse_codes_of_others(tx: Connection, decided: Sequence[Decided]) -> None:
    """Raise `ConfigError` for a code that another customer of the series has, or is given by the same decisions."""
    named = [(decision, row, decision.code.casefold()) for decision, row in decided if decision.code is not None]
    holders = _holders(tx, {code for _, _, code in named})
    given: dict[tuple[str, str], Decided] = {}
    for decision, row, code in named:
        its = [holder for holder in holders.get(code, ()) if holder.scope == row.scope]
        if len({holder.key for holder in its}) > 1:
            continue  # only in a GENERIC series, whose facts couldn't be read now
        other, first = given.setdefault((row.scope, code), (decision, row))
        if first.key != row.key:
            raise _belongs_to(decision, f"row {other.lineage.row} of job {other.lineage.job}, decided with it")
        for holder in its:
            if holder.key != row.key and not _has(tx, row, code):
                raise _belongs_to(decision, f"row {holder.number} of job {holder.id}")


def _has(tx: Connection, row: AnyRow, code: str) -> bool:
    """Whether the row's customer has this code by another row, maybe under another identifier."""
    return not codes_of_others(tx, row.scope, row.key, row.job, row.number).isdisjoint(forms(tx, [code]))


def _holders(tx: Connection, codes: set[str]) -> Mapping[str, Sequence[AnyRow]]:
    """The rows that have one of these codes, as their own or as one too many. Reads all rows of the ledger."""
    if not codes:
        return {}
    known = forms(tx, codes)
    wanted = (rows.c.job, rows.c.number, rows.c.key, jobs.c.scope, jobs.c.id)
    of_job = select(*wanted, func.lower(rows.c.code).label("its")).join(jobs, jobs.c.seq == rows.c.job)
    too_many = (
        select(*wanted, func.lower(excess.c.code).label("its"))
        .select_from(excess)
        .join(rows, (rows.c.job == excess.c.job) & (rows.c.number == excess.c.row))
        .join(jobs, jobs.c.seq == rows.c.job)
        .where(func.lower(excess.c.code).in_(list(known)))
    )
    found: dict[str, list[AnyRow]] = {}
    for row in tx.execute(union_all(of_job.where(func.lower(rows.c.code).in_(list(known))), too_many)):
        found.setdefault(known[row.its], []).append(row)
    return found


def _belongs_to(decision: Decision, whose: str) -> ConfigError:
    lineage = decision.lineage
    return ConfigError(
        f"row {lineage.row} of job {lineage.job} can't have got that coupon: another customer has it ({whose})",
        hint="Look both customers up in Capillary, and copy the code from there. Nothing was recorded.",
    )
