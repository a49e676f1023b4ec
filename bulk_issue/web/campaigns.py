"""A campaign before its start: upload, how the file is read, what is wrong with it, what it would do, start."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from aiohttp import web

from bulk_issue import before
from bulk_issue.errors import AgreementChanged, BulkIssueError, SourceError
from bulk_issue.model import IdentifierKind
from bulk_issue.outlook import Plan
from bulk_issue.saying import number
from bulk_issue.web.drafts import Draft, columns_from, word
from bulk_issue.web.inspection import Inspected
from bulk_issue.web.keys import BOARD, DRAFTS, INSPECTIONS, SETTINGS, WORKS
from bulk_issue.web.plain import hint_of
from bulk_issue.web.render import PAGES
from bulk_issue.web.uploads import receive
from bulk_issue.web.works import Order, Task, Work

#: Seconds that a page waits for what takes its time, before it says so and looks again.
PATIENCE, AGAIN = 2.0, "2"


async def new(request: web.Request) -> web.Response:
    """The form that takes a file."""
    return _form(request)


async def upload(request: web.Request) -> web.StreamResponse:
    """Take a file; a failures file knows its series by its job."""
    try:
        draft, fields = await receive(request)
    except SourceError as error:
        return _form(request, error, 422)
    draft = replace(draft, series_id=_series(fields.get("series", "")), again=fields.get("again", "").strip()[:80])
    request.app[DRAFTS].save(draft)
    raise web.HTTPSeeOther(f"/campaigns/{draft.id}")


def _series(text: str) -> int:
    """The series of the first form; 0, to be asked for, where it isn't a number."""
    text = text.strip()
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 16 else 0


async def show(request: web.Request) -> web.Response:
    """What the file holds, how it is read, and the way to start."""
    return await _show(request, _draft(request))


async def read_so(request: web.Request) -> web.StreamResponse:
    """Read the file another way, or for another series."""
    draft, form = _draft(request), await request.post()
    try:
        draft = _as_said(draft, form, await request.app[INSPECTIONS].of(draft))
    except BulkIssueError as error:
        return await _show(request, draft, error)
    request.app[DRAFTS].save(draft)
    raise web.HTTPSeeOther(f"/campaigns/{draft.id}")


async def look_alikes(request: web.Request) -> web.StreamResponse:
    """Keep what the person says of those who look like others, and show what would be sent then."""
    draft, form = _draft(request), await request.post()
    said = word(str(form.get("alike", "")))
    request.app[DRAFTS].save(replace(draft, alike=str(said or "")))
    raise web.HTTPSeeOther(f"/campaigns/{draft.id}#holds")


async def start(request: web.Request) -> web.StreamResponse:
    """Start what the person saw, and nothing else: what was changed in the form since is shown first."""
    draft, form = _draft(request), await request.post()
    try:
        inspected = await request.app[INSPECTIONS].of(draft)
        said = _as_said(draft, form, inspected)
        if said != draft:
            request.app[DRAFTS].save(said)
            raise AgreementChanged(
                "nothing was sent: you had changed how the file is read, or for which series",
                hint="It is read so now. Look at the numbers once more, and start what you see.",
            )
        rows = inspected.checked.outlook.rows if inspected.checked else 0
        if not draft.series_id:
            raise SourceError("no series is chosen", hint="Fill in the coupon series.")
        if rows > request.app[SETTINGS].confirm_above and whole(str(form.get("typed", ""))) != rows:
            raise SourceError(
                "the number of rows wasn't typed, or is another",
                hint=f"To start, type {number(rows)} into the field above the button.",
            )
        if not form.get("agreed"):
            raise SourceError("nothing was started", hint="Look at the numbers, and start what you see.")
    except BulkIssueError as error:
        return await _show(request, _draft(request), error)
    request.app[INSPECTIONS].forget(draft.id)
    order = Order(task=Task.START, key=draft.id, agreed=str(form["agreed"]), all_short="all_short" in form)
    work = request.app[WORKS].start(order)
    await _wait(work)
    raise web.HTTPSeeOther(_place_of(work))


def _as_said(draft: Draft, form: Mapping[str, Any], inspected: Inspected) -> Draft:
    """The draft as the form's fields say; a field that the form doesn't have says nothing."""

    def said(name: str, longest: int) -> str:
        return str(form.get(name, getattr(draft, name))).strip(" ")[:longest]

    series = str(form.get("series", draft.series_id or "")).strip()
    if series and not _series(series):
        raise SourceError(f"the coupon series {series[:40]!r} isn't a number", hint="Write its digits, nothing else.")
    header = inspected.preview.header if inspected.preview else ()
    chosen = draft.columns
    if header and any(f"column-{kind}" in form for kind in IdentifierKind):
        chosen = columns_from(form, header)
        if inspected.checked is not None and not chosen:
            raise SourceError(
                "no column is chosen to name the customers",
                hint="Choose one below, and press “Read it so”. Nothing was sent.",
            )
        if inspected.checked is not None and dict(chosen) == inspected.checked.columns:
            chosen = draft.columns  # as it is read now, chosen or found
    told = replace(
        draft,
        series_id=_series(series),
        again=said("again", 80),
        columns=chosen,
        delimiter=said("delimiter", 1),
        encoding=said("encoding", 40),
        sheet=said("sheet", 80),
    )
    return told.answered(draft, str(form.get("first", "")), inspected.first.record if inspected.first else 0)


