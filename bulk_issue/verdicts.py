"""The table of what Capillary's codes, messages and statuses mean: data, each line with its source.

Sources: DOC, documented for an issue call; WORD, a shared table whose wording speaks of issuing; INFER, a shared table
with generic wording, or our reading; FIELD, seen in public code of people who work with Capillary. Which class a line
gets is our judgement: where "nothing was issued" isn't said, the class is UNCLEAR.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum, unique

from bulk_issue.model import Meaning


@unique
class Source(StrEnum):
    """How we know."""

    DOC = "documented"
    WORD = "documented wording"
    INFER = "inferred"
    FIELD = "seen in the field"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One line of the table."""

    meaning: Meaning
    #: What it means, as a sentence for a person.
    reason: str
    #: What that person can do.
    remedy: str
    source: Source


H, R, N, U, X = Meaning.HELD, Meaning.REJECTED, Meaning.NOT_PROCESSED, Meaning.UNCLEAR, Meaning.HALT
DOC, WORD, INFER, FIELD = Source.DOC, Source.WORD, Source.INFER, Source.FIELD

_SETTLES = "Nothing by hand: the row is settled from Capillary's record, and a person decides what that can't."
_SERIES = "Check --series and the series' set-up in Capillary, then run again."
_SUPPORT = "Ask Capillary support, quoting the request id."
_AGAIN = "Nothing: it is tried again by itself. If it stays, retry the row later."
_HELD = "Nothing: the customer already has a coupon of this series."


def _line(meaning: Meaning, reason: str, remedy: str, source: Source) -> Verdict:
    return Verdict(meaning=meaning, reason=reason, remedy=remedy, source=source)


#: What a message says weighs more than its code: codes change meaning between pages, and 730 wraps other errors.
#: Read from the top; the first pattern that is found counts.
BY_MESSAGE: tuple[tuple[re.Pattern[str], Verdict], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), verdict)
    for pattern, verdict in (
        (
            r"already has a coupon|already has a valid generic coupon|coupon_already_issued",
            _line(H, "The customer already has a coupon of this series.", _HELD, DOC),
        ),
        (
            r"max[ _]coupons?[ _](issual[ _])?per[ _]user[ _]exceeded",
            _line(H, "The customer has as many coupons of this series as the series allows.", _HELD, DOC),
        ),
        (
            r"days between consecutive issuals",
            _line(R, "The customer got a coupon of this series too recently.", "Retry when the gap has passed.", FIELD),
        ),
        (
            r"mutually exclusive series",
            _line(R, "The customer has a coupon of a series that excludes this one.", "Leave the customer out.", FIELD),
        ),
        (
            r"coupons exhausted|max create for series exceeded|no more coupons in series",
            _line(X, "The series has no coupons left.", "Raise its stock or upload codes, then run again.", FIELD),
        ),
        (
            r"coupon series expired|redemption start after series expiry",
            _line(X, "The series has expired.", _SERIES, FIELD),
        ),
        (r"invalid series id", _line(X, "Capillary doesn't know this series.", _SERIES, FIELD)),
        (
            r"invalid store id",
            _line(X, "This till or store may not issue the series.", "Use another till or open the series.", FIELD),
        ),
        (r"queue\b.*\bempty", _line(N, "The series' queue of codes was empty for a moment.", _AGAIN, FIELD)),
        (
            r"\b(customer|series|coupon)[ _-]+lock|\block(ed)?\b.{0,40}\b(customer|series)\b|lock wait",
            _line(N, "The customer or the series was locked by another action.", _AGAIN, FIELD),
        ),
    )
)

