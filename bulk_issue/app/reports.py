"""How a job stands, as files and as a report: from the ledger alone, at any time."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from bulk_issue import __version__
from bulk_issue.clock import SystemClock
from bulk_issue.commands import command
from bulk_issue.config import Config
from bulk_issue.ending import conclude
from bulk_issue.errors import JobPurged
from bulk_issue.health import Stop
from bulk_issue.job import Ending
from bulk_issue.ledger import SqliteLedger
from bulk_issue.model import Job, JobSpec, JobState, Moment
from bulk_issue.ports import Traffic
from bulk_issue.sink import Columns, Format, Summary, Written, claim_folder, write_results


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Where result files go, and what is in them."""

    #: None: beside the input.
    out: Path | None = None
    columns: Columns = Columns.STANDARD
    format: Format = Format.CSV


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a finished command has to tell."""

    job: Job
    ending: Ending
    summary: Summary
    out: Path
    written: Written
    reasons: Sequence[tuple[str, str, int]]


async def standing(ledger: SqliteLedger, job: Job, now: Moment, stop: Stop | None = None) -> Ending:
    """How a job stands, as an ending, without running it; `stop` says why it isn't run."""
    name = job.spec.id
    tally, firsts = await ledger.work.tally(name), await ledger.work.firsts(name)
    excess = await ledger.work.excess(name)
    return Ending(
        held_back=await ledger.omissions.held_back(name),
        job=job,
        tally=tally,
        exit_code=conclude(tally, firsts, excess, stop, await ledger.work.excluded(name)),
        stop=stop,
        excess=excess,
        began=now,
        ended=now,
        waiting_in=await ledger.work.waiting_in(name),
    )


async def export(ledger: SqliteLedger, job: Job, files: Files, config: Config | None = None) -> Report:
    """Write a job's files again, from the ledger alone."""
    refuse_purged(job)
    ending = await standing(ledger, job, SystemClock().now())
    out = files.out or default_out(job.spec)
    claim_folder(out, job.spec.id)
    return await write(ledger, ending, out, files, config)


def refuse_purged(job: Job) -> None:
    """Raise `JobPurged` for a job whose rows were forgotten: files of it would replace good ones by empty ones."""
    if job.state is JobState.PURGED:
        hint = f"Nothing was sent or written. {command('status', job.spec.id)} shows the counts."
        raise JobPurged(job.spec.id, job.stopped_because, hint=hint)


def default_out(spec: JobSpec) -> Path:
    """Where a job's files go unless --out says otherwise: beside its input."""
    path = Path(spec.path)
    return path.with_name(f"{path.name}-results") / f"{spec.series_id}-{spec.id}"


async def write(
    ledger: SqliteLedger,
    ending: Ending,
    out: Path,
    files: Files,
    config: Config | None = None,
    taken_in: Collection[str] = (),
) -> Report:
    """Write a job's files and tell how it stands; `taken_in`: files of decisions that are on record, by SHA-256."""
    views, job = ledger.views, ending.job
    summary = summarise(ledger, ending, config)
    written = await asyncio.to_thread(
        write_results,
        views,
        job,
        out,
        summary,
        columns=files.columns,
        file_format=files.format,
        taken_in=taken_in,
    )
    reasons = views.reasons(job.spec.id)
    return Report(job=job, ending=ending, summary=summary, out=out, written=written, reasons=reasons)


def summarise(ledger: SqliteLedger, ending: Ending, config: Config | None) -> Summary:
    """A job's run in numbers; without a `config`, at the documented limit."""
    spec, job = ending.job.spec, ending.job
    rate, per = (config.rate, config.per) if config else (300, 60.0)
    traffic = ledger.views.traffic(spec.id, per)
    lately = ledger.views.traffic(spec.id, per, ending.began.wall)
    return Summary(
        job=spec.id,
        file=Path(spec.path).name,
        file_sha256=spec.sha256,
        series_id=spec.series_id,
        org=spec.org,
        started_at=job.started,
        ended_at=job.ended,
        duration_s=round(ending.ended.since(ending.began), 3),
        rows=job.rows,
        requests=traffic.requests,
        responses_429=traffic.responses_429,
        lookups=traffic.lookups,
        utilisation=_utilisation(lately, rate, per),
        worst_window=traffic.worst_window,
        excess=ending.excess,
        exit_code=int(ending.exit_code),
        version=__version__,
    )


def _utilisation(traffic: Traffic, rate: int, per: float) -> float | None:
    """How densely a run's requests followed one another, against the limit; None for less than one window."""
    if traffic.first_sent is None or traffic.last_sent is None or traffic.last_sent - traffic.first_sent < per:
        return None
    return round((traffic.requests - 1) / (traffic.last_sent - traffic.first_sent) / (rate / per), 4)
