"""Moving a ledger to where several hosts reach it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bulk_issue.app.desk import there
from bulk_issue.config import LedgerUrl
from bulk_issue.errors import ConfigError
from bulk_issue.ledger import copying


async def copy(source: Path | LedgerUrl, target: Path | LedgerUrl) -> Mapping[str, int] | None:
    """Move a ledger from its file into PostgreSQL; see `ledger.copying.copy`."""
    if not isinstance(source, Path) or not isinstance(target, LedgerUrl):
        raise ConfigError(
            "a ledger is copied from its file into PostgreSQL, not from elsewhere or to elsewhere",
            hint="Write --from PATH --to postgresql://USER@HOST/DATABASE. A file is copied by `ledger backup`.",
        )
    there(source)
    return await copying.copy(source, target)
