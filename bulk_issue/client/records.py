"""Look-ups in the server's record: a customer's coupons, and a series' facts.

The rule: only what was read whole and fits together is a `Reading`. A page that is missing, repeated or unreadable,
a customer that isn't known, a refusal: each is `Unreadable` and says why, so that nothing is ever taken for absent
because somebody couldn't read.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from bulk_issue import wire
from bulk_issue.errors import JobHalted
from bulk_issue.model import (
    Answer,
    Fault,
    Identifier,
    IdentifierKind,
    Reading,
    ReadProblem,
    RecordedCoupon,
    Reply,
    Series,
    Unreadable,
)
from bulk_issue.ports import Clock

SERIES_PATH = "/v2/coupon/series"
#: Coupons that a page is asked for: at first the documented default (the maximum is not documented), and fewer from
#: the first page on that is too long to be read whole.
LENGTHS = (100, 20, 4, 1)
#: The spellings of the external id: v2's own pages disagree, v1.1 has the last one.
EXTERNAL_IDS = ("externalId", "external_Id", "external_id")
#: More pages than a customer can have.
MOST_PAGES = 100

#: A GET of a path with a query, with a credential.
Get = Callable[[str, Mapping[str, str]], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """One way to read the record."""

    name: str
    #: What the endpoint calls the kinds of identifiers; more than one where the documents disagree.
    kinds: Mapping[IdentifierKind, tuple[str, ...]]
    query: Mapping[str, str]
    read: Callable[[bytes], wire.Page | None]


def _endpoints(series_id: int) -> tuple[_Endpoint, ...]:
    """Best first. v1.1 is asked without `start_date`: a coupon of a row that waited for days must not look absent."""
    kinds = {kind: (str(kind),) for kind in IdentifierKind}
    return (
        _Endpoint(
            "v2/customers/coupons",
            kinds | {IdentifierKind.EXTERNAL_ID: EXTERNAL_IDS},
            {"coupon_code_case": "AS_IT_IS", "sort_order": "DESC"},
            wire.coupons_v2,
        ),
        _Endpoint(
            "v1.1/customer/coupons",
            kinds | {IdentifierKind.EXTERNAL_ID: EXTERNAL_IDS[::-1]},
            {"format": "json", "series_id": str(series_id), "order_by": "created_date", "sort_order": "desc"},
            lambda body: wire.coupons_v1(body, series_id),
        ),
    )


@dataclass(frozen=True, slots=True)
class _Changed:
    """The pages don't fit together: the record changed while it was read."""


def _same(coupon: RecordedCoupon) -> object:
    """What tells one coupon of a customer from another."""
    return coupon.coupon_id or (coupon.code, coupon.series_id, coupon.created)


