"""The real page server in a real process, and a real browser that looks at it."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import pytest
from playwright.async_api import Browser, Page, ViewportSize, async_playwright

from bulk_issue.sandbox.server import Sandbox
from tests.console import QUICK

AXE = (Path(__file__).parent / "axe" / "axe.min.js").read_text(encoding="utf-8")
#: Where pictures go, if somebody wants them: `make pictures`.
PICTURES = os.environ.get("PICTURES", "")
WIDE, NARROW = ViewportSize(width=1440, height=900), ViewportSize(width=390, height=844)
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def chromium() -> str:
    """The system's browser. Without one the tests are skipped, but not in CI."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or ""
    if not found:
        why = "no Chromium on this machine (Debian: apt-get install chromium): the pages are not tested"
        pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)
    return found


@asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        yield launched
        await launched.close()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@dataclass(slots=True)
class Server:
    """`bulk-issue serve` in a process of its own, on one port over all of its lives."""

    folder: Path
    box: Sandbox
    options: Sequence[object] = ()
    port: int = field(default_factory=_free_port)
    process: asyncio.subprocess.Process | None = None
    #: The address that it printed last.
    address: str = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("BULK_ISSUE_")}
        told = (self.folder / "server.err").open("ab")
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bulk_issue", "serve", "--port", str(self.port), *QUICK, *map(str, self.options)),
            env=inherited
            | {
                "BULK_ISSUE_BASE_URL": self.box.url,
                "BULK_ISSUE_USER": self.box.user,
                "BULK_ISSUE_PASSWORD": self.box.password,
                "BULK_ISSUE_LEDGER": str(self.folder / "ledger.db"),
                "XDG_STATE_HOME": str(self.folder / "state"),
                "XDG_DATA_HOME": str(self.folder / "data"),
                "PYTHONUNBUFFERED": "1",
            },
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=told,
        )
        told.close()
        assert self.process.stdout is not None
        line = (await self.process.stdout.readline()).decode()
        assert "Sign in once at http" in line, (self.folder / "server.err").read_text()
        self.address = line.split()[-1]

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process is not None and self.process.returncode is None:
            await self.kill()

    async def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        await self.process.communicate()

    async def stop(self) -> int:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.terminate()
        await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode


async def look(page: Page, name: str) -> None:
    """Hold the page against axe, wide and narrow, light and dark; nothing may stick out. Take pictures if asked."""
    for size, scheme in ((WIDE, "light"), (NARROW, "dark"), *(((NARROW, "light"), (WIDE, "dark")) if PICTURES else ())):
        await page.set_viewport_size(size)
        await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        await page.evaluate(AXE)
        found = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        told = [
            f"{each['id']}: {each['help']}: {[node['html'][:120] for node in each['nodes'][:3]]}"
            for each in found["violations"]
        ]
        assert not told, f"{name}, {size['width']} px, {scheme}: " + "\n".join(told)
        wide = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{name} sticks out by {wide} px at {size['width']} px"
        if PICTURES:
            await page.screenshot(path=Path(PICTURES) / f"{name}-{size['width']}-{scheme}.png", full_page=True)
    await page.set_viewport_size(WIDE)
    await page.emulate_media(color_scheme="light", reduced_motion="reduce")


async def until(page: Page, says: str) -> None:
    """Wait for a condition of the page's own; not by `wait_for_function`, which our policy against eval forbids."""
    async with asyncio.timeout(15):
        while not await page.evaluate(says):
            await asyncio.sleep(0.05)
