"""`python -m tests.takeover`: how long a lost worker's job waits, at default settings: the table of docs/workers.md.

Two workers, one job. The first is killed, stopped, or cut off while it runs the job, the second waits; told is after
how many seconds the server sees the next request, and after how many the last row that the first left in doubt is
settled.
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
from tests.cable import DATABASE, Cable, cable
from tests.chaos import Way
from tests.cluster import Cluster, running
from tests.console import mobiles
from tests.victims import Victims

ROWS = 400
#: Seconds after which nothing more is waited for.
LONGEST = 420.0
WAYS = ("`kill -9`", "SIGSTOP", "the database can't be reached from it", "the cable of its host is pulled")


async def measure(cluster: Cluster, wire: Cable | None, how: str) -> tuple[float, float, int]:
    """Seconds until the next request, and until nothing is in doubt; and how many rows were."""
    name = cluster.database()
    async with Sandbox(Settings(rate=300, per=60.0, latency=0.5)) as box, AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="takeover-")))
        await set_up(cluster.url(name, "bulk_issue_owner"))
        console = Victims(folder, box, {"BULK_ISSUE_LEDGER": cluster.url(name).url})
        file = console.customers("c.csv", mobiles(ROWS))
        assert (await console("defer", file, "--series", box.series_id)).code == 0
        database = Way(lambda: asyncio.open_unix_connection(cluster.folder / ".s.PGSQL.5432"))
        its = f"127.0.0.1:{await stack.enter_async_context(database.opened())}"
        if wire is not None:
            api = Way(lambda: asyncio.open_connection("127.0.0.1", box.port))
            await stack.enter_async_context(api.opened(wire.door(box.port)))
            its = DATABASE
        cut_off = Victims(folder, box, {"BULK_ISSUE_LEDGER": f"postgresql://bulk_issue@{its}/{name}?sslmode=disable"})
        cut_off.within = wire.on_host if wire is not None else ()
        first = await cut_off.start("worker", "--quiet")
        while box.book.requests() < 30:
            await asyncio.sleep(0.01)
        second = await console.start("worker", "--quiet")
        await asyncio.sleep(8.0)
        lost = time.monotonic()
        match WAYS.index(how):
            case 0:
                first.kill()
            case 1:
                first.send_signal(signal.SIGSTOP)
            case 2:
                cut = asyncio.create_task(database.cut(600.0))
                stack.callback(cut.cancel)
            case _:
                assert wire is not None
                wire.pull()
        await asyncio.sleep(2.0)  # what was under way has arrived
        before = box.book.requests()
        while box.book.requests() == before:
            await asyncio.sleep(0.02)
        again = time.monotonic() - lost
        print(f"{how}: the next request after {again:.0f} s", file=sys.stderr, flush=True)
        most, doubts = 0, 1
        while doubts and time.monotonic() - lost < LONGEST:
            await asyncio.sleep(0.5)
            look = "SELECT count(*) FROM bulk_issue.rows WHERE state = 'in_doubt'"
            doubts = int(await asyncio.to_thread(cluster.sql, look, name))
            most = max(most, doubts)
        settled = time.monotonic() - lost
        for each in (first, second):
            with suppress(ProcessLookupError):  # without its database a worker ends by itself
                each.kill()
        await asyncio.gather(first.wait(), second.wait())
        return again, settled, most


async def main() -> int:
    with cable() as wire, running(*((DATABASE, wire.on_database) if wire else ())) as cluster:
        ways = WAYS if wire else WAYS[:-1]
        found = await asyncio.gather(*(measure(cluster, wire if how == WAYS[-1] else None, how) for how in ways))
    for how, (again, settled, rows) in zip(ways, found, strict=True):
        print(f"| {how} | {again:.0f} s | {settled:.0f} s ({rows} rows) |")
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
