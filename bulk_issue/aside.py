"""Where a file is kept while it is written: a private folder beside its place, so that a rename puts it there whole."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = ".bulk-issue-writing-"
#: No write takes so many seconds: an older folder was left behind by a kill.
_ABANDONED = 24 * 3600.0


@contextmanager
def aside_in(folder: Path) -> Iterator[Path]:
    """A private folder within this one, gone afterwards; also clears away what killed writes left there."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left in folder.glob(f"{_PREFIX}*"):
        with suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime > _ABANDONED:
                shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=_PREFIX, ignore_cleanup_errors=True) as aside:
        yield Path(aside)
