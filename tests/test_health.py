"""Go on, go on carefully, or stop: what a series of answers means for a run.

The unit tests drive `Health` answer by answer; those at the end drive it as the pool does, through hours of virtual
time, and count what an outage leaves in doubt.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from random import Random

import pytest

from bulk_issue.config import Share
from bulk_issue.health import Health, Limits, Stop, StopKind
from bulk_issue.model import Identifier, IdentifierKind, Intent, JobId, Meaning, Moment, Outcome
from bulk_issue.states import Event, RowState
from bulk_issue.testing import on_virtual_time
from bulk_issue.verdicts import remedy

MINUTE, HOUR = 60.0, 3600.0
IDLE = 50
BEGAN = 1_000.0

EVENTS = {
    Meaning.ISSUED: Event.ISSUED,
    Meaning.HELD: Event.HELD,
    Meaning.REJECTED: Event.REJECTED,
    Meaning.NOT_PROCESSED: Event.NOT_PROCESSED,
    Meaning.UNCLEAR: Event.UNCLEAR,
    Meaning.HALT: Event.NOT_PROCESSED,
}


def outcome(meaning: Meaning, code: str = "", *, misdirected: bool = False) -> Outcome:
    return Outcome(meaning=meaning, error_code=code, reason=f"It was {meaning}.", misdirected=misdirected)


def refused(words: str, code: str = "709") -> Outcome:
    """A well-formed refusal that doesn't say whether a coupon was issued."""
    reason = f"Capillary failed. Capillary says: {words}"
    return Outcome(meaning=Meaning.UNCLEAR, error_code=code, reason=reason, if_absent=RowState.REJECTED)


ISSUED, HELD, REJECTED = outcome(Meaning.ISSUED), outcome(Meaning.HELD, "709"), outcome(Meaning.REJECTED, "701")
UNCLEAR, BUSY = outcome(Meaning.UNCLEAR, "http-500"), outcome(Meaning.NOT_PROCESSED, "http-521")
UNAUTHORIZED = outcome(Meaning.NOT_PROCESSED, "http-401")
FORBIDDEN, NO_ADDRESS = outcome(Meaning.UNCLEAR, "http-403"), outcome(Meaning.UNCLEAR, "http-404")
BAD_REQUEST = outcome(Meaning.REJECTED, "http-400")
MISDIRECTED = outcome(Meaning.UNCLEAR, "wrong-series", misdirected=True)


def intent(row: int, begun: float) -> Intent:
    return Intent(
        job=JobId("job"),
        row=row,
        attempt=1,
        spent=0,
        doubted=False,
        holder="run-1",
        series_id=544770,
        identifier=Identifier(IdentifierKind.MOBILE, "919800000001", "mobile:919800000001"),
        begun=Moment(1_790_000_000.0 + begun, begun, "boot-1"),
        send_by=begun + 5.0,
    )


@dataclass
class Told:
    """A run's health, told of one answer a second, each to a row of its own that was sent half a second before."""

    canary: int = 0
    max_doubt: Share = field(default_factory=lambda: Share(percent=10.0))
    max_failures: Share = field(default_factory=lambda: Share(percent=5.0))
    now: float = BEGAN
    row: int = 0

    def __post_init__(self) -> None:
        limits = Limits(max_doubt=self.max_doubt, max_failures=self.max_failures, canary=self.canary)
        self.health = Health(limits=limits, began=self.now)

    def of(self, answer: Outcome, times: int = 1, *, row: int | None = None, fresh: bool = True) -> Told:
        for _ in range(times):
            self.row += 1
            self.now += 1.0
            sent = intent(self.row if row is None else row, self.now - 0.5)
            self.health.note(sent, answer, EVENTS[answer.meaning], self.now, 0.5, fresh=fresh)
        return self

    def all(self, answers: Iterable[Outcome]) -> Told:
        for answer in answers:
            self.of(answer)
        return self

    def wait(self, seconds: float) -> Told:
        self.now += seconds
        return self

    def may_start(self, idle: int = IDLE, in_flight: int = 0, *, blind: bool = False) -> int:
        return self.health.may_start(idle, in_flight, self.now, blind=blind)

    @property
    def stop(self) -> Stop | None:
        return self.health.stop

    @property
    def kind(self) -> StopKind | None:
        return self.stop.kind if self.stop else None

    @property
    def open(self) -> bool:
        return self.health.breaker_open


