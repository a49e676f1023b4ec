"""Templates and what they are told: numbers grouped, times for the viewer's zone, everything else escaped."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import resources
from typing import Any

from aiohttp import web
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bulk_issue import saying
from bulk_issue.errors import BulkIssueError
from bulk_issue.shown import remedy, utc
from bulk_issue.web.keys import SESSION, SESSIONS

#: What is served under /static/, and as what.
STATIC: Mapping[str, str] = {
    "pico.min.css": "text/css",
    "page.css": "text/css",
    "htmx.min.js": "text/javascript",
    "sse.min.js": "text/javascript",
    "page.js": "text/javascript",
    "LICENSES.txt": "text/plain",
}


def hint_of(error: BulkIssueError) -> str:
    """What to do about an error, for a page: what flags say elsewhere, its fields say here."""
    if "--map" in error.hint:
        return "Choose the column below, and press “Read it so”."
    if "--no-exclude" in error.hint:
        return "Nothing was sent. The people who keep this server can put the list back, or name another one."
    return error.hint


class Pages:
    """Every page and every static file of this server."""

    def __init__(self) -> None:
        here = resources.files(__package__)
        self._static = {name: (here / "static" / name).read_bytes() for name in STATIC}
        #: Changes with the files, so that browsers may keep what they have.
        version = hashlib.sha256(b"".join(self._static.values())).hexdigest()[:12]
        self._templates = Environment(
            loader=FileSystemLoader(str(here / "templates")),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters |= {
            "number": saying.number,
            "duration": saying.duration,
            "remedy": remedy,
            "moment": _moment,
            "utc": utc,
        }
        self._templates.globals |= {"count": saying.count, "version": version, "tally_words": saying.tally_words}

    def page(self, request: web.Request, name: str, status: int = 200, /, **facts: Any) -> web.Response:
        """A whole page."""
        text = self.part(request, name, **facts)
        return web.Response(text=text, status=status, content_type="text/html", charset="utf-8")

    def part(self, request: web.Request, name: str, /, **facts: Any) -> str:
        """A template's text, for a page or for a part of one that is replaced while it is seen."""
        session = request.get(SESSION)
        csrf = request.app[SESSIONS].csrf(session) if session else ""
        return self._templates.get_template(name).render(csrf=csrf, signed_in=session is not None, **facts)

    async def static(self, request: web.Request) -> web.Response:
        """A file that ships with the page; names that aren't listed don't exist."""
        name = request.match_info["name"]
        if name not in STATIC:
            raise web.HTTPNotFound
        return web.Response(
            body=self._static[name],
            content_type=STATIC[name],
            charset="utf-8",
            headers={"Cache-Control": "public, max-age=31536000, immutable" if "v" in request.query else "no-cache"},
        )


PAGES = web.AppKey("pages", Pages)


def _moment(seconds: float | None) -> str:
    """A time as text for those without script; page.js shows it in the viewer's zone."""
    return "" if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"
