"""The table of what Capillary's codes, messages, statuses and our faults mean: data, each line with its source.

Which meaning a line gets is our judgement (docs/api.md has the evidence). The rule: where "nothing was issued" isn't
said, the line is UNCLEAR. A line that is NOT_PROCESSED or HALT puts its row back, so it must be sure; a code's line
says what the code means on an issue call, wherever else it is documented.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum, unique

from bulk_issue.model import FaultKind, Meaning
from bulk_issue.states import RowState


@unique
class Source(StrEnum):
    """How we know."""

    #: Capillary's documentation says so of an issue call, or its wording does.
    DOC = "documented"
    #: Our reading: a table shared by all coupon calls, or what statuses commonly mean.
    INFER = "inferred"
    #: Seen in public code of people who work with Capillary.
    FIELD = "field"


@unique
class On(StrEnum):
    """What a line is about."""

    #: A code in the body.
    CODE = "code"
    #: A pattern in an error's message (lower case, `_` as space).
    MESSAGE = "message"
    #: An HTTP status, or a class of them (`5xx`), with what the body must be where that matters.
    STATUS = "status"
    #: What went wrong instead of a reply.
    FAULT = "fault"
    #: A judgement on the answer as a whole.
    ANSWER = "answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One line of the table."""

    on: On
    key: str
    meaning: Meaning
    #: What it means, as a sentence for a person.
    reason: str
    #: What that person can do.
    remedy: str
    source: Source
    #: For UNCLEAR: what becomes of the row if the record shows that no coupon came of it.
    if_absent: RowState = RowState.PENDING
    #: The code changes its meaning between documents: a message that has a line of its own decides.
    by_text: bool = False


H, R, N, U, X = Meaning.HELD, Meaning.REJECTED, Meaning.NOT_PROCESSED, Meaning.UNCLEAR, Meaning.HALT
DOC, INFER, FIELD = Source.DOC, Source.INFER, Source.FIELD
_REJ = RowState.REJECTED

_SETTLES = "Nothing by hand: the row is settled from Capillary's record, and what that can't settle a person decides."
_AGAIN = "Nothing: it is tried again by itself. If it stays so, retry the row later."
_HELD = "Nothing: the customer has a coupon of this series already."
_SERIES = "Check --series and the series' set-up in Capillary, then run the same command again."
_STOCK = "Raise the series' limit or upload codes, then run the same command again."
_TILL = "Issue from another till or store, or open the series to this one."
_FRAUD = "Leave the customer out, or clear the mark in Capillary, then retry."
_ORG = "Check the credentials and --base-url: they belong to one organisation."
_REGISTER = "Check the country code and which column is used, or register the customer first, then retry."
_TEXT = "Read Capillary's words in the reason; retry when their cause has gone."
_VALIDITY = "Check the series' validity in Capillary; when it is right, retry the rows."
_SUPPORT = "Ask Capillary support, quoting the request id."
_ADDRESS = "Check --base-url, and that this account may issue coupons."


def _codes(meaning: Meaning, keys: str, reason: str, remedy: str, source: Source) -> Iterable[Verdict]:
    return (
        Verdict(on=On.CODE, key=key, meaning=meaning, reason=reason, remedy=remedy, source=source)
        for key in keys.split()
    )


def _by_text(
    meaning: Meaning, key: str, reason: str, remedy: str, source: Source, if_absent: RowState = RowState.PENDING
) -> Verdict:
    return replace(_line(On.CODE, meaning, key, reason, remedy, source, if_absent), by_text=True)


def _foreign(keys: str, reason: str, source: Source) -> Iterable[Verdict]:
    """Codes that a call to issue one coupon shouldn't draw: the record has the last word."""
    return (_line(On.CODE, U, key, reason, _SUPPORT, source, _REJ) for key in keys.split())


def _line(
    on: On,
    meaning: Meaning,
    key: str,
    reason: str,
    remedy: str,
    source: Source,
    if_absent: RowState = RowState.PENDING,
) -> Verdict:
    return Verdict(on=on, key=key, meaning=meaning, reason=reason, remedy=remedy, source=source, if_absent=if_absent)


