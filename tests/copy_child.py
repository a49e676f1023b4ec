"""`bulk-issue ledger copy` in a process that dies at a named place, as by SIGKILL: `-m tests.copy_child PLACE …`.

The shipped code knows nothing of this: what promises durability is wrapped from outside.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from bulk_issue.cli import main
from bulk_issue.ledger import copying, moved, sqlite
from bulk_issue.ledger.clocks import DatabaseClock


def _die(*_arguments: object, **_named: object) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def _marked(self: sqlite.Sqlite, connection: Any, work: Any, *, alone: bool) -> Any:
    done = _transact(self, connection, work, alone=alone)
    return _die() if isinstance(done, dict) else done


_transact = sqlite.Sqlite.transact
_wrapped: dict[str, tuple[object, str, object]] = {
    "while the rows are read back": (copying._Move, "_compared", _die),
    "before the mark is on disk": (moved, "mark", _die),
    "after the mark is on disk": (sqlite.Sqlite, "transact", _marked),
    "after the copy is committed": (DatabaseClock, "keep", _die),
    "before the last word": (moved, "settle", _die),
}


if __name__ == "__main__":
    place = sys.argv.pop(1)
    if place == "after the copy is committed":  # not already when the ledger is opened
        move = copying._Move._move

        def moved_here(self: copying._Move, here: Any, there: Any) -> Any:
            done = move(self, here, there)
            DatabaseClock.keep = _die  # type: ignore[method-assign]
            return done

        copying._Move._move = moved_here  # type: ignore[method-assign]
    else:
        setattr(*_wrapped[place])
    main()
