"""Shares, on virtual time and a real server: whatever ends their part, their requests end and are recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from bulk_issue.errors import ConfigError, JobHeld
from bulk_issue.job import Run
from bulk_issue.ledger import SqliteLedger
from bulk_issue.limiter import Pacer
from bulk_issue.model import JobState
from bulk_issue.ports import Hold
from bulk_issue.share import Left, Share
from bulk_issue.testing import ModelServer, Script, VirtualClock, mobile, on_virtual_time, processed_after
from tests.cluster import Cluster
from tests.hosts import Host, Mortal, Process, configured, few_polls, rows_of, spec

A = spec()
PEOPLE = rows_of([mobile(n) for n in range(6)])
TERMS: dict[str, Any] = {"canary": 0, "connections": 3, "timeout": 20.0}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with few_polls():
        yield


class Hosts:
    """One leads a job without sending, another one shares in it."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        clock = VirtualClock()
        server = ModelServer(clock=clock, fates=Script([], then=processed_after(8.0)), timeout=20.0)
        self.host = Host(folder, server, clock, cluster.url(cluster.database()))
        self.asked = asyncio.Event()

    async def lead(self) -> tuple[SqliteLedger, Hold]:
        ledger = await self.host.opened()
        await ledger.jobs.register(A, [PEOPLE], lambda: 0, self.host.clock.now())
        return ledger, await ledger.jobs.hold(A.id, self.config.budget, self.host.clock.now())

    @property
    def config(self) -> Any:
        return configured(self.host.path, **TERMS)

    async def share(self) -> tuple[SqliteLedger, Share]:
        ledger = await self.host.opened()
        job = await ledger.jobs.find(A.id)
        assert job is not None
        mortal = Mortal(Process(self.host, A, PEOPLE, self.config, Random(0)))
        return ledger, Share(
            job=job,
            config=self.config,
            series=None,
            ledger=ledger,
            issuer=mortal,
            records=mortal,
            clock=self.host.clock,
            draw=Random(0).random,
            pacer=lambda even: Pacer(300, 60.0, even=even),
            lookups=Pacer(300, 60.0, even=True),
            observer=lambda _progress: None,
            asked=self.asked,
        )

    def living(self) -> list[tuple[Any, ...]]:
        return self.host.ask("SELECT part FROM runs WHERE ended IS NULL AND lost = 0 AND part = 'share'")


@pytest.mark.parametrize("how", ["stopped", "cancelled", "lost", "another limit"])
@on_virtual_time
async def test_requests_under_way_end_whatever_ends_a_shares_part(cluster: Cluster, tmp_path: Path, how: str) -> None:
    hosts = Hosts(cluster, tmp_path)
    lead, hold = await hosts.lead()
    mine, share = await hosts.share()
    taking = asyncio.create_task(share.take())
    now = hosts.host.clock.now
    while hosts.host.states().count("in_flight") < 3:
        await asyncio.sleep(0.1)
    match how:
        case "stopped":
            await lead.jobs.release(hold, JobState.STOPPED, "", now())
        case "cancelled":
            await lead.jobs.cancel(A.id)
        case "lost":
            (member,) = (await lead.members.beat(hold, now())).others
            assert await lead.members.lose(hold, member, hosts.config.budget, now())
        case _:
            await lead.jobs.release(hold, JobState.RUNNING, "", now())
            other = configured(hosts.host.path, **TERMS, per=30.0)
            await lead.jobs.hold(A.id, other.budget, now())
    if how == "cancelled":
        assert await taking == (Left.DONE, None)
    else:
        with pytest.raises(ConfigError if how == "another limit" else JobHeld):
            await taking

    assert hosts.host.states() == ["issued"] * 3 + ["cancelled" if how == "cancelled" else "pending"] * 3
    assert hosts.living() == []
    await lead.close()
    await mine.close()
    hosts.host.close()


@on_virtual_time
async def test_a_lead_that_stops_for_everybodys_reason_says_so_before_it_waits_for_the_others(
    cluster: Cluster, tmp_path: Path
) -> None:
    """Otherwise they begin more while what they have begun is waited for."""
    hosts = Hosts(cluster, tmp_path)
    process = hosts.host.process(A, PEOPLE, **TERMS)
    ready, seen = process._ready, list[Any]()

    async def watched() -> Run:
        run = await ready()
        real = run.ledger.work.in_flight

        async def in_flight(job: Any) -> int:
            seen.append(hosts.host.ask("SELECT halted IS NOT NULL FROM jobs"))
            return await real(job)

        run.ledger.work.in_flight = in_flight  # type: ignore[method-assign]
        return run

    process._ready = watched  # type: ignore[method-assign]
    hosts.host.server.authorized = False
    await process.run()

    assert seen[0] == [(True,)]
    hosts.host.close()
