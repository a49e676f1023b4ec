"""The command line as people run it, in a process of its own: how long it took, its CPU, and its peak of memory.

This process stays small: what a child's `ru_maxrss` says is at least what its parent had when it was born.
"""

from __future__ import annotations

import csv
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.server import SERIES, FastServer

FIRST_MOBILE = 919_800_000_000
#: What lifts the limit: so many in a tenth of a second.
LIFTED = ("--rate", "1000000", "--per", "0.1", "--pace", "burst")


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """What a process used."""

    wall: float
    cpu: float
    #: Peak resident memory, in MB.
    peak: float


class Failed(Exception):
    """A command ended otherwise than it should."""


def ended(process: subprocess.Popen[bytes], began: float, right: Sequence[int]) -> Used:
    """Wait for a process; raises `Failed` with its words unless its exit code is among those that are right."""
    words = process.stderr.read() if process.stderr else b""
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in right:
        raise Failed(f"{process.args!r} ended with {process.returncode}: {words.decode()[-2000:]}")
    unit = 1 if sys.platform == "darwin" else 1024
    return Used(wall=wall, cpu=usage.ru_utime + usage.ru_stime, peak=usage.ru_maxrss * unit / 1e6)


def starting(arguments: Iterable[object], stdout: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    """Start a command of the package."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("BULK_ISSUE_")}
    return subprocess.Popen(
        [sys.executable, "-m", "bulk_issue", *map(str, arguments)],
        env={**env, "BULK_ISSUE_PASSWORD": "demo-password"},
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
    )


def command(*arguments: object, right: Sequence[int] = (0,)) -> Used:
    """Run a command to its end."""
    began = time.monotonic()
    return ended(starting(arguments), began, right)


def to_first_request(server: FastServer, *arguments: object) -> float:
    """Seconds from the command to the arrival of its first issue request; the process is killed then."""
    server.anew()
    began = time.monotonic()
    process = starting(arguments)
    while (count := server.clock()).requests == 0:
        if process.poll() is not None:
            raise Failed(f"{process.args!r} ended before its first request")
        time.sleep(0.02)
    process.kill()
    process.communicate()
    return count.first - began


def account(url: str) -> tuple[str, ...]:
    """The options that every command needs that talks to a server."""
    return ("--base-url", url, "--user", "demo")


def run(file: Path, server: FastServer, ledger: Path, *more: object) -> tuple[object, ...]:
    """A run with the limit lifted."""
    talks = (*account(server.url), "--ledger", ledger, *LIFTED, "--yes", "--quiet")
    return ("run", file, "--series", SERIES, *talks, *more)


def customers(path: Path, rows: int, first: int = 0) -> Path:
    """A CSV of so many customers from the `first` on, with three columns and some 40 bytes a row."""
    with path.open("w", encoding="utf-8", newline="") as file:
        write = csv.writer(file).writerow
        write(("name", "mobile", "city"))
        for n in range(first, first + rows):
            write((f"Customer {n}", FIRST_MOBILE + n, "Bengaluru"))
    return path


def workbook(path: Path, rows: int) -> Path:
    """The same as an Excel sheet, written by a process of its own: a large sheet would make this one large."""
    done = subprocess.run([sys.executable, "-m", "benchmarks.workbook", str(path), str(rows)], check=False)
    if done.returncode:
        raise Failed(f"{path.name} could not be written")
    return path


def own_peak() -> float:
    """This process' own peak of memory, in MB: no child can show less."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def middle(values: Iterable[float]) -> float:
    """The median."""
    return statistics.median(values)
