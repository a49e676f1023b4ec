"""Write docs/commands.md from the command line itself: `python -m tests.manual`. A test holds that it is up to date."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from bulk_issue.cli import commands

PAGE = Path(__file__).parent.parent / "docs" / "commands.md"

_INTRO = """# Every command and option

<!-- Written by `make docs` from the command line itself. Don't edit it here. -->

The same as `bulk-issue COMMAND --help`. A flag beats its environment variable, that beats the TOML file, that beats the
default. Lengths of time are written like `30`, `90s`, `10m`, `2h` or `7d`. What the exit codes mean:
[exit-codes.md](exit-codes.md).
"""


def written() -> str:
    """The page."""
    context = click.Context(commands, info_name="bulk-issue")
    return "\n".join([_INTRO, *_group(commands, context)]).rstrip() + "\n"


def _group(group: click.Group, context: click.Context) -> Iterator[str]:
    for name in sorted(group.commands):
        command = group.commands[name]
        if command.hidden:
            continue
        inner = click.Context(command, info_name=name, parent=context)
        if isinstance(command, click.Group):
            yield from _group(command, inner)
        else:
            yield from _command(command, inner)


def _command(command: click.Command, context: click.Context) -> Iterator[str]:
    usage = " ".join(piece for piece in command.collect_usage_pieces(context) if piece != "[OPTIONS]")
    yield f"## {context.command_path}\n\n`{context.command_path} {usage}`".rstrip(" `") + "`\n"
    yield "\n\n".join(" ".join(part.split()) for part in (command.help or "").split("\n\n")) + "\n"
    records = [
        record
        for param in command.get_params(context)
        if isinstance(param, click.Option) and "--help" not in param.opts and (record := param.get_help_record(context))
    ]
    if records:
        yield "| option | meaning |\n|---|---|"
        yield from (f"| `{names.replace('|', ' or ')}` | {_cell(meaning)} |" for names, meaning in records)
        yield ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;").replace("[", "\\[")


if __name__ == "__main__":
    PAGE.write_text(written(), encoding="utf-8")
