"""What a file holds, before anything is sent: rows by verdict, problems, duplicates, customers already served.

Memory stays flat: the keys seen are kept in SQLite's own temporary database, which spills to disk.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import product
from typing import TypeVar

from bulk_issue.alike import LONGEST_COUNTRY_CODE, SHORTEST_MOBILE, plain
from bulk_issue.model import IdentifierKind, JobId, Row, Withheld
from bulk_issue.ports import Served
from bulk_issue.rows import withheld
from bulk_issue.saying import number

#: Rows that are named of each problem, of the duplicates, and of the look-alikes.
NAMED = 5
#: Keys that are looked up at once.
AT_ONCE = 5_000

#: What is said of rows that the suppression list takes away.
EXCLUDED = withheld(Withheld.EXCLUDED)

Rows = TypeVar("Rows", bound=Sequence[Row])
#: Says which of some keys are claimed, and by which rows.
Known = Callable[[Sequence[str]], Mapping[str, Served]]


@dataclass(slots=True, kw_only=True)
class ProblemCount:
    """One kind of problem: how many rows have it, and the first of them."""

    code: str
    reason: str
    remedy: str
    rows: int = 0
    first: list[int] = field(default_factory=list)
    #: Their cells, as a spreadsheet names them; empty texts where there is no sheet.
    cells: list[str] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Survey:
    """The file's rows, counted."""

    rows: int = 0
    usable: int = 0
    #: By their reason, most frequent first.
    problems: list[ProblemCount] = field(default_factory=list)
    #: Usable rows by the kind of their identifier.
    kinds: dict[str, int] = field(default_factory=dict)
    duplicates: int = 0
    #: (row, first row of the same customer), the first few.
    duplicate_rows: list[tuple[int, int]] = field(default_factory=list)
    #: Rows whose identifier is another row's but for a country code, leading zeros or case; they count as others.
    alike: int = 0
    #: (row, row that it looks like), the first few.
    alike_rows: list[tuple[int, int]] = field(default_factory=list)
    #: Rows whose customer has a coupon of this series, by the job that served them.
    served: dict[JobId, int] = field(default_factory=dict)
    #: Rows whose customer has a coupon of this series under other occasions, by their names and the jobs.
    served_elsewhere: dict[str, dict[JobId, int]] = field(default_factory=dict)
    #: Usable rows that aren't sent until a person says what they are, and the first few: their customer looks like
    #: somebody on the suppression list, or like one who was served for this occasion.
    alike_excluded: int = 0
    alike_excluded_rows: list[int] = field(default_factory=list)
    alike_served: int = 0
    alike_served_rows: list[int] = field(default_factory=list)

    @property
    def to_send(self) -> int:
        """Rows that a run would send."""
        held_back = self.alike_excluded + self.alike_served
        return self.usable - self.duplicates - sum(self.served.values()) - held_back

    def with_look_alikes(self) -> Survey:
        """The same, once a person has said that look-alikes are other people."""
        return replace(self, alike_excluded=0, alike_excluded_rows=[], alike_served=0, alike_served_rows=[])


def survey(chunks: Iterable[Sequence[Row]], served: Known | None = None) -> Survey:
    """Count what the rows are; `served` says which keys have a coupon."""
    counted = Survey()
    for _ in counting(chunks, counted, served):
        pass
    return counted


def counting(chunks: Iterable[Rows], counted: Survey, served: Known | None = None) -> Iterator[Rows]:
    """Hand the rows on and count them on their way; `counted` is complete when the last has passed.

    Rows whose customer looks like one who was served are marked so.
    """
    with closing(sqlite3.connect("")) as seen:
        seen.execute("CREATE TABLE seen (key TEXT PRIMARY KEY, row INTEGER) WITHOUT ROWID")
        seen.execute("CREATE TABLE plain (key TEXT PRIMARY KEY, row INTEGER) WITHOUT ROWID")
        seen.execute("CREATE TABLE alike (row INTEGER, other INTEGER, PRIMARY KEY (row, other)) WITHOUT ROWID")
        counter = _Counter(counted, seen, served)
        for chunk in chunks:
            counter.add(chunk)
            yield chunk
        counter.finish()


def _count(row: int, first: list[int]) -> None:
    """Name the row, if it is one of the first."""
    if len(first) < NAMED:
        first.append(row)


