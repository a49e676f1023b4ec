"""Pacing in the process, on virtual time: evenly means evenly, from the first second on and after any silence."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import pytest

from bulk_issue.limiter import GRAIN, Pacer
from bulk_issue.testing import on_virtual_time

#: What the rounding of a virtual clock may take.
HAIR = 1e-3

RATES = pytest.mark.parametrize(
    ("rate", "per"), [(300, 60.0), (1, 1.0), (7, 3.0), (100, 1.0), (1000, 60.0), (60_000, 60.0)], ids=str
)


async def starts(pacer: Pacer, *, seconds: float, up_to: int = 50, workers: int = 1) -> list[float]:
    """When requests could start, with so many askers who never rest."""
    loop = asyncio.get_running_loop()
    began, at = loop.time(), list[float]()

    async def ask() -> None:
        while True:
            granted = await pacer.acquire(up_to)
            assert 1 <= granted <= up_to
            at.extend([loop.time() - began] * granted)
            assert len(at) < 100_000, "it never waits"

    with suppress(TimeoutError):
        async with asyncio.timeout(seconds), asyncio.TaskGroup() as asking:
            for _ in range(workers):
                asking.create_task(ask())
    return at


def most_in(at: Sequence[float], window: float) -> int:
    """The most starts in any window of that length."""
    most = first = 0
    for last, when in enumerate(at):
        while when - at[first] >= window:
            first += 1
        most = max(most, last - first + 1)
    return most


@on_virtual_time
async def test_three_hundred_a_minute_are_one_every_fifth_of_a_second() -> None:
    at = await starts(Pacer(300, 60.0, even=True), seconds=10.0)

    assert at == pytest.approx([0.2 * n for n in range(len(at))], abs=HAIR)
    assert len(at) == pytest.approx(50, abs=1)


@pytest.mark.parametrize("workers", [1, 7])
@RATES
@on_virtual_time
async def test_no_stretch_holds_more_than_its_share_and_a_grain(rate: int, per: float, workers: int) -> None:
    at = await starts(Pacer(rate, per, even=True), seconds=3 * per if rate < 1000 else 5.0, workers=workers)

    grain = max(1.0, rate / per * GRAIN)
    for window in (per, per / 7, 1.0, 0.1):
        assert most_in(at, window) <= grain + window * rate / per + 1


@RATES
@on_virtual_time
async def test_an_asker_that_never_rests_uses_at_least_99_percent(rate: int, per: float) -> None:
    seconds = max(200 * per / rate, 5.0)
    at = await starts(Pacer(rate, per, even=True), seconds=seconds)

    assert len(at) >= 0.99 * seconds * rate / per


@on_virtual_time
async def test_turns_that_are_taken_late_are_made_up_for() -> None:
    """A busy machine wakes everybody a little late; over a minute that must not cost a hundredth of the limit."""
    loop = asyncio.get_running_loop()
    pacer, granted = Pacer(300, 20.0, even=True), 0
    while loop.time() < 60.0:
        granted += await pacer.acquire(1)
        await asyncio.sleep(0.03)  # what comes after it, and the lateness

    assert granted >= 0.99 * 60.0 * 300 / 20.0
    late = [await pacer.acquire(1)]
    await asyncio.sleep(0.11)  # one turn and a half
    began = loop.time()
    late += [await pacer.acquire(1), await pacer.acquire(1)]

    assert loop.time() - began < 1 / 15


@on_virtual_time
async def test_a_silence_saves_nothing_up() -> None:
    pacer = Pacer(300, 60.0, even=True)
    await starts(pacer, seconds=5.0)
    await asyncio.sleep(3600.0)

    assert most_in(await starts(pacer, seconds=10.0), 1.0) <= 6


@on_virtual_time
async def test_a_fast_pace_gives_a_handful_at_once_but_never_more_than_asked_for() -> None:
    pacer = Pacer(60_000, 60.0, even=True)

    assert await pacer.acquire(100) == 50
    assert await pacer.acquire(3) <= 3
    await asyncio.sleep(1.0)
    assert [await pacer.acquire(1) for _ in range(3)] == [1, 1, 1]


@on_virtual_time
async def test_whoever_gives_up_waiting_takes_nobodys_turn() -> None:
    pacer = Pacer(300, 60.0, even=True)
    await pacer.acquire(1)
    waiting = [asyncio.create_task(pacer.acquire(1)) for _ in range(10)]
    await asyncio.sleep(0.05)
    for task in waiting[:9]:
        task.cancel()

    assert await waiting[9] == 1
    assert asyncio.get_running_loop().time() == pytest.approx(0.2, abs=HAIR)


@on_virtual_time
async def test_not_evenly_means_at_once() -> None:
    pacer = Pacer(1, 60.0, even=False)

    assert [await pacer.acquire(n) for n in (50, 1, 17)] == [50, 1, 17]
    assert asyncio.get_running_loop().time() < HAIR


@on_virtual_time
async def test_after_a_429_a_burst_becomes_even_for_an_hour() -> None:
    pacer = Pacer(300, 60.0, even=False)
    assert await pacer.acquire(50) == 50
    pacer.steady()

    assert len(await starts(pacer, seconds=10.0)) == pytest.approx(50, abs=2)
    await asyncio.sleep(3600)
    assert await pacer.acquire(50) == 50


@on_virtual_time
async def test_the_hour_lasts_to_its_end_and_begins_anew_with_another_429() -> None:
    pacer = Pacer(300, 60.0, even=False)
    pacer.steady()
    await asyncio.sleep(3590.0)
    assert await pacer.acquire(50) == 1
    pacer.steady()
    await asyncio.sleep(3590.0)

    assert await pacer.acquire(50) == 1


@on_virtual_time
async def test_a_429_makes_an_even_pace_no_less_even_afterwards() -> None:
    pacer = Pacer(300, 60.0, even=True)
    pacer.steady()
    await asyncio.sleep(2 * 3600.0)

    assert await pacer.acquire(50) == 1
