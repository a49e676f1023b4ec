"""What the server says of a coupon series, and of a token."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import Any

from bulk_issue.model import Series
from bulk_issue.wire.reading import Number, integer, json_object, objects, text, truth, validity_end
from bulk_issue.wire.refusals import json_errors

#: An org's id that names none.
_NO_ORG = frozenset({"", "0", "-1"})
#: 707 and 755: the series id is invalid (documented).
_NO_SERIES = frozenset({"707", "755"})


@dataclass(frozen=True, slots=True)
class NoSuchSeries:
    """The server says that it knows no series of this id."""


def series(body: bytes, series_id: int, now: float) -> Series | NoSuchSeries | None:
    """The facts of one series out of GET /v2/coupon/series.

    `NoSuchSeries` if the server says so; None if the body can't be read with certainty. `now` is epoch seconds.
    """
    parsed = json_object(body)
    if parsed is None:
        return None
    if errors := json_errors(parsed):
        return NoSuchSeries() if all(error.code in _NO_SERIES for error in errors) else None
    # Inferred: an empty list, or one without it, is how an unknown id is answered.
    if parsed.get("entity") == []:
        return NoSuchSeries()
    facts = [item for item in objects(parsed.get("entity")) if integer(item.get("id")) == series_id]
    return _series(facts[0], series_id, now) if len(facts) == 1 else None


def _series(facts: dict[str, Any], series_id: int, now: float) -> Series:
    def bound(name: str) -> int | None:
        value = integer(facts.get(name))
        return value if value is not None and value >= 0 else None  # documented: -1 is "no bound"

    def negated(name: str) -> bool | None:
        value = truth(facts.get(name))
        return None if value is None else not value

    handling, most = text(facts.get("clientHandlingType")), bound("maxCreate")
    left = [] if most is None else [max(most - (bound("numIssued") or 0), 0)]
    uploaded = bound("numUploadedNonIssued")
    if handling == "DISC_CODE_PIN" and uploaded is not None:
        left.append(uploaded)
    exact, day = text(facts.get("validTillDateTime")), text(facts.get("validTillDate"))
    ends = validity_end(exact, day)
    org = text(facts.get("orgId"))
    return Series(
        id=series_id,
        org_id=None if org in _NO_ORG else org,
        description=text(facts.get("description")),
        valid_till=exact or day,
        expired=None if ends is None else ends < now,
        stock_left=min(left, default=None),
        max_per_customer=bound("maxVouchersPerUser"),
        multiple_allowed=truth(facts.get("isMultipleVouchersPerUserAllowed")),
        resends=negated("doNotResendExistingVoucher"),
        generic=handling == "GENERIC",
        third_party_codes=truth(facts.get("externalIssual")) is True,
        sends_messages=negated("isSMSDisabled"),
        min_days_between=bound("minDaysBetweenVouchers"),
        discount_type=text(facts.get("discountType")),
        discount_value=text(facts.get("discountValue")),
        discount_upto=text(facts.get("discountUpto")),
        ends=ends,
    )


def token(body: bytes) -> tuple[str, float] | None:
    """Access token and its life in seconds out of a token reply; None unless it carries both and no error."""
    parsed = json_object(body)
    data = parsed.get("data") if parsed is not None and not json_errors(parsed) else None
    if not isinstance(data, dict):
        return None
    access, life = data.get("accessToken"), integer(data.get("ttlSeconds"))
    if not isinstance(access, str) or isinstance(access, Number) or life is None or life <= 0:
        return None
    # It goes into a header: visible ASCII, or it isn't sent at all.
    return (str(access), float(life)) if re.fullmatch(r"[!-~]+", access) else None


def org_of(token: str) -> str | None:
    """The `org_id` in a token's payload; its signature is the server's business, not ours."""
    try:
        payload = token.split(".")[1]
        claims = json_object(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (IndexError, ValueError):
        return None
    org = text(claims.get("org_id")) if claims is not None else ""
    return None if org in _NO_ORG else org
