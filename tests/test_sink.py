"""The rule under test: every row once, every cell of the input untouched, and never a half-written file."""

from __future__ import annotations

import csv
import json
import os
import resource
import stat
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast

import openpyxl  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulk_issue.columns import ALL_COLUMNS, OUR_COLUMNS
from bulk_issue.decisions import read_decisions
from bulk_issue.errors import ConfigError, LedgerError, SinkError
from bulk_issue.model import Coupon, Decision, Job, JobId, JobSpec, JobState, Lineage
from bulk_issue.ports import ResultRow, Views
from bulk_issue.rows import PROBLEMS
from bulk_issue.sink import SHEET_LINES, Columns, Format, Summary, Written, claim_folder, write_results
from bulk_issue.states import RowState
from bulk_issue.verdicts import remedy

JOB = JobId("job-a")
HEADER = ("name", "mobile")
COUPON = Coupon(
    code="=00012AB",
    series_id=7,
    description="=cmd()",
    discount_code="DC",
    valid_till="2026-12-31",
    valid_till_date_time="2026-12-31T23:59:59Z",
    discount_type="ABS",
    discount_value="10.50",
    discount_upto="100",
    discount_on="BILL",
    detailed_info="@info",
    redemption_count=0,
    coupon_id=55,
    customer_id=99,
)


class ListViews:
    """As much of `ports.Views` as the sink asks for, over a list."""

    def __init__(self, rows: Sequence[ResultRow]) -> None:
        self.rows = rows

    def results(self, job: JobId, states: frozenset[RowState] | None = None) -> Iterator[ResultRow]:
        return (row for row in self.rows if states is None or row.state in states)


class BreaksOff(ListViews):
    """Gives its rows and then fails, as a ledger does that is lost in the middle."""

    def results(self, job: JobId, states: frozenset[RowState] | None = None) -> Iterator[ResultRow]:
        yield from self.rows
        raise LedgerError("the ledger is gone")


def row(number: int, state: RowState = RowState.PENDING, *cells: str, **facts: object) -> ResultRow:
    plain = ResultRow(job=JOB, number=number, cells=cells or (f"n{number}", f"+9198{number:04}"), state=state)
    coupon = facts.pop("coupon", None)
    if isinstance(coupon, Coupon):
        facts |= {"code": coupon.code, "coupon_id": coupon.coupon_id, "customer_id": coupon.customer_id}
        facts["offer"] = coupon
    return replace(plain, **facts)  # type: ignore[arg-type]


def job_of(rows: Sequence[ResultRow], header: tuple[str, ...] = HEADER, job: JobId = JOB) -> Job:
    spec = JobSpec(id=job, org="o", series_id=7, again="", account="a", path="in.csv", sha256="f00d", header=header)
    return Job(spec=spec, state=JobState.ENDED, rows=len(rows), blank=0, created=0.0)


def summary_of(job: Job) -> Summary:
    return Summary(
        job=job.spec.id,
        file=job.spec.path,
        file_sha256=job.spec.sha256,
        series_id=job.spec.series_id,
        org=job.spec.org,
        started_at=1_700_000_000.0,
        ended_at=None,
        duration_s=1.5,
        rows=job.rows,
        requests=3,
        responses_429=0,
        lookups=1,
        utilisation=0.99,
        worst_window=3,
        excess=0,
        exit_code=1,
        version="0",
    )


def write(
    out: Path,
    rows: Sequence[ResultRow],
    *,
    views: ListViews | None = None,
    job: Job | None = None,
    columns: Columns = Columns.STANDARD,
    file_format: Format = Format.CSV,
) -> Written:
    job = job or job_of(rows)
    return write_results(
        cast("Views", views or ListViews(rows)), job, out, summary_of(job), columns=columns, file_format=file_format
    )


def table(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file))


def records(path: Path) -> list[dict[str, str]]:
    header, *rest = table(path)
    return [dict(zip(header, line, strict=True)) for line in rest]


def sheet(path: Path, name: str) -> list[list[str]]:
    """The cells of a sheet; all of them text, none a formula, number or link."""
    book = openpyxl.load_workbook(path)
    lines = list(book[name].iter_rows())
    book.close()
    assert all(
        cell.data_type == "s" and not cell.hyperlink for line in lines for cell in line if cell.value is not None
    )
    return [[cell.value or "" for cell in line] for line in lines]


