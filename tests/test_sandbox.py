"""The stand-in API keeps to Capillary's documentation, breaks as told, and its book says what really happened."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import aiohttp
import pytest

from bulk_issue.errors import ConfigError
from bulk_issue.sandbox.book import Arrival, Book, Endpoint, IssuedCoupon
from bulk_issue.sandbox.customers import Customer, customer_id
from bulk_issue.sandbox.faults import NAMES, Fault, FaultKind, Faults, When, fault
from bulk_issue.sandbox.series import CouponSeries
from bulk_issue.sandbox.server import Sandbox, serve
from bulk_issue.sandbox.settings import RetryAfter, Settings
from bulk_issue.sandbox.times import Dates
from bulk_issue.sandbox.window import Window

SERIES = 544770
CUSTOMER = 555500077
MOBILE = "919800000001"


# --- a client of the test's own -----------------------------------------------------------------------------------


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> int:
        """The code of the one error."""
        (error,) = self.json["errors"]
        assert error["status"] is False and isinstance(error["message"], str)
        return int(error["code"])


def basic(user: str, password: str) -> dict[str, str]:
    digest = hashlib.md5(password.encode()).hexdigest()
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{digest}".encode()).decode()}


class Api:
    """Speaks to a sandbox, with nothing of the tool's own client."""

    def __init__(self, box: Sandbox, http: aiohttp.ClientSession) -> None:
        self.box = box
        self.http = http
        self.headers = basic(box.user, box.password)

    async def ask(self, method: str, path: str, **options: Any) -> Answer:
        options.setdefault("headers", self.headers)
        limit = aiohttp.ClientTimeout(total=60.0)
        async with self.http.request(
            method, self.box.url + path, allow_redirects=False, timeout=limit, **options
        ) as answer:
            return Answer(answer.status, answer.headers, await answer.read())

    async def issue(self, series: object = SERIES, **customer: Any) -> Answer:
        body = {"seriesId": series, "customer": customer or {"mobile": MOBILE}}
        return await self.ask("POST", "/v2/coupon/issue", json=body)

    async def give_up(self) -> None:
        """Ask for a coupon, and go without an answer once the request was read and its fault is in the book."""
        asking = asyncio.create_task(self.issue())
        await until(lambda: bool(self.box.book.faults))
        assert not asking.done()
        asking.cancel()
        await asyncio.wait({asking})

    async def code(self, series: int = SERIES, **customer: Any) -> str:
        answer = await self.issue(series, **customer)
        assert answer.status == 200 and not answer.json.get("errors"), answer
        return str(answer.json["code"])

    async def coupons(self, **query: str) -> Answer:
        return await self.ask("GET", "/v2/customers/coupons", params=query or {"mobile": MOBILE})

    async def recorded(self, **query: str) -> list[dict[str, Any]]:
        answer = await self.coupons(**{"coupon_code_case": "AS_IT_IS", **(query or {"mobile": MOBILE})})
        (customer,) = answer.json["entity"]["customers"]
        return list(customer["coupons"])

    async def coupons_v11(self, **query: str) -> Answer:
        return await self.ask("GET", "/v1.1/customer/coupons", params={"format": "json", "mobile": MOBILE, **query})

    async def lookup(self, value: str = MOBILE, kind: str = "mobile", **query: str) -> Answer:
        asked = {"source": "INSTORE", "identifierName": kind, "identifierValue": value, **query}
        return await self.ask("GET", "/v2/customers/lookup", params=asked)

    async def coupons_by_id(self, number: object, **query: str) -> Answer:
        return await self.ask("GET", f"/v2/customers/{number}/coupons", params=query)

    async def series(self, *ids: object) -> Answer:
        return await self.ask("GET", "/v2/coupon/series", params=[("ids", str(each)) for each in ids])

    async def token(self, key: str = "demo-key", secret: object = "demo-secret") -> Answer:
        return await self.ask("POST", "/v3/oauth/token/generate", headers={}, json={"key": key, "secret": secret})

    async def sign_in(self) -> None:
        answer = await self.token()
        self.headers = {"X-CAP-API-OAUTH-TOKEN": answer.json["data"]["accessToken"]}


Open = Callable[..., Awaitable[Api]]


@pytest.fixture
async def api() -> Any:
    """Opens a client of a new sandbox with such settings."""
    async with AsyncExitStack() as stack:

        async def start(**settings: Any) -> Api:
            settings.setdefault("rate", 0)
            box = await stack.enter_async_context(Sandbox(Settings(**settings)))
            return Api(box, await stack.enter_async_context(aiohttp.ClientSession()))

        yield start


async def until(holds: Callable[[], bool]) -> None:
    while not holds():
        await asyncio.sleep(0.005)


def shape(value: Any) -> Any:
    """Names, nesting and types."""
    match value:
        case dict():
            return {key: shape(inner) for key, inner in value.items()}
        case list():
            return [shape(inner) for inner in value[:1]]
        case _:
            return type(value).__name__


# --- endpoints, as documented -------------------------------------------------------------------------------------

ISSUED = {
    "code": "ABCDE12345",
    "seriesId": 544770,
    "description": "Festival coupon",
    "discountCode": "fest01",
    "validTill": "2027-05-09T00:00:00Z",
    "discountType": "ABS",
    "discountValue": 500.0,
    "discountUpto": 0.0,
    "discountOn": "BILL",
    "detailedInfo": "Festival coupon",
    "customer": {
        "id": 555500001,
        "profiles": [
            {
                "firstName": "Asha",
                "lastName": "Example",
                "fields": {},
                "allFields": {},
                "identifiers": [{"type": "mobile", "value": MOBILE}],
                "commChannels": [],
                "userId": 555500001,
                "accountId": "",
                "autoUpdateTime": "2026-06-25T06:51:13Z",
                "identifiersAll": [{"type": "mobile", "value": MOBILE}],
            }
        ],
    },
    "redemptionCount": 0,
    "id": 0,
    "validTillDateTime": "2027-05-09T23:59:59Z",
    "warnings": [],
}

RECORDED = {
    "entity": {
        "pagination": {"limit": "100", "offset": "0", "total": 1},
        "customers": [
            {
                "firstname": "Asha",
                "lastname": "Example",
                "email": "asha@example.com",
                "mobile": MOBILE,
                "id": 555500001,
                "coupons": [
                    {
                        "code": "0211706970000001",
                        "seriesId": 544770,
                        "description": "Festival coupon",
                        "validTill": "2027-05-09T00:00:00Z",
                        "discountType": "ABS",
                        "discountValue": 500.0,
                        "discountUpto": 0.0,
                        "redemptionCount": 0,
                        "redemptionsLeft": 1,
                        "id": 1312000001,
                        "createdDate": "2026-08-19T16:52:11Z",
                        "createdDateISO": "2026-08-19T11:22:11Z",
                        "transactionNumber": "0",
                        "issuedAt": {"code": "store01", "name": "Main store"},
                        "redemptions": [],
                        "reversedRedemptions": [],
                        "validTillDateTime": "2027-05-09T23:59:59Z",
                    }
                ],
            }
        ],
    },
    "warnings": [],
    "errors": [],
    "success": True,
}

