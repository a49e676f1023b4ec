"""One HTTP request, and the fact whether it may have left.

"Could the request have left?" is noted by aiohttp's trace hooks at the wire, never guessed from an exception's type: a
time-out looks the same whether the request still queued for a connection or was processed long ago. No redirect is
followed, and nothing is tried again (but a GET whose connection drops, once, by aiohttp itself).
"""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import SimpleNamespace

import aiohttp
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


@dataclass(slots=True)
class _Departure:
    """The trace hooks' notes on one request."""

    #: Boot-clock second after which its body is no longer written.
    send_by: float
    #: False only if surely not one byte left.
    left: bool = False
    late: bool = False


class _TooLateError(Exception):
    """Stops aiohttp from writing; comes back wrapped, so `_Departure.late` is what counts."""


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
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        send_by: float = math.inf,
    ) -> Answer:
        """Send it once; never raises for what the network does."""
        departure = _Departure(send_by)
        try:
            async with (
                self._session() as session,
                asyncio.timeout(self._timeout),
                session.request(
                    method,
                    self._base + path,
                    params=query,
                    data=body,
                    headers={"Content-Type": "application/json", **headers} if body else headers,
                    allow_redirects=False,
                    trace_request_ctx=departure,
                ) as response,
            ):
                kept = {name: _storable(response.headers[name]) for name in KEPT if name in response.headers}
                answered = await _bounded(response)
                return Reply(status=response.status, headers=kept, body=answered, at=self._clock.now())
        except Exception as exc:  # noqa: BLE001 - whatever the library makes of what a server sends is a fault
            return self._fault(exc, departure)

    async def reset(self) -> None:
        """Use no connection of before again; requests under way end where they are. The last call closes all."""
        line, self._line = self._line, None
        if line is not None and not line.busy:
            await line.session.close()

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[aiohttp.ClientSession]:
        """The current pool; one that was retired meanwhile is closed by its last request."""
        line = self._line = self._line or _Line(self._open())
        line.busy += 1
        try:
            yield line.session
        finally:
            line.busy -= 1
            if line is not self._line and not line.busy:
                await line.session.close()

    def _open(self) -> aiohttp.ClientSession:
        hooks = aiohttp.TraceConfig()
        hooks.on_request_headers_sent.append(self._note_departure)
        hooks.on_request_chunk_sent.append(self._check_departure)
        return aiohttp.ClientSession(
            connector=_CleanConnector(limit=self._connections, keepalive_timeout=KEEP_ALIVE),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Accept": "application/json", "User-Agent": f"bulk-issue/{__version__}"},
            timeout=aiohttp.ClientTimeout(total=None),  # `send` keeps the time: aiohttp rounds it up to whole seconds
            trace_configs=[hooks],
            trust_env=False,
        )

    # The hooks are named for what comes after them: aiohttp calls both before it writes. First "headers sent", when the
    # head is only serialised; then, on Python 3.11 in a task of its own and so at least one loop step later, "chunk
    # sent", and in the very step in which that returns, head and body go to the transport in one write (aiohttp 3.14,
    # http_writer.py). So the first one notes that the request may leave, and only the second can say that it is not
    # too late. Should some version write the head earlier, the check still keeps back the body that Content-Length
    # promises, and without it no server can process the request.

    async def _note_departure(
        self, _: aiohttp.ClientSession, context: SimpleNamespace, __: aiohttp.TraceRequestHeadersSentParams
    ) -> None:
        context.trace_request_ctx.left = True

    async def _check_departure(
        self, _: aiohttp.ClientSession, context: SimpleNamespace, __: aiohttp.TraceRequestChunkSentParams
    ) -> None:
        departure: _Departure = context.trace_request_ctx
        if self._clock.now().boot > departure.send_by:
            departure.late, departure.left = True, False
            raise _TooLateError

    def _fault(self, exc: Exception, departure: _Departure) -> Fault:
        """What went wrong. The exception gives the words, the hooks the fact."""
        kind, detail = FaultKind.OTHER, _in_words(exc)
        if departure.late:
            kind, detail = FaultKind.LATE, "the request waited too long to be sent"
        elif isinstance(exc, TimeoutError):
            kind = FaultKind.TIMEOUT if departure.left else FaultKind.CONNECT
            detail = f"no {'complete answer' if departure.left else 'connection'} within {self._timeout:g} s"
        elif not departure.left:
            kind = FaultKind.CONNECT
        elif isinstance(exc, OSError | aiohttp.ClientConnectionError | aiohttp.ClientPayloadError):
            kind = FaultKind.RESET
        return Fault(kind=kind, sent=departure.left, detail=detail, at=self._clock.now())


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
    """The body, at most `LONGEST_BODY` of it; aiohttp closes a connection on which something was left unread."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > LONGEST_BODY:
            break
    return bytes(body[:LONGEST_BODY])
