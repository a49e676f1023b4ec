"""Who may send what, and what answers do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Protocol

from bulk_issue.model import Intent, JobId, Moment, Outcome, Tally
from bulk_issue.ports.jobs import Budget, Hold
from bulk_issue.states import Event, RowState


@unique
class Wait(StrEnum):
    """Why `begin` gave fewer intents than asked for."""

    #: Nothing is pending: the queue is drained.
    DRAINED = "drained"
    #: Every permit is taken, or the account is paused.
    PERMITS = "permits"
    #: What is pending isn't due yet, or waits for another row of the same customer.
    DUE = "due"


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """What one `begin` committed."""

    intents: Sequence[Intent]
    #: Rows that lost their claim and are DUPLICATE now.
    duplicates: int = 0
    #: Why there are fewer than asked for; None if there aren't.
    wait: Wait | None = None
    #: Seconds after which asking again makes sense (0 for DRAINED).
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What an answer does to its row and permit."""

    intent: Intent
    event: Event
    outcome: Outcome
    #: When the answer arrived or the request was given up.
    at: Moment
    #: False if surely nothing left: the permit is free at once.
    left: bool
    #: True if there was an answer: the permit is free `per` after it. Otherwise it stays taken as `Budget` says.
    answered: bool
    #: True if this attempt counts against the row's bound.
    counts: bool
    #: For NOT_PROCESSED: wall second before which the row isn't sent again.
    due: float = 0.0
    #: For UNCLEAR: what absence from the record would make of the row.
    if_absent: RowState = RowState.PENDING


@unique
class Landed(StrEnum):
    """What became of a settlement."""

    #: The row moved as the settlement says.
    LANDED = "landed"
    #: The row had moved on; the attempt keeps the answer, nothing else changed.
    STALE = "stale"
    #: The row had moved on and this answer carries a coupon: it is recorded as excess.
    EXCESS = "excess"


class Work(Protocol):
    """Who may send what, now."""

    async def begin(self, hold: Hold, n: int, budget: Budget, now: Moment, send_within: float) -> Begun:
        """Commit up to `n` intents with their claims, permits and attempts, in the order in which rows are due.

        With `Hold.retried` only of rows that the last `Jobs.retry` has put back.
        No intent without a permit: at most `rate` permits of the account are taken at any moment, by all processes.
        No intent without a claim: a row whose customer is claimed by another becomes DUPLICATE of that row.
        A row whose customer has a row of the same series IN_FLIGHT or IN_DOUBT under another `again` name waits.
        Where a later `hold` gave the account another rate, the smaller one counts. Raises `JobHeld` if another run
        holds the job by now, and `ConfigError` if the account is used with another `per` now.
        """
        ...

    async def finish(self, settlements: Sequence[Settlement]) -> Sequence[Landed]:
        """Commit what answers mean; one verdict for each, in order. Guarded by state, attempt and holder.

        A late ISSUED still lands on its own row while that is IN_DOUBT with the same attempt. With ISSUED the
        coupon's customer id and identifiers are claimed too; if another row claimed one of them with another code,
        that is recorded as excess. But rows whose replies have different customer ids are of different customers: an
        identifier that both bear is a placeholder, is claimed for nobody from then on, and rows that were DUPLICATE, or
        coupons that were excess, by nothing else are so no more.
        """
        ...

    async def turn(
        self,
        settlements: Sequence[Settlement],
        hold: Hold,
        n: int,
        budget: Budget,
        now: Moment,
        send_within: float,
    ) -> tuple[Sequence[Landed], Begun]:
        """`finish` and then `begin`, both on disk together or not at all: two thirds of what they cost apart."""
        ...

    async def pause(self, account: str, seconds: float, now: Moment) -> None:
        """No permit of the account is given for that long, in any process; the longest pause wins."""
        ...

    async def pending(self, job: JobId, *, retried: bool = False) -> int:
        """How many rows this job has to send: its own, and those that a failures file queued for it.

        `retried`: only those that the last `Jobs.retry` has put back.
        """
        ...

    async def unfinished(self, job: JobId) -> int:
        """How many of the rows that this job works may still change without a person's doing."""
        ...

    async def still_open(self, job: JobId) -> Tally:
        """These rows by state (PENDING, IN_FLIGHT, IN_DOUBT), all of them at one moment."""
        ...

    async def waiting_in(self, job: JobId) -> Sequence[JobId]:
        """The reruns of this job's failures that work rows of it which may still change."""
        ...

    async def tally(self, job: JobId) -> Tally:
        """Rows by state of the job; a LINKED row counts as the row that it is linked to."""
        ...

    async def firsts(self, job: JobId) -> Tally:
        """The job's DUPLICATE rows by the state of the row that has their claim."""
        ...

    async def excluded(self, job: JobId) -> int:
        """How many of the job's INVALID rows were left out by `--exclude`."""
        ...

    async def excess(self, job: JobId) -> int:
        """How many excess coupons are recorded for the job's rows."""
        ...
