"""What answers mean.

The rule that the properties check: nothing outside the closed list is "not processed", nothing without our coupon is
"issued", and whatever comes has a verdict. The oracle is written here a second time, from the facts and not the table.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bulk_issue import verdicts
from bulk_issue.classify import QUOTED, Asked, classify, quote
from bulk_issue.model import Answer, Fault, FaultKind, Identifier, IdentifierKind, Meaning, Moment, Outcome, Reply
from bulk_issue.states import RowState
from bulk_issue.verdicts import On

AT = Moment(1_790_000_000.0, 50.0, "boot-1")  # 2026-09-21T14:13:20Z
MOBILE = Identifier(IdentifierKind.MOBILE, "919800000001", "mobile:919800000001")
SERIES = 544770
ISSUED, HELD, REJECTED, NOT_PROCESSED, UNCLEAR, HALT = Meaning
COUPON: dict[str, Any] = {
    "code": "ABCDE12345",
    "seriesId": SERIES,
    "validTill": "2027-05-09T00:00:00Z",
    "validTillDateTime": "2027-05-09T23:59:59Z",
    "customer": {"id": 555500001, "profiles": [{"identifiers": [{"type": "mobile", "value": "919800000001"}]}]},
    "redemptionCount": 0,
    "id": 0,
    "warnings": [],
}
XML_401 = b"<response><status><success>false</success><code>401</code><message>No.</message></status></response>"
HTML = b"<!DOCTYPE html><html><body>lock on customer, errorCode=5005 <code>5005</code></body></html>"


def asked(identifier: Identifier = MOBILE, *, generic: bool = False) -> Asked:
    return Asked(series_id=SERIES, identifier=identifier, now=AT.wall, generic=generic)


def encoded(body: object) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode()


def judged(status: int, body: object = b"", **headers: str) -> Outcome:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return classify(Reply(status=status, body=encoded(body), headers=names, at=AT), asked())


def refused(*errors: tuple[object, str], status: int = 200) -> Outcome:
    listed = [{"status": False, "code": code, "message": message} for code, message in errors]
    return judged(status, {"errors": listed, "warnings": []})


# --- issued -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 201, 202])
def test_a_coupon_of_our_series_is_issued(status: int) -> None:
    outcome = judged(status, COUPON, x_cap_requestid="req-1")

    assert outcome.meaning is ISSUED
    assert outcome.coupon is not None
    assert outcome.coupon.code == "ABCDE12345"
    assert (outcome.warnings, outcome.error_code, outcome.request_id) == ((), "", "req-1")


@pytest.mark.parametrize("status", [199, 300, 302, 400, 401, 403, 404, 429, 461, 500, 503, 521])
def test_a_coupon_with_another_status_is_unclear(status: int) -> None:
    outcome = judged(status, COUPON)

    assert (outcome.meaning, outcome.error_code) == (UNCLEAR, f"http-{status}")


@pytest.mark.parametrize("code", [None, "", " ", 12345, True, ["A"], {"a": 1}, "A\nB"])
def test_only_a_printable_string_is_a_coupon(code: object) -> None:
    assert judged(200, {**COUPON, "code": code}).meaning is UNCLEAR


@pytest.mark.parametrize("changed", [{"seriesId": 1}, {"seriesId": None}, {"seriesId": "odd"}])
def test_another_series_or_none_is_unclear_and_condemns_the_connection(changed: dict[str, Any]) -> None:
    outcome = judged(200, {**COUPON, **changed})

    assert (outcome.meaning, outcome.error_code, outcome.misdirected) == (UNCLEAR, "wrong-series", True)


@pytest.mark.parametrize("code", [704, 724])
def test_a_message_that_could_not_be_sent_is_a_warning_beside_a_coupon(code: int) -> None:
    outcome = judged(200, {**COUPON, "errors": [{"code": code, "message": "SMS failed"}]})

    assert outcome.meaning is ISSUED
    assert outcome.warnings == (f"{code}: SMS failed",)


@pytest.mark.parametrize(
    "beside",
    [
        {"errors": [{"code": 709, "message": "user already has a coupon"}]},
        {"errors": [{"code": 704}, {"code": 5005}]},
        {"errors": [{"code": 704, "message": "no more coupons in series"}]},
        {"errors": [{"code": 5005, "message": "queue empty"}]},
        {"errors": [{"code": 106, "message": "series lock"}]},
        {"errors": ["odd"]},
        {"errors": [None]},
        {"errors": {"x": 1}},
        {"errorCode": 4001},
        {"success": False},
        {"status": False},
        {"status": {"success": "false", "code": "500"}},
    ],
)
def test_any_other_error_beside_a_coupon_is_unclear(beside: dict[str, Any]) -> None:
    outcome = judged(200, {**COUPON, **beside})

    assert outcome.meaning is UNCLEAR
    assert outcome.coupon is None
    assert outcome.error_code in ("709", "5005", "704", "106", "4001", "500", "coupon-and-error")
    assert not outcome.misdirected


@pytest.mark.parametrize(("series", "misdirected"), [(SERIES, False), (None, False), (1, True)])
def test_an_error_explains_a_missing_series_but_not_another_one(series: int | None, *, misdirected: bool) -> None:
    outcome = judged(200, {**COUPON, "seriesId": series, "errors": [{"code": 701}]})

    assert (outcome.meaning, outcome.misdirected) == (UNCLEAR, misdirected)


@pytest.mark.parametrize("empty", [{"errors": None}, {"errors": []}, {"errors": {}}, {"status": True, "success": True}])
def test_empty_errors_beside_a_coupon_are_none(empty: dict[str, Any]) -> None:
    assert judged(200, {**COUPON, **empty}).meaning is ISSUED


@pytest.mark.parametrize(
    ("sent", "listed", "other"),
    [
        ((IdentifierKind.MOBILE, "919800000001"), ("mobile", "919800000001"), False),
        ((IdentifierKind.MOBILE, "919800000001"), ("mobile", "9800000001"), False),
        ((IdentifierKind.MOBILE, "09800000001"), ("mobile", "+91 98000-00001"), False),
        ((IdentifierKind.MOBILE, "919800000001"), ("mobile", "919800000002"), True),
        ((IdentifierKind.MOBILE, "919800000001"), ("mobile", "1"), True),
        ((IdentifierKind.MOBILE, "123"), ("mobile", "0123"), False),
        ((IdentifierKind.MOBILE, "919800000001"), ("email", "a@example.com"), False),
        ((IdentifierKind.EXTERNAL_ID, "3873472"), ("externalId", "000003873472"), False),
        ((IdentifierKind.EXTERNAL_ID, "AB1"), ("externalId", "ab1"), False),
        ((IdentifierKind.EXTERNAL_ID, "AB1"), ("externalId", "AB2"), True),
        ((IdentifierKind.EMAIL, "A@Example.com"), ("email", "a@example.com"), False),
        ((IdentifierKind.EMAIL, "a@example.com"), ("email", "b@example.com"), True),
        ((IdentifierKind.ID, "0555500001"), ("mobile", "1"), False),
        ((IdentifierKind.ID, "555500002"), ("mobile", "1"), True),
    ],
)
def test_other_identifiers_of_the_kind_sent_are_a_warning(
    sent: tuple[IdentifierKind, str], listed: tuple[str, str], *, other: bool
) -> None:
    profile = {"identifiers": [{"type": listed[0], "value": listed[1]}]}
    body = {**COUPON, "customer": {"id": 555500001, "profiles": [profile]}}
    reply = Reply(status=200, body=encoded(body), at=AT)

    outcome = classify(reply, asked(Identifier(*sent, key="k")))

    assert outcome.meaning is ISSUED
    assert any(warning.startswith("other customer") for warning in outcome.warnings) is other


@pytest.mark.parametrize(
    ("changed", "reused"),
    [
        ({}, False),
        ({"redemptionCount": 1}, True),
        ({"redemptionCount": "2"}, True),
        ({"redemptionCount": None}, False),
        ({"validTillDateTime": "2026-09-21T14:13:19Z"}, True),
        ({"validTillDateTime": "2026-09-21T14:13:21Z"}, False),
        ({"validTillDateTime": None, "validTill": "2026-09-21T00:00:00Z"}, False),  # its last day hasn't ended
        ({"validTillDateTime": "odd", "validTill": "2026-09-20T00:00:00Z"}, True),
        ({"validTillDateTime": None, "validTill": "2026-09-20"}, True),
        ({"validTillDateTime": None, "validTill": None}, False),
    ],
)
def test_a_redeemed_or_expired_coupon_was_issued_before(changed: dict[str, Any], *, reused: bool) -> None:
    outcome = judged(200, {**COUPON, **changed})

    assert outcome.meaning is ISSUED
    assert any(warning.startswith("reused") for warning in outcome.warnings) is reused


def test_a_code_that_everybody_has_may_be_redeemed_by_others() -> None:
    reply = Reply(status=200, body=encoded({**COUPON, "redemptionCount": 9}), at=AT)

    assert classify(reply, asked(generic=True)).warnings == ()


# --- the table --------------------------------------------------------------------------------------------------

BY_CODE = {
    REJECTED: "701 712 713 721 740 742 750 8015 8084",
    HELD: "5002 5004",
    HALT: "707 714 715 735 746 755 756 777 788 795 799 4000 5001 1061 1064",
    NOT_PROCESSED: "5005",
    UNCLEAR: "704 709 722 724 730 748 786 787 789 790 791 792 793 794 796 797 798 500 5006 4001 677 1060 5003 700 702 "
    "510 629 "
    "660 661 683 687 703 705 706 710 711 716 718 719 720 723 725 726 728 729 731 732 733 736 738 739 747 749 759 780 "
    "781 744 745 751 752 753 754 1000 9999",
}


@pytest.mark.parametrize("status", [200, 201, 400, 403, 404, 422])
@pytest.mark.parametrize("form", [int, str])
@pytest.mark.parametrize(("meaning", "codes"), BY_CODE.items())
def test_every_code_has_its_meaning(meaning: Meaning, codes: str, form: type, status: int) -> None:
    known = [code for code in codes.split() if status == 200 or code not in ("9999", "5003")]
    for code in known:
        outcome = refused((form(code), "Some text"), status=status)

        assert (outcome.meaning, outcome.error_code) == (meaning, code)
        assert outcome.reason.endswith("Capillary says: Some text")
        assert outcome.coupon is None


def test_the_table_has_a_line_for_every_code_but_the_unknown() -> None:
    listed = {code for codes in BY_CODE.values() for code in codes.split()} - {"5003", "9999"}

    assert {line.key for line in verdicts.TABLE if line.on is On.CODE} == listed


TEXTS = [
    ("Coupon processing failed: user already has a coupon", HELD),
    ("User already has a valid generic coupon", HELD),
    ("Unknown error : COUPON_ALREADY_ISSUED", HELD),
    ("Max coupon per user exceeded", HELD),
    ("Unknown error : MAX_COUPON_ISSUAL_PER_USER_EXCEEDED", HELD),
    ("Min days between consecutive issuals not met", REJECTED),
    ("User has a coupon of mutually exclusive series", REJECTED),
    ("CUSTOMER_NOT_FOUND", REJECTED),
    ("Coupons exhausted", HALT),
    ("max create for series exceeded", HALT),
    ("no more coupons in series", HALT),
    ("Coupon series expired", HALT),
    ("redemption start after series expiry", HALT),
    ("Invalid series id", HALT),
    ("invalid store id", HALT),
    ("Unable to get customer lock", NOT_PROCESSED),
    ("SERIES_LOCK", NOT_PROCESSED),
    ("The customer is locked, please try after some time", NOT_PROCESSED),
    ("could not lock the customer", NOT_PROCESSED),
    ("Queue for the series is empty", UNCLEAR),
]


@pytest.mark.parametrize(("text", "meaning"), TEXTS)
@pytest.mark.parametrize("code", [709, 722, 730, 704, 712, 713, 756, 9999, ""])
def test_a_message_decides_where_the_code_leaves_it_open(code: object, text: str, meaning: Meaning) -> None:
    outcome = refused((code, text))

    if meaning is UNCLEAR and code != 704:
        assert outcome.if_absent is RowState.PENDING
    assert outcome.meaning is meaning
    assert outcome.error_code == (str(code) or "refused")


@pytest.mark.parametrize(
    "text",
    [
        "Timed out waiting for the customer lock",
        "series lock timeout",
        "customer unlocked",
        "the series lock was released",
        "coupon issued, customer lock kept",
        "Issuing is blocked for this customer",
        "lock wait",
        "clock of the series",
    ],
)
def test_a_lock_that_may_have_been_held_while_issuing_is_unclear(text: str) -> None:
    assert refused((9999, text)).meaning is UNCLEAR


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (748, "customer lock"),
        (791, "Queue is empty for the series, customer lock"),
        (500, "User already has a coupon"),
        (701, "customer lock"),
        (5005, "user already has a coupon"),
        (5002, "coupons exhausted"),
        (9999, "user already has a coupon, coupons exhausted"),
    ],
)
def test_a_code_and_a_message_that_disagree_are_unclear(code: int, text: str) -> None:
    outcome = refused((code, text))

    assert (outcome.meaning, outcome.error_code) == (UNCLEAR, str(code))


@pytest.mark.parametrize(
    ("code", "text", "meaning"),
    [
        (5001, "Max create for series exceeded", HALT),
        (5002, "Max coupon per user exceeded", HELD),
        (5004, "User already has a valid generic coupon", HELD),
        (5005, "Queue is empty for the series", NOT_PROCESSED),
        (701, "Customer not found for the given identifiers", REJECTED),
        (735, "invalid store id", HALT),
        (742, "Coupon issue and redemption are blocked for this customer", REJECTED),
    ],
)
def test_a_code_and_a_message_that_agree_stand(code: int, text: str, meaning: Meaning) -> None:
    assert refused((code, text)).meaning is meaning


@pytest.mark.parametrize(
    ("codes", "meaning"),
    [
        ((701, 721), REJECTED),
        ((5002, 5004), HELD),
        ((707, 755), HALT),
        ((5005, 5005), NOT_PROCESSED),
        ((701, 707), UNCLEAR),
        ((5005, 701), UNCLEAR),
        ((5005, 9999), UNCLEAR),
        ((748, 5005), UNCLEAR),
        ((5002, 5001), UNCLEAR),
    ],
)
def test_several_errors_must_all_mean_the_same(codes: tuple[int, ...], meaning: Meaning) -> None:
    assert refused(*((code, "") for code in codes)).meaning is meaning


def test_of_several_unclear_errors_the_one_that_leaves_most_open_decides_what_absence_means() -> None:
    assert refused((9999, ""), (703, "")).if_absent is RowState.REJECTED
    assert refused((9999, ""), (748, "")).if_absent is RowState.PENDING


def test_an_unknown_refusal_is_unclear_and_rejected_if_no_coupon_came_of_it() -> None:
    outcome = refused((9999, "Something new"))

    assert (outcome.meaning, outcome.if_absent, outcome.error_code) == (UNCLEAR, RowState.REJECTED, "9999")
    assert outcome.reason.endswith("Something new")


@pytest.mark.parametrize(
    "body",
    [
        {"errors": {"code": 701, "message": "x"}},
        {"errorCode": 701, "errorMessage": "x"},
        {"errorCode": "701"},
        {"status": {"success": "false", "code": "701", "message": "x"}},
        {"status": False, "code": 701, "message": "x"},
        {"success": False, "code": 701, "message": "x"},
        {"code": 701, "errors": [{"code": 701}]},
        {"code": "", "seriesId": SERIES, "customer": {"id": 1}, "errors": [{"code": 701}]},
        {"code": None, "errors": [{"code": 701}]},
    ],
)
def test_a_refusal_is_read_in_every_form(body: object) -> None:
    outcome = judged(200, body)

    assert (outcome.meaning, outcome.error_code) == (REJECTED, "701")


@pytest.mark.parametrize(
    "body",
    [
        {"code": 701, "message": "x"},
        {"code": 12345678, "errors": [{"code": 5005}]},
        {"code": "  ", "errors": [{"code": 5005}]},
        {"code": 701, "seriesId": SERIES, "errors": [{"code": 701}]},
        {"coupons": [{"code": "A"}], "errors": [{"code": 5005}]},
        {"entity": {"code": "A"}, "errors": [{"code": 5005}]},
        {"data": [1], "errors": [{"code": 701}]},
        {"response": {"coupon": {"code": "A"}, "status": {"success": "false", "code": "5005"}}},
        [{"errors": [{"code": 5005}]}],
        {"warnings": [{"code": 5005, "message": "queue empty"}]},
        {"message": "customer lock"},
        {},
        b"",
        b'{"errors":[{"code":5005,"message":"queue em',
        HTML,
        XML_401.replace(b"401", b"5005"),
        b"errorCode=5005\nerrorMessage=customer lock",
    ],
)
def test_what_is_no_clean_refusal_is_unclear(body: object) -> None:
    outcome = judged(200, body)

    assert (outcome.meaning, outcome.error_code) == (UNCLEAR, "http-200")


@pytest.mark.parametrize("status", [400, 404, 409])
@pytest.mark.parametrize(
    "body",
    [
        {"code": "ABCDE12345", "errors": [{"code": 5005}]},
        {"code": "ABCDE12345", "errors": [{"message": "customer lock"}]},
        {"coupons": [{"code": "A"}], "errors": [{"code": 5005}]},
    ],
)
def test_an_error_beside_what_may_be_a_coupon_counts_for_nothing(body: object, status: int) -> None:
    outcome = judged(status, body)

    assert (outcome.meaning, outcome.error_code) == (UNCLEAR, f"http-{status}")


# --- statuses ---------------------------------------------------------------------------------------------------

BARE = {400: REJECTED, 401: NOT_PROCESSED, 405: HALT, 415: HALT, 429: NOT_PROCESSED}


@pytest.mark.parametrize("body", [b"", b"{}", HTML, b"\xff\x00", b"[]"])
def test_every_status_without_words_of_capillary_has_its_meaning(body: bytes) -> None:
    for status in [*range(600), 999, -1]:
        outcome = judged(status, body)
        expected = NOT_PROCESSED if status == 521 and body == b"{}" else BARE.get(status, UNCLEAR)

        assert (status, outcome.meaning, outcome.error_code) == (status, expected, f"http-{status}")
        assert outcome.reason


@pytest.mark.parametrize("body", [XML_401, HTML, b"", {"errors": [{"code": 401}]}, {"code": "UNAUTHORIZED"}])
def test_a_401_is_not_processed_whatever_its_body(body: object) -> None:
    outcome = judged(401, body)

    assert (outcome.meaning, outcome.error_code) == (NOT_PROCESSED, "http-401")


@pytest.mark.parametrize(
    ("body", "meaning", "code"),
    [
        ({"errorCode": 4001, "errorMessage": "Authorization status unavailable!"}, NOT_PROCESSED, "4001"),
        ({"errors": [{"code": 4001}]}, NOT_PROCESSED, "4001"),
        (b"errorMessage=Authorization status unavailable!\nerrorCode=4001", NOT_PROCESSED, "4001"),
        (XML_401.replace(b"401", b"4001"), NOT_PROCESSED, "4001"),
        ({"errors": [{"code": 4001}, {"code": 500}]}, UNCLEAR, "http-503"),
        ({"errors": [{"code": 5005}]}, UNCLEAR, "http-503"),
        (b"<html>errorCode=4001</html>", UNCLEAR, "http-503"),
        (b"we say\nerrorCode=4001", UNCLEAR, "http-503"),
        (b"", UNCLEAR, "http-503"),
    ],
)
def test_a_503_is_not_processed_only_with_4001(body: object, meaning: Meaning, code: str) -> None:
    outcome = judged(503, body)

    assert (outcome.meaning, outcome.error_code) == (meaning, code)


@pytest.mark.parametrize(
    ("body", "meaning"),
    [({}, NOT_PROCESSED), ({"errors": [{"code": 521}]}, NOT_PROCESSED), (HTML, UNCLEAR), ([], UNCLEAR)],
)
def test_a_521_is_the_customer_in_json_and_the_network_otherwise(body: object, meaning: Meaning) -> None:
    assert judged(521, body).meaning is meaning


@pytest.mark.parametrize("status", [403, 404])
@pytest.mark.parametrize(
    ("body", "meaning", "code"),
    [
        ({"errors": [{"code": 9999, "message": "no"}]}, HALT, "9999"),
        ({"status": {"success": False, "code": 403}}, HALT, "403"),
        ({"errorCode": 4000, "errorMessage": "Not authorized. Access is denied!"}, HALT, "4000"),
        (b"errorMessage=Not authorized. Access is denied!\nerrorCode=4000", HALT, "4000"),
        ({"errors": [{"code": 701}]}, REJECTED, "701"),
        ({"error": "Not Found", "path": "/v2/coupon/issue"}, UNCLEAR, ""),
        ({"message": "no route"}, UNCLEAR, ""),
        (XML_401, UNCLEAR, ""),
        (HTML, UNCLEAR, ""),
    ],
)
def test_403_and_404_halt_only_in_capillarys_words(status: int, body: object, meaning: Meaning, code: str) -> None:
    outcome = judged(status, body)

    assert (outcome.meaning, outcome.error_code) == (meaning, code or f"http-{status}")


@pytest.mark.parametrize(
    ("status", "meaning"), [(400, REJECTED), (405, HALT), (415, HALT), (409, UNCLEAR), (422, UNCLEAR)]
)
def test_an_unknown_code_leaves_the_word_to_a_definite_status(status: int, meaning: Meaning) -> None:
    outcome = refused((9999, "Bad input"), status=status)

    assert outcome.meaning is meaning
    assert outcome.error_code == ("9999" if meaning is UNCLEAR else f"http-{status}")
    assert outcome.reason.endswith("Bad input")


@pytest.mark.parametrize("code", [701, 707, 5002, 5005])
@pytest.mark.parametrize("status", [100, 302, 500, 502, 504, 520, 599])
def test_a_refusal_with_a_status_of_trouble_is_unclear(status: int, code: int) -> None:
    outcome = refused((code, "customer lock"), status=status)

    assert (outcome.meaning, outcome.error_code, outcome.if_absent) == (UNCLEAR, f"http-{status}", RowState.PENDING)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (709, "Coupon processing failed: java.net.SocketTimeoutException: Read timed out"),
        (709, "Coupon processing failed"),
        (722, "Unable to create coupon"),
        (722, "Unable to create coupon : Could not open JPA EntityManager"),
    ],
)
def test_a_failure_whose_cause_is_not_said_is_left_to_the_record(code: int, text: str) -> None:
    """Its text may wrap an inner time-out: a person's `retry` after a rejection would bring a second coupon."""
    outcome = refused((code, text))

    assert (outcome.meaning, outcome.if_absent, outcome.error_code) == (UNCLEAR, RowState.REJECTED, str(code))
    assert text[:20] in outcome.reason


