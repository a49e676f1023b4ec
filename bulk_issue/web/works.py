"""The runs of this server: started, followed, stopped, and gone on with after a restart.

Every run has a thread and an event loop of its own, so that neither a page nor the reading of a large file ever holds
up a request on the wire: an intent that is late is dropped, and an answer that is read late looks like a time-out.
What runs is noted on disk before it starts and until it ends; a server that was killed goes on with it, which is always
safe (the ledger decides what is sent). Pausing takes the note away.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import threading
import traceback
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum, unique
from pathlib import Path
from typing import TypeVar

from bulk_issue import app
from bulk_issue.app.agreement import Selection
from bulk_issue.config import Config, Share
from bulk_issue.errors import AgreementChanged, BulkIssueError, ConfigError, LedgerError
from bulk_issue.model import JobId, JobState
from bulk_issue.ports import Progress
from bulk_issue.web.drafts import Draft, Drafts, write_private

T = TypeVar("T")
_logger = logging.getLogger(__name__)


@unique
class Task(StrEnum):
    """What a run is to do."""

    #: Register an upload and issue.
    START = "start"
    #: Issue what a registered job has pending.
    RESUME = "resume"
    #: Issue the rejected rows of a job once more, and no others.
    RETRY = "retry"
    #: Settle rows in doubt; issue nothing.
    RECONCILE = "reconcile"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What was asked for: enough to ask for it again after a restart."""

    task: Task
    #: The draft's id, or the job's.
    key: str
    #: The digest of the agreement that the person was shown; empty once a run of it has begun.
    agreed: str = ""
    #: The error codes of the rows to be sent again; empty: all that are rejected.
    codes: tuple[str, ...] = ()
    #: Go on however many rows are rejected; and although the series can't last.
    all_failures: bool = False
    all_short: bool = False


@dataclass(slots=True, kw_only=True, eq=False)
class Work:
    """A run as its pages see it. Written by its thread, one value at a time."""

    order: Order
    job: JobId | None = None
    progress: Progress | None = None
    messages: list[str] = field(default_factory=list)
    reports: Sequence[app.Report] = ()
    failure: BulkIssueError | None = None
    #: Set, in the server's loop, when the job is known and when the run has ended.
    known: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    stopping: bool = False
    #: Stopped by a person, to stay so.
    paused: bool = False
    _stop: Callable[[], None] | None = None

    def stop(self) -> None:
        """No new requests; those under way end."""
        self.stopping = True
        if self._stop is not None:
            self._stop()


async def aside(work: Callable[[], Awaitable[T]]) -> T:
    """Do something that takes its time in a thread and a loop of its own."""

    async def entire() -> T:
        return await work()

    return await asyncio.to_thread(lambda: asyncio.run(entire()))


