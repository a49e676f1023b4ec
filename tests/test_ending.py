"""The exit code: 7, 3, 4, 5, 1, 0, whichever applies first; and never 1 by accident."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulk_issue import errors
from bulk_issue.ending import ExitCode, conclude
from bulk_issue.errors import BulkIssueError
from bulk_issue.health import Stop, StopKind
from bulk_issue.model import Tally
from bulk_issue.states import RowState

S = RowState
ASKED, HALTED = Stop(kind=StopKind.ASKED, because=""), Stop(kind=StopKind.HALTED, because="")
BY_ITSELF = [Stop(kind=kind, because="") for kind in (StopKind.BREAKER, StopKind.FAILURES, StopKind.STALLED)]
DESIGN = Path(__file__).parent.parent / "docs" / "design.md"


@pytest.mark.parametrize(
    ("tally", "code"),
    [
        ({}, 0),
        ({S.ISSUED: 5}, 0),
        ({S.ISSUED: 5, S.HELD: 1, S.DUPLICATE: 2}, 0),
        ({S.HELD: 1, S.SUPERSEDED: 1}, 0),
        ({S.ISSUED: 5, S.REJECTED: 1}, 1),
        ({S.ISSUED: 5, S.INVALID: 1}, 1),
        ({S.INVALID: 1}, 1),
        ({S.ISSUED: 5, S.PENDING: 1}, 4),
        ({S.ISSUED: 5, S.CANCELLED: 1}, 4),
        ({S.ISSUED: 5, S.IN_DOUBT: 1}, 5),
        ({S.ISSUED: 5, S.IN_FLIGHT: 1}, 5),
        ({S.IN_DOUBT: 1, S.REJECTED: 1}, 5),
        ({S.PENDING: 1, S.IN_DOUBT: 1, S.REJECTED: 1}, 4),
        ({S.ISSUED: 0, S.REJECTED: 0, S.IN_DOUBT: 0, S.PENDING: 0}, 0),
    ],
)
def test_a_run_that_was_not_stopped_ends_as_its_rows_stand(tally: Tally, code: int) -> None:
    assert conclude(tally, {}, 0, None) == code


@pytest.mark.parametrize(
    ("first", "code"),
    [
        (S.ISSUED, 0),
        (S.HELD, 0),
        (S.REJECTED, 1),
        (S.INVALID, 1),
        (S.IN_DOUBT, 5),
        (S.IN_FLIGHT, 5),
        (S.PENDING, 4),
        (S.CANCELLED, 4),
    ],
)
def test_a_duplicate_counts_as_its_first_row_does(first: RowState, code: int) -> None:
    assert conclude({S.ISSUED: 3, S.DUPLICATE: 1}, {first: 1}, 0, None) == code


def test_a_coupon_too_many_is_never_a_success() -> None:
    assert conclude({S.ISSUED: 5, S.INVALID: 2}, {}, 0, None, excluded=2) == 0
    assert conclude({S.ISSUED: 5, S.INVALID: 3}, {}, 0, None, excluded=2) == 1
    assert conclude({S.ISSUED: 5}, {}, 1, None) == 5
    assert conclude({S.ISSUED: 5, S.REJECTED: 1}, {}, 1, None) == 5
    assert conclude({S.PENDING: 1}, {}, 1, None) == 4


@pytest.mark.parametrize("state", [S.PENDING, S.IN_DOUBT, S.IN_FLIGHT])
@pytest.mark.parametrize("stop", [*BY_ITSELF, HALTED], ids=lambda stop: stop.kind)
def test_a_run_that_stopped_by_itself_with_rows_left_can_be_resumed(stop: Stop, state: RowState) -> None:
    assert conclude({S.ISSUED: 5, S.REJECTED: 4, state: 1}, {}, 3, stop) == 3


@pytest.mark.parametrize("state", [S.PENDING, S.IN_DOUBT, S.IN_FLIGHT])
def test_a_run_that_was_stopped_as_asked_says_so(state: RowState) -> None:
    assert conclude({S.ISSUED: 5, S.REJECTED: 4, state: 1}, {}, 3, ASKED) == 4


@pytest.mark.parametrize("stop", [*BY_ITSELF, ASKED], ids=lambda stop: stop.kind)
def test_a_stop_after_the_last_row_changes_nothing(stop: Stop) -> None:
    assert conclude({S.ISSUED: 5}, {}, 0, stop) == 0
    assert conclude({S.ISSUED: 5, S.REJECTED: 1}, {}, 0, stop) == 1
    assert conclude({S.ISSUED: 5}, {}, 1, stop) == 5


def test_a_halt_shows_even_after_the_last_row() -> None:
    assert conclude({S.ISSUED: 5}, {}, 0, HALTED) == 3


# --- whatever the rows are ----------------------------------------------------------------------------------------

tallies = st.dictionaries(st.sampled_from(RowState), st.integers(0, 3))
stops = st.one_of(st.none(), st.sampled_from([ASKED, HALTED, *BY_ITSELF]))


@given(tallies, tallies, st.integers(0, 2), stops)
def test_zero_and_one_say_only_what_is_true(tally: Tally, firsts: Tally, excess: int, stop: Stop | None) -> None:
    code = conclude(tally, firsts, excess, stop)
    there = {state for counts in (tally, firsts) for state, count in counts.items() if count}
    failed, open_ = there & {S.REJECTED, S.INVALID}, there & {S.PENDING, S.CANCELLED, S.IN_DOUBT, S.IN_FLIGHT}

    assert code in (0, 1, 3, 4, 5)
    if code == 0:
        assert not failed
    if code == 1:
        assert failed
    if code in (0, 1):
        assert not open_ and not excess
        assert stop is None or stop.kind is not StopKind.HALTED
    if code == 3:
        assert stop is not None and stop.kind is not StopKind.ASKED


@given(tallies, tallies, st.integers(0, 2), stops, st.sampled_from([S.REJECTED, S.IN_DOUBT, S.PENDING]))
def test_worse_rows_never_make_a_better_ending(
    tally: Tally, firsts: Tally, excess: int, stop: Stop | None, worse: RowState
) -> None:
    order = [0, 1, 5, 4, 3]
    before = conclude(tally, firsts, excess, stop)
    later = conclude({**tally, worse: tally.get(worse, 0) + 1}, firsts, excess, stop)

    assert order.index(later) >= order.index(before)


# --- the codes themselves -----------------------------------------------------------------------------------------


def test_the_docs_list_the_same_codes() -> None:
    listed = re.findall(r"^\| (\d) \| ", DESIGN.read_text(encoding="utf-8"), re.MULTILINE)

    assert sorted(map(int, listed)) == sorted(ExitCode) == list(range(8))


def test_every_error_ends_in_a_code_of_the_table_and_none_in_a_runs_own_verdict() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, BulkIssueError)]
    ends = {kind.exit_code for kind in kinds}

    assert ends <= {ExitCode.USAGE, ExitCode.STOPPED, ExitCode.HELD, ExitCode.TROUBLE}
    assert len(kinds) > 5
