"""Bodies as Capillary documents them: field names, nesting and types are theirs, the values are ours."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from bulk_issue.sandbox.book import IssuedCoupon
from bulk_issue.sandbox.customers import Customer
from bulk_issue.sandbox.orders import Question
from bulk_issue.sandbox.refusals import Refusal, refusal
from bulk_issue.sandbox.series import CouponSeries
from bulk_issue.sandbox.settings import Settings
from bulk_issue.sandbox.times import Dates, india, written, written_iso
from bulk_issue.sandbox.world import Issue, Page

#: Field knowledge: a 401 is XML with these three elements; their nesting is inferred.
UNAUTHENTICATED = (
    b"<response><status><success>false</success><code>401</code>"
    b"<message>Authentication failed</message></status></response>"
)
#: Documented keys and values; that they come as one JSON object is inferred.
DENIED = b'{"errorMessage":"Not authorized. Access is denied!","errorCode":4000}'
AUTHORISATION_DOWN = b'{"errorMessage":"Authorization status unavailable!","errorCode":4001}'
#: v1.1 speaks XML unless it is asked for JSON.
XML_ONLY = b"<response><status><success>true</success><code>200</code><message>SUCCESS</message></status></response>"
PAGE = b"<!DOCTYPE html><html><head><title>%d</title></head><body><h1>%d</h1><hr>gateway</body></html>"


def encoded(body: Any) -> bytes:
    """A body's bytes."""
    return json.dumps(body, separators=(",", ":")).encode()


def refused(why: Refusal) -> bytes:
    """An error body. A 400's documented example is an empty object."""
    return b"{}" if why.status == 400 else encoded({"errors": [_error(why)], "warnings": []})


def _error(why: Refusal) -> dict[str, Any]:
    return {"status": False, "code": why.code, "message": why.message}


