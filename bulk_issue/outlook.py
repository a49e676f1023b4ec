"""What a run would cost and how long it would take: the forecast, what can't last so long, and the liability.

Pure arithmetic over what is known before the first request. A bound that nobody told counts as no bound, and is said.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from bulk_issue.config import AT_ONCE, Config, Pace
from bulk_issue.hours import Hours
from bulk_issue.model import Series


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How fast a run may send, and when."""

    rate: int
    per: float
    #: True if even a short job is spread evenly.
    even: bool = False
    #: At most so many rows in this run.
    first: int | None = None
    between: Hours | None = None
    #: True if a customer's coupons are read before each send.
    look_first: bool = False
    #: True if workers run it: when they begin, and how they send, is theirs.
    deferred: bool = False

    @classmethod
    def of(cls, config: Config) -> Plan:
        """The plan that a run's settings make."""
        even = config.pace is Pace.EVEN or config.look_first
        return cls(
            rate=config.rate,
            per=config.per,
            even=even,
            first=config.first,
            between=config.between,
            look_first=config.look_first,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What lies ahead of a run. Times are epoch seconds."""

    #: Rows that the job has to send, and how many of them this run sends.
    pending: int
    rows: int
    #: Seconds of sending at the limit; 0 for what goes at once.
    seconds: float
    begins: float
    #: None if that is more than a year away.
    ends: float | None
    #: Why series or stock can't last, in words; empty if they can.
    short: tuple[str, ...] = ()
    #: What all coupons are worth at most, in the org's currency; None if nothing bounds it.
    liability: Decimal | None = None


def outlook(pending: int, series: Series | None, plan: Plan, now: float) -> Outlook:
    """What sending these rows means, begun now."""
    rows = pending if plan.first is None else min(pending, plan.first)
    at_once = rows <= min(AT_ONCE, plan.rate) and not plan.even
    seconds = 0.0 if at_once else rows * plan.per / plan.rate
    begins = plan.between.opens_at(now) if plan.between else now
    ends = plan.between.done_at(now, seconds) if plan.between else now + seconds
    return Outlook(
        pending=pending,
        rows=rows,
        seconds=seconds,
        begins=begins,
        ends=None if math.isinf(ends) else ends,
        short=tuple(_short(rows, series, now, ends)) if series is not None and rows else (),
        liability=_liability(rows, series) if series is not None else None,
    )


def _short(rows: int, series: Series, now: float, ends: float) -> list[str]:
    short = []
    if series.stock_left is not None and series.stock_left < rows:
        short.append(f"coupons that the series has left: {series.stock_left}; rows to send: {rows}")
    if series.expired or (series.ends is not None and series.ends <= now):
        short.append(f"the series has expired ({series.valid_till})")
    elif series.ends is not None and series.ends < ends:
        short.append(f"the series is valid till {series.valid_till}, and the run would end later")
    return short


def _liability(rows: int, series: Series) -> Decimal | None:
    """An absolute discount is worth its value, a percentage at most its upper bound, which 0 says there isn't."""
    match series.discount_type:
        case "ABS":
            worth = _amount(series.discount_value)
        case "PERC":
            worth = _amount(series.discount_upto) or None
        case _:
            worth = None
    return None if worth is None else rows * worth


def _amount(text: str) -> Decimal | None:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        return None
    return amount if amount.is_finite() and amount >= 0 else None
