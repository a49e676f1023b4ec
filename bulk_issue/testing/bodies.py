"""The bytes that the model server answers with, in Capillary's documented shapes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import format_datetime
from math import floor
from typing import Any

from bulk_issue.model import Identifier
from bulk_issue.testing.book import Entry

#: A validity that no test outlives.
_VALID_TILL = "2099-12-31T00:00:00Z"


def http_date(at: float) -> str:
    """Whole seconds, cut off, as in a `Date` header."""
    return format_datetime(datetime.fromtimestamp(floor(at), UTC), usegmt=True)


def iso(at: float) -> str:
    """Whole seconds, cut off, labelled as UTC."""
    return datetime.fromtimestamp(floor(at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def issued(entry: Entry, named: Iterable[Identifier]) -> bytes:
    """The reply to a request that has a coupon; it says these names of the customer."""
    identifiers = [{"type": each.kind, "value": each.value} for each in named if each.kind != "id"]
    return _json(
        {
            "code": entry.code,
            "seriesId": entry.series,
            "description": "Festival coupon",
            "discountCode": "fest01",
            "validTill": _VALID_TILL,
            "discountType": "ABS",
            "discountValue": 500.0,
            "customer": {"id": entry.customer, "profiles": [{"identifiers": identifiers, "userId": entry.customer}]},
            "redemptionCount": 0,
            "id": 0,
            "warnings": [],
        }
    )


def page_v2(entries: Iterable[Entry], customer: int, epoch: float, *, zone: float, with_iso: bool) -> bytes:
    """GET /v2/customers/coupons: `createdDate` is `zone` seconds off, `createdDateISO` true where there is one."""

    def coupon(entry: Entry) -> dict[str, Any]:
        created = {"createdDate": iso(epoch + entry.created + zone)}
        if with_iso:
            created["createdDateISO"] = iso(epoch + entry.created)
        store = {"issuedAt": {"code": entry.store, "name": "A store"}} if entry.store else {}
        return {
            "code": entry.code,
            "seriesId": entry.series,
            "id": entry.number,
            "redemptionCount": 0,
            **created,
            **store,
        }

    shown = [coupon(entry) for entry in entries][::-1]
    pagination = {"limit": "100", "offset": "0", "total": len(shown)}
    customers = [{"id": customer, "coupons": shown}]
    entity = {"pagination": pagination, "customers": customers}
    return _json({"entity": entity, "warnings": [], "errors": [], "success": True})


def nobody() -> bytes:
    """GET /v2/customers/coupons of somebody whom it doesn't list."""
    pagination = {"limit": "100", "offset": "0", "total": 0}
    entity: dict[str, Any] = {"pagination": pagination, "customers": []}
    return _json({"entity": entity, "warnings": [], "errors": [], "success": True})


def bearer(customer: int | None) -> bytes:
    """GET /v2/customers/lookup; what it says of nobody is inferred."""
    if customer is None:
        error = {"status": False, "code": 8015, "message": "Customer not found"}
        return _json({"entity": None, "warnings": [], "errors": [error], "success": False})
    return _json({"entity": customer, "warnings": [], "errors": [], "success": True})


def detailed(entries: Iterable[Entry], customer: int, epoch: float, *, zone: float, with_iso: bool) -> bytes:
    """GET /v2/customers/{id}/coupons: `issuedOn` is `zone` seconds off, `issuedOnISO` true where there is one."""
    shown = [
        {
            "id": entry.number,
            "seriesId": entry.series,
            "code": entry.code,
            "issuedTo": customer,
            "issuedOn": iso(epoch + entry.created + zone),
            **({"issuedOnISO": iso(epoch + entry.created)} if with_iso else {}),
            **({"issuedAt": {"code": entry.store, "type": "STORE"}} if entry.store else {}),
        }
        for entry in entries
    ]
    if not shown:
        error = {"status": False, "code": 404, "message": "NO_COUPONS_FOUND"}
        return _json({"entity": [], "warnings": [], "errors": [error], "success": False})
    return _json({"entity": shown, "warnings": [], "errors": [], "success": True})


def page_v1(entries: Iterable[Entry], customer: int, epoch: float, *, zone: float) -> bytes:
    """GET /v1.1/customer/coupons: codes in upper case, numbers as strings, one coupon without its array."""
    shown = [
        {
            "code": entry.code.upper(),
            "series_id": str(entry.series),
            "id": str(entry.number),
            "created_date": iso(epoch + entry.created + zone),
        }
        for entry in entries
    ][::-1]
    person = {
        "id": str(customer),
        "coupons": {"coupon": shown[0] if len(shown) == 1 else shown} if shown else {},
        "item_status": {"success": "true", "code": "1000", "message": "Success"},
    }
    status = {"success": "true", "code": "200", "message": "SUCCESS"}
    pagination = {"limit": "100", "offset": "0", "total": len(shown)}
    return _json({"response": {"pagination": pagination, "status": status, "customers": {"customer": person}}})


def _json(body: dict[str, Any]) -> bytes:
    return json.dumps(body).encode()
