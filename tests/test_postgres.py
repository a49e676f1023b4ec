"""What only a ledger in PostgreSQL does: sessions that end, a clock of its own, roles, several hosts at once.

What it shares with a file is in test_ledger.py, which runs on both.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Connection, PoolProxiedConnection

from bulk_issue.config import LedgerUrl
from bulk_issue.errors import ConfigError, JobHeld, LedgerError, LedgerUnavailable
from bulk_issue.ledger import SqliteLedger, open_ledger
from bulk_issue.ledger.clocks import STEP, DatabaseClock
from bulk_issue.ledger.home import Home
from bulk_issue.ledger.postgres import Postgres, parameters
from bulk_issue.model import Coupon, Identifier, IdentifierKind, JobId, JobState
from bulk_issue.ports import Budget, Landed, Wait
from bulk_issue.states import Event
from bulk_issue.states import RowState as S
from tests.clocks import ManualClock
from tests.cluster import Cluster
from tests.test_ledger import BUDGET, JOB, Desk, mobile, row, spec

ROOT = Path(__file__).parent.parent


@pytest.fixture
async def desk(cluster: Cluster) -> AsyncIterator[Desk]:
    place = cluster.url(cluster.database())
    ledger = await open_ledger(place)
    yield Desk(ledger, ManualClock(), place)
    await ledger.close()


def postgres(ledger: SqliteLedger) -> Postgres:
    dialect = ledger._db.dialect
    assert isinstance(dialect, Postgres)
    return dialect


def name_of(desk: Desk) -> str:
    """The database's."""
    assert isinstance(desk.place, LedgerUrl)
    return str(psycopg.conninfo.conninfo_to_dict(desk.place.url)["dbname"])


def end_sessions(cluster: Cluster, desk: Desk) -> None:
    """As a network, or an administrator, ends them; on return they are gone, and their locks with them."""
    cluster.sql(f"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = '{name_of(desk)}'")


def cut(connection: PoolProxiedConnection) -> None:
    """As a network does."""
    assert isinstance(connection.driver_connection, psycopg.Connection)
    connection.driver_connection.close()


# --- sessions ---------------------------------------------------------------------------------------------------


async def test_a_ledger_whose_session_was_ended_goes_on_with_the_next_call(cluster: Cluster, desk: Desk) -> None:
    await desk.register([row(1), row(2)])
    hold = await desk.hold()
    first = await desk.one(hold)
    end_sessions(cluster, desk)

    with pytest.raises(LedgerUnavailable):
        await desk.issue(first, "CODE1")
    assert await desk.issue(first, "CODE1") is Landed.LANDED
    assert (await desk.one(hold)).row == 2
    assert await desk.states() == [S.ISSUED, S.IN_FLIGHT]


@pytest.mark.parametrize("how", ["fast", "immediate"])
async def test_a_restart_of_the_server_loses_nothing(cluster: Cluster, desk: Desk, how: str) -> None:
    await desk.register([row(1), row(2)])
    hold = await desk.hold()
    first = await desk.one(hold)
    cluster.stop(how)

    with pytest.raises(LedgerUnavailable):
        await desk.issue(first, "CODE1")
    with pytest.raises(LedgerUnavailable):
        await desk.begin(hold)
    cluster.start()
    assert await desk.issue(first, "CODE1") is Landed.LANDED
    assert [intent.row for intent in (await desk.begin(hold)).intents] == [2]
    other = await desk.another()
    try:
        with pytest.raises(JobHeld):  # the new session has the hold of the old one
            await other.jobs.hold(JOB, BUDGET, desk.clock.now())
    finally:
        await other.close()


async def test_a_commit_whose_answer_was_lost_is_found_to_be_on_disk(desk: Desk) -> None:
    """Begun rows that nobody knows of would be sent by nobody; begun again they would be sent twice."""
    await desk.register([row(1), row(2)])
    hold = await desk.hold()
    dialect = postgres(desk.ledger)._write.dialect
    commit = dialect.do_commit

    def lose_the_answer(connection: PoolProxiedConnection) -> None:
        dialect.do_commit = commit  # type: ignore[method-assign]
        commit(connection)
        cut(connection)
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    dialect.do_commit = lose_the_answer  # type: ignore[method-assign,assignment]
    begun = await desk.begin(hold, 1)

    assert [intent.row for intent in begun.intents] == [1]
    assert await desk.states() == [S.IN_FLIGHT, S.PENDING]


