"""What tests of programs that use bulk-issue are made of: virtual time, and a server that keeps a book.

| module | what it owns |
|---|---|
| `loop` | time that passes only when everybody waits |
| `fates` | what becomes of one request or look-up: scripted or drawn |
| `server` | a server behind the client's ports |
| `bodies` | the bytes that it answers with |
| `book` | every arrival and every coupon: the judge |
"""

from __future__ import annotations

from bulk_issue.testing.book import Arrival, Book, Entry, Request
from bulk_issue.testing.fates import (
    ByCustomer,
    Canned,
    Dice,
    Fate,
    Look,
    Script,
    arriving_after,
    busy_for,
    processed_after,
    refusal,
)
from bulk_issue.testing.loop import StuckError, VirtualClock, VirtualLoop, on_virtual_time, run
from bulk_issue.testing.server import EPOCH, ModelServer, Repeat, mobile

__all__ = [
    "EPOCH",
    "Arrival",
    "Book",
    "ByCustomer",
    "Canned",
    "Dice",
    "Entry",
    "Fate",
    "Look",
    "ModelServer",
    "Repeat",
    "Request",
    "Script",
    "StuckError",
    "VirtualClock",
    "VirtualLoop",
    "arriving_after",
    "busy_for",
    "mobile",
    "on_virtual_time",
    "processed_after",
    "refusal",
    "run",
]