RECORDED_V11 = {
    "response": {
        "pagination": {"limit": "100", "offset": "0", "total": 1},
        "status": {"success": "true", "code": "200", "message": "SUCCESS"},
        "customers": {
            "customer": {
                "firstname": "Asha",
                "lastname": "Example",
                "email": "asha@example.com",
                "mobile": MOBILE,
                "external_id": "000000000123",
                "id": "555500001",
                "coupons": {
                    "coupon": {
                        "id": "2400001",
                        "code": "ABCDE12345",
                        "redemption_count": "0",
                        "created_date": "2026-08-19T16:52:11+05:30",
                        "valid_till": "2027-05-09",
                        "transaction_number": "",
                        "redemptions": {},
                    }
                },
                "item_status": {"success": "true", "code": "1000", "message": "Issued coupons retrieved successfully"},
            }
        },
    }
}

ASHA = Customer(id=555500001, mobile=MOBILE, external_id="000000000123", email="asha@example.com")


async def test_an_issue_is_answered_as_documented(api: Open) -> None:
    client = await api()

    answer = await client.issue()

    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert shape(answer.json) == shape(ISSUED)
    assert list(answer.json) == list(ISSUED)
    assert (answer.json["seriesId"], answer.json["id"], answer.json["redemptionCount"]) == (SERIES, 0, 0)
    (coupon,) = client.box.book.coupons_of(SERIES)
    assert (coupon.code, coupon.customer) == (answer.json["code"], answer.json["customer"]["id"])
    assert coupon.request == answer.headers["X-Cap-Requestid"] and coupon.named == f"mobile:{MOBILE}"
    (profile,) = answer.json["customer"]["profiles"]
    assert profile["identifiers"] == profile["identifiersAll"] == [{"type": "mobile", "value": MOBILE}]


async def test_blank_and_further_identifiers_are_accepted(api: Open) -> None:
    client = await api()

    blank = await client.issue(id="", mobile=MOBILE, externalId="", email="")
    several = await client.issue(mobile=MOBILE, email="asha@example.com")

    assert blank.json["customer"]["id"] == several.json["customer"]["id"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"seriesId":[544770],"customer":{"mobile":"1"}}',
        b'{"seriesId":"544770","customer":{"mobile":"1"}}',
        b'{"seriesId":true,"customer":{"mobile":"1"}}',
        b'{"seriesId":544770}',
        b'{"seriesId":544770,"customer":[]}',
        b'{"seriesId":544770,"customer":{"mobile":919800000001}}',
        b'{"seriesId":544770,"customer":{"id":"555"}}',
        b'{"seriesId":544770,"customer":{"mobile":"1","email":1}}',
    ],
)
async def test_a_wrong_json_type_is_a_400(api: Open, body: bytes) -> None:
    client = await api()

    answer = await client.ask(
        "POST", "/v2/coupon/issue", data=body, headers={**client.headers, "Content-Type": "application/json"}
    )

    assert (answer.status, answer.json) == (400, {})
    assert client.box.book.coupons == 0


async def test_requests_that_make_no_sense_are_refused(api: Open) -> None:
    client = await api()

    assert (await client.issue(1)).error == 707
    assert (await client.ask("POST", "/v2/coupon/issue", json={"customer": {"mobile": MOBILE}})).error == 756
    assert (await client.issue(cardNumber="1")).error == 701
    assert (await client.ask("POST", "/v2/coupon/issue", data=b"{}")).status == 415
    assert (await client.ask("GET", "/v2/coupon/issue")).status == 405
    assert (await client.ask("POST", "/v2/coupons/issue")).status == 404
    assert client.box.book.coupons == 0


async def test_every_answer_carries_a_date_and_an_id_of_its_own(api: Open) -> None:
    client = await api()

    answers = [
        await client.issue(),
        await client.issue(1),
        await client.coupons(),
        await client.coupons_v11(),
        await client.series(SERIES),
        await client.token(),
        await client.ask("GET", "/nowhere"),
        await client.ask("GET", "/v2/customers/coupons", headers={}),
    ]

    assert all(parsedate_to_datetime(each.headers["Date"]) for each in answers)
    assert len({each.headers["X-Cap-Requestid"] for each in answers}) == len(answers)


async def test_a_read_is_answered_as_documented(api: Open) -> None:
    client = await api(customers=(ASHA,))
    code = await client.code()

    answer = await client.coupons(mobile=MOBILE, coupon_code_case="AS_IT_IS")

    assert shape(answer.json) == shape(RECORDED)
    (customer,) = answer.json["entity"]["customers"]
    (coupon,) = customer["coupons"]
    assert (coupon["code"], coupon["seriesId"], coupon["issuedAt"]["code"]) == (code, SERIES, "store01")
    assert coupon["id"] > 0


async def test_reads_come_in_pages(api: Open) -> None:
    client = await api(page_size=2)
    codes = [await client.code() for _ in range(5)]

    pages = [(await client.coupons(mobile=MOBILE, limit="100", offset=str(offset))).json for offset in (0, 2, 4)]
    first_up = await client.recorded(mobile=MOBILE, sort_order="ASC", limit="1")

    assert [page["entity"]["pagination"] for page in pages] == [
        {"limit": "2", "offset": offset, "total": 5} for offset in ("0", "2", "4")
    ]
    read = [coupon["code"] for page in pages for coupon in page["entity"]["customers"][0]["coupons"]]
    assert read == [code.upper() for code in reversed(codes)]
    assert [coupon["code"] for coupon in first_up] == codes[:1]


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ({}, "ABCDE12345"),
        ({"coupon_code_case": "LOWER"}, "abcde12345"),
        ({"coupon_code_case": "AS_IT_IS"}, "AbCdE12345"),
    ],
)
async def test_reads_change_the_case_of_codes_unless_told(api: Open, query: dict[str, str], shown: str) -> None:
    client = await api(series=(CouponSeries(uploaded_codes=("AbCdE12345",)),))
    await client.code()

    answer = await client.coupons(mobile=MOBILE, **query)

    assert answer.json["entity"]["customers"][0]["coupons"][0]["code"] == shown


async def test_reads_tell_no_coupons_from_no_customer(api: Open) -> None:
    client = await api(anybody=False, customers=(ASHA,))

    none = await client.coupons(externalId="000000000123")
    same = await client.coupons(external_Id="000000000123")
    nobody = await client.coupons(mobile="919800000002")

    assert none.json == same.json
    assert (none.json["entity"]["pagination"]["total"], none.json["success"]) == (0, True)
    assert none.json["entity"]["customers"][0]["coupons"] == []
    assert (nobody.error, nobody.json["success"], nobody.json["entity"]["customers"]) == (8015, False, [])


