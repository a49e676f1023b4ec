"""The real command line in a process that can be made to die, or to lose its disk, at any durability point.

The rule: the shipped code knows nothing of this. The objects that promise durability are wrapped from outside (the
ledger's transactions, the socket's write, the client's answers, the renaming of result files), and then
`bulk_issue.cli.main()` runs as always. A point is a place before or after something becomes durable, or known to the
server; they are numbered as they are passed, across threads, and told on a pipe. The environment says what happens:

| variable | what |
|---|---|
| CRASH_AT=p | the process ends at point p as by SIGKILL: no `finally`, no flush, no farewell |
| STOP_AT=p | the process stops at point p as by SIGSTOP, and goes on when somebody sends SIGCONT |
| SEND_WITHIN=s | seconds after its intent within which a request leaves or never does |
| REFUSE_FROM=t, REFUSE=k | the ledger refuses transaction t (reads count too) and the k - 1 that follow |
| REFUSE_WITH=ENOSPC | or EIO: what SQLite says then |
| HURRY=k | waits that are long only because real servers are slow are k times shorter |
| PATIENCE=s | seconds for which a refused write is tried again |
| CHUNK=n | rows of a file that are registered in one transaction |

A point or transaction is given by its number, or by its name for the first of that name; `name#2` is a transaction's
second.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import os
import signal
import sqlite3
import sys
import threading
import time
from asyncio import selector_events
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from inspect import getclosurevars
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

from aiohttp.abc import AbstractStreamWriter
from sqlalchemy import Connection, exc

from bulk_issue import job, pool, reconcile, retry
from bulk_issue.cli import main
from bulk_issue.client import ISSUE_PATH, Client
from bulk_issue.client.exchange import _Body
from bulk_issue.config import Config
from bulk_issue.ledger.database import Database
from bulk_issue.ledger.views import LedgerViews
from bulk_issue.model import Answer, Identifier, Intent, JobId, Reading, Unreadable
from bulk_issue.ports import Begun, ResultRow
from bulk_issue.source import tables
from bulk_issue.states import RowState

T = TypeVar("T")

#: Transactions that change nothing. Whatever isn't named here is a durability point.
READS = frozenset(
    {
        *("LedgerJobs.find", "LedgerJobs.all", "LedgerJobs.orgs", "LedgerWork.pending", "LedgerWork.tally"),
        *("LedgerWork.firsts", "LedgerWork.excess", "LedgerDoubts.due", "LedgerDoubts.next_due"),
        *("LedgerDoubts.readers", "LedgerDoubts.issued", "LedgerDoubts.doubted", "LedgerWork.in_flight"),
        "LedgerMembers.beat",  # it promises nothing, and comes by the clock
    }
)
#: What SQLite says when the disk is full, and when it fails (the texts of SQLITE_FULL and SQLITE_IOERR).
TROUBLE = {"ENOSPC": "database or disk is full", "EIO": "disk I/O error"}


def _setting(name: str) -> int:
    return int(os.environ.get(name, "0"))


class SupportsFileno(Protocol):
    def fileno(self) -> int: ...


class Points:
    """Counts what is passed, tells of it, and dies where it should."""

    def __init__(self, told: int) -> None:
        self._passed = itertools.count(1)
        self._crash_at = os.environ.get("CRASH_AT")
        self._stop_at = os.environ.get("STOP_AT")
        self._told = told
        #: Held by the thread that is in a transaction: who stops there keeps everybody from the ledger.
        self.transaction = threading.RLock()

    def __call__(self, name: str) -> None:
        number = next(self._passed)
        os.write(self._told, f"{time.monotonic():.6f} {name}\n".encode())
        if self._crash_at in (str(number), name):
            os._exit(137)
        if self._stop_at in (str(number), name):
            self._stop_at = None
            with self.transaction:
                os.kill(os.getpid(), signal.SIGSTOP)


class Refusals:
    """Says of each transaction what the disk says of it, if anything."""

    def __init__(self) -> None:
        self._calls = itertools.count(1)
        self._of_name: Counter[str] = Counter()
        self._from = os.environ.get("REFUSE_FROM")
        self._left = _setting("REFUSE")
        self._words = TROUBLE[os.environ.get("REFUSE_WITH", "ENOSPC")]
        self._begun = False

    def __call__(self, name: str) -> str:
        self._of_name[name] += 1
        names = (str(next(self._calls)), name, f"{name}#{self._of_name[name]}")
        self._begun = self._begun or self._from in names
        if not self._begun or self._left == 0:
            return ""
        self._left -= 1
        return self._words


def name_of(work: Callable[..., Any]) -> str:
    """The ledger method whose transaction this is, e.g. `LedgerWork.begin`."""
    method = getclosurevars(work).nonlocals.get("method", work)
    return str(method.__qualname__)


def wrap_transactions(point: Points) -> None:
    """Points before and after each commit; and the refusals, which come before anything is written."""
    transact = Database._transact
    refused = Refusals()

    def _transact(self: Database, work: Callable[[Connection], T], *, alone: bool = True) -> T:
        name = name_of(work)
        short = name.rpartition(".")[2].strip("_")
        trouble = refused(name)
        begun: list[object] = []

        def watched(connection: Connection) -> T:
            if trouble:
                raise exc.OperationalError(None, None, sqlite3.OperationalError(trouble))
            done = work(connection)
            # a `begin` that gave nothing promised nothing
            if name not in READS and not (isinstance(done, Begun) and not done.intents and not done.duplicates):
                begun.append(done)
                point(f"{short}: before the commit")
            return done

        with point.transaction:
            done: T = transact(self, watched, alone=alone)
        if begun:
            point(f"{short}: after the commit")
        return done

    Database._transact = _transact  # type: ignore[method-assign]


def wrap_socket(point: Points) -> None:
    """Points before and after an issue request is handed to the kernel."""
    transport = selector_events._SelectorSocketTransport  # type: ignore[attr-defined]
    write = transport.write
    head = f"POST {ISSUE_PATH} ".encode()

    def watched(self: Any, data: bytes) -> None:
        issues = bytes(data[: len(head)]) == head
        if issues:
            point("send: before")
        write(self, data)
        if issues:
            point("send: after")

    def together(self: Any, parts: Iterable[bytes]) -> None:
        watched(self, b"".join(parts))

    transport.write, transport.writelines = watched, together


def wrap_check(point: Points) -> None:
    """Points before and after an issue request's last look at the clock."""
    write = _Body.write

    class Watched:
        """A writer that is reached behind the look."""

        def __init__(self, writer: AbstractStreamWriter) -> None:
            self._writer = writer

        async def write(self, data: bytes) -> None:
            point("check: after")
            await self._writer.write(data)

    async def watched(self: _Body, writer: AbstractStreamWriter) -> None:
        if self._send_by == math.inf:
            await write(self, writer)
            return
        point("check: before")
        await write(self, cast("AbstractStreamWriter", Watched(writer)))

    _Body.write = watched  # type: ignore[method-assign]