#: What Capillary's codes mean on an issue call, unless the message says otherwise.
BY_CODE: dict[str, Verdict] = {
    "701": _line(
        R,
        "Capillary doesn't know this customer.",
        "Check the country code and the column used, or register the customer first.",
        DOC,
    ),
    "8015": _line(R, "Capillary doesn't know this customer.", "Register the customer first.", INFER),
    "8084": _line(R, "Capillary found no customer details in the request.", "Check the identifier's column.", INFER),
    "707": _line(X, "Capillary doesn't know this series.", _SERIES, DOC),
    "709": _line(R, "Capillary refused to issue this coupon.", "Read the text; retry if its cause has gone.", DOC),
    "712": _line(X, "The series or its campaign has expired.", _SERIES, INFER),
    "713": _line(X, "The series has expired.", _SERIES, DOC),
    "714": _line(X, "The campaign is over.", _SERIES, INFER),
    "715": _line(X, "Capillary says that the organisation is invalid.", "Check the credentials.", INFER),
    "721": _line(R, "Capillary says that this customer is invalid.", "Check the customer in Capillary.", WORD),
    "722": _line(R, "Capillary couldn't create the coupon.", "Check the series; retry the row later.", WORD),
    "735": _line(X, "This till or store may not issue the series.", "Use another till or open the series.", INFER),
    "740": _line(R, "The customer is marked as fraud.", "Leave the customer out, or clear the mark.", INFER),
    "750": _line(R, "The customer is marked as fraud.", "Leave the customer out, or clear the mark.", INFER),
    "742": _line(R, "Issuing to this customer is blocked.", "Unblock the customer in Capillary, then retry.", WORD),
    "746": _line(X, "Capillary misses the series id.", _SERIES, INFER),
    "748": _line(U, "Capillary's coupon service timed out.", _SETTLES, INFER),
    "755": _line(X, "Capillary doesn't know this series.", _SERIES, INFER),
    "756": _line(X, "Capillary found the request incomplete or the series misconfigured.", _SERIES, DOC),
    "777": _line(X, "Coupons of this series can't be issued from this source.", _SERIES, WORD),
    **{
        code: _line(U, "Capillary says that processing failed, not that nothing was issued.", _SETTLES, INFER)
        for code in ("786", "787", "789", "790", "791", "792", "793", "794", "796", "797", "798")
    },
    **{
        code: _line(X, "Capillary reports an invalid configuration.", _SUPPORT, INFER) for code in ("788", "795", "799")
    },
    "730": _line(U, "Capillary reports an unknown error.", _SETTLES, DOC),
    "500": _line(U, "Capillary says that the request failed, not that nothing was issued.", _SETTLES, INFER),
    "5001": _line(X, "The series has no coupons left.", "Raise its stock or upload codes, then run again.", DOC),
    "5002": _line(H, "The customer has as many coupons of this series as the series allows.", _HELD, DOC),
    "5004": _line(H, "The customer already has the one coupon that the series allows.", _HELD, DOC),
    "5005": _line(N, "The series' queue of codes was empty for a moment.", _AGAIN, DOC),
    "5006": _line(U, "Capillary couldn't issue some of the coupons asked for.", _SETTLES, DOC),
    "704": _line(U, "The coupon message couldn't be sent, and no coupon came with the answer.", _SETTLES, INFER),
    "724": _line(U, "The coupon message couldn't be sent, and no coupon came with the answer.", _SETTLES, INFER),
    "4000": _line(X, "This account may not issue coupons.", "Ask for the Coupon write permission.", DOC),
    "4001": _line(U, "Capillary couldn't tell whether this account may issue.", _SETTLES, DOC),
    "1061": _line(X, "The attribution lookup has no type.", "Check the attribution settings.", DOC),
    "1064": _line(X, "Capillary says that the organisation is invalid.", "Check the credentials.", DOC),
}

#: Errors beside which a coupon still counts: only the message to the customer failed.
HARMLESS_BESIDE_A_COUPON = frozenset({"704", "724"})

#: What an HTTP status means when the body names no error of Capillary's.
BY_STATUS: dict[int, Verdict] = {
    400: _line(R, "Capillary found the request invalid.", "Check the identifier's column and format.", DOC),
    401: _line(N, "Capillary refused the credentials.", "Check user and password, or key and secret.", DOC),
    403: _line(U, "The request was refused on its way.", "Check --base-url and this account's rights.", INFER),
    404: _line(U, "The address is not one of Capillary's.", "Check --base-url.", INFER),
    405: _line(X, "The address doesn't take issue requests.", "Check --base-url.", DOC),
    415: _line(X, "Capillary refuses the request's content type.", "Something on the way changes requests.", DOC),
    429: _line(N, "Capillary's rate limit was reached.", _AGAIN, INFER),
    461: _line(N, "Capillary's search engine was busy.", _AGAIN, DOC),
    521: _line(N, "Capillary was busy with another action of this customer.", _AGAIN, DOC),
}

#: 503 with errorCode 4001: authorisation comes before processing, so nothing was processed (inferred).
UNAUTHORISED_YET = _line(N, "Capillary couldn't check the authorisation for a moment.", _AGAIN, DOC)

#: Everything else after the request may have left.
UNCLEAR_ANSWER = _line(U, "The answer doesn't say whether a coupon was issued.", _SETTLES, INFER)
#: A well-formed refusal with a code that no line above has: in doubt, and rejected if the record shows no coupon.
UNKNOWN_REFUSAL = _line(U, "Capillary refused the row with a code that isn't documented for issuing.", _SUPPORT, INFER)
#: A 403 or 404 in Capillary's own words, whatever its code: it will be the same for every row.
NOT_FOR_US = _line(X, "Capillary refuses issue requests from this account.", "Check --base-url and its rights.", DOC)
#: Faults, by whether the request may have left.
NEVER_LEFT = _line(N, "The request was never sent.", _AGAIN, FIELD)
MAY_HAVE_LEFT = _line(U, "No complete answer came to the request.", _SETTLES, FIELD)
ISSUED = _line(Meaning.ISSUED, "A coupon was issued.", "", DOC)


def remedy(error_code: str) -> str:
    """What a person can do about a row with this `_error_code`; empty for an empty code."""
    if not error_code:
        return ""
    if error_code in BY_CODE:
        return BY_CODE[error_code].remedy
    if error_code.startswith("http-") and error_code[5:].isdigit() and int(error_code[5:]) in BY_STATUS:
        return BY_STATUS[int(error_code[5:])].remedy
    if error_code.startswith(("http-", "fault-")):
        return _SETTLES
    return _SUPPORT if error_code.isdigit() else ""
