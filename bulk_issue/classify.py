"""What an answer means for its row.

One pure, total function over the table in `verdicts`. The rule: a coupon issued twice costs money, a row left to
reconcile costs a minute; so whatever isn't certain is UNCLEAR, and "not processed" is a closed list:

- surely nothing left; HTTP 429, 401; HTTP 521 with a JSON object; HTTP 503 with errorCode 4001;
- a refusal in JSON, with a 2xx or 4xx and nothing in it that may be a coupon, that says 5005 or speaks of a customer
  or series lock, and says nothing else.

Where an answer says several things (several errors; a code and a message that each have a line in the table) they must
all mean the same; otherwise the answer is UNCLEAR. So is every refusal that speaks of a time-out. A code that is known
to change its meaning stands back behind its message.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from bulk_issue import verdicts, wire
from bulk_issue.model import Answer, Coupon, Fault, Identifier, IdentifierKind, Meaning, Outcome, Reply
from bulk_issue.states import RowState
from bulk_issue.verdicts import Verdict
from bulk_issue.wire import ApiError

#: Characters of Capillary's own text that a reason quotes at most.
QUOTED = 200
#: How much of such a text is looked at, and how long an identifier is to be found within words.
_LOOKED_AT, _LONG = 2000, 4
#: Where other calls of this API put coupons: an answer with one of these is no refusal.
_HOLDERS = ("coupon", "coupons", "data", "entity", "result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the request asked for, to compare the answer with."""

    series_id: int
    identifier: Identifier
    #: Epoch seconds.
    now: float
    #: GENERIC series: everybody has the same code, so that others have redeemed it says nothing.
    generic: bool = False
    #: When the series ends, as far as its facts say so; epoch seconds.
    series_ends: float | None = None


def classify(answer: Answer, asked: Asked) -> Outcome:
    """Say what an answer means. Total: any status, headers, bytes and fault give a verdict; never raises."""
    if isinstance(answer, Fault):
        return _of_fault(answer)
    outcome = _of_reply(answer, asked)
    request_id = answer.headers.get("x-cap-requestid") or answer.headers.get("x-cap-request-id") or ""
    return replace(outcome, request_id=_printable(request_id)[:100]) if request_id else outcome


def _of_fault(fault: Fault) -> Outcome:
    line, error_code = verdicts.on_fault(fault.kind), f"fault-{fault.kind}"
    if fault.sent:
        return _outcome(line, error_code)
    return replace(_outcome(verdicts.NEVER_SENT, error_code), reason=f"{line.reason} {verdicts.NEVER_SENT.reason}")


def _of_reply(reply: Reply, asked: Asked) -> Outcome:
    status, parsed = reply.status, wire.json_object(reply.body)
    errors = wire.text_errors(reply.body) if parsed is None else wire.json_errors(parsed)
    body, is_json = parsed or {}, parsed is not None
    success = 200 <= status < 300
    if success and (coupon := wire.coupon(body)) is not None:
        return _with_coupon(coupon, errors, asked)
    if _holds_coupon(body):
        return _outcome(verdicts.UNREADABLE, f"http-{status}")
    if (busy := _busy(status, errors, is_json=is_json)) is not None:
        return replace(busy, retry_after=_wait(reply))
    if (success or errors) and _code_may_be_a_coupon(body, errors):
        return _outcome(verdicts.UNREADABLE, f"http-{status}")
    if errors and (400 <= status < 500 or (success and is_json)):
        return _refusal(reply, errors, asked, is_json=is_json)
    return _outcome(_by_status(reply), f"http-{status}", _words(errors, asked))


# --- a coupon ---------------------------------------------------------------------------------------------------


