"""Usable identifiers, duplicates, and the columns that hold them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulk_issue.columns import ALL_COLUMNS, OUR_COLUMNS
from bulk_issue.customer_columns import columns
from bulk_issue.errors import SourceError
from bulk_issue.model import Identifier, IdentifierKind, JobId, Lineage, Problem, Record, Row
from bulk_issue.rows import PROBLEMS, judge, key, looks_like_email, problem, usual_length

ID, EXTERNAL, MOBILE, EMAIL = IdentifierKind.ID, IdentifierKind.EXTERNAL_ID, IdentifierKind.MOBILE, IdentifierKind.EMAIL
ALL_KINDS = {ID: 0, EXTERNAL: 1, MOBILE: 2, EMAIL: 3}


def judged(kind: IdentifierKind, cell: str) -> Row:
    return judge(Record(number=1, cells=(cell,)), {kind: 0})


def found(row: Row) -> tuple[str, str, str]:
    assert row.problem is None and row.identifier is not None
    return row.identifier.kind.value, row.identifier.value, row.identifier.key


def code(row: Row) -> str:
    assert row.identifier is None and row.problem is not None
    return row.problem.code


# --- columns ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (MOBILE, "mobile|Mobile No.|mobile number|MOBILE_NUMBER|Mob|Mob. No|phone|Phone No|phone-number| mobile "),
        (MOBILE, "MSISDN|cell|Cell Phone|contact number|Contact No.|customer mobile"),
        (ID, "customer_id|customerId|Cust ID|user_id|USERID|Capillary ID|id|ID"),
        (EXTERNAL, "externalId|External ID|external_id|ext id|External Customer Id"),
        (EMAIL, "email|E-Mail|e mail|Email ID|mail id|Mail|EMAIL_ADDRESS|customer email"),
    ],
)
def test_usual_spellings_are_found(kind: IdentifierKind, names: str) -> None:
    for name in names.split("|"):
        assert columns(["Name", name, "City"], {}) == {kind: 1}, name


@pytest.mark.parametrize("name", ["Member ID", "loyalty id", "Card Number", "contact", "mobile model", "mailing list"])
def test_a_column_that_may_mean_something_else_is_not_guessed(name: str) -> None:
    with pytest.raises(SourceError, match="no column names a customer"):
        columns(["Name", name], {})


def test_places_come_in_order_of_priority() -> None:
    places = columns(["email", "mobile", "external id", "customer id"], {})

    assert list(places.items()) == [(ID, 3), (EXTERNAL, 2), (MOBILE, 1), (EMAIL, 0)]


@pytest.mark.parametrize(
    ("header", "by", "places"),
    [
        (["id", "mobile"], None, {MOBILE: 1}),  # most often a running number
        (["id", "name"], None, {ID: 0}),
        (["id", "mobile"], ID, {ID: 0}),
        (["id", "customer_id", "mobile"], None, {ID: 1, MOBILE: 2}),
        (["id", "customer_id"], ID, {ID: 1}),
    ],
)
def test_a_bare_id_is_taken_only_alone_or_when_asked_for(
    header: list[str], by: IdentifierKind | None, places: Mapping[IdentifierKind, int]
) -> None:
    assert columns(header, {}, by) == places


def test_identify_by_keeps_that_kind_only() -> None:
    header = ["mobile", "phone", "email"]

    assert columns(header, {}, EMAIL) == {EMAIL: 2}
    with pytest.raises(SourceError, match="no column holds the externalId"):
        columns(header, {}, EXTERNAL)


@pytest.mark.parametrize("wanted", ["Phone No", "phone no", " Phone No "])
def test_a_named_column_is_found_and_is_the_whole_truth(wanted: str) -> None:
    assert columns(["customer_id", "Phone No", "mobile"], {MOBILE: wanted}) == {MOBILE: 1}


def test_a_name_written_exactly_goes_before_one_that_is_near() -> None:
    assert columns(["PHONE", "phone"], {MOBILE: "phone"}) == {MOBILE: 1}


def test_several_kinds_may_be_named() -> None:
    assert columns(["a", "b"], {EMAIL: "a", EXTERNAL: "b"}) == {EXTERNAL: 1, EMAIL: 0}


def test_our_own_columns_never_name_a_customer() -> None:
    assert columns(["mobile", *ALL_COLUMNS], {}) == {MOBILE: 0}


@pytest.mark.parametrize(
    ("header", "wanted", "message", "hint"),
    [
        (["Name", "Tel"], {}, "no column names a customer", '--map mobile="Tel"'),
        (["Name", "Member ID"], {}, "no column names", '--map externalId="Member ID"'),
        (
            ["Name"],
            {MOBILE: "Fone"},
            "no column 'Fone' to take the mobile from",
            "--map mobile=",
        ),
        (
            ["Mobile", "Phone", "Mail"],
            {},
            "2 columns may hold the mobile: 'Mobile' (column 1) and 'Phone' (column 2)",
            "",
        ),
        (["Mobile", "Phone", "Mail"], {}, "", '--map mobile="Mobile" --map email="Mail"'),
        (["Phone", "x", "Phone"], {MOBILE: "Phone"}, "'Phone' (column 1) and 'Phone' (column 3)", "must be renamed"),
    ],
)
def test_a_header_that_is_not_clear_is_refused_with_a_proposal(
    header: Sequence[str], wanted: Mapping[IdentifierKind, str], message: str, hint: str
) -> None:
    with pytest.raises(SourceError) as refused:
        columns(header, wanted)

    assert message in refused.value.message
    assert hint in refused.value.hint


def test_the_columns_are_listed_for_the_person_there_and_for_no_log() -> None:
    with pytest.raises(SourceError) as refused:
        columns(["Kxq Az", "Asha Kumar"], {})

    assert refused.value.cells == "Its columns are: Kxq Az, Asha Kumar"
    assert "Asha" not in refused.value.message + refused.value.hint


def test_duplicate_and_empty_names_are_fine_where_no_identifier_is_concerned() -> None:
    assert columns(["note", "note", "", "", "mobile"], {}) == {MOBILE: 4}


@pytest.mark.parametrize("cells", [["Asha", "919800000001"], ["Asha", "asha@shop.example"]])
def test_a_first_record_that_is_data_is_not_quoted(cells: list[str]) -> None:
    with pytest.raises(SourceError) as refused:
        columns(cells, {})

    assert "looks like a customer's data" in refused.value.cells
    assert not any(cell in refused.value.message + refused.value.hint + refused.value.cells for cell in cells)


# --- which identifier a row has ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "by", "identifier"),
    [
        (("7", "E1", "919800000001", "a@b.example"), None, ("id", "7", "id:7")),
        (("", "E1", "919800000001", "a@b.example"), None, ("externalId", "E1", "externalId:E1")),
        ((" ", "\u00a0", "919800000001", "a@b.example"), None, ("mobile", "919800000001", "mobile:919800000001")),
        (("", "", "", "a@b.example"), None, ("email", "a@b.example", "email:a@b.example")),
        (("7", "E1", "919800000001", "a@b.example"), EMAIL, ("email", "a@b.example", "email:a@b.example")),
        (("7", "E1", "919800000001", ""), MOBILE, ("mobile", "919800000001", "mobile:919800000001")),
    ],
)
def test_a_row_is_named_by_the_first_kind_that_is_filled(
    cells: tuple[str, ...], by: IdentifierKind | None, identifier: tuple[str, str, str]
) -> None:
    assert found(judge(Record(number=1, cells=cells), ALL_KINDS, by)) == identifier


def test_priority_does_not_depend_on_the_order_of_the_places() -> None:
    places = dict(reversed(ALL_KINDS.items()))

    assert found(judge(Record(number=1, cells=("7", "E1", "", "")), places))[0] == "id"


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (("seven", "E1", "919800000001", "a@b.example"), "id-form"),
        (("", "#N/A", "919800000001", "a@b.example"), "excel-error"),
        (("", "", "9.19E+11", "a@b.example"), "scientific"),
    ],
)
def test_a_filled_but_unusable_cell_never_falls_through_to_another_kind(cells: tuple[str, ...], expected: str) -> None:
    assert code(judge(Record(number=1, cells=cells), ALL_KINDS)) == expected


@pytest.mark.parametrize(("by", "named"), [(None, "id (column 1), externalId (column 2)"), (EMAIL, "email (column 4)")])
def test_blank_identifiers_are_a_problem_that_names_their_columns(by: IdentifierKind | None, named: str) -> None:
    row = judge(Record(number=1, cells=("", " ", "\t", "")), ALL_KINDS, by)

    assert code(row) == "no-identifier"
    assert row.problem is not None and named in row.problem.reason


def test_number_cells_and_lineage_travel_along() -> None:
    record = Record(number=9, cells=("919800000001", "x"), lineage=Lineage(job=JobId("j"), row=4))
    row = judge(record, {MOBILE: 0})

    assert (row.number, row.cells, row.lineage) == (9, record.cells, record.lineage)


def test_what_the_reader_found_unusable_stays_so() -> None:
    ragged = problem("ragged", found=3, expected=2)
    row = judge(Record(number=1, cells=("919800000001", "", "x"), problem=ragged), {MOBILE: 0})

    assert (row.identifier, row.problem) == (None, ragged)
    assert ragged.reason == "the record has 3 cells where the header has 2"


# --- usable cells -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cell",
    [
        "919800000001",
        " 919800000001 ",
        "+919800000001",
        "+91 98000 00001",
        "(+91) 98000-00001",
        "91.98000.00001",
        "'919800000001",
        "'+91 9800000001",
        "91\u00a098000\u00a000001",
        "91\u200998000\u300000001",
        "\u202a+91 98000 00001\u202c",
        "\ufeff919800000001\u200b",
    ],
)
def test_a_mobile_is_its_digits_however_it_is_written(cell: str) -> None:
    assert found(judged(MOBILE, cell)) == ("mobile", "919800000001", "mobile:919800000001")


@pytest.mark.parametrize("digits", ["123456", "123456789012345", "00919800000001", "0000012345"])
def test_a_mobile_has_6_to_15_digits_and_keeps_its_zeros(digits: str) -> None:
    assert found(judged(MOBILE, digits))[1] == digits


@pytest.mark.parametrize("cell", ["1", "555500001", "9223372036854775807", " 42 "])
def test_an_id_is_a_positive_64_bit_number(cell: str) -> None:
    assert found(judged(ID, cell)) == ("id", cell.strip(), f"id:{cell.strip()}")


@pytest.mark.parametrize(
    "cell", ["000000000123", "E-17/4", "Ünï", "4E10", "12345678901234567890", "a b", "1.5", "MAR-01", "nana", "0"]
)
def test_an_external_id_is_its_text(cell: str) -> None:
    assert found(judged(EXTERNAL, f" {cell}\u00a0")) == ("externalId", cell, f"externalId:{cell}")


def test_an_email_is_sent_as_written_and_known_without_case() -> None:
    assert found(judged(EMAIL, " Asha.Straße@Shop.Example ")) == (
        "email",
        "Asha.Straße@Shop.Example",
        "email:asha.strasse@shop.example",
    )


def test_the_check_of_emails_can_be_another() -> None:
    record = Record(number=1, cells=("a@b.example",))

    assert code(judge(record, {EMAIL: 0}, None, lambda _: False)) == "email-form"
    assert found(judge(Record(number=1, cells=("x",)), {EMAIL: 0}, None, lambda _: True))[1] == "x"


@pytest.mark.parametrize(
    ("text", "usable"),
    [
        ("a@b.example", True),
        ("a.b+c@x-y.example", True),
        ("ü@bücher.example", True),
        ("a@b", False),
        ("@b.example", False),
        ("a@", False),
        ("a@.example", False),
        ("a@b.", False),
        ("a@b..example", False),
        ("a@b@c.example", False),
        ("a b@c.example", False),
        ("a@b.example,c@d.example", False),
        ("a@b.exam\u200bple", False),
        ("a\x00@b.example", False),
        ("a\u00a0b@c.example", False),
        ("plain", False),
    ],
)
def test_the_own_check_of_emails_is_conservative(text: str, usable: bool) -> None:  # noqa: FBT001
    assert looks_like_email(text) is usable


# --- damage -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", IdentifierKind)
@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("9.19E+11", "scientific"),
        ("9,19E+11", "scientific"),
        ("9.19876543210e+11", "scientific"),
        ("1E+15", "scientific"),
        ("919876543210.0", "decimal"),
        ("919876543210,00", "decimal"),
        ("-919876543210.0", "decimal"),
        ("#N/A", "excel-error"),
        ("#REF!", "excel-error"),
        ("#DIV/0!", "excel-error"),
        ("#name?", "excel-error"),
        ("########", "excel-error"),
        ("Err:502", "excel-error"),
        ("2026-01-31", "date"),
        ("2026-01-31 00:00:00", "date"),
        ("2026-01-31T00:00:00", "date"),
        ("31-01-2026", "date"),
        ("01/31/2026", "date"),
        ("31.1.2026", "date"),
        ("31-Jan-26", "date"),
        ("NULL", "placeholder"),
        ("n/a", "placeholder"),
        ("-", "placeholder"),
        ("nan", "placeholder"),
        ("\\N", "placeholder"),
        ("TRUE", "placeholder"),
    ],
)
def test_damage_is_refused_in_every_kind_of_identifier(kind: IdentifierKind, cell: str, expected: str) -> None:
    assert code(judged(kind, cell)) == expected
    assert code(judged(kind, f" {cell} ")) == expected


@pytest.mark.parametrize(
    ("kind", "cell", "expected"),
    [
        (MOBILE, "12345", "mobile-length"),
        (MOBILE, "1234567890123456", "mobile-length"),
        (MOBILE, "919800000001 919800000002", "mobile-length"),
        (MOBILE, "919800000001000000", "cut"),
        (MOBILE, "9198OOOOOO01", "mobile-characters"),
        (MOBILE, "98000 ext 12", "mobile-characters"),
        (MOBILE, "919800000001/02", "mobile-characters"),
        (MOBILE, "919800000001\n919800000002", "mobile-characters"),
        (MOBILE, "919800\x00000001", "mobile-characters"),
        (MOBILE, "919,800,000,001", "mobile-characters"),
        (MOBILE, "9198+00000001", "mobile-characters"),
        (MOBILE, "++919800000001", "mobile-characters"),
        (MOBILE, "''919800000001", "mobile-characters"),
        (MOBILE, "()", "mobile-characters"),
        (MOBILE, "-9799999910", "negative"),
        (MOBILE, "\u22129799999910", "negative"),
        (MOBILE, "31-01-26", "date"),
        (MOBILE, "٩١٩٨٠٠٠٠٠٠٠١", "foreign-digits"),
        (MOBILE, "９１９８０００００００１", "foreign-digits"),
        (ID, "0", "id-form"),
        (ID, "-5", "id-form"),
        (ID, "+5", "id-form"),
        (ID, "007", "id-form"),
        (ID, "1,234", "id-form"),
        (ID, "12 34", "id-form"),
        (ID, "1.5", "id-form"),
        (ID, "9223372036854775808", "id-form"),
        (ID, "12345678901234500", "cut"),
        (ID, "٧", "foreign-digits"),
        (ID, "12\u200b3", "invisible"),
        (EXTERNAL, "A\u200b1", "invisible"),
        (EXTERNAL, "A\x001", "invisible"),
        (EXTERNAL, "A\n1", "invisible"),
        (EMAIL, "asha(at)shop.example", "email-form"),
        (EMAIL, "a@b.exam\u200bple", "invisible"),
    ],
)
def test_what_a_kind_can_not_be_is_refused(kind: IdentifierKind, cell: str, expected: str) -> None:
    assert code(judged(kind, cell)) == expected


def test_an_id_of_16_digits_that_was_not_cut_is_usable() -> None:
    assert found(judged(ID, "1234567890123451"))[1] == "1234567890123451"


@given(st.text(min_size=1, max_size=30), st.sampled_from(IdentifierKind))
def test_every_cell_is_judged_and_no_reason_quotes_one(cell: str, kind: IdentifierKind) -> None:
    row = judged(kind, cell)

    assert (row.identifier is None) != (row.problem is None)
    if row.problem is not None:
        assert row.problem.code in PROBLEMS
        _, remedy = PROBLEMS[row.problem.code]
        assert row.problem == Problem(
            code=row.problem.code, reason=problem_reason(row.problem.code, kind), remedy=remedy
        )


def problem_reason(word: str, kind: IdentifierKind) -> str:
    """The reason as it is for any cell: so it can't have come from one."""
    return PROBLEMS[word][0].format(column=f"{kind.value} (column 1)")


