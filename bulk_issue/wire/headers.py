"""Times in HTTP headers: `Date` and `Retry-After`."""

from __future__ import annotations

import re
from datetime import UTC
from email.utils import parsedate_to_datetime

#: No answer may pause an account for longer than this many seconds.
LONGEST_RETRY_AFTER = 3600.0
#: No date is longer; what is may not cost time.
_LONGEST = 64


def date_header(value: str) -> float | None:
    """A `Date` header as epoch seconds; None if it is unreadable."""
    if len(value) > _LONGEST:
        return None
    try:
        parsed = parsedate_to_datetime(value)
        # "-0000" comes without a zone; left so, it would be read in this machine's own.
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def retry_after(value: str, now: float) -> float | None:
    """Seconds that a Retry-After header asks for, in either of its forms: 0 … 3600; None if it is unreadable."""
    value = value.strip()
    if re.fullmatch(r"\d+(\.\d+)?", value, re.ASCII):
        return min(float(value), LONGEST_RETRY_AFTER)
    at = date_header(value)
    return None if at is None else min(max(at - now, 0.0), LONGEST_RETRY_AFTER)
