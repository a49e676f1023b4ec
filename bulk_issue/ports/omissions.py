"""Who is left out of a job after it was registered: the suppression list as it changes, and look-alikes.

A row that is *withheld* is never begun, whatever its state and whoever runs the job. One that the list names is INVALID
as soon as nothing of it is under way; a look-alike stays PENDING until a person says what it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from bulk_issue.model import HeldBack, JobId, LeftOut, Withheld
from bulk_issue.states import RowState


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A row of a job that is, or may be, sent some time: a list may take it away, or give it back."""

    number: int
    cells: tuple[str, ...] = field(repr=False)
    state: RowState
    withheld: Withheld | None


class Omissions(Protocol):
    """Who is left out of a job."""

    def candidates(self, job: JobId) -> Iterator[Candidate]:
        """The job's candidates in input order, streamed; a LINKED record is the row that it is linked to."""
        ...

    async def withhold(self, job: JobId, marks: Mapping[int, Withheld | None]) -> None:
        """Let these rows be withheld for that reason, or not any more: EXCLUDED, ALIKE_EXCLUDED, REMOVED or None.

        A PENDING row that is EXCLUDED is INVALID on return, and PENDING again when it no longer is. Rows that are on
        the wire, in doubt or rejected only can't begin again. Rows that another job works are left alone. Raises
        `JobHeld` where rows are let go of a job that another process runs: nobody there has agreed to send them.
        """
        ...

    async def drop(self, job: JobId) -> int:
        """PENDING rows that are withheld as REMOVED are CANCELLED; says how many."""
        ...

    async def settle(self, job: JobId, left_out: LeftOut) -> None:
        """Keep who is left out from now on, and move what is held back accordingly.

        Look-alikes of served customers: SEND lets them go; SKIP makes them DUPLICATE of the row that was served;
        otherwise they stay, as far as that row still has its claim. Those of the list: SEND lets them go, SKIP makes
        them INVALID. What came back to PENDING though the list names it is INVALID too. Raises `JobHeld` where SEND is
        new to a job that another process runs.
        """
        ...

    async def held_back(self, job: JobId) -> Mapping[Withheld, HeldBack]:
        """The PENDING rows that are withheld, by reason."""
        ...
