"""Who is lost is judged by beats that stand still while somebody looks, and by nothing else."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace

import pytest

from bulk_issue.errors import JobHeld, LedgerUnavailable
from bulk_issue.health import Stop, StopKind
from bulk_issue.model import JobId, Moment
from bulk_issue.ports import Budget, Hold, Member, Muster, Part
from bulk_issue.presence import BEAT, SILENT, Presence
from bulk_issue.testing import VirtualClock, on_virtual_time

JOB = JobId("job-a")
BUDGET = Budget(account="host#user", rate=300, per=60.0, unanswered=150.0)
LEAD = Member(job=JOB, token="lead", part=Part.LEAD, host="one", pid=1, beat=0.0)
SHARE = Member(job=JOB, token="share", part=Part.SHARE, host="two", pid=2, beat=0.0)


@dataclass
class Members:
    """A ledger whose other member beats until a second, and which itself is down at times."""

    other: Member
    beats_until: float
    down: tuple[float, float] = (0.0, 0.0)
    led: bool = True
    doubts: list[int] = field(default_factory=list)
    lost: list[float] = field(default_factory=list)
    halts: list[str] = field(default_factory=list)
    several: bool = True

    async def beat(self, hold: Hold, now: Moment) -> Muster:
        del hold
        at = asyncio.get_running_loop().time()
        if self.down[0] <= at < self.down[1]:
            raise LedgerUnavailable("it is down")
        if self.lost:
            return Muster(others=[], led=self.led, doubts=0)
        member = replace(self.other, beat=min(at, self.beats_until))
        return Muster(others=[member], led=self.led, doubts=self.doubts.pop(0) if self.doubts else 0)

    async def lose(self, hold: Hold, member: Member, budget: Budget, now: Moment) -> bool:
        self.lost.append(asyncio.get_running_loop().time())
        return True

    async def halt(self, hold: Hold, because: str, hint: str) -> None:
        self.halts.append(because)

    async def share(self, job: JobId, budget: Budget, now: Moment) -> Hold:
        raise NotImplementedError

    async def leave(self, hold: Hold, because: str, now: Moment) -> None:
        raise NotImplementedError


def presence(members: Members, part: Part, stop: Stop | None = None) -> tuple[Presence, list[float], list[float]]:
    """One whose job's leaving and rows' settling are noted."""
    leaderless, settled = list[float](), list[float]()

    def now() -> float:
        return asyncio.get_running_loop().time()

    made = Presence(
        hold=Hold(job=JOB, token="mine"),
        part=part,
        members=members,
        budget=BUDGET,
        clock=VirtualClock(),
        stopped=lambda: stop,
        on_leaderless=lambda: leaderless.append(now()),
        on_settled=lambda: settled.append(now()),
    )
    return made, leaderless, settled


async def keep(made: Presence, seconds: float) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(seconds):
            await made.keep()


@on_virtual_time
@pytest.mark.parametrize(("part", "other"), [(Part.LEAD, SHARE), (Part.SHARE, LEAD)])
async def test_whoever_stops_beating_is_lost_soon_after_fifteen_seconds(part: Part, other: Member) -> None:
    members = Members(other, beats_until=20.0)
    made, leaderless, _ = presence(members, part)
    await keep(made, 100.0)

    (at,) = members.lost
    assert 20.0 + SILENT < at <= 20.0 + SILENT + 2 * BEAT + 1.0
    assert bool(leaderless) == (part is Part.SHARE)


@on_virtual_time
async def test_whoever_beats_is_never_lost() -> None:
    members = Members(SHARE, beats_until=1000.0)
    await keep(presence(members, Part.LEAD)[0], 1000.0)

    assert not members.lost


@on_virtual_time
async def test_while_the_ledger_is_down_nobody_is_missed() -> None:
    """All members are as silent then; they have their time again when it is back."""
    members = Members(SHARE, beats_until=30.0, down=(31.0, 500.0))
    await keep(presence(members, Part.LEAD)[0], 514.0)
    assert not members.lost


@on_virtual_time
async def test_whoever_stood_still_itself_misses_nobody_at_once() -> None:
    members = Members(SHARE, beats_until=30.0)
    made, _, _ = presence(members, Part.LEAD)
    await keep(made, 33.0)
    await asyncio.sleep(1000.0)  # SIGSTOP, a frozen virtual machine
    await keep(made, SILENT - BEAT)

    assert not members.lost


@on_virtual_time
async def test_shares_dont_judge_each_other() -> None:
    members = Members(SHARE, beats_until=0.0)
    await keep(presence(members, Part.SHARE)[0], 100.0)

    assert not members.lost


@on_virtual_time
async def test_a_job_without_a_lead_is_told_of_at_the_second_look() -> None:
    """Between one lead's letting go and the next one's coming there is a moment."""
    made, leaderless, _ = presence(Members(SHARE, beats_until=1000.0, led=False), Part.SHARE)
    await keep(made, 4.0)
    assert not leaderless
    await keep(made, 4.0)
    assert leaderless


@on_virtual_time
async def test_a_row_that_the_lead_has_settled_is_told_of() -> None:
    made, _, settled = presence(Members(LEAD, beats_until=1000.0, doubts=[0, 2, 2, 1]), Part.SHARE)
    await keep(made, 12.0)
    assert not settled
    await keep(made, 12.0)
    assert settled


@on_virtual_time
@pytest.mark.parametrize(("kind", "halts"), [(StopKind.HALTED, 1), (StopKind.FAILURES, 1), (StopKind.STALLED, 0)])
async def test_what_is_everybodys_reason_to_stop_is_told_once(kind: StopKind, halts: int) -> None:
    members = Members(LEAD, beats_until=1000.0)
    await keep(presence(members, Part.SHARE, Stop(kind=kind, because="no more coupons"))[0], 30.0)

    assert len(members.halts) == halts


@on_virtual_time
async def test_whoever_is_lost_hears_of_it() -> None:
    class Gone(Members):
        async def beat(self, hold: Hold, now: Moment) -> Muster:
            raise JobHeld("others go on")

    with pytest.raises(JobHeld):
        await presence(Gone(LEAD, 0.0), Part.SHARE)[0].keep()