_UNKNOWN_CUSTOMER = "Capillary doesn't know this customer."
_UNKNOWN_SERIES = "Capillary doesn't know this series."
_SOLD_OUT = "The series has no coupons left."
_EXPIRED = "The series or its campaign has expired."
_EXPIRED_HERE = "Capillary says that the series, its campaign or a coupon has expired."
_MOST = "The customer has as many coupons of this series as it allows."
_BAD_ORG = "Capillary says that the organisation is invalid."

_CODES = (
    *_codes(R, "701", _UNKNOWN_CUSTOMER, _REGISTER, DOC),
    *_codes(R, "8015", _UNKNOWN_CUSTOMER, _REGISTER, INFER),
    *_codes(R, "8084", "Capillary found no customer details in the request.", "Check the identifier's column.", INFER),
    *_codes(X, "707", _UNKNOWN_SERIES, _SERIES, DOC),
    *_codes(X, "755", _UNKNOWN_SERIES, _SERIES, INFER),
    # What failed is appended to these texts, an inner time-out too: without a known cause nothing is proven.
    _by_text(U, "709", "Capillary failed to issue this coupon, and names no cause that is known.", _TEXT, DOC, _REJ),
    # They halt where the series' facts agree (`SERIES_EXPIRED`), or from three different rows.
    _by_text(R, "712", _EXPIRED_HERE, _VALIDITY, INFER),
    _by_text(R, "713", _EXPIRED_HERE, _VALIDITY, DOC),
    *_codes(X, "714", "The campaign is over.", _SERIES, INFER),
    *_codes(X, "715", _BAD_ORG, _ORG, INFER),
    *_codes(R, "721", "Capillary says that this customer is invalid.", "Check the customer in Capillary.", DOC),
    _by_text(U, "722", "Capillary couldn't create the coupon, and names no cause that is known.", _TEXT, DOC, _REJ),
    _by_text(U, "704", "The coupon's message couldn't be sent, and no coupon came with the answer.", _SETTLES, INFER),
    *_codes(U, "724", "The coupon's message couldn't be sent, and no coupon came with the answer.", _SETTLES, INFER),
    _by_text(U, "730", "Capillary reports an unknown error.", _SETTLES, DOC),
    *_codes(X, "735", "This till or store may not issue the series.", _TILL, INFER),
    *_codes(R, "740 750", "The customer is marked as fraud.", _FRAUD, INFER),
    *_codes(R, "742", "Issuing to this customer is blocked.", "Unblock the customer in Capillary, then retry.", DOC),
    *_codes(X, "746", "Capillary misses the series id.", _SERIES, INFER),
    *_codes(U, "748", "Capillary's coupon service timed out.", _SETTLES, INFER),
    _by_text(X, "756", "Capillary found the request incomplete, or the series misconfigured.", _SERIES, DOC),
    *_codes(X, "777", "Coupons of this series can't be issued from this source.", _SERIES, DOC),
    *_codes(
        U,
        "786 787 789 790 791 792 793 794 796 797 798",
        "Capillary says that processing failed, not that nothing was issued.",
        _SETTLES,
        INFER,
    ),
    *_codes(X, "788 795 799", "Capillary reports an invalid configuration.", _SUPPORT, INFER),
    *_codes(U, "500", "Capillary says that the request failed, not that nothing was issued.", _SETTLES, INFER),
    *_codes(X, "5001", _SOLD_OUT, _STOCK, DOC),
    *_codes(H, "5002", _MOST, _HELD, DOC),
    *_codes(H, "5004", "The customer already has the one coupon that the series allows.", _HELD, DOC),
    *_codes(N, "5005", "The series' queue of codes was empty for a moment.", _AGAIN, DOC),
    *_codes(U, "5006", "Capillary couldn't issue some of the coupons asked for.", _SETTLES, DOC),
    *_codes(X, "4000", "This account may not issue coupons.", "Ask for the Coupon write permission.", DOC),
    # Not processed only together with HTTP 503: authorisation comes before processing.
    *_codes(U, "4001", "Capillary couldn't check this account's rights.", _AGAIN, DOC),
    *_codes(X, "1061", "The attribution lookup has no type.", "Check the attribution settings.", DOC),
    *_codes(X, "1064", _BAD_ORG, _ORG, DOC),
    *_foreign(
        "510 629 660 661 683 687 702 703 705 706 710 711 716 718 719 720 723 725 726 728 729 731 732 733 736 738 739 "
        "747 749 759 780 781",
        "Capillary answered with a code that belongs to redeeming.",
        INFER,
    ),
    *_foreign("744 745 751 752 753 754 1000", "Capillary answered with a code that belongs to other calls.", INFER),
    *_foreign("677 1060", "Capillary answered with a code that belongs to issuing many at once.", DOC),
    *_foreign("700", "Capillary answered with the code for success, and no coupon.", DOC),
)

