"""What the commands that talk to Capillary share: an open ledger, a client, and whom to tell."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from bulk_issue.app.ahead import look_ahead, served, unfinished
from bulk_issue.app.checked import Checked, Talk
from bulk_issue.app.deciding import decisions
from bulk_issue.app.intake import Intake, intake
from bulk_issue.app.reports import Files, Report, default_out, refuse_purged, standing, write
from bulk_issue.audit import Audited
from bulk_issue.client import Client
from bulk_issue.clock import SystemClock
from bulk_issue.config import Config, LedgerUrl
from bulk_issue.crew import Hand
from bulk_issue.ending import ExitCode
from bulk_issue.errors import ConfigError, JobHalted
from bulk_issue.health import Stop, StopKind
from bulk_issue.job import Ending, Run
from bulk_issue.ledger import SqliteLedger, open_ledger
from bulk_issue.limiter import Pacer
from bulk_issue.model import Job, JobId, JobSpec, JobState, ReadProblem, Row, Series
from bulk_issue.outlook import Plan
from bulk_issue.ports import JobSummary, Observer, Progress
from bulk_issue.sink import SUMMARY, claim_folder, format_in, sha256
from bulk_issue.states import RowState
from bulk_issue.survey import Survey, compare, counting

#: Look-ups a minute: documented as 1 000 for v1.1 and unlimited for v2, kept well below.
LOOKUPS, LOOKUPS_PER = 300, 60.0
#: Seconds between the tries to read the series' facts, which nothing can start without.
SERIES_PAUSES = (0.5, 2.0)


#: Exit codes of a job that has more to send.
_UNFINISHED = (ExitCode.STOPPED, ExitCode.ASKED)


@asynccontextmanager
async def opened(place: Path | LedgerUrl) -> AsyncIterator[SqliteLedger]:
    """The ledger, closed again afterwards."""
    ledger = await open_ledger(place)
    try:
        yield ledger
    finally:
        await ledger.close()


@asynccontextmanager
async def existing(place: Path | LedgerUrl) -> AsyncIterator[SqliteLedger]:
    """The ledger as `opened`, for what must not make it: a look, or what is about a job; `ConfigError` if it's gone."""
    there(place)
    async with opened(place) as ledger:
        yield ledger


def there(place: Path | LedgerUrl) -> None:
    """Raise `ConfigError` if there is no ledger: a mistyped path must not become a new one."""
    if isinstance(place, Path) and not place.exists():
        raise ConfigError(f"there is no ledger at {place}", hint="--ledger names another one; `run` makes it.")