def test_every_problem_has_a_reason_and_a_remedy() -> None:
    for word in PROBLEMS:
        told = problem(word, column="mobile (column 2)", found=1, expected=2, row=3, job="j1")
        assert told.code == word
        assert told.reason and told.remedy.endswith(".")
        assert "{" not in told.reason + told.remedy


# --- duplicates -------------------------------------------------------------------------------------------------


@given(st.text(min_size=1, max_size=30), st.sampled_from(IdentifierKind))
def test_the_key_of_a_value_is_the_key_of_its_row(cell: str, kind: IdentifierKind) -> None:
    match judged(kind, cell).identifier:
        case Identifier() as identifier:
            assert identifier.key == key(kind, identifier.value) == key(kind, cell)


def test_keys_of_different_kinds_differ() -> None:
    assert len({key(kind, "12345678") for kind in IdentifierKind}) == len(IdentifierKind)


def test_external_ids_differ_in_zeros_and_case() -> None:
    assert len({key(EXTERNAL, text) for text in ("12", "0012", "a", "A")}) == 4


def test_our_columns_are_those_of_the_design_in_its_order() -> None:
    names = "_row _status _coupon_code _valid_till _discount_type _discount_value _customer_id _error_code _reason "
    names += "_remedy _attempts _issued_at _warnings _request_id _job"

    assert names.split() == list(OUR_COLUMNS)
    assert ALL_COLUMNS[: len(OUR_COLUMNS)] == OUR_COLUMNS
    assert len(set(ALL_COLUMNS)) == len(ALL_COLUMNS)