class Reader:
    """`ports.Records` over the `Get` that the client lends."""

    def __init__(self, get: Get, clock: Clock, series_id: int) -> None:
        self._get = get
        self._clock = clock
        #: Pinned to one when it has answered: readers are proven one by one.
        self._endpoints = _endpoints(series_id)
        self._lengths: tuple[int, ...] = LENGTHS
        #: The spelling of `externalId` with which v2 knew a customer.
        self._spelling: str | None = None

    async def series(self, series_id: int) -> Series | Unreadable:
        """The series' facts. `Unreadable.reason` tells a wrong address, refused credentials and the rest apart."""
        answer = await self.look(SERIES_PATH, {"ids": str(series_id)})
        if isinstance(answer, Unreadable):
            return answer
        if speaks(answer):
            facts = wire.series(answer.body, series_id, self._clock.now().wall)
            if isinstance(facts, wire.NoSuchSeries):
                return Unreadable(
                    problem=ReadProblem.NOT_FOUND, reason=f"the server knows no series {series_id}", at=answer.at
                )
            if facts is not None and answer.status < 300:
                return facts
        return silence(answer)

    async def coupons(self, identifier: Identifier) -> Reading | Unreadable:
        """Every coupon of the customer (on v1.1: of the series); as `ports.Records` says."""
        refused: Unreadable | None = None
        for endpoint in self._endpoints:
            found = await self._whole(endpoint, identifier)
            if isinstance(found, Unreadable) and found.problem is ReadProblem.REFUSED:
                refused = refused or found
                continue
            if isinstance(found, Reading) or found.problem is ReadProblem.NOT_FOUND:
                self._endpoints = (endpoint,)
            return found
        assert refused is not None
        return refused

    async def _whole(self, endpoint: _Endpoint, identifier: Identifier) -> Reading | Unreadable:
        """All pages, read again once if they don't fit together."""
        for _ in range(2):
            found = await self._pages(endpoint, identifier)
            if not isinstance(found, _Changed):
                return found
        return Unreadable(
            problem=ReadProblem.UNREADABLE, reason="the record changed while it was read", at=self._clock.now()
        )

    async def _pages(self, endpoint: _Endpoint, identifier: Identifier) -> Reading | Unreadable | _Changed:
        coupons: list[RecordedCoupon] = []
        seen: set[object] = set()
        first: tuple[Reply, wire.Page] | None = None
        for _ in range(MOST_PAGES):
            got = await self._page(endpoint, identifier, len(coupons))
            if isinstance(got, Unreadable):
                return got
            reply, page = got
            first = first or got
            if not first[1].known:
                return Unreadable(problem=ReadProblem.NOT_FOUND, reason="the customer isn't known", at=reply.at)
            total, customer_id = first[1].total, first[1].customer_id
            new = {_same(coupon) for coupon in page.coupons}
            if new & seen or (page.known and (page.total, page.customer_id) != (total, customer_id)):
                return _Changed()
            coupons += page.coupons
            seen |= new
            # Without a total only an empty page is surely the last: the longest page that a server gives is unknown.
            if len(coupons) == total or (total is None and not page.coupons):
                return Reading(
                    coupons=tuple(coupons),
                    endpoint=endpoint.name,
                    server_time=wire.date_header(first[0].headers.get("date", "")),
                    at=first[0].at,
                    customer_id=customer_id,
                )
            if not page.coupons or (total is not None and len(coupons) > total):
                return _Changed()
        return Unreadable(problem=ReadProblem.UNREADABLE, reason=f"more than {MOST_PAGES} pages", at=self._clock.now())

    async def _page(
        self, endpoint: _Endpoint, identifier: Identifier, offset: int
    ) -> tuple[Reply, wire.Page] | Unreadable:
        """A page under any spelling that knows the customer; that they aren't known is said by all of them."""
        names = endpoint.kinds[identifier.kind]
        if self._spelling in names:
            names = (self._spelling,)
        unknown: tuple[Reply, wire.Page] | None = None
        said: Reply | None = None
        for name in names:
            got = await self._readable(endpoint, {name: identifier.value}, offset)
            if isinstance(got, Unreadable):
                return got
            said, page = got, endpoint.read(got.body) if speaks(got) else None
            if page is not None and page.known and got.status < 300:
                if len(names) > 1:
                    self._spelling = name
                return got, page
            if page is not None and not page.known:
                unknown = got, page
            elif not speaks(got):
                return silence(got)  # whatever it is, it isn't about the name
        assert said is not None  # every kind has a name
        return unknown or silence(said)

    async def _readable(self, endpoint: _Endpoint, named: Mapping[str, str], offset: int) -> Reply | Unreadable:
        """A page as long as it may be to be read whole."""
        while True:
            query = {**named, **endpoint.query, "limit": str(self._lengths[0]), "offset": str(offset)}
            got = await self.look(f"/{endpoint.name}", query)
            if isinstance(got, Unreadable) or not got.cut or not speaks(got) or len(self._lengths) == 1:
                return got
            self._lengths = self._lengths[1:]

    async def look(self, path: str, query: Mapping[str, str]) -> Reply | Unreadable:
        """A GET; asked once more with a new token if the refused one had been given before."""
        for _ in range(2):
            try:
                answer = await self._get(path, query)
            except JobHalted as halt:
                return Unreadable(problem=ReadProblem.REFUSED, reason=halt.message, at=self._clock.now())
            if isinstance(answer, Fault):
                return Unreadable(problem=ReadProblem.UNREADABLE, reason=answer.detail, at=answer.at)
            reply = answer
            if reply.status != 401 or reply.fresh_credential:
                break
        return reply


def speaks(reply: Reply) -> bool:
    """Whether the body may be Capillary's word: a 2xx, or a refusal that names what isn't there."""
    return 200 <= reply.status < 300 or reply.status in (400, 404)


def silence(reply: Reply) -> Unreadable:
    """What a reply that can't be used says at least."""
    status, wait = reply.status, None
    problem, words = ReadProblem.UNREADABLE, "not an answer of this API"
    match status:
        case 401:
            problem, words = ReadProblem.REFUSED, "the credentials are refused"
        case 403:
            problem, words = ReadProblem.REFUSED, "the account may not read this"
        case 404 | 405:
            problem, words = ReadProblem.REFUSED, "there is no such address; is --base-url right?"
        case 429:
            problem, words = ReadProblem.THROTTLED, "too many requests"
            wait = wire.retry_after(reply.headers.get("retry-after", ""), reply.at.wall)
        case _ if 300 <= status < 400:
            words = "it points elsewhere; is --base-url right?"
        case _ if status >= 500:
            words = "the server has trouble"
    return Unreadable(problem=problem, reason=f"{words} (HTTP {status})", at=reply.at, retry_after=wait, status=status)