@pytest.mark.parametrize("body", [b"", b"{}", HTML, {"errors": [{"code": 461, "message": "Search engine busy"}]}])
def test_a_busy_search_engine_is_left_to_the_record(body: object) -> None:
    """The search may come after the issue: its reply holds the customer's profile."""
    outcome = judged(461, body)

    assert (outcome.meaning, outcome.if_absent, outcome.error_code) == (UNCLEAR, RowState.REJECTED, "http-461")


@pytest.mark.parametrize(
    "body",
    [
        {"errors": [{"code": 9999, "message": "upstream request timeout"}]},
        {"errors": [{"code": 400, "message": "Something went wrong, please try again later"}]},
        {"message": "Request timed out"},
        {"error": "Internal error"},
        {"errors": [{"code": 400, "message": "Coupon issue failed"}]},
        {"message": "java.lang.NullPointerException"},
        b"upstream request timeout",
        b"<html><body>Service temporarily unavailable</body></html>",
        b"<html><title>504 Gateway Time-out</title></html>",
    ],
)
def test_a_400_that_speaks_of_time_or_trouble_is_left_to_the_record(body: object) -> None:
    outcome = judged(400, body)

    assert (outcome.meaning, outcome.if_absent, outcome.error_code) == (UNCLEAR, RowState.REJECTED, "http-400")


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"",
        {"errors": [{"code": 400, "message": "Invalid input"}]},
        {"errors": [{"status": False, "code": 9999, "message": "Bad input: mobile"}]},
        {"message": "Validation failed for the field mobile against its pattern"},
        b"<html><head><title>400 Bad Request</title></head></html>",
    ],
)
def test_a_400_that_finds_fault_with_the_request_is_a_rejection(body: object) -> None:
    assert judged(400, body).meaning is REJECTED


