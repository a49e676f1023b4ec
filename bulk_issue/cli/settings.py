"""The settings themselves: `config show` (what holds, and where it came from) and `config init` (a file to begin with).

Both are made from the options of all commands, so that no setting can be missing. A secret is never shown.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from bulk_issue.cli import frame, nexts, profile, values
from bulk_issue.cli import options as opt
from bulk_issue.ending import ExitCode
from bulk_issue.errors import ConfigError

MASKED = "***"
_HEAD = """\
# Settings for bulk-issue: --config {path} (or BULK_ISSUE_CONFIG), and --profile for another table than [default].
# A setting is named like its option, with _ for -. Flags and BULK_ISSUE_… go before it. Secrets are never in here.
# Paths are meant from this file's folder.
# What stands behind a # is the default, or an example where there is none.

[default]
"""


@click.group()
def config() -> None:
    """The settings: which hold and where they came from, and a file to begin with."""


@config.command()
@opt.json_option("For machines.")
@click.pass_context
def show(ctx: click.Context, /, **_options: Any) -> int:
    """Show every setting, its value and where it came from: a flag, the environment, the profile, or the default.

    Takes every option that a profile may set, to try what a command line would mean. Secrets are masked.
    """
    found = [*_secrets(ctx), *_settings(ctx)]
    if ctx.params["as_json"]:
        frame.say_facts([{"setting": name, "value": value, "from": origin} for name, value, origin in found])
        return ExitCode.DONE
    shown = [(name, _words(value), origin) for name, value, origin in found]
    widths = [max(len(row[at]) for row in shown) for at in (0, 1)]
    frame.say_all(f"{name:<{widths[0]}}  {value:<{widths[1]}}  {origin}" for name, value, origin in shown)
    return ExitCode.DONE


@config.command()
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False), default="bulk-issue.toml")
@click.pass_context
def init(ctx: click.Context, /, path: Path) -> int:
    """Write a commented file with every setting to PATH; a file that is there is never overwritten."""
    text = _HEAD.format(path=path) + "\n".join(_commented(profile.settings(ctx.find_root().command)))
    try:
        with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigError(f"{path} is there already; nothing was changed", hint="Name another file.") from None
    except OSError as error:
        raise ConfigError(f"{path} can't be written: {error.strerror}", hint="Name another place.") from error
    frame.say(f"{path} is written. Next: fill in base_url and the credentials, then")
    frame.say(f"  {nexts.here()('config', 'show', '--config', path)}")
    return ExitCode.DONE


# --- what holds -------------------------------------------------------------------------------------------------


def _settings(ctx: click.Context) -> Iterator[tuple[str, Any, str]]:
    """Every setting but secrets: its key, its value as JSON has it, and its origin."""
    for key, option in sorted(profile.settings(ctx.find_root().command).items()):
        if option.name == "as_json":
            continue  # here it says how these are shown
        value = ctx.params[str(option.name)]
        if key == "base_url" and "@" in value:  # perhaps without its https://
            value = MASKED
        yield key, _plain(value), _origin(ctx, option)


def _origin(ctx: click.Context, option: click.Option) -> str:
    match ctx.get_parameter_source(str(option.name)):
        case ParameterSource.COMMANDLINE:
            return max(option.opts, key=len)
        case ParameterSource.ENVIRONMENT:
            return str(option.envvar)
        case ParameterSource.DEFAULT_MAP:
            return f"{ctx.params['config']} [{ctx.params['profile']}]"
        case _:
            return "default"


def _secrets(ctx: click.Context) -> Iterator[tuple[str, Any, str]]:
    """Whether each secret is there; raises `ConfigError` where its file can't be used."""
    for name in profile.SECRETS:
        there = bool(values.secret(name, ctx.params[f"{name}_file"]))
        file = values.secret_file(name, ctx.params[f"{name}_file"])
        origin = str(file) if file else f"BULK_ISSUE_{name.upper()}" if there else "default"
        yield name, MASKED if there else None, origin


def _plain(value: Any) -> Any:
    """A value for JSON, with the password that somebody wrote into an address masked."""
    match value:
        case None | bool() | int() | float():
            return value
        case tuple() | list():
            return [_plain(each) for each in value]
        case _:
            return re.sub(r"^(\w+://)?.*@", rf"\1{MASKED}@", text) if "://" in (text := str(value)) else text or None


def _words(value: Any) -> str:
    match value:
        case None | []:
            return "-"
        case bool():
            return "yes" if value else "no"
        case float():
            return str(int(value) if value.is_integer() else value)
        case list():
            return ", ".join(value)
        case _:
            return str(value)


# --- a file to begin with ---------------------------------------------------------------------------------------


def _commented(settings: Mapping[str, click.Option]) -> Iterator[str]:
    """Every setting with its help and its default, commented out."""
    for key, option in settings.items():
        yield f"\n# {option.help}"
        yield f"# {key} = {_toml(option)}"
    yield ""


def _toml(option: click.Option) -> str:
    """The default as TOML has it; where there is none, what one would look like."""
    default = option.default() if callable(option.default) else option.default
    match option.type, default:
        case _, int() | float():
            return json.dumps(default)
        case _ if option.is_flag:
            return "false"
        case _ if option.multiple:
            return '{ mobile = "Phone No" }' if option.name == "map_" else "[]"
        case _, str() | Path():
            return json.dumps(str(default), ensure_ascii=False)
        case click.Choice(choices=[first, *_]), _:
            return json.dumps(str(first))
        case click.IntRange() | click.types.IntParamType(), _:
            return "1"
        case _:
            return '"path/to/one"'
