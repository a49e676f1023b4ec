"""How soon is something there: the help, the first request of a file, of a half-done million, and its status."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from benchmarks.ledgers import serve
from benchmarks.measured import LIFTED, account, command, customers, middle, run, to_first_request
from benchmarks.report import Part, Table
from benchmarks.server import fast_server


def measure(scale: str) -> Part:
    """Medians over five runs each; of the large file's first run over fewer, it takes longest."""
    small, large, times = (100, 200, 2) if scale == "smoke" else (1_000, 1_000_000, 5)
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    table = Table(
        "Seconds from the command, as a person types it, to what it is for.",
        ("what", "median", "least", "most", "runs"),
    )

    def add(what: str, seconds: list[float]) -> None:
        table.add(what, f"{middle(seconds):.2f} s", f"{min(seconds):.2f} s", f"{max(seconds):.2f} s", f"{len(seconds)}")

    try:
        with fast_server() as server:
            add("`--help`", [command("--help").wall for _ in range(times)])
            file = customers(folder / "small.csv", small)
            firsts = [to_first_request(server, *run(file, server, folder / f"s{n}.db")) for n in range(times)]
            add(f"first request of {small:,} rows", firsts)
            file, ledger = customers(folder / "large.csv", large), folder / "ledger.db"
            few = 1 if scale == "usual" else 3
            ledgers = [folder / f"l{n}.db" for n in range(few)]
            add(
                f"first request of {large:,} rows", [to_first_request(server, *run(file, server, at)) for at in ledgers]
            )
            command(*run(file, server, ledger, "--first", 10), right=(4,))
            job = serve(ledger, large // 2)
            resume = ("resume", job, *account(server.url), "--ledger", ledger, *LIFTED, "--yes", "--quiet")
            halves = [to_first_request(server, *resume) for _ in range(times)]
            add(f"first request of {large:,} rows, half done (`resume`)", halves)
            again = [to_first_request(server, *run(file, server, ledger)) for _ in range(times)]
            add(f"first request of {large:,} rows, half done (`run` again)", again)
            add("its `status`", [command("status", job, "--ledger", ledger).wall for _ in range(times)])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Part(title="Start", tables=[table])
