"""One HTTP request, and the fact whether it may have left.

"Could the request have left?" is noted by the body itself when it is written, never guessed from an exception's type: a
time-out looks the same whether the request still queued for a connection or was processed long ago. No redirect is
followed, and nothing is tried again (but a GET whose connection drops, once, by aiohttp itself).
"""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.tracing import Trace

from bulk_issue import __version__
from bulk_issue.model import Answer, Fault, FaultKind, Reply
from bulk_issue.ports import Clock

#: No answer is read beyond this: whoever sends more is not the API.
LONGEST_BODY = 256 * 1024
#: Seconds after which an idle connection isn't used again. Apache and Node close after 5 s (field), and a POST that
#: meets a connection in that moment leaves its row in doubt.
KEEP_ALIVE = 4.0
#: The headers of an answer that somebody reads.
KEPT = ("content-type", "date", "location", "retry-after", "x-cap-requestid", "x-cap-request-id")


class _TooLateError(Exception):
    """Stops aiohttp from writing; comes back wrapped, so `_Departure.late` is what counts."""


class _Body(aiohttp.BytesPayload):
    """A request's body, which knows whether the request may have left, and doesn't leave too late.

    aiohttp keeps the head back until it writes the body (3.14, http_writer.py): `write` hands head and body to the
    transport in one piece, in the very step of the loop in which it looks at the clock. What never got as far as
    `write` never left. Should some version write the head earlier, the look still keeps back the body that
    Content-Length promises, and without it no server can process the request.
    """

    def __init__(self, content: bytes, clock: Clock, send_by: float) -> None:
        super().__init__(content, content_type="application/json")
        self._clock = clock
        #: Boot-clock second after which it is no longer written.
        self._send_by = send_by
        #: False only if surely not one byte left.
        self.left = False
        self.late = False

    async def write(self, writer: AbstractStreamWriter) -> None:
        if self._clock.now().boot > self._send_by:
            self.late = True
            raise _TooLateError
        self.left = True
        await writer.write(self._value)

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        assert content_length in (None, self._size)
        await self.write(writer)


class _UnaskedError(aiohttp.ClientConnectionError):
    """Nothing was sent on a connection that held bytes already."""


class _CleanConnector(aiohttp.TCPConnector):
    """Never reuses a connection on which something arrived unasked.

    aiohttp takes such bytes (a proxy's 408, an answer given twice) for the answer to the next request, and from
    then on every answer for that of the request after it: coupons would be booked for the wrong rows.
    """

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - the library's signature
    ) -> aiohttp.connector.Connection:
        connection = await super().connect(req, traces, timeout)
        if connection.protocol is None or connection.protocol.should_close:
            connection.close()
            raise _UnaskedError
        return connection


@dataclass(slots=True)
class _Line:
    """A pool of connections and how many requests are under way in it."""

    session: aiohttp.ClientSession
    busy: int = 0


class Exchange:
    """One request, one `Reply` or `Fault`, within `timeout` seconds for connecting, sending and reading together.

    Proxies and netrc of the environment are not used: what carries credentials and coupons goes where --base-url
    says. There are no cookies. `CancelledError` passes through, and closes the connection.
    """

    def __init__(self, base_url: str, clock: Clock, *, timeout: float, connections: int) -> None:
        self._base = base_url.rstrip("/")
        self._clock = clock
        self._timeout = timeout
        self._connections = connections
        self._line: _Line | None = None

    async def send(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        *,
        fresh: bool = False,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        send_by: float = math.inf,
    ) -> Answer:
        """Send it once; never raises for what the network does. `fresh` as in `Reply.fresh_credential`."""
        content = _Body(body, self._clock, send_by) if body is not None else None
        line = self._line = self._line or _Line(self._open())
        line.busy += 1
        try:
            async with (
                asyncio.timeout(self._timeout),
                line.session.request(
                    method, self._base + path, params=query, data=content, headers=headers, allow_redirects=False
                ) as response,
            ):
                kept = {name: _storable(response.headers[name]) for name in KEPT if name in response.headers}
                answered = await _bounded(response)
                return Reply(
                    status=response.status,
                    headers=kept,
                    body=answered[:LONGEST_BODY],
                    at=self._clock.now(),
                    fresh_credential=fresh,
                    cut=len(answered) > LONGEST_BODY,
                )
        except Exception as exc:  # noqa: BLE001 - whatever the library makes of what a server sends is a fault
            return self._fault(exc, content)
        finally:
            line.busy -= 1
            if line is not self._line and not line.busy:  # it was retired meanwhile, and this was its last request
                await line.session.close()

    async def reset(self) -> None:
        """Use no connection of before again; requests under way end where they are. The last call closes all."""
        line, self._line = self._line, None
        if line is not None and not line.busy:
            await line.session.close()

    def _open(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=_CleanConnector(limit=self._connections, keepalive_timeout=KEEP_ALIVE),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Accept": "application/json", "User-Agent": f"bulk-issue/{__version__}"},
            timeout=aiohttp.ClientTimeout(total=None),  # `send` keeps the time: aiohttp rounds it up to whole seconds
            trust_env=False,
        )

    def _fault(self, exc: Exception, content: _Body | None) -> Fault:
        """What went wrong. The exception gives the words, the body the fact; a look-up has none and may have left."""
        left, kind, detail = content is None or content.left, FaultKind.OTHER, _in_words(exc)
        if content is not None and content.late:
            kind, detail = FaultKind.LATE, "the request waited too long to be sent"
        elif isinstance(exc, TimeoutError):
            kind = FaultKind.TIMEOUT if left else FaultKind.CONNECT
            detail = f"no {'complete answer' if left else 'connection'} within {self._timeout:g} s"
        elif not left:
            kind = FaultKind.CONNECT
        elif isinstance(exc, OSError | aiohttp.ClientConnectionError | aiohttp.ClientPayloadError):
            kind = FaultKind.RESET
        return Fault(kind=kind, sent=left, detail=detail, at=self._clock.now())


def _in_words(exc: Exception) -> str:
    """An exception for people. Never its own text, which may hold the URL and in it the customer."""
    match exc:
        case aiohttp.ClientConnectorDNSError():
            return "the host's name is unknown"
        case aiohttp.ClientConnectorCertificateError():
            return "the server's TLS certificate is not to be trusted"
        case aiohttp.ClientConnectorSSLError():
            return "no TLS connection to the server"
        case aiohttp.ClientConnectorError():
            why = os.strerror(exc.errno).lower() if exc.errno and exc.errno > 0 else "no reason given"
            return f"no connection to the server: {why}"
        case _UnaskedError():
            return "an answer came that nobody had asked for"
        case aiohttp.ServerDisconnectedError():
            return "the server closed the connection without an answer"
        case aiohttp.ClientPayloadError():
            return "the answer broke off"
        case aiohttp.ClientResponseError():
            return "the answer is not HTTP"
        case OSError():
            return "the connection broke"
        case _:
            return f"the request failed: {type(exc).__name__}"


def _storable(value: str) -> str:
    """A header's text without the surrogates that stand for undecodable bytes."""
    return value.encode("utf-8", "replace").decode()


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    """The body, until it is longer than `LONGEST_BODY`; aiohttp closes a connection where something was left unread."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > LONGEST_BODY:
            break
    return bytes(body)
