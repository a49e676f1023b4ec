"""A server as fast as Python can be, in a process of its own, so that a sender's speed is the sender's.

It keeps nothing but the moments of the first requests: a customer's coupon is derived from the customer, so that the
record agrees with the answers. `GET /clock` tells when the first and the last issue request came since `GET /anew`
(CLOCK_MONOTONIC, which all processes of a host share). It judges nothing and refuses nobody: speed is all it is for.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

SERIES = 544770
#: The answer to an issue request, as documented; the customer's mobile goes into the gaps.
_ISSUED = json.dumps(
    {
        "code": "B@@",
        "seriesId": SERIES,
        "description": "Benchmark",
        "discountCode": "BENCH",
        "validTill": "2099-12-31T00:00:00+05:30",
        "discountType": "ABS",
        "discountValue": 100.0,
        "discountUpto": 0.0,
        "discountOn": "BILL",
        "detailedInfo": "Benchmark",
        "customer": {
            "id": "@id@",
            "profiles": [
                {
                    "firstName": "A",
                    "lastName": "B",
                    "fields": {},
                    "allFields": {},
                    "identifiers": [{"type": "mobile", "value": "@@"}],
                    "commChannels": [],
                    "userId": 1,
                    "accountId": "",
                    "identifiersAll": [{"type": "mobile", "value": "@@"}],
                }
            ],
        },
        "redemptionCount": 0,
        "id": 0,
        "validTillDateTime": "2099-12-31T23:59:59+05:30",
        "warnings": [],
    },
    separators=(",", ":"),
).encode()
_GAPS = _ISSUED.replace(b'"@id@"', b"@@").split(b"@@")
_SERIES = json.dumps(
    {"entity": [{"id": SERIES, "orgId": 100001, "description": "Benchmark", "maxCreate": -1}], "warnings": []}
).encode()


@dataclass(slots=True)
class Count:
    """When issue requests came."""

    requests: int = 0
    first: float = 0.0
    last: float = 0.0


class Speaker(asyncio.Protocol):
    """One connection. Requests of one sender come whole and one at a time, as HTTP/1.1 clients send them."""

    def __init__(self, count: Count) -> None:
        self._count = count
        self._held = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        data = self._held + data
        head, found, body = data.partition(b"\r\n\r\n")
        at = head.lower().find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if not found or len(body) < length:
            self._held = data
            return
        self._held = b""
        if head.startswith(b"POST"):
            count = self._count
            count.requests += 1
            count.last = time.monotonic()
            if count.requests == 1:
                count.first = count.last
            mobile = body.rpartition(b":")[2].strip(b' "}')
            self._say(mobile.join(_GAPS))
        else:
            self._say(self._look(head.split(b" ", 2)[1].decode()))

    def _look(self, target: str) -> bytes:
        path, _, query = target.partition("?")
        if path == "/anew":
            self._count.requests = 0
        if path in ("/anew", "/clock"):
            count = self._count
            return json.dumps({"requests": count.requests, "first": count.first, "last": count.last}).encode()
        if path == "/v2/coupon/series":
            return _SERIES
        mobile = dict(part.split("=", 1) for part in query.split("&")).get("mobile", "")
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        coupon = {"code": f"B{mobile}", "seriesId": SERIES, "id": 1, "createdDate": now, "createdDateISO": now}
        customer = {"id": int(mobile), "mobile": mobile, "coupons": [coupon]}
        pages = {"limit": "100", "offset": "0", "total": 1}
        entity = {"pagination": pages, "customers": [customer]}
        return json.dumps({"entity": entity, "warnings": [], "errors": [], "success": True}).encode()

    def _say(self, body: bytes) -> None:
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )


@dataclass(frozen=True, slots=True)
class FastServer:
    """A running server, as its users see it."""

    url: str

    def anew(self) -> None:
        """Count from here."""
        self._ask("anew")

    def clock(self) -> Count:
        """What came since then."""
        return self._ask("clock")

    def _ask(self, what: str) -> Count:
        with urllib.request.urlopen(f"{self.url}/{what}") as answer:
            return Count(**json.load(answer))


@contextlib.contextmanager
def fast_server() -> Iterator[FastServer]:
    """A server process of its own, ended afterwards."""
    with subprocess.Popen([sys.executable, "-m", __name__], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield FastServer(process.stdout.readline().strip())
        finally:
            process.kill()


async def _serve() -> None:
    count = Count()
    server = await asyncio.get_running_loop().create_server(lambda: Speaker(count), "127.0.0.1", 0, backlog=1000)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve())