@pytest.mark.parametrize("code", [701, 707, 721, 742, 755, 5001, 5002, 5005, 4000, 9999])
@pytest.mark.parametrize("text", ["Read timed out", "SOCKET_TIMEOUT", "504 Gateway Time-out", "deadline exceeded"])
@pytest.mark.parametrize("status", [200, 403, 409])
def test_no_refusal_that_speaks_of_a_time_out_is_definite(code: int, text: str, status: int) -> None:
    outcome = refused((code, f"Some failure: {text}"), status=status)

    assert (outcome.meaning, outcome.if_absent, outcome.error_code) == (UNCLEAR, RowState.REJECTED, str(code))


@pytest.mark.parametrize("code", [748, 730, 786, 500])
def test_a_time_out_in_words_changes_nothing_of_what_is_unclear_anyway(code: int) -> None:
    assert refused((code, "Coupon service timed out")).if_absent is RowState.PENDING


@pytest.mark.parametrize("code", [712, 713])
@pytest.mark.parametrize(
    ("ends", "meaning"), [(None, REJECTED), (AT.wall + 1.0, REJECTED), (AT.wall - 1.0, HALT)], ids=["?", "open", "over"]
)
def test_an_expiry_halts_where_the_series_facts_agree(code: int, ends: float | None, meaning: Meaning) -> None:
    body = encoded({"errors": [{"code": code, "message": "Coupon has expired"}]})
    outcome = classify(
        Reply(status=200, body=body, at=AT), Asked(series_id=SERIES, identifier=MOBILE, now=AT.wall, series_ends=ends)
    )

    assert (outcome.meaning, outcome.error_code) == (meaning, str(code))


