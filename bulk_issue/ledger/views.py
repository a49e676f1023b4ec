"""The ledger as people see it: read-only, streamed, on connections that never block a running job."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence

from sqlalchemy import Connection, and_, func, or_, select

from bulk_issue.ledger.coupons import load, load_coupon, load_warnings
from bulk_issue.ledger.database import Face
from bulk_issue.ledger.schema import attempts, claims, excess, jobs, lookups, rows, scope
from bulk_issue.model import JobId, Lineage
from bulk_issue.ports import ResultRow, Traffic
from bulk_issue.states import RowState

#: Rows that are fetched at a time.
STREAMED = 2_000
#: What is shown of a row itself, or of the row that it is linked to.
SHOWN = ("state", "coupon", "error_code", "reason", "warnings", "attempt", "issued_at", "request_id")
STATES = {state.value: state for state in RowState}


class LedgerViews(Face):
    """See `ports.Views`."""

    def results(self, job: JobId, states: frozenset[RowState] | None = None) -> Iterator[ResultRow]:
        meant, home = rows.alias("meant"), jobs.alias("home")
        followed = and_(
            meant.c.job == rows.c.of_job,
            meant.c.number == rows.c.of_row,
            or_(rows.c.state == "linked", rows.c.state == "duplicate"),
        )
        shown = [
            side.c[name].label(f"{whose}{name}") for whose, side in (("", rows), ("their_", meant)) for name in SHOWN
        ]
        with self._db.read() as connection:
            seq = self._db.number(connection, job)
            stream = connection.execution_options(yield_per=STREAMED).execute(
                select(
                    rows.c.number,
                    rows.c.cells,
                    rows.c.of_row,
                    rows.c.of_job.label("of_seq"),
                    home.c.id.label("of_job"),
                    *shown,
                )
                .select_from(rows)
                .outerjoin(meant, followed)
                .outerjoin(home, home.c.seq == meant.c.job)
                .where(rows.c.job == seq)
                .order_by(rows.c.number)
            )
            too_many = self._excess(connection)
            # a million of these: columns by position, states by a dict, each some microseconds cheaper than by name
            for number, cells, of_row, of_seq, of_job, *columns in stream:
                own, theirs = columns[: len(SHOWN)], columns[len(SHOWN) :]
                linked, first = own[0] == "linked", theirs[0]
                text, coupon, error_code, reason, warnings, attempts_made, issued_at, request_id = (
                    theirs if linked else own
                )
                state = STATES[text]
                if states is not None and state not in states:
                    continue
                excess_here = too_many.get((of_seq, of_row) if linked else (seq, number), ()) if too_many else ()
                yield ResultRow(
                    job=job,
                    number=number,
                    cells=tuple(load(cells)),
                    state=state,
                    coupon=load_coupon(coupon),
                    error_code=error_code or "",
                    reason=reason or "",
                    warnings=(*load_warnings(warnings), *excess_here),
                    attempts=attempts_made,
                    issued_at=issued_at,
                    request_id=request_id or "",
                    first=Lineage(job=JobId(of_job), row=of_row) if first else None,
                    first_state=STATES[first] if first else None,
                )

    def _excess(self, connection: Connection) -> dict[tuple[int, int], list[str]]:
        """What to say of coupons that no row should have; there are hardly ever any."""
        said: dict[tuple[int, int], list[str]] = {}
        for one in connection.execute(select(excess).order_by(excess.c.id)):
            said.setdefault((one.job, one.row), []).append(f"excess: coupon {one.code} too: {one.because}")
        return said

    def traffic(self, job: JobId, per: float, since: float = 0.0) -> Traffic:
        with self._db.read() as connection:
            seq = self._db.number(connection, job)
            mine = and_(attempts.c.job == seq, attempts.c.begun_wall >= since)
            left = or_(attempts.c.sent == 1, attempts.c.sent.is_(None))
            requests, limited, first, last = connection.execute(
                select(
                    func.count(),
                    func.count().filter(attempts.c.error_code == "http-429"),
                    func.min(attempts.c.begun_wall),
                    func.max(attempts.c.begun_wall),
                ).where(mine, left)
            ).one()
            times = connection.execution_options(yield_per=STREAMED).execute(
                select(attempts.c.begun_wall).where(mine, left).order_by(attempts.c.begun_wall)
            )
            return Traffic(
                requests=requests,
                responses_429=limited,
                lookups=connection.scalar(select(func.count()).where(lookups.c.job == seq)) or 0,
                excess=connection.scalar(select(func.count()).where(excess.c.job == seq)) or 0,
                worst_window=_worst_window((at for (at,) in times), per),
                first_sent=first,
                last_sent=last,
            )

    def served(self, org: str, series_id: int, again: str, keys: Sequence[str]) -> Mapping[str, Lineage]:
        with self._db.read() as connection:
            found = connection.execute(
                select(claims.c.key, jobs.c.id, claims.c.row)
                .join(jobs, jobs.c.seq == claims.c.job)
                .where(claims.c.scope == scope(org, series_id), claims.c.again == again, claims.c.key.in_(keys))
            )
            return {key: Lineage(job=JobId(job), row=row) for key, job, row in found}

    def parents(self, job: JobId) -> Sequence[JobId]:
        with self._db.read() as connection:
            seq = self._db.number(connection, job)
            found = connection.execute(
                select(jobs.c.id)
                .where(jobs.c.seq.in_(select(rows.c.of_job).where(rows.c.job == seq, rows.c.state != "duplicate")))
                .order_by(jobs.c.seq)
            )
            return [JobId(name) for (name,) in found if name != job]

    def reasons(self, job: JobId) -> Sequence[tuple[str, str, int]]:
        with self._db.read() as connection:
            seq = self._db.number(connection, job)
            meant = rows.alias()
            linked = and_(meant.c.job == rows.c.of_job, meant.c.number == rows.c.of_row, rows.c.state == "linked")
            code = func.coalesce(meant.c.error_code, rows.c.error_code)
            counted = connection.execute(
                select(code, func.min(func.coalesce(meant.c.reason, rows.c.reason)), func.count())
                .select_from(rows)
                .outerjoin(meant, linked)
                .where(rows.c.job == seq, func.coalesce(meant.c.state, rows.c.state).in_(("rejected", "invalid")))
                .group_by(code)
                .order_by(func.count().desc(), code)
            )
            return [(code or "", reason or "", n) for code, reason, n in counted]


def _worst_window(times: Iterator[float], per: float) -> int:
    """The most moments that any window of `per` seconds holds; memory is that of one window."""
    window: deque[float] = deque()
    worst = 0
    for at in times:
        window.append(at)
        while window[0] <= at - per:
            window.popleft()
        worst = max(worst, len(window))
    return worst
