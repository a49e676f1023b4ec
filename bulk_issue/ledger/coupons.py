"""How coupons and warnings are stored in a row, and which keys a coupon names its customer by."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from functools import lru_cache
from operator import attrgetter
from typing import Any

from bulk_issue.model import Coupon, IdentifierKind
from bulk_issue.ports import NO_OFFER
from bulk_issue.rows import key

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_decode = json.JSONDecoder().raw_decode
_KINDS = {str(kind).casefold(): kind for kind in IdentifierKind}
_DEFAULTS = {field.name: field.default for field in fields(Coupon)}
#: Fields of a coupon that aren't in `offer`: they differ from row to row, or are stored for themselves.
_ELSEWHERE = frozenset({"code", "coupon_id", "customer_id", "identifiers", "warnings"})

#: What most coupons of a series have in common.
_OFFER = [name for name in _DEFAULTS if name not in _ELSEWHERE]
_offer = attrgetter(*_OFFER)


def columns_of(coupon: Coupon) -> dict[str, Any]:
    """A row's columns that hold its coupon. What it says of the customer lives in the claims."""
    return {
        "code": coupon.code,
        "coupon_id": coupon.coupon_id,
        "customer_id": coupon.customer_id,
        "offer": _dump_offer(_offer(coupon)),
    }


@lru_cache(maxsize=1_000)
def _dump_offer(values: tuple[Any, ...]) -> str:
    return _encode({name: value for name, value in zip(_OFFER, values, strict=True) if value != _DEFAULTS[name]})


def load(text: str) -> Any:
    """JSON that we wrote: `json.loads` without its search for blanks, three times as fast."""
    return _decode(text)[0]


@lru_cache(maxsize=1_000)
def load_offer(text: str | None) -> Coupon:
    """What all coupons with this `offer` have in common; most coupons of a series have the same."""
    return Coupon(code="", **load(text)) if text else NO_OFFER


def dump_warnings(warnings: Sequence[str]) -> str | None:
    """Warnings as JSON, None for none."""
    return json.dumps(list(warnings), ensure_ascii=False) if warnings else None


def load_warnings(text: str | None) -> tuple[str, ...]:
    """What `dump_warnings` wrote."""
    return tuple(load(text)) if text else ()


def alias_keys(coupon: Coupon) -> list[str]:
    """Every key under which this coupon's customer may be named by another row."""
    named = [(_KINDS.get(kind.casefold()), value) for kind, value in coupon.identifiers]
    keys = [key(kind, value) for kind, value in named if kind is not None]
    number = number_key(coupon)
    return keys if number is None else [*keys, number]


def number_key(coupon: Coupon) -> str | None:
    """The customer's number, which says who they are, as a key; None where a reply says none (0 is nobody's)."""
    number = coupon.customer_id
    return key(IdentifierKind.ID, str(number)) if number is not None and number > 0 else None
