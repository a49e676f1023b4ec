"""The ledger's contract: what the docstrings of `bulk_issue.ports` guarantee, one test a guarantee."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from bulk_issue.config import LedgerUrl
from bulk_issue.errors import ConfigError, JobHeld, LedgerError, LedgerUnavailable, SchemaMismatch
from bulk_issue.ledger import SqliteLedger, open_ledger, registering
from bulk_issue.ledger.sqlite import Sqlite
from bulk_issue.model import (
    Coupon,
    Decision,
    Identifier,
    IdentifierKind,
    Intent,
    JobId,
    JobSpec,
    JobState,
    Lineage,
    Meaning,
    Outcome,
    Problem,
    Row,
)
from bulk_issue.ports import Begun, Budget, Doubt, Hold, Landed, ReaderFacts, Settlement, Wait
from bulk_issue.states import Event, RowState
from tests.clocks import ManualClock

BUDGET = Budget(account="host#user", rate=100, per=60.0, unanswered=150.0)
JOB = JobId("job-a")
S = RowState


def spec(job: str = JOB, *, again: str = "", series: int = 544770, account: str = BUDGET.account) -> JobSpec:
    return JobSpec(
        id=JobId(job),
        org="100001",
        series_id=series,
        again=again,
        account=account,
        path=f"/files/{job}.csv",
        sha256="0" * 64,
        header=("name", "mobile"),
    )


def mobile(n: int) -> Identifier:
    return Identifier(IdentifierKind.MOBILE, f"9198{n:08d}", f"mobile:9198{n:08d}")


#: A customer by e-mail address, and by the number that the server gives them.
ASHA = Identifier(IdentifierKind.EMAIL, "a@example.com", "email:a@example.com")
NUMBER_77 = Identifier(IdentifierKind.ID, "77", "id:77")


def row(number: int, who: Identifier | None = None, *, lineage: Lineage | None = None) -> Row:
    who = who or mobile(number)
    return Row(number=number, cells=(f"name {number}", who.value), identifier=who, lineage=lineage)


def invalid(number: int, lineage: Lineage | None = None) -> Row:
    problem = Problem(code="no-identifier", reason="no identifier")
    return Row(number=number, cells=("x", ""), identifier=None, problem=problem, lineage=lineage)


def said(number: int, code: str | None, job: str = JOB) -> Decision:
    return Decision(lineage=Lineage(job=JobId(job), row=number), code=code)


class Desk:
    """A ledger with a clock, and short words for what the tests do."""

    def __init__(self, ledger: SqliteLedger, clock: ManualClock, place: Path | LedgerUrl) -> None:
        self.ledger, self.clock, self.place = ledger, clock, place
        go_by(clock, ledger)

    async def another(self) -> SqliteLedger:
        """The same ledger, as another process opens it."""
        opened = await open_ledger(self.place)
        go_by(self.clock, opened)
        return opened

    def look(self, sql: str) -> list[tuple[object, ...]]:
        """What somebody else finds on disk."""
        if isinstance(self.place, LedgerUrl):
            import psycopg

            with psycopg.connect(self.place.url) as other:
                return other.execute(sql.encode()).fetchall()
        with contextlib.closing(sqlite3.connect(self.place)) as there:
            return there.execute(sql).fetchall()

    async def register(self, rows: Iterable[Row], job: JobSpec | None = None, blank: int = 0) -> None:
        await self.ledger.jobs.register(job or spec(), [list(rows)], lambda: blank, self.clock.now())

    async def hold(self, job: str = JOB, budget: Budget = BUDGET) -> Hold:
        return await self.ledger.jobs.hold(JobId(job), budget, self.clock.now())

    async def release(self, hold: Hold) -> None:
        await self.ledger.jobs.release(hold, JobState.STOPPED, "", self.clock.now())

    async def begin(self, hold: Hold, n: int = 10, budget: Budget = BUDGET) -> Begun:
        return await self.ledger.work.begin(hold, n, budget, self.clock.now(), 5.0)

    async def one(self, hold: Hold) -> Intent:
        (intent,) = (await self.begin(hold, 1)).intents
        return intent

    async def finish(self, *settlements: Settlement) -> Sequence[Landed]:
        return await self.ledger.work.finish(settlements)

    def settlement(
        self,
        intent: Intent,
        event: Event,
        *,
        coupon: Coupon | None = None,
        answered: bool = True,
        left: bool = True,
        counts: bool = True,
        due: float = 0.0,
        if_absent: RowState = S.PENDING,
    ) -> Settlement:
        meaning = {Event.ISSUED: Meaning.ISSUED, Event.UNCLEAR: Meaning.UNCLEAR}.get(event, Meaning.REJECTED)
        return Settlement(
            intent=intent,
            event=event,
            outcome=Outcome(meaning=meaning, coupon=coupon, error_code="" if coupon else "701"),
            at=self.clock.now(),
            left=left,
            answered=answered,
            counts=counts,
            due=due,
            if_absent=if_absent,
        )

    async def issue(self, intent: Intent, code: str, customer: int | None = None) -> Landed:
        coupon = Coupon(code=code, series_id=544770, customer_id=customer)
        (landed,) = await self.finish(self.settlement(intent, Event.ISSUED, coupon=coupon))
        return landed

    async def doubt(self, intent: Intent, if_absent: RowState = S.PENDING) -> None:
        await self.finish(self.settlement(intent, Event.UNCLEAR, answered=False, if_absent=if_absent))

    async def doubts(self, job: str = JOB) -> list[Doubt]:
        return list(await self.ledger.doubts.due(JobId(job), self.clock.now(), 100))

    async def states(self, job: str = JOB) -> list[RowState]:
        return [result.state for result in self.ledger.views.results(JobId(job))]


def go_by(clock: ManualClock, ledger: SqliteLedger) -> None:
    """Let waiting, and permits in PostgreSQL, go by this clock; the database's own has tests in test_postgres.py."""
    ledger._db.seconds = lambda: clock.boot
    if isinstance(ledger._db.dialect, Sqlite):
        return
    from tests.postgres_clock import ManualDatabaseClock

    ledger._db.dialect._clock = ManualDatabaseClock(clock)  # type: ignore[attr-defined]


@pytest.fixture
async def desk(place: Path | LedgerUrl) -> AsyncIterator[Desk]:
    ledger = await open_ledger(place)
    yield Desk(ledger, ManualClock(), place)
    await ledger.close()


@pytest.fixture
async def file_desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """For what only a file can do."""
    ledger = await open_ledger(tmp_path / "ledger.db")
    yield Desk(ledger, ManualClock(), tmp_path / "ledger.db")
    await ledger.close()


# --- registering ------------------------------------------------------------------------------------------------


async def test_registering_keeps_every_cell_and_counts_blanks(desk: Desk) -> None:
    await desk.register([row(1), invalid(2), row(3)], blank=4)

    job = await desk.ledger.jobs.find(JOB)
    assert job is not None
    assert (job.state, job.rows, job.blank) == (JobState.READY, 3, 4)
    results = list(desk.ledger.views.results(JOB))
    assert [r.cells for r in results] == [("name 1", "919800000001"), ("x", ""), ("name 3", "919800000003")]
    assert [r.state for r in results] == [S.PENDING, S.INVALID, S.PENDING]
    assert results[1].error_code == "no-identifier"


async def test_interrupted_registration_leaves_nothing_and_is_redone(desk: Desk) -> None:
    def torn() -> Iterable[Sequence[Row]]:
        yield [row(1), row(2)]
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        await desk.ledger.jobs.register(spec(), torn(), lambda: 0, desk.clock.now())
    assert await desk.ledger.jobs.find(JOB) is None
    await desk.register([row(1), row(2), row(3)])

    assert await desk.states() == [S.PENDING] * 3


async def half_registered(desk: Desk) -> None:
    """What kill -9 leaves of a registration."""
    database = desk.ledger._db
    seq = await database.write(lambda tx: registering.begin(tx, database, spec(), desk.clock.now()))
    await database.write(lambda tx: registering.add(tx, database, seq, [row(1)]))


async def test_a_killed_registration_is_never_half_used(desk: Desk) -> None:
    """It is a job that nobody can run, and the next one replaces it."""
    await half_registered(desk)

    await desk.register([row(1), row(2)])

    assert await desk.states() == [S.PENDING] * 2


async def test_registering_again_changes_nothing(desk: Desk) -> None:
    await desk.register([row(1)])

    def untouched() -> Iterable[Sequence[Row]]:
        raise AssertionError("a registered job's file must not be read again")
        yield []

    job = await desk.ledger.jobs.register(spec(), untouched(), lambda: 0, desk.clock.now())

    assert job.rows == 1