# --- refusals that name no cause ---------------------------------------------------------------------------------

ODD = refused("the rule engine said no")


def test_five_refusals_without_a_cause_and_without_a_coupon_stop_the_canary() -> None:
    """Nothing can settle them: no coupon proves a reader. A quarter of an hour of waiting wouldn't help."""
    told = Told(canary=1).of(ODD, 4)
    assert told.stop is None

    assert told.of(ODD).kind is StopKind.FAILURES
    assert "none got a coupon" in str(told.stop)


def test_rejections_and_refusals_stop_the_canary_together() -> None:
    assert Told(canary=1).of(REJECTED, 2).of(ODD, 3).kind is StopKind.FAILURES
    assert Told(canary=1).of(ODD, 3).of(ISSUED).of(ODD, 2).stop is None


def settled(told: Told, answer: Outcome, event: Event, times: int) -> None:
    for _ in range(times):
        told.health.settled(answer.reason, event)


def test_words_that_the_record_shows_to_come_to_nothing_count_as_a_rejection() -> None:
    told = Told(max_failures=Share(percent=50.0)).of(ISSUED).of(ODD, 5)
    assert told.open
    settled(told, ODD, Event.ABSENT_REJECTED, 3)
    told.wait(60.0)
    assert told.may_start() == 1
    told.of(ODD)

    assert not told.open
    assert told.may_start() == IDLE
    assert told.of(ODD, 60).kind is StopKind.FAILURES


@pytest.mark.parametrize(
    "other",
    [refused("something else"), refused("Read timed out"), UNCLEAR, outcome(Meaning.UNCLEAR, "709")],
    ids=["words", "time", "status", "no refusal"],
)
def test_what_the_record_has_not_shown_stays_unclear(other: Outcome) -> None:
    told = Told().of(ISSUED)
    settled(told, ODD, Event.ABSENT_REJECTED, 3)

    assert told.of(other, 5).open


@pytest.mark.parametrize(
    ("events", "opens"),
    [
        ([Event.ABSENT_REJECTED] * 2, True),
        ([Event.ABSENT_REJECTED] * 3, False),
        ([Event.ABSENT_REJECTED] * 9 + [Event.FOUND], True),
        ([Event.FOUND] + [Event.ABSENT_REJECTED] * 9, True),
        ([Event.ABSENT] * 9, True),
    ],
)
def test_it_takes_three_and_not_one_coupon(events: list[Event], *, opens: bool) -> None:
    told = Told(max_failures=Share(percent=100.0)).of(ISSUED)
    for event in events:
        settled(told, ODD, event, 1)

    assert told.of(ODD, 5).open is opens


def test_words_of_a_time_out_are_never_taken_for_a_rejection() -> None:
    late = refused("Read timed out")
    told = Told().of(ISSUED)
    settled(told, late, Event.ABSENT_REJECTED, 50)

    assert told.of(late, 5).open


def test_what_the_record_settles_counts_as_rejected() -> None:
    told = Told(max_failures=Share(count=2)).of(ISSUED)
    settled(told, refused("one"), Event.ABSENT_REJECTED, 2)
    assert told.stop is None
    settled(told, refused("two"), Event.ABSENT_REJECTED, 1)

    assert told.kind is StopKind.FAILURES


# --- all well ---------------------------------------------------------------------------------------------------


def test_a_healthy_run_uses_every_idle_connection() -> None:
    told = Told().of(ISSUED, 500)

    assert told.may_start(7, 43) == 7
    assert told.may_start(IDLE, 0) == IDLE
    assert told.stop is None and not told.open


