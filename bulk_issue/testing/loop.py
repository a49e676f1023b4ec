"""Time that passes only when everybody waits: an event loop for tests, and the clock that runs on it.

The rule: the same program with the same dice takes the same steps in the same order, on any machine. Nothing here
waits for anything real: no socket, no thread, no clock. When no task can go on, time jumps to the next timer.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Generator, Mapping
from concurrent.futures import Executor
from contextvars import Context
from functools import wraps
from itertools import count
from typing import Any, ParamSpec, TypeVar, TypeVarTuple

from bulk_issue.model import Moment

P = ParamSpec("P")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")

#: What one turn of the loop takes, so that code which waits "until now" by rounding gets on.
STEP = 1e-6


class StuckError(RuntimeError):
    """Every task waits for something that no timer will bring, or virtual time ran past its end."""


class _Waiting(selectors.BaseSelector):
    """Stands where a loop waits for IO: it lets the time pass at once instead."""

    def __init__(self) -> None:
        self.now = 0.0
        self.end = float("inf")
        self._keys: dict[int, selectors.SelectorKey] = {}

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise StuckError("every task waits, and no timer is set")
        self.now += max(timeout, STEP)
        if self.now > self.end:
            raise StuckError(f"virtual time ran past its end ({self.end:g} s)")
        return []

    # The loop's own wake-up socket is registered and never read.

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        handle = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        key = self._keys[handle] = selectors.SelectorKey(fileobj, handle, events, data)
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj if isinstance(fileobj, int) else fileobj.fileno())

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys


class _Task(asyncio.Task[T]):
    """A task whose place in a set doesn't hang on where it lies in memory: task groups keep theirs in sets."""

    _numbers = count()

    def __init__(self, coro: Coroutine[Any, Any, T] | Generator[Any, None, T], **options: Any) -> None:
        self._number = next(_Task._numbers)
        super().__init__(coro, **options)

    def __hash__(self) -> int:
        return self._number


def _make_task(
    loop: asyncio.AbstractEventLoop,
    coro: Coroutine[Any, Any, T] | Generator[Any, None, T],
    *,
    context: Context | None = None,
    **_options: Any,
) -> asyncio.Task[T]:
    return _Task(coro, loop=loop, context=context)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop on virtual time, which starts at 0."""

    def __init__(self, *, end: float = float("inf")) -> None:
        """Past `end` virtual seconds the loop raises `StuckError`, so that nothing goes on for ever."""
        self._waiting = _Waiting()
        super().__init__(self._waiting)
        self._waiting.end = end
        self.set_task_factory(_make_task)

    def time(self) -> float:
        return self._waiting.now

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> Any:
        """What a thread would do is done at once, as far as the other tasks can tell."""
        del executor
        done: asyncio.Future[T] = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - it belongs to the task that waits for it
            done.set_exception(error)
        return done

    def end_tasks(self) -> None:
        """Cancel what is still going on, and let it end."""
        left = sorted(asyncio.all_tasks(self), key=hash)
        for task in left:
            task.cancel()

        async def ended() -> None:
            await asyncio.gather(*left, return_exceptions=True)

        self._waiting.end = float("inf")
        self.run_until_complete(ended())


def run(main: Callable[[], Coroutine[Any, Any, T]], *, end: float = float("inf")) -> T:
    """Run to the end on a virtual loop of its own; what is still going on then is cancelled."""
    loop = VirtualLoop(end=end)
    try:
        return loop.run_until_complete(main())
    finally:
        loop.end_tasks()
        loop.close()


def on_virtual_time(test: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Make an ordinary function of an async test: it runs on virtual time, for a week of it at most."""

    @wraps(test)
    def run_test(*args: P.args, **kwargs: P.kwargs) -> T:
        return run(lambda: test(*args, **kwargs), end=7 * 24 * 3600.0)

    return run_test


class VirtualClock:
    """`ports.Clock` on the running loop's time. All processes of one host share one."""

    def __init__(self, *, wall: float = 1_790_000_000.0, boot: float = 5_000.0) -> None:
        """`wall` and `boot` are what the clocks show at virtual second 0."""
        self.boot_id = "boot-1"
        self._boot = boot
        #: What the wall clock showed at a virtual second, and how fast it has gone since.
        self._wall, self._wall_at, self._rate = wall, 0.0, 1.0

    def now(self) -> Moment:
        at = asyncio.get_running_loop().time()
        return Moment(wall=self._wall + (at - self._wall_at) * self._rate, boot=self._boot + at, boot_id=self.boot_id)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def step(self, seconds: float) -> None:
        """Somebody sets the wall clock."""
        self._wall += seconds

    def drift(self, rate: float) -> None:
        """From now on the wall clock counts `rate` seconds a second."""
        self._wall, self._wall_at, self._rate = self.now().wall, asyncio.get_running_loop().time(), rate

    def reboot(self, boot: float = 1.0) -> None:
        """The machine starts again: the boot clock at nearly nothing, under another name. Or it is another machine."""
        self._boot = boot - asyncio.get_running_loop().time()
        self.boot_id = f"boot-{int(self.boot_id[5:]) + 1}"
