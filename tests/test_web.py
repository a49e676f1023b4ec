"""The page's server as a stranger meets it: no session, forged forms, path tricks, hostile files."""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bulk_issue.config import Account, Config
from bulk_issue.errors import ConfigError
from bulk_issue.sandbox.server import Sandbox
from bulk_issue.sandbox.settings import Settings as BoxSettings
from bulk_issue.web import access, server
from bulk_issue.web.campaigns import whole
from bulk_issue.web.drafts import Drafts, harmless
from bulk_issue.web.settings import Settings
from tests.console import Console, ended, mobiles

MEGABYTE = 1024 * 1024


@dataclass(slots=True)
class Visitor:
    """A browser without a screen."""

    url: str
    http: aiohttp.ClientSession
    box: Sandbox
    folder: Path
    told: list[str] = field(default_factory=list)

    async def get(self, path: str, **options: Any) -> tuple[int, str]:
        async with self.http.get(self.url + path, **options) as response:
            return response.status, await response.text()

    async def post(self, path: str, form: object, **headers: str) -> tuple[int, str]:
        sent = {"Origin": self.url} | headers
        async with self.http.post(self.url + path, data=form, headers=sent) as response:
            return response.status, await response.text()

    async def csrf(self) -> str:
        found = re.search(r'name="csrf" value="(\w+)"', (await self.get("/campaigns/new"))[1])
        assert found
        return found[1]

    async def sign_in(self) -> None:
        status, text = await self.get(self.told[-1].removeprefix(self.url))
        assert status == 200 and "Sign out" in text

    async def start(self, text: str, **fields: str) -> tuple[int, str]:
        """Press the button of the campaign's page that issues."""
        (path,) = re.findall(r'formaction="(/campaigns/\w+/start)"', text)
        return await self.post(path, {"csrf": await self.csrf(), "agreed": agreed(text), **fields})

    async def upload(self, content: bytes, name: str = "c.csv", series: str = "544770") -> tuple[int, str]:
        form = aiohttp.FormData(quote_fields=False)
        form.add_field("csrf", await self.csrf())
        form.add_field("series", series)
        form.add_field("file", io.BytesIO(content), filename=name, content_type="text/csv")
        status, text = await self.post("/campaigns", form)
        while again := re.search(r'href="(/campaigns/\w+)">Look now', text):  # the file is still being read
            await asyncio.sleep(0.05)
            status, text = await self.get(again[1])
        return status, text


def agreed(text: str) -> str:
    """The agreement that a page's form carries."""
    return str(re.findall(r'name="agreed" value="(\w+)"', text)[0])


@asynccontextmanager
async def visiting(
    folder: Path, latency: float = 0.0, at: Sandbox | None = None, **changes: Any
) -> AsyncIterator[Visitor]:
    async with AsyncExitStack() as stack:
        box = at if at is not None else await stack.enter_async_context(Sandbox(BoxSettings(rate=0, latency=latency)))
        config = Config(
            account=Account(base_url=box.url, user=box.user, password=box.password),
            series_id=1,
            ledger=folder / "ledger.db",
        )
        settings = replace(Settings(config=config, folder=folder / "page", port=0, max_upload=MEGABYTE), **changes)
        told: list[str] = []
        port = await stack.enter_async_context(server.running(settings, told.append))
        jar = aiohttp.CookieJar(unsafe=True)
        http = await stack.enter_async_context(aiohttp.ClientSession(cookie_jar=jar))
        yield Visitor(f"http://127.0.0.1:{port}", http, box, folder, told)


@pytest.fixture
async def visitor(tmp_path: Path) -> AsyncIterator[Visitor]:
    async with visiting(tmp_path) as guest:
        yield guest


CSV = ("mobile\n" + "".join(f"{each}\n" for each in mobiles(3))).encode()

# --- who may come in --------------------------------------------------------------------------------------------