def test_a_refusal_outside_json_never_says_not_processed() -> None:
    assert judged(409, XML_401.replace(b"401", b"5005")).meaning is UNCLEAR
    assert judged(409, b"errorCode=1\nerrorMessage=customer lock").meaning is UNCLEAR


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry_after": "7"}, 7.0),
        ({"retry_after": "soon"}, None),
        ({"retry_after": "Mon, 21 Sep 2026 14:14:20 GMT"}, 60.0),
        # This machine's clock is an hour behind the server's.
        ({"retry_after": "Mon, 21 Sep 2026 15:14:20 GMT", "date": "Mon, 21 Sep 2026 15:13:50 GMT"}, 30.0),
        ({"retry_after": "86400"}, 3600.0),
    ],
)
def test_a_429_says_how_long_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    outcome = judged(429, HTML, **headers)

    assert (outcome.meaning, outcome.retry_after) == (NOT_PROCESSED, seconds)


@pytest.mark.parametrize("name", ["x_cap_requestid", "x_cap_request_id"])
def test_the_request_id_is_read_in_both_spellings_and_bounded(name: str) -> None:
    assert judged(500, b"", **{name: "a\r\nb" + "c" * 500}).request_id == "a b" + "c" * 97


# --- faults -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FaultKind)
def test_a_fault_is_unclear_unless_surely_nothing_left(kind: FaultKind) -> None:
    lost = classify(Fault(kind=kind, sent=True, at=AT), asked())
    kept = classify(Fault(kind=kind, sent=False, at=AT), asked())

    assert (lost.meaning, lost.error_code) == (UNCLEAR, f"fault-{kind}")
    assert (kept.meaning, kept.error_code) == (NOT_PROCESSED, f"fault-{kind}")
    assert kept.reason == f"{lost.reason} Nothing was sent."


