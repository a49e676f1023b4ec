"""Die at any point, or lose the disk there, and run the same command again: nothing is lost and nothing sent twice.

One small file in which everything happens once (see `victims.Scene`), real processes, the sandbox's book as the judge.
`make torture` walks through every point; here each kind of point is died at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest

from bulk_issue.sandbox.server import Sandbox
from bulk_issue.sandbox.settings import Settings
from tests.victims import CRASHED, Crashed, Scene, crash_scene, points_of_scene

#: Until a commit nothing has happened, so its "before" is as the "after" of what came before it; but not where the
#: server or a person has been told something meanwhile.
TELLING = ("begin: before", "finish: before", "settle: before")


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with Sandbox(Settings(rate=0, latency=0.004)) as box:
        yield Scene.set_up(tmp_path, box)


async def all_of(folder: Path, crashes: Iterable[tuple[str, ...]]) -> list[Crashed]:
    """Scenes with these crashes, a few at once: most of the time they wait."""
    slots = asyncio.Semaphore(8)

    async def one(number: int, names: tuple[str, ...]) -> Crashed:
        async with slots:
            return await crash_scene(folder / str(number), *names)

    return await asyncio.gather(*(one(number, names) for number, names in enumerate(crashes)))


async def test_a_crash_at_any_kind_of_point(tmp_path: Path) -> None:
    points = dict.fromkeys(await points_of_scene(tmp_path / "whole"))
    kinds = [(name,) for name in points if "before the commit" not in name or name.startswith(TELLING)]
    scenes = await all_of(tmp_path, kinds)

    assert len(kinds) > 20
    assert [(*each.died_at,) for each in scenes] == kinds
    assert not [each.words for each in scenes if not each.verdict.clean]


async def test_a_second_crash_while_the_first_is_made_good(tmp_path: Path) -> None:
    crashes = [
        ("begin: after the commit", "hold: after the commit"),
        ("send: after", "begin: after the commit"),
        ("send: after", "look-up"),
        ("answer", "settle: before the commit"),
        ("answer", "settle: after the commit", "send: after"),
        ("send: after", "note: after the commit", "note: after the commit"),
        ("settle: after the commit", "release: before the commit"),
        ("add: after the commit", "add: after the commit", "seal: before the commit"),
    ]
    scenes = await all_of(tmp_path, crashes)

    assert [(*each.died_at,) for each in scenes] == crashes
    assert not [each.words for each in scenes if not each.verdict.clean]


# --- a disk that is full, or fails ------------------------------------------------------------------------------


@pytest.mark.parametrize("at", ["LedgerWork.begin", "LedgerWork.finish", "LedgerWork.pause", "LedgerWork.tally"])
@pytest.mark.parametrize("trouble", ["ENOSPC", "EIO"])
async def test_a_ledger_that_refuses_for_a_moment_ends_nothing(scene: Scene, at: str, trouble: str) -> None:
    done, _ = await scene.run(REFUSE_FROM=at, REFUSE=2, REFUSE_WITH=trouble)

    assert scene.judge(done).clean, done


@pytest.mark.parametrize(
    "at", ["LedgerJobs._add", "LedgerJobs._hold", "LedgerWork.begin", "LedgerWork.finish", "LedgerDoubts.settle"]
)
async def test_a_ledger_that_refuses_for_good_stops_the_sending(scene: Scene, at: str) -> None:
    refused, _ = await scene.run(REFUSE_FROM=at, REFUSE=10**9, PATIENCE=1.0)
    sent, promised = scene.victims.box.book.requests(), scene.victims.intents()
    done, _ = await scene.run()

    assert refused.code == 7, refused
    assert "ledger" in refused.err
    assert sent <= promised
    assert scene.judge(done).clean, done


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
