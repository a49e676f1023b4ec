"""How a run looks while it goes on: on a terminal, in a log, to a machine; and when nobody looks any more."""

from __future__ import annotations

import errno
import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

import pytest

from bulk_issue.model import JobId, Tally
from bulk_issue.ports import Progress
from bulk_issue.progress import CALM, Reporter, counts, line
from bulk_issue.saying import duration
from bulk_issue.states import RowState

S = RowState
TALLY: Tally = {S.ISSUED: 1_203, S.REJECTED: 2, S.IN_DOUBT: 1, S.IN_FLIGHT: 7, S.PENDING: 787}


def progress(
    tally: Tally = TALLY, *, phase: str = "issuing", left: float | None = 157.4, rate: float = 297.4, message: str = ""
) -> Progress:
    return Progress(
        job=JobId("j123456789"),
        phase=phase,
        tally=tally,
        rows=2_000,
        rate=rate,
        limit=300.0,
        seconds_left=left,
        message=message,
    )


class Log(io.StringIO):
    """A stream that is no terminal."""

    def lines(self) -> list[str]:
        return self.getvalue().splitlines()


# --- words ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "0 s"),
        (0.4, "0 s"),
        (12.3, "12 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (60.0, "1 min"),
        (200.0, "3 min"),
        (3_569.0, "59 min"),
        (3_599.0, "1 h 0 min"),
        (3_600.0, "1 h 0 min"),
        (9_660.0, "2 h 41 min"),
        (200_000.0, "55 h 33 min"),
    ],
)
def test_a_duration_is_said_as_people_say_it(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_counts_name_what_has_rows_and_nothing_else() -> None:
    told = counts(progress())

    assert told.endswith("203 issued, 2 rejected, 1 in doubt")
    assert "pending" not in told and "flight" not in told and "held" not in told
    assert counts(progress({})) == counts(progress({S.PENDING: 5, S.ISSUED: 0})) == "nothing yet"


def test_a_line_says_phase_rows_rate_and_time_left() -> None:
    told = line(progress())

    assert told.startswith("issuing: 1")
    assert "205 of 2" in told  # what is in doubt, in flight or pending isn't done
    assert told.endswith("297 of 300 requests a minute, 3 min left")
    assert "left" not in line(progress(left=None))


@pytest.mark.parametrize("state", RowState)
def test_every_state_but_the_open_ones_counts_as_done(state: RowState) -> None:
    open_ = {S.PENDING, S.IN_FLIGHT, S.IN_DOUBT, S.LINKED}  # a linked row is counted as the row that it is linked to

    assert line(progress({state: 3})).startswith(f"issuing: {0 if state in open_ else 3} of")


# --- a log ------------------------------------------------------------------------------------------------------


def test_a_log_gets_a_line_at_once_and_then_every_half_minute() -> None:
    log = Log()
    with Reporter(quiet=False, as_json=False, stream=log) as reporter:
        for _ in range(50):
            reporter(progress())
        assert log.lines() == [line(progress())]
        reporter._last -= CALM
        reporter(progress())
        reporter(progress())

    assert log.lines() == [line(progress())] * 2


def test_the_first_line_does_not_wait_for_the_machine_to_be_up_for_long() -> None:
    # A container that was just started: its monotonic clock is still at nearly nothing.
    assert Reporter(quiet=False, as_json=False, stream=Log())._last <= -CALM


def test_a_message_is_told_at_once_between_the_lines() -> None:
    log = Log()
    with Reporter(quiet=False, as_json=False, stream=log) as reporter:
        reporter(progress({}, phase="", message="3 rows were in flight."))
        reporter(progress())
        reporter(progress(message="Reading back is refused."))
        reporter.say("Ledger: here")

    assert log.lines() == ["3 rows were in flight.", line(progress()), "Reading back is refused.", "Ledger: here"]


def test_quiet_is_quiet() -> None:
    log = Log()
    with Reporter(quiet=True, as_json=False, stream=log) as reporter:
        reporter(progress())
        reporter(progress(message="Reading back is refused."))
        reporter.say("Ledger: here")

    assert log.getvalue() == ""


# --- a machine --------------------------------------------------------------------------------------------------


def test_a_machine_gets_one_object_a_line() -> None:
    log = Log()
    with Reporter(quiet=False, as_json=True, stream=log) as reporter:
        reporter.say('Ledger: "here"\nand there')
        reporter(progress())
        reporter(progress(message="Told."))

    first, facts, last = map(json.loads, log.lines())
    assert (first, last) == ({"message": 'Ledger: "here"\nand there'}, {"message": "Told."})
    assert facts == {
        "job": "j123456789",
        "phase": "issuing",
        "rows": 2_000,
        "counts": {"issued": 1_203, "rejected": 2, "in_doubt": 1, "in_flight": 7, "pending": 787},
        "requests_per_minute": 297.4,
        "limit_per_minute": 300.0,
        "seconds_left": 157.4,
    }


def test_a_machine_gets_an_object_a_second_at_most() -> None:
    log = Log()
    reporter = Reporter(quiet=False, as_json=True, stream=log)
    for _ in range(20):
        reporter(progress())
    assert len(log.lines()) == 1
    reporter._last -= 1.0
    reporter(progress())

    assert len(log.lines()) == 2


# --- a terminal -------------------------------------------------------------------------------------------------


@contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, TextIO]]:
    """A real pseudo-terminal, wide enough for a line."""
    for name, value in (("TERM", "xterm"), ("COLUMNS", "200"), ("LINES", "50")):
        monkeypatch.setenv(name, value)
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    master, slave = os.openpty()
    with os.fdopen(slave, "w", encoding="utf-8") as stream:
        yield master, stream
    os.close(master)


