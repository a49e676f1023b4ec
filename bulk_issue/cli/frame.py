"""The outermost frame: every ending as a documented exit code, the signals, and the one event loop."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import click
import platformdirs

from bulk_issue import __version__
from bulk_issue.ending import ExitCode
from bulk_issue.errors import BulkIssueError

T = TypeVar("T")

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: Who hears what would be said on the error output, if a log stands there in place of words.
_listener: Callable[[str], object] | None = None


#: Gives the commands within a sentence what they need of this command line; none is known before it is understood.
_completed: Callable[[str], str] = str


def completed(text: str) -> str:
    """The text, each command in it being about the same ledger, settings and account as this one."""
    return _completed(text)


def complete(by: Callable[[str], str]) -> None:
    """From now on what is said is completed so."""
    global _completed  # noqa: PLW0603 - there is one command line
    _completed = by


def say_facts(facts: object, *, indent: int | None = None, err: bool = False) -> None:
    """Print something for machines."""
    click.echo(json.dumps(facts, indent=indent), err=err)


def say(text: str, *, err: bool = False, exact: bool = False) -> None:
    """Print a line, completed unless it is to be `exact`; on the error output only if nobody listens in its place."""
    text = text if exact else completed(text)
    if err and _listener is not None:
        _listener(text.strip())
    else:
        click.echo(text, err=err)


def listen(listener: Callable[[str], object]) -> None:
    """From now on the listener hears what would be said on the error output; questions are still asked there."""
    global _listener  # noqa: PLW0603 - there is one error output
    _listener = listener


def say_all(lines: Iterable[str], *, err: bool = False, exact: bool = False) -> None:
    """Print lines."""
    for line in lines:
        say(line, err=err, exact=exact)


def code_of(error: BaseException) -> ExitCode:
    """The exit code of a command that this error ends."""
    match error:
        case click.exceptions.Exit():
            return ExitCode(error.exit_code)
        case click.Abort() | KeyboardInterrupt() | asyncio.CancelledError():
            return ExitCode.ASKED
        case click.ClickException():
            return ExitCode.USAGE
        case BulkIssueError():
            return ExitCode(error.exit_code)
        case _:
            return ExitCode.TROUBLE


def exit_code(commands: click.Command, arguments: list[str]) -> int:
    """Run a command; its exit code, whatever happens."""
    _open_what_is_closed()
    _let_nobody_break_the_streams()
    for number in _heard():
        signal.signal(number, signal.default_int_handler)
    try:
        done = commands.main(arguments, prog_name="bulk-issue", standalone_mode=False)
    except (Exception, KeyboardInterrupt, asyncio.CancelledError) as error:  # noqa: BLE001 - the outermost frame
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)  # how it ended is known: one more Ctrl-C can't change it
        _explain(error)
        return code_of(error)
    return int(done) if isinstance(done, int) else ExitCode.DONE


def _open_what_is_closed() -> None:
    """Somebody closed a standard stream (`2>&-`): the next file to be opened, the ledger, would take its place."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # it gets the lowest number that is free
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


class _Lossy(io.FileIO):
    """A standard stream of which what can't be written is lost, and nothing else."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data) or len(data)  # None: the other end can't take it now
        except OSError:  # a reader that has gone (`| head`), a terminal that was closed, a full disk
            return len(data)


def _let_nobody_break_the_streams() -> None:
    """Nothing that is written to the standard streams ends the run or changes its exit code, whoever writes it."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is getattr(sys, f"__{name}__"):  # not one that was put there to catch what is written
            lossy = io.TextIOWrapper(
                io.BufferedWriter(_Lossy(stream.fileno(), "w", closefd=False)),
                encoding=stream.encoding,
                errors="backslashreplace",
                line_buffering=stream.line_buffering,
                write_through=stream.write_through,
            )
            setattr(sys, name, lossy)


def _explain(error: BaseException) -> None:
    """Say what ended the command: a bug too must end in a documented way."""
    if isinstance(error, click.Abort) and isinstance(error.__cause__, KeyboardInterrupt):
        error = error.__cause__  # click made one of the other
    if isinstance(error, click.ClickException) and _listener is None:
        error.show()
        return
    message, hint = explained(error)
    match error:
        case click.Abort() | KeyboardInterrupt() | asyncio.CancelledError():
            say(f"{message} {hint}", err=True)
        case _ if message:
            say(f"Error: {message}", err=True)
            if _listener is None and (cells := getattr(error, "cells", "")):
                say(f"  {cells}", err=True)
            if hint:
                say(f"  {hint}", err=True)


def explained(error: BaseException) -> tuple[str, str]:
    """What ended the command and what to do, in our own words; both empty where there is nothing to say."""
    message, hint = _explained(error)
    return completed(message), completed(hint)


