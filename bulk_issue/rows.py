"""What counts as a usable identifier, and a duplicate.

A damaged cell is refused with its remedy, never repaired: a mobile that was guessed right nine times sends the tenth
coupon to a stranger. For the same reason a filled but unusable cell makes its row INVALID instead of falling through to
the next kind of identifier. No reason quotes a cell; it names the column.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from bulk_issue.countries import Country
from bulk_issue.customer_columns import PRIORITY
from bulk_issue.model import Identifier, IdentifierKind, Lineage, Problem, Record, Row, Withheld

K = IdentifierKind
# --- why a record names no usable customer ----------------------------------------------------------------------

_AS_TEXT = "Format the column as text in the spreadsheet, fill in the value again from its origin, and save as CSV."

#: Every `Problem.code`, with its reason and remedy. `{column}` is the identifier column, never its content.
PROBLEMS: Mapping[str, tuple[str, str]] = {
    "excluded": (
        "the customer is on the suppression list",
        "To send all the same, take the customer off that list and run the job again.",
    ),
    "alike-excluded": (
        "the suppression list names somebody whose identifier looks like this one",
        "If it is the same person, go on with --alike skip; if it is another one, with --alike send.",
    ),
    "alike-served": (
        "row {row} of job {job} has a coupon, and its customer's identifier looks like this one",
        "If it is the same person, go on with --alike skip; if it is another one, with --alike send.",
    ),
    "removed": (
        "the customer stands in the file no more",
        "To send all the same, run the file with --changed finish; to send nothing, with --changed drop.",
    ),
    "altered": (
        "{column} differs from that of row {row} of job {job} only as a spreadsheet changes a number",
        "Fill in the value from its origin, the column formatted as text. If it is meant: run it with --alike send.",
    ),
    "hidden": (
        "the row is hidden or filtered out in the sheet",
        "If it is meant, show it (clear the filter) and save; else delete it. In failures files empty _error_code.",
    ),
    "uncached": (
        "{column} is a formula without a saved value",
        "Open the file in the spreadsheet program and save it, or paste the values.",
    ),
    "padded": (
        "{column} is a number whose format shows digits that it doesn't hold, such as leading zeros",
        "Format the column as text, fill in what was shown, and save; in a failures file empty _error_code too.",
    ),
    "short": (
        "{column} is shorter than the column's other values: a program may have cut its leading zeros",
        "Fill in the whole value from its origin; if it is whole, empty _error_code in the failures file and run that.",
    ),
    "total": ("the record is a totals row", "Delete it: it is no customer."),
    "country": (
        "{column} is no mobile number of the --country, with or without its code",
        "Write the whole number; one of another country with + and its country code.",
    ),
    "no-identifier": ("no identifier is filled in: {column}", "Fill one in, or leave the record out."),
    "ragged": (
        "the record has {found} cells where the header has {expected}",
        "Put each cell under its column, quoted if it holds the delimiter; in a failures file empty _error_code too.",
    ),
    "placeholder": ("{column} holds a word for 'nothing'", "Fill in the value, or empty the cell."),
    "excel-error": ("{column} holds a spreadsheet's error", "Correct the formula, or fill in the value itself."),
    "scientific": ("{column} is in scientific notation: its last digits are lost", _AS_TEXT),
    "decimal": ("{column} is a decimal number: a program took it for an amount", _AS_TEXT),
    "date": ("{column} holds a date or a time", _AS_TEXT),
    "cut": ("{column} has more than 15 digits and ends in zeros, as spreadsheets cut long numbers", _AS_TEXT),
    "negative": ("{column} is a negative number: a spreadsheet took a '+' or '-' for a formula", _AS_TEXT),
    "invisible": ("{column} holds a character that can't be seen", "Type the value again."),
    "foreign-digits": ("{column} has digits that are not 0 to 9", "Write it with the digits 0 to 9."),
    "id-form": (
        "{column} is not a customer id: a positive whole number, without leading zeros or separators",
        "Fill in Capillary's customer id; a number of your own belongs in an external id column (--map externalId=…).",
    ),
    "mobile-characters": (
        "{column} holds more than digits, blanks and + ( ) - .",
        "Write one mobile number, with country code, in digits.",
    ),
    "mobile-length": ("{column} has fewer than 6 or more than 15 digits", "Write the whole number, with country code."),
    "email-form": ("{column} is not an e-mail address", "Write one address, like name@shop.example."),
}


def withheld(why: Withheld, like: Lineage | None = None) -> Problem:
    """What is said of a row that is not to be sent."""
    return problem(why, **({"job": like.job, "row": like.row} if like is not None else {}))


def problem(code: str, **facts: object) -> Problem:
    """The table's entry with its facts filled in."""
    reason, remedy = PROBLEMS[code]
    return Problem(code=code, reason=reason.format(**facts), remedy=remedy)


