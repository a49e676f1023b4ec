"""The client against a real server that misbehaves: what left, what came back, and what is read of the record."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from asyncio import selector_events
from collections.abc import Callable
from typing import Any

import pytest

from bulk_issue.client import Client
from bulk_issue.client.exchange import LONGEST_BODY
from bulk_issue.config import Account
from bulk_issue.errors import JobHalted
from bulk_issue.model import (
    Answer,
    Fault,
    FaultKind,
    Identifier,
    IdentifierKind,
    Intent,
    JobId,
    Reading,
    ReadProblem,
    Reply,
    Series,
    Unreadable,
)
from tests.clocks import ManualClock
from tests.servers import Act, Request, Server, after, answer, basic, drop, hang, oauth, reset, says, truncated

SERIES = 544770
MOBILE = "+91 98000&00001"
CUSTOMER = Identifier(IdentifierKind.MOBILE, MOBILE, "mobile:919800000001")
#: Long enough for whatever should happen on this machine.
PATIENT = 60.0
#: For what never happens.
SHORT = 0.2


def client_of(
    account: Account, clock: ManualClock | None = None, *, timeout: float = PATIENT, connections: int = 5
) -> Client:
    return Client(account, clock or ManualClock(), timeout=timeout, connections=connections, series_id=SERIES)


def intent(send_by: float = 1e9, row: int = 1) -> Intent:
    return Intent(
        job=JobId("job"),
        row=row,
        attempt=1,
        spent=0,
        doubted=False,
        holder="me",
        series_id=SERIES,
        identifier=CUSTOMER,
        begun=ManualClock().now(),
        send_by=send_by,
    )


def assert_quiet(answer: Answer | Unreadable) -> None:
    """No identifier and no credential in what people and logs may see."""
    told = repr(answer)
    for secret in (MOBILE, "98000", "server123", "c3RvcmU", "the-client-secret"):
        assert secret not in told


# --- what is sent -----------------------------------------------------------------------------------------------


async def test_an_intent_is_one_post() -> None:
    clock = ManualClock()
    async with Server.scripted(answer(200, {"code": "A1"})) as server, client_of(basic(server.url), clock) as client:
        got = await client.issue(intent())

    (request,) = server.requests
    assert (request.method, request.path) == ("POST", "/v2/coupon/issue")
    assert json.loads(request.body) == {"seriesId": SERIES, "customer": {"mobile": MOBILE}}
    assert request.headers["content-type"] == request.headers["accept"] == "application/json"
    assert request.headers["content-length"] == str(len(request.body))
    assert request.headers["user-agent"].startswith("bulk-issue/")
    assert request.headers["authorization"].startswith("Basic ")
    assert isinstance(got, Reply)
    assert (got.status, got.body, got.at, got.fresh_credential) == (200, b'{"code": "A1"}', clock.now(), True)


async def test_only_headers_that_somebody_reads_are_kept() -> None:
    reply = answer(200, X_Cap_RequestID="r-1", Date="Sun, 06 Nov 1994 08:49:37 GMT", Set_Cookie="a=b", Server="x")
    async with Server.scripted(reply) as server, client_of(basic(server.url)) as client:
        got = await client.issue(intent())

    assert isinstance(got, Reply)
    assert got.headers == {"x-cap-requestid": "r-1", "date": "Sun, 06 Nov 1994 08:49:37 GMT"}


async def test_undecodable_headers_can_be_stored() -> None:
    async with Server.scripted(answer(200, X_Cap_RequestID="r\xff1")) as server, client_of(basic(server.url)) as client:
        got = await client.issue(intent())

    assert isinstance(got, Reply)
    assert got.headers["x-cap-requestid"].encode()


async def test_cookies_are_not_sent_back() -> None:
    async with Server.scripted(answer(200, Set_Cookie="session=1")) as server, client_of(basic(server.url)) as client:
        await client.issue(intent())
        await client.issue(intent())

    assert [request.headers.get("cookie") for request in server.requests] == [None, None]


async def test_the_environments_proxies_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Server.scripted(answer()) as server, Server.scripted(answer(502)) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        async with client_of(basic(server.url)) as client:
            got = await client.issue(intent())

    assert isinstance(got, Reply)
    assert got.status == 200
    assert proxy.connections == 0


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_an_answer(status: int) -> None:
    async with Server.scripted(answer(status, Location="/elsewhere")) as server, client_of(basic(server.url)) as client:
        got = await client.issue(intent())

    assert isinstance(got, Reply)
    assert (got.status, got.headers["location"]) == (status, "/elsewhere")
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [400, 401, 408, 421, 425, 429, 500, 502, 503, 504, 521])
async def test_no_status_makes_the_client_send_again(status: int) -> None:
    async with Server.scripted(answer(status, Retry_After="0")) as server, client_of(basic(server.url)) as client:
        got = await client.issue(intent())

    assert isinstance(got, Reply)
    assert got.status == status
    assert len(server.requests) == 1


# --- what never left --------------------------------------------------------------------------------------------


async def test_a_refused_connection_never_left() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        async with client_of(basic(f"http://127.0.0.1:{closed.getsockname()[1]}")) as client:
            got = await client.issue(intent())

    assert isinstance(got, Fault)
    assert (got.kind, got.sent) == (FaultKind.CONNECT, False)
    assert "refused" in got.detail
    assert_quiet(got)


async def test_an_unknown_host_never_left(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:  # as the resolver says it, without asking anybody's name server
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    async with client_of(basic("https://nowhere.invalid")) as client:
        got = await client.issue(intent())

    assert isinstance(got, Fault)
    assert (got.kind, got.sent) == (FaultKind.CONNECT, False)
    assert "name is unknown" in got.detail


@pytest.mark.parametrize("act", [says(b"HTTP/1.1 400 Bad Request\r\n\r\n"), drop, reset])
async def test_a_failed_tls_handshake_never_left(act: Act) -> None:
    async def speak(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await act(writer)
        writer.close()

    plain = await asyncio.start_server(speak, "127.0.0.1", 0)
    async with plain, client_of(basic(f"https://127.0.0.1:{plain.sockets[0].getsockname()[1]}")) as client:
        got = await client.issue(intent())

    assert isinstance(got, Fault)
    assert (got.kind, got.sent) == (FaultKind.CONNECT, False)
    assert got.detail.startswith("no ")


async def test_a_handshake_that_takes_too_long_never_left() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:  # the kernel accepts, nobody answers
        async with client_of(basic(f"https://127.0.0.1:{mute.getsockname()[1]}"), timeout=SHORT) as client:
            got = await client.issue(intent())

    assert isinstance(got, Fault)
    assert (got.kind, got.sent) == (FaultKind.CONNECT, False)
    assert got.detail == "no connection within 0.2 s"


async def test_a_time_out_in_the_queue_never_left() -> None:
    async with Server.scripted(hang) as server, client_of(basic(server.url), timeout=SHORT, connections=1) as client:
        on_the_wire, queued = await asyncio.gather(client.issue(intent(row=1)), client.issue(intent(row=2)))

    assert isinstance(on_the_wire, Fault) and isinstance(queued, Fault)
    assert (on_the_wire.kind, on_the_wire.sent) == (FaultKind.TIMEOUT, True)
    assert (queued.kind, queued.sent) == (FaultKind.CONNECT, False)
    assert len(server.requests) == 1


# --- what may have left -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("act", "kind"),
    [
        pytest.param(drop, FaultKind.RESET, id="dropped"),
        pytest.param(reset, FaultKind.RESET, id="reset"),
        pytest.param(truncated(200), FaultKind.RESET, id="truncated"),
        pytest.param(truncated(429), FaultKind.RESET, id="truncated refusal"),
        pytest.param(says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), None, id="bad chunk"),
        pytest.param(says(b"SSH-2.0-OpenSSH_9.9\r\n\r\n"), FaultKind.OTHER, id="not HTTP"),
        pytest.param(answer(200, b"no gzip", Content_Encoding="gzip"), None, id="not what it says"),
    ],
)
async def test_a_request_without_a_whole_answer_may_have_left(act: Act, kind: FaultKind | None) -> None:
    async with Server.scripted(act) as server, client_of(basic(server.url)) as client:
        got = await client.issue(intent())

    assert isinstance(got, Fault)
    assert got.sent
    assert kind in (None, got.kind)
    assert len(server.requests) == 1
    assert_quiet(got)


@pytest.mark.parametrize("act", [hang, says(b"HTTP/1.1 200 OK\r\nContent-Le"), says(b"HTTP/1.1 100 Continue\r\n\r\n")])
async def test_a_request_that_hangs_may_have_left(act: Act) -> None:
    async def and_hang(writer: asyncio.StreamWriter) -> None:
        await act(writer)
        await hang(writer)

    async with Server.scripted(and_hang) as server, client_of(basic(server.url), timeout=SHORT) as client:
        got = await client.issue(intent())
        await server.until(lambda s: s.ended == [1])  # its answer must never meet another request

    assert isinstance(got, Fault)
    assert (got.kind, got.sent) == (FaultKind.TIMEOUT, True)


async def test_the_time_out_covers_the_body() -> None:
    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while True:
            writer.write(b" ")
            await asyncio.sleep(0.01)

    async with Server.scripted(drip) as server, client_of(basic(server.url), timeout=SHORT) as client:
        got = await client.issue(intent())

    assert isinstance(got, Fault)
    assert (got.kind, got.sent) == (FaultKind.TIMEOUT, True)


async def test_a_cancelled_request_ends_as_cancelled() -> None:
    async with Server.scripted(hang) as server, client_of(basic(server.url)) as client:
        task = asyncio.create_task(client.issue(intent()))
        await server.until(lambda s: len(s.requests) == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await server.until(lambda s: s.ended == [1])

    assert task.cancelled()


# --- send_by ----------------------------------------------------------------------------------------------------


async def test_a_request_that_waited_too_long_for_a_connection_is_dropped() -> None:
    clock, go = ManualClock(), asyncio.Event()
    async with Server.scripted(after(go, answer())) as server:
        async with client_of(basic(server.url), clock, connections=1) as client:
            first = asyncio.create_task(client.issue(intent(row=1)))
            await server.until(lambda s: len(s.requests) == 1)
            heard = bytes(server.heard)
            second = asyncio.create_task(client.issue(intent(row=2, send_by=clock.boot + 5)))
            clock.forward(5.001)
            go.set()
            answers = await asyncio.gather(first, second)
        await server.until(lambda s: len(s.ended) == s.connections)

    assert isinstance(answers[0], Reply)
    late = answers[1]
    assert isinstance(late, Fault)
    assert (late.kind, late.sent, late.at) == (FaultKind.LATE, False, clock.now())
    assert bytes(server.heard) == heard


async def test_the_very_moment_of_send_by_is_in_time() -> None:
    clock = ManualClock()
    async with Server.scripted(answer()) as server, client_of(basic(server.url), clock) as client:
        got = await client.issue(intent(send_by=clock.boot))

    assert isinstance(got, Reply)


async def test_nothing_is_written_after_send_by_however_the_loop_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock moves with every step of the loop, so a check in any earlier step than the write's shows up here."""
    clock = ManualClock(boot=0.0)
    written: list[float] = []
    write = selector_events._SelectorSocketTransport.write  # type: ignore[attr-defined]

    def noted(transport: object, data: bytes) -> None:
        if bytes(data).startswith(b"POST"):
            written.append(clock.boot)
        write(transport, data)

    monkeypatch.setattr(selector_events._SelectorSocketTransport, "write", noted)  # type: ignore[attr-defined]
    stepping: list[asyncio.Handle] = []

    def step() -> None:
        clock.forward(1.0)
        stepping[:] = [asyncio.get_running_loop().call_soon(step)]

    step()
    kinds: set[object] = set()
    async with Server.scripted(answer()) as server, client_of(basic(server.url), clock, connections=1) as client:
        for patience in range(12):
            written.clear()
            send_by = clock.boot + patience
            got = await client.issue(intent(send_by=send_by))
            kinds.add(got.kind if isinstance(got, Fault) else got.status)
            assert all(at <= send_by for at in written)
            assert bool(written) == isinstance(got, Reply)
        stepping[0].cancel()

    assert kinds == {FaultKind.LATE, 200}


