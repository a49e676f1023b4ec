"""Bodies on the wire: everything that is documented or was seen is read, and nothing makes a reader raise."""

from __future__ import annotations

import base64
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bulk_issue import wire
from bulk_issue.model import Identifier, IdentifierKind

NOW = 1_790_000_000.0  # 2026-09-21T14:13:20Z
#: 2026-08-19T11:22:11Z
ISSUED = 1_787_138_531.0

REPLY: dict[str, Any] = {
    "code": "ABCDE12345",
    "seriesId": 544770,
    "description": "Festival coupon",
    "discountCode": "fest01",
    "validTill": "2027-05-09T00:00:00Z",
    "discountType": "ABS",
    "discountValue": 500.0,
    "discountUpto": 0.0,
    "discountOn": "BILL",
    "detailedInfo": "Festival coupon in detail",
    "customer": {
        "id": 555500001,
        "profiles": [
            {
                "firstName": "Asha",
                "identifiers": [
                    {"type": "mobile", "value": "919800000001"},
                    {"type": "externalId", "value": "000000000123"},
                ],
                "userId": 555500001,
                "identifiersAll": [
                    {"type": "mobile", "value": "919800000001"},
                    {"type": "email", "value": "asha@example.com"},
                ],
            }
        ],
    },
    "redemptionCount": 0,
    "id": 0,
    "validTillDateTime": "2027-05-09T23:59:59Z",
    "warnings": [],
}


def body(value: object) -> bytes:
    return json.dumps(value).encode()


def issued(**changed: Any) -> Any:
    parsed = wire.json_object(body({**REPLY, **changed}))
    assert parsed is not None
    return wire.coupon(parsed)


