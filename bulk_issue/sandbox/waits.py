"""Everything in the sandbox that waits, so that its end leaves nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Waits:
    """Requests that wait for time to pass, and work that is put off."""

    def __init__(self) -> None:
        self._asleep: set[asyncio.Task[object]] = set()
        self._put_off: dict[object, tuple[asyncio.TimerHandle, Callable[[], object]]] = {}

    async def sleep(self, seconds: float) -> None:
        """Wait; at the sandbox's end the task that waits is cancelled."""
        task = asyncio.current_task()
        assert task is not None
        self._asleep.add(task)
        try:
            await asyncio.sleep(seconds)
        finally:
            self._asleep.discard(task)

    def later(self, seconds: float, work: Callable[[], object]) -> None:
        """Do this then, or at the sandbox's end if that is earlier."""
        key = object()

        def due() -> None:
            del self._put_off[key]
            work()

        self._put_off[key] = (asyncio.get_running_loop().call_later(seconds, due), work)

    async def end(self) -> None:
        """Do now what was put off, and wake nobody: who waits is cancelled."""
        for handle, work in self._put_off.values():
            handle.cancel()
            work()
        self._put_off.clear()
        for task in self._asleep:
            task.cancel()
        await asyncio.gather(*self._asleep, return_exceptions=True)
