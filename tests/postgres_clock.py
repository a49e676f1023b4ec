"""A database's clock that moves only when told to."""

from __future__ import annotations

from sqlalchemy import Connection

from bulk_issue.ledger.clocks import DatabaseClock
from tests.clocks import ManualClock


class ManualDatabaseClock(DatabaseClock):
    """Runs exactly as the process' own, so nothing has to be allowed for."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(lambda: clock.boot)
        self._clock = clock

    def seconds(self, tx: Connection) -> float:
        del tx
        return self._clock.boot

    def latest(self, tx: Connection) -> float:
        return self.seconds(tx)
