"""The list to mail from: each customer of a job and its reruns who has a coupon, once, with its code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bulk_issue.app.reports import Files, default_out, refuse_purged
from bulk_issue.config import Reading
from bulk_issue.customer_columns import columns
from bulk_issue.errors import SourceError
from bulk_issue.ledger import SqliteLedger
from bulk_issue.model import IdentifierKind, Job, JobId, JobSpec, JobState
from bulk_issue.ports import ResultRow
from bulk_issue.seen import Seen, seen
from bulk_issue.sink import claim_folder, write_served
from bulk_issue.states import RowState

#: The column of the code, as in the results.
CODE = "_coupon_code"


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """The list, as it was written."""

    path: Path
    #: Customers in it.
    customers: int
    #: Rows of the job that have no code.
    without: int
    #: The reruns of the job's failures whose customers are in it too.
    reruns: Sequence[JobId]


def served(ledger: SqliteLedger, job: Job, files: Files) -> Served:
    """Write the list, from the ledger alone."""
    refuse_purged(job)
    out = files.out or default_out(job.spec)
    claim_folder(out, job.spec.id)
    reruns = ledger.views.reruns(job.spec.id)
    places = _places(job.spec)
    header = [*(job.spec.header[at] for at in places.values()), CODE]
    with seen() as known:
        customers = _Customers(ledger, known)
        lines = (line for name in (job.spec.id, *reruns) for line in customers.of(name, list(places)))
        path = write_served(lines, header, out, job.spec.id, files.format)
    return Served(path=path, customers=customers.written, without=customers.without.get(job.spec.id, 0), reruns=reruns)


class _Customers:
    """The lines of the list, and their counts when they have been taken."""

    def __init__(self, ledger: SqliteLedger, known: Seen) -> None:
        self._ledger, self._known = ledger, known
        self.written = 0
        #: By job: rows that have no code.
        self.without: dict[JobId, int] = {}

    def of(self, name: JobId, kinds: Sequence[IdentifierKind]) -> Iterator[list[str]]:
        """Those of one job, in the order of its file, by these kinds of identifier."""
        summary = self._ledger.views.job(name)
        assert summary is not None
        if summary.job.state is JobState.PURGED:
            return
        places = _places(summary.job.spec)
        for row in self._ledger.views.results(name):
            if not row.code:
                self.without[name] = self.without.get(name, 0) + 1
            # the corrected record names the customer; the one that it replaced doesn't
            elif row.state is not RowState.SUPERSEDED and self._known.add(*_who(row)):
                self.written += 1
                yield [*(row.cells[places[kind]] if kind in places else "" for kind in kinds), row.code]


def _who(row: ResultRow) -> Iterator[str]:
    """What tells a row's customer from others: the row that has the coupon, and Capillary's id where it is known."""
    assert row.bearer is not None
    yield f"{row.bearer.job} {row.bearer.row}"
    if row.customer_id is not None:
        yield f"id {row.customer_id}"


def _places(spec: JobSpec) -> dict[IdentifierKind, int]:
    """Where a job's file names its customers, under every kind of identifier that it has."""
    reading = Reading().like(spec.reading)
    try:
        return dict(columns(spec.header, reading.map))
    except SourceError:  # of the other kinds it isn't known which column it is
        return dict(columns(spec.header, reading.map, reading.identify_by))
