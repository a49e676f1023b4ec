"""Pacing in the process. The limit itself is kept by the ledger's permits, which all processes share.

aiolimiter alone would let nearly twice the rate through in the first window (a full bucket, and its refill): here it
only spreads requests evenly, with a bucket no larger than what one twentieth of a second refills.
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
        self._bucket = AsyncLimiter(grain, grain * per / rate)
        self._grain = grain

    async def acquire(self, up_to: int) -> int:
        if asyncio.get_running_loop().time() >= self._even_until:
            return up_to
        await self._bucket.acquire()
        granted = 1
        while granted < min(up_to, self._grain) and self._bucket.has_capacity():
            await self._bucket.acquire()
            granted += 1
        return granted

    def steady(self) -> None:
        self._even_until = max(self._even_until, asyncio.get_running_loop().time() + STEADY)
