"""The benchmarks measure what they say: a job made in seconds is one that was run."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.ledgers import serve
from benchmarks.report import Part, Table
from bulk_issue.ledger import open_ledger
from bulk_issue.model import Identifier, IdentifierKind, JobId, JobSpec, Row
from bulk_issue.states import RowState
from tests.clocks import ManualClock


async def test_a_prepared_job_stands_as_one_that_was_run(tmp_path: Path) -> None:
    names = [str(919_800_000_000 + n) for n in range(10)]
    spec = JobSpec(
        id=JobId("job"), org="100001", series_id=1, again="", account="a", path="", sha256="", header=("mobile",)
    )
    rows = [
        Row(number=n, cells=(name,), identifier=Identifier(IdentifierKind.MOBILE, name, f"mobile:{name}"))
        for n, name in enumerate(names, 1)
    ]
    ledger = await open_ledger(tmp_path / "ledger.db")
    try:
        await ledger.jobs.register(spec, [rows], lambda: 0, ManualClock().now())
        job = JobId(serve(tmp_path / "ledger.db", 5))

        assert await ledger.work.tally(job) == {RowState.ISSUED: 5, RowState.PENDING: 5}
        results = list(ledger.views.results(job))
        assert [row.coupon.code for row in results if row.coupon] == [f"B{name}" for name in names[:5]]
        assert ledger.views.traffic(job, 60.0).requests == 5
        keys = [f"mobile:{name}" for name in names]
        assert set(ledger.views.served("100001", 1, "", keys)) == set(keys[:5])
    finally:
        await ledger.close()


def test_what_parts_found_becomes_one_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "KEPT", tmp_path / "parts")
    monkeypatch.setattr(report, "RESULTS", tmp_path / "results.md")
    monkeypatch.setattr(report, "plot", lambda _curves, path: path)
    table = Table("How fast.", ("what", "seconds"))
    table.add("a thing", "1.00")
    monkeypatch.setattr(report, "setting", lambda: {"machine": "this one"})
    curves = {"check": [(10, 0.1, 100.0), (1000, 1.0, 101.0)]}
    report.keep("growth", Part(title="Growth", tables=[table], curves=curves))

    found = report.kept("growth")
    assert found is not None
    report.write([found])

    page = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert "| a thing | 1.00 |" in page
    assert "c check" in page
    assert "this one" in page
    assert report.kept("start") is None
