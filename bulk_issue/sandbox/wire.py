"""How an answer leaves: as it should, or as a fault has it."""

from __future__ import annotations

import math

from aiohttp import web

from bulk_issue.sandbox import answers
from bulk_issue.sandbox.faults import Fault, FaultKind
from bulk_issue.sandbox.refusals import Refusal, refusal, request_error
from bulk_issue.sandbox.settings import RetryAfter
from bulk_issue.sandbox.times import http_date
from bulk_issue.sandbox.waits import Waits
from bulk_issue.sandbox.world import World

JSON, XML, HTML = "application/json", "application/xml", "text/html"


class Wire:
    """Answers on HTTP, each with the server's Date and the request's id."""

    def __init__(self, world: World, waits: Waits) -> None:
        self._world = world
        self._waits = waits

    def say(self, number: str, body: bytes, *, status: int = 200, kind: str = JSON, **headers: str) -> web.Response:
        """The answer to the request of that id."""
        return web.Response(body=body, status=status, headers=self._headers(number, kind) | headers)

    def refuse(self, number: str, why: Refusal) -> web.Response:
        return self.say(number, answers.refused(why), status=why.status)

    def unauthenticated(self, number: str) -> web.Response:
        return self.say(number, answers.UNAUTHENTICATED, status=401, kind=XML)

    def limit(self, number: str, wait: float) -> web.Response:
        """A 429. Capillary documents nothing of it: here it is a gateway's page."""
        match self._world.settings.retry_after:
            case RetryAfter.NONE:
                return self._page(number, 429)
            case RetryAfter.SECONDS:
                return self._page(number, 429, **{"Retry-After": str(math.ceil(wait))})
            case RetryAfter.DATE:
                back = math.ceil(self._world.clock.now() + wait)
                return self._page(number, 429, **{"Retry-After": http_date(back)})

    async def spoil(
        self, request: web.Request, number: str, fault: Fault, body: bytes, status: int
    ) -> web.StreamResponse:
        """What the fault makes of the true answer, `body` with `status`."""
        if fault.delay:
            await self._waits.sleep(fault.delay)
        match fault.kind:
            case FaultKind.ANSWER:
                return self.say(number, body, status=status)
            case FaultKind.DROP:
                return _gone(request)
            case FaultKind.HANG:
                while request.transport is not None:
                    await self._waits.sleep(0.02)
                return _gone(request)
            case FaultKind.TRUNCATED:
                return await self._truncate(request, number, body)
            case FaultKind.UNREADABLE:
                return self.say(number, body[: len(body) // 2])
            case FaultKind.HTML:
                return self._page(number, 200)
            case FaultKind.HTTP_500:
                return self.refuse(number, request_error(500, "All requests have failed due to errors"))
            case FaultKind.HTTP_502 | FaultKind.HTTP_503 | FaultKind.HTTP_504 | FaultKind.HTTP_521:
                return self._page(number, int(fault.kind))
            case FaultKind.SERVICE_TIMED_OUT | FaultKind.QUEUE_EMPTY:
                return self.refuse(number, refusal(int(fault.kind)))
            case FaultKind.FAILED:
                return self.refuse(number, refusal(709, "Coupon processing failed: Read timed out"))
            case FaultKind.BLAMED:
                return self.say(number, b'{"message":"Something went wrong, please try again later"}', status=400)
            case FaultKind.REDIRECT:
                return self.say(number, b"", status=307, kind=HTML, Location=str(request.rel_url))
            case FaultKind.LIMITED:
                return self.limit(number, 1.0)
            case FaultKind.EXPIRED:
                self._world.access.expire(request.headers)
                return self.unauthenticated(number)
            case FaultKind.AUTHORISATION_DOWN:
                return self.say(number, answers.AUTHORISATION_DOWN, status=503)
            case FaultKind.SEARCH_BUSY:
                return self.refuse(number, request_error(461, "Search engine is busy"))

    def _headers(self, number: str, kind: str) -> dict[str, str]:
        return {"Content-Type": kind, "Date": self._world.clock.date(), "X-Cap-Requestid": number}

    def _page(self, number: str, status: int, **headers: str) -> web.Response:
        return self.say(number, answers.PAGE % (status, status), status=status, kind=HTML, **headers)

    async def _truncate(self, request: web.Request, number: str, body: bytes) -> web.StreamResponse:
        answer = web.StreamResponse(headers=self._headers(number, JSON))
        answer.content_length = len(body)
        await answer.prepare(request)
        await answer.write(body[: len(body) // 2])
        if request.transport is not None:
            request.transport.close()
        return answer


def _gone(request: web.Request) -> web.Response:
    """Close the connection; the answer that is returned finds nobody."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
