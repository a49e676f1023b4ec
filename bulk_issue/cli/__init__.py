"""The command line: arguments in, words and an exit code out. Everything else is `app`'s.

Importing this package loads neither pandas nor aiohttp nor SQLAlchemy: `--help` answers at once, and each command
imports what it needs. A group of commands has a module of its own and is named here.
"""

from __future__ import annotations

import sys
from typing import NoReturn

import click

from bulk_issue import __version__
from bulk_issue.cli import doctor, frame, issuing, jobs, ledger, options, page, profile, settings, stand_in, workers


def main() -> NoReturn:
    """Run a command and exit as documented, whatever happens."""
    sys.exit(frame.exit_code(commands, sys.argv[1:]))


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="bulk-issue")
def commands() -> None:
    """Issue exactly one Capillary coupon to each customer of a file.

    Running the same command again is always right: it goes on where it stopped and sends nothing twice.
    """


for _command in (
    *(issuing.run, issuing.check, issuing.resume, issuing.retry, issuing.reconcile, issuing.audit),
    *(jobs.status, jobs.find, jobs.cancel, jobs.export),
    *(workers.defer, workers.worker),
    page.serve,
    stand_in.sandbox,
    *(settings.config, doctor.doctor, ledger.ledger),
):
    commands.add_command(_command)

options.heed_profile(commands)
_shown = {param.name for param in settings.show.params}
settings.show.params += [each for each in profile.settings(commands).values() if each.name not in _shown]