@pytest.mark.parametrize("spelling", ["externalId", "external_Id", "external_id"])
async def test_a_look_up_says_who_bears_an_identifier(api: Open, spelling: str) -> None:
    client = await api(anybody=False, customers=(ASHA,))

    found = await client.lookup(ASHA.external_id, spelling)
    nobody = await client.lookup("919800000002")

    assert (found.status, found.json["entity"], found.json["success"]) == (200, ASHA.id, True)
    assert (nobody.error, nobody.json["entity"], nobody.json["success"]) == (8015, None, False)


async def test_a_look_up_is_read_strictly(api: Open) -> None:
    client = await api(anybody=False, customers=(ASHA,))

    assert (await client.lookup(source="")).status == 400
    assert (await client.lookup(str(ASHA.id), "id")).status == 400
    assert (await client.lookup(kind="Mobile")).status == 400
    assert (await client.lookup("")).error == 8084


async def test_the_coupons_of_an_id_tell_no_coupons_from_no_customer(api: Open) -> None:
    client = await api(anybody=False, customers=(ASHA,))
    none, nobody = await client.coupons_by_id(ASHA.id), await client.coupons_by_id(7)
    code = await client.code(id=ASHA.id)
    one = await client.coupons_by_id(ASHA.id, coupon_code_case="AS_IT_IS")

    assert [(each.status, each.json["errors"][0]["message"]) for each in (none, nobody)] == [
        (404, "NO_COUPONS_FOUND"),
        (404, "CUSTOMER_NOT_FOUND"),
    ]
    (coupon,) = one.json["entity"]
    assert (coupon["code"], coupon["seriesId"], coupon["issuedTo"]) == (code, SERIES, ASHA.id)
    assert coupon["series"]["id"] == SERIES
    assert coupon["discountType"] is False
    assert coupon["validTill"].endswith("T23:59:59Z")
    assert (await client.coupons_by_id(ASHA.id)).json["entity"][0]["code"] == code.upper()
    assert (await client.coupons_by_id("x")).status == 400
    assert (await client.coupons_by_id(ASHA.id, coupon_code_case="upper")).status == 400


async def test_a_record_may_list_nobody_without_coupons(api: Open) -> None:
    client = await api(anybody=False, customers=(ASHA,), lists_everybody=False)
    none, nobody = await client.coupons(id=str(ASHA.id)), await client.coupons(mobile="919800000002")
    await client.code(id=ASHA.id)

    assert none.json == nobody.json
    assert (none.json["entity"]["customers"], none.json["success"]) == ([], True)
    assert len(await client.recorded(id=str(ASHA.id))) == 1


@pytest.mark.parametrize(
    "query", [{"limit": "x"}, {"limit": "0"}, {"offset": "-1"}, {"coupon_code_case": "upper"}, {"sort_order": "UP"}]
)
async def test_an_impossible_read_is_a_400(api: Open, query: dict[str, str]) -> None:
    client = await api()

    assert (await client.coupons(mobile=MOBILE, **query)).status == 400
    assert (await client.coupons(id="x")).status == 400
    assert (await client.coupons(limit="1")).error == 8084


async def test_the_old_read_is_answered_as_documented(api: Open) -> None:
    client = await api(customers=(ASHA,))
    none = await client.coupons_v11()
    await client.code()
    one = await client.coupons_v11()
    await client.code()
    two = await client.coupons_v11()
    nobody = await client.coupons_v11(mobile="919800000701")
    xml = await client.coupons_v11(format="xml")

    assert shape(one.json) == shape(RECORDED_V11)
    assert none.json["response"]["customers"]["customer"]["coupons"] == {}
    assert len(two.json["response"]["customers"]["customer"]["coupons"]["coupon"]) == 2
    assert nobody.json["response"]["status"]["success"] == "false"
    assert nobody.json["response"]["customers"]["customer"]["item_status"]["success"] == "false"
    assert ET.fromstring(xml.body).tag == "response"


async def test_the_old_read_in_the_shape_that_the_field_knows(api: Open) -> None:
    client = await api(field_shape=True)
    code = await client.code()

    body = (await client.coupons_v11()).json["response"]

    assert body["status"]["code"] == 200
    (coupon,) = body["customers"]["customer"][0]["coupons"]["coupon"]
    assert (coupon["code"], coupon["series_id"]) == (code.upper(), str(SERIES))


async def test_the_old_read_filters_by_series_and_by_days_of_the_server(api: Open) -> None:
    client = await api(series=(CouponSeries(), CouponSeries(id=2)), field_shape=True)
    asha = client.box.world.customer(f"mobile:{MOBILE}")
    assert asha is not None
    late_evening_in_utc = datetime(2026, 8, 19, 20, 0, tzinfo=UTC).timestamp()  # 20 August in India
    client.box.world.give(asha, SERIES, created=late_evening_in_utc)
    client.box.world.give(asha, 2, created=late_evening_in_utc)

    async def total(**query: str) -> int:
        return int((await client.coupons_v11(**query)).json["response"]["pagination"]["total"])

    assert await total() == 2
    assert await total(series_id="2") == 1
    assert await total(series_id="3") == 0
    assert await total(start_date="2026-08-20") == 2
    assert await total(start_date="2026-08-21") == 0
    assert await total(end_date="2026-08-20") == 0
    assert await total(end_date="2026-08-21") == 2


async def test_series_facts_are_given_as_documented(api: Open) -> None:
    client = await api(
        series=(CouponSeries(stock=9, sends_messages=True), CouponSeries(id=2, uploaded_codes=("A", "B")))
    )
    await client.code()
    await client.code(2)

    both = (await client.series(SERIES, 2)).json
    first, second = both["entity"]

    assert (first["id"], first["orgId"], first["maxCreate"], first["numIssued"]) == (SERIES, 100001, 9, 1)
    assert first["isMultipleVouchersPerUserAllowed"] is True and first["doNotResendExistingVoucher"] is True
    assert first["mutualExclusiveSeriesIds"] == "[-1]" and isinstance(first["storeIdsJson"], str)
    assert (first["clientHandlingType"], first["isSMSDisabled"]) == ("DISC_CODE", False)
    assert (second["clientHandlingType"], second["numUploadedNonIssued"]) == ("DISC_CODE_PIN", 1)
    assert "errors" not in both and both["warnings"] == []
    assert (await client.series(3)).json["entity"] == []
    assert (await client.series()).error == 746
    assert (await client.series("x")).status == 400


# --- credentials --------------------------------------------------------------------------------------------------


async def test_basic_is_the_documented_digest(api: Open) -> None:
    """The vector of the fact sheet, which was recomputed by hand."""
    client = await api(user="store.server", password="server123")
    client.headers = {
        "Authorization": "Basic c3RvcmUuc2VydmVyOjhhMTZhNmI3MDUwNWViMWYxZmY3Y2RjMGNkNTU1OWE3",
    }

    assert (await client.issue()).status == 200
    assert [each.account for each in client.box.book.arrivals] == ["store.server"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        basic("demo", "wrong"),
        basic("nobody", "demo-password"),
        {"Authorization": "Basic " + base64.b64encode(b"demo:demo-password").decode()},
        {"Authorization": "Bearer x"},
        {"X-CAP-API-OAUTH-TOKEN": "unheard.of.token"},
    ],
)
async def test_wrong_credentials_draw_an_xml_401(api: Open, headers: dict[str, str]) -> None:
    client = await api()
    client.headers = headers

    answers = [await client.issue(), await client.coupons(), await client.coupons_v11(), await client.series(SERIES)]

    for answer in answers:
        assert answer.status == 401
        root = ET.fromstring(answer.body)
        assert (root.findtext("status/success"), root.findtext("status/code")) == ("false", "401")
    assert client.box.book.coupons == 0
    assert {each.account for each in client.box.book.arrivals} == {""}


