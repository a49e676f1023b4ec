"""`from bulk_issue import …`: the same run as the command line's, for programs."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

import bulk_issue
from bulk_issue import Account, BulkIssueError, Config, ExitCode, Progress, ResultRow, RowState, issue, issue_async
from bulk_issue.app.campaign import _spool
from bulk_issue.sandbox.server import Sandbox
from bulk_issue.sandbox.settings import Settings
from tests.console import mobiles


@pytest.fixture
async def box() -> AsyncIterator[Sandbox]:
    async with Sandbox(Settings(rate=0)) as box:
        yield box


def config(box: Sandbox, folder: Path) -> Config:
    account = Account(base_url=box.url, user=box.user, password=box.password)
    return Config(account=account, series_id=box.series_id, ledger=folder / "ledger.db", grace=2.0)


async def test_customers_from_a_program_are_issued_once_and_told_row_by_row(box: Sandbox, tmp_path: Path) -> None:
    told: list[Progress] = []
    rows: list[ResultRow] = []
    customers = [{"name": f"N {n}", "mobile": mobile} for n, mobile in enumerate([*mobiles(3), "919800000701"])]
    (report,) = await issue_async(
        iter(customers), config(box, tmp_path), out=tmp_path / "out", on_progress=told.append, on_row=rows.append
    )
    (again,) = await issue_async(customers, config(box, tmp_path), out=tmp_path / "out")

    assert (report.ending.exit_code, again.ending.exit_code) == (ExitCode.FAILURES, ExitCode.FAILURES)
    assert again.job.spec.id == report.job.spec.id
    assert [row.state for row in rows] == [RowState.ISSUED] * 3 + [RowState.REJECTED]
    assert rows[0].cells == ("N 0", mobiles(1)[0])
    codes = {row.coupon.code for row in rows if row.coupon is not None}
    assert codes == {coupon.code for coupon in box.book.coupons_of(box.series_id)}
    assert told
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "out").iterdir()} == {0o600}


async def test_a_file_is_the_same_job_as_on_the_command_line_and_the_plain_call_runs_it(
    box: Sandbox, tmp_path: Path
) -> None:
    file = tmp_path / "c.csv"
    file.write_text("mobile\n" + "\n".join(mobiles(2)) + "\n")
    (report,) = await asyncio.to_thread(issue, str(file), config(box, tmp_path))

    assert report.ending.exit_code is ExitCode.DONE
    assert (report.out / "results.csv").exists()
    assert report.out.parent == tmp_path / "c.csv-results"


async def test_a_run_that_is_asked_to_stop_sends_nothing_new(box: Sandbox, tmp_path: Path) -> None:
    stop = asyncio.Event()
    stop.set()
    (report,) = await issue_async(
        [{"mobile": one} for one in mobiles(3)], config(box, tmp_path), out=tmp_path / "out", stop=stop
    )

    assert report.ending.exit_code is ExitCode.ASKED
    assert box.book.requests() == 0


def test_two_calls_at_once_with_one_folder_have_a_file_each(tmp_path: Path) -> None:
    """As two threads may: the second from its first customer to its last while the first is at its second."""

    def slowly() -> Iterator[dict[str, object]]:
        yield {"mobile": mobiles(1)[0]}
        others.append(_spool([{"mobile": one} for one in mobiles(2, 500)], tmp_path))
        yield {"mobile": mobiles(2)[1]}

    others: list[Path] = []
    mine = _spool(slowly(), tmp_path)

    assert mine.read_text(encoding="utf-8").split() == ["mobile", *mobiles(2)]
    assert others[0].read_text(encoding="utf-8").split() == ["mobile", *mobiles(2, 500)]
    assert sorted(tmp_path.iterdir()) == sorted([mine, *others])


@pytest.mark.parametrize(
    ("customers", "says"),
    [([], "no customers"), ([{"mobile": "1"}, {"mobil": "2"}], "customer 2 has other columns")],
)
async def test_customers_that_cannot_be_a_table_are_refused_before_anything_is_sent(
    box: Sandbox, tmp_path: Path, customers: list[dict[str, object]], says: str
) -> None:
    def some() -> Iterator[dict[str, object]]:
        yield from customers

    with pytest.raises(BulkIssueError, match=says):
        await issue_async(some(), config(box, tmp_path), out=tmp_path / "out")
    with pytest.raises(BulkIssueError, match="no folder of their own"):
        await issue_async(customers, config(box, tmp_path))
    assert list((tmp_path / "out").iterdir()) == []


async def test_the_example_of_the_docs_runs(box: Sandbox, tmp_path: Path) -> None:
    page = (Path(__file__).parent.parent / "docs" / "library.md").read_text(encoding="utf-8")
    example = page.partition("```python\n")[2].partition("```")[0]
    ours = {"BULK_ISSUE_BASE_URL": box.url, "BULK_ISSUE_USER": box.user, "BULK_ISSUE_PASSWORD": box.password}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", example),
        cwd=tmp_path,
        env=dict(os.environ) | ours,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()

    assert process.returncode == 0, err
    assert out.decode().splitlines()[-1].startswith("DONE {")
    assert len(box.book.coupons_of(box.series_id)) == 2


def test_importing_the_package_loads_nothing_until_a_name_is_used() -> None:
    program = (
        "import sys, bulk_issue\n"
        "assert not {m for m in sys.modules if m.startswith('bulk_issue.')}\n"
        "assert not {'pandas', 'aiohttp', 'sqlalchemy', 'click'} & set(sys.modules)\n"
        "from bulk_issue import Config\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_every_public_name_is_there_and_no_other() -> None:
    assert all(getattr(bulk_issue, name) is not None for name in bulk_issue.__all__)
    assert dir(bulk_issue) == sorted(bulk_issue.__all__)
    with pytest.raises(AttributeError, match="no attribute"):
        _ = bulk_issue.nonsense
