"""Many readers of one ledger in one process: the page of a busy day."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.console import ended

ROOT = Path(__file__).resolve().parents[1]


async def test_thirty_threads_read_a_ledger_whose_campaign_runs(tmp_path: Path) -> None:
    hammer = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.hammer", str(tmp_path), "2"),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    done = await ended(hammer)

    assert done.code == 0, f"exit code {done.code}: {done.err[-2000:]!r}"
    assert int(done.out) > 400
