"""What a person or a command line agrees to: one value, made by one function, shown by both faces.

A start names the agreement that was shown. Before the first intent it is made once more, from the ledger as it is then:
if it is another one, nothing is sent and what has changed is shown.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal
from enum import StrEnum, unique

from bulk_issue.config import Reading
from bulk_issue.customer_columns import columns
from bulk_issue.errors import SourceError
from bulk_issue.model import JobId, JobSpec, LeftOut, Tally
from bulk_issue.saying import number
from bulk_issue.states import RowState
from bulk_issue.survey import Survey

#: States of rows that no run has touched: a job with no others is as its file was registered.
UNTOUCHED = frozenset({RowState.PENDING, RowState.INVALID})


@unique
class Selection(StrEnum):
    """Which rows a start sends."""

    #: All that are pending.
    PENDING = "pending"
    #: Those that are rejected: it puts them back first.
    REJECTED = "rejected"
    #: Those that were cancelled: it puts them back first.
    CANCELLED = "cancelled"
    #: Those that a person has put back before, and that are still pending.
    RETRIED = "retried"


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """What would be sent, and to whom not. Two of them are equal only if a person would agree to both or to none."""

    job: JobId
    org: str
    series_id: int
    #: The `--again` name; empty for the first time.
    occasion: str
    #: The kinds of identifier with the columns that they are taken from, and the other options of reading.
    columns: tuple[tuple[str, str], ...]
    reading: tuple[tuple[str, str], ...]
    #: Rows by what becomes of them, or by what they are: for a job under way by state.
    becomes: tuple[tuple[str, int], ...]
    #: At most so many customers are sent to.
    rows: int
    which: Selection
    #: Who is left out: the digest of the suppression list, and what a person has said of look-alikes.
    listed: str
    alike: str
    #: What the coupons are worth at most, in the org's currency; None if nothing bounds it.
    worth: Decimal | None = None

    @property
    def digest(self) -> str:
        """A short name of this value, for a form that carries it from the look to the start."""
        return hashlib.sha256(json.dumps(asdict(self), default=str).encode()).hexdigest()[:24]

    def changes(self, now: Agreement) -> Iterator[str]:
        """What is other in the agreement of `now`, in words, the most important first."""
        if self.series_id != now.series_id:
            yield f"series {self.series_id} is {now.series_id}"
        if self.occasion != now.occasion:
            yield f"occasion {self.occasion or 'none'} is {now.occasion or 'none'}"
        if self.job != now.job:
            yield f"job {self.job} is {now.job}"
        if (self.columns, self.reading) != (now.columns, now.reading):
            yield "the file is read in another way"
        if self.listed != now.listed:
            yield "the suppression list is another one"
        if self.alike != now.alike:
            yield f"look-alikes: {self.alike or 'held back'} before, {now.alike or 'held back'} now"
        if self.rows != now.rows:
            yield f"rows to send: {number(self.rows)} before, {number(now.rows)} now"
        before, after = dict(self.becomes), dict(now.becomes)
        for name in sorted({*before, *after}):
            then, here = before.get(name, 0), after.get(name, 0)
            if then != here:
                yield f"{name.replace('_', ' ')}: {number(then)} before, {number(here)} now"
        if self.worth != now.worth:
            yield f"worth at most {self.worth} before, {now.worth} now"


def agreement(
    spec: JobSpec,
    tally: Tally | None,
    left_out: LeftOut,
    *,
    pending: int,
    counted: Survey | None = None,
    which: Selection = Selection.PENDING,
) -> Agreement:
    """What a start would send now.

    `tally` has the rows by state as the ledger has them, None for a file that isn't registered; `counted` has what the
    file's rows are, and counts as long as no row was touched. `pending` rows are selected to be sent.
    """
    if counted is not None and not set(tally or {}) <= UNTOUCHED:
        counted = None
    if counted is not None:
        becomes, rows = _as_counted(counted), counted.to_send
        if tally is not None:
            rows = min(rows, pending)
    else:
        becomes, rows = _as_kept(tally or {}), pending
    return Agreement(
        job=spec.id,
        org=spec.org,
        series_id=spec.series_id,
        occasion=spec.again,
        columns=_columns(spec),
        reading=tuple(sorted(spec.reading.items())),
        becomes=tuple(sorted((name, rows) for name, rows in becomes.items() if rows)),
        rows=rows,
        which=which,
        listed=left_out.sha256,
        alike=left_out.alike or "",
    )


def _as_counted(counted: Survey) -> Mapping[str, int]:
    problems: dict[str, int] = {}
    for problem in counted.problems:
        problems[problem.code] = problems.get(problem.code, 0) + problem.rows
    return problems | {
        "to_send": counted.to_send,
        "duplicate": counted.duplicates,
        "served_before": sum(counted.served.values()),
        "served_under_another_name": sum(sum(jobs.values()) for jobs in counted.served_elsewhere.values()),
        "held_back": counted.alike_excluded + counted.alike_served,
    }


def _as_kept(tally: Tally) -> Mapping[str, int]:
    """What was in flight when a run died is in doubt for everybody else."""
    kept = {str(state): rows for state, rows in tally.items()}
    kept["in_doubt"] = kept.get("in_doubt", 0) + kept.pop("in_flight", 0)
    return kept


def _columns(spec: JobSpec) -> tuple[tuple[str, str], ...]:
    reading = Reading().like(spec.reading)
    try:
        places = columns(spec.header, reading.map, reading.identify_by)
    except SourceError:  # registered by a version that knew other spellings
        return ()
    return tuple((str(kind), spec.header[at]) for kind, at in places.items())
