"""A simulator of a Xen host's NBD service: real nbdkit speaks TLS and NBD and serves the files, behind this proxy.

The proxy counts connections and hangs up on one too many before a byte, as xapi-nbd does; it cuts them when told to.
Export names (`/UUID?session_id=…`) are judged by `resolve` each time a client enters one: nbdkit refuses what it does
not know (xapi-nbd hangs up instead). It proves our side only.
"""

from __future__ import annotations

import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from tests.support.certificates import Authority
from tests.support.eventually import eventually
from tests.support.nbd_peers import need
from tests.support.xapi.nbd_plugin import PLUGIN

CONNECTION_LIMIT = 16
Resolve = Callable[[str, str], Path | None]
Attach = Callable[[str], Callable[[], None]]
_PIECE = 1 << 18


class NbdProxy:
    """One host at `address`. `resolve` returns the file of a VDI's uuid for a live session's id; `attach` is told of
    each disk that is opened, and returns what is called once it is not any more.

    `subject` is the name in its certificate; `most` is the peak of connections, `accepted` their number,
    `refused` how many found the host full. `entered` has each export name that a client entered. `holes=False` and
    `plain=True` are those of a host without base:allocation, without structured replies, and without TLS.
    """

    def __init__(
        self,
        folder: Path,
        resolve: Resolve,
        *,
        address: str = "127.0.0.1",
        attach: Attach = lambda _: _nothing,
        subject: str = "xen1.example",
        limit: int = CONNECTION_LIMIT,
        plain: bool = False,
        holes: bool = True,
        structured: bool = True,
    ) -> None:
        need("nbdkit")
        folder.mkdir(parents=True, exist_ok=True)
        self.address = address
        self.subject = subject
        self.limit = limit
        self.most = self.accepted = self.refused = 0
        self.entered: list[str] = []
        self.cut_after: int | None = None
        self._folder = folder
        self._resolve = resolve
        self._attach = attach
        self._options = ([] if structured else ["--no-sr"], "yes" if holes else "no", plain)
        self._plugin = str(folder / "plugin.py")
        Path(self._plugin).write_text(PLUGIN)
        self._sockets = tempfile.TemporaryDirectory(prefix="nbd-")
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._children: list[subprocess.Popen[bytes]] = []
        self._closed = False
        self._asked = socket.socket(socket.AF_UNIX)
        self._asked.bind(f"{self._sockets.name}/asked")
        self._asked.listen()
        self._listening = socket.create_server((address, 0))
        self.port: int = self._listening.getsockname()[1]

    def __enter__(self) -> Self:
        self.change_certificate()
        self._start(self._answer_names)
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        for listening in (self._listening, self._asked):
            listening.shutdown(socket.SHUT_RDWR)
        self.drop_all()
        for child in self._children:
            child.terminate()
            child.wait(30)
        for thread in self._threads:
            thread.join(60)
        self._listening.close()
        self._asked.close()
        self._sockets.cleanup()

    def info(self, uuid: str, session_id: str) -> dict[str, Any]:
        """What the pool tells of a VDI here, as XML-RPC carries it."""
        return {
            "exportname": f"/{uuid}?session_id={session_id}",
            "address": self.address,
            "port": str(self.port),
            "cert": self.certificate,
            "subject": self.subject,
        }

    @property
    def open(self) -> int:
        """How many connections there are now."""
        with self._lock:
            return len(self._open)

    def change_certificate(self) -> None:
        """Show a new certificate to connections from now on: `certificate`, which `info` tells, is the new one."""
        number = len(self._children)
        authority = Authority(self._folder / f"tls-{number}")
        self.certificate = authority.issue("server", [self.subject], common_name=self.subject).read_text()
        sr, holes, plain = self._options
        path, pid = Path(self._sockets.name) / f"s{number}", Path(self._sockets.name) / f"p{number}"
        tls = [] if plain else ["--tls=require", f"--tls-certificates={authority.folder}"]
        command = ["nbdkit", "-f", "-r", *sr, *tls, "-U", str(path), "-P", str(pid), "python", self._plugin]
        command += [f"asked={self._sockets.name}/asked", f"holes={holes}"]
        with open(self._folder / "nbdkit.log", "ab") as log:
            child = subprocess.Popen(command, stdout=log, stderr=log)
        self._children.append(child)
        eventually(lambda: pid.exists() or child.poll() is not None, "nbdkit")
        assert child.poll() is None, (self._folder / "nbdkit.log").read_text()
        self._target = str(path)

    def drop_all(self) -> None:
        """Cut every connection, as a host does that restarts."""
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def _start(self, work: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=work, args=args, name="nbd-proxy")
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            with self._lock:
                self.accepted += 1
                full = len(self._open) >= self.limit
                self.refused += full
                if not full:
                    self._open.add(client)
                    self.most = max(self.most, len(self._open))
            if full:
                client.close()
            else:
                self._start(self._carry, client)

    def _carry(self, client: socket.socket) -> None:
        """Pass bytes on both ways until either end closes."""
        with client, socket.socket(socket.AF_UNIX) as server:
            try:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
                server.connect(self._target)
                back = threading.Thread(target=self._pump, args=(server, client, True), name="nbd-proxy-back")
                back.start()
                self._pump(client, server, False)
                back.join()
            except OSError:
                return
            finally:
                with self._lock:
                    self._open.discard(client)

    def _pump(self, source: socket.socket, target: socket.socket, to_client: bool) -> None:
        buffer = memoryview(bytearray(_PIECE))
        with suppress(OSError):  # either side may go away at any time
            while count := source.recv_into(buffer):
                if to_client and self._is_cut(count):
                    break
                target.sendall(buffer[:count])
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _is_cut(self, count: int) -> bool:
        """Whether the connection ends here: once `cut_after` bytes went to clients, for one connection."""
        with self._lock:
            if self.cut_after is None:
                return False
            self.cut_after -= count
            if self.cut_after > 0:
                return False
            self.cut_after = None
            return True

    def _answer_names(self) -> None:
        while not self._closed:
            try:
                asking, _ = self._asked.accept()
            except OSError:
                return
            self._start(self._answer_name, asking)

    def _answer_name(self, asking: socket.socket) -> None:
        """Answer a name, and hold the disk until nbdkit closes it."""
        with asking, asking.makefile("rw") as lines:
            name = lines.readline().strip()
            self.entered.append(name)
            parts = urlsplit(name)
            uuid = parts.path.removeprefix("/")
            path = self._resolve(uuid, parse_qs(parts.query).get("session_id", [""])[0])
            detach = self._attach(uuid) if path is not None else _nothing
            try:
                print(path or "", file=lines, flush=True)
                lines.readline()
            finally:
                detach()


def _nothing() -> None:
    """Nothing is attached."""