async def test_a_job_of_which_nothing_came_can_be_read_anew(desk: Desk) -> None:
    await desk.register([row(1)])
    assert await desk.ledger.jobs.unregister(JOB)
    await desk.register([row(1), row(2)])
    hold = await desk.hold()
    intent = await desk.one(hold)
    assert not await desk.ledger.jobs.unregister(JOB)  # on the wire
    await desk.finish(desk.settlement(intent, Event.REJECTED))
    await desk.release(hold)
    assert await desk.ledger.jobs.unregister(JOB)
    await desk.register([row(1, mobile(7)), row(2)])

    assert await desk.states() == [S.PENDING, S.PENDING]
    hold = await desk.hold()
    assert (await desk.one(hold)).attempt == 2  # what was sent before stays on record
    assert desk.look("SELECT attempt, event FROM attempts ORDER BY attempt") == [(1, "rejected"), (2, None)]
    assert desk.ledger.views.traffic(JOB, 60.0).requests == 2


async def test_a_cancelled_job_is_not_read_anew_and_sent(desk: Desk) -> None:
    await desk.register([row(1)])
    await desk.ledger.jobs.cancel(JOB)

    assert not await desk.ledger.jobs.unregister(JOB)
    assert await desk.states() == [S.CANCELLED]


@pytest.mark.parametrize("event", [Event.ISSUED, Event.HELD, Event.UNCLEAR])
async def test_a_job_of_which_something_came_is_never_read_anew(desk: Desk, event: Event) -> None:
    await desk.register([row(1)])
    hold = await desk.hold()
    coupon = Coupon(code="C1", series_id=544770) if event is Event.ISSUED else None
    await desk.finish(desk.settlement(await desk.one(hold), event, coupon=coupon))
    await desk.release(hold)

    assert not await desk.ledger.jobs.unregister(JOB)
    assert len(await desk.states()) == 1


async def test_a_registration_that_breaks_off_keeps_what_was_sent_before(desk: Desk) -> None:
    await desk.register([row(1)])
    hold = await desk.hold()
    await desk.finish(desk.settlement(await desk.one(hold), Event.REJECTED))
    await desk.release(hold)
    assert await desk.ledger.jobs.unregister(JOB)

    def broken() -> Iterable[Sequence[Row]]:
        yield [row(1)]
        raise OSError("the disk was pulled out")

    with pytest.raises(OSError, match="pulled out"):
        await desk.ledger.jobs.register(spec(), broken(), lambda: 0, desk.clock.now())
    await desk.register([row(1)])

    assert (await desk.one(await desk.hold())).attempt == 2


async def test_only_what_was_put_back_last_begins_where_that_is_asked(desk: Desk) -> None:
    await desk.register([row(1), row(2), row(3)])
    hold = await desk.hold()
    for _ in range(2):
        await desk.finish(desk.settlement(await desk.one(hold), Event.REJECTED))
    assert await desk.ledger.jobs.retry(JOB, ()) == 2
    hold = replace(hold, retried=True)

    begun = await desk.begin(hold)
    assert [intent.row for intent in begun.intents] == [1, 2]
    assert (await desk.begin(hold)).wait is Wait.DRAINED
    assert await desk.ledger.work.pending(JOB) == 1
    assert await desk.ledger.work.pending(JOB, retried=True) == 0


async def registered_anew(desk: Desk, rows: Sequence[Row]) -> SqliteLedger:
    """The job is known here, and another process takes it back and registers its file in another way."""
    await desk.register([row(1)])
    await desk.ledger.work.tally(JOB)
    other = await desk.another()
    assert await other.jobs.unregister(JOB)
    await other.jobs.register(spec(), [list(rows)], lambda: 0, desk.clock.now())
    return other


async def test_a_job_that_was_registered_anew_is_not_run_by_who_knows_the_old_one(desk: Desk) -> None:
    """They agreed to its rows as they were read then, e.g. with a list of whom to leave out."""
    other = await registered_anew(desk, [row(1), row(2)])
    await other.close()
    with pytest.raises(LedgerError, match="anew") as caught:
        await desk.hold()
    assert "again" in caught.value.hint

    await desk.ledger.jobs.find(JOB)
    await desk.hold()
    assert await desk.states() == [S.PENDING] * 2


async def test_a_job_that_was_registered_anew_and_sent_is_not_forgotten(desk: Desk) -> None:
    other = await registered_anew(desk, [row(1), row(2)])
    hold = await other.jobs.hold(JOB, BUDGET, desk.clock.now())
    await other.work.begin(hold, 1, BUDGET, desk.clock.now(), 5.0)
    await other.jobs.release(hold, JobState.STOPPED, "", desk.clock.now())
    await other.close()

    assert not await desk.ledger.jobs.unregister(JOB)


# --- intents, claims, permits: one transaction ------------------------------------------------------------------


async def test_an_intent_is_on_disk_before_begin_returns(desk: Desk) -> None:
    await desk.register([row(1)])
    intent = await desk.one(await desk.hold())

    assert desk.look("SELECT state, attempt FROM rows") == [("in_flight", 1)]
    assert desk.look("SELECT key, open FROM claims") == [(intent.identifier.key, 1)]
    assert desk.look("SELECT count(*) FROM permits") == [(1,)]
    assert desk.look("SELECT attempt, event FROM attempts") == [(1, None)]


async def test_rows_begin_in_input_order_and_put_back_rows_behind_all_others(desk: Desk) -> None:
    await desk.register(row(n) for n in range(1, 5))
    hold = await desk.hold()
    first = await desk.one(hold)
    await desk.finish(desk.settlement(first, Event.NOT_PROCESSED, due=desk.clock.now().wall))

    begun = await desk.begin(hold)

    assert [intent.row for intent in begun.intents] == [2, 3, 4, 1]
    assert begun.wait is Wait.DRAINED


async def test_a_clock_that_was_set_back_holds_no_row_up(desk: Desk) -> None:
    await desk.register([row(1)])
    hold = await desk.hold()
    await desk.finish(desk.settlement(await desk.one(hold), Event.NOT_PROCESSED, due=desk.clock.now().wall + 5))
    desk.clock.wall -= 86_400

    waiting = await desk.begin(hold)
    assert (waiting.wait, waiting.seconds) == (Wait.DUE, 0.0)
    assert (await desk.begin(hold)).intents


async def test_the_second_row_of_a_customer_is_a_duplicate_of_the_first(desk: Desk) -> None:
    await desk.register([row(1), row(2, mobile(1)), row(3)])

    begun = await desk.begin(await desk.hold())

    assert [intent.row for intent in begun.intents] == [1, 3]
    assert begun.duplicates == 1
    second = list(desk.ledger.views.results(JOB))[1]
    assert (second.state, second.first, second.first_state) == (S.DUPLICATE, Lineage(job=JOB, row=1), S.IN_FLIGHT)
    assert await desk.ledger.work.firsts(JOB) == {S.IN_FLIGHT: 1}


async def test_a_customer_served_by_another_job_is_a_duplicate(desk: Desk) -> None:
    await desk.register([row(1)])
    await desk.issue(await desk.one(await desk.hold()), "CODE1")
    await desk.register([row(1), row(2)], spec("job-b"))

    begun = await desk.begin(await desk.hold("job-b"))

    assert [intent.row for intent in begun.intents] == [2]
    assert (await desk.states("job-b"))[0] is S.DUPLICATE


@pytest.mark.parametrize("other", [spec("job-b", series=2), spec("job-b", again="spring")])
async def test_another_series_or_again_name_is_another_claim(desk: Desk, other: JobSpec) -> None:
    await desk.register([row(1)])
    await desk.issue(await desk.one(await desk.hold()), "CODE1")
    await desk.register([row(1)], other)

    assert len((await desk.begin(await desk.hold("job-b"))).intents) == 1


async def test_a_rejected_rows_claim_is_free(desk: Desk) -> None:
    await desk.register([row(1), row(2, mobile(1))])
    hold = await desk.hold()
    await desk.finish(desk.settlement(await desk.one(hold), Event.REJECTED))

    assert (await desk.one(hold)).row == 2


async def test_a_customer_has_one_open_row_of_a_series_under_any_again_name(desk: Desk) -> None:
    await desk.register([row(1)])
    await desk.register([row(1)], spec("job-b", again="spring"))
    first = await desk.one(await desk.hold())
    hold = await desk.hold("job-b")

    waiting = await desk.begin(hold)
    assert (waiting.intents, waiting.wait) == ([], Wait.DUE)
    assert waiting.seconds > 0
    await desk.issue(first, "CODE1")
    desk.clock.forward(waiting.seconds)

    assert len((await desk.begin(hold)).intents) == 1