def wrap_client(point: Points) -> None:
    """Points at which an answer is known to this process and to nobody else."""
    issue, coupons = Client.issue, Client.coupons

    async def watched_issue(self: Client, intent: Intent) -> Answer:
        answer = await issue(self, intent)
        point("answer")
        return answer

    async def watched_coupons(self: Client, identifier: Identifier) -> Reading | Unreadable:
        reading = await coupons(self, identifier)
        point("look-up")
        return reading

    Client.issue, Client.coupons = watched_issue, watched_coupons  # type: ignore[method-assign]


def wrap_files(point: Points) -> None:
    """Points before each row of the result files is written, and around each renaming and removal."""
    results, replace, unlink = LedgerViews.results, Path.replace, Path.unlink

    def watched_results(
        self: LedgerViews, job: JobId, states: frozenset[RowState] | None = None
    ) -> Iterator[ResultRow]:
        for row in results(self, job, states):
            point("file: a row")
            yield row

    def watched_replace(self: Path, target: Any) -> Path:
        point(f"{self.name}: before it is renamed")
        moved = replace(self, target)
        point(f"{self.name}: after it is renamed")
        return moved

    def watched_unlink(self: Path, missing_ok: bool = False) -> None:  # noqa: FBT001, FBT002 - the library's signature
        if self.exists():
            point(f"{self.name}: before it is removed")
        unlink(self, missing_ok)

    LedgerViews.results = watched_results  # type: ignore[method-assign]
    Path.replace, Path.unlink = watched_replace, watched_unlink  # type: ignore[assignment, method-assign]


def hurry() -> None:
    """Shorten waits."""
    times = float(os.environ.get("HURRY", "1"))
    reconcile.SECOND_LOOK /= times
    reconcile.LOOK_AGAIN /= times
    reconcile.NAP /= times
    job.POLL /= times
    pool.LEDGER_PAUSE /= times
    vars(pool)["backoff"] = lambda *given: retry.backoff(*given) / times
    pool.LEDGER_PATIENCE = float(os.environ.get("PATIENCE", pool.LEDGER_PATIENCE))
    defaults = Config.__init__.__kwdefaults__ or {}
    defaults["send_within"] = float(os.environ.get("SEND_WITHIN", defaults["send_within"]))
    tables.CHUNK = _setting("CHUNK") or tables.CHUNK


def run(arguments: Sequence[str], environment: Mapping[str, str], points: SupportsFileno, out: str, err: str) -> None:
    """Be `bulk-issue` with these arguments, environment and output files; points are told on that pipe."""
    os.nice(5)  # behind the parent, which has to be quick to kill
    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), number)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["bulk-issue", *arguments]
    point = Points(points.fileno())
    # a loop of this kind is what `asyncio.run` makes here; on another the send points would be missing silently
    assert issubclass(asyncio.SelectorEventLoop, selector_events.BaseSelectorEventLoop)
    wrap_transactions(point)
    wrap_socket(point)
    wrap_check(point)
    wrap_client(point)
    wrap_files(point)
    hurry()
    point("start")
    main()
