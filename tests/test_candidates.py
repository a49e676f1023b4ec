"""Which coupon of the record is the row's. The rule under test: every error ends in Unsure.

`Capillary` below is a model of its own of what goes wrong out there: a server whose clock isn't ours, a record whose
clock isn't the server's, seconds that are cut off, answers that take their time. Nothing in it knows how `candidates`
reckons.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulk_issue.candidates import Finding, Found, Nothing, Unsure, judge, measure
from bulk_issue.model import Identifier, IdentifierKind, JobId, Moment, Reading, RecordedCoupon
from bulk_issue.ports import Doubt, Issued, ReaderFacts
from bulk_issue.states import RowState

SERIES, OTHER_SERIES = 544770, 544771
CUSTOMER = Identifier(IdentifierKind.MOBILE, "919800000001", "mobile:919800000001")
V2, V1 = "v2/customers/coupons", "v1.1/customer/coupons"
GRACE, TIMEOUT = 120.0, 30.0
MINUTE, HOUR = 60.0, 3600.0
INDIA = 5.5 * HOUR
#: Our own boot-clock second at which the doubtful request is begun.
SENT = 50_000.3


@dataclass(frozen=True, kw_only=True)
class Capillary:
    """All times are our boot clock's seconds, which nobody can set."""

    #: What our wall clock shows at second 0 of the boot clock.
    wall: float = 1_790_000_000.25
    #: Seconds that the server's clock is ahead of our wall clock, and the record's ahead of the server's `Date`.
    ahead: float = 0.0
    mislabelled: float = 0.0
    #: The fraction at which the server's second begins.
    phase: float = 0.0
    #: Seconds between `Date` being written and the answer's arrival.
    on_its_way: float = 0.0
    endpoint: str = V2
    store: str | None = "store01"

    def moment(self, at: float, boot_id: str = "boot-1") -> Moment:
        return Moment(self.wall + at, at, boot_id)

    def coupon(self, at: float, code: str = "OURS1", **changes: Any) -> RecordedCoupon:
        created = math.floor(self.wall + self.ahead + self.phase + at) + self.mislabelled
        plain = RecordedCoupon(code=code, series_id=SERIES, created=created, issued_at=self.store)
        return replace(plain, **changes)

    def reading(self, at: float, *coupons: RecordedCoupon) -> Reading:
        return Reading(
            coupons=coupons,
            endpoint=self.endpoint,
            server_time=float(math.floor(self.wall + self.ahead + self.phase + at - self.on_its_way)),
            at=self.moment(at),
            customer_id=555500001,
        )

    def canary(self, took: float = 0.2) -> Issued:
        """A row that a reply gave the coupon CANARY, long before the doubtful one."""
        sent = SENT - HOUR
        return Issued(
            job=JobId("job"),
            row=1,
            series_id=SERIES,
            identifier=CUSTOMER,
            code="CANARY",
            sent=self.moment(sent),
            answered=self.moment(sent + took),
        )

    def facts(self, took: float = 0.2, committed: float = 0.1, later: float = 1.0) -> ReaderFacts:
        """What the reader shows of itself with the canary's coupon."""
        canary = self.canary(took)
        shown = self.coupon(canary.sent.boot + committed, "CANARY")
        facts = measure(canary, self.reading(canary.answered.boot + later, shown))
        assert facts is not None
        return facts

    def doubt(self, sent: float = SENT, given_up: float = SENT + TIMEOUT, known: frozenset[str] = frozenset()) -> Doubt:
        return Doubt(
            job=JobId("job"),
            row=2,
            attempt=1,
            spent=1,
            series_id=SERIES,
            identifier=CUSTOMER,
            sent=self.moment(sent),
            given_up=self.moment(given_up),
            if_absent=RowState.PENDING,
            known_codes=known,
        )

    def look(self, *coupons: RecordedCoupon, at: float = SENT + TIMEOUT + GRACE + 1.0) -> Finding:
        """Judge the doubtful row by a record that shows these coupons, with a reader that is proven."""
        return judge(self.doubt(), self.reading(at, *coupons), self.facts(), grace=GRACE, generic=False)


