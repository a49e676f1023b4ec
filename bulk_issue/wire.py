"""What the bodies on the wire look like: built and read here, nowhere else.

Pure. Readers are tolerant of everything that is documented or was seen (objects or arrays, strings or integers, XML
beside JSON; docs/api.md) and total: whatever the bytes, they return a value or None, and never raise.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from bulk_issue.model import Coupon, Identifier, IdentifierKind, RecordedCoupon, Series

#: No answer may pause an account for longer than this many seconds.
LONGEST_RETRY_AFTER = 3600.0


class _Number(str):
    """A JSON number as it was written: `500.0` stays `500.0`."""

    __slots__ = ()


# --- requests ---------------------------------------------------------------------------------------------------


def issue_body(series_id: int, identifier: Identifier) -> bytes:
    """The body of an issue request: one series, exactly one identifier, `id` as an integer (documented)."""
    value: int | str = int(identifier.value) if identifier.kind is IdentifierKind.ID else identifier.value
    body = {"seriesId": series_id, "customer": {str(identifier.kind): value}}
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()


# --- reading, in general ----------------------------------------------------------------------------------------


def json_object(body: bytes) -> dict[str, Any] | None:
    """The body as a JSON object, its numbers as text; None if it is anything else."""
    try:
        value = json.loads(
            body.decode("utf-8-sig"), parse_int=_Number, parse_float=_Number, parse_constant=_refuse_constant
        )
        if b"\\ud" in body.lower():
            json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair is text that nobody can store
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def _text(value: object) -> str:
    return str(value) if isinstance(value, str) else ""


def _integer(value: object) -> int | None:
    """An integer written as a number or as a string."""
    if not isinstance(value, str) or not re.fullmatch(r"-?\d{1,19}(\.0+)?", value, re.ASCII):
        return None
    return int(value.split(".")[0])


def _objects(value: object) -> list[dict[str, Any]]:
    """What may be one object or an array of objects."""
    items = value if isinstance(value, list) else [value]
    return [item for item in items if isinstance(item, dict)]


# --- errors -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ApiError:
    """One refusal as Capillary words it."""

    code: str
    message: str


def api_errors(body: bytes) -> tuple[ApiError, ...]:
    """Every error that a body names, in the forms that are documented or were seen; empty if it names none."""
    parsed = json_object(body)
    if parsed is not None:
        return tuple(_json_errors(parsed))
    text = body[:4096].decode("utf-8", "replace")
    if re.search(r"<!doctype html|<html", text, re.IGNORECASE):
        return ()
    code = re.search(r"<code>\s*(\d+)\s*</code>", text)  # field: an XML status on a 401
    if code and re.search(r"<success>\s*false\s*</success>", text, re.IGNORECASE):
        message = re.search(r"<message>([^<]*)</message>", text)
        return (ApiError(code[1], message[1].strip() if message else ""),)
    code = re.search(r"^\s*errorCode\s*=\s*(\d+)\s*$", text, re.MULTILINE)  # documented as bare key=value lines
    if code:
        message = re.search(r"^\s*errorMessage\s*=\s*(.*)$", text, re.MULTILINE)
        return (ApiError(code[1], message[1].strip() if message else ""),)
    return ()


def _json_errors(parsed: dict[str, Any]) -> Iterable[ApiError]:
    for error in _objects(parsed.get("errors")):
        yield ApiError(_text(error.get("code")), _text(error.get("message")))
    if isinstance(parsed.get("errors"), list):
        yield from (ApiError("", error) for error in parsed["errors"] if isinstance(error, str) and error)
    if "errorCode" in parsed:
        yield ApiError(_text(parsed["errorCode"]), _text(parsed.get("errorMessage")))
    for status in _objects(parsed.get("status")):
        if str(status.get("success")).lower() == "false":
            yield ApiError(_text(status.get("code")), _text(status.get("message")))


# --- the coupon of a successful reply ---------------------------------------------------------------------------


def coupon(parsed: dict[str, Any]) -> Coupon | None:
    """The coupon of an issue reply; None unless `code` is a non-empty string."""
    code = parsed.get("code")
    if not isinstance(code, str) or isinstance(code, _Number) or not code.strip():
        return None
    customer = parsed.get("customer")
    customer = customer if isinstance(customer, dict) else {}
    named = dict.fromkeys(
        (_text(item.get("type")), _text(item.get("value")))
        for profile in _objects(customer.get("profiles"))
        for which in ("identifiers", "identifiersAll")
        for item in _objects(profile.get(which))
    )
    return Coupon(
        code=code,
        series_id=_integer(parsed.get("seriesId")),
        description=_text(parsed.get("description")),
        discount_code=_text(parsed.get("discountCode")),
        valid_till=_text(parsed.get("validTill")),
        valid_till_date_time=_text(parsed.get("validTillDateTime")),
        discount_type=_text(parsed.get("discountType")),
        discount_value=_text(parsed.get("discountValue")),
        discount_upto=_text(parsed.get("discountUpto")),
        discount_on=_text(parsed.get("discountOn")),
        detailed_info=_text(parsed.get("detailedInfo")),
        redemption_count=_integer(parsed.get("redemptionCount")),
        coupon_id=_integer(parsed.get("id")),
        customer_id=_integer(customer.get("id")),
        identifiers=tuple(pair for pair in named if all(pair)),
        warnings=tuple(_warnings(parsed.get("warnings"))),
    )


def _warnings(value: object) -> Iterable[str]:
    """Warnings are documented as strings; an object's message does as well."""
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, dict):
            yield " ".join(filter(None, (_text(item.get("code")), _text(item.get("message"))))) or "warning"
        elif isinstance(item, str) and item:
            yield str(item)