async def discard(request: web.Request) -> web.StreamResponse:
    """Remove an upload that isn't wanted."""
    draft = _draft(request)
    if not _running(request.app[WORKS].find(draft.id)):
        request.app[DRAFTS].discard(draft.id)
    raise web.HTTPSeeOther("/")


# --- shared -----------------------------------------------------------------------------------------------------


async def _show(request: web.Request, draft: Draft, error: BulkIssueError | None = None) -> web.Response:
    work = request.app[WORKS].find(draft.id)
    if work is not None and (work.job is not None or _running(work)):
        await _wait(work)
        if work.job is not None:
            raise web.HTTPSeeOther(_place_of(work))
        return _waiting(request, draft, "Reading the file and writing its rows down")
    error = error or (work.failure if work is not None else None)
    task = request.app[INSPECTIONS].of(draft)
    await asyncio.wait([task], timeout=PATIENCE)
    if not task.done():
        return _waiting(request, draft, "Reading the file")
    inspected = task.result()
    if inspected.preview is not None and inspected.preview.origin is not None and not draft.series_id:
        parent = await request.app[BOARD].standing(inspected.preview.origin)
        if parent is not None:
            draft = replace(draft, series_id=parent.job.spec.series_id, again=parent.job.spec.again)
            request.app[DRAFTS].save(draft)
            return await _show(request, draft, error)
    return request.app[PAGES].page(
        request, "campaign.html", 422 if error else 200, **_facts(request, draft, inspected, error)
    )


def _facts(request: web.Request, draft: Draft, inspected: Inspected, error: BulkIssueError | None) -> dict[str, Any]:
    settings = request.app[SETTINGS]
    checked, plan = inspected.checked, Plan.of(settings.config)
    found = checked.survey if checked else None
    header = inspected.preview.header if inspected.preview else ()
    used = checked.columns if checked else dict(draft.columns)
    return {
        "draft": draft,
        "preview": inspected.preview,
        "first": inspected.first.first if inspected.first else (),
        "checked": checked,
        "found": found,
        "damage": inspected.damage,
        "trouble": [_ours(each, draft) for each in (error, inspected.trouble) if each is not None],
        "kinds": list(IdentifierKind),
        "places": {kind: header.index(column) for kind, column in used.items() if column in header},
        "repeats": [line.strip() for line in before.repeats_words(checked, found)] if checked and found else [],
        "alike": [line.strip() for line in before.look_alike_words(checked)] if checked else [],
        "elsewhere": [line.strip() for line in before.elsewhere_words(checked)] if checked else [],
        "series": [line.strip() for line in before.series_words(checked.series)] if checked else [],
        "cost": [line.strip() for line in before.cost_words(checked)] if checked and checked.outlook.rows else [],
        "forecast": before.forecast_words(checked.outlook, plan) if checked else "",
        "typed": bool(checked and checked.outlook.rows > settings.confirm_above),
    }


def _ours(error: BulkIssueError, draft: Draft) -> dict[str, str]:
    """The error without the place where the server keeps the file; what flags say there, fields say here."""
    message = error.message.replace(str(draft.path), draft.name)
    return {"message": message, "cells": error.cells, "hint": hint_of(error)}


def _form(request: web.Request, error: BulkIssueError | None = None, status: int = 200) -> web.Response:
    return request.app[PAGES].page(
        request, "new.html", status, most=request.app[SETTINGS].max_upload, trouble=error, pages=request.query
    )


def _waiting(request: web.Request, draft: Draft, what: str) -> web.Response:
    response = request.app[PAGES].page(request, "waiting.html", draft=draft, what=what)
    response.headers["Refresh"] = AGAIN
    return response


async def _wait(work: Work) -> None:
    try:
        async with asyncio.timeout(PATIENCE):
            await work.known.wait()
    except TimeoutError:
        pass


def _place_of(work: Work) -> str:
    return f"/jobs/{work.job}" if work.job is not None else f"/campaigns/{work.order.key}"


def _running(work: Work | None) -> bool:
    return work is not None and not work.ended.is_set()


def _draft(request: web.Request) -> Draft:
    draft = request.app[DRAFTS].find(request.match_info["draft"])
    if draft is not None:
        return draft
    work = request.app[WORKS].find(request.match_info["draft"])
    raise web.HTTPSeeOther(_place_of(work)) if work is not None and work.job is not None else web.HTTPNotFound()


#: A whole number as people group its digits: by blanks, points, commas or apostrophes, in threes.
_WHOLE = re.compile(r"[0-9]+|[0-9]{1,3}(?:([\s.,'])[0-9]{3})(?:\1[0-9]{3})*")


def whole(text: str) -> int | None:
    """The whole number that was typed, grouped or not; None for anything else: `3.0` isn't 30."""
    text = text.strip()
    return int(re.sub(r"\D", "", text)) if len(text) < 24 and _WHOLE.fullmatch(text) else None