def test_a_stop_lets_nothing_start_and_the_first_reason_stays() -> None:
    told = Told().of(replace(UNCLEAR, meaning=Meaning.HALT, error_code="707", reason="No such series."))
    told.health.halt("another reason", "a hint")

    assert told.stop == Stop(kind=StopKind.HALTED, because="No such series.", hint=remedy("707"))
    assert "--series" in told.stop.hint
    assert told.may_start() == 0


def test_a_refusal_before_anything_was_sent_halts_with_its_own_words() -> None:
    told = Told()
    told.health.halt("the token was refused", "check the secret")

    assert told.stop == Stop(kind=StopKind.HALTED, because="the token was refused", hint="check the secret")


def test_a_run_that_can_send_nothing_more_stalls_with_its_own_words() -> None:
    told = Told()
    told.health.stall("the account is paused", "wait")

    assert told.stop == Stop(kind=StopKind.STALLED, because="the account is paused", hint="wait")
    assert told.may_start() == 0


# --- the canary -------------------------------------------------------------------------------------------------


def test_rows_go_one_at_a_time_until_the_canary_has_its_coupon() -> None:
    told = Told(canary=1)

    assert told.may_start(in_flight=0) == 1
    assert told.may_start(in_flight=1) == 0
    told.of(REJECTED).of(UNCLEAR).of(BUSY)
    assert told.may_start() == 1
    told.of(ISSUED)
    assert told.may_start(in_flight=3) == IDLE


@pytest.mark.parametrize("answer", [ISSUED, HELD], ids=["issued", "held"])
def test_a_canary_of_three_takes_three_coupons_held_ones_count(answer: Outcome) -> None:
    told = Told(canary=3).of(answer, 2)

    assert told.may_start() == 1
    assert told.of(answer).may_start() == IDLE
    assert told.of(answer, 5).health.canaries == 3


def test_without_a_canary_all_start_at_once() -> None:
    assert Told(canary=0).may_start() == IDLE


@pytest.mark.parametrize("others", [(), (UNCLEAR, BUSY)], ids=["in a row", "among others"])
def test_five_rejections_without_a_coupon_stop_the_canary(others: tuple[Outcome, ...]) -> None:
    told = Told(canary=1).of(REJECTED, 4).all(others)

    assert told.stop is None
    assert told.of(REJECTED).kind is StopKind.FAILURES


def test_one_coupon_ends_the_canarys_patience_with_rejections() -> None:
    assert Told(canary=1).of(ISSUED).of(REJECTED, 20).stop is None
    assert Told(canary=3).of(REJECTED, 4).of(HELD).of(REJECTED, 20).stop is None
    assert Told(canary=0).of(REJECTED, 20).stop is None


# --- failures ---------------------------------------------------------------------------------------------------


def test_a_share_of_failures_is_judged_from_fifty_rows_on() -> None:
    assert Told().of(REJECTED, 49).stop is None
    assert Told().of(REJECTED, 50).kind is StopKind.FAILURES


def test_more_than_luck_explains_stops_and_the_share_itself_does_not() -> None:
    assert Told().of(ISSUED, 57).of(REJECTED, 3).stop is None  # 3 of 60
    assert Told().of(HELD, 50).of(REJECTED, 9).stop is None  # 9 of 59: once in 500 times by luck
    assert Told().of(HELD, 50).of(REJECTED, 10).kind is StopKind.FAILURES


def drawn(percent: float, rows: int, seed: int) -> Iterable[Outcome]:
    """What a campaign answers of which such a share is rejected."""
    random = Random(seed)
    return (REJECTED if random.random() < percent / 100 else ISSUED for _ in range(rows))


@pytest.mark.parametrize("percent", [2.0, 3.0, 4.0])
def test_a_campaign_below_the_share_is_not_stopped_by_luck(percent: float) -> None:
    assert [seed for seed in range(10) if Told().all(drawn(percent, 5_000, seed)).stop] == []


