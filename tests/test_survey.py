"""What a file holds, counted before anything is sent."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulk_issue.model import Identifier, IdentifierKind, JobId, Lineage, Problem, Row
from bulk_issue.ports import Served
from bulk_issue.survey import NAMED, Difference, Survey, compare, survey

MOBILE, EMAIL, EXTERNAL = IdentifierKind.MOBILE, IdentifierKind.EMAIL, IdentifierKind.EXTERNAL_ID


def row(number: int, customer: str, kind: IdentifierKind = MOBILE) -> Row:
    return Row(number=number, cells=(customer,), identifier=Identifier(kind, customer, f"{kind}:{customer}"))


def bad(number: int, code: str = "damaged") -> Row:
    problem = Problem(code=code, reason=f"It is {code}.", remedy=f"Mend the {code}.")
    return Row(number=number, cells=("",), identifier=None, problem=problem)


def in_chunks(rows: Sequence[Row], size: int) -> Iterator[Sequence[Row]]:
    for at in range(0, len(rows), size):
        yield rows[at : at + size]


def served_by(**jobs: Sequence[str]) -> Callable[[Sequence[str]], Mapping[str, Served]]:
    """A ledger in which these jobs served these customers."""
    claims = {
        f"mobile:{name}": Served(by=Lineage(job=JobId(job), row=1)) for job, names in jobs.items() for name in names
    }
    return lambda keys: {key: claims[key] for key in keys if key in claims}


# --- one by one -------------------------------------------------------------------------------------------------


def test_an_empty_file_holds_nothing() -> None:
    assert survey([]) == Survey()
    assert survey([[], []]).to_send == 0


def test_usable_rows_are_counted_by_how_they_name_their_customer() -> None:
    counted = survey([[row(1, "a"), row(2, "b", EMAIL)], [row(3, "c")]])

    assert (counted.rows, counted.usable, counted.to_send) == (3, 3, 3)
    assert counted.kinds == {"mobile": 2, "email": 1}
    assert counted.problems == [] and counted.duplicates == 0


def test_problems_are_counted_by_reason_with_the_first_rows_named() -> None:
    rows = [bad(n) if n % 2 else bad(n, "empty") for n in range(1, 31)]
    counted = survey(in_chunks(rows, 4))

    assert counted.rows == 30 and counted.usable == 0 and counted.to_send == 0
    damaged, empty = counted.problems
    assert (damaged.code, damaged.rows, damaged.first) == ("damaged", 15, [1, 3, 5, 7, 9])
    assert (empty.rows, empty.first) == (15, [2, 4, 6, 8, 10])
    assert (empty.reason, empty.remedy) == ("It is empty.", "Mend the empty.")


@pytest.mark.parametrize("size", [1, 2, 100])
def test_duplicates_name_the_first_row_of_their_customer_over_all_chunks(size: int) -> None:
    rows = [row(1, "a"), row(2, "b"), row(3, "a"), bad(4), row(5, "a"), row(6, "b")]
    counted = survey(in_chunks(rows, size))

    assert counted.duplicates == 3
    assert counted.duplicate_rows == [(3, 1), (5, 1), (6, 2)]
    assert counted.to_send == 2


def test_the_same_text_of_another_kind_is_another_customer() -> None:
    assert survey([[row(1, "x"), row(2, "x", EMAIL)]]).duplicates == 0


def test_only_the_first_few_duplicates_are_named() -> None:
    counted = survey([[row(n, "a") for n in range(1, 101)]])

    assert counted.duplicates == 99
    assert counted.duplicate_rows == [(n, 1) for n in range(2, 2 + NAMED)]


def test_served_customers_are_counted_once_by_the_job_that_served_them() -> None:
    served = served_by(older=["a", "b"], newer=["c"], other=["nobody"])
    rows = [row(1, "a"), row(2, "a"), row(3, "b"), row(4, "c"), row(5, "d"), bad(6)]
    counted = survey(in_chunks(rows, 2), served)

    assert counted.served == {"older": 2, "newer": 1}
    assert counted.to_send == 1


def test_the_ledger_is_asked_for_a_bounded_number_of_customers_once_each() -> None:
    asked: list[Sequence[str]] = []

    def served(keys: Sequence[str]) -> Mapping[str, Served]:
        asked.append(keys)
        return {}

    survey([[row(n, f"c{n % 11_000}") for n in range(12_000)]], served)

    assert max(map(len, asked)) <= 5_000
    assert Counter(key for keys in asked for key in keys) == {f"mobile:c{n}": 1 for n in range(11_000)}


def test_memory_does_not_grow_with_the_customers() -> None:
    def peak(customers: int) -> int:
        chunks = ([row(at + n, f"9198{at + n:08d}") for n in range(500)] for at in range(0, customers, 500))
        tracemalloc.start()
        try:
            assert survey(chunks).usable == customers
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(20_000) < 1.3 * peak(2_000)


# --- look-alikes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("919800000001", "9800000001"),
        ("09800000001", "9800000001"),
        ("00919800000001", "919800000001"),
        ("00919800000001", "9800000001"),
        ("09800000001", "919800000001"),
        ("0919800000001", "09800000001"),
        ("12025550123", "2025550123"),
        ("3541234567", "1234567"),
    ],
)
def test_mobiles_that_differ_by_country_code_or_zeros_look_alike(one: str, other: str) -> None:
    for first, second in ((one, other), (other, one)):
        counted = survey([[row(1, first), row(2, second), row(3, "447700900123")]])

        assert (counted.alike, counted.alike_rows) == (1, [(2, 1)])
        assert counted.to_send == 3


@pytest.mark.parametrize("names", [("AB01", "ab01"), ("007", "7"), ("00Ab", "aB"), ("00ab", "0AB")])
def test_external_ids_that_differ_by_zeros_or_case_look_alike(names: tuple[str, str]) -> None:
    rows = [row(n, name, EXTERNAL) for n, name in enumerate(names, 1)]

    assert survey([rows]).alike_rows == survey([rows[:1], rows[1:]]).alike_rows == [(2, 1)]


def test_what_only_ends_alike_does_not_look_alike() -> None:
    rows = [row(1, "9800000001"), row(2, "8800000001"), row(3, "919800000002"), row(4, "000001"), row(5, "1")]
    others = [row(6, "0", EXTERNAL), row(7, "00", EXTERNAL), row(8, "9800000001", EXTERNAL)]

    assert survey([[*rows, *others]]).alike_rows == [(5, 4)]  # and those are not mobiles anyway


# --- two contents of one file -----------------------------------------------------------------------------------


def test_two_contents_differ_in_customers_added_removed_and_changed() -> None:
    earlier = [
        (1, "mobile:a", ("a", "Pune")),
        (2, "mobile:b", ("b", "Goa")),
        (3, "mobile:b", ("b", "twice")),
        (4, None, ("x", "")),
    ]
    now = [
        row(1, "a"),
        Row(number=2, cells=("b", "Agra"), identifier=Identifier(MOBILE, "b", "mobile:b")),
        row(3, "c"),
        bad(4),
    ]
    same_cells = [(1, "mobile:a", ("a",)), (2, "mobile:c", ("c",)), (3, None, ("",))]

    assert compare(earlier, [now]) == Difference(added=2, removed=1, changed=2, same=0)
    assert compare(earlier, [now[2:]], [2, 3, 4]).unsent == (2, 3, 4)  # every row of a removed customer
    assert compare(earlier, [now], [2, 3]).unsent == ()
    assert compare(same_cells, [now]) == Difference(added=1, removed=0, changed=0, same=3)


# --- whatever the file ------------------------------------------------------------------------------------------


@settings(deadline=None)  # no timings as pass or fail
@given(st.data())
def test_a_survey_counts_what_a_plain_count_counts(data: st.DataObject) -> None:
    names = data.draw(st.lists(st.one_of(st.none(), st.sampled_from("abcdefgh")), max_size=40))
    claimed = data.draw(st.frozensets(st.sampled_from("abcdefgh")))
    rows = [bad(n) if name is None else row(n, name) for n, name in enumerate(names, 1)]

    counted = survey(in_chunks(rows, data.draw(st.integers(1, 10))), served_by(job=sorted(claimed)))

    customers = {name for name in names if name is not None}
    assert counted.rows == len(names)
    assert counted.usable + sum(line.rows for line in counted.problems) == counted.rows
    assert counted.usable - counted.duplicates == len(customers)
    assert sum(counted.served.values()) == len(customers & claimed)
    assert counted.to_send == len(customers - claimed)
