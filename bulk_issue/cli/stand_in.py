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
@opt.option("--host", of="sandbox", default="127.0.0.1", help="Loopback address to listen on.")
@opt.option("--port", of="sandbox", type=int, default=8080, help="0 takes a free one.")
@opt.option("--rate", of="sandbox", type=int, default=300, help="The strict limit: so many requests (0: none) …")
@opt.option("--per", of="sandbox", type=opt.Duration(), default="60", help="… in any window of so long.")
@opt.option("--latency", of="sandbox", type=float, default=0.05, help="Seconds that an answer takes …")
@opt.option("--jitter", of="sandbox", type=float, default=0.02, help="… give or take so many.")
@opt.option("--faults", of="sandbox", type=click.FloatRange(0, 1), default=0.0, help="Share of requests that go wrong.")
@opt.option("--seed", of="sandbox", type=int, default=0, help="Which faults, of all that could be.")
@opt.option(
    "--book",
    of="sandbox",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File that keeps what was really issued.",
)
def sandbox(**options: Any) -> int:
    """Run a stand-in for Capillary's API on this machine, to try everything without a real coupon.

    Mobiles that end in 0701, 0721, 0740 or 0742 are refused with that code; 0709 has an older coupon of the series.
    With --faults 0.3 a third of all requests go wrong, so that rows come in doubt.
    """
    from bulk_issue.sandbox.server import Sandbox
    from bulk_issue.sandbox.settings import Settings

    host, port = options.pop("host"), options.pop("port")

    async def serve(asked: asyncio.Event) -> None:
        async with Sandbox(Settings(**options), host=host, port=port) as box:
            series = ", ".join(str(each.id) for each in box.settings.series)
            basic = f"BULK_ISSUE_USER={box.user} BULK_ISSUE_PASSWORD={box.password}"
            oauth = f"BULK_ISSUE_CLIENT_KEY={box.client_key} BULK_ISSUE_CLIENT_SECRET={box.client_secret}"
            frame.say_all(
                [
                    f"Sandbox: {box.url}   (series {series}; Ctrl-C ends it)",
                    "In the terminal that issues, to use it:",
                    f"  export BULK_ISSUE_BASE_URL={box.url} {basic}",
                    "or by OAuth:",
                    f"  export BULK_ISSUE_BASE_URL={box.url} {oauth}",
                ]
            )
            await asked.wait()

    frame.in_loop(serve, farewell="The sandbox ends.")
    return ExitCode.DONE