@lru_cache(maxsize=1)  # the details of a bug are kept once, however often it is told
def _explained(error: BaseException) -> tuple[str, str]:
    match error:
        case click.exceptions.Exit():
            return "", ""
        case click.Abort():
            return "Nothing was started.", ""
        case KeyboardInterrupt() | asyncio.CancelledError():
            return "Stopped at once.", "Run the same command again to go on; nothing is sent twice."
        case click.ClickException():
            return _misread(error), "Run it by hand: the error output says more, and --help what there is."
        case BulkIssueError():
            return error.message, error.hint
        case _:
            return (
                "a bug in bulk-issue. What was sent is on record; nothing is lost.",
                f"Details are in {_keep_details(error)}. Run the same command again, or report it with that file.",
            )


def _misread(error: click.ClickException) -> str:
    """Names what is wrong, and nothing that was typed: that may be anything."""
    match error:
        case click.BadParameter(param=click.Parameter() as param, ctx=ctx):
            kind = "is missing" if isinstance(error, click.MissingParameter) else "has a value that can't be meant"
            return f"{param.get_error_hint(ctx)} {kind}"
        case _:
            return "the command line can't be understood"


def _keep_details(error: BaseException) -> Path:
    """Write where it came from to a file that only its owner can read, and that can be passed on."""
    details = f"bulk-issue {__version__}\n{''.join(_trace(error, set()))}"
    name = f"bug-{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{os.getpid()}.log"
    for place in (lambda: platformdirs.user_log_path("bulk-issue", appauthor=False), tempfile.gettempdir):
        try:
            folder = Path(place())
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.fdopen(os.open(folder / name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
                file.write(details)
        except (OSError, RuntimeError):  # a full or closed disk; a user without a home
            continue
        return folder / name
    say(details, err=True)
    return Path("this terminal, above")


def _trace(error: BaseException, seen: set[int]) -> Iterator[str]:
    """The traceback with what led to it, by lines and kinds: the words of a bug may hold a customer or a code."""
    seen.add(id(error))
    led_to_it = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if led_to_it is not None and id(led_to_it) not in seen:
        yield from _trace(led_to_it, seen)
        yield "which led to\n"
    yield from traceback.format_tb(error.__traceback__)
    said = error.message if isinstance(error, BulkIssueError) else getattr(error, "strerror", None) or "…"
    yield f"{type(error).__qualname__}: {said}\n"
    for each in error.exceptions if isinstance(error, BaseExceptionGroup) else ():
        if id(each) not in seen:
            yield from _trace(each, seen)


def _heard() -> list[signal.Signals]:
    """The signals that ask for an end. A hangup isn't one for whom `nohup` started."""
    return [each for each in _SIGNALS if each is not signal.SIGHUP or signal.getsignal(each) is not signal.SIG_IGN]


_FAREWELL = "Stopping: what is under way ends first. Once more to leave at once."


def in_loop(work: Callable[[asyncio.Event], Awaitable[T]], farewell: str = _FAREWELL) -> T:
    """The one event loop. The first signal asks the run to stop, the second leaves at once; more change nothing."""
    running: tuple[asyncio.AbstractEventLoop, Callable[[], None]] | None = None
    leaving = False

    async def supervised() -> T:
        nonlocal running
        asked = asyncio.Event()
        task = asyncio.current_task()
        assert task is not None

        def stop() -> None:
            nonlocal leaving
            if leaving:  # a second cancel would hit what brings the ledger into order
                return
            if asked.is_set():
                leaving = True
                task.cancel()
            asked.set()
            say("\nLeaving." if leaving else f"\n{farewell}", err=True)

        running = asyncio.get_running_loop(), stop
        return await work(asked)

    def heard(_number: int, _frame: FrameType | None) -> None:
        if running is None:
            raise KeyboardInterrupt
        loop, stop = running
        if not loop.is_closed():
            loop.call_soon_threadsafe(stop)

    # Not add_signal_handler: as it closes, a loop closes its wake-up pipe while signals are still written to it, and
    # gives SIGTERM its deadly default back before anybody can ignore it.
    previous = {number: signal.signal(number, heard) for number in _heard()}
    try:
        return asyncio.run(supervised())
    finally:
        for number, handler in previous.items():
            signal.signal(number, signal.SIG_IGN if leaving else handler)


def ask(question: str, *, default: bool = False) -> bool:
    """Ask on the terminal; Ctrl-C and other signals there mean no, although the event loop waits for signals."""
    with _interrupted():
        return click.confirm(question, default=default, err=True)


def choose(question: str, words: Sequence[str], *, default: str | None = None) -> str | None:
    """Ask for one of these words; None if nobody says it. Without a default no answer is taken for granted."""
    with _interrupted(), suppress(click.Abort):
        return str(click.prompt(question, type=click.Choice(words, case_sensitive=False), default=default, err=True))
    return None


@contextmanager
def _interrupted() -> Iterator[None]:
    """Let signals end a question."""
    previous = {number: signal.signal(number, signal.default_int_handler) for number in _heard()}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