def _with_coupon(coupon: Coupon, errors: tuple[ApiError, ...], asked: Asked) -> Outcome:
    """A 2xx JSON object with a non-empty string `code`."""
    serious = [error for error in errors if not _harmless(error)]
    # An answer that names no series is misdirected too, unless its error explains that.
    if coupon.series_id != asked.series_id and (coupon.series_id is not None or not serious):
        return replace(_outcome(verdicts.WRONG_SERIES, verdicts.WRONG_SERIES.key), misdirected=True)
    if serious:
        line = verdicts.COUPON_AND_ERROR
        return _outcome(line, serious[0].code or line.key, _words(serious, asked, coupon.code))
    own = [quote(warning, asked, coupon.code) for warning in coupon.warnings]
    warnings = [*own, *(f"{error.code}: {quote(error.message, asked, coupon.code)}" for error in errors)]
    if _names_another(coupon, asked.identifier):
        warnings.append("other customer: the answer names the customer otherwise, as for merged customers")
    end = wire.validity_end(coupon.valid_till_date_time, coupon.valid_till)
    redeemed = (coupon.redemption_count or 0) > 0 and not asked.generic
    if redeemed or (end is not None and end < asked.now):
        warnings.append("reused: this coupon was issued before")
    if own:
        coupon = replace(coupon, warnings=tuple(own))
    return Outcome(meaning=Meaning.ISSUED, coupon=coupon, warnings=tuple(warnings))


def _harmless(error: ApiError) -> bool:
    return error.code in verdicts.HARMLESS_BESIDE_A_COUPON and not verdicts.on_message(error.message)


def _holds_coupon(body: Mapping[str, Any]) -> bool:
    """Whether a body looks like the answer to a request that was processed, whatever else it says."""
    inner = body.get("response")
    return any(
        (holder.get("code") and "seriesId" in holder) or any(holder.get(name) for name in _HOLDERS)
        for holder in (body, inner if isinstance(inner, dict) else {})
    )


def _code_may_be_a_coupon(body: Mapping[str, Any], errors: tuple[ApiError, ...]) -> bool:
    """Whether a body has a `code` that isn't merely the number of its errors."""
    code = body.get("code")
    numbers_errors = isinstance(code, wire.Number) and errors and all(error.code == code for error in errors)
    return bool(code) and not numbers_errors


def _names_another(coupon: Coupon, sent: Identifier) -> bool:
    """Whether the answer lists identifiers of the kind that was sent, and none of them is ours."""
    if sent.kind is IdentifierKind.ID:
        return coupon.customer_id is not None and str(coupon.customer_id) != sent.value.lstrip("0")
    listed = [value for kind, value in coupon.identifiers if kind == sent.kind]
    return bool(listed) and not any(_alike(value, sent) for value in listed)


def _alike(value: str, sent: Identifier) -> bool:
    """The same but for country code, leading zeros and case."""
    if value == sent.value:
        return True
    theirs, ours = value.strip().casefold(), sent.value.strip().casefold()
    if sent.kind is IdentifierKind.MOBILE:
        theirs, ours = (re.sub(r"\D", "", digits).lstrip("0") for digits in (theirs, ours))
        short, long = sorted((theirs, ours), key=len)
        return theirs == ours or (len(short) >= 6 and long.endswith(short))
    if sent.kind is IdentifierKind.EXTERNAL_ID:
        return theirs.lstrip("0") == ours.lstrip("0")
    return theirs == ours


# --- no coupon --------------------------------------------------------------------------------------------------


def _busy(status: int, errors: tuple[ApiError, ...], *, is_json: bool) -> Outcome | None:
    """The statuses that say "not processed", with the bodies that they need for it."""
    match status:
        case 401 | 429:
            return _outcome(verdicts.on_status(status), f"http-{status}")
        case 521 if is_json:
            return _outcome(verdicts.on_status(521, "as JSON"), "http-521")
        case 503 if errors and all(error.code == "4001" for error in errors):
            return _outcome(verdicts.on_status(503, "with 4001"), "4001")
        case _:
            return None


def _wait(reply: Reply) -> float | None:
    """Seconds that a 429 asks for; a date is compared with the server's own clock where it shows it."""
    value = reply.headers.get("retry-after", "")
    if reply.status != 429 or not value:
        return None
    now = wire.date_header(reply.headers.get("date", ""))
    return wire.retry_after(value, reply.at.wall if now is None else now)


def _by_status(reply: Reply) -> Verdict:
    """The line of a status without words that have a line of their own."""
    trouble = reply.status == 400 and verdicts.speaks_of_trouble(reply.body)
    return verdicts.on_status(reply.status, "in words of trouble" if trouble else "")


