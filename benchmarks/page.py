"""The upload page: flat with a large file, and quick beside a campaign without a limit."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import aiohttp

from benchmarks.measured import LIFTED, Failed, account, customers, middle, starting
from benchmarks.report import Part, Table
from benchmarks.server import SERIES, FastServer, fast_server

#: Looks at the job's page while the campaign runs.
LOOKS = 40
#: What a page shows whose campaign is running.
RUNS = 'class="badge on"'


def measure(scale: str) -> Part:
    """A small upload and a large one with their checks, and a campaign that is watched."""
    large, small = (2_000, 3_000) if scale == "smoke" else (1_000_000, 20_000)
    with fast_server() as server:
        return asyncio.run(_measured(server, large, small))


async def _measured(server: FastServer, large: int, small: int) -> Part:
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    ledger = ("--ledger", folder / "ledger.db", "--folder", folder / "page")
    process = starting(
        ("serve", "--port", 0, *account(server.url), *ledger, *LIFTED, "--type-above", 10_000_000),
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        found = re.search(r"(http://\S+)", process.stdout.readline().decode())
        if found is None:
            raise Failed("the page's server printed no address")
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
            visitor = _Visitor(http, found[1].partition("/sign-in")[0], process.pid)
            await visitor.get(found[1].removeprefix(visitor.url))
            sizes = (small, large)
            uploads = await _uploaded(
                visitor, [(rows, customers(folder / f"customers{rows}.csv", rows)) for rows in sizes]
            )
            return Part(
                title="The upload page",
                tables=[uploads, await _watched(visitor, customers(folder / "watched.csv", small), small)],
            )
    finally:
        process.terminate()
        process.communicate()
        shutil.rmtree(folder, ignore_errors=True)


class _Visitor:
    """A browser without a screen."""

    def __init__(self, http: aiohttp.ClientSession, url: str, pid: int) -> None:
        self._http, self.url, self._server = http, url, Path(f"/proc/{pid}")

    async def get(self, path: str) -> str:
        async with self._http.get(self.url + path) as response:
            return await response.text()

    async def post(self, path: str, form: object) -> tuple[str, str]:
        """The path and the text of the page that it leads to."""
        async with self._http.post(self.url + path, data=form, headers={"Origin": self.url}) as response:
            return response.url.path, await response.text()

    async def upload(self, file: Path) -> tuple[str, str]:
        token = await self.csrf()
        with file.open("rb") as content:
            form = aiohttp.FormData()
            form.add_field("csrf", token)
            form.add_field("series", str(SERIES))
            form.add_field("file", content, filename=file.name, content_type="text/csv")
            return await self.post("/campaigns", form)

    async def csrf(self) -> str:
        found = re.search(r'name="csrf" value="(\w+)"', await self.get("/campaigns/new"))
        if found is None:
            raise Failed("the page has no form")
        return found[1]

    async def checked(self, path: str, text: str) -> str:
        """The campaign's page once its file is checked."""
        while "/start" not in text:
            await asyncio.sleep(0.1)
            text = await self.get(path)
        return text

    def peak(self) -> float:
        """The server's peak of memory since the last call, in MB."""
        status = (self._server / "status").read_text(encoding="ascii")
        (self._server / "clear_refs").write_text("5", encoding="ascii")
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6


async def _uploaded(visitor: _Visitor, files: Sequence[tuple[int, Path]]) -> Table:
    table = Table(
        f"Uploads, and the wait until the start can be pressed. Before them the server had {visitor.peak():.0f} MB; "
        "the first loads what reads files.",
        ("rows", "upload s", "server's peak MB", "check s", "server's peak MB"),
    )
    for rows, file in files:
        began = time.monotonic()
        path, text = await visitor.upload(file)
        took, peak = time.monotonic() - began, visitor.peak()
        began = time.monotonic()
        await visitor.checked(path, text)
        table.add(f"{rows:,}", f"{took:.2f}", f"{peak:.0f}", f"{time.monotonic() - began:.2f}", f"{visitor.peak():.0f}")
    return table


async def _watched(visitor: _Visitor, file: Path, rows: int) -> Table:
    path, text = await visitor.upload(file)
    text = await visitor.checked(path, text)
    (agreed,) = re.findall(r'name="agreed" value="(\w+)"', text)
    form = {"csrf": await visitor.csrf(), "agreed": agreed}
    job, text = await visitor.post(f"{path}/start", form)
    until = time.monotonic() + 30.0
    while RUNS not in text and time.monotonic() < until:
        text = await visitor.get(job)
    took: list[float] = []
    while len(took) < LOOKS and RUNS in text:
        began = time.monotonic()
        text = await visitor.get(job)
        took.append(time.monotonic() - began)
        await asyncio.sleep(0.05)
    if not took:
        raise Failed(f"the campaign of {rows} rows was over before anybody looked")
    table = Table(
        f"The job's page while its {rows:,} rows are issued with the limit lifted, in the same process.",
        ("looks", "median", "slowest"),
    )
    table.add(str(len(took)), f"{middle(took) * 1000:.0f} ms", f"{max(took) * 1000:.0f} ms")
    return table
