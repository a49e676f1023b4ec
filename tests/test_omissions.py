"""Who is left out, in the ledger: what is withheld never begins, and goes and comes back as the contract says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from bulk_issue.alike import span
from bulk_issue.config import LedgerUrl
from bulk_issue.errors import JobHeld
from bulk_issue.model import Alike, HeldBack, Identifier, IdentifierKind, JobId, LeftOut, Lineage, Row, Withheld
from bulk_issue.ports import Served
from bulk_issue.states import Event, RowState
from tests.test_ledger import JOB, Desk, desk, invalid, mobile, row, spec

__all__ = ["desk"]

S, W = RowState, Withheld
#: The customers 1 and 2, without their country code.
LOCAL = [Identifier(IdentifierKind.MOBILE, f"98{n:08d}", f"mobile:98{n:08d}") for n in (1, 2)]
OTHER = JobId("job-b")


def marked(number: int, why: Withheld, who: Identifier | None = None) -> Row:
    return replace(row(number, who), withheld=why, like=Lineage(job=JobId("job-x"), row=7))


def external(value: str) -> Identifier:
    return Identifier(IdentifierKind.EXTERNAL_ID, value, f"externalId:{value}")


async def begun(desk: Desk, job: str = JOB) -> list[int]:
    """The rows that begin now, in a run of its own."""
    hold = await desk.hold(job)
    try:
        return [intent.row for intent in (await desk.begin(hold)).intents]
    finally:
        await desk.release(hold)


async def mark(desk: Desk, marks: Mapping[int, Withheld | None], job: JobId = JOB) -> None:
    await desk.ledger.omissions.withhold(job, marks)


async def settle(desk: Desk, alike: Alike | None = None, job: JobId = JOB) -> None:
    await desk.ledger.omissions.settle(job, LeftOut(path="/list.csv", sha256="1", alike=alike))


async def serve(desk: Desk, job: JobId, customers: Sequence[Identifier]) -> None:
    """Another job has issued to these customers."""
    await desk.register([row(n, who) for n, who in enumerate(customers, 1)], spec(job))
    hold = await desk.hold(job)
    for intent in (await desk.begin(hold)).intents:
        await desk.issue(intent, f"CODE{job}{intent.row}")
    await desk.release(hold)


async def test_who_is_left_out_is_not_counted_among_the_rows_that_are_sent_again(desk: Desk) -> None:
    await desk.register([row(n) for n in range(1, 5)])
    hold = await desk.hold()
    for intent in (await desk.begin(hold, 2)).intents:
        await desk.finish(desk.settlement(intent, Event.REJECTED))
    await desk.release(hold)
    await mark(desk, {1: W.EXCLUDED, 3: W.REMOVED})
    await desk.ledger.jobs.cancel(JOB)
    views = desk.ledger.views

    assert (sum(views.rejected(JOB).values()), views.cancelled(JOB)) == (1, 1)
    await desk.ledger.jobs.retry(JOB, ())
    await desk.ledger.jobs.put_back(JOB)
    assert (sum(views.rejected(JOB).values()), views.cancelled(JOB)) == (0, 0)
    assert await begun(desk) == [2, 4]


# --- a run that others have agreed to ----------------------------------------------------------------------------


@pytest.mark.parametrize("why", [W.REMOVED, W.EXCLUDED, W.ALIKE_EXCLUDED])
async def test_nothing_is_let_go_into_a_run_of_another_process(desk: Desk, why: Withheld) -> None:
    await desk.register([row(1), row(2)])
    await mark(desk, {2: why})
    hold = await desk.hold()
    other = await desk.another()

    with pytest.raises(JobHeld):
        await other.omissions.withhold(JOB, {2: None})
    await other.omissions.withhold(JOB, {2: W.EXCLUDED})  # what is taken away is taken from whoever runs it
    assert [intent.row for intent in (await desk.begin(hold)).intents] == [1]

    await desk.release(hold)
    await other.omissions.withhold(JOB, {2: None})
    assert await begun(desk) == [2]


async def test_nor_are_look_alikes_sent_by_it_because_others_say_so(desk: Desk) -> None:
    await serve(desk, OTHER, LOCAL[:1])
    await desk.register([row(1, mobile(1)), marked(2, W.ALIKE_EXCLUDED)])
    hold = await desk.hold()
    other = await desk.another()

    with pytest.raises(JobHeld):
        await other.omissions.settle(JOB, LeftOut(alike=Alike.SEND))
    assert (await desk.begin(hold)).intents == []

    await desk.release(hold)
    await other.omissions.settle(JOB, LeftOut(alike=Alike.SEND))
    assert await begun(desk) == [1, 2]


# --- what a list takes away -------------------------------------------------------------------------------------


@pytest.mark.parametrize("why", W)
async def test_a_withheld_row_never_begins(desk: Desk, why: Withheld) -> None:
    await desk.register([row(1), marked(2, why), row(3)])

    assert await desk.ledger.work.pending(JOB) == 2
    assert await begun(desk) == [1, 3]


async def test_an_excluded_row_is_invalid_and_a_look_alike_pending_with_its_reason(desk: Desk) -> None:
    await desk.register([marked(1, W.EXCLUDED), marked(2, W.ALIKE_EXCLUDED)])
    results = list(desk.ledger.views.results(JOB))

    assert [each.state for each in results] == [S.INVALID, S.PENDING]
    assert [each.error_code for each in results] == ["excluded", "alike-excluded"]
    assert all(each.reason for each in results)
    assert await desk.ledger.work.excluded(JOB) == 1
    assert dict(await desk.ledger.omissions.held_back(JOB)) == {W.ALIKE_EXCLUDED: HeldBack(rows=1, first=(2,))}
    assert await desk.ledger.work.unfinished(JOB) == 0


async def test_rows_go_and_come_back_with_the_list(desk: Desk) -> None:
    await desk.register([row(1), row(2), invalid(3)])
    await mark(desk, {1: W.EXCLUDED, 2: W.ALIKE_EXCLUDED, 3: W.EXCLUDED})

    assert await desk.states() == [S.INVALID, S.PENDING, S.INVALID]
    assert await begun(desk) == []
    assert [each.number for each in desk.ledger.omissions.candidates(JOB)] == [1, 2]  # 3 names nobody

    await mark(desk, {1: W.ALIKE_EXCLUDED, 2: None})
    assert await desk.states() == [S.PENDING, S.PENDING, S.INVALID]
    await mark(desk, {1: None})
    assert [each.error_code for each in desk.ledger.views.results(JOB)][:2] == ["", ""]
    assert await begun(desk) == [1, 2]


async def test_a_row_under_way_only_can_not_begin_again(desk: Desk) -> None:
    await desk.register([row(1), row(2)])
    hold = await desk.hold()
    flying, rejected = (await desk.begin(hold)).intents
    await desk.finish(desk.settlement(rejected, Event.REJECTED))
    await mark(desk, {1: W.EXCLUDED, 2: W.EXCLUDED})
    assert await desk.states() == [S.IN_FLIGHT, S.REJECTED]

    await desk.finish(desk.settlement(flying, Event.NOT_PROCESSED))
    await desk.ledger.jobs.retry(JOB, ())
    assert await desk.states() == [S.PENDING, S.PENDING]
    assert (await desk.begin(hold)).intents == []
    await settle(desk)
    assert await desk.states() == [S.INVALID, S.INVALID]
    assert [each.error_code for each in desk.ledger.views.results(JOB)] == ["excluded", "excluded"]


async def test_an_issued_row_stays_whatever_the_list_says(desk: Desk) -> None:
    await serve(desk, JOB, [mobile(1)])
    await mark(desk, {1: W.EXCLUDED})

    assert await desk.states() == [S.ISSUED]
    assert list(desk.ledger.omissions.candidates(JOB)) == []


async def test_the_list_of_a_rerun_is_about_the_rows_that_its_records_are(desk: Desk) -> None:
    await desk.register([row(1), row(2)])
    hold = await desk.hold()
    for intent in (await desk.begin(hold)).intents:
        await desk.finish(desk.settlement(intent, Event.REJECTED))
    await desk.release(hold)
    records = [row(n, lineage=Lineage(job=JOB, row=n)) for n in (1, 2)]
    records[1].withheld = W.ALIKE_SERVED
    records[1].like = Lineage(job=JobId("job-x"), row=7)
    await desk.register(records, spec(OTHER))

    assert await begun(desk, OTHER) == [1]
    await mark(desk, {2: W.EXCLUDED}, OTHER)
    assert (await desk.states())[1] is S.INVALID
    assert [each.number for each in desk.ledger.omissions.candidates(JOB)] == []  # they are the rerun's


async def test_what_is_left_out_is_remembered(desk: Desk) -> None:
    await desk.register([row(1)])
    await settle(desk, Alike.SKIP)
    job = await desk.ledger.jobs.find(JOB)

    assert job is not None
    assert job.left_out == LeftOut(path="/list.csv", sha256="1", alike=Alike.SKIP)


# --- look-alikes of customers who were served -------------------------------------------------------------------


async def test_begin_holds_back_who_looks_like_a_customer_of_another_job(desk: Desk) -> None:
    await serve(desk, OTHER, LOCAL[:1])
    await desk.register([row(1), row(2), row(3, LOCAL[1])])  # 2 and 3 look alike too, and are of one file

    assert await begun(desk) == [2, 3]
    held, *_ = desk.ledger.views.results(JOB)
    assert (held.state, held.error_code) == (S.PENDING, "alike-served")
    assert "row 1 of job job-b" in held.reason
    assert dict(desk.ledger.views.held_back(JOB)) == {W.ALIKE_SERVED: HeldBack(rows=1, first=(1,))}
    await settle(desk)
    assert await begun(desk) == []


@pytest.mark.parametrize("open_row", [False, True])
async def test_a_person_says_that_they_are_others(desk: Desk, *, open_row: bool) -> None:
    await desk.register([row(1, LOCAL[0])], spec(OTHER))
    hold = await desk.hold(OTHER)
    intent = await desk.one(hold)
    if not open_row:
        await desk.issue(intent, "CODE1")
    await desk.register([row(1)])
    assert await begun(desk) == []
    await settle(desk, Alike.SEND)

    assert await begun(desk) == [1]


async def test_a_person_says_that_they_are_the_same(desk: Desk) -> None:
    await serve(desk, OTHER, LOCAL[:1])
    await desk.register([row(1), row(2)])
    assert await begun(desk) == [2]
    await settle(desk, Alike.SKIP)

    first, _ = desk.ledger.views.results(JOB)
    assert (first.state, first.first, first.error_code) == (S.DUPLICATE, Lineage(job=OTHER, row=1), "")


async def test_the_word_holds_for_those_that_begin_later(desk: Desk) -> None:
    await desk.register([row(1), row(2)])
    await settle(desk, Alike.SKIP)
    await serve(desk, OTHER, LOCAL[:1])

    assert await begun(desk) == [2]
    assert (await desk.states())[0] is S.DUPLICATE


async def test_who_looked_like_one_that_was_rejected_after_all_may_go(desk: Desk) -> None:
    await desk.register([row(1, LOCAL[0])], spec(OTHER))
    hold = await desk.hold(OTHER)
    intent = await desk.one(hold)
    await desk.register([row(1)])
    assert await begun(desk) == []
    await desk.finish(desk.settlement(intent, Event.REJECTED))
    await settle(desk)

    assert await begun(desk) == [1]


async def test_a_name_that_a_reply_gave_has_look_alikes_too(desk: Desk) -> None:
    await desk.register([row(1, external("0000000102"))], spec(OTHER))
    await desk.issue(await desk.one(await desk.hold(OTHER)), "CODE1", customer=77)
    await desk.register([row(1, external("102")), row(2, external("0102X"))])

    assert await begun(desk) == [2]


async def test_many_look_alikes_hold_nobody_else_up(desk: Desk) -> None:
    customers = [mobile(n) for n in range(1, 41)]
    locals_ = [Identifier(IdentifierKind.MOBILE, f"98{n:08d}", f"mobile:98{n:08d}") for n in range(1, 39)]
    for at in range(0, len(locals_), 10):
        await serve(desk, JobId(f"other-{at}"), locals_[at : at + 10])
    await desk.register([row(n, who) for n, who in enumerate(customers, 1)])

    assert await begun(desk) == [39, 40]
    assert dict(await desk.ledger.omissions.held_back(JOB))[W.ALIKE_SERVED].rows == 38


async def test_the_ledger_says_who_was_served_looks_like_them_and_elsewhere(desk: Desk) -> None:
    await serve(desk, OTHER, [mobile(1), LOCAL[1]])
    await desk.register([row(1)], spec("job-d", again="diwali"))
    await desk.issue(await desk.one(await desk.hold("job-d")), "CODED")
    keys = [mobile(n).key for n in (1, 2, 3)]

    assert dict(desk.ledger.views.served("100001", 544770, "", keys)) == {
        keys[0]: Served(by=Lineage(job=OTHER, row=1), elsewhere={"diwali": Lineage(job=JobId("job-d"), row=1)}),
        keys[1]: Served(alike=Lineage(job=OTHER, row=2)),
    }
    assert dict(desk.ledger.views.served("100001", 544770, "holi", keys[2:])) == {}


async def test_look_alikes_are_found_by_an_index(desk: Desk) -> None:
    await serve(desk, OTHER, LOCAL)
    low, high = span(mobile(1).key) or ("", "")
    query = (
        "SELECT key FROM claims WHERE scope = '100001/544770' AND again = ''"
        f" AND alike >= '{low}' AND alike <= '{high}'"
    )
    if isinstance(desk.place, LedgerUrl):
        import psycopg

        options = "-c enable_seqscan=off -c enable_bitmapscan=off"  # a table this small is read whole otherwise
        with psycopg.connect(desk.place.url, options=options) as other:
            plan = other.execute(f"EXPLAIN {query}".encode()).fetchall()
    else:
        plan = desk.look(f"EXPLAIN QUERY PLAN {query}")

    assert "claims_alike" in str(plan)


# --- failures that a spreadsheet has changed --------------------------------------------------------------------


async def rejected(desk: Desk, who: Identifier) -> None:
    await desk.register([row(1, who)])
    hold = await desk.hold()
    await desk.finish(desk.settlement(await desk.one(hold), Event.REJECTED))
    await desk.release(hold)


async def test_a_record_that_lost_its_zeros_supersedes_nothing_and_names_nobody(desk: Desk) -> None:
    await rejected(desk, external("0000000102"))
    await desk.register([row(1, external("102"), lineage=Lineage(job=JOB, row=1))], spec(OTHER))
    await desk.register([row(1, external("102"), lineage=Lineage(job=OTHER, row=1))], spec("job-c"))

    for job in (OTHER, "job-c"):
        (found,) = desk.ledger.views.results(JobId(job))
        assert (found.state, found.error_code) == (S.INVALID, "altered")
        assert "row 1 of job job-a" in found.reason
        assert await begun(desk, job) == []
    assert await desk.states() == [S.REJECTED]


async def test_a_correction_of_what_was_refused_supersedes_the_row_that_it_came_from(desk: Desk) -> None:
    await rejected(desk, external("0000000102"))
    await desk.register([row(1, external("102"), lineage=Lineage(job=JOB, row=1))], spec(OTHER))
    await desk.register([row(1, external("0000000105"), lineage=Lineage(job=OTHER, row=1))], spec("job-c"))

    assert await begun(desk, "job-c") == [1]
    assert await desk.states() == [S.SUPERSEDED]
    assert await desk.states(OTHER) == [S.SUPERSEDED]


async def test_a_person_may_mean_it(desk: Desk) -> None:
    await rejected(desk, external("0000000102"))
    record = row(1, external("102"), lineage=Lineage(job=JOB, row=1))
    await desk.ledger.jobs.register(spec(OTHER), [[record]], lambda: 0, desk.clock.now(), LeftOut(alike=Alike.SEND))

    assert await begun(desk, OTHER) == [1]
    assert await desk.states() == [S.SUPERSEDED]


async def test_a_country_that_is_given_now_makes_a_correction(desk: Desk) -> None:
    await rejected(desk, LOCAL[0])
    record = row(1, mobile(1), lineage=Lineage(job=JOB, row=1))
    await desk.register([record], replace(spec(OTHER), reading={"country": "IN"}))

    assert await begun(desk, OTHER) == [1]


async def test_look_alikes_within_a_rerun_and_its_parent_are_sent_as_within_one_file(desk: Desk) -> None:
    await rejected(desk, mobile(1))
    records = [row(1, lineage=Lineage(job=JOB, row=1)), row(2, LOCAL[0])]
    await desk.register(records, spec(OTHER))

    assert await begun(desk, OTHER) == [1, 2]
