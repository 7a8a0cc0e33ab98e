"""A read-only NBD server for one disk. Imports `adapters.errors` and this package only.

A thread accepts; each connection has `limits.workers` threads of its own. It never writes, and asks nobody
who they are: give it a unix socket (only its owner may connect) or a host that only friends reach.
"""

from __future__ import annotations

import os
import socket
import stat
import time
from contextlib import suppress
from threading import Event, Lock, Thread
from types import TracebackType

from adapters.errors import AdapterError, SourceConflict, SourceUnavailable
from adapters.nbd.address import TcpAddress, UnixAddress, check_path
from adapters.nbd.haggling import Haggling
from adapters.nbd.served import Limits, ServedDisk
from adapters.nbd.session import Session
from adapters.nbd.wire import PlainWire

_SEND_BUFFER_BYTES = 1 << 20
_ACCEPT_RETRY_SECONDS = 0.05


class NbdServer:
    """Serves `disk` as `export` (the empty name finds it too) from `start` to `stop`; also a context manager."""

    def __init__(
        self, disk: ServedDisk, address: UnixAddress | TcpAddress, *, export: str = "", limits: Limits | None = None
    ) -> None:
        self._disk = disk
        self._address = address
        self._export = export
        self._limits = limits or Limits()
        self._lock = Lock()  # guards the three below
        self._sessions: dict[socket.socket, Session | None] = {}
        self._threads: set[Thread] = set()
        self._served_bytes = 0
        self._listener: socket.socket | None = None
        self._acceptor: Thread | None = None
        self._stopping = Event()

    @property
    def address(self) -> UnixAddress | TcpAddress:
        """Where it listens; after `start` with the port that a TCP port of 0 became."""
        return self._address

    @property
    def served_bytes(self) -> int:
        """How many bytes of the disk were sent so far."""
        with self._lock:
            return self._served_bytes + sum(session.served_bytes for session in self._sessions.values() if session)

    def start(self) -> None:
        """Listen and serve in the background. Raises SourceConflict if the address is taken."""
        self._listener = listen(self._address)
        if isinstance(self._address, TcpAddress):
            self._address = TcpAddress(self._address.host, self._listener.getsockname()[1])
        self._acceptor = Thread(target=self._accept, args=(self._listener,), name="nbd-accept", daemon=True)
        self._acceptor.start()

    def stop(self, grace_seconds: float = 5.0) -> int:
        """Accept nobody more, answer what is under way, then close; returns the bytes served. Twice is harmless."""
        if self._listener is not None and self._acceptor is not None:
            self._stopping.set()
            self._listener.shutdown(socket.SHUT_RDWR)
            self._acceptor.join()
            self._listener.close()
            self._listener = None
            if isinstance(self._address, UnixAddress):
                self._address.path.unlink(missing_ok=True)
        with self._lock:
            for sock, session in self._sessions.items():
                if session is None:
                    _shut(sock)
                else:
                    session.stop()
            threads = list(self._threads)
        deadline = time.monotonic() + grace_seconds
        for thread in threads:
            thread.join(max(deadline - time.monotonic(), 0))
        with self._lock:
            for sock in self._sessions:
                _shut(sock)
        return self.served_bytes

    def __enter__(self) -> NbdServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                # Besides the end this may be a lack of file descriptors, which passes.
                if self._stopping.wait(_ACCEPT_RETRY_SECONDS):
                    return
                continue
            with self._lock:
                if len(self._sessions) >= self._limits.connections:
                    sock.close()
                    continue
                thread = Thread(target=self._connection, args=(sock,), name="nbd-connection", daemon=True)
                self._sessions[sock] = None
                self._threads.add(thread)
            thread.start()

    def _connection(self, sock: socket.socket) -> None:
        """Haggle, serve with several threads, and clear up."""
        session: Session | None = None
        try:
            session = self._haggle(sock)
            if session is not None:
                helpers = [
                    Thread(target=session.serve, name="nbd-worker", daemon=True)
                    for _ in range(self._limits.workers - 1)
                ]
                for helper in helpers:
                    helper.start()
                session.serve()
                for helper in helpers:
                    helper.join()
        except (AdapterError, OSError):
            return
        finally:
            with self._lock:
                del self._sessions[sock]
                self._served_bytes += session.served_bytes if session else 0
                self._threads = {thread for thread in self._threads if thread.is_alive()}
            sock.close()

    def _haggle(self, sock: socket.socket) -> Session | None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        if isinstance(self._address, TcpAddress):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        wire = PlainWire(sock)
        deadline = time.monotonic() + self._limits.haggling_seconds
        agreed = Haggling(wire, self._export, self._disk.size_bytes, self._limits.request_bytes, deadline).run()
        if agreed is None:
            return None
        session = Session(wire, self._disk, agreed, self._limits)
        with self._lock:
            self._sessions[sock] = session
        return session


def _shut(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def listen(address: UnixAddress | TcpAddress) -> socket.socket:
    """Bind and listen; a unix socket is 0600, and a missing directory for it is made 0700."""
    try:
        if isinstance(address, UnixAddress):
            return _listen_unix(address)
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        return socket.create_server((address.host, address.port), family=family, backlog=64)
    except FileExistsError:
        raise SourceConflict(f"{address} exists and is no stale socket", code="nbd-address-taken") from None
    except OSError as error:
        why = error.strerror or str(error)
        raise SourceUnavailable(f"Cannot listen on {address}", code="nbd-listen", why=why) from None


def _listen_unix(address: UnixAddress) -> socket.socket:
    check_path(address)
    address.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _clear_stale(address)
    sock = socket.socket(socket.AF_UNIX)
    try:
        os.fchmod(sock.fileno(), 0o600)  # bind gives the file this mode, so that it is never open to others
        sock.bind(str(address.path))
        sock.listen(64)
    except OSError:
        sock.close()
        raise
    return sock


def _clear_stale(address: UnixAddress) -> None:
    """Remove a socket whose server is gone. Raises FileExistsError for anything else."""
    try:
        mode = address.path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(address.path))
        except ConnectionRefusedError:
            address.path.unlink()
            return
    raise FileExistsError
