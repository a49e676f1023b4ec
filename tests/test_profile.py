"""Every command heeds the same profile: what it says about the ledger holds for all that look into one."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import click
import pytest

from bulk_issue.cli import commands
from bulk_issue.sandbox.server import Sandbox
from bulk_issue.sandbox.settings import Settings
from tests.console import Console, mobiles


def leaves(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of each command."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from leaves(command, (*path, name))
        else:
            yield (*path, name)


def found(path: tuple[str, ...]) -> tuple[click.Command, click.Context]:
    """A command, and the context that it is called in."""
    command: click.Command = commands
    context = click.Context(commands, info_name="bulk-issue")
    for at, name in enumerate(path):
        assert isinstance(command, click.Group)
        command = command.commands[name]
        if at < len(path) - 1:
            context = click.Context(command, info_name=name, parent=context)
    return command, context


def has_ledger(path: tuple[str, ...]) -> bool:
    return any("--ledger" in param.opts for param in found(path)[0].params)


def ledger_of(path: tuple[str, ...], *flags: str) -> object:
    """The ledger that a command takes, everything else that it needs being given."""
    command, parent = found(path)
    needed: list[str] = ["x.csv", "--series", "7"] if path == ("defer",) else []
    for param in command.params:
        if not param.required:
            continue
        values = {"--older-than": "90d", "--series": "7", "--to": "postgresql://ann@db/ledger"}
        value = values.get(max(param.opts, key=len), "x.csv")
        needed += [value] if isinstance(param, click.Argument) else [max(param.opts, key=len), value]
    context = command.make_context(path[-1], [*needed, *flags], parent=parent)
    return context.params["ledger"]


WITH_LEDGER = [path for path in leaves(commands) if has_ledger(path)]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder without settings; nothing is set in the environment."""
    for name in [name for name in os.environ if name.startswith("BULK_ISSUE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
async def console(tmp_path: Path) -> AsyncIterator[Console]:
    async with Sandbox(Settings(rate=0)) as box:
        yield Console(tmp_path, box, without=frozenset({"BULK_ISSUE_LEDGER"}))


def test_all_commands_that_look_into_a_ledger_are_meant() -> None:
    named = {" ".join(path) for path in WITH_LEDGER}

    assert {"run", "check", "status", "find", "cancel", "export", "retry", "doctor", "serve"} <= named
    assert {f"ledger {name}" for name in ("path", "check", "backup", "restore", "purge", "copy")} <= named


@pytest.mark.parametrize("path", WITH_LEDGER, ids=" ".join)
def test_each_command_takes_the_ledger_of_the_profile_and_a_flag_before_it(
    path: tuple[str, ...], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = home / "settings.toml"
    file.write_text('[default]\nledger = "mine.db"\n[night]\nledger = "night.db"\n')

    assert ledger_of(path, "--config", str(file)) == home / "mine.db"
    assert ledger_of(path, "--config", str(file), "--profile", "night") == home / "night.db"
    assert ledger_of(path, "--config", str(file), "--ledger", str(home / "flag.db")) == home / "flag.db"
    monkeypatch.setenv("BULK_ISSUE_CONFIG", str(file))
    assert ledger_of(path) == home / "mine.db"
    monkeypatch.setenv("BULK_ISSUE_LEDGER", str(home / "env.db"))
    assert ledger_of(path) == home / "env.db"


@pytest.mark.parametrize("path", WITH_LEDGER, ids=" ".join)
def test_each_command_finds_the_settings_in_the_users_folder(path: tuple[str, ...], home: Path) -> None:
    file = home / "config" / "bulk-issue" / "bulk-issue.toml"
    file.parent.mkdir(parents=True)
    file.write_text(f'[default]\nledger = "{home}/found.db"\n')
    (home / "bulk-issue.toml").write_text('[default]\nledger = "here.db"\n')

    assert ledger_of(path) == home / "found.db"


async def test_settings_in_this_folder_are_named_and_not_read(console: Console) -> None:
    (console.folder / "bulk-issue.toml").write_text('[default]\nledger = "here.db"\n')
    console.within = ("env", "-C", str(console.folder), f"PYTHONPATH={Path(__file__).parent.parent}")
    console.env = {"XDG_DATA_HOME": str(console.folder / "data")}
    done = await console("ledger", "path")
    as_json = await console("status", "--json")
    named = await console("ledger", "path", "--config", "bulk-issue.toml")

    assert done.out == f"{console.folder}/data/bulk-issue/ledger.db\n"
    assert "bulk-issue.toml in this folder is not read" in done.err and "--config bulk-issue.toml" in done.err
    assert "not read" in json.loads(as_json.err)["message"]
    assert (named.out, named.err) == (f"{console.folder}/here.db\n", "")


async def test_a_profile_that_no_file_has_is_refused(console: Console) -> None:
    done = await console("status", "--profile", "night")

    assert done.code == 2
    assert "night" in done.err and "--config" in done.err


async def served(console: Console) -> str:
    """The job of three customers who were served, in the ledger of a profile."""
    settings = console.folder / "settings.toml"
    settings.write_text('[default]\nledger = "mine.db"\nconnections = 8\n')
    console.env = {"BULK_ISSUE_CONFIG": str(settings), "XDG_DATA_HOME": str(console.folder / "data")}
    file = console.customers("c.csv", mobiles(3))
    assert (await console("run", file, "--series", console.box.series_id)).code == 0
    return str(console.summary(file)["job"])


async def test_a_backup_is_of_the_profiles_ledger(console: Console) -> None:
    job = await served(console)
    backup = console.folder / "backup.db"

    assert job in (await console("status")).out
    assert (await console("ledger", "backup", backup)).code == 0
    assert job in (await console("status", "--ledger", backup)).out
    assert (await console("export", job)).code == 0


async def test_a_served_customer_is_found_in_the_profiles_ledger(console: Console) -> None:
    job = await served(console)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bulk_issue", "find"),
        env=console.environment(),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(mobiles(1)[0].encode())

    assert process.returncode == 0, err.decode()
    assert job in out.decode()
