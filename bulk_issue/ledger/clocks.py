"""The database's clock, by which all hosts count permits, and how this process notices that somebody set it.

Every reading of it lies between two of our own clock, which nobody sets. So how far the database's clock has gone since
an earlier reading is known within these brackets, whatever the network does; anything else is a step of that clock.
What is smaller than `STEP` can't be told from clocks that don't run alike, and is added where permits are given back.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection, text

#: Seconds that two clocks may drift apart while one reading is compared with.
STEP = 0.1
#: Seconds after which a later reading takes the place of the one that is compared with.
RENEWED = 60.0

_NOW = text("SELECT extract(epoch FROM clock_timestamp())::float8")


@dataclass(frozen=True, slots=True)
class _Reading:
    """What the database's clock showed between two moments of ours."""

    before: float
    seconds: float
    after: float


class DatabaseClock:
    """Compares readings of one account's transactions; those that weren't committed leave no trace."""

    def __init__(self, local: Callable[[], float] = time.monotonic) -> None:
        self._local = local
        self._compared: dict[str, _Reading] = {}
        self._new: dict[str, _Reading] = {}

    def seconds(self, tx: Connection) -> float:
        """The database's own seconds since the epoch."""
        return float(tx.execute(_NOW).scalar_one())

    def read(self, tx: Connection, account: str) -> tuple[float, bool]:
        """The seconds now, and whether the clock was set since the account's permits were last looked at from here."""
        before = self._local()
        now = _Reading(before, self.seconds(tx), self._local())
        old = self._compared.get(account)
        if old is None:
            self._new[account] = now
            return now.seconds, False
        passed = now.seconds - old.seconds
        was_set = not now.before - old.after - STEP <= passed <= now.after - old.before + STEP
        if was_set or now.before - old.before > RENEWED:
            self._new[account] = now
        return now.seconds, was_set

    def latest(self, tx: Connection) -> float:
        """A moment on this clock that no process will find to be earlier than it is."""
        return self.seconds(tx) + STEP

    def keep(self) -> None:
        """What was read last was committed."""
        self._compared |= self._new
        self._new.clear()

    def forget(self) -> None:
        """What was read last was rolled back."""
        self._new.clear()
