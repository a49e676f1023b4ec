"""`python -m tests.soak --minutes 5`: a busy day of the page, on two campaigns that it runs itself.

Browser tabs follow a campaign's live events and reload its page; API clients ask for the overview, a campaign and its
result files, one after the other. All at once and without a break, against a server in a process of its own. At the end
the process lives, every answer was 200, and the sandbox's book shows nobody with two coupons.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from html.parser import HTMLParser
from itertools import cycle
from pathlib import Path

import aiohttp

from bulk_issue.sandbox.server import Sandbox
from bulk_issue.sandbox.settings import Settings
from tests.console import Console, mobiles

TABS, CLIENTS, CAMPAIGNS = 20, 10, 2
#: Requests a second of the account: both campaigns share them.
RATE = 15
#: Rows of both campaigns, for each second that they have to last.
ROWS_A_SECOND = RATE + 5
#: Events that a tab reads before it loads its page again, and the most seconds that it waits for them.
EVENTS, LONGEST_LOOK = 3, 5.0
#: Seconds after which an answer counts as none.
PATIENCE = 60.0


@dataclass(slots=True)
class Figures:
    """What came of it."""

    answers: Counter[str] = field(default_factory=Counter)
    events: int = 0
    #: What wasn't answered by 200, in words.
    failed: list[str] = field(default_factory=list)
    slowest: float = 0.0
    #: Memory of the server in MB, when all had begun and at the end.
    memory: list[float] = field(default_factory=list)
    lived: bool = False
    exit_code: int | None = None
    coupons: int = 0
    served_twice: int = 0
    #: What SQLite left beside the ledger.
    left: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        served = self.coupons > 0 and not self.served_twice
        return self.lived and self.exit_code == 0 and not self.failed and not self.left and served

    def __str__(self) -> str:
        answers = ", ".join(f"{count} × {what}" for what, count in sorted(self.answers.items()))
        return (
            f"{answers}; {self.events} events; {len(self.failed)} not answered by 200 {self.failed[:5]}; "
            f"the slowest answer took {self.slowest:.1f} s; memory {' → '.join(f'{mb:.0f}' for mb in self.memory)} MB; "
            f"the server {'lived' if self.lived else 'died'}, exit code {self.exit_code}; "
            f"{self.coupons} coupons, {self.served_twice} customers with two; left beside the ledger: {self.left}"
        )


class Form(HTMLParser):
    """The form of a page that a button sends to an address that ends so, and what it sends if nobody changes it."""

    def __init__(self, page: str, ending: str) -> None:
        super().__init__()
        self.action = ""
        self._ending, self._inside, self._chosen, self._select = ending, "", "", ""
        self._values: dict[str, dict[str, str]] = {}
        self.feed(page)
        assert self.action, f"no form for {ending} in this page"
        self.values = self._values.get(self._chosen, {})

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        its = {name: value or "" for name, value in attrs}
        of = its.get("form") or self._inside
        if tag == "form":
            self._inside = its.get("id") or its["action"]
            if its["action"].endswith(self._ending):
                self.action, self._chosen = its["action"], self._inside
        elif tag == "button" and its.get("formaction", "").endswith(self._ending):
            self.action, self._chosen = its["formaction"], of
        elif tag == "input" and its.get("name") and its.get("type") not in ("checkbox", "radio"):
            self._values.setdefault(of, {})[its["name"]] = its.get("value", "")
        elif tag == "select":
            self._select = its["name"]
        elif tag == "option" and "selected" in its:
            self._values.setdefault(of, {})[self._select] = its.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._inside = ""


@dataclass(slots=True)
class Soak:
    """One server, its visitors, and how they fare."""

    http: aiohttp.ClientSession
    url: str
    #: A moment of the event loop's clock.
    until: float
    figures: Figures = field(default_factory=Figures)

    @property
    def goes_on(self) -> bool:
        return asyncio.get_running_loop().time() < self.until

    async def get(self, path: str, what: str) -> None:
        """Load something whole."""
        await self._timed(what, lambda: self._load(path))

    async def _load(self, path: str) -> int:
        async with self.http.get(self.url + path) as response:
            await response.read()
            return response.status

    async def follow(self, job: str) -> None:
        """Live events of a campaign for a while."""
        await self._timed("stream", lambda: self._listen(job))

    async def _listen(self, job: str) -> int:
        async with self.http.get(f"{self.url}/jobs/{job}/events") as stream:
            heard = 0
            try:
                async with asyncio.timeout(LONGEST_LOOK):
                    async for line in stream.content:
                        heard += line.startswith(b"event:")
                        if heard >= EVENTS or not self.goes_on:
                            break
            except TimeoutError:  # nothing changed meanwhile
                pass
            self.figures.events += heard
            return stream.status

    async def _timed(self, what: str, work: Callable[[], Awaitable[int]]) -> None:
        began = time.monotonic()
        try:
            status = await work()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self.figures.failed.append(f"{what}: {type(error).__name__}")
            return
        if status != 200:
            self.figures.failed.append(f"{what}: {status}")
        self.figures.answers[what] += 1
        self.figures.slowest = max(self.figures.slowest, time.monotonic() - began)

    # --- the visitors -------------------------------------------------------------------------------------------

    async def tab(self, job: str) -> None:
        """A browser's tab that shows a campaign."""
        while self.goes_on and len(self.figures.failed) < 100:
            await self.get(f"/jobs/{job}", "page")
            await self.follow(job)

    async def client(self, job: str) -> None:
        """A program that asks for one thing after the other."""
        paths = (("/", "overview"), (f"/jobs/{job}", "page"), (f"/jobs/{job}/results.csv", "file"))
        for path, what in cycle(paths):
            if not self.goes_on or len(self.figures.failed) >= 100:
                return
            await self.get(path, what)

    async def campaign(self, series: int, customers: list[str]) -> str:
        """Upload a file, and start its campaign; the job."""
        _address, text = await self._page(self.http.get(f"{self.url}/campaigns/new"))
        form = aiohttp.FormData(quote_fields=False)
        for name, value in (Form(text, "/campaigns").values | {"series": str(series)}).items():
            if name != "file":
                form.add_field(name, value)
        content = io.BytesIO(("mobile\n" + "\n".join(customers) + "\n").encode())
        form.add_field("file", content, filename=f"{customers[0]}.csv", content_type="text/csv")
        page = await self._page(self.http.post(f"{self.url}/campaigns", data=form, headers={"Origin": self.url}))
        start = Form(await self._showing('/start"', page), "/start")
        page = await self._page(
            self.http.post(self.url + start.action, data=start.values, headers={"Origin": self.url})
        )
        found = re.search(r"/jobs/(j\w+)/events", await self._showing('/events"', page))
        assert found
        return found[1]

    async def _page(self, asked: aiohttp.client._RequestContextManager) -> tuple[str, str]:
        """The address that it ends at, and what it shows."""
        async with asked as response:
            text = await response.text()
            assert response.status == 200, text
            return str(response.url), text

    async def _showing(self, what: str, page: tuple[str, str]) -> str:
        """A page that shows so, loaded again until it does: large files take their time."""
        async with asyncio.timeout(PATIENCE):
            while what not in page[1]:
                await asyncio.sleep(0.2)
                page = await self._page(self.http.get(page[0]))
        return page[1]


