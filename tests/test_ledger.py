"""The ledger's contract: what the docstrings of `bulk_issue.ports` guarantee, one test a guarantee."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path

import pytest

from bulk_issue.errors import ConfigError, JobHeld, LedgerError, LedgerUnavailable, SchemaMismatch
from bulk_issue.ledger import SqliteLedger, open_ledger
from bulk_issue.model import (
    Coupon,
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


def row(number: int, who: Identifier | None = None, *, lineage: Lineage | None = None) -> Row:
    who = who or mobile(number)
    return Row(number=number, cells=(f"name {number}", who.value), identifier=who, lineage=lineage)


def invalid(number: int, lineage: Lineage | None = None) -> Row:
    problem = Problem(code="no-identifier", reason="no identifier")
    return Row(number=number, cells=("x", ""), identifier=None, problem=problem, lineage=lineage)


class Desk:
    """A ledger with a clock, and short words for what the tests do."""

    def __init__(self, ledger: SqliteLedger, clock: ManualClock, path: Path) -> None:
        self.ledger, self.clock, self.path = ledger, clock, path

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


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    path = tmp_path / "ledger.db"
    ledger = await open_ledger(path)
    yield Desk(ledger, ManualClock(), path)
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


async def test_a_killed_registration_is_never_half_used(desk: Desk) -> None:
    """What kill -9 leaves of a registration is a job that nobody can run and the next one replaces."""
    jobs = desk.ledger.jobs
    seq = await jobs._begin_registering(spec(), desk.clock.now())
    await jobs._add(seq, [row(1)])

    await desk.register([row(1), row(2)])

    assert await desk.states() == [S.PENDING] * 2


async def test_registering_again_changes_nothing(desk: Desk) -> None:
    await desk.register([row(1)])

    def untouched() -> Iterable[Sequence[Row]]:
        raise AssertionError("a registered job's file must not be read again")
        yield []

    job = await desk.ledger.jobs.register(spec(), untouched(), lambda: 0, desk.clock.now())

    assert job.rows == 1


async def test_a_job_that_never_sent_a_row_can_be_forgotten(desk: Desk) -> None:
    await desk.register([row(1)])
    assert await desk.ledger.jobs.unregister(JOB)
    await desk.register([row(1), row(2)])
    await desk.one(await desk.hold())

    assert not await desk.ledger.jobs.unregister(JOB)
    assert len(await desk.states()) == 2


# --- intents, claims, permits: one transaction ------------------------------------------------------------------


async def test_an_intent_is_on_disk_before_begin_returns(desk: Desk) -> None:
    await desk.register([row(1)])
    intent = await desk.one(await desk.hold())

    with sqlite3.connect(desk.path) as other:
        assert other.execute("SELECT state, attempt FROM rows").fetchall() == [("in_flight", 1)]
        assert other.execute("SELECT key, open FROM claims").fetchall() == [(intent.identifier.key, 1)]
        assert other.execute("SELECT count(*) FROM permits").fetchall() == [(1,)]
        assert other.execute("SELECT attempt, event FROM attempts").fetchall() == [(1, None)]
    other.close()


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


async def test_permits_survive_a_restart_and_count_as_taken_now_after_a_reboot(desk: Desk) -> None:
    one = Budget(account=BUDGET.account, rate=1, per=60.0, unanswered=150.0)
    await desk.register([row(1), row(2), row(3)])
    hold = await desk.hold(budget=one)
    await desk.issue((await desk.begin(hold, 1, one)).intents[0], "CODE1")
    await desk.release(hold)
    clock = ManualClock(wall=desk.clock.wall + 30, boot=5.0, boot_id="boot-2")
    ledger = await open_ledger(desk.path)
    try:
        after_reboot = Desk(ledger, clock, desk.path)
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
    other = await open_ledger(desk.path)
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
    other = await open_ledger(desk.path)
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


async def test_a_failed_begin_leaves_nothing(desk: Desk, tmp_path: Path) -> None:
    """A ledger that can't grow refuses the intent as a whole."""
    await desk.register(row(n) for n in range(1, 400))
    hold = await desk.hold()
    wide = Budget(account=BUDGET.account, rate=1_000, per=60.0, unanswered=150.0)
    await desk.ledger._db.write(
        lambda tx: tx.exec_driver_sql(f"PRAGMA max_page_count = {tx.exec_driver_sql('PRAGMA page_count').scalar()}")
    )

    with pytest.raises(LedgerUnavailable):
        await desk.begin(hold, 390, wide)

    with sqlite3.connect(desk.path) as other:
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
    with pytest.raises(LedgerError, match="on the wire"):
        await decide(Lineage(job=JOB, row=1), None, "ann", "", now)
    await desk.doubt(first)
    await desk.doubt(second)

    assert await decide(Lineage(job=JOB, row=1), "CODE1", "ann", "seen in the shop", now)
    assert await decide(Lineage(job=JOB, row=2), None, "ann", "", now)
    assert not await decide(Lineage(job=JOB, row=1), None, "ann", "", now)
    assert await desk.states() == [S.ISSUED, S.PENDING]


