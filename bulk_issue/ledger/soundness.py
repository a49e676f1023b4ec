"""Whether a ledger can be trusted: SQLite's own check, and what the promises rest on.

Reads only, and needs no sound file to say what is wrong with it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, TypeAlias

from bulk_issue.commands import command
from bulk_issue.findings import Finding, Grade
from bulk_issue.ledger.journal import holds_something, is_missing, journal_of
from bulk_issue.ledger.schema import HEAD
from bulk_issue.states import CLAIMING

#: Asks the ledger for one value.
Ask: TypeAlias = Callable[[str], Any]
#: What findings on the ledger are called.
WHAT = "ledger"

_WORTH_A_BACKUP = "SELECT EXISTS (SELECT 1 FROM attempts) AND NOT EXISTS (SELECT 1 FROM backups)"
_STATES = ", ".join(f"'{state}'" for state in sorted(CLAIMING))
_RESTORE = (
    f"Restore a backup ({command('ledger', 'restore', 'BACKUP')}), and report this with the output of this command."
)
_WITHOUT = "what was recorded last is missing, and it may not know of all coupons that were issued"
_COPY = (
    f"Use the ledger that it was copied from, and copy with {command('ledger', 'backup', 'FOLDER')}. If that one is "
    f"lost, restore a backup; if there is none: {command('ledger', 'reopen')}."
)
#: (what must not be, the query that counts it). The job that is registered just now is left out.
_INVARIANTS = (
    (
        "rows that may have been issued and hold no claim on their customer",
        (
            f"SELECT count(*) FROM rows r WHERE state IN ({_STATES})"
            " AND NOT EXISTS (SELECT 1 FROM claims c WHERE c.job = r.job AND c.row = r.number)"
        ),
    ),
    (
        "claims of rows that were issued nothing",
        (
            "SELECT count(*) FROM claims c WHERE NOT EXISTS"
            f" (SELECT 1 FROM rows r WHERE r.job = c.job AND r.number = c.row AND r.state IN ({_STATES}))"
        ),
    ),
    (
        "issued rows without a code",
        "SELECT count(*) FROM rows WHERE state = 'issued' AND coalesce(code, '') = ''",
    ),
    (
        "rows that were begun without a request on record",
        (
            "SELECT count(*) FROM rows r WHERE attempt > 0"
            " AND NOT EXISTS"
            " (SELECT 1 FROM attempts a WHERE a.job = r.job AND a.row = r.number AND a.attempt = r.attempt)"
        ),
    ),
    (
        "jobs with another number of rows than were registered",
        (
            "SELECT count(*) FROM jobs j WHERE state <> 'registering'"
            " AND rows <> (SELECT count(*) FROM rows r WHERE r.job = j.seq)"
        ),
    ),
    (
        "duplicates of rows that don't exist",
        (
            "SELECT count(*) FROM rows d WHERE state IN ('duplicate', 'linked')"
            " AND NOT EXISTS (SELECT 1 FROM rows r WHERE r.job = d.of_job AND r.number = d.of_row)"
        ),
    ),
)


def examine(path: Path) -> Iterator[Finding]:
    """Everything that can be said of a ledger file, the worst not necessarily first."""
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        yield _failed(f"other users can read it (mode {mode:o})", f"Run: chmod 600 {path}")
    else:
        yield _ok("only its owner can read it")
    had_journal = holds_something(journal_of(path))
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=10.0)) as ledger:
            ledger.execute("BEGIN")  # one snapshot for all counts
            said = [line for (line,) in ledger.execute("PRAGMA integrity_check(5)")]
            if said != ["ok"]:
                yield _failed(f"the file is damaged: {'; '.join(said)}", _RESTORE)
                return
            yield _ok("SQLite finds it undamaged")
            if is_missing(ledger, path, was_there=had_journal):
                yield _failed(f"it came without its journal ({journal_of(path)}): {_WITHOUT}", _COPY)
                return
            yield from agreement(lambda query: ledger.execute(query).fetchone()[0])
            if ledger.execute(_WORTH_A_BACKUP).fetchone()[0]:
                remedy = f"{command('ledger', 'backup', 'FOLDER')}, on another disk; every night is a good time."
                yield _warning("it was never backed up by this command", remedy)
    except sqlite3.DatabaseError as error:
        yield _failed(f"it can't be read as a database: {error}", _RESTORE)


def agreement(ask: Ask) -> Iterator[Finding]:
    """Whether what the promises rest on agrees, and what a person has to do about it."""
    version = ask("SELECT version_num FROM alembic_version")
    if version != HEAD:
        said = f"it has schema {version}, not {HEAD}"
        if str(version) > HEAD:
            yield _failed(said, "Use the newer bulk-issue.")
        else:
            yield _warning(said, "Any other command brings it up to date.")
        return
    wrong = [(count, what) for what, query in _INVARIANTS if (count := ask(query))]
    for count, what in wrong:
        yield _failed(f"{count} {what}", _RESTORE)
    if not wrong:
        rows, claims = ask("SELECT count(*) FROM rows"), ask("SELECT count(*) FROM claims")
        yield _ok(f"{rows} rows and {claims} claims agree with each other")
    if ask("SELECT count(*) FROM restores WHERE trusted IS NULL"):
        yield _warning(
            "it was restored from a backup, and nobody has said that what was issued since is accounted for",
            f"Run again all that was run since that backup, then say so: {command('ledger', 'trust', '--why', 'WHY')}",
        )


def _ok(said: str) -> Finding:
    return Finding(what=WHAT, grade=Grade.OK, said=said)


def _warning(said: str, remedy: str) -> Finding:
    return Finding(what=WHAT, grade=Grade.WARNING, said=said, remedy=remedy)


def _failed(said: str, remedy: str) -> Finding:
    return Finding(what=WHAT, grade=Grade.FAILED, said=said, remedy=remedy)
