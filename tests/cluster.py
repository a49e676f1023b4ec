"""A PostgreSQL server of the tests' own: its data in a temporary folder, reached by a socket in there and nothing else.

PostgreSQL refuses to run as root; there the server runs as Debian's `postgres`. Every test gets a database of its own,
copied from one that `samples/postgres-role.sql` and the migrations have made, and works in it with the role of least
rights.
"""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bulk_issue.config import LedgerUrl
from bulk_issue.ledger import open_ledger

ROLES = Path(__file__).parent.parent / "samples" / "postgres-role.sql"


def programs() -> Path | None:
    """The folder of PostgreSQL's server programs, the newest where there are several."""
    found = [path for path in Path("/usr/lib/postgresql").glob("*/bin") if (path / "initdb").exists()]
    if found:
        return max(found, key=lambda path: int(path.parent.name))
    initdb = shutil.which("initdb")
    return Path(initdb).resolve().parent if initdb else None


class Cluster:
    """A running server; at an address too, in a network of its own, where `within` says so."""

    def __init__(self, folder: Path, address: str = "", within: Sequence[str] = ()) -> None:
        bin_ = programs()
        assert bin_ is not None, "PostgreSQL's server isn't installed"
        self._within = within
        self.folder, self._bin, self._numbers = folder, bin_, itertools.count(1)
        self._as_user: dict[str, Any] = {"cwd": folder}
        if os.geteuid() == 0:
            account = pwd.getpwnam("postgres")
            self._as_user |= {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
            os.chown(folder, account.pw_uid, account.pw_gid)
        self._do("initdb", "-D", "data", "-U", "admin", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
        with (folder / "data" / "postgresql.conf").open("a", encoding="utf-8") as conf:
            conf.write(f"listen_addresses = '{address}'\nunix_socket_directories = '{folder}'\nshared_buffers = 32MB\n")
        with (folder / "data" / "pg_hba.conf").open("a", encoding="utf-8") as hba:
            hba.write("host all all samenet trust\n")
        self.start()
        self._template()

    def _do(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._bin / program, *arguments],
            **self._as_user,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"

    def start(self) -> None:
        """Return when the server takes connections, recovered if it has to be."""
        with (self.folder / "log").open("ab") as log:
            self._server = subprocess.Popen(
                [*self._within, self._bin / "postgres", "-D", self.folder / "data"],
                **(self._as_user if not self._within else {"cwd": self.folder}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        while not self._takes_connections():
            assert self._server.poll() is None, (self.folder / "log").read_text(encoding="utf-8")
            time.sleep(0.02)

    def _takes_connections(self) -> bool:
        asked = subprocess.run([self._bin / "pg_isready", "-q", "-h", self.folder], check=False)
        return asked.returncode == 0

    def stop(self, how: str = "fast") -> None:
        """`fast` as an administrator stops it; `immediate` as a crash: it recovers at the next start."""
        self._server.send_signal({"fast": signal.SIGINT, "immediate": signal.SIGQUIT}[how])
        self._server.wait()

    def kill(self) -> None:
        """End the server as SIGKILL, or the out-of-memory killer, does."""
        pid = self._server.pid
        children = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False).stdout.split()
        for each in (pid, *map(int, children)):  # children first would only be restarted
            with suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        self._server.wait()

    def sql(self, statement: str, database: str = "postgres") -> str:
        """What psql prints for it, as the superuser."""
        done = subprocess.run(
            [self._bin / "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", self.folder, "-U", "admin", "-d", database],
            input=statement,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def url(self, database: str, role: str = "bulk_issue") -> LedgerUrl:
        return LedgerUrl(f"postgresql://{role}@/{database}?host={self.folder}")

    def database(self) -> str:
        """A new database with an empty ledger."""
        name = f"ledger_{next(self._numbers)}"
        self.sql(f"CREATE DATABASE {name} TEMPLATE made")
        return name

    def _template(self) -> None:
        self.sql("CREATE DATABASE made")
        self.sql(ROLES.read_text(encoding="utf-8"), "made")

        async def migrate() -> None:
            await (await open_ledger(self.url("made", "bulk_issue_owner"), inline=True)).close()

        with suppress(StopIteration):
            migrate().send(None)  # inline, nothing in it waits for a loop
        self.sql("DELETE FROM bulk_issue.home", "made")  # its copies are ledgers of their own, not put back


@contextmanager
def running(address: str = "", within: Sequence[str] = ()) -> Iterator[Cluster]:
    """A server for as long as the body runs; its data in memory where there is such a place."""
    shm = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="bi-pg-", dir=shm if shm.is_dir() else None) as folder:
        cluster = Cluster(Path(folder), address, within)
        try:
            yield cluster
        finally:
            cluster.stop("immediate")
