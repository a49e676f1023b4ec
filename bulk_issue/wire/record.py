"""Coupons: the one that an issue reply carries, and the pages of a customer's coupons in the server's record.

The rule for pages: a row may be sent again because a page doesn't show its coupon. So a page of which any part is
missing, odd or refused is no page at all, and "no such customer" is told apart from "no coupon".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from bulk_issue.model import Coupon, RecordedCoupon
from bulk_issue.wire.reading import Number, instant, integer, json_object, listed, objects, text, truth
from bulk_issue.wire.refusals import ApiError, json_errors

#: The types by which a reply names its customer (documented), as we spell them.
_TYPES = {name.casefold(): name for name in ("mobile", "email", "externalId")}
#: Inferred: how a refusal says that the customer isn't known is documented for no read.
_NOT_FOUND = re.compile(
    r"customers?[ _](?:is |was |are )?not[ _]found|(?:no such|no|unable to find|cannot find) customer\b"
    r"|customer does ?n[o']t exist",
    re.IGNORECASE,
)


def coupon(obj: dict[str, Any]) -> Coupon | None:
    """The coupon of an issue reply, as `json_object` read it; None unless `code` is a non-empty string."""
    code = obj.get("code")
    if not is_code(code):
        return None
    customer = obj.get("customer")
    customer = customer if isinstance(customer, dict) else {}
    named = (
        (_TYPES.get(text(item.get("type")).casefold(), ""), text(item.get("value")))
        for profile in objects(customer.get("profiles"))
        for name in ("identifiers", "identifiersAll")
        for item in objects(profile.get(name))
    )
    return Coupon(
        code=str(code),
        series_id=integer(obj.get("seriesId")),
        description=text(obj.get("description")),
        discount_code=text(obj.get("discountCode")),
        valid_till=text(obj.get("validTill")),
        valid_till_date_time=text(obj.get("validTillDateTime")),
        discount_type=text(obj.get("discountType")),
        discount_value=text(obj.get("discountValue")),
        discount_upto=text(obj.get("discountUpto")),
        discount_on=text(obj.get("discountOn")),
        detailed_info=text(obj.get("detailedInfo")),
        redemption_count=integer(obj.get("redemptionCount")),
        coupon_id=integer(obj.get("id")),
        customer_id=_number(customer),
        identifiers=tuple(dict.fromkeys(pair for pair in named if all(pair))),
        warnings=tuple(filter(None, map(_warning, listed(obj.get("warnings"))))),
    )


def _number(customer: dict[str, Any]) -> int | None:
    """A customer's number. 0 and what is below it are nobody's: several customers may bear them."""
    number = integer(customer.get("id"))
    return number if number is not None and number > 0 else None


def is_code(value: object) -> bool:
    """A code that can be printed; a JSON number has already lost its leading zeros."""
    return isinstance(value, str) and not isinstance(value, Number) and value.isprintable() and bool(value.strip())


def _warning(item: object) -> str:
    """Warnings are documented as strings; an object's code and message do as well."""
    if isinstance(item, dict):
        return ": ".join(filter(None, (text(item.get("code")), text(item.get("message"))))) or "warning"
    return text(item)


# --- the server's record ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of a customer's coupons."""

    coupons: tuple[RecordedCoupon, ...]
    #: Coupons over all pages, None if the page doesn't say.
    total: int | None
    #: False if the record doesn't know the customer.
    known: bool
    customer_id: int | None = field(default=None, repr=False)


_UNKNOWN = Page(coupons=(), total=0, known=False)


def coupons_v2(body: bytes) -> Page | None:
    """A page of GET /v2/customers/coupons; None if it can't be read with certainty."""
    parsed = json_object(body)
    if parsed is None:
        return None
    entity = parsed.get("entity")
    customers = entity.get("customers") if isinstance(entity, dict) else None
    if errors := json_errors(parsed):
        return _UNKNOWN if not_found(errors) and not customers else None
    if not isinstance(entity, dict) or truth(parsed.get("success", True)) is not True:
        return None
    if customers == []:
        return _UNKNOWN
    people = all_objects(customers)
    # One identifier names one customer; two mean that we misread the answer.
    if people is None or len(people) != 1:
        return None
    return _page(people[0], all_objects(people[0].get("coupons")), entity, _coupon_v2)