async def test_a_commit_that_never_arrived_is_found_not_to_be_on_disk(desk: Desk) -> None:
    await desk.register([row(1)])
    hold = await desk.hold()
    dialect = postgres(desk.ledger)._write.dialect
    commit = dialect.do_commit

    def lose_the_question(connection: PoolProxiedConnection) -> None:
        dialect.do_commit = commit  # type: ignore[method-assign]
        cut(connection)
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    dialect.do_commit = lose_the_question  # type: ignore[method-assign,assignment]
    with pytest.raises(LedgerUnavailable):
        await desk.begin(hold, 1)

    assert await desk.states() == [S.PENDING]
    assert len((await desk.begin(hold, 1)).intents) == 1


async def test_what_collided_with_another_transaction_is_run_again(desk: Desk) -> None:
    turns = 0

    def collide(tx: Connection) -> int:
        nonlocal turns
        turns += 1
        if turns < 3:
            tx.exec_driver_sql("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'deadlock_detected'; END $$")
        return turns

    assert await desk.ledger._db.write(collide) == 3


async def test_a_row_that_another_worker_has_just_picked_is_passed_over(desk: Desk) -> None:
    await desk.register(row(n) for n in range(1, 5))
    hold = await desk.hold()
    assert isinstance(desk.place, LedgerUrl)
    with psycopg.connect(desk.place.url) as another:
        another.execute("SELECT FROM rows WHERE number IN (1, 3) FOR UPDATE")
        passed_over = [intent.row for intent in (await desk.begin(hold)).intents]

    assert passed_over == [2, 4]
    assert [intent.row for intent in (await desk.begin(hold)).intents] == [1, 3]


async def test_a_process_that_stands_still_within_a_transaction_holds_up_nobody_for_long(
    cluster: Cluster, desk: Desk
) -> None:
    def stand_still(tx: Connection) -> None:
        assert tx.exec_driver_sql("SHOW idle_in_transaction_session_timeout").scalar() == "10s"
        tx.exec_driver_sql("SET idle_in_transaction_session_timeout = '20ms'")
        mine = tx.exec_driver_sql("SELECT pg_backend_pid()").scalar()
        while cluster.sql(f"SELECT count(*) FROM pg_stat_activity WHERE pid = {mine}") != "0":
            pass  # each look takes its time

    with pytest.raises(LedgerUnavailable):
        await desk.ledger._db.write(stand_still)
    assert await desk.ledger.jobs.account("nobody") is None


# --- one limit for all ------------------------------------------------------------------------------------------


async def test_hosts_on_one_account_share_its_permits(desk: Desk) -> None:
    few = Budget(account=BUDGET.account, rate=20, per=60.0, unanswered=150.0)
    ledgers = [desk.ledger, await desk.another(), await desk.another()]
    try:
        holds = []
        for at, ledger in enumerate(ledgers):
            await desk.register([row(n, mobile(100 * at + n)) for n in range(1, 41)], spec(f"job-{at}"))
            holds.append(await ledger.jobs.hold(JobId(f"job-{at}"), few, desk.clock.now()))

        async def drain(at: int) -> int:
            taken = 0
            while True:
                begun = await ledgers[at].work.begin(holds[at], 3, few, desk.clock.now(), 5.0)
                taken += len(begun.intents)
                if not begun.intents:
                    assert begun.wait is Wait.PERMITS
                    return taken

        taken = await asyncio.gather(*(drain(at) for at in range(3)))
    finally:
        for ledger in ledgers[1:]:
            await ledger.close()

    assert sum(taken) == 20


