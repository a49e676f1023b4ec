"""The samples for workers: their forms are checked, their command lines and environment are those of the program."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from bulk_issue.cli import commands
from bulk_issue.config import Config, LedgerUrl
from tests.test_cron import PROGRAM, unit

ROOT = Path(__file__).parent.parent
WORKERS = ROOT / "samples" / "workers"
UNIT = "bulk-issue-worker.service"
#: What the first signal lets end: a request that has just begun, and the word of it to the ledger.
DRAIN = Config.send_within + Config.timeout
SECRETS = ("BULK_ISSUE_PASSWORD", "BULK_ISSUE_CLIENT_SECRET", "BULK_ISSUE_NOTIFY")


def text(name: str) -> str:
    return (WORKERS / name).read_text(encoding="utf-8")


def service() -> dict[str, str]:
    return dict(unit(f"../workers/{UNIT}")["Service"])


def image() -> list[tuple[str, str]]:
    """The Dockerfile's instructions: name and what follows."""
    lines = re.sub(r"\\\n", " ", text("Dockerfile")).splitlines()
    return [
        (name, rest) for name, _, rest in (line.partition(" ") for line in lines if line and not line.startswith("#"))
    ]


def instruction(name: str) -> str:
    (found,) = [rest for each, rest in image() if each == name]
    return found


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text("compose.yaml"))
    return found


def deployment() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text("kubernetes.yaml"))
    return found


def pod() -> dict[str, Any]:
    found: dict[str, Any] = deployment()["spec"]["template"]["spec"]
    return found


def box() -> dict[str, Any]:
    (found,) = pod()["containers"]
    return dict(found)


LINES: Mapping[str, Callable[[], list[str]]] = {
    "systemd": lambda: shlex.split(service()["ExecStart"]),
    "image": lambda: [PROGRAM, *json.loads(instruction("CMD"))],
    "compose": lambda: [PROGRAM, *compose()["services"]["worker"]["command"]],
    "kubernetes": lambda: [PROGRAM, *box()["args"]],
}


@pytest.mark.parametrize("sample", LINES)
def test_a_samples_command_is_one_of_the_program(sample: str) -> None:
    program, name, *arguments = LINES[sample]()
    assert program == PROGRAM
    assert name == "worker"
    with click.Context(commands) as root:
        commands.commands[name].make_context(name, arguments, parent=root)


@pytest.mark.parametrize("name", ["Dockerfile", "compose.yaml", "kubernetes.yaml", UNIT])
def test_each_sample_begins_with_the_one_command_that_starts_it(name: str) -> None:
    command = text(name).splitlines()[0].removeprefix("# ").partition(";")[0].partition("   ")[0]
    assert command.split()[0] in ("docker", "kubectl", "systemctl")
    assert command in (ROOT / "docs" / "hosts.md").read_text(encoding="utf-8")
    if "samples/" in command:
        assert all((ROOT / word).exists() for word in command.split() if word.startswith("samples/"))


def test_the_environment_of_the_samples_is_that_of_options() -> None:
    known = {str(param.envvar) for param in commands.commands["run"].params if isinstance(param, click.Option)}
    texts = "\n".join(text(path.name) for path in WORKERS.iterdir() if path.is_file())
    named = set(re.findall(r"BULK_ISSUE_[A-Z_]+", texts))

    assert {"BULK_ISSUE_LEDGER", "BULK_ISSUE_PASSWORD", "BULK_ISSUE_PASSWORD_FILE"} <= named
    assert named <= known | {*SECRETS}


def test_no_sample_holds_a_secret() -> None:
    """They come from files that nobody else can read, or from the cluster's own store."""
    environment = compose()["services"]["worker"]["environment"]
    its = {each["name"]: each for each in box()["env"]}

    assert not LedgerUrl(environment["BULK_ISSUE_LEDGER"]).has_password
    assert not {*SECRETS} & environment.keys()
    assert not re.search(r"(?i)password|secret|BULK_ISSUE_", "".join(rest for name, rest in image() if name != "RUN"))
    for name in ("BULK_ISSUE_PASSWORD", "BULK_ISSUE_LEDGER"):
        assert set(its[name]) == {"name", "valueFrom"}
        assert its[name]["valueFrom"]["secretKeyRef"]["name"] == "bulk-issue"
    assert "EnvironmentFile" in service()
    assert not re.search("BULK_ISSUE_", service().get("Environment", ""))
    for one in compose()["services"].values():
        assert all(name in compose()["secrets"] for name in one["secrets"])
        assert not [key for key in one["environment"] if "PASSWORD" in key and not key.endswith("_FILE")]


