"""Commands that are told to people: one way to write them, and one in which a face completes them.

Code that gives advice (an error's hint, a remedy, a note) knows which command helps and for which job. In which ledger,
with which settings and as which account is known to the face alone; what it leaves out would mean another ledger.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence

_TOLD = re.compile(r"`bulk-issue ([^`]+)`")


def command(*words: object) -> str:
    """A command within a sentence, quoted for a shell. Words in capitals are for the reader to fill in."""
    return f"`bulk-issue {shlex.join(map(str, words))}`"


def completed(text: str, complete: Callable[[Sequence[str]], Sequence[str]]) -> str:
    """The text, each command in it with what `complete` adds to its words; what can't be read stays as it is."""

    def of(found: re.Match[str]) -> str:
        try:
            words = shlex.split(found[1])
        except ValueError:
            return found[0]
        return command(*complete(words))

    return _TOLD.sub(of, text)
