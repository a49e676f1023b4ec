"""What a part found, kept as JSON so that parts can be run one by one, and written as text, Markdown and a plot."""

from __future__ import annotations

import json
import math
import os
import platform
import sqlite3
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS, PLOT, KEPT = HERE / "results.md", HERE / "growth.png", HERE / ".parts"
PACKAGES = ("aiohttp", "aiolimiter", "pandas", "SQLAlchemy", "XlsxWriter", "requests")

#: A command's (rows, seconds, peak MB) by its name.
Curves = Mapping[str, Sequence[tuple[int, float, float]]]


@dataclass(slots=True)
class Table:
    """A caption, a header, lines of text."""

    caption: str
    header: Sequence[str]
    lines: list[Sequence[str]] = field(default_factory=list)

    def add(self, *cells: str) -> None:
        self.lines.append(cells)

    def markdown(self) -> str:
        rule = ("---", *("--:" for _ in self.header[1:]))
        return "\n".join([self.caption, "", *(f"| {' | '.join(line)} |" for line in (self.header, rule, *self.lines))])

    def text(self) -> str:
        widths = [max(map(len, column)) for column in zip(self.header, *self.lines, strict=True)]
        return "\n".join(
            "  ".join(cell.ljust(width) if n == 0 else cell.rjust(width) for n, (cell, width) in enumerate(pairs))
            for pairs in (list(zip(line, widths, strict=True)) for line in (self.header, *self.lines))
        )


@dataclass(slots=True, kw_only=True)
class Part:
    """One part of the benchmarks, done."""

    title: str
    tables: list[Table]
    notes: list[str] = field(default_factory=list)
    curves: Curves = field(default_factory=dict)
    #: Where and on what it was measured.
    setting: dict[str, str] = field(default_factory=dict)


def keep(name: str, part: Part) -> None:
    """Keep a part's findings with what they were measured on."""
    part.setting = setting()
    KEPT.mkdir(exist_ok=True)
    (KEPT / f"{name}.json").write_text(json.dumps(asdict(part), indent=1), encoding="utf-8")


def kept(name: str) -> Part | None:
    """What was kept of a part, if it was run."""
    path = KEPT / f"{name}.json"
    if not path.exists():
        return None
    facts: dict[str, Any] = json.loads(path.read_bytes())
    return Part(**facts | {"tables": [Table(**table) for table in facts["tables"]]})


def write(parts: Iterable[Part]) -> None:
    """Write results.md and the plot from all parts that were run."""
    parts = list(parts)
    lines = ["# Results", "", "Written by `make bench`; what bounds each figure is in docs/performance.md.", ""]
    for part in parts:
        lines += [f"## {part.title}", ""]
        for table in part.tables:
            lines += [table.markdown(), ""]
        if part.curves:
            lines += ["```", plot_text(part.curves), "```", "", f"![time and memory against rows]({PLOT.name})", ""]
            plot(part.curves, PLOT)
        lines += [f"{note}\n" for note in part.notes]
        lines += [f"<sub>{' · '.join(f'{name} {value}' for name, value in part.setting.items())}</sub>", ""]
    RESULTS.write_text("\n".join(lines), encoding="utf-8")


def setting() -> dict[str, str]:
    """The machine and the versions."""
    try:
        git = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=HERE, capture_output=True, text=True, check=False
        ).stdout.strip()
    except OSError:
        git = ""
    return {
        "commit": git or "unknown",
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs ({_model()})",
        "load before": f"{os.getloadavg()[0]:.1f}",
        "Python": platform.python_version(),
        "SQLite": sqlite3.sqlite_version,
        **{name: version(name) for name in PACKAGES},
    }


def _model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or "unknown"
    return next((line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")), "?")


# --- growth, drawn ----------------------------------------------------------------------------------------------

_WIDTH, _HEIGHT = 60, 12


def plot_text(curves: Curves) -> str:
    """Seconds, then MB, against rows: both axes logarithmic for seconds, MB from zero."""
    seconds = {name: [(rows, wall) for rows, wall, _ in its] for name, its in curves.items()}
    memory = {name: [(rows, peak) for rows, _, peak in its] for name, its in curves.items()}
    return f"{_drawn('seconds', seconds, log=True)}\n\n{_drawn('MB', memory, log=False)}"


def _drawn(title: str, curves: Mapping[str, Sequence[tuple[int, float]]], *, log: bool) -> str:
    points = [(math.log10(x), y, name[0]) for name, its in curves.items() for x, y in its]
    scale = (lambda y: math.log10(max(y, 0.01))) if log else (lambda y: y)
    left, right = min(x for x, _, _ in points), max(x for x, _, _ in points)
    low = min(scale(y) for _, y, _ in points) if log else 0.0
    high = max(scale(y) for _, y, _ in points)
    grid = [[" "] * (_WIDTH + 1) for _ in range(_HEIGHT + 1)]
    for x, y, mark in points:
        column = round((x - left) / (right - left or 1) * _WIDTH)
        line = _HEIGHT - round((scale(y) - low) / (high - low or 1) * _HEIGHT)
        grid[line][column] = mark if grid[line][column] == " " else "*"
    top = 10**high if log else high
    bottom = 10**low if log else low
    names = ", ".join(f"{name[0]} {name}" for name in curves)
    labels = [f"{top:9.2f}", *[" " * 9] * (_HEIGHT - 1), f"{bottom:9.2f}"]
    body = [f"{label} |{''.join(line).rstrip()}" for label, line in zip(labels, grid, strict=True)]
    axis = f"{' ' * 10}+{'-' * _WIDTH}\n{' ' * 11}{10**left:<10.0f}{'rows':^40}{10**right:>10.0f}"
    return "\n".join([f"{title} ({names}; * several)", *body, axis])


def plot(curves: Curves, path: Path) -> None:
    """The same as a picture."""
    import matplotlib as mpl  # noqa: PLC0415 - large, and only wanted here

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, (times, peaks) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    for name, its in curves.items():
        rows = [point[0] for point in its]
        times.loglog(rows, [point[1] for point in its], marker="o", label=name)
        peaks.semilogx(rows, [point[2] for point in its], marker="o", label=name)
    times.set(title="seconds", xlabel="rows")
    peaks.set(title="peak memory, MB", xlabel="rows", ylim=(0, None))
    for axes in (times, peaks):
        axes.grid(visible=True, which="major", alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)