class _Counter:
    """Adds chunks to a survey."""

    def __init__(self, counted: Survey, seen: sqlite3.Connection, served: Known | None) -> None:
        self._counted, self._seen, self._served = counted, seen, served
        self._problems: dict[str, ProblemCount] = {}
        #: Of mobiles without leading zeros.
        self._lengths: set[int] = set()

    def add(self, chunk: Sequence[Row]) -> None:
        counted, fresh = self._counted, list[Row]()
        counted.rows += len(chunk)
        usable = [row for row in chunk if row.identifier is not None and row.withheld is not Withheld.EXCLUDED]
        named = [(row.identifier.key, row.number) for row in usable if row.identifier is not None]
        counted.usable += len(named)
        kinds = [row.identifier.kind for row in usable if row.identifier is not None]
        for kind in IdentifierKind:
            if several := kinds.count(kind):
                counted.kinds[kind] = counted.kinds.get(kind, 0) + several
        # one step for all: only where it ignores some is it asked which
        known = self._seen.total_changes
        self._seen.executemany("INSERT OR IGNORE INTO seen VALUES (?, ?)", named)
        repeats = self._repeats(named) if self._seen.total_changes - known < len(named) else {}
        for row in chunk:
            if row.identifier is None or row.withheld is Withheld.EXCLUDED:
                self._problem(row)
                continue
            if row.number not in repeats:
                if row.withheld is None:
                    fresh.append(row)
                else:
                    _count(row.number, counted.alike_excluded_rows)
                    counted.alike_excluded += 1
                self._plain(row.identifier.kind, row.identifier.key, row.number)
                continue
            counted.duplicates += 1
            if len(counted.duplicate_rows) < NAMED:
                counted.duplicate_rows.append((row.number, repeats[row.number]))
        for at in range(0, len(fresh) if self._served else 0, AT_ONCE):
            self._known(fresh[at : at + AT_ONCE])

    def _known(self, fresh: Sequence[Row]) -> None:
        """What the ledger knows of the customers of these rows."""
        assert self._served is not None
        counted = self._counted
        by_key = {row.identifier.key: row for row in fresh if row.identifier is not None}
        for key, known in self._served(list(by_key)).items():
            row = by_key[key]
            if known.by is not None:
                counted.served[known.by.job] = counted.served.get(known.by.job, 0) + 1
            elif known.alike is not None and (row.lineage is None or row.lineage.job != known.alike.job):
                row.withheld, row.like = Withheld.ALIKE_SERVED, known.alike
                counted.alike_served += 1
                _count(row.number, counted.alike_served_rows)
            for again, claim in known.elsewhere.items():
                jobs = counted.served_elsewhere.setdefault(again, {})
                jobs[claim.job] = jobs.get(claim.job, 0) + 1

    def _repeats(self, named: Sequence[tuple[str, int]]) -> dict[int, int]:
        """The rows whose customer an earlier row names, with that row."""
        first = "SELECT row FROM seen WHERE key = ?"
        found = ((number, self._seen.execute(first, (key,)).fetchone()[0]) for key, number in named)
        return {number: one for number, one in found if one != number}

    def finish(self) -> None:
        """What only shows when all rows are seen."""
        self._counted.problems = sorted(self._problems.values(), key=lambda each: -each.rows)
        self._look_for_alike("seen", "plain", "one.key")
        lengths = sorted(self._lengths)
        for long, short in product(lengths, lengths):
            if SHORTEST_MOBILE <= short < long <= short + LONGEST_COUNTRY_CODE:
                local = f"'mobile:' || substr(one.key, {len('mobile:') + 1 + long - short})"
                where = f"one.key GLOB 'mobile:*' AND length(one.key) = {len('mobile:') + long}"
                for ones, others in product(("seen", "plain"), repeat=2):
                    self._look_for_alike(ones, others, local, where)
        (self._counted.alike,) = self._seen.execute("SELECT count(DISTINCT row) FROM alike").fetchone()
        self._counted.alike_rows = self._seen.execute(f"SELECT row, other FROM alike LIMIT {NAMED}").fetchall()

    def _problem(self, row: Row) -> None:
        problem = EXCLUDED if row.withheld is Withheld.EXCLUDED else row.problem
        assert problem is not None
        reason = problem.reason
        line = self._problems.setdefault(reason, ProblemCount(code=problem.code, reason=reason, remedy=problem.remedy))
        line.rows += 1
        if len(line.first) < NAMED:
            line.first.append(row.number)
            line.cells.append(row.cell)

    def _plain(self, kind: IdentifierKind, key: str, row: int) -> None:
        """Keep the key without leading zeros and case, where that is another."""
        bare = plain(key)
        if kind is IdentifierKind.MOBILE:
            self._lengths.add(len(bare))
        if not bare or bare == key.partition(":")[2]:
            return
        plain_key = f"{kind}:{bare}"
        if not self._seen.execute("INSERT OR IGNORE INTO plain VALUES (?, ?)", (plain_key, row)).rowcount:
            self._seen.execute("INSERT OR IGNORE INTO alike SELECT ?, row FROM plain WHERE key = ?", (row, plain_key))

    def _look_for_alike(self, ones: str, others: str, key: str, where: str = "true") -> None:
        self._seen.execute(
            "INSERT OR IGNORE INTO alike SELECT max(one.row, other.row), min(one.row, other.row) "
            f"FROM {ones} one JOIN {others} other ON other.key = {key} WHERE one.row <> other.row AND {where}"
        )


