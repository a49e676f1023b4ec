"""Country codes of mobile numbers, and how many digits follow them.

From the national numbering plans (ITU-T E.164): the calling code, the lengths of mobile numbers behind it, and the
prefix that is dialled at home instead. Only countries whose mobiles have lengths of their own; others are named by
hand, as `CODE/LENGTH`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from bulk_issue.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Country:
    """How a country's mobile numbers look."""

    code: str
    lengths: frozenset[int]
    #: What stands before the number at home; empty where nothing does.
    trunk: str = "0"

    def whole(self, digits: str) -> str | None:
        """The number with its country code; None if it is none of this country's, with or without the code."""
        digits = digits.removeprefix("00") if digits.startswith("00" + self.code) else digits
        if digits.startswith(self.code) and len(digits) - len(self.code) in self.lengths:
            return digits
        local = digits.removeprefix(self.trunk) if self.trunk else digits
        if len(local) in self.lengths and not local.startswith("0"):
            return self.code + local
        return None


def _country(code: str, lengths: str, trunk: str = "0") -> Country:
    return Country(code, frozenset(map(int, lengths.split())), trunk)


COUNTRIES: Mapping[str, Country] = {
    "AE": _country("971", "9"),
    "AU": _country("61", "9"),
    "BD": _country("880", "10"),
    "BH": _country("973", "8", ""),
    "BR": _country("55", "10 11"),
    "CN": _country("86", "11", ""),
    "DE": _country("49", "10 11"),
    "EG": _country("20", "10"),
    "ES": _country("34", "9", ""),
    "FR": _country("33", "9"),
    "GB": _country("44", "10"),
    "HK": _country("852", "8", ""),
    "ID": _country("62", "9 10 11 12"),
    "IN": _country("91", "10"),
    "IT": _country("39", "9 10", ""),
    "JP": _country("81", "10"),
    "KE": _country("254", "9"),
    "KR": _country("82", "9 10"),
    "KW": _country("965", "8", ""),
    "LK": _country("94", "9"),
    "MX": _country("52", "10", ""),
    "MY": _country("60", "9 10"),
    "NG": _country("234", "10"),
    "NL": _country("31", "9"),
    "NP": _country("977", "10", ""),
    "OM": _country("968", "8", ""),
    "PH": _country("63", "10"),
    "PK": _country("92", "10"),
    "QA": _country("974", "8", ""),
    "SA": _country("966", "9"),
    "SG": _country("65", "8", ""),
    "TH": _country("66", "9"),
    "TR": _country("90", "10"),
    "TW": _country("886", "9"),
    "US": _country("1", "10", ""),
    "VN": _country("84", "9"),
    "ZA": _country("27", "9"),
}


def country(wanted: str) -> Country | None:
    """The country of `--country`: two letters, or CODE/LENGTH; None for an empty text. Raises `ConfigError`."""
    if not wanted:
        return None
    if found := COUNTRIES.get(wanted.upper()):
        return found
    if by_hand := re.fullmatch(r"\+?([1-9][0-9]{0,2})/([0-9]{1,2})", wanted.strip()):
        return Country(by_hand[1], frozenset({int(by_hand[2])}))
    raise ConfigError(
        f"--country {wanted!r} is not known",
        hint=f"Known are {' '.join(COUNTRIES)}; any other as CODE/LENGTH, e.g. 91/10: the calling code, and how many "
        "digits follow it.",
    )