# --- judging ----------------------------------------------------------------------------------------------------

#: The share of a column's values that make a length the usual one. Of random numbers of one length a tenth begin with
#: a zero, and are shorter where a program took all of them for amounts.
USUAL = 0.85
#: Numbers of so many digits, so many times, have their length by plan, even where no zero is left to show it.
BY_PLAN, OFTEN = 8, 20

_PLAIN_MOBILE = re.compile(r"[0-9]{6,15}").fullmatch
_PLAIN_ID = re.compile(r"[1-9][0-9]{0,18}").fullmatch
_NOT_DIGITS = re.compile(r"[^0-9]+")

_MONTH = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
_DAY = r"(0?[1-9]|[12]\d|3[01])"
_TOTAL = r"(grand[ -]?|sub[ -]?)?totals?([ :=(].*)?"
_DAMAGE_PATTERNS: Mapping[str, str] = {
    "total": rf"{_TOTAL}|sum:?",
    "placeholder": r"null|\(null\)|\\n|none|nil|nan|<na>|n/?a|true|false|undefined|-+|\?+",
    "excel-error": r"#(n/a|getting_data|name\?|(ref|div/0|null|num|value|spill|calc|field|blocked|connect|busy)!)"
    r"|##+|err:\d+",
    "scientific": r"[+-]?\d+([.,]\d*)?e[+-]\d+",
    "decimal": r"[+-]?\d+[.,]0+|[+-]?\d{6,}[.,]\d{1,3}",
    "date": rf"(19|20)\d\d[-/.]{_DAY}[-/.]{_DAY}([ t].*)?|{_DAY}[-/.]{_DAY}[-/.](19|20)\d\d( .*)?"
    rf"|{_DAY}[- ]({_MONTH})[a-z]*[- ](\d\d)?\d\d|(-?\d+ days?, )?\d\d?:\d\d(:\d\d(\.\d+)?)?( ?[ap]m)?",
}
_DAMAGE = tuple(
    (code, re.compile(pattern, re.ASCII | re.IGNORECASE).fullmatch) for code, pattern in _DAMAGE_PATTERNS.items()
)
_TOTALS_ROW = re.compile(_TOTAL, re.ASCII | re.IGNORECASE).fullmatch
_SHORT_DATE = re.compile(rf"{_DAY}[-/.]{_DAY}[-/.]\d\d", re.ASCII).fullmatch

#: Blanks of every width, and the invisible marks that come along when a number is copied from a chat or contact list.
_BLANKS = "".join(map(chr, (0x20, 0x09, 0xA0, 0x1680, *range(0x2000, 0x2010), *range(0x202A, 0x2030), 0x205F)))
_BLANKS += "".join(map(chr, (*range(0x2060, 0x2065), *range(0x2066, 0x206A), 0x3000, 0xFEFF, 0xAD)))
_SEPARATORS = str.maketrans(dict.fromkeys(_BLANKS + "+()-.", None))


def looks_like_email(text: str) -> bool:
    """Conservative, and no proof: one @, a dot in the domain, nothing blank, empty or invisible."""
    local, at, domain = text.partition("@")
    return (
        bool(local and at)
        and "@" not in domain
        and "." in domain
        and all(domain.split("."))
        and text.isprintable()
        and " " not in text
    )


def key(kind: IdentifierKind, value: str) -> str:
    """Under which an identifier is known as the same: mobiles by their digits, e-mails without case, others as text."""
    match kind:
        case K.MOBILE:
            normal = _NOT_DIGITS.sub("", value)
        case K.EMAIL:
            normal = value.strip().casefold()
        case _:
            normal = value.strip()
    return f"{kind.value}:{normal}"


NO_LENGTHS: Mapping[IdentifierKind, int] = {}


def usual_length(kind: IdentifierKind, texts: Iterable[str]) -> int | None:
    """The length of a column's values if nearly all are digits of that length, and a shorter one must have lost some.

    That is where some of them begin with a zero; and of long external ids, which are seldom just counted up.
    """
    lengths: Counter[int] = Counter()
    zeros: Counter[int] = Counter()
    total = 0
    for text in texts:
        total += 1
        if text.isascii() and text.isdigit():
            lengths[len(text)] += 1
            zeros[len(text)] += text[0] == "0"
    if not lengths:
        return None
    ((length, times),) = lengths.most_common(1)
    planned = kind is K.EXTERNAL_ID and length >= BY_PLAN and times >= OFTEN
    return length if times >= USUAL * total and length > 1 and (zeros[length] or planned) else None


