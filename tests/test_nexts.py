"""Every printed command runs as it is, is about the same ledger and account, and sends no more than was meant."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import click
import pytest

from bulk_issue.cli import commands
from bulk_issue.commands import command, completed
from bulk_issue.sandbox.book import Endpoint
from bulk_issue.sandbox.faults import fault
from bulk_issue.sandbox.server import Sandbox
from bulk_issue.sandbox.settings import Settings
from tests.console import QUICK, Console, Done, mobiles

PACKAGE = Path(__file__).parent.parent / "bulk_issue"
#: A printed command: within backquotes, or to the end of its line or to what is said of it.
PRINTED = re.compile(r"`bulk-issue ([^`]+)`|(?:^|: |  )bulk-issue ([^`\n]+?)(?=   \(|$)", re.MULTILINE)
#: What the reader fills in, and with what it is parsed here.
FILLED = {"ID": "7", "FILE": "c.csv", "FOLDER": "folder", "BACKUP": "ledger.db", "WHY": "counted"}


def printed(done: Done) -> list[list[str]]:
    """The words of every command that was printed."""
    found = PRINTED.findall(f"{done.out}\n{done.err}")
    return [shlex.split(quoted or plain) for quoted, plain in found]


def parsed(words: list[str]) -> click.Context:
    """As the command line takes it; raises `click.UsageError` where it doesn't."""
    context = click.Context(commands, info_name="bulk-issue")
    group: click.Command = commands
    for at, word in enumerate(words):
        assert isinstance(group, click.Group)
        group = group.commands[word]
        if not isinstance(group, click.Group):
            rest = [FILLED.get(each, each) for each in words[at + 1 :]]
            return group.make_context(word, rest, parent=context)
        context = click.Context(group, info_name=word, parent=context)
    raise AssertionError(words)