async def test_nothing_is_shown_or_done_without_a_session(visitor: Visitor) -> None:
    for path in ("/", "/campaigns/new", "/jobs/j123", "/jobs/j123/results.csv", "/campaigns/u" + "0" * 24):
        status, text = await visitor.get(path)
        assert status == 200 and "<h1>Sign in</h1>" in text
    for path in ("/campaigns", "/jobs/j123/cancel", "/campaigns/u1/start", "/sign-out"):
        assert (await visitor.post(path, {"csrf": "x"}))[0] == 403
    assert (await visitor.get("/jobs/j123/events", headers={"Accept": "text/event-stream"}))[0] == 403


async def test_the_printed_address_signs_in_once_and_the_next_is_printed(visitor: Visitor) -> None:
    first = visitor.told[0].removeprefix(visitor.url)
    await visitor.sign_in()
    visitor.http.cookie_jar.clear()

    assert (await visitor.get(first))[0] == 403
    assert len(visitor.told) == 2
    await visitor.sign_in()


@pytest.mark.parametrize("change", ["x", "later", "nothing"])
async def test_a_session_that_is_not_ours_is_none(visitor: Visitor, change: str) -> None:
    await visitor.sign_in()
    (cookie,) = visitor.http.cookie_jar
    name, ends, seal = cookie.value.split(".")
    forged = {"x": f"{name}.{ends}.{seal[:-1]}x", "later": f"{name}.{int(ends) + 9}.{seal}", "nothing": ".."}[change]
    visitor.http.cookie_jar.clear()

    assert "Sign in" in (await visitor.get("/", headers={"Cookie": f"{cookie.key}={forged}"}))[1]
    assert "Sign out" in (await visitor.get("/", headers={"Cookie": f"{cookie.key}={cookie.value}"}))[1]


def test_a_session_ends_by_signing_out_and_by_time_and_holds_over_a_restart(tmp_path: Path) -> None:
    sessions = access.Sessions(tmp_path, 60.0)
    kept, left = sessions.open(), sessions.open()
    session = sessions.find(left)
    assert session is not None
    sessions.close(session)
    again = access.Sessions(tmp_path, 60.0)

    assert again.find(kept) is not None
    assert again.find(left) is None
    assert sessions.find(left) is None
    assert again.find(access.Sessions(tmp_path, -1.0).open()) is None
    assert access.Sessions(tmp_path / "other", 60.0).find(kept) is None
    assert {path.stat().st_mode & 0o777 for path in tmp_path.glob("*") if path.is_file()} == {0o600}


