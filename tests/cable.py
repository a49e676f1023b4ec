"""Two hosts and a cable between them: network namespaces, where they can be made. Nobody else has their addresses."""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

#: From the block that is reserved for documentation (RFC 5737).
DATABASE, HOST = "192.0.2.1", "192.0.2.2"
_CLONE_NEWNET = 0x40000000


def _ip(*words: str) -> bool:
    return subprocess.run(["ip", *words], capture_output=True, check=False).returncode == 0


@dataclass(frozen=True, slots=True)
class Cable:
    """Between the database's host and another one."""

    database: str
    host: str

    def pull(self) -> None:
        """From now on nothing passes, and nobody is told."""
        assert _ip("-n", self.host, "link", "set", "cable", "down")

    @property
    def on_database(self) -> Sequence[str]:
        """What starts a server there, as the user that PostgreSQL wants."""
        account = pwd.getpwnam("postgres")
        as_user = ("setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups")
        return "ip", "netns", "exec", self.database, *as_user

    @property
    def on_host(self) -> Sequence[str]:
        """What starts a process there."""
        return "ip", "netns", "exec", self.host

    def door(self, port: int = 0) -> socket.socket:
        """A socket that listens on the host's own 127.0.0.1, served by this process."""
        opened: list[socket.socket] = []

        def there() -> None:  # a thread may be on another host, and what it opens stays there
            with (Path("/run/netns") / self.host).open() as namespace:
                if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
            opened.append(socket.create_server(("127.0.0.1", port)))

        thread = threading.Thread(target=there)
        thread.start()
        thread.join()
        return opened[0]


@contextmanager
def cable() -> Iterator[Cable | None]:
    """A cable for as long as the body runs; None where namespaces can't be made."""
    names = [f"bulk-issue-{os.getpid()}-{name}" for name in ("database", "host")]
    made = [name for name in names if shutil.which("ip") and os.geteuid() == 0 and _ip("netns", "add", name)]
    try:
        yield Cable(*names) if len(made) == 2 and _joined(*names) else None
    finally:
        for name in made:
            _ip("netns", "del", name)


def _joined(database: str, host: str) -> bool:
    veth = ("link", "add", "cable", "netns", database, "type", "veth", "peer", "name", "cable", "netns", host)
    return _ip(*veth) and all(
        _ip("-n", name, "addr", "add", f"{address}/30", "dev", "cable")
        and _ip("-n", name, "link", "set", "cable", "up")
        and _ip("-n", name, "link", "set", "lo", "up")
        for name, address in ((database, DATABASE), (host, HOST))
    )
