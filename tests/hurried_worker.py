"""`bulk-issue` with the patience of workers cut to a tenth: what takes seconds there takes tenths of a second here."""

from __future__ import annotations

import sys

from bulk_issue import engine, presence, reconcile
from bulk_issue.cli import main
from bulk_issue.config import Config

presence.BEAT, presence.LOOK, presence.SILENT, presence.GAP = 0.5, 0.1, 1.5, 1.0
reconcile.SECOND_LOOK, reconcile.LOOK_AGAIN, reconcile.NAP = 1.0, 0.5, 0.5
engine.BEAT, engine.STALLED, engine.LOOK, engine.POLL = 0.5, 1.5, 0.5, 0.5
assert Config.__init__.__kwdefaults__ is not None
Config.__init__.__kwdefaults__["send_within"] = 1.0

if __name__ == "__main__":
    sys.argv[0] = "bulk-issue"
    main()
