"""Campaigns that are being prepared: an uploaded file, and how it is to be read. On disk, 0600.

A file's name is a stranger's text: it is shown, and its harmless characters name the file within a folder of its own,
whose name is ours.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bulk_issue.config import Omit, Reading
from bulk_issue.errors import ConfigError
from bulk_issue.model import Alike, IdentifierKind

_ID = re.compile(r"u[0-9a-f]{24}").fullmatch
LONGEST_NAME = 80
#: What a first record may be.
NAMES, CUSTOMER = "names", "customer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """One upload, and what a person said about it."""

    id: str
    path: Path
    size: int
    #: 0: not said yet.
    series_id: int = 0
    again: str = ""
    #: (kind of identifier, column); empty: found by their usual spellings.
    columns: tuple[tuple[str, str], ...] = ()
    delimiter: str = ""
    encoding: str = ""
    sheet: str = ""
    #: What a person says of a first record that may be either: "names" of the columns or a "customer"; and its number.
    first_is: str = ""
    first_record: int = 0
    #: What a person said of the look-alikes; empty: nothing yet.
    alike: str = ""

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def reading(self) -> Reading:
        named = {IdentifierKind(kind): column for kind, column in self.columns}
        return Reading(
            map=named,
            delimiter=self.delimiter,
            encoding=self.encoding,
            sheet=self.sheet,
            header_row=self.first_record if self.first_is == NAMES else None,
            no_header=self.first_is == CUSTOMER,
        )

    def answered(self, before: Draft, first_is: str, asked: int) -> Draft:
        """With a person's answer about the first record: to the question of now (`asked`: its number), or another one.

        A file that is read otherwise has another first record, and columns have other names when the answer changes.
        """
        if (before.delimiter, before.encoding, before.sheet) != (self.delimiter, self.encoding, self.sheet):
            return replace(self, first_is="", first_record=0, columns=self.columns if not before.first_is else ())
        record = asked or before.first_record
        if not record or first_is not in (NAMES, CUSTOMER) or first_is == before.first_is:
            return self
        return replace(self, first_is=first_is, first_record=record, columns=())

    @property
    def omit(self) -> Omit:
        return Omit(alike=word(self.alike))


class Drafts:
    """The folder of uploads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def place(self, name: str) -> tuple[str, Path]:
        """A new upload's id, and the path to write it to."""
        draft = f"u{secrets.token_hex(12)}"
        home = self._folder / draft
        home.mkdir(mode=0o700)
        return draft, home / harmless(name)

    def save(self, draft: Draft) -> None:
        """Remember the draft; a half-written one is never read."""
        facts = asdict(draft) | {"path": draft.name}
        write_private(self._folder / draft.id / "draft.json", facts)

    def find(self, draft: str) -> Draft | None:
        """The draft of that id; None if there is none, or its file is gone."""
        if not _ID(draft):
            return None
        home = self._folder / draft
        try:
            facts = json.loads((home / "draft.json").read_text(encoding="utf-8"))
            columns = tuple((kind, column) for kind, column in facts["columns"])
            found = Draft(**(facts | {"path": home / harmless(facts["path"]), "columns": columns}))
        except (OSError, ValueError, TypeError, KeyError):
            return None
        return found if found.path.exists() else None

    def drop_file(self, draft: Draft) -> None:
        """The ledger has every cell now: the upload itself isn't kept."""
        draft.path.unlink(missing_ok=True)
        (draft.path.parent / "draft.json").unlink(missing_ok=True)

    def discard(self, draft: str) -> None:
        """Remove an upload with everything beside it."""
        if _ID(draft):
            shutil.rmtree(self._folder / draft, ignore_errors=True)

    def purge(self, keep_uploads: float, keep_results: float) -> None:
        """Remove what was kept long enough."""
        now = time.time()
        for home in self._homes():
            newest = max((path.stat().st_mtime for path in [home, *home.rglob("*")]), default=now)
            keep = keep_results if any(home.glob("*-results")) else keep_uploads
            if now - newest > keep:
                shutil.rmtree(home, ignore_errors=True)

    def _homes(self) -> Iterator[Path]:
        return (path for path in self._folder.iterdir() if _ID(path.name))


def harmless(name: str) -> str:
    """The file's name without anything that means something to a shell, a path or a header."""
    last = re.split(r"[/\\]", name)[-1]
    plain = re.sub(r"[^\w.() -]", "_", last).strip(" .-")
    stem, dot, ending = plain.rpartition(".")
    if not dot:
        stem, ending = plain, ""
    short = f"{stem[:LONGEST_NAME]}{dot}{ending[:10]}"
    return short if stem and short != "draft.json" else f"upload{dot}{ending[:10]}"


def word(text: str) -> Alike | None:
    """What a form says of look-alikes; None for anything else."""
    return Alike(text) if text in set(Alike) else None


def write_private(path: Path, facts: Mapping[str, Any]) -> None:
    """Write JSON that nobody else can read, whole or not at all."""
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(aside, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        json.dump(facts, file)
    aside.replace(path)


def columns_from(form: Mapping[str, Any], header: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """The columns that a form chose, by their place: names may be empty, double, or a stranger's text."""
    chosen: dict[str, str] = {}
    for kind in IdentifierKind:
        text = str(form.get(f"column-{kind}", ""))
        if text.isdecimal() and int(text) < len(header):
            chosen[str(kind)] = header[int(text)]
    if len(set(chosen.values())) < len(chosen):
        raise ConfigError(
            "one column can't hold two kinds of identifier", hint="Choose another column for one of them."
        )
    return tuple(chosen.items())
