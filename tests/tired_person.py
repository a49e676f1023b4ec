"""A tired person before both faces: files, options, answers, buttons and old tabs at random, cron beside; and a judge.

A history is a list of steps. A step is a deed with dice of its own, so that steps may be left out and the others stay
what they are: a history that breaks a promise is shortened to the few steps that do it.

The judge knows the files by its own reading of them and the server's book; of the program it takes what it *showed*,
and how the ledger says that rows stood in the moment of the answer. It asks:

- that each request is named by an agreement that somebody has answered yes to, or that a command line made: series,
  occasion, customer, kind of row, and no more rows than it says;
- that nothing is sent to whom the list names or a file names no more, nor to who only looks like somebody on the list
  or like one who was served, unless a person has said so;
- that nobody gets two coupons of a series within an occasion, but by a decision that the book shows to be wrong;
- that each record of each file stands once in the results, and everybody is accounted for in the end.
"""

from __future__ import annotations

import asyncio
import csv
import hashlib
import io
import tempfile
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum, unique
from pathlib import Path
from random import Random
from typing import Any

from bulk_issue import app as services
from bulk_issue.app.agreement import Agreement, Selection
from bulk_issue.app.checked import Checked
from bulk_issue.config import Config, Omit, Reading, Share
from bulk_issue.errors import BulkIssueError
from bulk_issue.model import Alike, IdentifierKind, Intent, JobId, Removed
from bulk_issue.outlook import Plan
from bulk_issue.ports import JobSummary
from bulk_issue.survey import Difference
from bulk_issue.testing import Dice, ModelServer, Repeat, VirtualClock, mobile, refusal, run
from bulk_issue.testing import fates as f
from bulk_issue.testing.book import Request
from bulk_issue.web import works
from tests.faces import Form, Left, Life, PagesRun, Site, Tab, World
from tests.hosts import SERIES, Host, Killed, configured, few_polls, memory_folder

#: Virtual seconds after which a history is stuck.
LONGEST = 24 * 3600.0
#: Lines of a history that a failure shows.
SHOWN = 80
#: Steps of a history, at most.
STEPS = 9
OCCASIONS = ("", "diwali", "pongal")
#: Who signs a decision that says both that a coupon was issued and that none was.
CONTRADICTION = "a contradiction"
#: Owners of numbers that stand in a wrong column.
STRANGERS = 50


@unique
class Deed(StrEnum):
    """What a person does."""

    WRITE = "write a file"
    EDIT = "edit a file"
    COPY = "save a file under another name"
    LIST = "change the list of whom to leave out"
    RUN = "run"
    CRON = "cron"
    CHECK = "check"
    RESUME = "resume"
    RETRY = "retry"
    PUT_BACK = "put cancelled rows back"
    AGAIN = "run for another occasion"
    RERUN = "run the failures"
    RECONCILE = "reconcile"
    DECIDE = "decide by a file"
    CANCEL = "cancel"
    UPLOAD = "upload"
    LOOK = "look at a page"
    PRESS = "press a button"
    COME_BACK = "come back to a tab that was left open"
    RESTART = "start the page's server again"
    HEAL = "set right what Capillary refuses"
    WAIT = "wait"


_USUAL = (
    *(Deed.RUN,) * 4,
    *(Deed.PRESS,) * 7,
    *(Deed.LOOK,) * 4,
    *(Deed.UPLOAD, Deed.CRON, Deed.EDIT, Deed.RETRY, Deed.RESUME, Deed.RERUN, Deed.COME_BACK) * 2,
    *(Deed.WRITE, Deed.COPY, Deed.LIST, Deed.CHECK, Deed.RECONCILE, Deed.DECIDE, Deed.CANCEL),
    *(Deed.PUT_BACK, Deed.AGAIN),
    *(Deed.RESTART, Deed.HEAL, Deed.WAIT),
)


@dataclass(frozen=True, slots=True)
class Step:
    """One deed, with the dice for all that is left to chance in it."""

    deed: Deed
    seed: int


@dataclass(frozen=True, slots=True)
class Days:
    """What happens: the seed of a world, and steps in it."""

    seed: int
    steps: tuple[Step, ...]


def plan(seed: int) -> Days:
    """What this seed decides; nothing else does."""
    random = Random(seed)
    first = [Deed.WRITE, random.choice((Deed.RUN, Deed.UPLOAD))]
    deeds = first + [random.choice(_USUAL) for _ in range(random.randint(3, STEPS))]
    return Days(seed, tuple(Step(deed, random.getrandbits(32)) for deed in deeds))


# --- files, as the judge reads them -----------------------------------------------------------------------------

Key = str


def _mobile(number: int, spelling: str) -> str:
    local = f"98{number:08d}"
    return {"full": f"91{local}", "plus": f"+91 {local[:5]} {local[5:]}", "local": local}[spelling]


def _mail(number: int) -> str:
    return f"c{number}@example.com"


def _key(kind: str, text: str, country: str) -> Key | None:
    """The name under which the server knows whom a cell means; None for one that means nobody."""
    if kind == IdentifierKind.EMAIL:
        return f"email:{text.casefold()}" if "@" in text else None
    if kind == IdentifierKind.EXTERNAL_ID:
        return f"{kind}:{text}"
    digits = "".join(each for each in text if each not in "+ ")
    if not digits.isdecimal():
        return None
    if kind == IdentifierKind.ID:
        return f"{kind}:{digits}" if digits == text else None
    return f"mobile:91{digits}" if country and len(digits) == 10 else f"mobile:{digits}"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def records(content: bytes) -> tuple[list[str], list[list[str]]]:
    """Header and records, without blank ones."""
    header, *found = csv.reader(io.StringIO(content.decode("utf-8-sig")))
    return header, [each for each in found if any(cell.strip() for cell in each)]


def _lineage(content: bytes) -> frozenset[tuple[str, int]]:
    """The rows that the records of a failures file come from."""
    header, found = records(content)
    if "_job" not in header:
        return frozenset()
    job, row = header.index("_job"), header.index("_row")
    return frozenset((cells[job], int(cells[row])) for cells in found)


