"""Who takes part in a job, where several hosts share a ledger: one lead, and any number of shares.

The lead holds the job, settles its rows in doubt and ends it. A share only begins rows of it and records their answers.
Whoever takes part is seen by its beats; one that isn't seen any more is *lost*: others go on without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Protocol

from bulk_issue.model import JobId, Moment
from bulk_issue.ports.jobs import Budget, Hold


@unique
class Part(StrEnum):
    """What a run does for its job."""

    #: It holds the job: begins rows, settles those in doubt, ends it.
    LEAD = "lead"
    #: It only begins rows and records their answers.
    SHARE = "share"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A run that takes part in a job, as far as the ledger knows."""

    job: JobId
    token: str
    part: Part
    host: str
    pid: int
    #: Its last beat; to be compared for equality only.
    beat: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Muster:
    """What a member finds when it shows itself."""

    #: The other members of its job that nobody has found to be lost.
    others: Sequence[Member]
    #: Whether somebody leads the job.
    led: bool
    #: Rows that this member began and that are in doubt now.
    doubts: int


class Members(Protocol):
    """Who takes part in a job."""

    @property
    def several(self) -> bool:
        """Whether processes of several hosts may take part; otherwise the other methods aren't for this ledger."""
        ...

    async def share(self, job: JobId, budget: Budget, now: Moment) -> Hold:
        """Take part in a running job beside its lead; `ConfigError` if the account is used with another limit.

        The hold is good for `Work.begin` until `leave`, or until others go on without this run.
        """
        ...

    async def beat(self, hold: Hold, now: Moment) -> Muster:
        """Show that this run is alive; raises `JobHeld` if others go on without it.

        For the lead, rows in doubt that other hosts gave up count as given up now: only a host's own clock tells how
        long ago something was.
        """
        ...

    async def halt(self, hold: Hold, because: str, hint: str) -> None:
        """Let nobody begin a row of the job any more, until its lead has ended it: `begin` raises `JobHalted`."""
        ...

    async def lose(self, hold: Hold, member: Member, budget: Budget, now: Moment) -> bool:
        """Go on without a member that hasn't beaten since; False, and nothing changed, if it has, or has ended.

        Nor does anything change if others have gone on without the run that asks.

        It can begin nothing more. Rows that a share left IN_FLIGHT are IN_DOUBT on return; a lead's are when there is
        a new one. Both count as given up only when no request of them can be on its way any more.
        """
        ...

    async def leave(self, hold: Hold, because: str, now: Moment) -> None:
        """Take part no longer; what is IN_FLIGHT of this run must have been recorded."""
        ...
