"""What a coupon series is, and what it does with an issue to a customer who holds coupons of it.

A repeated issue, by the flags (field knowledge, it agrees with the official settings):

| multiple allowed | resends | the second issue to a customer |
|---|---|---|
| either | yes | brings the existing coupon again |
| no | no | 709: user already has a coupon |
| yes | no | brings a new coupon, until `max_per_customer`: 5002 |
| generic series | no | 5004: already has a valid generic coupon |
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from bulk_issue.sandbox.book import IssuedCoupon
from bulk_issue.sandbox.refusals import Refusal, refusal

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
DIGITS = "0123456789"


@dataclass(frozen=True, slots=True, kw_only=True)
class CouponSeries:
    """A series and its rules. The default is the dangerous kind: every repeated issue costs another coupon."""

    id: int = 544770
    description: str = "Festival coupon"
    discount_code: str = "fest01"
    discount_type: str = "ABS"
    discount_value: float = 500.0
    #: The last day of its coupons.
    last_day: str = "2036-05-09"
    multiple_allowed: bool = True
    resends: bool = False
    #: -1: no bound, here and below.
    max_per_customer: int = -1
    #: How many coupons may ever exist.
    stock: int = -1
    #: A series whose coupons all have this one code.
    generic_code: str = field(default="", repr=False)
    #: A series whose codes were uploaded; they are given out in this order.
    uploaded_codes: tuple[str, ...] = field(default=(), repr=False)
    expired: bool = False
    #: Codes of a third party: 777 (inferred; documented is only that issuing isn't supported).
    external: bool = False
    #: Days that must lie between two coupons of one customer.
    min_days_between: int = -1
    #: Issuing sends the customer a message.
    sends_messages: bool = False
    #: The code that every issue draws, e.g. 735 (invalid store).
    refusal: int = 0

    @property
    def ends(self) -> str:
        """The last day that replies name: past for an expired series."""
        return "2020-05-09" if self.expired else self.last_day

    @property
    def handling(self) -> str:
        """Where codes come from, as `clientHandlingType` says it."""
        if self.generic_code:
            return "GENERIC"
        return "DISC_CODE_PIN" if self.uploaded_codes else "DISC_CODE"


def judge(
    series: CouponSeries, held: Sequence[IssuedCoupon], *, issued: int, now: float
) -> Refusal | IssuedCoupon | None:
    """What an issue to a customer who holds these coupons brings: a refusal, one of them again, or (None) a new one.

    `issued` is how many coupons of the series exist, `now` the server's time.
    """
    if series.refusal:
        return refusal(series.refusal)
    if series.expired:
        return refusal(712)
    if series.external:
        return refusal(777)
    if held and series.resends:
        return held[-1]
    if held and series.generic_code:
        return refusal(5004)
    if held and not series.multiple_allowed:
        return refusal(709)
    if 0 <= series.max_per_customer <= len(held):
        return refusal(5002)
    if held and now - held[-1].created < series.min_days_between * 86_400:
        return refusal(722, "Min days between consecutive issuals have not passed")  # the text is field knowledge
    if 0 <= series.stock <= issued:
        return refusal(5001)
    if series.uploaded_codes and issued >= len(series.uploaded_codes):
        return refusal(5001, "No more coupons in series")
    return None


def next_code(series: CouponSeries, issued: int, dice: random.Random) -> str:
    """The code of the series' next coupon: ten characters, now and then with small letters, or sixteen digits."""
    if series.generic_code:
        return series.generic_code
    if series.uploaded_codes:
        return series.uploaded_codes[issued]
    match dice.randrange(8):
        case 0:  # spreadsheets take these for numbers: the zero and the last digits are lost
            return "0" + "".join(dice.choices(DIGITS, k=15))
        case 1:  # reads give codes in upper case unless asked for AS_IT_IS
            return "".join(dice.choices(LETTERS + LETTERS.lower() + DIGITS, k=10))
        case _:
            return "".join(dice.choices(LETTERS + DIGITS, k=10))
