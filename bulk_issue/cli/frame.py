"""The outermost frame: every ending as a documented exit code, the signals, and the one event loop."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Awaitable, Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TypeVar

import click
import platformdirs

from bulk_issue import __version__
from bulk_issue.ending import ExitCode
from bulk_issue.errors import BulkIssueError

T = TypeVar("T")

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def say(text: str, *, err: bool = False) -> None:
    """Print a line. A reader that has gone (`| head`) must end neither the run nor the exit code."""
    try:
        click.echo(text, err=err)
    except OSError:
        stream = sys.stderr if err else sys.stdout
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def say_all(lines: Iterable[str], *, err: bool = False) -> None:
    """Print lines."""
    for line in lines:
        say(line, err=err)


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


def _explain(error: BaseException) -> None:
    """Say what ended the command: a bug too must end in a documented way."""
    match error:
        case click.exceptions.Exit():
            pass
        case click.Abort():
            say("Nothing was started.", err=True)
        case click.ClickException():
            error.show()
        case BulkIssueError():
            say(f"Error: {error.message}", err=True)
            if error.cells:
                say(f"  {error.cells}", err=True)
            if error.hint:
                say(f"  {error.hint}", err=True)
        case KeyboardInterrupt() | asyncio.CancelledError():
            say("Stopped at once. Run the same command again to go on; nothing is sent twice.", err=True)
        case _:
            where = _keep_details(error)
            say("Error: a bug in bulk-issue. What was sent is on record; nothing is lost.", err=True)
            say(f"  Details are in {where}. Run the same command again, or report it with that file.", err=True)


def _keep_details(error: BaseException) -> Path:
    """Write where it came from to a file that only its owner can read, and that can be passed on."""
    details = f"bulk-issue {__version__}\n{''.join(_trace(error, set()))}"
    try:
        folder = platformdirs.user_log_path("bulk-issue", appauthor=False)
    except RuntimeError:  # a user without a home
        folder = Path(tempfile.gettempdir())
    path = folder / f"bug-{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{os.getpid()}.log"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="utf-8") as file:
            file.write(details)
    except OSError:
        say(details, err=True)
        return Path("this terminal, above")
    return path


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
    previous = {number: signal.signal(number, heard) for number in _SIGNALS}
    try:
        return asyncio.run(supervised())
    finally:
        for number, handler in previous.items():
            signal.signal(number, signal.SIG_IGN if leaving else handler)


def ask(question: str, *, default: bool = False) -> bool:
    """Ask on the terminal; Ctrl-C and SIGTERM there mean no, although the event loop waits for signals."""
    previous = {number: signal.signal(number, signal.default_int_handler) for number in _SIGNALS}
    try:
        return click.confirm(question, default=default, err=True)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