def named(content: bytes, columns: Mapping[str, str], by: str, country: str) -> list[Key | None]:
    """Whom each record names: by its first filled cell among these columns."""
    header, found = records(content)
    kinds = [str(kind) for kind in IdentifierKind if str(kind) in columns and by in ("", str(kind))]
    names = []
    for cells in found:
        filled = ((kind, cells[header.index(columns[kind])].strip()) for kind in kinds)
        kind, text = next(((kind, text) for kind, text in filled if text), ("", ""))
        names.append(_key(kind, text, country) if text else None)
    return names


def _customer(key: Key) -> str:
    """Everybody by one name, however they are spelled."""
    kind, _, text = key.partition(":")
    match kind:
        case "email":
            return text[1:].partition("@")[0]
        case "mobile":
            return str(int(text[-8:]))
        case _:
            return key


# --- what was agreed to -----------------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class Grant:
    """What may be sent because of one answer."""

    series: int
    occasion: str
    customers: frozenset[Key]
    rows: int
    #: Rows that may be sent; None: all but `never`.
    only: frozenset[tuple[str, int]] | None
    never: frozenset[tuple[str, int]]
    #: Whether a person said that look-alikes are other people.
    others: bool
    #: How the job stood when the person looked; None where they were asked in the moment itself.
    seen: Counter[str] | None = None
    stale: bool = False
    #: Customers to whom requests have left.
    sent: set[Key] = field(default_factory=set)

    def covers(self, series: int, occasion: str, key: Key, row: tuple[str, int]) -> str:
        """Count the row; why it isn't covered, if it isn't."""
        if self.stale:
            return "the counts had changed since they were looked at"
        if (series, occasion) != (self.series, self.occasion):
            return f"series {series} {occasion!r}, agreed to were {self.series} {self.occasion!r}"
        if key not in self.customers:
            return "the customer isn't named"
        if row in self.never or (self.only is not None and row not in self.only):
            return "rows of that kind aren't meant"
        # a customer's second row is sent if the first one was rejected: it brings no coupon more than was said
        if key not in self.sent and len(self.sent) >= self.rows:
            return f"more than {self.rows} rows"
        self.sent.add(key)
        return ""


