"""Ten seconds of `tests.soak`."""

from __future__ import annotations

from pathlib import Path

from tests.soak import soak


async def test_twenty_tabs_and_ten_clients_on_two_running_campaigns(tmp_path: Path) -> None:
    figures = await soak(tmp_path, 10.0)

    assert figures.good, str(figures)
