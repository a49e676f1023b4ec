"""The pages of jobs: all of them, and one with what a person can do about it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from bulk_issue import app, deferred
from bulk_issue.app.left_out import leave_out
from bulk_issue.config import Config, Omit
from bulk_issue.errors import BulkIssueError, ConfigError
from bulk_issue.model import Decision, JobId, Lineage
from bulk_issue.saying import count
from bulk_issue.states import RowState
from bulk_issue.web.board import Standing
from bulk_issue.web.chart import curve
from bulk_issue.web.drafts import word
from bulk_issue.web.keys import BOARD, LEDGER, SETTINGS, WORKS
from bulk_issue.web.plain import hint_of
from bulk_issue.web.render import PAGES
from bulk_issue.web.stops import stopped
from bulk_issue.web.works import Order, Task, aside

#: Seconds that somebody waits for the record, at most, before a decision is taken without it.
PATIENCE = 10.0

#: What was just done, by the word for it in the address.
SAID = {
    "paused": "Paused. Nothing more is sent until you go on.",
    "cancelled": "Cancelled: the pending rows are not sent. They can be put back. Rows in doubt are still settled.",
    "put-back": "The cancelled rows are pending again. Nothing is sent until you go on.",
    "retried": "The rejected rows are sent again, and no others.",
    "asked": "Capillary's record is being read for the rows in doubt.",
    "said": "What you said is kept for this campaign.",
    "decided": "Your decision is recorded.",
    "late": "That row had been settled already; nothing was changed.",
}


async def overview(request: web.Request) -> web.Response:
    """Every job of the ledger, also those that other processes run."""
    ledger, works = request.app[LEDGER], request.app[WORKS]
    jobs = [
        (each, works.is_running(each.job.spec.id) or ledger.jobs.running_elsewhere(each.job.spec.id))
        for each in await asyncio.to_thread(ledger.views.jobs)
    ]
    doubtful = await asyncio.to_thread(ledger.history.doubtful)
    workers = await asyncio.to_thread(ledger.views.workers)
    return request.app[PAGES].page(
        request, "jobs.html", jobs=jobs, doubtful=doubtful, workers=workers, waits=deferred.waits
    )


async def show(request: web.Request) -> web.Response:
    """One job."""
    return await _show(request, await standing(request))


async def pause(request: web.Request) -> web.StreamResponse:
    """Stop a run of this server, and leave it stopped."""
    at = await standing(request)
    if at.work is None or not at.here:
        raise ConfigError(
            f"job {at.job.spec.id} isn't run by this page", hint="Stop it where it was started (Ctrl-C there)."
        )
    await request.app[WORKS].pause(at.work)
    raise _back(request, at, "paused")


async def go_on(request: web.Request) -> web.StreamResponse:
    """Issue what is pending; where nothing is, settle what is in doubt."""
    at, form = await standing(request), await request.post()
    if not at.pending:
        _start(request, at, Task.RECONCILE)
        raise _back(request, at, "asked")
    _start(
        request,
        at,
        Task.RESUME,
        agreed=_agreed(form),
        all_failures="all_failures" in form,
        all_short="all_short" in form,
    )
    raise _back(request, at, "")


async def cancel(request: web.Request) -> web.StreamResponse:
    """Put what is pending aside."""
    at = await standing(request)
    form = await request.post()
    who, why = (" ".join(str(form.get(name, "")).split()) for name in ("who", "why"))
    await request.app[LEDGER].jobs.cancel(at.job.spec.id, who[:80] or "somebody on the page", why[:500])
    raise _back(request, at, "cancelled")


async def put_back(request: web.Request) -> web.StreamResponse:
    """Take a cancel back. Nothing is sent by this: going on is a button of its own."""
    at = await standing(request)
    if at.running:  # that run would send them
        raise ConfigError(
            f"job {at.job.spec.id} runs now", hint="Wait for it to end, or pause it. Nothing was changed."
        )
    await request.app[LEDGER].jobs.put_back(at.job.spec.id)
    raise _back(request, at, "put-back")


async def retry(request: web.Request) -> web.StreamResponse:
    """Rejected rows once more: all of them, or those with one error code."""
    at, form = await standing(request), await request.post()
    codes = (str(form["code"]),) if form.get("code") else ()
    _start(request, at, Task.RETRY, agreed=_agreed(form), codes=codes)
    raise _back(request, at, "retried")


async def look_alikes(request: web.Request) -> web.StreamResponse:
    """Keep what the person says of those who look like others. It sends nothing: going on does."""
    at, form = await standing(request), await request.post()
    job, said = at.job, word(str(form.get("alike", "")))
    if said is None:
        raise ConfigError("nothing was said of the rows that are held back", hint="Press one of the two buttons.")
    place = request.app[SETTINGS].config.ledger

    async def keep() -> int:
        async with app.opened(place) as ledger:
            await leave_out(ledger, job, Omit(alike=said))
            return await ledger.work.pending(job.spec.id)

    if not await aside(keep):
        _start(request, at, Task.RECONCILE)  # nothing is left to send: the job ends
    raise _back(request, at, "said")


async def decide(request: web.Request) -> web.StreamResponse:
    """Record what a person knows of one row in doubt."""
    at, form = await standing(request), await request.post()
    try:
        decision, who, why = _decision(form)
        landed = await _record(request.app[SETTINGS].config, at, decision, who, why)
    except BulkIssueError as error:
        return await _show(request, at, error)
    raise _back(request, at, "decided" if landed else "late")


# --- shared -----------------------------------------------------------------------------------------------------


async def standing(request: web.Request) -> Standing:
    """How the job of this address stands."""
    found = await request.app[BOARD].standing(JobId(request.match_info["job"]))
    if found is None:
        raise web.HTTPNotFound
    return found


def facts(request: web.Request, at: Standing) -> dict[str, Any]:
    """What a job's page shows, and what of it is live."""
    config = request.app[SETTINGS].config
    others = {job: permits for job, permits in at.shares.items() if job != at.job.spec.id}
    sends = at.pending / config.rate * config.per if at.running and at.pending else None
    now = datetime.now(UTC).timestamp() if at.running else None
    return {
        "at": at,
        "job": at.job,
        "stopped": stopped(at.job, running=at.running),
        "spec": at.job.spec,
        "S": RowState,
        "limit": config.rate,
        "per": config.per,
        "grace": config.grace,
        "used": at.shares.get(at.job.spec.id, 0) if at.running else 0,
        "others": others,
        "seconds_left": sends,
        "curve": curve(at.counted.pulse, now),
        "most": max((rows for _, _, rows in at.counted.reasons), default=1),
        "spoken": f"{at.phase}: {count(at.through, 'row')} of {at.job.rows} done",
    }


