"""The ledger as people see it: read-only, streamed, on connections that never block a running job."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter

from sqlalchemy import Column, ColumnElement, Connection, Integer, and_, bindparam, cast, exists, func, or_, select

from bulk_issue.ledger.batch import Batch
from bulk_issue.ledger.claims import Looks, look_alikes
from bulk_issue.ledger.coupons import load, load_offer, load_warnings
from bulk_issue.ledger.database import AnyRow, Face
from bulk_issue.ledger.forgotten import forms
from bulk_issue.ledger.held import BEARING, Bearers
from bulk_issue.ledger.jobs import as_job, to_put_back, to_retry
from bulk_issue.ledger.lineage import homes, named, real_row
from bulk_issue.ledger.omissions import held_back
from bulk_issue.ledger.schema import (
    IN_DOUBT,
    IN_FLIGHT,
    NOT_DUPLICATE,
    SENDABLE,
    attempts,
    claims,
    excess,
    jobs,
    lookups,
    permits,
    rows,
    runs,
    scope,
)
from bulk_issue.ledger.work import tally, waiting_in
from bulk_issue.ledger.workers import workers
from bulk_issue.model import HeldBack, Identifier, IdentifierKind, Job, JobId, Lineage, Moment, Withheld
from bulk_issue.ports import Doubtful, JobSummary, Pulse, ResultRow, RunFacts, Served, Traffic, WorkerFacts
from bulk_issue.states import RowState

#: Rows that are fetched at a time.
STREAMED = 2_000
#: What is shown of a row itself, or of the row that it is linked to.
SHOWN = (
    *("state", "code", "coupon_id", "customer_id", "offer"),
    *("error_code", "reason", "warnings", "attempt", "issued_at", "request_id"),
)
#: The states of rows that stand for another one.
FOLLOWING = frozenset({"linked", "duplicate"})
#: The state among the columns that `results` reads.
_STATE = itemgetter(4)
_SERVED = Batch(
    """
    SELECT claims.key, claims.again, jobs.id, claims.row
    FROM (VALUES {values}) AS asked
    JOIN claims ON claims.scope = asked.column1 AND claims.key = asked.column2
    JOIN jobs ON jobs.seq = claims.job
    """,
    ("scope", "key"),
)
_ANY = select(claims.c.job).where(claims.c.scope == bindparam("where")).limit(1)
_NEWEST_FIRST = select(jobs).order_by(jobs.c.created.desc(), jobs.c.seq.desc())
STATES = {state.value: state for state in RowState}


class LedgerViews(Face):
    """See `ports.Views`."""

    def results(self, job: JobId, states: frozenset[RowState] | None = None) -> Iterator[ResultRow]:
        with self._db.read() as connection:
            seq = self._db.number(connection, job)
            stream = connection.execution_options(yield_per=STREAMED).execute(
                select(rows.c.number, rows.c.cells, rows.c.of_job, rows.c.of_row, *(rows.c[name] for name in SHOWN))
                .where(rows.c.job == seq)
                .order_by(rows.c.number)
            )
            too_many, corrected = self._excess(connection), self._corrected(connection, seq)
            bearers = Bearers(connection)
            for part in stream.partitions():
                followed = self._followed(connection, seq, part)
                borne = bearers.of(seq, [row.number for row in part if _STATE(row) in BEARING])
                # a million of these: columns by position, states by a dict, each some microseconds cheaper than by name
                for number, cells, of_seq, of_row, *own in part:
                    shown, linked = own, own[0] == "linked"
                    first, its_state = corrected.get(number, (None, None))
                    if number in followed:
                        first_job, first_row, first_state, *theirs = followed[number]
                        first, its_state = Lineage(job=JobId(first_job), row=first_row), STATES[first_state]
                        shown = theirs if linked else own
                    text, code, coupon_id, customer_id, offer, error_code, reason, warnings, tries, at, request = shown
                    state = STATES[text]
                    if states is not None and state not in states:
                        continue
                    its = borne.get(number)
                    why: Sequence[str] = ()
                    if its is not None:
                        bearer: Lineage | None = its.place
                        code, coupon_id, customer_id, offer = its.code, its.coupon_id, its.customer_id, its.offer
                        why = its.warnings
                    else:
                        bearer = Lineage(job=job, row=number) if text == "issued" else None
                    excess_here = too_many.get((of_seq, of_row) if linked else (seq, number), ()) if too_many else ()
                    yield ResultRow(
                        job=job,
                        number=number,
                        cells=tuple(load(cells)),
                        state=state,
                        code=code if code and offer else "",  # a purged row's is a hash
                        coupon_id=coupon_id,
                        customer_id=customer_id,
                        offer=load_offer(offer),
                        error_code=error_code or "",
                        reason=reason or "",
                        warnings=(*load_warnings(warnings), *why, *excess_here),
                        attempts=tries,
                        issued_at=at,
                        request_id=request or "",
                        first=first,
                        first_state=its_state,
                        bearer=bearer,
                    )

    def _followed(self, connection: Connection, seq: int, part: Sequence[AnyRow]) -> dict[int, AnyRow]:
        """For rows that stand for another, by number: the row that has the claim, and how that other one shows.

        Asked for a part of the rows at a time, and only where there are any: hardly a row is one.
        """
        if FOLLOWING.isdisjoint(map(_STATE, part)):
            return {}
        meant, winner, home = rows.alias("meant"), rows.alias("winner"), jobs.alias("home")
        found = connection.execute(
            select(
                rows.c.number,
                home.c.id,
                func.coalesce(winner.c.number, meant.c.number),
                func.coalesce(winner.c.state, meant.c.state),
                *(meant.c[name] for name in SHOWN),
            )
            .select_from(rows)
            .join(meant, and_(meant.c.job == rows.c.of_job, meant.c.number == rows.c.of_row))
            # the row that a record stands for may be the duplicate of another
            .outerjoin(
                winner,
                and_(winner.c.job == meant.c.of_job, winner.c.number == meant.c.of_row, meant.c.state == "duplicate"),
            )
            .join(home, home.c.seq == func.coalesce(winner.c.job, meant.c.job))
            .where(rows.c.job == seq, rows.c.number.between(part[0].number, part[-1].number))
            .where(rows.c.state.in_(FOLLOWING))
        )
        return {number: tuple(columns) for number, *columns in found}

    def _excess(self, connection: Connection) -> dict[tuple[int, int], list[str]]:
        """What to say of coupons that no row should have; there are hardly ever any."""
        said: dict[tuple[int, int], list[str]] = {}
        for one in connection.execute(select(excess).order_by(excess.c.id)):
            said.setdefault((one.job, one.row), []).append(f"excess: coupon {one.code} too: {one.because}")
        return said

    def _corrected(self, connection: Connection, seq: int) -> dict[int, tuple[Lineage, RowState]]:
        """By which row each SUPERSEDED row of a job was replaced, and how that stands."""
        its = and_(rows.c.job == seq, rows.c.state == "superseded")
        if connection.scalar(select(rows.c.number).where(its).limit(1)) is None:
            return {}
        found = connection.execute(
            select(rows.c.of_row, jobs.c.id, rows.c.number, rows.c.state)
            .join(jobs, jobs.c.seq == rows.c.job)
            .where(rows.c.of_job == seq, NOT_DUPLICATE, rows.c.state != "linked")
            .order_by(jobs.c.seq)
        )
        return {
            replaced: (Lineage(job=JobId(job), row=number), RowState(state)) for replaced, job, number, state in found
        }

    def traffic(self, job: JobId, per: float, since: float = 0.0) -> Traffic:
        with self._db.read() as connection:
            seq = self._db.number(connection, job)
            mine = and_(_sent_by(connection, seq), attempts.c.begun_wall >= since)
            worked = and_(rows.c.job == lookups.c.job, rows.c.number == lookups.c.row, rows.c.queue == seq)
            left = or_(attempts.c.sent == 1, attempts.c.sent.is_(None))
            sent = connection.execution_options(yield_per=STREAMED).execute(
                select(attempts.c.begun_wall, attempts.c.error_code).where(mine, left).order_by(attempts.c.begun_wall)
            )
            its_lookups = (
                select(func.count())
                .select_from(lookups)
                .join(rows, worked)
                .where(lookups.c.job.in_(homes(connection, seq)))
            )
            its_excess = select(func.count()).where(excess.c.job == seq)
            return _traffic(sent, per, connection.scalar(its_lookups) or 0, connection.scalar(its_excess) or 0)

    def served(self, org: str, series_id: int, again: str, keys: Sequence[str]) -> Mapping[str, Served]:
        with self._db.read() as connection:
            where = scope(org, series_id)
            if connection.execute(_ANY, {"where": where}).first() is None:
                return {}  # of a series that is new here a million customers needn't be asked for
            known = forms(connection, keys)
            by: dict[str, dict[str, Lineage]] = {}
            for form, its_again, job, row in _SERVED.select(connection, [(where, form) for form in known]):
                by.setdefault(known[form], {})[its_again] = Lineage(job=JobId(job), row=row)
            others = [Looks(where, again, key) for key in keys if again not in by.get(key, ())]
            alike = {
                look.key: Lineage(job=JobId(claim.id), row=claim.row)
                for look, claim in look_alikes(connection, others).items()
            }
            return {
                key: Served(
                    by=its.get(again),
                    alike=alike.get(key),
                    elsewhere={name: row for name, row in its.items() if name != again},
                )
                for key in {**by, **alike}
                for its in [by.get(key, {})]
            }

    def origins(self, rows: Sequence[Lineage]) -> Mapping[Lineage, tuple[str, Lineage]]:
        with self._db.read() as connection:
            names = {job.seq: job.id for job in connection.execute(select(jobs.c.seq, jobs.c.id))}
            numbers = {name: seq for seq, name in names.items()}
            found: dict[Lineage, tuple[str, Lineage]] = {}
            for row in rows:
                seq = numbers.get(row.job)
                was = named(connection, real_row(connection, seq, row.row)) if seq is not None else None
                if was is not None:
                    found[row] = (was.key, Lineage(job=JobId(names[was.job]), row=was.number))
            return found

    def held_back(self, job: JobId) -> Mapping[Withheld, HeldBack]:
        with self._db.read() as connection:
            return held_back(connection, self._db.number(connection, job))

    def parents(self, job: JobId) -> Sequence[JobId]:
        return self._related(job, lambda seq: (jobs.c.seq, seq))

    def reruns(self, job: JobId) -> Sequence[JobId]:
        return self._related(job, lambda seq: (seq, jobs.c.seq))

    def _related(
        self, job: JobId, joined: Callable[[int], tuple[int | Column[int], int | Column[int]]]
    ) -> Sequence[JobId]:
        """The jobs that are joined to a job, and those that are joined to them: (of, its), see `_others`."""
        with self._db.read() as connection:
            found, left = dict[JobId, None](), [job]
            while left:
                seq = self._db.number(connection, left.pop(0))
                of, its = joined(seq)
                fresh = [name for name in _others(connection, seq, of=of, its=its) if name not in found]
                found |= dict.fromkeys(fresh)
                left += fresh
            return list(found)

    def customers(self, job: JobId) -> Iterator[tuple[int, str | None, tuple[str, ...]]]:
        with self._db.read() as connection:
            seq = self._db.number(connection, job)
            stream = connection.execution_options(yield_per=STREAMED).execute(
                select(rows.c.number, rows.c.key, rows.c.cells).where(rows.c.job == seq).order_by(rows.c.number)
            )
            for number, key, cells in stream:
                yield number, key, tuple(load(cells))

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

    def pending(self, job: JobId) -> int:
        with self._db.read() as connection:
            its = rows.c.queue == self._db.number(connection, job)
            return connection.scalar(select(func.count()).select_from(rows).where(its, SENDABLE)) or 0

    def rejected(self, job: JobId) -> Mapping[str, int]:
        with self._db.read() as connection:
            counts: Counter[str] = Counter()
            for which in to_retry(self._db.number(connection, job), ()):
                sent = and_(which, rows.c.withheld.is_(None))
                by_code = select(rows.c.error_code, func.count()).where(sent).group_by(rows.c.error_code)
                for code, rejected in connection.execute(by_code):
                    counts[code or ""] += rejected
            return counts

    def cancelled(self, job: JobId) -> int:
        with self._db.read() as connection:
            sent = and_(to_put_back(self._db.number(connection, job)), rows.c.withheld.is_(None))
            return connection.scalar(select(func.count()).select_from(rows).where(sent)) or 0

    def known(self) -> Sequence[Job]:
        with self._db.read() as connection:
            return [as_job(row) for row in connection.execute(_NEWEST_FIRST)]

    def jobs(self) -> Sequence[JobSummary]:
        with self._db.read() as connection:
            return [_summary(connection, row) for row in connection.execute(_NEWEST_FIRST).all()]

    def job(self, job: JobId) -> JobSummary | None:
        with self._db.read() as connection:
            found = connection.execute(select(jobs).where(jobs.c.id == job)).first()
            return None if found is None else _summary(connection, found)

    def doubtful(self, job: JobId, limit: int) -> Sequence[Doubtful]:
        with self._db.read() as connection:
            found = connection.execute(
                select(rows, jobs.c.id)
                .join(jobs, jobs.c.seq == rows.c.job)
                .where(rows.c.queue == self._db.number(connection, job), IN_DOUBT)
                .order_by(rows.c.given_up_wall, rows.c.number)
                .limit(limit)
            )
            return [
                Doubtful(
                    job=JobId(row.id),
                    row=row.number,
                    identifier=Identifier(IdentifierKind(row.kind), row.value, row.key),
                    sent=row.sent_wall or row.given_up_wall,
                    empty_since=row.empty_wall,
                )
                for row in found
            ]

    def runs(self, job: JobId) -> Sequence[RunFacts]:
        with self._db.read() as connection:
            seq = self._db.number(connection, job)
            flying = (
                select(rows.c.holder, func.count().label("rows"))
                .where(rows.c.queue == seq, IN_FLIGHT)
                .group_by(rows.c.holder)
            )
            on_the_wire = {run.holder: run.rows for run in connection.execute(flying)}
            found = connection.execute(
                select(runs, (jobs.c.holder == runs.c.token).label("held"))
                .join(jobs, jobs.c.seq == runs.c.job)
                .where(runs.c.job == seq)
                .order_by(runs.c.started.desc())
            )
            return [
                RunFacts(
                    who=run.who,
                    pid=run.pid,
                    host=run.host,
                    version=run.version,
                    started=run.started,
                    ended=run.ended,
                    exit_code=run.exit_code,
                    state=run.state or "",
                    because=run.because or "",
                    held=bool(run.held),
                    in_flight=on_the_wire.get(run.token, 0),
                )
                for run in found
            ]

    def workers(self) -> Sequence[WorkerFacts]:
        with self._db.read() as connection:
            return workers(connection)

    def pulse(self, job: JobId, stretches: int) -> Sequence[Pulse]:
        with self._db.read() as connection:
            seq = self._db.number(connection, job)
            mine = _sent_by(connection, seq)
            first, last = connection.execute(
                select(func.min(attempts.c.begun_wall), func.max(attempts.c.begun_wall)).where(mine)
            ).one()
            if first is None:
                return []
            length = max((last - first) / stretches, 1.0)
            stretch = cast((attempts.c.begun_wall - first) / length, Integer)
            counted = connection.execute(
                select(stretch, func.count(), func.count().filter(attempts.c.event == "issued"))
                .where(mine)
                .group_by(stretch)
                .order_by(stretch)
            )
            return [Pulse(at=first + at * length, requests=sent, issued=issued) for at, sent, issued in counted]

    def shares(self, account: str, now: Moment) -> Mapping[JobId, int]:
        taken = and_(permits.c.account == account, permits.c.free_boot > now.boot, permits.c.boot_id == now.boot_id)
        with self._db.read() as connection:
            found = connection.execute(
                select(jobs.c.id, func.count())
                .select_from(permits)
                .join(rows, and_(rows.c.job == permits.c.job, rows.c.number == permits.c.row))
                .join(jobs, jobs.c.seq == rows.c.queue)
                .where(taken)
                .group_by(jobs.c.id)
            )
            return {JobId(job): permitted for job, permitted in found}


def _summary(connection: Connection, row: AnyRow) -> JobSummary:
    return JobSummary(job=as_job(row), tally=tally(connection, row.seq), waiting_in=waiting_in(connection, row.seq))


def _others(connection: Connection, seq: int, *, of: int | Column[int], its: int | Column[int]) -> Sequence[JobId]:
    """The names of other jobs for which a row of job `its` came from job `of`."""
    # + 0: SQLite would rather read all rows of a job than use the index of those that came from elsewhere
    shares = exists().where(rows.c.of_job == of, rows.c.job + 0 == its, NOT_DUPLICATE)
    names = select(jobs.c.id).where(shares, jobs.c.seq != seq).order_by(jobs.c.seq)
    return [JobId(name) for name in connection.scalars(names)]


def _sent_by(connection: Connection, seq: int) -> ColumnElement[bool]:
    """The attempts that a job's own runs made, on its rows and those that its records stand for."""
    own_runs = select(runs.c.token).where(runs.c.job == seq)
    return and_(attempts.c.job.in_(homes(connection, seq)), attempts.c.holder.in_(own_runs))


def _traffic(sent: Iterable[AnyRow], per: float, its_lookups: int, its_excess: int) -> Traffic:
    """What requests add up to, given (when begun, error code) of each in their order; memory is that of one window."""
    window: deque[float] = deque()
    first, last, requests, limited, worst = None, None, 0, 0, 0
    for at, error_code in sent:
        first, last = at if first is None else first, at
        requests += 1
        limited += error_code == "http-429"
        window.append(at)
        while window[0] <= at - per:
            window.popleft()
        worst = max(worst, len(window))
    return Traffic(
        requests=requests,
        responses_429=limited,
        lookups=its_lookups,
        excess=its_excess,
        worst_window=worst,
        first_sent=first,
        last_sent=last,
    )
