"""What every request passes: the right address, a session, the form's token; and what every answer carries.

The rule: a page is for signed-in people unless it is in `OPEN`, and nothing changes anything but a POST from our own
page with its token. Answers say what went wrong and what to do, never how the server is built; logs name kinds and
places of errors, never what was in a request.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Awaitable, Callable

from aiohttp import web

from bulk_issue.errors import BulkIssueError
from bulk_issue.web.keys import PORT, SESSION, SESSIONS, SETTINGS
from bulk_issue.web.render import PAGES

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_logger = logging.getLogger(__name__)

#: Paths that need no session.
OPEN = ("/sign-in", "/static/")
#: The one place that takes files.
UPLOAD = "/campaigns"
#: Bytes that a form without a file may have.
LARGEST_FORM = 64 * 1024

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # not no-referrer: with that, browsers send `Origin: null` with our own forms
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
    "Server": "bulk-issue",
}

_SAID = {
    403: ("This wasn't sent from our page", "Open the page again and repeat what you did."),
    404: ("There is no such page", "It may have been removed. All campaigns are on the first page."),
    405: ("This can't be done here", "Go back to the first page."),
    413: ("That is too large", "Nothing was kept."),
    415: ("This isn't a form of our page", "Go back to the first page."),
    421: ("This page isn't served under that address", "Open the address that the server printed."),
}


def cookie_name(app: web.Application) -> str:
    """Browsers don't tell ports apart: each server has its own cookie."""
    return f"bulk-issue-{app[PORT]}"


@web.middleware
async def answers(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Errors as pages, and headers on everything."""
    response: web.StreamResponse
    try:
        response = await handler(request)
    except web.HTTPException as error:
        response = web.Response(status=error.status) if error.status < 400 else _said(request, error)
        for name in ("Location", "Allow", "Retry-After"):
            if name in error.headers:
                response.headers[name] = error.headers[name]
    except BulkIssueError as error:
        response = request.app[PAGES].page(request, "error.html", 409, title=error.message, hint=error.hint)
    except ConnectionError:
        raise
    except Exception as error:  # noqa: BLE001 - the outermost frame of a request: nothing of it may leak
        place = traceback.extract_tb(error.__traceback__)[-1]
        # no traceback: the error's text may quote the request
        _logger.error("a page failed: %s at %s:%s", type(error).__name__, place.name, place.lineno)  # noqa: TRY400
        response = request.app[PAGES].page(
            request,
            "error.html",
            500,
            title="A bug in bulk-issue",
            hint="Campaigns go on, and nothing is lost. Open the page again, or report it.",
        )
    if not response.prepared:
        dress(response)
    return response


def dress(response: web.StreamResponse) -> None:
    """Give an answer the headers that all of them have; streams do it before their first byte."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers.setdefault("Cache-Control", "no-store")


@web.middleware
async def address(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Only under our own names (another name that points here is a trap), and forms only from our own pages."""
    origins = request.app[SETTINGS].origins(request.app[PORT])
    scheme = "https" if request.app[SETTINGS].secure else "http"
    if f"{scheme}://{request.host.lower()}" not in origins:
        raise web.HTTPMisdirectedRequest
    if request.method not in ("GET", "HEAD", "POST"):
        raise web.HTTPMethodNotAllowed(request.method, ["GET", "HEAD", "POST"])
    if request.method == "POST" and request.headers.get("Origin", "").lower() not in origins:
        raise web.HTTPForbidden
    return await handler(request)


@web.middleware
async def signed_in(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Pages are for those who signed in; forms come with the session's token."""
    sessions = request.app[SESSIONS]
    session = sessions.find(request.cookies.get(cookie_name(request.app), ""))
    if session is not None:
        request[SESSION] = session
    if request.path.startswith(OPEN):
        return await handler(request)
    if session is None:
        if request.method == "GET" and "text/event-stream" not in request.headers.get("Accept", ""):
            raise web.HTTPSeeOther("/sign-in")
        raise web.HTTPForbidden
    if request.method == "POST":
        match request.content_type:
            case "application/x-www-form-urlencoded":
                form = await request.post()
                check_token(request, str(form.get("csrf", "")))
            case "multipart/form-data" if request.path == UPLOAD:
                pass  # it checks the token itself, before it reads the file
            case _:
                raise web.HTTPUnsupportedMediaType
    return await handler(request)


def check_token(request: web.Request, given: str) -> None:
    """Refuse a form that doesn't carry its session's token."""
    if not request.app[SESSIONS].is_csrf(request[SESSION], given):
        raise web.HTTPForbidden


def _said(request: web.Request, error: web.HTTPException) -> web.Response:
    title, hint = _SAID.get(error.status, (error.reason, ""))
    return request.app[PAGES].page(request, "error.html", error.status, title=title, hint=hint)
