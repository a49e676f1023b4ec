"""JSON as it was written: numbers stay text, and everything else of it is read with care.

The rule: what isn't clearly a value of the wanted kind is no value. Nothing here raises.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

#: Ids are at most 64 bits wide (inferred), and so are the columns that hold them.
_LARGEST = 2**63 - 1
_INTEGER = re.compile(r"-?\d{1,19}(\.0+)?", re.ASCII)
_DAY = 24 * 3600.0
#: Date and time to the second: a time that is cut off at the minute or the day would look older than it is.
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:?\d\d)?", re.ASCII)


class Number(str):
    """A JSON number as it was written: `500.0` stays `500.0`."""

    __slots__ = ()


def _refuse(constant: str) -> None:
    raise ValueError(constant)  # NaN and Infinity are not JSON


# Numbers as text also get around Python's limit on the digits of an int.
_DECODER = json.JSONDecoder(parse_int=Number, parse_float=Number, parse_constant=_refuse)


def json_object(body: bytes) -> dict[str, Any] | None:
    """The body as a JSON object, its numbers as `Number`; None if it is anything else."""
    try:
        value = _DECODER.decode(body.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def text(value: object) -> str:
    """A string or number as text that any database and file can hold; empty for anything else."""
    if not isinstance(value, str):
        return ""
    if value.isprintable():
        return str(value)
    return value.encode("utf-8", "replace").decode().replace("\0", "")  # halves of surrogate pairs, and NUL


def integer(value: object) -> int | None:
    """An integer of at most 64 bits, written as a number or as a string."""
    if not isinstance(value, str) or not _INTEGER.fullmatch(value):
        return None
    number = int(value.split(".")[0])
    return number if abs(number) <= _LARGEST else None


def truth(value: object) -> bool | None:
    """True or false, written as such or as a string."""
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.casefold())
    return value if isinstance(value, bool) else None


def listed(value: object) -> list[Any]:
    """What may stand alone or in an array."""
    return value if isinstance(value, list) else [value]


def objects(value: object) -> list[dict[str, Any]]:
    """The objects among what may stand alone or in an array."""
    return [item for item in listed(value) if isinstance(item, dict)]


def instant(written: str) -> tuple[float, bool] | None:
    """An ISO 8601 time as epoch seconds, and whether it states its offset; without one it is taken for UTC."""
    if not _TIME.fullmatch(written):
        return None
    try:
        parsed = datetime.fromisoformat(written)
        stated = parsed.tzinfo is not None
        return (parsed if stated else parsed.replace(tzinfo=UTC)).timestamp(), stated
    except (ValueError, OverflowError):
        return None


@lru_cache(maxsize=1_000)  # nearly all coupons of a series have the same
def validity_end(exact: str, day: str) -> float | None:
    """When a validity ends: by its exact time, otherwise a day after `day`, which shows the start of the last day."""
    if end := instant(exact):
        return end[0]
    start = instant(day) or instant(f"{day}T00:00:00")
    return start[0] + _DAY if start else None
