"""The upload page: `serve`."""

from __future__ import annotations

from typing import Any

import click

from bulk_issue.cli import frame, values
from bulk_issue.cli import options as opt
from bulk_issue.ending import ExitCode
from bulk_issue.errors import ConfigError


@click.command()
@opt.page_options
@opt.account_options
@opt.limit_options
@opt.ledger_option
@opt.option("--set-password", is_flag=True, help="Ask for a password, write its hash to --sign-in-file, and end.")
def serve(*, set_password: bool, **options: Any) -> int:
    """Serve the upload page: campaigns without a terminal, on this machine's ledger and with this account.

    It prints an address that signs in once. Runs that were going on when it ended are gone on with.
    """
    try:
        from bulk_issue.web import access, server
    except ModuleNotFoundError as error:
        raise ConfigError(f"{error.name} isn't installed", hint="Run: pip install 'bulk-issue[web]'") from error
    if set_password:
        path = options["sign_in_file"]
        if path is None:
            raise ConfigError("--set-password needs a --sign-in-file", hint="Say which file is to hold the hash.")
        access.set_password(path, click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
        frame.say(f"The password's hash is in {path}.")
        return ExitCode.DONE
    settings = values.page(options)
    told = lambda address: frame.say(f"Sign in once at {address}")  # noqa: E731
    frame.say(f"Ledger: {options['ledger']}", err=True)
    frame.in_loop(lambda asked: server.serve(settings, asked, told))
    return ExitCode.DONE
