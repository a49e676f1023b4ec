"""A process that is stopped around its last look at the clock, and goes on when everything has changed.

Real processes, SIGSTOP and SIGCONT, the sandbox's book as the judge. Nothing leaves when the process goes on before
that look; after it the request leaves late. That is the stated remainder (docs/design.md §4): where another process
has taken the row over meanwhile, the customer has two coupons, and it is told.

On one host nobody takes a stopped process' job over, since its lock isn't freed. Here somebody has removed the lock.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bulk_issue.sandbox.server import Sandbox
from bulk_issue.sandbox.settings import Settings
from tests.console import Done, mobiles
from tests.victims import TERMS, Victim, Victims

ARGUMENTS = (*TERMS, "--rate", "60000", "--grace", "2", "--connections", "1")
#: A request leaves within a second of its intent, or not at all.
WITHIN = 1.0
HURRIED = {"HURRY": 20, "SEND_WITHIN": WITHIN}
BEFORE, AFTER = "check: before", ("check: after", "send: before")


@pytest.fixture
async def victims(tmp_path: Path) -> AsyncIterator[Victims]:
    async with Sandbox(Settings(rate=0, latency=0.004)) as box:
        yield Victims(tmp_path, box)


class Paused:
    """A run that has stopped at a point; its first row is in flight."""

    def __init__(self, victims: Victims, file: Path, at: str) -> None:
        self._victims, self._file = victims, file
        self._arguments = ("run", file, "--series", victims.box.series_id, *ARGUMENTS)
        self._run = victims.spawn(*self._arguments, watch=self._watch, STOP_AT=at, **HURRIED)
        self._at = at
        self._there = asyncio.Event()

    def _watch(self, victim: Victim, _point: object) -> None:
        if victim.last.name == self._at:
            self._there.set()

    async def stopped(self) -> None:
        """When it has stopped, and its request would be too late."""
        await self._there.wait()
        while time.monotonic() <= self._run.last.at + WITHIN:
            await asyncio.sleep(0.01)

    async def again(self) -> Done:
        """The same command in another process."""
        return (await self._victims.until_end(*self._arguments, **HURRIED))[0]

    async def goes_on(self) -> Done:
        assert self._run.process.pid is not None
        os.kill(self._run.process.pid, signal.SIGCONT)
        return await self._run.ended()


def coupons(victims: Victims, number: str) -> int:
    customer = victims.box.world.customers.find(f"mobile:{number}")
    assert customer is not None
    return sum(each.customer == customer.id for each in victims.box.book.coupons_of(victims.box.series_id))


@pytest.mark.parametrize("at", [BEFORE, *AFTER])
async def test_nobody_takes_over_from_a_process_that_is_only_stopped(victims: Victims, at: str) -> None:
    numbers = mobiles(2)
    run = Paused(victims, victims.customers("c.csv", numbers), at)
    await run.stopped()
    held = await run.again()
    requests = victims.box.book.requests()
    done = await run.goes_on()

    assert (held.code, requests, done.code) == (6, 0, 0), (held, done)
    assert [coupons(victims, number) for number in numbers] == [1, 1]
    assert victims.intents() - victims.box.book.requests() == (at == BEFORE)


async def test_a_process_that_goes_on_before_its_last_look_sends_nothing(victims: Victims) -> None:
    """Its rows were taken over and are done."""
    numbers = mobiles(3)
    run = Paused(victims, victims.customers("c.csv", numbers), BEFORE)
    await run.stopped()
    shutil.rmtree(victims.folder / "ledger.db.locks")
    other = await run.again()
    requests = victims.box.book.requests()
    done = await run.goes_on()

    assert (other.code, done.code) == (0, 6), (other, done)
    assert victims.box.book.requests() == requests == 3
    assert [coupons(victims, number) for number in numbers] == [1, 1, 1]
    assert (await run.again()).code == 0


@pytest.mark.parametrize("at", AFTER)
async def test_what_leaves_after_the_last_look_is_told(victims: Victims, at: str) -> None:
    """The stated remainder: the row was taken over in a pause between the last look and the first write."""
    numbers = mobiles(3)
    file = victims.customers("c.csv", numbers)
    run = Paused(victims, file, at)
    await run.stopped()
    shutil.rmtree(victims.folder / "ledger.db.locks")
    other = await run.again()
    done = await run.goes_on()
    again = await run.again()

    assert (other.code, done.code, again.code) == (0, 6, 5), (other, done, again)
    assert [coupons(victims, number) for number in numbers] == [2, 1, 1]
    assert victims.summary(file)["excess"] == 1
