"""`python -m tests.takeover`: how long a lost worker's job waits, at default settings: the table of docs/workers.md.

Two workers, one job. The first is killed, stopped, or cut off from the database while it leads; told is after how many
seconds the server sees the next request, and after how many the last row that the first had left in doubt is settled.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
import time
from contextlib import AsyncExitStack, suppress
from pathlib import Path

from bulk_issue.app.workers import set_up
from bulk_issue.sandbox.server import Sandbox
from bulk_issue.sandbox.settings import Settings
from tests.chaos import Way
from tests.cluster import Cluster, running
from tests.console import mobiles
from tests.victims import Victims

ROWS = 400
#: Seconds after which nothing more is waited for.
LONGEST = 420.0


async def measure(cluster: Cluster, how: str, workers: int) -> tuple[float, float, int]:
    """Seconds until the next request, and until nothing is in doubt; and how many rows were."""
    name = cluster.database()
    async with Sandbox(Settings(rate=300, per=60.0, latency=0.5)) as box, AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="takeover-")))
        await set_up(cluster.url(name, "bulk_issue_owner"))
        console = Victims(folder, box, {"BULK_ISSUE_LEDGER": cluster.url(name).url})
        file = console.customers("c.csv", mobiles(ROWS))
        assert (await console("defer", file, "--series", box.series_id, "--workers", workers)).code == 0
        way = Way(lambda: asyncio.open_unix_connection(cluster.folder / ".s.PGSQL.5432"))
        port = await stack.enter_async_context(way.opened())
        cut_off = Victims(folder, box, {"BULK_ISSUE_LEDGER": f"postgresql://bulk_issue@127.0.0.1:{port}/{name}"})
        first = await cut_off.start("worker", "--quiet")
        while box.book.requests() < 30:
            await asyncio.sleep(0.01)
        second = await console.start("worker", "--quiet")
        await asyncio.sleep(8.0)
        lost = time.monotonic()
        match how:
            case "kill -9":
                first.kill()
            case "SIGSTOP":
                first.send_signal(signal.SIGSTOP)
            case _:
                cut = asyncio.create_task(way.cut(600.0))
                stack.callback(cut.cancel)
        await asyncio.sleep(2.0)  # what was under way has arrived
        before = box.book.requests()
        while box.book.requests() == before:
            await asyncio.sleep(0.02)
        again = time.monotonic() - lost
        print(f"{how}, {workers}: the next request after {again:.0f} s", file=sys.stderr, flush=True)
        doubts = most = 0
        while True:
            said = await asyncio.to_thread(
                cluster.sql,
                "SELECT count(*) FILTER (WHERE rows.state = 'in_doubt'), max(lost)"
                " FROM bulk_issue.rows, bulk_issue.runs",
                name,
            )
            count, gone = said.split("|")
            doubts, most = int(count), max(most, int(count))
            if (gone == "1" and most and not doubts) or time.monotonic() - lost > LONGEST:
                break
            await asyncio.sleep(0.5)
        settled = time.monotonic() - lost
        for each in (first, second):
            with suppress(ProcessLookupError):  # without its database a worker ends by itself
                each.kill()
        await asyncio.gather(first.wait(), second.wait())
        return again, settled, most


async def main() -> int:
    with running() as cluster:
        each = [(how, workers) for how in ("kill -9", "SIGSTOP", "cut off the database") for workers in (1, 2)]
        found = await asyncio.gather(*(measure(cluster, how, workers) for how, workers in each))
    for (how, workers), (again, settled, rows) in zip(each, found, strict=True):
        print(f"| {how} | {workers} | {again:.0f} s | {settled:.0f} s ({rows} rows) |")
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
