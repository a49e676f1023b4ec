"""The table of a row's life: every state with every event, and what follows from the table as a whole.

docs/design.md draws the same table as a diagram. The two are compared here, so neither can change alone.
"""

from __future__ import annotations

import re
import runpy
from itertools import product
from pathlib import Path

import pytest

from bulk_issue.errors import IllegalTransition
from bulk_issue.states import CLAIMING, OPEN, TRANSITIONS, Event, RowState, after, sources

S, E = RowState, Event

DESIGN = Path(__file__).parent.parent / "docs" / "design.md"

#: What only a person does.
BY_HAND = frozenset({E.RETRY, E.CANCEL, E.PUT_BACK, E.SUPERSEDE, E.EXCLUDE, E.READMIT})
FINAL = frozenset({S.ISSUED, S.HELD, S.LINKED, S.SUPERSEDED})
MOVES = [(state, event) for state, event in product(S, E) if event in TRANSITIONS[state]]
NOT_MOVES = [(state, event) for state, event in product(S, E) if event not in TRANSITIONS[state]]


def reachable(start: RowState, *, without: frozenset[Event]) -> set[RowState]:
    """Every state that a row can come to from `start` if those events never happen."""
    seen: set[RowState] = set()
    todo = [start]
    while todo:
        for event, state in TRANSITIONS[todo.pop()].items():
            if event not in without and state not in seen:
                seen.add(state)
                todo.append(state)
    return seen


# --- one by one -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("state", "event"), MOVES)
def test_a_legal_event_moves_the_row(state: RowState, event: Event) -> None:
    assert after(state, event) is TRANSITIONS[state][event]


@pytest.mark.parametrize(("state", "event"), NOT_MOVES)
def test_an_illegal_event_raises_and_names_both(state: RowState, event: Event) -> None:
    with pytest.raises(IllegalTransition) as caught:
        after(state, event)

    assert str(state) in caught.value.message
    assert str(event) in caught.value.message
    assert caught.value.exit_code == 7


def test_each_state_has_a_line_in_the_table() -> None:
    assert set(TRANSITIONS) == set(S)


@pytest.mark.parametrize("event", E)
def test_sources_are_the_states_that_the_event_moves(event: Event) -> None:
    found = sources(event)

    assert found
    assert set(found) == {state for state, happened in MOVES if happened is event}
    assert len(found) == len(set(found))


def test_the_diagram_in_the_docs_is_the_table() -> None:
    drawn = re.findall(r"^ +(\w+) --> (\w+): (\w+)$", DESIGN.read_text(encoding="utf-8"), re.MULTILINE)

    assert sorted(drawn) == sorted((state, TRANSITIONS[state][event], event) for state, event in MOVES)


def test_the_page_of_verdicts_is_made_from_the_code() -> None:
    """`python docs/make_verdicts.py` brings it up to date."""
    made = runpy.run_path(str(DESIGN.with_name("make_verdicts.py")))["page"]()

    assert DESIGN.with_name("verdicts.md").read_text(encoding="utf-8") == made


# --- what follows -----------------------------------------------------------------------------------------------


def test_only_begin_puts_a_row_in_flight() -> None:
    assert {(state, event) for state, event in MOVES if TRANSITIONS[state][event] is S.IN_FLIGHT} == {
        (S.PENDING, E.BEGIN)
    }


@pytest.mark.parametrize("state", [S.IN_FLIGHT, S.IN_DOUBT])
def test_what_may_have_been_sent_is_pending_again_only_when_surely_not_processed(state: RowState) -> None:
    proof = frozenset({E.NOT_PROCESSED, E.ABSENT})

    assert S.PENDING not in reachable(state, without=proof | BY_HAND)
    assert S.PENDING not in {TRANSITIONS[state][event] for event in TRANSITIONS[state] if event not in proof}


def test_doubt_ends_only_by_a_late_answer_or_a_look_at_the_record() -> None:
    assert TRANSITIONS[S.IN_DOUBT] == {
        E.ISSUED: S.ISSUED,
        E.FOUND: S.ISSUED,
        E.ABSENT: S.PENDING,
        E.ABSENT_HELD: S.HELD,
        E.ABSENT_REJECTED: S.REJECTED,
    }


@pytest.mark.parametrize("event", [E.UNCLEAR, E.HOLDER_DIED])
def test_not_knowing_leads_to_doubt_and_nowhere_else(event: Event) -> None:
    assert {TRANSITIONS[state][event] for state in sources(event)} == {S.IN_DOUBT}


@pytest.mark.parametrize("state", [S.REJECTED, S.CANCELLED])
def test_a_rejected_or_cancelled_row_comes_back_only_by_a_persons_hand(state: RowState) -> None:
    assert reachable(state, without=BY_HAND) == set()
    assert S.PENDING in TRANSITIONS[state].values()


@pytest.mark.parametrize("state", sorted(FINAL))
def test_final_states_have_no_way_out(state: RowState) -> None:
    assert TRANSITIONS[state] == {}


@pytest.mark.parametrize("state", sorted(set(S) - FINAL))
def test_no_other_state_is_a_dead_end(state: RowState) -> None:
    assert reachable(state, without=frozenset()) & FINAL


def test_what_may_have_issued_holds_the_claim_until_it_surely_has_not() -> None:
    assert {S.IN_FLIGHT, S.IN_DOUBT, S.ISSUED, S.HELD} == CLAIMING

    given_up = {event for state, event in MOVES if state in CLAIMING and TRANSITIONS[state][event] not in CLAIMING}
    assert given_up == {E.REJECTED, E.NOT_PROCESSED, E.ABSENT, E.ABSENT_REJECTED}


def test_open_rows_are_those_that_change_without_a_person() -> None:
    """Or without what a reply says of other customers."""
    assert {state for state in S if reachable(state, without=BY_HAND | {E.FREED})} == OPEN


def test_a_duplicate_that_is_none_may_be_sent_and_nothing_else_happens_to_it() -> None:
    assert TRANSITIONS[S.DUPLICATE] == {E.FREED: S.PENDING}
