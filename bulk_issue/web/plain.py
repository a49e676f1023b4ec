"""The texts of the other parts as the page says them: without flags, commands and keys of a terminal.

Messages and hints are written for people who type commands. Nobody did here. What a campaign's stop means stands in
words of the page's own (`stops`); any other text goes through here before it is shown, so that no flag reaches a page.
"""

from __future__ import annotations

import re

from bulk_issue.errors import BulkIssueError, HeaderUnclear, ReadOtherwise

#: What only a terminal knows.
TERMINAL = re.compile(r"(?<![\w-])--[a-z]|\bbulk-issue [a-z]|\bCtrl-C\b|`")
#: What is typed there, and pressed here.
_PRESSED = (
    (re.compile(r"\b[Rr]un the same command again\b"), "press “Go on”"),
    (re.compile(r"\bpress “Go on” when\b"), "Press “Go on” when"),
    (re.compile(r"\bon the --exclude list\b"), "on the list of those who are left out"),
    (re.compile(r"\bof the --country\b"), "of the chosen country"),
    (re.compile(r" \((?=[^()]*(--[a-z]|Ctrl-C))[^()]*\)"), ""),
)
_PART = re.compile(r"(?<=[.!?:;])\s+")
#: Where all that could be done is done on the server.
ELSEWHERE = "Tell the person who looks after this server."


def plain(text: str) -> str:
    """The text without what speaks of a terminal; empty if nothing is left."""
    for typed, pressed in _PRESSED:
        text = typed.sub(pressed, text)
    if not TERMINAL.search(text):
        return text
    kept = " ".join(part for part in _PART.split(text) if not TERMINAL.search(part)).rstrip(" :;")
    return kept if not kept or kept[-1] in ".!?" or text[-1] not in ".!?" else f"{kept}."


def message(text: str) -> str:
    """What went wrong; where all of it speaks of a terminal, its flags by their names."""
    return plain(text) or re.sub(r"(?<![\w-])--([a-z-]+)", lambda flag: flag[1].replace("-", " "), text).replace(
        "`", ""
    )


def hint(text: str) -> str:
    """What to do, which is never nothing where there was something."""
    return plain(text) or (ELSEWHERE if text else "")


def hint_of(error: BulkIssueError) -> str:
    """What to do about an error, on this page."""
    if isinstance(error, HeaderUnclear):
        return "Say what the first record is, and press “Read it so”."
    if isinstance(error, ReadOtherwise):
        return "Go on on that campaign's page, or choose the columns and settings by which it was read."
    if "--map" in error.hint:
        return "Choose the column below, and press “Read it so”."
    if "--no-exclude" in error.hint:
        return "Nothing was sent. The people who keep this server can put the list back, or name another one."
    return hint(error.hint)