@pytest.mark.parametrize(("percent", "within"), [(8.0, 3_000), (10.0, 1_500), (50.0, 60)])
def test_a_campaign_above_the_share_is_stopped_soon(percent: float, within: int) -> None:
    assert all(Told().all(drawn(percent, within, seed)).kind is StopKind.FAILURES for seed in range(10))


def test_a_run_a_little_above_the_share_is_stopped_by_all_its_rows() -> None:
    told = Told().all(drawn(6.0, 20_000, 7))

    assert told.stop is not None
    assert "rows of this run" in told.stop.because


def test_failures_are_shared_among_rows_that_ended_only() -> None:
    told = Told(max_doubt=Share(percent=100.0))

    assert told.all([BUSY, UNCLEAR] * 300).of(ISSUED, 38).of(REJECTED, 11).stop is None  # 49 have ended
    assert told.of(ISSUED).of(REJECTED).kind is StopKind.FAILURES


def test_a_count_of_failures_is_judged_at_once() -> None:
    told = Told(max_failures=Share(count=3)).of(REJECTED, 3)

    assert told.stop is None
    assert told.of(REJECTED).kind is StopKind.FAILURES
    assert Told(max_failures=Share(count=0)).of(ISSUED).of(REJECTED).kind is StopKind.FAILURES


def test_what_goes_wrong_late_is_judged_by_the_last_thousand_rows() -> None:
    told = Told(max_failures=Share(count=3))

    assert told.of(REJECTED, 3).of(ISSUED, 1000).of(REJECTED, 3).stop is None
    assert told.of(REJECTED).kind is StopKind.FAILURES
    late = Told().of(ISSUED, 5000).of(REJECTED, 80)
    assert late.stop is None
    assert late.of(REJECTED, 20).kind is StopKind.FAILURES


def test_every_row_may_fail_where_all_are_allowed_to() -> None:
    assert Told(max_failures=Share(percent=100.0)).of(REJECTED, 2000).stop is None


# --- halts ------------------------------------------------------------------------------------------------------


def test_a_401_with_two_fresh_tokens_halts() -> None:
    told = Told().of(UNAUTHORIZED, fresh=True)

    assert told.stop is None
    assert told.of(UNAUTHORIZED, fresh=True).kind is StopKind.HALTED


def test_a_401_with_a_cached_token_never_halts() -> None:
    told = Told().of(UNAUTHORIZED, 30, fresh=False)

    assert told.stop is None
    assert told.of(UNAUTHORIZED, fresh=True).stop is None
    # Others that were under way with the old token say nothing for the new one.
    assert told.of(UNAUTHORIZED, fresh=False).of(UNAUTHORIZED, fresh=True).kind is StopKind.HALTED


def test_an_answer_in_between_shows_that_the_credentials_are_good() -> None:
    assert Told().all([UNAUTHORIZED, ISSUED] * 10).stop is None


@pytest.mark.parametrize("answer", [FORBIDDEN, NO_ADDRESS], ids=["403", "404"])
def test_a_403_or_404_from_three_rows_in_a_row_halts(answer: Outcome) -> None:
    told = Told().of(answer, 2)

    assert told.stop is None
    assert told.of(answer).kind is StopKind.HALTED


def test_403s_of_one_row_or_with_others_between_do_not_halt() -> None:
    anything = Share(percent=100.0)

    assert Told(max_doubt=anything).of(FORBIDDEN, 10, row=7).stop is None
    assert Told(max_doubt=anything).all([FORBIDDEN, FORBIDDEN, UNCLEAR] * 10).stop is None
    assert Told(max_doubt=anything).all([FORBIDDEN, FORBIDDEN, NO_ADDRESS, NO_ADDRESS]).stop is None


@pytest.mark.parametrize("code", ["712", "713"])
def test_an_expiry_from_three_rows_in_a_row_halts(code: str) -> None:
    told = Told().of(ISSUED).of(outcome(Meaning.REJECTED, code), 2)
    assert told.stop is None
    told.of(outcome(Meaning.REJECTED, code))

    assert told.kind is StopKind.HALTED
    assert told.stop is not None
    assert "expired" in told.stop.because
    assert "retry" in told.stop.hint