# --- connections ------------------------------------------------------------------------------------------------


async def test_connections_are_reused() -> None:
    async with Server.scripted(answer()) as server, client_of(basic(server.url)) as client:
        for _ in range(3):
            await client.issue(intent())

    assert [request.connection for request in server.requests] == [1, 1, 1]


async def test_a_post_on_a_reused_connection_that_drops_is_not_sent_again() -> None:
    async with Server.scripted(answer(), drop, answer()) as server, client_of(basic(server.url)) as client:
        await client.issue(intent(row=1))
        got = await client.issue(intent(row=2))

    assert isinstance(got, Fault)
    assert (got.kind, got.sent) == (FaultKind.RESET, True)
    assert [request.connection for request in server.requests] == [1, 1]


async def test_a_post_on_a_connection_that_had_just_been_closed_is_not_sent_again() -> None:
    """The server closed the idle connection, and our loop couldn't know yet: the worst moment to use it."""
    connections: list[int] = []
    close, closed = threading.Event(), threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        plug, _ = listener.accept()
        with plug:
            connections.append(1)
            while b"}}" not in plug.recv(65536):
                pass
            plug.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            close.wait()
        closed.set()
        listener.settimeout(SHORT)
        with pytest.raises(TimeoutError):
            listener.accept()

    server = threading.Thread(target=serve)
    server.start()
    with listener:
        async with client_of(basic(f"http://127.0.0.1:{listener.getsockname()[1]}")) as client:
            first = await client.issue(intent(row=1))
            close.set()
            assert closed.wait(10)  # without giving the loop a chance to see it
            second = await client.issue(intent(row=2))
            await asyncio.to_thread(server.join)

    assert isinstance(first, Reply)
    assert isinstance(second, Fault)
    assert second.sent
    assert connections == [1]


