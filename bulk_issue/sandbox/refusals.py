"""What the sandbox refuses, in Capillary's words.

A business error comes with HTTP 200 and an `errors` list (documented for issue/multiple, inferred for single issue).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A well-formed "no"."""

    code: int
    message: str
    status: int = 200


#: The texts of 709 and 730, and what the others say, are documented; the exact wording of the others is ours.
MESSAGES: Mapping[int, str] = {
    701: "Customer not found for the given identifiers",
    704: "Could not send SMS to the customer",
    707: "Coupon series id is invalid",
    709: "Coupon processing failed: user already has a coupon",
    712: "Coupon series or campaign has expired",
    713: "Coupon has expired",
    714: "Campaign is over: first come first served",
    715: "Invalid organization",
    721: "Invalid customer",
    722: "Unable to create coupon",
    730: "Unknown error : MAX_COUPON_ISSUAL_PER_USER_EXCEEDED",
    735: "Invalid store",
    740: "Customer is marked as fraud",
    742: "Coupon issue and redemption are blocked for this customer",
    746: "Provide series id",
    748: "Coupon service timed out",
    750: "Customer is marked as fraud",
    756: "Series id is missing",
    777: "Coupon source is not valid for issue",
    5001: "Max create for series exceeded",
    5002: "Max coupon per user exceeded",
    5004: "User already has a valid generic coupon",
    5005: "Queue is empty for the series",
    8015: "Customer not found",
    8084: "Customer details are not passed",
}

#: 521 as a status: several actions are running for the same customer (documented).
BUSY = Refusal(code=521, status=521, message="Several actions are running for the same customer, try later")


def refusal(code: int, message: str = "") -> Refusal:
    """A business error: HTTP 200, the code, and its usual text unless another is given."""
    return Refusal(code=code, message=message or MESSAGES.get(code, "Coupon processing failed"))


def request_error(status: int, message: str) -> Refusal:
    """A refusal of the request itself: status and code are the same number."""
    return Refusal(code=status, status=status, message=message)
