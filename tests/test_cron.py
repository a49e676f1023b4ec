"""The samples for unattended runs: what they say is run through the console script, and their forms are checked."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from bulk_issue.cli import commands
from bulk_issue.sandbox.server import Sandbox
from bulk_issue.sandbox.settings import Settings
from tests.console import Console, mobiles

CRON = Path(__file__).parent.parent / "samples" / "cron"
PROGRAM = "/opt/bulk-issue/bin/bulk-issue"


@pytest.fixture
async def console(tmp_path: Path) -> AsyncIterator[Console]:
    async with Sandbox(Settings(rate=0)) as box:
        yield Console(tmp_path, box)


def unit(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # systemd's names have capitals
    parser.read(CRON / name, encoding="utf-8")
    return parser


def entry() -> str:
    """The crontab's one command."""
    lines = (CRON / "crontab").read_text(encoding="utf-8").splitlines()
    (line,) = [line for line in lines if line and not line.startswith("#") and not re.match(r"\w+=", line)]
    found = re.fullmatch(r"(?:[\d*,/-]+ ){5}(.*)", line)
    assert found, line
    assert "%" not in found[1]  # cron makes it a line's end
    return found[1]


def service() -> str:
    return unit("bulk-issue.service")["Service"]["ExecStart"]


def pod() -> Any:
    job = yaml.safe_load((CRON / "cronjob.yaml").read_text(encoding="utf-8"))
    return job["spec"]["jobTemplate"]["spec"]


def container() -> str:
    (box,) = pod()["template"]["spec"]["containers"]
    return shlex.join([PROGRAM, *box["args"]]) if box["command"] == ["bulk-issue"] else ""


def moved_to(folder: Path, command: str) -> list[str]:
    """A sample's arguments with their absolute paths moved into the test's folder, which has what they need."""
    words = shlex.split(command)
    assert words[0] == PROGRAM
    moved = [re.sub(r"(^|=)/", rf"\1{folder}/", word) for word in words[1:]]
    for word in moved:
        path = Path(word.rpartition("=")[2])
        if path.is_absolute():
            path.parent.mkdir(parents=True, exist_ok=True)
    if "--notify-file" in moved:
        address = Path(moved[moved.index("--notify-file") + 1])
        address.write_text("json://127.0.0.1:1/\n")
        address.chmod(0o600)
    return moved


@pytest.mark.parametrize("sample", [entry, service, container])
async def test_a_samples_command_issues_once_in_two_nights_and_asks_nothing(console: Console, sample: Any) -> None:
    words = shlex.split(sample())
    folder = console.folder / Path(words[2]).parent.relative_to("/")
    folder.mkdir(parents=True)
    file = console.customers(str((folder / "tonight.csv").relative_to(console.folder)), mobiles(4))
    config = console.folder / "settings.toml"
    config.write_text("[default]\nconfirm_above = 1\n")
    console.env = {"BULK_ISSUE_CONFIG": str(config)}
    nights = [await console(*moved_to(console.folder, sample())) for _ in range(2)]

    assert [night.code for night in nights] == [0, 0], nights[0].err
    assert console.box.book.requests() == 4
    console.check_book(file)


@pytest.mark.parametrize("sample", [entry, service, container])
def test_a_samples_options_are_those_of_the_command_line(sample: Any) -> None:
    _program, name, *arguments = shlex.split(sample())
    command = commands.commands[name]
    with click.Context(commands) as root:
        context = command.make_context(name, arguments, parent=root)

    assert context.params["series"] == 544770


def test_the_environment_of_the_samples_is_that_of_options() -> None:
    known = {str(param.envvar) for param in commands.commands["run"].params if isinstance(param, click.Option)}
    secrets = {"BULK_ISSUE_PASSWORD", "BULK_ISSUE_CLIENT_SECRET", "BULK_ISSUE_NOTIFY"}
    (box,) = pod()["template"]["spec"]["containers"]
    texts = [(CRON / name).read_text(encoding="utf-8") for name in ("crontab", "bulk-issue.service")]
    named = {each["name"] for each in box["env"]} | set(re.findall(r"(BULK_ISSUE_\w+)=", "\n".join(texts)))

    assert named
    assert named <= known | secrets | {"XDG_STATE_HOME"}


def test_the_details_of_a_bug_have_a_place_where_there_is_no_home() -> None:
    service_, (box,) = unit("bulk-issue.service")["Service"], pod()["template"]["spec"]["containers"]
    (state,) = (each["value"] for each in box["env"] if each["name"] == "XDG_STATE_HOME")

    assert service_["ProtectSystem"] == "strict"
    assert "Environment=XDG_STATE_HOME=/var/lib/bulk-issue\n" in (CRON / "bulk-issue.service").read_text("utf-8")
    assert service_["StateDirectory"] == "bulk-issue"  # /var/lib/bulk-issue, and it may write there
    assert any(Path(state).is_relative_to(mount["mountPath"]) for mount in box["volumeMounts"])


def test_the_units_are_sound() -> None:
    timer, job = unit("bulk-issue.timer"), unit("bulk-issue.service")["Service"]

    assert timer["Timer"]["Persistent"] == "yes"
    assert job["Type"] == "oneshot"
    assert job["SuccessExitStatus"] == "1"
    assert set(timer.sections()) == {"Unit", "Timer", "Install"}


def test_systemd_where_there_is_one_takes_the_units(tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        return
    for name in ("bulk-issue.service", "bulk-issue.timer"):
        text = (CRON / name).read_text(encoding="utf-8")
        (tmp_path / name).write_text(text.replace(PROGRAM, "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", *sorted(map(str, tmp_path.iterdir()))],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_the_cron_job_never_runs_beside_itself_and_leaves_retrying_to_the_next_night() -> None:
    job = yaml.safe_load((CRON / "cronjob.yaml").read_text(encoding="utf-8"))
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "CronJob")
    assert job["spec"]["concurrencyPolicy"] == "Forbid"
    assert pod()["template"]["spec"]["restartPolicy"] == "Never"
    drained, rule = pod()["podFailurePolicy"]["rules"]
    # A node that is drained asks the pod to stop: exit code 4 comes second.
    assert drained == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}
    (box,) = pod()["template"]["spec"]["containers"]
    assert rule["onExitCodes"]["containerName"] == box["name"]
    assert rule["onExitCodes"]["values"] == [1, 2, 4, 5]
