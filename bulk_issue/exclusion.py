"""A suppression list: customers who must not be sent to, named by any of their identifiers.

The rule: a list that can't be applied whole is refused before anything is sent. One unreadable record in it is a
customer who would get a coupon after all.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Self

from bulk_issue.alike import alike, form, span
from bulk_issue.errors import ConfigError, SourceError
from bulk_issue.model import IdentifierKind, Record, Row, Withheld

#: Of an empty cell, which says nothing and hides nobody.
BLANK = "no-identifier"
#: Records that an error names.
NAMED = 5

#: What a record names under one kind of identifier.
Judge = Callable[[Record, Mapping[IdentifierKind, int], IdentifierKind | None], Row]


class Exclusion:
    """Customers to leave out. Their keys are kept in SQLite's own temporary database, which spills to disk."""

    def __init__(self, sha256: str, judge: Judge) -> None:
        #: Of the list's bytes: with another digest it has to be applied again.
        self.sha256 = sha256
        self._judge = judge
        self.kinds: frozenset[IdentifierKind] = frozenset()
        self._keys = sqlite3.connect("")
        self._keys.execute("CREATE TABLE excluded (key TEXT PRIMARY KEY) WITHOUT ROWID")
        self._keys.execute("CREATE TABLE forms (form TEXT, key TEXT, PRIMARY KEY (form, key)) WITHOUT ROWID")

    def fill(self, name: str, chunks: Iterable[Sequence[Record]], places: Mapping[IdentifierKind, int]) -> None:
        """Take in a list; raises `SourceError` if a record of it names nobody, or one of its identifiers is damaged."""
        self.kinds = frozenset(places)
        bad: list[str] = []
        for chunk in chunks:
            for record in chunk:
                found = [self._judge(record, {kind: at}, kind) for kind, at in places.items()]
                wrong = [row.problem for row in found if row.problem and row.problem.code != BLANK]
                keys = [row.identifier.key for row in found if row.identifier]
                if wrong or not keys:
                    bad.append(f"{record.number} ({wrong[0].reason if wrong else 'no identifier is filled in'})")
                self._keys.executemany("INSERT OR IGNORE INTO excluded VALUES (?)", ((key,) for key in keys))
                forms = [(its, key) for key in keys if (its := form(key)) is not None]
                self._keys.executemany("INSERT OR IGNORE INTO forms VALUES (?, ?)", forms)
        if bad:
            more = f" and {len(bad) - NAMED} more" if len(bad) > NAMED else ""
            raise SourceError(
                f"--exclude {name}: it isn't clear whom these records name: {'; '.join(bad[:NAMED])}{more}",
                hint="Fix or remove them: a customer whom the list can't name would get a coupon. Nothing was sent.",
            )

    def match(self, places: Mapping[IdentifierKind, int]) -> Mapping[IdentifierKind, int]:
        """The columns of a file by which the list can name its customers; raises `ConfigError` if there are none."""
        common = {kind: at for kind, at in places.items() if kind in self.kinds}
        if not common:
            theirs, ours = (", ".join(sorted(kinds)) for kinds in (self.kinds, places))
            raise ConfigError(
                f"--exclude can't match: the list names customers by {theirs}, the file by {ours}",
                hint="Give a list with an identifier that the file has too.",
            )
        return common

    def apply(self, records: Sequence[Record], judged: Sequence[Row], places: Mapping[IdentifierKind, int]) -> None:
        """Mark the rows whose customer is on the list, or looks so, by any of the identifiers in these columns."""
        for record, row in zip(records, judged, strict=True):
            if row.identifier is not None:
                row.withheld = self.names(record, places)

    def names(self, record: Record, places: Mapping[IdentifierKind, int]) -> Withheld | None:
        """Whether the list names the record's customer by any of these columns, or somebody who looks like them."""
        named = [self._judge(record, {kind: at}, kind).identifier for kind, at in places.items()]
        keys = [identifier.key for identifier in named if identifier is not None]
        marks = ", ".join("?" * len(keys))
        if self._keys.execute(f"SELECT 1 FROM excluded WHERE key IN ({marks})", keys).fetchone():
            return Withheld.EXCLUDED
        return Withheld.ALIKE_EXCLUDED if any(map(self._looks_like_one, keys)) else None

    def _looks_like_one(self, key: str) -> bool:
        where = span(key)
        found = self._keys.execute("SELECT key FROM forms WHERE form BETWEEN ? AND ?", where) if where else ()
        return any(alike(key, other) for (other,) in found)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._keys.close()