async def test_what_a_reply_says_of_the_customer_is_claimed_too(desk: Desk) -> None:
    """A customer is known by two kinds of identifier once a reply has named both."""
    await desk.register([row(1)])
    coupon = Coupon(code="CODE1", customer_id=77, identifiers=(("email", "Asha@Example.com"),))
    intent = await desk.one(await desk.hold())
    await desk.finish(desk.settlement(intent, Event.ISSUED, coupon=coupon))
    others = [
        Identifier(IdentifierKind.ID, "77", "id:77"),
        Identifier(IdentifierKind.EMAIL, "asha@example.com", "email:asha@example.com"),
    ]
    await desk.register([row(n, who) for n, who in enumerate(others, 1)], spec("job-b"))

    begun = await desk.begin(await desk.hold("job-b"))

    assert (begun.intents, begun.duplicates) == ([], 2)


async def test_two_coupons_for_one_customer_by_two_names_are_excess(desk: Desk) -> None:
    await desk.register([row(1), row(2)])
    hold = await desk.hold()
    first, second = (await desk.begin(hold)).intents
    await desk.issue(first, "CODE1", customer=77)

    assert await desk.issue(second, "CODE2", customer=77) is Landed.EXCESS
    assert await desk.ledger.work.excess(JOB) == 1
    assert await desk.states() == [S.ISSUED, S.ISSUED]
    (warning,) = list(desk.ledger.views.results(JOB))[1].warnings
    assert "CODE2" in warning


@pytest.mark.parametrize("way", ["not processed", "absent", "rejected and retried"])
@pytest.mark.parametrize("who", [ASHA, NUMBER_77])
async def test_a_row_under_way_is_not_sent_again_once_a_reply_has_named_its_customer(
    desk: Desk, who: Identifier, way: str
) -> None:
    """Its own claim was there first, and ends with the request that came to nothing."""
    await desk.register([row(1), row(2, who)])
    hold = await desk.hold()
    first, second = (await desk.begin(hold)).intents
    coupon = Coupon(code="CODE1", customer_id=77, identifiers=(("email", "a@example.com"),))
    await desk.finish(desk.settlement(first, Event.ISSUED, coupon=coupon))
    match way:
        case "not processed":
            await desk.finish(desk.settlement(second, Event.NOT_PROCESSED))
        case "absent":
            await desk.doubt(second)
            (doubt,) = await desk.ledger.doubts.due(JOB, desk.clock.now(), 10)
            await desk.ledger.doubts.settle(doubt, Event.ABSENT, None, "nothing", None, desk.clock.now())
        case _:
            await desk.finish(desk.settlement(second, Event.REJECTED))
            await desk.ledger.jobs.retry(JOB, ())

    begun = await desk.begin(hold)

    assert (begun.intents, begun.duplicates) == ([], 1)
    assert await desk.states() == [S.ISSUED, S.DUPLICATE]


@pytest.mark.parametrize("way", ["answered", "found", "decided"])
@pytest.mark.parametrize("who", [ASHA, NUMBER_77])
async def test_a_row_under_way_brings_the_second_coupon_of_a_customer_whom_a_reply_has_named(
    desk: Desk, who: Identifier, way: str
) -> None:
    await desk.register([row(1), row(2, who)])
    first, second = (await desk.begin(await desk.hold())).intents
    coupon = Coupon(code="CODE1", customer_id=77, identifiers=(("email", "a@example.com"),))
    await desk.finish(desk.settlement(first, Event.ISSUED, coupon=coupon))
    match way:
        case "answered":
            await desk.issue(second, "CODE2", customer=77)
        case "found":
            await desk.doubt(second)
            (doubt,) = await desk.ledger.doubts.due(JOB, desk.clock.now(), 10)
            found = Coupon(code="CODE2", customer_id=77)
            assert await desk.ledger.doubts.settle(doubt, Event.FOUND, found, "found", None, desk.clock.now())
        case _:
            await desk.doubt(second)
            assert await desk.ledger.doubts.decide([said(2, "CODE2")], "ops", "looked", desk.clock.now()) == 1

    assert await desk.ledger.work.excess(JOB) == 1


async def test_two_rows_whose_replies_name_a_third_that_is_under_way_know_of_one_another(desk: Desk) -> None:
    await desk.register([row(1), row(2), row(3, NUMBER_77)])
    first, second, third = (await desk.begin(await desk.hold())).intents
    await desk.issue(first, "CODE1", customer=77)

    assert await desk.issue(second, "CODE2", customer=77) is Landed.EXCESS
    assert await desk.issue(third, "CODE3", customer=77) is Landed.EXCESS


async def test_permits_bound_what_begins(desk: Desk) -> None:
    few = Budget(account=BUDGET.account, rate=3, per=60.0, unanswered=150.0)
    await desk.register(row(n) for n in range(1, 10))
    hold = await desk.hold(budget=few)

    begun = await desk.begin(hold, 10, few)
    assert (len(begun.intents), begun.wait) == (3, Wait.PERMITS)
    again = await desk.begin(hold, 10, few)
    assert (len(again.intents), again.wait, again.seconds) == (0, Wait.PERMITS, 215.0)


async def test_rows_that_lose_their_claim_are_passed_without_a_permit(desk: Desk) -> None:
    """Thousands of customers who were served already must not wait for the limit."""
    one = Budget(account=BUDGET.account, rate=1, per=60.0, unanswered=150.0)
    await desk.register([row(1), *(row(n, mobile(1)) for n in range(2, 1_400)), row(1_400)])
    hold = await desk.hold(budget=one)
    assert len((await desk.begin(hold, 1, one)).intents) == 1

    passed, waits = 0, list[Wait | None]()
    while not waits or waits[-1] is None:
        begun = await desk.begin(hold, 1, one)
        assert not begun.intents
        passed += begun.duplicates
        waits.append(begun.wait)

    assert (passed, waits) == (1_398, [None, None, Wait.PERMITS])
    assert await desk.ledger.work.pending(JOB) == 1


async def test_answers_of_one_batch_know_of_each_other(desk: Desk) -> None:
    """Two rows of one customer, answered together, are found out as if they had been answered one after the other."""
    await desk.register([row(1), row(2), row(3)])
    first, second, third = (await desk.begin(await desk.hold())).intents
    same = [Coupon(code=code, customer_id=77) for code in ("CODE1", "CODE2")]

    landed = await desk.finish(
        desk.settlement(first, Event.ISSUED, coupon=same[0]),
        desk.settlement(second, Event.REJECTED),
        desk.settlement(third, Event.ISSUED, coupon=same[1]),
    )

    assert landed == [Landed.LANDED, Landed.LANDED, Landed.EXCESS]
    assert await desk.states() == [S.ISSUED, S.REJECTED, S.ISSUED]
    assert await desk.ledger.work.excess(JOB) == 1


@pytest.mark.parametrize("seed", range(30))
async def test_a_batch_of_answers_comes_out_as_one_by_one(tmp_path: Path, seed: int) -> None:
    """Customers of several names, coupons of one code, rejections, answers of rows that moved on, answers twice."""
    random = Random(seed)
    people = [
        *(Identifier(IdentifierKind.ID, str(number), f"id:{number}") for number in range(1, 4)),
        *(mobile(number) for number in range(1, 5)),
    ]
    asked = random.sample(people, k=random.randint(2, 7))
    says: list[tuple[int, Event, Coupon | None]] = []
    for _ in range(random.randint(2, 9)):
        event = random.choice([Event.ISSUED, Event.ISSUED, Event.ISSUED, Event.REJECTED, Event.UNCLEAR, Event.HELD])
        coupon = Coupon(
            code=random.choice(["CODE1", "code1", "CODE2", "CODE3"]), customer_id=random.choice([None, 1, 2, 3, 4])
        )
        says.append((random.randrange(len(asked)), event, coupon if event is Event.ISSUED else None))

    async def told(together: bool) -> tuple[Sequence[Landed], list[object]]:  # noqa: FBT001 - one of two ways
        place = tmp_path / f"{together}.db"
        desk = Desk(await open_ledger(place), ManualClock(), place)
        try:
            await desk.register([row(number, who) for number, who in enumerate(asked, 1)])
            intents = (await desk.begin(await desk.hold())).intents
            answers = [desk.settlement(intents[at], event, coupon=coupon) for at, event, coupon in says]
            if together:
                landed = await desk.finish(*answers)
            else:
                landed = [each for answer in answers for each in await desk.finish(answer)]
            tables = ("rows", "claims", "attempts", "excess", "permits")
            return landed, [
                sorted(map(repr, desk.look(f"SELECT {_ALL_BUT_RUN[table]} FROM {table}"))) for table in tables
            ]
        finally:
            await desk.ledger.close()

    assert await told(together=True) == await told(together=False)