class History:
    """What becomes of a plan."""

    def __init__(self, plan: Days, folder: Path) -> None:
        self.plan, self.folder = plan, folder
        self.complaints: list[str] = []
        self.contents: dict[str, bytes] = {}
        #: What a person has said of the look-alikes of a file, by its path or by the digest of its content.
        self.said: set[tuple[str, str]] = set()
        #: Customers of a job whom a later content of its file doesn't name, and of whom nobody has said "finish".
        self.removed: dict[str, frozenset[Key]] = {}
        #: Every content that the list has had.
        self.lists: list[str] = []
        self.files: list[Path] = []
        self.failures: list[Path] = []
        self.doubtful: list[tuple[JobId, Path]] = []
        self.list: Path | None = None
        self.tabs: list[tuple[Tab, bytes]] = []
        #: How the job of a tab stood when somebody looked.
        self.tallies: dict[int, Counter[str]] = {}
        #: What is behind an order of the page, by the key of the order.
        self.granted: dict[str, list[Grant]] = {}
        self._beside: list[asyncio.Task[None]] = []
        self.host: Host

    @property
    def log(self) -> list[str]:
        """What happened, without the name of this time's folder."""
        return [line.replace(str(self.folder), "…") for line in self.host.log]

    # --- the world ----------------------------------------------------------------------------------------------

    async def happen(self) -> None:
        random = Random(f"world of {self.plan.seed}")
        clock = VirtualClock()
        self.two_kinds = random.random() < 0.2
        unknown = {f"mobile:{_mobile(n, 'local')}" for n in range(STRANGERS + 10)}
        unknown |= {mobile(n).key for n in range(12) if random.random() < 0.15}
        self.unknown = frozenset(unknown)
        faults: Sequence[Callable[[Random], f.Fate]] = [
            lambda _, fate=fate: fate  # type: ignore[misc]
            for fate in (f.UNANSWERED, f.LOST, f.BROKEN_BEFORE, f.BROKEN_AFTER, f.ERROR_AFTER, f.ERROR_BEFORE, f.BUSY)
        ]
        refused = refusal(740, "customer is marked as fraud")
        self.dice = Dice(random, faults, random.choice((0.0, 0.0, 0.1, 0.4)))
        self.server = ModelServer(
            clock=clock,
            timeout=5.0,
            rate=30,
            per=10.0,
            repeat=random.choice((Repeat.NEW, Repeat.NEW, Repeat.NEW, Repeat.REFUSED)),
            unknown=self.unknown,
            refusals={mobile(n).key: refused for n in range(12) if random.random() < 0.2},
            fates=self.dice,
            lag=lambda: random.choice((0.0, 3.0)),
            alias={f"email:{_mail(n)}": mobile(n).key for n in range(12)},
        )
        self.host = host = Host(self.folder, self.server, clock)
        self.wall = clock.now().wall - asyncio.get_running_loop().time()
        for n in range(12):
            if random.random() < 0.1:
                self.server.give(mobile(n).key, SERIES, ago=90_000.0)
        config = configured(
            host.path,
            timeout=5.0,
            grace=10.0,
            rate=30,
            per=10.0,
            connections=random.choice((1, 3)),
            reconcile_for=60.0,
            max_doubt=Share(percent=100.0),
            max_failures=random.choice((Share(percent=100.0), Share(percent=5.0))),
        )
        self.world = world = World(self.folder, host, config, random)
        self.site = Site(world, confirm_above=random.choice((2, 1000)))
        self.site.on_begin, self.site.on_end = self._page_begins, self._page_ends
        with world.as_it_is():
            await self.site.start()
            listing = Random(f"list of {self.plan.seed}")
            if listing.random() < 0.4:
                self._write(Deed.LIST, listing)
            for at, step in enumerate(self.plan.steps):
                host.note(f"--- {at}: {step.deed}")
                await self._do(step)
            host.note("--- all is well")
            await self._settle()
            self._judge_the_end()
            await self.site.end()
        self.complaints += host.violations
        host.close()

    async def _do(self, step: Step) -> None:
        random = Random(step.seed)
        beside = random.random() < 0.25
        deed = self._deed(step.deed, random)
        if deed is None:
            return
        if not beside:
            await deed
            return
        self._beside.append(asyncio.create_task(deed))  # type: ignore[arg-type]
        await asyncio.sleep(random.choice((0.0, 0.05, 1.0)))

    def _deed(self, deed: Deed, random: Random) -> Awaitable[None] | None:
        match deed:
            case Deed.WRITE | Deed.EDIT | Deed.COPY | Deed.LIST:
                path = self._write(deed, random)
                runs = deed is Deed.EDIT and random.random() < 0.6
                return self._run(random, path, terminal=random.random() < 0.3) if runs else None
            case Deed.RUN | Deed.CRON | Deed.AGAIN:
                again = random.choice(OCCASIONS) if deed is Deed.AGAIN else ""
                return self._run(random, self._some(random, self.files), terminal=deed is not Deed.CRON, again=again)
            case Deed.RERUN:
                return self._run(random, self._failures(random), terminal=random.random() < 0.5)
            case Deed.CHECK:
                return self._check(random)
            case Deed.RESUME | Deed.RETRY | Deed.PUT_BACK | Deed.RECONCILE | Deed.DECIDE | Deed.CANCEL:
                return self._on_job(deed, random)
            case Deed.UPLOAD:
                return self._upload(random)
            case Deed.LOOK:
                return self._look(random)
            case Deed.PRESS:
                return self._press(random)
            case Deed.COME_BACK:
                return self._come_back(random)
            case Deed.RESTART:
                return self._restart(random)
            case Deed.HEAL:
                self.server.refusals = {}
                self.server.unknown = frozenset(key for key in self.server.unknown if len(key) < 19)
                return None
            case Deed.WAIT:
                return asyncio.sleep(random.choice((1.0, 20.0, 3600.0)))

    def _some(self, random: Random, paths: Sequence[Path]) -> Path | None:
        return random.choice(paths) if paths else None

    # --- files --------------------------------------------------------------------------------------------------

    def _write(self, deed: Deed, random: Random) -> Path:
        home = self.folder / "files"
        home.mkdir(exist_ok=True)
        if deed is Deed.LIST:
            return self._write_list(home, random)
        path = self._some(random, self.files)
        if deed is Deed.WRITE or path is None:
            kinds = ("mobile,email", "email") if self.two_kinds else ()
            header = random.choice(("mobile,name", "mobile,name", "previous,mobile", *kinds))
            spelling = random.choice(("full", "full", "plus", "local", "local"))
            customers = random.sample(range(12), random.randint(1, 7)) + random.choices(
                range(12), k=random.choice((0, 0, 1))
            )
            lines = [self._line(random, header, spelling, n) for n in customers]
            path = home / f"{random.choice('ab')}.csv"
        else:
            header, *lines = path.read_text().splitlines()
            if deed is Deed.COPY:
                path = home / f"{random.choice('abc')}.csv"
                random.shuffle(lines)
            else:
                for _ in range(random.randint(1, 3)):
                    at, line = (
                        random.randrange(len(lines) + 1),
                        self._line(random, header, "full", random.randrange(12)),
                    )
                    lines[at : at + random.randint(0, 1)] = random.choice(([line], [line], []))
        path.write_text("\n".join([header, *lines]) + "\n")
        self._known(path)
        if path not in self.files:
            self.files.append(path)
        self.host.note(f"{path.name}: {path.read_text()!r}")
        return path

    def _line(self, random: Random, header: str, spelling: str, n: int) -> str:
        its = {
            "mobile": "" if header == "mobile,email" and random.random() < 0.4 else _mobile(n, spelling),
            "email": _mail(n),
            "previous": _mobile(STRANGERS + n % 5, "full"),
            "name": f"N{n}",
        }
        if random.random() < 0.05 and its["mobile"]:
            its["mobile"] = "9.19E+11"
        return ",".join(its[column] for column in header.split(","))

    def _write_list(self, home: Path, random: Random) -> Path:
        customers = random.sample(range(12), random.randint(1, 3))
        if self.list is not None and random.random() < 0.7:
            customers += [int(each[-8:]) for each in self.list.read_text().split()[1:]]
        spelling = random.choice(("full", "local"))
        self.list = home / "list.csv"
        self.list.write_text("\n".join(["mobile", *(_mobile(n, spelling) for n in sorted(set(customers)))]) + "\n")
        self.lists.append(_digest(self._known(self.list)))
        self.host.note(f"list.csv: {self.list.read_text()!r}")
        return self.list

    def _known(self, path: Path) -> bytes:
        content = path.read_bytes()
        self.contents[_digest(content)] = content
        return content

    def _failures(self, random: Random) -> Path | None:
        """A failures file, as it is or with some records changed or left out."""
        path = self._some(random, [each for each in self.failures if each.exists()])
        if path is None or random.random() < 0.5:
            return path
        header, found = records(path.read_bytes())
        if random.random() < 0.4 and len(found) > 1:
            del found[random.randrange(len(found))]
        elif "mobile" in header and random.random() < 0.8:
            found[random.randrange(len(found))][header.index("mobile")] = _mobile(random.randrange(12), "full")
        mended = self.folder / "files" / "mended.csv"
        with mended.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([header, *found])
        self.host.note(f"mended.csv: {mended.read_text()!r}")
        return mended

    # --- what may be sent ---------------------------------------------------------------------------------------

    def _stand(self, *states: str) -> frozenset[tuple[str, int]]:
        """Rows that the ledger says are in these states."""
        marks = ",".join("?" * len(states))
        found = self.host.ask(
            f"SELECT jobs.id, number FROM rows JOIN jobs ON jobs.seq = rows.job WHERE rows.state IN ({marks})", *states
        )
        return frozenset((job, row) for job, row in found)

    def _content(self, job: str) -> bytes | None:
        found = self.host.ask("SELECT sha256 FROM jobs WHERE id = ?", job)
        return self.contents.get(found[0][0]) if found else None

    def customers(self, agreed: Agreement, content: bytes) -> frozenset[Key]:
        """Whom an agreement names, without whom its list leaves out: look-alikes too, unless a person said of them."""
        reading = dict(agreed.reading)
        by, country = reading.get("identify_by", ""), reading.get("country", "")
        columns = dict(agreed.columns)
        listed: set[Key] = set()
        if agreed.listed:
            listed = {key for key in named(self.contents[agreed.listed], {"mobile": "mobile"}, "", country) if key}
        customers = {_customer(key) for key in listed}
        header = records(content)[0]
        # a list of mobiles means the customer, also of a file whose rows are named by their addresses
        mobile = columns.get("mobile", "mobile" if "mobile" in header else "")
        numbers = named(content, {"mobile": mobile}, "", country) if mobile else []
        keys = set()
        for at, key in enumerate(named(content, columns, by, country)):
            number = numbers[at] if numbers else None
            alike = agreed.alike != Alike.SEND and number is not None and _customer(number) in customers
            if key is not None and number not in listed and not alike:
                keys.add(key)
        return frozenset(keys - self.removed.get(agreed.job, frozenset()))

    def grant(self, agreed: Agreement, content: bytes | None, codes: Sequence[str] = ()) -> Grant:
        rejected, never = self._stand("rejected"), self._stand("cancelled", "rejected", "issued", "held", "superseded")
        only = None
        content = content or self._content(agreed.job) or b"-\n"
        path = next((path for (path,) in self.host.ask("SELECT path FROM jobs WHERE id = ?", agreed.job)), "")
        if agreed.alike and not {(_digest(content), agreed.alike), (path, agreed.alike)} & self.said:
            self.complain(f"nobody said {agreed.alike!r} of the look-alikes of {agreed.job}")
        if agreed.which is Selection.PENDING and agreed.job not in self._jobs():
            never -= _lineage(content)  # registering a failures file puts them back
        elif agreed.which is Selection.CANCELLED:
            only, never = self._stand("cancelled"), frozenset()
            self.removed.pop(agreed.job, None)
        if agreed.which is Selection.REJECTED:
            only, never = rejected, frozenset()
            if codes:
                marks = ",".join("?" * len(codes))
                query = (
                    "SELECT jobs.id, number FROM rows JOIN jobs ON jobs.seq = rows.job WHERE rows.state = 'rejected'"
                )
                only = frozenset(self.host.ask(f"{query} AND error_code IN ({marks})", *codes))
        self.host.note(
            f"agreed: {agreed.which} of {agreed.job}, series {agreed.series_id} {agreed.occasion!r}, {agreed.rows} rows"
        )
        return Grant(
            series=agreed.series_id,
            occasion=agreed.occasion,
            customers=self.customers(agreed, content),
            rows=agreed.rows,
            others=agreed.alike == Alike.SEND,
            only=only,
            never=never,
        )

    def watch(self, life: Life, grants: list[Grant]) -> None:
        """Hold each request of this process against what was agreed to."""
        doubtful = self._stand("in_doubt", "in_flight")

        def leaves(intent: Intent) -> None:
            occasion = self.host.ask("SELECT again FROM jobs WHERE id = ?", intent.job)[0][0]
            row, key = (str(intent.job), intent.row), intent.identifier.key
            if row in doubtful:
                return  # agreed to when it was sent first; what is proven not to have come is sent again
            reasons = [grant.covers(intent.series_id, occasion, key, row) for grant in grants]
            if not grants or all(reasons):
                self.complain(f"{row} of {key} leaves {life.job.id}: {reasons or 'nobody was asked'}")
            elif not any(grant.others for grant in grants) and (served := self._served_alike(row[0], occasion, intent)):
                self.complain(f"{row} of {key} leaves {life.job.id}, and {served} was served")

        life.leaves = leaves

    def _served_alike(self, job: str, occasion: str, intent: Intent) -> Key:
        """Somebody whom another job has brought a coupon, and who looks like the customer."""
        key, wronged = intent.identifier.key, self._wronged()
        occasions = self._occasions()
        family = self._family(job)
        names = {(each[0], each[1]): each[3] for each in self.host.ask(_ROWS)}
        for entry in self.server.book.coupons:
            assert entry.request is not None
            other = names.get((entry.request.job, entry.request.row)) or ""
            same = occasions[entry.request.job] == (intent.series_id, occasion) and entry.request.job not in family
            if (
                same
                and other != key
                and other.startswith("mobile:")
                and key.startswith("mobile:")
                and _customer(other) == _customer(key)
                and _customer(key) not in wronged
            ):
                return other
        return ""

    def _family(self, job: str) -> set[str]:
        """A job, the job whose failures it holds, and reruns of either's."""
        pairs = self.host.ask(_KIN)
        found = {job}
        while more := {one for pair in pairs if found & set(pair) for one in pair} - found:
            found |= more
        return found

    def _occasions(self) -> dict[str, tuple[int, str]]:
        return {job: (series, again) for job, series, again in self.host.ask("SELECT id, series_id, again FROM jobs")}

    def _wronged(self) -> set[str]:
        """Customers about whom a decision was taken that the book shows to be wrong."""
        query = (
            "SELECT jobs.id, decisions.row, decisions.at, decisions.code, rows.key FROM decisions"
            " JOIN jobs ON jobs.seq = decisions.job"
            " JOIN rows ON rows.job = decisions.job AND rows.number = decisions.row"
        )
        found = set()
        for job, row, at, code, key in self.host.ask(query):
            brought = {
                entry.code.lower()
                for entry in self.server.book.coupons
                if entry.request and (entry.request.job, entry.request.row) == (job, row)
                if code is not None or self._arrived(entry.request) < at
            }
            if (code is None and brought) or (code is not None and code.lower() not in brought):
                found.add(_customer(key or "mobile:00000000"))
        return found

    def _arrived(self, request: Request) -> float:
        """When it came to the server, on the wall clock of the ledger."""
        return self.wall + min(each.at for each in self.server.book.arrivals if each.request == request)

    def complain(self, text: str) -> None:
        self.host.note(f"!!! {text}")
        self.complaints.append(text)

    # --- the command line ---------------------------------------------------------------------------------------

    def _options(self, random: Random, content: bytes) -> dict[str, Any]:
        """What a person writes: mostly what the file needs, and mostly the same."""
        header, found = records(content)
        forgets = random.random() < 0.25
        local = "mobile" in header and any(cells[header.index("mobile")].startswith("98") for cells in found)
        reading = Reading(
            map={IdentifierKind.MOBILE: "previous"} if "previous" in header and random.random() < 0.3 else {},
            identify_by=IdentifierKind.EMAIL if "email" in header and random.random() < 0.3 else None,
            country="IN" if (local and not forgets) or random.random() < 0.05 else "",
        )
        exclude = self.list if random.random() < 0.5 else None
        omit = Omit(
            exclude=exclude,
            no_exclude=exclude is None and random.random() < 0.2,
            alike=random.choice(list(Alike)) if random.random() < 0.15 else None,
        )
        return {
            "reading": reading,
            "omit": omit,
            "changed": random.choice(list(Removed)) if random.random() < 0.2 else None,
            "series_id": SERIES + (random.random() < 0.1),
            "again": random.choice(OCCASIONS) if random.random() < 0.15 else "",
            "first": random.choice((None, None, None, None, 1, 2)),
        }

    async def _run(self, random: Random, path: Path | None, *, terminal: bool, again: str = "") -> None:
        if path is None:
            return
        content = self._known(path)
        options = self._options(random, content)
        options["again"] = again or options["again"]
        omit: Omit = options["omit"]
        if omit.alike is not None:
            self.said.add((str(path), omit.alike))
        lists = self.lists[-1:]
        self.host.note(f"run {path.name} {options}")

        def meant(agreed: Agreement) -> None:
            if (agreed.series_id, agreed.occasion) != (options["series_id"], options["again"]):
                self.complain(f"asked for {options}, shown was {agreed}")
            read = self._content(agreed.job)
            if read is None or read != content or "_job" in records(read)[0]:
                return  # an earlier content, or failures, which know how their file was read
            columns, reading = self._read_by(read, options["reading"])
            if (dict(agreed.columns), dict(agreed.reading)) != (columns, reading):
                self.complain(f"read by {agreed.columns} {agreed.reading}, not as in {options}")
            remembers = bool(self.host.ask("SELECT list_path FROM jobs WHERE id = ?", agreed.job)[0][0])
            ours = omit.exclude is not None or (remembers and not omit.no_exclude)
            if agreed.listed not in ({*lists, *self.lists[-1:]} if ours else {""}):
                self.complain(f"the list of {omit} isn't the one of {agreed}")

        await self._command(
            "run" if terminal else "cron",
            random,
            lambda desk, talk: desk.run(path, talk),
            replace(self.world.config, **options),
            terminal=terminal,
            content=content,
            meant=meant,
        )

    def _read_by(self, content: bytes, reading: Reading) -> tuple[dict[str, str], dict[str, str]]:
        """The columns and settings by which these options read a file."""
        header = records(content)[0]
        columns = {str(kind): column for kind, column in reading.map.items()}
        columns = columns or {name: name for name in ("mobile", "email") if name in header}
        by = str(reading.identify_by or "")
        return {kind: column for kind, column in columns.items() if by in ("", kind)}, reading.as_text()

    async def _command(
        self,
        name: str,
        random: Random,
        work: Callable[[services.Desk, services.Talk], Awaitable[Any]],
        config: Config,
        *,
        terminal: bool,
        content: bytes | None = None,
        meant: Callable[[Agreement], None] = lambda _agreed: None,
        codes: Sequence[str] = (),
        calm: bool = False,
    ) -> Any:
        """One command from its start to whatever end; what it reported."""
        life = self.world.life(name, terminal=terminal)
        grants: list[Grant] = []
        life.answer = lambda _question, _default: calm or random.random() < 0.85
        if not calm:
            life.choose = lambda words, default: random.choice([*words, default])
        if not calm and random.random() < 0.15:
            life.dies_in = random.randint(0, 40)
        self.watch(life, grants)

        async def main() -> Any:
            yes = terminal and random.random() < 0.2
            usual, asks = self.world.talk(yes=yes), terminal and not yes

            def confirm(checked: Checked, changed: Any) -> bool:
                said = usual.confirm(checked, changed)
                if said and checked.agreement is not None:
                    job = desk.ledger.views.job(checked.agreement.job)
                    if job is not None and content is not None and job.job.spec.sha256 != _digest(content):
                        self._now_removed(
                            job, content, config.reading, config.changed, asked=config.changed is not None
                        )
                    meant(checked.agreement)
                    grants.append(self.grant(checked.agreement, None, codes))
                return said

            def changed(earlier: JobSummary, found: Difference, rows: Sequence[int]) -> Removed | None:
                word = usual.changed(earlier, found, rows)
                self._now_removed(earlier, content or b"-\n", config.reading, word, asked=asks)
                return word

            def alike(checked: Checked) -> Alike | None:
                word = usual.alike(checked)
                if word is not None and checked.agreement is not None:
                    self.said.add((_digest(self._content(checked.agreement.job) or b""), word))
                return word

            talk = replace(usual, confirm=confirm, changed=changed, alike=alike)
            async with services.desk(config, life.observe, life.asked, services.Files()) as desk:
                return await work(desk, talk)

        if not calm and random.random() < 0.2:
            loop, seconds = asyncio.get_running_loop(), random.uniform(0.0, 3.0)
            loop.call_later(seconds, life.leave)
            if random.random() < 0.3:
                loop.call_later(seconds + random.uniform(0.0, 3.0), life.leave)
        ended = await life.lives(main())
        self._ended(life, ended)
        return ended

    def _now_removed(
        self, earlier: JobSummary, content: bytes, reading: Reading, word: Removed | None, *, asked: bool
    ) -> None:
        """Customers of an earlier content whom its file names no more, unless a person says that they are meant."""
        spec = earlier.job.spec
        columns, _ = self._read_by(content, reading)
        now = {key for key in named(content, columns, "", reading.country) if key}
        then_by = Reading().like(spec.reading)
        before = self._content(spec.id) or b"-\n"
        columns, _ = self._read_by(before, then_by)
        then = {key for key in named(before, columns, "", then_by.country) if key}
        gone = self.removed.get(spec.id, frozenset()) - now
        if word in (Removed.HOLD, Removed.DROP) or (not asked and then & now):  # an edited list, and no next batch
            gone |= then - now
        elif asked and word is Removed.FINISH:
            gone = frozenset()
        self.removed[spec.id] = gone

    def _ended(self, life: Life, ended: Any) -> None:
        if isinstance(ended, Killed | Left):
            return
        if isinstance(ended, BulkIssueError):
            self.host.note(f"{life.job.id} ends: {type(ended).__name__} {ended.message} | {ended.hint}")
            if ended.exit_code == 7:
                self.complain(f"{life.job.id} breaks down: {ended!r}")
            return
        for report in ended if isinstance(ended, list) else ():
            self._reported(report)

    def _reported(self, report: services.Report) -> None:
        """Each record of the file stands once in the results, in its order, and the counts add up."""
        spec = report.job.spec
        counts = ", ".join(f"{rows} {status}" for status, rows in sorted(report.written.counts.items()))
        self.host.note(f"job {spec.id} ends with {report.ending.exit_code!r}: {counts}")
        content = self.contents.get(spec.sha256)
        if (report.out / "failures.csv").exists() and report.out / "failures.csv" not in self.failures:
            self.failures.append(report.out / "failures.csv")
        if (report.out / "in_doubt.csv").exists():
            self.doubtful.append((spec.id, report.out / "in_doubt.csv"))
        if content is None:
            self.complain(f"job {spec.id} is of a content that nobody wrote")
            return
        header, found = records(content)
        written_header, written = records((report.out / "results.csv").read_bytes())
        if sum(report.written.counts.values()) != len(found) or len(written) != len(found):
            self.complain(f"{len(found)} records, {len(written)} in the results, counts {report.written.counts}")
        elif "_job" not in header and [each[: len(header)] for each in written] != found:
            self.complain(f"the results of {spec.id} aren't the records of its file")
        if sum(report.ending.tally.values()) != len(found):
            self.complain(f"{spec.id} has {len(found)} records, and counts {report.ending.tally}")
        if written and "_status" not in written_header:
            self.complain("results without a status")

    async def _check(self, random: Random) -> None:
        path = self._some(random, self.files)
        if path is None:
            return
        options = self._options(random, self._known(path))
        config = replace(self.world.config, **options)
        life = self.world.life("check")
        self.watch(life, [])
        self._ended(life, await life.lives(services.check(path, config.reading, config, Plan.of(config), config.omit)))

    def _jobs(self) -> list[JobId]:
        return [JobId(job) for (job,) in self.host.ask("SELECT id FROM jobs WHERE state != 'registering' ORDER BY seq")]

    async def _on_job(self, deed: Deed, random: Random) -> None:
        jobs = self._jobs()
        if not jobs:
            return
        name = random.choice(jobs)
        codes = ("701",) if random.random() < 0.3 else ()
        decisions = None
        if deed is Deed.DECIDE:
            name, decisions = self._decided(random, name)
            if decisions is None:
                return
        found = self.host.ask("SELECT series_id, again FROM jobs WHERE id = ?", name)
        self.host.note(f"{deed} {name} {codes if deed is Deed.RETRY else ''}")
        config = replace(
            self.world.config, series_id=found[0][0], again=found[0][1], first=random.choice((None, None, None, 2))
        )

        async def work(desk: services.Desk, talk: services.Talk) -> Any:
            job = await desk.ledger.jobs.find(name)
            if job is None:  # another process has read its file anew
                return []
            match deed:
                case Deed.RESUME:
                    return await desk.resume(job, talk)
                case Deed.RETRY:
                    return await desk.retry(job, talk, codes)
                case Deed.PUT_BACK:
                    return await desk.retry(job, talk, cancelled=True)
                case Deed.CANCEL:
                    if await desk.ledger.work.unfinished(name):
                        await desk.ledger.jobs.cancel(name, "a person", "tired")
                    return []
                case _:
                    if decisions is not None:
                        await desk.decide(job, decisions, "a person", "")
                    return await desk.reconcile(job)

        await self._command(
            str(deed),
            random,
            work,
            config,
            terminal=random.random() < 0.7,
            codes=codes if deed is Deed.RETRY else (),
        )

    # --- decisions ----------------------------------------------------------------------------------------------

    def _brought(self, job: str, row: int) -> list[str]:
        """The codes that a row's requests have brought."""
        return [
            each.code
            for each in self.server.book.coupons
            if each.request and (each.request.job, each.request.row) == (job, row)
        ]

    def _decides(self, random: Random, job: str, row: int) -> str | None:
        """What a person says of a row in doubt; '' for "not issued"."""
        codes = self._brought(job, row)
        right = random.random() < 0.8
        if (codes and right) or (not codes and not right):
            return codes[0] if codes else "INVENTED1"
        return ""

    def _decided(self, random: Random, name: JobId) -> tuple[JobId, Path | None]:
        there = [(job, path) for job, path in self.doubtful if path.exists()]
        if not there:
            return name, None
        name, path = random.choice(there)
        header, found = records(path.read_bytes())
        at = header.index("_decision") if "_decision" in header else len(header)
        for cells in found:
            says = self._decides(random, cells[header.index("_job")], int(cells[header.index("_row")]))
            cells[at:] = ["not issued" if says == "" else f"issued {says}"]
        filled = self.folder / "files" / "decisions.csv"
        with filled.open("w", newline="") as file:
            csv.writer(file).writerows([header if at < len(header) else [*header, "_decision"], *found])
        return name, filled

    # --- the page -----------------------------------------------------------------------------------------------

    def _tally(self, job: str) -> Counter[str]:
        """How many rows of a job stand how; on the wire is in doubt to everybody else."""
        query = (
            "SELECT CASE rows.state WHEN 'in_flight' THEN 'in_doubt' ELSE rows.state END, count(*)"
            " FROM rows JOIN jobs ON jobs.seq = rows.job WHERE jobs.id = ? GROUP BY 1"
        )
        return Counter(dict(self.host.ask(query, job)))

    def _page_begins(self, life: PagesRun) -> None:
        grants = self.granted.get(life.order.key, [])
        for grant in grants:
            fresh = life.order.agreed and grant.seen is not None
            grant.stale = bool(fresh) and grant.seen != self._tally(life.order.key)
        self.watch(life, grants)

    def _page_ends(self, life: PagesRun, work: works.Work) -> None:
        self._ended(life, work.failure or list(work.reports))
        if work.failure is not None and work.failure.exit_code == 7:
            self.complain(f"a run of the page breaks down: {work.failure!r}")
        if not self.site.works._note(work.order).exists():
            self.granted.pop(life.order.key, None)

    def _seen(self, tab: Tab, content: bytes = b"") -> Tab:
        if tab.status >= 500:
            self.complain(f"{tab.path} answers {tab.status}")
        self.tabs.append((tab, content))
        if tab.path.startswith("/jobs/"):
            self.tallies[id(tab)] = self._tally(tab.path.split("/")[2].partition("?")[0])
        self.host.note(f"tab {len(self.tabs) - 1}: {tab.path} {tab.status} {[each[1] for each in tab.buttons]}")
        return tab

    async def _up(self) -> None:
        if self.site.dead:
            self.host.note("the page's server starts again")
            await self.site.again()

    async def _upload(self, random: Random) -> None:
        await self._up()
        path = self._failures(random) if random.random() < 0.3 else self._some(random, self.files)
        if path is None or not path.exists():
            return
        content, (header, _) = self._known(path), records(path.read_bytes())
        fields = {
            "series": str(SERIES + (random.random() < 0.1)) if "_job" not in header or random.random() < 0.5 else ""
        }
        fields["again"] = random.choice(OCCASIONS) if random.random() < 0.2 else ""
        new = await self.site.look("/campaigns/new")
        csrf = next(form.fields["csrf"] for form in new.forms)
        self.host.note(f"upload {path.name} {fields}")
        self._seen(await self.site.upload(path.name, content, csrf, **fields), content)

    async def _look(self, random: Random) -> None:
        await self._up()
        path, content = "/", b""
        if self.tabs and random.random() < 0.6:
            tab, content = random.choice(self.tabs[-6:])
            path = tab.path
        elif jobs := self._jobs():
            path, content = f"/jobs/{random.choice(jobs)}", b""
        tab = await self.site.look(path)
        self._seen(tab, content if tab.path.startswith("/campaigns") else b"")

    async def _come_back(self, random: Random) -> None:
        """Look at a job, go on with it on the command line, and press a button of the tab of before."""
        await self._up()
        jobs = sorted({job for job, _ in self._stand("rejected", "pending", "in_doubt")})
        if jobs:
            tab = self._seen(await self.site.look(f"/jobs/{random.choice(jobs)}"))
            self.server.refusals = {} if random.random() < 0.3 else self.server.refusals
            await self._on_job(random.choice((Deed.RESUME, Deed.RETRY, Deed.RETRY, Deed.CANCEL)), random)
            await self._press(random, tab)

    async def _press(self, random: Random, old: Tab | None = None) -> None:
        """Press a button of some tab: of the last one, or of one that was open for long."""
        await self._up()
        tabs = [(tab, content) for tab, content in self.tabs if tab.buttons]
        if not tabs:
            await self._look(random)
            return
        tab, content = tabs[-1] if random.random() < 0.5 else random.choice(tabs)
        if old is not None:
            tab, content = old, b""
        buttons = [each for each in tab.buttons if not each[2].startswith("/sign")]
        chosen = [each for each in buttons if not each[2].endswith(("/discard", "/reading"))]
        form, says, action, adds = random.choice(
            chosen if chosen and random.random() < 0.8 else buttons or [(Form("/"), "", "/", {})]
        )
        if not says:
            return
        fields = self._filled_in(random, form, action) | adds
        told = {name: value for name, value in fields.items() if name != "csrf"}
        self.host.note(f"press {says!r} of tab {self.tabs.index((tab, content))}: {action} {told}")
        key = action.split("/")[2]
        if action.endswith("/look-alikes"):
            self.said.add((_digest(content or self._content(key) or b""), fields["alike"]))
        elif action.endswith("/put-back"):
            self.removed.pop(key, None)
        agreed = self.world.shown.get(fields.get("agreed", ""))
        changed = any(fields.get(name) != value for name, value in form.fields.items() if name not in ("typed", "code"))
        if "typed" in form.fields and agreed is not None and fields.get("typed") != str(agreed.rows):
            agreed = None
        if (
            agreed is not None
            and not changed
            and not action.endswith("/reading")
            and not self.site.works.is_running(key)
        ):
            codes = (fields["code"],) if fields.get("code") and action.endswith("/retry") else ()
            grant = self.grant(agreed, content or None, codes)
            if tab.path.startswith("/jobs/"):
                grant.seen = self.tallies[id(tab)]
            self.granted[key] = self.granted[agreed.job] = [grant]
        elif action.endswith(("/start", "/go-on", "/retry")) and not self.site.works.is_running(key):
            self.granted.pop(key, None)
        self._seen(await self.site.press(action, fields), content)

    def _filled_in(self, random: Random, form: Form, action: str) -> dict[str, str]:
        fields = dict(form.fields)
        if action.endswith("/decide"):
            says = self._decides(random, fields["home"], int(fields["row"]))
            fields |= {"who": "a person", "verdict": "issued" if says else "not issued", "code": says or ""}
            if not says and random.random() < 0.2:
                fields |= {"code": "INVENTED2", "who": CONTRADICTION}
            return fields
        if (action.endswith("/start") and random.random() < 0.8) or action.endswith("/reading"):
            agreed = self.world.shown.get(fields.get("agreed", ""))
            if "typed" in fields and agreed is not None:
                fields["typed"] = str(agreed.rows)
        if not action.endswith(("/start", "/reading")):
            for name in form.free:
                if name not in fields and random.random() < 0.5:
                    fields[name] = "on"
            return fields
        if "all_short" in form.free:
            fields["all_short"] = "on"
        if random.random() < (0.8 if action.endswith("/reading") else 0.2):
            name = random.choice(("series", "again", *(name for name in form.choices if name.startswith("column-"))))
            chosen = {"series": [str(SERIES), str(SERIES + 1)], "again": list(OCCASIONS)} | form.choices
            fields[name] = random.choice(chosen[name])
        return fields

    async def _restart(self, random: Random) -> None:
        if not self.site.dead:
            if random.random() < 0.5:
                self.site.kill()
            else:
                await self.site.end()
                await self.site.start()
                return
        await self.site.again()

    # --- the end ------------------------------------------------------------------------------------------------

    async def _settle(self) -> None:
        """What runs ends; then nothing goes wrong any more, and each job is gone on with until it has ended."""
        self.dice.share = 0.0
        await asyncio.gather(*self._beside)
        await self._up()
        for work in list(self.site.works.running()):
            await work.ended.wait()
        await asyncio.sleep(300.0)
        calm = Random(0)
        for _ in range(2):
            unfinished = {job for (job,) in self.host.ask(_UNFINISHED)}
            for name in (job for job in self._jobs() if job in unfinished):
                series, again = self.host.ask("SELECT series_id, again FROM jobs WHERE id = ?", name)[0]
                config = replace(self.world.config, series_id=series, again=again, max_failures=Share(percent=100.0))

                async def go_on(desk: services.Desk, talk: services.Talk, name: JobId = name) -> Any:
                    job = await desk.ledger.jobs.find(name)
                    assert job is not None
                    return await desk.resume(job, talk)

                await self._command("the last resume", calm, go_on, config, terminal=True, calm=True)

    def _judge_the_end(self) -> None:
        taken = self.host.ask(
            "SELECT who, decisions.code, key FROM decisions JOIN rows ON rows.job = decisions.job AND number = row"
            " WHERE decisions.code LIKE 'INVENTED%' OR who = ?",
            CONTRADICTION,
        )
        # of whom the record doesn't know it can't be asked
        if taken := [each for each in taken if each[0] == CONTRADICTION or each[2] not in self.unknown]:
            self.complain(f"decisions were taken that can't be right: {taken}")
        rows, occasions, wrongly = self.host.ask(_ROWS), self._occasions(), self._wronged()
        coupons: dict[tuple[int, str, str], list[str]] = defaultdict(list)
        names = {(job, number): key for job, number, _, key, _, _ in rows}
        for entry in self.server.book.coupons:
            assert entry.request is not None
            series, again = occasions[entry.request.job]
            key = names.get((entry.request.job, entry.request.row)) or "mobile:00000000"
            who = key if self.two_kinds else _customer(key)
            coupons[series, again, who].append(entry.code.lower())
        codes: dict[tuple[int, str, str], set[str]] = defaultdict(set)
        states: dict[tuple[int, str, str], set[str]] = defaultdict(set)
        for job, _, state, key, code, _ in rows:
            if key:
                at = (*occasions[job], key if self.two_kinds else _customer(key))
                states[at].add(state)
                codes[at] |= {code} - {None}
        for at, brought in coupons.items():
            wronged = (_customer(at[2]) if ":" in at[2] else at[2]) in wrongly
            if len(brought) > 1 and not wronged:
                self.complain(f"customer {at[2]} has {len(brought)} coupons of series {at[0]} {at[1]!r}: {brought}")
            if not states[at] & {"in_doubt"} and not set(brought) <= codes[at] and not wronged:
                self.complain(f"customer {at[2]} has {brought}, and the ledger knows {codes[at]}, {states[at]}")
        for job in self._jobs():  # a file that was never read to its end has no rows yet
            self._all_accounted_for(job, [row for row in rows if row[0] == job])
        for at, its in states.items():
            wronged = (_customer(at[2]) if ":" in at[2] else at[2]) in wrongly
            if "duplicate" in its and not its & {"issued", "held", "in_doubt", "pending"} and not wronged:
                served = bool(coupons.get(at))
                if not served and not its & {"rejected", "cancelled", "superseded"}:
                    self.complain(f"customer {at} is nobody's: {its}")
            if "issued" in its and not coupons.get(at) and not wronged:
                self.complain(f"customer {at} is said to have a coupon, and has none")

    def _all_accounted_for(self, job: str, rows: Sequence[tuple[Any, ...]]) -> None:
        content = self._content(job)
        if content is None:
            self.complain(f"job {job} is of a content that nobody wrote")
            return
        found = records(content)[1]
        if [row[1] for row in rows] != list(range(1, len(found) + 1)):
            self.complain(f"job {job} has {len(found)} records and rows {[row[1] for row in rows]}")
        doubted = {key for (key,) in self.host.ask("SELECT key FROM rows WHERE state = 'in_doubt'")}
        # whose row is in doubt, of another occasion perhaps, is waited for; who is held back waits for a person's word
        waiting = [row for row in rows if row[5] or row[3] in doubted]
        open_rows = Counter(row[2] for row in rows if row[2] in ("pending", "in_flight") and row not in waiting)
        state = self.host.ask("SELECT state FROM jobs WHERE id = ?", job)[0][0]
        if open_rows and state != "registering":
            self.complain(f"job {job} ({state}) still has {dict(open_rows)} when all is well")


