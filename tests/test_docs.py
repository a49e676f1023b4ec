"""The documentation says what the program does: generated, executed, or compared with it."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bulk_issue.ending import ExitCode
from bulk_issue.sandbox.server import Sandbox
from bulk_issue.sandbox.settings import Settings
from tests import manual

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


def test_the_page_of_commands_is_what_the_command_line_says() -> None:
    assert manual.PAGE.read_text(encoding="utf-8") == manual.written(), "run: make docs"


def test_the_site_is_built_and_every_link_in_it_leads_somewhere(tmp_path: Path) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        env=dict(os.environ) | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert built.returncode == 0, built.stdout + built.stderr
    assert (tmp_path / "site" / "index.html").exists()


def test_every_exit_code_is_documented_under_its_name() -> None:
    rows = re.findall(r"^\| (\d) \| (\w+) \|", (DOCS / "exit-codes.md").read_text(encoding="utf-8"), re.MULTILINE)

    assert rows == [(str(int(code)), code.name.lower()) for code in ExitCode]


@pytest.mark.parametrize("page", sorted(path.name for path in DOCS.glob("*.md")))
def test_commands_in_the_pages_exist(page: str) -> None:
    known = set(re.findall(r"^## bulk-issue ([a-z ]+)$", manual.written(), re.MULTILINE))
    groups = {name.partition(" ")[0] for name in known}

    text = (DOCS / page).read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"^```.*?^```|`bulk-issue [^`]+`", text, re.MULTILINE | re.DOTALL))
    for words in re.findall(r"(?:^|`|\| )bulk-issue ([a-z]+(?: [a-z]+)?)", code, re.MULTILINE):
        assert {words, words.partition(" ")[0]} & (known | groups), words


async def test_the_first_ten_minutes_work_as_written(tmp_path: Path) -> None:
    script = (DOCS / "README.md").read_text(encoding="utf-8").partition("```sh\n")[2].partition("```")[0]
    async with Sandbox(Settings(rate=0)) as box:
        ours = {
            "BULK_ISSUE_BASE_URL": box.url,
            "BULK_ISSUE_USER": box.user,
            "BULK_ISSUE_PASSWORD": box.password,
            "BULK_ISSUE_LEDGER": str(tmp_path / "ledger.db"),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        process = await asyncio.create_subprocess_exec(
            *("bash", "-e", "-c", script),
            cwd=tmp_path,
            env={name: value for name, value in os.environ.items() if not name.startswith("BULK_ISSUE_")} | ours,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()

        assert process.returncode == 0, err.decode()
        assert "issued with code" in out.decode()
        assert len(box.book.coupons_of(box.series_id)) == 2


def test_the_shell_is_completed() -> None:
    folder = Path(sys.executable).parent
    env = dict(os.environ) | {"_BULK_ISSUE_COMPLETE": "bash_source", "PATH": f"{folder}:{os.environ['PATH']}"}
    done = subprocess.run(["bulk-issue"], env=env, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert "complete -o nosort" in done.stdout