#: What two runs of the same thing have in common.
_ALL_BUT_RUN = {
    "rows": "job, number, state, attempt, spent, doubted, due, error_code, reason, warnings, code, coupon_id, offer, "
    "customer_id, given_up_boot, sent_boot, if_absent",
    "claims": "*",
    "attempts": "job, row, attempt, at_boot, sent, event, error_code, reason, landed",
    "excess": "job, row, code, because",
    "permits": "job, row, attempt, answered, free_boot",
}


async def test_a_permit_is_free_per_seconds_after_the_answer(desk: Desk) -> None:
    one = Budget(account=BUDGET.account, rate=1, per=60.0, unanswered=150.0)
    await desk.register([row(1), row(2)])
    hold = await desk.hold(budget=one)
    (intent,) = (await desk.begin(hold, 1, one)).intents
    desk.clock.forward(10)
    await desk.issue(intent, "CODE1")

    desk.clock.forward(59.9)
    assert not (await desk.begin(hold, 1, one)).intents
    desk.clock.forward(0.1)
    assert (await desk.begin(hold, 1, one)).intents


async def test_without_an_answer_a_permit_stays_taken_for_timeout_grace_and_per(desk: Desk) -> None:
    one = Budget(account=BUDGET.account, rate=1, per=60.0, unanswered=150.0)
    await desk.register([row(1), row(2)])
    hold = await desk.hold(budget=one)
    (intent,) = (await desk.begin(hold, 1, one)).intents
    await desk.doubt(intent)

    desk.clock.forward(214.9)  # 5 s to leave, the time-out and the grace, and the window
    assert not (await desk.begin(hold, 1, one)).intents
    desk.clock.forward(0.1)
    assert (await desk.begin(hold, 1, one)).intents


async def test_a_permit_of_a_request_that_never_left_is_free_at_once(desk: Desk) -> None:
    one = Budget(account=BUDGET.account, rate=1, per=60.0, unanswered=150.0)
    await desk.register([row(1), row(2)])
    hold = await desk.hold(budget=one)
    (intent,) = (await desk.begin(hold, 1, one)).intents
    await desk.finish(desk.settlement(intent, Event.NOT_PROCESSED, answered=False, left=False, counts=False))

    assert (await desk.begin(hold, 1, one)).intents


async def test_permits_survive_a_restart_and_count_as_taken_now_after_a_reboot(file_desk: Desk) -> None:
    one = Budget(account=BUDGET.account, rate=1, per=60.0, unanswered=150.0)
    await file_desk.register([row(1), row(2), row(3)])
    hold = await file_desk.hold(budget=one)
    await file_desk.issue((await file_desk.begin(hold, 1, one)).intents[0], "CODE1")
    await file_desk.release(hold)
    clock = ManualClock(wall=file_desk.clock.wall + 30, boot=5.0, boot_id="boot-2")
    ledger = await open_ledger(file_desk.place)
    try:
        after_reboot = Desk(ledger, clock, file_desk.place)
        hold = await after_reboot.hold(budget=one)
        begun = await after_reboot.begin(hold, 1, one)
        assert (begun.wait, begun.seconds) == (Wait.PERMITS, 60.0)
        clock.forward(60)
        assert (await after_reboot.begin(hold, 1, one)).intents
    finally:
        await ledger.close()


async def test_a_pause_holds_for_every_process_and_the_longest_wins(desk: Desk) -> None:
    await desk.register([row(1)])
    hold = await desk.hold()
    await desk.ledger.work.pause(BUDGET.account, 30, desk.clock.now())
    await desk.ledger.work.pause(BUDGET.account, 5, desk.clock.now())
    other = await desk.another()
    try:
        begun = await other.work.begin(hold, 1, BUDGET, desk.clock.now(), 5.0)
        assert (begun.intents, begun.wait, begun.seconds) == ([], Wait.PERMITS, 30.0)
    finally:
        await other.close()
    desk.clock.forward(30)

    assert (await desk.begin(hold, 1)).intents


async def test_processes_on_one_ledger_never_begin_a_customer_twice(desk: Desk) -> None:
    await desk.register(row(n) for n in range(1, 200))
    await desk.register((row(n) for n in range(199, 0, -1)), spec("job-b"))
    other = await desk.another()
    wide = Budget(account=BUDGET.account, rate=1_000, per=60.0, unanswered=150.0)
    try:
        holds = [await desk.hold(budget=wide), await other.jobs.hold(JobId("job-b"), wide, desk.clock.now())]

        async def drain(ledger: SqliteLedger, hold: Hold) -> list[Intent]:
            begun: list[Intent] = []
            while True:
                got = await ledger.work.begin(hold, 7, wide, desk.clock.now(), 5.0)
                begun += got.intents
                if got.wait is Wait.DRAINED:
                    return begun

        one, two = await asyncio.gather(drain(desk.ledger, holds[0]), drain(other, holds[1]))
    finally:
        await other.close()

    keys = [intent.identifier.key for intent in one + two]
    assert len(keys) == len(set(keys)) == 199


async def test_a_failed_begin_leaves_nothing(file_desk: Desk, tmp_path: Path) -> None:
    """A ledger that can't grow refuses the intent as a whole."""
    await file_desk.register(row(n) for n in range(1, 400))
    hold = await file_desk.hold()
    wide = Budget(account=BUDGET.account, rate=1_000, per=60.0, unanswered=150.0)
    await file_desk.ledger._db.write(
        lambda tx: tx.exec_driver_sql(f"PRAGMA max_page_count = {tx.exec_driver_sql('PRAGMA page_count').scalar()}")
    )

    with pytest.raises(LedgerUnavailable):
        await file_desk.begin(hold, 390, wide)

    with sqlite3.connect(str(file_desk.place)) as other:
        counts = [
            other.execute(f"SELECT count(*) FROM {what}").fetchone()[0]
            for what in ("rows WHERE state = 'in_flight'", "claims", "permits", "attempts")
        ]
    other.close()
    assert len(set(counts)) == 1


# --- what answers do --------------------------------------------------------------------------------------------


async def test_an_issued_row_keeps_its_coupon(desk: Desk) -> None:
    await desk.register([row(1)])
    coupon = Coupon(code="007", series_id=544770, discount_value="500.0", customer_id=5, warnings=("w",))
    await desk.finish(desk.settlement(await desk.one(await desk.hold()), Event.ISSUED, coupon=coupon))

    (result,) = desk.ledger.views.results(JOB)
    assert result.state is S.ISSUED
    assert result.coupon is not None
    assert (result.coupon.code, result.coupon.discount_value, result.coupon.customer_id) == ("007", "500.0", 5)
    assert result.issued_at == desk.clock.now().wall


async def test_an_answer_that_comes_after_the_takeover_still_settles_its_own_row(desk: Desk) -> None:
    await desk.register([row(1)])
    hold = await desk.hold()
    intent = await desk.one(hold)
    desk.ledger.jobs._locks.free(JOB)
    assert (await desk.hold()).recovered == 1

    assert await desk.issue(intent, "CODE1") is Landed.LANDED
    assert await desk.states() == [S.ISSUED]


async def test_a_late_refusal_leaves_a_doubtful_row_in_doubt(desk: Desk) -> None:
    await desk.register([row(1)])
    intent = await desk.one(await desk.hold())
    desk.ledger.jobs._locks.free(JOB)
    await desk.hold()

    assert await desk.finish(desk.settlement(intent, Event.NOT_PROCESSED)) == [Landed.STALE]
    assert await desk.states() == [S.IN_DOUBT]


async def test_a_coupon_for_a_row_that_moved_on_is_excess(desk: Desk) -> None:
    await desk.register([row(1)])
    hold = await desk.hold()
    intent = await desk.one(hold)
    await desk.doubt(intent)
    (doubt,) = await desk.doubts()
    await desk.ledger.doubts.settle(doubt, Event.ABSENT, None, "nothing", None, desk.clock.now())
    second = await desk.one(hold)

    assert await desk.issue(intent, "CODE1") is Landed.EXCESS
    assert await desk.issue(second, "CODE2") is Landed.LANDED
    assert await desk.ledger.work.excess(JOB) == 1