def test_expiries_with_coupons_between_are_the_rows_own_matter() -> None:
    told = Told(max_failures=Share(percent=100.0))
    for _ in range(5):
        told.of(ISSUED, 30).of(outcome(Meaning.REJECTED, "713"), 2)

    assert told.stop is None


def test_a_400_on_the_first_three_rows_halts() -> None:
    told = Told().of(BAD_REQUEST, 2)

    assert told.stop is None
    assert told.of(BAD_REQUEST).kind is StopKind.HALTED


def test_answers_that_say_nothing_do_not_make_a_400_less_of_a_beginning() -> None:
    told = Told().of(BUSY).of(BAD_REQUEST).of(BUSY, 5).of(BAD_REQUEST).of(BUSY)

    assert told.of(BAD_REQUEST).kind is StopKind.HALTED


@pytest.mark.parametrize("answer", [ISSUED, HELD, REJECTED, UNCLEAR], ids=lambda answer: answer.meaning)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_other_answer_among_the_first_three_makes_400_the_rows_own_matter(answer: Outcome, place: int) -> None:
    first = [BAD_REQUEST] * 3
    first[place] = answer

    assert Told().all(first).of(BAD_REQUEST, 20).kind is not StopKind.HALTED


def test_two_misdirected_answers_halt_however_far_apart() -> None:
    told = Told().of(MISDIRECTED).of(ISSUED, 300)

    assert told.stop is None
    assert told.of(MISDIRECTED).kind is StopKind.HALTED


# --- nothing but "not processed" --------------------------------------------------------------------------------


def test_fifteen_minutes_of_nothing_but_not_processed_stop_the_run() -> None:
    told = Told().of(ISSUED).of(BUSY)

    assert told.wait(15 * MINUTE - 1).of(BUSY).stop is None
    assert told.wait(1.0).of(BUSY).kind is StopKind.STALLED


def test_a_run_that_never_gets_an_answer_stops_fifteen_minutes_after_its_begin() -> None:
    assert Told().wait(15 * MINUTE - 2).of(BUSY).stop is None
    assert Told().wait(15 * MINUTE).of(BUSY).kind is StopKind.STALLED


@pytest.mark.parametrize("answer", [ISSUED, REJECTED, UNCLEAR], ids=lambda answer: answer.meaning)
def test_any_other_answer_starts_the_quarter_of_an_hour_anew(answer: Outcome) -> None:
    told = Told().of(BUSY).wait(14 * MINUTE).of(answer).of(BUSY)

    assert told.wait(14 * MINUTE).of(BUSY).stop is None


def test_a_first_not_processed_after_a_long_silence_is_no_quarter_of_an_hour() -> None:
    # The run waited for the record, and one row came back to be sent.
    told = Told().of(ISSUED).wait(HOUR).of(BUSY)

    assert told.stop is None
    assert told.wait(15 * MINUTE).of(BUSY).kind is StopKind.STALLED


def test_not_processed_in_a_row_brings_longer_and_longer_quiet() -> None:
    told = Told().of(BUSY)
    assert told.may_start() == IDLE  # one alone may be that row's matter

    quiet = []
    for _ in range(9):
        told.of(BUSY)
        began = told.now
        while told.may_start() == 0:
            told.wait(min(told.health.ask_again_in(told.now), 0.25))
        quiet.append(told.now - began)

    assert quiet == sorted(quiet)
    assert quiet[0] < 1.0
    assert 30.0 <= quiet[-1] <= 60.0


def test_one_processed_request_ends_the_quiet() -> None:
    told = Told().of(BUSY, 10)

    assert told.may_start() == 0
    assert told.of(ISSUED).may_start() == IDLE


# --- the breaker ------------------------------------------------------------------------------------------------