@pytest.fixture
async def console(tmp_path: Path) -> AsyncIterator[Console]:
    async with Sandbox(Settings(rate=0)) as box:
        console = Console(tmp_path, box)
        console.without = frozenset({"BULK_ISSUE_LEDGER", "BULK_ISSUE_BASE_URL", "BULK_ISSUE_USER"})
        console.env = {"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "data")}
        yield console


@pytest.fixture
def place(console: Console) -> list[object]:
    """Which ledger, settings and account are meant; without them a command would be about others."""
    settings = console.folder / "the settings.toml"
    settings.write_text(f'[night]\nledger = "led ger.db"\nbase_url = "{console.box.url}"\n')
    return ["--config", settings, "--profile", "night", "--user", console.box.user]


def the_next(done: Done) -> list[str]:
    """The words of the only command that is printed as the next."""
    lines = [line for line in done.out.splitlines() if re.match(r"(Next|When .*): bulk-issue ", line)]
    assert len(lines) == 1, done.out
    return shlex.split(lines[0].partition(": bulk-issue ")[2].partition("   (")[0])


async def run(console: Console, file: Path, *arguments: object) -> Done:
    return await console("run", file, "--series", console.box.series_id, *QUICK, *arguments)


# --- what is sent -----------------------------------------------------------------------------------------------


async def test_what_follows_the_first_rows_sends_the_others_once_they_look_right(
    console: Console, place: list[object]
) -> None:
    file = console.customers("c.csv", mobiles(7))
    first = await run(console, file, *place, "--first", 2)
    status = await console("status", str(console.summary(file)["job"]), *place[:4])
    words = the_next(first)
    rest = await console(*words)

    for done in (first, status):
        assert "When the first 2 look right: " in done.out
        assert "(sends the other 5 rows; nothing is sent twice)" in done.out
    assert words[:2] == ["resume", console.summary(file)["job"]]
    assert "--first" not in words
    assert words[words.index("--config") + 1] == str(place[1])
    assert words[words.index("--profile") + 1] == "night"
    assert words[words.index("--user") + 1] == console.box.user
    assert rest.code == 0, rest.err
    assert console.box.book.count(console.box.series_id) == 7


async def test_a_bound_that_the_settings_keep_is_told_with_the_next_command(console: Console) -> None:
    settings = console.folder / "s.toml"
    settings.write_text(f'[default]\nbase_url = "{console.box.url}"\nuser = "{console.box.user}"\nfirst = 2\n')
    file = console.customers("c.csv", mobiles(7))
    done = await run(console, file, "--config", settings)

    assert "(sends at most 2 of the other 5 rows; nothing is sent twice)" in done.out


async def test_what_follows_rejections_alone_is_a_look_and_sends_nothing(console: Console, place: list[object]) -> None:
    file = console.customers("a file.csv", [f"9198{n:04d}0701" for n in range(20)])
    stopped = await run(console, file, *place, "--map", "mobile=mobile")
    status = await console("status", str(console.summary(file)["job"]), *place[:4])
    sent = console.box.book.requests()
    look = await console(*the_next(stopped))

    assert (stopped.code, sent) == (3, 5)
    for done in (stopped, status):
        assert "Before more is sent: find out why nobody got a coupon." in done.out
        assert the_next(done)[0] == "check"
    assert "mobile from 'mobile'" in look.out
    assert console.box.book.requests() == sent


async def test_a_first_part_that_was_rejected_is_not_followed_by_the_next(
    console: Console, place: list[object]
) -> None:
    file = console.customers("c.csv", ["919800000701", *mobiles(5)])
    done = await run(console, file, *place, "--first", 1)

    assert the_next(done)[0] == "check"


async def test_after_a_stop_the_words_say_what_comes_first(console: Console, place: list[object]) -> None:
    file = console.customers("c.csv", mobiles(3))
    stopped = await run(console, file, *place, "--user", "nobody")
    assert stopped.code == 3
    assert "Check user and password" in stopped.out
    assert "When that is put right: bulk-issue resume " in stopped.out


# --- whose ledger and account -----------------------------------------------------------------------------------


async def test_a_ledger_that_only_this_shell_knows_is_named(console: Console) -> None:
    ledger = console.folder / "mine.db"
    console.env |= {"BULK_ISSUE_LEDGER": str(ledger), "BULK_ISSUE_BASE_URL": console.box.url}
    console.without = frozenset()
    console.env |= {"BULK_ISSUE_USER": console.box.user}
    done = await run(console, console.customers("c.csv", mobiles(3)), "--first", 1)

    assert the_next(done)[-2:] == ["--ledger", str(ledger)]


async def test_a_hint_of_an_error_is_about_the_same_ledger(console: Console) -> None:
    ledger = console.folder / "it's mine.db"
    account = ("--base-url", console.box.url, "--user", console.box.user, "--ledger", ledger)
    for name in ("c.csv", "d.csv"):
        await run(console, console.customers(name, mobiles(3, len(name) * ord(name[0]))), *account, "--first", 1)
    done = await console("resume", *account)
    (words,) = printed(done)

    assert done.code == 2
    assert words == ["status", "--ledger", str(ledger)]
    listed = await console(*words)
    assert "c.csv" in listed.out and "d.csv" in listed.out


async def test_a_folder_of_results_is_not_carried_to_another_job(console: Console, place: list[object]) -> None:
    file = console.customers("c.csv", [*mobiles(2), "919800000701", "919800000740"])
    await run(console, file, *place)
    (failures,) = console.folder.glob("c.csv-results/*/failures.csv")
    await run(console, failures, *place, "--first", 1)
    done = await run(console, file, *place, "--out", console.folder / "out")
    words = the_next(done)

    assert (words[0], "--out" in words) == ("resume", False)


# --- every printed command --------------------------------------------------------------------------------------


def runs(console: Console, *story: Done, least: int) -> None:
    """So many commands were printed at least, and each can be run as it is, in this ledger."""
    found = [words for done in story for words in printed(done)]
    assert len(found) >= least, found
    for words in found:
        context = parsed(words)
        assert context.params.get("first") is None, words
        assert context.params.get("ledger") in (None, console.folder / "led ger.db"), words


async def test_commands_that_are_printed_of_a_cancel_can_be_run(console: Console, place: list[object]) -> None:
    out, ledger = ("--out", console.folder / "the results"), place[:4]
    file = console.customers("the customers.csv", [*mobiles(4), "919800000701"])
    first = await run(console, file, *place, *out, "--first", 2)
    job = str(re.findall(r"^Job (\w+)", first.out)[0])
    refused = await console("cancel", job, *ledger)
    done = await console("cancel", job, *ledger, "--yes")
    status = await console("status", job, *ledger)
    again = await run(console, file, *place, *out)
    no_input = await run(console, console.folder / "the results" / "results.csv", *place)

    runs(console, first, refused, done, status, again, no_input, least=4)


async def test_commands_that_are_printed_of_doubt_can_be_run(tmp_path: Path) -> None:
    denied = frozenset({Endpoint.COUPONS, Endpoint.COUPONS_V11})
    async with Sandbox(Settings(rate=0, denied=denied)) as box:
        console = Console(tmp_path, box, {"BULK_ISSUE_LEDGER": str(tmp_path / "led ger.db")})
        box.faults.script(fault("drop-after"))
        file = console.customers("c.csv", [*mobiles(2), "919800000701"])
        done = await run(console, file)
        job = str(console.summary(file)["job"])
        status = await console("status", job)
        wrong = await console("check", file, "--series", box.series_id, "--user", "nobody")

    assert ["reconcile", job, "--decisions"] in [words[:3] for words in printed(done)]
    runs(console, done, status, wrong, least=4)


async def test_commands_that_are_printed_of_a_ledger_can_be_run(console: Console, place: list[object]) -> None:
    ledger, backup = place[:4], console.folder / "back up.db"
    await run(console, console.customers("c.csv", mobiles(3)), *place, "--first", 1)
    never = await console("ledger", "check", *ledger)
    await console("ledger", "backup", backup, *ledger)
    restored = await console("ledger", "restore", backup, "--replace", *ledger)
    open_gap = await console("ledger", "check", *ledger)
    unknown = await console("resume", "nosuchjob", *place)
    begun = await console("config", "init", console.folder / "new settings.toml")

    assert "--reconcile-for 12h" in restored.out
    runs(console, never, restored, open_gap, unknown, least=5)
    assert [words[:2] for words in printed(begun)] == [["config", "show"]]
    parsed(printed(begun)[0])


def test_a_command_within_a_sentence_is_quoted_and_completed() -> None:
    said = f"Run {command('export', 'j1', '--out', 'a b')}; {command('status')} lists them."

    assert said == "Run `bulk-issue export j1 --out 'a b'`; `bulk-issue status` lists them."
    told = completed(said, lambda words: [*words, "--ledger", "x y"])
    assert told == (
        "Run `bulk-issue export j1 --out 'a b' --ledger 'x y'`; `bulk-issue status --ledger 'x y'` lists them."
    )
    assert completed("`bulk-issue it's`", lambda words: [*words, "x"]) == "`bulk-issue it's`"


# --- one maker --------------------------------------------------------------------------------------------------


def told_commands(path: Path) -> Iterator[str]:
    """The texts of a module, but for docstrings and help, that spell out a command."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    spared = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            spared.add(node.value)
        if isinstance(node, ast.keyword) and node.arg == "help":
            spared |= {each for each in ast.walk(node.value) if isinstance(each, ast.Constant)}
    spelt = re.compile(rf"bulk-issue ({'|'.join(commands.commands)})\b")
    for node in ast.walk(tree):
        text = node.value if isinstance(node, ast.Constant) and node not in spared else None
        if isinstance(text, str) and spelt.search(text):
            yield f"{path.relative_to(PACKAGE)}: {text}"


def test_every_command_that_is_told_comes_from_one_maker() -> None:
    """One that is spelled out has no ledger, and nobody parses it."""
    found = [told for path in PACKAGE.rglob("*.py") for told in told_commands(path)]

    assert found == []
