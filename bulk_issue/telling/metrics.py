"""Metrics as a text file for node_exporter's textfile collector, by Prometheus' conventions.

Labels are `job_id` and `series_id`: `job` is a label that Prometheus itself gives to what it scrapes. Each sample has
`entry`, the file's own name: node_exporter refuses all files if two of them have a sample of the same name and labels.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from bulk_issue import __version__
from bulk_issue.telling import End

#: One sample: labels and value.
Sample = tuple[dict[str, object], float]


def write_metrics(path: Path, end: End) -> None:
    """Replace the file at once: a scrape sees the old one or the new one, never half of it.

    Readable by all, since node_exporter runs as somebody else; there is nothing of a customer in it.
    """
    # node_exporter reads *.prom: what is being written is not called so
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with aside.open("w", encoding="utf-8", errors="replace") as file:
            file.write("".join(_lines(path.stem, end)))
            file.flush()
            os.fsync(file.fileno())
        aside.chmod(0o644)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def _lines(entry: str, end: End) -> Iterator[str]:
    for name, kind, says, samples in _families(end):
        yield f"# HELP {name} {says}\n# TYPE {name} {kind}\n"
        for labels, value in samples:
            every = {"entry": entry} | labels
            shown = ",".join(f'{label}="{_escaped(str(text))}"' for label, text in every.items())
            yield f"{name}{{{shown}}} {value:.15g}\n"


def _families(end: End) -> Iterator[tuple[str, str, str, Sequence[Sample]]]:
    """Name, type, help and samples of each metric."""
    jobs = [({"job_id": each.job, "series_id": each.series_id}, each) for each in end.jobs]
    command: dict[str, object] = {"command": end.command}
    yield "bulk_issue_build_info", "gauge", "The version that wrote this file.", [({"version": __version__}, 1)]
    yield (
        "bulk_issue_last_exit_code",
        "gauge",
        "Exit code of the last command: 0 done, 1 failures, 2 usage, 3 stopped, 4 asked, 5 doubt, 6 held, 7 trouble.",
        [(command, end.exit_code)],
    )
    yield "bulk_issue_last_end_timestamp_seconds", "gauge", "When the last command ended.", [(command, end.at)]
    yield "bulk_issue_last_duration_seconds", "gauge", "How long the last command took.", [(command, end.duration_s)]
    rate: list[Sample] = [] if end.rate is None else [({}, end.rate)]
    yield "bulk_issue_rate_limit_requests", "gauge", "Requests that the account may make in a window.", rate
    per: list[Sample] = [] if end.per is None else [({}, end.per)]
    yield "bulk_issue_rate_limit_window_seconds", "gauge", "The length of that window.", per
    yield (
        "bulk_issue_rows",
        "gauge",
        "Rows of a job by state.",
        [(labels | {"state": state}, rows) for labels, each in jobs for state, rows in each.counts.items()],
    )
    yield (
        "bulk_issue_job_exit_code",
        "gauge",
        "As which code a job counts.",
        [(at, each.exit_code) for at, each in jobs],
    )
    yield (
        "bulk_issue_requests_total",
        "counter",
        "Issue requests of a job's whole life.",
        [(labels, each.requests) for labels, each in jobs],
    )
    yield (
        "bulk_issue_throttled_requests_total",
        "counter",
        "Those that were refused for the limit (429).",
        [(labels, each.responses_429) for labels, each in jobs],
    )
    yield (
        "bulk_issue_excess_coupons",
        "gauge",
        "Coupons that no row should have.",
        [(at, each.excess) for at, each in jobs],
    )


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
