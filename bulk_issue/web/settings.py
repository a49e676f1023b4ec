"""Every setting of the page, validated once and frozen."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bulk_issue.config import Config
from bulk_issue.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How the page is served. Durations are seconds."""

    #: What every campaign runs with; series, occasion and how its file is read are the campaign's own.
    config: Config
    #: Where uploads are kept, and what the page must remember over a restart.
    folder: Path
    host: str = "127.0.0.1"
    #: 0 takes a free one.
    port: int = 8765
    #: Where people reach the page if a proxy with https stands in front of it.
    public_url: str = ""
    #: File with the argon2 hash of the password; without one only the printed address signs in.
    sign_in_file: Path | None = None
    #: Bytes that an upload may have.
    max_upload: int = 200 * 1024 * 1024
    #: A campaign of more rows than this is confirmed by typing their number.
    confirm_above: int = 1_000
    #: After so long uploads that were never started are removed …
    keep_uploads: float = 24 * 3_600.0
    #: … and after so long the result files of jobs (the ledger keeps what is in them).
    keep_results: float = 30 * 24 * 3_600.0
    #: How long a sign-in lasts.
    session: float = 12 * 3_600.0

    def __post_init__(self) -> None:
        if self.public_url:
            url = urlsplit(self.public_url)
            if url.scheme != "https" or not url.hostname or url.path.strip("/") or url.query:
                raise ConfigError(
                    f"--public-url {self.public_url!r} is not the https address of a host",
                    hint="E.g. https://coupons.example.com.",
                )
        elif not _loopback(self.host):
            raise ConfigError(
                f"--host {self.host} would show customers and passwords unencrypted on the network",
                hint="Leave it at 127.0.0.1, or put a proxy with https in front and name it with --public-url.",
            )

    @property
    def secure(self) -> bool:
        """Whether browsers reach the page over https only."""
        return bool(self.public_url)

    def origins(self, port: int) -> frozenset[str]:
        """The addresses under which the page answers."""
        if self.public_url:
            return frozenset({self.public_url.rstrip("/").lower()})
        names = {"127.0.0.1", "localhost", f"[{self.host}]" if ":" in self.host else self.host}
        return frozenset(f"http://{name}:{port}" for name in names)


def _loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