async def test_a_password_signs_in_and_guessing_is_slowed_down(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    with pytest.raises(ConfigError, match="fewer than"):
        access.set_password(secret, "short")
    access.set_password(secret, "correct horse battery")
    assert secret.read_text().startswith("$argon2id$")
    assert secret.stat().st_mode & 0o777 == 0o600
    async with visiting(tmp_path, sign_in_file=secret) as visitor:
        assert (await visitor.post("/sign-in", {"password": "wrong"}))[0] == 403
        assert (await visitor.post("/sign-in", {"password": "correct horse battery"}))[0] == 200
        visitor.http.cookie_jar.clear()
        guesses = [visitor.post("/sign-in", {"password": f"guess {n}"}) for n in range(7)]
        statuses = sorted(status for status, _ in await asyncio.gather(*guesses))
        assert statuses == [403] * 5 + [429] * 2
        status, text = await visitor.post("/sign-in", {"password": "correct horse battery"})
        assert status == 429 and "try again in" in text


def test_a_password_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    access.set_password(tmp_path / "secret", "correct horse battery")
    (tmp_path / "secret").chmod(0o644)

    with pytest.raises(ConfigError, match="read by others"):
        access.Password(tmp_path / "secret")


# --- forms and addresses ----------------------------------------------------------------------------------------


async def test_a_forged_form_changes_nothing(visitor: Visitor) -> None:
    await visitor.sign_in()
    token = await visitor.csrf()
    form = aiohttp.FormData({"csrf": "0" * 64, "series": "1"})
    form.add_field("file", CSV, filename="c.csv")

    assert (await visitor.post("/campaigns", form))[0] == 403
    assert (await visitor.post("/sign-out", {}))[0] == 403
    assert (await visitor.post("/sign-out", {"csrf": "0" * 64}))[0] == 403
    assert (await visitor.post("/sign-out", {"csrf": token}, Origin="https://evil.example"))[0] == 403
    assert (await visitor.post("/sign-out", {"csrf": token}, Origin="null"))[0] == 403
    assert (await visitor.post("/sign-out", b"{}", **{"Content-Type": "application/json"}))[0] == 415
    other = aiohttp.FormData({"csrf": token}, default_to_multipart=True)
    assert (await visitor.post("/sign-out", other))[0] == 415
    assert (await visitor.get("/campaigns/new"))[0] == 200
    assert not list((visitor.folder / "page" / "uploads").iterdir())


async def test_another_name_for_the_server_is_refused(visitor: Visitor) -> None:
    """What a name that was made to point here would send (DNS rebinding)."""
    await visitor.sign_in()

    for host in ("evil.example", "evil.example:80", "127.0.0.1"):
        assert (await visitor.get("/", headers={"Host": host}))[0] == 421


async def test_every_answer_carries_the_headers_and_no_script_stands_in_a_page(visitor: Visitor) -> None:
    await visitor.sign_in()
    for path in ("/", "/campaigns/new", "/nothing", "/static/page.js", "/jobs/j1/results.csv"):
        async with visitor.http.get(visitor.url + path) as response:
            text = await response.text()
            policy = response.headers["Content-Security-Policy"]
            assert "default-src 'none'; script-src 'self'" in policy and "unsafe" not in policy
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert response.headers["X-Frame-Options"] == "DENY"
            assert response.headers["Server"] == "bulk-issue"
            if not path.startswith("/static"):
                assert response.headers["Cache-Control"] == "no-store"
                assert not re.search(r"<script(?! src=)|\son\w+=|style=|https?://", text)
    assert (await visitor.get("/static/../settings.py"))[0] == 404
    assert (await visitor.get("/static/%2e%2e%2fsettings.py"))[0] == 404


@pytest.mark.parametrize(
    "path",
    [
        "/campaigns/..%2f..%2fledger.db",
        "/campaigns/u1",
        "/jobs/..%2fj1",
        "/jobs/j1/..%2fledger.csv",
        "/jobs/j1/ledger.db",
        "/jobs/j1/results.exe",
    ],
)
async def test_paths_lead_nowhere_else(visitor: Visitor, path: str) -> None:
    await visitor.sign_in()

    assert (await visitor.get(path))[0] == 404


def test_settings_that_would_show_customers_on_the_network_are_refused(tmp_path: Path) -> None:
    config = Config(
        account=Account(base_url="https://api.example.com", user="u", password="p"), series_id=1, ledger=tmp_path / "l"
    )
    with pytest.raises(ConfigError, match="unencrypted"):
        Settings(config=config, folder=tmp_path, host="0.0.0.0")
    with pytest.raises(ConfigError, match="https"):
        Settings(config=config, folder=tmp_path, public_url="http://coupons.example.com")
    behind = Settings(config=config, folder=tmp_path, host="0.0.0.0", public_url="https://Coupons.example.com/")

    assert behind.secure
    assert behind.origins(1) == {"https://coupons.example.com"}


# --- files ------------------------------------------------------------------------------------------------------


async def test_an_upload_is_private_and_its_name_is_ours(visitor: Visitor) -> None:
    await visitor.sign_in()
    status, text = await visitor.upload(CSV, "../../etc/päss wd<b>;rm.csv")
    uploads = visitor.folder / "page" / "uploads"
    (file,) = uploads.glob("*/*.csv")

    assert status == 200
    assert file.read_bytes() == CSV
    assert file.name.startswith("p") and not set(file.name) & set("/\\<>;\r\n")
    assert "<b>;" not in text
    assert file.stat().st_mode & 0o777 == 0o600
    assert {path.stat().st_mode & 0o777 for path in (uploads, file.parent, uploads.parent)} == {0o700}


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("c.csv", "c.csv"),
        ("..", "upload"),
        ("", "upload"),
        ("/etc/passwd", "passwd"),
        ("C:\\x\\Kunden 1.xlsx", "Kunden 1.xlsx"),
        ("a" * 300 + ".csv", "a" * 80 + ".csv"),
        (".htaccess", "htaccess"),
        ("draft.json", "upload.json"),
        ("x\0\n\u202ey.csv", "x___y.csv"),
    ],
)
def test_names_are_made_harmless(given: str, kept: str) -> None:
    assert harmless(given) == kept