async def test_the_same_answer_twice_is_stale(desk: Desk) -> None:
    await desk.register([row(1)])
    intent = await desk.one(await desk.hold())
    await desk.issue(intent, "CODE1")

    assert await desk.issue(intent, "CODE1") is Landed.STALE
    assert await desk.ledger.work.excess(JOB) == 0


async def test_a_coupon_known_from_an_earlier_job_is_marked_reused(desk: Desk) -> None:
    await desk.register([row(1)])
    await desk.issue(await desk.one(await desk.hold()), "CODE1")
    await desk.register([row(1)], spec("job-b", again="spring"))
    await desk.issue(await desk.one(await desk.hold("job-b")), "code1")

    (result,) = desk.ledger.views.results(JobId("job-b"))
    assert any(warning.startswith("reused") for warning in result.warnings)


async def test_attempts_count_only_where_they_should(desk: Desk) -> None:
    await desk.register([row(1)])
    hold = await desk.hold()
    first = await desk.one(hold)
    await desk.finish(desk.settlement(first, Event.NOT_PROCESSED, counts=False))
    second = await desk.one(hold)
    await desk.finish(desk.settlement(second, Event.NOT_PROCESSED, counts=True))
    third = await desk.one(hold)

    assert [i.attempt for i in (first, second, third)] == [1, 2, 3]
    assert [i.spent for i in (first, second, third)] == [0, 0, 1]


# --- doubt ------------------------------------------------------------------------------------------------------


async def test_a_doubt_tells_when_it_was_sent_first_and_given_up_last(desk: Desk) -> None:
    await desk.register([row(1)])
    begun = desk.clock.now()
    intent = await desk.one(await desk.hold())
    given_up = desk.clock.forward(30)
    await desk.doubt(intent, S.HELD)

    (doubt,) = await desk.doubts()
    assert (doubt.sent, doubt.given_up, doubt.if_absent) == (begun, given_up, S.HELD)
    assert not await desk.ledger.doubts.due(JOB, begun, 10)
    assert await desk.ledger.doubts.next_due(JOB) == given_up


async def test_a_grace_does_not_last_until_a_day_that_a_wrong_clock_named(desk: Desk) -> None:
    await desk.register([row(1)])
    hold = await desk.hold()
    await desk.doubt(await desk.one(hold))
    await desk.release(hold)
    desk.clock.wall, desk.clock.boot, desk.clock.boot_id = desk.clock.wall - 30 * 86_400, 5.0, "boot-2"
    await desk.hold()

    (doubt,) = await desk.doubts()
    assert doubt.given_up == desk.clock.now()


async def test_a_doubtful_rows_claim_stays(desk: Desk) -> None:
    await desk.register([row(1), row(2, mobile(1))])
    hold = await desk.hold()
    await desk.doubt(await desk.one(hold))

    assert (await desk.begin(hold)).duplicates == 1


async def test_found_settles_once_and_only_its_own_attempt(desk: Desk) -> None:
    await desk.register([row(1)])
    hold = await desk.hold()
    await desk.doubt(await desk.one(hold))
    (doubt,) = await desk.doubts()
    settle = desk.ledger.doubts.settle
    now = desk.clock.now()

    assert await settle(doubt, Event.FOUND, Coupon(code="C1"), "found", 123.0, now)
    assert not await settle(doubt, Event.ABSENT, None, "nothing", None, now)
    (result,) = desk.ledger.views.results(JOB)
    assert (result.state, result.issued_at) == (S.ISSUED, 123.0)


async def test_a_code_of_another_row_of_the_customer_is_not_taken(desk: Desk) -> None:
    await desk.register([row(1)])
    await desk.issue(await desk.one(await desk.hold()), "CODE1")
    await desk.register([row(1)], spec("job-b", again="spring"))
    hold = await desk.hold("job-b")
    await desk.doubt(await desk.one(hold))
    (doubt,) = await desk.doubts("job-b")

    assert doubt.known_codes == {"code1"}
    settle, now = desk.ledger.doubts.settle, desk.clock.now()
    assert not await settle(doubt, Event.FOUND, Coupon(code="code1"), "found", None, now)
    assert await settle(doubt, Event.FOUND, Coupon(code="code1"), "found", None, now, shared=True)


async def test_absent_puts_the_row_back_with_its_claim_free_and_its_doubt_remembered(desk: Desk) -> None:
    await desk.register([row(1)])
    hold = await desk.hold()
    await desk.doubt(await desk.one(hold))
    (doubt,) = await desk.doubts()
    await desk.ledger.doubts.note(doubt, "empty", desk.clock.now(), empty=True)
    (doubt,) = await desk.doubts()
    assert doubt.empty_since == desk.clock.now()
    await desk.ledger.doubts.settle(doubt, Event.ABSENT, None, "nothing", None, desk.clock.now())

    again = await desk.one(hold)
    assert (again.attempt, again.doubted, again.spent) == (2, True, 1)


async def test_a_persons_decision_settles_a_row_in_doubt_only(desk: Desk) -> None:
    await desk.register([row(1), row(2)])
    hold = await desk.hold()
    first, second = (await desk.begin(hold)).intents
    decide, now = desk.ledger.doubts.decide, desk.clock.now()
    await desk.doubt(first)
    with pytest.raises(LedgerError, match="on the wire"):
        await decide([said(1, "CODE1"), said(2, None)], "ann", "", now)
    assert await desk.states() == [S.IN_DOUBT, S.IN_FLIGHT]
    await desk.doubt(second)

    assert await decide([said(1, "CODE1"), said(2, None)], "ann", "seen in the shop", now) == 2
    assert await decide([said(1, None)], "ann", "", now) == 0
    assert await desk.states() == [S.ISSUED, S.PENDING]


async def in_doubt(desk: Desk, rows: list[Row], job: str, again: str = "") -> None:
    await desk.register(rows, spec(job, again=again))
    for intent in (await desk.begin(await desk.hold(job))).intents:
        await desk.doubt(intent)


async def test_a_decision_for_a_code_that_another_customer_has_is_refused(desk: Desk) -> None:
    await desk.register([row(1)])
    await desk.issue(await desk.one(await desk.hold()), "CodeA")
    await in_doubt(desk, [row(2), row(3)], "job-b")
    decide, now = desk.ledger.doubts.decide, desk.clock.now()

    with pytest.raises(
        ConfigError, match=r"row 3 of job job-b .* another customer has it \(row 1 of job job-a\)"
    ) as no:
        await decide([said(2, None, "job-b"), said(3, "CODEa", "job-b")], "ann", "", now)
    assert "CODE" not in no.value.message + no.value.hint
    assert await desk.states("job-b") == [S.IN_DOUBT, S.IN_DOUBT]
    assert desk.look("SELECT count(*) FROM decisions") == [(0,)]

    assert await decide([said(2, "CodeB", "job-b")], "ann", "", now) == 1
    assert await decide([said(2, "CodeA", "job-b")], "ann", "", now) == 0  # it is settled already
    assert await decide([said(3, "CodeA", "job-b")], "ann", "", now, shared=True) == 1


async def test_one_code_for_two_customers_is_refused(desk: Desk) -> None:
    await in_doubt(desk, [row(1), row(2)], JOB)
    decide, now = desk.ledger.doubts.decide, desk.clock.now()

    with pytest.raises(ConfigError, match=r"row 2 .* \(row 1 of job job-a, decided with it\)"):
        await decide([said(1, "SAME"), said(2, "same")], "ann", "", now)
    assert await desk.states() == [S.IN_DOUBT, S.IN_DOUBT]
    assert await decide([said(1, "SAME"), said(2, "same")], "ann", "", now, shared=True) == 2


async def test_a_decision_for_a_coupon_that_another_row_has_too_many_is_refused(desk: Desk) -> None:
    await desk.register([row(1)])
    intent = await desk.one(await desk.hold())
    await desk.issue(intent, "CODE1")
    await desk.ledger.doubts.excess(JOB, 1, "CODE2", "a second one", desk.clock.now())
    await in_doubt(desk, [row(2)], "job-b")

    with pytest.raises(ConfigError, match="another customer has it"):
        await desk.ledger.doubts.decide([said(2, "code2", "job-b")], "ann", "", desk.clock.now())


async def test_a_decision_may_name_a_code_that_the_same_customer_has(desk: Desk) -> None:
    """A series that gives a coupon again gives it for another occasion, too."""
    await desk.register([row(1)])
    await desk.issue(await desk.one(await desk.hold()), "CODE1")
    await in_doubt(desk, [row(1)], "job-b", again="more")

    assert await desk.ledger.doubts.decide([said(1, "CODE1", "job-b")], "ann", "", desk.clock.now()) == 1


