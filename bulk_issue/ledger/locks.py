"""Who holds a job on this host: an OS file lock, freed by the kernel at the holder's death and never by a pause."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bulk_issue.errors import JobHeld
from bulk_issue.model import JobId


class Locks:
    """The lock files beside a ledger. They are never deleted: a lock on a deleted file holds nothing."""

    def __init__(self, ledger: Path) -> None:
        self._folder = ledger.with_name(f"{ledger.name}.locks")
        self._held: dict[JobId, int] = {}

    def take(self, job: JobId) -> None:
        """Hold the job until `free` or death; raises `JobHeld` naming the living holder's pid."""
        if job in self._held:
            raise JobHeld(f"job {job} is being run by this process already", hint="Wait for it to end.")
        self._folder.mkdir(mode=0o700, exist_ok=True)
        handle = os.open(self._path(job), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
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

    def expel(self, job: JobId, host: str, pid: int) -> None:
        """Nothing: the kernel alone frees a lock, and never before its process is dead."""

    def _path(self, job: JobId) -> Path:
        return self._folder / f"{job}.lock"