# --- what only the rest of the file shows -----------------------------------------------------------------------


@pytest.mark.parametrize("word", ["Total", "TOTAL:", "Grand Total", "sub-total", "Total (2)", "total: 2", " Totals "])
@pytest.mark.parametrize("kind", [ID, EXTERNAL, MOBILE])
def test_the_count_in_a_totals_row_is_no_customer(word: str, kind: IdentifierKind) -> None:
    assert code(judge(Record(number=3, cells=("", word, "1200000")), {kind: 2})) == "total"


@pytest.mark.parametrize("name", ["Totaline", "Asha Total", "Sum", "Totally"])
def test_a_name_is_no_totals_row(name: str) -> None:
    assert found(judge(Record(number=3, cells=(name, "1200000")), {MOBILE: 1}))


@pytest.mark.parametrize("cell", ["12:30", "03:04:00", "1 day, 2:00:00", "9:15 am", "23:59:59.500"])
def test_a_time_of_day_is_no_identifier(cell: str) -> None:
    assert code(judged(EXTERNAL, cell)) == "date"


def test_an_external_id_that_a_spreadsheet_cut_is_refused() -> None:
    assert code(judged(EXTERNAL, "919876543210123000")) == "cut"
    assert found(judged(EXTERNAL, "91987654321012300"))
    assert found(judged(EXTERNAL, "9198765432101230001"))


