"""The limit lifted: what a row costs, beside a loop that keeps no state and what one writes first."""

from __future__ import annotations

import json
import subprocess
import sys

from benchmarks.measured import middle
from benchmarks.report import Part, Table
from benchmarks.server import fast_server

WAYS = {
    "bare": "a bare aiohttp loop: no state, no limit, no record",
    "client": "bulk-issue's HTTP client alone",
    "ours": "bulk-issue: a whole run, each intent and outcome synced to disk",
    "threads": "requests and 50 threads: what one writes first",
}


def measure(scale: str) -> Part:
    """Each way in turn, round by round; ratios are taken within a round."""
    rows, rounds = {"smoke": (60, 1), "usual": (10_000, 5)}.get(scale, (50_000, 7))
    wall: dict[str, list[float]] = {way: [] for way in WAYS}
    cpu: dict[str, list[float]] = {way: [] for way in WAYS}
    with fast_server() as server:
        for _ in range(rounds):
            for way in WAYS:
                done = subprocess.run(
                    [sys.executable, "-m", "benchmarks.senders", way, server.url, str(rows)],
                    stdout=subprocess.PIPE,
                    check=True,
                )
                took = json.loads(done.stdout)
                wall[way].append(took["wall"])
                cpu[way].append(took["cpu"])
    table = Table(
        f"{rows:,} rows over 50 connections to a server in a process of its own that answers at once; medians of "
        f"{rounds} rounds, every way once a round. The ratios are medians of the ratios within a round.",
        ("way", "rows/s", "against bare", "CPU µs a row", "CPU against bare"),
    )
    for way, what in WAYS.items():
        speeds = [bare / its for bare, its in zip(wall["bare"], wall[way], strict=True)]
        costs = [its / bare for bare, its in zip(cpu["bare"], cpu[way], strict=True)]
        table.add(
            what,
            f"{rows / middle(wall[way]):,.0f}",
            f"{middle(speeds):.2f} ({min(speeds):.2f} to {max(speeds):.2f})",
            f"{middle(cpu[way]) / rows * 1e6:.0f}",
            f"{middle(costs):.2f}",
        )
    return Part(title="Limit lifted", tables=[table])
