"""What a file holds, before anything is sent: rows by verdict, problems, duplicates, customers already served.

Memory stays flat: the keys seen are kept in SQLite's own temporary database, which spills to disk.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from bulk_issue.model import JobId, Lineage, Row

#: Rows that are named of each problem, and of the duplicates.
NAMED = 5


@dataclass(slots=True, kw_only=True)
class ProblemCount:
    """One kind of problem: how many rows have it, and the first of them."""

    reason: str
    remedy: str
    rows: int = 0
    first: list[int] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Survey:
    """The file's rows, counted."""

    rows: int = 0
    usable: int = 0
    #: By problem code.
    problems: dict[str, ProblemCount] = field(default_factory=dict)
    #: Usable rows by the kind of their identifier.
    kinds: dict[str, int] = field(default_factory=dict)
    duplicates: int = 0
    #: (row, first row of the same customer), the first few.
    duplicate_rows: list[tuple[int, int]] = field(default_factory=list)
    #: Rows whose customer has a coupon of this series, by the job that served them.
    served: dict[JobId, int] = field(default_factory=dict)

    @property
    def to_send(self) -> int:
        """Rows that a run would send."""
        return self.usable - self.duplicates - sum(self.served.values())


def survey(
    chunks: Iterable[Sequence[Row]], served: Callable[[Sequence[str]], Mapping[str, Lineage]] | None = None
) -> Survey:
    """Count what the rows are; `served` says which keys another job has served."""
    counted = Survey()
    seen = sqlite3.connect("")
    try:
        seen.execute("CREATE TABLE seen (key TEXT PRIMARY KEY, row INTEGER) WITHOUT ROWID")
        for chunk in chunks:
            _add(counted, chunk, seen, served)
    finally:
        seen.close()
    return counted


def _add(
    counted: Survey,
    chunk: Sequence[Row],
    seen: sqlite3.Connection,
    served: Callable[[Sequence[str]], Mapping[str, Lineage]] | None,
) -> None:
    fresh: list[str] = []
    for row in chunk:
        counted.rows += 1
        if row.problem is not None:
            line = counted.problems.setdefault(
                row.problem.code, ProblemCount(reason=row.problem.reason, remedy=row.problem.remedy)
            )
            line.rows += 1
            if len(line.first) < NAMED:
                line.first.append(row.number)
            continue
        assert row.identifier is not None
        counted.usable += 1
        counted.kinds[row.identifier.kind] = counted.kinds.get(row.identifier.kind, 0) + 1
        key = row.identifier.key
        if seen.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (key, row.number)).rowcount:
            fresh.append(key)
            continue
        counted.duplicates += 1
        if len(counted.duplicate_rows) < NAMED:
            (first,) = seen.execute("SELECT row FROM seen WHERE key = ?", (key,)).fetchone()
            counted.duplicate_rows.append((row.number, first))
    if served is not None:
        for at in range(0, len(fresh), 5_000):
            for claim in served(fresh[at : at + 5_000]).values():
                counted.served[claim.job] = counted.served.get(claim.job, 0) + 1
