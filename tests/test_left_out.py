"""Who is left out of a job, by the command line: a suppression list that changes, look-alikes, and other occasions."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest

from bulk_issue.sandbox.customers import Customer
from bulk_issue.sandbox.server import Sandbox
from bulk_issue.sandbox.settings import Settings
from tests.console import QUICK, Console, Done, ended, mobiles

#: Known to the sandbox, and refused: what a spreadsheet makes of this id is somebody else's.
REFUSED = Customer(id=555_000_001, external_id="0000000102", refusal=740)


@pytest.fixture
async def console(tmp_path: Path) -> AsyncIterator[Console]:
    async with Sandbox(Settings(rate=0, customers=(REFUSED,))) as box:
        yield Console(tmp_path, box)


def named(console: Console) -> set[str]:
    """Who has a coupon."""
    return {coupon.named.partition(":")[2] for coupon in console.box.book.coupons_of(console.box.series_id)}


def statuses(console: Console, file: Path) -> list[str]:
    return [row["_status"] for row in console.results(file)]


def ids(console: Console, name: str, values: Iterable[str]) -> Path:
    return console.customers(name, values, header=("Name", "External ID"))


# --- a list that changes ----------------------------------------------------------------------------------------


async def test_a_list_that_grew_takes_pending_rows_away(console: Console) -> None:
    file, out = console.customers("c.csv", mobiles(5)), console.customers("out.csv", mobiles(1))
    await console.run(file, "--exclude", out, "--first", 1)
    console.customers("out.csv", mobiles(3))
    done = await console.run(file, "--exclude", out)

    assert done.code == 0
    assert "The suppression list has changed: 1 customer added." in done.err
    assert statuses(console, file) == ["invalid", "issued", "invalid", "issued", "issued"]
    assert named(console) == {mobiles(5)[at] for at in (1, 3, 4)}
    console.check_book(file)


async def test_a_list_that_shrank_gives_rows_back(console: Console) -> None:
    file, out = console.customers("c.csv", mobiles(4)), console.customers("out.csv", mobiles(2))
    await console.run(file, "--exclude", out)
    console.customers("out.csv", mobiles(1))
    checked = await console("check", file, "--series", console.box.series_id, "--exclude", out)
    done = await console.run(file, "--exclude", out)

    assert "To send: 1 row" in checked.out
    assert done.code == 0
    assert "The suppression list has changed: 1 customer taken off." in done.err
    assert statuses(console, file) == ["invalid", "issued", "issued", "issued"]
    console.check_book(file)


async def test_a_job_remembers_its_list(console: Console) -> None:
    file, out = console.customers("c.csv", mobiles(4)), console.customers("out.csv", mobiles(1))
    await console.run(file, "--exclude", out, "--first", 1)
    console.customers("out.csv", mobiles(3))
    again = await console.run(file, "--first", 1)  # nobody said that the list holds no more
    resumed = await console("resume", again.out.split()[1].rstrip(","))

    assert statuses(console, file) == ["invalid", "issued", "invalid", "issued"]
    assert resumed.code == 0


async def test_a_list_that_is_gone_is_an_error_before_anything_is_sent(console: Console) -> None:
    file, out = console.customers("c.csv", mobiles(4)), console.customers("out.csv", mobiles(1))
    begun = await console.run(file, "--exclude", out, "--first", 1)
    job = begun.out.split()[1].rstrip(",")
    out.unlink()
    refused = await console("resume", job)

    assert refused.code == 2
    assert "out.csv" in refused.err and "--no-exclude" in refused.err
    assert len(named(console)) == 1
    done = await console("resume", job, "--no-exclude")
    assert done.code == 0
    assert statuses(console, file) == ["issued"] * 4
    assert (await console("resume", job)).code == 0  # the list is forgotten


async def test_a_retry_sends_to_nobody_who_has_opted_out_since(console: Console) -> None:
    refused, other = "919800000740", "919800000742"
    file, out = console.customers("c.csv", [*mobiles(2), refused, other]), console.customers("out.csv", mobiles(1))
    begun = await console.run(file, "--exclude", out)
    console.customers("out.csv", [*mobiles(1), refused])
    sent = len(console.box.book.arrivals)
    await console("retry", begun.out.split()[1].rstrip(","))

    assert statuses(console, file) == ["invalid", "issued", "invalid", "rejected"]
    asked = [each for each in console.box.book.arrivals[sent:] if each.endpoint == "issue"]
    assert len(asked) == 1  # the other one only


async def test_the_rerun_of_failures_heeds_the_list_of_its_parent(console: Console) -> None:
    refused = "919800000740"
    file, out = console.customers("c.csv", [*mobiles(2), refused]), console.customers("out.csv", mobiles(1))
    await console.run(file, "--exclude", out)
    console.customers("out.csv", [*mobiles(1), refused])
    (failures,) = console.folder.glob("c.csv-results/*/failures.csv")
    sent = len(console.box.book.arrivals)
    done = await console.run(failures)

    assert done.code == 0
    assert [each for each in console.box.book.arrivals[sent:] if each.endpoint == "issue"] == []


# --- look-alikes of a list --------------------------------------------------------------------------------------

CAMPAIGN = [f"91982500{n:02d}11" for n in range(1, 6)]
#: The first four of them: without country code, with separators, with the prefix of a call at home, and of one abroad.
IN_OTHER_FORMS = ["9825000111", "+91 98250 00211", "09825000311", "00919825000411"]


async def test_rows_that_the_list_names_in_another_form_are_held_back(console: Console) -> None:
    file, out = console.customers("c.csv", CAMPAIGN), console.customers("out.csv", IN_OTHER_FORMS)
    checked = await console("check", file, "--series", console.box.series_id, "--exclude", out)
    done = await console.run(file, "--exclude", out)

    assert "3 customers look like some of the suppression list" in checked.out
    assert done.code == 4
    assert "3 customers look like some of the suppression list" in done.err
    assert "--alike skip" in done.out and "--alike send" in done.out
    assert statuses(console, file) == ["pending", "invalid", "pending", "pending", "issued"]
    first = console.results(file)[0]
    assert first["_error_code"] == "alike-excluded" and "--alike" in first["_remedy"]
    assert named(console) == {CAMPAIGN[4]}


@pytest.mark.parametrize(
    ("word", "stand"),
    [
        (("--alike", "skip"), ["invalid"] * 4 + ["issued"]),
        (("--alike", "send"), ["issued", "invalid", "issued", "issued", "issued"]),
        (("--country", "IN"), ["invalid"] * 4 + ["issued"]),
    ],
)
async def test_a_word_or_the_country_says_what_they_are(
    console: Console, word: tuple[str, str], stand: list[str]
) -> None:
    file, out = console.customers("c.csv", CAMPAIGN), console.customers("out.csv", IN_OTHER_FORMS)
    done = await console.run(file, "--exclude", out, *word)

    assert done.code == 0
    assert statuses(console, file) == stand
    assert (await console.run(file, "--exclude", out, *(word if "--country" in word else ()))).code == 0  # remembered


async def test_the_word_may_come_later(console: Console) -> None:
    file, out = ids(console, "c.csv", ["0000000001", "0000000002", "0000000003"]), ids(console, "out.csv", ["1", "2"])
    begun = await console.run(file, "--exclude", out)
    job = begun.out.split()[1].rstrip(",")
    assert begun.code == 4
    assert (await console("resume", job)).code == 4  # said nothing, sent nothing
    assert statuses(console, file) == ["pending", "pending", "issued"]
    assert f"resume {job} --alike skip" in (await console("status", job)).out

    assert (await console("resume", job, "--alike", "skip")).code == 0
    assert statuses(console, file) == ["invalid", "invalid", "issued"]
    assert (await console("resume", job, "--alike", "send")).code == 0
    assert statuses(console, file) == ["issued"] * 3
    console.check_book(file)


# --- look-alikes of customers served before ---------------------------------------------------------------------


async def test_a_served_customer_in_another_form_is_held_back_and_named(console: Console) -> None:
    earlier = console.customers("earlier.csv", ["9825000111", "9825000211"])
    await console.run(earlier)
    file = console.customers("c.csv", CAMPAIGN[:3])
    checked = await console("check", file, "--series", console.box.series_id)
    done = await console.run(file)

    assert "2 customers look like some who were served before" in checked.out
    assert "To send: 1 row" in checked.out
    assert done.code == 4
    assert "2 customers look like some who were served before" in done.err
    assert statuses(console, file) == ["pending", "pending", "issued"]
    assert console.results(file)[0]["_error_code"] == "alike-served"
    assert "row 1 of job" in console.results(file)[0]["_reason"]
    assert named(console) == {"9825000111", "9825000211", CAMPAIGN[2]}


@pytest.mark.parametrize(("word", "stand"), [("skip", "duplicate"), ("send", "issued")])
async def test_the_word_says_whether_they_are_the_served_ones(console: Console, word: str, stand: str) -> None:
    await console.run(console.customers("earlier.csv", ["9825000111"]))
    file = console.customers("c.csv", CAMPAIGN[:2])
    done = await console.run(file, "--alike", word)

    assert done.code == 0
    assert statuses(console, file) == [stand, "issued"]
    assert (await console.run(file)).code == 0


async def test_who_was_served_since_the_job_was_registered_is_seen_too(console: Console) -> None:
    file = console.customers("c.csv", CAMPAIGN[:3])
    await console.run(file, "--first", 1)
    await console.run(console.customers("other.csv", ["9825000211"]))
    done = await console.run(file)

    assert done.code == 4
    assert statuses(console, file) == ["issued", "pending", "issued"]
    assert (await console.run(file, "--alike", "skip")).code == 0
    assert statuses(console, file) == ["issued", "duplicate", "issued"]


async def test_look_alikes_within_one_file_are_still_sent(console: Console) -> None:
    file = console.customers("c.csv", [CAMPAIGN[0], "9825000111"])

    assert (await console.run(file)).code == 0
    assert statuses(console, file) == ["issued", "issued"]


async def test_another_occasion_has_no_look_alikes_of_this_one(console: Console) -> None:
    await console.run(console.customers("earlier.csv", ["9825000111"]))
    file = console.customers("c.csv", CAMPAIGN[:1])

    assert (await console.run(file, "--again", "diwali")).code == 0


# --- failures that a spreadsheet has changed --------------------------------------------------------------------


async def test_a_failures_record_that_lost_its_zeros_is_no_correction(console: Console) -> None:
    file = ids(console, "c.csv", ["0000000101", "0000000102", "0000000103"])
    await console.run(file)
    (failures,) = console.folder.glob("c.csv-results/*/failures.csv")
    text = failures.read_text(encoding="utf-8-sig")
    failures.write_text(text.replace("0000000102", "102"))
    checked = await console("check", failures, "--series", console.box.series_id)
    done = await console.run(failures)

    assert "1 × externalId differs from that of row 2 of job" in checked.out and "To send: nothing" in checked.out
    assert done.code == 1
    assert "102" not in named(console)
    (row,) = console.results(failures)
    assert row["_status"] == "invalid" and row["_error_code"] == "altered"
    assert "row 2 of job" in row["_reason"]
    assert statuses(console, file) == ["issued", "rejected", "issued"]  # it waits for a real correction

    # saved by the spreadsheet once more, it is no correction either; with its zeros it is the row that it was
    (second,) = failures.parent.glob("failures.csv-results/*/failures.csv")
    assert (await console.run(second)).code == 1
    assert "102" not in named(console)
    second.write_text(text.replace("0000000102", "0000000105"))
    assert (await console.run(second)).code == 0
    assert "0000000105" in named(console)


async def test_the_word_send_makes_it_a_correction(console: Console) -> None:
    file = ids(console, "c.csv", ["0000000101", "0000000102"])
    await console.run(file)
    (failures,) = console.folder.glob("c.csv-results/*/failures.csv")
    failures.write_text(failures.read_text(encoding="utf-8-sig").replace("0000000102", "102"))

    assert (await console.run(failures, "--alike", "send")).code == 0
    assert "102" in named(console)


# --- other occasions --------------------------------------------------------------------------------------------


async def test_a_new_occasion_names_who_was_served_under_others(console: Console) -> None:
    file = console.customers("c.csv", mobiles(3))
    await console.run(file)
    await console.run(console.customers("more.csv", mobiles(2)), "--again", "diwali")
    series = console.box.series_id
    typo = await console("check", file, "--series", series, "--again", "diwli")
    none = await console("check", console.customers("other.csv", mobiles(4, 1)), "--series", series)

    assert "diwli is a new occasion for this series." in typo.out
    assert "3 customers served without an occasion" in typo.out
    assert "2 customers served for the occasion diwali" in typo.out
    assert "1 customer served for the occasion diwali" in none.out
    assert "new occasion" not in none.out
    facts = json.loads((await console("check", file, "--series", series, "--again", "diwli", "--json")).out)
    counts = {again: sum(jobs.values()) for again, jobs in facts["survey"]["served_elsewhere"].items()}
    assert Counter(counts) == {"": 3, "diwali": 2}


# --- asked on a terminal ----------------------------------------------------------------------------------------


async def typed(console: Console, answers: str, file: Path, *arguments: object) -> Done:
    """Run the file on a terminal on which this is typed."""
    ours, theirs = os.openpty()
    try:
        os.write(ours, answers.encode())
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", console.module, "run", str(file), "--series", str(console.box.series_id)),
            *(*QUICK, *map(str, arguments)),
            env=console.environment(),
            stdin=theirs,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        return await ended(process)
    finally:
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize(
    ("answer", "code", "stand"), [("\n", 4, "pending"), ("skip\n", 0, "duplicate"), ("send\n", 0, "issued")]
)
async def test_a_terminal_is_asked_and_its_default_sends_nothing(
    console: Console, answer: str, code: int, stand: str
) -> None:
    await console.run(console.customers("earlier.csv", ["9825000111"]))
    file = console.customers("c.csv", CAMPAIGN[:2])
    done = await typed(console, answer, file)

    assert "Are they the same people" in done.err
    assert done.code == code
    assert statuses(console, file) == [stand, "issued"]


async def test_a_new_occasion_is_always_asked_about_on_a_terminal(console: Console) -> None:
    file = console.customers("c.csv", mobiles(2))
    await console.run(file)
    refused = await typed(console, "\n", file, "--again", "diwli")

    assert refused.code == 2
    assert "2 customers served without an occasion" in refused.err
    assert "Issue 2 coupons now?" in refused.err
    assert len(console.box.book.coupons_of(console.box.series_id)) == 2
    assert (await typed(console, "y\n", file, "--again", "diwli")).code == 0
