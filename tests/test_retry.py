"""Whether and when there is another attempt: bounds, pauses, and what never happens by itself."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulk_issue.model import (
    Answer,
    Fault,
    FaultKind,
    Identifier,
    IdentifierKind,
    Intent,
    JobId,
    Meaning,
    Moment,
    Outcome,
    Reply,
)
from bulk_issue.retry import FIRST_PAUSE, LONGEST_PAUSE, Decision, backoff, decide
from bulk_issue.states import Event, RowState, after

NOW = Moment(1_790_000_000.0, 5_000.0, "boot-1")
INTENT = Intent(
    job=JobId("job"),
    row=7,
    attempt=1,
    spent=0,
    doubted=False,
    holder="run-1",
    series_id=544770,
    identifier=Identifier(IdentifierKind.MOBILE, "919800000001", "mobile:919800000001"),
    begun=NOW,
    send_by=5_005.0,
)
NEVER_LEFT = Fault(kind=FaultKind.CONNECT, sent=False, at=NOW)
TIMED_OUT = Fault(kind=FaultKind.TIMEOUT, sent=True, at=NOW)
DEFINITE = (Meaning.HELD, Meaning.REJECTED)


def reply(status: int) -> Reply:
    return Reply(status=status, at=NOW)


def decided(
    meaning: Meaning,
    answer: Answer | None = None,
    *,
    spent: int = 0,
    doubted: bool = False,
    if_absent: RowState = RowState.PENDING,
    max_attempts: int = 4,
) -> Decision:
    outcome = Outcome(meaning=meaning, error_code="x", reason="Because.", if_absent=if_absent)
    intent = replace(INTENT, attempt=spent + 1, spent=spent, doubted=doubted)
    return decide(answer or reply(200), outcome, intent, max_attempts=max_attempts, draw=0.5)


# --- one by one -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("meaning", "event"),
    [
        (Meaning.ISSUED, Event.ISSUED),
        (Meaning.HELD, Event.HELD),
        (Meaning.REJECTED, Event.REJECTED),
        (Meaning.NOT_PROCESSED, Event.NOT_PROCESSED),
        (Meaning.UNCLEAR, Event.UNCLEAR),
        (Meaning.HALT, Event.NOT_PROCESSED),
    ],
)
def test_the_first_answer_moves_the_row_as_it_says(meaning: Meaning, event: Event) -> None:
    decision = decided(meaning)

    assert decision.event is event
    assert decision.counts is (meaning is not Meaning.HALT)
    assert decision.outcome.reason == "Because."


@pytest.mark.parametrize("meaning", DEFINITE)
def test_a_row_that_was_ever_in_doubt_ends_only_through_a_last_look(meaning: Meaning) -> None:
    decision = decided(meaning, spent=1, doubted=True)

    assert decision.event is Event.UNCLEAR
    assert decision.if_absent is RowState(meaning.value)


def test_a_coupon_ends_the_row_whether_it_was_in_doubt_or_not() -> None:
    assert decided(Meaning.ISSUED, spent=9, doubted=True).event is Event.ISSUED


def test_a_halt_puts_the_row_back_and_takes_none_of_its_attempts() -> None:
    for spent, doubted in itertools.product((0, 3, 9), (False, True)):
        decision = decided(Meaning.HALT, spent=spent, doubted=doubted)
        assert (decision.event, decision.counts) == (Event.NOT_PROCESSED, False)


# --- bounds -------------------------------------------------------------------------------------------------------


def life(answer: Answer, *, max_attempts: int, sends: int) -> Sequence[Decision]:
    """A row whose every request is answered so, until it ends or was sent so often."""
    decisions, spent = list[Decision](), 0
    for attempt in range(1, sends + 1):
        intent = replace(INTENT, attempt=attempt, spent=spent)
        outcome = Outcome(meaning=Meaning.NOT_PROCESSED, error_code="x", reason="Because.")
        decisions.append(decide(answer, outcome, intent, max_attempts=max_attempts, draw=0.5))
        spent += decisions[-1].counts
        if decisions[-1].event is not Event.NOT_PROCESSED:
            break
    return decisions


@pytest.mark.parametrize("max_attempts", [1, 2, 4, 7])
@pytest.mark.parametrize("answer", [reply(200), reply(461), reply(503), reply(521)], ids=lambda a: f"http-{a.status}")
def test_a_row_is_busy_after_as_many_refused_attempts_as_are_allowed(answer: Reply, max_attempts: int) -> None:
    decisions = life(answer, max_attempts=max_attempts, sends=20)

    assert [decision.event for decision in decisions] == [Event.NOT_PROCESSED] * (max_attempts - 1) + [Event.REJECTED]
    assert decisions[-1].outcome.reason == f"Busy: not processed in {max_attempts} attempts. Because."
    assert decisions[-1].outcome.error_code == "x"


@pytest.mark.parametrize("answer", [reply(401), reply(429), NEVER_LEFT], ids=["401", "429", "never left"])
def test_answers_that_say_nothing_of_the_row_use_up_none_of_its_attempts(answer: Answer) -> None:
    decisions = life(answer, max_attempts=1, sends=50)

    assert {decision.event for decision in decisions} == {Event.NOT_PROCESSED}
    assert len(decisions) == 50
    assert not any(decision.counts for decision in decisions)


@pytest.mark.parametrize("doubted", [False, True])
def test_busy_after_doubt_is_looked_up_first(doubted: bool) -> None:  # noqa: FBT001
    decision = decided(Meaning.NOT_PROCESSED, reply(521), spent=3, doubted=doubted)

    if doubted:
        assert (decision.event, decision.if_absent) == (Event.UNCLEAR, RowState.REJECTED)
    else:
        assert decision.event is Event.REJECTED
    assert "Busy" in decision.outcome.reason


@pytest.mark.parametrize(("spent", "if_absent"), [(0, RowState.PENDING), (2, RowState.PENDING), (3, RowState.REJECTED)])
def test_absence_after_the_last_attempt_makes_no_further_one(spent: int, if_absent: RowState) -> None:
    decision = decided(Meaning.UNCLEAR, TIMED_OUT, spent=spent)

    assert (decision.event, decision.if_absent, decision.counts) == (Event.UNCLEAR, if_absent, True)


@pytest.mark.parametrize("spent", [0, 3, 9])
@pytest.mark.parametrize("state", [RowState.HELD, RowState.REJECTED])
def test_what_an_unclear_answer_says_of_absence_holds_to_the_last_attempt(state: RowState, spent: int) -> None:
    assert decided(Meaning.UNCLEAR, spent=spent, if_absent=state).if_absent is state


# --- whatever comes -----------------------------------------------------------------------------------------------

answers = st.one_of(
    st.builds(Reply, status=st.integers(0, 999), at=st.just(NOW)),
    st.builds(Fault, kind=st.sampled_from(FaultKind), sent=st.booleans(), at=st.just(NOW)),
)
outcomes = st.builds(
    Outcome,
    meaning=st.sampled_from(Meaning),
    if_absent=st.sampled_from([RowState.PENDING, RowState.HELD, RowState.REJECTED]),
)


@given(
    answer=answers,
    outcome=outcomes,
    spent=st.integers(0, 100),
    doubted=st.booleans(),
    max_attempts=st.integers(1, 10),
    draw=st.floats(0, 1, exclude_max=True),
)
def test_no_answer_leads_where_it_must_not(
    *, answer: Answer, outcome: Outcome, spent: int, doubted: bool, max_attempts: int, draw: float
) -> None:
    intent = replace(INTENT, spent=spent, doubted=doubted)
    decision = decide(answer, outcome, intent, max_attempts=max_attempts, draw=draw)

    after(RowState.IN_FLIGHT, decision.event)  # raises for an event that an open row doesn't know
    assert (decision.event is Event.ISSUED) == (outcome.meaning is Meaning.ISSUED)
    if decision.event is Event.NOT_PROCESSED:
        assert outcome.meaning in (Meaning.NOT_PROCESSED, Meaning.HALT)
    if outcome.meaning is Meaning.UNCLEAR:
        assert decision.event is Event.UNCLEAR
    if doubted:
        assert decision.event not in (Event.HELD, Event.REJECTED)
    if decision.event is Event.UNCLEAR:
        assert decision.if_absent in (RowState.PENDING, RowState.HELD, RowState.REJECTED)
        if doubted and outcome.meaning in DEFINITE:
            assert decision.if_absent is not RowState.PENDING
        if spent + 1 >= max_attempts:
            assert decision.if_absent is not RowState.PENDING
    if not decision.counts and outcome.meaning is not Meaning.HALT:
        assert not answer.sent if isinstance(answer, Fault) else answer.status in (401, 429)
    assert 0.0 <= decision.delay <= LONGEST_PAUSE
    assert replace(decision.outcome, reason="") == replace(outcome, reason="")


# --- pauses -------------------------------------------------------------------------------------------------------


def test_pauses_double_up_to_the_longest() -> None:
    assert [backoff(tries, 1.0) for tries in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert [backoff(tries, 1.0, first=5.0, longest=30.0) for tries in range(5)] == [5, 10, 20, 30, 30]


@given(st.integers(-10, 10_000), st.floats(0, 1, exclude_max=True))
def test_the_dice_spread_a_pause_over_its_upper_half(tries: int, draw: float) -> None:
    most = min(FIRST_PAUSE * 2 ** min(max(tries, 0), 10), LONGEST_PAUSE)

    assert most / 2 <= backoff(tries, draw) <= most


@pytest.mark.parametrize("tries", [-1, 10_000, 10**9])
def test_any_number_of_tries_has_a_pause(tries: int) -> None:
    assert FIRST_PAUSE / 2 <= backoff(tries, 0.0) <= LONGEST_PAUSE


def test_a_row_waits_longer_each_time_it_was_not_processed() -> None:
    delays = [decision.delay for decision in life(reply(521), max_attempts=6, sends=6)[:-1]]

    assert delays == sorted(set(delays))
    assert delays[0] == backoff(0, 0.5)
