"""Jobs that are left to workers: deferring them, and what a worker does with its tasks.

What a worker brings is an account: it takes part in the jobs of that account alone. A task is to take part in one job
until nothing of it is pending; who leads it and who shares in it is settled by the ledger.
"""

from __future__ import annotations

import asyncio
import os
import shlex
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from bulk_issue.app.checked import Talk
from bulk_issue.app.desk import Desk, desk, opened
from bulk_issue.app.reports import Files, Report, default_out, standing, summarise
from bulk_issue.clock import SystemClock
from bulk_issue.commands import command
from bulk_issue.config import Config, LedgerUrl
from bulk_issue.ending import ExitCode
from bulk_issue.errors import BulkIssueError, ConfigError, JobHeld, SinkError
from bulk_issue.health import Stop, StopKind
from bulk_issue.job import Ending
from bulk_issue.ledger import SqliteLedger
from bulk_issue.model import Job, JobId, JobState, Series
from bulk_issue.ports import Observer, Progress
from bulk_issue.share import Left
from bulk_issue.sink import Summary, claim_folder
from bulk_issue.states import RowState

if TYPE_CHECKING:
    from bulk_issue.engine import Duties, Engine

#: Seconds after which somebody tries again what couldn't begin, or may not go on at this hour.
LATER = 30.0
#: Seconds between two tries of what was due, and after how many it is given up.
AGAIN, GIVE_UP = 300.0, 6 * 3600.0


async def set_up(place: Path | LedgerUrl) -> None:
    """Make the tables of ledger and engine, where they are missing."""
    queue = engine(place, "")
    async with opened(place), queue:
        pass


def engine(place: Path | LedgerUrl, account: str) -> AbstractAsyncContextManager[Engine]:
    """The engine that brings an account's jobs to its workers; to be entered once the ledger was reached.

    Raises `ConfigError` where there can be none.
    """
    if not isinstance(place, LedgerUrl):
        raise ConfigError(
            f"workers need a ledger that several hosts can share, and {place} is a file",
            hint="Give --ledger postgresql://USER@HOST/DATABASE; see docs/workers.md.",
        )
    try:
        from bulk_issue import engine as engines  # noqa: PLC0415 - an extra: nobody else has its library
    except ImportError as error:
        raise ConfigError(f"{error.name} isn't installed", hint="Run: pip install 'bulk-issue[workers]'") from error
    return engines.opened(place, account)


async def defer(
    config: Config, what: Path | Job, workers: int, talk: Talk, observer: Observer, asked: asyncio.Event
) -> list[Job]:
    """Leave a file's job, or one that is registered, to at most so many workers of this account.

    Says which have something to do: an earlier content's job may be among them.
    """
    account = config.account.name
    coming = engine(config.ledger, account)
    async with desk(config, observer, asked, Files()) as at, coming as queue:
        found = await at.defer(what, talk) if isinstance(what, Path) else [await at.defer_again(what, talk)]
        jobs = [job for job in found if await at.ledger.work.unfinished(job.spec.id)]
        for job in jobs:
            await at.ledger.jobs.defer(job.spec.id, workers, account)
            await queue.defer(job.spec.id, workers)
        return jobs


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduled:
    """A file that is deferred again and again. File and `again` name may hold the due time, as strftime writes it."""

    name: str
    profile: str
    cron: str
    zone: ZoneInfo
    file: str
    again: str
    workers: int
    config: Config

    @property
    def key(self) -> str:
        """What it is among the entries of all profiles of an account."""
        return shlex.join((self.profile, self.name))

    def at(self, due: datetime) -> tuple[Path, Config]:
        """What is deferred at a due time."""
        here = due.astimezone(self.zone)
        return Path(here.strftime(self.file)), replace(self.config, again=here.strftime(self.again))


