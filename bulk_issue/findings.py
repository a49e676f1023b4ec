"""What somebody who looks whether something works has found: `doctor`, `ledger check`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum, unique


@unique
class Grade(StrEnum):
    """How a look went."""

    OK = "ok"
    #: It works, with less than all that is promised.
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    what: str
    grade: Grade
    said: str
    remedy: str = ""
