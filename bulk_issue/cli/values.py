"""What the options of a command mean: a `Config`, a `Reading`, a plan, the page's settings, and secrets.

Secrets come from the environment or a file that nobody else can read, never from argv, never from the profile itself.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import click
from click.core import ParameterSource

from bulk_issue.cli import options as opt
from bulk_issue.config import Account, Config, LedgerUrl, Omit, Pace, Reading, Share
from bulk_issue.errors import ConfigError
from bulk_issue.hours import Hours
from bulk_issue.model import Alike, IdentifierKind, Removed
from bulk_issue.outlook import Plan

if TYPE_CHECKING:
    from bulk_issue.web.settings import Settings


def reading(options: Mapping[str, Any]) -> Reading:
    """How the input is read."""
    columns: dict[IdentifierKind, str] = {}
    for pair in options["map_"]:
        kind, equals, column = pair.partition("=")
        if not equals or kind not in set(IdentifierKind) or not column:
            kinds = ", ".join(IdentifierKind)
            raise ConfigError(
                f"--map {pair!r} can't be understood", hint=f'Write --map mobile="Phone No". The kinds are {kinds}.'
            )
        columns[IdentifierKind(kind)] = column
    by = options["identify_by"]
    return Reading(
        map=columns,
        identify_by=IdentifierKind(by) if by else None,
        delimiter=options["delimiter"].replace("\\t", "\t"),
        encoding=options["encoding"],
        sheet=options["sheet"],
        header_row=options["header_row"],
        no_header=options["no_header"],
        country=options["country"],
    )


def omit(options: Mapping[str, Any]) -> Omit:
    """Whom to leave out; --no-exclude outdoes a list that only the profile or the environment names."""
    ctx, word = click.get_current_context(silent=True), options.get("alike")
    nobody, named = bool(options.get("no_exclude")), options.get("exclude")
    if nobody and ctx is not None and ctx.get_parameter_source("exclude") is not ParameterSource.COMMANDLINE:
        named = None
    return Omit(exclude=named, no_exclude=nobody, alike=Alike(word) if word else None)


def config(options: Mapping[str, Any], series_id: int, again: str = "", **changes: Any) -> Config:
    """The settings of a command that talks to Capillary."""
    account = Account(
        base_url=options["base_url"],
        user=options["user"],
        password=secret("password", options["password_file"]),
        client_key=options["client_key"],
        client_secret=secret("client_secret", options["client_secret_file"]),
        token_header=options["token_header"],
        entity_type=options["entity_type"],
        entity_code=options["entity_code"],
    )
    names = ["rate", "per", "connections", "timeout", "grace", "reconcile_for", "max_attempts", "canary", "first"]
    limits = {name: options[name] for name in [*names, "yes_short"] if options.get(name) is not None}
    if "pace" in options:
        limits |= {
            "pace": Pace(options["pace"]),
            "max_doubt": Share.parse(options["max_doubt"], "--max-doubt"),
            "max_failures": Share.parse(options["max_failures"], "--max-failures"),
            "between": hours(options),
            "look_first": options["look_first"],
        }
    if options.get("changed"):
        limits["changed"] = Removed(options["changed"])
    return Config(
        account=account,
        series_id=series_id,
        ledger=options["ledger"],
        again=again,
        org=options["org"],
        omit=omit(options),
        **limits,
        **changes,
    )


def page(options: Mapping[str, Any]) -> Settings:
    """The settings of the upload page. The series is each campaign's own: 1 stands for it here."""
    from bulk_issue.web.settings import Settings

    ledger: Path | LedgerUrl = options["ledger"]
    beside = ledger if isinstance(ledger, Path) else opt.default_ledger()  # a database has no folder to be beside
    return Settings(
        config=config(options, 1),
        folder=(options["folder"] or beside.with_name(f"{beside.name}.page")).expanduser().absolute(),
        host=options["host"],
        port=options["port"],
        public_url=options["public_url"],
        sign_in_file=options["sign_in_file"],
        max_upload=options["max_upload"] * 1024 * 1024,
        confirm_above=options["type_above"],
        keep_uploads=options["keep_uploads"],
        keep_results=options["keep_results"],
    )


def plan(options: Mapping[str, Any]) -> Plan:
    """How fast a run would go and when, where there is no account yet to run with."""
    even = options["pace"] == Pace.EVEN or options["look_first"]
    return Plan(
        rate=options["rate"],
        per=options["per"],
        even=even,
        first=options["first"],
        between=hours(options),
        look_first=options["look_first"],
    )


def hours(options: Mapping[str, Any]) -> Hours | None:
    """The hours of --between in --zone, which it needs: the machine's own zone is nobody's choice."""
    if not options["between"]:
        return None
    if not options["zone"]:
        raise ConfigError("--between needs a --zone", hint="Name the customers' time zone, e.g. --zone Asia/Kolkata.")
    try:
        zone = ZoneInfo(options["zone"])
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(
            f"--zone {options['zone']!r} is no time zone that this machine knows",
            hint="E.g. Asia/Kolkata, Asia/Singapore, Europe/London. A machine without any needs the package tzdata.",
        ) from None
    return Hours.parse(options["between"], zone)


def secret_file(name: str, path: Path | None) -> Path | None:
    """The file that a secret is taken from: one that only the profile names gives way to the environment."""
    ctx = click.get_current_context(silent=True)
    by_profile = ctx is not None and ctx.get_parameter_source(f"{name}_file") is ParameterSource.DEFAULT_MAP
    return None if by_profile and os.environ.get(f"BULK_ISSUE_{name.upper()}") else path


def secret(name: str, path: Path | None) -> str:
    """A secret from its file, which nobody else may read, or from the environment; empty if it isn't given."""
    path = secret_file(name, path)
    if path is None:
        return os.environ.get(f"BULK_ISSUE_{name.upper()}", "")
    flag = f"--{name.replace('_', '-')}-file"
    try:
        mode = path.stat().st_mode
        found = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it isn't text"
        raise ConfigError(f"{flag} {path} can't be read: {why}", hint="Check the path.") from error
    if mode & 0o077:
        raise ConfigError(f"{flag} {path} can be read by others", hint=f"Run: chmod 600 {path}")
    if not found:
        raise ConfigError(f"{flag} {path} is empty", hint="Write the secret into it, nothing else.")
    return found
