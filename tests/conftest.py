"""What every test may rely on: the settings of the person who runs the tests don't reach it."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from bulk_issue.config import LedgerUrl
from tests import quiet
from tests.cluster import Cluster, programs, running

# At import, before any child process can read them; modules of ours read them only when a command runs.
for _name in [name for name in os.environ if name.startswith("BULK_ISSUE_")]:
    del os.environ[_name]


@pytest.fixture(autouse=True)
def nothing_private_is_told(
    request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """See `quiet`."""
    quiet.EAR = quiet.Ear()
    quiet.EAR.listen(monkeypatch)
    yield
    here = [logging.Formatter().format(record) for record in caplog.get_records("call")]
    here += [text for _, _, text in request.node._report_sections]
    leaks = list(quiet.EAR.leaks(request.node.funcargs.get("tmp_path"), here))
    assert not leaks, f"told, and private: {leaks[:5]}"


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A PostgreSQL server; where there is none its tests are skipped, and fail where CI promises one."""
    missing = [
        name
        for name, there in (("psycopg", find_spec("psycopg")), ("postgresql", programs() and shutil.which("psql")))
        if not there
    ]
    if missing:
        words = f"needs {' and '.join(missing)}: apt install postgresql, pip install 'bulk-issue[postgres]'"
        if os.environ.get("CI"):
            pytest.fail(words)
        pytest.skip(words)
    with running() as started:
        yield started


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | LedgerUrl:
    """Where a ledger may be: in a file, and in PostgreSQL."""
    if request.param == "sqlite":
        return tmp_path / "ledger.db"
    started: Cluster = request.getfixturevalue("cluster")
    return started.url(started.database())
