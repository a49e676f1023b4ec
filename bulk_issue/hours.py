"""The hours of the day in which requests may start, in the zone of the people who get the coupons.

The rule: they are open when the wall clock there says so, and nothing else counts. So hours that cross midnight, and
the days on which clocks are changed, need no rules of their own.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import datetime, time, tzinfo

from bulk_issue.errors import ConfigError

#: Nobody plans further ahead, and no forecast looks further.
FARTHEST = 366 * 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Hours:
    """From `begin` to `end` of every day, the end not included."""

    begin: time
    end: time
    zone: tzinfo

    @classmethod
    def parse(cls, text: str, zone: tzinfo) -> Hours:
        """`09:00-21:00`, or across midnight `21:00-06:00`; anything else raises `ConfigError`."""
        found = re.fullmatch(r"(\d\d?):(\d\d) ?[-–] ?(\d\d?):(\d\d)", text.strip(), re.ASCII)
        hint = "Write it like 09:00-21:00; across midnight 21:00-06:00."
        if not found:
            raise ConfigError(f"--between {text!r} can't be understood", hint=hint)
        from_hour, from_minute, to_hour, to_minute = map(int, found.groups())
        if (to_hour, to_minute) == (24, 0):
            to_hour = 0
        try:
            begin, end = time(from_hour, from_minute), time(to_hour, to_minute)
        except ValueError:
            raise ConfigError(f"--between {text!r} names a time that isn't one", hint=hint) from None
        if begin == end:
            raise ConfigError(f"--between {text!r} is no time at all, or all of it", hint="Leave it out for all day.")
        return cls(begin=begin, end=end, zone=zone)

    def open_at(self, at: float) -> bool:
        """Whether requests may start at that moment (epoch seconds, as everywhere here)."""
        shown = datetime.fromtimestamp(at, self.zone).time()
        if self.begin < self.end:
            return self.begin <= shown < self.end
        return shown >= self.begin or shown < self.end

    def changes_at(self, at: float) -> float:
        """When they next open or close. All zones of today are whole minutes from UTC, so whole minutes are tried."""
        now = self.open_at(at)
        minute = at - at % 60 + 60
        while self.open_at(minute) == now:
            minute += 60
        return minute

    def opens_at(self, at: float) -> float:
        """The first moment from `at` on at which they are open."""
        return at if self.open_at(at) else self.changes_at(at)

    def done_at(self, at: float, seconds: float) -> float:
        """When work of so many seconds ends that rests outside of the hours; infinity if that is more than a year."""
        farthest = at + FARTHEST
        at = self.opens_at(at)
        while at < farthest:
            closes = self.changes_at(at)
            if at + seconds <= closes:
                return at + seconds
            seconds -= closes - at
            at = self.opens_at(closes)
        return math.inf

    def when(self, at: float) -> str:
        """A moment as the clock there shows it."""
        return f"{datetime.fromtimestamp(at, self.zone):%H:%M on %a %d %b}"

    def __str__(self) -> str:
        return f"{self.begin:%H:%M}-{self.end:%H:%M} {self.zone}"
