"""What is known before the first request, and how the faces are asked about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from bulk_issue.app.agreement import Agreement
from bulk_issue.errors import AgreementChanged
from bulk_issue.model import NOBODY, Alike, HeldBack, JobId, LeftOut, Removed, Series, Tally, Withheld
from bulk_issue.outlook import Outlook
from bulk_issue.ports import JobSummary
from bulk_issue.survey import Difference, Survey


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """An unfinished job of another content of the same file: a run finishes it first."""

    job: JobId
    tally: Tally
    difference: Difference
    #: Numbers of its rows that name removed customers and are not sent yet.
    removed: Sequence[int] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What a file holds and what a run would do."""

    #: What lies ahead: rows to send, time, cost, and what can't last.
    outlook: Outlook
    #: The kinds of identifier with the columns that they are taken from; empty where a job goes on without its file.
    columns: dict[str, str] = field(default_factory=dict)
    blank: int = 0
    #: None where the job is under way: its own counts say more.
    survey: Survey | None = None
    series: Series | None = None
    #: The job that this content is, and how it stands; None while nothing of it is registered.
    job: JobId | None = None
    tally: Tally | None = None
    earlier: Sequence[Earlier] = ()
    #: What a start agrees to; None without a series.
    agreement: Agreement | None = None
    #: Who is left out.
    left_out: LeftOut = NOBODY
    #: Rows whose customer looks like somebody on the suppression list, or like one who was served: they aren't sent
    #: before somebody says what they are.
    held_back: Mapping[Withheld, HeldBack] = field(default_factory=dict)
    #: Customers whom the list names now and didn't when the job was registered, and the other way round.
    list_added: int = 0
    list_removed: int = 0
    #: The occasion, if no run for it has begun: by a mistyped name everybody is served again.
    new_occasion: str = ""
    #: What couldn't be checked, and why.
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Talk:
    """How a face shows and asks. Without a person everything is agreed to."""

    #: Told what is known, before anything is sent.
    show: Callable[[Checked], None] = lambda _checked: None
    #: Asked who the look-alikes are, if there are any and nobody has said it; None: hold them back.
    alike: Callable[[Checked], Alike | None] = lambda _checked: None
    #: Asked before a job starts, once more if what was agreed to has changed since; False: not now.
    confirm: Callable[[Checked, AgreementChanged | None], bool] = lambda _checked, _changed: True
    #: Asked what becomes of customers who were removed from the file of an unfinished job; None: nothing is started.
    changed: Callable[[JobSummary, Difference, Sequence[int]], Removed | None] = lambda _job, found, _rows: (
        Removed.HOLD if found.edited else Removed.FINISH
    )