async def test_two_accounts_that_claim_the_same_customers_in_opposite_order_never_share_one(desk: Desk) -> None:
    """Their begins run beside each other: what collides is run again, and finds the other's claim."""
    numbers = range(1, 201)
    await desk.register(row(n) for n in numbers)
    await desk.register((row(n) for n in reversed(numbers)), spec("job-b", account="other#user"))
    other = await desk.another()
    budgets = [Budget(account=name, rate=1000, per=60.0, unanswered=150.0) for name in (BUDGET.account, "other#user")]
    try:
        ledgers = [desk.ledger, other]
        holds = [
            await ledger.jobs.hold(JobId(job), budget, desk.clock.now())
            for ledger, job, budget in zip(ledgers, (JOB, "job-b"), budgets, strict=True)
        ]

        async def drain(at: int) -> list[str]:
            keys: list[str] = []
            while True:
                begun = await ledgers[at].work.begin(holds[at], 7, budgets[at], desk.clock.now(), 5.0)
                keys += [intent.identifier.key for intent in begun.intents]
                if begun.wait is Wait.DRAINED:
                    return keys

        one, two = await asyncio.gather(drain(0), drain(1))
    finally:
        await other.close()

    assert len({*one, *two}) == len(one + two) == 200


class SetClock(DatabaseClock):
    """The database's real clock, as far off as somebody has set it."""

    ahead = 0.0

    def seconds(self, tx: Connection) -> float:
        return super().seconds(tx) + self.ahead


async def with_set_clock(desk: Desk) -> SetClock:
    clock = SetClock()
    postgres(desk.ledger)._clock = clock
    return clock


@pytest.mark.parametrize("by", [3600.0, -3600.0])
async def test_when_the_databases_clock_was_set_every_permit_counts_as_taken_now(desk: Desk, by: float) -> None:
    two = Budget(account=BUDGET.account, rate=2, per=60.0, unanswered=150.0)
    clock = await with_set_clock(desk)
    await desk.register([row(1), row(2), row(3)])
    hold = await desk.hold(budget=two)
    first, _second = (await desk.begin(hold, 2, two)).intents
    await desk.issue(first, "CODE1")
    clock.ahead = by
    begun = await desk.begin(hold, 1, two)

    assert (list(begun.intents), begun.wait) == ([], Wait.PERMITS)
    assert 50.0 < begun.seconds <= 60.0
    clock.ahead += begun.seconds + STEP  # as that time passes, though in one leap
    assert not (await desk.begin(hold, 1, two)).intents


async def test_a_step_that_was_seen_in_a_transaction_that_failed_is_seen_again(desk: Desk) -> None:
    one = Budget(account=BUDGET.account, rate=1, per=60.0, unanswered=150.0)
    clock = await with_set_clock(desk)
    await desk.register([row(1), row(2)])
    hold = await desk.hold(budget=one)
    await desk.issue((await desk.begin(hold, 1, one)).intents[0], "CODE1")
    await desk.begin(hold, 1, one)
    clock.ahead = 3600.0

    def fail(tx: Connection) -> None:
        postgres(desk.ledger).clock(tx, one.account, desk.clock.now())
        raise RuntimeError("as a crash would")

    with pytest.raises(RuntimeError):
        await desk.ledger._db.write(fail)
    assert not (await desk.begin(hold, 1, one)).intents


async def test_a_permit_is_free_by_the_databases_clock_whatever_the_hosts_say(desk: Desk) -> None:
    one = Budget(account=BUDGET.account, rate=1, per=60.0, unanswered=150.0)
    await with_set_clock(desk)
    await desk.register([row(1), row(2)])
    hold = await desk.hold(budget=one)
    await desk.issue((await desk.begin(hold, 1, one)).intents[0], "CODE1")
    desk.clock.forward(3600.0)

    begun = await desk.begin(hold, 1, one)
    assert 59.0 < begun.seconds <= 60.0 + STEP


# --- a database that was put back -------------------------------------------------------------------------------


def put_back(cluster: Cluster, desk: Desk) -> None:
    """A copy takes the ledger's place, as of now; every session is ended for that."""
    name = name_of(desk)
    end_sessions(cluster, desk)
    cluster.sql(f"CREATE DATABASE {name}_copy TEMPLATE {name}")
    cluster.sql(f"ALTER DATABASE {name} RENAME TO {name}_old")
    cluster.sql(f"ALTER DATABASE {name}_copy RENAME TO {name}")