async def test_a_token_looks_like_a_jwt_and_opens_everything(api: Open) -> None:
    client = await api(token_ttl=600)

    answer = await client.token()
    token = answer.json["data"]["accessToken"]
    _, claims, _ = token.split(".")
    payload = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    await client.sign_in()

    assert answer.json == {"data": {"accessToken": token, "ttlSeconds": 600}, "errors": None}
    assert payload["org_id"] == 100001
    assert payload["exp"] - payload["iat"] == 600
    assert (await client.issue()).status == 200
    assert (await client.coupons()).status == 200
    client.headers = {"X-CAP-API-OAUTH-TOKEN": f"Bearer {token}"}
    assert (await client.issue()).status == 401


async def test_a_token_is_given_for_the_right_secret_only(api: Open) -> None:
    client = await api()

    for secret in ("wrong", 1):
        answer = await client.token(secret=secret)
        assert answer.status == 401
        assert answer.json["data"] is None and answer.json["errors"]


async def test_a_token_expires(api: Open) -> None:
    client = await api()
    client.box.faults.script(fault("401"))
    await client.sign_in()

    refused = [await client.issue(), await client.issue()]
    reads = await client.coupons()
    await client.sign_in()
    served = await client.issue()

    assert [each.status for each in refused] == [401, 401]
    assert (reads.status, served.status) == (401, 200)
    assert client.box.book.coupons == 1
    assert {each.account for each in client.box.book.arrivals} == {"demo-key"}


async def test_a_token_is_worth_nothing_after_its_time(api: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    client = await api(token_ttl=60)
    await client.sign_in()
    soon = client.box.world.clock.host() + 60.1
    monkeypatch.setattr(client.box.world.clock, "host", lambda: soon)

    assert (await client.issue()).status == 401


@pytest.mark.parametrize("denied", [each for each in Endpoint if each is not Endpoint.TOKEN])
async def test_an_account_without_rights_draws_a_403(api: Open, denied: Endpoint) -> None:
    client = await api(denied=frozenset({denied}))
    found = client.box.world.customers.find(f"id:{CUSTOMER}")
    assert found is not None
    client.box.world.give(found, SERIES, created=0.0)

    answers = {
        Endpoint.ISSUE: await client.issue(),
        Endpoint.COUPONS: await client.coupons(),
        Endpoint.COUPONS_V11: await client.coupons_v11(),
        Endpoint.LOOKUP: await client.lookup(),
        Endpoint.COUPONS_BY_ID: await client.coupons_by_id(CUSTOMER),
        Endpoint.SERIES: await client.series(SERIES),
    }

    refused = answers.pop(denied)
    assert (refused.status, refused.json["errorCode"]) == (403, 4000)
    assert refused.json["errorMessage"] == "Not authorized. Access is denied!"
    assert {each.status for each in answers.values()} == {200}


async def test_attribution_headers_name_the_store_under_oauth_only(api: Open) -> None:
    client = await api()
    entity = {"X-CAP-API-ATTRIBUTION-ENTITY-TYPE": "STORE_CODE", "X-CAP-API-ATTRIBUTION-ENTITY-CODE": "store77"}
    client.headers |= entity
    await client.code()
    await client.sign_in()
    client.headers |= entity
    await client.code()

    assert [each.store for each in client.box.book.coupons_of(SERIES)] == ["store01", "store77"]
    assert [each["issuedAt"]["code"] for each in await client.recorded()] == ["store77", "store01"]


# --- what a second issue does -------------------------------------------------------------------------------------


@pytest.mark.parametrize("multiple_allowed", [True, False])
async def test_a_series_that_resends_brings_the_same_coupon_again(api: Open, multiple_allowed: bool) -> None:  # noqa: FBT001
    client = await api(series=(CouponSeries(multiple_allowed=multiple_allowed, resends=True),))

    assert await client.code() == await client.code()
    assert client.box.book.coupons == 1
    assert client.box.book.duplicates(SERIES) == {}


async def test_a_series_of_one_each_refuses_a_second(api: Open) -> None:
    client = await api(series=(CouponSeries(multiple_allowed=False),))
    await client.code()

    again = await client.issue()

    assert (again.status, again.error) == (200, 709)
    assert "already has" in again.json["errors"][0]["message"]
    assert client.box.book.coupons == 1


async def test_a_series_of_many_costs_a_coupon_every_time(api: Open) -> None:
    client = await api(series=(CouponSeries(max_per_customer=2),))

    codes = [await client.code(), await client.code()]
    third = await client.issue()

    assert codes[0] != codes[1]
    assert third.error == 5002
    ((customer, coupons),) = client.box.book.duplicates(SERIES).items()
    assert [each.code for each in coupons] == codes
    assert client.box.book.issued_counts() == {(SERIES, customer): 2}


async def test_a_generic_series_gives_everybody_one_code_once(api: Open) -> None:
    client = await api(series=(CouponSeries(generic_code="WELCOME"),))

    assert await client.code() == await client.code(mobile="919800000002") == "WELCOME"
    again = await client.issue()

    assert again.error == 5004
    assert "already has a valid generic coupon" in again.json["errors"][0]["message"]
    assert client.box.book.coupons == 2


@pytest.mark.parametrize(
    ("series", "codes"),
    [
        (CouponSeries(stock=1), [None, 5001]),
        (CouponSeries(uploaded_codes=("0000000000000001",)), [None, 5001]),
        (CouponSeries(expired=True), [712]),
        (CouponSeries(external=True), [777]),
        (CouponSeries(refusal=735), [735]),
        (CouponSeries(min_days_between=23), [None, 722]),
    ],
)
async def test_series_refuse_by_their_rules(api: Open, series: CouponSeries, codes: list[int | None]) -> None:
    client = await api(series=(series,))

    for code in codes:
        answer = await client.issue()
        assert (None if "code" in answer.json else answer.error) == code
    assert client.box.book.coupons == codes.count(None)


async def test_an_expired_series_says_so_in_its_facts(api: Open) -> None:
    client = await api(series=(CouponSeries(expired=True),))

    (facts,) = (await client.series(SERIES)).json["entity"]

    assert datetime.fromisoformat(facts["validTillDateTime"]) < datetime.now(UTC)


async def test_some_codes_are_digits_with_a_leading_zero_and_some_have_small_letters(api: Open) -> None:
    client = await api()

    codes = [await client.code(mobile=str(number)) for number in range(100)]

    assert len(set(codes)) == 100
    assert any(code.isdigit() and len(code) == 16 and code.startswith("0") for code in codes)
    assert any(code != code.upper() for code in codes)


# --- customers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("identifier", "code"), [("0701", 701), ("0721", 721), ("0730", 730), ("0740", 740), ("0742", 742)]
)
async def test_last_digits_make_samples_show_rejections(api: Open, identifier: str, code: int) -> None:
    client = await api()

    assert (await client.issue(mobile=f"91980000{identifier}")).error == code
    assert (await client.issue(externalId=f"C{identifier}")).error == code
    assert (await client.issue(email=f"asha{identifier}@example.com")).error == code
    assert (await client.issue(id=int(f"55550{identifier}"))).error == code
    assert client.box.book.coupons == 0