@pytest.mark.parametrize(
    ("kind", "texts", "usual"),
    [
        (EXTERNAL, ["0001", "0002", "0003", "1234", "12", "0005", "0006"], 4),
        (EXTERNAL, ["1001", "1002", "1003", "999"] * 20, None),  # counted up
        (EXTERNAL, ["12345678"] * 90 + ["1234567"] * 10, 8),  # all zeros were lost
        (EXTERNAL, ["12345678"] * 19 + ["1234567"], None),  # too few to tell
        (EXTERNAL, ["12345678"] * 80 + ["1234567"] * 20, None),
        (EXTERNAL, ["A1", "B2"], None),
        (EXTERNAL, [], None),
        (MOBILE, ["07911123456"] * 30 + ["7911123456"], 11),
        (MOBILE, ["919876543210"] * 90 + ["09876543210"] * 2, None),  # zeros elsewhere say nothing of this length
    ],
)
def test_a_column_shows_how_long_its_numbers_are(kind: IdentifierKind, texts: Sequence[str], usual: int | None) -> None:
    assert usual_length(kind, texts) == usual


def test_what_is_shorter_than_usual_lost_its_zeros() -> None:
    for kind, cell in ((EXTERNAL, "1234567"), (MOBILE, "7911123456")):
        record = Record(number=1, cells=(cell,))
        assert code(judge(record, {kind: 0}, usual={kind: len(cell) + 1})) == "short"
        assert found(judge(record, {kind: 0}, usual={kind: len(cell)}))