def test_five_unclear_answers_in_a_row_open_the_breaker() -> None:
    told = Told().of(ISSUED, 100).of(UNCLEAR, 4)

    assert not told.open
    assert told.of(UNCLEAR).open
    assert told.may_start() == 0


def test_not_processed_between_unclear_answers_does_not_make_them_clearer() -> None:
    assert Told().all([UNCLEAR, BUSY] * 5).open


@pytest.mark.parametrize("definite", [ISSUED, HELD, REJECTED], ids=lambda answer: answer.meaning)
def test_a_definite_answer_between_starts_the_count_anew(definite: Outcome) -> None:
    assert not Told().of(UNCLEAR, 4).of(definite).of(UNCLEAR, 4).open


def test_ten_of_the_last_hundred_open_the_breaker() -> None:
    told = Told().all(([UNCLEAR] + [ISSUED] * 9) * 9).of(ISSUED, 9)

    assert not told.open
    assert told.of(UNCLEAR).open


def test_nine_in_every_hundred_do_not() -> None:
    assert not Told().all(([UNCLEAR] * 3 + [ISSUED] * 30) * 60 + [ISSUED] * 3).open


@pytest.mark.parametrize(
    ("share", "opens_at"),
    [
        (Share(percent=3.0), 3),
        (Share(count=4), 4),
        (Share(count=0), 1),
        (Share(percent=0.0), 1),
        (Share(percent=2.5), 3),
        (Share(percent=20.0), 20),
    ],
    ids=str,
)
def test_max_doubt_says_how_many_of_the_last_hundred(share: Share, opens_at: int) -> None:
    told, unclear = Told(max_doubt=share), 0
    while not told.of(UNCLEAR).open and unclear < 50:
        unclear += 1
        told.of(ISSUED, 3)

    assert unclear + 1 == opens_at


def test_five_in_a_row_open_it_whatever_the_share() -> None:
    assert Told(max_doubt=Share(percent=99.0)).of(UNCLEAR, 5).open
    assert Told(max_doubt=Share(count=1000)).of(UNCLEAR, 5).open


def test_a_hundred_percent_switch_it_off() -> None:
    told = Told(max_doubt=Share(percent=100.0)).of(UNCLEAR, 500)

    assert not told.open
    assert told.may_start() == IDLE


def opened() -> Told:
    told = Told().of(ISSUED, 100).of(UNCLEAR, 5)
    assert told.open
    return told


def test_an_open_breaker_sends_one_row_after_one_was_reconciled() -> None:
    told = opened()

    assert told.wait(10 * MINUTE).may_start() == 0  # nothing was settled yet
    told.health.settled()
    assert told.may_start() == 1
    assert told.may_start(in_flight=1) == 0
    told.of(UNCLEAR)
    assert told.wait(2 * MINUTE).may_start() == 0  # for the next one, another has to be settled


def test_an_open_breaker_waits_longer_and_longer_up_to_a_minute() -> None:
    told, waits = opened(), []
    for _ in range(7):
        told.health.settled()
        since = told.now
        while told.may_start() == 0:
            told.wait(0.25)
        waits.append(told.now - since)
        told.of(UNCLEAR)

    assert waits == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0, 60.0]
    told.of(ISSUED).of(UNCLEAR, 5).health.settled()
    assert told.open
    assert told.wait(5.0).may_start() == 1  # another outage, from the beginning


@pytest.mark.parametrize("definite", [ISSUED, HELD, REJECTED], ids=lambda answer: answer.meaning)
def test_a_definite_answer_to_a_probe_closes_it(definite: Outcome) -> None:
    told = opened().wait(MINUTE).of(definite)

    assert not told.open
    assert told.may_start() == IDLE
    # What was in doubt before doesn't open it again.
    assert not told.of(UNCLEAR, 4).of(ISSUED).of(UNCLEAR, 4).open


def test_a_probe_that_was_not_processed_leaves_it_open() -> None:
    told = opened()
    told.health.settled()
    told.wait(MINUTE).of(BUSY)

    assert told.open
    assert told.may_start() == 1