# --- two contents of one file -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How a file's content differs from an earlier one, in customers (of rows that name nobody: in records)."""

    added: int
    removed: int
    #: The same customer with other cells.
    changed: int
    same: int
    #: Numbers of the earlier content's rows that name removed customers and may still be sent.
    unsent: tuple[int, ...] = ()

    @property
    def words(self) -> str:
        """The same in words."""
        counts = (self.added, "added"), (self.removed, "removed"), (self.changed, "changed"), (self.same, "the same")
        return ", ".join(f"{number(many)} {what}" for many, what in counts)

    @property
    def edited(self) -> bool:
        """Whether this is the same list, edited: the next batch names none of the customers of before."""
        return self.changed + self.same > 0


def compare(
    earlier: Iterable[tuple[int, str | None, Sequence[str]]],
    chunks: Iterable[Sequence[Row]],
    unsent: Iterable[int] = (),
) -> Difference:
    """Compare an earlier content, as (number, key, cells) of its rows, with the one of now.

    `unsent` are the numbers of the earlier rows that may still be sent.
    """
    with closing(sqlite3.connect("")) as seen:
        seen.execute("CREATE TABLE seen (key TEXT PRIMARY KEY, cells BLOB, now INTEGER) WITHOUT ROWID")
        seen.execute("CREATE TABLE unsent (number INTEGER PRIMARY KEY, key TEXT)")
        seen.executemany("INSERT INTO unsent (number) VALUES (?)", ((number,) for number in unsent))
        for number, key, cells in earlier:
            named, digest = _named(key, cells)
            seen.execute("INSERT OR IGNORE INTO seen VALUES (?, ?, 0)", (named, digest))
            seen.execute("UPDATE unsent SET key = ? WHERE number = ?", (named, number))
        counts: Counter[str] = Counter()
        for row in (row for chunk in chunks for row in chunk):
            key, digest = _named(row.identifier.key if row.identifier else None, row.cells)
            found = seen.execute("SELECT cells, now FROM seen WHERE key = ?", (key,)).fetchone()
            if found is None:
                counts["added"] += 1
                seen.execute("INSERT INTO seen VALUES (?, ?, 1)", (key, digest))
            elif not found[1]:
                counts["same" if found[0] == digest else "changed"] += 1
                seen.execute("UPDATE seen SET now = 1 WHERE key = ?", (key,))
        (removed,) = seen.execute("SELECT count(*) FROM seen WHERE now = 0").fetchone()
        theirs = "SELECT number FROM unsent JOIN seen USING (key) WHERE now = 0 ORDER BY number"
        left = tuple(number for (number,) in seen.execute(theirs))
    return Difference(
        added=counts["added"], removed=removed, changed=counts["changed"], same=counts["same"], unsent=left
    )


def _named(key: str | None, cells: Sequence[str]) -> tuple[str, bytes]:
    """Under what a row is known again, and a digest of its cells."""
    digest = hashlib.blake2b(json.dumps(list(cells)).encode(), digest_size=16).digest()
    return key if key is not None else f"cells:{digest.hex()}", digest