async def test_an_answer_that_nobody_asked_for_goes_to_no_row() -> None:
    """A connection that holds bytes before a request is sent would give every later request its forerunner's coupon."""
    told = asyncio.Event()

    async def twice(writer: asyncio.StreamWriter) -> None:
        await answer(200, {"code": "FIRST"})(writer)
        await told.wait()
        await answer(200, {"code": "AGAIN"})(writer)

    async with (
        Server.scripted(twice, answer(200, {"code": "SECOND"})) as server,
        client_of(basic(server.url), connections=1) as client,
    ):
        first = await client.issue(intent(row=1))
        told.set()
        await asyncio.sleep(0.05)  # the second answer arrives while the connection idles
        got = [await client.issue(intent(row=row)) for row in (2, 3)]

    assert isinstance(first, Reply) and first.body == b'{"code": "FIRST"}'
    assert isinstance(got[0], Fault)
    assert (got[0].sent, got[0].detail) == (False, "an answer came that nobody had asked for")
    assert isinstance(got[1], Reply) and got[1].body == b'{"code": "SECOND"}'
    assert [request.connection for request in server.requests] == [1, 2]


async def test_at_most_so_many_requests_are_on_the_wire() -> None:
    go = asyncio.Event()
    async with (
        Server.scripted(after(go, answer())) as server,
        client_of(basic(server.url), connections=3) as client,
    ):
        tasks = [asyncio.create_task(client.issue(intent(row=row))) for row in range(9)]
        await server.until(lambda s: len(s.requests) == 3)
        go.set()
        answers = await asyncio.gather(*tasks)

    assert all(isinstance(got, Reply) for got in answers)
    assert server.connections == 3
    assert len(server.requests) == 9