WORLD = Capillary()


def code_of(finding: Finding) -> str:
    assert isinstance(finding, Found), finding
    return finding.coupon.code


# --- what must be found, and what must be nothing -----------------------------------------------------------------


def test_the_one_coupon_created_while_the_request_was_open_is_ours() -> None:
    finding = WORLD.look(WORLD.coupon(SENT + 0.5))

    assert code_of(finding) == "OURS1"
    assert isinstance(finding, Found)
    assert finding.at == pytest.approx(WORLD.moment(SENT + 0.5).wall, abs=2.0)
    assert finding.coupon.customer_id == 555500001
    assert finding.coupon.warnings == ("settled from Capillary's record",)


def test_what_the_record_says_of_the_coupon_is_kept() -> None:
    facts: dict[str, Any] = {
        "coupon_id": 1312,
        "valid_till": "2027-05-09T00:00:00Z",
        "valid_till_date_time": "2027-05-09T23:59:59Z",
        "discount_type": "ABS",
        "discount_value": "500.0",
        "description": "Festival",
        "redemption_count": 0,
    }

    finding = WORLD.look(WORLD.coupon(SENT + 0.5, **facts))

    assert isinstance(finding, Found)
    assert {name: getattr(finding.coupon, name) for name in facts} == facts
    assert finding.coupon.series_id == SERIES


def test_a_customer_without_coupons_has_nothing() -> None:
    assert WORLD.look() == Nothing()


def test_a_commit_after_the_time_out_but_within_the_grace_is_ours() -> None:
    assert code_of(WORLD.look(WORLD.coupon(SENT + TIMEOUT + GRACE - 3.0))) == "OURS1"


def test_a_code_that_differs_from_a_known_one_is_ours_beside_it() -> None:
    coupons = WORLD.coupon(SENT - 0.5, "FIRST"), WORLD.coupon(SENT + 0.5)
    doubt = WORLD.doubt(known=frozenset({"first"}))

    assert code_of(judge(doubt, WORLD.reading(SENT + 200, *coupons), WORLD.facts(), grace=GRACE, generic=False)) == (
        "OURS1"
    )


@pytest.mark.parametrize("known", ["ours1", "OURS1", "Ours1"])
@pytest.mark.parametrize("shown", ["OURS1", "ours1", "oURS1"])
def test_a_code_known_for_another_row_of_the_customer_is_not_ours_in_any_case(known: str, shown: str) -> None:
    doubt = WORLD.doubt(known=frozenset({known}))
    reading = WORLD.reading(SENT + 200, WORLD.coupon(SENT + 0.5, shown))

    assert judge(doubt, reading, WORLD.facts(), grace=GRACE, generic=False) == Nothing()


def test_the_code_is_kept_as_the_record_writes_it() -> None:
    assert code_of(WORLD.look(WORLD.coupon(SENT + 0.5, "oUrs0012"))) == "oUrs0012"


@pytest.mark.parametrize("minutes", [2, 10, 24 * 60])
def test_a_coupon_of_minutes_before_the_request_is_ignored(minutes: int) -> None:
    old = WORLD.coupon(SENT - minutes * MINUTE, "OLD")

    assert WORLD.look(old) == Nothing()
    assert code_of(WORLD.look(old, WORLD.coupon(SENT + 0.5))) == "OURS1"


def test_coupons_of_other_series_are_ignored_whenever_they_were_created() -> None:
    other = [WORLD.coupon(SENT + at, f"O{at}", series_id=OTHER_SERIES) for at in (-4.0, 0.5, 10.0, 500.0)]
    unreadable = WORLD.coupon(SENT, "O", series_id=OTHER_SERIES, created=None)

    assert WORLD.look(*other, unreadable) == Nothing()
    assert code_of(WORLD.look(*other, unreadable, WORLD.coupon(SENT + 0.5))) == "OURS1"