def test_answers_to_what_was_under_way_before_neither_close_it_nor_put_off_the_probe() -> None:
    told = opened()
    at = told.now
    for row in range(200, 240):
        late = ISSUED if row % 2 else UNCLEAR
        told.health.note(intent(row, at - 3.0), late, EVENTS[late.meaning], at + 0.1, 0.5, fresh=True)

    assert told.open
    told.health.settled()
    assert told.wait(4.9).may_start() == 0
    assert told.wait(0.1).may_start() == 1


def test_blind_probes_wait_for_no_settled_row_but_four_minutes() -> None:
    told = opened()

    assert told.wait(4 * MINUTE - 1).may_start(blind=True) == 0
    assert told.wait(1.0).may_start(blind=True) == 1
    assert told.may_start(in_flight=1, blind=True) == 0
    told.of(UNCLEAR)
    assert told.wait(4 * MINUTE - 1).may_start(blind=True) == 0
    assert told.wait(1.0).may_start(blind=True) == 1


def test_a_breaker_that_stays_open_for_fifteen_minutes_stops_the_run() -> None:
    told = opened().wait(15 * MINUTE)

    assert told.may_start() == 0
    assert told.stop is None
    assert told.wait(0.5).may_start() == 0
    assert told.kind is StopKind.BREAKER


def test_a_canary_in_doubt_holds_nothing_back_but_goes_on_one_at_a_time() -> None:
    told = Told(canary=1).of(UNCLEAR, 4)

    assert told.may_start() == 1
    assert told.of(UNCLEAR).may_start() == 0


def test_waiting_is_never_longer_than_a_second_and_never_nothing() -> None:
    for told in (Told(), Told().of(BUSY, 10), opened(), opened().wait(HOUR)):
        assert 0.0 < told.health.ask_again_in(told.now) <= 1.0
    soon = Told().of(BUSY, 2)
    soon.wait(0.5)
    assert soon.health.ask_again_in(soon.now) <= 0.5


# --- hours of it, as the pool drives it -------------------------------------------------------------------------


@dataclass
class Drive:
    """A run against a server that answers as `answer` says of virtual time; its rows never end.

    As in the pool: requests are paced at five a second over fifty connections, and an unclear one is settled from the
    record after the grace, unless the record can't be read or says nothing.
    """

    answer: Callable[[float, int], Outcome]
    canary: int = 1
    blind: bool = False
    settles: bool = True
    took: float = 2.0
    sent: int = 0
    doubts: int = 0
    settled: int = 0
    in_flight: int = 0
    most_in_flight: int = 0
    most_in_doubt: int = 0
    #: Requests under way each time that the breaker opened.
    under_way: list[int] = field(default_factory=list)
    ended_at: float = 0.0

    async def run(self, until: float) -> Health:
        loop = asyncio.get_running_loop()
        limits = Limits(max_doubt=Share(percent=10.0), max_failures=Share(percent=100.0), canary=self.canary)
        health = Health(limits=limits, began=loop.time())
        async with asyncio.TaskGroup() as tasks:
            others = list[asyncio.Task[None]]()
            while loop.time() < until and not (health.stop and not self.in_flight):
                room = health.may_start(IDLE - self.in_flight, self.in_flight, loop.time(), blind=self.blind)
                if room:
                    self.sent += 1
                    self.in_flight += 1
                    self.most_in_flight = max(self.most_in_flight, self.in_flight)
                    others.append(tasks.create_task(self._row(health, self.sent)))
                    await asyncio.sleep(0.2)
                else:
                    await asyncio.sleep(min(health.ask_again_in(loop.time()), 0.5))
            self.ended_at = loop.time()
            for task in others:
                task.cancel()
        return health

    async def _row(self, health: Health, row: int) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await asyncio.sleep(self.took)
        self.in_flight -= 1
        answer, was_open = self.answer(loop.time(), row), health.breaker_open
        health.note(intent(row, begun), answer, EVENTS[answer.meaning], loop.time(), 0.5, fresh=True)
        if health.breaker_open and not was_open:
            self.under_way.append(self.in_flight)
        if answer.meaning is not Meaning.UNCLEAR:
            return
        self.doubts += 1
        self.most_in_doubt = max(self.most_in_doubt, self.doubts - self.settled)
        if self.settles and not self.blind:
            await asyncio.sleep(130.0)
            self.settled += 1
            health.settled()