#: Of two patterns that a message has, neither wins: they must agree.
_MESSAGES = (
    _line(
        On.MESSAGE,
        H,
        r"already has an? (?:valid )?(?:generic )?coupon|coupon already issued",
        "The customer already has a coupon of this series.",
        _HELD,
        DOC,
    ),
    _line(On.MESSAGE, H, r"max coupons? (?:issual )?per user exceeded", _MOST, _HELD, DOC),
    _line(
        On.MESSAGE,
        R,
        r"days between consecutive issuals",
        "The customer got a coupon of this series too recently.",
        "Retry when the gap that the series asks for has passed.",
        FIELD,
    ),
    _line(
        On.MESSAGE,
        R,
        r"mutually exclusive series",
        "The customer has a coupon of a series that excludes this one.",
        "Leave the customer out.",
        FIELD,
    ),
    _line(On.MESSAGE, R, r"customer (?:is |was )?not found", _UNKNOWN_CUSTOMER, _REGISTER, INFER),
    _line(
        On.MESSAGE,
        X,
        r"coupons exhausted|max create for series exceeded|no more coupons in series",
        _SOLD_OUT,
        _STOCK,
        FIELD,
    ),
    _line(On.MESSAGE, X, r"coupon series expired|redemption start after series expiry", _EXPIRED, _SERIES, FIELD),
    _line(On.MESSAGE, X, r"invalid series id", _UNKNOWN_SERIES, _SERIES, FIELD),
    _line(On.MESSAGE, X, r"invalid store id", "This till or store may not issue the series.", _TILL, FIELD),
    # 5005 alone says that nothing was processed: the same words beside another code don't.
    _line(On.MESSAGE, U, r"queue\b.*\bempty", "The series' queue of codes was empty for a moment.", _SETTLES, FIELD),
    # A lock that was waited for in vain, or let go, may have been held while the coupon was issued.
    _line(
        On.MESSAGE,
        N,
        r"^(?!.*(?:timed? ?out|unlock|releas|issued))"
        r".*(?:\b(?:customer|series) ?lock|\block(?:ed)?\b.{0,30}\b(?:customer|series)\b"
        r"|\b(?:customer|series)\b.{0,30}\block(?:ed)?\b)",
        "The customer or the series was locked by another action.",
        _AGAIN,
        FIELD,
    ),
)

_UNREADABLE = "The server answered without saying whether a coupon was issued."
_TROUBLE = "The server had trouble, and may have issued the coupon before."
_GATEWAY = "Something between here and Capillary had trouble; the coupon may have been issued."