# --- what must stay unsure ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("generic", [False, True])
def test_a_reader_that_is_not_proven_says_nothing_at_all(generic: bool) -> None:  # noqa: FBT001
    for coupons in ((), (WORLD.coupon(SENT + 0.5),)):
        finding = judge(WORLD.doubt(), WORLD.reading(SENT + 200, *coupons), None, grace=GRACE, generic=generic)
        assert isinstance(finding, Unsure)


@pytest.mark.parametrize("seconds", [3.0, 3.5, 4.0])
def test_a_coupon_of_seconds_before_the_request_is_nobodys_for_sure(seconds: float) -> None:
    assert isinstance(WORLD.look(WORLD.coupon(SENT - seconds, "OLD")), Unsure)
    assert isinstance(WORLD.look(WORLD.coupon(SENT - seconds, "OLD"), WORLD.coupon(SENT + 0.5)), Unsure)


@pytest.mark.parametrize("after", [2.0, 60.0, 24 * HOUR])
def test_a_coupon_after_the_window_is_neither_ours_nor_nothing(after: float) -> None:
    late = WORLD.coupon(SENT + TIMEOUT + GRACE + after, "LATE")
    at = SENT + TIMEOUT + GRACE + after + 5.0

    assert isinstance(WORLD.look(late, at=at), Unsure)
    assert isinstance(WORLD.look(late, WORLD.coupon(SENT + 0.5), at=at), Unsure)


def test_of_two_coupons_in_the_window_none_is_ours() -> None:
    assert isinstance(WORLD.look(WORLD.coupon(SENT + 0.5), WORLD.coupon(SENT + 20.0, "OURS2")), Unsure)


def test_a_coupon_without_a_readable_date_leaves_it_open() -> None:
    undated = WORLD.coupon(SENT, "UNDATED", created=None)

    assert isinstance(WORLD.look(undated), Unsure)
    assert isinstance(WORLD.look(undated, WORLD.coupon(SENT + 0.5)), Unsure)


def test_a_coupon_that_names_no_series_may_be_ours_and_may_not() -> None:
    nameless = WORLD.coupon(SENT + 0.5, series_id=None)

    assert isinstance(WORLD.look(nameless), Unsure)
    assert isinstance(WORLD.look(nameless, WORLD.coupon(SENT + 1.5, "OURS2")), Unsure)
    assert WORLD.look(WORLD.coupon(SENT - HOUR, series_id=None)) == Nothing()


@pytest.mark.parametrize("at", [-3.5, 0.5, TIMEOUT + GRACE - 3.0])
def test_another_stores_coupon_in_the_window_is_not_ours_but_not_nothing_either(at: float) -> None:
    # The till may have been changed between the request and the coupon that the reader was proven with.
    elsewhere = WORLD.coupon(SENT + at, "ELSE", issued_at="store02")

    assert isinstance(WORLD.look(elsewhere), Unsure)
    assert code_of(WORLD.look(elsewhere, WORLD.coupon(SENT + 1.0))) == "OURS1"


def test_another_stores_coupon_of_before_the_request_is_ignored() -> None:
    assert WORLD.look(WORLD.coupon(SENT - 2 * MINUTE, "ELSE", issued_at="store02"), at=SENT + 500) == Nothing()


def test_another_stores_coupon_of_after_the_window_leaves_the_row_in_doubt() -> None:
    """A series that gives old coupons again may have measured the reader by one: its store and its time are off."""
    later = WORLD.coupon(SENT + TIMEOUT + GRACE + 3.0, "ELSE", issued_at="store02")

    assert isinstance(WORLD.look(later, at=SENT + 500), Unsure)


def test_a_coupon_without_a_store_is_taken_by_its_date() -> None:
    assert code_of(WORLD.look(WORLD.coupon(SENT + 0.5, issued_at=None))) == "OURS1"
    unknown = Capillary(store=None)
    assert code_of(unknown.look(unknown.coupon(SENT + 0.5, issued_at="store02"))) == "OURS1"


