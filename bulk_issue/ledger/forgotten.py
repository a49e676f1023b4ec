"""Customers who were purged: forgotten by name, and never issued to twice.

A purged claim stands under a keyed hash of its identifier, a purged coupon under one of its code. The key is made by
the first purge and never leaves the ledger: without it the hash of a mobile number could be found by trying all.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets as dice
from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

from sqlalchemy import Connection, select

from bulk_issue.ledger.database import upsert
from bulk_issue.ledger.schema import secrets

#: Turns what must be forgotten into what can still be recognised.
Hash: TypeAlias = Callable[[str], str]

#: What every hash begins with; no identifier's key does.
HASHED = "hmac:"

_NAME = "purged"
_KEY = select(secrets.c.value).where(secrets.c.name == _NAME)


def new_hash(tx: Connection) -> Hash:
    """The ledger's hash, its key made now if there was none."""
    tx.execute(upsert(tx, secrets).values(name=_NAME, value=dice.token_hex(32)).on_conflict_do_nothing())
    found = _hash_of(tx)
    assert found is not None
    return found


def forms(tx: Connection, texts: Iterable[str]) -> Mapping[str, str]:
    """Every form under which these keys or codes may stand in the ledger, with the text that it stands for."""
    plain = {text: text for text in texts}
    hashed = _hash_of(tx)
    return plain if hashed is None else plain | {hashed(text): text for text in plain}


def _hash_of(tx: Connection) -> Hash | None:
    """The ledger's hash; None while nothing was ever purged."""
    value = tx.scalar(_KEY)
    if value is None:
        return None
    key = bytes.fromhex(value)

    def hashed(text: str) -> str:
        return HASHED + hmac.new(key, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()

    return hashed
