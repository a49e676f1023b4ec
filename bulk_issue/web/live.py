"""A job's page while it is looked at: its moving parts are sent again when they have changed (server-sent events)."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from aiohttp import web

from bulk_issue.web import jobs
from bulk_issue.web.guard import dress
from bulk_issue.web.keys import BOARD, CLOSING, SESSION
from bulk_issue.web.render import PAGES

#: Seconds between two looks, between two spoken lines, and after which a silent connection says that it lives.
LOOK, SPEAK, ALIVE = 1.0, 20.0, 15.0
#: The looks of one viewer take at most one part in so many of the time.
SHARE = 10.0
#: What is replaced, by the name of its event.
PARTS = {"now": "_now.html", "controls": "_controls.html", "reasons": "_reasons.html", "doubts": "_doubts.html"}


async def follow(request: web.Request) -> web.StreamResponse:
    """The events of one job, until the viewer leaves, the session ends or the server does."""
    at = await jobs.standing(request)
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
    dress(response)
    await response.prepare(request)
    closing, sent = request.app[CLOSING], dict[str, str]()
    last, phase, spoke = time.monotonic(), "", 0.0
    with suppress(ConnectionError):
        while not closing.is_set() and time.time() < request[SESSION].ends:
            started = time.monotonic()
            facts = jobs.facts(request, at)
            events = {name: request.app[PAGES].part(request, part, **facts) for name, part in PARTS.items()}
            if at.phase != phase or started - spoke > SPEAK:
                phase, spoke = at.phase, started
                events["spoken"] = str(facts["spoken"])
            fresh = {name: text for name, text in events.items() if sent.get(name) != text}
            if fresh or started - last > ALIVE:
                last, sent = started, sent | fresh
                await response.write("".join(map(_event, fresh, fresh.values())).encode() or b": alive\n\n")
            await _pause(closing, max(LOOK, SHARE * (time.monotonic() - started)))
            found = await request.app[BOARD].standing(at.job.spec.id)
            if found is None:
                break
            at = found
    return response


def _event(name: str, text: str) -> str:
    lines = "".join(f"data: {line}\n" for line in text.splitlines())
    return f"event: {name}\n{lines}\n"


async def _pause(closing: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await closing.wait()
