"""Command line and page on virtual time: the code of both faces on one machine, against the model server.

A process is a `Life`: it may be stopped or killed at any moment. The faces' own code runs in it, down to the ledger;
only its clock, its network, its terminal and its threads are the test's. A tab is what a browser shows of one page:
the forms of the HTML that the server rendered, with their fields and buttons, for as long as the tab is open.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, Self
from unittest import mock
from urllib.parse import urlencode, urljoin

from aiohttp import StreamReader, web
from aiohttp.test_utils import make_mocked_request

from bulk_issue import app as services
from bulk_issue.app.agreement import Agreement
from bulk_issue.cli import frame, session
from bulk_issue.clock import SystemClock
from bulk_issue.config import Config
from bulk_issue.errors import BulkIssueError
from bulk_issue.ledger import SqliteLedger
from bulk_issue.model import Answer, Identifier, Intent, Reading, Series, Unreadable
from bulk_issue.ports import Progress
from bulk_issue.web import board, downloads, drafts, guard, inspection, jobs, keys, render, server, works
from bulk_issue.web.access import Sessions
from bulk_issue.web.settings import Settings
from tests.hosts import Host, Killed, Mortal, Process, spec

HERE = "http://127.0.0.1:8765"
#: `app.desk` is a function too.
desks = import_module("bulk_issue.app.desk")
_BOUNDARY = "a-boundary"


class Left(Exception):
    """A second Ctrl-C: the command was left at once."""


#: The process that the running task belongs to.
_HERE: ContextVar[Life] = ContextVar("process")


class Life(Process):
    """One process of a face, from its start to whatever end."""

    def __init__(self, world: World, name: str, random: Random, *, terminal: bool = False) -> None:
        super().__init__(world.host, spec(name), [], world.config, random)
        self.world = world
        #: Whether somebody sits before it, and what they answer.
        self.terminal = terminal
        self.answer: Callable[[str, bool], bool] = lambda _question, default: default
        self.choose: Callable[[Sequence[str], str | None], str | None] = lambda _words, default: default
        #: Told of each request in the moment in which it leaves.
        self.leaves: Callable[[Intent], None] = lambda _intent: None
        self.on_death: Callable[[], None] = lambda: None
        self._ledgers: list[SqliteLedger] = []
        self._left = False

    async def lives(self, main: Awaitable[Any]) -> Any:
        """Do this as the process; what it ended with: a result, an error that a person is told, or its death."""

        async def entire() -> Any:
            try:
                return await main
            except asyncio.CancelledError:
                if self._left and not self.dead:
                    return Left()
                raise

        token = _HERE.set(self)
        try:
            return await self._lives(entire())
        finally:
            _HERE.reset(token)

    def leave(self) -> None:
        """Ctrl-C: what is under way ends first. Once more: at once."""
        if self.asked.is_set() and self._task is not None and not self._left:
            self._left = True
            self._task.cancel()
        self.asked.set()

    def kill(self) -> None:
        if not self.dead:
            super().kill()
            self.on_death()

    def _free_locks(self) -> None:
        for ledger in self._ledgers:
            for job in list(ledger.jobs._locks._held):  # type: ignore[attr-defined]  # it is a file's
                ledger.jobs._locks.free(job)

    async def open_ledger(self) -> SqliteLedger:
        ledger = await self.host.opened()
        self._watch_writes(ledger)
        self._ledgers.append(ledger)
        return ledger

    def observe(self, progress: Progress) -> None:
        if progress.message:
            self.host.note(f"{self.job.id} says: {progress.message}")


class Wire(Mortal):
    """The client's place: the ports, and what the desk asks beside them."""

    ahead: float | None = 0.0

    def __init__(self, *_: object, **__: object) -> None:
        super().__init__(_HERE.get())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def issue(self, intent: Intent) -> Answer:
        _HERE.get().leaves(intent)
        return await super().issue(intent)

    async def coupons(self, identifier: Identifier) -> Reading | Unreadable:
        return await super().coupons(identifier)

    async def series(self, series_id: int) -> Series | Unreadable:
        return await super().series(series_id)

    async def org(self) -> str | None:
        return None


