"""A command whose end is told to those who weren't watching, whatever that end is."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from bulk_issue.cli import frame
from bulk_issue.cli import options as opt
from bulk_issue.ending import ExitCode
from bulk_issue.errors import BulkIssueError
from bulk_issue.telling import End, JobEnd, Untold

if TYPE_CHECKING:
    from bulk_issue.job import Ending
    from bulk_issue.ports import Observer, Progress
    from bulk_issue.sink import Summary
    from bulk_issue.telling.log import EventLog


class Told(click.Command):
    """Logs, measures and notifies as its options say. What can't be told changes nothing but a line of words."""

    def invoke(self, ctx: click.Context) -> Any:
        telling = ctx.obj = Telling(str(self.name), ctx.params, by_job=isinstance(self, ToldByJob))
        if str(ctx.params["log_file"]) == "-":
            ctx.params["quiet"] = True  # the log is what the standard error output says
        try:
            code = super().invoke(ctx)
        except BaseException as error:
            telling.end(frame.code_of(error), error)
            raise
        telling.end(ExitCode(code))
        return code


class ToldByJob(Told):
    """A command that goes on for days: each job's end is told when it comes, its own is only logged.

    Who starts it again when it has ended, a service manager, tells of that.
    """


class Telling:
    """Whom a command tells, and what it has to tell so far."""

    def __init__(self, command: str, options: dict[str, Any], *, by_job: bool) -> None:
        """Raises `ConfigError` where it is clear from the start that somebody couldn't be told."""
        self._command, self._options, self._by_job = command, options, by_job
        self._began = time.monotonic()
        self._jobs: list[JobEnd] = []
        self._log: EventLog | None = None
        self._notify: Callable[[End], None] | None = None
        if options["log_file"] is not None:
            from bulk_issue.telling.log import EventLog

            self._log = EventLog(options["log_file"], command, as_json=options["log_format"] == "json")
        if addresses := opt.secret("notify", options["notify_file"]):
            from bulk_issue.telling.notify import Notifier

            self._notify = Notifier(addresses).tell
        if self._log is not None:
            self._log.began()

    def observing(self, shown: Observer) -> Observer:
        """Shows how a run goes, and logs it."""

        def observe(progress: Progress) -> None:
            shown(progress)
            if self._log is not None:
                self._log.progress(progress)

        return observe

    def job_ended(self, ending: Ending, summary: Summary) -> None:
        """How one of the command's jobs stands."""
        from bulk_issue.shown import by_status

        job = JobEnd(
            job=summary.job,
            series_id=summary.series_id,
            rows=summary.rows,
            counts=by_status(ending.tally),
            requests=summary.requests,
            responses_429=summary.responses_429,
            excess=summary.excess,
            duration_s=summary.duration_s,
            exit_code=ending.exit_code,
            stopped=ending.stop.because if ending.stop else "",
        )
        if self._log is not None:
            self._log.job_ended(job)
        if self._by_job:
            self._tell(self._end(ending.exit_code, summary.duration_s, [job]))
        else:
            self._jobs.append(job)

    def failed(self, what: str, error: BulkIssueError) -> None:
        """What a command that goes on should have begun, and why it couldn't."""
        end = self._end(ExitCode(error.exit_code), 0.0, [], error)
        self._tell(replace(end, message=f"{what}: {error.message}"))

    def end(self, code: ExitCode, error: BaseException | None = None) -> None:
        """Tell everybody, in bounded time; raises nothing."""
        end = self._end(code, time.monotonic() - self._began, self._jobs, error)
        if self._log is not None:
            self._log.ended(end)
        if not self._by_job:
            self._tell(end)
        if self._log is not None:
            self._log.close()

    def _end(
        self, code: ExitCode, duration_s: float, jobs: Sequence[JobEnd], error: BaseException | None = None
    ) -> End:
        ours = error if isinstance(error, BulkIssueError) else None
        return End(
            command=self._command,
            exit_code=code,
            at=time.time(),
            duration_s=duration_s,
            rate=self._options["rate"],
            per=self._options["per"],
            jobs=jobs,
            error=type(error).__name__ if error else "",
            message=ours.message if ours else "",  # the text of a bug may hold anything
            hint=ours.hint if ours else "",
        )

    def _tell(self, end: End) -> None:
        if self._options["metrics"] is not None:
            self._try("metrics", self._measure, end)
        if self._notify is not None:
            self._try("notification", self._notify, end)

    def _measure(self, end: End) -> None:
        from bulk_issue.telling.metrics import write_metrics

        write_metrics(self._options["metrics"], end)

    def _try(self, what: str, tell: Callable[[End], None], end: End) -> None:
        """What goes wrong here is told, and changes nothing: the run has ended as it has ended."""
        try:
            tell(end)
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - as the docstring says
            why = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
            if isinstance(error, Untold):
                why = str(error)
            frame.say(f"The {what} could not be delivered ({why}); the run is not affected.", err=True)
            if self._log is not None:
                self._log.untold(what, why)
