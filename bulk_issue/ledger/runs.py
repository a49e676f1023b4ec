"""The runs of a job: which one may begin its rows, and which of them a worker made that is lost.

The rule: `jobs.holder` names one run, and only that one begins rows. Who takes a job writes its own token there, in a
transaction that no `begin` sees half of; so from then on every other run finds that it may begin nothing more.
"""

from __future__ import annotations

import getpass
import os
import secrets
import socket

from sqlalchemy import Connection, bindparam, insert, select

from bulk_issue import __version__
from bulk_issue.errors import JobHeld
from bulk_issue.ledger import home
from bulk_issue.ledger.database import Database
from bulk_issue.ledger.schema import jobs, runs
from bulk_issue.model import Alike, Moment
from bulk_issue.ports import Budget, Hold

_STANDS = select(jobs.c.holder, jobs.c.alike).where(jobs.c.seq == bindparam("queue"))


def confirm(tx: Connection, queue: int, hold: Hold) -> None:
    """Raise `JobHeld` where another run holds the job by now, and `LedgerError` where the ledger was put back."""
    may_begin(tx, queue, hold)


def may_begin(tx: Connection, queue: int, hold: Hold) -> Alike | None:
    """Confirm that this run holds the job; what a person has said of its look-alikes, None while nobody has."""
    home.stay(tx)
    job = tx.execute(_STANDS, {"queue": queue}).one_or_none()
    if job is None or job.holder != hold.token:
        raise JobHeld(f"job {hold.job} was taken over by another run", hint="Let that run go on.")
    return None if job.alike is None else Alike(job.alike)


def enter(tx: Connection, database: Database, seq: int, budget: Budget, now: Moment, worker: int | None) -> str:
    """Put a run of this process on record; its token. Raises `LedgerError` where the ledger was put back."""
    home.stay(tx)
    token = secrets.token_hex(8)
    tx.execute(
        insert(runs).values(
            token=token,
            job=seq,
            who=who(),
            pid=os.getpid(),
            host=socket.gethostname(),
            version=__version__,
            started=now.wall,
            lingers=lingers(database, budget),
            worker=worker,
        )
    )
    return token


def lingers(database: Database, budget: Budget) -> float:
    """How long a request of a run that is gone may be on its way; its process may live where it outlives its hold."""
    return budget.lingers if database.dialect.outlived else 0.0


def who() -> str:
    """Whose hand it is, for the record: the login name, or the number of a user who has none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # which of them depends on the version of Python
        return f"uid {os.getuid()}"