async def test_a_file_that_is_too_large_is_refused_and_not_kept(visitor: Visitor) -> None:
    """Both one that says so and one that doesn't."""
    await visitor.sign_in()
    status, text = await visitor.upload(b"mobile\n" + b"919800000001\n" * 100_000)
    assert status == 422 and "larger than 1 MB" in text
    form = aiohttp.FormData()
    form.add_field("csrf", await visitor.csrf())

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"919800000001\n" * 10_000

    form.add_field("file", endless(), filename="c.csv", content_type="text/csv")
    assert (await visitor.post("/campaigns", form))[0] == 422
    assert not list((visitor.folder / "page" / "uploads").iterdir())
    assert (await visitor.post("/sign-out", {"csrf": "0" * 100_000}))[0] == 413


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("c.csv", b"", "empty"),
        ("c.xlsx", b"PK\x03\x04" + b"\0" * 100, ""),
        ("c.csv", b"<html><script>alert(1)</script>", "web page"),
        ("c.xls", b"\xd0\xcf\x11\xe0" + b"\0" * 600, ""),
        ("c.csv", b"%PDF-1.7", "PDF"),
        ("c.csv", bytes(range(256)) * 40, ""),
        ("c.csv", b"mobile", "no records"),
        ("c.csv", b"<script>alert(1)</script>,x\na,b\n", "no column names a customer"),
    ],
)
async def test_a_hostile_or_useless_file_gets_a_clear_word(
    visitor: Visitor, name: str, content: bytes, says: str
) -> None:
    await visitor.sign_in()
    status, text = await visitor.upload(content, name)

    assert status == 200
    assert 'role="alert"' in text and says in text
    assert str(visitor.folder) not in text
    assert "<script>alert" not in text
    assert visitor.box.book.requests() == 0


async def test_what_is_old_is_purged(visitor: Visitor) -> None:
    await visitor.sign_in()
    await visitor.upload(CSV)
    drafts = Drafts(visitor.folder / "page" / "uploads")
    drafts.purge(3600.0, 3600.0)
    assert len(list((visitor.folder / "page" / "uploads").iterdir())) == 1
    drafts.purge(-1.0, 3600.0)

    assert not list((visitor.folder / "page" / "uploads").iterdir())


# --- without script ---------------------------------------------------------------------------------------------


async def test_everything_but_live_updates_works_without_script(visitor: Visitor) -> None:
    await visitor.sign_in()
    async with visitor.http.get(visitor.url + "/campaigns/new"):
        pass
    _, text = await visitor.upload(CSV + b"9.19E+11\n")
    assert "9.19E+11" in text and "Issue 3 coupons" in text
    status, text = await visitor.start(text)
    (job,) = set(re.findall(r"/jobs/(j\w+)/events", text))
    for _ in range(200):
        _, text = await visitor.get(f"/jobs/{job}")
        if ">ended<" in text:
            break
        await asyncio.sleep(0.05)

    assert status == 200
    assert ">ended<" in text
    failures = (await visitor.get(f"/jobs/{job}/failures.csv"))[1]
    assert "9.19E+11" in failures
    assert not list((visitor.folder / "page").glob("download-*"))
    assert len(visitor.box.book.coupons_of(visitor.box.series_id)) == 3


@pytest.mark.parametrize("pretended", ["", "another"])
async def test_a_form_without_the_agreement_that_was_shown_starts_nothing(visitor: Visitor, pretended: str) -> None:
    await visitor.sign_in()
    _, text = await visitor.upload(CSV)
    _, text = await visitor.start(text, agreed=pretended)
    while "nothing was" not in text:
        _, text = await visitor.get(re.findall(r"/(?:jobs|campaigns)/[ju]\w+", text)[0])

    assert visitor.box.book.requests() == 0


