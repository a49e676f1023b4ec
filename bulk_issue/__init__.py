"""Issue exactly one coupon to each customer of a file, and be able to prove it.

`issue` and `issue_async` run a campaign from a program: see `bulk_issue.api`. Importing the package loads none of it
before it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bulk_issue.api import (
        Account,
        Alike,
        BulkIssueError,
        Config,
        Customers,
        ExitCode,
        IdentifierKind,
        Omit,
        Pace,
        Progress,
        Reading,
        Report,
        ResultRow,
        RowState,
        Share,
        issue,
        issue_async,
    )

__all__ = [
    "Account",
    "Alike",
    "BulkIssueError",
    "Config",
    "Customers",
    "ExitCode",
    "IdentifierKind",
    "Omit",
    "Pace",
    "Progress",
    "Reading",
    "Report",
    "ResultRow",
    "RowState",
    "Share",
    "__version__",
    "issue",
    "issue_async",
]

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("bulk_issue.api"), name)


def __dir__() -> list[str]:
    return __all__
