"""A short story of `tests.chaos`: each of the things that can happen happens once, and the jobs end without a hand."""

from __future__ import annotations

from pathlib import Path

from tests.chaos import EVENTS, Chaos
from tests.cluster import Cluster
from tests.victims import Verdict


async def test_whatever_happens_to_three_hosts_each_customer_gets_one_coupon(cluster: Cluster, tmp_path: Path) -> None:
    chaos = Chaos(cluster=cluster, folder=tmp_path, seed=1, rows=60, events=EVENTS, apart=0.8)
    verdict = await chaos.run()

    assert verdict == Verdict(), chaos.log
