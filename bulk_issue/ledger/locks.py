"""Who holds a job on this host, and who has the ledger open: OS file locks.

The kernel frees them at the holder's death, and never while it only pauses.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bulk_issue.errors import JobHeld, LedgerError, LedgerUnavailable
from bulk_issue.model import JobId


class Locks:
    """The lock files beside a ledger. They are never deleted: a lock on a deleted file holds nothing."""

    def __init__(self, ledger: Path) -> None:
        self._ledger = ledger
        self._folder = _folder(ledger)
        self._held: dict[JobId, int] = {}
        self._entered: int | None = None

    def enter(self) -> None:
        """Have the ledger open until `leave` or death; raises `LedgerUnavailable` while another one is put there."""
        try:
            handle = self._in_use()
        except OSError as error:
            raise LedgerError(
                f"the ledger {self._ledger} can't be opened: {self._folder}: {error.strerror}",
                hint="Name another place with --ledger.",
            ) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            raise LedgerUnavailable(
                f"the ledger {self._ledger} is being restored now", hint="Nothing was sent. Run it again later."
            ) from None
        self._entered = handle

    def leave(self) -> None:
        """The ledger isn't open here any more."""
        if self._entered is not None:
            os.close(self._entered)
            self._entered = None

    def take(self, job: JobId) -> None:
        """Hold the job until `free` or death; raises `JobHeld` naming the living holder's pid."""
        if job in self._held:
            raise JobHeld(f"job {job} is being run by this process already", hint="Wait for it to end.")
        handle = _open(self._path(job))
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            pid = os.read(handle, 32).decode("ascii", "replace").strip() or "unknown"
            os.close(handle)
            raise JobHeld(
                f"job {job} is being run by process {pid} on this host",
                hint="Wait for it to end, or stop it with Ctrl-C (or kill -TERM) and run this again.",
            ) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
        self._held[job] = handle

    def free(self, job: JobId) -> None:
        """Let the job go; nothing happens if it isn't held here."""
        handle = self._held.pop(job, None)
        if handle is not None:
            os.close(handle)

    def held_by_others(self, job: JobId) -> bool:
        """Whether a living process, other than through this ledger, holds the job."""
        if job in self._held or not self._path(job).exists():
            return False
        handle = os.open(self._path(job), os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(handle)
        return False

    @contextmanager
    def all(self) -> Iterator[None]:
        """Hold every job that was ever held; raises `JobHeld` if a living process holds one."""
        taken: list[JobId] = []
        try:
            for path in sorted(self._folder.glob("*.lock")):
                self.take(JobId(path.stem))
                taken.append(JobId(path.stem))
            yield
        finally:
            for job in taken:
                self.free(job)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Be the only one who has the ledger open, and keep others from opening it; raises `JobHeld` if one has it.

        So nobody goes on with what they knew of the ledger that was there before.
        """
        with self.all():  # says which job it is, if one runs
            handle = self._in_use()
            try:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    pids = ", ".join(_pids(handle))
                    by = f"process {pids}" if pids else "another process"
                    raise JobHeld(
                        f"the ledger {self._ledger} is open in {by}",
                        hint="A run that waits for an answer, `serve`, `status --watch`, …: end it and run this again.",
                    ) from None
                yield
            finally:
                os.close(handle)

    def expel(self, job: JobId, host: str, pid: int) -> None:
        """Nothing: the kernel alone frees a lock, and never before its process is dead."""

    def _path(self, job: JobId) -> Path:
        return self._folder / f"{job}.lock"

    def _in_use(self) -> int:
        return _open(self._folder / "in-use")


class RecordersLock:
    """Shared by those who record something in a ledger, so that each can tell whether it is the only one.

    Used in the ledger's write transactions only: so a process that asks for it alone keeps no other from sharing it.
    """

    def __init__(self, ledger: Path) -> None:
        self._path = _folder(ledger) / "recording"
        self._handle: int | None = None

    def share(self) -> None:
        """Be one of those who record, until `leave` or death."""
        fcntl.flock(self._opened(), fcntl.LOCK_SH | fcntl.LOCK_NB)

    def is_ours_alone(self) -> bool:
        """Whether nobody else records. The lock is to be left then, in the same transaction."""
        try:
            fcntl.flock(self._opened(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def leave(self) -> None:
        """Record nothing any more."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _opened(self) -> int:
        if self._handle is None:
            self._handle = _open(self._path)
        return self._handle


def _folder(ledger: Path) -> Path:
    return ledger.with_name(f"{ledger.name}.locks")


def _open(path: Path) -> int:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    return os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)


def _pids(handle: int) -> list[str]:
    """The processes that have locked this file, where the system tells."""
    its = os.fstat(handle)
    device, listed = f"{os.major(its.st_dev):02x}:{os.minor(its.st_dev):02x}", Path("/proc/locks")
    lines = listed.read_text(encoding="ascii").splitlines() if listed.exists() else []
    found = (line.split() for line in lines)
    its_lock = "FLOCK", f"{device}:{its.st_ino}"
    return list(dict.fromkeys(words[4] for words in found if (words[1], words[5]) == its_lock))