# --- run, resume, retry, reconcile ------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class Desk:
    """What the running commands share: an open ledger, a client, and whom to tell."""

    config: Config
    ledger: SqliteLedger
    client: Client
    clock: SystemClock
    observer: Observer
    asked: asyncio.Event
    files: Files
    #: Rows sent by this command so far, by all of its jobs.
    sent: int = 0
    #: Files of decisions that were recorded, by their SHA-256.
    taken_in: set[str] = field(default_factory=set)

    async def run(self, path: Path, talk: Talk) -> list[Report]:
        """Register the file's job or find it, and issue; after the job of an earlier content that isn't finished."""
        with intake(path, self.config.reading, self.recorded) as file:
            series = await self.series()
            spec = self.spec(file, await self.org(series))
            out = self._out(spec)
            claim_folder(out, spec.id)
            job = await self.ledger.jobs.find(spec.id)
            reports: list[Report] = []
            if job is None or job.state is JobState.REGISTERING:
                for earlier in await unfinished(self.ledger, spec):
                    reports.append(await self._finish(earlier, file, series, talk))
                    if reports[-1].ending.exit_code in _UNFINISHED:
                        self._tell(f"The new content of {path.name} waits until that job is finished.")
                        return reports
            job, checked = await self._registered(job, spec, series, file)
        reports.append(await self._issue(job, series, checked, talk, out))
        return reports

    async def defer(self, path: Path, talk: Talk) -> list[Job]:
        """Register the file's job or find it: what is to be left to workers, an earlier content's job first."""
        with intake(path, self.config.reading, self.recorded) as file:
            series = await self.series()
            spec = self.spec(file, await self.org(series))
            earlier = [each.job for each in await unfinished(self.ledger, spec)]
            job, checked = await self._registered(await self.ledger.jobs.find(spec.id), spec, series, file)
        self._agreed(checked, talk)
        return [*earlier, job]

    async def defer_again(self, job: Job, talk: Talk) -> Job:
        """The same with a registered job, without its file."""
        self._agreed(await self.checked(job.spec, job, await self.same_org(job)), talk)
        return job

    async def _registered(
        self, job: Job | None, spec: JobSpec, series: Series | None, file: Intake
    ) -> tuple[Job, Checked]:
        """The file's job with all its rows, and what a run of it would do."""
        if job is not None:
            refuse_purged(job)
        if job is not None and job.state is not JobState.REGISTERING and dict(job.spec.reading) != dict(spec.reading):
            await self._register_anew(job.spec, spec)
        counted = Survey() if job is None or job.started is None else None
        chunks: Iterator[list[Row]] = file.chunks()
        if counted is not None:
            chunks = counting(chunks, counted, served(self.ledger, spec))
        job = await self.ledger.jobs.register(spec, chunks, lambda: file.source.blank, self.clock.now())
        if counted is not None:
            for _ in chunks:  # registered before, by a run that sent nothing
                pass
        return job, await self.checked(spec, job, series, counted, file)

    async def resume(self, job: Job, talk: Talk) -> list[Report]:
        """Go on with a registered job, without its file."""
        series = await self.same_org(job)
        out = self._out(job.spec)
        claim_folder(out, job.spec.id)
        checked = await self.checked(job.spec, job, series)
        return [await self._issue(job, series, checked, talk, out)]

    async def reconcile(self, job: Job) -> list[Report]:
        """Settle rows in doubt now; issue nothing."""
        series = await self.same_org(job)
        return [await self.report(await self.lead(job, series).reconcile(), self._out(job.spec))]

    async def audit(self, job: Job, sample: int | None) -> Audited:
        """Read the coupons of a job's issued rows back, all or so many of them, and compare."""
        series = await self.same_org(job)
        issued = (await self.ledger.work.tally(job.spec.id)).get(RowState.ISSUED, 0)
        if sample is None or sample >= issued:
            return await self.lead(job, series).audit(lambda _place: True)
        places = frozenset(random.SystemRandom().sample(range(issued), sample))
        return await self.lead(job, series).audit(places.__contains__)

    async def same_org(self, job: Job) -> Series | None:
        """The series' facts, these credentials being the job's org's: another org's record must settle nothing."""
        refuse_purged(job)
        series = await self.series()
        org = await self.org(series)
        if org != job.spec.org:
            raise ConfigError(
                f"job {job.spec.id} belongs to org {job.spec.org}, these credentials to {org}",
                hint="Use the credentials of the job's org.",
            )
        return series

    async def decide(self, job: Job, path: Path, who: str, why: str) -> tuple[int, int]:
        """Record a person's decisions; how many settled a row, and how many came too late."""
        found = decisions(path, job, self.ledger.views)
        landed = await self.ledger.doubts.decide(found, who, why, self.clock.now())
        self.taken_in.add(sha256(path))
        return landed, len(found) - landed

    # --- before a start -----------------------------------------------------------------------------------------

    async def checked(
        self,
        spec: JobSpec,
        job: Job | None,
        series: Series | None,
        counted: Survey | None = None,
        file: Intake | None = None,
    ) -> Checked:
        """What a run of this job would do."""
        plan, now = Plan.of(self.config), self.clock.now().wall
        return await look_ahead(self.ledger, spec, job, series, plan, now, counted=counted, file=file)

    async def _issue(self, job: Job, series: Series | None, checked: Checked, talk: Talk, out: Path) -> Report:
        self._agreed(checked, talk)
        return await self.report(await self._sent(job, series), out)

    def _agreed(self, checked: Checked, talk: Talk) -> None:
        """Show what would be sent and ask; raises `ConfigError` where it can't last, or isn't wanted."""
        ahead = checked.outlook
        if ahead.pending:
            talk.show(checked)
            if ahead.short and not self.config.yes_short:
                raise ConfigError(
                    f"this can't last: {'; '.join(ahead.short)}",
                    hint="Nothing was sent. Mend the series, send a part (--first N), or start all the same with "
                    "--yes-short.",
                )
            if not talk.confirm(checked):
                raise ConfigError(
                    "nothing was started",
                    hint="Run the same command again when you are sure. What was read is kept as a job; "
                    "`bulk-issue status` shows it.",
                )

    async def _sent(self, job: Job, series: Series | None) -> Ending:
        """Issue what `--first` leaves of this run; it counts over all jobs of the run."""
        first = self.config.first
        if first is not None and self.sent >= first:
            stop = Stop(kind=StopKind.ASKED, because=f"--first {first}: so many rows were sent")
            return await standing(self.ledger, job, self.clock.now(), stop)
        left = replace(self.config, first=None if first is None else first - self.sent)
        ending = await self.lead(job, series, left).issue()
        self.sent += ending.sent or 0
        return ending

    def lead(self, job: Job, series: Series | None, config: Config | None = None) -> Run:
        """A run that holds the job."""
        its = config or self.config
        parts = Hand(
            job=job,
            config=its,
            series=series,
            ledger=self.ledger,
            issuer=self.client,
            records=self.client,
            clock=self.clock,
            draw=random.SystemRandom().random,
            pacer=lambda even: Pacer(its.rate, its.per, even=even),
            lookups=Pacer(LOOKUPS, LOOKUPS_PER, even=True),
            observer=self.observer,
            asked=self.asked,
        )
        return Run(parts)

    async def _finish(self, earlier: JobSummary, file: Intake, series: Series | None, talk: Talk) -> Report:
        """Finish the job of an earlier content, as it was registered, if the person agrees."""
        job = earlier.job
        difference = compare(self.ledger.views.customers(job.spec.id), file.chunks())
        if not talk.finish_first(earlier, difference):
            raise ConfigError(
                f"job {job.spec.id}, of an earlier content of this file, isn't finished",
                hint=f"Finish it (bulk-issue resume {job.spec.id}) or put it aside (bulk-issue cancel {job.spec.id}).",
            )
        out = default_out(job.spec)
        claim_folder(out, job.spec.id)
        checked = await self.checked(job.spec, job, series)
        return await self._issue(job, series, checked, replace(talk, confirm=lambda _checked: True), out)

    async def _register_anew(self, old: JobSpec, new: JobSpec) -> None:
        """Options that decide which customer a record names belong to the registered job."""
        apart = {name for name in {*old.reading, *new.reading} if old.reading.get(name) != new.reading.get(name)}
        if apart == {"exclude"} and not await self.ledger.work.pending(old.id):
            return  # another suppression list has nobody left to keep out
        if not await self.ledger.jobs.unregister(old.id):
            said = ", ".join(
                f"{name} was {old.reading.get(name, 'not given')!r} and is {new.reading.get(name, 'not given')!r}"
                for name in sorted(apart)
            )
            raise ConfigError(
                f"job {old.id} has sent rows of this file as it was read then: {said}",
                hint="Run it with the options of then, or with --again NAME to issue anew.",
            )

    def recorded(self, job: JobId) -> Mapping[str, str]:
        """How a job's file was read; nothing of a job that this ledger doesn't know."""
        found = self.ledger.views.job(job)
        return found.job.spec.reading if found is not None else {}

    # --- whose job it is ----------------------------------------------------------------------------------------

    def spec(self, file: Intake, org: str) -> JobSpec:
        """The job that this content is, for this series, org and `--again` name."""
        config = self.config
        identity = "\n".join((org, str(config.series_id), config.again, file.source.sha256))
        return JobSpec(
            # begins with a letter: a spreadsheet would make a number of `1234e56` and the lineage would be lost
            id=JobId("j" + hashlib.sha256(identity.encode()).hexdigest()[:9]),
            org=org,
            series_id=config.series_id,
            again=config.again,
            account=config.account.name,
            path=str(file.source.path.absolute()),
            sha256=file.source.sha256,
            header=file.source.header,
            reading=file.as_text(),
        )

    async def series(self) -> Series | None:
        """The series' facts, None if this account may not read them; raises `JobHalted` if nothing can be asked."""
        found = await self.client.series(self.config.series_id)
        for pause in SERIES_PAUSES:
            if isinstance(found, Series) or found.problem in (ReadProblem.NOT_FOUND, ReadProblem.REFUSED):
                break
            await self.clock.sleep(pause)
            found = await self.client.series(self.config.series_id)
        if isinstance(found, Series):
            return found
        if found.problem is ReadProblem.NOT_FOUND:
            raise JobHalted(
                f"Capillary knows no coupon series {self.config.series_id}",
                hint="Check --series; nothing was issued.",
            )
        if found.problem is ReadProblem.REFUSED:
            self._tell(f"The series' facts can't be read ({found.reason}); only sending will show whether it is open.")
            return None
        raise JobHalted(f"Capillary can't be asked: {found.reason}", hint="Nothing was issued. Run it again later.")

    async def org(self, series: Series | None) -> str:
        """The org whose customers and series these are: the scope of jobs and claims, so it must never waver."""
        account = self.config.account
        named = self.config.org or await self.client.org() or (series.org_id if series else None)
        known = await self.ledger.jobs.account(account.name)
        if known is not None:
            if named is not None and known not in {named, account.host}:
                raise ConfigError(
                    f"this account belonged to org {known} and now says {named}",
                    hint="Use the credentials of the org, or another --ledger for another org.",
                )
            return known
        if named is None:
            others = await self.ledger.jobs.orgs(account.host)
            if others:
                raise ConfigError(
                    "neither the token nor the series says which org this account belongs to",
                    hint=f"Say it with --org; this ledger knows {', '.join(sorted(others))} on this host.",
                )
            named = account.host
            self._tell(f"Capillary doesn't say which org this is; {named} stands for it in the ledger.")
        elif account.host in await self.ledger.jobs.orgs(account.host):
            # earlier runs could only name the host: their claims must go on to count
            named = account.host
        learnt = await self.ledger.jobs.account(account.name, named)
        assert learnt is not None
        return learnt

    # --- results ------------------------------------------------------------------------------------------------

    def _out(self, spec: JobSpec) -> Path:
        return self.files.out or default_out(spec)

    async def report(self, ending: Ending, out: Path) -> Report:
        """Write the files, also those of the jobs whose rows a failures file retried, where they still stand."""
        report = await write(self.ledger, ending, out, self.files, self.config, self.taken_in)
        for name in self.ledger.views.parents(ending.job.spec.id):
            parent = await self.ledger.jobs.find(name)
            if parent is None or parent.state is JobState.PURGED:
                continue
            if _there(default_out(parent.spec) / SUMMARY):
                stands = await standing(self.ledger, parent, self.clock.now())
                its = replace(self.files, format=format_in(default_out(parent.spec)))
                await write(self.ledger, stands, default_out(parent.spec), its, self.config)
        return report

    def _tell(self, message: str) -> None:
        self.observer(Progress(job=JobId(""), phase="", tally={}, rows=0, message=message))


def _there(path: Path) -> bool:
    """Whether it is there, and this process may look so far."""
    return os.path.exists(path)  # noqa: PTH110 - Path raises where it may not


@asynccontextmanager
async def desk(config: Config, observer: Observer, asked: asyncio.Event, files: Files) -> AsyncIterator[Desk]:
    """Everything that a running command needs, closed again afterwards."""
    clock = SystemClock()
    async with (
        opened(config.ledger) as ledger,
        Client(
            config.account,
            clock,
            timeout=config.timeout,
            connections=config.connections,
            series_id=config.series_id,
        ) as client,
    ):
        yield Desk(
            config=config, ledger=ledger, client=client, clock=clock, observer=observer, asked=asked, files=files
        )