async def test_where_everybody_has_one_code_a_decision_may_name_it(desk: Desk) -> None:
    """It can't be asked now whether the series is GENERIC, and two customers show that it is."""
    await desk.register([row(1), row(2)])
    hold = await desk.hold()
    for intent in (await desk.begin(hold)).intents:
        await desk.issue(intent, "EVERYBODYS")
    await in_doubt(desk, [row(3)], "job-b")

    assert await desk.ledger.doubts.decide([said(3, "EVERYBODYS", "job-b")], "ann", "", desk.clock.now()) == 1


async def test_a_row_says_whom_it_names(desk: Desk) -> None:
    await desk.register([row(1)])

    found = await desk.ledger.doubts.customer(Lineage(job=JobId(JOB), row=1))
    assert found is not None and found == row(1).identifier
    assert await desk.ledger.doubts.customer(Lineage(job=JobId(JOB), row=9)) is None


async def test_a_reader_stays_proven(desk: Desk) -> None:
    await desk.register([row(1)])
    facts = ReaderFacts(endpoint="v2", kind=IdentifierKind.MOBILE, offset=-1.5, issued_at="store01")
    await desk.ledger.doubts.prove(JOB, BUDGET.account, facts, desk.clock.now())
    await desk.ledger.doubts.prove(JOB, BUDGET.account, facts, desk.clock.now())

    assert await desk.ledger.doubts.readers(JOB, BUDGET.account) == [facts]


async def test_issued_rows_can_be_read_back(desk: Desk) -> None:
    await desk.register([row(1), row(2)])
    hold = await desk.hold()
    first, second = (await desk.begin(hold)).intents
    await desk.issue(first, "CODE1")
    await desk.doubt(second)
    (doubt,) = await desk.doubts()
    await desk.ledger.doubts.settle(doubt, Event.FOUND, Coupon(code="C2"), "found", None, desk.clock.now())

    issued = await desk.ledger.doubts.issued(JOB, IdentifierKind.MOBILE, 5)
    doubted = await desk.ledger.doubts.doubted(JOB, None, 5)
    assert [(i.row, i.code) for i in issued] == [(1, "CODE1")]
    assert [(i.row, i.code) for i in doubted] == [(2, "C2")]


async def test_a_job_without_a_coupon_borrows_one_of_the_same_series_and_account_to_read_back(desk: Desk) -> None:
    await desk.register([row(1)])
    await desk.register([row(2)], spec("job-b"))
    await desk.register([row(3)], spec("job-c", series=9))
    await desk.issue(await desk.one(await desk.hold()), "CODE1")
    elsewhere = await desk.hold("job-b", replace(BUDGET, account="another"))
    issued = desk.ledger.doubts.issued

    assert await issued(JobId("job-b"), IdentifierKind.MOBILE, 5) == []
    assert await issued(JobId("job-c"), IdentifierKind.MOBILE, 5) == []
    await desk.release(elsewhere)
    hold = await desk.hold("job-b")
    assert [(i.job, i.row) for i in await issued(JobId("job-b"), IdentifierKind.MOBILE, 5)] == [(JOB, 1)]
    await desk.issue(await desk.one(hold), "CODE2")
    assert [(i.job, i.row) for i in await issued(JobId("job-b"), IdentifierKind.MOBILE, 5)] == [("job-b", 2)]


# --- holders ----------------------------------------------------------------------------------------------------


async def test_a_second_holder_is_told_the_pid(desk: Desk) -> None:
    await desk.register([row(1)])
    await desk.hold()
    other = await desk.another()
    try:
        assert other.jobs.running_elsewhere(JOB)
        with pytest.raises(JobHeld, match=str(os.getpid())):
            await other.jobs.hold(JOB, BUDGET, desk.clock.now())
    finally:
        await other.close()


