"""The `[[schedule]]` entries of the settings: each is a command line of `defer`, with a name and a cron expression."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any
from zoneinfo import ZoneInfo

import click
from click.core import ParameterSource

from bulk_issue.app.workers import Scheduled
from bulk_issue.cli import nexts, profile, values
from bulk_issue.errors import ConfigError

#: What an entry has besides the options of `defer`.
_OWN = ("name", "cron", "zone", "file", "profile")


def entries(ctx: click.Context, defer: click.Command) -> list[Scheduled]:
    """The entries for the profile of this command; a key or value that can't be meant is an error."""
    found: list[Scheduled] = []
    for table in ctx.meta.get("bulk_issue.schedule", ()):
        if not isinstance(table, Mapping):
            raise ConfigError("schedule isn't a list of tables", hint="Write [[schedule]] above each entry.")
        if table.get("profile", "default") == ctx.params["profile"]:
            found.append(_entry(ctx, defer, table))
    names = [each.name for each in found]
    if len({*names}) < len(names):
        raise ConfigError("two schedule entries have the same name", hint="Give each a name of its own.")
    return found


def _entry(ctx: click.Context, defer: click.Command, table: Mapping[str, Any]) -> Scheduled:
    for key in ("name", "cron", "file"):
        if not isinstance(table.get(key), str):
            raise ConfigError(f"a schedule entry has no {key}", hint="It needs at least name, cron, file and series.")
    try:
        given = defer.make_context("defer", [*_arguments(ctx, defer, table), table["file"]], parent=ctx.parent).params
    except click.UsageError as error:
        raise ConfigError(
            f"the schedule entry {table['name']}: {error.format_message()}", hint="Its keys are options of `defer`."
        ) from error
    zone = table.get("zone", ctx.params["zone"])
    if not zone:
        raise ConfigError(
            f"the schedule entry {table['name']} has no zone", hint='Say where it is due, e.g. zone = "Asia/Kolkata".'
        )
    values.hours({"between": "00:00-12:00", "zone": zone})  # that zone exists
    return Scheduled(
        name=table["name"],
        profile=ctx.params["profile"],
        cron=table["cron"],
        zone=ZoneInfo(zone),
        file=str(given["file"]),
        again=given["again"],
        config=values.config(given, given["series"], reading=values.reading(given)),
    )


def _arguments(ctx: click.Context, defer: click.Command, table: Mapping[str, Any]) -> Iterator[str]:
    """The entry as arguments, behind those that this command itself was given."""
    known = {
        profile.key(param): param for param in defer.params if isinstance(param, click.Option) and param.name != "job"
    }
    theirs = {profile.key(param) for param in ctx.command.params} - {*known}
    for param in ctx.command.params:
        flag = ctx.get_parameter_source(str(param.name)) is ParameterSource.COMMANDLINE
        if flag and profile.key(param) in known:
            yield from nexts.flags(known[profile.key(param)], ctx.params[str(param.name)])
    for key, value in table.items():
        if key in _OWN:
            continue
        if key in theirs:
            raise ConfigError(
                f"the schedule entry {table.get('name')} can't set {key}: it is the workers' own",
                hint="Write it into their profile; it holds for all of their jobs.",
            )
        if key not in known:
            near = difflib.get_close_matches(key, [*known, *_OWN], n=1)
            meant = f" Did you mean {near[0]}?" if near else ""
            raise ConfigError(
                f"the schedule entry {table.get('name')} has a setting that bulk-issue doesn't know: {key}",
                hint=f"Settings are named like the options of `defer`, with _ for -.{meant}",
            )
        yield from nexts.flags(known[key], value)