async def test_patterns_can_be_switched_off(api: Open) -> None:
    client = await api(patterns=False)

    assert await client.code(mobile="919800000701")


async def test_a_busy_customer_is_busy_once(api: Open) -> None:
    client = await api()

    first = await client.issue(mobile="919800000521")
    second = await client.issue(mobile="919800000521")

    assert (first.status, first.error) == (521, 521)
    assert second.status == 200
    assert client.box.book.coupons == 1


async def test_an_older_coupon_is_the_business_of_the_series(api: Open) -> None:
    client = await api(series=(CouponSeries(multiple_allowed=False), CouponSeries(id=2)))

    refused = await client.issue(mobile="919800000708")
    new = await client.code(2, mobile="919800000708")

    assert refused.error == 709
    older, newer = (each for each in client.box.book.coupons_of(2))
    assert (older.request, newer.code) == ("", new)
    assert newer.created - older.created > 86_400
    assert client.box.book.duplicates(2) == {}
    assert len(await client.recorded(mobile="919800000708")) == 3


async def test_a_customer_who_is_said_to_have_one_has_one(api: Open) -> None:
    client = await api()

    assert (await client.issue(mobile="919800000709")).error == 709
    assert len(await client.recorded(mobile="919800000709")) == 1
    assert client.box.book.issued_counts() == {}


async def test_a_customer_out_of_reach_gets_a_coupon_with_a_warning(api: Open) -> None:
    client = await api()

    answer = await client.issue(mobile="919800000704")

    assert answer.error == 704
    assert answer.json["code"] == client.box.book.coupons_of(SERIES)[0].code


async def test_every_identifier_finds_the_same_customer(api: Open) -> None:
    asha = Customer(
        id=555500001, mobile=MOBILE, external_id="007", email="Asha@example.com", aliases=("mobile:9800000001",)
    )
    client = await api(customers=(asha,), anybody=False, series=(CouponSeries(resends=True),))
    names: list[dict[str, Any]] = [
        {"id": 555500001},
        {"mobile": MOBILE},
        {"externalId": "007"},
        {"email": "asha@EXAMPLE.com"},
        {"mobile": "9800000001"},
    ]

    answers = [await client.issue(**each) for each in names]

    assert len({each.json["code"] for each in answers}) == 1
    assert {each.json["customer"]["id"] for each in answers} == {555500001}
    listed = [each["value"] for each in answers[-1].json["customer"]["profiles"][0]["identifiers"]]
    assert sorted(listed) == sorted([MOBILE, "007", "Asha@example.com"])
    assert (await client.issue(externalId="7")).error == 701
    assert len(await client.recorded(id="0555500001")) == 1


async def test_customers_made_on_the_fly_keep_their_id(api: Open) -> None:
    one, two = await api(), await api()

    ids = [(await client.issue()).json["customer"]["id"] for client in (one, two)]
    by_id = await one.issue(id=ids[0])

    assert ids == [customer_id(f"mobile:{MOBILE}")] * 2
    assert by_id.json["customer"]["profiles"][0]["identifiers"] == [{"type": "mobile", "value": MOBILE}]
    assert len(one.box.book.coupons_for(ids[0])) == 2


async def test_an_id_that_is_named_first_belongs_to_the_mobile_that_it_is_made_of(api: Open) -> None:
    client = await api()
    number = customer_id("mobile:919800000701")
    await client.code(id=number)

    assert (await client.issue(mobile="919800000701")).error == 701
    assert (await client.issue(id=number)).error == 701


async def test_busy_and_refusal_of_a_listed_customer(api: Open) -> None:
    client = await api(customers=(Customer(id=1, mobile="1", busy=2, refusal=750),))

    assert [(await client.issue(mobile="1")).error for _ in range(3)] == [521, 521, 750]


# --- faults: what the client sees, and what the book says ---------------------------------------------------------

#: What the client sees: a status with the start of the body, an exception, or nothing at all.
SEEN: Mapping[FaultKind, tuple[int, bytes] | type[Exception] | None] = {
    FaultKind.DROP: aiohttp.ServerDisconnectedError,
    FaultKind.HANG: None,
    FaultKind.HTTP_500: (500, b'{"errors":[{"status":false,"code":500'),
    FaultKind.HTTP_502: (502, b"<!DOCTYPE html>"),
    FaultKind.HTTP_503: (503, b"<!DOCTYPE html>"),
    FaultKind.HTTP_504: (504, b"<!DOCTYPE html>"),
    FaultKind.HTTP_521: (521, b"<!DOCTYPE html>"),
    FaultKind.TRUNCATED: aiohttp.ClientPayloadError,
    FaultKind.HTML: (200, b"<!DOCTYPE html>"),
    FaultKind.UNREADABLE: (200, b"{"),
    FaultKind.SERVICE_TIMED_OUT: (200, b'{"errors":[{"status":false,"code":748'),
    FaultKind.FAILED: (200, b'{"errors":[{"status":false,"code":709'),
    FaultKind.BLAMED: (400, b'{"message"'),
    FaultKind.REDIRECT: (307, b""),
    FaultKind.LIMITED: (429, b"<!DOCTYPE html>"),
    FaultKind.AUTHORISATION_DOWN: (503, b'{"errorMessage":"Authorization status unavailable!","errorCode":4001}'),
    FaultKind.SEARCH_BUSY: (461, b'{"errors"'),
    FaultKind.QUEUE_EMPTY: (200, b'{"errors":[{"status":false,"code":5005'),
}


#: Changes nothing; it only stands in the book as soon as a request was read.
TRUE = Fault(kind=FaultKind.ANSWER, when=When.AFTER)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("401", "slow", "hidden")])
async def test_a_fault_shows_what_it_says_and_the_book_says_whether_it_issued(api: Open, name: str) -> None:
    client = await api()
    injected = fault(name, 0.05)
    client.box.faults.script(injected)

    match SEEN[injected.kind]:
        case (status, start):
            answer = await client.issue()
            assert (answer.status, answer.body[: len(start)]) == (status, start)
            if injected.kind is FaultKind.UNREADABLE:
                with pytest.raises(ValueError, match="line"):
                    _ = answer.json
            if injected.kind is FaultKind.REDIRECT:
                assert answer.headers["Location"] == "/v2/coupon/issue"
        case None:
            await client.give_up()
        case exception:
            with pytest.raises(exception):
                await client.issue()

    book = client.box.book
    assert [(each.fault, each.named) for each in book.faults] == [(name, f"mobile:{MOBILE}")]
    match injected.when:
        case When.BEFORE:
            assert book.coupons == 0
        case When.AFTER:
            assert book.coupons == 1
        case When.LATER:
            await until(lambda: book.coupons == 1)
    assert (await client.issue()).status == 200
    assert book.coupons == (1 if injected.when is When.BEFORE else 2)
    assert book.requests() == 2