class World:
    """The machine with both faces on it."""

    def __init__(self, folder: Path, host: Host, config: Config, random: Random) -> None:
        self.folder, self.host, self.config, self.random = folder, host, config, random
        #: Every agreement that a page has shown, by the digest that its forms carry.
        self.shown: dict[str, Agreement] = {}

    def life(self, name: str, *, terminal: bool = False) -> Life:
        return Life(self, name, Random(self.random.random()), terminal=terminal)

    def talk(self, **options: Any) -> services.Talk:
        """How the command line of this process shows and asks."""
        usual = {"yes": False, "as_json": False, "quiet": False, "confirm_above": 0}
        return session.talk(usual | options, self.config)

    @contextmanager
    def as_it_is(self) -> Iterator[None]:
        """Put the test's clock, network, terminal and threads in their places."""
        host, names = self.host, Random(self.random.random())
        digest: Callable[[Agreement], str] = vars(Agreement)["digest"].fget

        def noted(agreement: Agreement) -> str:
            found = digest(agreement)
            self.shown[found] = agreement
            return found

        async def sleep(_clock: SystemClock, seconds: float) -> None:
            await asyncio.sleep(seconds)

        async def aside(work: Callable[[], Awaitable[Any]]) -> Any:
            return await work()

        async def open_ledger(_place: Any) -> SqliteLedger:
            return await _HERE.get().open_ledger()

        def ask(question: str, *, default: bool = False) -> bool:
            return _HERE.get().answer(question, default)

        def choose(_question: str, words: Sequence[str], *, default: str | None = None) -> str | None:
            return _HERE.get().choose(words, default)

        put = mock.patch.object
        with ExitStack() as stack:
            for each in (
                put(SystemClock, "now", lambda _clock: host.clock.now()),
                put(SystemClock, "sleep", sleep),
                put(Agreement, "digest", property(noted)),
                put(desks, "open_ledger", open_ledger),
                put(desks, "Client", Wire),
                put(desks, "random", SimpleNamespace(SystemRandom=lambda: Random(names.random()))),
                put(
                    drafts,
                    "secrets",
                    SimpleNamespace(token_hex=lambda size: f"{names.getrandbits(8 * size):0{2 * size}x}"),
                ),
                put(board, "time", SimpleNamespace(monotonic=lambda: asyncio.get_running_loop().time())),
                put(works, "threading", SimpleNamespace(Thread=_AtOnce)),
                put(works, "aside", aside),
                put(inspection, "aside", aside),
                put(downloads, "aside", aside),
                put(jobs, "aside", aside),
                put(frame, "ask", ask),
                put(frame, "choose", choose),
                put(frame, "say", lambda text="", **_: host.note(f"  {text}") if text else None),
                put(sys, "stdin", SimpleNamespace(isatty=lambda: _HERE.get().terminal)),
            ):
                stack.enter_context(each)
            yield


class _AtOnce:
    """A thread whose work is a task of the same loop."""

    def __init__(self, target: Callable[..., None], args: Sequence[Any], **_: object) -> None:
        self._target, self._args = target, args

    def start(self) -> None:
        self._target(*self._args)


# --- the page ---------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Form:
    """A form as a browser has it."""

    action: str
    fields: dict[str, str] = field(default_factory=dict)
    #: Values that may be chosen, of fields that have some.
    choices: dict[str, list[str]] = field(default_factory=dict)
    #: What the buttons say, where they send the form, and the field that they add to it.
    buttons: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    #: Fields that a person fills in or ticks; the others go as they are.
    free: list[str] = field(default_factory=list)


