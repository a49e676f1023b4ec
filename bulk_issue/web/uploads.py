"""An upload, streamed to disk: never in memory, never larger than allowed, never under its sender's name for it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

from aiohttp import BodyPartReader, web

from bulk_issue.errors import SourceError
from bulk_issue.saying import number
from bulk_issue.web.drafts import Draft
from bulk_issue.web.guard import check_token
from bulk_issue.web.keys import DRAFTS, SETTINGS

#: Bytes that are read at a time, and that a field of the form may have.
CHUNK, LONGEST_FIELD = 256 * 1024, 2_000


async def receive(request: web.Request) -> tuple[Draft, Mapping[str, str]]:
    """The uploaded file as a draft, and the form's other fields, which come before it. What is refused isn't kept."""
    most = request.app[SETTINGS].max_upload
    if request.content_type != "multipart/form-data":
        raise web.HTTPUnsupportedMediaType
    if (request.content_length or 0) > most + 64 * 1024:
        raise _too_large(most)
    fields: dict[str, str] = {}
    async for part in await request.multipart():
        if not isinstance(part, BodyPartReader):
            raise web.HTTPBadRequest
        if part.name != "file":
            fields[part.name or ""] = await _field(part)
            continue
        check_token(request, fields.get("csrf", ""))
        return await _file(request, part, most), fields
    check_token(request, fields.get("csrf", ""))
    raise SourceError("no file was chosen", hint="Choose a CSV or Excel file.")


async def _field(part: BodyPartReader) -> str:
    text = b""
    while chunk := await part.read_chunk(LONGEST_FIELD):
        text += chunk
        if len(text) > LONGEST_FIELD:
            raise web.HTTPRequestEntityTooLarge(max_size=LONGEST_FIELD, actual_size=len(text))
    return text.decode("utf-8", "replace")


async def _file(request: web.Request, part: BodyPartReader, most: int) -> Draft:
    if not part.filename:
        raise SourceError("no file was chosen", hint="Choose a CSV or Excel file.")
    drafts = request.app[DRAFTS]
    name, path = drafts.place(part.filename)
    try:
        size = await _write(part, path, most)
        draft = Draft(id=name, path=path, size=size)
        drafts.save(draft)
    except BaseException:
        drafts.discard(name)
        raise
    return draft


async def _write(part: BodyPartReader, path: Path, most: int) -> int:
    size = 0
    with os.fdopen(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600), "wb") as file:
        while chunk := await part.read_chunk(CHUNK):
            size += len(chunk)
            if size > most:
                raise _too_large(most)
            await asyncio.to_thread(file.write, chunk)
    return size


def _too_large(most: int) -> SourceError:
    return SourceError(
        f"the file is larger than {number(most // 1024 // 1024)} MB",
        hint="Nothing was kept. Split it: the same customer is never served twice, whatever file names them.",
    )
