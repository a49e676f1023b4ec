"""The system's clocks as `Moment`s.

CLOCK_BOOTTIME counts suspend and can't be set; together with the kernel's boot id it orders what happens on one host
even when somebody steps the wall clock. On macOS CLOCK_MONOTONIC counts suspend and `kern.boottime` names the boot.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

from bulk_issue.model import Moment

_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


@cache
def boot_id() -> str:
    """What names this boot of the machine."""
    if sys.platform == "darwin":
        done = subprocess.run(["/usr/sbin/sysctl", "-n", "kern.boottime"], capture_output=True, text=True, check=True)
        return done.stdout.strip()
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def boot_seconds() -> float:
    """Seconds on the boot clock, suspend included."""
    return time.clock_gettime(_BOOT_CLOCK)


class SystemClock:
    """The clock of real runs."""

    def now(self) -> Moment:
        return Moment(wall=time.time(), boot=boot_seconds(), boot_id=boot_id())

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
