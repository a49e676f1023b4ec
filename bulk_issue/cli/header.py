"""Whether a file's first record holds the columns' names: asked on a terminal where the file doesn't show it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from bulk_issue.cli import frame
from bulk_issue.config import Reading
from bulk_issue.errors import HeaderUnclear

#: The answers, by their first letters.
CUSTOMER, NAMES = "customer", "names"


def settled(options: Mapping[str, Any], reading: Reading, work: Callable[[Reading, list[str]], int]) -> int:
    """Do what reads the file; where its first record is unclear, ask the person and do it with the answer.

    `work` is given how to read the file, and the flags that say so to a further command. Without a terminal the error
    stands: it names both answers.
    """
    try:
        return work(reading, [])
    except HeaderUnclear as error:
        asks = not (options.get("yes") or options["as_json"] or options.get("quiet")) and sys.stdin.isatty()
        answer = frame.choose(f"{error.message}. Is it a", (CUSTOMER, NAMES)) if asks else None
        if answer is None:
            raise
        if answer == NAMES:
            return work(replace(reading, header_row=error.record), ["--header-row", str(error.record)])
        # a column that was named by what stands in the first record is the one in that place
        places = {cell.strip().casefold(): f"column {at}" for at, cell in enumerate(error.first, 1)}
        named = {kind: places.get(column.strip().casefold(), column) for kind, column in reading.map.items()}
        return work(replace(reading, no_header=True, map=named), ["--no-header"])