async def test_reset_uses_no_old_connection_and_harms_no_request() -> None:
    go = asyncio.Event()
    async with Server.scripted(answer(), answer()) as server, client_of(basic(server.url)) as client:
        server.judge = lambda request: answer() if request.connection == 1 else after(go, answer(200, b"late"))
        await client.issue(intent(row=1))
        server.judge = lambda _: after(go, answer(200, b"late"))
        under_way = asyncio.create_task(client.issue(intent(row=2)))
        await server.until(lambda s: len(s.requests) == 2)
        await client.reset()
        server.judge = lambda _: answer(200, b"new")
        new = await client.issue(intent(row=3))
        go.set()
        old = await under_way
        await server.until(lambda s: s.ended == [1])  # the last request on the old connections closes them

    assert isinstance(new, Reply) and new.body == b"new"
    assert isinstance(old, Reply) and old.body == b"late"
    assert [request.connection for request in server.requests] == [1, 1, 2]


async def test_reset_closes_what_is_idle() -> None:
    async with Server.scripted(answer()) as server, client_of(basic(server.url)) as client:
        await client.issue(intent())
        await client.reset()
        await server.until(lambda s: s.ended == [1])
        await client.issue(intent())

    assert server.connections == 2


async def test_an_endless_body_is_cut_and_its_connection_closed() -> None:
    bodies = [b"x" * LONGEST_BODY, b"y" * 10 * LONGEST_BODY, b"end"]
    async with (
        Server.scripted(*(answer(200, body) for body in bodies)) as server,
        client_of(basic(server.url), connections=1) as client,
    ):
        got = [await client.issue(intent(row=row)) for row in range(3)]

    assert [reply.body if isinstance(reply, Reply) else None for reply in got] == [
        body[:LONGEST_BODY] for body in bodies
    ]
    assert [request.connection for request in server.requests] == [1, 1, 2]


# --- the record: coupons ----------------------------------------------------------------------------------------

V2, V1 = "/v2/customers/coupons", "/v1.1/customer/coupons"
DATE = "Thu, 19 Aug 2027 11:22:11 GMT"


def coupon_v2(number: int) -> dict[str, Any]:
    return {
        "code": f"CODE{number}",
        "seriesId": SERIES,
        "id": 1000 + number,
        "createdDate": "2027-08-19T16:52:11Z",
        "createdDateISO": "2027-08-19T11:22:11Z",
    }


def page_v2(numbers: range, total: int | None, customer: int = 555, date: str = DATE) -> Act:
    pagination = {"limit": "100", "offset": "0"} | ({} if total is None else {"total": total})
    customers = [{"id": customer, "coupons": [coupon_v2(number) for number in numbers]}]
    body = {"entity": {"pagination": pagination, "customers": customers}, "errors": [], "success": True}
    return answer(200, body, Date=date)


def coupons_v1() -> Act:
    coupon = {"id": "2400001", "code": "LEGACY", "created_date": "2027-08-19T16:52:11+05:30"}
    status = {"success": "true", "code": "200", "message": "SUCCESS"}
    customer = {"id": "555", "coupons": {"coupon": coupon}, "item_status": {"success": "true", "code": "1000"}}
    pagination = {"limit": "100", "offset": "0", "total": 1}
    return answer(200, {"response": {"pagination": pagination, "status": status, "customers": {"customer": customer}}})


def unknown_customer(status: int) -> Act:
    return answer(status, {"errors": [{"status": False, "code": 8015, "message": "Customer not found"}]})


def paged(total: int | None, cap: int = 100, have: int | None = None) -> Callable[[Request], Act]:
    """A record of so many coupons, at most `cap` a page whatever is asked for."""
    size = total if have is None else have
    assert size is not None

    def judge(request: Request) -> Act:
        offset = int(request.query["offset"])
        return page_v2(range(offset, min(offset + cap, size)), total)

    return judge


async def test_a_reading_has_every_page_and_the_servers_own_time() -> None:
    clock = ManualClock()

    def judge(request: Request) -> Act:
        if (offset := int(request.query["offset"])) == 0:
            return page_v2(range(100), 250)
        clock.forward(7)
        return page_v2(range(offset, min(offset + 100, 250)), 250, date="Thu, 19 Aug 2027 11:22:18 GMT")

    async with Server(judge) as server, client_of(basic(server.url), clock) as client:
        began = clock.now()
        reading = await client.coupons(CUSTOMER)

    assert isinstance(reading, Reading)
    assert [coupon.code for coupon in reading.coupons] == [f"CODE{number}" for number in range(250)]
    assert (reading.endpoint, reading.server_time, reading.at) == ("v2/customers/coupons", 1818674531.0, began)
    assert reading.customer_id == 555
    assert [(request.method, request.path) for request in server.requests] == [("GET", V2)] * 3
    assert server.requests[1].query == {
        "mobile": MOBILE,
        "coupon_code_case": "AS_IT_IS",
        "sort_order": "DESC",
        "limit": "100",
        "offset": "100",
    }
    assert server.requests[0].headers["authorization"].startswith("Basic ")


@pytest.mark.parametrize(
    ("judge", "pages"),
    [
        pytest.param(paged(0), 1, id="no coupons"),
        pytest.param(paged(100), 1, id="one full page"),
        pytest.param(paged(120, cap=50), 3, id="shorter pages than asked for"),
        pytest.param(paged(None, have=120), 3, id="no total: until a page is empty"),
    ],
)
async def test_pages_are_read_to_the_end_and_no_further(judge: Callable[[Request], Act], pages: int) -> None:
    async with Server(judge) as server, client_of(basic(server.url)) as client:
        reading = await client.coupons(CUSTOMER)

    assert isinstance(reading, Reading)
    assert len(server.requests) == pages