def snapshot(out: Path) -> dict[str, bytes]:
    """Everything that the folder holds, leftovers included."""
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


@contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """The system refuses to let any file of this process grow beyond that: a real write error."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


EVERY_STATE = [row(n, state) for n, state in enumerate((s for s in RowState if s is not RowState.LINKED), start=1)]

# --- the results ------------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(
    header=st.lists(st.text(), min_size=1, max_size=4).map(tuple),
    cells=st.lists(st.lists(st.text(), max_size=6).map(tuple), max_size=6),
    columns=st.sampled_from(Columns),
    state=st.sampled_from([state for state in RowState if state is not RowState.LINKED]),
)
def test_every_original_cell_comes_back_whatever_it_holds(
    tmp_path_factory: pytest.TempPathFactory,
    header: tuple[str, ...],
    cells: list[tuple[str, ...]],
    columns: Columns,
    state: RowState,
) -> None:
    rows = [replace(row(n, state), cells=line) for n, line in enumerate(cells, start=1)]
    out, width = tmp_path_factory.mktemp("out"), len(header)

    write(out, rows, job=job_of(rows, header), columns=columns)

    ours = OUR_COLUMNS if columns is Columns.STANDARD else ALL_COLUMNS
    first, *rest = table(out / "results.csv")
    assert first == [*header, *ours]
    assert len(rest) == len(cells)
    for number, (line, original) in enumerate(zip(rest, cells, strict=True), start=1):
        padding = [""] * (width - len(original))
        assert line[:width] + line[width + len(ours) :] == [*original, *padding]
        assert line[width : width + 2] == [str(number), "in_doubt" if state is RowState.IN_FLIGHT else state.value]


def test_surplus_cells_stand_behind_our_columns(tmp_path: Path) -> None:
    rows = [row(1, RowState.INVALID, "Ann", "1", "stray", ""), row(2, RowState.INVALID, "Bob")]

    write(tmp_path, rows)

    header, long, short = table(tmp_path / "failures.csv")
    assert header == [*HEADER, *OUR_COLUMNS]
    assert long[:2] + long[len(header) :] == ["Ann", "1", "stray", ""]
    assert long[header.index("_job")] == JOB
    assert short[:2] == ["Bob", ""]
    assert len(short) == len(header)


def test_an_issued_row_shows_its_coupon(tmp_path: Path) -> None:
    issued = row(
        1,
        RowState.ISSUED,
        coupon=COUPON,
        attempts=2,
        issued_at=1_700_000_000.9,
        warnings=("704: no message", "reused: issued before"),
        request_id="r1",
    )

    write(tmp_path, [issued], columns=Columns.ALL)

    (shown,) = records(tmp_path / "results.csv")
    assert shown == {
        "name": "n1",
        "mobile": "+91980001",
        "_row": "1",
        "_status": "issued",
        "_coupon_code": "=00012AB",
        "_valid_till": "2026-12-31",
        "_discount_type": "ABS",
        "_discount_value": "10.50",
        "_customer_id": "99",
        "_error_code": "",
        "_reason": "",
        "_remedy": "",
        "_attempts": "2",
        "_issued_at": "2023-11-14T22:13:20Z",
        "_warnings": "704: no message; reused: issued before",
        "_request_id": "r1",
        "_job": "job-a",
        "_series_id": "7",
        "_valid_till_date_time": "2026-12-31T23:59:59Z",
        "_description": "'=cmd()",
        "_discount_code": "DC",
        "_discount_upto": "100",
        "_discount_on": "BILL",
        "_detailed_info": "'@info",
        "_coupon_id": "55",
        "_redemption_count": "0",
    }


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_text_of_ours_is_a_formula_and_no_original_cell_or_code_is_touched(tmp_path: Path, start: str) -> None:
    text = f"{start}1+1"
    coupon = Coupon(code=text, description=text, detailed_info=text)
    rows = [
        row(1, RowState.ISSUED, text, text, coupon=coupon, warnings=(text,)),
        row(2, RowState.REJECTED, text, text, reason=text, error_code="x"),
    ]

    write(tmp_path, rows, columns=Columns.ALL)

    issued, rejected = records(tmp_path / "results.csv")
    assert [issued[name] for name in ("name", "mobile", "_coupon_code")] == [text] * 3
    assert [issued[name] for name in ("_description", "_detailed_info", "_warnings")] == [f"'{text}"] * 3
    assert rejected["_reason"] == f"'{text}"


def test_a_duplicate_names_the_row_that_has_the_claim(tmp_path: Path) -> None:
    rows = [
        row(1, RowState.IN_FLIGHT),
        row(2, RowState.DUPLICATE, first=Lineage(job=JOB, row=1), first_state=RowState.IN_FLIGHT),
        row(3, RowState.DUPLICATE, first=Lineage(job=JobId("job-b"), row=8), first_state=RowState.ISSUED),
    ]

    write(tmp_path, rows)

    _, here, elsewhere = records(tmp_path / "results.csv")
    assert here["_reason"] == "the same customer as row 1: in_doubt"
    assert elsewhere["_reason"] == "the same customer as row 8 of job job-b: issued"


def test_a_failure_says_what_to_do(tmp_path: Path) -> None:
    rows = [row(1, RowState.REJECTED, error_code="701"), row(2, RowState.INVALID, error_code="scientific")]

    write(tmp_path, rows)

    rejected, invalid = records(tmp_path / "failures.csv")
    assert rejected["_remedy"] == remedy("701") != ""
    assert invalid["_remedy"] == PROBLEMS["scientific"][1]


def test_a_linked_row_never_shows(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="linked"):
        write(tmp_path, [row(1, RowState.LINKED)])

    assert snapshot(tmp_path) == {}


# --- failures and doubts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("file_format", Format)
def test_failures_and_doubts_have_their_own_files_as_long_as_there_are_any(tmp_path: Path, file_format: Format) -> None:
    names = [f"{name}.{file_format}" for name in ("results", "failures", "in_doubt")]

    bad = write(tmp_path, EVERY_STATE, file_format=file_format)
    assert [path.name for path in bad.files] == ["summary.json", *names]
    assert sorted(snapshot(tmp_path)) == sorted(["summary.json", *names])

    good = write(tmp_path, [row(1, RowState.ISSUED, coupon=COUPON)], file_format=file_format)
    assert [path.name for path in good.files] == ["summary.json", names[0]]
    assert sorted(snapshot(tmp_path)) == sorted(["summary.json", names[0]])


@pytest.mark.parametrize("file_format", Format)
def test_files_of_the_other_format_are_stale(tmp_path: Path, file_format: Format) -> None:
    (tmp_path / "notes.csv").write_text("mine")
    for each in (*Format, file_format):
        write(tmp_path, EVERY_STATE, file_format=each)

    names = [f"{name}.{file_format}" for name in ("failures", "in_doubt", "results")]
    assert sorted(snapshot(tmp_path)) == sorted([*names, "notes.csv", "summary.json"])


@pytest.mark.parametrize("file_format", Format)
def test_excluded_rows_are_no_failures(tmp_path: Path, file_format: Format) -> None:
    rows = [row(1, RowState.INVALID, error_code="excluded"), row(2, RowState.ISSUED, coupon=COUPON)]
    written = write(tmp_path, rows, file_format=file_format)

    assert written.counts["invalid"] == 1
    assert not (tmp_path / f"failures.{file_format}").exists()


def test_a_superseded_row_names_the_row_that_replaced_it(tmp_path: Path) -> None:
    first = Lineage(job=JobId("job-b"), row=3)
    write(tmp_path, [row(1, RowState.SUPERSEDED, first=first, first_state=RowState.ISSUED)])

    assert records(tmp_path / "results.csv")[0]["_reason"] == "corrected as row 3 of job job-b: issued"


def test_a_workbook_counts_failures_by_reason(tmp_path: Path) -> None:
    codes = ["701", "scientific", "701"]
    rows = [
        row(n, RowState.REJECTED if code == "701" else RowState.INVALID, error_code=code)
        for n, code in enumerate(codes, 1)
    ]
    write(tmp_path, [*rows, row(4, RowState.ISSUED, coupon=COUPON)], file_format=Format.XLSX)

    header, *lines = openpyxl.load_workbook(tmp_path / "results.xlsx")["failures by reason"].values
    assert header == ("rows", "_status", "_error_code", "_remedy")
    assert lines == [(2, "rejected", "701", remedy("701")), (1, "invalid", "scientific", PROBLEMS["scientific"][1])]


def test_failures_are_the_rejected_and_invalid_rows_of_the_results(tmp_path: Path) -> None:
    write(tmp_path, EVERY_STATE)

    results, failures = table(tmp_path / "results.csv"), table(tmp_path / "failures.csv")
    status = results[0].index("_status")
    assert failures == [results[0], *(line for line in results if line[status] in ("rejected", "invalid"))]
    assert len(failures) == 3


def test_rows_in_flight_are_in_doubt_for_people_and_say_what_happens_next(tmp_path: Path) -> None:
    write(tmp_path, [row(1, RowState.IN_DOUBT, reason="time-out"), row(2, RowState.IN_FLIGHT)])

    doubted, flying = records(tmp_path / "in_doubt.csv")
    assert [doubted["_status"], flying["_status"]] == ["in_doubt", "in_doubt"]
    assert doubted["_reason"] == "time-out"
    assert "on the way" in flying["_reason"]
    assert "bulk-issue reconcile job-a" in doubted["_remedy"]
    assert doubted["_decision"] == ""
    assert "_decision" not in records(tmp_path / "results.csv")[0]


def test_a_decision_written_into_in_doubt_csv_is_read_back(tmp_path: Path) -> None:
    write(tmp_path, [row(4, RowState.IN_DOUBT, "semi;colon", 'quo"te\n'), row(9, RowState.IN_FLIGHT)])
    header, first, second = table(tmp_path / "in_doubt.csv")
    first[header.index("_decision")] = "issued AB12"

    with (tmp_path / "decided.csv").open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file, delimiter=";").writerows([header, first, second])

    assert read_decisions(tmp_path / "decided.csv") == [Decision(lineage=Lineage(job=JOB, row=4), code="AB12")]


# --- the summary ------------------------------------------------------------------------------------------------


def test_the_summary_counts_what_was_written(tmp_path: Path) -> None:
    written = write(tmp_path, EVERY_STATE)

    text = (tmp_path / "summary.json").read_text()
    facts = json.loads(text)
    assert " ".join(facts) == (
        "job file file_sha256 series_id org started_at ended_at duration_s rows counts requests responses_429 "
        "lookups utilisation worst_window with_code without_code excess exit_code version"
    )
    assert facts["counts"] == written.counts
    assert facts["counts"]["in_doubt"] == 2
    assert {count for status, count in facts["counts"].items() if status != "in_doubt"} == {1}
    assert sum(facts["counts"].values()) == facts["rows"] == len(EVERY_STATE)
    assert (facts["started_at"], facts["ended_at"]) == ("2023-11-14T22:13:20Z", None)
    assert text.endswith("}\n")
    assert text.startswith('{\n  "job": "job-a",\n')


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([row(1)], id="lost"),
        pytest.param([row(1), row(2), row(3)], id="too-many"),
        pytest.param([row(1), row(1)], id="twice"),
        pytest.param([row(2), row(1)], id="out-of-order"),
    ],
)
def test_rows_that_do_not_add_up_change_no_file(tmp_path: Path, rows: list[ResultRow]) -> None:
    write(tmp_path, EVERY_STATE)
    before = snapshot(tmp_path)

    with pytest.raises(LedgerError, match="job-a is wrong") as caught:
        write(tmp_path, rows, job=job_of([row(1), row(2)]))

    assert caught.value.exit_code == 7
    assert snapshot(tmp_path) == before


# --- never half a file ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file_format", Format)
def test_breaking_off_in_the_middle_leaves_the_old_files_and_nothing_else(tmp_path: Path, file_format: Format) -> None:
    write(tmp_path, EVERY_STATE, file_format=file_format)
    before = snapshot(tmp_path)
    half = [row(n, RowState.ISSUED, coupon=COUPON) for n in range(1, 3_000)]

    with pytest.raises(LedgerError, match="gone"):
        write(tmp_path, half, views=BreaksOff(half), file_format=file_format)

    assert snapshot(tmp_path) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(before)


@pytest.mark.parametrize("file_format", Format)
def test_a_write_that_the_system_refuses_leaves_the_old_files_and_says_what_to_do(
    tmp_path: Path, file_format: Format
) -> None:
    write(tmp_path, EVERY_STATE, file_format=file_format)
    before = snapshot(tmp_path)
    many = [row(n, RowState.INVALID, f"name {n}" * 20, "1") for n in range(1, 3_000)]

    with files_end_at(100_000), pytest.raises(SinkError, match="File too large") as caught:
        write(tmp_path, many, file_format=file_format)

    assert str(tmp_path) in caught.value.message
    assert "bulk-issue export job-a" in caught.value.hint
    assert snapshot(tmp_path) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(before)


def test_who_reads_while_a_file_is_replaced_keeps_reading_the_old_one(tmp_path: Path) -> None:
    write(tmp_path, EVERY_STATE)
    before = snapshot(tmp_path)["results.csv"]

    with (tmp_path / "results.csv").open("rb") as reader:
        write(tmp_path, [row(1)])

        assert reader.read() == before
    assert len(table(tmp_path / "results.csv")) == 2


def test_files_and_then_their_folder_are_on_disk_before_it_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[int, bool]] = []
    real = os.fsync

    def fsync(fd: int) -> None:
        synced.append((os.fstat(fd).st_ino, (tmp_path / "results.csv").exists()))
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    written = write(tmp_path, EVERY_STATE)

    files = {path.stat().st_ino for path in written.files}
    assert len(files) == 4
    assert {inode for inode, moved in synced if not moved} == files
    assert [inode for inode, moved in synced if moved] == [tmp_path.stat().st_ino]


@pytest.mark.parametrize("file_format", Format)
def test_customer_data_is_readable_for_its_owner_only(tmp_path: Path, file_format: Format) -> None:
    out = tmp_path / "deep" / "out"

    written = write(out, EVERY_STATE, file_format=file_format)

    assert stat.S_IMODE(out.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in written.files} == {0o600}


def test_what_a_killed_write_left_behind_is_cleared_away_a_day_later(tmp_path: Path) -> None:
    for name, age in (("old", 90_000), ("young", 60)):
        left = tmp_path / f".bulk-issue-writing-{name}"
        left.mkdir()
        (left / "results.csv").write_text("half")
        now = left.stat().st_mtime
        os.utime(left, (now - age, now - age))

    write(tmp_path, [row(1)])

    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == [".bulk-issue-writing-young"]


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    class Many(ListViews):
        def results(self, job: JobId, states: frozenset[RowState] | None = None) -> Iterator[ResultRow]:
            return (row(n, RowState.ISSUED, coupon=COUPON) for n in range(1, job_.rows + 1))

    job_ = replace(job_of([]), rows=20_000)
    tracemalloc.start()
    write(tmp_path, [], views=Many([]), job=job_)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert (tmp_path / "results.csv").stat().st_size > 1_500_000
    assert peak < 500_000


# --- whose folder -----------------------------------------------------------------------------------------------


def test_a_claimed_folder_is_there_private_and_empty(tmp_path: Path) -> None:
    out = tmp_path / "a" / "b"

    claim_folder(out, JOB)

    assert stat.S_IMODE(out.stat().st_mode) == 0o700
    assert list(out.iterdir()) == []


def test_a_job_finds_its_own_folder_again(tmp_path: Path) -> None:
    write(tmp_path, EVERY_STATE)

    claim_folder(tmp_path, JOB)


def _another_job(out: Path) -> None:
    rows = [replace(row(1), job=JobId("job-b"))]
    write(out, rows, job=job_of(rows, job=JobId("job-b")))


@pytest.mark.parametrize(
    ("fill", "says"),
    [
        pytest.param(_another_job, "files of job job-b", id="another-job"),
        pytest.param(lambda out: (out / "results.csv").write_text("mine"), "holds a results.csv", id="somebodys"),
        pytest.param(lambda out: (out / "failures.xlsx").write_text("mine"), "holds a failures.xlsx", id="a-sheet"),
        pytest.param(lambda out: (out / "summary.json").write_text("[1]"), "not one of bulk-issue's", id="other-json"),
        pytest.param(lambda out: (out / "summary.json").write_text("{"), "not one of bulk-issue's", id="no-json"),
    ],
)
def test_a_folder_with_other_files_is_refused_and_left_alone(
    tmp_path: Path, fill: Callable[[Path], object], says: str
) -> None:
    fill(tmp_path)
    before = snapshot(tmp_path)

    with pytest.raises(ConfigError, match=says) as early:
        claim_folder(tmp_path, JOB)
    with pytest.raises(SinkError, match=says) as late:
        write(tmp_path, EVERY_STATE)

    assert (early.value.exit_code, late.value.exit_code) == (2, 7)
    assert "export job-a" in late.value.hint
    assert snapshot(tmp_path) == before


def test_a_folder_that_can_not_be_written_to_is_refused_before_the_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigError, match="Not a directory") as caught:
        claim_folder(tmp_path / "file" / "out", JOB)
    assert caught.value.hint
    with files_end_at(1_000), pytest.raises(ConfigError, match="File too large"):
        claim_folder(tmp_path, JOB)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


# --- Excel ------------------------------------------------------------------------------------------------------


def test_excel_files_hold_every_cell_as_text(tmp_path: Path) -> None:
    cells = (
        ("=1+1", "00123"),
        ("http://x.example", "+919800000001"),
        ("", "9" * 20),
        ("1e5", "a\nb"),
        ("TRUE", " é 😀 "),
    )
    states = RowState.ISSUED, RowState.REJECTED, RowState.INVALID, RowState.IN_DOUBT, RowState.PENDING
    rows = [row(n, states[n - 1], *line, coupon=COUPON) for n, line in enumerate(cells, start=1)]

    write(tmp_path / "csv", rows)
    write(tmp_path, rows, file_format=Format.XLSX)

    for name in ("results", "failures", "in_doubt"):
        assert sheet(tmp_path / f"{name}.xlsx", name) == table(tmp_path / "csv" / f"{name}.csv")
    book = openpyxl.load_workbook(tmp_path / "results.xlsx")
    assert book.sheetnames == ["results", "summary", "failures by reason"]
    assert book["results"].freeze_panes == "A2"
    assert book["results"].auto_filter.ref == "A1:Q6"
    assert {cell.number_format for line in book["results"].iter_rows() for cell in line if cell.value} == {"@"}
    assert ["counts: issued", "1"] in sheet(tmp_path / "results.xlsx", "summary")
    assert openpyxl.load_workbook(tmp_path / "failures.xlsx").sheetnames == ["failures"]


def test_a_cell_that_excel_can_not_hold_refuses_the_sheet_and_not_the_csv(tmp_path: Path) -> None:
    rows = [row(1, RowState.PENDING, "x" * 40_000, "1")]

    with pytest.raises(SinkError, match=r"results.xlsx, line 2, column 1") as caught:
        write(tmp_path, rows, file_format=Format.XLSX)
    assert "--format csv" in caught.value.hint
    assert "xx" not in caught.value.message
    assert snapshot(tmp_path) == {}

    write(tmp_path, rows)
    assert table(tmp_path / "results.csv")[1][0] == "x" * 40_000


def test_more_rows_than_a_sheet_holds_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match=str(SHEET_LINES)) as caught:
        write(tmp_path / "out", [], job=replace(job_of([]), rows=SHEET_LINES), file_format=Format.XLSX)

    assert "--format csv" in caught.value.hint
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("file_format", Format)
def test_half_a_surrogate_pair_in_an_answer_does_not_cost_the_files(tmp_path: Path, file_format: Format) -> None:
    rows = [row(1, RowState.REJECTED, reason="broken \ud83d emoji")]

    write(tmp_path, rows, file_format=file_format)

    path = tmp_path / f"failures.{file_format}"
    header, shown = table(path) if file_format is Format.CSV else sheet(path, "failures")
    assert shown[header.index("_reason")] == r"broken \ud83d emoji"