async def test_a_killed_holder_leaves_its_rows_in_doubt(desk: Desk) -> None:
    """The kernel frees the lock at death; what was in flight is in doubt as of the takeover."""
    await desk.register([row(1), row(2)])
    shown = f"LedgerUrl({desk.place.url!r})" if isinstance(desk.place, LedgerUrl) else f"Path({str(desk.place)!r})"
    script = f"""
import asyncio, sys
from pathlib import Path
from bulk_issue.config import LedgerUrl
from bulk_issue.clock import SystemClock
from bulk_issue.ledger import open_ledger
from bulk_issue.ports import Budget
async def main():
    ledger = await open_ledger({shown})
    budget = Budget(account="host#user", rate=100, per=60.0, unanswered=150.0)
    hold = await ledger.jobs.hold("job-a", budget, SystemClock().now())
    await ledger.work.begin(hold, 1, budget, SystemClock().now(), 5.0)
    print("begun", flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""
    child = subprocess.Popen(  # noqa: ASYNC220 - nothing else runs in this loop
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "begun\n"
    with pytest.raises(JobHeld, match=str(child.pid)):
        await desk.hold()
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    while desk.ledger.jobs.running_elsewhere(JOB):  # a server takes a moment to see that its client is gone
        await asyncio.sleep(0.01)

    hold = await desk.hold()

    assert hold.recovered == 1
    assert await desk.states() == [S.IN_DOUBT, S.PENDING]
    (doubt,) = await desk.doubts()
    assert doubt.given_up == desk.clock.now()


async def test_a_run_whose_job_was_taken_over_begins_nothing(desk: Desk) -> None:
    await desk.register([row(1)])
    old = await desk.hold()
    desk.ledger.jobs._locks.free(JOB)
    await desk.hold()

    with pytest.raises(JobHeld):
        await desk.begin(old)


async def test_a_turn_records_answers_before_it_begins(desk: Desk) -> None:
    await desk.register([row(1), row(2), row(3, mobile(1)), row(4)])
    hold = await desk.hold()
    first, second = (await desk.begin(hold, 2)).intents
    busy = desk.settlement(second, Event.NOT_PROCESSED, due=desk.clock.now().wall)
    answers = [desk.settlement(first, Event.ISSUED, coupon=Coupon(code="C")), busy]

    landed, begun = await desk.ledger.work.turn(answers, hold, 10, BUDGET, desk.clock.now(), 5.0)

    assert landed == [Landed.LANDED, Landed.LANDED]
    assert [(intent.row, intent.attempt) for intent in begun.intents] == [(4, 1), (2, 2)]
    assert await desk.states() == [S.ISSUED, S.IN_FLIGHT, S.DUPLICATE, S.IN_FLIGHT]


async def test_a_turn_is_on_disk_as_a_whole_or_not_at_all(desk: Desk) -> None:
    await desk.register([row(1), row(2)])
    old = await desk.hold()
    answer = desk.settlement(await desk.one(old), Event.REJECTED)
    desk.ledger.jobs._locks.free(JOB)
    await desk.hold()

    with pytest.raises(JobHeld):
        await desk.ledger.work.turn([answer], old, 1, BUDGET, desk.clock.now(), 5.0)

    assert await desk.states() == [S.IN_DOUBT, S.PENDING]


async def test_another_rate_is_refused_while_a_run_uses_the_account(desk: Desk) -> None:
    await desk.register([row(1)])
    await desk.register([row(2)], spec("job-b"))
    hold = await desk.hold()
    other = await desk.another()
    slower = Budget(account=BUDGET.account, rate=10, per=60.0, unanswered=150.0)
    try:
        with pytest.raises(ConfigError, match="100 requests per 60 s"):
            await other.jobs.hold(JobId("job-b"), slower, desk.clock.now())
        await desk.release(hold)
        await other.jobs.hold(JobId("job-b"), slower, desk.clock.now())
    finally:
        await other.close()


# --- people -----------------------------------------------------------------------------------------------------


async def test_retry_puts_rejected_rows_back_by_code(desk: Desk) -> None:
    await desk.register([row(1), row(2)])
    hold = await desk.hold()
    for intent in (await desk.begin(hold)).intents:
        await desk.finish(desk.settlement(intent, Event.REJECTED))

    assert await desk.ledger.jobs.retry(JOB, ["740"]) == 0
    assert await desk.ledger.jobs.retry(JOB, ["701"]) == 2
    assert [intent.spent for intent in (await desk.begin(hold)).intents] == [0, 0]


async def test_cancel_puts_pending_rows_aside_and_leaves_doubt(desk: Desk) -> None:
    await desk.register([row(1), row(2)])
    await desk.doubt(await desk.one(await desk.hold()))

    assert await desk.ledger.jobs.cancel(JOB) == 1
    assert await desk.states() == [S.IN_DOUBT, S.CANCELLED]


async def test_what_comes_back_from_doubt_after_a_cancel_is_put_aside(desk: Desk) -> None:
    await desk.register([row(1), row(2)])
    first, second = (await desk.begin(await desk.hold(), 2)).intents
    await desk.doubt(first)
    await desk.ledger.jobs.cancel(JOB)
    (doubt,) = await desk.doubts()
    await desk.ledger.doubts.settle(doubt, Event.ABSENT, None, "nothing", None, desk.clock.now())
    await desk.finish(desk.settlement(second, Event.NOT_PROCESSED))

    assert await desk.states() == [S.CANCELLED, S.CANCELLED]


async def test_cancelled_rows_are_put_back_and_the_job_is_cancelled_no_more(desk: Desk) -> None:
    await desk.register([row(1), row(2), row(3)])
    hold = await desk.hold()
    doubted = await desk.one(hold)
    await desk.doubt(doubted)
    await desk.ledger.jobs.cancel(JOB, who="ann", why="the wrong series")
    cancelled = await desk.ledger.jobs.find(JOB)
    assert cancelled is not None
    assert (cancelled.state, cancelled.stopped_because) == (JobState.CANCELLED, "cancelled by ann: the wrong series")

    assert await desk.ledger.jobs.put_back(JOB) == 2
    assert await desk.ledger.jobs.put_back(JOB) == 0
    (doubt,) = await desk.doubts()
    await desk.ledger.doubts.settle(doubt, Event.ABSENT, None, "nothing", None, desk.clock.now())
    back = await desk.ledger.jobs.find(JOB)

    assert back is not None
    assert (back.state, back.stopped_because) == (JobState.STOPPED, "")
    assert await desk.states() == [S.PENDING] * 3
    assert len((await desk.begin(hold, 3)).intents) == 3


async def test_who_cancelled_a_job_is_kept_over_a_run_that_settles_its_doubts(desk: Desk) -> None:
    await desk.register([row(1), row(2)])
    hold = await desk.hold()
    await desk.doubt(await desk.one(hold))
    await desk.ledger.jobs.cancel(JOB, who="ann", why="")
    await desk.release(hold)
    await desk.hold()
    found = await desk.ledger.jobs.find(JOB)

    assert found is not None
    assert found.stopped_because == "cancelled by ann"


async def test_a_cancelled_rerun_is_put_back_to_the_rerun(desk: Desk) -> None:
    rerun = await rerun_of_a_rejected_row(desk)
    await desk.ledger.jobs.cancel(JobId("job-f"))

    assert await desk.ledger.jobs.put_back(JobId("job-f")) == 1
    assert await desk.ledger.work.pending(JobId("job-f")) == 1
    await desk.one(rerun)


async def test_a_half_registered_job_is_never_run(desk: Desk) -> None:
    await half_registered(desk)

    for use in (desk.hold(), desk.ledger.jobs.cancel(JOB), desk.ledger.jobs.retry(JOB, ())):
        with pytest.raises(ConfigError, match="never registered completely"):
            await use


async def test_a_failures_file_retries_its_parents_rows_in_place(desk: Desk) -> None:
    await desk.register([row(1), row(2), row(3), invalid(4)])
    hold = await desk.hold()
    first, second, third = (await desk.begin(hold)).intents
    await desk.issue(first, "CODE1")
    await desk.finish(desk.settlement(second, Event.REJECTED), desk.settlement(third, Event.REJECTED))
    await desk.release(hold)
    corrected = [
        row(1, mobile(2), lineage=Lineage(job=JOB, row=2)),
        row(2, mobile(33), lineage=Lineage(job=JOB, row=3)),
        row(3, mobile(44), lineage=Lineage(job=JOB, row=4)),
        row(4, mobile(5)),
    ]
    await desk.register(corrected, spec("job-f"))

    assert await desk.states() == [S.ISSUED, S.PENDING, S.SUPERSEDED, S.SUPERSEDED]
    rerun = await desk.hold("job-f")
    begun = (await desk.begin(rerun)).intents
    assert sorted((str(i.job), i.row) for i in begun) == [("job-a", 2), ("job-f", 2), ("job-f", 3), ("job-f", 4)]
    for intent in begun:
        await desk.issue(intent, f"CODE-{intent.job}-{intent.row}")

    assert await desk.ledger.work.tally(JobId("job-f")) == {S.ISSUED: 4}
    results = list(desk.ledger.views.results(JobId("job-f")))
    assert results[0].coupon is not None
    assert results[0].coupon.code == "CODE-job-a-2"
    assert await desk.states() == [S.ISSUED, S.ISSUED, S.SUPERSEDED, S.SUPERSEDED]


@pytest.mark.parametrize("other", [spec("job-f", series=544771), spec("job-f", again="diwali")])
async def test_failures_of_another_series_or_occasion_are_a_mistake_of_the_input(desk: Desk, other: JobSpec) -> None:
    await desk.register([row(1)])
    hold = await desk.hold()
    await desk.finish(desk.settlement(await desk.one(hold), Event.REJECTED))
    await desk.release(hold)

    with pytest.raises(ConfigError, match="another series"):
        await desk.register([row(1, lineage=Lineage(job=JOB, row=1))], other)

    assert await desk.states() == [S.REJECTED]
    assert await desk.ledger.jobs.find(JobId("job-f")) is None


async def test_the_failures_of_a_rerun_are_still_the_first_jobs_rows(desk: Desk) -> None:
    await desk.register([row(1)])
    hold = await desk.hold()
    await desk.finish(desk.settlement(await desk.one(hold), Event.REJECTED))
    await desk.release(hold)
    await desk.register([row(1, lineage=Lineage(job=JOB, row=1))], spec("job-f"))
    rerun = await desk.hold("job-f")
    await desk.finish(desk.settlement(await desk.one(rerun), Event.REJECTED))
    await desk.release(rerun)
    await desk.register([row(1, lineage=Lineage(job=JobId("job-f"), row=1))], spec("job-g"))
    again = await desk.one(await desk.hold("job-g"))

    assert (again.job, again.row) == (JOB, 1)
    await desk.doubt(again)
    assert await desk.ledger.doubts.decide([said(1, "C1", "job-g")], "ann", "", desk.clock.now())
    assert [await desk.states(job) for job in ("job-a", "job-f", "job-g")] == [[S.ISSUED]] * 3


async def rerun_of_a_rejected_row(desk: Desk) -> Hold:
    """job-a's only row was rejected, and stands in the failures file that job-f is."""
    await desk.register([row(1)])
    hold = await desk.hold()
    await desk.finish(desk.settlement(await desk.one(hold), Event.REJECTED))
    await desk.release(hold)
    await desk.register([row(1, lineage=Lineage(job=JOB, row=1))], spec("job-f"))
    return await desk.hold("job-f")


async def test_a_rerun_reads_its_doubtful_rows_once_more_and_their_first_job_does_not(desk: Desk) -> None:
    rerun = await rerun_of_a_rejected_row(desk)
    await desk.doubt(await desk.one(rerun))
    await desk.ledger.doubts.decide([said(1, "C1", "job-f")], "ann", "", desk.clock.now())
    doubted = desk.ledger.doubts.doubted

    assert [(i.job, i.row) for i in await doubted(JobId("job-f"), None, 5)] == [(JOB, 1)]
    assert await doubted(JobId("job-f"), Lineage(job=JOB, row=1), 5) == []
    assert await doubted(JOB, None, 5) == []


async def test_retrying_a_rerun_retries_the_rows_that_it_stands_for(desk: Desk) -> None:
    rerun = await rerun_of_a_rejected_row(desk)
    await desk.finish(desk.settlement(await desk.one(rerun), Event.REJECTED))

    assert await desk.ledger.jobs.retry(JobId("job-f"), ["740"]) == 0
    assert await desk.ledger.jobs.retry(JobId("job-f"), []) == 1
    assert await desk.ledger.work.pending(JobId("job-f")) == 1
    await desk.finish(desk.settlement(await desk.one(rerun), Event.REJECTED))
    assert await desk.ledger.jobs.retry(JOB, []) == 1
    assert await desk.ledger.work.pending(JOB) == 1


async def test_a_cancelled_rerun_puts_aside_what_comes_back_to_it(desk: Desk) -> None:
    rerun = await rerun_of_a_rejected_row(desk)
    intent = await desk.one(rerun)
    await desk.ledger.jobs.cancel(JobId("job-f"))
    await desk.finish(desk.settlement(intent, Event.NOT_PROCESSED))

    assert await desk.states("job-f") == await desk.states() == [S.CANCELLED]


