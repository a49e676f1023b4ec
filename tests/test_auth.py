"""Credentials, over the real client and a real server."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable

import pytest

from bulk_issue.auth import TOKEN_PATH, Basic, OAuth
from bulk_issue.client import Client
from bulk_issue.config import Account
from bulk_issue.errors import ConfigError, JobHalted
from bulk_issue.model import Answer, Fault, FaultKind, ReadProblem, Reply, Unreadable
from tests.clocks import ManualClock
from tests.servers import Act, Request, Server, after, answer, basic, drop, hang, oauth, truncated
from tests.test_client import CUSTOMER, client_of, intent, page_v2

SECRETS = ("the-client-key", "the-client-secret", "token-1", "server123", "8a16a6b7", "c3RvcmUu")


def token(number: int, ttl: int = 300) -> Act:
    return answer(200, {"data": {"accessToken": f"token-{number}", "ttlSeconds": ttl}, "errors": None})


class Gate:
    """A token endpoint that numbers its tokens, beside an API that takes those that it is told to."""

    def __init__(self, ttl: int = 300) -> None:
        self.ttl = ttl
        self.given = 0
        self.refused: set[str] = set()

    def __call__(self, request: Request) -> Act:
        if request.path == TOKEN_PATH:
            self.given += 1
            return token(self.given, self.ttl)
        return answer(401 if request.headers["x-cap-api-oauth-token"] in self.refused else 200)


def carried(server: Server) -> list[str]:
    return [request.headers["x-cap-api-oauth-token"] for request in server.requests if request.path != TOKEN_PATH]


def fresh(got: Answer) -> bool:
    assert isinstance(got, Reply)
    return got.fresh_credential


# --- Basic ------------------------------------------------------------------------------------------------------


async def test_basic_is_the_vector_of_the_documents() -> None:
    credential = await Basic(basic("https://example.org")).credential()

    assert credential.headers == {"Authorization": "Basic c3RvcmUuc2VydmVyOjhhMTZhNmI3MDUwNWViMWYxZmY3Y2RjMGNkNTU1OWE3"}
    assert credential.fresh


async def test_basic_takes_any_script() -> None:
    credential = await Basic(Account(base_url="https://example.org", user="käthe", password="пароль")).credential()

    user, _, digest = base64.b64decode(credential.headers["Authorization"].split()[1]).decode().partition(":")
    assert (user, digest) == ("käthe", "e242f36f4f95f12966da8fa2efd59992")


async def test_under_basic_a_refused_look_up_is_not_repeated() -> None:
    async with Server.scripted(answer(401)) as server, client_of(basic(server.url)) as client:
        got = await client.series(1)

    assert isinstance(got, Unreadable)
    assert len(server.requests) == 1


# --- OAuth: one token for all -----------------------------------------------------------------------------------


async def test_a_token_is_asked_for_with_key_and_secret_and_carried_raw() -> None:
    async with Server(Gate()) as server, client_of(oauth(server.url)) as client:
        got = await client.issue(intent())

    asked, issued = server.requests
    assert (asked.method, asked.path) == ("POST", "/v3/oauth/token/generate")
    assert json.loads(asked.body) == {"key": "the-client-key", "secret": "the-client-secret"}
    assert asked.headers["content-type"] == "application/json"
    assert "authorization" not in asked.headers and "x-cap-api-oauth-token" not in asked.headers
    assert issued.headers["x-cap-api-oauth-token"] == "token-1"
    assert "authorization" not in issued.headers
    assert "x-cap-api-attribution-entity-type" not in issued.headers
    assert isinstance(got, Reply)


async def test_the_tokens_header_can_be_another() -> None:
    account_of = Account(
        base_url="http://127.0.0.1", client_key="k", client_secret="s", token_header="CAP-API-ACCESS-TOKEN"
    )

    async def post(_: str, __: bytes) -> Answer:
        body = b'{"data":{"accessToken":"t","ttlSeconds":300}}'
        return Reply(status=200, body=body, at=ManualClock().now())

    credential = await OAuth(account_of, ManualClock(), post).credential()

    assert not isinstance(credential, Fault)
    assert credential.headers == {"CAP-API-ACCESS-TOKEN": "t"}


async def test_attribution_goes_with_each_request() -> None:
    async with Server(Gate()) as server, client_of(oauth(server.url, "STORE_CODE", "store-7")) as client:
        await client.issue(intent())

    headers = server.requests[-1].headers
    assert headers["x-cap-api-attribution-entity-type"] == "STORE_CODE"
    assert headers["x-cap-api-attribution-entity-code"] == "store-7"


def test_attribution_that_no_header_can_hold_is_a_setting_to_mend() -> None:
    with pytest.raises(ConfigError):
        client_of(oauth("http://127.0.0.1", "TILL", "till\r\nX-Evil: 1"))


async def test_fifty_requests_at_once_fetch_one_token() -> None:
    async with Server(Gate()) as server, client_of(oauth(server.url), connections=50) as client:
        answers = await asyncio.gather(*(client.issue(intent(row=row)) for row in range(50)))

    assert [request.path for request in server.requests].count(TOKEN_PATH) == 1
    assert carried(server) == ["token-1"] * 50
    assert sum(map(fresh, answers)) == 1  # fetched for that one request


async def test_a_failed_fetch_is_the_failure_of_all_that_waited_for_it() -> None:
    async with Server.scripted(answer(503)) as server, client_of(oauth(server.url), connections=50) as client:
        answers = await asyncio.gather(*(client.issue(intent(row=row)) for row in range(50)))
        again = await client.issue(intent())

    assert {(got.kind, got.sent, got.detail) for got in answers if isinstance(got, Fault)} == {
        (FaultKind.AUTH, False, "no token: HTTP 503")
    }
    assert isinstance(again, Fault)
    assert len(server.requests) == 2


async def test_whoever_is_cancelled_while_fetching_leaves_the_fetch_to_the_next() -> None:
    go = asyncio.Event()

    def judge(request: Request) -> Act:
        return after(go, token(1)) if request.path == TOKEN_PATH else answer()

    async with Server(judge) as server, client_of(oauth(server.url)) as client:
        first = asyncio.create_task(client.issue(intent(row=1)))
        second = asyncio.create_task(client.issue(intent(row=2)))
        await server.until(lambda s: len(s.requests) == 1)
        first.cancel()
        go.set()
        got = await second

    assert isinstance(got, Reply)
    assert first.cancelled()
    assert carried(server) == ["token-1"]


async def test_a_token_that_was_refused_before_others_could_carry_it_is_not_carried() -> None:
    bodies = [b'{"data":{"accessToken":"token-%d","ttlSeconds":300}}' % number for number in (1, 2)]

    async def post(_: str, __: bytes) -> Answer:
        await asyncio.sleep(0)
        return Reply(status=200, body=bodies.pop(0), at=ManualClock().now())

    auth = OAuth(oauth("http://127.0.0.1"), ManualClock(), post)

    async def refused() -> None:
        credential = await auth.credential()
        assert not isinstance(credential, Fault)
        auth.forget(credential)

    _, waited = await asyncio.gather(refused(), auth.credential())

    assert not isinstance(waited, Fault)
    assert (waited.token, waited.fresh) == ("token-2", True)


# --- OAuth: age -------------------------------------------------------------------------------------------------


async def test_a_token_is_renewed_at_four_fifths_of_its_life() -> None:
    clock = ManualClock()
    async with Server(Gate(ttl=300)) as server, client_of(oauth(server.url), clock) as client:
        answers = [await client.issue(intent(row=1))]
        clock.forward(239.9)
        answers.append(await client.issue(intent(row=2)))
        clock.forward(0.1)
        answers.append(await client.issue(intent(row=3)))

    assert carried(server) == ["token-1", "token-1", "token-2"]
    assert list(map(fresh, answers)) == [True, False, True]


async def test_a_token_ages_while_it_is_on_its_way() -> None:
    clock = ManualClock()
    gate = Gate(ttl=300)

    def judge(request: Request) -> Act:
        if request.path == TOKEN_PATH and gate.given == 0:
            clock.forward(100)
        return gate(request)

    async with Server(judge) as server, client_of(oauth(server.url), clock) as client:
        await client.issue(intent(row=1))
        clock.forward(140)
        await client.issue(intent(row=2))

    assert carried(server) == ["token-1", "token-2"]


async def test_setting_the_wall_clock_back_keeps_no_token_alive() -> None:
    clock = ManualClock()
    async with Server(Gate(ttl=300)) as server, client_of(oauth(server.url), clock) as client:
        await client.issue(intent(row=1))
        clock.forward(250)
        clock.wall -= 86_400
        await client.issue(intent(row=2))

    assert carried(server) == ["token-1", "token-2"]


# --- OAuth: refused tokens --------------------------------------------------------------------------------------


async def test_a_refused_token_is_forgotten_and_the_request_not_sent_again() -> None:
    gate = Gate()
    async with Server(gate) as server, client_of(oauth(server.url)) as client:
        await client.issue(intent(row=1))
        gate.refused.add("token-1")
        refused = await client.issue(intent(row=2))
        sent = len(carried(server))
        after_it = await client.issue(intent(row=3))

    assert isinstance(refused, Reply) and isinstance(after_it, Reply)
    assert (refused.status, refused.fresh_credential, sent) == (401, False, 2)
    assert (after_it.status, after_it.fresh_credential) == (200, True)
    assert carried(server) == ["token-1", "token-1", "token-2"]


async def test_a_late_refusal_of_an_old_token_forgets_no_newer_one() -> None:
    gate, go = Gate(), asyncio.Event()
    held = [after(go, answer(401))]

    def judge(request: Request) -> Act:
        return held.pop() if held and request.path != TOKEN_PATH else gate(request)

    async with Server(judge) as server, client_of(oauth(server.url)) as client:
        first = asyncio.create_task(client.issue(intent(row=1)))
        await server.until(lambda s: len(s.requests) == 2)
        gate.refused.add("token-1")
        await client.issue(intent(row=2))  # refused at once: token-1 is forgotten
        await client.issue(intent(row=3))  # fetches token-2
        go.set()
        await first  # and only now token-1 is refused once more
        await client.issue(intent(row=4))

    assert carried(server) == ["token-1", "token-1", "token-2", "token-2"]
    assert gate.given == 2


async def test_a_look_up_is_asked_again_with_a_new_token_once() -> None:
    gate = Gate()

    def judge(request: Request) -> Act:
        act = gate(request)
        known = request.path != TOKEN_PATH and request.headers["x-cap-api-oauth-token"] not in gate.refused
        return page_v2(range(1), 1) if known else act

    async with Server(judge) as server, client_of(oauth(server.url)) as client:
        await client.coupons(CUSTOMER)
        gate.refused.add("token-1")
        healed = await client.coupons(CUSTOMER)
        gate.refused |= {"token-2", "token-3"}
        refused = await client.coupons(CUSTOMER)

    assert not isinstance(healed, Unreadable)
    assert isinstance(refused, Unreadable)
    assert (refused.problem, refused.reason) == (ReadProblem.REFUSED, "the credentials are refused (HTTP 401)")
    assert carried(server) == ["token-1", "token-1", "token-2", "token-2", "token-3"]


# --- OAuth: no token --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "act",
    [
        answer(401, {"data": None, "errors": [{"code": 3001, "message": "bad the-client-secret"}]}),
        answer(400, {"data": None, "errors": None}),
        answer(403, b"<response><status><success>false</success><code>403</code></status></response>"),
        answer(200, {"data": None, "errors": [{"code": 3001, "message": "no"}]}),
    ],
)
async def test_a_refused_key_halts_the_job(act: Act) -> None:
    async with Server.scripted(act) as server, client_of(oauth(server.url)) as client:
        with pytest.raises(JobHalted) as halted:
            await client.issue(intent())
        look_up = await client.coupons(CUSTOMER)

    assert halted.value.hint
    assert not any(secret in f"{halted.value!r} {halted.value.hint}" for secret in SECRETS)
    assert isinstance(look_up, Unreadable)  # look-ups never raise
    assert look_up.problem is ReadProblem.REFUSED
    assert {request.path for request in server.requests} == {TOKEN_PATH}


@pytest.mark.parametrize(
    "act",
    [
        answer(429, {"data": None, "errors": [{"code": 1, "message": "slow down"}]}),
        answer(404, b"<html>Not here</html>"),
        answer(500, {"data": None, "errors": [{"code": 1}]}),
        answer(503),
        answer(302, Location="/login"),
        answer(200, b"<html>Welcome</html>"),
        answer(200, {"data": {"accessToken": "a\r\nb", "ttlSeconds": 300}}),
        answer(200, {"data": {"accessToken": "token-1"}}),
        truncated(),
        drop,
        hang,
    ],
)
async def test_a_token_that_cant_be_had_now_is_a_fault_of_a_request_that_never_left(act: Act) -> None:
    async with Server.scripted(act) as server, client_of(oauth(server.url), timeout=0.2) as client:
        got = await client.issue(intent())
        look_up = await client.series(1)

    assert isinstance(got, Fault)
    assert (got.kind, got.sent) == (FaultKind.AUTH, False)
    assert got.detail.startswith("no token: ")
    assert isinstance(look_up, Unreadable)
    assert look_up.problem is ReadProblem.UNREADABLE
    assert {request.path for request in server.requests} == {TOKEN_PATH}


# --- org, secrets -----------------------------------------------------------------------------------------------


async def test_the_org_is_the_tokens() -> None:
    claims = base64.urlsafe_b64encode(json.dumps({"org_id": 100001}).encode()).decode().rstrip("=")
    given = answer(200, {"data": {"accessToken": f"head.{claims}.signature", "ttlSeconds": 300}, "errors": None})
    async with Server.scripted(given) as server, client_of(oauth(server.url)) as client:
        org = await client.org()

    assert org == "100001"


@pytest.mark.parametrize("account_of", [basic, oauth])
async def test_no_secret_shows(account_of: Callable[[str], Account], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    async with Server(Gate()) as server, client_of(account_of(server.url)) as client:
        got = await client.issue(intent())
        server.judge = lambda _: drop
        fault = await client.issue(intent())
        credential = await client._auth.credential()

    told = [repr(thing) for thing in (got, fault, credential, client, client._auth, vars(client._auth).get("_latest"))]
    assert not any(secret in text for secret in SECRETS for text in (*told, caplog.text))


def test_a_client_is_of_one_kind() -> None:
    clients: list[Client] = [client_of(basic("https://example.org")), client_of(oauth("https://example.org"))]

    assert [type(client._auth) for client in clients] == [Basic, OAuth]