def test_no_reason_names_a_code_or_a_customer() -> None:
    looks = [
        WORLD.look(WORLD.coupon(SENT - 3.5, "SECRET99")),
        WORLD.look(WORLD.coupon(SENT + 151.5, "SECRET99"), at=SENT + 500),
        WORLD.look(WORLD.coupon(SENT, "SECRET99", created=None)),
        WORLD.look(WORLD.coupon(SENT + 0.5, "SECRET99", series_id=None)),
        WORLD.look(WORLD.coupon(SENT + 0.5, "SECRET99", issued_at="store02")),
        WORLD.look(WORLD.coupon(SENT + 0.5, "SECRET99"), WORLD.coupon(SENT + 0.5, "SECRET98")),
    ]

    for finding in looks:
        assert isinstance(finding, Unsure)
        assert finding.because
        assert "SECRET" not in finding.because
        assert CUSTOMER.value not in finding.because
    assert "SECRET99" not in repr(WORLD.look(WORLD.coupon(SENT + 0.5, "SECRET99")))


# --- clocks ---------------------------------------------------------------------------------------------------------


SKEWED = [
    pytest.param(Capillary(mislabelled=INDIA), id="createdDate is India's wall clock marked Z"),
    pytest.param(Capillary(mislabelled=-8 * HOUR), id="createdDate is California's"),
    pytest.param(Capillary(ahead=7 * MINUTE), id="server ahead of us, Date and record alike"),
    pytest.param(Capillary(ahead=-7 * MINUTE), id="server behind us, Date and record alike"),
    pytest.param(Capillary(mislabelled=3 * MINUTE), id="record ahead of Date"),
    pytest.param(Capillary(mislabelled=-3 * MINUTE), id="record behind Date"),
    pytest.param(Capillary(ahead=-9 * MINUTE, mislabelled=INDIA - 77.0), id="everything at once"),
]


@pytest.mark.parametrize("world", SKEWED)
def test_a_measured_offset_absorbs_any_skew(world: Capillary) -> None:
    finding = world.look(world.coupon(SENT + 0.5))

    assert code_of(finding) == "OURS1"
    assert isinstance(finding, Found) and finding.at is not None
    # In the server's time, whatever zone the record is mislabelled with.
    assert finding.at == pytest.approx(world.moment(SENT + 0.5).wall + world.ahead, abs=2.5)
    assert world.look(world.coupon(SENT - 2 * MINUTE)) == Nothing()
    assert isinstance(world.look(world.coupon(SENT - 3.5)), Unsure)
    assert isinstance(world.look(world.coupon(SENT + TIMEOUT + GRACE + 3.0), at=SENT + 500), Unsure)


@pytest.mark.parametrize("world", SKEWED)
def test_an_offset_that_was_not_measured_finds_nothing_and_rules_out_only_what_is_far_off(world: Capillary) -> None:
    facts = replace(world.facts(), offset=None)

    def look(*coupons: RecordedCoupon) -> Finding:
        return judge(world.doubt(), world.reading(SENT + 200, *coupons), facts, grace=GRACE, generic=False)

    assert look() == Nothing()
    assert isinstance(look(world.coupon(SENT + 0.5)), Unsure)
    assert isinstance(look(world.coupon(SENT + 0.5, created=None)), Unsure)
    assert look(world.coupon(SENT - 3 * 24 * HOUR, "OLD")) == Nothing()


def test_only_a_date_in_true_utc_narrows_an_unmeasured_window_to_five_minutes() -> None:
    facts = replace(WORLD.facts(), offset=None)

    def look(minutes: float, *, true_utc: bool) -> Finding:
        coupon = WORLD.coupon(SENT - minutes * MINUTE, true_utc=true_utc)
        return judge(WORLD.doubt(), WORLD.reading(SENT + 200, coupon), facts, grace=GRACE, generic=False)

    assert isinstance(look(4.5, true_utc=True), Unsure)
    assert look(6, true_utc=True) == Nothing()
    assert isinstance(look(13.9 * 60, true_utc=False), Unsure)
    assert look(15 * 60, true_utc=False) == Nothing()


def test_a_reading_without_date_rules_nothing_out() -> None:
    def look(*coupons: RecordedCoupon) -> Finding:
        reading = replace(WORLD.reading(SENT + 200, *coupons), server_time=None)
        return judge(WORLD.doubt(), reading, WORLD.facts(), grace=GRACE, generic=False)

    assert look() == Nothing()
    for at in (SENT + 0.5, SENT - 24 * HOUR):
        assert isinstance(look(WORLD.coupon(at)), Unsure)