# --- privacy ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("no customer 919800000001 here", "no customer … here"),
        ("no customer +91 98000-00001.", "no customer +…."),
        ("code 70123, series 5447", "code …, series 5447"),
        ("mail asha@example.com bounced", "mail … bounced"),
        ("coupon ABCDE12345 exists", "coupon … exists"),
        ("a\r\nb\x1b[31m\0c\ud800", "a b [31m c"),
        ("", ""),
    ],
)
def test_quoted_words_name_nobody(words: str, shown: str) -> None:
    assert quote(words, asked()) == shown


@pytest.mark.parametrize(
    ("value", "words", "shown"),
    [
        ("Asha Example", "ASHA  example is unknown", "… is unknown"),
        ("AB-7", "customer ab-7x", "customer …x"),
        ("12", "id 12 of 512, id12", "id … of 512, id12"),
        ("12", "customer_12", "customer_…"),
        ("", "nobody", "nobody"),
    ],
)
def test_the_identifier_that_was_asked_for_is_masked_as_it_stands(value: str, words: str, shown: str) -> None:
    assert quote(words, asked(Identifier(IdentifierKind.EXTERNAL_ID, value, "k"))) == shown


def test_quoted_words_are_bounded_and_never_end_in_half_an_identifier() -> None:
    assert len(quote("word " * 1000, asked())) == QUOTED
    # Masked words shrink: what stands at the end of the part that is looked at would be shown.
    assert "asha" not in quote(f"{'a' * 650}@b.example " * 3 + "asha.example.name@example.com", asked())


