"""Use of the limit, at a strict server: all of it, and never more, by one process and several, kills included."""

from __future__ import annotations

import asyncio
import hashlib
import random
import subprocess
import tempfile
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

import aiohttp
from aiolimiter import AsyncLimiter

from benchmarks.measured import FIRST_MOBILE, account, starting
from benchmarks.report import Part, Table
from bulk_issue.sandbox.book import Endpoint
from bulk_issue.sandbox.server import Sandbox
from bulk_issue.sandbox.settings import Settings

RATE, WINDOWS = 300, 5
LATENCY, JITTER = 0.1, 0.05

#: Sends so many rows to the sandbox.
Case = Callable[[Sandbox, Path, int, float], Awaitable[None]]


def measure(scale: str) -> Part:
    """Every case at the same time, each with a server and a ledger of its own: they mostly wait."""
    per = {"smoke": 2.0, "usual": 20.0}.get(scale, 60.0)
    rows = RATE * (1 if scale == "smoke" else WINDOWS)
    return asyncio.run(_measure(per, rows))


async def _measure(per: float, rows: int) -> Part:
    lines = await asyncio.gather(*(used(what, case, per, rows) for what, case in CASES.items()))
    return Part(title="Use of the limit", tables=[table(lines, per, rows)])


def table(lines: Iterable[tuple[str, int, int, int, float]], per: float, rows: int) -> Table:
    """What `used` has found of each case."""
    best = per / (per + LATENCY)
    found = Table(
        f"{rows:,} rows at a sandbox that refuses whatever is more than {RATE} in any {per:g} s and answers after "
        f"{LATENCY - JITTER:g} to {LATENCY + JITTER:g} s. A permit is free again {per:g} s after its answer, so "
        f"{best:.4f} of the limit is what can be used.",
        ("case", "requests", "refused", f"worst window of {per:g} s", "use of the limit", "of what can be used"),
    )
    for what, arrived, refused, worst, use in lines:
        found.add(what, f"{arrived:,}", f"{refused:,}", f"{worst}", f"{use:.4f}", f"{use / best:.4f}")
    return found


async def used(what: str, case: Case, per: float, rows: int) -> tuple[str, int, int, int, float]:
    """A case, its requests, how many were refused, the worst window, and the share of the limit that was used."""
    settings = Settings(rate=RATE, per=per, latency=LATENCY, jitter=JITTER, patterns=False)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        async with Sandbox(settings) as box:
            await case(box, Path(folder), rows, per)
            issues = [each for each in box.book.arrivals if each.endpoint is Endpoint.ISSUE]
            good = [each.at for each in issues if not each.limited]
            whole = int((good[-1] - good[0]) / per) or 1  # whole windows: then nobody can use more than all of it
            use = sum(at < good[0] + whole * per for at in good) / (whole * RATE)
            return what, len(issues), len(issues) - len(good), box.book.worst_window(per), use


# --- the cases --------------------------------------------------------------------------------------------------


def _run(box: Sandbox, folder: Path, first: int, rows: int, per: float, *more: object) -> subprocess.Popen[bytes]:
    file = folder / f"{first}.csv"
    file.write_text("mobile\n" + "".join(f"{FIRST_MOBILE + first + n}\n" for n in range(rows)), encoding="ascii")
    waits = ("--timeout", "5", "--grace", "2", "--rate", RATE, "--per", per)
    who = (*account(box.url), "--ledger", folder / "ledger.db", "--yes", "--quiet")
    return starting(("run", file, "--series", box.series_id, *who, *waits, *more))


async def _end(process: subprocess.Popen[bytes]) -> None:
    _, words = await asyncio.to_thread(process.communicate)
    assert process.returncode == 0, words.decode()


async def _one(box: Sandbox, folder: Path, rows: int, per: float) -> None:
    await _end(_run(box, folder, 0, rows, per))


async def _burst(box: Sandbox, folder: Path, rows: int, per: float) -> None:
    await _end(_run(box, folder, 0, rows, per, "--pace", "burst"))


async def _three(box: Sandbox, folder: Path, rows: int, per: float) -> None:
    third = rows // 3
    processes = [_run(box, folder, at * third, third, per) for at in range(3)]
    await asyncio.gather(*map(_end, processes))


async def _killed(box: Sandbox, folder: Path, rows: int, per: float) -> None:
    process = _run(box, folder, 0, rows, per)
    while box.book.requests() < rows // 2:  # noqa: ASYNC110 - the book is a list
        await asyncio.sleep(0.05)
    process.kill()
    process.communicate()
    await _end(_run(box, folder, 0, rows, per))
    assert not box.book.duplicates(box.series_id)


async def _limiter_alone(box: Sandbox, _folder: Path, rows: int, per: float) -> None:
    """`AsyncLimiter(300, 60)` around an aiohttp call, as its documentation shows it; what is refused is tried again."""
    limiter, left = AsyncLimiter(RATE, per), list(range(rows))
    auth = aiohttp.BasicAuth(box.user, hashlib.md5(box.password.encode(), usedforsecurity=False).hexdigest())
    async with aiohttp.ClientSession(auth=auth, connector=aiohttp.TCPConnector(limit=50)) as session:

        async def work() -> None:
            while left:
                row = left.pop()
                async with limiter:
                    body = {"seriesId": box.series_id, "customer": {"mobile": str(FIRST_MOBILE + row)}}
                    async with session.post(f"{box.url}/v2/coupon/issue", json=body) as answer:
                        await answer.read()
                if answer.status == 429:
                    left.append(row)
                    await asyncio.sleep(random.uniform(0.5, 1.0))

        await asyncio.gather(*(work() for _ in range(50)))


CASES: dict[str, Case] = {
    "bulk-issue, one process": _one,
    "bulk-issue, one process, `--pace burst`": _burst,
    "bulk-issue, three processes on one ledger": _three,
    "bulk-issue, killed half-way (SIGKILL) and run again": _killed,
    "`AsyncLimiter(300, per)` alone": _limiter_alone,
}
