"""What the services need of the world, as protocols. The docstrings are the guarantees that adapters keep.

The ledger has six faces, each with its own protocol: `Jobs` (what there is), `Work` (who may send what), `Doubts` (rows
that wait for the server's record), `Held` (coupons that customers had before), `Omissions` (who is left out of a job)
and `Views` (read-only, for files and status). Every async method is one transaction (`withhold`: one for some thousand
rows): on return it is on disk, on an exception nothing of it is.
A write that the ledger refuses raises `LedgerUnavailable`.
"""

from __future__ import annotations

from typing import Protocol

from bulk_issue.ports.doubts import Doubt, Doubts, Issued, ReaderFacts
from bulk_issue.ports.held import Held, HeldRow
from bulk_issue.ports.jobs import Budget, Hold, Jobs, JobSummary
from bulk_issue.ports.omissions import Candidate, Omissions
from bulk_issue.ports.views import (
    NO_OFFER,
    Doubtful,
    Pulse,
    ResultRow,
    RunFacts,
    Served,
    Traffic,
    Views,
    WorkerFacts,
)
from bulk_issue.ports.work import Begun, Landed, Settlement, Wait, Work
from bulk_issue.ports.world import Clock, Issuer, Limiter, Observer, Progress, Records

__all__ = [
    "NO_OFFER",
    "Begun",
    "Budget",
    "Candidate",
    "Clock",
    "Doubt",
    "Doubtful",
    "Doubts",
    "Held",
    "HeldRow",
    "Hold",
    "Issued",
    "Issuer",
    "JobSummary",
    "Jobs",
    "Landed",
    "Ledger",
    "Limiter",
    "Observer",
    "Omissions",
    "Progress",
    "Pulse",
    "ReaderFacts",
    "Records",
    "ResultRow",
    "RunFacts",
    "Served",
    "Settlement",
    "Traffic",
    "Views",
    "Wait",
    "Work",
    "WorkerFacts",
]


class Ledger(Protocol):
    """The durable record of jobs, rows, attempts, claims and permits: the only truth."""

    @property
    def jobs(self) -> Jobs: ...

    @property
    def work(self) -> Work: ...

    @property
    def doubts(self) -> Doubts: ...

    @property
    def omissions(self) -> Omissions: ...

    @property
    def held(self) -> Held: ...

    @property
    def views(self) -> Views: ...

    async def close(self) -> None: ...