@pytest.mark.parametrize("status", [200, 400, 403, 409, 500])
def test_no_reason_or_warning_names_the_customer_or_the_code(status: int) -> None:
    words = "919800000001 asha@example.com FESTIVE"
    body = {"errors": [{"code": 9999, "message": words}, {"code": 701, "message": words}]}

    assert "919800000001" not in repr(judged(status, body))
    assert "asha" not in repr(judged(status, body))
    for beside in ({"errors": [{"code": 704, "message": words}]}, {"warnings": [words]}, body):
        shown = repr(judged(status, {**COUPON, "code": "Festive", **beside}))
        assert not any(secret in shown for secret in ("919800000001", "asha", "FESTIVE", "Festive", "555500001"))


@pytest.mark.parametrize("code", ["919800000001", "asha@example.com", "a b", "x" * 41, "7010000"])
def test_what_is_no_code_of_capillary_never_becomes_an_error_code(code: str) -> None:
    assert refused((code, "no")).error_code == "refused"


# --- words for people -------------------------------------------------------------------------------------------


def test_every_line_has_words_a_source_and_a_place() -> None:
    assert len({(line.on, line.key) for line in verdicts.TABLE}) == len(verdicts.TABLE)
    for line in verdicts.TABLE:
        assert line.reason.endswith(".")
        assert line.remedy.endswith(".")
        assert line.source
        assert line.if_absent is RowState.PENDING or line.meaning is UNCLEAR