@pytest.fixture
def far_zone() -> Iterator[None]:
    """This machine is far from UTC."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "XXX-9"
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


# --- requests ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "value", "customer"),
    [
        (IdentifierKind.ID, "555500001", '{"id":555500001}'),
        (IdentifierKind.MOBILE, "919800000001", '{"mobile":"919800000001"}'),
        (IdentifierKind.EXTERNAL_ID, "000123", '{"externalId":"000123"}'),
        (IdentifierKind.EMAIL, "a@example.com", '{"email":"a@example.com"}'),
    ],
)
def test_a_request_names_exactly_one_identifier_compactly(kind: IdentifierKind, value: str, customer: str) -> None:
    sent = wire.issue_body(544770, Identifier(kind, value, f"{kind}:{value}"))

    assert sent == f'{{"seriesId":544770,"customer":{customer}}}'.encode()


def test_letters_beyond_ascii_survive_any_charset() -> None:
    sent = wire.issue_body(1, Identifier(IdentifierKind.EMAIL, "jörg@example.com", "email:jörg@example.com"))

    assert sent.isascii()
    assert json.loads(sent)["customer"]["email"] == "jörg@example.com"


# --- JSON -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "unusable",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"12",
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": "\xff"}',
        b'{"a": 1',
        b'{"a": 1} {"b": 2}',
        b"<html></html>",
        '{"a": 1}'.encode("utf-16"),
        b"[" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    ],
)
def test_what_is_no_json_object_is_none(unusable: bytes) -> None:
    assert wire.json_object(unusable) is None


def test_a_byte_order_mark_is_passed_over() -> None:
    assert wire.json_object(b'\xef\xbb\xbf{"a":"b"}') == {"a": "b"}


def test_numbers_stay_as_they_were_written() -> None:
    parsed = wire.json_object(b'{"a":500.0,"b":1000,"c":1e3,"d":0.10,"e":-7}')

    assert parsed == {"a": "500.0", "b": "1000", "c": "1e3", "d": "0.10", "e": "-7"}


def test_a_number_of_many_thousand_digits_is_read() -> None:
    parsed = wire.json_object(b'{"seriesId":' + b"9" * 100_000 + b',"code":"A"}')

    assert parsed is not None
    found = wire.coupon(parsed)
    assert found is not None
    assert found.series_id is None


# --- the coupon of a reply --------------------------------------------------------------------------------------


def test_every_documented_field_of_a_coupon_is_read() -> None:
    coupon = issued()

    assert coupon.code == "ABCDE12345"
    assert coupon.series_id == 544770
    assert coupon.description == "Festival coupon"
    assert coupon.discount_code == "fest01"
    assert coupon.valid_till == "2027-05-09T00:00:00Z"
    assert coupon.valid_till_date_time == "2027-05-09T23:59:59Z"
    assert coupon.discount_type == "ABS"
    assert coupon.discount_value == "500.0"
    assert coupon.discount_upto == "0.0"
    assert coupon.discount_on == "BILL"
    assert coupon.detailed_info == "Festival coupon in detail"
    assert coupon.redemption_count == 0
    assert coupon.coupon_id == 0
    assert coupon.customer_id == 555500001
    assert coupon.warnings == ()


def test_identifiers_come_once_each_from_both_lists() -> None:
    assert issued().identifiers == (
        ("mobile", "919800000001"),
        ("externalId", "000000000123"),
        ("email", "asha@example.com"),
    )


def test_profiles_may_be_an_object_and_other_types_are_passed_over() -> None:
    profile = {"identifiers": {"type": "MOBILE", "value": 919800000001}, "identifiersAll": [{"type": "wechat"}, None]}

    assert issued(customer={"id": "7", "profiles": profile}).identifiers == (("mobile", "919800000001"),)


@pytest.mark.parametrize("code", [None, "", "   ", 12345, 12.5, True, ["A"], {"a": "A"}, "A\nB", "A\0B", "A\ud800"])
def test_only_a_printable_string_is_a_code(code: object) -> None:
    assert issued(code=code) is None


def test_a_code_of_digits_keeps_its_zeros() -> None:
    assert issued(code="0211706970000001").code == "0211706970000001"


def test_integers_may_be_strings_and_too_large_ones_are_unknown() -> None:
    coupon = issued(seriesId="544770", redemptionCount="2", id=2**63, customer={"id": "9.5"})

    assert (coupon.series_id, coupon.redemption_count, coupon.coupon_id, coupon.customer_id) == (544770, 2, None, None)


def test_warnings_may_be_strings_or_objects() -> None:
    mixed = ["first", {"code": 702, "message": "second"}, {"odd": 1}, None, ""]

    assert issued(warnings=mixed).warnings == ("first", "702: second", "warning")
    assert issued(warnings="alone").warnings == ("alone",)
    assert issued(warnings=None).warnings == ()


def test_text_that_nobody_can_store_is_made_storable() -> None:
    coupon = issued(description="a\0b\ud800c\n")

    assert coupon.description == "ab?c\n"


def test_odd_kinds_in_a_coupon_are_empty_not_fatal() -> None:
    coupon = issued(**{name: [{}] for name in REPLY if name != "code"})

    assert (coupon.code, coupon.series_id, coupon.description, coupon.identifiers) == ("ABCDE12345", None, "", ())


# --- errors -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"errors": [{"status": False, "code": 709, "message": "has"}]}, [("709", "has")]),
        ({"errors": [{"code": "709"}, {"message": "has"}]}, [("709", ""), ("", "has")]),
        ({"errors": {"code": 709, "message": "has"}}, [("709", "has")]),
        ({"error": {"code": 709, "message": "has"}}, [("709", "has")]),
        ({"errors": ["has"]}, [("", "has")]),
        ({"errors": "has"}, [("", "has")]),
        ({"errors": [709]}, [("709", "")]),
        ({"errors": [None]}, [("", "")]),
        ({"errorCode": 4000, "errorMessage": "denied"}, [("4000", "denied")]),
        ({"errorMessage": "denied"}, [("", "denied")]),
        ({"status": {"success": "false", "code": "401", "message": "no"}}, [("401", "no")]),
        ({"status": {"success": False, "code": 401, "message": "no"}}, [("401", "no")]),
        ({"response": {"status": {"success": "false", "code": "500", "message": "all"}}}, [("500", "all")]),
        ({"status": False, "code": 701, "message": "who"}, [("701", "who")]),
        ({"success": "false", "message": "who"}, [("", "who")]),
        ({"success": False, "errors": [{"code": 701}]}, [("701", "")]),
        ({"data": None, "errors": [{"code": 1, "message": "no token"}]}, [("1", "no token")]),
        ({"errors": None}, []),
        ({"errors": []}, []),
        ({"errorCode": None, "status": {"success": True, "code": 200}}, []),
        ({"code": "ABC", "message": "hello"}, []),
    ],
)
def test_errors_in_json_are_read_in_every_form(said: object, expected: list[tuple[str, str]]) -> None:
    assert [(error.code, error.message) for error in wire.api_errors(body(said))] == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            "<response><status><success>false</success><code>401</code><message>No.</message></status></response>",
            [("401", "No.")],
        ),
        ("<?xml version='1.0'?>\n<success> FALSE </success>\n<code> 401 </code>", [("401", "")]),
        ("<success>true</success><code>200</code><message>SUCCESS</message>", []),
        ("<code>5005</code><message>queue empty</message>", []),
        ("<html><body><success>false</success><code>5005</code></body></html>", []),
        ("<!DOCTYPE html><success>false</success><code>5005</code>", []),
        ("text <success>false</success><code>5005</code>", []),
        (
            "errorMessage = Not authorized. Access is denied!\nerrorCode = 4000",
            [("4000", "Not authorized. Access is denied!")],
        ),
        ('errorCode="4001"\r\n', [("4001", "")]),
        ("a page that speaks of\nerrorCode=4001", []),
        ("errorCode=", []),
        ('[{"errors":[{"code":5005}]}]', []),
        ("", []),
    ],
)
def test_errors_outside_json_are_read_only_from_whole_xml_and_lines(said: str, expected: list[tuple[str, str]]) -> None:
    assert [(error.code, error.message) for error in wire.api_errors(said.encode())] == expected


def test_an_entity_in_xml_is_left_alone() -> None:
    bomb = b'<!DOCTYPE x [<!ENTITY a "aaaa">]><success>false</success><code>401</code><message>&a;</message>'

    assert wire.api_errors(bomb) == (wire.ApiError("401", "&a;"),)


def test_an_error_shows_no_message_in_its_repr() -> None:
    assert "919800000001" not in repr(wire.ApiError("701", "who is 919800000001"))


# --- the record, v2 ---------------------------------------------------------------------------------------------


def recorded_v2(**changed: Any) -> dict[str, Any]:
    coupon = {
        "code": "0211706970000001",
        "seriesId": 544770,
        "description": "Festival coupon",
        "validTill": "2027-05-09T00:00:00Z",
        "discountType": "ABS",
        "discountValue": 500.0,
        "redemptionCount": 0,
        "id": 1312000001,
        "createdDate": "2026-08-19T16:52:11Z",
        "createdDateISO": "2026-08-19T11:22:11Z",
        "issuedAt": {"code": "store01", "name": "Main store"},
        "validTillDateTime": "2027-05-09T23:59:59Z",
    }
    return {name: value for name, value in {**coupon, **changed}.items() if value is not ...}


def page_v2(coupons: object, **changed: Any) -> bytes:
    customers = [{"id": 555500001, "mobile": "919800000001", "coupons": coupons}]
    entity = {"pagination": {"limit": "100", "offset": "0", "total": 23}, "customers": customers}
    return body({"entity": entity, "warnings": [], "errors": [], "success": True, **changed})


def only_v2(**changed: Any) -> Any:
    page = wire.coupons_v2(page_v2([recorded_v2(**changed)]))
    assert page is not None
    return page.coupons[0]


def test_a_page_of_v2_is_read_whole() -> None:
    page = wire.coupons_v2(page_v2([recorded_v2(), recorded_v2(code="B")]))

    assert page is not None
    assert (page.total, page.known, page.customer_id, len(page.coupons)) == (23, True, 555500001, 2)
    first = page.coupons[0]
    assert (first.code, first.series_id, first.coupon_id) == ("0211706970000001", 544770, 1312000001)
    assert (first.created, first.true_utc, first.issued_at) == (ISSUED, True, "store01")
    assert (first.valid_till, first.valid_till_date_time) == ("2027-05-09T00:00:00Z", "2027-05-09T23:59:59Z")
    assert (first.discount_type, first.discount_value, first.redemption_count) == ("ABS", "500.0", 0)
    assert first.description == "Festival coupon"


def test_a_customer_without_coupons_is_known() -> None:
    page = wire.coupons_v2(page_v2([]))

    assert page is not None
    assert page.known
    assert page.coupons == ()


def test_one_coupon_or_customer_may_stand_alone() -> None:
    alone = {"entity": {"customers": {"id": "1", "coupons": recorded_v2()}}}
    page = wire.coupons_v2(body(alone))

    assert page is not None
    assert (len(page.coupons), page.total, page.customer_id) == (1, None, 1)


@pytest.mark.parametrize(
    ("dates", "created", "true_utc"),
    [
        ({"createdDateISO": ...}, ISSUED + 5.5 * 3600, False),
        ({"createdDateISO": "2026-08-19T16:52:11+05:30"}, ISSUED, True),
        ({"createdDateISO": "2026-08-19T16:52:11+0530"}, ISSUED, True),
        ({"createdDateISO": "2026-08-19T11:22:11.500Z"}, ISSUED + 0.5, True),
        ({"createdDateISO": "2026-08-19T11:22:11"}, ISSUED, False),
        ({"createdDateISO": "2026-08-19", "createdDate": "2026-08-19"}, None, False),
        ({"createdDateISO": "2026-08-19T11:22Z", "createdDate": ...}, None, False),
        ({"createdDateISO": "2026-13-19T11:22:11Z", "createdDate": None}, None, False),
        ({"createdDateISO": 1_787_138_531_000, "createdDate": "soon"}, None, False),
    ],
)
def test_the_time_of_a_coupon_is_the_iso_field_then_the_other_and_never_cut_off(
    dates: dict[str, Any], created: float | None, *, true_utc: bool
) -> None:
    coupon = only_v2(**dates)

    assert (coupon.created, coupon.true_utc) == (created, true_utc)


def test_times_without_offset_are_utc_wherever_we_are(far_zone: None) -> None:
    assert only_v2(createdDateISO="2026-08-19T11:22:11").created == ISSUED


def test_a_coupon_of_no_readable_series_or_store_stays_a_coupon() -> None:
    coupon = only_v2(seriesId=..., issuedAt="store01")

    assert (coupon.series_id, coupon.issued_at) == (None, None)


@pytest.mark.parametrize(
    "unclear",
    [
        b"<html>",
        body([]),
        body({}),
        body({"entity": None}),
        body({"entity": {}}),
        body({"entity": {"customers": None}}),
        body({"entity": {"customers": {}}}),
        body({"entity": {"customers": ["x"]}}),
        body({"entity": {"customers": [{"id": 1}]}}),
        body({"entity": {"customers": [{"id": 1, "coupons": []}, {"id": 2, "coupons": []}]}}),
        page_v2(None),
        page_v2(""),
        page_v2({}),
        page_v2([recorded_v2(), "odd"]),
        page_v2([recorded_v2(code=...)]),
        page_v2([recorded_v2(code="")]),
        page_v2([recorded_v2(code=211706970000001)]),
        page_v2([], success=False),
        page_v2([], success="no"),
        page_v2([], errors=[{"code": 500, "message": "failed"}]),
        page_v2([recorded_v2()], errors=[{"code": 8015, "message": "customer not found"}]),
        body({"entity": {"customers": []}, "errors": [{"code": 8015}, {"code": 500}]}),
    ],
)
def test_a_page_of_v2_that_is_odd_anywhere_is_no_page(unclear: bytes) -> None:
    assert wire.coupons_v2(unclear) is None


@pytest.mark.parametrize(
    "said",
    [
        {"entity": {"customers": []}, "success": True},
        {"errors": [{"code": 8015, "message": "x"}], "success": False},
        {"entity": {"customers": []}, "errors": [{"code": 1, "message": "Customer not found"}], "success": False},
        {"errors": [{"code": 404, "message": "CUSTOMER_NOT_FOUND"}]},
        {"success": False, "message": "No such customer"},
    ],
)
def test_an_unknown_customer_of_v2_is_not_one_without_coupons(said: object) -> None:
    page = wire.coupons_v2(body(said))

    assert page is not None
    assert not page.known
    assert page.coupons == ()


# --- the record, v1.1 -------------------------------------------------------------------------------------------

GOOD = {"success": "true", "code": "200", "message": "SUCCESS"}
ITEM = {"success": "true", "code": "1000", "message": "Issued coupons retrieved successfully"}
RECORDED = {
    "id": "2400001",
    "code": "ABCDE12345",
    "redemption_count": "1",
    "created_date": "2026-08-19T16:52:11+05:30",
    "valid_till": "2027-05-09",
    "redemptions": {},
}


def page_v1(coupons: object, *, status: object = GOOD, item: object = ITEM, alone: bool = True) -> bytes:
    customer = {"id": "555500001", "coupons": coupons, "item_status": item}
    response = {
        "pagination": {"limit": "100", "offset": "0", "total": 1},
        "status": status,
        "customers": {"customer": customer if alone else [customer]},
    }
    return body({"response": response})


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("held", [{"coupon": RECORDED}, {"coupon": [RECORDED]}, [RECORDED]])
def test_a_page_of_v1_is_read_from_objects_and_arrays(held: object, *, alone: bool) -> None:
    page = wire.coupons_v1(page_v1(held, alone=alone, status={"success": True, "code": 200}), 544770)

    assert page is not None
    assert (page.total, page.known, page.customer_id) == (1, True, 555500001)
    coupon = page.coupons[0]
    assert (coupon.code, coupon.series_id, coupon.coupon_id) == ("ABCDE12345", 544770, 2400001)
    assert (coupon.created, coupon.true_utc) == (ISSUED, False)
    assert (coupon.valid_till, coupon.redemption_count) == ("2027-05-09", 1)


@pytest.mark.parametrize("none", [{}, [], {"coupon": []}])
def test_a_customer_of_v1_without_coupons_is_known(none: object) -> None:
    page = wire.coupons_v1(page_v1(none), 544770)

    assert page is not None
    assert page.known
    assert page.coupons == ()


@pytest.mark.parametrize(
    ("stated", "asked", "series"),
    [
        ({}, 544770, 544770),
        ({}, None, None),
        ({"series_id": ""}, 544770, 544770),
        ({"series_id": "9"}, 544770, 9),
        ({"series_id": 9}, 544770, 9),
        ({"series_id": "odd"}, 544770, None),
    ],
)
def test_a_coupon_of_v1_is_of_the_series_it_names_else_of_the_one_asked_for(
    stated: dict[str, Any], asked: int | None, series: int | None
) -> None:
    page = wire.coupons_v1(page_v1({"coupon": {**RECORDED, **stated}}), asked)

    assert page is not None
    assert page.coupons[0].series_id == series


BAD = {"success": "false", "code": "500", "message": "All requests have failed"}
NOT_FOUND = {"success": "false", "code": "1012", "message": "Customer not found"}


@pytest.mark.parametrize(
    "unclear",
    [
        b"<response><status><success>true</success></status></response>",
        body({}),
        body({"response": []}),
        body({"response": {"status": GOOD}}),
        body({"response": {"status": GOOD, "customers": None}}),
        body({"response": {"status": GOOD, "customers": {}}}),
        body({"response": {"status": GOOD, "customers": {"customer": ""}}}),
        body({"response": {"status": GOOD, "customers": {"customer": [{"item_status": ITEM, "coupons": {}}] * 2}}}),
        body({"response": {"customers": {"customer": {"item_status": ITEM, "coupons": {}}}}}),
        page_v1({}, status=BAD),
        page_v1({}, item=BAD),
        page_v1({}, item=None),
        page_v1({}, item={}),
        page_v1(None),
        page_v1(""),
        page_v1({"coupon": None}),
        page_v1({"coupon": {}}),
        page_v1({"other": 1}),
        page_v1({"coupon": [RECORDED, 1]}),
        page_v1({"coupon": {"id": "1"}}),
    ],
)
def test_a_page_of_v1_that_is_odd_anywhere_is_no_page(unclear: bytes) -> None:
    assert wire.coupons_v1(unclear, 544770) is None


@pytest.mark.parametrize(
    "said",
    [
        page_v1({}, item=NOT_FOUND),
        page_v1({}, status=BAD, item=NOT_FOUND),
        body({"response": {"status": GOOD, "customers": {"customer": []}}}),
        body({"response": {"status": GOOD, "customers": []}}),
        body({"response": {"status": NOT_FOUND, "customers": []}}),
    ],
)
def test_an_unknown_customer_of_v1_is_not_one_without_coupons(said: bytes) -> None:
    page = wire.coupons_v1(said, 544770)

    assert page is not None
    assert not page.known


def test_pages_show_no_customer_and_no_code_in_their_repr() -> None:
    shown = repr(wire.coupons_v2(page_v2([recorded_v2()])))

    assert "0211706970000001" not in shown
    assert "555500001" not in shown


# --- series -----------------------------------------------------------------------------------------------------

SERIES: dict[str, Any] = {
    "id": 544770,
    "orgId": 100001,
    "description": "Festival coupon",
    "validTillDate": "2027-05-09T00:00:00Z",
    "maxCreate": -1,
    "numIssued": 3,
    "numUploadedNonIssued": 0,
    "isMultipleVouchersPerUserAllowed": True,
    "doNotResendExistingVoucher": True,
    "maxVouchersPerUser": 11,
    "minDaysBetweenVouchers": 23,
    "clientHandlingType": "DISC_CODE",
    "externalIssual": False,
    "isSMSDisabled": False,
    "discountType": "ABS",
    "discountValue": 500,
}


def facts(now: float = NOW, **changed: Any) -> Any:
    listed = [{"id": 1}, {**SERIES, **changed}]
    return wire.series(body({"entity": listed, "warnings": []}), 544770, now)


def test_the_facts_of_a_series_are_read() -> None:
    series = facts()

    assert (series.id, series.org_id, series.description) == (544770, "100001", "Festival coupon")
    assert (series.valid_till, series.expired, series.stock_left) == ("2027-05-09T00:00:00Z", False, None)
    assert (series.max_per_customer, series.min_days_between) == (11, 23)
    assert (series.multiple_allowed, series.resends, series.sends_messages) == (True, False, True)
    assert (series.generic, series.third_party_codes) == (False, False)
    assert (series.discount_type, series.discount_value) == ("ABS", "500")


def test_what_the_server_does_not_say_of_a_series_is_unknown() -> None:
    series = wire.series(body({"entity": {"id": "544770"}}), 544770, NOW)

    assert series == type(facts())(id=544770)


@pytest.mark.parametrize(
    ("changed", "left"),
    [
        ({"maxCreate": 10}, 7),
        ({"maxCreate": 2}, 0),
        ({"maxCreate": "10", "numIssued": "4"}, 6),
        ({"maxCreate": 10, "numIssued": None}, 10),
        ({"clientHandlingType": "DISC_CODE_PIN", "numUploadedNonIssued": 5}, 5),
        ({"clientHandlingType": "DISC_CODE_PIN", "numUploadedNonIssued": 50, "maxCreate": 10}, 7),
        ({"clientHandlingType": "DISC_CODE_PIN", "numUploadedNonIssued": None, "maxCreate": 10}, 7),
        ({"clientHandlingType": "DISC_CODE_PIN", "numUploadedNonIssued": None}, None),
        ({"numUploadedNonIssued": 5}, None),
    ],
)
def test_the_stock_of_a_series_is_the_least_of_its_bounds(changed: dict[str, Any], left: int | None) -> None:
    assert facts(**changed).stock_left == left


@pytest.mark.parametrize(
    ("changed", "expired"),
    [
        ({"validTillDate": "2026-09-21T00:00:00Z"}, False),  # its last day hasn't ended
        ({"validTillDate": "2026-09-20T00:00:00Z"}, True),
        ({"validTillDate": "2026-09-21T00:00:00Z", "validTillDateTime": "2026-09-21T12:00:00Z"}, True),
        ({"validTillDate": "2026-09-20T00:00:00Z", "validTillDateTime": "2026-09-21T23:59:59Z"}, False),
        ({"validTillDate": "some day"}, None),
        ({"validTillDate": None}, None),
    ],
)
def test_a_series_expires_at_its_exact_time_or_after_its_last_day(
    changed: dict[str, Any], *, expired: bool | None
) -> None:
    assert facts(**changed).expired is expired


def test_generic_and_third_party_series_are_told() -> None:
    series = facts(clientHandlingType="GENERIC", externalIssual="true", orgId=-1, maxVouchersPerUser=-1)

    assert (series.generic, series.third_party_codes, series.org_id, series.max_per_customer) == (
        True,
        True,
        None,
        None,
    )


@pytest.mark.parametrize(
    "said",
    [{"entity": []}, {"errors": [{"code": 707, "message": "no"}]}, {"success": False, "errors": [{"code": 755}]}],
)
def test_a_series_that_the_server_does_not_know_is_told_apart(said: object) -> None:
    assert wire.series(body(said), 544770, NOW) == wire.NoSuchSeries()


@pytest.mark.parametrize(
    "unclear",
    [
        b"<html>",
        body({}),
        body({"entity": None}),
        body({"entity": [{"id": 1}]}),
        body({"entity": [SERIES, SERIES]}),
        body({"entity": [], "errors": [{"code": 500}]}),
        body({"entity": [], "success": False}),
        body({"errors": [{"code": 707}, {"code": 500}]}),
    ],
)
def test_a_series_body_that_says_nothing_clear_is_none(unclear: bytes) -> None:
    assert wire.series(unclear, 544770, NOW) is None


# --- tokens -----------------------------------------------------------------------------------------------------


def jwt(payload: bytes) -> str:
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (b"{}", payload, b"signature"))


def test_a_token_comes_with_its_life() -> None:
    said = {"data": {"accessToken": "a.b.c", "ttlSeconds": 300}, "errors": None}

    assert wire.token(body(said)) == ("a.b.c", 300.0)
    assert wire.token(body({"data": {"accessToken": "a.b.c", "ttlSeconds": "300"}})) == ("a.b.c", 300.0)


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"data": None, "errors": [{"code": 1}]},
        {"data": {"accessToken": "a", "ttlSeconds": 300}, "errors": [{"code": 1}]},
        {"data": {"accessToken": "", "ttlSeconds": 300}},
        {"data": {"accessToken": 12345, "ttlSeconds": 300}},
        {"data": {"accessToken": "a\r\nX-Evil: 1", "ttlSeconds": 300}},
        {"data": {"accessToken": "ä", "ttlSeconds": 300}},
        {"data": {"accessToken": "a"}},
        {"data": {"accessToken": "a", "ttlSeconds": 0}},
        {"data": {"accessToken": "a", "ttlSeconds": True}},
    ],
)
def test_no_token_is_made_of_half_a_reply(said: object) -> None:
    assert wire.token(body(said)) is None


def test_the_org_stands_in_the_token() -> None:
    assert wire.org_of(jwt(b'{"org_id":100001,"iss":"x"}')) == "100001"
    assert wire.org_of(jwt(b'{"org_id":"100001"}')) == "100001"


@pytest.mark.parametrize(
    "access",
    [
        "",
        ".",
        "a.b",
        "a.b.c",
        "a.ä.c",
        jwt(b"[]"),
        jwt(b"{}"),
        jwt(b"\xff"),
        jwt(b'{"org_id":""}'),
        jwt(b'{"org_id":0}'),
    ],
)
def test_a_token_without_an_org_has_none(access: str) -> None:
    assert wire.org_of(access) is None


# --- headers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("zone", ["GMT", "+0000", "-0000"])
def test_a_date_header_is_read_in_utc(zone: str, far_zone: None) -> None:
    assert wire.date_header(f"Wed, 19 Aug 2026 11:22:11 {zone}") == ISSUED


def test_what_is_longer_than_any_date_is_none() -> None:
    assert wire.date_header("Wed, 19 Aug 2026 11:22:11 GMT" + " " * 100_000) is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        (" 120 ", 120.0),
        ("1.5", 1.5),
        ("99999", 3600.0),
        ("9" * 5000, 3600.0),
        ("Wed, 19 Aug 2026 11:23:11 GMT", 60.0),
        ("Wed, 19 Aug 2026 11:00:00 GMT", 0.0),
        ("Wed, 19 Aug 2099 11:00:00 GMT", 3600.0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("٣", None),
        ("Wed, 99 Aug 2026 11:23:11 GMT", None),
        ("Wed, 19 Aug 12026 11:23:11 GMT", None),
    ],
)
def test_retry_after_is_read_in_both_forms_and_bounded(value: str, seconds: float | None) -> None:
    assert wire.retry_after(value, ISSUED) == seconds


# --- whatever comes ---------------------------------------------------------------------------------------------

KEYS = st.sampled_from(
    re.findall(
        r"\w+",
        """code seriesId errors error errorCode status success message response customers customer coupons coupon entity
        item_status data accessToken ttlSeconds createdDate createdDateISO created_date pagination total id profiles
        identifiers identifiersAll type value warnings issuedAt series_id validTillDate maxCreate orgId""",
    )
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["true", "false", "2026-08-19T11:22:11Z", "0001-01-01T00:00:00+23:59", "8015", "544770"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=25,
)
READERS: list[Callable[[bytes], object]] = [
    wire.json_object,
    wire.api_errors,
    wire.text_errors,
    wire.coupons_v2,
    lambda raw: wire.coupons_v1(raw, 544770),
    lambda raw: wire.series(raw, 544770, NOW),
    wire.token,
    lambda raw: wire.coupon(wire.json_object(raw) or {}),
]


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60) | VALUES.map(body) | VALUES.map(lambda value: body({"response": value, "entity": value})))
@example(b'{"code":"\\ud800","errors":[{"message":"\\ud800"}]}')
@example(b"errorCode=" + b"," * 4000)
def test_no_body_makes_a_reader_raise(raw: bytes) -> None:
    for read in READERS:
        read(raw)


@settings(max_examples=300, deadline=None)
@given(
    st.text(max_size=80)
    | st.from_regex(r"\w{3}, \d{1,3} (Jan|Feb|xyz) \d{1,9} \d{1,4}:\d\d:\d\d ([+-]\d{4,9}|GMT|)", fullmatch=True)
)
@example("Mon, 01 Jan 9999 00:00:00 -2359")
@example("Mon, 01 Jan 0001 00:00:00 +2359")
def test_no_header_makes_a_reader_raise(value: str) -> None:
    wire.date_header(value)
    wire.org_of(value)
    wait = wire.retry_after(value, NOW)

    assert wait is None or 0 <= wait <= wire.LONGEST_RETRY_AFTER
