"""The errors that a body names.

How a single issue words its errors is not documented. Read are the forms of its siblings: a JSON `errors` array or
object, `errorCode` with `errorMessage` (in JSON or as bare `key=value` lines), `status` objects of v1.1, a false
`status` or `success` beside a code, and XML. XML is read by pattern, never by a parser: entities are not for us.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from bulk_issue.wire.reading import Number, json_object, listed, text, truth

#: How much of a body that isn't JSON is looked at.
_LOOKED_AT = 4096
_HTML = re.compile(r"<!doctype\s+html|<html\b", re.IGNORECASE)
_FALSE = re.compile(r"<success>\s*false\s*</success>", re.IGNORECASE)
_CODE = re.compile(r"<(?:code|errorCode)>\s*(\d{1,9})\s*</")
_MESSAGE = re.compile(r"<(?:message|errorMessage)>([^<]*)</")


@dataclass(frozen=True, slots=True)
class ApiError:
    """One error as Capillary words it. An empty code says that the body names an error and no code for it."""

    code: str
    #: As it came: it may name the customer.
    message: str = field(repr=False)


def api_errors(body: bytes) -> tuple[ApiError, ...]:
    """Every error that a body names, in the forms that are documented or were seen; empty if it names none."""
    parsed = json_object(body)
    return text_errors(body) if parsed is None else json_errors(parsed)


def json_errors(parsed: dict[str, Any]) -> tuple[ApiError, ...]:
    """Every error that a JSON object names."""
    found = tuple(_named(parsed))
    if not found and False in (truth(parsed.get("status")), truth(parsed.get("success"))):
        code = parsed.get("code")
        return (ApiError(str(code) if isinstance(code, Number) else "", text(parsed.get("message"))),)
    return found


def _named(parsed: dict[str, Any]) -> Iterator[ApiError]:
    for name in ("errors", "error"):
        if parsed.get(name):
            yield from map(_error, listed(parsed[name]))
    if parsed.get("errorCode") or parsed.get("errorMessage"):
        yield ApiError(text(parsed.get("errorCode")), text(parsed.get("errorMessage")))
    for holder in (parsed, parsed.get("response")):
        status = holder.get("status") if isinstance(holder, dict) else None
        if isinstance(status, dict) and truth(status.get("success")) is not True:
            yield _error(status)


def _error(item: object) -> ApiError:
    """One item of `errors`; what can't be read is an error all the same."""
    match item:
        case dict():
            return ApiError(
                text(item.get("code")) or text(item.get("errorCode")),
                text(item.get("message")) or text(item.get("errorMessage")),
            )
        case Number():
            return ApiError(str(item), "")
        case _:
            return ApiError("", text(item))


def text_errors(body: bytes) -> tuple[ApiError, ...]:
    """The errors that a body names which isn't a JSON object: XML or `key=value` lines, whole; never a web page."""
    shown = body[:_LOOKED_AT].decode("utf-8-sig", "replace").strip()
    if shown.startswith("<"):
        if _HTML.search(shown) or not _FALSE.search(shown):
            return ()
        pairs = zip_longest(_CODE.findall(shown), _MESSAGE.findall(shown), fillvalue="")
        return tuple(ApiError(code, message.strip()) for code, message in pairs)
    lines = [line.partition("=") for line in shown.splitlines() if line.strip()]
    values = {name.strip(): value.strip(" \t,;\"'") for name, _, value in lines}
    if not all(name.isidentifier() for name in values) or not re.fullmatch(r"[0-9]{1,9}", values.get("errorCode", "")):
        return ()
    return (ApiError(values["errorCode"], values.get("errorMessage", "")),)
