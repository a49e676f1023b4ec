"""What is known before the first request: how long it takes, whether it can last, what it costs at most."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from bulk_issue.hours import Hours
from bulk_issue.model import Series
from bulk_issue.outlook import Plan, outlook

NOW = 1_790_000_000.0  # 2026-09-21T19:43:20+05:30
PLAN = Plan(rate=300, per=60.0)


def series(**facts: Any) -> Series:
    return Series(id=7, **facts)


def test_a_forecast_is_rows_at_the_limit() -> None:
    ahead = outlook(48_200, None, PLAN, NOW)

    assert (ahead.rows, ahead.seconds, ahead.begins) == (48_200, 9640.0, NOW)
    assert ahead.ends == NOW + 9640


def test_a_short_job_goes_at_once_unless_it_is_spread_evenly() -> None:
    assert outlook(60, None, PLAN, NOW).ends == NOW
    assert outlook(60, None, Plan(rate=300, per=60.0, even=True), NOW).seconds == 12


def test_first_bounds_what_this_run_sends() -> None:
    ahead = outlook(48_200, series(stock_left=300), Plan(rate=300, per=60.0, first=300), NOW)

    assert (ahead.pending, ahead.rows, ahead.seconds, ahead.short) == (48_200, 300, 60.0, ())


def test_hours_are_taken_into_account() -> None:
    """At 19:43 in India 76 minutes are left of that day: the rest goes on at 9."""
    between = Hours.parse("09:00-21:00", ZoneInfo("Asia/Kolkata"))
    ahead = outlook(48_200, series(ends=NOW + 9641, valid_till="X"), Plan(rate=300, per=60.0, between=between), NOW)

    assert ahead.begins == NOW
    assert ahead.ends == NOW + 9640 + 12 * 3600
    assert ahead.short == ("the series is valid till X, and the run would end later",)


def test_what_takes_more_than_a_year_has_no_end() -> None:
    between = Hours.parse("09:00-09:01", ZoneInfo("Asia/Kolkata"))

    assert outlook(1_000_000, None, Plan(rate=300, per=60.0, between=between), NOW).ends is None


@pytest.mark.parametrize(
    ("facts", "short"),
    [
        ({}, ()),
        ({"stock_left": 100, "ends": NOW + 20.0, "expired": False}, ()),
        ({"stock_left": 99}, ("coupons that the series has left: 99; rows to send: 100",)),
        ({"expired": True, "valid_till": "2020-05-09"}, ("the series has expired (2020-05-09)",)),
        ({"ends": NOW - 1, "valid_till": "T"}, ("the series has expired (T)",)),
        ({"ends": NOW + 19.0, "valid_till": "T"}, ("the series is valid till T, and the run would end later",)),
    ],
)
def test_stock_or_validity_that_can_not_last_is_said(facts: dict[str, Any], short: tuple[str, ...]) -> None:
    assert outlook(100, series(**facts), PLAN, NOW).short == short
    assert outlook(0, series(**facts), PLAN, NOW).short == ()


@pytest.mark.parametrize(
    ("facts", "worth"),
    [
        ({"discount_type": "ABS", "discount_value": "500.0"}, Decimal("50000.0")),
        ({"discount_type": "ABS", "discount_value": "0.1"}, Decimal("10.0")),
        ({"discount_type": "PERC", "discount_value": "10", "discount_upto": "250"}, Decimal(25_000)),
        ({"discount_type": "PERC", "discount_value": "10", "discount_upto": "0.0"}, None),
        ({"discount_type": "ABS", "discount_value": "NaN"}, None),
        ({"discount_type": "ABS", "discount_value": ""}, None),
        ({"discount_type": "", "discount_value": "5"}, None),
    ],
)
def test_the_liability_is_rows_times_the_most_that_one_takes_off(facts: dict[str, Any], worth: Decimal | None) -> None:
    assert outlook(100, series(**facts), PLAN, NOW).liability == worth