class Works:
    """Everything that this server runs, and how its last runs ended."""

    def __init__(self, config: Config, drafts: Drafts, folder: Path) -> None:
        self._config, self._drafts, self._folder = config, drafts, folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._works: dict[str, Work] = {}

    # --- asked --------------------------------------------------------------------------------------------------

    def find(self, key: str) -> Work | None:
        """The run of this draft or job, going on or the last one that ended here."""
        return self._works.get(key)

    def is_running(self, key: str) -> bool:
        work = self._works.get(key)
        return work is not None and not work.ended.is_set()

    def running(self) -> Iterator[Work]:
        return (work for work in set(self._works.values()) if not work.ended.is_set())

    # --- told ---------------------------------------------------------------------------------------------------

    def start(self, order: Order) -> Work:
        """Run it from now on; asked twice, it is the same run."""
        known = self._works.get(order.key)
        if known is not None and not known.ended.is_set():
            return known
        work = Work(order=order)
        self._works[order.key] = work
        write_private(self._note(order), asdict(order))
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._thread, args=(work, loop), name=f"run {order.key}", daemon=True).start()
        return work

    def go_on(self) -> int:
        """Start again what was going on when the server ended; how many that are."""
        notes = sorted(self._folder.glob("*.json"))
        for note in notes:
            with contextlib.suppress(ValueError, TypeError, KeyError):  # written by a version that knew other orders
                facts = json.loads(note.read_text(encoding="utf-8"))
                self.start(Order(**(facts | {"task": Task(facts["task"]), "codes": tuple(facts["codes"])})))
        return len(notes)

    async def pause(self, work: Work) -> None:
        """Stop the run, and don't go on with it after a restart either."""
        work.paused = True
        work.stop()
        self._note(work.order).unlink(missing_ok=True)
        await work.ended.wait()
        self._note(work.order).unlink(missing_ok=True)  # its thread may just have written it

    async def end(self) -> None:
        """Stop everything, to be gone on with when the server starts again."""
        works = list(self.running())
        for work in works:
            work.stop()
        for work in works:
            await work.ended.wait()

    # --- a run's own thread -------------------------------------------------------------------------------------

    def _thread(self, work: Work, loop: asyncio.AbstractEventLoop) -> None:
        try:
            work.reports = asyncio.run(self._session(work, loop))
        except BulkIssueError as error:
            work.failure = error
        except Exception as error:  # noqa: BLE001 - a bug in a run must neither end the server nor stay untold
            place = traceback.extract_tb(error.__traceback__)[-1]
            # no traceback: the error's text may quote a row
            _logger.error("a run failed: %s at %s:%s", type(error).__name__, place.name, place.lineno)  # noqa: TRY400
            work.failure = LedgerError(
                "a bug in bulk-issue ended the run", hint="What was sent is on record. Go on, or report it."
            )
        with contextlib.suppress(RuntimeError):  # the server has left without waiting
            loop.call_soon_threadsafe(self._ended, work)

    async def _session(self, work: Work, loop: asyncio.AbstractEventLoop) -> Sequence[app.Report]:
        here, asked = asyncio.get_running_loop(), asyncio.Event()

        def stop() -> None:
            with contextlib.suppress(RuntimeError):  # it has just ended
                here.call_soon_threadsafe(asked.set)

        def observe(progress: Progress) -> None:
            if progress.message:
                work.messages.append(f"{progress.message} {progress.words}".rstrip())
            else:
                work.progress = progress

        work._stop = stop  # noqa: SLF001 - ours
        if work.stopping:
            asked.set()
        order = work.order
        if order.task is Task.START:
            draft = self._drafts.find(order.key)
            if draft is None:
                raise ConfigError("the uploaded file is gone", hint="Upload it again: nobody is served twice.")
            config = self._settings(order, draft.series_id, draft.again, draft)
            async with app.desk(config, observe, asked, app.Files()) as desk:
                return await desk.run(draft.path, self._talk(work, loop))
        async with app.opened(self._config.ledger) as ledger:
            job = await ledger.jobs.find(JobId(order.key))
        if job is None:
            raise ConfigError(f"this ledger knows no job {order.key}")
        self._tell(work, job.spec.id, loop)
        config = self._settings(order, job.spec.series_id, job.spec.again)
        async with app.desk(config, observe, asked, app.Files()) as desk:
            if order.task is Task.RECONCILE:
                return await desk.reconcile(job)
            if order.task is Task.RETRY and order.agreed:
                return await desk.retry(job, self._talk(work, loop), order.codes)
            which = Selection.RETRIED if order.task is Task.RETRY else Selection.PENDING
            return await desk.resume(job, self._talk(work, loop), which)

    def _settings(self, order: Order, series_id: int, again: str, draft: Draft | None = None) -> Config:
        config = replace(self._config, series_id=series_id, again=again)
        if draft is not None:
            config = replace(config, reading=draft.reading, omit=draft.omit)
        if order.all_failures:
            # nor is a run stopped whose first rows are all rejected
            config = replace(config, max_failures=Share(percent=100.0), canary=0)
        return replace(config, yes_short=True) if order.all_short else config

    def _talk(self, work: Work, loop: asyncio.AbstractEventLoop) -> app.Talk:
        """A person has agreed on the page to what was shown there, and to nothing else."""

        def show(checked: app.Checked) -> None:
            if checked.job is not None:
                self._tell(work, checked.job, loop)

        def confirm(checked: app.Checked, changed: AgreementChanged | None) -> bool:
            agreed = checked.agreement
            if agreed is not None and work.order.task is not Task.START:
                agreed = replace(agreed, worth=None)  # a job's page doesn't say it
            if changed is not None or (work.order.agreed and (agreed is None or agreed.digest != work.order.agreed)):
                raise AgreementChanged(
                    "nothing was sent: what would be sent has changed since you looked",
                    hint="Look at the numbers once more, and start what you see.",
                )
            self._begun(work)
            return True

        return app.Talk(show=show, confirm=confirm)

    def _begun(self, work: Work) -> None:
        """What was agreed to has begun: after a restart it goes on, whatever it has changed itself."""
        work.order = replace(work.order, agreed="")
        if not work.paused:
            write_private(self._note(work.order), asdict(work.order))

    def _tell(self, work: Work, job: JobId, loop: asyncio.AbstractEventLoop) -> None:
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(self._known, work, job)

    # --- back in the server's loop ------------------------------------------------------------------------------

    def _known(self, work: Work, job: JobId) -> None:
        work.job = job
        self._works[job] = work
        work.known.set()

    def _ended(self, work: Work) -> None:
        if work.reports:
            self._known(work, work.reports[-1].job.spec.id)
        work.ended.set()
        work.known.set()
        if not work.stopping:
            self._note(work.order).unlink(missing_ok=True)
        draft = self._drafts.find(work.order.key) if work.order.task is Task.START and work.job else None
        registered = bool(work.reports) and work.reports[-1].job.state is not JobState.REGISTERING
        if draft is not None and registered:
            self._drafts.drop_file(draft)
            if work.stopping and not work.paused and self._note(work.order).exists() and work.job is not None:
                # its file is gone: after a restart the job goes on without it
                self._note(work.order).unlink()
                order = replace(work.order, task=Task.RESUME, key=work.job)
                write_private(self._note(order), asdict(order))

    def _note(self, order: Order) -> Path:
        return self._folder / f"{order.key}.json"
