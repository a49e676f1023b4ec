"""The reasons why a run can't go on.

A row that fails is data (an `Outcome`, a `Problem`), never an exception. Every exception here carries a
`hint`, what the person at the terminal can do next, and the `exit_code` that the command line ends with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class BulkIssueError(Exception):
    """Never raised itself: the root of everything that ends a run."""

    exit_code: ClassVar[int] = 7

    def __init__(self, message: str, *, hint: str = "", cells: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        #: Cells of the input, for the person who is there and never for a log: a first record may stand for a header.
        self.cells = cells


class ConfigError(BulkIssueError):
    """A setting is missing or impossible. The message names the setting and what is allowed."""

    exit_code = 2


class JobPurged(ConfigError):
    """The job's customers were forgotten: none of its rows can be sent, shown or written any more."""

    def __init__(self, job: str, because: str, *, hint: str = "Who was served by it is not served again.") -> None:
        """`because` says who purged it when, as the ledger keeps it."""
        super().__init__(
            f"job {job} was {because}: its customers and codes are forgotten, only its counts are left", hint=hint
        )


class AgreementChanged(ConfigError):
    """What would be sent is no longer what was agreed to. Nothing was sent; the message says what has changed."""


class ReadOtherwise(ConfigError):
    """The file was read in another way when its job began to issue: the hint is the command of then."""


class SourceError(BulkIssueError):
    """The input can't be read as a table of customers. The message names file, line and column."""

    exit_code = 2


class HeaderUnclear(SourceError):
    """The first record may hold the columns' names or be a customer, and only a person knows which."""

    def __init__(self, path: str, record: int, first: Sequence[str]) -> None:
        """`record` is its number as `--header-row` counts; its cells `first` are for the person who is asked."""
        super().__init__(
            f"{path}: record {record} looks like a customer's, and stands where the columns' names do",
            hint=f'If it is a customer: --no-header (the columns are then called "column 1", "column 2" …, as in '
            f'--map mobile="column 2"). If it holds the columns\' names: --header-row {record}.',
        )
        self.record = record
        self.first = tuple(first)


class SinkError(BulkIssueError):
    """A result file can't be written. Nothing is lost: the ledger has it, `export` writes it again."""

    exit_code = 7


class JobHalted(BulkIssueError):
    """Capillary refuses the whole job, or can't be reached. What is unfinished stays resumable."""

    exit_code = 3


class JobHeld(BulkIssueError):
    """Another process runs this job. The message names its pid."""

    exit_code = 6


class LedgerError(BulkIssueError):
    """The ledger can't be used as it is."""


class LedgerUnavailable(LedgerError):
    """The ledger refused one call (disk full, locked, I/O error); the same call may succeed later."""


class SchemaMismatch(LedgerError):
    """The ledger was written by another version. The hint names the command or version that fits."""


class IllegalTransition(BulkIssueError):
    """A row was asked to do what its state doesn't allow: always a bug, and nothing was changed."""
