"""Country codes of mobile numbers, and what follows them.

From the national numbering plans (ITU-T E.164): the calling code, the mobile numbers behind it, and the prefix that is
dialled at home instead. A length alone is no proof: ten digits that begin with 65 may be Singapore's. So a number is
taken for one of the country only if it is a mobile of its plan; what has another code must say so with a `+`.
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
    #: The number behind the code, with what stands before it at home as an optional group `trunk`.
    mobile: re.Pattern[str]

    def whole(self, digits: str, *, international: bool) -> str | None:
        """The number with its country code; None if that can't be told.

        `international` says that it was written with a `+`: then it has a code, this country's or another.
        """
        code = self.code
        if digits.startswith(code) and (found := self.mobile.fullmatch(digits[len(code) :])) and not found["trunk"]:
            return digits
        if international:
            return None if digits.startswith((code, "0")) else digits
        if digits.startswith("00"):
            return self.whole(digits[2:], international=True) if digits.startswith("00" + code) else None
        found = self.mobile.fullmatch(digits)
        return code + digits.removeprefix(found["trunk"] or "") if found else None


def _country(code: str, mobile: str, trunk: str = "0") -> Country:
    return Country(code, re.compile(f"(?P<trunk>{trunk})?(?:{mobile})" if trunk else f"(?P<trunk>(?!))?(?:{mobile})"))


COUNTRIES: Mapping[str, Country] = {
    "AE": _country("971", r"5\d{8}"),
    "AU": _country("61", r"4\d{8}"),
    "BD": _country("880", r"1[3-9]\d{8}"),
    "BH": _country("973", r"[36]\d{7}", ""),
    "BR": _country("55", r"[1-9]\d9\d{8}"),
    "CN": _country("86", r"1[3-9]\d{9}", ""),
    "DE": _country("49", r"1[5-7]\d{8,9}"),
    "EG": _country("20", r"1[0125]\d{8}"),
    "ES": _country("34", r"[67]\d{8}", ""),
    "FR": _country("33", r"[67]\d{8}"),
    "GB": _country("44", r"7\d{9}"),
    "HK": _country("852", r"[4-9]\d{7}", ""),
    "ID": _country("62", r"8\d{8,11}"),
    "IN": _country("91", r"[6-9]\d{9}"),
    "IT": _country("39", r"3\d{8,9}", ""),
    "JP": _country("81", r"[6-9]0\d{8}"),
    "KE": _country("254", r"[17]\d{8}"),
    "KR": _country("82", r"1\d{8,9}"),
    "KW": _country("965", r"[4569]\d{7}", ""),
    "LK": _country("94", r"7\d{8}"),
    "MX": _country("52", r"[2-9]\d{9}", ""),
    "MY": _country("60", r"1\d{8,9}"),
    "NG": _country("234", r"[789]\d{9}"),
    "NL": _country("31", r"6\d{8}"),
    "NP": _country("977", r"9[678]\d{8}", ""),
    "OM": _country("968", r"[79]\d{7}", ""),
    "PH": _country("63", r"9\d{9}|8(?:1[37]|9[5-8])\d{7}"),
    "PK": _country("92", r"3\d{9}"),
    "QA": _country("974", r"[3567]\d{7}", ""),
    "SA": _country("966", r"5\d{8}"),
    "SG": _country("65", r"[89]\d{7}", ""),
    "TH": _country("66", r"[689]\d{8}"),
    "TR": _country("90", r"5\d{9}"),
    "TW": _country("886", r"9\d{8}"),
    "US": _country("1", r"[2-9]\d{2}[2-9]\d{6}", ""),
    "VN": _country("84", r"[35789]\d{8}"),
    "ZA": _country("27", r"[6-8]\d{8}"),
}


def country(wanted: str) -> Country | None:
    """The country of `--country`: two letters, or CODE/LENGTH; None for an empty text. Raises `ConfigError`."""
    if not wanted:
        return None
    if found := COUNTRIES.get(wanted.upper()):
        return found
    by_hand = re.fullmatch(r"\+?([1-9][0-9]{0,2})/([0-9]{1,2})", wanted.strip())
    if by_hand and 4 <= int(by_hand[2]) <= 14:
        return _country(by_hand[1], rf"[1-9]\d{{{int(by_hand[2]) - 1}}}")
    raise ConfigError(
        f"--country {wanted!r} is not known",
        hint=f"Known are {' '.join(COUNTRIES)}; any other as CODE/LENGTH, e.g. 91/10: the calling code, and how many "
        "digits follow it.",
    )
