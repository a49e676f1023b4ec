"""What people do to a ledger while its jobs run: cancel, put rows back, decide on doubtful ones, run failures files.

Each deed comes from another process than the run's, at any moment. People know what the server did: they decide only
on what can't change any more, and what they decide is true.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum, unique
from random import Random
from typing import TYPE_CHECKING

from bulk_issue.errors import BulkIssueError
from bulk_issue.ledger import SqliteLedger
from bulk_issue.model import Decision, Identifier, IdentifierKind, JobId, JobSpec, Lineage, Problem, Row
from bulk_issue.states import RowState
from bulk_issue.testing import Repeat, mobile
from tests.hosts import spec

if TYPE_CHECKING:
    from tests.simulation import History

#: Numbers of customers who stand in no file at first: a corrected record names one of them.
NEW = 100


@unique
class Deed(StrEnum):
    """What a person does."""

    CANCEL = "cancel"
    RETRY = "retry"
    DECIDE = "decide"
    #: Run the job's failures as they are, or with some records corrected.
    RERUN = "rerun"
    CORRECTED = "corrected rerun"


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """A deed, when, and on which of the history's first jobs."""

    at: float
    deed: Deed
    job: int


def acts(random: Random, jobs: int, heals: float) -> list[Act]:
    """Some deeds, most of them while things go wrong; in half of the histories none."""
    deeds = (*(Deed.RETRY, Deed.DECIDE, Deed.RERUN, Deed.CORRECTED) * 3, Deed.CANCEL)
    return [
        Act(at=random.uniform(0.0, heals + 100.0), deed=random.choice(deeds), job=random.randrange(jobs))
        for _ in range(random.choice((0, 0, 0, 1, 2, 4)))
    ]


def second_names(random: Random, customers: Sequence[Identifier]) -> dict[Identifier, Identifier]:
    """Another name for some of the customers: their e-mail address, or their number at the server."""
    if random.random() < 0.7:
        return {}
    people = [each for each in customers if each.kind is IdentifierKind.MOBILE]
    return {
        _mail(each.value) if random.random() < 0.7 else _number(each): each for each in people if random.random() < 0.4
    }


def _mail(of: str) -> Identifier:
    mail = f"m{of}@example.com"
    return Identifier(IdentifierKind.EMAIL, mail, f"email:{mail}")


def _number(of: Identifier) -> Identifier:
    # the server counts the customers of the files first, in their order
    number = str(555_500_001 + int(of.value[-8:]))
    return Identifier(IdentifierKind.ID, number, f"id:{number}")


class People:
    """Those who have a say in one history."""

    def __init__(self, history: History, random: Random) -> None:
        self._history, self._random = history, random
        self._reruns = 0

    async def do(self, act: Act) -> None:
        """Do it when its time has come, and see to the job afterwards."""
        await asyncio.sleep(act.at)
        job, rows = self._history.jobs[act.job]
        host = self._history.host
        try:
            async with host.ledger() as ledger:
                if await ledger.jobs.find(job.id) is None:
                    return
                host.note(f"a person: {act.deed} {job.id}")
                match act.deed:
                    case Deed.CANCEL:
                        await ledger.jobs.cancel(job.id)
                    case Deed.RETRY:
                        self._put_back()
                        await ledger.jobs.retry(job.id, ())
                    case Deed.DECIDE:
                        found, shared = self._decisions(job.id), self._history.server.repeat is Repeat.GENERIC
                        now = host.clock.now()
                        await ledger.doubts.decide(found, "a person", "looked", now, shared=shared)
                    case Deed.RERUN | Deed.CORRECTED:
                        job, rows = self._failures(ledger, job, corrected=act.deed is Deed.CORRECTED)
        except BulkIssueError as error:
            host.note(f"a person is told: {type(error).__name__}")
            return
        if rows:
            await self._history.operate(job, rows)

    def _decisions(self, job: JobId) -> list[Decision]:
        """What the server's book says of rows whose requests can have no effect any more."""
        host, book = self._history.host, self._history.server.book
        over = host.clock.now().boot - self._history.longest
        found = host.ask(
            "SELECT number FROM rows JOIN jobs ON jobs.seq = rows.job"
            " WHERE jobs.id = ? AND rows.state = 'in_doubt' AND given_up_boot_id = ? AND given_up_boot < ?",
            job,
            host.clock.boot_id,
            over,
        )
        brought = {(each.request.job, each.request.row): each.code for each in book.coupons if each.request is not None}
        return [
            Decision(lineage=Lineage(job=job, row=row), code=brought.get((job, row)))
            for (row,) in found
            if self._random.random() < 0.8
        ]

    def _failures(self, ledger: SqliteLedger, job: JobSpec, *, corrected: bool) -> tuple[JobSpec, list[Row]]:
        """The job of the failures file that `job` has now; without rows if it has no failures."""
        rows: list[Row] = []
        known = self._history.names
        for found in ledger.views.results(job.id, frozenset({RowState.REJECTED, RowState.INVALID})):
            identifier = known.get(found.cells[0])
            if corrected and self._random.random() < 0.7:
                identifier = self._corrected(known)
            nobody = None if identifier else Problem(code="no-identifier", reason="no identifier")
            lineage = Lineage(job=found.job, row=found.number)
            cells = (identifier.value if identifier else "",)
            number = len(rows) + 1
            rows.append(Row(number=number, cells=cells, identifier=identifier, problem=nobody, lineage=lineage))
        self._reruns += 1
        rerun = spec(f"{job.id}-f{self._reruns}", again=job.again)
        if rows:
            self._put_back()
            self._history.jobs.append((rerun, rows))
        return rerun, rows

    def _corrected(self, known: Mapping[str, Identifier]) -> Identifier:
        """Somebody new, or somebody who stands in a file already."""
        if self._random.random() < 0.7:
            return mobile(NEW + self._random.randrange(20))
        return known[self._random.choice(sorted(known))]

    def _put_back(self) -> None:
        """Whatever is rejected now may be sent again: for a person only."""
        host = self._history.host
        query = "SELECT jobs.id, number FROM rows JOIN jobs ON jobs.seq = rows.job WHERE rows.state = 'rejected'"
        host.put_back.update(host.ask(query))
