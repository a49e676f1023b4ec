"""Country codes: added where they are missing, and nobody's number taken for another's."""

from __future__ import annotations

import pytest

from bulk_issue.countries import COUNTRIES, country
from bulk_issue.errors import ConfigError
from bulk_issue.model import IdentifierKind, Record
from bulk_issue.rows import judge


def judged(cell: str, wanted: str) -> str:
    row = judge(Record(number=1, cells=(cell,)), {IdentifierKind.MOBILE: 0}, country=country(wanted))
    if row.identifier is not None:
        assert row.identifier.key == f"mobile:{row.identifier.value}"
        return row.identifier.value
    assert row.problem is not None
    return row.problem.code


@pytest.mark.parametrize(
    ("wanted", "cell", "whole"),
    [
        ("IN", "9876543210", "919876543210"),
        ("in", "09876543210", "919876543210"),
        ("IN", "919876543210", "919876543210"),
        ("IN", "+91 98765 43210", "919876543210"),
        ("IN", "0091 98765-43210", "919876543210"),
        ("IN", "9198765432", "919198765432"),  # ten digits are a whole number, whatever they begin with
        ("GB", "07911 123456", "447911123456"),
        ("IT", "3912345678", "393912345678"),
        ("IT", "391234567890", "country"),
        ("BR", "55 99123-4567", "5555991234567"),
        ("US", "(415) 555-0100", "14155550100"),
        ("91/10", "9876543210", "919876543210"),
        ("+423/7", "7901234", "4237901234"),
    ],
)
def test_a_missing_code_is_added(wanted: str, cell: str, whole: str) -> None:
    assert judged(cell, wanted) == whole


@pytest.mark.parametrize(
    ("wanted", "cell", "verdict"),
    [
        ("IN", "+65 8123 4567", "6581234567"),  # ten digits, and yet not India's
        ("IN", "(+65) 81234567", "6581234567"),
        ("IN", "+1 415 555 0100", "14155550100"),
        ("IN", "0065 8123 4567", "country"),
        ("IN", "+0 98765 43210", "country"),
        ("IN", "+91 1234567890", "country"),
        ("IN", "1234567890", "country"),
        ("IN", "98765432", "country"),
        ("MY", "6012345678", "country"),  # a digit is missing: not a local number that begins with 60
        ("DE", "4915112345", "country"),
        ("IN", "910987654321", "country"),
        ("IN", "1.98E+11", "scientific"),
    ],
)
def test_a_number_of_another_country_is_kept_or_refused_but_never_completed(
    wanted: str, cell: str, verdict: str
) -> None:
    assert judged(cell, wanted) == verdict


def test_no_number_reads_as_whole_and_as_local() -> None:
    """Else the code would be added to a number that has it."""
    for name, each in COUNTRIES.items():
        for length in range(6, 13):
            for second in range(100):
                local = f"{second:02}".ljust(length, "5")
                if each.mobile.fullmatch(local):
                    assert not each.mobile.fullmatch(each.code + local), (name, local)


@pytest.mark.parametrize("wrong", ["India", "XX", "91", "91/3", "91/15", "0/10", "+91"])
def test_an_unknown_country_is_refused(wrong: str) -> None:
    with pytest.raises(ConfigError, match="is not known") as refused:
        country(wrong)
    assert "CODE/LENGTH" in refused.value.hint


def test_without_a_country_digits_stay_as_they_are() -> None:
    assert country("") is None
    assert judged("09876543210", "") == "09876543210"
