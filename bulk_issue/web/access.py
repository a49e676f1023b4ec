"""Who may see the pages: the one-time address, the password, and the sessions that come of them.

A session is a signed word in a cookie: an id and an end, with a seal of this server's own key, so that it holds over a
restart. Signing out is remembered until the session would have ended by itself.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from bulk_issue.commands import command
from bulk_issue.errors import ConfigError
from bulk_issue.web.drafts import write_private

#: Failed sign-ins of one address in so many seconds after which it must wait, and those of all addresses together.
FAILURES, ALL_FAILURES, FAILURES_PER = 5, 50, 60.0
SHORTEST_PASSWORD = 10


@dataclass(frozen=True, slots=True)
class Session:
    """A person who has signed in."""

    id: str
    #: Epoch seconds.
    ends: float


class Sessions:
    """Opens sessions, knows them again, and closes them."""

    def __init__(self, folder: Path, lasts: float) -> None:
        self._key = _key(folder / "key")
        self._left = folder / "signed-out.json"
        self._lasts = lasts
        self._closed: dict[str, float] = _loaded(self._left)

    def open(self) -> str:
        """A new session, as its cookie's value."""
        word = f"{secrets.token_urlsafe(24)}.{int(time.time() + self._lasts)}"
        return f"{word}.{self._seal('session', word)}"

    def find(self, cookie: str) -> Session | None:
        """The session of a cookie; None if it isn't ours, or is over."""
        word, _, seal = cookie.rpartition(".")
        if not hmac.compare_digest(seal.encode(), self._seal("session", word).encode()):
            return None
        name, _, ends = word.partition(".")
        if float(ends) <= time.time() or name in self._closed:
            return None
        return Session(name, float(ends))

    def close(self, session: Session) -> None:
        now = time.time()
        self._closed = {name: ends for name, ends in self._closed.items() if ends > now} | {session.id: session.ends}
        write_private(self._left, self._closed)

    def csrf(self, session: Session) -> str:
        """What every form of this session carries: another site can't know it."""
        return self._seal("form", session.id)

    def is_csrf(self, session: Session, given: str) -> bool:
        return hmac.compare_digest(self.csrf(session).encode(), given.encode())

    def _seal(self, purpose: str, word: str) -> str:
        return hmac.new(self._key, f"{purpose}:{word}".encode(), hashlib.sha256).hexdigest()


class OneTimeToken:
    """The secret in the printed address. Used once; then the next one is printed."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._token = ""

    def renew(self) -> None:
        self._token = secrets.token_urlsafe(32)
        self._tell(self._token)

    def spend(self, given: str) -> bool:
        """Whether that is the token; if so it is none any more."""
        if not (self._token and hmac.compare_digest(self._token.encode(), given.encode())):
            return False
        self.renew()
        return True


class Password:
    """The password, of which only an argon2 hash is kept."""

    def __init__(self, path: Path) -> None:
        self._hash = _private_text(path)
        self._hasher = PasswordHasher()

    def fits(self, given: str) -> bool:
        """Takes its time, on purpose: call it in a thread."""
        try:
            return self._hasher.verify(self._hash, given)
        except (Argon2Error, InvalidHashError):
            return False


def set_password(path: Path, password: str) -> None:
    """Write the hash of a new password to a file that nobody else can read."""
    if len(password) < SHORTEST_PASSWORD:
        raise ConfigError(f"the password has fewer than {SHORTEST_PASSWORD} characters", hint="Choose a longer one.")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(aside, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(PasswordHasher().hash(password) + "\n")
    aside.replace(path)


class Throttle:
    """Slows down those who guess."""

    def __init__(self) -> None:
        self._failures: deque[tuple[float, str]] = deque()

    def wait(self, who: str) -> float:
        """Seconds until this address may try again; 0: now."""
        now = time.monotonic()
        while self._failures and self._failures[0][0] <= now - FAILURES_PER:
            self._failures.popleft()
        own = [at for at, name in self._failures if name == who]
        if len(own) < FAILURES and len(self._failures) < ALL_FAILURES:
            return 0.0
        first = own[0] if len(own) >= FAILURES else self._failures[0][0]
        return first + FAILURES_PER - now

    def failed(self, who: str) -> None:
        self._failures.append((time.monotonic(), who))

    def forget(self, who: str) -> None:
        """This address has shown that it may come in."""
        self._failures = deque(each for each in self._failures if each[1] != who)


def _key(path: Path) -> bytes:
    """The server's own key, made at its first start."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with os.fdopen(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(32))
    except FileExistsError:
        pass
    key = path.read_bytes()
    if len(key) != 32 or path.stat().st_mode & 0o077:
        raise ConfigError(f"{path} isn't a key that only you can read", hint="Remove it: a new one is made.")
    return key


def _loaded(path: Path) -> dict[str, float]:
    try:
        return {str(name): float(ends) for name, ends in json.loads(path.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, AttributeError):
        return {}


def _private_text(path: Path) -> str:
    try:
        mode, text = path.stat().st_mode, path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"--sign-in-file {path} can't be read",
            hint=f"Make it: {command('serve', '--sign-in-file', path, '--set-password')}",
        ) from error
    if mode & 0o077:
        raise ConfigError(f"--sign-in-file {path} can be read by others", hint=f"Run: chmod 600 {path}")
    if not text.startswith("$argon2"):
        raise ConfigError(
            f"--sign-in-file {path} holds no argon2 hash",
            hint=f"Make it again: {command('serve', '--sign-in-file', path, '--set-password')}",
        )
    return text