async def test_nobody_goes_on_in_a_database_that_was_put_back_before_it_was_reopened(
    cluster: Cluster, desk: Desk
) -> None:
    """Not even a run that was going on when the copy was made: to the copy it still is."""
    await desk.register([row(1), row(2)])
    hold = await desk.hold()
    put_back(cluster, desk)
    with pytest.raises(LedgerUnavailable):
        await desk.begin(hold, 1)
    with pytest.raises(LedgerError, match="put back or copied") as caught:
        await desk.begin(hold, 1)
    assert "ledger reopen" in caught.value.hint
    await desk.ledger._db.call(lambda: desk.ledger._db.holders.free(JOB))
    with pytest.raises(LedgerError, match="put back or copied"):
        await desk.hold()
    assert await desk.states() == [S.PENDING, S.PENDING]

    await desk.ledger.care.reopen(desk.clock.now(), "ann", "nothing was issued since")
    desk.clock.forward(BUDGET.per)
    assert (await desk.begin(await desk.hold(), 1)).intents


async def test_a_role_that_may_not_ask_for_the_server_knows_its_database_all_the_same(
    cluster: Cluster, desk: Desk
) -> None:
    await desk.register([row(1), row(2)])
    cluster.sql("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC", name_of(desk))
    poor = await desk.another()
    await poor.jobs.release(await poor.jobs.hold(JOB, BUDGET, desk.clock.now()), JobState.STOPPED, "", desk.clock.now())
    await poor.close()
    put_back(cluster, desk)
    poor = await desk.another()

    with pytest.raises(LedgerError, match="put back or copied"):
        await poor.jobs.hold(JOB, BUDGET, desk.clock.now())
    await poor.close()


def test_two_servers_that_gave_their_databases_the_same_number_are_two() -> None:
    written = Home(database="16384", server="7000000000000000001")

    assert Home("16384", "7000000000000000002").is_other_than(written)
    assert not Home("16384", None).is_other_than(written)
    assert not Home("16384", "7000000000000000001").is_other_than(Home("16384", None))


# --- what the database may hold, know and say -------------------------------------------------------------------


async def test_whatever_text_and_number_a_file_or_an_answer_brings_is_kept(desk: Desk) -> None:
    odd = Identifier(IdentifierKind.EXTERNAL_ID, "a\0b\\t\tc\r\n%s ☃", "externalId:a\0b")
    await desk.register([row(1, odd), row(2)], spec(series=2**40))
    intents = (await desk.begin(await desk.hold())).intents
    coupon = Coupon(code="%sC☃", description="a\0b", coupon_id=2**46, customer_id=2**45)
    await desk.finish(
        desk.settlement(intents[0], Event.ISSUED, coupon=coupon), desk.settlement(intents[1], Event.REJECTED)
    )

    assert intents[0].identifier.value == "a\N{REPLACEMENT CHARACTER}b\\t\tc\r\n%s ☃"
    first, second = desk.ledger.views.results(JOB)
    assert (first.coupon, second.error_code) == (coupon, "701")
    assert first.cells == ("name 1", odd.value)


async def test_no_error_says_what_a_row_holds(desk: Desk) -> None:
    await desk.register([row(1)])

    def collide(tx: Connection) -> None:
        tx.exec_driver_sql("INSERT INTO jobs SELECT * FROM jobs")

    def misfit(tx: Connection) -> None:
        tx.exec_driver_sql("SELECT value::integer FROM rows")

    for wrong in (collide, misfit):
        with pytest.raises(LedgerError) as caught:
            await desk.ledger._db.write(wrong)
        assert JOB not in caught.value.message
        assert "9198" not in caught.value.message


async def test_a_server_that_may_lose_a_commit_is_refused(cluster: Cluster) -> None:
    place = cluster.url(cluster.database())
    cluster.sql("ALTER SYSTEM SET full_page_writes = off")
    cluster.sql("SELECT pg_reload_conf()")
    try:
        while cluster.sql("SHOW full_page_writes") != "off":
            await asyncio.sleep(0.01)
        with pytest.raises(LedgerError, match="full_page_writes is off"):
            await open_ledger(place)
    finally:
        cluster.sql("ALTER SYSTEM RESET full_page_writes")
        cluster.sql("SELECT pg_reload_conf()")
        while cluster.sql("SHOW full_page_writes") != "on":
            await asyncio.sleep(0.01)


async def test_commits_wait_for_the_disk_even_where_the_role_says_otherwise(cluster: Cluster) -> None:
    name = cluster.database()
    cluster.sql(f"ALTER DATABASE {name} SET synchronous_commit = off")
    ledger = await open_ledger(cluster.url(name))
    try:
        commits = await ledger._db.write(lambda tx: tx.exec_driver_sql("SHOW synchronous_commit").scalar())
    finally:
        await ledger.close()

    assert commits == "on"


