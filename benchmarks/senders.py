"""Three ways to send the same requests, each in a process of its own: `python -m benchmarks.senders WAY URL ROWS`.

`ours` is a whole run of the package with full durability, the limit lifted; `bare` is an aiohttp loop that keeps no
state: same event loop, same connections, same bytes; `threads` is what one writes first. Each prints its wall and CPU
seconds for the sending alone: imports and the registration of the file are not in it.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.server import SERIES

CONNECTIONS = 50
FIRST_MOBILE = 919_800_000_000


def mobiles(rows: int) -> Iterator[str]:
    """So many customers."""
    return (str(FIRST_MOBILE + n) for n in range(rows))


def body(mobile: str) -> bytes:
    """What the package sends for one of them."""
    return b'{"seriesId":%d,"customer":{"mobile":"%b"}}' % (SERIES, mobile.encode())


def bare(url: str, rows: int) -> tuple[float, float]:
    """An aiohttp loop without state."""
    import aiohttp  # noqa: PLC0415 - each way pays for its own

    async def send() -> tuple[float, float]:
        left = mobiles(rows)
        headers = {"Content-Type": "application/json", "Authorization": "Basic c3RvcmU6MTIz"}
        connector = aiohttp.TCPConnector(limit=CONNECTIONS)
        async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

            async def work() -> None:
                for mobile in left:
                    async with session.post(f"{url}/v2/coupon/issue", data=body(mobile)) as answer:
                        json.loads(await answer.read())

            began, cpu = time.perf_counter(), time.process_time()
            await asyncio.gather(*(work() for _ in range(CONNECTIONS)))
            return time.perf_counter() - began, time.process_time() - cpu

    return asyncio.run(send())


def threads(url: str, rows: int) -> tuple[float, float]:
    """What one writes first, with `requests`: no limit, no record, no resume."""
    import requests  # noqa: PLC0415 - each way pays for its own

    with requests.Session() as session, ThreadPoolExecutor(CONNECTIONS) as pool:
        adapter = requests.adapters.HTTPAdapter(pool_maxsize=CONNECTIONS)
        session.mount("http://", adapter)
        session.trust_env = False

        def issue(mobile: str) -> None:
            content = {"seriesId": SERIES, "customer": {"mobile": mobile}}
            session.post(f"{url}/v2/coupon/issue", json=content, timeout=30).json()

        began, cpu = time.perf_counter(), time.process_time()
        list(pool.map(issue, mobiles(rows)))
        return time.perf_counter() - began, time.process_time() - cpu


def client(url: str, rows: int) -> tuple[float, float]:
    """The package's client alone: one `issue` for each of 50 tasks at a time, nothing recorded."""
    from bulk_issue.client import Client  # noqa: PLC0415 - each way pays for its own
    from bulk_issue.clock import SystemClock  # noqa: PLC0415
    from bulk_issue.config import Account  # noqa: PLC0415
    from bulk_issue.model import Identifier, IdentifierKind, Intent, JobId  # noqa: PLC0415

    async def send() -> tuple[float, float]:
        clock, left = SystemClock(), enumerate(mobiles(rows), 1)
        account = Account(base_url=url, user="store", password="123")  # noqa: S106 - nobody's
        async with Client(account, clock, timeout=30.0, connections=CONNECTIONS, series_id=SERIES) as client:

            async def work() -> None:
                for row, mobile in left:
                    now = clock.now()
                    who = Identifier(IdentifierKind.MOBILE, mobile, f"mobile:{mobile}")
                    await client.issue(
                        Intent(
                            job=JobId("bench"),
                            row=row,
                            attempt=1,
                            spent=0,
                            doubted=False,
                            holder="",
                            series_id=SERIES,
                            identifier=who,
                            begun=now,
                            send_by=now.boot + 5.0,
                        )
                    )

            began, cpu = time.perf_counter(), time.process_time()
            await asyncio.gather(*(work() for _ in range(CONNECTIONS)))
            return time.perf_counter() - began, time.process_time() - cpu

    return asyncio.run(send())


def ours(url: str, rows: int) -> tuple[float, float]:
    """A whole run: hold, canary and its read-back, intents, requests, records; its job registered before."""
    return asyncio.run(_ours(url, rows))


async def _ours(url: str, rows: int) -> tuple[float, float]:
    from bulk_issue.client import Client  # noqa: PLC0415 - each way pays for its own
    from bulk_issue.clock import SystemClock  # noqa: PLC0415
    from bulk_issue.config import Account, Config, Pace  # noqa: PLC0415
    from bulk_issue.crew import Hand  # noqa: PLC0415
    from bulk_issue.job import Run  # noqa: PLC0415
    from bulk_issue.ledger import open_ledger  # noqa: PLC0415
    from bulk_issue.limiter import Pacer  # noqa: PLC0415
    from bulk_issue.model import Identifier, IdentifierKind, JobId, JobSpec, Row  # noqa: PLC0415

    clock = SystemClock()
    account = Account(base_url=url, user="store", password="123")  # noqa: S106 - nobody's
    with tempfile.TemporaryDirectory() as folder:
        config = Config(
            account=account,
            series_id=SERIES,
            ledger=Path(folder) / "ledger.db",
            rate=1_000_000,
            per=0.1,
            pace=Pace.BURST,
            connections=CONNECTIONS,
        )
        spec = JobSpec(
            id=JobId("bench"),
            org="100001",
            series_id=SERIES,
            again="",
            account=account.name,
            path="bench.csv",
            sha256="",
            header=("mobile",),
            reading={},
        )
        chunks = (
            [Row(number=n, cells=(mobile,), identifier=Identifier(IdentifierKind.MOBILE, mobile, f"mobile:{mobile}"))]
            for n, mobile in enumerate(mobiles(rows), 1)
        )
        ledger = await open_ledger(config.ledger)
        job = await ledger.jobs.register(spec, chunks, lambda: 0, clock.now())
        async with Client(account, clock, timeout=config.timeout, connections=CONNECTIONS, series_id=SERIES) as client:
            parts = Hand(
                job=job,
                config=config,
                series=None,
                ledger=ledger,
                issuer=client,
                records=client,
                clock=clock,
                draw=random.random,
                pacer=lambda even: Pacer(config.rate, config.per, even=even),
                lookups=Pacer(300, 60.0, even=True),
                observer=lambda _progress: None,
            )
            began, cpu = time.perf_counter(), time.process_time()
            ending = await Run(parts).issue()
            took = time.perf_counter() - began, time.process_time() - cpu
        await ledger.close()
    assert ending.tally == {"issued": rows}, ending
    return took


if __name__ == "__main__":
    _, way, url, rows = sys.argv
    wall, cpu = {"bare": bare, "threads": threads, "client": client, "ours": ours}[way](url, int(rows))
    print(json.dumps({"wall": wall, "cpu": cpu}))
