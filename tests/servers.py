"""A server that behaves as badly as it is told, and remembers what reached it."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import parse_qsl, urlsplit

from bulk_issue.config import Account
from tests import quiet


@dataclass(frozen=True, slots=True)
class Request:
    """One request that arrived whole."""

    #: Which of the server's connections brought it, from 1.
    connection: int
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


#: What the server does about a request. It goes on reading from the connection unless that was closed.
Act = Callable[[asyncio.StreamWriter], Awaitable[None]]


def raw_answer(status: int, body: bytes, headers: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def answer(status: int = 200, body: object = b"{}", **headers: str) -> Act:
    """A whole answer; `_` in a header's name stands for `-`."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return says(raw_answer(status, content, named))


def says(raw: bytes) -> Act:
    async def act(writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        await writer.drain()

    return act


def truncated(status: int = 200) -> Act:
    """Promises more than it sends."""

    async def act(writer: asyncio.StreamWriter) -> None:
        writer.write(raw_answer(status, b"x" * 100, {})[:-50])
        await writer.drain()
        writer.close()

    return act


async def drop(writer: asyncio.StreamWriter) -> None:
    """Closes without an answer."""
    writer.close()


async def reset(writer: asyncio.StreamWriter) -> None:
    """Answers with a TCP RST."""
    plug: socket.socket = writer.get_extra_info("socket")
    plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def hang(_: asyncio.StreamWriter) -> None:
    """Never answers."""
    await asyncio.Event().wait()


def after(event: asyncio.Event, act: Act) -> Act:
    """Waits for the test's word first."""

    async def waiting(writer: asyncio.StreamWriter) -> None:
        await event.wait()
        await act(writer)

    return waiting


class Server:
    """Asks `judge` what to do about each request; all on 127.0.0.1, and gone at the end of the block."""

    def __init__(self, judge: Callable[[Request], Act]) -> None:
        self.judge = judge
        self.requests: list[Request] = []
        self.connections = 0
        #: Connections that ended, in the order in which they did.
        self.ended: list[int] = []
        #: Every byte that arrived, requests or not.
        self.heard = bytearray()
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    def scripted(cls, *acts: Act) -> Self:
        """The acts in turn; the last one for ever."""
        left = list(acts)
        return cls(lambda _: left.pop(0) if len(left) > 1 else left[0])

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks)
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def until(self, happened: Callable[[Server], bool]) -> None:
        """Return as soon as something about the server holds."""
        while not happened(self):
            self._changed.clear()
            await self._changed.wait()

    def _note(self) -> None:
        self._changed.set()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        number = self.connections
        self._note()
        try:
            while not writer.is_closing():
                request = await self._read(reader, number)
                self.requests.append(request)
                if b'"title": "bulk-issue ' in request.body:  # a notification
                    quiet.EAR.told.append(request.body.decode())
                self._note()
                await self._serve(self.judge(request), reader, writer)
        except (asyncio.CancelledError, asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            self.ended.append(number)
            self._tasks.discard(task)
            self._note()

    async def _serve(self, act: Act, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Act, unless the client goes away meanwhile."""
        acting = asyncio.ensure_future(act(writer))
        gone = asyncio.ensure_future(_gone(reader))
        try:
            await asyncio.wait((acting, gone), return_when=asyncio.FIRST_COMPLETED)
            if not acting.done():
                raise ConnectionResetError
            await acting
        finally:
            for future in (acting, gone):
                future.cancel()
            await asyncio.gather(acting, gone, return_exceptions=True)

    async def _read(self, reader: asyncio.StreamReader, connection: int) -> Request:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as exc:
            self.heard += exc.partial
            raise
        self.heard += head
        first, *lines = head.decode("latin-1").rstrip().split("\r\n")
        method, target, _ = first.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        try:
            body = await reader.readexactly(int(headers.get("content-length", "0")))
        except asyncio.IncompleteReadError as exc:
            self.heard += exc.partial
            raise
        self.heard += body
        url = urlsplit(target)
        return Request(connection, method, url.path, dict(parse_qsl(url.query)), headers, body)


async def _gone(reader: asyncio.StreamReader) -> None:
    while not reader.at_eof() and reader.exception() is None:
        await asyncio.sleep(0.001)


def basic(url: str) -> Account:
    return Account(base_url=url, user="store.server", password="server123")


def oauth(url: str, entity_type: str = "", entity_code: str = "") -> Account:
    return Account(
        base_url=url,
        client_key="the-client-key",
        client_secret="the-client-secret",
        entity_type=entity_type,
        entity_code=entity_code,
    )
