"""The look-up by way of the bearer, between the real client and the sandbox."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from bulk_issue.client import Client
from bulk_issue.clock import SystemClock
from bulk_issue.config import Account
from bulk_issue.model import Identifier, IdentifierKind, Reading, ReadProblem, Unreadable
from bulk_issue.sandbox.book import Endpoint
from bulk_issue.sandbox.customers import Customer
from bulk_issue.sandbox.faults import fault
from bulk_issue.sandbox.server import Sandbox
from bulk_issue.sandbox.settings import Settings

ASHA = Customer(id=555500001, mobile="919800000001", external_id="000000000123", email="asha@example.com")
NAMES = [
    Identifier(IdentifierKind.ID, str(ASHA.id), f"id:{ASHA.id}"),
    Identifier(IdentifierKind.MOBILE, ASHA.mobile, f"mobile:{ASHA.mobile}"),
    Identifier(IdentifierKind.EXTERNAL_ID, ASHA.external_id, f"externalId:{ASHA.external_id}"),
    Identifier(IdentifierKind.EMAIL, ASHA.email, f"email:{ASHA.email}"),
]
NOBODY = Identifier(IdentifierKind.MOBILE, "919800000002", "mobile:919800000002")


@asynccontextmanager
async def met() -> AsyncIterator[tuple[Client, Sandbox]]:
    settings = Settings(rate=0, anybody=False, customers=(ASHA,), lists_everybody=False)
    async with Sandbox(settings) as box:
        account = Account(base_url=box.url, user=box.user, password=box.password)
        async with Client(account, SystemClock(), timeout=30.0, connections=2, series_id=box.series_id) as client:
            yield client, box


@pytest.mark.parametrize("name", NAMES, ids=lambda name: name.kind)
async def test_a_customer_without_coupons_is_told_from_nobody_and_from_one_with(name: Identifier) -> None:
    async with met() as (client, box):
        listed = await client.coupons(name)
        none, nobody = await client.coupons_by_bearer(name), await client.coupons_by_bearer(NOBODY)
        coupon = box.world.give(ASHA, box.series_id, created=box.world.clock.now())
        one, plain = await client.coupons_by_bearer(name), await client.coupons(name)

    assert isinstance(listed, Unreadable) and listed.problem is ReadProblem.NOT_FOUND
    assert isinstance(none, Reading) and isinstance(nobody, Reading) and isinstance(one, Reading)
    assert (none.coupons, none.customer_id, nobody.coupons, nobody.customer_id) == ((), ASHA.id, (), None)
    assert (none.names_nobody, nobody.names_nobody) == (False, True)
    assert isinstance(plain, Reading)
    (ours,), (theirs,) = one.coupons, plain.coupons
    assert (ours.code, ours.series_id, ours.coupon_id) == (coupon.code, coupon.series, coupon.number)
    assert (ours.created, ours.true_utc, ours.issued_at) == (theirs.created, theirs.true_utc, theirs.issued_at)


@pytest.mark.parametrize("endpoint", [Endpoint.LOOKUP, Endpoint.COUPONS_BY_ID])
@pytest.mark.parametrize("name", ["500-before", "html-before", "drop-before", "429", "truncated-before", "504-before"])
async def test_a_look_up_that_goes_wrong_says_nothing(endpoint: Endpoint, name: str) -> None:
    async with met() as (client, box):
        box.faults.script(*[fault(name)] * 2, endpoint=endpoint)  # aiohttp asks once more where a GET was dropped
        got = await client.coupons_by_bearer(NAMES[1])

    assert isinstance(got, Unreadable)
    assert got.problem in (ReadProblem.UNREADABLE, ReadProblem.THROTTLED)
