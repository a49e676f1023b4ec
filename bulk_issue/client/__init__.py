"""One intent, one request, one answer; and the look-ups that change nothing.

The rule: an issue request is sent once. It is a POST, since aiohttp sends PUT and GET again by itself where a
connection drops; a redirect is an answer, since following a 307 would send it again; and a 401 only makes the *next*
request fetch another token.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from bulk_issue import wire
from bulk_issue.auth import auth_for
from bulk_issue.client.bearer import BearerReader
from bulk_issue.client.exchange import Exchange
from bulk_issue.client.records import Reader
from bulk_issue.config import Account
from bulk_issue.errors import JobHalted
from bulk_issue.model import Answer, Fault, Identifier, Intent, Reading, Reply, Series, Unreadable
from bulk_issue.ports import Clock

ISSUE_PATH = "/v2/coupon/issue"


class Client:
    """`ports.Issuer` and `ports.Records` over HTTP, for one account and one series."""

    def __init__(self, account: Account, clock: Clock, *, timeout: float, connections: int, series_id: int) -> None:
        self._exchange = Exchange(account.base_url, clock, timeout=timeout, connections=connections)
        self._auth = auth_for(account, clock, self._post)
        self._reader = Reader(self._get, clock, series_id)
        self._bearers = BearerReader(self._reader.look)
        #: Seconds by which the server's clock was ahead of ours at the last look-up; None while it hasn't said.
        self.ahead: float | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._exchange.reset()

    async def issue(self, intent: Intent) -> Answer:
        """Send the intent's request once, or not at all; as `ports.Issuer` says."""
        body = wire.issue_body(intent.series_id, intent.identifier)
        return await self._ask("POST", ISSUE_PATH, body=body, send_by=intent.send_by)

    async def reset(self) -> None:
        await self._exchange.reset()

    async def org(self) -> str | None:
        """The org that the OAuth token is for; None under Basic auth. Raises `JobHalted` if no token can be had."""
        credential = await self._auth.credential()
        if isinstance(credential, Fault):
            raise JobHalted(credential.detail, hint="Check --base-url and the network, then run it again.")
        return wire.org_of(credential.token)

    async def series(self, series_id: int) -> Series | Unreadable:
        return await self._reader.series(series_id)

    async def coupons(self, identifier: Identifier) -> Reading | Unreadable:
        return await self._reader.coupons(identifier)

    async def coupons_by_bearer(self, identifier: Identifier) -> Reading | Unreadable:
        return await self._bearers.coupons(identifier)

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        send_by: float = math.inf,
    ) -> Answer:
        """One request with a credential; a refused one is forgotten."""
        credential = await self._auth.credential()
        if isinstance(credential, Fault):
            return credential
        answer = await self._exchange.send(
            method, path, credential.headers, fresh=credential.fresh, query=query, body=body, send_by=send_by
        )
        if isinstance(answer, Reply) and answer.status == 401:
            self._auth.forget(credential)
        return answer

    async def _post(self, path: str, body: bytes) -> Answer:
        return await self._exchange.send("POST", path, {}, body=body)

    async def _get(self, path: str, query: Mapping[str, str]) -> Answer:
        answer = await self._ask("GET", path, query=query)
        if isinstance(answer, Reply) and (date := wire.date_header(answer.headers.get("date", ""))) is not None:
            self.ahead = date - answer.at.wall
        return answer