@pytest.mark.parametrize("kind", list(IdentifierKind))
async def test_each_kind_of_identifier_has_its_parameter(kind: IdentifierKind) -> None:
    value = "1234" if kind is IdentifierKind.ID else "a+b&c=é@example.com"
    async with Server.scripted(page_v2(range(1), 1)) as server, client_of(basic(server.url)) as client:
        await client.coupons(Identifier(kind, value, f"{kind}:{value}"))

    assert server.requests[0].query[str(kind)] == value


@pytest.mark.parametrize(
    "second",
    [
        pytest.param(page_v2(range(100, 130), 131), id="the total changed"),
        pytest.param(page_v2(range(99, 129), 130), id="the pages overlap"),
        pytest.param(page_v2(range(100), 130), id="the first page again"),
        pytest.param(page_v2(range(100, 130), 130, customer=556), id="another customer"),
        pytest.param(page_v2(range(100, 140), 130), id="more than the total"),
        pytest.param(page_v2(range(0), 130), id="less than the total"),
        pytest.param(unknown_customer(200), id="the customer is gone"),
    ],
)
async def test_pages_that_dont_fit_together_are_read_again_once(second: Act) -> None:
    first = page_v2(range(100), 130)
    good = page_v2(range(100, 130), 130)
    async with Server.scripted(first, second, first, good) as server, client_of(basic(server.url)) as client:
        healed = await client.coupons(CUSTOMER)
    async with Server.scripted(first, second, first, second, drop) as other, client_of(basic(other.url)) as client:
        unsteady = await client.coupons(CUSTOMER)

    assert isinstance(healed, Reading)
    assert len(healed.coupons) == 130
    assert [request.query["offset"] for request in server.requests] == ["0", "100", "0", "100"]
    assert isinstance(unsteady, Unreadable)
    assert unsteady.problem is ReadProblem.UNREADABLE
    assert len(other.requests) == 4


async def test_an_endless_record_is_unreadable() -> None:
    async with (
        Server(paged(None, cap=1, have=100_000)) as server,
        client_of(basic(server.url)) as client,
    ):
        got = await client.coupons(CUSTOMER)

    assert isinstance(got, Unreadable)
    assert got.problem is ReadProblem.UNREADABLE
    assert len(server.requests) == 100


async def test_a_later_page_that_fails_makes_the_whole_unreadable() -> None:
    async with (
        Server.scripted(page_v2(range(100), 130), answer(500)) as server,
        client_of(basic(server.url)) as client,
    ):
        got = await client.coupons(CUSTOMER)

    assert isinstance(got, Unreadable)
    assert got.problem is ReadProblem.UNREADABLE


@pytest.mark.parametrize("status", [200, 400, 404])
async def test_an_unknown_customer_is_not_one_without_coupons(status: int) -> None:
    async with Server.scripted(unknown_customer(status)) as server, client_of(basic(server.url)) as client:
        got = await client.coupons(CUSTOMER)

    assert isinstance(got, Unreadable)
    assert got.problem is ReadProblem.NOT_FOUND
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("act", "problem"),
    [
        (answer(429), ReadProblem.THROTTLED),
        (answer(401), ReadProblem.REFUSED),
        (answer(403), ReadProblem.REFUSED),
        (answer(404), ReadProblem.REFUSED),
        (answer(405), ReadProblem.REFUSED),
        (answer(200, b"<html>Welcome</html>"), ReadProblem.UNREADABLE),
        (answer(200, b"{}"), ReadProblem.UNREADABLE),
        (answer(400), ReadProblem.UNREADABLE),
        (answer(500), ReadProblem.UNREADABLE),
        (answer(302, Location=V2), ReadProblem.UNREADABLE),
        (answer(200, b" " * 2 * LONGEST_BODY), ReadProblem.UNREADABLE),
        (truncated(), ReadProblem.UNREADABLE),
        (says(b"SSH-2.0-OpenSSH_9.9\r\n\r\n"), ReadProblem.UNREADABLE),
        (reset, ReadProblem.UNREADABLE),
    ],
)
async def test_what_says_nothing_is_unreadable_and_never_empty(act: Act, problem: ReadProblem) -> None:
    async with Server.scripted(act) as server, client_of(basic(server.url)) as client:
        got = await client.coupons(CUSTOMER)
        facts = await client.series(SERIES)

    assert isinstance(got, Unreadable) and isinstance(facts, Unreadable)
    assert got.problem is facts.problem is problem
    assert_quiet(got)


async def test_a_look_up_that_hangs_is_unreadable() -> None:
    async with Server.scripted(hang) as server, client_of(basic(server.url), timeout=SHORT) as client:
        got = await client.coupons(CUSTOMER)

    assert isinstance(got, Unreadable)
    assert (got.problem, got.reason) == (ReadProblem.UNREADABLE, "no complete answer within 0.2 s")


