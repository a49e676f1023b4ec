"""Result files to take away: written from the ledger when they are asked for, and removed when they have been sent."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from aiohttp import web

from bulk_issue import app
from bulk_issue.errors import LedgerError
from bulk_issue.shown import FAILURES, IN_DOUBT, RESULTS
from bulk_issue.sink import SERVED, Format
from bulk_issue.web import jobs
from bulk_issue.web.guard import dress
from bulk_issue.web.keys import SETTINGS
from bulk_issue.web.works import aside

TYPES = {
    Format.CSV: "text/csv; charset=utf-8",
    Format.XLSX: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
CHUNK = 256 * 1024


async def send(request: web.Request) -> web.StreamResponse:
    """One of a job's files, as it stands now."""
    name, ending = request.match_info["name"], request.match_info["ending"]
    if name not in (SERVED, RESULTS, FAILURES, IN_DOUBT) or ending not in set(Format):
        raise web.HTTPNotFound
    at, kind = await jobs.standing(request), Format(ending)
    settings = request.app[SETTINGS]
    folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="download-", dir=settings.folder))
    try:

        async def write() -> Sequence[Path]:
            files = app.Files(out=folder, format=kind)
            async with app.opened(settings.config.ledger) as ledger:
                if name == SERVED:
                    return [app.served(ledger, at.job, files).path]
                return (await app.export(ledger, at.job, files)).written.files

        path = next((path for path in await aside(write) if path.name == f"{name}.{kind}"), None)
        if path is None:
            raise LedgerError("there is no such file any more", hint="Its rows have been settled. Load the page again.")
        file, size = path.open("rb"), path.stat().st_size
    finally:
        # what is open can still be read, and nothing is left behind whatever becomes of the viewer
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    with file:
        response = web.StreamResponse(
            headers={
                "Content-Type": TYPES[kind],
                "Content-Disposition": f'attachment; filename="{at.job.spec.id}-{name}.{kind}"',
                "Content-Length": str(size),
            }
        )
        dress(response)
        await response.prepare(request)
        while chunk := await asyncio.to_thread(file.read, CHUNK):
            await response.write(chunk)
        await response.write_eof()
    return response
