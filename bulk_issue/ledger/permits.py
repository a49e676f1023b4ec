"""The rate limit's memory: which permits of an account are taken, for all processes and across restarts.

A permit is taken in the transaction that writes the intent, and is free again `per` seconds after the answer arrived.
The server counts the request somewhere between those two moments, so no window of `per` seconds there can hold more
than `rate`. A request without an answer keeps its permit for `unanswered + per` after its last moment to leave; one
that provably never left gives it back at once. Time is the boot clock, or the database's where several hosts share the
ledger; after a reboot, or when that clock was set, every permit counts as taken now.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, bindparam, case, delete, func, select, true, update

from bulk_issue.errors import ConfigError
from bulk_issue.ledger.batch import insert_many, update_many
from bulk_issue.ledger.database import upsert
from bulk_issue.ledger.schema import accounts, permits
from bulk_issue.model import Moment
from bulk_issue.ports import Budget

_FREED = delete(permits).where(
    permits.c.account == bindparam("account"),
    permits.c.boot_id == bindparam("boot_id"),
    permits.c.free_boot <= bindparam("now"),
)
_ACCOUNT = select(accounts.c.rate, accounts.c.per, accounts.c.paused_boot, accounts.c.paused_boot_id).where(
    accounts.c.account == bindparam("account")
)
_TAKEN = select(func.count(), func.min(permits.c.free_boot)).where(permits.c.account == bindparam("account"))
_TAKE = insert_many(permits, "account", "job", "row", "attempt", "answered", "free_boot", "boot_id")
_ANSWERED = update_many(
    permits,
    ("job", "row", "attempt"),
    ("answered", "free_boot", "boot_id"),
    to={"free_boot": "{new} + (SELECT per FROM accounts WHERE accounts.account = permits.account)"},
)
_NEVER_LEFT = delete(permits).where(
    permits.c.job == bindparam("its_job"),
    permits.c.row == bindparam("its_row"),
    permits.c.attempt == bindparam("its_attempt"),
)


def lock(connection: Connection, account: str) -> None:
    """Keep other processes from taking permits of the account until this transaction ends."""
    connection.execute(select(accounts.c.account).where(accounts.c.account == account).with_for_update())


def free_now(connection: Connection, budget: Budget, now: Moment) -> tuple[int, float]:
    """How many permits are free, and seconds until another one is (0 if one is).

    The account's limit may have been changed by another run since this one lost its hold: then the smaller rate counts.
    Raises `ConfigError` where the account is used with another `per` now.
    """
    its = {"account": budget.account}
    connection.execute(_FREED, {**its, "boot_id": now.boot_id, "now": now.boot})
    account = connection.execute(_ACCOUNT, its).one()
    if account.per != budget.per:
        raise ConfigError(
            f"{budget.account} is used with {account.rate} requests per {account.per} s now, not per {budget.per} s",
            hint="Give all who use the account the same --rate and --per.",
        )
    if account.paused_boot and account.paused_boot_id == now.boot_id and account.paused_boot > now.boot:
        return 0, account.paused_boot - now.boot
    taken, next_free = connection.execute(_TAKEN, its).one()
    free = min(budget.rate, account.rate) - taken
    return (free, 0.0) if free > 0 else (0, max(next_free - now.boot, 0.0))


def take(
    connection: Connection, budget: Budget, now: Moment, send_within: float, requests: Sequence[tuple[int, int, int]]
) -> None:
    """Take a permit for each request (job, row, attempt), which leaves within so many seconds or not at all."""
    _TAKE(
        connection,
        [
            {
                "account": budget.account,
                "job": job,
                "row": row,
                "attempt": attempt,
                "answered": 0,
                "free_boot": now.boot + send_within + budget.unanswered + budget.per,
                "boot_id": now.boot_id,
            }
            for job, row, attempt in requests
        ],
    )


def answered(connection: Connection, requests: Sequence[tuple[int, int, int, Moment]]) -> None:
    """These requests (job, row, attempt) were answered then: their permits are free `per` later."""
    _ANSWERED(
        connection,
        [
            {"job": job, "row": row, "attempt": attempt, "answered": 1, "free_boot": at.boot, "boot_id": at.boot_id}
            for job, row, attempt, at in requests
        ],
    )


def never_left(connection: Connection, requests: Sequence[tuple[int, int, int]]) -> None:
    """Of these requests not one byte left: their permits are free at once."""
    if requests:
        connection.execute(
            _NEVER_LEFT, [{"its_job": job, "its_row": row, "its_attempt": attempt} for job, row, attempt in requests]
        )


def pause(connection: Connection, account: str, seconds: float, now: Moment) -> None:
    """No permit of the account for so long; a longer pause that is under way stays."""
    until = now.boot + seconds
    longer = (accounts.c.paused_boot_id == now.boot_id) & (accounts.c.paused_boot > until)
    connection.execute(
        upsert(connection, accounts)
        .values(account=account, paused_boot=until, paused_boot_id=now.boot_id)
        .on_conflict_do_update(
            index_elements=["account"],
            set_={
                "paused_boot": case((longer, accounts.c.paused_boot), else_=until),
                "paused_boot_id": now.boot_id,
            },
        )
    )


def agree(connection: Connection, budget: Budget, now: Moment) -> None:
    """Make this budget the account's, and bring permits of an earlier boot or a shorter `per` up to it."""
    known = connection.execute(select(accounts.c.per).where(accounts.c.account == budget.account)).first()
    connection.execute(
        upsert(connection, accounts)
        .values(account=budget.account, rate=budget.rate, per=budget.per)
        .on_conflict_do_update(index_elements=["account"], set_={"rate": budget.rate, "per": budget.per})
    )
    _take_anew(connection, budget, now, permits.c.boot_id != now.boot_id)
    if known and known.per and known.per < budget.per:
        connection.execute(
            update(permits)
            .where(permits.c.account == budget.account)
            .values(free_boot=permits.c.free_boot + (budget.per - known.per))
        )


def clock_was_set(connection: Connection, budget: Budget, now: Moment) -> None:
    """Nobody knows how old these permits are: all count as taken now, and no pause is believed."""
    _take_anew(connection, budget, now, true())
    connection.execute(update(accounts).where(accounts.c.account == budget.account).values(paused_boot=None))


def _take_anew(connection: Connection, budget: Budget, now: Moment, which: ColumnElement[bool]) -> None:
    whole = case((permits.c.answered == 1, budget.per), else_=budget.unanswered + budget.per)
    connection.execute(
        update(permits)
        .where(permits.c.account == budget.account, which)
        .values(free_boot=now.boot + whole, boot_id=now.boot_id)
    )
