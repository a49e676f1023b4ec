"""How a row shows in the files: its `_status`, which files it stands in, and the text of each of our columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache

from bulk_issue import verdicts
from bulk_issue.commands import command
from bulk_issue.model import Tally
from bulk_issue.ports import ResultRow
from bulk_issue.rows import PROBLEMS
from bulk_issue.states import RowState

RESULTS, FAILURES, IN_DOUBT = "results", "failures", "in_doubt"
#: The `_status` of each state, and the file besides the results that such a row stands in. A LINKED row has neither:
#: it shows as the row that it is linked to.
SHOWN: Mapping[RowState, tuple[str, str | None]] = {
    RowState.ISSUED: ("issued", None),
    RowState.HELD: ("held", None),
    RowState.REJECTED: ("rejected", FAILURES),
    RowState.INVALID: ("invalid", FAILURES),
    RowState.DUPLICATE: ("duplicate", None),
    RowState.IN_DOUBT: ("in_doubt", IN_DOUBT),
    RowState.IN_FLIGHT: ("in_doubt", IN_DOUBT),
    RowState.PENDING: ("pending", None),
    RowState.CANCELLED: ("cancelled", None),
    RowState.SUPERSEDED: ("superseded", None),
}
#: The column of in_doubt.csv that a person fills in, read back by `decisions`.
DECISION = "_decision"

#: The `_error_code` of invalid rows that are no failures: from a failures file they would find their way back in, past
#: the list that keeps them out.
EXCLUDED = "excluded"


def by_status(tally: Tally) -> dict[str, int]:
    """Rows by `_status`, every status named."""
    counts = dict.fromkeys((status for status, _ in SHOWN.values()), 0)
    for state, rows in tally.items():
        counts[SHOWN[state][0]] += rows
    return counts


Show = Callable[[ResultRow], str]
WIDTHS = {"_reason": 60, "_remedy": 60, "_coupon_code": 24, "_description": 40, "_warnings": 40, "_issued_at": 22}
#: Text of ours or of Capillary's: a spreadsheet must not take it for a formula. A code is never altered.
_FREE_TEXT = frozenset({"_reason", "_remedy", "_description", "_detailed_info", "_warnings"})
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def show(name: str) -> Show:
    """What makes the text of one of our columns."""
    text = _OURS[name]
    return (lambda row: _safe(text(row))) if name in _FREE_TEXT else text


def _safe(text: str) -> str:
    return f"'{text}" if text and text.startswith(_FORMULA) else text


def utc(seconds: float | None) -> str | None:
    """Epoch seconds as people and programs read them: ISO 8601, UTC."""
    return None if seconds is None else _second(int(seconds))


@lru_cache(maxsize=1_000)  # rows in a row were issued in the same second
def _second(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC).isoformat()[:19]}Z"


def remedy(error_code: str) -> str:
    """What a person can do about rows with this `_error_code`, Capillary's or one of our own."""
    return PROBLEMS[error_code][1] if error_code in PROBLEMS else verdicts.remedy(error_code)


def _number(value: int | None) -> str:
    return "" if value is None else str(value)


def _reason(row: ResultRow) -> str:
    if row.state is RowState.DUPLICATE and row.first is not None:
        whose = "" if row.first.job == row.job else f" of job {row.first.job}"
        stands = f": {SHOWN[row.first_state][0]}" if row.first_state is not None else ""
        return f"the same customer as row {row.first.row}{whose}{stands}"
    if row.state is RowState.SUPERSEDED and row.first is not None and row.first_state is not None:
        return f"corrected as row {row.first.row} of job {row.first.job}: {SHOWN[row.first_state][0]}"
    if row.state is RowState.IN_FLIGHT:
        return row.reason or "Its request was on the way when this file was written."
    return row.reason


def _remedy(row: ResultRow) -> str:
    match row.state:
        case RowState.IN_DOUBT | RowState.IN_FLIGHT:
            return (
                f"{command('reconcile', row.job)} settles it from Capillary's record. By hand: write `issued CODE` or "
                f"`not issued` into {DECISION} of in_doubt.csv and add --decisions in_doubt.csv"
            )
        case RowState.ISSUED | RowState.HELD:  # the customer has a coupon: there is nothing to do
            return ""
        case _:
            return remedy(row.error_code)


_OURS: Mapping[str, Show] = {
    "_row": lambda row: str(row.number),
    "_status": lambda row: SHOWN[row.state][0],
    "_coupon_code": lambda row: row.code,
    "_valid_till": lambda row: row.offer.valid_till,
    "_discount_type": lambda row: row.offer.discount_type,
    "_discount_value": lambda row: row.offer.discount_value,
    "_customer_id": lambda row: _number(row.customer_id),
    "_error_code": lambda row: row.error_code,
    "_reason": _reason,
    "_remedy": _remedy,
    "_attempts": lambda row: str(row.attempts),
    "_issued_at": lambda row: utc(row.issued_at) or "",
    "_warnings": lambda row: "; ".join(row.warnings),
    "_request_id": lambda row: row.request_id,
    "_job": lambda row: row.job,
    "_series_id": lambda row: _number(row.offer.series_id),
    "_valid_till_date_time": lambda row: row.offer.valid_till_date_time,
    "_description": lambda row: row.offer.description,
    "_discount_code": lambda row: row.offer.discount_code,
    "_discount_upto": lambda row: row.offer.discount_upto,
    "_discount_on": lambda row: row.offer.discount_on,
    "_detailed_info": lambda row: row.offer.detailed_info,
    "_coupon_id": lambda row: _number(row.coupon_id),
    "_redemption_count": lambda row: _number(row.offer.redemption_count),
}
