"""A server that issues coupons in virtual time, behind the ports that the client adapter keeps in real runs.

It implements `ports.Issuer` and `ports.Records`. The rule: what the server does goes on without the client that asked
for it, as it does on a network: a client that gives up, is cancelled or dies takes nothing back. Answers are bytes, so
that reading them belongs to what is tested.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from bulk_issue import wire
from bulk_issue.model import (
    Answer,
    Fault,
    FaultKind,
    Identifier,
    IdentifierKind,
    Intent,
    Reading,
    ReadProblem,
    Reply,
    Series,
    Unreadable,
)
from bulk_issue.ports import Clock
from bulk_issue.testing import bodies
from bulk_issue.testing.book import Arrival, Book, Entry, Request
from bulk_issue.testing.fates import GOOD, SEEN, Canned, Fate, Fates, Looks, refusal

#: What the server's clock shows at virtual second 0, its offset aside.
EPOCH = 1_790_000_000.0
_UNAUTHORIZED = Canned(status=401, body=b"<response><status><success>false</success></status></response>")
_OVER_THE_LIMIT = Canned(status=429)
_UNKNOWN_CUSTOMER = refusal(701, "customer not found")
_HAS_ONE = refusal(709, "Coupon processing failed: user already has a coupon")


class Repeat(Enum):
    """What another request for the same customer and series does."""

    #: A new coupon each time: what makes a blind retry expensive.
    NEW = auto()
    #: The coupon that the customer has, again.
    SAME = auto()
    #: "Already has a coupon".
    REFUSED = auto()
    #: Everybody has the same code; another request is refused.
    GENERIC = auto()


@dataclass(slots=True)
class _Exchange:
    """One request under way. `came` is set by whatever comes first: an answer, or the end of the connection."""

    intent: Intent
    fate: Fate
    token: int
    came: asyncio.Future[Canned | None]


@dataclass(slots=True, kw_only=True)
class ModelServer:
    """One account's server. Its ways may be changed at any time."""

    clock: Clock
    #: Asked once for each request and look-up.
    fates: Fates = lambda _key, _attempt: GOOD
    looks: Looks = lambda _key: SEEN
    #: The client's patience.
    timeout: float = 30.0
    #: At most so many arrivals in any `per` seconds; more are answered by 429, and are arrivals too.
    rate: int | None = None
    per: float = 60.0
    repeat: Repeat = Repeat.NEW
    #: Seconds that the server's clock is ahead, and `createdDate` of that clock.
    offset: float = 0.0
    zone: float = 0.0
    with_iso: bool = False
    #: Seconds until the record shows a coupon that came to be just now.
    lag: Callable[[], float] = lambda: 0.0
    store: str | None = "till01"
    #: Only v1.1 may be read.
    legacy: bool = False
    #: Customers without coupons aren't listed, as if nobody knew them.
    unlisted: bool = False
    #: Keys under which requests know the customer, and look-ups don't.
    hidden: frozenset[str] = frozenset()
    #: Whether the account may ask who bears an identifier.
    tells_bearers: bool = True
    #: Customers whom nobody knows, and those to whom requests are refused, by identifier key.
    unknown: frozenset[str] = frozenset()
    refusals: Mapping[str, Canned] = field(default_factory=dict)
    #: Keys that name the customer of another key.
    alias: Mapping[str, str] = field(default_factory=dict)
    #: By customer: what a reply names beside the identifier of its request.
    profiles: dict[int, Sequence[Identifier]] = field(default_factory=dict)
    #: False: the credentials are refused.
    authorized: bool = True
    #: Told of each request in the moment in which it leaves, and of whatever else happens.
    on_departure: Callable[[Intent], None] = lambda _intent: None
    on_event: Callable[[str], None] = lambda _text: None
    book: Book = field(default_factory=Book)
    resets: int = 0
    _customers: dict[str, int] = field(default_factory=dict)
    _coupons: int = 0
    _lately: deque[float] = field(default_factory=deque)
    _under_way: dict[str, Request] = field(default_factory=dict)
    #: The token that the server takes, the one that the client has, and whether the client knows better than to use it.
    _valid: int = 0
    _token: int = -1
    _forgotten: bool = True

    # --- what tests do to it ------------------------------------------------------------------------------------

    def customer(self, key: str) -> int:
        """The id of the customer whom an identifier key names."""
        key = self.alias.get(key, key)
        if key.startswith("id:"):
            return int(key[3:])
        return self._customers.setdefault(key, 555_500_001 + len(self._customers))

    def give(self, key: str, series: int, *, ago: float = 0.0, store: str | None = None, visible: bool = True) -> Entry:
        """Another channel gives the customer a coupon, so long ago."""
        at = self._time() - ago
        return self._enter(series, self.customer(key), at, at if visible else float("inf"), store or self.store, None)

    def expire_token(self) -> None:
        """The client's token is refused from now on; it may fetch another."""
        self._valid += 1

    def _time(self) -> float:
        return asyncio.get_running_loop().time()

    # --- ports.Issuer -------------------------------------------------------------------------------------------

    async def issue(self, intent: Intent) -> Answer:
        fate = self.fates(intent.identifier.key, intent.attempt)
        if not fate.connects:
            return self._fault(FaultKind.CONNECT, sent=False)
        if fate.held_up:
            await self.clock.sleep(fate.held_up)
        if self.clock.now().boot > intent.send_by:
            return self._fault(FaultKind.LATE, sent=False)
        self.on_departure(intent)
        fresh = self._forgotten or not self.authorized
        if fresh:
            self._token, self._forgotten = self._valid, False
        exchange = _Exchange(intent, fate, self._token, asyncio.get_running_loop().create_future())
        key, request = intent.identifier.key, _request(intent)
        if key in self._under_way:
            self.book.together.append((self._under_way[key], request))
        self._under_way[key] = request
        try:
            return await self._exchanged(exchange, fresh=fresh)
        finally:
            self._under_way.pop(key, None)

    async def _exchanged(self, exchange: _Exchange, *, fresh: bool) -> Answer:
        loop, fate = asyncio.get_running_loop(), exchange.fate
        self._tell("leaves", exchange.intent)
        if fate.there is not None:
            loop.call_later(fate.there, self._arrive, exchange, False)
        if fate.breaks is not None:
            loop.call_later(fate.breaks, self._answer, exchange, None)
        try:
            async with asyncio.timeout(self.timeout):
                answer = await exchange.came
        except TimeoutError:
            return self._fault(FaultKind.TIMEOUT, sent=True)
        if answer is None:
            return self._fault(FaultKind.RESET, sent=True)
        if answer.status == 401 and self._token == exchange.token:
            self._forgotten = True
        return Reply(
            status=answer.status,
            headers={"date": bodies.http_date(self._server_time()), **answer.headers},
            body=answer.body,
            at=self.clock.now(),
            fresh_credential=fresh,
        )

    async def reset(self) -> None:
        self.resets += 1

    def _fault(self, kind: FaultKind, *, sent: bool) -> Fault:
        return Fault(kind=kind, sent=sent, detail=f"{kind} as scripted", at=self.clock.now())

    # --- at the server ------------------------------------------------------------------------------------------

    def _arrive(self, exchange: _Exchange, repeated: bool) -> None:  # noqa: FBT001 - see `_exchanged`
        now, fate, loop = self._time(), exchange.fate, asyncio.get_running_loop()
        while self._lately and self._lately[0] <= now - self.per:
            self._lately.popleft()
        limited = self.rate is not None and len(self._lately) >= self.rate
        self._lately.append(now)
        key = exchange.intent.identifier.key
        self.book.arrivals.append(
            Arrival(at=now, request=_request(exchange.intent), key=key, limited=limited, repeated=repeated)
        )
        self._tell("arrives" + " over the limit" * limited, exchange.intent)
        if fate.repeated is not None and not repeated:
            loop.call_later(fate.repeated, self._arrive, exchange, True)
        if limited:
            self._send(exchange, _OVER_THE_LIMIT)
        elif exchange.token != self._valid or not self.authorized:
            self._send(exchange, _UNAUTHORIZED)
        elif fate.processed:
            loop.call_later(fate.work, self._process, exchange)
        else:
            assert fate.answer is not None
            self._send(exchange, fate.answer)

    def _process(self, exchange: _Exchange) -> None:
        answer = self._done(exchange.intent)
        self._send(exchange, exchange.fate.answer or answer)

    def _done(self, intent: Intent) -> Canned:
        """Issue, or refuse."""
        key = intent.identifier.key
        if key in self.unknown:
            return _UNKNOWN_CUSTOMER
        if key in self.refusals:
            return self.refusals[key]
        customer = self.customer(key)
        has = [entry for entry in self.book.of(customer) if entry.series == intent.series_id]
        if has and self.repeat in (Repeat.REFUSED, Repeat.GENERIC):
            return _HAS_ONE
        if has and self.repeat is Repeat.SAME:
            entry = has[-1]
        else:
            now = self._time()
            entry = self._enter(intent.series_id, customer, now, now + self.lag(), self.store, _request(intent))
            self._tell(f"has coupon {entry.number}", intent)
        named = {each.key: each for each in (intent.identifier, *self.profiles.get(customer, ()))}
        return Canned(status=200, body=bodies.issued(entry, named.values()))

    def _enter(
        self, series: int, customer: int, at: float, visible: float, store: str | None, request: Request | None
    ) -> Entry:
        self._coupons += 1
        entry = Entry(
            number=self._coupons,
            code="EverybodyS1" if self.repeat is Repeat.GENERIC else f"cpN{self._coupons:05d}x",
            series=series,
            customer=customer,
            created=at,
            visible=visible,
            store=store,
            request=request,
        )
        self.book.enter(entry)
        return entry

    def _send(self, exchange: _Exchange, answer: Canned) -> None:
        if exchange.fate.back is not None:
            asyncio.get_running_loop().call_later(exchange.fate.back, self._answer, exchange, answer)

    def _answer(self, exchange: _Exchange, answer: Canned | None) -> None:
        if not exchange.came.done():
            exchange.came.set_result(answer)

    def _tell(self, what: str, intent: Intent) -> None:
        self.on_event(f"{intent.job}/{intent.row}.{intent.attempt} {what}")

    def _server_time(self) -> float:
        return EPOCH + self.offset + self._time()

    # --- ports.Records ------------------------------------------------------------------------------------------

    async def coupons(self, identifier: Identifier) -> Reading | Unreadable:
        def read(shown: Sequence[Entry], customer: int) -> tuple[wire.Page | None, str]:
            if identifier.key in self.unknown | self.hidden or (self.unlisted and not shown):
                return wire.coupons_v2(bodies.nobody()), ""
            epoch = EPOCH + self.offset
            if self.legacy:
                body = bodies.page_v1(shown, customer, epoch, zone=self.zone)
                return wire.coupons_v1(body, None), "v1.1/customer/coupons"
            body = bodies.page_v2(shown, customer, epoch, zone=self.zone, with_iso=self.with_iso)
            return wire.coupons_v2(body), "v2/customers/coupons"

        return await self._look(identifier, read)

    async def coupons_by_bearer(self, identifier: Identifier) -> Reading | Unreadable:
        def read(shown: Sequence[Entry], customer: int) -> tuple[wire.Page | None, str]:
            found = wire.bearer(bodies.bearer(None if identifier.key in self.unknown | self.hidden else customer))
            assert found is not None
            if found.customer_id is None:
                return wire.Page(coupons=(), total=0, known=True), "v2/customers/lookup"
            body = bodies.detailed(shown, customer, EPOCH + self.offset, zone=self.zone, with_iso=self.with_iso)
            return wire.coupons_of(body, customer), "v2/customers/lookup"

        if not self.tells_bearers:
            return Unreadable(problem=ReadProblem.REFUSED, reason="not allowed, as scripted", at=self.clock.now())
        return await self._look(identifier, read)

    async def _look(
        self, identifier: Identifier, read: Callable[[Sequence[Entry], int], tuple[wire.Page | None, str]]
    ) -> Reading | Unreadable:
        look = self.looks(identifier.key)
        await self.clock.sleep(look.seconds / 2)
        customer = self.customer(identifier.key)
        page, endpoint = read([each for each in self.book.of(customer) if each.visible <= self._time()], customer)
        date = bodies.http_date(self._server_time())
        await self.clock.sleep(look.seconds / 2)
        if look.problem is not None:
            reason = f"the look-up was {look.problem}, as scripted"
            return Unreadable(problem=look.problem, reason=reason, at=self.clock.now(), retry_after=look.retry_after)
        assert page is not None
        if not page.known:
            reason = "the customer isn't known"
            return Unreadable(problem=ReadProblem.NOT_FOUND, reason=reason, at=self.clock.now())
        return Reading(
            coupons=page.coupons,
            endpoint=endpoint,
            server_time=wire.date_header(date),
            at=self.clock.now(),
            customer_id=page.customer_id,
            by_bearer=endpoint == "v2/customers/lookup",
        )

    async def series(self, series_id: int) -> Series | Unreadable:
        return Series(id=series_id, org_id="100001", generic=self.repeat is Repeat.GENERIC)


def _request(intent: Intent) -> Request:
    return Request(job=intent.job, row=intent.row, attempt=intent.attempt)


def mobile(number: int) -> Identifier:
    """The identifier of the customer with this number."""
    value = f"9198{number:08d}"
    return Identifier(IdentifierKind.MOBILE, value, f"mobile:{value}")
