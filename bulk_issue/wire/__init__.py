"""What the bodies on the wire look like: built and read here, nowhere else.

Pure. Readers are tolerant of everything that is documented or was seen (objects or arrays, strings or integers, XML
beside JSON; docs/api.md) and total: whatever the bytes, they return a value or None, and never raise.

| module | what it reads |
|---|---|
| `reading` | JSON with its numbers as text; integers, truths and times out of it |
| `refusals` | the errors that a body names, in all their forms |
| `record` | coupons: that of an issue reply, and pages of a customer's coupons |
| `bearer` | who bears an identifier, and that customer's coupons |
| `facts` | series and tokens |
| `headers` | `Date` and `Retry-After` |
"""

from __future__ import annotations

import json

from bulk_issue.model import Identifier, IdentifierKind
from bulk_issue.wire.bearer import Bearer, bearer, coupons_of
from bulk_issue.wire.facts import NoSuchSeries, org_of, series, token
from bulk_issue.wire.headers import LONGEST_RETRY_AFTER, date_header, retry_after
from bulk_issue.wire.reading import Number, json_object, validity_end
from bulk_issue.wire.record import Page, coupon, coupons_v1, coupons_v2
from bulk_issue.wire.refusals import ApiError, api_errors, json_errors, text_errors

__all__ = [
    "LONGEST_RETRY_AFTER",
    "ApiError",
    "Bearer",
    "NoSuchSeries",
    "Number",
    "Page",
    "api_errors",
    "bearer",
    "coupon",
    "coupons_of",
    "coupons_v1",
    "coupons_v2",
    "date_header",
    "issue_body",
    "json_errors",
    "json_object",
    "org_of",
    "retry_after",
    "series",
    "text_errors",
    "token",
    "validity_end",
]

#: `json.dumps` would make an encoder for each body.
_encode = json.JSONEncoder(separators=(",", ":")).encode


def issue_body(series_id: int, identifier: Identifier) -> bytes:
    """The body of an issue request: one series, exactly one identifier, `id` as an integer (documented).

    Plain ASCII, other letters escaped: whatever charset somebody on the way assumes, the customer is the same.
    """
    value: int | str = int(identifier.value) if identifier.kind is IdentifierKind.ID else identifier.value
    return _encode({"seriesId": series_id, "customer": {identifier.kind: value}}).encode()