def _refusal(reply: Reply, errors: tuple[ApiError, ...], asked: Asked, *, is_json: bool) -> Outcome:
    """A well-formed refusal. None that speaks of a time-out is definite."""
    line, error_code, quoted = _refused(reply, errors, asked, is_json=is_json)
    if line.meaning is not Meaning.UNCLEAR and any(verdicts.speaks_of_time(error.message) for error in errors):
        line = verdicts.TIMED_OUT
    return _outcome(line, error_code, _words(quoted, asked))


def _refused(
    reply: Reply, errors: tuple[ApiError, ...], asked: Asked, *, is_json: bool
) -> tuple[Verdict, str, Iterable[ApiError]]:
    """The line of a refusal by its codes and messages, then by its status; its error code, and what to quote."""
    status = reply.status
    said = [(error, line) for error in errors for line in _lines(error, asked)]
    unknown = all(line is verdicts.UNKNOWN_REFUSAL for _, line in said)
    if unknown and status in (400, 405, 415, 461):
        return _by_status(reply), f"http-{status}", errors
    if unknown and status in (403, 404):
        own = next((error.code for error in errors if error.code and is_json), "")
        return verdicts.on_status(status, "in Capillary's words" if own else ""), own or f"http-{status}", errors
    # Of unclear lines, the one that leaves the most open.
    error, line = min(said, key=lambda pair: pair[1].if_absent is not RowState.PENDING)
    if len({line.meaning for _, line in said}) > 1:
        line = verdicts.CONTRADICTION
    elif line.meaning is Meaning.NOT_PROCESSED and not is_json:
        line = verdicts.UNREADABLE
    return line, error.code, [error]


def _lines(error: ApiError, asked: Asked) -> tuple[Verdict, ...]:
    """What one error says: its code's line and its message's lines, as far as they say something definite."""
    code, message = verdicts.on_code(error.code), verdicts.on_message(error.message)
    if error.code in verdicts.EXPIRIES and asked.series_ends is not None and asked.series_ends < asked.now:
        code = verdicts.SERIES_EXPIRED
    definite = tuple(line for line in message if line.meaning is not Meaning.UNCLEAR)
    if code is not None and not code.by_text:
        return (code, *definite)
    return definite or message[:1] or (code or verdicts.UNKNOWN_REFUSAL,)


# --- words for people -------------------------------------------------------------------------------------------


def _outcome(line: Verdict, error_code: str, words: str = "") -> Outcome:
    """The line's verdict, with Capillary's own words."""
    # A code of five digits or more is none of Capillary's, and may be anybody's number.
    plain = re.fullmatch(r"[\w.-]{1,40}", error_code, re.ASCII) and not re.search(r"\d{5}", error_code)
    return Outcome(
        meaning=line.meaning,
        error_code=error_code if plain else verdicts.UNKNOWN_REFUSAL.key,
        reason=f"{line.reason} Capillary says: {words}" if words else line.reason,
        if_absent=line.if_absent,
    )


def _words(errors: Iterable[ApiError], asked: Asked, code: str = "") -> str:
    """What the first error that says something says."""
    return next(filter(None, (quote(error.message, asked, code) for error in errors)), "")


def quote(words: str, asked: Asked, code: str = "") -> str:
    """Capillary's own words: short, on one line, with nothing in them that names a customer or is worth money."""
    clean = _printable(words[:_LOOKED_AT])
    if len(words) > _LOOKED_AT:
        clean = clean.rpartition(" ")[0]  # half an identifier would not be recognised
    for secret in (asked.identifier.value, code):
        if named := re.escape(_printable(secret)):
            pattern = named if len(secret) >= _LONG else rf"(?<![^\W_]){named}(?![^\W_])"
            clean = re.sub(pattern, "…", clean, flags=re.IGNORECASE)
    clean = " ".join("…" if _telling(word) else word for word in clean.split())
    clean = re.sub(r"\d(?:[ ().-]{0,2}\d){4,}", "…", clean)
    return clean if len(clean) <= QUOTED else clean[: QUOTED - 1] + "…"


def _telling(word: str) -> bool:
    """An e-mail address, or letters with digits as in a coupon code."""
    kinds = any(map(str.isdigit, word)) and any(map(str.isalpha, word))
    return "@" in word or (kinds and len(word) >= 6)


def _printable(words: str) -> str:
    """On one line, without control characters."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in words).split())