@pytest.mark.parametrize("phase", [0.0, 0.01, 0.3, 0.5, 0.69, 0.7, 0.75, 0.99])
@pytest.mark.parametrize("committed", [0.0, 0.01, 0.4, 0.99])
def test_a_coupon_of_the_first_second_is_found_however_the_seconds_fall(phase: float, committed: float) -> None:
    world = Capillary(phase=phase)
    finding = judge(
        world.doubt(),
        world.reading(SENT + 200, world.coupon(SENT + committed)),
        world.facts(took=0.02, committed=0.01),
        grace=GRACE,
        generic=False,
    )

    assert code_of(finding) == "OURS1"


def test_the_window_begins_with_the_earliest_of_two_doubtful_attempts() -> None:
    # The first attempt's coupon came of a request that was sent a minute before the second.
    doubt = WORLD.doubt(sent=SENT - MINUTE)

    def look(*coupons: RecordedCoupon) -> Finding:
        return judge(doubt, WORLD.reading(SENT + 200, *coupons), WORLD.facts(), grace=GRACE, generic=False)

    assert code_of(look(WORLD.coupon(SENT - MINUTE + 0.5, "FIRST"))) == "FIRST"
    assert isinstance(look(WORLD.coupon(SENT - MINUTE + 0.5, "FIRST"), WORLD.coupon(SENT + 0.5)), Unsure)


# --- a reboot between request and reading ---------------------------------------------------------------------------


#: The server's clock at second 0 of the first boot, as an answer then told it.
TOLD = {"boot-1": WORLD.moment(0.0).wall + WORLD.ahead}


def after_reboot(
    wall_is_off_by: float,
    *coupons: RecordedCoupon,
    facts: ReaderFacts | None = None,
    boots: Mapping[str, float] = TOLD,
) -> Finding:
    """The machine lost power right after the request, and its wall clock came back wrong by so many seconds."""
    at = SENT + 400.0
    back = WORLD.moment(at).wall + wall_is_off_by
    doubt = replace(WORLD.doubt(), given_up=Moment(back - 200.0, 10.0, "boot-2"))
    reading = replace(WORLD.reading(at, *coupons), at=Moment(back, 210.0, "boot-2"))
    return judge(doubt, reading, facts or WORLD.facts(), grace=GRACE, generic=False, boots=boots)


WRONG = pytest.mark.parametrize("off", [-24 * 365 * HOUR, -INDIA, -HOUR, -10.0, 0.0, 10.0, HOUR, INDIA])


@WRONG
def test_after_a_reboot_a_coupon_is_found_by_the_servers_clock(off: float) -> None:
    assert code_of(after_reboot(off, WORLD.coupon(SENT + 0.5))) == "OURS1"


@WRONG
def test_after_a_reboot_a_customer_without_coupons_has_nothing(off: float) -> None:
    assert after_reboot(off) == Nothing()
    assert after_reboot(off, boots={}) == Nothing()


@WRONG
def test_after_a_reboot_no_older_coupon_of_the_series_is_taken(off: float) -> None:
    """Whatever the wall clock says: seed 403791."""
    assert after_reboot(off, WORLD.coupon(SENT - 2 * HOUR, "OLD")) == Nothing()
    assert isinstance(after_reboot(off, WORLD.coupon(SENT - 4 * MINUTE, "OLD")), Unsure)
    assert isinstance(after_reboot(off, WORLD.coupon(SENT + 0.5, issued_at="store02")), Unsure)


@WRONG
def test_without_the_servers_clock_of_that_boot_a_coupon_of_the_series_settles_nothing(off: float) -> None:
    for coupon in (WORLD.coupon(SENT + 0.5), WORLD.coupon(SENT - 24 * 370 * HOUR, "OLD")):
        assert isinstance(after_reboot(off, coupon, boots={}), Unsure)


