"""Which identifiers look alike, and how their look-alikes are found."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulk_issue.alike import alike, damaged, form, span
from bulk_issue.model import IdentifierKind
from bulk_issue.survey import survey
from tests.test_survey import row

ALIKE = [
    ("mobile:919800000001", "mobile:9800000001"),
    ("mobile:09800000001", "mobile:9800000001"),
    ("mobile:00919800000001", "mobile:919800000001"),
    ("mobile:00919800000001", "mobile:09800000001"),
    ("mobile:12025550123", "mobile:2025550123"),
    ("mobile:3541234567", "mobile:1234567"),
    ("mobile:000001", "mobile:1"),
    ("externalId:AB01", "externalId:ab01"),
    ("externalId:0000000102", "externalId:102"),
]
OTHERS = [
    ("mobile:9800000001", "mobile:9800000001"),
    ("mobile:9800000001", "mobile:8800000001"),
    ("mobile:12349800000001", "mobile:9800000001"),
    ("mobile:123456", "mobile:91123456"),
    ("mobile:9800000001", "externalId:9800000001"),
    ("externalId:0", "externalId:00"),
    ("externalId:102", "externalId:1102"),
    ("email:a@x.example", "email:A@x.example"),
    ("id:17", "id:017"),
]


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_what_differs_by_a_country_code_zeros_or_case_looks_alike(one: str, other: str) -> None:
    assert alike(one, other) and alike(other, one)


@pytest.mark.parametrize(("one", "other"), OTHERS)
def test_what_differs_otherwise_does_not(one: str, other: str) -> None:
    assert not alike(one, other) and not alike(other, one)


def found(key: str, among: str) -> bool:
    """Whether an index of forms leads from the one to the other."""
    theirs, where = form(among), span(key)
    return theirs is not None and where is not None and where[0] <= theirs <= where[1]


numbers = st.builds(
    lambda zeros, code, rest: f"mobile:{'0' * zeros}{code}{rest}",
    st.integers(0, 3),
    st.sampled_from(["", "1", "91", "354", "9135"]),
    st.sampled_from(["9800000001", "1234567", "123456", "8", "9800000002"]),
)
ids = st.text("0aAbB19", min_size=1, max_size=4).map(lambda text: f"externalId:{text}")


@given(st.one_of(numbers, ids), st.one_of(numbers, ids))
def test_the_span_of_a_key_holds_all_of_its_look_alikes(one: str, other: str) -> None:
    assert alike(one, other) == alike(other, one)
    if alike(one, other):
        assert found(one, other) and found(other, one)


@given(st.lists(st.one_of(numbers, ids), max_size=6, unique=True))
def test_a_survey_finds_the_same_look_alikes(keys: list[str]) -> None:
    rows = [row(at, key.partition(":")[2], IdentifierKind(key.partition(":")[0])) for at, key in enumerate(keys, 1)]
    looking = {at for at, key in enumerate(keys, 1) if any(alike(key, other) for other in keys[: at - 1])}

    assert survey([rows]).alike == len(looking)


@pytest.mark.parametrize(
    ("was", "now"),
    [
        *ALIKE,
        ("externalId:1234567890123456", "externalId:1234567890123450"),
        ("externalId:12345678901234567890", "externalId:12345678901234500000"),
        ("externalId:1234567", "externalId:1.2345672E7"),
        ("externalId:1234567", "externalId:1.23E+06"),
        ("externalId:102", "externalId:102.0"),
        ("externalId:3-1", "externalId:1-Mar"),
        ("externalId:0103", "externalId:Mar-03"),
        ("externalId:12-26", "externalId:01/12/2026"),
        ("mobile:9198250000019", "mobile:919825000001"),
    ],
)
def test_what_a_program_makes_of_an_identifier_is_damage(was: str, now: str) -> None:
    assert damaged(was, now)


@pytest.mark.parametrize(
    ("was", "now"),
    [
        ("externalId:0000000102", "externalId:0000000105"),
        ("mobile:919825000001", "mobile:919825000011"),
        ("externalId:1234", "mobile:1234"),
        ("externalId:1E5", "externalId:2E5"),
        ("id:17", "id:18"),
    ],
)
def test_another_customer_is_a_correction(was: str, now: str) -> None:
    assert not damaged(was, now)
