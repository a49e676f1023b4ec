"""What readers of one kind of file have in common: records in chunks, and what is remarkable about some of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

#: Records in a chunk.
CHUNK = 20_000
#: Records in which a header is looked for.
LOOKED_AT = 20


@dataclass(frozen=True, slots=True)
class Marks:
    """What a sheet tells of a record beside its cells."""

    #: The row is hidden or filtered out.
    hidden: bool = False
    #: Column (from 0, as in the record) -> the code of what is wrong with its cell.
    cells: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some records in a row."""

    lines: Sequence[Sequence[str]]
    #: The sheet's number of the first one; 0 where there is no sheet.
    first: int = 0
    #: By place in `lines`; most have none.
    marks: Mapping[int, Marks] = field(default_factory=dict)


class Table(Protocol):
    """What a reader of one kind of file offers. Each call starts again from the top."""

    @property
    def used(self) -> dict[str, str]:
        """What the reading went by."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What people should know: what was chosen by itself, and what this kind of file doesn't show."""
        ...

    @property
    def left(self) -> int:
        """The sheet's columns, from 0, that stand left of the records."""
        ...

    def records(self) -> Iterator[list[str]]:
        """Every record, one by one: for a look."""
        ...

    def chunks(self, above: int, width: int) -> Iterator[Chunk]:
        """The records below the first `above` ones, each with exactly the cells it has; most have `width`."""
        ...
