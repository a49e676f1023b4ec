"""Every setting of a run, validated once and frozen.

Where a value came from (flag, environment, file) is the command line's business; everybody else receives a `Config`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum, unique
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, urlsplit

from bulk_issue.commands import command
from bulk_issue.errors import ConfigError
from bulk_issue.hours import Hours
from bulk_issue.model import Alike, IdentifierKind, Removed
from bulk_issue.ports import Budget

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
#: A job with at most so many pending rows goes at once, under `--pace auto`.
AT_ONCE = 60


@unique
class Pace(StrEnum):
    """How permits are spent."""

    #: Short jobs at once, long ones evenly.
    AUTO = "auto"
    EVEN = "even"
    #: Permits are spent as they come free.
    BURST = "burst"


@dataclass(frozen=True, kw_only=True)
class Account:
    """Whose credentials are used, where. Exactly one of (user, password) and (client_key, client_secret) is set."""

    base_url: str
    user: str = ""
    password: str = field(default="", repr=False)
    client_key: str = ""
    client_secret: str = field(default="", repr=False)
    #: Header that carries the OAuth token.
    token_header: str = "X-CAP-API-OAUTH-TOKEN"  # noqa: S105 - a header's name
    #: Attribution headers (OAuth only): entity type and code of the till or store that issues.
    entity_type: str = ""
    entity_code: str = ""

    def __post_init__(self) -> None:
        self._check_url()
        self._check_credentials()

    def _check_url(self) -> None:
        example = (
            "It is https:// and a host, e.g. https://eu.api.capillarytech.com, by flag or as BULK_ISSUE_BASE_URL. "
            f"To try without an account: {command('sandbox')}."
        )
        if not self.base_url:
            raise ConfigError("no address to send to: --base-url is missing", hint=example)
        if "@" in self.base_url:  # whatever else is wrong with it: no message may repeat it
            raise ConfigError(
                "--base-url must not hold a user or password",
                hint="Use --user and --password-file, or the environment.",
            )
        try:
            url = urlsplit(self.base_url)
            _ = url.port
        except ValueError:
            raise ConfigError("--base-url is not an address", hint=example) from None
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ConfigError(f"--base-url {self.base_url!r} is not an address", hint=example)
        if url.scheme == "http" and url.hostname not in LOOPBACK:
            raise ConfigError(
                f"--base-url {self.base_url!r} would send credentials and customers unencrypted",
                hint="Use https://. Plain http is for this machine only (127.0.0.1, localhost).",
            )
        if url.path.strip("/") or url.query or url.fragment:
            raise ConfigError(f"--base-url {self.base_url!r} holds more than a host", hint=example)

    def _check_credentials(self) -> None:
        basic, oauth = bool(self.user or self.password), bool(self.client_key or self.client_secret)
        if basic and oauth:
            raise ConfigError(
                "both Basic and OAuth credentials are given",
                hint="Give either --user with a password, or --client-key with a client secret.",
            )
        if not basic and not oauth:
            raise ConfigError(
                "no credentials",
                hint="Give --user with BULK_ISSUE_PASSWORD or --password-file, or --client-key with "
                "BULK_ISSUE_CLIENT_SECRET or --client-secret-file.",
            )
        if basic and not (self.user and self.password):
            missing = "password" if self.user else "user"
            raise ConfigError(
                f"the {missing} is missing",
                hint="Give --user and BULK_ISSUE_PASSWORD or --password-file.",
            )
        if oauth and not (self.client_key and self.client_secret):
            missing = "client secret" if self.client_key else "client key"
            raise ConfigError(
                f"the {missing} is missing",
                hint="Give --client-key and BULK_ISSUE_CLIENT_SECRET or --client-secret-file.",
            )
        if (self.entity_code or self.entity_type) and not oauth:
            raise ConfigError("attribution headers need OAuth", hint="Under Basic auth the user is the till.")

    @property
    def host(self) -> str:
        """The canonical host: lower case, no default port, no path."""
        url = urlsplit(self.base_url)
        default = {"http": 80, "https": 443}[url.scheme]
        port = f":{url.port}" if url.port and url.port != default else ""
        host = (url.hostname or "").lower()
        return f"[{host}]{port}" if ":" in host else f"{host}{port}"

    @property
    def name(self) -> str:
        """The account's name in the ledger: the scope of the rate limit."""
        return f"{self.host}#{self.user or self.client_key}"


