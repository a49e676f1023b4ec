"""What the page says: why a campaign stopped and what to press, in its own words; and no flag, whatever went wrong."""

from __future__ import annotations

import asyncio
import re
from importlib import resources
from pathlib import Path

import pytest

from bulk_issue import verdicts
from bulk_issue.errors import HeaderUnclear
from bulk_issue.health import StopKind
from bulk_issue.model import Job, JobId, JobSpec, JobState
from bulk_issue.rows import PROBLEMS
from bulk_issue.shown import remedy
from bulk_issue.web import plain, stops
from tests.console import mobiles
from tests.test_web import Visitor, agreed, visiting

#: Numbers that the sandbox's patterns refuse.
REFUSED = [f"9198{n:04d}0740" for n in range(60)]


def csv(*numbers: str) -> bytes:
    return ("mobile\n" + "".join(f"{each}\n" for each in numbers)).encode()


async def page_of(visitor: Visitor, job: str, says: str) -> str:
    """The job's page, when it says that."""
    async with asyncio.timeout(60):
        while says not in (text := (await visitor.get(f"/jobs/{job}"))[1]):
            await asyncio.sleep(0.1)
    return text


async def started(visitor: Visitor, content: bytes, rows: int) -> str:
    """Upload and start; the job's name."""
    _, text = await visitor.upload(content)
    assert f"Issue {rows} coupons" in text
    _, text = await visitor.start(text)
    return str(re.findall(r"/jobs/(j[0-9a-f]{9})/events", text)[0])


# --- stops ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", StopKind)
def test_each_kind_of_stop_has_words_of_the_pages_own(kind: StopKind) -> None:
    spec = JobSpec(id=JobId("j1"), org="o", series_id=1, again="", account="a", path="c", sha256="", header=())
    because = "12 of the last 100 rows were rejected: more than --max-failures allows"
    job = Job(
        spec=spec,
        state=JobState.STOPPED,
        rows=9,
        blank=0,
        created=0.0,
        stopped_because=because,
        stop_kind=str(kind),
    )
    said = stops.stopped(job, running=False)
    assert said is not None
    assert said.detail == "12 of the last 100 rows were rejected"
    assert "Go on" in said.todo or "the box" in said.todo
    assert not plain.TERMINAL.search(said.why + said.todo)
    assert stops.stopped(job, running=True) is None


async def test_a_campaign_that_stopped_says_why_and_what_to_press(tmp_path: Path) -> None:
    async with visiting(tmp_path) as visitor:
        await visitor.sign_in()
        job = await started(visitor, csv(*REFUSED), len(REFUSED))
        text = await page_of(visitor, job, 'id="stopped"')
        assert "Too many rows were rejected" in text
        assert "the first 5 rows were all rejected and none got a coupon" in text
        assert not plain.TERMINAL.search(re.sub(r"<[^>]*>", "", text))


async def test_going_on_however_many_are_rejected_holds_for_that_go_only(tmp_path: Path) -> None:
    refused = [f"9198{n:04d}0740" for n in range(100)]
    async with visiting(tmp_path) as visitor:
        await visitor.sign_in()
        job = await started(visitor, csv(*refused), len(refused))
        text = await page_of(visitor, job, 'id="stopped"')
        assert "however many rows are rejected" in text
        assert visitor.box.book.requests() == 5
        form = {"csrf": await visitor.csrf()}
        await visitor.post(f"/jobs/{job}/go-on", form | {"all_failures": "on", "agreed": agreed(text)})
        async with asyncio.timeout(60):
            while visitor.box.book.requests() < 12:  # past the five that stop a run which nobody told to go on
                await asyncio.sleep(0.01)
        await visitor.post(f"/jobs/{job}/pause", form)
        sent = visitor.box.book.requests()
        text = await page_of(visitor, job, "Go on: issue up to")
        await visitor.post(f"/jobs/{job}/go-on", form | {"agreed": agreed(text)})
        assert "Too many rows were rejected" in await page_of(visitor, job, 'id="stopped"')
        assert visitor.box.book.requests() == sent + 5