_STATUSES = (
    _line(On.STATUS, U, "2xx", "The answer can't be read, or carries no coupon and no error.", _SETTLES, INFER),
    _line(On.STATUS, U, "3xx", "The server points to another address.", "Check --base-url.", INFER),
    _line(
        On.STATUS, R, "400", "Capillary found the request invalid.", "Check the identifier's column and format.", DOC
    ),
    _line(
        On.STATUS,
        U,
        "400 in words of trouble",
        "Capillary had trouble, and calls the request invalid.",
        _TEXT,
        INFER,
        _REJ,
    ),
    _line(
        On.STATUS, N, "401", "Capillary refused the credentials.", "Check user and password, or key and secret.", DOC
    ),
    _line(On.STATUS, U, "403", "The request was refused on its way.", _ADDRESS, INFER),
    _line(On.STATUS, X, "403 in Capillary's words", "Capillary refuses requests of this account.", _ADDRESS, DOC),
    _line(On.STATUS, U, "404", "There is no such address.", _ADDRESS, INFER),
    _line(On.STATUS, X, "404 in Capillary's words", "Capillary has no such address.", _ADDRESS, DOC),
    _line(On.STATUS, X, "405", "The address takes no issue requests.", _ADDRESS, DOC),
    _line(On.STATUS, X, "415", "The request's content type is refused.", "Something on the way alters requests.", DOC),
    _line(On.STATUS, N, "429", "The rate limit was reached.", _AGAIN, INFER),
    # Nobody says when it searches: the reply to an issue holds the customer's profile.
    _line(On.STATUS, U, "461", "Capillary's search engine was busy; the coupon may exist.", _TEXT, INFER, _REJ),
    _line(On.STATUS, U, "4xx", _UNREADABLE, _SETTLES, INFER),
    _line(On.STATUS, U, "500", _TROUBLE, _SETTLES, DOC),
    _line(On.STATUS, U, "502", _GATEWAY, _SETTLES, INFER),
    _line(On.STATUS, U, "503", _TROUBLE, _SETTLES, INFER),
    _line(On.STATUS, N, "503 with 4001", "Capillary couldn't check this account's rights.", _AGAIN, INFER),
    _line(On.STATUS, U, "504", _GATEWAY, _SETTLES, INFER),
    _line(On.STATUS, U, "520", _GATEWAY, _SETTLES, INFER),
    _line(On.STATUS, U, "521", _GATEWAY, _SETTLES, INFER),
    _line(On.STATUS, N, "521 as JSON", "Capillary was busy with another action of this customer.", _AGAIN, DOC),
    _line(On.STATUS, U, "5xx", _TROUBLE, _SETTLES, INFER),
)

#: What a fault means if the request may have left; `NEVER_SENT` is what any means if it surely hasn't.
_FAULTS = (
    _line(On.FAULT, U, FaultKind.CONNECT, "No connection to Capillary could be made.", _AGAIN, INFER),
    _line(On.FAULT, U, FaultKind.LATE, "The request was dropped because it was late.", _AGAIN, INFER),
    _line(On.FAULT, U, FaultKind.AUTH, "No access token could be had.", _AGAIN, INFER),
    _line(On.FAULT, U, FaultKind.TIMEOUT, "No complete answer came in time.", _SETTLES, INFER),
    _line(On.FAULT, U, FaultKind.RESET, "The connection broke before the answer was complete.", _SETTLES, INFER),
    _line(On.FAULT, U, FaultKind.CANCELLED, "The run ended while the request was on its way.", _SETTLES, INFER),
    _line(On.FAULT, U, FaultKind.OTHER, "No answer could be had.", _SETTLES, INFER),
)

NEVER_SENT = _line(On.ANSWER, N, "never-sent", "Nothing was sent.", _AGAIN, INFER)
WRONG_SERIES = _line(
    On.ANSWER, U, "wrong-series", "The answer doesn't name the series that was asked for.", _SETTLES, INFER
)
COUPON_AND_ERROR = _line(On.ANSWER, U, "coupon-and-error", "The answer carries a coupon and an error.", _SETTLES, INFER)
CONTRADICTION = _line(On.ANSWER, U, "contradiction", "The answer says two things at once.", _SETTLES, INFER)
SERIES_EXPIRED = _line(On.ANSWER, X, "series-expired", _EXPIRED, _SERIES, INFER)
TIMED_OUT = _line(
    On.ANSWER, U, "timed-out", "Capillary's refusal speaks of a time-out; the coupon may exist.", _TEXT, INFER, _REJ
)
UNREADABLE = _line(On.ANSWER, U, "unreadable", _UNREADABLE, _SETTLES, INFER)
UNKNOWN_REFUSAL = _line(
    On.ANSWER,
    U,
    "refused",
    "Capillary refused the row in words that aren't documented for issuing.",
    _SUPPORT,
    INFER,
    _REJ,
)

