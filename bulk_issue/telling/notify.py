"""Notifications through apprise: e-mail, chat, pagers, webhooks. Their addresses are secrets and are never shown.

They are delivered by a process of their own (`python -m` this module), since apprise delivers in threads that nobody
can end: a server that answers a byte at a time would keep a command that has ended alive.
"""

from __future__ import annotations

import json
import logging
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

from bulk_issue.ending import ExitCode
from bulk_issue.errors import ConfigError
from bulk_issue.saying import count, number
from bulk_issue.telling import End, Untold, harmless, level

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
_TYPES = {
    "info": apprise.NotifyType.SUCCESS,
    "warning": apprise.NotifyType.WARNING,
    "error": apprise.NotifyType.FAILURE,
}


class Notifier:
    """Tells every address how a command ended."""

    def __init__(self, addresses: str) -> None:
        """One URL a line, as apprise has them. A line that can't be understood is in `wrong`; the others are told."""
        self.wrong: ConfigError | None = None
        self._to: list[str] = []
        # apprise's warnings name addresses, and would reach the standard error output
        logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
        for at, line in enumerate(map(str.strip, addresses.splitlines()), 1):
            if not line or line.startswith("#"):
                continue
            if apprise.Apprise().add(line):
                self._to.append(line)
            elif self.wrong is None:
                self.wrong = ConfigError(
                    f"line {at} of the notification's addresses can't be understood",
                    hint="Write a URL as apprise has it, e.g. mailto://… or slack://… or jsons://HOST/PATH.",
                )

    def tell(self, end: End) -> None:
        """Tell all of them; nothing of it goes on after `PATIENCE`. Raises `Untold` where somebody wasn't reached."""
        if not self._to:
            return
        asked = {"to": self._to, "title": title(end), "body": body(end), "type": _TYPES[level(end.exit_code)].value}
        try:
            done = subprocess.run(  # noqa: S603 - ourselves, and nothing secret on its command line
                [sys.executable, "-P", "-m", __name__],
                input=json.dumps(asked).encode(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=PATIENCE,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Untold("no answer in time") from None  # what it was asked names addresses
        if done.returncode:
            raise Untold("not everybody was reached")


def title(end: End) -> str:
    """The notification's first line."""
    means = f"{_MEANS[end.exit_code]} (exit code {int(end.exit_code)})"
    return harmless(f"bulk-issue {end.command} on {socket.gethostname()}: {means}")


def body(end: End) -> str:
    """What became of each job, and what to do."""
    return "\n".join(map(harmless, _lines(end)))


def _lines(end: End) -> Iterator[str]:
    if end.file and not end.jobs:
        yield f"File: {end.file}"
    for job in end.jobs:
        counts = ", ".join(f"{number(rows)} {state.replace('_', ' ')}" for state, rows in job.counts.items() if rows)
        of = f" ({job.file})" if job.file else ""
        yield f"Job {job.job}{of}, series {job.series_id}: {count(job.rows, 'row')}: {counts or 'nothing yet'}"
        if job.excess:
            yield f"{count(job.excess, 'coupon')} too many: see results.csv, and revoke them in Capillary."
        if job.stopped:
            yield f"Stopped: {job.stopped}"
        if job.exit_code is not ExitCode.DONE:
            yield f"See: {end.see(job.job)}"
    yield from filter(None, (end.message, end.hint))


def _deliver() -> None:
    """The process of its own: tell those who are named on the standard input; fails if somebody wasn't reached."""
    signal.alarm(int(PATIENCE) + 1)  # whoever started it may have been killed
    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
    asked = json.load(sys.stdin)
    everybody = apprise.Apprise(asset=apprise.AppriseAsset(app_id="bulk-issue", app_desc="bulk-issue", app_url=""))
    added = [everybody.add(address) for address in asked["to"]]
    reached = everybody.notify(
        title=asked["title"],
        body=asked["body"],
        notify_type=apprise.NotifyType(asked["type"]),
        body_format=apprise.NotifyFormat.TEXT,
    )
    if not (all(added) and reached):
        raise Untold


if __name__ == "__main__":
    _deliver()
