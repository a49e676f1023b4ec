"""Why a campaign stopped, and what to press: the page's own words for each kind of stop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bulk_issue.health import StopKind
from bulk_issue.model import Job, JobState
from bulk_issue.web.plain import plain


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """What is said of a campaign that doesn't run."""

    why: str
    #: What was counted, or what Capillary said; may be empty.
    detail: str
    todo: str


#: By kind: why, and what to do.
WORDS: Mapping[StopKind, tuple[str, str]] = {
    StopKind.HALTED: (
        "Capillary refuses the whole campaign, so it stopped by itself.",
        "Have that put right, then press “Go on”. Nothing is lost, and nobody is sent a second coupon.",
    ),
    StopKind.BREAKER: (
        "Too many answers left it open whether a coupon was issued, so it stopped by itself.",
        "Rows in doubt are sent again only when that is settled. When Capillary works again, press “Go on”.",
    ),
    StopKind.FAILURES: (
        "Too many rows were rejected, so it stopped by itself.",
        "Usually it is the wrong column or series: look at the reasons below. To go on all the same, tick the box.",
    ),
    StopKind.STALLED: (
        "Nothing could be sent any more, so it stopped by itself.",
        "When Capillary answers again, press “Go on”. Nothing is lost.",
    ),
    StopKind.CANCELLED: (
        "The campaign was cancelled.",
        "To take that back, put its rows back, and press “Go on”.",
    ),
    StopKind.ASKED: (
        "It has sent what it was to send for now.",
        "To send the rest, press “Go on”.",
    ),
}
_CUT_SHORT = ("The program that ran it was ended.", "Press “Go on”. Nobody is sent a second coupon.")


def stopped(job: Job, *, running: bool) -> Stopped | None:
    """What to say of the job's stop; None where it runs, has ended, or a person has paused it."""
    if running or not job.stopped_because or job.state is JobState.ENDED:
        return None
    if job.state is JobState.CANCELLED:
        why, todo = WORDS[StopKind.CANCELLED]
        return Stopped(why=why, detail=plain(job.stopped_because), todo=todo)
    if job.state is JobState.PURGED:
        return Stopped(why="Its customers are forgotten.", detail=plain(job.stopped_because), todo="")
    if not job.stop_kind:
        why, todo = _CUT_SHORT
        return Stopped(why=why, detail="", todo=todo)
    kind = StopKind(job.stop_kind)
    if kind is StopKind.ASKED and job.stopped_because == "as asked":
        return None
    why, todo = WORDS[kind]
    return Stopped(why=why, detail=plain(job.stopped_because), todo=todo)
