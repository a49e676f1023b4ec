"""What people ask of the ledger without Capillary: how jobs stand, where a customer or a code is, what to revoke."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bulk_issue import countries, rows
from bulk_issue.app.desk import existing
from bulk_issue.app.reports import default_out, refuse_purged
from bulk_issue.config import LedgerUrl
from bulk_issue.errors import LedgerError
from bulk_issue.ledger import SqliteLedger
from bulk_issue.ledger.history import History, Sighting
from bulk_issue.model import HeldBack, IdentifierKind, Job, JobId, Withheld
from bulk_issue.ports import JobSummary, RunFacts, WorkerFacts
from bulk_issue.sink import claim_folder
from bulk_issue.states import RowState

#: Codes that one revoke call takes (documented).
REVOKED_AT_ONCE = 50
REVOKE_PLAN = "revoke.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A job as it stands, and how that came about."""

    summary: JobSummary
    reasons: Sequence[tuple[str, str, int]]
    history: History
    #: The last first.
    runs: Sequence[RunFacts]
    #: The jobs whose failures it ran again, and those that ran its own.
    parents: Sequence[JobSummary]
    reruns: Sequence[JobSummary]
    #: Whether a process runs it now.
    running: bool
    #: Rows that wait until a person says who their customers are.
    held_back: Mapping[Withheld, HeldBack]
    #: All workers of the ledger.
    workers: Sequence[WorkerFacts]


def standing(ledger: SqliteLedger, summary: JobSummary, others: Sequence[JobSummary]) -> Standing:
    """Everything that is known of a job, given how all jobs stand."""
    name, views = summary.job.spec.id, ledger.views
    by_name = {each.job.spec.id: each for each in others}
    return Standing(
        summary=summary,
        reasons=views.reasons(name),
        history=ledger.history.of(name),
        runs=views.runs(name),
        parents=[by_name[other] for other in views.parents(name)],
        reruns=[by_name[other] for other in views.reruns(name)],
        running=ledger.jobs.running_elsewhere(name),
        held_back=views.held_back(name),
        workers=views.workers(),
    )


async def doubtful(ledger: Path | LedgerUrl) -> LedgerError | None:
    """Why this may not be all of the ledger that was in use; None if it is."""
    async with existing(ledger) as ours:
        return ours.history.doubtful()


async def find(
    ledger: Path | LedgerUrl, asked: Sequence[str], kind: IdentifierKind | None = None
) -> list[list[Sighting]]:
    """For each that is asked for: every row of the ledger that names this customer or has this code, oldest first.

    Without a `kind` it may be any identifier or a code. A mobile is looked for as it stands, and with the code of each
    country that files of this ledger were read with.
    """
    async with existing(ledger) as ours:
        said = {job.spec.reading.get("country", "") for job in ours.views.known()}
        plans = [plan for code in sorted(said) if (plan := countries.country(code)) is not None]
        return [
            list(ours.history.sightings(list(_keys(text, kind, plans)), "" if kind else text.strip())) for text in asked
        ]


def _keys(text: str, kind: IdentifierKind | None, plans: Sequence[countries.Country]) -> Iterator[str]:
    """The keys under which what is asked for may stand in the ledger."""
    for each in IdentifierKind if kind is None else [kind]:
        digits = rows.key(each, text).partition(":")[2]
        whole = (plan.whole(digits, international="+" in text) for plan in plans if each is IdentifierKind.MOBILE)
        yield from dict.fromkeys(rows.key(each, value) for value in (digits, *whole) if value)


def revoke_plan(ledger: SqliteLedger, job: Job, out: Path | None) -> tuple[Path, int, Sequence[JobId]]:
    """Write the issued codes of a job and its reruns as the documented revoke call takes them.

    One request body a line, with at most 50 codes; says how many codes there are, and which reruns. Nothing is revoked.
    """
    refuse_purged(job)
    folder = out or default_out(job.spec)
    claim_folder(folder, job.spec.id)
    path = folder / REVOKE_PLAN
    reruns = ledger.views.reruns(job.spec.id)
    codes = list(_codes(ledger, [job.spec.id, *reruns]))
    aside = path.with_name(f".{path.name}")
    with os.fdopen(os.open(aside, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        for at in range(0, len(codes), REVOKED_AT_ONCE):
            some = codes[at : at + REVOKED_AT_ONCE]
            file.write(json.dumps({"couponSeriesId": job.spec.series_id, "couponCodes": some}) + "\n")
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
    return path, len(codes), reruns


def _codes(ledger: SqliteLedger, jobs: Sequence[JobId]) -> Iterator[str]:
    """The codes that the jobs brought, those of coupons too many too, each once (in a GENERIC series all are one)."""
    seen: set[str] = set()
    for job in jobs:
        issued = (row.code for row in ledger.views.results(job, frozenset({RowState.ISSUED})))
        for code in (*issued, *ledger.history.too_many(job)):
            if code not in seen:
                seen.add(code)
                yield code


__all__ = ["History", "RunFacts", "Sighting", "Standing", "doubtful", "find", "revoke_plan", "standing"]
