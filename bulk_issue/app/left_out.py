"""Who is left out of a job: its suppression list, applied whenever it is about to run, and what look-alikes are.

The rule: a list is no part of how a job's customers are read. The rows of a file are marked on their way into the
ledger; a job that is there is held against the list of now, by the cells that the ledger keeps, before anything of it
is sent. Only a list that has changed since costs more than reading it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

from bulk_issue import countries
from bulk_issue.alike import altered
from bulk_issue.app.intake import Intake, judge_record
from bulk_issue.config import Omit, Reading
from bulk_issue.customer_columns import columns
from bulk_issue.errors import BulkIssueError, HeaderUnclear, SourceError
from bulk_issue.exclusion import Exclusion
from bulk_issue.ledger import SqliteLedger
from bulk_issue.model import NOBODY, Alike, Job, LeftOut, Record, Row, Withheld
from bulk_issue.ports import Candidate, Views
from bulk_issue.rows import problem
from bulk_issue.saying import count
from bulk_issue.source import open_source
from bulk_issue.states import RowState

#: Marks that are written at once.
AT_ONCE = 10_000
_BY_THE_LIST = frozenset({Withheld.EXCLUDED, Withheld.ALIKE_EXCLUDED})
#: States of rows that may be sent at once when nothing withholds them.
_SENDABLE = frozenset({RowState.PENDING, RowState.INVALID})


@dataclass(slots=True, kw_only=True)
class Change:
    """What a suppression list of now does to a job that was registered with that of then."""

    left_out: LeftOut = NOBODY
    #: Rows of the job whose customers the list names now and didn't before, and the other way round.
    added: int = 0
    removed: int = 0
    #: How many more rows may be sent when it is done; negative for fewer.
    sendable: int = 0
    done: bool = False

    @property
    def words(self) -> str:
        """What people are told; empty if nothing changed."""
        said = [f"{count(self.added, 'customer')} added"] if self.added else []
        said += [f"{count(self.removed, 'customer')} taken off"] if self.removed else []
        return f"The suppression list has changed: {', '.join(said)}." if said else ""


# --- a file on its way into the ledger --------------------------------------------------------------------------


@contextmanager
def leaving_out(
    file: Intake, omit: Omit, own: Job | None, origin: Job | None, views: Views | None = None
) -> Iterator[tuple[Intake, LeftOut]]:
    """The file with its rows marked, and by what.

    `own` is the job that the file is, and `origin` the one whose failures it holds: what they leave out, this leaves
    out, unless the settings say otherwise. Failures that a spreadsheet may have altered name nobody.
    """
    remembered = own.left_out if own is not None else LeftOut(path=origin.left_out.path) if origin else NOBODY
    said = _said(omit, remembered)
    if origin is not None and views is not None and said.alike is not Alike.SEND:
        file = _refusing(file, origin, views)
    with _list(said, file.reading.country, remembered) as exclusion:
        if exclusion is None:
            yield file, said
            return
        # also by identifiers that aren't sent: a list of e-mail addresses means the customer, not the column
        places = exclusion.match(columns(file.source.header, file.reading.map))

        def mark(records: Sequence[Record], rows: Sequence[Row]) -> None:
            file.mark(records, rows)
            exclusion.apply(records, rows, places)
            for row in rows:
                row.withheld = _as_said(row.withheld, said.alike)

        yield replace(file, mark=mark), replace(said, sha256=exclusion.sha256)


def _refusing(file: Intake, origin: Job, views: Views) -> Intake:
    """The file, without the identifiers that a spreadsheet may have made of those that its failures had."""
    country, country_then = file.reading.country.upper(), origin.spec.reading.get("country", "")

    def mark(_records: Sequence[Record], rows: Sequence[Row]) -> None:
        known = views.origins([row.lineage for row in rows if row.lineage and row.identifier])
        for row in rows:
            was = known.get(row.lineage) if row.lineage and row.identifier else None
            if was and row.identifier and altered(was[0], row.identifier.key, country, country_then):
                wrong = problem("altered", column=row.identifier.kind, row=was[1].row, job=was[1].job)
                row.problem, row.identifier = wrong, None

    return replace(file, mark=mark)


def _said(omit: Omit, remembered: LeftOut) -> LeftOut:
    """Who is to be left out now; the list's digest isn't known yet."""
    path = str(omit.exclude.absolute()) if omit.exclude is not None else remembered.path
    return LeftOut(path="" if omit.no_exclude else path, alike=omit.alike or remembered.alike)


def _as_said(found: Withheld | None, word: Alike | None) -> Withheld | None:
    """What becomes of a row that the list names, or seems to: a person's word is about look-alikes only."""
    if found is not Withheld.ALIKE_EXCLUDED:
        return found
    match word:
        case Alike.SEND:
            return None
        case Alike.SKIP:
            return Withheld.EXCLUDED
        case _:
            return found


