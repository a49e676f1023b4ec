"""What a command's end is for those who weren't watching: a log, a file of metrics, a notification.

The rule: no identifier, code or secret, and no cell of the input; counts, jobs, series and exit codes only. None of the
three ever changes how a run ends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bulk_issue.commands import command
from bulk_issue.ending import ExitCode
from bulk_issue.model import JobId


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEnd:
    """How one job stands at the end of a command."""

    job: JobId
    #: Its input's name without the folder, made harmless; empty if it has none.
    file: str
    series_id: int
    rows: int
    #: Rows by `_status`, every status named.
    counts: Mapping[str, int]
    #: Issue requests of the job's whole life, and those that were refused for the limit.
    requests: int
    responses_429: int
    excess: int
    duration_s: float
    exit_code: ExitCode
    #: Why it stopped before its end; empty if it didn't.
    stopped: str = ""


def _see(job: JobId) -> str:
    return command("status", job)


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How a command ended."""

    command: str
    exit_code: ExitCode
    #: Epoch seconds.
    at: float
    duration_s: float
    #: The account's limit: `rate` requests in any window of `per` seconds; None where that couldn't be read.
    rate: int | None
    per: float | None
    #: The name of the file that the command was given, made harmless; empty if it takes none.
    file: str = ""
    jobs: Sequence[JobEnd] = ()
    #: The kind of error that ended it, and in our words what was wrong and what to do; empty if there was none.
    error: str = ""
    message: str = ""
    hint: str = ""
    #: The command that shows a job, as it runs where this command ran.
    see: Callable[[JobId], str] = _see


class Untold(Exception):
    """Somebody couldn't be told. The message says why, and names no address."""


def level(code: ExitCode) -> Literal["info", "warning", "error"]:
    """How much an end deserves attention."""
    match code:
        case ExitCode.DONE:
            return "info"
        case ExitCode.FAILURES | ExitCode.ASKED | ExitCode.DOUBT | ExitCode.HELD:
            return "warning"
        case _:
            return "error"


def harmless(text: str) -> str:
    """A text of which nothing begins a new line, steers a terminal or reverses what follows."""
    return "".join(
        each if each.isprintable() or each == "\N{NO-BREAK SPACE}" else "\N{REPLACEMENT CHARACTER}" for each in text
    )