def test_only_the_closed_list_is_not_processed_in_the_table() -> None:
    lines = {(line.on, line.key) for line in verdicts.TABLE if line.meaning is NOT_PROCESSED}
    lock = {line for line in lines if line[0] is On.MESSAGE}

    assert len(lock) == 1
    assert "lock" in lock.pop()[1]
    assert {key for on, key in lines if on is not On.MESSAGE} == {
        "never-sent",
        "401",
        "429",
        "503 with 4001",
        "521 as JSON",
        "5005",
    }


def test_a_code_in_the_files_is_explained() -> None:
    assert verdicts.reason("701") == "Capillary doesn't know this customer."
    assert "country code" in verdicts.remedy("701")
    assert verdicts.remedy("http-403") == verdicts.on_status(403).remedy
    assert verdicts.reason("http-599") == verdicts.on_status(599).reason
    assert verdicts.reason("fault-timeout") == "No complete answer came in time."
    assert verdicts.reason("wrong-series") == verdicts.WRONG_SERIES.reason
    assert verdicts.remedy("9999") == verdicts.UNKNOWN_REFUSAL.remedy
    assert (verdicts.reason(""), verdicts.remedy("")) == ("", "")


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=30) | st.from_regex(r"(http|fault)-\w{0,9}", fullmatch=True))
def test_every_error_code_has_a_remedy_or_is_empty(error_code: str) -> None:
    assert bool(verdicts.remedy(error_code)) is bool(verdicts.reason(error_code))


# --- whatever comes ---------------------------------------------------------------------------------------------