#: How the record behaves: it settles rows, it can be read and settles none, it can't be read.
RECORDS = pytest.mark.parametrize(
    ("settles", "blind"), [(True, False), (False, False), (False, True)], ids=["settles", "says nothing", "blind"]
)


@RECORDS
@pytest.mark.parametrize("canary", [0, 1])
@on_virtual_time
async def test_an_hour_of_500s_leaves_a_handful_of_rows_in_doubt(*, canary: int, settles: bool, blind: bool) -> None:
    drive = Drive(lambda _now, _row: UNCLEAR, canary=canary, settles=settles, blind=blind)
    health = await drive.run(HOUR)

    assert health.stop is not None and health.stop.kind is StopKind.BREAKER
    assert drive.ended_at < 17 * MINUTE
    assert len(drive.under_way) == 1
    assert drive.most_in_doubt - drive.under_way[0] <= 10
    assert drive.sent <= 30


@RECORDS
@pytest.mark.parametrize("took", [0.1, 2.0, 9.0])
@on_virtual_time
async def test_an_outage_in_the_middle_leaves_at_most_ten_beside_those_under_way(
    *, took: float, settles: bool, blind: bool
) -> None:
    outage = range(10 * 60, 70 * 60)
    drive = Drive(lambda now, _row: UNCLEAR if int(now) in outage else ISSUED, took=took, settles=settles, blind=blind)
    health = await drive.run(2 * HOUR)

    assert health.stop is not None and health.stop.kind is StopKind.BREAKER
    assert drive.sent > 900
    assert drive.most_in_doubt - drive.under_way[0] <= 10


@on_virtual_time
async def test_a_run_goes_on_by_itself_after_an_outage_of_minutes() -> None:
    outage = range(10 * 60, 18 * 60)
    drive = Drive(lambda now, _row: UNCLEAR if int(now) in outage else ISSUED)
    health = await drive.run(HOUR)

    assert health.stop is None and not health.breaker_open
    assert drive.doubts == drive.settled
    assert drive.sent > 0.7 * 5 * HOUR


@pytest.mark.parametrize("took", [0.1, 2.0, 9.0])
@on_virtual_time
async def test_half_of_the_answers_unclear_do_not_fill_the_ledger_with_doubt(took: float) -> None:
    # The other half are definite, among them those to requests that were sent before the breaker opened.
    drive = Drive(lambda _now, row: UNCLEAR if row % 2 else ISSUED, took=took)
    await drive.run(HOUR)

    assert len(drive.under_way) > 1
    assert drive.doubts < 0.1 * 5 * HOUR


@on_virtual_time
async def test_an_hour_of_not_processed_leaves_nothing_in_doubt_and_few_requests() -> None:
    drive = Drive(lambda _now, _row: BUSY, canary=0)
    health = await drive.run(HOUR)

    assert health.stop is not None and health.stop.kind is StopKind.STALLED
    assert 15 * MINUTE <= drive.ended_at <= 17 * MINUTE
    assert drive.doubts == 0
    assert drive.sent < 0.1 * 5 * drive.ended_at


@on_virtual_time
async def test_the_canary_is_alone_until_it_has_its_coupon() -> None:
    drive = Drive(lambda now, _row: BUSY if now < 30 else ISSUED)

    await drive.run(30.0)
    assert drive.most_in_flight == 1

    again = Drive(lambda now, _row: BUSY if now < 30 else ISSUED, took=9.0)
    await again.run(5 * MINUTE)
    assert again.most_in_flight > 40
