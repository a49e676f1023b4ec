"""Promise 6 over a whole story: no secret, identifier or code in anything but the result files (and the ledger).

Everything that the console script prints, logs, measures and notifies is collected and searched for what was planted.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from bulk_issue.sandbox.book import Endpoint
from bulk_issue.sandbox.faults import fault
from bulk_issue.sandbox.server import Sandbox
from bulk_issue.sandbox.settings import Settings
from tests.console import QUICK, Console
from tests.servers import Act, Request, Server, answer

PASSWORD, CLIENT_SECRET, CHANNEL = "planted-pa55word", "planted-cl1ent", "planted-chann3l"
CODE = "PLNT7X9Q2K"
#: name, mobile, e-mail of customers; some are refused, some damaged.
CUSTOMERS = (
    ("Asha Planted", "919812341111", "asha.planted@example.com"),
    ("Ravi Planted", "919812342222", "ravi.planted@example.com"),
    ("Devi Planted", "919812343333", "devi.planted@example.com"),
    ("Not Planted", "919812340701", "unknown.planted@example.com"),
    ("Old Planted", "919812340709", "held.planted@example.com"),
    ("Cut Planted", "9.1981234E+11", "damaged.planted@example.com"),
    ("Tiny Planted", "98123", "short.planted@example.com"),
    ("Same Planted", "919812341111", "again.planted@example.com"),
)
PRIVATE = {cell for customer in CUSTOMERS for cell in customer} | {"Planted", PASSWORD, CLIENT_SECRET, CHANNEL}


def written(folder: Path) -> str:
    """Every file that isn't the input, a result file, the ledger or a file of secrets."""
    return "\n".join(
        path.read_text(encoding="utf-8", errors="replace")
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and not any("-results" in part for part in path.relative_to(folder).parts)
        and not path.name.startswith(("c.csv", "ledger.db", "secret"))
    )


def result(folder: Path, name: str) -> Path:
    """A result file of c.csv."""
    (path,) = folder.glob(f"c.csv-results/*/{name}")
    return path


