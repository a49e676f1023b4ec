"""What happened to a job, and where a customer or a code stands: read-only, for people who ask."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, and_, func, or_, select

from bulk_issue.errors import LedgerError
from bulk_issue.ledger import home
from bulk_issue.ledger.database import AnyRow, Face
from bulk_issue.ledger.forgotten import forms
from bulk_issue.ledger.schema import attempts, claims, decided, excess, held, jobs, lookups, rows
from bulk_issue.model import JobId, JobState
from bulk_issue.states import RowState


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """How a job came to stand as it does, its runs aside."""

    #: Requests by what became of them; "unanswered" where nobody knows.
    requests: Sequence[tuple[str, int]]
    #: Look-ups in the record, by what they said.
    lookups: Sequence[tuple[str, int]]
    #: Rows that a person decided on.
    decisions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """One row in which a customer or a code stands."""

    job: JobId
    row: int
    series_id: int
    again: str
    file: str
    state: RowState
    code: str = field(default="", repr=False)
    issued_at: float | None = None
    error_code: str = ""
    reason: str = ""
    #: True if the job's customers were forgotten: the code can't be told any more.
    purged: bool = False
    #: True if the code asked for is one that this row should not have.
    excess: bool = False


class LedgerHistory(Face):
    """Each method reads one snapshot and never blocks a running job."""

    def doubtful(self) -> LedgerError | None:
        """Why this may not be all of the ledger that was in use, so that nobody sends from it; None if it is."""
        with self._db.read() as connection:
            return home.doubtful(connection)

    def of(self, job: JobId) -> History:
        """What happened to a job."""
        with self._db.read() as connection:
            seq = self._db.number(connection, job)
            event = func.coalesce(attempts.c.event, "unanswered")
            return History(
                requests=_counted(connection, event, attempts.c.job == seq),
                lookups=_counted(connection, lookups.c.finding, and_(lookups.c.job == seq, lookups.c.finding != "")),
                decisions=connection.scalar(select(func.count()).where(decided.c.job == seq)) or 0,
            )

    def too_many(self, job: JobId) -> list[str]:
        """The codes of the job's excess coupons."""
        with self._db.read() as connection:
            return list(
                connection.scalars(select(excess.c.code).where(excess.c.job == self._db.number(connection, job)))
            )

    def sightings(self, keys: Sequence[str], code: str) -> list[Sighting]:
        """Every row that names one of these customers or has this code, compared without case; oldest first.

        Reads all rows: a rejected row stands in no index under its customer.
        """
        with self._db.read() as connection:
            return list(self._found(connection, keys, code))

    def _found(self, connection: Connection, keys: Sequence[str], code: str) -> Iterator[Sighting]:
        named, codes = list(forms(connection, keys)), list(forms(connection, [code.casefold()]))
        scopes = connection.execute(select(jobs.c.scope).distinct()).scalars().all()
        claimed = {
            (claim.job, claim.row)
            for claim in connection.execute(
                select(claims.c.job, claims.c.row).where(claims.c.scope.in_(scopes), claims.c.key.in_(named))
            )
        }
        too_many = {
            (one.job, one.row)
            for one in connection.execute(
                select(excess.c.job, excess.c.row).where(func.lower(excess.c.code).in_(codes))
            )
        }
        had_before = {
            (one.job, one.row)
            for one in connection.execute(select(held.c.job, held.c.row).where(func.lower(held.c.code).in_(codes)))
        }
        seen: set[tuple[int, int]] = set()
        for wanted in (
            or_(rows.c.key.in_(named), func.lower(rows.c.code).in_(codes)),
            *(
                and_(rows.c.job == job, rows.c.number == number)
                for job, number in sorted(claimed | too_many | had_before)
            ),
        ):
            for row in connection.execute(
                select(rows, jobs.c.id, jobs.c.series_id, jobs.c.again, jobs.c.path, jobs.c.state.label("job_state"))
                .add_columns(held.c.code.label("held_code"))
                .join(jobs, jobs.c.seq == rows.c.job)
                .outerjoin(held, and_(held.c.job == rows.c.job, held.c.row == rows.c.number))
                .where(wanted, rows.c.state != str(RowState.LINKED), jobs.c.state != str(JobState.REGISTERING))
                .order_by(rows.c.job, rows.c.number)
            ):
                if (row.job, row.number) not in seen:
                    seen.add((row.job, row.number))
                    yield _sighting(row, excess=(row.job, row.number) in too_many)


def _counted(connection: Connection, what: Any, where: Any) -> list[tuple[str, int]]:
    """Rows of a table by one of its values, most frequent first."""
    found = connection.execute(select(what, func.count()).where(where).group_by(what).order_by(func.count().desc()))
    return [(value, count) for value, count in found]


def _sighting(row: AnyRow, *, excess: bool) -> Sighting:
    purged = row.job_state == str(JobState.PURGED)
    return Sighting(
        job=JobId(row.id),
        row=row.number,
        series_id=row.series_id,
        again=row.again,
        file=row.path,
        state=RowState(row.state),
        code="" if purged else row.code or row.held_code or "",
        issued_at=row.issued_at,
        error_code=row.error_code or "",
        reason=row.reason or "",
        purged=purged,
        excess=excess,
    )