@pytest.mark.parametrize(("header", "seconds"), [("17", 17.0), ("soon", None), ("", None)])
async def test_a_throttled_look_up_says_for_how_long(header: str, seconds: float | None) -> None:
    async with Server.scripted(answer(429, Retry_After=header)) as server, client_of(basic(server.url)) as client:
        got = await client.coupons(CUSTOMER)

    assert isinstance(got, Unreadable)
    assert (got.problem, got.retry_after) == (ReadProblem.THROTTLED, seconds)


@pytest.mark.parametrize("status", [403, 404, 405])
async def test_where_v2_is_refused_v1_is_read_from_then_on(status: int) -> None:
    async with (
        Server(lambda request: answer(status) if request.path == V2 else coupons_v1()) as server,
        client_of(basic(server.url)) as client,
    ):
        readings = [await client.coupons(CUSTOMER) for _ in range(2)]

    assert all(isinstance(reading, Reading) for reading in readings)
    assert {reading.endpoint for reading in readings if isinstance(reading, Reading)} == {"v1.1/customer/coupons"}
    assert [request.path for request in server.requests] == [V2, V1, V1]
    # no start_date: a coupon of days ago must not look absent
    assert server.requests[1].query == {
        "format": "json",
        "mobile": MOBILE,
        "series_id": str(SERIES),
        "order_by": "created_date",
        "sort_order": "desc",
        "limit": "100",
        "offset": "0",
    }


async def test_an_endpoint_that_has_answered_is_not_changed_for_another() -> None:
    """Readers are proven one by one: a passing 403 must not move the next look-up to a reader that never was."""
    acts = [page_v2(range(1), 1), answer(403), coupons_v1()]
    async with Server.scripted(*acts) as server, client_of(basic(server.url)) as client:
        first, second = await client.coupons(CUSTOMER), await client.coupons(CUSTOMER)

    assert isinstance(first, Reading)
    assert isinstance(second, Unreadable)
    assert second.problem is ReadProblem.REFUSED
    assert [request.path for request in server.requests] == [V2, V2]


@pytest.mark.parametrize("act", [answer(500), answer(429), truncated()])
async def test_an_endpoint_that_has_not_answered_is_not_settled_on(act: Act) -> None:
    async with Server.scripted(act, answer(403), coupons_v1()) as server, client_of(basic(server.url)) as client:
        first, second = await client.coupons(CUSTOMER), await client.coupons(CUSTOMER)

    assert isinstance(first, Unreadable)
    assert isinstance(second, Reading)
    assert [request.path for request in server.requests] == [V2, V2, V1]


async def test_where_both_are_refused_both_are_asked_again() -> None:
    async with (
        Server(lambda request: answer(403 if request.path == V2 else 404)) as server,
        client_of(basic(server.url)) as client,
    ):
        got = [await client.coupons(CUSTOMER) for _ in range(2)]

    assert [(found.problem, found.reason) for found in got if isinstance(found, Unreadable)] == [
        (ReadProblem.REFUSED, "the account may not read this (HTTP 403)")
    ] * 2
    assert [request.path for request in server.requests] == [V2, V1, V2, V1]


SPELLINGS = ("externalId", "external_Id", "external_id")
EXTERNAL = Identifier(IdentifierKind.EXTERNAL_ID, "00042", "externalId:00042")
NOBODY_LISTED = answer(200, {"entity": {"pagination": {"total": 0}, "customers": []}, "errors": [], "success": True})
MISSING = answer(200, {"errors": [{"status": False, "code": 8084, "message": "Customer details are not passed"}]})


def spelled(requests: list[Request]) -> list[str]:
    return [name for request in requests for name in request.query if name.casefold().startswith("external")]


@pytest.mark.parametrize("right", SPELLINGS)
@pytest.mark.parametrize("other", [answer(400), NOBODY_LISTED, MISSING, unknown_customer(200)])
async def test_every_spelling_of_external_id_is_tried_and_the_one_that_knows_is_remembered(
    right: str, other: Act
) -> None:
    """A server that ignores a parameter that it doesn't know answers 200 and an empty list."""

    def judge(request: Request) -> Act:
        return page_v2(range(1), 1) if right in request.query else other

    async with Server(judge) as server, client_of(basic(server.url)) as client:
        readings = [await client.coupons(EXTERNAL) for _ in range(2)]

    assert all(isinstance(reading, Reading) for reading in readings)
    assert spelled(server.requests) == [*SPELLINGS[: SPELLINGS.index(right) + 1], right]


@pytest.mark.parametrize("path", [V2, V1])
async def test_nobody_is_not_found_before_every_spelling_was_tried(path: str) -> None:
    acts = {V2: NOBODY_LISTED if path == V2 else answer(403), V1: unknown_v1()}
    async with Server(lambda request: acts[request.path]) as server, client_of(basic(server.url)) as client:
        got = await client.coupons(EXTERNAL)

    assert isinstance(got, Unreadable)
    assert got.problem is ReadProblem.NOT_FOUND
    assert sorted(spelled([each for each in server.requests if each.path == path])) == sorted(SPELLINGS)


def unknown_v1() -> Act:
    status = {"success": "false", "code": "1012", "message": "Customer not found"}
    return answer(200, {"response": {"status": status, "customers": {"customer": {"item_status": status}}}})


async def test_a_spelling_that_meets_trouble_leaves_it_open() -> None:
    async with Server.scripted(NOBODY_LISTED, answer(500)) as server, client_of(basic(server.url)) as client:
        got = await client.coupons(EXTERNAL)

    assert isinstance(got, Unreadable)
    assert got.problem is ReadProblem.UNREADABLE


