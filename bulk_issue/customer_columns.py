"""Which columns of a file name customers, by their usual spellings or because a person said so.

The rule: where two columns claim one kind of identifier, or none is known, nothing is guessed; the error lists the
columns and proposes an option. A header that looks like a customer's data is never quoted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from bulk_issue.columns import ALL_COLUMNS
from bulk_issue.errors import SourceError
from bulk_issue.model import IdentifierKind

K = IdentifierKind
#: The order in which a row's identifier is chosen.
PRIORITY = tuple(IdentifierKind)

#: Headers without case, blanks and punctuation. Member, loyalty and card numbers are not guessed at: a card is an
#: identifier of its own (documented: `customer.cardNumber`), so only a person knows whether one is the external id.
SPELLINGS: Mapping[IdentifierKind, re.Pattern[str]] = {
    K.ID: re.compile(r"(cust|customer|user|capillary|capillarycustomer|capillaryuser)id"),
    K.EXTERNAL_ID: re.compile(r"(cust|customer|user)?ext(ernal)?(cust|customer|user)?id"),
    K.MOBILE: re.compile(
        r"(cust|customer|user)?(mob|mobile|mobilephone|phone|cell|cellphone)(no|nr|num|number)?"
        r"|contact(no|nr|num|number|mobile|phone)|msisdn"
    ),
    K.EMAIL: re.compile(r"(cust|customer|user)?e?mail(id|addr|address)?"),
}
#: Often a running number, which is somebody else's customer id: taken only where nothing else names customers.
BARE_ID = "id"

#: A number as files and spreadsheets write it, and the digits from which on it is no year and no running number.
_NUMBER = re.compile(r"[+-]?[\d\s().,-]+(e[+-]?\d+)?", re.IGNORECASE)
FEW = 5
#: Characters of an address at most; a longer cell is no value that names a customer.
LONGEST = 320
_ADDRESS = re.compile(r"[^\s@]+@[^\s@]+\.[^\s@]+")

_CLUES: Mapping[IdentifierKind, tuple[str, ...]] = {
    K.MOBILE: ("mob", "phone", "cell", "contact", "tel", "whatsapp"),
    K.EMAIL: ("mail",),
    K.EXTERNAL_ID: ("ext", "member", "loyalty", "card", "cust"),
    K.ID: ("id",),
}


def columns(
    header: Sequence[str],
    wanted: Mapping[IdentifierKind, str],
    identify_by: IdentifierKind | None = None,
) -> Mapping[IdentifierKind, int]:
    """Where the identifiers stand, in order of priority; with `identify_by`, only that kind's column.

    Columns that a person named (`wanted`) are the whole truth: with one of them, no other kind is looked for. Raises
    `SourceError` if a named column isn't there, if two columns claim one kind, or if none does.
    """
    if wanted:
        claims = {kind: _named(header, kind, name) for kind, name in wanted.items()}
    else:
        claims = _usual(header, bare_id=identify_by is K.ID)
    if identify_by is not None:
        claims = {kind: found for kind, found in claims.items() if kind is identify_by}
    for kind, found in claims.items():
        if len(found) > 1:
            names = " and ".join(f"{header[at]!r} (column {at + 1})" for at in found)
            choice = " ".join(f'--map {other}="{header[places[0]]}"' for other, places in claims.items())
            raise SourceError(
                f"{len(found)} columns may hold the {kind.value}: {names}",
                hint=f"Say which one it is, e.g. {choice}. Columns of the same name must be renamed first.",
            )
    if not claims:
        what = f"no column holds the {identify_by.value}" if identify_by else "no column names a customer"
        raise SourceError(
            what,
            hint=f"Name it, e.g. {_proposal(header, identify_by)}. If the names stand below a title: --header-row N; "
            "if there are none: --no-header.",
            cells=_listing(header),
        )
    return {kind: claims[kind][0] for kind in PRIORITY if kind in claims}


def names_customers(
    names: Sequence[str], wanted: Mapping[IdentifierKind, str], identify_by: IdentifierKind | None = None
) -> bool:
    """Whether these names could be a header: one of them names customers. A bare `id` alone is no proof."""
    if wanted:
        return all(any(_same(name, column) for name in names) for column in wanted.values())
    spellings = [SPELLINGS[identify_by]] if identify_by is not None else SPELLINGS.values()
    return any(spelling.fullmatch(_loose(name)) for name in names for spelling in spellings)


def like_a_customer(record: Sequence[str], below: Sequence[str]) -> bool:
    """Whether a record that stands for the columns' names may be a customer's, given the record `below` it.

    A cell is a number, an address, or a text with digits of the same form as the one below it (`C0017` and `C0018`).
    Where a column has one of the usual names the record is a header, whatever else it holds.
    """
    if names_customers(record, {}):
        return False
    under = [*below, *[""] * len(record)]
    return any(_a_value(cell.strip(), other.strip()) for cell, other in zip(record, under, strict=False))


def _a_value(cell: str, below: str) -> bool:
    if len(cell) > LONGEST:
        return False
    digits = sum(character.isdigit() for character in cell)
    if _ADDRESS.fullmatch(cell) or (digits >= FEW and _NUMBER.fullmatch(cell)):
        return True
    return digits > 0 and cell != below and _form(cell) == _form(below)


def _form(text: str) -> str:
    """What kind of character stands where."""
    return "".join("9" if each.isdigit() else "a" if each.isalpha() else each for each in text)


def _same(name: str, wanted: str) -> bool:
    return name.strip().casefold() == wanted.strip().casefold()


def _loose(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())


def _usual(header: Sequence[str], *, bare_id: bool) -> dict[IdentifierKind, list[int]]:
    """The columns of each kind by their usual spellings; a bare id where there is nothing else, or it is asked for."""
    names = {at: _loose(name) for at, name in enumerate(header) if name not in ALL_COLUMNS}
    claims = {
        kind: found
        for kind, spelling in SPELLINGS.items()
        if (found := [at for at, name in names.items() if spelling.fullmatch(name)])
    }
    if K.ID not in claims and (bare_id or not claims):
        bare = [at for at, name in names.items() if name == BARE_ID]
        return {K.ID: bare, **claims} if bare else claims
    return claims


def _named(header: Sequence[str], kind: IdentifierKind, wanted: str) -> list[int]:
    """The columns of that name: written just so, otherwise case and blanks aside."""
    exact = [at for at, name in enumerate(header) if name == wanted]
    near = [at for at, name in enumerate(header) if _same(name, wanted)]
    if not (exact or near):
        raise SourceError(
            f"there is no column {wanted!r} to take the {kind.value} from",
            hint=f"Name one of them, e.g. {_proposal(header, kind)}.",
            cells=_listing(header),
        )
    return exact or near


def _proposal(header: Sequence[str], wanted: IdentifierKind | None = None) -> str:
    for kind, clues in _CLUES.items():
        for name in header if wanted in (None, kind) else ():
            if not _personal(name) and any(clue in _loose(name) for clue in clues):
                return f'--map {kind.value}="{name}"'
    return f'--map {(wanted or K.MOBILE).value}="Name of the column"'


def _listing(header: Sequence[str]) -> str:
    """The header for people; not if it is a customer's record instead."""
    if any(map(_personal, header)):
        return "Its first record looks like a customer's data, not like a header."
    shown = ", ".join(name.strip() or "(no name)" for name in header[:40])
    return f"Its columns are: {shown}{', …' if len(header) > 40 else ''}"


def _personal(name: str) -> bool:
    return "@" in name or sum(character.isdigit() for character in name) >= 6