def test_the_image_is_small_pinned_and_runs_as_nobody_of_the_host() -> None:
    names = [name for name, _ in image()]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    copied = [word for name, rest in image() if name == "COPY" for word in rest.split()[:-1]]

    assert set(names) <= {"FROM", "ENV", "WORKDIR", "COPY", "RUN", "USER", "STOPSIGNAL", "ENTRYPOINT", "CMD"}
    assert re.fullmatch(r"python:3\.\d+-slim-\w+", instruction("FROM"))
    assert instruction("USER") == str(pod()["securityContext"]["runAsUser"]) != "0"
    assert names.index("USER") > max(at for at, name in enumerate(names) if name == "RUN")
    assert json.loads(instruction("ENTRYPOINT")) == ["bulk-issue"]
    assert all((ROOT / word).exists() for word in copied)
    assert {"pyproject.toml", "bulk_issue", project["readme"]} <= {*copied}
    assert not any("://" in rest for _, rest in image())
    (extras,) = re.findall(r"'\.\[([\w,]+)\]'", " ".join(rest for _, rest in image()))
    assert {*extras.split(",")} <= project["optional-dependencies"].keys()
    assert "postgres" in extras


def test_compose_waits_for_the_database_and_shows_it_to_nobody() -> None:
    services = compose()["services"]

    assert services["worker"]["depends_on"]["db"]["condition"] == "service_healthy"
    assert not any("ports" in each for each in services.values())
    assert all(re.search(r":[\w.-]+$", each["image"]) for each in services.values())
    assert services["worker"]["restart"] == "on-failure"
    assert services["worker"]["cap_drop"] == ["ALL"]
    assert services["worker"]["read_only"] is True
    assert {each["file"].partition("/")[0] for each in compose()["secrets"].values()} == {"secrets"}
    build = services["worker"]["build"]
    assert (WORKERS / build["context"]).resolve() == ROOT.resolve()
    assert (ROOT / build["dockerfile"]).exists()


def test_the_deployment_runs_with_the_least_that_it_needs() -> None:
    labels = deployment()["spec"]["template"]["metadata"]["labels"]

    assert (deployment()["apiVersion"], deployment()["kind"]) == ("apps/v1", "Deployment")
    assert deployment()["spec"]["selector"]["matchLabels"] == labels
    assert deployment()["spec"]["replicas"] > 1
    assert pod()["securityContext"]["runAsNonRoot"] is True
    assert box()["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {each["name"] for each in box()["volumeMounts"]} == {each["name"] for each in pod()["volumes"]}


def test_whatever_stops_a_worker_waits_until_its_requests_have_ended() -> None:
    waits = [
        float(service()["TimeoutStopSec"]),
        float(compose()["services"]["worker"]["stop_grace_period"].removesuffix("s")),
        float(pod()["terminationGracePeriodSeconds"]),
    ]

    assert min(waits) > DRAIN


def test_the_unit_starts_a_worker_again_unless_its_settings_are_wrong() -> None:
    its = service()

    assert (its["Restart"], its["RestartPreventExitStatus"]) == ("on-failure", "2")
    assert {its[name] for name in ("NoNewPrivileges", "PrivateTmp", "ProtectHome")} == {"yes"}
    assert (its["ProtectSystem"], its["User"]) == ("strict", "bulk-issue")


def test_systemd_where_there_is_one_takes_the_unit(tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        return
    (tmp_path / UNIT).write_text(text(UNIT).replace(PROGRAM, "/bin/true"), encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", str(tmp_path / UNIT)], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
