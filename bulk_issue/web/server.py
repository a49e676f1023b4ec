"""The server's start and end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import socket
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from aiohttp import web

from bulk_issue import app as services
from bulk_issue.errors import ConfigError
from bulk_issue.web import campaigns, downloads, guard, jobs, keys, live, sign_in
from bulk_issue.web.access import OneTimeToken, Password, Sessions, Throttle
from bulk_issue.web.board import Board
from bulk_issue.web.drafts import Drafts
from bulk_issue.web.inspection import Inspections
from bulk_issue.web.render import PAGES, Pages
from bulk_issue.web.settings import Settings
from bulk_issue.web.works import Works

_logger = logging.getLogger(__name__)
#: Seconds between two looks for what was kept long enough.
PURGE_EVERY = 600.0


async def serve(settings: Settings, asked: asyncio.Event, tell: Callable[[str], None]) -> None:
    """Serve the page until `asked` is set; `tell` prints the address to sign in with. Runs go on at the next start."""
    async with running(settings, tell):
        await asked.wait()


@contextlib.asynccontextmanager
async def running(settings: Settings, tell: Callable[[str], None]) -> AsyncIterator[int]:
    """A running server, and the port that it listens on."""
    settings.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    async with services.opened(settings.config.ledger) as ledger:
        app = web.Application(
            middlewares=[guard.answers, guard.address, guard.signed_in], client_max_size=guard.LARGEST_FORM
        )
        drafts = Drafts(settings.folder / "uploads")
        works = Works(settings.config, drafts, settings.folder / "running")
        app[keys.SETTINGS], app[keys.LEDGER], app[keys.DRAFTS], app[keys.WORKS] = settings, ledger, drafts, works
        app[keys.SESSIONS] = Sessions(settings.folder, settings.session)
        app[keys.THROTTLE], app[keys.CLOSING] = Throttle(), asyncio.Event()
        app[keys.INSPECTIONS] = Inspections(settings.config)
        app[keys.BOARD] = Board(ledger, works, settings.config)
        app[PAGES] = Pages()
        if settings.sign_in_file is not None:
            app[keys.PASSWORD] = Password(settings.sign_in_file)
        listening = _listen(settings)
        app[keys.PORT] = port = listening.getsockname()[1]
        app[keys.TOKEN] = OneTimeToken(lambda token: tell(f"{_address(settings, port)}/sign-in?token={token}"))
        app.add_routes(_routes(app[PAGES]))
        runner = web.AppRunner(app, access_log=None, logger=_logger, shutdown_timeout=2.0)
        await runner.setup()
        purging = asyncio.create_task(_purge(settings, drafts))
        try:
            await web.SockSite(runner, listening).start()
            app[keys.TOKEN].renew()
            works.go_on()
            yield port
        finally:
            app[keys.CLOSING].set()
            purging.cancel()
            await works.end()
            await runner.cleanup()


def _routes(pages: Pages) -> list[web.RouteDef]:
    get, post = web.get, web.post
    return [
        get("/", jobs.overview),
        get("/sign-in", sign_in.show),
        post("/sign-in", sign_in.sign_in),
        post("/sign-out", sign_in.sign_out),
        get("/static/{name}", pages.static),
        get("/campaigns/new", campaigns.new),
        post(guard.UPLOAD, campaigns.upload),
        get("/campaigns/{draft}", campaigns.show),
        post("/campaigns/{draft}/reading", campaigns.read_so),
        post("/campaigns/{draft}/look-alikes", campaigns.look_alikes),
        post("/campaigns/{draft}/start", campaigns.start),
        post("/campaigns/{draft}/discard", campaigns.discard),
        get("/jobs/{job}", jobs.show),
        get("/jobs/{job}/events", live.follow),
        get("/jobs/{job}/{name}.{ending}", downloads.send),
        post("/jobs/{job}/pause", jobs.pause),
        post("/jobs/{job}/go-on", jobs.go_on),
        post("/jobs/{job}/cancel", jobs.cancel),
        post("/jobs/{job}/put-back", jobs.put_back),
        post("/jobs/{job}/retry", jobs.retry),
        post("/jobs/{job}/look-alikes", jobs.look_alikes),
        post("/jobs/{job}/decide", jobs.decide),
    ]


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=128)
    except OSError as error:
        raise ConfigError(
            f"the page can't listen on {settings.host}, port {settings.port}: {error.strerror}",
            hint="Choose another --port, or 0 for a free one.",
        ) from error


def _address(settings: Settings, port: int) -> str:
    if settings.public_url:
        return settings.public_url.rstrip("/")
    return f"http://{f'[{settings.host}]' if ':' in settings.host else settings.host}:{port}"


async def _purge(settings: Settings, drafts: Drafts) -> None:
    while True:
        await asyncio.to_thread(_clear_downloads, settings.folder)
        await asyncio.to_thread(drafts.purge, settings.keep_uploads, settings.keep_results)
        await asyncio.sleep(PURGE_EVERY)


def _clear_downloads(folder: Path) -> None:
    """Downloads that a killed server left behind; those of now are younger."""
    now = time.time()
    for left in folder.glob("download-*"):
        if now - left.stat().st_mtime > PURGE_EVERY * 6:
            shutil.rmtree(left, ignore_errors=True)


def _without_requests(record: logging.LogRecord) -> bool:
    """Aiohttp quotes malformed requests in what it logs: only the kind of error is kept."""
    if record.exc_info and record.exc_info[0] is not None:
        record.msg, record.args, record.exc_info = "%s while a request was read", (record.exc_info[0].__name__,), None
    return True


_logger.addFilter(_without_requests)
