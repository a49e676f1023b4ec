"""Numbers as places on a drawing: the templates make SVG of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from bulk_issue.ports import Pulse

WIDTH, HEIGHT = 600, 160


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Coupons issued over time, as the path of a line and of the area below it."""

    line: str
    area: str
    width: int
    height: int
    #: Epoch seconds at the left and the right end; coupons at the top.
    begins: float
    ends: float
    most: int


def curve(pulse: Sequence[Pulse], now: float | None) -> Curve | None:
    """The curve of a job that sends till `now` (None: that has ended); None if it has hardly begun."""
    if len(pulse) < 2:
        return None
    stretch = min(later.at - each.at for each, later in pairwise(pulse))
    begins, ends = pulse[0].at, now or pulse[-1].at + stretch
    sums = list(accumulate(each.issued for each in pulse))
    most, span = max(sums[-1], 1), max(ends - begins, 1.0)
    points = [
        (WIDTH * (each.at - begins) / span, HEIGHT * (1 - total / most))
        for each, total in zip(pulse, [0, *sums[:-1]], strict=True)
    ]
    points.append((float(WIDTH), HEIGHT * (1 - sums[-1] / most)))
    line = "M" + " L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return Curve(
        line=line,
        area=f"{line} L{WIDTH} {HEIGHT} L0 {HEIGHT} Z",
        width=WIDTH,
        height=HEIGHT,
        begins=begins,
        ends=ends,
        most=sums[-1],
    )
