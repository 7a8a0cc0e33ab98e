"""What a hostile program would try inside a worker, in place of answering its statement."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from catalog.sql.door.wire import AnswerColumn, Ask


class Probe:
    """Stands where a running statement would; the question names what to try."""

    rows = 1
    truncated = False

    def __init__(self, ask: Ask) -> None:
        self._asked = json.loads(ask.query)

    def columns(self) -> list[AnswerColumn]:
        return []

    def pieces(self) -> Iterator[bytes]:
        yield json.dumps({name: _tried(attempt) for name, attempt in _attempts(self._asked).items()}).encode()


def _tried(attempt: Callable[[], Any]) -> str:
    try:
        attempt()
    except OSError as error:
        return f"errno {error.errno}"
    return "ok"


def _attempts(asked: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    secret = Path(asked["file"])
    new = str(secret.with_name("planted"))
    first = _first_regular_file()
    files: dict[str, Callable[[], Any]] = {
        "read": secret.read_bytes,
        "environ": Path("/proc/1/environ").read_bytes,
        "memory": lambda: os.open("/proc/self/mem", os.O_RDWR),
        "create": lambda: os.open(new, os.O_WRONLY | os.O_CREAT),
        "write": lambda: os.open(secret, os.O_WRONLY),
        "truncate": lambda: os.truncate(secret, 1),
        "truncate by opening": lambda: os.open(secret, os.O_RDONLY | os.O_TRUNC),
        "reopen for writing": lambda: os.open(f"/proc/self/fd/{first}", os.O_RDWR),
        "mkdir": lambda: os.mkdir(new + "-folder"),
        "symlink": lambda: os.symlink("/", new + "-link"),
        "chmod": lambda: os.chmod(secret, 0o600),
        "utime": lambda: os.utime(secret, (1, 1)),
        "rename": lambda: os.rename(secret, new),
        "unlink": lambda: os.unlink(secret),
    }
    others: dict[str, Callable[[], Any]] = {
        "tcp": lambda: _connected(socket.AF_INET, ("127.0.0.1", asked["tcp"])),
        "udp": lambda: _bound(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
        "unix": lambda: _connected(socket.AF_UNIX, asked["unix"]),
        "abstract": lambda: _connected(socket.AF_UNIX, "\0holdfast-nobody-listens"),
        "memfd": lambda: os.close(os.memfd_create("x")),
        "setuid": lambda: os.setuid(0),
        "kill": lambda: os.kill(os.getppid(), signal.SIGWINCH),
        "fork": _forked,
        "exec": _executed,
    }
    return {**others, **files}


def _first_regular_file() -> int:
    return next(fd for fd in range(3, 64) if _is(fd) and stat.S_ISREG(os.fstat(fd).st_mode))


def _is(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _bound(family: int, kind: int, address: Any) -> None:
    with socket.socket(family, kind) as made:
        made.bind(address)


def _connected(family: int, address: Any) -> None:
    with socket.socket(family) as made:
        made.connect(address)


def _forked() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


def _executed() -> None:
    if os.spawnv(os.P_WAIT, "/bin/true", ["true"]) != 0:  # noqa: S606 - it must not start
        raise PermissionError(1, "not run")
