"""A child process that reads one ledger from many threads at once, while its campaign runs and its page is looked at.

A connection that is closed or used by two threads at a time ends this process (SIGSEGV), not the tests.
"""

from __future__ import annotations

import asyncio
import re
import sys
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.cookiejar import CookieJar
from pathlib import Path

from bulk_issue import app
from bulk_issue.api import issue
from bulk_issue.app import inquiry
from bulk_issue.config import Account, Config
from bulk_issue.ending import ExitCode
from bulk_issue.ledger import SqliteLedger
from bulk_issue.model import JobId
from bulk_issue.sandbox.server import Sandbox
from bulk_issue.sandbox.settings import Settings as BoxSettings
from bulk_issue.web import server
from bulk_issue.web.settings import Settings
from tests.console import mobiles

#: Customers of the campaign, and threads of each kind: those that read the ledger, those that ask for the status as
#: the command line does, and those that look at the page.
ROWS, READERS, ASKERS, VIEWERS = 250, 20, 3, 6


def read(ledger: SqliteLedger, job: JobId, times: int) -> int:
    """Everything that people see of a job, again and again; how many looks it were."""
    views = ledger.views
    looks: list[Callable[[], object]] = [
        views.jobs,
        partial(views.job, job),
        partial(views.reasons, job),
        partial(views.pulse, job, 60),
        partial(views.runs, job),
        partial(views.doubtful, job, 50),
        partial(ledger.history.of, job),
        partial(ledger.history.sightings, ["mobile:919800001111"], ""),
        lambda: list(views.results(job)),
    ]
    for _ in range(times):
        for look in looks:
            look()
    return times * len(looks)


def ask(place: Path, job: JobId, times: int) -> int:
    """What `status JOB` asks, with connections of its own."""

    async def once() -> None:
        async with app.existing(place) as ledger:
            jobs = ledger.views.jobs()
            inquiry.standing(ledger, next(each for each in jobs if each.job.spec.id == job), jobs)

    for _ in range(times):
        asyncio.run(once())
    return times


def view(cookies: CookieJar, address: str, job: JobId, times: int) -> int:
    """Reload pages and take files away."""
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(cookies))
    paths = ("/", f"/jobs/{job}", f"/jobs/{job}/results.csv")
    for _ in range(times):
        for path in paths:
            with browser.open(address + path, timeout=60) as page:
                assert page.status == 200
                assert b"Sign in" not in page.read()
    return times * len(paths)


def signed_in(address: str) -> CookieJar:
    """The session that the printed address opens."""
    cookies = CookieJar()
    with urllib.request.build_opener(urllib.request.HTTPCookieProcessor(cookies)).open(address, timeout=60) as page:
        assert b"Sign out" in page.read()
    return cookies


async def hammer(folder: Path, times: int) -> int:
    """Do all of it at once; how many looks it were."""
    place, told = folder / "ledger.db", list[str]()
    customers = folder / "customers.csv"
    customers.write_text("mobile\n" + "\n".join(mobiles(ROWS)) + "\n")
    async with Sandbox(BoxSettings(rate=0, latency=0.02)) as box:
        config = Config(
            account=Account(base_url=box.url, user=box.user, password=box.password),
            series_id=box.series_id,
            ledger=place,
            rate=60_000,
            connections=4,
            grace=2.0,
        )
        settings = Settings(config=config, folder=folder / "page", port=0)
        with ThreadPoolExecutor(READERS + ASKERS + VIEWERS + 1) as threads:
            async with server.running(settings, told.append), app.opened(place) as shared:
                here = asyncio.get_running_loop()
                campaign = here.run_in_executor(threads, issue, customers, config)
                while not (jobs := [each for each in shared.views.jobs() if each.job.rows]):
                    await asyncio.sleep(0.01)
                job = jobs[0].job.spec.id
                found = re.fullmatch(r"(http://[^/]+)/sign-in.*", told[0])
                assert found
                cookies = await here.run_in_executor(threads, signed_in, told[0])
                looks = await asyncio.gather(
                    *(here.run_in_executor(threads, read, shared, job, times) for _ in range(READERS)),
                    *(here.run_in_executor(threads, ask, place, job, times) for _ in range(ASKERS)),
                    *(here.run_in_executor(threads, view, cookies, found[1], job, times) for _ in range(VIEWERS)),
                )
                (report,) = await campaign
        assert report.ending.exit_code is ExitCode.DONE
        assert len(box.book.coupons_of(box.series_id)) == ROWS
        assert not box.book.duplicates(box.series_id)
    return sum(looks)


if __name__ == "__main__":
    sys.stdout.write(str(asyncio.run(hammer(Path(sys.argv[1]), int(sys.argv[2])))))
