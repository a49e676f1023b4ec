"""What each request carries to say who we are.

Basic auth is one header for ever. An OAuth token is fetched once for all requests that need one, renewed before it
ends, and forgotten when a request that carried it is refused. No HTTP here: the client lends its `Post`. Secrets and
tokens stay out of every repr, message and log.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from bulk_issue import wire
from bulk_issue.config import Account
from bulk_issue.errors import ConfigError, JobHalted
from bulk_issue.model import Answer, Fault, FaultKind, Reply
from bulk_issue.ports import Clock

#: Posts a JSON body to a path of the account's host, without a credential.
Post = Callable[[str, bytes], Awaitable[Answer]]

TOKEN_PATH = "/v3/oauth/token/generate"  # noqa: S105 - a path
#: A token is renewed when this part of its life has passed, counted from before it was asked for.
RENEW_AFTER = 0.8
#: Refusals of the moment, not of the key.
PASSING = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """The headers of one request."""

    headers: Mapping[str, str] = field(repr=False)
    #: True if it was fetched for this very request, so that a refusal can't be put down to its age.
    fresh: bool
    #: The OAuth token among the headers, empty under Basic auth.
    token: str = field(default="", repr=False)


class Auth(Protocol):
    """Gives credentials, and is told of refused ones."""

    async def credential(self) -> Credential | Fault:
        """A credential for one request; a `Fault` if none can be had just now. A definite no raises `JobHalted`."""
        ...

    def forget(self, credential: Credential) -> None:
        """The server refused it (401): don't give it again. Says nothing of one that was fetched meanwhile."""
        ...


def auth_for(account: Account, clock: Clock, post: Post) -> Auth:
    """The kind of auth that the account's credentials are for."""
    return Basic(account) if account.user else OAuth(account, clock, post)


class Basic:
    """Basic auth as Capillary means it: the MD5 of the password in lower-case hex takes the password's place."""

    def __init__(self, account: Account) -> None:
        digest = hashlib.md5(account.password.encode(), usedforsecurity=False).hexdigest()
        pair = base64.b64encode(f"{account.user}:{digest}".encode()).decode()
        self._credential = Credential(headers={"Authorization": f"Basic {pair}"}, fresh=True)

    async def credential(self) -> Credential:
        return self._credential

    def forget(self, credential: Credential) -> None:
        """There is no other one to take its place."""


@dataclass(frozen=True, slots=True)
class _Token:
    access: str = field(repr=False)
    #: Boot-clock second from which it is no longer given.
    renew_at: float


@dataclass(frozen=True, slots=True)
class _Refused:
    """The server's definite no to the client's key and secret."""

    because: str


class OAuth:
    """Client credentials: one token for all requests, fetched by one of them while the others wait."""

    def __init__(self, account: Account, clock: Clock, post: Post) -> None:
        self._clock = clock
        self._post = post
        self._header = account.token_header
        self._secret = json.dumps({"key": account.client_key, "secret": account.client_secret}).encode()
        self._attribution = {
            f"X-CAP-API-ATTRIBUTION-ENTITY-{name}": value
            for name, value in (("TYPE", account.entity_type), ("CODE", account.entity_code))
            if value
        }
        if not all(value.isascii() and value.isprintable() for value in self._attribution.values()):
            raise ConfigError("the attribution entity can't stand in a header", hint="Use its plain ASCII code.")
        self._fetching = asyncio.Lock()
        self._fetches = 0
        self._latest: _Token | Fault | _Refused | None = None

    async def credential(self) -> Credential | Fault:
        if isinstance(self._latest, _Token) and self._clock.now().boot < self._latest.renew_at:
            return self._carrying(self._latest, fresh=False)
        before = self._fetches
        async with self._fetching:
            # What a fetch brought while we waited, token or failure, is for us too: fifty workers that each tried a
            # hung token endpoint in turn would stand still for half an hour.
            fresh = self._fetches == before or self._latest is None
            if fresh:
                self._latest = await self._fetch()
                self._fetches += 1
            latest = self._latest
        match latest:
            case _Token():
                return self._carrying(latest, fresh=fresh)
            case _Refused():
                raise JobHalted(
                    f"Capillary gives no token for this client key and secret ({latest.because})",
                    hint="Check --client-key and the client secret, and that the client belongs to this --base-url.",
                )
            case _:
                assert latest is not None
                return latest

    def forget(self, credential: Credential) -> None:
        if isinstance(self._latest, _Token) and self._latest.access == credential.token:
            self._latest = None

    def _carrying(self, token: _Token, *, fresh: bool) -> Credential:
        # The raw token, without "Bearer " (documented).
        headers = {self._header: token.access, **self._attribution}
        return Credential(headers=headers, fresh=fresh, token=token.access)

    async def _fetch(self) -> _Token | Fault | _Refused:
        asked = self._clock.now().boot
        answer = await self._post(TOKEN_PATH, self._secret)
        if isinstance(answer, Fault):
            reason = answer.detail
        else:
            given = wire.token(answer.body) if 200 <= answer.status < 300 else None
            if given is not None:
                access, life = given
                return _Token(access, asked + RENEW_AFTER * life)
            if _refuses(answer):
                codes = [error.code for error in wire.api_errors(answer.body) if error.code.isdigit()]
                return _Refused(", code ".join([f"HTTP {answer.status}", *codes[:1]]))
            reason = f"HTTP {answer.status}"
        return Fault(kind=FaultKind.AUTH, sent=False, detail=f"no token: {reason}", at=answer.at)


def _refuses(reply: Reply) -> bool:
    """Whether a reply without a token is about the key, and not about the moment or the way there.

    Neither status nor body of a refusal are documented. Inferred from other v3 calls: `data` null beside `errors`, with
    a 4xx, or with a 200 as Capillary's other errors have it.
    """
    errors = wire.api_errors(reply.body)
    if 200 <= reply.status < 300:
        return bool(errors)
    if not 400 <= reply.status < 500 or reply.status in PASSING:
        return False
    parsed = wire.json_object(reply.body)
    return bool(errors) or (parsed is not None and "data" in parsed and parsed["data"] is None)
