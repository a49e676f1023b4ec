"""An input file as judged rows: its reader, the columns that name customers, and whom to leave out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bulk_issue import countries, rows
from bulk_issue.config import Reading
from bulk_issue.customer_columns import columns
from bulk_issue.errors import HeaderUnclear, SourceError
from bulk_issue.exclusion import Exclusion, Judge
from bulk_issue.model import IdentifierKind, JobId, Record, Row
from bulk_issue.source import Source, open_source, valid_email

Places = Mapping[IdentifierKind, int]
#: How a job's file was read, as its record has it.
Recorded = Callable[[JobId], Mapping[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """A file that is open to be read, any number of times."""

    source: Source
    reading: Reading
    #: Where the identifiers stand, in order of priority.
    places: Places
    exclusion: Exclusion | None = None
    #: By which columns the exclusion names customers.
    excluded_by: Places
    judge: Judge

    @property
    def columns(self) -> dict[str, str]:
        """The column that each kind of identifier is taken from."""
        return {str(kind): self.source.header[at] for kind, at in self.places.items()}

    def as_text(self) -> dict[str, str]:
        """How the records are read and judged, for the job's record."""
        return self.reading.as_text() | ({"exclude": self.exclusion.sha256[:16]} if self.exclusion else {})

    def chunks(self) -> Iterator[list[Row]]:
        """The records with what they name, chunk by chunk."""
        for chunk in self.source.chunks():
            judged = [self.judge(record, self.places, self.reading.identify_by) for record in chunk]
            yield self.exclusion.apply(chunk, judged, self.excluded_by) if self.exclusion else judged


def _nothing(_job: JobId) -> Mapping[str, str]:
    """What is recorded where there is no ledger at hand."""
    return {}


@contextmanager
def intake(path: Path, reading: Reading, recorded: Recorded = _nothing) -> Iterator[Intake]:
    """Open a file, and the list of whom to leave out; raises `SourceError` if one of them can't be read exactly.

    Failures of an earlier job name the customers that they named there, unless the settings say otherwise.
    """
    with ExitStack() as opened:
        source = opened.enter_context(open_source(path, reading))
        if source.lineage:
            reading = _like_its_origin(source, reading, recorded)
        places = columns(source.header, reading.map, reading.identify_by)
        country = countries.country(reading.country)
        judge = partial(judge_record, country=country, usual=_usual(source, places, country))
        exclusion, excluded_by = None, places
        if reading.exclude is not None:
            exclusion = opened.enter_context(_exclusion(reading.exclude, reading))
            # also by identifiers that aren't sent: a list of e-mail addresses means the customer, not the column
            excluded_by = exclusion.match(columns(source.header, reading.map))
        yield Intake(
            source=source, reading=reading, places=places, exclusion=exclusion, excluded_by=excluded_by, judge=judge
        )


def _like_its_origin(source: Source, reading: Reading, recorded: Recorded) -> Reading:
    origin = next((record.lineage.job for record in next(source.chunks(), []) if record.lineage), None)
    alike = reading.like(recorded(origin)) if origin is not None else reading
    if alike != reading:
        news = sorted(alike.as_text().items() - reading.as_text().items())
        source.notes.append(f"As in job {origin}: {', '.join(f'{name} {value}' for name, value in news)}.")
    return alike


@contextmanager
def _exclusion(path: Path, reading: Reading) -> Iterator[Exclusion]:
    """The suppression list, read by the same rules; which columns, sheet and dialect it has is its own affair."""
    judge = partial(judge_record, country=countries.country(reading.country))
    with ExitStack() as listed:
        try:
            source = listed.enter_context(open_source(path, Reading()))
            places = columns(source.header, {})
        except HeaderUnclear as error:
            raise SourceError(
                f"--exclude {path}: its first record looks like a customer's: nobody would be left out by it",
                hint="Put a line above it with the names of its columns: mobile, email, externalId or customer_id.",
            ) from error
        except SourceError as error:
            hint = "Call its columns mobile, email, externalId or customer_id."
            raise SourceError(f"--exclude {path}: {error.message}", hint=hint) from error
        exclusion = listed.enter_context(Exclusion(source.sha256, judge))
        exclusion.fill(str(path), source.chunks(), places)
        yield exclusion


def judge_record(
    record: Record,
    places: Places,
    by: IdentifierKind | None,
    *,
    country: countries.Country | None = None,
    usual: Mapping[IdentifierKind, int] = rows.NO_LENGTHS,
) -> Row:
    """Whom a record names, or why it names nobody."""
    return rows.judge(record, places, by, valid_email, country=country, usual=usual)


def _usual(source: Source, places: Places, country: countries.Country | None) -> Mapping[IdentifierKind, int]:
    """How many digits the identifiers usually have, by the first records.

    A failures file holds what is unusual, each with its own verdict. The plan of a country says more than a column.
    """
    kinds = {IdentifierKind.EXTERNAL_ID} if country is not None else {IdentifierKind.EXTERNAL_ID, IdentifierKind.MOBILE}
    measured = {kind: at for kind, at in places.items() if kind in kinds}
    first = next(source.chunks(), []) if measured and not source.lineage else []
    lengths = {
        kind: rows.usual_length(kind, (text for record in first if (text := record.cells[at].strip())))
        for kind, at in measured.items()
    }
    return {kind: length for kind, length in lengths.items() if length is not None}