#: A host, and its port, of a PostgreSQL URL.
_HOST = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(:\d*)?")


@dataclass(frozen=True, slots=True)
class LedgerUrl:
    """Where a ledger in PostgreSQL is. As text it has no password."""

    url: str = field(repr=False)

    def __post_init__(self) -> None:
        parts = self._parts
        # a password with an unescaped / or ? would otherwise be taken for a database, and shown
        whole = parts.scheme in ("postgresql", "postgres") and "@" not in f"{parts.path}{parts.query}{parts.fragment}"
        if not whole or not all(_HOST.fullmatch(host) for host in self._hosts.split(",")):
            raise self._wrong()

    def _wrong(self) -> ConfigError:
        return ConfigError(
            "the ledger's URL can't be understood",
            hint="Write postgresql://USER@HOST/DATABASE; in a password, write @ / ? # : as %40 %2F %3F %23 %3A.",
        )

    @property
    def _parts(self) -> SplitResult:
        try:
            return urlsplit(self.url)
        except ValueError:
            raise self._wrong() from None  # its words may hold the password

    @property
    def _hosts(self) -> str:
        return self._parts.netloc.rpartition("@")[2]

    @property
    def has_password(self) -> bool:
        parts = self._parts
        in_query = {"password", "sslpassword"} & {name for name, _ in parse_qsl(parts.query)}
        return bool(in_query) or ":" in parts.netloc.rpartition("@")[0]

    def __str__(self) -> str:
        parts = self._parts
        user = parts.netloc.rpartition("@")[0].partition(":")[0]
        return f"{parts.scheme}://{user}{'@' if user else ''}{self._hosts}{parts.path}"


#: Where a pair begins in the text of a mapping.
_MAPPED = re.compile(rf"(?:^| )({'|'.join(IdentifierKind)})=")


