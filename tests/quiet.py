"""Promise 6 over the whole suite: after each test, all that its processes have told is searched for what is private.

Private is what the test's sandboxes know (passwords and secrets, every customer whom they were asked about, every code
that they gave out) and the customers of the files that the test made. Told is what `bulk-issue` said on its standard
streams, logged, measured, notified, or kept of a bug. Inputs, result files and ledgers are no part of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from bulk_issue.sandbox.server import Sandbox

#: What a process tells beside its standard streams, wherever a test has put it.
FILES = ("*.log", "*.jsonl", "*.prom", "*.out", "*.err", "log", "log.txt")
#: Shorter ones (`E1`) stand anywhere.
SHORT = 8


@dataclass(slots=True)
class Ear:
    """What one test's processes were given, and what they told."""

    boxes: list[Sandbox] = field(default_factory=list)
    customers: set[str] = field(default_factory=set)
    told: list[str] = field(default_factory=list)

    def leaks(self, folder: Path | None, logged: Sequence[str]) -> Iterator[str]:
        """The lines that tell something private."""
        private = {each for each in self._private() if len(each) >= SHORT}
        if not private:
            return
        files = {path for name in FILES for path in folder.rglob(name) if path.is_file()} if folder else set[Path]()
        ours = [path for path in sorted(files) if "-results" not in str(path.parent)]
        written = [path.read_text(encoding="utf-8", errors="replace") for path in ours]
        for text in (*self.told, *logged, *written):
            clear = unquote(text)
            if any(each in clear for each in private):
                yield from (line for line in clear.splitlines() if any(each in line for each in private))

    def _private(self) -> Iterator[str]:
        yield from self.customers
        for box in self.boxes:
            yield from (box.password, box.client_secret)
            yield from (fault.named.partition(":")[2] for fault in box.book.faults)
            for series in box.world.series:
                for coupon in box.book.coupons_of(series):
                    yield coupon.code
                    yield coupon.named.partition(":")[2]


#: That of the test that runs now.
EAR = Ear()