@pytest.mark.parametrize("off", [-INDIA, -HOUR, 0.0])
def test_after_a_reboot_an_unmeasured_clock_rules_nothing_out(off: float) -> None:
    unmeasured = replace(WORLD.facts(), offset=None)

    assert isinstance(after_reboot(off, WORLD.coupon(SENT + 0.5, true_utc=True), facts=unmeasured), Unsure)
    assert isinstance(after_reboot(off, WORLD.coupon(SENT - 24 * HOUR, true_utc=True), facts=unmeasured), Unsure)


# --- GENERIC series -------------------------------------------------------------------------------------------------


def look_generic(*coupons: RecordedCoupon, known: frozenset[str] = frozenset(), **facts: Any) -> Finding:
    proven = replace(WORLD.facts(), **facts)
    return judge(WORLD.doubt(known=known), WORLD.reading(SENT + 200, *coupons), proven, grace=GRACE, generic=True)


@pytest.mark.parametrize("at", [-24 * HOUR, -3.0, 0.5, 160.0])
def test_in_a_generic_series_any_coupon_of_the_series_settles_the_row(at: float) -> None:
    assert code_of(look_generic(WORLD.coupon(SENT + at, "SAME"), known=frozenset({"same"}))) == "SAME"


def test_in_a_generic_series_neither_date_nor_store_matters() -> None:
    assert code_of(look_generic(WORLD.coupon(SENT, "SAME", created=None), offset=None)) == "SAME"
    assert code_of(look_generic(WORLD.coupon(SENT, "SAME", issued_at="store02"))) == "SAME"
    assert code_of(look_generic(WORLD.coupon(SENT, "SAME"), WORLD.coupon(SENT + 1, "SAME"))) == "SAME"


def test_in_a_generic_series_no_coupon_of_the_series_is_nothing() -> None:
    assert look_generic() == Nothing()
    assert look_generic(WORLD.coupon(SENT, "SAME", series_id=OTHER_SERIES)) == Nothing()


def test_in_a_generic_series_a_coupon_that_names_no_series_may_be_any() -> None:
    nameless = WORLD.coupon(SENT, "ANY", series_id=None)

    assert isinstance(look_generic(nameless), Unsure)
    assert code_of(look_generic(nameless, WORLD.coupon(SENT, "SAME"))) == "SAME"


def test_in_a_generic_series_too_the_time_is_the_servers() -> None:
    world = Capillary(mislabelled=INDIA)
    reading = world.reading(SENT + 200, world.coupon(SENT + 0.5, "SAME"))
    finding = judge(world.doubt(), reading, world.facts(), grace=GRACE, generic=True)

    assert isinstance(finding, Found)
    assert finding.at == pytest.approx(world.moment(SENT + 0.5).wall, abs=2.5)


# --- v1.1 -----------------------------------------------------------------------------------------------------------


def test_a_code_from_v1_carries_a_warning_about_its_letters() -> None:
    world = Capillary(endpoint=V1)
    finding = world.look(world.coupon(SENT + 0.5))

    assert isinstance(finding, Found)
    assert any("case" in warning for warning in finding.coupon.warnings)


# --- measuring ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("world", SKEWED)
def test_a_canary_measures_how_far_the_record_is_from_date(world: Capillary) -> None:
    assert world.facts().offset == pytest.approx(world.mislabelled, abs=1.2)


def test_a_canary_that_is_not_shown_proves_nothing() -> None:
    shown = [WORLD.coupon(SENT - HOUR, "OTHER"), WORLD.coupon(SENT - HOUR, "CANARY", series_id=OTHER_SERIES)]

    assert measure(WORLD.canary(), WORLD.reading(SENT - HOUR + 1, *shown)) is None


def measured(*shown: RecordedCoupon, canary: Issued | None = None, reading: Reading | None = None) -> ReaderFacts:
    reading = reading or WORLD.reading(SENT - HOUR + 2, *shown)
    facts = measure(canary or WORLD.canary(), reading)
    assert facts is not None
    return facts


