"""Every option of the sandbox, validated once and frozen. Durations are seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum, unique
from pathlib import Path

from bulk_issue.errors import ConfigError
from bulk_issue.model import IdentifierKind
from bulk_issue.sandbox.book import Endpoint
from bulk_issue.sandbox.customers import Customer
from bulk_issue.sandbox.faults import NAMES, Fault, catalogue
from bulk_issue.sandbox.series import CouponSeries
from bulk_issue.sandbox.times import Dates

#: Look-ups: a plan's `read_faults` are theirs.
READS = (Endpoint.COUPONS, Endpoint.COUPONS_V11, Endpoint.LOOKUP, Endpoint.COUPONS_BY_ID)


@unique
class RetryAfter(StrEnum):
    """How a 429 says when to come back. Capillary documents none of it."""

    NONE = "none"
    SECONDS = "seconds"
    DATE = "date"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the sandbox is like. The credentials are not secrets: they open nothing but the sandbox."""

    user: str = "demo"
    password: str = field(default="demo-password", repr=False)
    client_key: str = "demo-key"
    client_secret: str = field(default="demo-secret", repr=False)
    token_ttl: int = 300
    #: Endpoints that the accounts have no rights for: 403.
    denied: frozenset[Endpoint] = frozenset()

    org_id: int = 100001
    #: Code of the store that coupons are recorded for, unless attribution headers name another.
    store: str = "store01"
    series: tuple[CouponSeries, ...] = (CouponSeries(),)
    customers: tuple[Customer, ...] = field(default=(), repr=False)
    #: Identifiers that replies list for every customer who has none of their kind: a brand writes such placeholders.
    in_every_profile: tuple[tuple[IdentifierKind, str], ...] = ()
    #: Whoever isn't listed is registered when first named; otherwise they are unknown.
    anybody: bool = True
    #: Last digits give unlisted customers a behaviour (see `customers`).
    patterns: bool = True

    #: At most so many issue requests of an account in any `per` seconds; 0: no limit.
    rate: int = 300
    per: float = 60.0
    retry_after: RetryAfter = RetryAfter.NONE

    #: Every answer takes this long, give or take up to `jitter`; the coupon is issued half-way.
    latency: float = 0.0
    jitter: float = 0.0
    #: How far the server's clock is ahead of the host's.
    clock_offset: float = 0.0
    dates: Dates = Dates.MISLABELLED
    #: Reads show `createdDateISO` beside `createdDate`.
    iso_dates: bool = True
    #: From a coupon's issue to the first read that shows it.
    lag: float = 0.0
    #: The most coupons that one page of a read holds, whatever it asks for.
    page_size: int = 100
    #: GET /v2/customers/coupons names customers without coupons, too; otherwise it says the same of them as of nobody.
    lists_everybody: bool = True
    #: The v1.1 read answers as public code has it (lists, a number as status code, `series_id`), not as documented.
    field_shape: bool = False

    #: Share of issue requests that something goes wrong with, all faults alike.
    faults: float = 0.0
    #: Or the share of each fault by its name (see `faults`); these go instead.
    fault_rates: Mapping[str, float] = field(default_factory=dict)
    #: Share of look-ups that something goes wrong with.
    read_faults: float = 0.0
    #: How late, slow or hidden the plan's faults are.
    fault_seconds: float = 2.0
    seed: int = 0

    #: File that the book is kept in; none: in memory only.
    book: Path | None = None

    def __post_init__(self) -> None:
        for name, least in (("rate", 0), ("page_size", 1), ("token_ttl", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"the sandbox's {name} must be at least {least}", hint="Correct the setting.")
        for name in ("latency", "jitter", "lag", "fault_seconds"):
            if getattr(self, name) < 0:
                raise ConfigError(f"the sandbox's {name} can't be negative", hint="Correct the setting.")
        if self.per <= 0:
            raise ConfigError("the sandbox's per must be more than 0", hint="Correct the setting.")
        if not self.series or len({each.id for each in self.series}) < len(self.series):
            raise ConfigError("the sandbox needs series with different ids", hint="Give at least one.")
        for unknown in sorted(self.fault_rates.keys() - set(NAMES)):
            raise ConfigError(f"no fault is called {unknown!r}", hint=f"There are: {', '.join(NAMES)}.")
        shares = (self.faults, self.read_faults, sum(self.fault_rates.values()), *self.fault_rates.values())
        if not all(0 <= share <= 1 for share in shares):
            raise ConfigError("shares of faults are between 0 and 1, together too", hint="E.g. 0.25.")

    @property
    def plans(self) -> Mapping[Endpoint, Mapping[Fault, float]]:
        """Each fault's share of the requests to each endpoint."""
        faults = catalogue(self.fault_seconds)
        by_name = self.fault_rates or dict.fromkeys(faults, self.faults / len(faults))
        reads = dict.fromkeys(faults.values(), self.read_faults / len(faults))
        plans = {
            Endpoint.ISSUE: {faults[name]: share for name, share in by_name.items() if share},
            **{endpoint: reads if self.read_faults else {} for endpoint in READS},
        }
        return {endpoint: plan for endpoint, plan in plans.items() if plan}
