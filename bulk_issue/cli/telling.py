"""A command whose end is told to those who weren't watching, whatever that end is."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bulk_issue.cli import frame, values
from bulk_issue.commands import command
from bulk_issue.ending import ExitCode
from bulk_issue.errors import BulkIssueError
from bulk_issue.telling import End, JobEnd, Untold, harmless

if TYPE_CHECKING:
    from bulk_issue.job import Ending
    from bulk_issue.ports import Observer, Progress
    from bulk_issue.sink import Summary
    from bulk_issue.telling.log import EventLog


class Told(click.Command):
    """Logs, measures and notifies as its options say, whatever keeps it from starting. What can't be told is said."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        typed = list(args)  # parsing empties it
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.exceptions.Exit:  # --help
            raise
        except Exception as error:
            # Once more, without what can't be read: whoever can still be told is told.
            lenient = {"resilient_parsing": True, "ignore_unknown_options": True, "allow_extra_args": True}
            with super().make_context(info_name, typed, parent, **extra | lenient) as context:
                self._telling(context).end(frame.code_of(error), error)
            raise

    def invoke(self, ctx: click.Context) -> Any:
        telling = ctx.obj = self._telling(ctx)
        try:
            if telling.wrong is not None:
                raise telling.wrong
            code = super().invoke(ctx)
        except BaseException as error:
            telling.end(frame.code_of(error), error)
            raise
        telling.end(ExitCode(code))
        return code

    def _telling(self, ctx: click.Context) -> Telling:
        telling = Telling(str(self.name), ctx.params, by_job=isinstance(self, ToldByJob))
        if telling.in_place_of_words:
            ctx.params["quiet"] = True
        return telling


class ToldByJob(Told):
    """A command that goes on for days: each job's end is told when it comes, its own is only logged.

    Who starts it again when it has ended, a service manager, tells of that.
    """


class Telling:
    """Whom a command tells, and what it has to tell so far."""

    def __init__(self, command: str, options: dict[str, Any], *, by_job: bool) -> None:
        """Where somebody can't be told, `wrong` says why, and the others still can."""
        self.wrong: BulkIssueError | None = None
        self.in_place_of_words = str(options["log_file"]) == "-"
        self._command, self._options, self._by_job = command, options, by_job
        self._began = time.monotonic()
        self._jobs: list[JobEnd] = []
        self._log: EventLog | None = None
        self._notify: Callable[[End], None] | None = None
        for prepare in (self._prepare_log, self._prepare_notifications):
            try:
                prepare()
            except BulkIssueError as error:
                self.wrong = self.wrong or error

    def _prepare_log(self) -> None:
        if self._options["log_file"] is None:
            return
        from bulk_issue.telling.log import EventLog

        self._log = EventLog(self._options["log_file"], self._command, as_json=self._options["log_format"] != "text")
        if self.in_place_of_words:
            frame.listen(self._log.note)
        self._log.began()

    def _prepare_notifications(self) -> None:
        addresses = values.secret("notify", self._options["notify_file"])
        if not addresses:
            return
        from bulk_issue.telling.notify import Notifier

        notifier = Notifier(addresses)
        self._notify = notifier.tell
        if notifier.wrong is not None:
            raise notifier.wrong

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
            file=harmless(summary.file),
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
        """Tell everybody, in bounded time; raises nothing. A log in place of words has the last word."""
        end = self._end(code, time.monotonic() - self._began, self._jobs, error)
        if self._log is not None:
            self._log.ended(end)
        if not self._by_job:
            self._tell(end)
        if self._log is not None:
            self._try("log", self._log.close)
        if self.in_place_of_words:
            frame.listen(lambda _text: None)

    def _end(
        self, code: ExitCode, duration_s: float, jobs: Sequence[JobEnd], error: BaseException | None = None
    ) -> End:
        message, hint = frame.explained(error) if error else ("", "")
        file = self._options.get("file")
        return End(
            command=self._command,
            exit_code=code,
            at=time.time(),
            duration_s=duration_s,
            rate=self._options["rate"],
            per=self._options["per"],
            file=harmless(Path(file).name) if file else "",
            jobs=jobs,
            error=type(error).__name__ if error else "",
            message=message,
            hint=hint,
            see=lambda job: frame.completed(command("status", job)),
        )

    def _tell(self, end: End) -> None:
        if self._options["metrics"] is not None:
            self._try("metrics", partial(self._measure, end))
        if self._notify is not None:
            self._try("notification", partial(self._notify, end))

    def _measure(self, end: End) -> None:
        from bulk_issue.telling.metrics import write_metrics

        write_metrics(self._options["metrics"], end)

    def _try(self, what: str, tell: Callable[[], None]) -> None:
        """What goes wrong here is told, and changes nothing: the run has ended as it has ended."""
        try:
            tell()
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - as the docstring says
            why = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
            if isinstance(error, Untold):
                why = str(error)
            if not self.in_place_of_words:
                frame.say(f"The {what} could not be delivered ({why}); the run is not affected.", err=True)
            if self._log is not None:
                self._log.untold(what, why)
