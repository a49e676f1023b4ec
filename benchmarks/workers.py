"""Workers on one ledger in PostgreSQL: what two and four add to one, and how much of the limit four use together.

On one machine they share its cores with the database and the server. Needs PostgreSQL's server programs.
"""

from __future__ import annotations

import asyncio
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.limit import RATE, WINDOWS, Case, table, used
from benchmarks.measured import LIFTED, account, command, customers, middle, starting
from benchmarks.report import Part, Table
from benchmarks.server import SERIES, fast_server
from bulk_issue.sandbox.server import Sandbox
from tests.cluster import Cluster, running

COUNTS = (1, 2, 4)


def measure(scale: str) -> Part:
    """Speed with the limit lifted, round by round; then the limit itself."""
    rows, rounds = {"smoke": (60, 1), "usual": (15_000, 3)}.get(scale, (50_000, 5))
    per = {"smoke": 2.0, "usual": 20.0}.get(scale, 60.0)
    windows = 1 if scale == "smoke" else WINDOWS
    with running() as cluster:
        speed = _speed(cluster, rows, rounds)
        four = asyncio.run(used("bulk-issue, four workers on one ledger", _four(cluster), per, RATE * windows))
    return Part(title="Workers", tables=[speed, table([four], per, RATE * windows)])


def _speed(cluster: Cluster, rows: int, rounds: int) -> Table:
    speeds: dict[int, list[float]] = {count: [] for count in COUNTS}
    with fast_server() as server:
        for _ in range(rounds):
            for count in COUNTS:
                server.anew()
                with _job(cluster, server.url, SERIES, count, rows, LIFTED):
                    _until(lambda: server.clock().requests >= rows)
                seen = server.clock()
                speeds[count].append((seen.requests - 1) / (seen.last - seen.first))
    found = Table(
        f"{rows:,} rows with the limit lifted, from the first request to the last: the canary's way there and back is "
        f"in it. Workers, database and server share one machine. Medians of {rounds} rounds, ratios within a round.",
        ("workers", "rows/s", "against one"),
    )
    for count in COUNTS:
        ratios = [its / one for its, one in zip(speeds[count], speeds[1], strict=True)]
        against = f"{middle(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        found.add(f"{count}", f"{middle(speeds[count]):,.0f}", against)
    return found


def _four(cluster: Cluster) -> Case:
    async def case(box: Sandbox, _folder: Path, rows: int, per: float) -> None:
        limit = ("--rate", str(RATE), "--per", str(per), "--timeout", "5", "--grace", "2")

        def work() -> None:
            with _job(cluster, box.url, box.series_id, 4, rows, limit):
                _until(lambda: box.book.count(box.series_id) >= rows)

        await asyncio.to_thread(work)

    return case


@contextmanager
def _job(cluster: Cluster, url: str, series: int, count: int, rows: int, limit: tuple[str, ...]) -> Iterator[None]:
    """So many workers with a job of so many rows, until the body has seen enough."""
    name = cluster.database()
    command("worker", "--set-up", "--ledger", cluster.url(name, "bulk_issue_owner").url)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        file = customers(Path(folder) / "customers.csv", rows)
        who = (*account(url), "--ledger", cluster.url(name).url, "--quiet")
        workers = [starting(("worker", "--out", folder, *who, *limit)) for _ in range(count)]
        try:
            command("defer", file, "--series", series, "--workers", count, *who, "--yes")
            yield
        finally:
            for each in workers:
                each.send_signal(signal.SIGTERM)
            for each in workers:
                each.communicate()


def _until(seen: Callable[[], bool]) -> None:
    while not seen():
        time.sleep(0.05)
