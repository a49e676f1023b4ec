"""Writes verdicts.md beside it: the tables by which rows move and answers are judged, as the code has them.

python docs/make_verdicts.py
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from bulk_issue.model import Meaning
from bulk_issue.states import CLAIMING, OPEN, TRANSITIONS, RowState
from bulk_issue.verdicts import TABLE, On, Verdict

PAGE = Path(__file__).with_name("verdicts.md")

INTRODUCTION = """\
# How rows move and what answers mean

Made from `bulk_issue/states.py` and `bulk_issue/verdicts.py` with `python docs/make_verdicts.py`, and tested to be so.
The reasons are in [design.md](design.md#5-a-rows-life), the evidence in [api.md](api.md#2-what-an-answer-means).
"""

TITLES = {
    On.CODE: "Codes in the body",
    On.MESSAGE: "Messages",
    On.STATUS: "HTTP statuses",
    On.FAULT: "Faults: no answer came",
    On.ANSWER: "The answer as a whole",
}


def page() -> str:
    """The whole page."""
    return "\n".join(_page())


def _page() -> Iterator[str]:
    yield INTRODUCTION
    yield "## Transitions\n"
    yield "```mermaid\nstateDiagram-v2"
    yield "    [*] --> pending\n    [*] --> invalid\n    [*] --> linked"
    for state, moves in TRANSITIONS.items():
        yield from (f"    {state} --> {to}: {event}" for event, to in moves.items())
    yield "```\n"
    yield from _table(
        ("state", "holds the claim on its customer", "may still change by itself", "moves"), map(_state, RowState)
    )
    yield "Every other pair of state and event is refused and changes nothing.\n"
    for on, title in TITLES.items():
        yield f"## {title}\n"
        if on is On.MESSAGE:
            yield "Patterns in lower case, `_` as a space; they decide where a code is marked **T**.\n"
        yield from _table(
            (str(on), "verdict", "if the record shows no coupon", "says", "what to do", "source"),
            (_verdict(line) for line in TABLE if line.on is on),
        )


def _state(state: RowState) -> Sequence[str]:
    moves = ", ".join(f"{event} → {to}" for event, to in TRANSITIONS[state].items()) or "none"
    return f"`{state}`", "yes" if state in CLAIMING else "", "yes" if state in OPEN else "", moves


def _verdict(line: Verdict) -> Sequence[str]:
    key = f"`{line.key}`" + (" **T**" if line.by_text else "")
    absent = str(line.if_absent) if line.meaning is Meaning.UNCLEAR else ""
    return key, str(line.meaning), absent, line.reason, line.remedy, str(line.source)


def _table(header: Sequence[str], lines: Iterator[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * len(header)}"
    for cells in lines:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
    yield ""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
