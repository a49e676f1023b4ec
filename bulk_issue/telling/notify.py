"""Notifications through apprise: e-mail, chat, pagers, webhooks. Their addresses are secrets and are never shown."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

from bulk_issue.ending import ExitCode
from bulk_issue.errors import ConfigError
from bulk_issue.saying import count, number
from bulk_issue.telling import End, Untold

try:
    import apprise
except ModuleNotFoundError as error:
    raise ConfigError(
        "notifications need apprise, which isn't installed", hint="Run: pip install 'bulk-issue[notify]'"
    ) from error

#: Seconds that all deliveries together may take: a run that has ended doesn't wait for a chat server.
PATIENCE = 30.0
_MEANS = {
    ExitCode.DONE: "done",
    ExitCode.FAILURES: "ended, some rows failed",
    ExitCode.USAGE: "not started",
    ExitCode.STOPPED: "stopped",
    ExitCode.ASKED: "stopped as asked",
    ExitCode.DOUBT: "rows in doubt",
    ExitCode.HELD: "not started: another process runs the job",
    ExitCode.TROUBLE: "trouble of our own",
}


class Notifier:
    """Tells every address how a command ended."""

    def __init__(self, addresses: str) -> None:
        """One URL a line, as apprise writes them; raises `ConfigError` where one can't be understood."""
        # its warnings name addresses, and would reach the standard error output
        logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
        self._to = apprise.Apprise(asset=apprise.AppriseAsset(app_id="bulk-issue", app_desc="bulk-issue", app_url=""))
        lines = [line.strip() for line in addresses.splitlines()]
        for at, line in enumerate(lines, 1):
            if line and not line.startswith("#") and not self._to.add(line):
                raise ConfigError(
                    f"line {at} of the notification's addresses can't be understood",
                    hint="Write a URL as apprise has it, e.g. mailto://… or slack://… or jsons://HOST/PATH.",
                )

    def tell(self, end: End) -> None:
        """Tell all of them, in bounded time; raises `Untold` where somebody wasn't reached."""
        delivered: list[bool] = []

        def deliver() -> None:
            delivered.append(bool(self._to.notify(title=title(end), body="\n".join(_body(end)))))

        thread = threading.Thread(target=deliver, daemon=True, name="notify")
        thread.start()
        thread.join(PATIENCE)
        if delivered != [True]:
            raise Untold("no answer in time" if thread.is_alive() else "not everybody was reached")


def title(end: End) -> str:
    """The notification's first line."""
    return f"bulk-issue {end.command}: {_MEANS[end.exit_code]} (exit code {int(end.exit_code)})"


def _body(end: End) -> Iterator[str]:
    for job in end.jobs:
        counts = ", ".join(f"{number(rows)} {state.replace('_', ' ')}" for state, rows in job.counts.items() if rows)
        yield f"Job {job.job}, series {job.series_id}: {count(job.rows, 'row')}: {counts or 'nothing yet'}"
        if job.excess:
            yield f"{count(job.excess, 'coupon')} too many: see results.csv, and revoke them in Capillary."
        if job.stopped:
            yield f"Stopped: {job.stopped}"
        if job.exit_code is not ExitCode.DONE:
            yield f"See: bulk-issue status {job.job}"
    if end.error:
        yield end.message
        if end.hint:
            yield end.hint
