"""What has been seen, kept beside the memory: a file of any length takes no more of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager


class Seen:
    """A set of texts on disk."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def add(self, *texts: str) -> bool:
        """Remember these; whether none of them was known."""
        # all of them are added, whatever the first one was
        fresh = [
            self._connection.execute("INSERT OR IGNORE INTO seen VALUES (?)", (text,)).rowcount == 1 for text in texts
        ]
        return all(fresh)


@contextmanager
def seen() -> Iterator[Seen]:
    """An empty set."""
    with closing(sqlite3.connect("")) as connection:
        connection.execute("CREATE TABLE seen (text TEXT PRIMARY KEY) WITHOUT ROWID")
        yield Seen(connection)
