"""Promise 6 over the whole suite: after each test, all that was told is searched for what is private.

Private is what the test's sandboxes know (passwords and secrets, every customer whom they were asked about, every code
that they gave out) and the identifiers of the files that the test has made. Told is what `bulk-issue` said on its
standard streams, logged, measured, notified, or kept of a bug, and what was said and logged within the test's own
process. Inputs, result files and ledgers are no part of it; nor are the answers to whoever asks `find`.
"""

from __future__ import annotations

import asyncio.subprocess
import functools
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from bulk_issue.sandbox.server import Sandbox

#: What a process tells beside its standard streams, wherever a test has put it.
FILES = ("*.log", "*.jsonl", "*.prom", "*.out", "*.err", "log", "log.txt")
INPUTS = ("*.csv", "*.tsv", "*.txt")
#: Shorter ones (`E1`) stand anywhere.
SHORT = 8
_WORD = re.compile(r"[\w.+@-]+")
_DIGITS = re.compile(r"\d+")
#: The desk has asked for it.
_ANSWER = re.compile(r"^issued with code .*$", re.MULTILINE)


@dataclass(slots=True)
class Ear:
    """What one test's processes were given, and what they told."""

    boxes: list[Sandbox] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def listen(self, patch: pytest.MonkeyPatch) -> None:
        """Hear every sandbox that is opened and every process of ours that ends."""
        opened, communicated, run = Sandbox.__aenter__, asyncio.subprocess.Process.communicate, subprocess.run

        async def opens(box: Sandbox) -> Sandbox:
            self.boxes.append(box)
            return await opened(box)

        async def communicates(process: asyncio.subprocess.Process, given: bytes | None = None) -> tuple[bytes, bytes]:
            out, err = await communicated(process, given)
            # what was asked on the standard input is answered on the standard output
            self.told += [each.decode() for each in ((out, err) if given is None else (err,)) if each]
            return out, err

        @functools.wraps(run)
        def runs(words: Any, *arguments: Any, **settings: Any) -> Any:
            done = run(words, *arguments, **settings)
            if "bulk-issue" in str(words) or "cli" in str(words):  # not a test's own program with parts of ours
                self.told += [each for each in (done.stdout, done.stderr) if isinstance(each, str)]
            return done

        patch.setattr(Sandbox, "__aenter__", opens)
        patch.setattr(asyncio.subprocess.Process, "communicate", communicates)
        patch.setattr(subprocess, "run", runs)

    def leaks(self, folder: Path | None, here: list[str]) -> Iterator[str]:
        """The lines that tell something private; `here`: what was told within the test's own process."""
        private = {each for each in {*self._known(), *_named(folder)} if len(each) >= SHORT}
        if not private:
            return
        written = [path.read_text(encoding="utf-8", errors="replace") for path in _under(folder, FILES)]
        for text in (*self.told, *here, *written):
            clear = _ANSWER.sub("", unquote(text))
            if any(each in clear for each in private):
                yield from (line for line in clear.splitlines() if any(each in line for each in private))

    def _known(self) -> Iterator[str]:
        """What the sandboxes know."""
        for box in self.boxes:
            yield from (box.password, box.client_secret)
            yield from (fault.named.partition(":")[2] for fault in box.book.faults)
            for series in box.world.series:
                for coupon in box.book.coupons_of(series):
                    yield coupon.code
                    yield coupon.named.partition(":")[2]


def _named(folder: Path | None) -> Iterator[str]:
    """The identifiers in the files that the test has made."""
    for path in _under(folder, INPUTS):
        text = path.read_text(encoding="utf-8", errors="replace")
        yield from _DIGITS.findall(text)
        yield from (word for word in _WORD.findall(text) if "@" in word)


def _under(folder: Path | None, names: tuple[str, ...]) -> Iterator[Path]:
    """Files of these names, but for result files and the sandbox's book."""
    if folder is not None:
        found = {path for name in names for path in folder.rglob(name) if path.is_file() and path.stem != "book"}
        yield from (path for path in sorted(found) if "-results" not in str(path.parent))


#: That of the test that runs now.
EAR = Ear()