class _Forms(HTMLParser):
    """The forms of a page, with fields and buttons that stand elsewhere and name their form."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.links: list[str] = []
        self._named: dict[str, Form] = {}
        self._form: Form | None = None
        self._select: tuple[Form, str] | None = None
        self._button: tuple[Form, str, dict[str, str], list[str]] | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        its = {name: value or "" for name, value in attrs}
        form = self._named.get(its["form"]) if "form" in its else self._form
        if tag == "a":
            self.links.append(its.get("href", ""))
        if tag == "form":
            self._form = Form(action=its["action"])
            self.forms.append(self._form)
            self._named[its.get("id", "")] = self._form
        elif form is None:
            return
        elif tag == "input":
            name, kind = its["name"], its.get("type", "text")
            if kind == "radio":
                form.choices.setdefault(name, []).append(its["value"])
            elif kind != "checkbox":
                form.fields[name] = its.get("value", "")
            if kind not in ("hidden", "radio", "file"):
                form.free.append(name)
        elif tag == "select":
            self._select = form, its["name"]
            form.fields.setdefault(its["name"], "")
        elif tag == "option" and self._select is not None:
            form.choices.setdefault(self._select[1], []).append(its["value"])
            if "selected" in its:
                form.fields[self._select[1]] = its["value"]
        elif tag == "button":
            adds = {its["name"]: its.get("value", "")} if "name" in its else {}
            self._button = form, its.get("formaction", form.action), adds, []

    def handle_data(self, data: str) -> None:
        if self._button is not None:
            self._button[3].append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None
        elif tag == "select":
            self._select = None
        elif tag == "button" and self._button is not None:
            form, action, adds, said = self._button
            form.buttons.append((" ".join("".join(said).split()), action, adds))
            self._button = None


@dataclass(slots=True)
class Tab:
    """A page as it was when it was looked at; it doesn't change until somebody looks again."""

    path: str
    status: int
    forms: Sequence[Form]
    links: Sequence[str]

    @property
    def buttons(self) -> list[tuple[Form, str, str, dict[str, str]]]:
        return [(form, *button) for form in self.forms for button in form.buttons]


class _Works(works.Works):
    """The page's runs, each a process of its own that dies with the page's server."""

    site: Site

    def _thread(self, work: works.Work, loop: asyncio.AbstractEventLoop) -> None:
        life = self.site.begin(work)
        life.asked_of(work)
        loop.create_task(self._run(life, work, loop))

    async def _run(self, life: PagesRun, work: works.Work, loop: asyncio.AbstractEventLoop) -> None:
        ended = await life.lives(self._session(work, loop))
        if isinstance(ended, Killed):
            return
        if isinstance(ended, BulkIssueError):
            work.failure = ended
        else:
            work.reports = ended
        self._ended(work)
        self.site.on_end(life, work)


class PagesRun(Life):
    """A run that the page has started."""

    order: works.Order

    def asked_of(self, work: works.Work) -> None:
        self.order = work.order