# --- the server's record ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of a customer's coupons."""

    coupons: tuple[RecordedCoupon, ...]
    #: Coupons over all pages, None if the page doesn't say.
    total: int | None
    #: False if the record doesn't know the customer.
    known: bool
    customer_id: int | None = None


def coupons_v2(body: bytes) -> Page | None:
    """A page of GET /v2/customers/coupons; None if it can't be read with certainty."""
    parsed = json_object(body)
    if parsed is None:
        return None
    if _not_found(api_errors(body)):
        return Page(coupons=(), total=0, known=False)
    entity = parsed.get("entity")
    refused = bool(parsed.get("errors")) or str(parsed.get("success", True)).lower() != "true"
    if refused or not isinstance(entity, dict) or "customers" not in entity:
        return None
    return _page(_objects(entity["customers"]), entity.get("pagination"), _coupon_v2, "coupons", None)


def coupons_v1(body: bytes, series_id: int | None) -> Page | None:
    """A page of GET /v1.1/customer/coupons; a coupon without a series is of the one that was asked for."""
    parsed = json_object(body)
    response = parsed.get("response") if parsed else None
    if not isinstance(response, dict):
        return None
    customers = response.get("customers")
    people = _objects(customers.get("customer")) if isinstance(customers, dict) else []
    verdicts = [response.get("status"), *(person.get("item_status") for person in people)]
    failed = [v for v in verdicts if isinstance(v, dict) and str(v.get("success")).lower() != "true"]
    if failed:
        errors = [ApiError(_text(v.get("code")), _text(v.get("message"))) for v in failed]
        return Page(coupons=(), total=0, known=False) if _not_found(errors) else None
    if not isinstance(response.get("status"), dict) or not isinstance(customers, dict):
        return None
    return _page(people, response.get("pagination"), _coupon_v1, "coupons", series_id)


def _not_found(errors: Iterable[ApiError]) -> bool:
    """Whether a refusal clearly says that the customer isn't known (8015 documented, texts inferred)."""
    return any(
        error.code == "8015" or re.search(r"customer (is )?not found|no such customer", error.message, re.IGNORECASE)
        for error in errors
    )


def _page(
    people: list[dict[str, Any]], pagination: object, read: Any, field: str, series_id: int | None
) -> Page | None:
    if not people:
        return Page(coupons=(), total=0, known=False)
    if len(people) > 1:
        return None  # one identifier names one customer; two mean that we misread the answer
    listed = people[0].get(field, [])
    if isinstance(listed, dict):
        listed = listed.get("coupon", [])
    if isinstance(listed, dict):
        listed = [listed]
    if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
        return None
    coupons = [read(item, series_id) for item in listed]
    if None in coupons:
        return None
    total = _integer(pagination.get("total")) if isinstance(pagination, dict) else None
    return Page(coupons=tuple(coupons), total=total, known=True, customer_id=_integer(people[0].get("id")))


def _coupon_v2(item: dict[str, Any], _series_id: int | None) -> RecordedCoupon | None:
    code = _text(item.get("code"))
    if not code:
        return None
    utc = moment(_text(item.get("createdDateISO")))
    place = item.get("issuedAt")
    return RecordedCoupon(
        code=code,
        series_id=_integer(item.get("seriesId")),
        created=utc if utc is not None else moment(_text(item.get("createdDate"))),
        true_utc=utc is not None,
        coupon_id=_integer(item.get("id")),
        issued_at=(_text(place.get("code")) or None) if isinstance(place, dict) else None,
        valid_till=_text(item.get("validTill")),
        valid_till_date_time=_text(item.get("validTillDateTime")),
        discount_type=_text(item.get("discountType")),
        discount_value=_text(item.get("discountValue")),
        description=_text(item.get("description")),
        redemption_count=_integer(item.get("redemptionCount")),
    )


