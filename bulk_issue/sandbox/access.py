"""Who may ask: Basic credentials and OAuth tokens."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from bulk_issue.sandbox.settings import Settings
from bulk_issue.sandbox.times import ServerClock

TOKEN_HEADER = "X-CAP-API-OAUTH-TOKEN"  # noqa: S105 - a header's name
ENTITY_CODE_HEADER = "X-CAP-API-ATTRIBUTION-ENTITY-CODE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Whose request it is."""

    #: The user or client key; empty if the credentials are nobody's.
    account: str
    #: False for wrong credentials and for a token that has expired.
    valid: bool
    #: True if it came with a token.
    oauth: bool
    #: Code of the store that attribution headers name; Capillary knows them under OAuth only.
    store: str = ""


NOBODY = Caller(account="", valid=False, oauth=False)


class Access:
    """Knows the accounts and the tokens that it has given out."""

    def __init__(self, settings: Settings, clock: ServerClock) -> None:
        self._settings = settings
        self._clock = clock
        # Documented: base64(user:md5hex(password)), the md5 in lower case.
        digest = hashlib.md5(settings.password.encode(), usedforsecurity=False).hexdigest()
        self._basic = base64.b64encode(f"{settings.user}:{digest}".encode()).decode()
        #: Tokens with the host second at which they expire.
        self._tokens: dict[str, float] = {}

    def caller(self, headers: Mapping[str, str]) -> Caller:
        """Whose request has these headers."""
        token = headers.get(TOKEN_HEADER)
        if token is not None:
            expires = self._tokens.get(token)
            if expires is None:
                return NOBODY
            return Caller(
                account=self._settings.client_key,
                valid=self._clock.host() < expires,
                oauth=True,
                store=headers.get(ENTITY_CODE_HEADER, ""),
            )
        scheme, _, given = headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "basic" and given == self._basic:
            return Caller(account=self._settings.user, valid=True, oauth=False)
        return NOBODY

    def token(self, key: str, secret: str) -> str | None:
        """A new token for these credentials, shaped like a JWT; None if they are wrong."""
        if (key, secret) != (self._settings.client_key, self._settings.client_secret):
            return None
        issued = int(self._clock.now())
        claims = {
            "iss": "sandbox",
            "sub": key,
            "client_id": key,
            "org_id": self._settings.org_id,
            "token_use": "access",
            "iat": issued,
            "exp": issued + self._settings.token_ttl,
            "jti": secrets.token_hex(8),
        }
        token = f"{_part({'alg': 'RS256', 'typ': 'JWT'})}.{_part(claims)}.{secrets.token_urlsafe(64)}"
        self._tokens[token] = self._clock.host() + self._settings.token_ttl
        return token

    def expire(self, headers: Mapping[str, str]) -> None:
        """The token in these headers is worth nothing from now on."""
        token = headers.get(TOKEN_HEADER)
        if token in self._tokens:
            self._tokens[token] = 0.0


def _part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
