"""Who is who: the customer's number in a reply decides, and a name that replies of two numbers bear names nobody."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest

from bulk_issue.config import LedgerUrl
from bulk_issue.ending import ExitCode
from bulk_issue.ledger import open_ledger
from bulk_issue.model import Coupon, Identifier, IdentifierKind, Intent, JobId, JobState
from bulk_issue.ports import Landed
from bulk_issue.sandbox.customers import Customer
from bulk_issue.sandbox.server import Sandbox
from bulk_issue.sandbox.settings import Settings
from bulk_issue.states import Event
from bulk_issue.states import RowState as S
from tests.clocks import ManualClock
from tests.console import Console, mobiles
from tests.test_ledger import JOB, Desk, mobile, row, spec

#: What the brand puts into every profile.
EVERYBODYS = Identifier(IdentifierKind.EXTERNAL_ID, "0000", "externalId:0000")
EVERYBODYS_MAIL = ("email", "none@example.com")


@pytest.fixture
async def desk(place: Path | LedgerUrl) -> AsyncIterator[Desk]:
    ledger = await open_ledger(place)
    yield Desk(ledger, ManualClock(), place)
    await ledger.close()


def coupon(n: int, customer: int | None, *further: tuple[str, str]) -> Coupon:
    """The coupon of a customer in whose profile stands what stands in all of them."""
    names = (("externalId", EVERYBODYS.value), *further)
    return Coupon(code=f"CODE{n}", series_id=544770, customer_id=customer, identifiers=names)


async def issue(desk: Desk, intent: Intent, customer: int | None, *further: tuple[str, str]) -> Landed:
    its = coupon(intent.row, customer, *further)
    (landed,) = await desk.finish(desk.settlement(intent, Event.ISSUED, coupon=its))
    return landed


@pytest.mark.parametrize("together", [True, False])
async def test_customers_whose_profiles_share_names_are_different_customers(desk: Desk, *, together: bool) -> None:
    await desk.register(row(n) for n in range(1, 6))
    intents = (await desk.begin(await desk.hold())).intents
    answers = [
        desk.settlement(intent, Event.ISSUED, coupon=coupon(intent.row, 100 + intent.row, EVERYBODYS_MAIL))
        for intent in intents
    ]

    landed = await desk.finish(*answers) if together else [(await desk.finish(each))[0] for each in answers]

    assert landed == [Landed.LANDED] * 5
    assert await desk.ledger.work.excess(JOB) == 0


async def test_one_customer_by_two_names_is_told_also_where_all_profiles_share_another(desk: Desk) -> None:
    await desk.register(row(n) for n in range(1, 4))
    first, second, third = (await desk.begin(await desk.hold())).intents
    await issue(desk, first, 101)
    await issue(desk, second, 102)

    assert await issue(desk, third, 101) is Landed.EXCESS
    assert await desk.ledger.work.excess(JOB) == 1


async def test_a_row_that_was_a_duplicate_by_a_placeholder_only_is_sent_after_all(desk: Desk) -> None:
    await desk.register([row(1), row(2)])
    hold = await desk.hold()
    first, second = (await desk.begin(hold)).intents
    await issue(desk, first, 101)
    await desk.register([row(1, EVERYBODYS), row(2, EVERYBODYS)], spec("job-b"))
    theirs = await desk.hold("job-b")
    assert (await desk.begin(theirs)).duplicates == 2
    await desk.ledger.jobs.release(theirs, JobState.ENDED, "", desk.clock.now(), 0)

    await issue(desk, second, 102)

    assert await desk.states("job-b") == [S.PENDING, S.PENDING]
    assert {each.first for each in desk.ledger.views.results(JobId("job-b"))} == {None}
    found = await desk.ledger.jobs.find(JobId("job-b"))
    assert found is not None
    assert found.state is JobState.STOPPED
    assert "several customers" in found.stopped_because
    theirs = await desk.hold("job-b")
    (intent,) = (await desk.begin(theirs)).intents
    assert intent.row == 1
    assert await issue(desk, intent, 103) is Landed.LANDED
    await desk.begin(theirs)
    assert await desk.states("job-b") == [S.ISSUED, S.DUPLICATE]  # by the file's own words


async def test_rows_of_one_file_that_name_the_placeholder_themselves_stay_duplicates(desk: Desk) -> None:
    await desk.register([row(1, EVERYBODYS), row(2, EVERYBODYS), row(3)])
    hold = await desk.hold()
    first, third = (await desk.begin(hold)).intents
    await issue(desk, first, 101)
    await issue(desk, third, 103)

    assert not (await desk.begin(hold)).intents
    assert await desk.states() == [S.ISSUED, S.DUPLICATE, S.ISSUED]


async def test_a_known_placeholder_makes_nobody_a_duplicate(desk: Desk) -> None:
    await desk.register([row(1), row(2), row(3)])
    first, second, third = (await desk.begin(await desk.hold())).intents
    await issue(desk, first, 101)
    await issue(desk, second, 102)
    await issue(desk, third, 103)
    await desk.register([row(1, EVERYBODYS)], spec("job-b"))

    assert len((await desk.begin(await desk.hold("job-b"))).intents) == 1


async def test_a_row_under_way_by_the_placeholder_is_another_customer(desk: Desk) -> None:
    """It has the claim; two replies of others bear its name, and then its own says who it is."""
    await desk.register([row(1), row(2), row(3, EVERYBODYS)])
    first, second, third = (await desk.begin(await desk.hold())).intents

    landed = [await issue(desk, first, 101), await issue(desk, second, 102), await issue(desk, third, 103)]

    assert landed == [Landed.LANDED] * 3
    assert await desk.ledger.work.excess(JOB) == 0


async def test_a_row_under_way_whose_name_one_reply_bore_is_another_customer(desk: Desk) -> None:
    await desk.register([row(1), row(2, EVERYBODYS)])
    first, second = (await desk.begin(await desk.hold())).intents

    assert [await issue(desk, first, 101), await issue(desk, second, 102)] == [Landed.LANDED] * 2


async def test_the_record_settles_a_row_as_another_customer(desk: Desk) -> None:
    await desk.register([row(1), row(2, EVERYBODYS)])
    first, second = (await desk.begin(await desk.hold())).intents
    await issue(desk, first, 101)
    await desk.doubt(second)
    (doubt,) = await desk.doubts()
    found = Coupon(code="CODE2", customer_id=102)

    assert await desk.ledger.doubts.settle(doubt, Event.FOUND, found, "found", None, desk.clock.now())
    assert await desk.ledger.work.excess(JOB) == 0


@pytest.mark.parametrize("nobody", [None, 0, -1])
async def test_without_numbers_a_shared_name_is_one_customer_until_it_is_known_as_a_placeholder(
    desk: Desk, nobody: int | None
) -> None:
    await desk.register([row(1), row(2), row(3)])
    first, second, third = (await desk.begin(await desk.hold())).intents
    await issue(desk, first, nobody)

    assert await issue(desk, second, 102) is Landed.EXCESS
    assert await issue(desk, third, 103) is Landed.LANDED

    assert await desk.ledger.work.excess(JOB) == 0
    assert not [each.warnings for each in desk.ledger.views.results(JOB) if each.warnings]


async def test_what_rests_on_another_name_too_stays_excess(desk: Desk) -> None:
    await desk.register([row(1), row(2), row(3)])
    first, second, third = (await desk.begin(await desk.hold())).intents
    asha = ("email", "asha@example.com")
    await issue(desk, first, None, asha)
    await issue(desk, second, 102, asha)
    await issue(desk, third, 103)

    assert await desk.ledger.work.excess(JOB) == 1


async def test_replies_without_numbers_aren_t_one_customer_for_that(desk: Desk) -> None:
    await desk.register([row(1), row(2)])
    first, second = (await desk.begin(await desk.hold())).intents
    await desk.issue(first, "CODE1", customer=0)

    assert await desk.issue(second, "CODE2", customer=0) is Landed.LANDED


async def test_a_placeholder_shows_over_occasions_too(desk: Desk) -> None:
    await desk.register([row(1)])
    await issue(desk, await desk.one(await desk.hold()), 101)
    await desk.register([row(1, EVERYBODYS)], spec("job-b"))
    assert (await desk.begin(await desk.hold("job-b"))).duplicates == 1
    await desk.register([row(2)], spec("job-c", again="summer"))

    await issue(desk, await desk.one(await desk.hold("job-c")), 102)

    assert await desk.states("job-b") == [S.PENDING]


async def test_the_next_occasion_of_the_same_customers_has_no_excess_and_frees_nobody(desk: Desk) -> None:
    asha = ("email", "asha@example.com")
    for job, again in ((JOB, ""), ("job-b", "summer")):
        await desk.register([row(1), row(2)], spec(job, again=again))
        first, second = (await desk.begin(await desk.hold(job))).intents
        assert [await issue(desk, first, 101, asha), await issue(desk, second, 102)] == [Landed.LANDED] * 2
    await desk.register([row(1, Identifier(IdentifierKind.EMAIL, asha[1], f"email:{asha[1]}"))], spec("job-c"))

    assert (await desk.begin(await desk.hold("job-c"))).duplicates == 1


async def test_a_cancelled_jobs_row_that_isnt_a_duplicate_after_all_is_put_aside(desk: Desk) -> None:
    await desk.register([row(1), row(2)])
    first, second = (await desk.begin(await desk.hold())).intents
    await issue(desk, first, 101)
    await desk.register([row(1, EVERYBODYS)], spec("job-b"))
    await desk.begin(await desk.hold("job-b"))
    await desk.ledger.jobs.cancel(JobId("job-b"))

    await issue(desk, second, 102)

    assert await desk.states("job-b") == [S.CANCELLED]


@pytest.mark.parametrize(("customer", "excess"), [(102, 0), (101, 1)])
async def test_purged_customers_are_told_apart_by_their_numbers_too(desk: Desk, customer: int, excess: int) -> None:
    await desk.register([row(1)])
    hold = await desk.hold()
    await issue(desk, await desk.one(hold), 101)
    await desk.ledger.jobs.release(hold, JobState.ENDED, "", desk.clock.now(), 0)
    desk.clock.forward(1_000.0)
    await desk.ledger.care.purge(desk.clock.wall - 1.0, "ops", desk.clock.now())
    await desk.register([row(1, EVERYBODYS), row(2, mobile(2))], spec("job-b"))
    their = await desk.hold("job-b")
    begun = await desk.begin(their)
    assert (len(begun.intents), begun.duplicates) == (1, 1)

    await issue(desk, begun.intents[0], customer)

    assert await desk.ledger.work.excess(JobId("job-b")) == excess
    assert await desk.states("job-b") == [S.PENDING if customer == 102 else S.DUPLICATE, S.ISSUED]


async def test_no_purge_leaves_a_placeholder_in_plain_text(desk: Desk) -> None:
    """It may be the number of two who live together; it goes on to name nobody."""
    await desk.register([row(1), row(2)])
    hold = await desk.hold()
    first, second = (await desk.begin(hold)).intents
    await issue(desk, first, 101)
    await issue(desk, second, 102)
    await desk.ledger.jobs.release(hold, JobState.ENDED, "", desk.clock.now(), 0)
    desk.clock.forward(1_000.0)
    await desk.ledger.care.purge(desk.clock.wall - 1.0, "ops", desk.clock.now())

    assert not [
        each
        for table in ("claims", "placeholders")
        for each in desk.look(f"SELECT * FROM {table}")
        if "0000" in each or EVERYBODYS.key in each
    ]
    await desk.register([row(3), row(4, EVERYBODYS)], spec("job-b"))
    third, fourth = (await desk.begin(await desk.hold("job-b"))).intents
    assert [await issue(desk, third, 103), await issue(desk, fourth, 104)] == [Landed.LANDED] * 2


async def test_after_a_restore_such_a_row_is_looked_up_before_it_is_sent(desk: Desk) -> None:
    """The ledger that was lost may have known that it is no duplicate, and have sent it."""
    await desk.register([row(1), row(2)])
    hold = await desk.hold()
    first = await desk.one(hold)
    await issue(desk, first, 101)
    await desk.register([row(1, EVERYBODYS)], spec("job-b"))
    theirs = await desk.hold("job-b")
    await desk.begin(theirs)
    await desk.release(theirs)
    await desk.release(hold)
    await desk.ledger.care.reopen(desk.clock.now(), "ops", "")
    hold = await desk.hold()
    desk.clock.forward(1_000.0)
    await desk.begin(hold)
    (doubt,) = await desk.doubts()

    await desk.ledger.doubts.settle(doubt, Event.FOUND, coupon(2, 102), "found", None, desk.clock.now())

    assert await desk.states("job-b") == [S.PENDING]
    assert not (await desk.begin(await desk.hold("job-b"))).intents
    assert await desk.states("job-b") == [S.IN_DOUBT]


@pytest.mark.parametrize("seed", range(40))
async def test_answers_taken_together_come_out_as_one_by_one(tmp_path: Path, seed: int) -> None:
    """Customers with numbers and without, whose profiles share names, in two jobs."""
    random = Random(seed)
    shared = [("externalId", "0000"), ("email", "none@example.com"), ("mobile", mobile(1).value)]
    asked = [mobile(n) for n in range(1, random.randint(3, 7))]
    asked += random.sample([EVERYBODYS, Identifier(IdentifierKind.EMAIL, shared[1][1], f"email:{shared[1][1]}")], k=1)
    behind = random.choice(["", "summer"])
    says = [
        Coupon(
            code=f"CODE{n}",
            customer_id=random.choice([None, 0, 101, 102, 103, 104]),
            identifiers=tuple(random.sample(shared, k=random.randint(0, 2))),
        )
        for n in range(2 * len(asked))
    ]

    async def told(*, together: bool) -> tuple[list[Landed], list[object]]:
        place = tmp_path / f"{together}.db"
        desk = Desk(await open_ledger(place), ManualClock(), place)
        try:
            at, landed = 0, list[Landed]()
            for job, again in ((JOB, ""), ("job-b", behind)):
                await desk.register([row(number, who) for number, who in enumerate(asked, 1)], spec(job, again=again))
                intents = (await desk.begin(await desk.hold(job))).intents
                answers = [
                    desk.settlement(intent, Event.ISSUED, coupon=says[at + n]) for n, intent in enumerate(intents)
                ]
                at += len(answers)
                if together and answers:
                    landed += await desk.finish(*answers)
                for answer in () if together else answers:
                    landed += await desk.finish(answer)
            tables = {
                "rows": "job, number, state, code, customer_id, of_job, of_row",
                "claims": "*",
                "placeholders": "*",
                "excess": "job, row, code, names",
            }
            return landed, [
                sorted(map(repr, desk.look(f"SELECT {columns} FROM {table}"))) for table, columns in tables.items()
            ]
        finally:
            await desk.ledger.close()

    assert await told(together=True) == await told(together=False)


# --- the whole ----------------------------------------------------------------------------------------------------


async def test_everybody_gets_one_coupon_where_all_profiles_share_names(tmp_path: Path) -> None:
    shared = ((IdentifierKind.EXTERNAL_ID, "0000"), (IdentifierKind.EMAIL, "none@example.com"))
    async with Sandbox(Settings(rate=0, in_every_profile=shared)) as box:
        console = Console(tmp_path, box)
        numbers = mobiles(50)
        file = console.customers("all.csv", numbers)

        done = await console.run(file)

        assert (done.code, console.summary(file)["excess"]) == (ExitCode.DONE, 0), done.err
        assert "EXCESS" not in done.err
        console.check_book(file)
        assert len(box.book.coupons_of(box.series_id)) == 50
        more = console.customers("more.csv", [*numbers, *mobiles(5, 100)])
        assert (await console.run(more)).code == ExitCode.DONE
        assert len(box.book.coupons_of(box.series_id)) == 55


async def test_one_customer_by_two_columns_is_served_once_where_all_profiles_share_names(tmp_path: Path) -> None:
    """The second file names those of the first by their e-mail addresses, which their replies told."""
    people = tuple(
        Customer(id=700_000 + n, mobile=number, external_id="0000", email=f"c{n}@example.com")
        for n, number in enumerate(mobiles(10))
    )
    async with Sandbox(Settings(rate=0, customers=people)) as box:
        console = Console(tmp_path, box)
        assert (await console.run(console.customers("one.csv", [each.mobile for each in people]))).code == ExitCode.DONE
        two = console.customers("two.csv", [each.email for each in people], ("name", "email"))

        done = await console.run(two)

        assert done.code == ExitCode.DONE, done.err
        assert {each["_status"] for each in console.results(two)} == {"duplicate"}
        assert len(box.book.coupons_of(box.series_id)) == 10
