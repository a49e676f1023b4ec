"""The strict sliding window: at most `rate` requests in any `per` seconds."""

from __future__ import annotations

from collections import deque


class Window:
    """One account's window. A request that is refused doesn't count."""

    def __init__(self, rate: int, per: float) -> None:
        """A `rate` of 0 is no limit."""
        self._admitted: deque[float] = deque(maxlen=rate)
        self._rate = rate
        self._per = per

    def admit(self, at: float) -> float:
        """0 if one more fits into the window that ends now (it counts from now on), else the seconds until it will."""
        if self._rate and len(self._admitted) == self._rate and (wait := self._admitted[0] + self._per - at) > 0:
            return wait
        self._admitted.append(at)
        return 0.0