def test_a_canary_proves_the_reader_for_its_endpoint_kind_and_store() -> None:
    facts = measured(WORLD.coupon(SENT - HOUR, "canary", issued_at="store07"))

    assert (facts.endpoint, facts.kind, facts.issued_at) == (V2, IdentifierKind.MOBILE, "store07")


def test_what_can_not_be_measured_closely_is_not_measured() -> None:
    shown = WORLD.coupon(SENT - HOUR + 0.1, "CANARY")
    reading = WORLD.reading(SENT - HOUR + 2, shown)

    assert measured(shown).offset is not None
    assert measured(replace(shown, created=None)).offset is None
    assert measured(reading=replace(reading, server_time=None)).offset is None
    # The coupon was created somewhere in half a minute: half of that would be wrong.
    assert (
        measured(shown, canary=WORLD.canary(took=30.0), reading=WORLD.reading(SENT - HOUR + 31, shown)).offset is None
    )
    # The wall clock may have been set between the two boots.
    assert measured(reading=replace(reading, at=Moment(reading.at.wall, 5.0, "boot-2"))).offset is None
    # Which of the two is the canary's?
    assert measured(shown, replace(shown, created=1.0)).offset is None
    # A resend series gave an old coupon once more.
    assert measured(WORLD.coupon(SENT - HOUR - 24 * HOUR, "CANARY")).offset is None


# --- whatever the clocks, the answer's length, the network ---------------------------------------------------------

seconds = st.floats(0.0, 1.0, exclude_max=True)
worlds = st.builds(
    Capillary,
    wall=st.floats(1_700_000_000.0, 1_900_000_000.0),
    ahead=st.floats(-600.0, 600.0),
    mislabelled=st.one_of(
        st.sampled_from([0.0, INDIA, -8 * HOUR, 14 * HOUR, -12 * HOUR]), st.floats(-600.0, 600.0).map(round)
    ),
    phase=seconds,
    on_its_way=st.floats(0.0, 0.5),
)


@settings(max_examples=200, deadline=None)
@given(data=st.data(), world=worlds, took=st.floats(0.0, 2.0))
def test_the_offset_is_wrong_by_half_the_answers_time_and_the_resolution_at_most(
    data: st.DataObject, world: Capillary, took: float
) -> None:
    offset = world.facts(took, data.draw(st.floats(0.0, took))).offset

    assert offset is not None
    assert offset == pytest.approx(world.mislabelled, abs=took / 2 + 1.0 + world.on_its_way + 0.01)


@settings(max_examples=400, deadline=None)
@given(data=st.data(), world=worlds, took=st.floats(0.0, 30.0), open_for=st.floats(0.0, TIMEOUT))
def test_our_coupon_is_never_missed(data: st.DataObject, world: Capillary, took: float, open_for: float) -> None:
    """Missing it would send the row again, and issue a second coupon."""
    facts = world.facts(took, data.draw(st.floats(0.0, took)), later=data.draw(st.floats(0.5, 20.0)))
    doubt = world.doubt(SENT, SENT + open_for)
    at = SENT + open_for + GRACE + data.draw(st.floats(0.0, 600.0))
    ours = world.coupon(SENT + data.draw(st.floats(0.0, open_for + GRACE)))
    older = [world.coupon(SENT - data.draw(st.floats(10.0, 1e6)), "OLD")] if data.draw(st.booleans()) else []
    finding = judge(doubt, world.reading(at, *older, ours), facts, grace=GRACE, generic=False)

    if not isinstance(finding, Unsure):
        assert code_of(finding) == "OURS1"


@settings(max_examples=400, deadline=None)
@given(data=st.data(), world=worlds, took=st.floats(0.0, 30.0), before=st.floats(10.0, 1e6))
def test_an_older_coupon_is_never_ours(data: st.DataObject, world: Capillary, took: float, before: float) -> None:
    facts = world.facts(took, data.draw(st.floats(0.0, took)), later=data.draw(st.floats(0.5, 20.0)))
    finding = judge(
        world.doubt(),
        world.reading(SENT + 200, world.coupon(SENT - before, "OLD")),
        facts,
        grace=GRACE,
        generic=False,
    )

    assert not isinstance(finding, Found)
