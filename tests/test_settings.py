"""Where settings come from, and that none is missing: profiles, `config show`, `config init`, help and environment."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path

import click
import pytest

from bulk_issue.cli import commands
from bulk_issue.cli.profile import SECRETS, each_command, settings
from bulk_issue.sandbox.server import Sandbox
from bulk_issue.sandbox.settings import Settings
from tests.console import Console

COMMANDS = list(each_command(commands))
PLANTED = "planted-s3cret"


@pytest.fixture
async def console(tmp_path: Path) -> AsyncIterator[Console]:
    async with Sandbox(Settings(rate=0)) as box:
        yield Console(tmp_path, box)


async def shown(console: Console, *arguments: object) -> dict[str, tuple[object, str]]:
    """`config show` as setting -> (value, origin)."""
    done = await console("config", "show", "--json", *arguments)
    assert done.code == 0, done.err
    return {each["setting"]: (each["value"], each["from"]) for each in json.loads(done.out)}


# --- every option -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: str(command.name))
def test_every_option_has_help_and_a_name_in_the_environment(command: click.Command) -> None:
    assert command.help
    for param in command.params:
        if isinstance(param, click.Option):
            flag = next(opt for opt in param.opts if opt.startswith("--"))
            own = f"{command.name}-{flag[2:]}" if command.name == "sandbox" or flag == "--to" else flag[2:]
            assert param.help, flag
            assert param.envvar == f"BULK_ISSUE_{own.replace('-', '_').upper()}", flag


def test_a_name_in_the_environment_means_the_same_in_every_command() -> None:
    meanings: dict[str, set[tuple[object, ...]]] = {}
    for command in COMMANDS:
        for param in command.params:
            if isinstance(param, click.Option) and param.name not in ("as_json", "series", "again"):
                meant = (type(param.type), repr(param.default), param.is_flag, param.multiple)
                meanings.setdefault(str(param.envvar), set()).add(meant)

    assert {name for name, meant in meanings.items() if len(meant) > 1} == set()


# --- what holds, and where it came from ---------------------------------------------------------------------------


async def test_a_setting_comes_from_flag_environment_profile_or_default_in_this_order(console: Console) -> None:
    profile = console.folder / "settings.toml"
    profile.write_text('[night]\nrate = 100\nper = "2m"\ncanary = 3\nmap = {mobile = "Tel"}\n')
    console.env = {"BULK_ISSUE_RATE": "200", "BULK_ISSUE_PER": "1m"}
    found = await shown(console, "--config", profile, "--profile", "night", "--rate", 250)

    assert found["rate"] == (250, "--rate")
    assert found["per"] == (60.0, "BULK_ISSUE_PER")
    assert found["canary"] == (3, f"{profile} [night]")
    assert found["map"] == (["mobile=Tel"], f"{profile} [night]")
    assert found["connections"] == (50, "default")


async def test_every_setting_that_a_profile_may_have_is_shown(console: Console) -> None:
    found = await shown(console)

    assert set(found) == (set(settings(commands)) | set(SECRETS)) - {"json"}


async def test_secrets_are_masked_and_their_origin_is_told(console: Console) -> None:
    file = console.folder / "secret.txt"
    file.write_text(PLANTED)
    file.chmod(0o600)
    console.env = {
        "BULK_ISSUE_PASSWORD": PLANTED,
        "BULK_ISSUE_BASE_URL": f"https://till:{PLANTED}@api.example.com",
        "BULK_ISSUE_LEDGER": f"postgresql://till:{PLANTED}@db.example.com/ledger",
    }
    found = await shown(console, "--client-secret-file", file)
    table = await console("config", "show", "--client-secret-file", file)

    assert found["password"] == ("***", "BULK_ISSUE_PASSWORD")
    assert found["client_secret"] == ("***", str(file))
    assert PLANTED not in repr(found) + table.out + table.err
    assert re.search(r"^password +\*\*\* +BULK_ISSUE_PASSWORD$", table.out, re.MULTILINE)


async def test_a_secret_in_the_environment_goes_before_a_file_that_the_profile_names(console: Console) -> None:
    file, profile = console.folder / "secret.txt", console.folder / "settings.toml"
    file.write_text("another")
    file.chmod(0o600)
    profile.write_text('[default]\npassword_file = "secret.txt"\n')
    console.env = {"BULK_ISSUE_PASSWORD": console.box.password}
    by_environment = await shown(console, "--config", profile)
    taken = await console("doctor", "--series", console.box.series_id, "--config", profile)
    by_flag = await shown(console, "--config", profile, "--password-file", file)
    console.without = frozenset({"BULK_ISSUE_PASSWORD"})
    by_profile = await shown(console, "--config", profile)

    assert by_environment["password"] == ("***", "BULK_ISSUE_PASSWORD")
    assert taken.code == 0, taken.out
    assert by_flag["password"] == by_profile["password"] == ("***", str(file))


async def test_a_path_in_a_profile_is_meant_from_its_folder(console: Console) -> None:
    profile = console.folder / "settings.toml"
    profile.write_text('[default]\nout = "there"\nlog_file = "-"\nmetrics = "~/x.prom"\nledger = "mine.db"\n')
    console.env, console.without = {"HOME": "/home/ann"}, frozenset({"BULK_ISSUE_LEDGER"})
    found = await shown(console, "--config", profile)

    assert found["out"][0] == str(console.folder / "there")
    assert found["ledger"][0] == str(console.folder / "mine.db")
    assert (found["log_file"][0], found["metrics"][0]) == ("-", "/home/ann/x.prom")


async def test_a_secret_file_that_others_can_read_is_refused_here_too(console: Console) -> None:
    file = console.folder / "secret.txt"
    file.write_text(PLANTED)
    file.chmod(0o640)
    done = await console("config", "show", "--password-file", file)

    assert done.code == 2
    assert f"chmod 600 {file}" in done.err


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[default]\nmax_failure = 3\n", "Did you mean max_failures?"),
        ("[default]\nclient_secret = 'x'\n", "client_secret_file"),
        ("[default]\nlatency = 1\n", "doesn't know: latency"),
        ("[night]\nrate = 3\n", "It has: night"),
        ("rate = 3\n[default]\n", "has rate outside of a table"),
        ("[default]\nmetrics = true\n", "metrics can't be True"),
        ("[default]\nout = 2020-01-01\n", "out can't be"),
        ("[default]\nexclude = ['a']\n", "exclude can't be"),
        ("[default]\nquiet = 'yes'\n", "quiet can't be"),
    ],
)
async def test_a_profile_that_can_not_be_meant_is_refused(console: Console, text: str, says: str) -> None:
    profile = console.folder / "settings.toml"
    profile.write_text(text)
    done = await console("config", "show", "--config", profile)

    assert done.code == 2
    assert says in done.err


async def test_a_name_in_the_environment_that_nothing_reads_is_refused(console: Console) -> None:
    console.env = {"BULK_ISSUE_GRACES": "600"}
    done = await console("config", "show")

    assert done.code == 2
    assert "BULK_ISSUE_GRACES" in done.err and "Did you mean BULK_ISSUE_GRACE?" in done.err


@pytest.mark.parametrize("url", [f"till:{PLANTED}@api.example.com", f"https://till:{PLANTED}/x@api.example.com"])
async def test_an_address_with_a_secret_in_it_is_never_repeated(console: Console, url: str) -> None:
    shows = await console("config", "show", "--base-url", url)
    run = await console("check", console.customers("c.csv", ["919800001111"]), "--series", 7, "--base-url", url)

    assert (shows.code, run.code) == (0, 2)
    assert "must not hold a user or password" in run.err
    assert PLANTED not in shows.out + shows.err + run.out + run.err


# --- a file to begin with -----------------------------------------------------------------------------------------


async def test_init_writes_a_private_file_and_never_over_another(console: Console) -> None:
    path = console.folder / "mine.toml"
    written = await console("config", "init", path)
    path.write_text(path.read_text() + "# mine\n")
    again = await console("config", "init", path)

    assert (written.code, again.code) == (0, 2)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text().endswith("# mine\n")
    assert tomllib.loads(path.read_text()) == {"default": {}}
    assert (await shown(console, "--config", path))["rate"] == (300, "default")


async def test_every_line_of_the_written_file_is_a_setting_with_its_default(console: Console) -> None:
    path = console.folder / "mine.toml"
    await console("config", "init", path)
    before = await shown(console)
    secret_files = tuple(f"{name}_file" for name in SECRETS)
    text = re.sub(rf"^# (?!{'|'.join(secret_files)})([a-z_]+ = )", r"\1", path.read_text(), flags=re.MULTILINE)
    path.write_text(text)
    after = await shown(console, "--config", path)

    assert set(tomllib.loads(text)["default"]) == set(settings(commands)) - set(secret_files)
    for name, (value, origin) in before.items():
        if origin == "default" and value not in (None, []):
            assert after[name][0] == value, name
