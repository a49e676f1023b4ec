"""Signing in and out."""

from __future__ import annotations

import asyncio
import math

from aiohttp import web

from bulk_issue.web.guard import cookie_name
from bulk_issue.web.keys import PASSWORD, SESSION, SESSIONS, SETTINGS, THROTTLE, TOKEN
from bulk_issue.web.render import PAGES


async def show(request: web.Request) -> web.Response:
    """The sign-in page; with the printed address' token it signs in at once."""
    if SESSION in request:
        raise web.HTTPSeeOther("/")
    token = request.query.get("token", "")
    if not token:
        return _page(request)
    return _enter(request) if await _try(request, token=token) else _page(request, "That address was used already.")


async def sign_in(request: web.Request) -> web.Response:
    """Sign in by password."""
    form = await request.post()
    if await _try(request, password=str(form.get("password", ""))[:1000]):
        return _enter(request)
    return _page(request, "That isn't the password.")


async def sign_out(request: web.Request) -> web.Response:
    """End the session, here and for whoever may have copied it."""
    request.app[SESSIONS].close(request[SESSION])
    response = web.Response(status=303, headers={"Location": "/sign-in"})
    response.del_cookie(cookie_name(request.app))
    return response


async def _try(request: web.Request, *, token: str = "", password: str = "") -> bool:
    throttle, who = request.app[THROTTLE], request.remote or ""
    if wait := throttle.wait(who):
        seconds = math.ceil(wait)
        raise web.HTTPTooManyRequests(
            headers={"Retry-After": str(seconds)}, reason=f"Too many attempts: try again in {seconds} s"
        )
    # counted before it is judged: many at once are many all the same
    throttle.failed(who)
    if token:
        fits = request.app[TOKEN].spend(token)
    else:
        known = request.app.get(PASSWORD)
        fits = known is not None and await asyncio.to_thread(known.fits, password)
    if fits:
        throttle.forget(who)
    return fits


def _enter(request: web.Request) -> web.Response:
    response = web.Response(status=303, headers={"Location": "/"})
    settings = request.app[SETTINGS]
    response.set_cookie(
        cookie_name(request.app),
        request.app[SESSIONS].open(),
        max_age=int(settings.session),
        httponly=True,
        secure=settings.secure,
        samesite="Lax",
    )
    return response


def _page(request: web.Request, trouble: str = "") -> web.Response:
    by_password = PASSWORD in request.app
    return request.app[PAGES].page(
        request, "sign_in.html", 403 if trouble else 200, trouble=trouble, by_password=by_password
    )
