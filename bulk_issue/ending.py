"""How a run ended: the exit code, from what the ledger shows. Nothing ever ends in 1 by accident."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum, unique

from bulk_issue.health import Stop, StopKind
from bulk_issue.model import Tally
from bulk_issue.states import RowState


@unique
class ExitCode(IntEnum):
    """What a script may rely on. When several apply the one that comes first in `_WEIGHT` wins."""

    #: Every row issued, held, a duplicate of such a row, or left out by --exclude.
    DONE = 0
    #: Ended, and some rows are rejected or invalid.
    FAILURES = 1
    #: Usage, configuration or input: this command issued nothing.
    USAGE = 2
    #: Stopped by a refusal of the whole job, the breaker or `--max-failures`; resumable.
    STOPPED = 3
    #: Stopped as asked: a signal, `--first`, a cancel.
    ASKED = 4
    #: Rows in doubt, or coupons that no row should have.
    DOUBT = 5
    #: Another process runs the job.
    HELD = 6
    #: Trouble of our own: ledger, disk, a bug.
    TROUBLE = 7


_WEIGHT = (ExitCode.TROUBLE, ExitCode.STOPPED, ExitCode.ASKED, ExitCode.DOUBT, ExitCode.FAILURES, ExitCode.DONE)
_S = RowState


def heaviest(codes: Iterable[ExitCode]) -> ExitCode:
    """The one that counts of several."""
    return min(codes, key=_WEIGHT.index)


def conclude(tally: Tally, firsts: Tally, excess: int, stop: Stop | None, excluded: int = 0) -> ExitCode:
    """The exit code of a run: `firsts` are the DUPLICATE rows by the state of the row that has their claim.

    So many of the INVALID rows were `excluded` by somebody's list: they are left out as they should be.
    """

    def any_in(*states: RowState) -> bool:
        return any(counts.get(state, 0) for counts in (tally, firsts) for state in states)

    reasons = {ExitCode.DONE}
    unfinished = any(tally.get(state, 0) for state in (_S.PENDING, _S.IN_FLIGHT, _S.IN_DOUBT))
    if stop is not None and (unfinished or stop.kind is StopKind.HALTED):
        reasons.add(ExitCode.ASKED if stop.kind is StopKind.ASKED else ExitCode.STOPPED)
    if any_in(_S.PENDING, _S.CANCELLED):
        reasons.add(ExitCode.ASKED)
    if any_in(_S.IN_DOUBT, _S.IN_FLIGHT) or excess:
        reasons.add(ExitCode.DOUBT)
    if any_in(_S.REJECTED) or tally.get(_S.INVALID, 0) > excluded or firsts.get(_S.INVALID, 0):
        reasons.add(ExitCode.FAILURES)
    return next(code for code in _WEIGHT if code in reasons)
