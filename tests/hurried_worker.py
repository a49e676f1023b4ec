"""`bulk-issue` with the patience of workers cut to a tenth: what takes seconds there takes tenths of a second here."""

from __future__ import annotations

import os
import sys
from typing import Any

import aiohappyeyeballs

from bulk_issue import engine, reconcile
from bulk_issue.app import workers
from bulk_issue.cli import main
from bulk_issue.config import Config

reconcile.SECOND_LOOK, reconcile.LOOK_AGAIN, reconcile.NAP = 1.0, 0.5, 0.5
engine.BEAT, engine.STALLED, engine.LOOK, engine.POLL, engine.FAILED = 0.5, 1.5, 0.5, 0.5, 0.5
workers.HELD, workers.LATER, workers.AGAIN, workers.GIVE_UP, workers.PAUSE = 0.5, 0.5, 0.5, 1.0, 0.1
assert Config.__init__.__kwdefaults__ is not None
Config.__init__.__kwdefaults__["send_within"] = 1.0


def _by_way_of(port: int) -> None:
    """Connect to the API by way of another port of this machine, as a network of one's own would bring one there."""
    start = aiohappyeyeballs.start_connection

    async def elsewhere(addr_infos: list[Any], **how: Any) -> Any:
        return await start([(*info[:4], (info[4][0], port)) for info in addr_infos], **how)

    aiohappyeyeballs.start_connection = elsewhere  # type: ignore[assignment]


if "API_BY" in os.environ:
    _by_way_of(int(os.environ["API_BY"]))

if __name__ == "__main__":
    sys.argv[0] = "bulk-issue"
    main()