def lengthy(request: Request) -> Act:
    """Each coupon has terms of 12 KiB."""
    limit, offset = int(request.query["limit"]), int(request.query["offset"])
    coupons = [
        coupon_v2(number) | {"description": "terms " * 2_000} for number in range(offset, min(offset + limit, 100))
    ]
    entity = {"pagination": {"total": 100}, "customers": [{"id": 555, "coupons": coupons}]}
    return answer(200, {"entity": entity, "errors": [], "success": True}, Date=DATE)


async def test_a_page_that_is_too_long_is_asked_for_in_shorter_ones() -> None:
    async with Server(lengthy) as server, client_of(basic(server.url)) as client:
        reading = await client.coupons(CUSTOMER)

    assert isinstance(reading, Reading)
    assert [coupon.code for coupon in reading.coupons] == [f"CODE{number}" for number in range(100)]
    assert [request.query["limit"] for request in server.requests][:3] == ["100", "20", "20"]


async def test_a_server_that_makes_no_shorter_pages_is_unreadable() -> None:
    endless = answer(200, b" " * 2 * LONGEST_BODY)
    async with Server.scripted(endless) as server, client_of(basic(server.url)) as client:
        got = await client.coupons(CUSTOMER)

    assert isinstance(got, Unreadable)
    assert len(server.requests) == 4


# --- the record: by way of the bearer -----------------------------------------------------------------------------

LOOKUP = "/v2/customers/lookup"


def of_bearer(entity: object, **errors: Any) -> Act:
    return answer(200, {"entity": entity, "errors": [], "success": True} | errors, Date=DATE)


def detailed(*numbers: int, customer: int = 555) -> Act:
    coupons = [
        {
            "id": 1000 + number,
            "seriesId": SERIES,
            "code": f"CODE{number}",
            "issuedTo": customer,
            "issuedOn": "2027-08-19T16:52:11Z",
            "issuedOnISO": "2027-08-19T11:22:11Z",
            "issuedAt": {"code": "store01"},
            "validTill": "2027-09-19T23:59:59Z",
        }
        for number in numbers
    ]
    return answer(200, {"entity": coupons, "errors": [], "success": True}, Date=DATE)


def said(word: str, status: int = 404) -> Act:
    return answer(status, {"errors": [{"status": False, "code": status, "message": word}]}, Date=DATE)


async def test_a_bearers_coupons_are_read_like_any_others() -> None:
    acts = {LOOKUP: of_bearer(555), "/v2/customers/555/coupons": detailed(1, 2)}
    async with Server(lambda request: acts[request.path]) as server, client_of(basic(server.url)) as client:
        reading = await client.coupons_by_bearer(CUSTOMER)

    assert isinstance(reading, Reading)
    assert (reading.endpoint, reading.customer_id) == ("v2/customers/lookup", 555)
    assert reading.server_time == 1818674531.0
    (first, _) = reading.coupons
    assert (first.code, first.series_id, first.created, first.true_utc) == ("CODE1", SERIES, 1818674531.0, True)
    assert (first.coupon_id, first.issued_at) == (1001, "store01")
    assert server.requests[0].query == {"source": "INSTORE", "identifierName": "mobile", "identifierValue": MOBILE}
    assert server.requests[1].query == {"coupon_code_case": "AS_IT_IS"}


@pytest.mark.parametrize("nobody", [unknown_customer(200), unknown_customer(404), said("CUSTOMER_NOT_FOUND")])
async def test_that_nobody_bears_it_is_an_empty_reading(nobody: Act) -> None:
    async with Server.scripted(nobody) as server, client_of(basic(server.url)) as client:
        reading = await client.coupons_by_bearer(CUSTOMER)

    assert isinstance(reading, Reading)
    assert (reading.coupons, reading.customer_id) == ((), None)


async def test_that_a_customer_has_no_coupon_is_an_empty_reading() -> None:
    async with (
        Server.scripted(of_bearer(555), said("NO_COUPONS_FOUND")) as server,
        client_of(basic(server.url)) as client,
    ):
        reading = await client.coupons_by_bearer(CUSTOMER)

    assert isinstance(reading, Reading)
    assert (reading.coupons, reading.customer_id) == ((), 555)


@pytest.mark.parametrize(
    ("word", "customer"), [("CUSTOMER_NOT_FOUND", None), ("NO_COUPONS_FOUND", 555)], ids=["nobody", "no coupon"]
)
async def test_an_id_is_asked_for_without_a_look_up(word: str, customer: int | None) -> None:
    async with Server.scripted(said(word)) as server, client_of(basic(server.url)) as client:
        reading = await client.coupons_by_bearer(Identifier(IdentifierKind.ID, "0555", "id:555"))

    assert isinstance(reading, Reading)
    assert (reading.coupons, reading.customer_id) == ((), customer)
    assert [request.path for request in server.requests] == ["/v2/customers/555/coupons"]


