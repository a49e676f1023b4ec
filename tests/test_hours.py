"""Open is what the wall clock shows: across midnight, across changes of the clock, and for forecasts."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulk_issue.errors import ConfigError
from bulk_issue.hours import FARTHEST, Hours

INDIA, BERLIN = ZoneInfo("Asia/Kolkata"), ZoneInfo("Europe/Berlin")


def at(text: str, zone: ZoneInfo = INDIA, *, fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).timestamp()


@pytest.mark.parametrize(
    ("text", "opened", "closed"),
    [
        ("09:00-21:00", ("09:00", "14:30", "20:59:59"), ("08:59:59", "21:00", "00:00", "03:00")),
        ("21:00-06:00", ("21:00", "23:59", "00:00", "05:59:59"), ("06:00", "12:00", "20:59:59")),
        ("9:00–24:00", ("09:00", "23:59:59"), ("00:00", "08:59")),
        ("00:00-06:30", ("00:00", "06:29"), ("06:30", "23:59")),
    ],
)
def test_open_from_the_begin_until_the_end(text: str, opened: tuple[str, ...], closed: tuple[str, ...]) -> None:
    hours = Hours.parse(text, INDIA)

    assert [clock for clock in opened if not hours.open_at(at(f"2026-11-23T{clock}"))] == []
    assert [clock for clock in closed if hours.open_at(at(f"2026-11-23T{clock}"))] == []


@pytest.mark.parametrize("text", ["", "9-21", "09:00", "09:00-25:00", "09:60-10:00", "09:00-09:00", "00:00-24:00", "x"])
def test_what_is_no_hours_is_a_clear_error(text: str) -> None:
    with pytest.raises(ConfigError, match="--between") as caught:
        Hours.parse(text, INDIA)
    assert caught.value.hint


def test_it_says_when_they_open_next() -> None:
    hours = Hours.parse("09:00-21:00", INDIA)

    assert hours.opens_at(at("2026-11-23T10:00")) == at("2026-11-23T10:00")
    assert hours.opens_at(at("2026-11-23T21:00:30")) == at("2026-11-24T09:00")
    assert hours.when(at("2026-11-24T09:00")) == "09:00 on Tue 24 Nov"
    assert str(hours) == "09:00-21:00 Asia/Kolkata"


def test_an_hour_that_a_day_does_not_have_opens_with_the_first_minute_after_it() -> None:
    """29 March 2026 in Berlin: 02:00 is 03:00."""
    hours = Hours.parse("02:30-05:00", BERLIN)

    assert hours.opens_at(at("2026-03-29T00:00", BERLIN)) == at("2026-03-29T03:00", BERLIN)


def test_an_hour_that_a_day_has_twice_is_open_twice() -> None:
    """25 October 2026 in Berlin: 02:00-03:00 comes twice, so that four hours pass on the clock in five."""
    hours = Hours.parse("01:00-05:00", BERLIN)
    begin = at("2026-10-25T01:00", BERLIN)

    assert hours.changes_at(begin) - begin == 5 * 3600
    assert hours.open_at(at("2026-10-25T02:30", BERLIN, fold=1))


def test_work_rests_outside_of_the_hours() -> None:
    hours = Hours.parse("09:00-21:00", INDIA)

    assert hours.done_at(at("2026-11-23T19:00"), 3600) == at("2026-11-23T20:00")
    assert hours.done_at(at("2026-11-23T19:00"), 3 * 3600) == at("2026-11-24T10:00")
    assert hours.done_at(at("2026-11-23T05:00"), 25 * 3600) == at("2026-11-25T10:00")
    assert hours.done_at(at("2026-11-23T05:00"), 0) == at("2026-11-23T09:00")
    assert math.isinf(hours.done_at(at("2026-11-23T05:00"), FARTHEST))


clocks = st.times().map(lambda each: each.replace(second=0, microsecond=0, tzinfo=None))
moments = st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)).map(lambda each: each.replace(tzinfo=UTC))  # noqa: DTZ001


@settings(deadline=None)  # thousands of minutes are tried, on a machine that may be busy
@given(begin=clocks, end=clocks, moment=moments, zone=st.sampled_from([INDIA, BERLIN, ZoneInfo("Asia/Kathmandu")]))
def test_nothing_changes_before_the_next_change(begin: object, end: object, moment: datetime, zone: ZoneInfo) -> None:
    if begin == end:
        return
    hours = Hours(begin=begin, end=end, zone=zone)  # type: ignore[arg-type]
    now = moment.timestamp()
    change = hours.changes_at(now)

    assert now < change <= now + timedelta(days=2).total_seconds()
    assert hours.open_at(change) != hours.open_at(now) == hours.open_at(change - 1)
    assert hours.open_at(now + (change - now) / 2) == hours.open_at(now)
