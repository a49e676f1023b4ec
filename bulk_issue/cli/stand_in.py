"""The stand-in for Capillary's API: `sandbox`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from bulk_issue.cli import frame
from bulk_issue.cli import options as opt
from bulk_issue.ending import ExitCode


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Loopback address to listen on.")
@click.option("--port", type=int, default=8080, show_default=True, help="0 takes a free one.")
@click.option("--rate", type=int, default=300, show_default=True, help="The strict limit: so many requests (0: none) …")
@click.option("--per", type=opt.Duration(), default="60", show_default=True, help="… in any window of so long.")
@click.option("--latency", type=float, default=0.05, show_default=True, help="Seconds that an answer takes …")
@click.option("--jitter", type=float, default=0.02, show_default=True, help="… give or take so many.")
@click.option("--faults", type=click.FloatRange(0, 1), default=0.0, help="Share of requests that go wrong.")
@click.option("--seed", type=int, default=0, help="Which faults, of all that could be.")
@click.option("--book", type=click.Path(path_type=Path, dir_okay=False), help="File that keeps what was really issued.")
def sandbox(**options: Any) -> int:
    """Run a stand-in for Capillary's API on this machine, to try everything without a real coupon.

    Mobiles that end in 0701, 0721, 0740 or 0742 are refused with that code; 0709 has an older coupon of the series.
    """
    from bulk_issue.sandbox.server import Sandbox
    from bulk_issue.sandbox.settings import Settings

    host, port = options.pop("host"), options.pop("port")

    async def serve(asked: asyncio.Event) -> None:
        async with Sandbox(Settings(**options), host=host, port=port) as box:
            series = ", ".join(str(each.id) for each in box.settings.series)
            frame.say_all(
                [
                    f"Sandbox: {box.url}   (series {series}; Ctrl-C ends it)",
                    f"  Basic:  --user {box.user}   BULK_ISSUE_PASSWORD={box.password}",
                    f"  OAuth:  --client-key {box.client_key}   BULK_ISSUE_CLIENT_SECRET={box.client_secret}",
                ]
            )
            await asked.wait()

    frame.in_loop(serve, farewell="The sandbox ends.")
    return ExitCode.DONE
