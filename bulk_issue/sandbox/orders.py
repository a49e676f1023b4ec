"""What requests ask for, read as strictly as Capillary's documented types."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from bulk_issue.model import IdentifierKind
from bulk_issue.sandbox.customers import name
from bulk_issue.sandbox.refusals import Refusal, refusal, request_error

#: A wrong JSON type is a 400 (documented for issue/multiple).
BAD_REQUEST = request_error(400, "Invalid input")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One coupon of a series for one customer."""

    series: int
    #: The customer's name, e.g. `mobile:919800000001`; empty if the order names none.
    named: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One page of a customer's coupons."""

    named: str = field(repr=False)
    limit: int
    offset: int
    ascending: bool
    case: str
    #: v1.1 only.
    series: int | None = None
    start: date | None = None
    end: date | None = None


def read_order(body: bytes) -> Order | Refusal:
    """The order in an issue request. Blank identifiers are none (official samples send them)."""
    asked = read_object(body)
    if asked is None:
        return BAD_REQUEST
    if "seriesId" not in asked:
        return refusal(756)
    series, customer = asked["seriesId"], asked.get("customer")
    if type(series) is not int or not isinstance(customer, dict):
        return BAD_REQUEST
    named = ""
    # Not documented which of several identifiers wins; here the first in the order of the documented table.
    for kind in (IdentifierKind.ID, IdentifierKind.MOBILE, IdentifierKind.EXTERNAL_ID, IdentifierKind.EMAIL):
        value = customer.get(kind.value)
        if value is None or value == "":
            continue
        if type(value) is not (int if kind is IdentifierKind.ID else str):
            return BAD_REQUEST
        named = named or name(kind, str(value))
    return Order(series=series, named=named)


def read_object(body: bytes) -> dict[str, Any] | None:
    """The JSON object in a body; None if there is none."""
    try:
        asked = json.loads(body)
    except ValueError:
        return None
    return asked if isinstance(asked, dict) else None


#: v2 and v1.1 spell the external id differently, and v2's own pages disagree.
QUERY_NAMES: Mapping[str, IdentifierKind] = {
    "id": IdentifierKind.ID,
    "mobile": IdentifierKind.MOBILE,
    "externalId": IdentifierKind.EXTERNAL_ID,
    "external_Id": IdentifierKind.EXTERNAL_ID,
    "external_id": IdentifierKind.EXTERNAL_ID,
    "email": IdentifierKind.EMAIL,
}


CASES = ("UPPER", "LOWER", "AS_IT_IS")
#: A page that holds whatever there is.
EVERYTHING = 2**31


def read_question(query: Mapping[str, str], page_size: int) -> Question | Refusal:
    """The question in a look-up's query. Status and store filters are not spoken."""
    named = next((key for key in QUERY_NAMES if query.get(key)), None)
    if named is None:
        return refusal(8084)
    case, order = query.get("coupon_code_case", "UPPER"), query.get("sort_order", "DESC").upper()
    try:
        question = Question(
            named=name(QUERY_NAMES[named], query[named]),
            limit=min(int(query.get("limit", page_size)), page_size),
            offset=int(query.get("offset", 0)),
            ascending=order == "ASC",
            case=case,
            series=int(query["series_id"]) if "series_id" in query else None,
            start=date.fromisoformat(query["start_date"]) if "start_date" in query else None,
            end=date.fromisoformat(query["end_date"]) if "end_date" in query else None,
        )
    except ValueError:
        return BAD_REQUEST
    known = case in CASES and order in ("ASC", "DESC")
    return question if known and question.limit > 0 and question.offset >= 0 else BAD_REQUEST


def read_named(query: Mapping[str, str]) -> str | Refusal:
    """Whom a look-up of a bearer asks for. The source is mandatory; ids aren't looked up (they are what is found)."""
    kind, value = QUERY_NAMES.get(query.get("identifierName", "")), query.get("identifierValue")
    if not query.get("source") or kind is None or kind is IdentifierKind.ID:
        return BAD_REQUEST
    return name(kind, value) if value else refusal(8084)


def read_id(written: str, query: Mapping[str, str]) -> Question | Refusal:
    """The question for all coupons of the customer with an id."""
    case = query.get("coupon_code_case", "UPPER")
    if case not in CASES:
        return BAD_REQUEST
    if not written.isascii() or not written.isdecimal():
        return request_error(400, "INVALID_CUSTOMER_ID")
    named = name(IdentifierKind.ID, written)
    return Question(named=named, limit=EVERYTHING, offset=0, ascending=False, case=case)
