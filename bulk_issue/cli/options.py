"""The options that commands share; `values` says what they mean, `nexts` which of them a printed command needs too.

Flags > BULK_ISSUE_<NAME> > TOML profile > default: click decides, the profile being its default map.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import platformdirs
from click.core import ParameterSource

from bulk_issue.cli import profile
from bulk_issue.config import Account, Config, LedgerUrl, Pace
from bulk_issue.errors import ConfigError
from bulk_issue.model import Alike, IdentifierKind, Removed

F = TypeVar("F", bound=Callable[..., Any])


class Duration(click.ParamType[float]):
    """Seconds, or a number with s, m, h or d."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, int | float):
            return float(value)
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|h|d|)", str(value).strip())
        if not found:
            self.fail(f"{value!r} is not a length of time like 30, 90s, 10m, 2h or 90d", param, ctx)
        return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[found[2]]


class LedgerPlace(click.ParamType[Path | LedgerUrl]):
    """A file, by its absolute path from here on, or the URL of a PostgreSQL database."""

    name = "path or url"
    holds_path = True

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Path | LedgerUrl:
        if isinstance(value, Path | LedgerUrl):
            return value
        source = ctx and param and param.name and ctx.get_parameter_source(param.name)
        if not str(value).startswith(("postgresql:", "postgres:")):
            path = Path(click.Path(path_type=Path, dir_okay=False).convert(str(value), param, ctx))
            try:
                path = path.expanduser()
            except RuntimeError:  # nobody's home: whoever opens it says so
                return path
            if source is ParameterSource.ENVIRONMENT and not path.is_absolute():
                raise ConfigError(
                    f"{param.envvar if param else 'BULK_ISSUE_LEDGER'} is a relative path ({value}): in each folder it "
                    "would be another ledger, and customers would be issued twice",
                    hint=f"Write the whole path, e.g. {path.absolute()}.",
                )
            return path.absolute()
        url = LedgerUrl(str(value))
        if url.has_password and source is not ParameterSource.ENVIRONMENT:
            raise ConfigError(
                "the ledger's URL has a password in it, where others may read it",
                hint="Leave it out and set PGPASSWORD or write ~/.pgpass; or set the whole URL as "
                f"{param.envvar if param else 'BULK_ISSUE_LEDGER'}.",
            )
        return url


def default_ledger() -> Path:
    """Where the ledger is unless --ledger says otherwise: one for each user of the machine."""
    try:
        return platformdirs.user_data_path("bulk-issue", appauthor=False) / "ledger.db"
    except RuntimeError:
        raise ConfigError(
            "this user has no home directory for the ledger", hint="Say where it is with --ledger."
        ) from None


def option(*names: str, of: str = "", **settings: Any) -> Callable[[F], F]:
    """A click option with its environment name and its default shown in the help.

    `of`: the command that means something of its own by this name.
    """
    name = next(name for name in names if name.startswith("--"))
    env = f"BULK_ISSUE_{of and of + '_'}{name[2:]}".replace("-", "_").upper()
    usual: dict[str, Any] = {"envvar": env, "show_envvar": True, "show_default": settings.get("default") != ""}
    return click.option(*names, **(usual | settings))


def json_option(words: str) -> Callable[[F], F]:
    """`--json`, named so in the environment too."""
    return option("--json", "as_json", is_flag=True, envvar="BULK_ISSUE_JSON", help=words)


