"""Die at any point, or lose the disk there, and run the same command again: nothing is lost and nothing sent twice.

One small file in which everything happens once (see `victims.Scene`), real processes, the sandbox's book as the judge.
`make torture` walks through every point; here each kind of point is died at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

import pytest

from bulk_issue.config import LedgerUrl
from bulk_issue.sandbox.server import Sandbox
from bulk_issue.sandbox.settings import Settings
from tests.cluster import Cluster
from tests.console import Done
from tests.victims import CRASHED, Crashed, Scene, Verdict, crash_scene, points_of_scene

NewLedger = Callable[[], LedgerUrl | None]
#: Until a commit nothing has happened, so its "before" is as the "after" of what came before it; but not where the
#: server or a person has been told something meanwhile.
TELLING = ("begin: before", "finish: before", "turn: before", "settle: before")


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with Sandbox(Settings(rate=0, latency=0.004)) as box:
        yield Scene.set_up(tmp_path, box)


@pytest.fixture(params=["sqlite", "postgres"])
def new_ledger(request: pytest.FixtureRequest) -> NewLedger:
    """Gives each scene a ledger: a file of its own (None), or a database."""
    if request.param == "sqlite":
        return lambda: None
    cluster: Cluster = request.getfixturevalue("cluster")
    return lambda: cluster.url(cluster.database())


async def all_of(folder: Path, crashes: Iterable[tuple[str, ...]], new_ledger: NewLedger) -> list[Crashed]:
    """Scenes with these crashes, a few at once: most of the time they wait."""
    slots = asyncio.Semaphore(16)

    async def one(number: int, names: tuple[str, ...]) -> Crashed:
        async with slots:
            return await crash_scene(folder / str(number), *names, ledger=new_ledger())

    return await asyncio.gather(*(one(number, names) for number, names in enumerate(crashes)))


async def test_a_crash_at_any_kind_of_point(tmp_path: Path, new_ledger: NewLedger) -> None:
    points = dict.fromkeys(await points_of_scene(tmp_path / "whole", new_ledger()))
    kinds = [(name,) for name in points if "before the commit" not in name or name.startswith(TELLING)]
    scenes = await all_of(tmp_path, kinds, new_ledger)

    assert len(kinds) > 20
    assert [(*each.died_at,) for each in scenes] == kinds
    assert not [each.words for each in scenes if not each.verdict.clean]


async def test_a_second_crash_while_the_first_is_made_good(tmp_path: Path, new_ledger: NewLedger) -> None:
    crashes = [
        ("begin: after the commit", "hold: after the commit"),
        ("send: after", "begin: after the commit"),
        ("send: after", "look-up"),
        ("answer", "settle: before the commit"),
        ("answer", "settle: after the commit", "send: after"),
        # whether a process that starts late notes a second empty look or settles by it is a matter of time
        ("send: after", "note: after the commit", "settle: after the commit"),
        ("settle: after the commit", "release: before the commit"),
        ("add: after the commit", "add: after the commit", "seal: before the commit"),
    ]
    scenes = await all_of(tmp_path, crashes, new_ledger)

    assert [(*each.died_at,) for each in scenes] == crashes, [each.words for each in scenes]
    assert not [each.words for each in scenes if not each.verdict.clean]


# --- a disk that is full, or fails ------------------------------------------------------------------------------


async def refused(folder: Path, at: str, **settings: object) -> tuple[Done, Verdict]:
    """A scene whose ledger refuses from that transaction on; then the same command with a sound disk, if need be."""
    async with Sandbox(Settings(rate=0, latency=0.004)) as box:
        scene = Scene.set_up(folder / at, box)
        first, _ = await scene.run(REFUSE_FROM=at, **settings)
        unannounced = scene.sent_without_intent()
        verdict = scene.judge(first if first.code == 0 else (await scene.run())[0])
        verdict.without_intent += unannounced
        return first, verdict


async def test_a_ledger_that_refuses_for_a_moment_ends_nothing(tmp_path: Path) -> None:
    ends = await asyncio.gather(
        refused(tmp_path, "LedgerWork.begin", REFUSE=2, REFUSE_WITH="ENOSPC"),
        refused(tmp_path, "LedgerWork.finish", REFUSE=2, REFUSE_WITH="EIO"),
        refused(tmp_path, "LedgerWork.pause", REFUSE=1, REFUSE_WITH="ENOSPC"),
        refused(tmp_path, "LedgerWork.tally#2", REFUSE=1, REFUSE_WITH="EIO"),  # the first comes before the run
    )

    assert [first.code for first, _ in ends] == [0, 0, 0, 0], ends
    assert all(verdict.clean for _, verdict in ends), ends


async def test_a_ledger_that_refuses_for_good_stops_the_sending(tmp_path: Path) -> None:
    transactions = ["LedgerJobs._add", "LedgerJobs._hold", "LedgerWork.begin", "LedgerWork.finish"]
    ends = await asyncio.gather(*(refused(tmp_path, at, REFUSE=10**9, PATIENCE=1.0) for at in transactions))

    assert [first.code for first, _ in ends] == [7, 7, 7, 7], ends
    assert all("ledger" in first.err for first, _ in ends)
    assert all(verdict.clean for _, verdict in ends), ends


# --- result files -----------------------------------------------------------------------------------------------


async def test_torn_and_missing_files_are_written_again_by_the_same_command(scene: Scene) -> None:
    await scene.run()
    (results,) = scene.victims.folder.glob("c.csv-results/*/results.csv")
    summary, whole = results.with_name("summary.json"), results.read_bytes()
    requests = scene.victims.box.book.requests()
    for damage in (
        lambda: results.write_bytes(whole[: len(whole) // 2]),
        results.unlink,
        lambda: summary.write_bytes(b""),
        summary.unlink,
        lambda: deque(map(Path.unlink, (results, summary))),
    ):
        damage()
        done, _ = await scene.run()
        assert scene.judge(done).clean, done
        assert results.read_bytes() == whole
    assert scene.victims.box.book.requests() == requests


async def test_torn_and_missing_files_are_written_again_by_export(scene: Scene) -> None:
    await scene.run()
    (results,) = scene.victims.folder.glob("c.csv-results/*/results.csv")
    summary, whole = results.with_name("summary.json"), results.read_bytes()
    job = results.parent.name.partition("-")[2]
    results.write_bytes(whole[: len(whole) // 2])
    summary.unlink()
    done = await scene.victims("export", job)

    assert done.code == 0, done
    assert results.read_bytes() == whole
    assert summary.exists()


async def test_nobody_finds_a_half_written_file(scene: Scene) -> None:
    done, _ = await scene.run(CRASH_AT="file: a row")
    (folder,) = scene.victims.folder.glob("c.csv-results/*")

    assert done.code == CRASHED
    assert not [path for path in folder.iterdir() if path.is_file()]
    done, _ = await scene.run(CRASH_AT="results.csv: before it is renamed")
    assert done.code == CRASHED
    assert [path.name for path in folder.iterdir() if path.is_file()] == ["summary.json"]
    done, _ = await scene.run()
    assert scene.judge(done).clean, done
