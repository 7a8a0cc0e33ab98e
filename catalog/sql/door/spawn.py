"""The service's handles: the zygote, and one worker. Linux only. Imports this package and `storage.errors`.

A worker is ended by SIGKILL through its pidfd, which can't hit another process; it holds nothing worth tidying up.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from catalog.sql.door import wire
from catalog.sql.door.wire import Kind
from catalog.sql.door.zygote import PID
from storage.errors import Unavailable

CODE = Path(__file__).resolve().parents[3]
START = "import sys; sys.path.insert(0, sys.argv[1]); from catalog.sql.door.zygote import main; main(int(sys.argv[2]))"
SEND_SECONDS = 10.0
"""How long a worker may take to accept what it is sent."""


class Worker:
    """One process for one statement."""

    def __init__(self, pid: int, pidfd: int, channel: socket.socket) -> None:
        self.pid = pid
        self._pidfd = pidfd
        self._channel = channel
        self._lock = threading.Lock()
        self.killed = False

    def enter(self, message: wire.Enter, descriptors: Sequence[int]) -> None:
        """Give it its tables. Raises OSError when it died."""
        self._channel.settimeout(SEND_SECONDS)
        wire.say(self._channel, Kind.ENTER, message)
        wire.send_descriptors(self._channel, descriptors)
        self._channel.settimeout(None)

    def ask(self, message: wire.Ask) -> None:
        """Give it its statement. Raises OSError when it died."""
        wire.say(self._channel, Kind.ASK, message)

    def receive(self) -> tuple[Kind, bytes]:
        """Wait for its next frame; killing it ends the wait. Raises EOFError, ValueError, OSError."""
        return wire.receive(self._channel)

    def alive(self) -> bool:
        """Whether it has not ended."""
        with self._lock:
            return self._pidfd >= 0 and not select.select([self._pidfd], [], [], 0)[0]

    def kill(self) -> None:
        """End it now, if it has not ended; from any thread."""
        with self._lock:
            self.killed = True
            if self._pidfd >= 0:
                try:
                    signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
                except ProcessLookupError:
                    return

    def discard(self) -> None:
        """End it and let go of it."""
        self.kill()
        with self._lock:
            if self._pidfd >= 0:
                os.close(self._pidfd)
                self._pidfd = -1
        with contextlib.suppress(OSError):
            self._channel.shutdown(socket.SHUT_RDWR)
        self._channel.close()


class Zygote:
    """The process that forks workers; started at once, ready when its imports are done."""

    def __init__(self, start: str = START) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control = ours
        self._lock = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-c", start, str(CODE), str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={"ARROW_DEFAULT_MEMORY_POOL": "system"},
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def fork(self) -> Worker:
        """Return a new worker, which is bound but knows nothing. Raises Unavailable when the zygote is gone."""
        ours, theirs = socket.socketpair()
        try:
            with self._lock, theirs:
                socket.send_fds(self._control, [b"f"], [theirs.fileno()])
                data, descriptors, _, _ = socket.recv_fds(self._control, PID.size, 1)
            if not data:
                raise EOFError("it ended")
        except (OSError, EOFError) as error:
            ours.close()
            raise Unavailable("the SQL door does not open", code="sql-door", why=f"its process: {error}") from error
        return Worker(PID.unpack(data)[0], descriptors[0], ours)

    def alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def close(self) -> None:
        """End it; workers that still run die with it."""
        self._control.close()
        self._process.kill()
        self._process.wait()
