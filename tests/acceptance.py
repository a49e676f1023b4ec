"""`make acceptance`: the real limit, 300 in any 60 s, against the strict sandbox. Takes about four minutes.

60 rows end within seconds; 900 rows in three minutes and a little; no 429; the server never sees more than the limit.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path

from bulk_issue.sandbox.server import Sandbox
from bulk_issue.sandbox.settings import Settings
from tests.console import Console, mobiles

RATE, PER = 300, 60.0


async def campaign(rows: int) -> bool:
    """Run one file at the real setting and say how it went."""
    with tempfile.TemporaryDirectory() as folder:
        async with Sandbox(Settings(latency=0.1, jitter=0.05)) as box:
            console = Console(Path(folder), box)
            file = console.customers("customers.csv", mobiles(rows))
            began = time.monotonic()
            done = await console("run", file, "--series", box.series_id)
            took = time.monotonic() - began
            print(done.out, done.err, sep="\n")
            summary = console.summary(file)
            worst, refused = box.book.worst_window(PER), len(box.book.violations)
            print(
                f"{rows} rows: exit {done.code}, {took:.1f} s, {refused} refusals, at most {worst} requests in any "
                f"{PER:g} s, utilisation {summary['utilisation']}\n"
            )
            console.check_book(file)
            return done.code == 0 and refused == 0 and worst <= RATE


async def main() -> int:
    """Run both; 0 if both kept their promises."""
    kept = [await campaign(60), await campaign(900)]
    print("Accepted." if all(kept) else "NOT accepted.")
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