def coupons_v1(body: bytes, series_id: int | None) -> Page | None:
    """A page of GET /v1.1/customer/coupons; None if it can't be read with certainty.

    `series_id` is the series that was asked for: a coupon that names none is of that one.
    """
    parsed = json_object(body)
    response = parsed.get("response") if parsed is not None else None
    if not isinstance(response, dict):
        return None
    customers = response.get("customers")
    if isinstance(customers, dict):
        customers = customers.get("customer")
    people = [] if customers == [] else all_objects(customers)
    if people is None or len(people) > 1:
        return None
    # Where the one item fails, the status above it says so of "all requests": the item says why.
    refused = [_refusal(person.get("item_status")) for person in people]
    if not any(refused):
        refused = [_refusal(response.get("status"))]
    if errors := [error for error in refused if error is not None]:
        return _UNKNOWN if not_found(errors) else None
    if not people:
        return _UNKNOWN
    held = people[0].get("coupons")
    if isinstance(held, dict):
        held = held.get("coupon") if held else []  # v1.1 writes an empty list as {} (documented for `redemptions`)
    coupons = [] if held == [] else all_objects(held)
    return _page(people[0], coupons, response, lambda item: _coupon_v1(item, series_id))


def _page(
    person: dict[str, Any],
    items: list[dict[str, Any]] | None,
    holder: dict[str, Any],
    read: Callable[[dict[str, Any]], RecordedCoupon],
) -> Page | None:
    if items is None or not all(is_code(item.get("code")) for item in items):
        return None
    pagination = holder.get("pagination")
    total = integer(pagination.get("total")) if isinstance(pagination, dict) else None
    return Page(
        coupons=tuple(map(read, items)),
        total=total if total is not None and total >= 0 else None,
        known=True,
        customer_id=_number(person),
    )


def all_objects(value: object) -> list[dict[str, Any]] | None:
    """An array of objects, or one that stands alone; None for anything else."""
    items = listed(value)
    return items if all(isinstance(item, dict) for item in items) else None


def _refusal(status: object) -> ApiError | None:
    """Why a v1.1 status isn't a success; None if it is."""
    if not isinstance(status, dict):
        return ApiError("", "")
    if truth(status.get("success")) is True:
        return None
    return ApiError(text(status.get("code")), text(status.get("message")))


def not_found(errors: Iterable[ApiError]) -> bool:
    """Whether a refusal clearly says that the customer isn't known, and nothing else (8015 is documented)."""
    return all(error.code == "8015" or _NOT_FOUND.search(f"{error.code} {error.message[:500]}") for error in errors)


def _coupon_v2(item: dict[str, Any]) -> RecordedCoupon:
    iso = instant(text(item.get("createdDateISO")))
    created = iso or instant(text(item.get("createdDate")))
    store = item.get("issuedAt")
    return RecordedCoupon(
        code=item["code"],
        series_id=integer(item.get("seriesId")),
        created=created[0] if created else None,
        true_utc=iso is not None and iso[1],
        coupon_id=integer(item.get("id")),
        issued_at=(text(store.get("code")) or None) if isinstance(store, dict) else None,
        valid_till=text(item.get("validTill")),
        valid_till_date_time=text(item.get("validTillDateTime")),
        discount_type=text(item.get("discountType")),
        discount_value=text(item.get("discountValue")),
        description=text(item.get("description")),
        redemption_count=integer(item.get("redemptionCount")),
    )


def _coupon_v1(item: dict[str, Any], series_id: int | None) -> RecordedCoupon:
    created = instant(text(item.get("created_date")))
    names_series = item.get("series_id") not in (None, "")
    return RecordedCoupon(
        code=item["code"],
        series_id=integer(item["series_id"]) if names_series else series_id,
        created=created[0] if created else None,
        coupon_id=integer(item.get("id")),
        valid_till=text(item.get("valid_till")),
        redemption_count=integer(item.get("redemption_count")),
    )