@pytest.mark.parametrize("name", ["504-later", "drop-later", "hang-later"])
async def test_a_late_commit_is_dated_when_it_comes(api: Open, name: str) -> None:
    client = await api()
    client.box.faults.script(fault(name, 0.2))

    if name == "hang-later":
        await client.give_up()
    else:
        with suppress(aiohttp.ServerDisconnectedError):
            await client.issue()

    await until(lambda: client.box.book.coupons == 1)
    (coupon,), (arrival,) = client.box.book.coupons_of(SERIES), client.box.book.arrivals
    assert coupon.created - arrival.at >= 0.2
    assert coupon.request == arrival.request


async def test_a_late_commit_is_in_the_book_when_the_sandbox_ends() -> None:
    async with Sandbox(Settings()) as box, aiohttp.ClientSession() as http:
        box.faults.script(fault("504-later", 3600.0))
        await Api(box, http).issue()
        assert box.book.coupons == 0

    assert box.book.coupons == 1


async def test_a_late_commit_keeps_to_the_rules_of_the_series() -> None:
    settings = Settings(series=(CouponSeries(multiple_allowed=False),))
    async with Sandbox(settings) as box, aiohttp.ClientSession() as http:
        box.faults.script(fault("504-later", 3600.0), None)
        client = Api(box, http)
        await client.issue()
        code = await client.code()

    assert [each.code for each in box.book.coupons_of(SERIES)] == [code]


