"""The next commands that are printed: the one maker of them. Each runs as it is printed.

A next command is about the same ledger, settings and account as the one that prints it. What this command line said for
one time only, how many rows to send above all, is never repeated.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click
from click.core import ParameterSource

from bulk_issue import commands
from bulk_issue.config import LedgerUrl

#: What is said of one file or one command, and not of those that come after it.
_ONCE = frozenset(
    {
        *("series", "again", "sheet", "header_row", "no_header", "delimiter", "encoding"),
        *("first", "job", "workers", "codes", "cancelled", "decisions", "why", "sample", "watch", "kind"),
        *("as_json", "quiet", "yes", "yes_short", "confirm_above", "log_file", "log_format", "metrics", "notify_file"),
        *("set_up", "set_password", "replace", "nothing_since", "older_than", "target"),
    }
)
#: What decides which ledger is meant: named even if only this shell's environment says it, since another one's doesn't.
_PLACE = frozenset({"ledger", "config", "profile"})


@dataclass(frozen=True, slots=True)
class Next:
    """Makes the commands that hold where the command of this context was given."""

    context: click.Context

    def __call__(self, *words: object, apart: Collection[str] = ()) -> str:
        """The command line, quoted for a shell. `apart`: settings of this command that aren't meant there."""
        return shlex.join(["bulk-issue", *self.whole([str(word) for word in words], apart)])

    def told(self, text: str) -> str:
        """The text, with the commands in it as this command line needs them."""
        return commands.completed(text, self.whole)

    def whole(self, words: Sequence[str], apart: Collection[str] = ()) -> Sequence[str]:
        """The words of a command with the flags of this one that it needs too, as far as it doesn't have them."""
        command = self._meant(words)
        if command is None:
            return words
        options = {param.name for param in command.params if isinstance(param, click.Option)}
        known = options - _ONCE - {*apart} - ({"out"} if command.name == "run" else set())
        return [*words, *(word for flags in self._given(known) if not {*flags[:1]} & {*words} for word in flags)]

    def most(self) -> int | None:
        """How many rows a command without --first sends: what environment or profile say; None for no bound."""
        resume = self._meant(["resume"])
        (first,) = (param for param in resume.params if param.name == "first") if resume else (None,)
        said = first and (first.value_from_envvar(self.context) or self.context.lookup_default("first"))
        return int(str(said)) if said else None

    def _meant(self, words: Sequence[str]) -> click.Command | None:
        command: click.Command | None = self.context.find_root().command
        for word in words:
            if not isinstance(command, click.Group):
                break
            command = command.commands.get(word)
        return None if isinstance(command, click.Group) else command

    def _given(self, known: Collection[str | None]) -> Iterator[list[str]]:
        for param in self.context.command.params:
            source = self.context.get_parameter_source(str(param.name))
            told = source is ParameterSource.COMMANDLINE
            told = told or (source is ParameterSource.ENVIRONMENT and param.name in _PLACE)
            if param.name in known and told:
                value = self.context.params[str(param.name)]
                if not (isinstance(value, LedgerUrl) and value.has_password):  # without it the URL would lead nowhere
                    yield list(flags(param, value))


def here() -> Next:
    """For the command that runs now."""
    return Next(click.get_current_context())


def flags(param: click.Parameter, value: Any) -> Iterator[str]:
    """An option with this value, on a command line."""
    flag = max(param.opts, key=len)
    match value:
        case bool():
            yield from [flag] if value else []
        case Mapping():
            for kind, column in value.items():
                yield from (flag, f"{kind}={column}")
        case tuple() | list():
            for each in value:
                yield from (flag, str(each))
        case LedgerUrl() if not value.has_password:
            yield from (flag, value.url)  # with its query: the host may stand there
        case _:
            yield from (flag, f"{value:g}" if isinstance(value, float) else str(value))
