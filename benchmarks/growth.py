"""Does time grow with the rows, and memory not? check, run, export and status of files from 10 k rows on."""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from benchmarks.ledgers import serve
from benchmarks.measured import Used, account, command, customers, own_peak, run, workbook
from benchmarks.report import Part, Table
from benchmarks.server import SERIES, FastServer, fast_server

#: Rows that a sampled run sends.
SAMPLE = 1_000


def measure(scale: str) -> Part:
    """`check`, a sampled `run`, `export` of all rows as issued, `status`, for each size in turn."""
    sizes = {"smoke": (50, 100), "usual": (10_000, 100_000, 1_000_000)}.get(
        scale, (10_000, 100_000, 1_000_000, 10_000_000)
    )
    table = Table(
        "Each in a process of its own: seconds, CPU seconds, peak MB. `run` registers the file, sends "
        f"{SAMPLE:,} rows with the limit lifted and writes all results; `export` is of rows that are all issued.",
        ("rows", "first request", *(f"{name} {what}" for name in NAMES for what in ("s", "CPU s", "MB"))),
    )
    sheet = Table(
        "`check` of an Excel sheet, cells and their formats (wanted for 500,000 rows: 45 s).",
        ("rows", "seconds", "CPU s", "peak MB"),
    )
    points: dict[str, list[tuple[int, float, float]]] = {name: [] for name in NAMES}
    with fast_server() as server:
        for rows in sizes:
            first, used = _of_size(rows, server)
            cells = [f"{used[name][what]:.{digits}f}" for name in NAMES for what, digits in _DIGITS.items()]
            table.add(f"{rows:,}", f"{first:.2f} s", *cells)
            for name in NAMES:
                points[name].append((rows, used[name]["wall"], used[name]["peak"]))
        in_sheet = 100 if scale == "smoke" else 500_000
        one = _of_sheet(in_sheet, server)
        sheet.add(f"{in_sheet:,}", f"{one.wall:.1f}", f"{one.cpu:.1f}", f"{one.peak:.0f}")
    peaks = {name: {rows: peak for rows, _, peak in its} for name, its in points.items()}
    small = next((rows for rows in sizes if rows >= 100_000), sizes[0])
    flat = Table(
        f"Peak memory of the largest file against that of {small:,} rows (wanted: at most 1.10, and 200 MB).",
        ("command", f"{small:,} rows", f"{sizes[-1]:,} rows", "ratio"),
    )
    for name, its in peaks.items():
        flat.add(name, f"{its[small]:.0f} MB", f"{its[sizes[-1]]:.0f} MB", f"{its[sizes[-1]] / its[small]:.2f}")
    return Part(
        title="Growth",
        tables=[table, flat, sheet],
        notes=[f"The measuring process itself had at most {own_peak():.0f} MB; no child can show less."],
        curves=points,
    )


NAMES = ("check", "run", "export", "status")
_DIGITS = {"wall": 2, "cpu": 2, "peak": 0}


def _of_sheet(rows: int, server: FastServer) -> Used:
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        file = workbook(folder / "customers.xlsx", rows)
        return command("check", file, "--series", SERIES, *account(server.url), "--ledger", folder / "none.db")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _of_size(rows: int, server: FastServer) -> tuple[float, dict[str, dict[str, float]]]:
    """Seconds to the first request, and what each command used."""
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        file, ledger = customers(folder / "customers.csv", rows), folder / "ledger.db"
        used: dict[str, Used] = {}
        used["check"] = command("check", file, "--series", SERIES, *account(server.url), "--ledger", folder / "none.db")
        server.anew()
        began = time.monotonic()
        used["run"] = command(*run(file, server, ledger, "--first", min(SAMPLE, rows // 2)), right=(4,))
        first = server.clock().first - began
        job = serve(ledger, rows)
        used["export"] = command("export", job, "--ledger", ledger)
        used["status"] = command("status", job, "--ledger", ledger)
        return first, {name: asdict(each) for name, each in used.items()}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