async def test_a_hidden_coupon_is_issued_now_and_shown_later(api: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    client = await api()
    client.box.faults.script(fault("hidden", 600.0), None)

    hidden, visible = await client.code(), await client.code()
    early = [each["code"] for each in await client.recorded()]
    later = client.box.world.clock.now() + 600.0
    monkeypatch.setattr(client.box.world.clock, "now", lambda: later)
    late = [each["code"] for each in await client.recorded()]

    assert early == [visible]
    assert late == [visible, hidden]


async def test_every_coupon_lags_where_the_settings_say_so(api: Open) -> None:
    client = await api(lag=3600.0)
    await client.code()

    assert await client.recorded() == []
    assert (await client.coupons_v11()).json["response"]["pagination"]["total"] == 0


async def test_a_slow_answer_is_true_and_late(api: Open) -> None:
    client = await api()
    client.box.faults.script(fault("slow", 0.1))

    code = await client.code()

    (coupon,), (arrival,) = client.box.book.coupons_of(SERIES), client.box.book.arrivals
    assert coupon.code == code
    assert client.box.world.clock.host() - arrival.at >= 0.1


async def test_an_order_is_carried_out_after_its_sender_has_gone(api: Open) -> None:
    client = await api(latency=0.4)
    client.box.faults.script(TRUE)

    await client.give_up()

    await until(lambda: client.box.book.coupons == 1)
    (coupon,), (arrival,) = client.box.book.coupons_of(SERIES), client.box.book.arrivals
    assert coupon.created - arrival.at >= 0.2  # half-way


async def test_who_follows_a_redirect_asks_again(api: Open) -> None:
    client = await api()
    client.box.faults.script(fault("307-after"), fault("307-after"), None)

    async with client.http.post(
        client.box.url + "/v2/coupon/issue",
        json={"seriesId": SERIES, "customer": {"mobile": MOBILE}},
        headers=client.headers,
    ) as answer:
        assert answer.status == 200

    assert client.box.book.requests() == 3
    assert len(client.box.book.duplicates(SERIES)) == 1


async def test_a_script_for_a_customer_touches_nobody_else(api: Open) -> None:
    client = await api()
    client.box.faults.script_for(f"mobile:{MOBILE}", fault("500-after"), None, fault("502-before"))

    others = [await client.issue(mobile=str(number)) for number in range(5)]
    own = [await client.issue() for _ in range(4)]

    assert {each.status for each in others} == {200}
    assert [each.status for each in own] == [500, 200, 502, 200]


async def test_reads_and_tokens_break_by_script_too(api: Open) -> None:
    client = await api()
    await client.code()
    asks: Mapping[Endpoint, Callable[[], Awaitable[Answer]]] = {
        Endpoint.COUPONS: client.coupons,
        Endpoint.COUPONS_V11: client.coupons_v11,
        Endpoint.SERIES: lambda: client.series(SERIES),
        Endpoint.TOKEN: client.token,
    }

    for endpoint, ask in asks.items():
        client.box.faults.script(fault("429"), fault("truncated-before"), endpoint=endpoint)
        assert (await ask()).status == 429
        with pytest.raises(aiohttp.ClientPayloadError):
            await ask()
        assert (await ask()).status == 200
    assert client.box.book.coupons == 1


async def test_a_password_does_not_expire(api: Open) -> None:
    client = await api()
    client.box.faults.script(fault("401"))

    assert (await client.issue()).status == 200
    assert client.box.book.faults == []


async def test_the_sandbox_ends_though_somebody_hangs() -> None:
    async with aiohttp.ClientSession() as http:
        async with Sandbox(Settings()) as box:
            box.faults.script(fault("hang-after"))
            asking = asyncio.create_task(Api(box, http).issue())
            await until(lambda: box.book.coupons == 1)
        with pytest.raises(aiohttp.ClientError):
            await asking


async def test_the_sandbox_leaves_nothing_behind() -> None:
    async with aiohttp.ClientSession() as http, Sandbox(Settings(latency=3600.0)) as box:
        box.faults.script(TRUE)
        await Api(box, http).give_up()
        tasks = len(asyncio.all_tasks())

    assert tasks > 1
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert box.book.coupons == 0


def test_the_plan_does_not_depend_on_the_order_of_requests() -> None:
    plans = Settings(faults=0.25).plans
    customers = [f"mobile:{number}" for number in range(400)]

    def drawn(order: list[str], seed: int = 7) -> dict[str, list[str]]:
        faults = Faults(plans, seed=seed)
        found: dict[str, list[str]] = {each: [] for each in order}
        for named in [*order, *order]:
            each = faults.draw(Endpoint.ISSUE, named)
            found[named].append(each.name if each else "")
        return found

    forth = drawn(customers)
    names = Counter(name for both in forth.values() for name in both)

    assert forth == drawn(list(reversed(customers)))
    assert forth != drawn(customers, seed=8)
    assert 0.15 < 1 - names[""] / 800 < 0.35
    assert len(names) > 20
    assert any(first != second for first, second in forth.values())


async def test_a_plan_may_give_each_fault_its_share(api: Open) -> None:
    client = await api(fault_rates={"500-after": 1.0})

    assert [(await client.issue()).status for _ in range(3)] == [500] * 3
    assert client.box.book.coupons == 3
    assert (await client.coupons()).status == 200


async def test_a_plan_may_break_reads(api: Open) -> None:
    client = await api(read_faults=1.0, fault_seconds=0.01)

    with suppress(TimeoutError, aiohttp.ClientError):
        await client.coupons()

    with suppress(TimeoutError, aiohttp.ClientError):
        await client.lookup()
    with suppress(TimeoutError, aiohttp.ClientError):
        await client.coupons_by_id(1)

    faulty = {each.endpoint for each in client.box.book.faults}
    assert faulty == {Endpoint.COUPONS, Endpoint.LOOKUP, Endpoint.COUPONS_BY_ID}
    assert (await client.issue()).status == 200


def test_a_fault_that_promises_nothing_was_processed_issues_nothing() -> None:
    for kind in (FaultKind.LIMITED, FaultKind.EXPIRED, FaultKind.AUTHORISATION_DOWN):
        with pytest.raises(ConfigError):
            Fault(kind=kind, when=When.AFTER)
    with pytest.raises(ConfigError):
        Fault(kind=FaultKind.ANSWER)
    with pytest.raises(ConfigError, match="drop-sometimes"):
        fault("drop-sometimes")


# --- the limit ----------------------------------------------------------------------------------------------------


def test_the_window_slides_strictly() -> None:
    window = Window(3, 60.0)

    admitted = [at for at in (0.0, 1.0, 30.0, 59.9, 60.0, 60.5, 61.0, 89.9, 90.0) if window.admit(at) == 0]

    assert admitted == [0.0, 1.0, 30.0, 60.0, 61.0, 90.0]
    assert window.admit(100.0) == 20.0


async def test_more_than_the_rate_draws_429_and_is_a_violation(api: Open) -> None:
    client = await api(rate=3, per=60.0)

    statuses = [(await client.issue(mobile=str(number))).status for number in range(5)]
    look_up = await client.coupons()

    assert statuses == [200, 200, 200, 429, 429]
    assert look_up.status == 200
    assert client.box.book.coupons == 3
    assert len(client.box.book.violations) == 2
    assert client.box.book.worst_window(60.0) == client.box.book.requests() == 5


async def test_refused_requests_use_up_neither_window_nor_script_nor_patience(api: Open) -> None:
    client = await api(rate=1, per=0.2)
    client.box.faults.script(None, fault("500-after"))
    await client.issue()

    statuses = [200]
    while statuses[-1] != 500:
        statuses.append((await client.issue(mobile="919800000521")).status)

    assert set(statuses[1:-1]) <= {429}
    assert client.box.book.coupons == 1  # the customer was busy: the script's fault hid that


async def test_every_account_has_a_window_of_its_own(api: Open) -> None:
    client = await api(rate=1)
    first = [(await client.issue()).status, (await client.issue()).status]
    await client.sign_in()
    second = [(await client.issue()).status, (await client.issue()).status]

    assert first == second == [200, 429]
    assert client.box.book.worst_window(60.0) == 2


@pytest.mark.parametrize("form", list(RetryAfter))
async def test_a_429_says_when_to_come_back_in_either_form_or_not(api: Open, form: RetryAfter) -> None:
    client = await api(rate=1, per=60.0, retry_after=form, clock_offset=7200.0)
    await client.issue()

    refused = await client.issue()

    header = refused.headers.get("Retry-After")
    match form:
        case RetryAfter.NONE:
            assert header is None
        case RetryAfter.SECONDS:
            assert header is not None and 55 <= int(header) <= 60
        case RetryAfter.DATE:
            assert header is not None
            wait = parsedate_to_datetime(header) - parsedate_to_datetime(refused.headers["Date"])
            assert 55 <= wait.total_seconds() <= 61


# --- the book -----------------------------------------------------------------------------------------------------


def arrivals(*times: float, account: str = "demo") -> list[Arrival]:
    return [Arrival(at=at, account=account, endpoint=Endpoint.ISSUE, limited=False, request="r") for at in times]


def test_the_worst_window_is_found_wherever_it_lies() -> None:
    book = Book()
    for arrival in [*arrivals(0.0, 9.0, 9.5, 10.0, 18.9, 30.0), *arrivals(9.1, 9.7, account="other")]:
        book.add(arrival)

    assert book.worst_window(10.0) == 4
    assert book.worst_window(0.5) == 1
    assert book.worst_window(1.1) == 3
    assert book.worst_window(10.0, Endpoint.COUPONS) == 0


async def test_another_process_reads_the_book_while_it_is_written(api: Open, tmp_path: Path) -> None:
    path = tmp_path / "book.jsonl"
    client = await api(book=path)
    client.box.faults.script(None, fault("drop-after"))
    code = await client.code()
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await client.issue()

    program = (
        "import sys; from pathlib import Path; from bulk_issue.sandbox.book import Book\n"
        "book = Book.read(Path(sys.argv[1]))\n"
        f"print(*[each.code for each in book.coupons_of({SERIES})], len(book.duplicates({SERIES})),\n"
        "      book.requests(), book.worst_window(60), book.faults[0].fault)"
    )
    read = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True
    )

    second = client.box.book.coupons_of(SERIES)[1].code
    assert read.stdout.split() == [code, second, "1", "2", "2", "drop-after"]
    assert path.stat().st_mode & 0o777 == 0o600