#: A row may wait in a rerun of its job's failures.
_UNFINISHED = (
    "SELECT DISTINCT jobs.id FROM rows JOIN jobs ON jobs.seq = rows.queue"
    " WHERE rows.state IN ('pending', 'in_flight', 'in_doubt')"
)
_ROWS = (
    "SELECT jobs.id, number, rows.state, rows.key, lower(rows.code), rows.withheld"
    " FROM rows JOIN jobs ON jobs.seq = rows.job ORDER BY jobs.seq, number"
)
#: Jobs of which one has records of the other's rows, or works them.
_KIN = (
    "SELECT DISTINCT mine.id, theirs.id FROM rows JOIN jobs AS mine ON mine.seq = rows.job"
    " JOIN jobs AS theirs ON theirs.seq = rows.queue OR (rows.state IN ('linked', 'superseded')"
    " AND theirs.seq = rows.of_job) WHERE mine.seq != theirs.seq"
)


# --- one history, many, and the shortest ------------------------------------------------------------------------


def history(plan: Days) -> History:
    """Let a plan happen."""
    with tempfile.TemporaryDirectory(dir=memory_folder()) as folder, few_polls():
        past = History(plan, Path(folder))
        try:
            run(past.happen, end=LONGEST)
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to this history
            past.complaints.append(f"broke down: {error!r}")
        return past


def shortest(plan: Days) -> Days:
    """The plan without steps that its complaint doesn't need."""
    for at in reversed(range(len(plan.steps))):
        shorter = replace(plan, steps=plan.steps[:at] + plan.steps[at + 1 :])
        if history(shorter).complaints:
            plan = shorter
    return plan


def failing(seed: int) -> tuple[int, str] | None:
    """The seed with its shortest history that is wrong, if anything is."""
    if not history(plan(seed)).complaints:
        return None
    past = history(shortest(plan(seed)))
    return seed, "\n".join([f"people {seed}:", *past.log[-SHOWN:], *past.complaints])
