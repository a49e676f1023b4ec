"""Whole histories keep the promises, and one seed is one history."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from bulk_issue.ledger import claims
from bulk_issue.ledger.database import Database
from bulk_issue.readers import Readers
from bulk_issue.reconcile import Reconciler
from tests.cluster import Cluster
from tests.simulation import failing, history

ROOT = Path(__file__).parent.parent
#: `make simulate SEEDS=10000` lets many more happen.
SEEDS = range(200)
#: Histories that once broke a promise (docs/reliability.md names what they found).
FOUND = (6, 29, 45, 143, 187, 204, 213, 407, 525, 636, 829, 851, 1284, 1643, 1660, 2163)


@pytest.mark.parametrize("seeds", [SEEDS[at : at + 40] for at in range(0, len(SEEDS), 40)], ids=str)
def test_histories_keep_the_promises(seeds: range) -> None:
    with ProcessPoolExecutor(2) as pool:
        failures = [found[1] for found in pool.map(failing, seeds, chunksize=5) if found is not None]

    assert not failures, "\n\n".join(failures)


@pytest.mark.parametrize("seed", range(0, 40, 8))
def test_histories_keep_the_promises_on_postgresql(cluster: Cluster, seed: int) -> None:
    """Without the claim that one seed is one history: a server's own clock and locks have their part in it."""
    database = cluster.database()
    found = failing(seed, cluster.url(database))

    assert found is None, found and found[1]
    assert int(cluster.sql("SELECT count(*) FROM bulk_issue.attempts", database)) > 0


@pytest.mark.parametrize("seed", FOUND)
def test_a_history_that_once_broke_a_promise_keeps_it(seed: int) -> None:
    found = failing(seed)

    assert found is None, found and found[1]


@pytest.mark.parametrize("seed", [1, 22, 177, 354])
def test_the_same_seed_is_the_same_history(seed: int) -> None:
    """Also in another process, where nothing lies in memory as it did here and every set has another order."""

    def elsewhere(hash_seed: int) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "tests.simulation", "--show", "--seeds", "1", "--start", str(seed)],
            env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    here = history(seed).log
    first, second = elsewhere(1), elsewhere(2)

    assert first == second
    assert "\n".join(here) in first


def test_another_seed_is_another_history() -> None:
    assert history(1).log != history(2).log


# --- the histories can go wrong -----------------------------------------------------------------------------------


def _sees(seeds: range) -> bool:
    return any(history(seed).complaints for seed in seeds)


async def nothing(*_: object) -> None:
    """Do nothing."""


@pytest.mark.parametrize(
    ("owner", "name", "wrong", "seeds"),
    [
        pytest.param(Reconciler, "_second_look", lambda *_: True, range(40, 160), id="one empty look is enough"),
        pytest.param(Readers, "_prove", nothing, range(60), id="nobody proves the reader"),
        pytest.param(claims, "alias_keys", lambda _: [], range(10, 70), id="nobody learns second names"),
        pytest.param(claims, "differ", lambda *_: False, range(30), id="nobody looks at the customer's number"),
    ],
)
def test_a_mistake_is_seen(
    monkeypatch: pytest.MonkeyPatch, owner: object, name: str, wrong: Callable[..., object], seeds: range
) -> None:
    monkeypatch.setattr(owner, name, wrong)

    assert _sees(seeds)


def test_a_ledger_that_forgets_permits_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    transact = Database._transact

    def forgetful(self: Database, work: Callable[..., object]) -> object:
        done = transact(self, work)
        transact(self, lambda connection: connection.exec_driver_sql("DELETE FROM permits"))
        return done

    monkeypatch.setattr(Database, "_transact", forgetful)

    assert _sees(range(30))