@pytest.mark.parametrize("right", SPELLINGS)
async def test_a_bearer_is_asked_for_in_every_spelling(right: str) -> None:
    def judge(request: Request) -> Act:
        if request.path != LOOKUP:
            return said("NO_COUPONS_FOUND")
        return of_bearer(555) if request.query["identifierName"] == right else unknown_customer(200)

    async with Server(judge) as server, client_of(basic(server.url)) as client:
        readings = [await client.coupons_by_bearer(EXTERNAL) for _ in range(2)]

    assert all(isinstance(reading, Reading) and reading.customer_id == 555 for reading in readings)
    asked = [request.query["identifierName"] for request in server.requests if request.path == LOOKUP]
    assert asked == [*SPELLINGS[: SPELLINGS.index(right) + 1], right]


@pytest.mark.parametrize(
    ("acts", "problem"),
    [
        ([answer(403)], ReadProblem.REFUSED),
        ([answer(404)], ReadProblem.REFUSED),
        ([answer(429)], ReadProblem.THROTTLED),
        ([answer(500)], ReadProblem.UNREADABLE),
        ([answer(200, b"{}")], ReadProblem.UNREADABLE),
        ([of_bearer(0)], ReadProblem.UNREADABLE),
        ([of_bearer(-1)], ReadProblem.UNREADABLE),
        ([of_bearer("somebody")], ReadProblem.UNREADABLE),
        ([of_bearer(555, success=False)], ReadProblem.UNREADABLE),
        ([of_bearer(555, errors=[{"code": 8015, "message": "Customer not found"}])], ReadProblem.UNREADABLE),
        ([of_bearer(555), said("CUSTOMER_NOT_FOUND")], ReadProblem.UNREADABLE),
        ([of_bearer(555), answer(404)], ReadProblem.REFUSED),
        ([of_bearer(555), answer(404, b"<html>No coupons found</html>")], ReadProblem.REFUSED),
        ([of_bearer(555), said("NO_COUPONS_FOUND", 500)], ReadProblem.UNREADABLE),
        ([of_bearer(555), said("INVALID_CUSTOMER_ID", 400)], ReadProblem.UNREADABLE),
        ([of_bearer(555), answer(200, {"entity": None, "success": True})], ReadProblem.UNREADABLE),
        ([of_bearer(555), detailed(1, customer=556)], ReadProblem.UNREADABLE),
        ([of_bearer(555), drop], ReadProblem.UNREADABLE),
    ],
)
async def test_whatever_else_comes_by_way_of_the_bearer_is_unreadable(acts: list[Act], problem: ReadProblem) -> None:
    async with Server.scripted(*acts) as server, client_of(basic(server.url)) as client:
        got = await client.coupons_by_bearer(CUSTOMER)

    assert isinstance(got, Unreadable)
    assert got.problem is problem
    assert_quiet(got)


async def test_v1_has_its_own_spelling_of_external_id() -> None:
    customer = Identifier(IdentifierKind.EXTERNAL_ID, "00042", "externalId:00042")
    async with (
        Server(lambda request: answer(403) if request.path == V2 else coupons_v1()) as server,
        client_of(basic(server.url)) as client,
    ):
        reading = await client.coupons(customer)

    assert isinstance(reading, Reading)
    assert server.requests[-1].query["external_id"] == "00042"


# --- the record: series, org ------------------------------------------------------------------------------------


async def test_a_series_is_read() -> None:
    facts = {"entity": [{"id": SERIES, "orgId": 100001, "description": "Festival"}], "warnings": []}
    async with Server.scripted(answer(200, facts)) as server, client_of(basic(server.url)) as client:
        series = await client.series(SERIES)

    assert isinstance(series, Series)
    assert (series.id, series.org_id, series.description) == (SERIES, "100001", "Festival")
    (request,) = server.requests
    assert (request.method, request.path, request.query) == ("GET", "/v2/coupon/series", {"ids": str(SERIES)})


@pytest.mark.parametrize(
    "act",
    [
        answer(200, {"entity": [], "warnings": []}),
        answer(400, {"errors": [{"code": 707, "message": "Invalid series"}]}),
        answer(404, {"errors": [{"code": 755, "message": "Invalid coupon series id"}]}),
    ],
)
async def test_an_unknown_series_is_not_found(act: Act) -> None:
    async with Server.scripted(act) as server, client_of(basic(server.url)) as client:
        got = await client.series(SERIES)

    assert isinstance(got, Unreadable)
    assert got.problem is ReadProblem.NOT_FOUND


async def test_reasons_tell_networks_from_credentials() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        async with client_of(basic(f"http://127.0.0.1:{closed.getsockname()[1]}")) as client:
            unreachable = await client.series(SERIES)
    async with Server.scripted(answer(401), answer(502)) as server, client_of(basic(server.url)) as client:
        refused, broken = await client.series(SERIES), await client.series(SERIES)

    reasons = [got.reason for got in (unreachable, refused, broken) if isinstance(got, Unreadable)]
    assert reasons == [
        "no connection to the server: connection refused",
        "the credentials are refused (HTTP 401)",
        "the server has trouble (HTTP 502)",
    ]


async def test_basic_auth_names_no_org() -> None:
    async with Server.scripted(drop) as server, client_of(basic(server.url)) as client:
        assert await client.org() is None

    assert server.requests == []


async def test_an_org_that_cant_be_learnt_is_not_no_org() -> None:
    """None would make the host the scope of claims, and who was served under the org would be served again."""
    async with Server.scripted(answer(502)) as server, client_of(oauth(server.url)) as client:
        with pytest.raises(JobHalted, match="HTTP 502"):
            await client.org()
