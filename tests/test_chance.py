"""Whether luck explains failures: against the sum of the binomial distribution, in exact fractions."""

from __future__ import annotations

from fractions import Fraction
from math import comb

import pytest

from bulk_issue.chance import above


def chance(share: Fraction, failed: int, rows: int) -> Fraction:
    """Of so many failures or more."""
    each = (comb(rows, k) * share**k * (1 - share) ** (rows - k) for k in range(failed, rows + 1))
    return sum(each, Fraction(0))


@pytest.mark.parametrize("rows", [1, 3, 50, 51, 200])
@pytest.mark.parametrize("percent", [1, 5, 50, 99])
@pytest.mark.parametrize("doubt", [1e-3, 1e-6])
def test_it_is_the_exact_bound(rows: int, percent: int, doubt: float) -> None:
    share = Fraction(percent, 100)
    for failed in range(rows + 1):
        expected = failed > rows * share and chance(share, failed, rows) < doubt
        assert above(percent / 100, failed, rows, doubt) is expected


def test_none_and_all_need_no_luck() -> None:
    assert above(0.0, 1, 1_000_000, 1e-9)
    assert not above(0.0, 0, 50, 1e-3)
    assert not above(1.0, 50, 50, 1e-3)


def test_millions_of_rows_are_judged_as_well() -> None:
    assert not above(0.05, 500_600, 10_000_000, 1e-3)
    assert above(0.05, 503_000, 10_000_000, 1e-3)
