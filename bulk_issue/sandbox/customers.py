"""Who the sandbox knows.

Listed customers are as their listing says. Anybody else is registered the moment somebody names them, with an id that
depends on the identifier only, and so is the same after a restart. What the identifier's last four digits are (for an
e-mail address: those before the @) may give such a customer a behaviour, so that a sample file can show rejections:

| ends in | an issue for this customer |
|---|---|
| 0701 | is refused: 701, not registered |
| 0721 | is refused: 721, invalid customer |
| 0730 | is refused: 730, with the name of an internal quota (means: already has one) |
| 0740 | is refused: 740, marked as fraud |
| 0742 | is refused: 742, blocked |
| 0521 | finds the customer busy once (HTTP 521), then works |
| 0704 | works, with the warning that no message could be sent (704 beside the code) |
| 0709 | is refused: 709, already has a coupon, and reads show one of 30 days ago |
| 0708 | finds a coupon of 30 days ago: what comes of it is the series' business |
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from bulk_issue.model import IdentifierKind

#: Seconds before now that an "older" coupon was created.
OLDER = 30 * 86_400.0

REFUSED: Mapping[str, int] = {"0701": 701, "0709": 709, "0721": 721, "0730": 730, "0740": 740, "0742": 742}


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer:
    """A customer, and how issuing to them goes."""

    id: int
    mobile: str = field(default="", repr=False)
    external_id: str = field(default="", repr=False)
    email: str = field(default="", repr=False)
    first_name: str = field(default="Asha", repr=False)
    last_name: str = field(default="Example", repr=False)
    #: Further names that find the customer but that no reply lists, e.g. `mobile:9800000001` (a merged customer).
    aliases: tuple[str, ...] = field(default=(), repr=False)
    #: The code that every issue draws; 701 means that nobody is registered under these identifiers.
    refusal: int = 0
    #: So many requests find the customer busy (HTTP 521) before one is processed.
    busy: int = 0
    #: Had a coupon of every series before.
    older: bool = False
    #: No message reaches them: coupons come with 704.
    unreachable: bool = False

    @property
    def registered(self) -> bool:
        return self.refusal != 701

    @property
    def identifiers(self) -> list[tuple[IdentifierKind, str]]:
        """What replies list."""
        known = (
            (IdentifierKind.MOBILE, self.mobile),
            (IdentifierKind.EMAIL, self.email),
            (IdentifierKind.EXTERNAL_ID, self.external_id),
        )
        return [(kind, value) for kind, value in known if value]


def name(kind: IdentifierKind, value: str) -> str:
    """The name under which a customer is found; an id that is no number raises `ValueError`."""
    match kind:
        case IdentifierKind.ID:
            return f"{kind}:{int(value)}"
        case IdentifierKind.EMAIL:
            return f"{kind}:{value.lower()}"
        case _:
            return f"{kind}:{value}"


def customer_id(named: str) -> int:
    """The id of a customer who is registered on the fly: 15 digits, the same for the same identifier.

    It ends in 6, so that it fits none of the patterns above.
    """
    kind, _, value = named.partition(":")
    if kind == IdentifierKind.ID:
        return int(value)
    digest = hashlib.blake2b(named.encode(), digest_size=8).digest()
    return (10**13 + int.from_bytes(digest) % (9 * 10**13)) * 10 + 6


class Customers:
    """Finds customers by any of their identifiers."""

    def __init__(self, listed: Iterable[Customer] = (), *, anybody: bool, patterns: bool) -> None:
        self._by_name: dict[str, Customer] = {}
        self._anybody = anybody
        self._patterns = patterns
        for customer in listed:
            self.add(customer)

    def add(self, customer: Customer) -> None:
        """Know this customer under each of their names from now on."""
        own = [name(IdentifierKind.ID, str(customer.id)), *(name(*each) for each in customer.identifiers)]
        self._by_name.update(dict.fromkeys([*own, *customer.aliases], customer))

    def find(self, named: str) -> Customer | None:
        """The customer of that name, registered now if nobody knew them; None if there is nobody."""
        customer = self._by_name.get(named)
        if customer is None and self._anybody and named:
            customer = self._register(named)
        return customer if customer is not None and customer.registered else None

    def _register(self, named: str) -> Customer:
        kind, _, value = named.partition(":")
        customer = self._patterned(customer_id(named), value)
        match IdentifierKind(kind):
            case IdentifierKind.MOBILE:
                customer = replace(customer, mobile=value)
            case IdentifierKind.EXTERNAL_ID:
                customer = replace(customer, external_id=value)
            case IdentifierKind.EMAIL:
                customer = replace(customer, email=value)
            case IdentifierKind.ID:
                pass
        self.add(customer)
        return customer

    def _patterned(self, number: int, value: str) -> Customer:
        end = value.partition("@")[0][-4:] if self._patterns else ""
        return Customer(
            id=number,
            refusal=REFUSED.get(end, 0),
            busy=int(end == "0521"),
            unreachable=end == "0704",
            older=end in ("0708", "0709"),
        )
