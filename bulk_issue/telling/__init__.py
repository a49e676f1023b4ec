"""What a command's end is for those who weren't watching: a log, a file of metrics, a notification.

The rule: no identifier, code or secret, and no cell of the input; counts, jobs, series and exit codes only. None of the
three ever changes how a run ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bulk_issue.ending import ExitCode
from bulk_issue.model import JobId


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEnd:
    """How one job stands at the end of a command."""

    job: JobId
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


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How a command ended."""

    command: str
    exit_code: ExitCode
    #: Epoch seconds.
    at: float
    duration_s: float
    #: The account's limit: `rate` requests in any window of `per` seconds.
    rate: int
    per: float
    jobs: Sequence[JobEnd] = ()
    #: The kind of error that ended it, and in our words what was wrong and what to do; empty if there was none.
    error: str = ""
    message: str = ""
    hint: str = ""


class Untold(Exception):
    """Somebody couldn't be told. The message says why, and names no address."""