def mapped(text: str) -> list[str]:
    """The pairs, as --map takes them, of the text that `Reading.as_text` made of a mapping."""
    parts = _MAPPED.split(text)[1:]
    return [f"{kind}={column.strip()}" for kind, column in zip(parts[::2], parts[1::2], strict=True)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How the input is read: options that decide which customer a record names."""

    map: Mapping[IdentifierKind, str] = field(default_factory=dict)
    identify_by: IdentifierKind | None = None
    delimiter: str = ""
    encoding: str = ""
    sheet: str = ""
    #: The record (from 1, blank ones too) that holds the columns' names; None: found by itself.
    header_row: int | None = None
    no_header: bool = False
    #: Whose code is added to mobiles that have none: two letters, or CODE/LENGTH.
    country: str = ""

    def as_text(self) -> dict[str, str]:
        """The settings that were given, for the job's record."""
        given = {
            "map": " ".join(f"{kind}={column}" for kind, column in sorted(self.map.items())),
            "identify_by": self.identify_by or "",
            "delimiter": self.delimiter,
            "encoding": self.encoding,
            "sheet": self.sheet,
            "header_row": self.header_row or "",
            "no_header": "yes" if self.no_header else "",
            "country": self.country.upper(),
        }
        return {name: str(value) for name, value in given.items() if value}

    def like(self, recorded: Mapping[str, str]) -> Reading:
        """With what decides whom a record names as it was in a job's record, as far as it isn't given here."""
        pairs = (pair.partition("=") for pair in mapped(recorded.get("map", "")))
        named = {IdentifierKind(kind): column for kind, _, column in pairs}
        by = recorded.get("identify_by")
        return replace(
            self,
            map=self.map or named,
            identify_by=self.identify_by or (IdentifierKind(by) if by else None),
            country=self.country or recorded.get("country", ""),
        )


def read_so(recorded: Mapping[str, str]) -> Iterator[str]:
    """The flags under which a file is read as a job's record says."""
    for pair in mapped(recorded.get("map", "")):
        yield from ("--map", pair)
    for name in ("identify_by", "delimiter", "encoding", "sheet", "header_row", "country"):
        if recorded.get(name):
            yield from (f"--{name.replace('_', '-')}", recorded[name])
    if recorded.get("no_header"):
        yield "--no-header"


@dataclass(frozen=True, slots=True, kw_only=True)
class Omit:
    """What is said of whom to leave out. It is applied at every start, and no part of how the input is read."""

    #: A file of customers who must not be sent to; None: the one that the job remembers, if it has one.
    exclude: Path | None = None
    #: Nobody is left out by a list any more, whatever the job remembers.
    no_exclude: bool = False
    #: Who they are that only look like somebody on the list or like one who was served; None: as the job remembers.
    alike: Alike | None = None

    def __post_init__(self) -> None:
        if self.exclude is not None and self.no_exclude:
            raise ConfigError("--exclude and --no-exclude contradict each other", hint="Give one of them.")


#: Whom a job remembers to leave out is left out.
NOTHING_SAID = Omit()


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A bound given as a count or as a percentage."""

    count: int | None = None
    percent: float | None = None

    @classmethod
    def parse(cls, text: str, setting: str) -> Share:
        """`25` is a count, `5%` a percentage; anything else raises `ConfigError`."""
        try:
            share = cls(percent=float(text[:-1])) if text.endswith("%") else cls(count=int(text))
        except ValueError:
            share = cls(count=-1)
        if (share.count is not None and share.count < 0) or (
            share.percent is not None and not 0 <= share.percent <= 100
        ):
            raise ConfigError(f"{setting} {text!r} is neither a count nor a percentage", hint="E.g. 25 or 5%.")
        return share


@dataclass(frozen=True, kw_only=True)
class Config:
    """One run. Durations are seconds. Without slots, so that `Config.rate` is the default that the help shows."""

    account: Account
    series_id: int
    ledger: Path | LedgerUrl
    reading: Reading = Reading()
    again: str = ""
    org: str = ""
    rate: int = 300
    per: float = 60.0
    pace: Pace = Pace.AUTO
    connections: int = 50
    timeout: float = 30.0
    grace: float = 120.0
    send_within: float = 5.0
    reconcile_for: float = 600.0
    max_attempts: int = 4
    max_doubt: Share = Share(percent=10.0)
    max_failures: Share = Share(percent=5.0)
    canary: int = 1
    first: int | None = None
    #: Nothing new starts outside of these hours.
    between: Hours | None = None
    #: Read a customer's coupons before each send.
    look_first: bool = False
    #: What becomes of customers who were removed from the file of an unfinished job; None: a person is asked.
    changed: Removed | None = None
    #: Start although stock or validity of the series can't last.
    yes_short: bool = False
    omit: Omit = NOTHING_SAID

    def __post_init__(self) -> None:
        for name, least in (
            ("series", 1),
            ("rate", 1),
            ("connections", 1),
            ("max_attempts", 1),
            ("canary", 0),
        ):
            if getattr(self, "series_id" if name == "series" else name) < least:
                raise ConfigError(f"--{name.replace('_', '-')} must be at least {least}", hint="Correct the setting.")
        for name in ("per", "timeout", "send_within"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"--{name.replace('_', '-')} must be more than 0", hint="Correct the setting.")
        for name in ("grace", "reconcile_for"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"--{name.replace('_', '-')} can't be negative", hint="Correct the setting.")
        if self.first is not None and self.first < 1:
            raise ConfigError("--first must be at least 1", hint="Leave it out to send everything.")

    @property
    def budget(self) -> Budget:
        """The account's limit in the ledger's terms."""
        return Budget(
            account=self.account.name,
            rate=self.rate,
            per=self.per,
            unanswered=self.timeout + self.grace,
            lingers=self.leaves_within + self.timeout,
        )

    @property
    def leaves_within(self) -> float:
        """Seconds after its intent within which a request leaves, or never: a look-up before it takes its time."""
        return self.send_within + (self.timeout if self.look_first else 0.0)