CODES = st.sampled_from([701, 709, 730, 748, 707, 5002, 5005, "5005", 4001, 4000, 704, 9999, "", None, "ABCDE12345"])
MESSAGES = st.sampled_from([text for text, _ in TEXTS]) | st.text(max_size=20)
ERROR: st.SearchStrategy[object] = st.fixed_dictionaries(
    {"code": CODES}, optional={"message": MESSAGES, "status": st.booleans()}
) | st.text(max_size=5)
OBJECT = st.fixed_dictionaries(
    {},
    optional={
        "code": st.sampled_from(["ABCDE12345", "", " ", None, 701, 12345, "UNAUTHORIZED", ["A"]]),
        "seriesId": st.sampled_from([SERIES, str(SERIES), 1, None]),
        "errors": st.none() | ERROR | st.lists(ERROR, max_size=3),
        "errorCode": CODES,
        "errorMessage": MESSAGES,
        "status": st.booleans() | st.fixed_dictionaries({"success": st.booleans(), "code": CODES}),
        "success": st.booleans() | st.sampled_from(["true", "false"]),
        "message": MESSAGES,
        "entity": st.none() | st.just({"code": "A"}),
        "coupons": st.just([{"code": "A"}]) | st.just([]),
        "customer": st.just(COUPON["customer"]) | st.none() | st.text(max_size=3),
        "validTill": st.sampled_from(["2020-01-01T00:00:00Z", "odd", 7]),
        "redemptionCount": st.integers(),
        "warnings": st.none() | st.lists(ERROR, max_size=2),
    },
)
BODIES = (
    OBJECT.map(encoded)
    | OBJECT.map(lambda body: encoded({**COUPON, **body}))
    | st.binary(max_size=40)
    | st.sampled_from([HTML, XML_401, b"", b"[]", b"null", b"errorCode=4001", b"errorCode=5005"])
    | OBJECT.map(lambda body: b"<html>" + encoded(body))
    | OBJECT.map(lambda body: encoded([body]))
    | st.tuples(OBJECT, st.integers(1, 40)).map(lambda cut: encoded(cut[0])[: -cut[1]])
)
STATUSES = st.sampled_from([200, 201, 204, 302, 400, 401, 403, 404, 405, 409, 429, 461, 500, 503, 521]) | st.integers()
HEADERS = st.dictionaries(
    st.sampled_from(["retry-after", "date", "x-cap-requestid", "x-cap-request-id"]), st.text(max_size=40)
)
REPLIES = st.builds(Reply, status=STATUSES, headers=HEADERS, body=BODIES, at=st.just(AT))
FAULTS = st.builds(Fault, kind=st.sampled_from(FaultKind), sent=st.booleans(), detail=st.text(), at=st.just(AT))


def said(body: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def on_the_closed_list(answer: Answer) -> bool:
    if isinstance(answer, Fault):
        return not answer.sent
    parsed, shown = said(answer.body), answer.body.decode("utf-8", "replace")
    if answer.status in (401, 429):
        return True
    if answer.status == 521:
        return parsed is not None
    if answer.status == 503:
        return "4001" in shown and "<html" not in shown
    if parsed is None or not (200 <= answer.status < 300 or 400 <= answer.status < 500):
        return False
    code = parsed.get("code")
    coupon = (isinstance(code, str) and code != "") or parsed.get("coupons") or parsed.get("entity")
    return not coupon and ("5005" in shown or "lock" in shown.casefold())


#: The causes by whose names alone 709 and 722 reject their row.
NAMED = ("days between consecutive issuals", "mutually exclusive series", "customer not found")


@settings(max_examples=1500, deadline=None)
@given(REPLIES | FAULTS)
@example(Reply(status=200, body=b'{"code":' * 50_000, at=AT))
@example(Reply(status=200, body=b'{"code":"A","seriesId":' + b"9" * 50_000 + b"}", at=AT))
@example(Reply(status=200, body=encoded({**COUPON, "description": "\ud800"}), at=AT))
def test_whatever_comes_has_a_safe_verdict(answer: Answer) -> None:
    outcome = classify(answer, asked())

    if outcome.meaning is NOT_PROCESSED:
        assert on_the_closed_list(answer)
    if outcome.meaning is ISSUED:
        assert isinstance(answer, Reply)
        parsed = said(answer.body)
        assert 200 <= answer.status < 300
        assert parsed is not None
        assert isinstance(parsed["code"], str)
        assert parsed["code"].strip()
        assert outcome.coupon is not None
        assert (outcome.coupon.code, outcome.coupon.series_id) == (parsed["code"], SERIES)
    else:
        assert outcome.coupon is None
        assert outcome.error_code
        assert outcome.reason
    if outcome.meaning in (HALT, REJECTED, HELD):
        assert isinstance(answer, Reply)
        assert (
            outcome.error_code not in ("709", "722", "http-461")
            or outcome.meaning is not REJECTED
            or (
                any(
                    text.casefold() in answer.body.decode("utf-8", "replace").replace("_", " ").casefold()
                    for text in NAMED
                )
            )
        )
        assert 200 <= answer.status < 300 or 400 <= answer.status < 500
        assert not (said(answer.body) or {}).get("coupons")
    for words in (outcome.reason, *outcome.warnings):
        assert words.isprintable()
        assert len(words) <= QUOTED + 120
        assert "ABCDE12345" not in words
    assert outcome.request_id.isprintable()


@settings(max_examples=300, deadline=None)
@given(st.text(), st.text(min_size=4), st.text())
def test_an_identifier_is_masked_wherever_it_stands(before: str, value: str, after: str) -> None:
    secret = Identifier(IdentifierKind.EXTERNAL_ID, value, "k")
    plain = " ".join("".join(letter if letter.isprintable() else " " for letter in value).split())

    assert len(plain) < 4 or plain not in quote(f"{before}{value}{after}", asked(secret))
