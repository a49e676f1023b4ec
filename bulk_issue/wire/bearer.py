"""Who bears an identifier, and which coupons that customer has: GET /v2/customers/lookup and …/{id}/coupons.

The rule: "nobody" and "no coupon" are said, and said alone; whatever can't be read with certainty is None.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from bulk_issue.model import RecordedCoupon
from bulk_issue.wire.reading import instant, integer, json_object, text, truth
from bulk_issue.wire.record import Page, all_objects, is_code, not_found
from bulk_issue.wire.refusals import ApiError, json_errors

#: Documented: 404 NO_COUPONS_FOUND.
_NO_COUPONS = re.compile(r"no[ _]coupons?[ _](?:were |was )?found", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Bearer:
    """Who bears an identifier; None is nobody."""

    customer_id: int | None = field(repr=False)


def bearer(body: bytes) -> Bearer | None:
    """What GET /v2/customers/lookup says; None if it can't be read with certainty."""
    parsed = json_object(body)
    if parsed is None:
        return None
    customer_id = integer(parsed.get("entity"))
    if errors := json_errors(parsed):
        return Bearer(None) if not parsed.get("entity") and not_found(errors) else None
    if customer_id is None or customer_id <= 0 or truth(parsed.get("success", True)) is not True:
        return None
    return Bearer(customer_id)


def coupons_of(body: bytes, customer_id: int) -> Page | None:
    """What GET /v2/customers/{id}/coupons says, which has one page; None if it can't be read with certainty."""
    parsed = json_object(body)
    if parsed is None:
        return None
    items = parsed.get("entity")
    if errors := json_errors(parsed):
        if items:
            return None
        if _none(errors):
            return Page(coupons=(), total=0, known=True, customer_id=customer_id)
        return Page(coupons=(), total=0, known=False) if not_found(errors) else None
    coupons = all_objects(items) if isinstance(items, list) else None
    if coupons is None or truth(parsed.get("success", True)) is not True:
        return None
    if not all(is_code(each.get("code")) and integer(each.get("issuedTo")) == customer_id for each in coupons):
        return None
    return Page(coupons=tuple(map(_coupon, coupons)), total=len(coupons), known=True, customer_id=customer_id)


def _none(errors: Iterable[ApiError]) -> bool:
    """Whether a refusal clearly says that the customer has no coupon, and nothing else."""
    return all(_NO_COUPONS.search(f"{error.code} {error.message[:500]}") for error in errors)


def _coupon(item: dict[str, Any]) -> RecordedCoupon:
    iso = instant(text(item.get("issuedOnISO")))
    issued = iso or instant(text(item.get("issuedOn"))) or instant(text(item.get("createdDate")))
    store = item.get("issuedAt")
    return RecordedCoupon(
        code=item["code"],
        series_id=integer(item.get("seriesId")),
        created=issued[0] if issued else None,
        true_utc=iso is not None and iso[1],
        coupon_id=integer(item.get("id")),
        issued_at=(text(store.get("code")) or None) if isinstance(store, dict) else None,
        valid_till_date_time=text(item.get("validTill")),  # here, unlike elsewhere, it is the very end
        discount_type=text(item.get("couponDiscountType")),
        discount_value=text(item.get("discountValue")),
        description=text(item.get("description")),
    )
