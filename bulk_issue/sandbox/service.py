"""The sandbox's endpoints on HTTP.

Two rules. A request that arrived is carried out whether or not its sender still waits, as a real server does. And
nothing is logged: no request line, no body, no customer.
"""

from __future__ import annotations

import itertools
import random
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from bulk_issue.sandbox import answers
from bulk_issue.sandbox.access import Caller
from bulk_issue.sandbox.book import Arrival, Endpoint, Injected
from bulk_issue.sandbox.faults import Fault, FaultKind, When
from bulk_issue.sandbox.orders import BAD_REQUEST, Question, read_id, read_named, read_object, read_order, read_question
from bulk_issue.sandbox.refusals import Refusal, refusal, request_error
from bulk_issue.sandbox.waits import Waits
from bulk_issue.sandbox.wire import JSON, XML, Wire
from bulk_issue.sandbox.world import Issue, Page, World


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A request that may go on."""

    request: web.Request
    endpoint: Endpoint
    caller: Caller
    #: The request's id, in its answer and in the book.
    id: str


class Service:
    """The endpoints of one world."""

    def __init__(self, world: World, waits: Waits) -> None:
        self._world = world
        self._answers = answers.Answers(world.settings)
        name = secrets.token_hex(4)  # ids stay unique when a book outlives its sandbox
        self._ids = (f"sandbox-{name}-{number}" for number in itertools.count(1))
        self._waits = waits
        self._wire = Wire(world, waits)

    def routes(self) -> list[web.RouteDef]:
        """What is spoken, and what is said of everything else."""
        spoken = [
            web.post("/v2/coupon/issue", self.issue),
            web.get("/v2/customers/coupons", self.coupons, allow_head=False),
            web.get("/v2/customers/lookup", self.lookup, allow_head=False),
            web.get("/v2/customers/{id}/coupons", self.coupons_by_id, allow_head=False),
            web.get("/v1.1/customer/coupons", self.coupons_v11, allow_head=False),
            web.get("/v2/coupon/series", self.series, allow_head=False),
            web.post("/v3/oauth/token/generate", self.token),
        ]
        other_methods = [web.route("*", each.path, self.wrong_method) for each in spoken]
        return [*spoken, *other_methods, web.route("*", "/{path:.*}", self.wrong_path)]

    # --- endpoints ------------------------------------------------------------------------------------------------

    async def issue(self, request: web.Request) -> web.StreamResponse:
        visit = self._arrive(request, Endpoint.ISSUE)
        if isinstance(visit, web.Response):
            return visit
        if request.content_type != JSON:
            return self._wire.refuse(visit.id, request_error(415, "Content type must be application/json"))
        order = read_order(await request.read())
        if isinstance(order, Refusal):
            return self._wire.refuse(visit.id, order)
        fault = self._draw(visit, order.named)

        def carry_out() -> Issue | Refusal:
            hidden = fault.hidden if fault else 0.0
            return self._world.issue(order, request=visit.id, store=visit.caller.store, hidden=hidden)

        await self._take_time()
        outcome = carry_out() if fault is None or fault.when is When.AFTER else refusal(722)
        await self._take_time()
        if fault is not None and fault.when is When.LATER:
            self._waits.later(fault.delay + fault.late, carry_out)
        if isinstance(outcome, Refusal):
            return await self._answer(visit, fault, answers.refused(outcome), status=outcome.status)
        return await self._answer(visit, fault, self._answers.issued(outcome))

    async def coupons(self, request: web.Request) -> web.StreamResponse:
        return await self._look_up(request, Endpoint.COUPONS, self._answers.coupons)

    async def coupons_v11(self, request: web.Request) -> web.StreamResponse:
        return await self._look_up(request, Endpoint.COUPONS_V11, self._answers.coupons_v11)

    async def _look_up(
        self, request: web.Request, endpoint: Endpoint, write: Callable[[Question, Page | Refusal], bytes]
    ) -> web.StreamResponse:
        visit = self._arrive(request, endpoint)
        if isinstance(visit, web.Response):
            return visit
        if endpoint is Endpoint.COUPONS_V11 and request.query.get("format") != "json":
            return self._wire.say(visit.id, answers.XML_ONLY, kind=XML)
        question = read_question(request.query, self._world.settings.page_size)
        if isinstance(question, Refusal):
            return self._wire.refuse(visit.id, question)
        fault = self._draw(visit, question.named)
        await self._take_time()
        page = self._world.coupons(question)
        await self._take_time()
        return await self._answer(visit, fault, write(question, page))

    async def lookup(self, request: web.Request) -> web.StreamResponse:
        visit = self._arrive(request, Endpoint.LOOKUP)
        if isinstance(visit, web.Response):
            return visit
        named = read_named(request.query)
        if isinstance(named, Refusal):
            return self._wire.refuse(visit.id, named)
        fault = self._draw(visit, named)
        await self._take_time()
        found = self._world.customer(named) or refusal(8015)
        await self._take_time()
        return await self._answer(visit, fault, self._answers.bearer(found))

    async def coupons_by_id(self, request: web.Request) -> web.StreamResponse:
        visit = self._arrive(request, Endpoint.COUPONS_BY_ID)
        if isinstance(visit, web.Response):
            return visit
        question = read_id(request.match_info["id"], request.query)
        if isinstance(question, Refusal):
            return self._wire.refuse(visit.id, question)
        fault = self._draw(visit, question.named)
        await self._take_time()
        page = self._world.coupons(question)
        await self._take_time()
        if isinstance(page, Refusal) or not page.coupons:  # documented: 404 for both, told apart by their names
            why = request_error(404, "CUSTOMER_NOT_FOUND" if isinstance(page, Refusal) else "NO_COUPONS_FOUND")
            return await self._answer(visit, fault, answers.refused(why), status=404)
        return await self._answer(visit, fault, self._answers.coupons_by_id(page))

    async def series(self, request: web.Request) -> web.StreamResponse:
        visit = self._arrive(request, Endpoint.SERIES)
        if isinstance(visit, web.Response):
            return visit
        asked = request.query.getall("ids", [])
        if not asked:
            return self._wire.refuse(visit.id, refusal(746))
        if not all(each.isdecimal() for each in asked):
            return self._wire.refuse(visit.id, BAD_REQUEST)
        fault = self._draw(visit, "")
        await self._take_time()
        found = [each for number in asked if (each := self._world.series.get(int(number)))]
        body = self._answers.series([(each, self._world.book.count(each.id)) for each in found])
        await self._take_time()
        return await self._answer(visit, fault, body)

    async def token(self, request: web.Request) -> web.StreamResponse:
        at = self._world.clock.host()
        asked = read_object(await request.read()) or {}
        key, secret = asked.get("key"), asked.get("secret")
        token = self._world.access.token(key, secret) if isinstance(key, str) and isinstance(secret, str) else None
        caller = Caller(account=str(key) if token else "", valid=token is not None, oauth=False)
        number = self._enter(caller, Endpoint.TOKEN, at)
        visit = Visit(request=request, endpoint=Endpoint.TOKEN, caller=caller, id=number)
        fault = self._draw(visit, "")
        await self._take_time()
        return await self._answer(visit, fault, self._answers.token(token), status=200 if token else 401)

    async def wrong_method(self, _request: web.Request) -> web.StreamResponse:
        return self._wire.refuse(next(self._ids), request_error(405, "Method not supported"))

    async def wrong_path(self, _request: web.Request) -> web.StreamResponse:
        return self._wire.refuse(next(self._ids), request_error(404, "Wrong resource"))

    # --- the way in -----------------------------------------------------------------------------------------------

    def _arrive(self, request: web.Request, endpoint: Endpoint) -> Visit | web.Response:
        """Enter the arrival into the book; say who came, or what turns them away."""
        world = self._world
        caller = world.access.caller(request.headers)
        at, wait = world.clock.host(), 0.0
        if endpoint is Endpoint.ISSUE and caller.account:
            wait = world.admit(caller.account, at)
        number = self._enter(caller, endpoint, at, limited=wait > 0)
        if wait > 0:
            return self._wire.limit(number, wait)
        if not caller.valid:
            return self._wire.unauthenticated(number)
        if endpoint in world.settings.denied:
            return self._wire.say(number, answers.DENIED, status=403)
        return Visit(request=request, endpoint=endpoint, caller=caller, id=number)

    def _enter(self, caller: Caller, endpoint: Endpoint, at: float, *, limited: bool = False) -> str:
        number = next(self._ids)
        arrival = Arrival(at=at, account=caller.account, endpoint=endpoint, limited=limited, request=number)
        self._world.book.add(arrival)
        return number

    def _draw(self, visit: Visit, named: str) -> Fault | None:
        fault = self._world.faults.draw(visit.endpoint, named)
        if fault is None or (fault.kind is FaultKind.EXPIRED and not visit.caller.oauth):
            return None
        entry = Injected(request=visit.id, endpoint=visit.endpoint, fault=fault.name, named=named)
        self._world.book.add(entry)
        return fault

    # --- the way out ----------------------------------------------------------------------------------------------

    async def _answer(self, visit: Visit, fault: Fault | None, body: bytes, *, status: int = 200) -> web.StreamResponse:
        """The true answer, or what the fault makes of it."""
        if fault is None:
            return self._wire.say(visit.id, body, status=status)
        return await self._wire.spoil(visit.request, visit.id, fault, body, status)

    async def _take_time(self) -> None:
        """Half of what an answer takes."""
        settings = self._world.settings
        if settings.latency or settings.jitter:
            seconds = settings.latency + random.uniform(-settings.jitter, settings.jitter)
            await self._waits.sleep(max(0.0, seconds / 2))
