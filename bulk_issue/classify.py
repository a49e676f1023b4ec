"""What an answer means for its row.

One pure, total function over the table in `verdicts`. The rule: a coupon issued twice costs money, a row left to
reconcile costs a minute; so whatever isn't certain is UNCLEAR, and "not processed" is a closed list (`_not_processed`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from bulk_issue import verdicts, wire
from bulk_issue.model import Answer, Coupon, Fault, Identifier, IdentifierKind, Meaning, Outcome, Reply
from bulk_issue.states import RowState
from bulk_issue.verdicts import Verdict

#: Characters of Capillary's own text that a reason quotes at most.
QUOTED = 200
#: From the most to the least careful: of several errors in one answer the most careful verdict counts.
_CAREFUL = (Meaning.UNCLEAR, Meaning.HALT, Meaning.HELD, Meaning.REJECTED, Meaning.NOT_PROCESSED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the request asked for, to compare the answer with."""

    series_id: int
    identifier: Identifier
    #: Epoch seconds.
    now: float
    #: GENERIC series: everybody has the same code.
    generic: bool = False


def classify(answer: Answer, asked: Asked) -> Outcome:
    """Say what an answer means. Total: any status, headers, bytes and fault give a verdict; never raises."""
    if isinstance(answer, Fault):
        verdict = verdicts.MAY_HAVE_LEFT if answer.sent else verdicts.NEVER_LEFT
        return _outcome(verdict, f"fault-{answer.kind}")
    outcome = _judge(answer, asked)
    return replace(
        outcome,
        request_id=(answer.headers.get("x-cap-requestid") or answer.headers.get("x-cap-request-id") or "")[:100],
    )


def _judge(reply: Reply, asked: Asked) -> Outcome:
    parsed = wire.json_object(reply.body)
    errors = wire.api_errors(reply.body)
    success = 200 <= reply.status < 300
    coupon = wire.coupon(parsed) if parsed is not None and success else None
    if coupon is not None:
        return _with_coupon(coupon, errors, asked)
    if parsed is not None and parsed.get("code") and success:
        return _unclear(reply)  # a `code` that isn't a string: not ours to interpret
    if not_processed := _not_processed(reply, errors, is_json=parsed is not None):
        return not_processed
    if errors and (success or 400 <= reply.status < 500):
        return _refusal(reply.status, errors, asked)
    if 400 <= reply.status < 500 and reply.status in verdicts.BY_STATUS:
        verdict = verdicts.BY_STATUS[reply.status]
        if verdict.meaning is not Meaning.NOT_PROCESSED:
            return _outcome(verdict, f"http-{reply.status}")
    return _unclear(reply)


def _with_coupon(coupon: Coupon, errors: tuple[wire.ApiError, ...], asked: Asked) -> Outcome:
    """A 2xx JSON object with a non-empty string `code`."""
    serious = [error for error in errors if error.code not in verdicts.HARMLESS_BESIDE_A_COUPON]
    if serious:
        reason = f"The answer carries a coupon and an error: {quote(serious[0].message, asked)}"
        return Outcome(meaning=Meaning.UNCLEAR, error_code=serious[0].code, reason=reason)
    if coupon.series_id != asked.series_id:
        return Outcome(
            meaning=Meaning.UNCLEAR,
            error_code="wrong-series",
            reason="The answer names another series than the one that was asked for.",
            misdirected=True,
        )
    warnings = [quote(warning, asked) for warning in coupon.warnings]
    warnings += [f"{error.code}: {quote(error.message, asked)}" for error in errors]
    if _names_another(coupon, asked.identifier):
        warnings.append("the answer lists other identifiers of this kind: a merged customer answers so")
    till = wire.moment(coupon.valid_till_date_time) or wire.moment(coupon.valid_till)
    # `validTill` shows the start of the last day (documented)
    past = till is not None and till + (0 if coupon.valid_till_date_time else 24 * 3600) < asked.now
    if (coupon.redemption_count or 0) > 0 or past:
        warnings.append("reused: this coupon was issued before")
    return Outcome(meaning=Meaning.ISSUED, coupon=coupon, warnings=tuple(warnings))