async def test_rows_that_wait_in_a_rerun_leave_nothing_to_do_in_their_first_job(desk: Desk) -> None:
    await rerun_of_a_rejected_row(desk)
    work = desk.ledger.work

    assert await desk.states() == await desk.states("job-f") == [S.PENDING]
    assert (await work.unfinished(JOB), await work.unfinished(JobId("job-f"))) == (0, 1)
    assert (await work.waiting_in(JOB), await work.waiting_in(JobId("job-f"))) == (["job-f"], [])
    assert [(each.job.spec.id, each.waiting_in) for each in desk.ledger.views.jobs()] == [
        ("job-f", []),
        (JOB, ["job-f"]),
    ]


async def test_a_rerun_names_the_row_that_served_the_customer_meanwhile(desk: Desk) -> None:
    rerun = await rerun_of_a_rejected_row(desk)
    await desk.register([row(7, mobile(1))], spec("job-b"))
    await desk.issue(await desk.one(await desk.hold("job-b")), "CODE1")
    await desk.begin(rerun)
    (result,) = desk.ledger.views.results(JobId("job-f"))

    assert (result.state, result.first, result.first_state) == (
        S.DUPLICATE,
        Lineage(job=JobId("job-b"), row=7),
        S.ISSUED,
    )


async def test_requests_count_for_the_job_whose_run_made_them(desk: Desk) -> None:
    rerun = await rerun_of_a_rejected_row(desk)
    await desk.doubt(await desk.one(rerun))
    (doubt,) = await desk.doubts("job-f")
    await desk.ledger.doubts.note(doubt, "nothing yet", desk.clock.now(), empty=True)
    traffic = desk.ledger.views.traffic(JobId("job-f"), 60.0)
    before = desk.ledger.views.traffic(JOB, 60.0)

    assert (traffic.requests, traffic.lookups, before.requests, before.lookups) == (1, 1, 1, 0)


async def test_lineage_to_a_job_that_the_ledger_does_not_know_is_refused_whole(desk: Desk) -> None:
    with pytest.raises(LedgerError, match="knows no job"):
        await desk.register([row(1, lineage=Lineage(job=JobId("nowhere"), row=1))], spec("job-f"))

    assert await desk.ledger.jobs.find(JobId("job-f")) is None


async def test_an_account_belongs_to_the_org_that_was_learnt_first(desk: Desk) -> None:
    assert await desk.ledger.jobs.account("host#user") is None
    assert await desk.ledger.jobs.account("host#user", "100001") == "100001"
    assert await desk.ledger.jobs.account("host#user", "host") == "100001"
    assert await desk.ledger.jobs.orgs("host") == {"100001"}


# --- the file ---------------------------------------------------------------------------------------------------


async def test_the_ledger_is_readable_by_its_owner_only(file_desk: Desk, tmp_path: Path) -> None:
    await file_desk.register([row(1)])
    await file_desk.hold()

    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.rglob("*") if path.is_file()}  # noqa: ASYNC240
    assert set(modes.values()) == {0o600}, modes


async def test_a_second_opening_in_a_process_leaves_the_first_ones_locks(file_desk: Desk, tmp_path: Path) -> None:
    """Without them another process would take itself for the only one, and at its end remove the -wal in use."""
    await file_desk.register([row(1)])
    await (await file_desk.another()).close()
    its = str(tmp_path / "ledger.db")
    program = f"import sqlite3\nprint(sqlite3.connect({its!r}).execute('SELECT state FROM jobs').fetchall())"

    def seen() -> str:
        return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout

    assert "ready" in seen()
    assert (tmp_path / "ledger.db-wal").exists()
    await file_desk.hold()
    assert "running" in seen()


@pytest.mark.parametrize("replaced", [True, False])
async def test_nothing_is_begun_in_a_file_that_nobody_sees_any_more(
    file_desk: Desk, tmp_path: Path, *, replaced: bool
) -> None:
    """The next run would find another ledger in its place, or none, and send the same rows."""
    await file_desk.register([row(1)])
    hold = await file_desk.hold()
    (tmp_path / "ledger.db").rename(tmp_path / "moved.db")
    if replaced:
        (tmp_path / "ledger.db").touch()

    with pytest.raises(LedgerError, match="moved, deleted or replaced"):
        await file_desk.begin(hold)


async def test_the_same_file_by_another_path_is_the_same_ledger(file_desk: Desk, tmp_path: Path) -> None:
    await file_desk.register([row(1)])
    await file_desk.hold()
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / "other.db").symlink_to(tmp_path / "ledger.db")
    other = await open_ledger(tmp_path / "link" / "other.db")
    try:
        with pytest.raises(JobHeld):
            await other.jobs.hold(JOB, BUDGET, file_desk.clock.now())
    finally:
        await other.close()


async def test_a_newer_ledger_is_refused_unchanged(desk: Desk) -> None:
    await desk.ledger._db.write(lambda tx: tx.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'"))

    with pytest.raises(SchemaMismatch, match="newer"):
        await desk.another()


async def test_a_file_that_is_no_ledger_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(b"name,mobile\n" * 500)

    with pytest.raises(LedgerError):
        await open_ledger(path)


async def test_a_synchronised_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="synchronised"):
        await open_ledger(tmp_path / "Dropbox" / "ledger.db")


async def test_migrations_make_the_tables_that_the_code_knows(desk: Desk) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from bulk_issue.ledger.schema import metadata

    differences = await desk.ledger._db.write(lambda tx: compare_metadata(MigrationContext.configure(tx), metadata))
    assert differences == []


async def test_no_query_of_a_running_job_scans_all_rows(file_desk: Desk) -> None:
    """EXPLAIN every statement that begin, finish, due, tally and `status` execute: no full scan of `rows`."""
    from sqlalchemy import event as events

    await file_desk.register(row(n) for n in range(1, 50))
    hold = await file_desk.hold()
    seen: list[tuple[str, object]] = []

    def note(_c: object, _cur: object, statement: str, parameters: object, *_rest: object) -> None:
        seen.append((statement, parameters))

    for engine in (file_desk.ledger._db._engine, file_desk.ledger._db._readers):
        events.listen(engine, "before_cursor_execute", note)
    intents = (await file_desk.begin(hold, 5)).intents
    await file_desk.issue(intents[0], "CODE1", customer=5)
    await file_desk.doubt(intents[1])
    (doubt,) = await file_desk.doubts()
    await file_desk.ledger.doubts.next_due(JOB)
    await file_desk.ledger.doubts.settle(doubt, Event.ABSENT, None, "nothing", None, file_desk.clock.now())
    await file_desk.ledger.doubts.doubted(JOB, Lineage(job=JOB, row=1), 10)
    await file_desk.ledger.doubts.issued(JOB, IdentifierKind.MOBILE, 3)
    await file_desk.ledger.work.pending(JOB)
    await file_desk.ledger.work.unfinished(JOB)
    await file_desk.ledger.work.tally(JOB)
    assert file_desk.ledger.views.parents(JOB) == file_desk.ledger.views.reruns(JOB) == []
    for engine in (file_desk.ledger._db._engine, file_desk.ledger._db._readers):
        events.remove(engine, "before_cursor_execute", note)

    with sqlite3.connect(str(file_desk.place)) as other:
        for statement, parameters in seen:
            if statement.split()[0] not in ("SELECT", "UPDATE", "DELETE", "INSERT"):
                continue
            values = parameters[0] if isinstance(parameters, list) else parameters
            plan = other.execute(f"EXPLAIN QUERY PLAN {statement}", values).fetchall()  # type: ignore[arg-type]
            details = [detail for *_, detail in plan]
            slow = [
                detail
                for detail in details
                if detail.startswith("SCAN rows") or "TEMP B-TREE" in detail or detail.endswith("PRIMARY KEY (job=?)")
            ]
            assert not slow, (statement, details)
    other.close()


async def test_the_kind_of_a_stop_is_kept_until_the_job_goes_on(desk: Desk) -> None:
    await desk.register([row(1)])
    hold = await desk.hold()
    await desk.ledger.jobs.release(hold, JobState.STOPPED, "too many", desk.clock.now(), 3, stop_kind="failures")
    stopped = await desk.ledger.jobs.find(JOB)
    assert stopped is not None and (stopped.stop_kind, stopped.stopped_because) == ("failures", "too many")

    await desk.hold()
    running = await desk.ledger.jobs.find(JOB)
    assert running is not None and (running.stop_kind, running.stopped_because) == ("", "")