async def test_the_role_of_the_sample_runs_jobs_and_makes_no_tables(cluster: Cluster, desk: Desk) -> None:
    await desk.register([row(1)])
    with pytest.raises(LedgerError, match="permission denied"):
        await desk.ledger._db.write(lambda tx: tx.exec_driver_sql("CREATE TABLE mine (x int)"))
    with pytest.raises(LedgerError, match="must be owner"):
        await desk.ledger._db.write(lambda tx: tx.exec_driver_sql("DROP TABLE rows"))

    cluster.sql("CREATE DATABASE bare")
    cluster.sql("CREATE SCHEMA bulk_issue; GRANT USAGE ON SCHEMA bulk_issue TO bulk_issue", "bare")
    with pytest.raises(LedgerError) as caught:
        await open_ledger(cluster.url("bare"))
    assert "owner" in caught.value.hint


async def test_two_processes_that_open_a_new_ledger_make_it_once(cluster: Cluster) -> None:
    cluster.sql("CREATE DATABASE fresh")
    cluster.sql("CREATE SCHEMA bulk_issue AUTHORIZATION bulk_issue_owner", "fresh")
    place = cluster.url("fresh", "bulk_issue_owner")
    ledgers = await asyncio.gather(*(open_ledger(place) for _ in range(4)))
    for ledger in ledgers:
        assert list(ledger.views.jobs()) == []
        await ledger.close()


async def test_a_database_that_cant_be_reached_is_named_without_its_password() -> None:
    with pytest.raises(LedgerUnavailable) as caught:
        await open_ledger(LedgerUrl("postgresql://ann:s3cret@127.0.0.1:1/ledger"))

    assert "postgresql://ann@127.0.0.1:1/ledger" in caught.value.message
    shown = f"{caught.value.message}{caught.value.hint}{caught.value.__cause__!r}"
    assert "s3cret" not in shown


def test_elsewhere_nothing_travels_in_the_clear_unless_the_url_says_so() -> None:
    def mode(url: str) -> object:
        return parameters(LedgerUrl(url)).get("sslmode")

    assert mode("postgresql://ann@db.example.com/ledger") == "require"
    assert mode("postgresql://ann@127.0.0.1,db.example.com/ledger") == "require"
    assert mode("postgresql://ann@db.example.com/ledger?sslmode=verify-full") == "verify-full"
    assert mode("postgresql://ann@127.0.0.1/ledger") is None
    assert mode("postgresql:///ledger?host=/run/postgresql") is None


def test_a_parameter_that_nobody_knows_is_refused_without_repeating_the_url() -> None:
    with pytest.raises(ConfigError) as caught:
        parameters(LedgerUrl("postgresql://ann:s3cret@db.example.com/ledger?sslmod=require"))

    assert "s3cret" not in f"{caught.value.message}{caught.value.__cause__!r}{caught.value.__context__ and ''}"


async def test_whoever_stays_on_sqlite_loads_nothing_of_it(tmp_path: Path) -> None:
    await (await open_ledger(tmp_path / "ledger.db")).close()  # made here: alembic loads every dialect
    program = (
        "import asyncio, sys\nfrom pathlib import Path\nfrom bulk_issue.ledger import open_ledger\n"
        f"asyncio.run(open_ledger(Path({str(tmp_path / 'ledger.db')!r})))\nprint(*sorted(sys.modules))\n"
    )
    done = subprocess.run(  # noqa: ASYNC221 - nothing else runs in this loop
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True
    )
    loaded = set(done.stdout.split())

    assert "bulk_issue.ledger.sqlite" in loaded
    ours = {f"bulk_issue.ledger.{name}" for name in ("postgres", "holders", "clocks")}
    assert loaded & (ours | {"psycopg", "sqlalchemy.dialects.postgresql"}) == set()


def test_a_missing_driver_is_named_with_its_extra(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys\nsys.modules['psycopg'] = None\nfrom bulk_issue.cli import main\n"
        "sys.argv = ['bulk-issue', 'status', '--ledger', 'postgresql://ann@127.0.0.1:1/x']\nmain()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=False)

    assert done.returncode == 2, done.stderr
    assert "bulk-issue[postgres]" in done.stderr
