"""The second way to a customer's coupons: first who bears the identifier, then what that customer has.

`/v2/customers/coupons` may say the same of somebody whom nobody knows and of somebody without coupons. This way tells
them apart, and both are empty readings. It counts, like every reader, once it has shown a coupon that a reply gave.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from bulk_issue import wire
from bulk_issue.client.records import EXTERNAL_IDS, silence, speaks
from bulk_issue.model import Identifier, IdentifierKind, Reading, ReadProblem, Reply, Unreadable

LOOKUP = "v2/customers/lookup"

#: A GET that is asked again with a new token.
Look = Callable[[str, Mapping[str, str]], Awaitable[Reply | Unreadable]]


class BearerReader:
    """Reads by way of the customer who bears an identifier."""

    def __init__(self, look: Look) -> None:
        self._look = look
        #: The spelling of `externalId` under which a bearer was found.
        self._spelling: str | None = None

    async def coupons(self, identifier: Identifier) -> Reading | Unreadable:
        """Every coupon of the one who bears the identifier: none where nobody does."""
        if identifier.kind is IdentifierKind.ID:
            return await self._coupons(int(identifier.value), named=True)
        names: tuple[str, ...] = (str(identifier.kind),)
        if identifier.kind is IdentifierKind.EXTERNAL_ID:
            names = (self._spelling,) if self._spelling else EXTERNAL_IDS
        nobody: Reply | None = None
        said: Reply | None = None
        for name in names:
            query = {"source": "INSTORE", "identifierName": name, "identifierValue": identifier.value}
            got = await self._look(f"/{LOOKUP}", query)
            if isinstance(got, Unreadable):
                return got
            said, found = got, wire.bearer(got.body) if speaks(got) else None
            if found is not None and found.customer_id is not None and got.status < 300:
                if len(names) > 1:
                    self._spelling = name
                return await self._coupons(found.customer_id, named=False)
            if found is not None and found.customer_id is None:
                nobody = got
            elif not speaks(got):
                return silence(got)
        assert said is not None  # every kind has a name
        return silence(said) if nobody is None else _reading(nobody)

    async def _coupons(self, customer_id: int, *, named: bool) -> Reading | Unreadable:
        """That customer's coupons; `named` where the identifier itself is the customer's id."""
        got = await self._look(f"/v2/customers/{customer_id}/coupons", {"coupon_code_case": "AS_IT_IS"})
        if isinstance(got, Unreadable):
            return got
        page = wire.coupons_of(got.body, customer_id) if speaks(got) else None
        if page is None or (page.coupons and got.status >= 300):
            return silence(got)
        if page.known:
            return _reading(got, page)
        if named:
            return _reading(got)
        return Unreadable(
            problem=ReadProblem.UNREADABLE, reason="two look-ups contradict each other about the customer", at=got.at
        )


def _reading(reply: Reply, page: wire.Page | None = None) -> Reading:
    return Reading(
        coupons=page.coupons if page else (),
        endpoint=LOOKUP,
        server_time=wire.date_header(reply.headers.get("date", "")),
        at=reply.at,
        customer_id=page.customer_id if page else None,
        by_bearer=True,
    )
