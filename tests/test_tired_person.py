"""Whatever a tired person does before both faces, coupons go only to whom an agreement named, and once."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.tired_person import Days, Deed, Step, failing, history, plan

ROOT = Path(__file__).parent.parent
#: `make simulate SEEDS=10000` lets many more happen. Each mistake of `tests/planted.py` that names this test shows in
#: some of them.
SEEDS = range(2000, 2080)


@pytest.mark.timeout(600)  # a busy machine takes its time
def test_nobody_gets_a_coupon_that_no_agreement_named() -> None:
    with ProcessPoolExecutor(2) as pool:
        failures = [found[1] for found in pool.map(failing, SEEDS, chunksize=5) if found is not None]

    assert not failures, "\n\n".join(failures)


_STEPS = st.lists(st.builds(Step, st.sampled_from(Deed), st.integers(0, 2**32 - 1)), max_size=8)


@given(seed=st.integers(0, 2**16), steps=_STEPS)
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_nor_on_days_that_hypothesis_thinks_of(seed: int, steps: list[Step]) -> None:
    first = (Step(Deed.WRITE, seed), Step(Deed.UPLOAD, seed))
    past = history(Days(seed, (*first, *steps)))

    assert not past.complaints, "\n".join([*past.log, *past.complaints])


def test_one_seed_is_one_history_in_any_process() -> None:
    def elsewhere(hash_seed: int) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "tests.simulation", "--people", "--show", "--seeds", "1", "--start", "98"],
            env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    assert elsewhere(1) == elsewhere(2) != ""
    assert history(plan(98)).log != history(plan(99)).log
