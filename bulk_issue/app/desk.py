"""What the commands that talk to Capillary share: an open ledger, a client, and whom to tell."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from bulk_issue.app.agreement import Agreement, Selection
from bulk_issue.app.ahead import earlier_contents, look_ahead, served, unfinished
from bulk_issue.app.changed import difference, pending, settle
from bulk_issue.app.checked import Checked, Talk
from bulk_issue.app.deciding import decisions, refuse_unknown
from bulk_issue.app.intake import Intake, intake
from bulk_issue.app.left_out import Change, leave_out, leaving_out
from bulk_issue.app.reports import Files, Report, default_out, refuse_purged, standing, write
from bulk_issue.audit import Audited
from bulk_issue.client import Client
from bulk_issue.clock import SystemClock
from bulk_issue.commands import command
from bulk_issue.config import Config, LedgerUrl, read_so
from bulk_issue.crew import Hand
from bulk_issue.ending import ExitCode
from bulk_issue.errors import AgreementChanged, ConfigError, JobHalted, ReadOtherwise
from bulk_issue.health import Stop, StopKind
from bulk_issue.job import Ending, Run
from bulk_issue.ledger import SqliteLedger, open_ledger
from bulk_issue.limiter import Pacer
from bulk_issue.model import (
    Alike,
    Decision,
    Job,
    JobId,
    JobSpec,
    JobState,
    LeftOut,
    ReadProblem,
    Removed,
    Row,
    Series,
    Unreadable,
    Withheld,
    only_alike,
)
from bulk_issue.outlook import Plan
from bulk_issue.ports import JobSummary, Observer, Progress
from bulk_issue.saying import count
from bulk_issue.sink import SUMMARY, claim_folder, format_in, sha256
from bulk_issue.states import RowState
from bulk_issue.survey import Survey, counting

#: Look-ups a minute: documented as 1 000 for v1.1 and unlimited for v2, kept well below.
LOOKUPS, LOOKUPS_PER = 300, 60.0
#: Seconds between the tries to read the series' facts, which nothing can start without.
SERIES_PAUSES = (0.5, 2.0)


#: A look at what a start would send now; who look-alikes are is asked on the way.
Look = Callable[[Talk], Awaitable[Checked]]


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
        with ExitStack() as opened:
            file = opened.enter_context(intake(path, self.config.reading, self.recorded))
            series = await self.series()
            spec = self.spec(file, await self.org(series))
            out = self._out(spec)
            claim_folder(out, spec.id)
            job = await self.ledger.jobs.find(spec.id)
            file, left_out = opened.enter_context(self.leaving_out(file, job))
            reports: list[Report] = []
            if job is None or job.state is JobState.REGISTERING or self.config.changed is not None:
                waiting = await unfinished(self.ledger, spec)
                names = {each.job.spec.id for each in waiting}
                for earlier in earlier_contents(self.ledger, spec):
                    if earlier.job.spec.id in names:
                        continue
                    if self.config.changed is not None and self._removed_from(earlier):
                        waiting.append(earlier)
                    elif earlier.tally.get(RowState.IN_DOUBT, 0):  # it may come to nothing, and be pending again
                        await self._settle_removed(earlier, file, talk)
                for earlier in waiting:
                    reports.append(await self._finish(earlier, file, series, talk))
                    if reports[-1].ending.exit_code is ExitCode.STOPPED or await self.ledger.work.pending(
                        earlier.job.spec.id
                    ):
                        self._tell(f"The new content of {path.name} waits until that job is finished.")
                        return reports
            job, look = await self._registered(job, spec, series, file, left_out)
        told = {report.job.spec.id for report in reports}
        for earlier in earlier_contents(self.ledger, spec):
            if earlier.job.spec.id not in told and self._removed_from(earlier):
                stands = await standing(self.ledger, earlier.job, self.clock.now())
                reports.append(await self.report(stands, default_out(earlier.job.spec)))
        reports.append(await self._issue(job, series, look, talk, out))
        return reports

    async def defer(self, path: Path, talk: Talk) -> list[Job]:
        """Register the file's job or find it: what is to be left to workers, an earlier content's job first."""
        with ExitStack() as opened:
            file = opened.enter_context(intake(path, self.config.reading, self.recorded))
            series = await self.series()
            spec = self.spec(file, await self.org(series))
            before = await unfinished(self.ledger, spec)
            for each in before:
                await self._settle_removed(each, file, talk)
            known = await self.ledger.jobs.find(spec.id)
            file, left_out = opened.enter_context(self.leaving_out(file, known))
            job, look = await self._registered(known, spec, series, file, left_out)
            self._agree(await look(talk), talk)
        return [*(each.job for each in before), job]

    async def defer_again(self, job: Job, talk: Talk) -> Job:
        """The same with a registered job, without its file."""
        self._agree(await self._known(talk, job, await self.same_org(job)), talk)
        return job

    async def _registered(
        self, job: Job | None, spec: JobSpec, series: Series | None, file: Intake, left_out: LeftOut
    ) -> tuple[Job, Look]:
        """The file's job with all its rows, and a look at what a run of it would do."""
        if job is not None:
            refuse_purged(job)
        if job is not None and job.state is not JobState.REGISTERING and dict(job.spec.reading) != dict(spec.reading):
            await self._register_anew(job.spec, spec)
            job = None
        counted = Survey() if job is None or job.started is None else None
        chunks: Iterator[list[Row]] = file.chunks()
        if counted is not None:
            chunks = counting(chunks, counted, served(self.ledger, spec, left_out.alike))
        job = await self.ledger.jobs.register(spec, chunks, lambda: file.source.blank, self.clock.now(), left_out)
        if counted is not None:
            for _ in chunks:  # registered before, by a run that sent nothing
                pass
        return job, partial(self._known, job=job, series=series, counted=counted, file=file)

    async def _known(
        self,
        talk: Talk,
        job: Job,
        series: Series | None,
        counted: Survey | None = None,
        file: Intake | None = None,
        which: Selection = Selection.PENDING,
        codes: Sequence[str] = (),
    ) -> Checked:
        """What a run of a registered job would do, once those are left out who are to be, look-alikes among them."""

        async def look(change: Change) -> Checked:
            others = change.left_out.alike is Alike.SEND
            its = counted.with_look_alikes() if counted is not None and others else counted
            return await self.checked(job.spec, series, its, file, change=change, which=which, codes=codes)

        change = await self.leave_out(job)
        checked = await look(change)
        word = talk.alike(checked) if only_alike(checked.held_back) and change.left_out.alike is None else None
        if word is None:
            return checked
        change.left_out = (await self.leave_out(job, word)).left_out
        return await look(change)

    async def leave_out(self, job: Job, word: Alike | None = None) -> Change:
        """Leave out of a registered job who is to be left out now, before anything of it is sent; see `Omit`.

        `word`: what a person has just said of the look-alikes.
        """
        fresh = await self.ledger.jobs.find(job.spec.id)
        omit = self.config.omit if word is None else replace(self.config.omit, alike=word)
        change = await leave_out(self.ledger, fresh or job, omit)
        if change.words and word is None:
            self._tell(change.words)
        return change

    def leaving_out(self, file: Intake, job: Job | None) -> AbstractContextManager[tuple[Intake, LeftOut]]:
        """The file of this job with the rows marked that are to be left out."""
        known = job if job is not None and job.state is not JobState.REGISTERING else None
        found = self.ledger.views.job(file.origin) if file.origin is not None else None
        views = self.ledger.views
        return leaving_out(file, self.config.omit, known, found.job if found else None, views)

    async def resume(self, job: Job, talk: Talk, which: Selection = Selection.PENDING) -> list[Report]:
        """Go on with a registered job, without its file."""
        series = await self.same_org(job)
        out = self._out(job.spec)
        claim_folder(out, job.spec.id)
        return [await self._issue(job, series, partial(self._known, job=job, series=series, which=which), talk, out)]

    async def retry(self, job: Job, talk: Talk, codes: Sequence[str] = (), *, cancelled: bool = False) -> list[Report]:
        """Send the rejected rows of a job once more (all, or those with one of `codes`), and no other row.

        With `cancelled` those that were cancelled, in their place.
        """
        series = await self.same_org(job)
        out = self._out(job.spec)
        claim_folder(out, job.spec.id)
        name, jobs = job.spec.id, self.ledger.jobs

        async def put_back() -> None:
            await (jobs.put_back(name) if cancelled else jobs.retry(name, codes))
            if (now := await jobs.find(name)) is not None:  # who is left out meanwhile comes back as left out
                await self.ledger.omissions.settle(name, now.left_out)
            rows = await self.ledger.work.pending(name, retried=True)
            kind, of = "cancelled" if cancelled else "rejected", f" of {' or '.join(codes)}" if codes else ""
            are = f"{count(rows, f'{kind} row')}{of} {'is' if rows == 1 else 'are'} pending again."
            self._tell(are if rows else f"No {kind} row{of} is left to put back.")
            await self.leave_out(job)  # customers may have opted out since they were rejected

        which = Selection.CANCELLED if cancelled else Selection.REJECTED
        look = partial(self._known, job=job, series=series, which=which, codes=codes)
        return [await self._issue(job, series, look, talk, out, put_back)]

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
        landed = await self.record(job, found, who, why)
        self.taken_in.add(sha256(path))
        return landed, len(found) - landed

    async def record(self, job: Job, found: Sequence[Decision], who: str, why: str) -> int:
        """Record decisions on rows of a job, all or none; raises `ConfigError` for one that can't be true."""
        series: Series | None = None
        with suppress(JobHalted):  # nothing can be asked: the ledger's word has to do
            series = await self.same_org(job)
            lookups = Pacer(LOOKUPS, LOOKUPS_PER, even=True)
            await refuse_unknown(found, self.ledger.doubts, self.client, lookups, job.spec.series_id)
        shared = series is not None and series.generic
        return await self.ledger.doubts.decide(found, who, why, self.clock.now(), shared=shared)

    # --- before a start -----------------------------------------------------------------------------------------

    async def checked(
        self,
        spec: JobSpec,
        series: Series | None,
        counted: Survey | None = None,
        file: Intake | None = None,
        *,
        change: Change | None = None,
        which: Selection = Selection.PENDING,
        codes: Sequence[str] = (),
    ) -> Checked:
        """What a run of this job would do: see `look_ahead`."""
        plan, now = Plan.of(self.config), self.clock.now().wall
        return await look_ahead(
            self.ledger, spec, series, plan, now, counted=counted, file=file, change=change, which=which, codes=codes
        )

    async def _issue(
        self,
        job: Job,
        series: Series | None,
        look: Look,
        talk: Talk,
        out: Path,
        put_back: Callable[[], Awaitable[None]] | None = None,
    ) -> Report:
        """Show what would be sent, ask, and send it; what has changed before the first intent is asked about again.

        `put_back` is awaited once the job is held and nothing has changed: rejected rows that are to be sent again.
        """
        changed: AgreementChanged | None = None
        while True:
            checked = await look(talk)
            self._agree(checked, talk, changed)

            async def held(agreed: Agreement | None = checked.agreement) -> None:
                now = (await look(Talk())).agreement
                if agreed != now and agreed is not None and now is not None:
                    raise AgreementChanged(f"what would be sent has changed: {'; '.join(agreed.changes(now))}")
                if put_back is not None:
                    await put_back()

            try:
                retried = checked.agreement is not None and checked.agreement.which is not Selection.PENDING
                ending = await self._sent(job, series, held, retried=retried)
            except AgreementChanged as error:
                changed = error
            else:
                return await self.report(ending, out)

    def _agree(self, checked: Checked, talk: Talk, changed: AgreementChanged | None = None) -> None:
        """Show what would be sent and ask; raises `ConfigError` where it can't last, or isn't wanted."""
        ahead = checked.outlook
        if ahead.pending or checked.held_back or changed is not None:
            talk.show(checked)
        if ahead.pending or changed is not None:
            if ahead.short and not self.config.yes_short:
                raise ConfigError(
                    f"this can't last: {'; '.join(ahead.short)}",
                    hint="Nothing was sent. Change the series, send a part (--first N), or start all the same with "
                    "--yes-short.",
                )
            if not talk.confirm(checked, changed):
                raise ConfigError(
                    "nothing was started",
                    hint="Run the same command again when you are sure. What was read is kept as a job; "
                    f"{command('status')} shows it.",
                )

    async def _sent(
        self, job: Job, series: Series | None, held: Callable[[], Awaitable[None]], *, retried: bool
    ) -> Ending:
        """Issue what `--first` leaves of this run; it counts over all jobs of the run."""
        first = self.config.first
        if first is not None and self.sent >= first:
            stop = Stop(kind=StopKind.ASKED, because=f"--first {first}: so many rows were sent")
            return await standing(self.ledger, job, self.clock.now(), stop)
        left = replace(self.config, first=None if first is None else first - self.sent)
        ending = await self.lead(job, series, left).issue(held, retried=retried)
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
        """Finish the job of an earlier content, as it was registered, but for customers who were removed since."""
        job = earlier.job
        await self._settle_removed(earlier, file, talk)
        out = default_out(job.spec)
        claim_folder(out, job.spec.id)
        return await self._issue(job, series, partial(self._known, job=job, series=series), talk, out)

    def _removed_from(self, earlier: JobSummary) -> bool:
        """Whether rows of customers who were removed from its file are held back."""
        return Withheld.REMOVED in self.ledger.views.held_back(earlier.job.spec.id)

    async def _settle_removed(self, earlier: JobSummary, file: Intake, talk: Talk) -> None:
        """Keep what becomes of customers who stand in the file no more, before anything of the job is sent."""
        job = earlier.job.spec.id
        found = difference(self.ledger, job, file)
        removed = pending(self.ledger, job, found)
        asks = self.config.changed is None and bool(removed)
        if not asks:
            self._tell(f"Job {job}, of an earlier content of this file, comes first. Since then: {found.words}.")
        word = self.config.changed or (talk if asks else Talk()).changed(earlier, found, removed)
        if word is None:
            raise ConfigError(
                f"{count(len(removed), 'customer')} of job {job} were removed from this file before they were sent a "
                "coupon",
                hint="Nothing was sent. Run the file again with --changed finish (they get one too) or --changed drop "
                "(they don't).",
            )
        if word is Removed.FINISH and self.config.changed is None and not found.edited:
            return  # the next batch removes nobody; who was removed before waits for a word of their own
        if held := await settle(self.ledger, job, found, word):
            self._tell(
                f"Job {job}: {count(held, 'row')} held back, removed from the file since ({_named(removed)}). "
                "--changed finish sends to them, --changed drop cancels them."
            )

    async def _register_anew(self, old: JobSpec, new: JobSpec) -> None:
        """Options that decide which customer a record names belong to the registered job."""
        apart = {name for name in {*old.reading, *new.reading} if old.reading.get(name) != new.reading.get(name)}
        said = ", ".join(
            f"{name} was {old.reading.get(name, 'not given')!r} and is {new.reading.get(name, 'not given')!r}"
            for name in sorted(apart)
        )
        rejected = sum(self.ledger.views.rejected(old.id).values())
        if not await self.ledger.jobs.unregister(old.id):
            raise ReadOtherwise(
                f"job {old.id} was begun, or cancelled, with this file as it was read then: {said}",
                hint=f"Go on as it was read then: {as_it_was_read(old)}",
            )
        self._tell(f"The file is read in another way now: {said}.")
        if rejected:
            self._tell(f"{count(rejected, 'row')} rejected as it was read before: no longer counted.")

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
        return self.readable(await self.facts())

    async def facts(self) -> Series | Unreadable:
        """What Capillary says of the series, asked again a few times where that may help."""
        found = await self.client.series(self.config.series_id)
        for pause in SERIES_PAUSES:
            if isinstance(found, Series) or found.problem in (ReadProblem.NOT_FOUND, ReadProblem.REFUSED):
                break
            await self.clock.sleep(pause)
            found = await self.client.series(self.config.series_id)
        return found

    def readable(self, found: Series | Unreadable) -> Series | None:
        """As `series` says, of an answer that is here."""
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


def as_it_was_read(spec: JobSpec) -> str:
    """The command that goes on with a job as its file was read when it was registered."""
    name = ("--again", spec.again) if spec.again else ()
    return command("run", spec.path, "--series", spec.series_id, *name, *read_so(spec.reading))


def _named(rows: Sequence[int]) -> str:
    """The first of these rows of an earlier content."""
    return f"row{'' if len(rows) == 1 else 's'} {', '.join(map(str, rows[:5]))}{', …' if len(rows) > 5 else ''} of then"


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
