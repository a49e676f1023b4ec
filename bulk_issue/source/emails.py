"""Whether an e-mail address can be one, by the rules of email-validator; nothing is looked up in the DNS."""

from __future__ import annotations

import re
from functools import lru_cache

from email_validator import EmailNotValidError, validate_email

#: What every rule book allows before the @; for these only the domain needs a look, and a file has few domains.
_SIMPLE = re.compile(r"[A-Za-z0-9]+(?:[._+-][A-Za-z0-9]+)*").fullmatch


def valid_email(address: str) -> bool:
    """True if the address is well-formed. Normalises nothing: what is sent is what the cell says."""
    local, _, domain = address.rpartition("@")
    if len(address) <= 254 and _SIMPLE(local):
        return _valid_domain(domain)
    return _valid(address)


@lru_cache(maxsize=10_000)
def _valid_domain(domain: str) -> bool:
    return _valid(f"a@{domain}")


def _valid(address: str) -> bool:
    try:
        validate_email(address, check_deliverability=False)
    except EmailNotValidError:
        return False
    return True
