"""Pacing in the process. The limit itself is kept by the ledger's permits, which all processes share.

aiolimiter alone would let nearly twice the rate through in the first window (a full bucket, and its refill): here it
only spreads requests evenly, in grains of what one twentieth of a second refills. The bucket has room for one grain
more, which is taken at the start: so a turn that a busy machine takes late is made up for, and nothing else is.
"""

from __future__ import annotations

import asyncio
import math

from aiolimiter import AsyncLimiter

#: Seconds of the rate that may start at once when requests are spread evenly.
GRAIN = 0.05
#: Seconds for which a process that drew a 429 spreads its requests evenly.
STEADY = 3600.0


class Pacer:
    """Lets requests start evenly, or at once when `even` is False."""

    def __init__(self, rate: int, per: float, *, even: bool) -> None:
        self._even_until = math.inf if even else 0.0
        grain = max(1, int(rate / per * GRAIN))
        self._bucket = AsyncLimiter(2 * grain, 2 * grain * per / rate)
        self._grain = grain
        self._begun = False

    async def acquire(self, up_to: int) -> int:
        if asyncio.get_running_loop().time() >= self._even_until:
            return up_to
        if not self._begun:
            self._begun = True
            await self._bucket.acquire(self._grain)
        await self._bucket.acquire()
        granted = 1
        while granted < min(up_to, self._grain) and self._bucket.has_capacity():
            await self._bucket.acquire()
            granted += 1
        return granted

    def steady(self) -> None:
        self._even_until = max(self._even_until, asyncio.get_running_loop().time() + STEADY)