# --- other texts ------------------------------------------------------------------------------------------------


def test_no_template_names_a_flag() -> None:
    for template in resources.files("bulk_issue.web").joinpath("templates").iterdir():
        shown = re.sub(r"\{[{%#].*?[}%#]\}", "", template.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert not plain.TERMINAL.search(shown), template.name


CODES = [*PROBLEMS, *(str(code) for code in range(400, 1000)), "http-403", "http-404", "http-301", "fault-connect"]


def test_remedies_and_reasons_say_something_without_a_flag() -> None:
    for code in CODES:
        if advice := remedy(code):
            assert not plain.TERMINAL.search(plain.hint(advice)) and plain.hint(advice), code
    for reason, _ in PROBLEMS.values():
        assert not plain.TERMINAL.search(plain.message(reason)) and plain.message(reason)
    assert verdicts.remedy("707") != plain.hint(verdicts.remedy("707"))


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("Look at the reasons. To go on all the same, run again with --max-failures 100%.", "Look at the reasons."),
        (
            "Nothing was issued. Run the same command again when you are sure.",
            "Nothing was issued. Press “Go on” when you are sure.",
        ),
        ("Check --base-url.", plain.ELSEWHERE),
        ("Finish it (bulk-issue resume j1) or wait.", plain.ELSEWHERE),
        ("It belongs in an external id column (--map externalId=…).", "It belongs in an external id column."),
        ("Rows are looked up. Ctrl-C is safe.", "Rows are looked up."),
        ("", ""),
    ],
)
def test_hints_lose_what_speaks_of_a_terminal(typed: str, shown: str) -> None:
    assert plain.hint(typed) == shown


def test_a_message_that_is_all_flag_is_said_by_its_name() -> None:
    assert plain.message("--rate must be at least 1") == "rate must be at least 1"
    assert plain.message("a--b.csv can't be read") == "a--b.csv can't be read"


# --- the first record -------------------------------------------------------------------------------------------


def headless(*numbers: str) -> bytes:
    return "".join(f"N{at},{each}\n" for at, each in enumerate(numbers, 1)).encode()


@pytest.mark.parametrize(("answer", "rows"), [("customer", 3), ("names", 2)])
async def test_the_page_asks_what_the_first_record_is_and_loses_nobody(tmp_path: Path, answer: str, rows: int) -> None:
    async with visiting(tmp_path) as visitor:
        await visitor.sign_in()
        numbers = mobiles(3)
        _, text = await visitor.upload(headless(*numbers))
        assert "What is the first record" in text and numbers[0] in text
        assert "checked" not in text and "Issue 2 coupons" not in text
        draft = re.findall(r"/campaigns/(u[0-9a-f]{24})/reading", text)[0]
        form = {"csrf": await visitor.csrf(), "series": "544770"}
        # without an answer it asks again
        _, text = await visitor.post(f"/campaigns/{draft}/reading", form | {"column-mobile": "1"})
        assert "What is the first record" in text
        await visitor.post(f"/campaigns/{draft}/start", form | {"agreed": "2"})
        assert visitor.box.book.requests() == 0

        _, text = await visitor.post(f"/campaigns/{draft}/reading", form | {"first": answer})
        assert "no column names a customer" in text and "press “Read it so”" in text
        _, text = await visitor.post(f"/campaigns/{draft}/reading", form | {"first": answer, "column-mobile": "1"})
        assert f"Issue {rows} coupons" in text
        # read another way, the first record is another one
        _, text = await visitor.post(f"/campaigns/{draft}/reading", form | {"first": answer, "delimiter": ";"})
        assert "What is the first record" in text or "Issue" not in text


def test_the_question_has_no_flag_on_the_page() -> None:
    assert "--" not in plain.hint_of(HeaderUnclear("c.csv", 1, ("N1", "919800000001")))