@pytest.mark.parametrize(
    "change",
    [{"series": "544771"}, {"again": "diwali"}, {"column-email": "1", "column-mobile": ""}, {"encoding": "cp1252"}],
)
async def test_what_was_changed_in_the_form_is_shown_before_it_can_start(
    visitor: Visitor, change: dict[str, str]
) -> None:
    content = b"mobile,second\n" + b"".join(f"{each},a{each}@example.com\n".encode() for each in mobiles(3))
    await visitor.sign_in()
    _, text = await visitor.upload(content)
    fields = {"series": "544770", "again": "", "column-mobile": "0", "encoding": "", "delimiter": "", "sheet": ""}
    status, text = await visitor.start(text, **fields | change)

    assert status == 422
    assert "you had changed how the file is read" in text
    assert visitor.box.book.requests() == 0
    status, text = await visitor.start(text, **fields | change) if change != {"series": "544771"} else (200, "")
    assert "you had changed" not in text  # it is read so now


async def test_a_form_in_which_no_column_names_the_customers_starts_nothing(visitor: Visitor) -> None:
    await visitor.sign_in()
    _, text = await visitor.upload(CSV)
    status, text = await visitor.start(text, **{"series": "544770", "column-mobile": "", "column-email": ""})

    assert status == 422
    assert "no column is chosen to name the customers" in text
    assert visitor.box.book.requests() == 0


async def test_a_series_that_is_no_number_is_not_made_one(visitor: Visitor) -> None:
    await visitor.sign_in()
    _, text = await visitor.upload(CSV)
    (reading,) = re.findall(r'action="(/campaigns/\w+/reading)"', text)
    status, text = await visitor.post(reading, {"csrf": await visitor.csrf(), "series": "544770.0"})

    assert status == 422
    assert "isn&#39;t a number" in text and "5447700" not in text


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        *[("30", 30), (" 3 000 ", 3000), ("3,000", 3000), ("3.000", 3000), ("1'234'567", 1234567), ("0", 0)],
        *[("3.0", None), ("3,00", None), ("30 00", None), ("1,234.567", None), ("three", None)],
        *[("", None), ("-3", None)],
    ],
)
def test_a_number_is_read_as_it_is_grouped(typed: str, meant: int | None) -> None:
    assert whole(typed) == meant


async def test_customers_who_were_served_since_the_look_are_shown_before_a_start(visitor: Visitor) -> None:
    await visitor.sign_in()
    _, first = await visitor.upload(CSV)
    _, other = await visitor.upload(CSV[: CSV.rindex(b"\n", 0, -1)], "other.csv")
    _, text = await visitor.start(other)
    await shows(visitor, re.findall(r"/jobs/j\w+", text)[0], ">ended<")
    _, text = await visitor.start(first)
    while "has changed since you looked" not in text:
        _, text = await visitor.get(re.findall(r"/(?:jobs|campaigns)/[ju]\w+", text)[0])

    assert visitor.box.book.requests() == 2


async def looked(visitor: Visitor, what: bytes | str, form: object = None) -> str:
    """What the page shows of an upload, or of a form sent to an address, once it has looked at the file."""
    _, text = await visitor.upload(what) if isinstance(what, bytes) else await visitor.post(what, form)
    while again := re.search(r'href="(/campaigns/\w+)">Look now', text):
        await asyncio.sleep(0.05)
        _, text = await visitor.get(again[1])
    return text


async def test_look_alikes_are_shown_and_a_person_says_who_they_are(visitor: Visitor) -> None:
    async def ended() -> str:
        for _ in range(400):
            _, text = await visitor.get(f"/jobs/{job}")
            if "Pause" not in text and 'class="badge on"' not in text:
                return text
            await asyncio.sleep(0.05)
        raise AssertionError(text)

    console = Console(visitor.folder, visitor.box)
    await console.run(console.customers("earlier.csv", ["9825000111", "9825000211", "9825000311"]))
    await visitor.sign_in()
    text = await looked(visitor, b"mobile\n919825000111\n919825000211\n919825000311\n919825000411\n")
    assert "3 customers look like some who were served before" in text
    assert "Issue 1 coupon<" in text  # no default sends to them
    (said,) = set(re.findall(r'action="(/campaigns/\w+/look-alikes)"', text))
    token = await visitor.csrf()
    text = await looked(visitor, said, {"csrf": token, "alike": "send"})
    assert "Issue 4 coupons<" in text
    text = await looked(visitor, said, {"csrf": token, "alike": ""})
    assert "Issue 1 coupon<" in text
    _, text = await visitor.start(text)
    (job,) = set(re.findall(r"/jobs/(j\w+)/events", text))
    text = await ended()
    assert "3 rows held back" in text and "--" not in text.partition("<main")[2]

    _, text = await visitor.post(f"/jobs/{job}/look-alikes", {"csrf": token, "alike": "skip"})
    text = await ended()
    assert "leave them out</button>" not in text
    served = {coupon.named for coupon in visitor.box.book.coupons_of(visitor.box.series_id)}
    assert served == {f"mobile:{each}" for each in ("9825000111", "9825000211", "9825000311", "919825000411")}


