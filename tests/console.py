"""The real console script in real processes, against a sandbox that runs in the test."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from bulk_issue.sandbox.server import Sandbox

#: Settings under which tests of minutes take seconds: the sandbox answers at once and commits before it answers.
QUICK = (
    *("--rate", "60000", "--connections", "8", "--timeout", "3", "--grace", "2"),
    *("--max-doubt", "100%", "--max-failures", "100%"),
)


@dataclass(frozen=True, slots=True)
class Done:
    """A process that has ended."""

    code: int
    out: str
    err: str


@dataclass(slots=True)
class Console:
    """Runs `bulk-issue` with a ledger of its own and the sandbox's address and credentials."""

    folder: Path
    box: Sandbox
    env: dict[str, str] = field(default_factory=dict)
    #: What is run in the place of `bulk-issue`.
    module: str = "bulk_issue"
    #: Names that the processes' environment doesn't have.
    without: frozenset[str] = frozenset()
    #: What starts the processes: on another host, say.
    within: Sequence[str] = ()

    def environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("BULK_ISSUE_")}
        ours = {
            "BULK_ISSUE_BASE_URL": self.box.url,
            "BULK_ISSUE_USER": self.box.user,
            "BULK_ISSUE_PASSWORD": self.box.password,
            "BULK_ISSUE_LEDGER": str(self.folder / "ledger.db"),
            "XDG_STATE_HOME": str(self.folder / "state"),
            "XDG_CONFIG_HOME": str(self.folder / "config"),
        }
        given = inherited | ours | self.env
        return {name: value for name, value in given.items() if name not in self.without}

    async def start(
        self, *arguments: object, into: IO[bytes] | None = None, err: IO[bytes] | None = None
    ) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *self.within,
            sys.executable,
            "-m",
            self.module,
            *map(str, arguments),
            env=self.environment(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=into or asyncio.subprocess.PIPE,
            stderr=err or into or asyncio.subprocess.PIPE,
        )

    async def __call__(self, *arguments: object) -> Done:
        return await ended(await self.start(*arguments))

    async def run(self, file: Path, *arguments: object) -> Done:
        return await self("run", file, "--series", self.box.series_id, *QUICK, *arguments)

    async def killed(self, file: Path, when: Callable[[], bool], *arguments: object) -> bool:
        """Run the file and SIGKILL the process as soon as `when` is true; False if it ended before."""
        process = await self.start("run", file, "--series", self.box.series_id, *QUICK, *arguments)
        while not when() and process.returncode is None:
            await asyncio.sleep(0.002)
        alive = process.returncode is None
        if alive:
            process.kill()
        await ended(process)
        return alive

    def results(self, file: Path) -> list[dict[str, str]]:
        """The newest results.csv of a file."""
        found = sorted(file.with_name(f"{file.name}-results").glob("*/results.csv"), key=lambda p: p.stat().st_mtime)
        with found[-1].open(encoding="utf-8-sig", newline="") as opened:
            return list(csv.DictReader(opened))

    def summary(self, file: Path) -> dict[str, object]:
        found = sorted(file.with_name(f"{file.name}-results").glob("*/summary.json"), key=lambda p: p.stat().st_mtime)
        facts: dict[str, object] = json.loads(found[-1].read_text(encoding="utf-8"))
        return facts

    def customers(self, name: str, mobiles: Iterable[str], header: Sequence[str] = ("name", "mobile")) -> Path:
        """A file of customers."""
        path = self.folder / name
        with path.open("w", encoding="utf-8", newline="") as opened:
            writer = csv.writer(opened)
            writer.writerow(header)
            writer.writerows((f"N{at}", mobile) for at, mobile in enumerate(mobiles, 1))
        return path

    def check_book(self, *files: Path) -> None:
        """The oracle: exactly one coupon for every issued row, its code the book's, and no coupon beside these."""
        coupons = self.box.book.coupons_of(self.box.series_id)
        issued = [coupon for coupon in coupons if coupon.request]
        assert not self.box.book.duplicates(self.box.series_id)
        by_code = {coupon.code for coupon in issued}
        told = [row["_coupon_code"] for file in files for row in self.results(file) if row["_status"] == "issued"]
        assert len(told) == len(set(told))
        assert set(told) == by_code


async def ended(process: asyncio.subprocess.Process) -> Done:
    out, err = await process.communicate()
    assert process.returncode is not None
    return Done(process.returncode, out.decode(), err.decode())


def mobiles(count: int, start: int = 0) -> list[str]:
    """Numbers whose last digits give the sandbox's customers no behaviour."""
    return [f"9198{start + n:04d}1111" for n in range(count)]