def _coupon_v1(item: dict[str, Any], series_id: int | None) -> RecordedCoupon | None:
    code = _text(item.get("code"))
    if not code:
        return None
    stated = _integer(item.get("series_id"))
    return RecordedCoupon(
        code=code,
        series_id=stated if stated is not None else series_id,
        created=moment(_text(item.get("created_date"))),
        coupon_id=_integer(item.get("id")),
        valid_till=_text(item.get("valid_till")),
        redemption_count=_integer(item.get("redemption_count")),
    )


def moment(text: str) -> float | None:
    """An ISO 8601 time as epoch seconds; without an offset it is taken for UTC."""
    try:
        parsed = datetime.fromisoformat(text.strip())
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


# --- series, tokens, headers ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NoSuchSeries:
    """The server says that it knows no series of this id."""


def series(body: bytes, series_id: int, now: float) -> Series | NoSuchSeries | None:
    """The facts of one series out of GET /v2/coupon/series; None if the body can't be read with certainty."""
    parsed = json_object(body)
    if parsed is None:
        return None
    errors = api_errors(body)
    if errors:
        unknown = all(error.code in ("707", "755") for error in errors)
        return NoSuchSeries() if unknown else None
    if "entity" not in parsed:
        return None
    listed = _objects(parsed["entity"])
    facts = next((item for item in listed if _integer(item.get("id")) == series_id), None)
    if facts is None:
        # inferred: an empty list is how an unknown id is answered
        return NoSuchSeries() if parsed["entity"] == [] else None
    return _series(facts, series_id, now)


def _series(facts: dict[str, Any], series_id: int, now: float) -> Series:
    def truth(name: str) -> bool | None:
        value = facts.get(name)
        return value if isinstance(value, bool) else None

    def bound(name: str) -> int | None:
        value = _integer(facts.get(name))
        return value if value is not None and value >= 0 else None

    handling = _text(facts.get("clientHandlingType"))
    created, most = bound("numIssued"), bound("maxCreate")
    stock = None if most is None else max(most - (created or 0), 0)
    if handling == "DISC_CODE_PIN":
        uploaded = bound("numUploadedNonIssued")
        stock = uploaded if stock is None or uploaded is None else min(stock, uploaded)
    till = _text(facts.get("validTillDateTime")) or _text(facts.get("validTillDate"))
    ends = moment(till)
    if ends is not None and not facts.get("validTillDateTime"):
        ends += 24 * 3600  # documented: a day-level value shows the start of the last day
    silent, resend = truth("isSMSDisabled"), truth("doNotResendExistingVoucher")
    return Series(
        id=series_id,
        org_id=_text(facts.get("orgId")) or None,
        description=_text(facts.get("description")),
        valid_till=till,
        expired=None if ends is None else ends < now,
        stock_left=stock,
        max_per_customer=bound("maxVouchersPerUser"),
        multiple_allowed=truth("isMultipleVouchersPerUserAllowed"),
        resends=None if resend is None else not resend,
        generic=handling == "GENERIC",
        third_party_codes=truth("externalIssual") or False,
        sends_messages=None if silent is None else not silent,
        min_days_between=bound("minDaysBetweenVouchers"),
        discount_type=_text(facts.get("discountType")),
        discount_value=_text(facts.get("discountValue")),
    )


def token(body: bytes) -> tuple[str, float] | None:
    """Access token and its life in seconds out of a token reply."""
    parsed = json_object(body) or {}
    data = parsed.get("data")
    if not isinstance(data, dict):
        return None
    access, ttl = data.get("accessToken"), _integer(data.get("ttlSeconds"))
    if not isinstance(access, str) or not access or ttl is None or ttl <= 0 or not access.isascii():
        return None
    return str(access), float(ttl)


def org_of(access_token: str) -> str | None:
    """The `org_id` in a token's payload; its signature is the server's business, not ours."""
    try:
        payload = access_token.split(".")[1]
        claims = json_object(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (IndexError, ValueError):
        return None
    return (_text(claims.get("org_id")) or None) if claims else None


def http_date(value: str) -> float | None:
    """A `Date` header as epoch seconds."""
    try:
        return parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def retry_after(value: str, now: float) -> float | None:
    """Seconds that a Retry-After header asks for, in either of its forms; None if it is unreadable."""
    if re.fullmatch(r"\d{1,9}", value.strip(), re.ASCII):
        return min(float(value), LONGEST_RETRY_AFTER)
    at = http_date(value)
    return None if at is None else min(max(at - now, 0.0), LONGEST_RETRY_AFTER)