class Answers:
    """The bodies of one sandbox."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._known = {each.id: each for each in settings.series}

    def issued(self, issue: Issue) -> bytes:
        """What POST /v2/coupon/issue says. The coupon's `id` is 0, as in every official sample."""
        coupon, customer, series = issue.coupon, issue.customer, issue.series
        kinds = {kind for kind, _ in customer.identifiers}
        shared = (each for each in self._settings.in_every_profile if each[0] not in kinds)
        identifiers = [{"type": kind, "value": value} for kind, value in (*customer.identifiers, *shared)]
        body: dict[str, Any] = {
            "code": coupon.code,
            "seriesId": series.id,
            "description": series.description,
            "discountCode": series.discount_code,
            "validTill": self._day(series.ends),
            "discountType": series.discount_type,
            "discountValue": series.discount_value,
            "discountUpto": 0.0,
            "discountOn": "BILL",
            "detailedInfo": series.description,
            "customer": {
                "id": customer.id,
                "profiles": [
                    {
                        "firstName": customer.first_name,
                        "lastName": customer.last_name,
                        "fields": {},
                        "allFields": {},
                        "identifiers": identifiers,
                        "commChannels": [],
                        "userId": customer.id,
                        "accountId": "",
                        "autoUpdateTime": "2026-06-25T06:51:13Z",
                        "identifiersAll": identifiers,
                    }
                ],
            },
            "redemptionCount": coupon.redeemed,
            "id": 0,
            "validTillDateTime": self._day_end(series.ends),
            "warnings": [],
        }
        if customer.unreachable:  # inferred: 704 stands beside the code
            body["errors"] = [_error(refusal(704))]
        return encoded(body)

    def coupons(self, question: Question, page: Page | Refusal) -> bytes:
        """What GET /v2/customers/coupons says; for a customer that isn't found it is inferred."""
        pagination = {"limit": str(question.limit), "offset": str(question.offset), "total": 0}
        nobody: dict[str, Any] = {"pagination": pagination, "customers": []}
        if not self._settings.lists_everybody and (isinstance(page, Refusal) or page.total == 0):
            return encoded({"entity": nobody, "warnings": [], "errors": [], "success": True})
        if isinstance(page, Refusal):
            entity = nobody
            return encoded({"entity": entity, "warnings": [], "errors": [_error(page)], "success": False})
        customer = page.customer
        known = {
            "firstname": customer.first_name,
            "lastname": customer.last_name,
            **{key: value for key, value in (("email", customer.email), ("mobile", customer.mobile)) if value},
            "id": customer.id,
            "coupons": [self._recorded(each) for each in page.coupons],
        }
        entity = {"pagination": {**pagination, "total": page.total}, "customers": [known]}
        return encoded({"entity": entity, "warnings": [], "errors": [], "success": True})

    def _recorded(self, coupon: IssuedCoupon) -> dict[str, Any]:
        series = self._known[coupon.series]
        dates = self._settings.dates
        created = {"createdDate": written(coupon.created, dates)}
        if self._settings.iso_dates:
            created["createdDateISO"] = written_iso(coupon.created, dates)
        return {
            "code": coupon.code,
            "seriesId": coupon.series,
            "description": series.description,
            "validTill": self._day(series.ends),
            "discountType": series.discount_type,
            "discountValue": series.discount_value,
            "discountUpto": 0.0,
            "redemptionCount": coupon.redeemed,
            "redemptionsLeft": max(0, 1 - coupon.redeemed),
            "id": coupon.number,
            **created,
            "transactionNumber": "0",
            "issuedAt": {"code": coupon.store, "name": f"Store {coupon.store}"},
            "redemptions": [],
            "reversedRedemptions": [],
            "validTillDateTime": self._day_end(series.ends),
        }

    def bearer(self, found: Customer | Refusal) -> bytes:
        """What GET /v2/customers/lookup says; of nobody it is inferred."""
        if isinstance(found, Refusal):
            return encoded({"entity": None, "warnings": [], "errors": [_error(found)], "success": False})
        return encoded({"entity": found.id, "warnings": [], "errors": [], "success": True})

    def coupons_by_id(self, page: Page) -> bytes:
        """What GET /v2/customers/{id}/coupons says: everything on one page, with the series' facts in each coupon."""
        coupons = [self._detailed(each, page.customer) for each in page.coupons]
        return encoded({"entity": coupons, "warnings": [], "errors": [], "success": True})

    def _detailed(self, coupon: IssuedCoupon, customer: Customer) -> dict[str, Any]:
        series = self._known[coupon.series]
        dates = self._settings.dates
        issued = {"issuedOn": written(coupon.created, dates)}
        if self._settings.iso_dates:
            issued["issuedOnISO"] = written_iso(coupon.created, dates)
        redeemed = coupon.redeemed > 0
        return {
            "id": coupon.number,
            "seriesId": series.id,
            "series": self._series(series, 0),
            "code": coupon.code,
            "description": series.description,
            "createdDate": written(coupon.created, dates),
            "validTill": self._day_end(series.ends),
            "isRedeemed": redeemed,
            "issuedTo": customer.id,
            "issuedBy": 50000001,
            "orgId": self._settings.org_id,
            "refId": 0,
            "issuedAt": {"id": 50000002, "code": coupon.store, "name": f"Store {coupon.store}", "type": "STORE"},
            "couponDiscountType": series.discount_type,
            **issued,
            "redemptionsLeft": max(0, 1 - coupon.redeemed),
            "discountType": False,
            "discountValue": int(series.discount_value),
            "discountUpto": 0,
            "redeemed": redeemed,
            "seriesName": series.description,
        }

    def coupons_v11(self, question: Question, page: Page | Refusal) -> bytes:
        """What GET /v1.1/customer/coupons says: one is an object, several are an array, values are strings.

        In the field shape there are arrays only, the status code is a number and coupons name their series.
        """
        field_shape = self._settings.field_shape
        total, customer, coupons = 0, None, []
        if not isinstance(page, Refusal):
            total, customer = page.total, page.customer
            coupons = [self._recorded_v11(each) for each in page.coupons]
        holder = {
            **(_known_v11(customer) if customer else {}),
            "coupons": {"coupon": coupons if field_shape or len(coupons) > 1 else coupons[0]} if coupons else {},
            "item_status": _status("true", "1000", "Issued coupons retrieved successfully")
            if customer
            else _status("false", "1012", "Customer not found"),  # inferred
        }
        status = _status("true", "200", "SUCCESS") if customer else _status("false", "500", "All requests have failed")
        if field_shape:
            status["code"] = int(status["code"])
        body = {
            "pagination": {"limit": str(question.limit), "offset": str(question.offset), "total": total},
            "status": status,
            "customers": {"customer": [holder] if field_shape else holder},
        }
        return encoded({"response": body})

    def _recorded_v11(self, coupon: IssuedCoupon) -> dict[str, Any]:
        recorded: dict[str, Any] = {
            "id": str(coupon.number),
            "code": coupon.code,
            "redemption_count": str(coupon.redeemed),
            "created_date": india(coupon.created),
            "valid_till": self._known[coupon.series].ends,
            "transaction_number": "",
            "redemptions": {},
        }
        return {**recorded, "series_id": str(coupon.series)} if self._settings.field_shape else recorded

    def series(self, found: Sequence[tuple[CouponSeries, int]]) -> bytes:
        """What GET /v2/coupon/series says of these series, each with the number of its coupons.

        An id that nobody knows is left out (inferred).
        """
        return encoded({"entity": [self._series(*each) for each in found], "warnings": []})

    def _series(self, series: CouponSeries, issued: int) -> dict[str, Any]:
        uploaded = len(series.uploaded_codes)
        return {
            "customPropertyMap": {},
            "id": series.id,
            "orgId": self._settings.org_id,
            "description": series.description,
            "discountCode": series.discount_code,
            "validTillDate": self._day(series.ends),
            "validTillDateTime": self._day_end(series.ends),
            "validDaysFromCreation": 30,
            "expiryStrategyType": "SERIES_EXPIRY",
            "expiryStrategyValue": 1,
            "fixedExpiryDate": 0,
            "maxCreate": series.stock,
            "maxRedeem": -1,
            "numIssued": issued,
            "numTotal": -1,
            "numRedeemed": 0,
            "numUploadedNonIssued": max(0, uploaded - issued),
            "numUploadedTotal": uploaded,
            "isMultipleVouchersPerUserAllowed": series.multiple_allowed,
            "doNotResendExistingVoucher": not series.resends,
            "maxVouchersPerUser": series.max_per_customer,
            "minDaysBetweenVouchers": series.min_days_between,
            "mutualExclusiveSeriesIds": "[-1]",
            "storeIdsJson": "[-1]",
            "redeemAtStore": "[-1]",
            "anyUser": True,
            "clientHandlingType": series.handling,
            "seriesType": "UNDEFINED",
            "seriesCode": f"3A80{series.id}",
            "externalIssual": series.external,
            "ownedBy": "NONE",
            "ownerId": -1,
            "ownerValidity": 0,
            "sourceOrgId": -1,
            "issueToLoyalty": False,
            "isSMSDisabled": not series.sends_messages,
            "smsTemplate": "",
            "resendMessageEnabled": series.sends_messages,
            "redemptionValidFrom": self._day("2020-05-01"),
            "redemptionValidAfterDays": 0,
            "latestIssualTime": 0,
            "latestRedemptionTime": 0,
            "createdOn": "2020-05-02T06:02:28Z",
            "discountOn": "BILL",
            "discountType": series.discount_type,
            "discountValue": int(series.discount_value),
            "discountUpto": 0,
            "updateProductData": False,
        }

    def token(self, token: str | None) -> bytes:
        """What POST /v3/oauth/token/generate says; the body of a failure is inferred."""
        if token is None:
            why = Refusal(code=401, message="Token could not be generated")
            return encoded({"data": None, "errors": [_error(why)]})
        return encoded({"data": {"accessToken": token, "ttlSeconds": self._settings.token_ttl}, "errors": None})

    def _day(self, day: str) -> str:
        """Documented: midnight at the start of the last day, not the real expiry."""
        return f"{day}T00:00:00{self._zone}"

    def _day_end(self, day: str) -> str:
        return f"{day}T23:59:59{self._zone}"

    @property
    def _zone(self) -> str:
        return "+05:30" if self._settings.dates is Dates.INDIA else "Z"


def _known_v11(customer: Customer) -> dict[str, str]:
    known = {
        "firstname": customer.first_name,
        "lastname": customer.last_name,
        "email": customer.email,
        "mobile": customer.mobile,
        "external_id": customer.external_id,
        "id": str(customer.id),
    }
    return {key: value for key, value in known.items() if value}


def _status(success: str, code: str, message: str) -> dict[str, Any]:
    return {"success": success, "code": code, "message": message}
