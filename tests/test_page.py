"""The upload page in a real browser, over a real server process, against the sandbox: a whole campaign."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import AsyncIterator
from pathlib import Path

import openpyxl  # type: ignore[import-untyped]
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from bulk_issue.sandbox.book import Endpoint
from bulk_issue.sandbox.faults import fault
from bulk_issue.sandbox.server import Sandbox
from bulk_issue.sandbox.settings import Settings
from bulk_issue.web.access import set_password
from tests.console import mobiles
from tests.pages import Server, browser, look, until

pytestmark = pytest.mark.asyncio(loop_scope="module")
SCRIPT = "<script>document.title='owned'</script>"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chrome() -> AsyncIterator[Browser]:
    async with browser() as launched:
        yield launched


@pytest_asyncio.fixture(loop_scope="module")
async def page(chrome: Browser) -> AsyncIterator[Page]:
    context = await chrome.new_context(viewport={"width": 1440, "height": 900}, timezone_id="Asia/Kolkata")
    opened = await context.new_page()
    opened.set_default_timeout(15_000)
    faults: list[str] = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    yield opened
    await context.close()
    # refusals are shown as pages, and a stream of events ends with its server
    expected = ("ERR_CONNECTION", "ERR_INCOMPLETE", "status of 4", "[object Event]")
    assert [told for told in faults if not any(part in told for part in expected)] == []


def customers(path: Path, numbers: list[str], header: str = "mobile") -> Path:
    with path.open("w", encoding="utf-8", newline="") as opened:
        csv.writer(opened).writerows([("name", header), *((f"N{at}", each) for at, each in enumerate(numbers, 1))])
    return path


async def upload(page: Page, file: Path, series: int | str) -> None:
    await page.get_by_role("link", name="New", exact=True).click()
    await page.get_by_label("Coupon series").fill(str(series))
    await page.get_by_label("File of customers").set_input_files(file)
    await page.get_by_role("button", name="Upload and look").click()
    await expect(page.get_by_role("heading", name=file.name)).to_be_visible()


async def downloaded(page: Page, line: str, kind: str) -> bytes:
    async with page.expect_download() as started:
        await page.locator("li", has_text=line).get_by_role("link", name=kind).click()
    saved = await (await started.value).path()
    return await asyncio.to_thread(saved.read_bytes)


def records(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))


async def test_a_whole_campaign(page: Page, tmp_path: Path) -> None:
    """Upload, mend the mapping, see damage, start, pause, kill the server, go on, decide, download, run failures."""
    numbers = [*mobiles(160), "9.19E+11", "919800000701", "919800000740"]
    file = customers(tmp_path / "diwali customers.csv", numbers, "Kontakt")
    file.write_text(file.read_text(encoding="utf-8").replace("N1,", f"{SCRIPT},", 1), encoding="utf-8")
    denied = frozenset({Endpoint.COUPONS, Endpoint.COUPONS_V11})
    async with (
        Sandbox(Settings(rate=0, latency=0.1, denied=denied)) as box,
        Server(tmp_path, box, ("--type-above", 50, "--connections", 4)) as server,
    ):
        # sign in: the address works once
        await page.goto(f"{server.url}/jobs/j123")
        await look(page, "sign-in")
        spent = server.address
        await page.goto(server.address)
        await expect(page.get_by_text("No campaigns yet")).to_be_visible()
        await look(page, "no-campaigns")

        # upload, and mend the mapping
        await page.get_by_role("link", name="New", exact=True).click()
        await look(page, "new")
        await upload(page, file, box.series_id)
        await expect(page.get_by_role("alert")).to_contain_text("no column names a customer")
        await look(page, "mapping")
        await page.get_by_label("Mobile", exact=True).select_option("Kontakt")
        await page.get_by_role("button", name="Read it so").click()

        # what it holds
        damage = page.get_by_role("table").filter(has_text="Problems by cell")
        await expect(damage).to_contain_text("9.19E+11")
        await expect(damage).to_contain_text("scientific notation")
        await expect(page.get_by_role("cell", name=SCRIPT)).to_be_visible()
        await expect(page).to_have_title("diwali customers.csv – bulk-issue")
        await expect(page.get_by_text("A customer who has one")).to_be_visible()
        await look(page, "campaign")

        # the start is confirmed by its number
        assert box.book.requests() == 0
        await page.get_by_label("type the number").fill("16")
        await page.get_by_role("button", name="Issue 162 coupons").click()
        await expect(page.get_by_role("alert")).to_contain_text("wasn't typed")
        assert box.book.requests() == 0
        box.faults.script(None, None, fault("drop-after"), fault("drop-before"))
        await page.get_by_label("type the number").fill("162")
        await page.get_by_role("button", name="Issue 162 coupons").click()

        # follow, pause, load again
        await until(page, "Number(document.querySelector('.tiles .good dd')?.textContent) > 12")
        await look(page, "running")
        await page.get_by_role("button", name="Pause").click()
        await expect(page.get_by_text("Nothing more is sent")).to_be_visible()
        sent = box.book.requests()
        await page.reload()
        await expect(page.get_by_text("paused", exact=True)).to_be_visible()
        assert box.book.requests() == sent
        await look(page, "paused")

        # go on, and lose the server
        await page.get_by_role("button", name="Go on").click()
        await until(page, f"Number(document.querySelector('.tiles .good dd')?.textContent) > {sent + 5}")
        await server.kill()
        await server.start()
        await page.goto(page.url.partition("?")[0])
        await until(page, "!document.body.textContent.includes('pending')")
        await expect(page.get_by_role("heading", name="Rows in doubt")).to_be_visible()
        await until(page, "document.querySelector('.badge').textContent == 'stopped'")
        await look(page, "in-doubt")

        # decide, as the server's own book says
        codes = {coupon.named: coupon.code for coupon in box.book.coupons_of(box.series_id)}
        while await page.locator(".doubt").count():
            doubt = page.locator(".doubt").first
            await doubt.locator("summary").click()
            value = (await doubt.locator("summary").inner_text()).split("mobile ")[1].split(",")[0]
            if code := codes.get(f"mobile:{value}"):
                await doubt.get_by_label("A coupon was issued").check()
                await doubt.get_by_label("Its code").fill(code)
            else:
                await doubt.get_by_label("No coupon was issued").check()
            await doubt.get_by_label("Your name").fill("Asha")
            await doubt.get_by_role("button", name="Record").click()
            await expect(page.get_by_text("Your decision is recorded")).to_be_visible()
        await page.get_by_role("button", name="Go on").click()
        await until(page, "document.querySelector('.badge').textContent == 'ended'")
        await expect(page.get_by_text("Failures by reason")).to_be_visible()
        await look(page, "ended")

        # download
        results = records(await downloaded(page, "Results", "CSV"))
        failures = await downloaded(page, "Failures", "CSV")
        workbook = openpyxl.load_workbook(io.BytesIO(await downloaded(page, "Results", "Excel")))
        assert [row["name"] for row in results][:2] == [SCRIPT, "N2"]
        assert [row["_status"] for row in results] == ["issued"] * 160 + ["invalid", "rejected", "rejected"]
        assert workbook["results"].max_row == 164
        told = [row["_coupon_code"] for row in results if row["_status"] == "issued"]
        assert sorted(told) == sorted(coupon.code for coupon in box.book.coupons_of(box.series_id))
        assert not box.book.duplicates(box.series_id)

        # the failures again: one is mended, and the page knows whose they are
        mended = tmp_path / "failures.csv"
        mended.write_bytes(failures.replace(b"9.19E+11", b"919877770001"))
        await upload(page, mended, "")
        await expect(page.get_by_text("These are failures of")).to_be_visible()
        await page.get_by_label("Mobile", exact=True).select_option("Kontakt")
        await page.get_by_role("button", name="Read it so").click()
        await page.get_by_role("button", name="Issue 3 coupons").click()
        await until(page, "document.querySelector('.badge').textContent == 'ended'")
        assert [row["_status"] for row in records(await downloaded(page, "Results", "CSV"))] == [
            "issued",
            "rejected",
            "rejected",
        ]
        await page.get_by_role("link", name="Campaigns").click()
        await look(page, "campaigns")

        await page.get_by_role("button", name="Sign out").click()
        await page.goto(spent)
        await expect(page.get_by_role("alert")).to_contain_text("used already")
        assert await server.stop() == 0
        said = (tmp_path / "server.err").read_text()
        assert not [each for each in [*numbers, *told, box.password] if each in said]
        assert not list((tmp_path / "ledger.db.page" / "uploads").glob("*/*.csv"))


async def test_signing_in_by_password_and_keyboard_and_what_goes_wrong(page: Page, tmp_path: Path) -> None:
    set_password(tmp_path / "secret", "correct horse battery")
    useless = tmp_path / "c.pdf"
    useless.write_bytes(b"%PDF-1.7")
    async with (
        Sandbox(Settings(rate=0)) as box,
        Server(tmp_path, box, ("--sign-in-file", tmp_path / "secret")) as server,
    ):
        await page.goto(server.url)
        await look(page, "sign-in-password")
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        for _ in range(2):
            await page.keyboard.press("Tab")
        await expect(page.get_by_label("Password")).to_be_focused()
        await page.keyboard.type("wrong")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("alert")).to_contain_text("isn't the password")
        await page.get_by_label("Password").fill("correct horse battery")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", name="Campaigns")).to_be_visible()

        await page.goto(f"{server.url}/jobs/j1")
        await expect(page.get_by_role("heading", name="There is no such page")).to_be_visible()
        await look(page, "error")
        await upload(page, useless, box.series_id)
        await expect(page.get_by_role("alert")).to_contain_text("c.pdf is a PDF")
        await look(page, "useless-file")


async def test_a_first_record_that_may_be_a_customer_and_a_campaign_that_stopped(page: Page, tmp_path: Path) -> None:
    refused = [f"9198{n:04d}0740" for n in range(70)]
    file = tmp_path / "no header.csv"
    file.write_text("".join(f"N{at},{each}\n" for at, each in enumerate(refused)), encoding="utf-8")
    async with Sandbox(Settings(rate=0)) as box, Server(tmp_path, box, ("--max-failures", "5%")) as server:
        await page.goto(server.address)
        await upload(page, file, box.series_id)
        question = page.get_by_role("group", name="What is the first record of the file?")
        await expect(question).to_contain_text(refused[0])
        await expect(question.get_by_role("radio", checked=True)).to_have_count(0)
        await expect(page.get_by_role("button", name="Issue")).to_have_count(0)
        await look(page, "first-record")
        # the browser itself asks for an answer
        await page.get_by_role("button", name="Read it so").click()
        await expect(question).to_be_visible()
        await question.get_by_label("It is a customer").check()
        await page.get_by_role("button", name="Read it so").click()
        await page.get_by_label("Mobile", exact=True).select_option("column 2")
        await page.get_by_role("button", name="Read it so").click()
        await expect(page.get_by_role("radio", name="It is a customer")).to_be_checked()
        assert box.book.requests() == 0

        await page.get_by_role("button", name="Issue 70 coupons").click()
        stopped = page.locator("#stopped")
        await expect(stopped).to_contain_text("Too many rows were rejected, so it stopped by itself.")
        await expect(stopped).to_contain_text("tick the box")
        assert box.book.requests() == 5
        await look(page, "stopped")
        shown = await page.locator("main").inner_text()
        assert "--" not in shown and "bulk-issue " not in shown
        await page.get_by_label("Go on however many rows are rejected").check()
        await page.get_by_role("button", name="Go on").click()
        await until(page, "document.querySelector('.badge').textContent == 'ended'")
        assert box.book.requests() == 70
        assert await server.stop() == 0