#: Every line, for the functions below and for the documentation.
TABLE: tuple[Verdict, ...] = (
    *_CODES,
    *_MESSAGES,
    *_STATUSES,
    *_FAULTS,
    NEVER_SENT,
    WRONG_SERIES,
    COUPON_AND_ERROR,
    CONTRADICTION,
    SERIES_EXPIRED,
    TIMED_OUT,
    UNREADABLE,
    UNKNOWN_REFUSAL,
)

#: Errors beside which a coupon still counts: only the message to the customer failed (inferred).
HARMLESS_BESIDE_A_COUPON = frozenset({"704", "724"})
#: Codes that say "expired", of the series or of a coupon: the series' facts tell which.
EXPIRIES = frozenset({"712", "713"})

_INDEX = {(line.on, line.key): line for line in TABLE}
_PATTERNS = tuple((re.compile(line.key), line) for line in _MESSAGES)
#: How much of a message, or of a body, is looked at.
_LOOKED_AT = 2000
_OF_TIME = re.compile(r"tim(?:ed?|ing)[ -]?out|deadline")
#: With a 400, which blames the request, all that blames the server counts.
_OF_TROUBLE = re.compile(
    _OF_TIME.pattern + r"|\bagain\b|\blater\b|retry|unavailable|temporar|busy|overload|went wrong|unexpected"
    r"|internal|exception|(?<!validation )fail(?:ed|ure)|gateway|upstream|proxy|connection"
)


def on_code(code: str) -> Verdict | None:
    """The line of a code, if it has one."""
    return _INDEX.get((On.CODE, code))


def on_message(message: str) -> tuple[Verdict, ...]:
    """The lines whose patterns a message has."""
    words = _plain(message)
    return tuple(line for pattern, line in _PATTERNS if pattern.search(words))


def speaks_of_time(message: str) -> bool:
    """Whether a message may wrap a time-out: then something within was given up, and may have been done."""
    return _OF_TIME.search(_plain(message)) is not None


def speaks_of_trouble(body: bytes) -> bool:
    """Whether a body speaks of time or trouble, in whatever form."""
    return _OF_TROUBLE.search(_plain(body[:_LOOKED_AT].decode("utf-8", "replace"))) is not None


def _plain(words: str) -> str:
    return " ".join(words[:_LOOKED_AT].casefold().replace("_", " ").split())


def on_status(status: int, body: str = "") -> Verdict:
    """The line of a status: with this body, else by itself, else of its class, else UNREADABLE."""
    for key in (f"{status} {body}", f"{status}", f"{status // 100}xx"):
        if line := _INDEX.get((On.STATUS, key)):
            return line
    return UNREADABLE


def on_fault(kind: FaultKind) -> Verdict:
    """The line of a fault whose request may have left."""
    return _INDEX[On.FAULT, kind]


def _of(error_code: str) -> Verdict | None:
    """The line behind an `_error_code` of the result files."""
    if match := re.fullmatch(r"http-([0-9]{1,4})", error_code):
        return on_status(int(match[1]))
    if error_code.startswith("fault-"):
        return _INDEX.get((On.FAULT, error_code.removeprefix("fault-")))
    known = on_code(error_code) or _INDEX.get((On.ANSWER, error_code))
    return known or (UNKNOWN_REFUSAL if error_code else None)


def reason(error_code: str) -> str:
    """What an `_error_code` means, in plain words; empty for an empty code."""
    line = _of(error_code)
    return line.reason if line else ""


def remedy(error_code: str) -> str:
    """What a person can do about a row with this `_error_code`; empty for an empty code."""
    line = _of(error_code)
    return line.remedy if line else ""