def judge(
    record: Record,
    columns: Mapping[IdentifierKind, int],
    identify_by: IdentifierKind | None = None,
    valid_email: Callable[[str], bool] = looks_like_email,
    *,
    country: Country | None = None,
    usual: Mapping[IdentifierKind, int] = NO_LENGTHS,
) -> Row:
    """The record's identifier, or why it has none. Exactly one of the two is set; nothing is raised for any record.

    `country` is whose code is added to mobiles without one, `usual` how many digits the column's values usually have.
    """
    if record.problem is not None:
        return _row(record, record.problem)
    for kind in PRIORITY if identify_by is None else (identify_by,):
        at = columns.get(kind)
        if at is None:
            continue
        text = record.cells[at].strip()
        if at in record.damage:
            return _row(record, problem(record.damage[at], column=_column(kind, at)), at)
        if text:
            found = _identifier(kind, text, valid_email)
            if kind is K.MOBILE and country is not None and not isinstance(found, str):
                found = _of_country(text, found.value, country)
            if not isinstance(found, str) and text.isdecimal() and len(text) < usual.get(kind, 0):
                found = "short"
            if not isinstance(found, str) and _TOTALS_ROW(next(filter(None, map(str.strip, record.cells)))):
                found = "total"  # its count stands where customers have their number
            if isinstance(found, str):
                return _row(record, problem(found, column=_column(kind, at)), at)
            return _row(record, found)
    places = [_column(kind, at) for kind, at in columns.items() if identify_by in (None, kind)]
    return _row(record, problem("no-identifier", column=", ".join(places) or _column(identify_by or K.ID, None)))


def _row(record: Record, verdict: Identifier | Problem, at: int = 0) -> Row:
    wrong = isinstance(verdict, Problem)
    return Row(
        number=record.number,
        cells=record.cells,
        identifier=None if isinstance(verdict, Problem) else verdict,
        problem=verdict if isinstance(verdict, Problem) else None,
        lineage=record.lineage,
        cell=f"{letters(record.left + at)}{record.line}" if wrong and record.line else "",
    )


def letters(column: int) -> str:
    """A column as a spreadsheet names it: 0 is A, 26 is AA."""
    name = ""
    while column >= 0:
        column, letter = divmod(column, 26)
        name = chr(65 + letter) + name
        column -= 1
    return name


def _column(kind: IdentifierKind, at: int | None) -> str:
    return f"{kind.value} (column {at + 1})" if at is not None else kind.value


def _identifier(kind: IdentifierKind, text: str, valid_email: Callable[[str], bool]) -> Identifier | str:
    """The identifier, or the code of the problem; `text` has no blanks around it."""
    match kind:
        case K.MOBILE:
            return _mobile(text)
        case K.ID:
            return _id(text)
        case K.EMAIL:
            if valid_email(text):
                return Identifier(kind, text, key(kind, text))
            return _hidden(text) or _damage(text) or "email-form"
        case K.EXTERNAL_ID:
            return _hidden(text) or _damage(text) or _cut(text) or Identifier(kind, text, key(kind, text))


def _damage(text: str) -> str:
    """What spreadsheets and exports do to a cell, as the problem's code; empty if nothing of it is seen."""
    return next((code for code, found in _DAMAGE if found(text)), "")


def _hidden(text: str) -> str:
    return "" if text.isprintable() else "invisible"


def _cut(text: str) -> str:
    """Three zeros after 15 digits are no chance; one or two may be."""
    return "cut" if len(text) > 17 and text.isdecimal() and not text[15:].strip("0") else ""


def _id(text: str) -> Identifier | str:
    if _PLAIN_ID(text) and int(text) < 2**63:
        return "cut" if len(text) > 15 and not text[15:].strip("0") else Identifier(K.ID, text, f"id:{text}")
    return _hidden(text) or _damage(text) or _odd_digits(text) or "id-form"


def _mobile(text: str) -> Identifier | str:
    if _PLAIN_MOBILE(text):
        return Identifier(K.MOBILE, text, f"mobile:{text}")
    text = text.removeprefix("'").strip(_BLANKS)
    digits = text.translate(_SEPARATORS)
    if code := _damage(text) or _odd_digits(text) or ("date" if _SHORT_DATE(text) else ""):
        return code
    if text.startswith(("-", "\N{MINUS SIGN}")):
        return "negative"
    if not (digits.isascii() and digits.isdigit()) or "+" in text.lstrip("(" + _BLANKS)[1:]:
        return "mobile-characters"
    if len(digits) > 15 and not digits[15:].strip("0"):
        return "cut"
    return Identifier(K.MOBILE, digits, f"mobile:{digits}") if 6 <= len(digits) <= 15 else "mobile-length"


def _of_country(text: str, digits: str, country: Country) -> Identifier | str:
    """A mobile with its country code; what is no mobile of that country isn't guessed at."""
    whole = country.whole(digits, international="+" in text)
    return "country" if whole is None else Identifier(K.MOBILE, whole, f"mobile:{whole}")


def _odd_digits(text: str) -> str:
    return "foreign-digits" if any(c.isdigit() and not c.isascii() for c in text) else ""
