"""The log: one event a line, for programs (docs/cron.md has its schema) or for people.

Every event has a method of its own, so that nothing gets into the log by accident.
"""

from __future__ import annotations

import math
import os
import secrets
import socket
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

import structlog

from bulk_issue import __version__
from bulk_issue.errors import ConfigError
from bulk_issue.ports import Progress
from bulk_issue.telling import End, JobEnd, Untold, level

#: Seconds between two lines of progress.
EVERY = 60.0


class EventLog:
    """Appends events to a file, or to the standard error output. A line that can't be written is lost, not the run."""

    def __init__(self, path: Path, command: str, *, as_json: bool) -> None:
        self._file = _opened(path)
        json = (_in_order, structlog.processors.JSONRenderer())
        self._log = structlog.wrap_logger(
            structlog.WriteLogger(self._file),
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True, key="time" if as_json else "timestamp"),
                *(json if as_json else (structlog.dev.ConsoleRenderer(colors=False),)),
            ],
        ).bind(run=secrets.token_hex(4), command=command)
        self._last = -math.inf
        self._lost = ""

    def began(self) -> None:
        self._write("info", "began", version=__version__, host=socket.gethostname(), pid=os.getpid())

    def note(self, text: str) -> None:
        """What would have been said in words on the error output."""
        self._write("info", "note", text=text)

    def progress(self, progress: Progress) -> None:
        """How a job goes, at most once a minute; or a sentence worth telling once."""
        if progress.message:
            self._write("warning", "note", text=progress.message, **({"job": progress.job} if progress.job else {}))
        elif time.monotonic() - self._last >= EVERY:
            self._last = time.monotonic()
            self._write(
                "info",
                "progress",
                job=progress.job,
                phase=progress.phase,
                rows=progress.rows,
                counts={str(state): rows for state, rows in progress.tally.items()},
                requests_per_minute=progress.rate,
                limit_per_minute=progress.limit,
                seconds_left=progress.seconds_left,
            )

    def job_ended(self, job: JobEnd) -> None:
        self._write(level(job.exit_code), "job_ended", **asdict(job) | {"exit_code": int(job.exit_code)})

    def ended(self, end: End) -> None:
        """The last line of every command: its exit code; and what was wrong, if an error ended it."""
        facts: dict[str, Any] = {"exit_code": int(end.exit_code), "exit": end.exit_code.name.lower()}
        facts["duration_s"] = round(end.duration_s, 3)
        if end.error:
            facts |= {"error": end.error, "message": end.message, "hint": end.hint}
        self._write(level(end.exit_code), "ended", **facts)

    def untold(self, what: str, why: str) -> None:
        """The notification or the metrics didn't get out."""
        self._write("warning", "untold", what=what, why=why)

    def close(self) -> None:
        """Raises `Untold` or `OSError` if anything of the log was lost."""
        if self._file is not sys.stderr:
            self._file.close()
        if self._lost:
            raise Untold(self._lost)

    def _write(self, level: str, event: str, **facts: Any) -> None:
        try:
            getattr(self._log, level)(event, **facts)
        except (OSError, ValueError) as error:  # a full disk, a closed pipe: no reason to stop issuing
            self._lost = getattr(error, "strerror", None) or type(error).__name__


def _in_order(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Begin with what people look for first."""
    return {name: event[name] for name in ("time", "level", "event")} | dict(event)


def _opened(path: Path) -> TextIO:
    if str(path) == "-":
        return sys.stderr
    try:
        return path.open("a", encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise ConfigError(
            f"--log-file {path} can't be written: {error.strerror}", hint="Name another place; its folder must exist."
        ) from error