def _not_processed(reply: Reply, errors: tuple[wire.ApiError, ...], *, is_json: bool) -> Outcome | None:
    """The closed list of answers that prove that nothing was processed; None for every other."""
    status = reply.status
    codes = {error.code for error in errors}
    if status in (401, 429, 461) or (status == 521 and is_json):
        verdict = verdicts.BY_STATUS[status]
        asked_for = reply.headers.get("retry-after") if status == 429 else None
        wait = wire.retry_after(asked_for, reply.at.wall) if asked_for else None
        return replace(_outcome(verdict, f"http-{status}"), retry_after=wait)
    if status == 503 and codes == {"4001"}:
        return _outcome(verdicts.UNAUTHORISED_YET, "4001")
    if 200 <= status < 500 and errors:
        found = [_verdict_on(error) for error in errors]
        if all(verdict is not None and verdict.meaning is Meaning.NOT_PROCESSED for verdict in found):
            return _outcome(found[0] or verdicts.UNCLEAR_ANSWER, errors[0].code or f"http-{status}")
    return None


def _refusal(status: int, errors: tuple[wire.ApiError, ...], asked: Asked) -> Outcome:
    """A well-formed refusal: the most careful verdict over its errors."""
    judged = [(error, _verdict_on(error) or verdicts.UNKNOWN_REFUSAL) for error in errors]
    error, verdict = min(judged, key=lambda pair: _CAREFUL.index(pair[1].meaning))
    if verdict is verdicts.UNKNOWN_REFUSAL and status in (403, 404):
        verdict = verdicts.NOT_FOR_US
    if verdict.meaning is Meaning.NOT_PROCESSED:
        verdict = verdicts.UNCLEAR_ANSWER
    outcome = _outcome(verdict, error.code or "refused")
    text = quote(error.message, asked)
    return replace(
        outcome,
        reason=f"{verdict.reason} ({text})" if text else verdict.reason,
        if_absent=RowState.REJECTED if verdict is verdicts.UNKNOWN_REFUSAL else RowState.PENDING,
    )


def _verdict_on(error: wire.ApiError) -> Verdict | None:
    """The table's line for one error: by its message, then by its code."""
    for pattern, verdict in verdicts.BY_MESSAGE:
        if pattern.search(error.message[:2000]):
            return verdict
    return verdicts.BY_CODE.get(error.code)


def _unclear(reply: Reply) -> Outcome:
    return _outcome(verdicts.UNCLEAR_ANSWER, f"http-{reply.status}")


def _outcome(verdict: Verdict, error_code: str) -> Outcome:
    return Outcome(meaning=verdict.meaning, error_code=error_code, reason=verdict.reason)


def _names_another(coupon: Coupon, sent: Identifier) -> bool:
    """Whether the answer lists identifiers of the kind that was sent, and none of them is ours."""
    if sent.kind is IdentifierKind.ID:
        return coupon.customer_id is not None and str(coupon.customer_id) != sent.value.lstrip("0")
    listed = [value for kind, value in coupon.identifiers if kind == sent.kind]
    return bool(listed) and not any(_alike(value, sent) for value in listed)


def _alike(value: str, sent: Identifier) -> bool:
    """The same but for country code, leading zeros and case."""
    theirs, ours = value.strip().casefold(), sent.value.strip().casefold()
    if sent.kind is IdentifierKind.MOBILE:
        theirs, ours = re.sub(r"\D", "", theirs), re.sub(r"\D", "", ours)
        theirs, ours = theirs.lstrip("0"), ours.lstrip("0")
        short, long = sorted((theirs, ours), key=len)
        return len(short) >= 6 and long.endswith(short)
    if sent.kind is IdentifierKind.EXTERNAL_ID:
        return theirs.lstrip("0") == ours.lstrip("0")
    return theirs == ours


def quote(text: str, asked: Asked) -> str:
    """Capillary's own words, short, on one line, with nothing in them that names a customer or is worth money."""
    clean = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    clean = clean.replace(asked.identifier.value, "…")
    clean = re.sub(r"\S+@\S+", "…", clean)
    clean = re.sub(r"\+?\d[\d ()-]{4,}\d", "…", clean)
    clean = re.sub(r"\b(?=\w*\d)(?=\w*[A-Z])[A-Z0-9]{6,}\b", "…", clean)
    return clean if len(clean) <= QUOTED else clean[: QUOTED - 1] + "…"