async def _show(request: web.Request, at: Standing, error: BulkIssueError | None = None) -> web.Response:
    failure = at.work.failure if at.work is not None and not at.here else None
    return request.app[PAGES].page(
        request,
        "job.html",
        422 if error else 200,
        **facts(request, at),
        said=SAID.get(request.query.get("said", ""), ""),
        trouble=[
            {"message": each.message, "cells": each.cells, "hint": hint_of(each)}
            for each in (error, failure)
            if each is not None
        ],
    )


def _agreed(form: Mapping[str, Any]) -> str:
    """The agreement that the form was shown with; a form without one starts nothing."""
    digest = str(form.get("agreed", ""))
    if not digest:
        raise ConfigError("nothing was started", hint="Open the campaign's page again, and start what it shows.")
    return digest


def _start(request: web.Request, at: Standing, task: Task, **options: Any) -> None:
    if at.running and not at.here:
        raise ConfigError(
            f"another process runs job {at.job.spec.id} now", hint="Wait for it to end, or stop it there."
        )
    request.app[WORKS].start(Order(task=task, key=at.job.spec.id, **options))


def _back(request: web.Request, at: Standing, said: str) -> web.HTTPSeeOther:
    request.app[BOARD].forget(at.job.spec.id)
    return web.HTTPSeeOther(f"/jobs/{at.job.spec.id}" + (f"?said={said}" if said else ""))


async def _record(config: Config, at: Standing, decision: Decision, who: str, why: str) -> int:
    """Hold a decision against the ledger and Capillary's record, and keep it; how many rows it settled."""
    settings = replace(config, series_id=at.job.spec.series_id, timeout=min(config.timeout, PATIENCE))

    async def decide() -> int:
        async with app.desk(settings, lambda _progress: None, asyncio.Event(), app.Files()) as desk:
            return await desk.record(at.job, [decision], who, why)

    return await aside(decide)


def _decision(form: Mapping[str, Any]) -> tuple[Decision, str, str]:
    """The decision, who made it, and why. Nothing is guessed: it may put a row back to be sent."""
    job, row, verdict = str(form.get("home", "")), str(form.get("row", "")), str(form.get("verdict", ""))
    code, who, why = (str(form.get(name, "")).strip() for name in ("code", "who", "why"))
    if not (row.isascii() and row.isdecimal() and len(row) < 19) or verdict not in ("issued", "not issued"):
        raise ConfigError("nothing was decided", hint="Choose whether a coupon was issued.")
    if not who:
        raise ConfigError("nobody signed the decision", hint="Fill in your name: it is kept with the decision.")
    if verdict == "issued" and (not code or not code.isprintable() or len(code.split()) != 1):
        raise ConfigError("the coupon's code is missing or isn't one", hint="Copy it from Capillary, without blanks.")
    if verdict == "not issued" and code:
        raise ConfigError(
            "the decision says that no coupon was issued, and names a code",
            hint="If the customer has that coupon, choose that one was issued; otherwise leave the code empty.",
        )
    lineage = Lineage(job=JobId(job), row=int(row))
    return Decision(lineage=lineage, code=code if verdict == "issued" else None), who[:80], why[:500]
