"""Which identifiers look alike: perhaps one customer, written in two ways. Nothing here says that they are.

Mobiles look alike when they differ only by a country code and leading zeros, external ids when they differ only by
leading zeros and case. A customer's own number (`id`) and an e-mail address have one way to be written. Everybody who
looks for look-alikes keeps the `form` of each key in an index, and looks at the few that stand in the `span` of a key:
a few steps, however many keys there are.
"""

from __future__ import annotations

import re

from bulk_issue.model import IdentifierKind

#: Digits that a country code has at most, and a mobile without one at least.
LONGEST_COUNTRY_CODE, SHORTEST_MOBILE = 3, 7
#: Digits of a number that a spreadsheet keeps; it makes zeros of the others.
KEPT_DIGITS = 15

#: What a form begins with; a letter, so that databases sort digits behind it as digits.
_MOBILE, _EXTERNAL = "m", "x"
#: What a spreadsheet shows in the place of digits: an exponent, a decimal, or a date.
_MADE = re.compile(
    r"[+-]?\d+([.,]\d*)?e[+-]?\d+|[+-]?\d+[.,]\d+"
    r"|\d{1,4}[-/. ](\d\d?|[a-z]{3,9})[-/. ]\d{1,4}|\d\d?[- ][a-z]{3,9}|[a-z]{3,9}[- ]\d{2,4}",
    re.ASCII | re.IGNORECASE,
).fullmatch


def plain(key: str) -> str:
    """An identifier's key without leading zeros and case; empty where nothing can look like it."""
    kind, _, value = key.partition(":")
    match kind:
        case IdentifierKind.MOBILE:
            return value.lstrip("0")
        case IdentifierKind.EXTERNAL_ID:
            return value.casefold().lstrip("0")
        case _:
            return ""


def form(key: str) -> str | None:
    """Under what a key is kept, so that its look-alikes stand beside it; None where nothing can look like it."""
    bare = plain(key)
    if not bare:
        return None
    # a country code stands in front: backwards, numbers with and without one begin alike
    return _MOBILE + bare[::-1] if key.startswith(IdentifierKind.MOBILE) else _EXTERNAL + bare


def span(key: str) -> tuple[str, str] | None:
    """The range, ends included, in which the forms of all look-alikes stand; None where there can be none.

    Others may stand there too: `alike` tells them. Of mobiles it holds one in ten million, and fewer of longer ones.
    """
    mine = form(key)
    if mine is None:
        return None
    digits = len(mine) - 1
    if mine[0] == _EXTERNAL or digits < SHORTEST_MOBILE:
        return mine, mine
    shortest = mine[: 1 + max(digits - LONGEST_COUNTRY_CODE, SHORTEST_MOBILE)]
    return shortest, shortest + "9" * 2 * LONGEST_COUNTRY_CODE


def alike(one: str, other: str) -> bool:
    """Whether two keys that aren't the same look alike."""
    first, second = form(one), form(other)
    if one == other or first is None or second is None:
        return False
    short, long = sorted((first, second), key=len)
    coded = short[0] == _MOBILE and len(short) > SHORTEST_MOBILE and len(long) - len(short) <= LONGEST_COUNTRY_CODE
    return short == long or (coded and long.startswith(short))


def damaged(was: str, now: str) -> bool:
    """Whether a program may have made the key `now` of the key `was`: nobody can tell it from a correction.

    It looks like the other, has lost digits at one of its ends, or is an exponent, a decimal or a date.
    """
    (kind, _, before), (other, _, after) = was.partition(":"), now.partition(":")
    if kind != other or was == now:
        return False
    if alike(was, now) or (_MADE(after) and not _MADE(before)):
        return True
    if not (before.isdecimal() and after.isdecimal()):
        return False
    cut = len(after) < len(before) and (before.startswith(after) or before.endswith(after))
    kept, lost = after[:KEPT_DIGITS], after[KEPT_DIGITS:]
    return cut or (len(after) == len(before) and bool(lost) and before.startswith(kept) and not lost.strip("0"))


def altered(was: str, now: str, country: str = "", country_then: str = "") -> bool:
    """Whether a failures record that names `now` in the place of `was` is no correction, but damage.

    A country that is given now and wasn't then says what a country code is.
    """
    coded = now.startswith(IdentifierKind.MOBILE) and country and country != country_then
    return damaged(was, now) and not coded
