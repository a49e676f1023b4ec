"""The TOML profile: click's default map, read once --config and --profile are known, every key checked.

What a profile may set is what the commands have options for; nothing is listed twice. Every command that has a setting
heeds the same profile: `options.heed_profile` gives it --config and --profile, and no command does so itself.
"""

from __future__ import annotations

import copy
import difflib
import functools
import os
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import platformdirs
from click.core import ParameterSource

from bulk_issue import commands
from bulk_issue.cli import frame, nexts
from bulk_issue.errors import ConfigError

_LISTED = f"{commands.command('config', 'show')} lists them."
#: What a file of settings is called, unless it is named.
NAME = "bulk-issue.toml"

#: They come from BULK_ISSUE_<NAME> or from the file that `<name>_file` names.
SECRETS = ("password", "client_secret", "notify")
#: What a command is told each time, and no profile for all times.
_EACH_TIME = frozenset(
    {
        *("config", "profile", "job", "yes", "codes", "decisions", "why", "sample", "set_password", "cancelled"),
        *("kind", "watch", "replace", "nothing_since", "older_than"),
    }
)


def by_itself() -> Path | None:
    """The file of settings in the user's own folder, if there is one: it is found without being named."""
    try:
        path = platformdirs.user_config_path("bulk-issue", appauthor=False) / NAME
    except RuntimeError:  # a user without a home
        return None
    return path if os.path.lexists(path) else None


def given(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    """Take in --config or --profile; with the second of them the file can be read. Click fixes no order."""
    ctx.meta[f"bulk_issue.{param.name}"] = value
    ctx.meta[f"bulk_issue.{param.name}.named"] = (
        ctx.get_parameter_source(str(param.name)) is not ParameterSource.DEFAULT
    )
    if any(f"bulk_issue.{which}" not in ctx.meta for which in ("config", "profile")):
        return value
    path, name = ctx.meta["bulk_issue.config"], ctx.meta["bulk_issue.profile"]
    _check_environment(ctx.find_root().command)
    if path is not None:
        ctx.default_map = _profile(path, name, ctx)
    elif ctx.meta["bulk_issue.profile.named"]:
        raise ConfigError(f"no file of settings has a profile {name}", hint="Name the file with --config.")
    return value


def heeding(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command, its settings being read already: it isn't told of --config and --profile."""

    @functools.wraps(command)
    def run(*args: Any, **options: Any) -> Any:
        context = click.get_current_context()
        frame.complete(nexts.Next(context).told)
        _name_what_is_not_read(context)
        return command(*args, **{name: value for name, value in options.items() if name not in ("config", "profile")})

    return run


def _name_what_is_not_read(ctx: click.Context) -> None:
    """A file in the current folder may be anybody's: it holds only if it is named."""
    path = ctx.meta["bulk_issue.config"]
    if ctx.meta["bulk_issue.config.named"] or ctx.params.get("quiet") or not os.path.exists(NAME):  # noqa: PTH110
        return
    if path is not None and path.exists() and os.path.samefile(path, NAME):  # noqa: PTH121
        return
    said = f"{NAME} in this folder is not read. If it is meant, add --config {NAME}."
    if ctx.params.get("as_json"):
        frame.say_facts({"message": said}, err=True)
    else:
        frame.say(said, err=True)


def _check_environment(root: click.Command) -> None:
    """A name of ours that nothing reads is an error: `BULK_ISSUE_GRACES=600` would quietly mean the default."""
    params = [param for command in each_command(root) for param in command.params]
    known = {str(param.envvar) for param in params} | {f"BULK_ISSUE_{name.upper()}" for name in SECRETS}
    for name in os.environ:
        if name.startswith("BULK_ISSUE_") and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            meant = f" Did you mean {near[0]}?" if near else ""
            raise ConfigError(
                f"the environment has a setting that bulk-issue doesn't know: {name}",
                hint=f"Settings are named like the options.{meant} {_LISTED}",
            )


def _profile(path: Path, name: str, ctx: click.Context) -> dict[str, Any]:
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"--config {path} can't be read: {error.strerror}", hint="Check the path.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"--config {path} isn't TOML: {error}", hint="samples/bulk-issue.toml shows one.") from error
    for outside in (key for key, table in tables.items() if not isinstance(table, dict) and key != "schedule"):
        raise ConfigError(f"{path} has {outside} outside of a table", hint="Put it below a line [default].")
    if name not in tables or not isinstance(tables[name], dict):
        profiles = ", ".join(sorted(key for key, table in tables.items() if isinstance(table, dict))) or "none"
        raise ConfigError(f"{path} has no profile [{name}]", hint=f"It has: {profiles}. Choose with --profile.")
    ctx.meta["bulk_issue.schedule"] = tables.get("schedule", [])
    return _checked(path, tables[name], ctx)


def each_command(command: click.Command) -> Iterator[click.Command]:
    """The command, or those of a group and of the groups in it."""
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            yield from each_command(inner)
    else:
        yield command


def key(param: click.Parameter) -> str:
    """What a setting is called in a profile: like its long option, with _ for -."""
    return max(param.opts, key=len).lstrip("-").replace("-", "_")


def shared(param: click.Parameter) -> bool:
    """Whether it is a setting that means the same in every command. A hidden option is one that has gone."""
    return isinstance(param, click.Option) and not param.hidden and param.envvar == f"BULK_ISSUE_{key(param).upper()}"


def settings(root: click.Command) -> dict[str, click.Option]:
    """Everything that a profile may set, by key: the settings of all commands."""
    found: dict[str, click.Option] = {}
    for param in (param for command in each_command(root) for param in command.params if shared(param)):
        assert isinstance(param, click.Option)
        if param.name not in _EACH_TIME and key(param) not in found:
            found[key(param)] = copy.copy(param)
            found[key(param)].required = False
    return found


def _checked(path: Path, given: Mapping[str, Any], ctx: click.Context) -> dict[str, Any]:
    """The profile's settings by the names of click's parameters; a key that no command knows is an error.

    A path is meant from the folder of the file that it stands in, wherever the command was started.
    """
    known = settings(ctx.find_root().command)
    for name in given:
        if name in SECRETS:
            raise ConfigError(
                f"{path} holds a secret ({name})", hint=f"Put it into a file of its own and name that: {name}_file."
            )
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            meant = f" Did you mean {near[0]}?" if near else ""
            raise ConfigError(
                f"{path} has a setting that bulk-issue doesn't know: {name}",
                hint=f"Settings are named like the options, with _ for -.{meant} {_LISTED}",
            )
    return {str(known[name].name): _meant(path.parent, known[name], value) for name, value in given.items()}


def _meant(folder: Path, param: click.Option, value: Any) -> Any:
    """A value as click takes it; one of another kind than its option's is an error."""
    path = getattr(param.type, "holds_path", isinstance(param.type, click.Path))
    match value:
        case dict() if param.multiple:
            return [f"{kind}={column}" for kind, column in value.items()]
        case list() if param.multiple and all(isinstance(each, str) for each in value):
            return value
        case str() if path and value != "-":
            return value if "://" in value else str(folder / Path(value).expanduser())
        case bool() if param.is_flag:
            return value
        case str() | int() | float() if not (isinstance(value, bool) or param.is_flag or (path and value != "-")):
            return value
        case _:
            raise ConfigError(f"{key(param)} can't be {value!r} in a profile", hint=f"{param.help}")
