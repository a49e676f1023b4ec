"""The sandbox's start and end. It listens on loopback addresses only: its credentials are known to everybody."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Self

from aiohttp import web

from bulk_issue.errors import ConfigError
from bulk_issue.sandbox.book import Book
from bulk_issue.sandbox.faults import Faults
from bulk_issue.sandbox.service import Service
from bulk_issue.sandbox.settings import Settings
from bulk_issue.sandbox.waits import Waits
from bulk_issue.sandbox.world import World

_logger = logging.getLogger(__name__)


def _without_values(record: logging.LogRecord) -> bool:
    """Errors keep their type and place only: aiohttp quotes malformed requests, and those name customers."""
    if record.exc_info and record.exc_info[0] is not None:
        kind, _, trace = record.exc_info
        if issubclass(kind, ConnectionError):  # the client went while it was sending
            return False
        place = traceback.extract_tb(trace)[-1:]
        record.msg, record.args = "%s at %s", (kind.__name__, [f"{each.name}:{each.lineno}" for each in place])
        record.exc_info = None
    return True


_logger.addFilter(_without_values)


def create_app(world: World) -> web.Application:
    """The application that answers for this world."""
    waits = Waits()

    async def end(_app: web.Application) -> None:
        await waits.end()

    app = web.Application()
    app.add_routes(Service(world, waits).routes())
    app.on_shutdown.append(end)
    return app


class Sandbox:
    """A running sandbox, for as long as its `async with` block. On leaving, late coupons are in the book at once."""

    def __init__(self, settings: Settings | None = None, *, host: str = "127.0.0.1", port: int = 0) -> None:
        """Port 0 takes a free one; a host that is no loopback address raises `ConfigError`."""
        self.settings = settings or Settings()
        self._host = _loopback(host)
        self._port = port
        self._runner: web.AppRunner | None = None
        self._world: World | None = None

    async def __aenter__(self) -> Self:
        self._world = World(self.settings)
        self._runner = web.AppRunner(create_app(self._world), access_log=None, logger=_logger, shutdown_timeout=1.0)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port).start()
        except OSError as exc:
            await self._close()
            raise ConfigError(
                f"the sandbox can't listen on {self._host}, port {self._port}", hint="Choose another --port, or 0."
            ) from exc
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._close()

    async def _close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        self.book.close()

    @property
    def world(self) -> World:
        assert self._world is not None, "the sandbox isn't running yet"
        return self._world

    @property
    def url(self) -> str:
        return f"http://[{self._host}]:{self._port}" if ":" in self._host else f"http://{self._host}:{self._port}"

    @property
    def port(self) -> int:
        return self._port

    @property
    def book(self) -> Book:
        """What really happened; readable after the sandbox has ended too."""
        return self.world.book

    @property
    def faults(self) -> Faults:
        return self.world.faults

    @property
    def user(self) -> str:
        return self.settings.user

    @property
    def password(self) -> str:
        return self.settings.password

    @property
    def client_key(self) -> str:
        return self.settings.client_key

    @property
    def client_secret(self) -> str:
        return self.settings.client_secret

    @property
    def series_id(self) -> int:
        """The first series."""
        return self.settings.series[0].id


async def serve(
    settings: Settings,
    host: str,
    port: int,
    stop: asyncio.Event,
    started: Callable[[Sandbox], None] = lambda _box: None,
) -> Book:
    """Run a sandbox until `stop` is set; `started` is told when it listens. Returns its book."""
    async with Sandbox(settings, host=host, port=port) as box:
        started(box)
        await stop.wait()
    return box.book


def _loopback(host: str) -> str:
    """The address to bind; `localhost` is 127.0.0.1."""
    address = "127.0.0.1" if host == "localhost" else host
    try:
        if ipaddress.ip_address(address).is_loopback:
            return address
    except ValueError:
        pass
    raise ConfigError(
        f"the sandbox listens on this machine only, not on {host!r}",
        hint="Use 127.0.0.1, ::1 or localhost: its credentials are known to everybody.",
    )