def customers(folder: Path) -> Path:
    path = folder / "c.csv"
    lines = ["name,mobile,email", *(",".join(customer) for customer in CUSTOMERS)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


class Story:
    """Commands one after another, and all that came out of them."""

    def __init__(self, console: Console) -> None:
        self.console, self.heard, self.codes = console, list[str](), dict[str, int]()

    async def __call__(self, *arguments: object) -> str:
        done = await self.console(*arguments)
        self.heard += [done.out, done.err]
        self.codes[str(arguments[0])] = done.code
        return done.out

    def all(self, chat: Server) -> str:
        told = [request.body.decode() + request.path for request in chat.requests]
        return "\n".join([*self.heard, *told, written(self.console.folder)])


def secret(folder: Path, name: str, text: str) -> Path:
    path = folder / f"secret-{name}"
    path.write_text(text + "\n")
    path.chmod(0o600)
    return path


async def test_nothing_private_comes_out_of_a_whole_campaign(tmp_path: Path) -> None:
    settings = Settings(rate=0, password=PASSWORD, client_secret=CLIENT_SECRET)
    async with Server.scripted(answer()) as chat, Sandbox(settings) as box:
        console = Console(tmp_path, box, {"BULK_ISSUE_NOTIFY": f"json://team:{CHANNEL}@127.0.0.1:{chat.port}/"})
        story, file, series = Story(console), customers(tmp_path), box.series_id
        tell = ("--log-file", tmp_path / "log.jsonl", "--metrics", tmp_path / "bulk_issue.prom")
        box.faults.script(None, fault("drop-after"))
        await story("check", file, "--series", series)
        await story("check", file, "--series", series, "--json")
        await story("doctor", "--series", series, "--client-secret-file", secret(tmp_path, "c", CLIENT_SECRET))
        await story("doctor", "--series", series)
        await story("config", "show")
        await story("run", file, "--series", series, *QUICK, *tell, "--first", 2)
        await story("run", file, "--series", series, *QUICK, *tell, "--json")
        job = str(console.summary(file)["job"])
        await story("run", file, "--series", series, *QUICK, "--log-file", "-")
        await story("retry", job, *QUICK, *tell, "--log-format", "text")
        await story("reconcile", job, *QUICK, *tell)
        await story("resume", job, *QUICK, *tell)
        for show in ([], ["--json"], [job], [job, "--json"]):
            await story("status", *show)
        await story("audit", job)
        await story("export", job)
        await story("cancel", job, "--yes")
        failures = result(tmp_path, "failures.csv")
        await story("run", failures, "--series", series, *QUICK, *tell)
        codes = {coupon.code for coupon in box.book.coupons_of(series)}
        results = result(tmp_path, "results.csv").read_text(encoding="utf-8-sig")
        out = story.all(chat)

    assert {story.codes[name] for name in ("check", "run", "retry", "resume")} == {1}
    assert story.codes["doctor"] == 0
    assert len(chat.requests) >= 6 and "job_ended" in out and "bulk_issue_rows" in out  # it was all collected
    assert len(codes) >= 4 and all(found in results for found in ("Asha Planted", "919812341111"))  # and is told there
    assert {private for private in PRIVATE | codes if private in out} == set()


async def test_nothing_private_comes_out_of_mistakes(tmp_path: Path) -> None:
    settings = Settings(rate=0, password=PASSWORD, denied=frozenset({Endpoint.COUPONS, Endpoint.COUPONS_V11}))
    async with Server.scripted(answer(500)) as chat, Sandbox(settings) as box:
        console = Console(tmp_path, box, {"BULK_ISSUE_NOTIFY": f"json://team:{CHANNEL}@127.0.0.1:{chat.port}/"})
        story, file, series = Story(console), customers(tmp_path), box.series_id
        tell = ("--log-file", tmp_path / "log.jsonl", "--metrics", tmp_path / "bulk_issue.prom")
        profile = secret(tmp_path, "profile", f'[default]\npassword = "{PASSWORD}"')
        await story("run", file, "--series", series, "--config", profile, *tell)
        await story("run", file, "--series", series, "--base-url", f"https://till:{PASSWORD}@api.example.com", *tell)
        await story(
            "run", file, "--series", series, "--ledger", f"postgresql://till:{PASSWORD}@db.example.com/x", *tell
        )
        await story("run", file, "--series", series, "--map", "mobile=name", *tell)
        await story("run", file, "--series", series, "--map", "mobile=Phone", *tell)
        box.faults.script(None, fault("drop-after"))
        await story("run", file, "--series", series, *QUICK, *tell)
        job = str(console.summary(file)["job"])
        doubtful = result(tmp_path, "in_doubt.csv")
        doubtful.write_text(doubtful.read_text(encoding="utf-8-sig").rstrip("\r\n") + "perhaps\n", encoding="utf-8")
        await story("reconcile", job, "--decisions", doubtful, *tell)
        await story("run", doubtful, "--series", series, *tell)
        console.env |= {"BULK_ISSUE_PASSWORD": CLIENT_SECRET}
        await story("run", file, "--series", series, *QUICK, *tell)
        await story("doctor", "--series", series)
        codes = {coupon.code for coupon in box.book.coupons_of(series)}
        out = story.all(chat)

    assert chat.requests
    assert codes
    assert {private for private in PRIVATE | codes if private in out} == set()


@pytest.mark.parametrize("status", [200, 400, 404, 500])
async def test_what_a_server_says_of_a_customer_is_not_repeated(tmp_path: Path, status: int) -> None:
    """A refusal that names the customer and a code, with an error code that nobody knows."""

    def judge(request: Request) -> Act:
        if request.method == "GET":
            return answer(403)
        says = f"Asha of 919812341111 has {CODE} already"
        refused = {"code": 98765, "status": False, "message": says}
        return answer(status, {"errors": [refused], "message": "asha.planted@example.com", "errorCode": 98765})

    async with Server(judge) as server, Server.scripted(answer()) as chat, Sandbox(Settings(rate=0)) as box:
        console = Console(tmp_path, box, {"BULK_ISSUE_BASE_URL": server.url, "BULK_ISSUE_PASSWORD": PASSWORD})
        console.env["BULK_ISSUE_NOTIFY"] = f"json://team:{CHANNEL}@127.0.0.1:{chat.port}/"
        story, file = Story(console), customers(tmp_path)
        await story("run", file, "--series", 7, *QUICK, "--log-file", tmp_path / "log.jsonl")
        await story("status", str(console.summary(file)["job"]))
        out = story.all(chat)

    assert chat.requests
    assert {private for private in PRIVATE | {CODE} if private in out} == set()