async def test_the_book_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "book.jsonl"
    program = (
        "import asyncio, sys; from pathlib import Path\n"
        "from bulk_issue.sandbox.server import serve; from bulk_issue.sandbox.settings import Settings\n"
        "asyncio.run(serve(Settings(book=Path(sys.argv[1])), '127.0.0.1', 0, asyncio.Event(),\n"
        "                  lambda box: print(box.port, flush=True)))"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(path), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        port = int(await process.stdout.readline())
        async with aiohttp.ClientSession(headers=basic("demo", "demo-password")) as http:
            body = {"seriesId": SERIES, "customer": {"mobile": MOBILE}}
            async with http.post(f"http://127.0.0.1:{port}/v2/coupon/issue", json=body) as answer:
                code = (await answer.json())["code"]
            os.kill(process.pid, signal.SIGKILL)
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()

    assert [each.code for each in Book.read(path).coupons_of(SERIES)] == [code]
    async with Sandbox(Settings(book=path)) as box, aiohttp.ClientSession() as http:
        client = Api(box, http)
        assert [each["code"] for each in await client.recorded()] == [code]
        assert box.book.worst_window(60.0) == 1


async def test_a_restarted_sandbox_remembers_coupons_and_limit(tmp_path: Path) -> None:
    settings = Settings(book=tmp_path / "book.jsonl", rate=2, series=(CouponSeries(multiple_allowed=False),))
    box = Sandbox(settings)
    async with aiohttp.ClientSession() as http:
        async with box:
            port = box.port
            first = await Api(box, http).issue()
        async with box:
            again = await Api(box, http).issue()
            refused = await Api(box, http).issue()

    async with Sandbox(replace(settings, rate=3)) as wider, aiohttp.ClientSession() as http:
        statuses = [(await Api(wider, http).issue()).status for _ in range(2)]

    assert (first.status, again.error, refused.status) == (200, 709, 429)
    assert box.port == port
    assert len({each.request for each in box.book.arrivals}) == 3
    assert statuses == [200, 429]  # the refused one doesn't count, then or now


def test_a_torn_last_line_never_happened(tmp_path: Path) -> None:
    path = tmp_path / "book.jsonl"
    book = Book(path)
    for arrival in arrivals(1.0, 2.0):
        book.add(arrival)
    book.close()
    path.write_bytes(path.read_bytes()[:-9])

    assert [each.at for each in Book.read(path).arrivals] == [1.0]
    book = Book(path)
    book.add(*arrivals(3.0))
    book.close()
    assert [each.at for each in Book.read(path).arrivals] == [1.0, 3.0]


@pytest.mark.parametrize("content", [b"name,mobile\n", b"{}\n", b"[1]\n", b'{"a": 1}', b'{"coupon": {"code": "x"}}\n'])
def test_a_file_that_is_no_book_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "customers.csv"
    path.write_bytes(content)

    with pytest.raises(ConfigError, match="line 1"):
        Book(path)

    assert path.read_bytes() == content
    with pytest.raises(ConfigError):
        Book(tmp_path)


# --- time ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [-420.0, 0.0, 420.0])
async def test_the_servers_clock_is_off_by_the_offset(api: Open, offset: float) -> None:
    client = await api(clock_offset=offset, dates=Dates.UTC)
    before = time.time()
    answer = await client.issue()
    (coupon,) = await client.recorded()

    date = parsedate_to_datetime(answer.headers["Date"]).timestamp()
    created = datetime.fromisoformat(coupon["createdDate"]).timestamp()
    assert before - 2 <= date - offset <= time.time() + 1
    assert before - 2 <= created - offset <= time.time() + 1
    assert before - 1 <= client.box.book.arrivals[0].at <= time.time() + 1


@pytest.mark.parametrize("iso_dates", [True, False])
@pytest.mark.parametrize(
    ("dates", "created", "iso", "valid_till"),
    [
        (Dates.UTC, "2026-08-19T11:22:11Z", "2026-08-19T11:22:11Z", "2036-05-09T00:00:00Z"),
        (Dates.MISLABELLED, "2026-08-19T16:52:11Z", "2026-08-19T11:22:11Z", "2036-05-09T00:00:00Z"),
        (Dates.INDIA, "2026-08-19T16:52:11+05:30", "2026-08-19T16:52:11+05:30", "2036-05-09T00:00:00+05:30"),
    ],
)
async def test_the_record_writes_dates_as_the_cluster_does(
    api: Open,
    dates: Dates,
    created: str,
    iso: str,
    valid_till: str,
    iso_dates: bool,  # noqa: FBT001
) -> None:
    client = await api(dates=dates, iso_dates=iso_dates)
    customer = client.box.world.customer(f"mobile:{MOBILE}")
    assert customer is not None
    moment = datetime(2026, 8, 19, 11, 22, 11, 900_000, tzinfo=UTC).timestamp()
    client.box.world.give(customer, SERIES, created=moment)

    (coupon,) = await client.recorded()
    old = (await client.coupons_v11()).json["response"]["customers"]["customer"]["coupons"]["coupon"]

    assert coupon["createdDate"] == created
    assert coupon.get("createdDateISO") == (iso if iso_dates else None)
    assert coupon["validTill"] == valid_till
    assert old["created_date"] == "2026-08-19T16:52:11+05:30"


# --- start, end, quiet --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.com", ""])
def test_only_loopback_addresses_are_bound(host: str) -> None:
    with pytest.raises(ConfigError, match="this machine only"):
        Sandbox(host=host)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.9"])
async def test_loopback_addresses_are_served(host: str) -> None:
    async with Sandbox(host=host) as box, aiohttp.ClientSession() as http:
        assert (await Api(box, http).issue()).status == 200


async def test_a_taken_port_is_said_so() -> None:
    async with Sandbox() as box:
        with pytest.raises(ConfigError, match=str(box.port)):
            async with Sandbox(port=box.port):
                pass


async def test_serve_runs_until_it_is_told_to_stop() -> None:
    stop = asyncio.Event()
    listening: asyncio.Future[Sandbox] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(Settings(), "127.0.0.1", 0, stop, listening.set_result))
    async with aiohttp.ClientSession() as http:
        client = Api(await listening, http)
        code = await client.code()
        stop.set()
        book = await serving

        assert [each.code for each in book.coupons_of(SERIES)] == [code]
        with pytest.raises(aiohttp.ClientConnectionError):
            await client.issue()


@pytest.mark.parametrize(
    "wrong",
    [
        {"rate": -1},
        {"per": 0},
        {"page_size": 0},
        {"latency": -1},
        {"series": ()},
        {"series": (CouponSeries(), CouponSeries())},
        {"faults": 1.5},
        {"fault_rates": {"unheard-of": 0.1}},
        {"fault_rates": {"drop-after": 0.6, "429": 0.6}},
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Settings(**wrong)


async def test_nothing_of_a_request_is_logged(
    api: Open, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    client = await api(customers=(ASHA,))
    code = await client.code()
    await client.coupons(mobile=MOBILE)
    reader, writer = await asyncio.open_connection("127.0.0.1", client.box.port)
    writer.write(f"GET /v2/customers/coupons?mobile={MOBILE} HTTP/1.1\r\n{MOBILE}\r\n\r\n".encode())
    malformed = await reader.read()
    writer.close()

    def bug(*_: object, **__: object) -> None:
        raise RuntimeError(MOBILE)

    monkeypatch.setattr(client.box.world, "issue", bug)
    broken = await client.issue()

    logged = caplog.text + "".join(capfd.readouterr())
    assert malformed.startswith((b"HTTP/1.0 400", b"HTTP/1.1 400"))
    assert broken.status == 500
    assert "RuntimeError at" in logged  # a bug is told, without its values
    for secret in (MOBILE, "asha@example.com", code, "demo-password", "demo-secret"):
        assert secret not in logged


async def test_no_repr_names_a_customer_a_code_or_a_password(api: Open) -> None:
    client = await api(customers=(ASHA,))
    code = await client.code()

    shown = repr(client.box.settings) + repr(ASHA) + repr(client.box.book.coupons_of(SERIES))

    for secret in (MOBILE, "asha@example.com", code, "demo-password", "demo-secret"):
        assert secret not in shown


def test_a_coupon_of_before_counts_for_nobody() -> None:
    book = Book()
    parts: dict[str, Any] = {"series": 1, "customer": 5, "created": 0.0, "visible": 0.0, "named": "", "store": "s"}
    for number, request in enumerate(("", "r1")):
        book.add(IssuedCoupon(number=number, code=str(number), request=request, **parts))

    assert book.issued_counts() == {(1, 5): 1}
    assert book.duplicates(1) == {}
    assert book.count(1) == 2