def shown(master: int) -> str:
    """What a person has seen on the terminal so far."""
    os.set_blocking(master, False)
    seen = b""
    with suppress(BlockingIOError):
        while chunk := os.read(master, 65536):
            seen += chunk
    return seen.decode("utf-8", "replace")


def test_a_terminal_shows_a_bar_with_counts_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch) as (master, stream):
        with Reporter(quiet=False, as_json=False, stream=stream) as reporter:
            reporter(progress({S.ISSUED: 1}))
            reporter(progress())
            reporter(progress(message="Reading [red]back[/red] is refused."))
        seen = shown(master)

    assert "1205/2000" in seen
    assert "203 issued, 2 rejected, 1 in doubt" in seen
    assert "297/300 a minute · 3 min left" in seen
    assert "Reading [red]back[/red] is refused." in seen  # messages aren't markup


def test_a_terminal_is_told_before_there_is_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch) as (master, stream):
        with Reporter(quiet=False, as_json=False, stream=stream) as reporter:
            reporter.say("Ledger: here")
        assert shown(master).strip() == "Ledger: here"


@pytest.mark.parametrize(("quiet", "as_json"), [(True, False), (False, True)], ids=["quiet", "json"])
def test_a_terminal_gets_no_bar_that_was_not_wanted(
    monkeypatch: pytest.MonkeyPatch, *, quiet: bool, as_json: bool
) -> None:
    with terminal(monkeypatch) as (master, stream):
        with Reporter(quiet=quiet, as_json=as_json, stream=stream) as reporter:
            reporter(progress())
        seen = shown(master)

    assert "\x1b" not in seen
    assert seen.count("\n") == (1 if as_json else 0)


# --- nobody -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_json", [False, True], ids=["words", "json"])
def test_a_reader_that_went_away_does_not_end_the_run(*, as_json: bool) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    stream = os.fdopen(writer, "w", encoding="utf-8")
    with Reporter(quiet=False, as_json=as_json, stream=stream) as reporter:
        reporter.say("Ledger: here")
        reporter(progress())
        reporter(progress(message="Told."))

    with suppress(BrokenPipeError):
        stream.close()


class FullDisk(io.StringIO):
    """A log on a disk without space."""

    def write(self, _text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_does_not_end_the_run() -> None:
    reporter = Reporter(quiet=False, as_json=False, stream=FullDisk())

    reporter(progress())
    reporter.say("Ledger: here")
