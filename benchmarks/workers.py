"""Workers on one ledger in PostgreSQL: how much of an account's limit four use together, with a job each.

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
from benchmarks.measured import account, command, customers, starting
from benchmarks.report import Part
from bulk_issue.sandbox.server import Sandbox
from tests.cluster import Cluster, running

COUNT = 4


def measure(scale: str) -> Part:
    """The limit, used by four workers with four jobs of one account."""
    per = {"smoke": 2.0, "usual": 20.0}.get(scale, 60.0)
    rows = RATE * (1 if scale == "smoke" else WINDOWS)
    with running() as cluster:
        four = asyncio.run(used("bulk-issue, four workers, a job each", _four(cluster), per, rows))
    return Part(title="Workers", tables=[table([four], per, rows)])


def _four(cluster: Cluster) -> Case:
    async def case(box: Sandbox, _folder: Path, rows: int, per: float) -> None:
        limit = ("--rate", str(RATE), "--per", str(per), "--timeout", "5", "--grace", "2")

        def work() -> None:
            with _jobs(cluster, box, rows, limit):
                _until(lambda: box.book.count(box.series_id) >= rows)

        await asyncio.to_thread(work)

    return case


@contextmanager
def _jobs(cluster: Cluster, box: Sandbox, rows: int, limit: tuple[str, ...]) -> Iterator[None]:
    """Workers, and as many jobs of so many rows together, until the body has seen enough."""
    name = cluster.database()
    command("worker", "--set-up", "--ledger", cluster.url(name, "bulk_issue_owner").url)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        who = (*account(box.url), "--ledger", cluster.url(name).url, "--quiet")
        part = rows // COUNT
        for at in range(COUNT):
            file = customers(Path(folder) / f"customers-{at}.csv", part, at * part)
            command("defer", file, "--series", box.series_id, *who, "--yes")
        workers = [starting(("worker", "--out", folder, *who, *limit)) for _ in range(COUNT)]
        try:
            yield
        finally:
            for each in workers:
                each.send_signal(signal.SIGTERM)
            for each in workers:
                each.communicate()


def _until(seen: Callable[[], bool]) -> None:
    while not seen():
        time.sleep(0.05)
