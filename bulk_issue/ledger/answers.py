"""What answers do to rows: state, claim, coupon and attempt of a whole batch, in a fixed number of statements.

The rule: the batch comes out as if its answers had been taken in one by one, in their order; where they touch each
other's customers, they are. A row moves only from a state and attempt that its answer fits (the table in `states` says
where to); a coupon that comes too late is excess.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from typing import Any

from sqlalchemy import Connection

from bulk_issue.ledger.batch import Batch, update_many
from bulk_issue.ledger.claims import (
    Named,
    aliases,
    claim_aliases,
    claim_names,
    claimed_by_others,
    keep_claims,
    record_excess,
)
from bulk_issue.ledger.coupons import columns_of, dump_warnings, number_key
from bulk_issue.ledger.database import AnyRow
from bulk_issue.ledger.forgotten import forms
from bulk_issue.ledger.placeholders import differ
from bulk_issue.ledger.schema import attempts, rows
from bulk_issue.model import Coupon, Moment
from bulk_issue.ports import Landed, Settlement
from bulk_issue.states import Event, RowState, after

#: A request by its job's number, row and attempt.
Request = tuple[int, int, int]

_STANDING = Batch(
    """
    SELECT rows.job, rows.number, rows.key, rows.state, rows.attempt, rows.holder, rows.spent, rows.code,
        rows.sent_wall, jobs.scope, jobs.again, worked_by.cancelled,
        EXISTS (
            SELECT 1 FROM claims WHERE claims.job = rows.job AND claims.row = rows.number AND heir_job IS NOT NULL
        ) AS has_heir
    FROM (VALUES {values}) AS asked
    JOIN rows ON rows.job = asked.column1 AND rows.number = asked.column2
    JOIN jobs ON jobs.seq = rows.job
    JOIN jobs AS worked_by ON worked_by.seq = rows.queue
    """,
    ("job", "number"),
)
_ANSWERED = update_many(
    attempts,
    ("job", "row", "attempt"),
    ("at_wall", "at_boot", "sent", "event", "error_code", "reason", "request_id", "landed"),
)


@cache
def _moving(columns: tuple[str, ...]) -> Batch:
    """Move a row that still stands as it was found, setting these columns."""
    return update_many(rows, ("job", "number", "state", "attempt"), columns)


@dataclass(slots=True)
class _Move:
    """What one answer does to its row."""

    row: AnyRow
    settlement: Settlement
    to: RowState
    #: The columns that change.
    values: dict[str, Any]
    coupon: Coupon | None = None
    #: The customer's number, as a key, and what else the coupon calls them.
    who: str | None = None
    names: Sequence[str] = ()
    place: tuple[int, int] = field(init=False)

    def __post_init__(self) -> None:
        self.place = self.row.job, self.row.number

    @property
    def named(self) -> Sequence[Named]:
        """The row's customer under every name, the row's own first."""
        return [(self.row.scope, name, *self.place) for name in (self.row.key, *self.names)]


def settle(tx: Connection, requests: Sequence[Request], settlements: Sequence[Settlement]) -> list[Landed]:
    """Move each row as its answer says, if it still is where that answer finds it; one verdict for each, in order."""
    asked = [(job, number) for job, number, _ in requests]
    found = {(row.job, row.number): row for row in _STANDING.select(tx, asked)}
    moves = [_move(found[request[:2]], settlement) for request, settlement in zip(requests, settlements, strict=True)]
    landed = [move for move in moves if move is not None]
    issued = [(move, move.coupon) for move in landed if move.coupon is not None]
    for (move, _), names in zip(issued, aliases(tx, [(move.row, coupon) for move, coupon in issued]), strict=True):
        move.names = names
    others = claimed_by_others(tx, chain.from_iterable(move.named for move, _ in issued))
    alone = len(moves) == 1
    if not alone and (len(found) < len(moves) or _touching(tx, [move for move, _ in issued], others)):
        each = (settle(tx, [request], [settlement]) for request, settlement in zip(requests, settlements, strict=True))
        return list(chain.from_iterable(each))
    for move, coupon in issued:
        known = {other.code and other.code.casefold() for other in others.get(move.named[0], ())}
        if known and not known.isdisjoint(forms(tx, [coupon.code.casefold()])):
            warnings = [*move.settlement.outcome.warnings, "reused: this coupon was issued before"]
            move.values["warnings"] = dump_warnings(warnings)
    for columns in dict.fromkeys(tuple(move.values) for move in landed):
        _moving(columns)(tx, [_moved(move) for move in landed if tuple(move.values) == columns])
    keep_claims(tx, [(*move.place, move.to, move.who) for move in landed])
    excess = False
    if alone:
        excess = not all(claim_aliases(tx, move.row, coupon, move.settlement.at.wall) for move, coupon in issued)
    else:
        claim_names(tx, [(move.row, move.names, move.who) for move, _ in issued])
    verdicts = [
        _late(tx, found[request[:2]], settlement) if move is None else Landed.EXCESS if excess else Landed.LANDED
        for request, settlement, move in zip(requests, settlements, moves, strict=True)
    ]
    _ANSWERED(
        tx,
        [
            {
                "job": job,
                "row": row,
                "attempt": attempt,
                "at_wall": s.at.wall,
                "at_boot": s.at.boot,
                "sent": int(s.left),
                "event": s.event.value,
                "error_code": s.outcome.error_code,
                "reason": s.outcome.reason,
                "request_id": s.outcome.request_id,
                "landed": verdict.value,
            }
            for (job, row, attempt), s, verdict in zip(requests, settlements, verdicts, strict=True)
        ],
    )
    return verdicts


def in_doubt(if_absent: RowState, given_up: Moment) -> dict[str, Any]:
    """The columns of a row that becomes doubtful."""
    return {
        "doubted": 1,
        "if_absent": if_absent.value,
        "given_up_wall": given_up.wall,
        "given_up_boot": given_up.boot,
        "given_up_boot_id": given_up.boot_id,
        "empty_wall": None,
        "empty_boot": None,
        "empty_boot_id": None,
    }


def _move(row: AnyRow, settlement: Settlement) -> _Move | None:
    """What an answer does to its row; None if the row has moved on."""
    state = RowState(row.state)
    mine = row.attempt == settlement.intent.attempt and (
        (state is RowState.IN_FLIGHT and row.holder == settlement.intent.holder)
        # a definite answer that comes late still settles its own row
        or (state is RowState.IN_DOUBT and settlement.event is Event.ISSUED)
    )
    if not mine:
        return None
    to = after(state, settlement.event)
    if to is RowState.PENDING and row.cancelled:
        to = after(to, Event.CANCEL)
    outcome, at = settlement.outcome, settlement.at
    values: dict[str, Any] = {
        "state": to.value,
        "error_code": outcome.error_code,
        "reason": outcome.reason,
        "request_id": outcome.request_id,
        "spent": row.spent + settlement.counts,
    }
    if to is RowState.PENDING:
        values["due"] = settlement.due
    elif to is RowState.IN_DOUBT:
        values |= in_doubt(settlement.if_absent, at)
        if row.sent_wall is None:
            begun = settlement.intent.begun
            values |= {"sent_wall": begun.wall, "sent_boot": begun.boot, "sent_boot_id": begun.boot_id}
    elif to is RowState.ISSUED and (coupon := outcome.coupon) is not None:
        values |= {
            **columns_of(coupon),
            "issued_at": at.wall,
            "warnings": dump_warnings(outcome.warnings),
            "error_code": "",
            "reason": "",
        }
        return _Move(row, settlement, to, values, coupon, number_key(coupon))
    return _Move(row, settlement, to, values)


def _moved(move: _Move) -> dict[str, Any]:
    row = move.row
    return {**move.values, "job": row.job, "number": row.number, "now_state": row.state, "attempt": row.attempt}


def _touching(tx: Connection, issued: Sequence[_Move], others: Mapping[Named, Sequence[AnyRow]]) -> bool:
    """Whether these coupons have to do with each other's customers or with those of other rows.

    A name that one of them gives is another row's too, in the ledger or in the batch itself; or replies of another
    number bore it, if only under another `again` name.
    """
    names = [(move.row.scope, name) for move in issued for name in move.names]
    known = forms(tx, (move.who for move in issued if move.who))
    return len({*names}) < len(names) or any(
        move.row.has_heir
        or any(other.again == move.row.again for name in move.named[1:] for other in others.get(name, ()))
        or any(differ(known, other.customer, move.who) for name in move.named for other in others.get(name, ()))
        for move in issued
    )


def _late(tx: Connection, row: AnyRow, settlement: Settlement) -> Landed:
    """What an answer means that came when its row had moved on."""
    coupon = settlement.outcome.coupon
    if settlement.event is not Event.ISSUED or coupon is None or coupon.code == row.code:
        return Landed.STALE
    record_excess(tx, row.job, row.number, coupon.code, "an answer came when the row had moved on", settlement.at.wall)
    return Landed.EXCESS