@dataclass(slots=True, kw_only=True)
class Worker:
    """One worker process."""

    config: Config
    observer: Observer
    #: Set by a signal.
    asked: asyncio.Event
    #: Where result files go: a folder for each job in there; None: beside the input, where its folder is there.
    out: Path | None
    #: Told of every job whose files this worker has written.
    on_report: Callable[[Report], None]
    #: Awaited with every job that this worker brought to an end.
    on_end: Callable[[Ending, Summary], Awaitable[None]]
    #: Awaited with what is scheduled and was given up, and why.
    on_given_up: Callable[[str, BulkIssueError], Awaitable[None]]
    schedule: Sequence[Scheduled] = ()
    #: Whether it left a job that wasn't finished.
    unfinished: bool = False
    #: Set when tasks must end: by a signal, and when the engine has ended.
    _leave: asyncio.Event = field(default_factory=asyncio.Event)
    _bug: Exception | None = None

    async def work(self) -> ExitCode:
        """Take part in job after job until asked to stop."""
        coming = engine(self.config.ledger, self.config.account.name)
        async with opened(self.config.ledger) as ledger, coming as queue:
            duties = self._duties(ledger)
            self._tell(f"Waiting for jobs of {self.config.account.name}.")
            try:
                await queue.work(duties, self.asked, self._leave.set)
            finally:
                if self._bug is not None:
                    raise self._bug
        return ExitCode.ASKED if self.unfinished else ExitCode.DONE

    def _duties(self, ledger: SqliteLedger) -> Duties:
        from bulk_issue.engine import Cron, Duties  # noqa: PLC0415 - as above

        return Duties(
            take_part=lambda name: self._safely(self._task(ledger, name)),
            scheduled=lambda key, due, late: self._safely(self._scheduled(key, due, late)),
            waiting=lambda: ledger.jobs.waiting(self.config.account.name),
            crons=[Cron(name=each.key, expression=each.cron, zone=each.zone) for each in self.schedule],
        )

    async def _scheduled(self, key: str, due: datetime, late: float) -> float | None:
        """Defer what is due; what fails is tried again for some hours since it was taken up."""
        entry = next((each for each in self.schedule if each.key == key), None)
        over = late > GIVE_UP
        if entry is None and not over:
            return LATER  # another worker's settings have it
        what = f"Schedule {entry.name if entry else key} of {due:%Y-%m-%d %H:%M}"
        try:
            if entry is None:
                raise ConfigError(
                    "no worker that took it up has such an entry any more", hint="Defer its file by hand."
                )
            path, config = entry.at(due)
            jobs = await defer(config, path, entry.workers, Talk(), self.observer, self._leave)
        except BulkIssueError as error:
            self._tell(f"{what}: {error.message}. {'Given up.' if over else error.hint}")
            if over:
                await self.on_given_up(what, error)
            return None if over else AGAIN
        said = ", ".join(f"job {job.spec.id}" for job in jobs) or "nothing is left to do"
        self._tell(f"{what}: {said}.")
        return None

    async def _safely(self, work: Awaitable[float | None]) -> float | None:
        """A bug ends the worker as it ends every command: the engine would keep it to itself."""
        try:
            return await work
        except Exception as bug:
            self._bug = bug
            self.asked.set()
            raise

    async def _task(self, ledger: SqliteLedger, name: JobId) -> float | None:
        """Take part in one job of this account; None if there is no more to do, otherwise when one should go on."""
        try:
            job = await ledger.jobs.find(name)
            if job is None or not job.workers or job.spec.account != self.config.account.name:
                return None
            goes_on = await _open(ledger, job)
            if goes_on and (closed := self._closed()) is not None:
                return closed
            config = replace(self.config, series_id=job.spec.series_id, again=job.spec.again)
            async with desk(config, self.observer, self._leave, Files()) as at:
                if not goes_on:  # whoever ended it may have died over its files
                    return await self._ended(at, await standing(ledger, job, at.clock.now()))
                again = await self._take_part(at, job, await at.same_org(job))
        except BulkIssueError as error:  # nothing was begun, or what was begun is on record
            self._tell(f"Job {name}: {error.message}. {error.hint}")
            again = LATER
        self.unfinished |= again is not None and self.asked.is_set()
        return again

    async def _take_part(self, at: Desk, job: Job, series: Series | None) -> float | None:
        """Lead the job, or share in it while another one leads, until one of the two is done."""
        name = job.spec.id
        while (found := await at.ledger.jobs.find(name)) is not None and await _open(at.ledger, found):
            try:
                await at.leave_out(found)
                lead = at.lead(found, series)
                lead.hands_over = True
                ending = await lead.issue()
            except JobHeld:
                pass
            else:
                return await self._ended(at, ending)
            self._tell(f"Job {name}: taking part beside the process that leads it.")
            try:
                left, stop = await at.share(found, series).take()
            except JobHeld:
                continue
            match left:
                case Left.LEADERLESS:
                    continue
                case Left.ASKED:
                    return 0.0
                case Left.DONE:
                    return self._pause(stop)
        return None

    async def _ended(self, at: Desk, ending: Ending) -> float | None:
        """What is left to do after a run that led its job."""
        if ending.job.state is JobState.RUNNING:  # handed over
            return self._pause(ending.stop) if not self._leave.is_set() else 0.0
        report = await self._write(at, ending)
        if report is not None:
            self.on_report(report)
        await self.on_end(ending, report.summary if report else summarise(at.ledger, ending, self.config))
        await at.ledger.jobs.dismiss(ending.job.spec.id)
        return None

    async def _write(self, at: Desk, ending: Ending) -> Report | None:
        """Write the job's files, where there is a place for them."""
        spec = ending.job.spec
        out = self.out / f"{spec.series_id}-{spec.id}" if self.out else default_out(spec)
        if self.out is None and not _is_folder(Path(spec.path).parent):
            self._tell(f"Job {spec.id}: its folder isn't on this host; {command('export', spec.id)} writes its files.")
            return None
        try:
            claim_folder(out, spec.id)
            return await at.report(ending, out)
        except (SinkError, ConfigError) as error:
            itself = command("export", spec.id, "--out", "FOLDER")
            self._tell(f"Job {spec.id}: {error.message}; {itself} writes its files.")
            return None

    def _pause(self, stop: Stop | None) -> float | None:
        """When somebody should go on with a job that this worker has left."""
        return (self._closed() or LATER) if stop is not None and stop.kind is StopKind.ASKED else None

    def _closed(self) -> float | None:
        """Seconds until the hours of --between begin; None within them."""
        hours, now = self.config.between, SystemClock().now().wall
        return None if hours is None or hours.open_at(now) else max(hours.opens_at(now) - now, 1.0)

    def _tell(self, message: str) -> None:
        self.observer(Progress(job=JobId(""), phase="", tally={}, rows=0, message=message))


def _is_folder(path: Path) -> bool:
    """Whether it is there, and may be looked into as far as that."""
    return os.path.isdir(path)  # noqa: PTH112 - Path raises where this process may not look


async def _open(ledger: SqliteLedger, job: Job) -> bool:
    """Whether a job waits for workers, or is worked on by them; a cancelled one as long as rows of it are in doubt."""
    if job.workers and job.state is JobState.CANCELLED:
        rows = await ledger.work.still_open(job.spec.id)
        return bool(rows[RowState.IN_FLIGHT] or rows[RowState.IN_DOUBT])
    return job.workers > 0 and job.state in (JobState.READY, JobState.RUNNING)