async def test_the_page_tells_who_was_served_for_other_occasions(visitor: Visitor) -> None:
    console = Console(visitor.folder, visitor.box)
    await console.run(console.customers("earlier.csv", mobiles(2)))
    await visitor.sign_in()
    text = await looked(visitor, CSV)
    (reading,) = re.findall(r'action="(/campaigns/\w+/reading)"', text)
    form = {"csrf": await visitor.csrf(), "series": "544770", "again": "diwali", "column-mobile": "0"}
    text = await looked(visitor, reading, form)

    assert "diwali is a new occasion for this series." in text
    assert "2 customers served without an occasion" in text


async def test_a_large_campaign_is_confirmed_by_its_number(tmp_path: Path) -> None:
    async with visiting(tmp_path, confirm_above=2) as visitor:
        await visitor.sign_in()
        _, text = await visitor.upload(CSV)
        for typed in ({}, {"typed": ""}, {"typed": "30"}, {"typed": "three"}, {"typed": "3.0"}):
            status, refused = await visitor.start(text, **typed)
            assert status == 422 and "typed" in refused
        assert visitor.box.book.requests() == 0
        status, text = await visitor.start(text, typed="3")
        assert "/jobs/j" in text


async def test_sending_again_on_a_paused_campaign_sends_those_rows_and_no_others(tmp_path: Path) -> None:
    refused = [f"refused{each}0701@example.com" for each in range(3)]
    others = [f"a{each}@example.com" for each in range(60)]
    content = "\n".join(["email", *others[:2], *refused, *others[2:]]).encode()
    async with Sandbox(BoxSettings(rate=0, latency=0.1)) as box:
        config = Config(
            account=Account(base_url=box.url, user=box.user, password=box.password),
            series_id=1,
            ledger=tmp_path / "ledger.db",
            connections=1,
        )
        async with visiting(tmp_path, at=box, config=config) as visitor:
            await visitor.sign_in()
            _, text = await visitor.upload(content)
            _, text = await visitor.start(text)
            job = re.findall(r"/jobs/j\w+", text)[0]
            await requests(box, 8)
            await visitor.post(f"{job}/pause", {"csrf": await visitor.csrf()})
            text = await shows(visitor, job, ">paused<")
            sent = box.book.requests()
            form = text[text.index(f'action="{job}/retry"') :]
            await visitor.post(f"{job}/retry", {"csrf": await visitor.csrf(), "agreed": agreed(form), "code": "701"})
            text = await shows(visitor, job, "only the rows that were put back")

        assert box.book.requests() == sent + 3
        assert "Go on: issue up to" in text


# --- restarts ---------------------------------------------------------------------------------------------------


async def shows(visitor: Visitor, path: str, word: str) -> str:
    async with asyncio.timeout(20):
        while word not in (text := (await visitor.get(path))[1]):
            await asyncio.sleep(0.05)
    return text


async def requests(box: Sandbox, more_than: int) -> int:
    async with asyncio.timeout(20):
        while (sent := box.book.requests()) <= more_than:
            await asyncio.sleep(0.02)
    return sent