def stacked(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    """Several decorators as one, the first on top in the help."""

    def decorate(command: F) -> F:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


profile_options: Callable[[F], F] = stacked(
    option(
        "--profile",
        default="default",
        callback=profile.given,
        is_eager=True,
        help="Which table of the --config file to use.",
    ),
    option(
        "--config",
        type=click.Path(path_type=Path, dir_okay=False),
        default=profile.by_itself,
        show_default=f"{profile.NAME} in the user's folder for settings, if it is there",
        callback=profile.given,
        is_eager=True,
        help="TOML file with settings, named like the options with _ for -.",
    ),
)


def heed_profile(root: click.Group) -> None:
    """Give --config and --profile to every command that has a setting: the one way in which commands get settings."""
    for command in profile.each_command(root):
        if any(profile.shared(param) for param in command.params) and command.callback is not None:
            own, command.params = command.params, []
            profile_options(command)
            command.params += own
            command.callback = profile.heeding(command.callback)


# --- groups of options ------------------------------------------------------------------------------------------

ledger_option: Callable[[F], F] = option(
    "--ledger",
    type=LedgerPlace(),
    default=default_ledger,
    show_default="one per user of this machine",
    help="The ledger: the record of what was sent. A file on a local disk, or postgresql://USER@HOST/DATABASE.",
)

account_options: Callable[[F], F] = stacked(
    option("--base-url", default="", help="Your cluster's address, e.g. https://eu.api.capillarytech.com."),
    option("--user", default="", help="User of the till, for Basic authentication. Its password: see --password-file."),
    option(
        "--password-file",
        type=click.Path(path_type=Path, dir_okay=False),
        help="File that holds the password, readable by you only. Or set BULK_ISSUE_PASSWORD.",
    ),
    option("--client-key", default="", help="Client key, for OAuth. Its secret: see --client-secret-file."),
    option(
        "--client-secret-file",
        type=click.Path(path_type=Path, dir_okay=False),
        help="File that holds the client secret, readable by you only. Or set BULK_ISSUE_CLIENT_SECRET.",
    ),
    option("--token-header", default=Account.token_header, help="Header that carries the OAuth token."),
    option("--entity-type", default="", help="OAuth: kind of the till or store that issues, e.g. TILL or STORE_CODE."),
    option("--entity-code", default="", help="OAuth: code of the till or store that issues."),
    option("--org", default="", help="The org, where neither token nor series says it."),
)

omit_options: tuple[Callable[[F], F], ...] = (
    option(
        "--exclude",
        type=click.Path(path_type=Path, dir_okay=False),
        help="A file of customers who must not be sent to, named by any identifier that the job's file has too. The "
        "job remembers it, and heeds it as it is at each start.",
    ),
    option("--no-exclude", is_flag=True, help="Leave nobody out: forget the --exclude list that the job remembers."),
    option(
        "--alike",
        type=click.Choice([str(word) for word in Alike]),
        help="Customers who only look like one of the list, or like one who was served: other people (send), or the "
        "same (skip). Until it is said they are held back.",
    ),
)

reading_options: Callable[[F], F] = stacked(
    option("--map", "map_", multiple=True, metavar="KIND=COLUMN", help='E.g. --map mobile="Phone No".'),
    option(
        "--identify-by",
        type=click.Choice([str(kind) for kind in IdentifierKind]),
        help="Use this kind of identifier only.",
    ),
    option("--delimiter", default="", help="What separates the CSV's cells. Found by itself unless given."),
    option("--encoding", default="", help="The CSV's encoding, if it isn't UTF-8."),
    option("--sheet", default="", help="Which sheet of a workbook, by name or number."),
    option("--header-row", type=click.IntRange(min=1), help="The record that holds the columns' names, if not found."),
    option("--no-header", is_flag=True, help="The first record is a customer; columns are called `column 1`, …"),
    option(
        "--country",
        default="",
        help="Add this country's code to mobiles without one: two letters like IN, or CODE/LENGTH like 91/10.",
    ),
    *omit_options,
    option(
        "--changed",
        type=click.Choice([str(Removed.FINISH), str(Removed.DROP)]),
        help="Customers who were removed from the file of an unfinished job: send to them too (finish), or not (drop). "
        "Until it is said they are held back.",
    ),
)

rate_options: Callable[[F], F] = stacked(
    option("--rate", type=int, default=Config.rate, help="Requests that the account may make …"),
    option("--per", type=Duration(), default="60", help="… in any window of so long."),
)

limit_options: Callable[[F], F] = stacked(
    rate_options,
    option(
        "--pace",
        type=click.Choice([str(pace) for pace in Pace]),
        default=str(Config.pace),
        help="Short jobs at once and long ones evenly; always evenly; or permits as they come free.",
    ),
    option("--connections", type=int, default=Config.connections, help="Requests under way at once, at most."),
    option("--timeout", type=Duration(), default="30", help="How long a request may take."),
    option(
        "--grace",
        type=Duration(),
        default="120",
        help="How long a given-up request may still take effect, and its coupon then take to show.",
    ),
    option("--reconcile-for", type=Duration(), default="10m", help="How long to settle rows in doubt at the end."),
    option("--max-attempts", type=int, default=Config.max_attempts, help="Attempts for a row, at most."),
    option("--max-doubt", default="10%", help="Pause when this share of 100 answers are unclear. 100%: never."),
    option("--max-failures", default="5%", help="Stop when more rows are rejected: a count or a percentage."),
    option("--canary", type=int, default=Config.canary, help="Send one row at a time until this many have a coupon."),
    option("--first", type=int, help="Send at most this number of rows in this run."),
    option("--between", default="", metavar="HH:MM-HH:MM", help="Start nothing outside of these hours; see --zone."),
    option("--zone", default="", metavar="ZONE", help="The time zone of --between, e.g. Asia/Kolkata."),
    option(
        "--look-first",
        is_flag=True,
        help="Read a customer's coupons before each send: who has one of the series is held, and nothing is sent.",
    ),
)

files_options: Callable[[F], F] = stacked(
    option(
        "--out",
        type=click.Path(path_type=Path, file_okay=False),
        help="Folder for the result files. Default: beside the input, <file>-results/<series>-<job>/.",
    ),
    option("--columns", type=click.Choice(["standard", "all"]), default="standard", help="Which columns we add."),
    option("--format", "format_", type=click.Choice(["csv", "xlsx"]), default="csv", help="Kind of result files."),
)

talk_options: Callable[[F], F] = stacked(
    json_option("For machines: one JSON object a line."),
    option("--quiet", is_flag=True, help="Say only how it ended."),
    option("--yes", is_flag=True, help="Don't ask before a large job starts."),
    option("--yes-short", is_flag=True, help="Start although the series' stock or validity can't last."),
    option("--confirm-above", type=int, default=1000, help="On a terminal, ask before more rows than this are sent."),
)

tell_options: Callable[[F], F] = stacked(
    option(
        "--log-file",
        type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
        help="Append a log to this file; - for the standard error output, in place of words.",
    ),
    option("--log-format", type=click.Choice(["json", "text"]), default="json", help="JSON lines, or for people."),
    option(
        "--metrics",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Write metrics to this file at the end (a worker: at each job's end), for node_exporter's textfile "
        "collector (*.prom).",
    ),
    option(
        "--notify-file",
        type=click.Path(path_type=Path, dir_okay=False),
        help="File with the addresses (apprise URLs, one a line) that are told how it ended (a worker: how each job "
        "did), readable by you only. Or set BULK_ISSUE_NOTIFY.",
    ),
)

page_options: Callable[[F], F] = stacked(
    option("--host", default="127.0.0.1", help="Address to listen on; another than this machine's needs --public-url."),
    option("--port", type=int, default=8765, help="0 takes a free one."),
    option("--public-url", default="", help="Where people reach the page: https, by a proxy in front of it."),
    option(
        "--folder",
        type=click.Path(path_type=Path, file_okay=False),
        help="Where uploads are kept. Default: beside the ledger; for one in a database, beside this user's own.",
    ),
    option(
        "--sign-in-file",
        type=click.Path(path_type=Path, dir_okay=False),
        help="File with the hash of the page's password; see --set-password. Without it the printed address.",
    ),
    option("--max-upload", type=click.IntRange(min=1), default=200, help="Megabytes that an upload may have."),
    option("--keep-uploads", type=Duration(), default="24h", help="How long an upload that wasn't started is kept."),
    option("--keep-results", type=Duration(), default="720h", help="How long the result files of jobs are kept."),
    option(
        "--type-above",
        type=int,
        default=1000,
        help="Above this number of rows a start is confirmed by typing their number.",
    ),
)
