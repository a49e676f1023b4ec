"""What tests of programs that use bulk-issue are made of: virtual time, and a server that keeps a book.

| module | what it owns |
|---|---|
| `loop` | time that passes only when everybody waits |
"""

from __future__ import annotations

from bulk_issue.testing.loop import StuckError, VirtualClock, VirtualLoop, on_virtual_time, run

__all__ = ["StuckError", "VirtualClock", "VirtualLoop", "on_virtual_time", "run"]