async def test_a_paused_run_stays_paused_over_a_restart_and_a_running_one_goes_on(tmp_path: Path) -> None:
    content = ("mobile\n" + "".join(f"{each}\n" for each in mobiles(58))).encode()
    async with Sandbox(BoxSettings(rate=0, latency=0.2)) as box:
        config = Config(
            account=Account(base_url=box.url, user=box.user, password=box.password),
            series_id=1,
            ledger=tmp_path / "ledger.db",
            connections=2,
        )
        async with visiting(tmp_path, at=box, config=config) as visitor:
            await visitor.sign_in()
            _, text = await visitor.upload(content)
            token = await visitor.csrf()
            _, text = await visitor.start(text)
            job = re.findall(r"/jobs/j\w+", text)[0]
            await requests(box, 4)
            await visitor.post(f"{job}/pause", {"csrf": token})
            paused = box.book.requests()
        async with visiting(tmp_path, at=box, config=config) as visitor:
            await visitor.sign_in()
            text = await shows(visitor, job, ">paused<")
            assert box.book.requests() == paused
            await visitor.post(f"{job}/go-on", {"csrf": await visitor.csrf(), "agreed": agreed(text)})
            stopped = await requests(box, paused + 4)
        assert stopped < 50
        async with visiting(tmp_path, at=box, config=config) as visitor:
            await visitor.sign_in()
            await shows(visitor, job, ">ended<")
        assert len(box.book.coupons_of(box.series_id)) == 58
        assert not box.book.duplicates(box.series_id)


# --- runs of others ---------------------------------------------------------------------------------------------


async def events(visitor: Visitor, job: str, until: str) -> str:
    """What a job's page is sent, until that is among it."""
    told = ""
    async with asyncio.timeout(20), visitor.http.get(f"{visitor.url}/jobs/{job}/events") as stream:
        async for line in stream.content:
            told += line.decode()
            if until in told:
                break
    return told


async def test_jobs_of_the_command_line_are_there_and_can_be_followed_and_share_the_limit(tmp_path: Path) -> None:
    limit = ("--rate", "6000", "--per", "60", "--connections", "2")
    async with visiting(tmp_path, latency=0.05) as visitor:
        await visitor.sign_in()
        console = Console(tmp_path, visitor.box)
        others = [
            console.customers(f"{name}.csv", mobiles(count, at)) for name, count, at in (("a", 60, 0), ("b", 60, 100))
        ]
        series = ("--series", visitor.box.series_id)
        started = [await console.start("run", file, *series, *limit) for file in others]
        while len(jobs := set(re.findall(r'href="/jobs/(j\w+)"', (await visitor.get("/"))[1]))) < 2:
            await asyncio.sleep(0.05)
        first, second = sorted(jobs)
        told = await events(visitor, first, f'Shares the limit: <a href="/jobs/{second}"')
        token = await visitor.csrf()
        status, refused = await visitor.post(f"/jobs/{first}/pause", {"csrf": token})

        assert "event: now" in told and "in another process" in told
        assert status == 409 and "run by this page" in refused
        assert "event: spoken" in await events(visitor, second, ">ended<")
        assert [(await ended(process)).code for process in started] == [0, 0]


# --- cancelled campaigns ----------------------------------------------------------------------------------------


async def test_a_cancelled_campaign_is_put_back_by_a_button_and_nothing_is_sent_by_that(tmp_path: Path) -> None:
    async with Sandbox(BoxSettings(rate=0)) as box:
        console = Console(tmp_path, box)
        file = console.customers("c.csv", mobiles(5))
        await console.run(file, "--first", 2)
        job = str(console.summary(file)["job"])
        async with visiting(tmp_path, at=box) as guest:
            await guest.sign_in()
            csrf = {"csrf": await guest.csrf()}
            why = {"who": "Asha", "why": "the wrong series"}
            _, cancelled = await guest.post(f"/jobs/{job}/cancel", csrf | why)
            _, back = await guest.post(f"/jobs/{job}/put-back", csrf)

    assert "cancelled by Asha: the wrong series" in cancelled
    assert "Put 3 rows back" in cancelled and "3 cancelled rows will be pending again" in cancelled
    assert "Nothing is sent until you go on" in back and "cancelled by" not in back
    assert "Go on: issue up to 3 coupons</button>" in back and "Put 3 rows aside" in back
    assert box.book.count(box.series_id) == 2
