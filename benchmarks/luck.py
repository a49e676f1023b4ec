"""How often `--max-failures` stops campaigns by luck, and how soon others: a table of docs/design.md.

    python -m benchmarks.luck

Each campaign has 20 000 rows and a true share of rejections. What is asked is what `health` asks; the smallest number
of rejections that stops a run is worked out once for each number of rows.
"""

from __future__ import annotations

import sys
from statistics import median

import numpy as np
import numpy.typing as npt

from bulk_issue.chance import above
from bulk_issue.health import FAILURE_JUDGED_FROM, FAILURE_WINDOW, LUCK, LUCK_LATELY

ROWS, CAMPAIGNS, SHARE = 20_000, 5_000, 0.05
#: Percent rejected before, and from the middle of the campaign on.
CAMPAIGN_KINDS = (
    (2.0, 2.0),
    (3.0, 3.0),
    (4.0, 4.0),
    (4.9, 4.9),
    (6.0, 6.0),
    (8.0, 8.0),
    (10.0, 10.0),
    (50.0, 50.0),
    (2.0, 50.0),
)

Counts = npt.NDArray[np.int64]


def fewest(rows: int, luck: float) -> Counts:
    """For each number of rows up to that, the fewest rejections that are too many."""
    found, failed = np.full(rows + 1, ROWS + 1), 0
    for n in range(FAILURE_JUDGED_FROM, rows + 1):
        while failed <= n and not above(SHARE, failed, n, luck):
            failed += 1
        found[n] = failed
    return found


def stops(random: np.random.Generator, kind: tuple[float, float], whole: Counts, lately: Counts) -> int | None:
    """The row at which a campaign is stopped; None if it never is."""
    half = ROWS // 2
    share = np.repeat(np.array(kind) / 100, (half, ROWS - half))
    rejected = random.random(ROWS) < share
    count = np.cumsum(rejected, dtype=np.int64)
    window = np.concatenate((count[:FAILURE_WINDOW], count[FAILURE_WINDOW:] - count[:-FAILURE_WINDOW]))
    n = np.arange(1, ROWS + 1)
    too_many = rejected & ((count >= whole[n]) | (window >= lately[np.minimum(n, FAILURE_WINDOW)]))
    return int(np.argmax(too_many)) + 1 if too_many.any() else None


def main() -> int:
    """Print the table."""
    random = np.random.default_rng(20_000)
    whole, lately = fewest(ROWS, LUCK), fewest(FAILURE_WINDOW, LUCK_LATELY)
    print("| truly rejected | campaigns that are stopped | row at which half of these are stopped | 95 of 100 |")
    print("|---|--:|--:|--:|")
    for kind in CAMPAIGN_KINDS:
        at = [row for row in (stops(random, kind, whole, lately) for _ in range(CAMPAIGNS)) if row is not None]
        name = f"{kind[0]:g} %" if kind[0] == kind[1] else f"{kind[0]:g} %, from row {ROWS // 2} on {kind[1]:g} %"
        half, most = (f"{median(at):.0f}", f"{np.percentile(at, 95):.0f}") if at else ("", "")
        print(f"| {name} | {100 * len(at) / CAMPAIGNS:.2f} % | {half} | {most} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
