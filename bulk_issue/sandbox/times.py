"""The server's clock and the ways in which Capillary writes times down.

The record's times have a trap (documented sample of the EU cluster): `createdDate` is an Indian wall clock marked as
UTC, `createdDateISO` beside it is true.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, timezone
from email.utils import formatdate
from enum import StrEnum, unique

INDIA = timezone(timedelta(hours=5, minutes=30))


@unique
class Dates(StrEnum):
    """How the record writes `createdDate`."""

    #: True UTC, marked Z.
    UTC = "utc"
    #: The wall clock of +05:30, marked Z.
    MISLABELLED = "mislabelled"
    #: The wall clock of +05:30, marked so.
    INDIA = "india"


class ServerClock:
    """The sandbox's clock: the host's, off by a fixed number of seconds, and never stepped while it runs."""

    def __init__(self, offset: float) -> None:
        self._offset = offset
        self._origin = time.time() - time.monotonic()
        self._date = (0, "")

    def host(self) -> float:
        """Seconds since the epoch as the host sees them."""
        return self._origin + time.monotonic()

    def now(self) -> float:
        """Seconds since the epoch as the server sees them."""
        return self.host() + self._offset

    def date(self) -> str:
        """The value of a Date header, now."""
        second = int(self.now())
        if self._date[0] != second:
            self._date = (second, http_date(second))
        return self._date[1]


def http_date(moment: float) -> str:
    """A moment as HTTP headers write it."""
    return formatdate(moment, usegmt=True)


def written(moment: float, dates: Dates) -> str:
    """A moment as `createdDate` writes it: whole seconds, truncated."""
    match dates:
        case Dates.UTC:
            return utc(moment)
        case Dates.MISLABELLED:
            return datetime.fromtimestamp(int(moment), INDIA).strftime("%Y-%m-%dT%H:%M:%SZ")
        case Dates.INDIA:
            return india(moment)


def written_iso(moment: float, dates: Dates) -> str:
    """A moment as the `…ISO` fields write it: always true."""
    return india(moment) if dates is Dates.INDIA else utc(moment)


def utc(moment: float) -> str:
    """A moment in UTC, marked Z."""
    return datetime.fromtimestamp(int(moment), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def india(moment: float) -> str:
    """A moment as the wall clock of +05:30, marked so."""
    return datetime.fromtimestamp(int(moment), INDIA).isoformat()