async def soak(folder: Path, seconds: float) -> Figures:
    """Let all of them visit for so long."""
    rows = int(seconds * ROWS_A_SECOND / CAMPAIGNS) + 1
    async with Sandbox(Settings(rate=0, latency=0.05)) as box, AsyncExitStack() as stack:
        console = Console(folder, box)
        limit = ("--rate", RATE * 60, "--per", "60", "--connections", "8", "--grace", "2", "--pace", "even")
        options = (*limit, "--port", "0", "--folder", folder / "page", "--type-above", "1000000")
        with (folder / "server.err").open("wb") as told:
            served = await console.start("serve", *options, err=told)
        stack.callback(_kill, served)
        assert served.stdout is not None
        line = (await served.stdout.readline()).decode()
        address = line.split()[-1] if "Sign in once at http" in line else ""
        assert address, (folder / "server.err").read_text()
        url = address.partition("/sign-in")[0]
        jar, patience = aiohttp.CookieJar(unsafe=True), aiohttp.ClientTimeout(total=PATIENCE)
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(cookie_jar=jar, timeout=patience, connector=connector) as http:
            visit = Soak(http=http, url=url, until=0.0)
            await visit._page(http.get(address))
            jobs = [await visit.campaign(box.series_id, mobiles(rows, rows * n)) for n in range(CAMPAIGNS)]
            visit.until = asyncio.get_running_loop().time() + seconds
            figures = visit.figures
            figures.memory.append(_memory(served.pid))
            await asyncio.gather(
                *(visit.tab(jobs[n % CAMPAIGNS]) for n in range(TABS)),
                *(visit.client(jobs[n % CAMPAIGNS]) for n in range(CLIENTS)),
            )
            figures.lived = served.returncode is None
            figures.memory.append(_memory(served.pid))
        if figures.lived:
            served.send_signal(signal.SIGTERM)
        await served.communicate()
        figures.exit_code = served.returncode
        figures.coupons = len(box.book.coupons_of(box.series_id))
        figures.served_twice = len(box.book.duplicates(box.series_id))
    figures.left = _beside(folder / "ledger.db")
    return figures


def _kill(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()


def _beside(ledger: Path) -> list[str]:
    return sorted(path.name for path in ledger.parent.glob(f"{ledger.name}-*"))


def _memory(pid: int) -> float:
    """What a process has in memory, in MB; 0 where the system doesn't tell."""
    try:
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(encoding="ascii"))
    except OSError:
        return 0.0
    return int(found[1]) / 1024 if found else 0.0


def main() -> int:
    """Print the figures; 0 if all was as it has to be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0)
    seconds = parser.parse_args().minutes * 60
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        figures = asyncio.run(soak(Path(folder), seconds))
    print(f"{TABS} tabs and {CLIENTS} clients on {CAMPAIGNS} campaigns for {seconds:.0f} s: {figures}")
    return 0 if figures.good else 1


if __name__ == "__main__":
    sys.exit(main())
