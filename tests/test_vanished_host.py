"""A host that vanishes without a word: its cable is pulled. The oracle is the sandbox's book."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from bulk_issue.sandbox.server import Sandbox
from bulk_issue.sandbox.settings import Settings
from tests.cable import DATABASE, Cable, cable
from tests.chaos import Way
from tests.cluster import Cluster, programs, running
from tests.console import QUICK, Console, ended, mobiles


@pytest.fixture(scope="module")
def wire() -> Iterator[Cable]:
    if programs() is None:
        pytest.skip("needs PostgreSQL: apt install postgresql")
    with cable() as made:
        if made is None:
            pytest.skip("needs network namespaces: root, and `ip` (apt install iproute2)")
        yield made


@pytest.fixture(scope="module")
def database(wire: Cable) -> Iterator[Cluster]:
    with running(DATABASE, wire.on_database) as started:
        yield started


@pytest.fixture
async def hosts(wire: Cable, database: Cluster, tmp_path: Path) -> AsyncIterator[tuple[Console, Console]]:
    """The one at the end of the cable, and one that stays; both reach the API."""
    name = database.database()
    async with Sandbox(Settings(rate=0, latency=0.05)) as box, AsyncExitStack() as stack:
        way = Way(lambda: asyncio.open_connection("127.0.0.1", box.port))
        port = await stack.enter_async_context(way.opened(wire.door()))
        place = f"postgresql://bulk_issue@{DATABASE}/{name}?sslmode=disable"
        its = {"BULK_ISSUE_LEDGER": place, "BULK_ISSUE_BASE_URL": f"http://127.0.0.1:{port}", "BULK_ISSUE_ORG": "1"}
        ours = {"BULK_ISSUE_LEDGER": database.url(name).url, "BULK_ISSUE_ORG": "1"}
        yield Console(tmp_path, box, its, within=wire.on_host), Console(tmp_path, box, ours)


async def test_its_job_goes_on_elsewhere_and_it_sends_nothing_more(wire: Cable, hosts: tuple[Console, Console]) -> None:
    there, here = hosts
    file = there.customers("c.csv", mobiles(300))
    book, rate = here.box.book, ("--rate", 1200, "--connections", 4)
    process = await there.start("run", file, "--series", here.box.series_id, *QUICK, *rate)
    while book.requests() < 40:
        await asyncio.sleep(0.01)
    wire.pull()
    while (done := await here.run(file, *rate)).code == 6:  # nobody is told that the host is gone
        pass
    sent = book.requests()
    process.kill()
    await ended(process)

    assert done.code == 0, done.err
    assert sent == 300
    assert {row["_status"] for row in here.results(file)} == {"issued"}
    here.check_book(file)
