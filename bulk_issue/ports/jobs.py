"""What there is: jobs, their accounts and who holds them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from bulk_issue.model import NOBODY, Job, JobId, JobSpec, JobState, LeftOut, Moment, Row, Tally


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The rate limit of an account: at most `rate` requests in any window of `per` seconds."""

    account: str
    rate: int
    per: float
    #: How long a permit whose request got no answer stays taken, besides `per`: time-out + grace.
    unanswered: float
    #: How long after its intent a request may still be under way: until it may leave no more, and the time-out. Each
    #: run's own is kept, for the run that has to go on without it.
    lingers: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """The right to run a job, from `Jobs.hold` until `Jobs.release` or the process' death."""

    job: JobId
    #: Unique to this run; stands in every row and attempt that it begins.
    token: str
    #: Rows that a dead holder had left in flight and that are in doubt now.
    recovered: int = 0
    #: How the job stood before; STOPPED where a run was cut short and the job isn't left to workers.
    before: JobState = JobState.READY
    #: True if only rows may begin that the last `Jobs.retry` has put back.
    retried: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSummary:
    """A job with its rows by state, for lists."""

    job: Job
    tally: Tally
    #: Reruns of its failures that work rows of it which may still change: going on is theirs.
    waiting_in: Sequence[JobId] = ()


class Jobs(Protocol):
    """What jobs there are, and what people do to them."""

    async def find(self, job: JobId) -> Job | None: ...

    async def register(
        self,
        spec: JobSpec,
        chunks: Iterable[Sequence[Row]],
        blank: Callable[[], int],
        now: Moment,
        left_out: LeftOut = NOBODY,
    ) -> Job:
        """Write a job and its rows in one pass over `chunks`, a commit a chunk; READY only when all are in.

        What an interrupted registration of the same job left behind is removed first. A row whose `lineage` names a
        REJECTED row of a known job with the same identifier key becomes LINKED to it, and that row is PENDING again,
        queued for this job; a row with a corrected identifier makes the parent's row SUPERSEDED. Lineage to a job
        that this ledger doesn't know raises `LedgerError`. `blank` is asked after the last chunk.
        An identifier that may be no correction, but what a spreadsheet made of the parent's, makes its record INVALID
        and leaves the parent's row as it is, unless `left_out` says that look-alikes are other people, or the job's
        country is another one. `left_out` is what the rows' `withheld` was made by.
        """
        ...

    async def unregister(self, job: JobId) -> bool:
        """Forget the rows of a job that has issued, held and doubted nothing, so that its file can be read again.

        What it has sent stays on record, its rejections are void. False, and nothing changed, if anything came of it,
        if it was cancelled, if rows of it have to do with another job's, or if a living process runs it.
        """
        ...

    async def hold(self, job: JobId, budget: Budget, now: Moment, *, worker: int | None = None) -> Hold:
        """Become the job's holder and RUNNING; raises `JobHeld` naming the pid if a living process is.

        Raises `LedgerError` if the job was registered again since it was found here.
        Rows that a dead holder left IN_FLIGHT are IN_DOUBT on return, given up when that was found (where it may have
        outlived its hold: later by its `Budget.lingers` or by this one, whichever is longer). The run that held the job
        before can begin nothing more. The budget becomes the account's for all processes; `ConfigError` if another
        living run holds a job of the account with other values. `worker`: the engine's number of the worker that runs
        the job; None for a person.
        """
        ...

    async def release(
        self,
        hold: Hold,
        state: JobState,
        because: str,
        now: Moment,
        exit_code: int | None = None,
        *,
        stop_kind: str = "",
    ) -> bool:
        """Let the job go; its run is on record with its end. `exit_code` is None where the run was cut short.

        `because` and `stop_kind` say why it stopped; both are empty if nothing stopped it.

        As RUNNING it is let go for another worker. False, and nothing of the job changed, if another run holds it now.
        """
        ...

    async def confirm(self, hold: Hold) -> None:
        """Raise `JobHeld` if another run holds the job by now."""
        ...

    async def defer(self, job: JobId, account: str | None = None) -> None:
        """Leave the job to the workers of `account`, of its own if none is given; one that was stopped is READY again.

        Raises `ConfigError` while a run of another account holds it.
        """
        ...

    async def waiting(self, account: str) -> Sequence[JobId]:
        """The account's jobs that were deferred and not dismissed, oldest first."""
        ...

    async def evict(self, account: str, silent: float) -> None:
        """End the hold of workers on the account's jobs that the engine hasn't seen for so many seconds.

        Such a worker may be alive: it stands still, or its way here is cut. Who runs a job by hand keeps it.
        """
        ...

    async def dismiss(self, job: JobId) -> None:
        """Nothing is left for workers to do, files written and all; nothing changes if the job is open again."""
        ...

    async def retry(self, job: JobId, codes: Sequence[str]) -> int:
        """REJECTED rows (with one of `codes`, or all if empty) are PENDING again with fresh attempts; says how many.

        Those of other jobs that records of this one are LINKED to are among them.
        """
        ...

    async def cancel(self, job: JobId, who: str = "", why: str = "") -> int:
        """PENDING rows are CANCELLED and the job with them; says how many. Rows in doubt stay so.

        The job's `stopped_because` tells who did it and why, until its rows are put back.
        """
        ...

    async def put_back(self, job: JobId) -> int:
        """CANCELLED rows are PENDING again with fresh attempts, to be sent by the job's next run; says how many.

        The job is cancelled no more: what comes back from doubt is PENDING too.
        """
        ...

    async def account(self, account: str, org: str | None = None) -> str | None:
        """The org that an account belongs to; remembers `org` if one is given and none was known."""
        ...

    async def orgs(self, host: str) -> frozenset[str]:
        """The orgs that accounts of this host are known to belong to."""
        ...

    def running_elsewhere(self, job: JobId) -> bool:
        """Whether another living process runs the job."""
        ...