@contextmanager
def _list(said: LeftOut, country: str, remembered: LeftOut) -> Iterator[Exclusion | None]:
    """The suppression list, read by the same rules; which columns, sheet and dialect it has is its own affair."""
    if not said.path:
        yield None
        return
    path = Path(said.path)
    judge = partial(judge_record, country=countries.country(country))
    with ExitStack() as opened:
        with _asked_for(path, again=said.path == remembered.path):
            try:
                source = opened.enter_context(open_source(path, Reading()))
                places = columns(source.header, {})
            except HeaderUnclear as error:
                raise SourceError(
                    f"--exclude {path}: its first record looks like a customer's: nobody would be left out by it",
                    hint="Put a line above it with the names of its columns: mobile, email, externalId or customer_id.",
                ) from error
            except SourceError as error:
                hint = "Call its columns mobile, email, externalId or customer_id."
                raise SourceError(f"--exclude {path}: {error.message}", hint=hint) from error
        exclusion = opened.enter_context(Exclusion(source.sha256, judge))
        with _asked_for(path, again=said.path == remembered.path):
            exclusion.fill(str(path), source.chunks(), places)
        yield exclusion


@contextmanager
def _asked_for(path: Path, *, again: bool) -> Iterator[None]:
    """Say of a list that the job remembers, and that can't be read now, how to go on."""
    try:
        yield
    except BulkIssueError as error:
        if not again:
            raise
        raise SourceError(
            f"the job's suppression list: {error.message}",
            hint=f"Nothing was sent. Put the list back to {path}, or name another with --exclude FILE; if nobody is to "
            "be left out any more: --no-exclude.",
        ) from error


# --- a job in the ledger ----------------------------------------------------------------------------------------


async def leave_out(ledger: SqliteLedger, job: Job, omit: Omit) -> Change:
    """Leave out of a registered job who is to be left out now; raises `SourceError` where that can't be known."""
    with _held_against(ledger, job, omit) as (change, marks):
        while some := dict(islice(marks, AT_ONCE)):
            await ledger.omissions.withhold(job.spec.id, some)
    await ledger.omissions.settle(job.spec.id, change.left_out)
    change.done = True
    return change


def foreseen(ledger: SqliteLedger, job: Job, omit: Omit) -> Change:
    """What `leave_out` would change."""
    with _held_against(ledger, job, omit) as (change, marks):
        deque(marks, maxlen=0)
    return change


@contextmanager
def _held_against(
    ledger: SqliteLedger, job: Job, omit: Omit
) -> Iterator[tuple[Change, Iterator[tuple[int, Withheld | None]]]]:
    """The job's rows, held against the list of now as they are asked for: those to be marked otherwise than they are.

    The change is complete when the last was asked for.
    """
    said = _said(omit, job.left_out)
    reading = Reading().like(job.spec.reading)
    with _list(said, reading.country, job.left_out) as exclusion:
        if exclusion is not None:
            said = replace(said, sha256=exclusion.sha256)
        change = Change(left_out=said)
        if (said.sha256, said.alike) == (job.left_out.sha256, job.left_out.alike):
            yield change, iter(())
            return
        places = exclusion.match(columns(job.spec.header, reading.map)) if exclusion is not None else {}

        def wanted(row: Candidate) -> Withheld | None:
            if exclusion is None:
                return None
            return _as_said(exclusion.names(Record(number=row.number, cells=row.cells), places), said.alike)

        yield change, _to_mark(ledger.omissions.candidates(job.spec.id), wanted, change)


def _to_mark(
    candidates: Iterable[Candidate], wanted: Callable[[Candidate], Withheld | None], change: Change
) -> Iterator[tuple[int, Withheld | None]]:
    for row in candidates:
        if row.withheld is Withheld.REMOVED:
            continue  # the file itself doesn't name the customer any more
        now, then = wanted(row), row.withheld if row.withheld in _BY_THE_LIST else None
        if now is then:
            continue
        change.added += now is Withheld.EXCLUDED
        change.removed += then is Withheld.EXCLUDED
        change.sendable += now is None and row.state in _SENDABLE
        change.sendable -= row.withheld is None and row.state is RowState.PENDING
        yield row.number, now