async def test_a_reader_stays_proven(desk: Desk) -> None:
    await desk.register([row(1)])
    facts = ReaderFacts(endpoint="v2", kind=IdentifierKind.MOBILE, offset=-1.5, lag=2.0, issued_at="store01")
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
    doubted = await desk.ledger.doubts.doubted(JOB, 0, 5)
    assert [(i.row, i.code) for i in issued] == [(1, "CODE1")]
    assert [(i.row, i.code) for i in doubted] == [(2, "C2")]


# --- holders ----------------------------------------------------------------------------------------------------


async def test_a_second_holder_is_told_the_pid(desk: Desk) -> None:
    await desk.register([row(1)])
    await desk.hold()
    other = await open_ledger(desk.path)
    try:
        assert other.jobs.running_elsewhere(JOB)
        with pytest.raises(JobHeld, match=str(os.getpid())):
            await other.jobs.hold(JOB, BUDGET, desk.clock.now())
    finally:
        await other.close()


async def test_a_killed_holder_leaves_its_rows_in_doubt(desk: Desk, tmp_path: Path) -> None:
    """The kernel frees the lock at death; what was in flight is in doubt as of the takeover."""
    await desk.register([row(1), row(2)])
    script = f"""
import asyncio, sys
from pathlib import Path
from bulk_issue.clock import SystemClock
from bulk_issue.ledger import open_ledger
from bulk_issue.ports import Budget
async def main():
    ledger = await open_ledger(Path({str(desk.path)!r}))
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


async def test_another_rate_is_refused_while_a_run_uses_the_account(desk: Desk) -> None:
    await desk.register([row(1)])
    await desk.register([row(2)], spec("job-b"))
    hold = await desk.hold()
    other = await open_ledger(desk.path)
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


async def test_a_half_registered_job_is_never_run(desk: Desk) -> None:
    jobs = desk.ledger.jobs
    await jobs._add(await jobs._begin_registering(spec(), desk.clock.now()), [row(1)])

    with pytest.raises(ConfigError, match="never registered completely"):
        await desk.hold()


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
    assert await desk.ledger.doubts.decide(Lineage(job=JobId("job-g"), row=1), "C1", "ann", "", desk.clock.now())
    assert [await desk.states(job) for job in ("job-a", "job-f", "job-g")] == [[S.ISSUED]] * 3


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


async def test_the_ledger_is_readable_by_its_owner_only(desk: Desk) -> None:
    await desk.register([row(1)])
    await desk.hold()

    modes = {path.name: path.stat().st_mode & 0o777 for path in desk.path.parent.rglob("*") if path.is_file()}
    assert set(modes.values()) == {0o600}, modes


async def test_a_newer_ledger_is_refused_unchanged(desk: Desk) -> None:
    await desk.ledger._db.write(lambda tx: tx.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'"))

    with pytest.raises(SchemaMismatch, match="newer"):
        await open_ledger(desk.path)


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


async def test_no_query_of_a_running_job_scans_all_rows(desk: Desk) -> None:
    """EXPLAIN every statement that begin, finish, due and tally execute: no full scan of `rows`."""
    from sqlalchemy import event as events

    await desk.register(row(n) for n in range(1, 50))
    hold = await desk.hold()
    seen: list[tuple[str, object]] = []

    def note(_c: object, _cur: object, statement: str, parameters: object, *_rest: object) -> None:
        seen.append((statement, parameters))

    events.listen(desk.ledger._db._engine, "before_cursor_execute", note)
    intents = (await desk.begin(hold, 5)).intents
    await desk.issue(intents[0], "CODE1", customer=5)
    await desk.doubt(intents[1])
    (doubt,) = await desk.doubts()
    await desk.ledger.doubts.next_due(JOB)
    await desk.ledger.doubts.settle(doubt, Event.ABSENT, None, "nothing", None, desk.clock.now())
    await desk.ledger.doubts.doubted(JOB, 0, 10)
    await desk.ledger.doubts.issued(JOB, IdentifierKind.MOBILE, 3)
    await desk.ledger.work.pending(JOB)
    await desk.ledger.work.tally(JOB)
    events.remove(desk.ledger._db._engine, "before_cursor_execute", note)

    with sqlite3.connect(desk.path) as other:
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
