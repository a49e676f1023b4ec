"""Numbers, lengths of time and rows by state as people say them: the same on the command line and on the page."""

from __future__ import annotations

from bulk_issue.model import Tally
from bulk_issue.states import RowState

#: In the order in which people want to know.
ORDER = (
    RowState.ISSUED,
    RowState.HELD,
    RowState.DUPLICATE,
    RowState.REJECTED,
    RowState.INVALID,
    RowState.IN_DOUBT,
    RowState.IN_FLIGHT,
    RowState.PENDING,
    RowState.CANCELLED,
    RowState.SUPERSEDED,
)
#: Rows in these states are through: nothing more happens to them by itself.
THROUGH = (
    RowState.ISSUED,
    RowState.HELD,
    RowState.REJECTED,
    RowState.INVALID,
    RowState.DUPLICATE,
    RowState.CANCELLED,
    RowState.SUPERSEDED,
)


def duration(seconds: float) -> str:
    """A length of time as people say it: `2 h 41 min`, `3 min`, `12 s`."""
    if round(seconds) < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def number(value: int) -> str:
    """48 200: grouped so that it can be read, the same everywhere."""
    return f"{value:,}".replace(",", "\N{NO-BREAK SPACE}")


def count(value: int, noun: str) -> str:
    """`1 row`, `2 rows`."""
    return f"{number(value)} {noun}" + ("" if value == 1 else "s")


def shown_tally(tally: Tally) -> list[tuple[RowState, int]]:
    """Rows by state; what was in flight when a run died is in doubt to everybody else."""
    shown = dict(tally)
    doubtful = shown.pop(RowState.IN_FLIGHT, 0) + shown.get(RowState.IN_DOUBT, 0)
    if doubtful:
        shown[RowState.IN_DOUBT] = doubtful
    return [(state, shown[state]) for state in ORDER if shown.get(state)]


def tally_words(tally: Tally) -> str:
    """Rows by state, in words."""
    words = [f"{number(rows)} {state.replace('_', ' ')}" for state, rows in shown_tally(tally)]
    return ", ".join(words) or "no rows"
