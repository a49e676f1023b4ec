"""How a run looks while it goes on: a live bar on a terminal, a calm line every half minute anywhere else.

Everything goes to stderr, and holds counts only: no identifier, no code.
"""

from __future__ import annotations

import contextlib
import json
import math
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TaskID, TextColumn
from rich.progress import Progress as Bar

from bulk_issue.ports import Progress
from bulk_issue.saying import THROUGH, duration, number
from bulk_issue.states import RowState

#: Seconds between two lines where there is no terminal.
CALM = 30.0

_SHOWN = (RowState.ISSUED, RowState.HELD, RowState.REJECTED, RowState.INVALID, RowState.DUPLICATE, RowState.IN_DOUBT)


def counts(progress: Progress) -> str:
    """Rows by state, in words; what is on the wire counts as in doubt only if it stays there."""
    shown = [
        f"{number(progress.tally[state])} {state.replace('_', ' ')}" for state in _SHOWN if progress.tally.get(state)
    ]
    return ", ".join(shown) or "nothing yet"


def line(progress: Progress) -> str:
    """One line for a log."""
    done = sum(progress.tally.get(state, 0) for state in THROUGH)
    left = f", {duration(progress.seconds_left)} left" if progress.seconds_left else ""
    return (
        f"{progress.phase}: {number(done)} of {number(progress.rows)} rows ({counts(progress)}), "
        f"{progress.rate:.0f} of {progress.limit:.0f} requests a minute{left}"
    )


class Reporter:
    """An `Observer` for a terminal, a log or a machine."""

    def __init__(
        self,
        *,
        quiet: bool,
        as_json: bool,
        stream: TextIO | None = None,
        completed: Callable[[str], str] = str,
    ) -> None:
        """`completed`: gives the commands within a sentence what they need."""
        self._completed = completed
        self._stream = stream or sys.stderr
        self._quiet, self._json = quiet, as_json
        live = self._stream.isatty() and not quiet and not as_json
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        self._last = -math.inf
        if live:
            self._bar = Bar(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[facts]}"),
                console=Console(file=self._stream),
                transient=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, progress: Progress) -> None:
        if progress.message:
            self.say(f"{progress.message} {progress.words}".rstrip())
            return
        if self._json:
            self._as_json(progress)
        elif self._bar is not None:
            self._live(self._bar, progress)
        elif not self._quiet and time.monotonic() - self._last >= CALM:
            self._last = time.monotonic()
            self.say(line(progress))

    def say(self, text: str) -> None:
        """One sentence for the person who watches."""
        text = self._completed(text)
        if self._json:
            self._print(json.dumps({"message": text}))
        elif self._bar is not None and self._task is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        elif not self._quiet:
            self._print(text)

    def _print(self, text: str) -> None:
        """A line; that nobody reads it any more (a closed pipe, a full disk) is no reason to stop issuing."""
        with contextlib.suppress(OSError):
            print(text, file=self._stream, flush=True)

    def _live(self, bar: Bar, progress: Progress) -> None:
        done = sum(progress.tally.get(state, 0) for state in THROUGH)
        left = f" · {duration(progress.seconds_left)} left" if progress.seconds_left else ""
        facts = f"{counts(progress)} · {progress.rate:.0f}/{progress.limit:.0f} a minute{left}"
        if self._task is None:
            bar.start()
            self._task = bar.add_task(progress.phase, total=progress.rows, facts=facts)
        bar.update(self._task, total=progress.rows, completed=done, description=progress.phase, facts=facts)

    def _as_json(self, progress: Progress) -> None:
        if time.monotonic() - self._last < 1.0:
            return
        self._last = time.monotonic()
        facts = {
            "job": progress.job,
            "phase": progress.phase,
            "rows": progress.rows,
            "counts": {str(state): count for state, count in progress.tally.items()},
            "requests_per_minute": progress.rate,
            "limit_per_minute": progress.limit,
            "seconds_left": progress.seconds_left,
        }
        self._print(json.dumps(facts))