class Site:
    """The page's server: started again as often as somebody likes, on the same folder and ledger."""

    def __init__(self, world: World, *, confirm_above: int = 1000) -> None:
        self.world = world
        self.settings = Settings(config=world.config, folder=world.folder / "page", confirm_above=confirm_above)
        self.on_begin: Callable[[PagesRun], None] = lambda _life: None
        self.on_end: Callable[[PagesRun, works.Work], None] = lambda _life, _work: None
        self.runs: list[PagesRun] = []
        self._cookie = ""
        self._life: Life

    def begin(self, work: works.Work) -> PagesRun:
        life = PagesRun(self.world, f"page {work.order.task}", Random(self.world.random.random()))
        life.on_death = self.kill
        life.asked_of(work)
        self.runs.append(life)
        self.on_begin(life)
        return life

    async def start(self) -> None:
        """Start the server, as `server.running` does, without a socket."""
        settings = self.settings
        settings.folder.mkdir(mode=0o700, exist_ok=True)
        self._life = self.world.life("page")
        self.ledger = await self._life.open_ledger()
        self.app = app = web.Application(
            middlewares=[guard.answers, guard.address, guard.signed_in], client_max_size=guard.LARGEST_FORM
        )
        kept = drafts.Drafts(settings.folder / "uploads")
        self.works = _Works(settings.config, kept, settings.folder / "running")
        self.works.site = self
        app[keys.SETTINGS], app[keys.LEDGER], app[keys.DRAFTS] = settings, self.ledger, kept
        app[keys.WORKS], app[keys.PORT], app[keys.CLOSING] = self.works, 8765, asyncio.Event()
        app[keys.SESSIONS] = Sessions(settings.folder, settings.session)
        app[keys.INSPECTIONS] = inspection.Inspections(settings.config)
        app[keys.BOARD] = board.Board(self.ledger, self.works, settings.config)
        app[render.PAGES] = _pages()
        app.add_routes(server._routes(app[render.PAGES]))
        app.freeze()
        # one browser, which keeps its session over the server's lives
        self._cookie = self._cookie or f"{guard.cookie_name(app)}={app[keys.SESSIONS].open()}"
        self.works.go_on()

    def kill(self) -> None:
        """The server dies, and its runs with it."""
        for run in [*self.runs, self._life]:
            run.on_death = lambda: None
            run.kill()
            run.dead = True
        self.runs.clear()

    @property
    def dead(self) -> bool:
        return self._life.dead

    async def again(self) -> None:
        """Start it again after its death."""
        await self.ledger.close()
        await self.start()

    async def end(self) -> None:
        """Ctrl-C: what runs ends, to be gone on with at the next start."""
        await self.works.end()
        await self.ledger.close()

    # --- browsers -----------------------------------------------------------------------------------------------

    async def look(self, path: str) -> Tab:
        """Open a page, going where it sends the browser."""
        return await self._follow("GET", path, b"", "")

    async def press(self, action: str, fields: Mapping[str, str]) -> Tab:
        """Send a form."""
        return await self._follow("POST", action, urlencode(fields).encode(), "application/x-www-form-urlencoded")

    async def upload(self, name: str, content: bytes, csrf: str, **fields: str) -> Tab:
        """Send the first form, with a file."""
        parts = [f'name="{each}"\r\n\r\n{value}'.encode() for each, value in {"csrf": csrf, **fields}.items()]
        parts.append(f'name="file"; filename="{name}"\r\nContent-Type: text/csv\r\n\r\n'.encode() + content)
        body = b"".join(
            b"--%s\r\nContent-Disposition: form-data; %s\r\n" % (_BOUNDARY.encode(), each) for each in parts
        )
        whole = body + b"--%s--\r\n" % _BOUNDARY.encode()
        return await self._follow("POST", guard.UPLOAD, whole, f"multipart/form-data; boundary={_BOUNDARY}")

    async def _follow(self, method: str, path: str, body: bytes, kind: str) -> Tab:
        for _ in range(5):
            response = await self._answer(method, path, body, kind)
            if response.status not in (302, 303):
                break
            method, path, body, kind = "GET", urljoin(path, response.headers["Location"]), b"", ""
        text = response.text if isinstance(response, web.Response) and response.text else ""
        found = _Forms(text)
        return Tab(path=path, status=response.status, forms=found.forms, links=found.links)

    async def _answer(self, method: str, path: str, body: bytes, kind: str) -> web.StreamResponse:
        payload = StreamReader(mock.Mock(_reading_paused=False), 2**16, loop=asyncio.get_running_loop())
        payload.feed_data(body)
        payload.feed_eof()
        headers = {"Host": HERE.removeprefix("http://"), "Origin": HERE, "Cookie": self._cookie}
        if kind:
            headers |= {"Content-Type": kind, "Content-Length": str(len(body))}
        request = make_mocked_request(method, path, headers, app=self.app, payload=payload)
        token = _HERE.set(self._life)
        try:
            return await self.app._handle(request)
        finally:
            _HERE.reset(token)


_PAGES: list[render.Pages] = []


def _pages() -> render.Pages:
    """One for all: compiling templates would be most of a history's work."""
    if not _PAGES:
        _PAGES.append(render.Pages())
    return _PAGES[0]
