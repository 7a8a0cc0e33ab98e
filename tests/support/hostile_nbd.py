"""A simulator of an NBD server that lies: it negotiates by the book, then a script answers as it likes.

It is written from the specification, apart from our own server, so that both are checked against the text.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread

from adapters.nbd import NbdClient

OPT_GO, OPT_STRUCTURED, OPT_SET_META, OPT_LIST, OPT_EXPORT_NAME, OPT_STARTTLS = 7, 8, 10, 3, 1, 5
ACK, SERVER, INFO, META, UNSUP = 1, 2, 3, 4, (1 << 31) + 1
DISCONNECT = 2
DONE = 1
NONE, DATA, HOLE, STATUS, ERROR, ERROR_OFFSET = 0, 1, 2, 5, 32769, 32770


@dataclass(frozen=True)
class Request:
    """What a client asked."""

    flags: int
    command: int
    handle: int
    offset: int
    length: int


class Peer:
    """The lying side of one connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def exactly(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            piece = self.sock.recv(length - len(data))
            if not piece:
                raise ConnectionResetError
            data += piece
        return data

    def request(self) -> Request:
        magic, *fields = struct.unpack(">IHHQQI", self.exactly(28))
        assert magic == 0x25609513
        return Request(*fields)

    def simple(self, handle: int, data: bytes = b"", error: int = 0) -> None:
        self.sock.sendall(struct.pack(">IIQ", 0x67446698, error, handle) + data)

    def chunk(self, handle: int, kind: int, payload: bytes = b"", flags: int = 0, length: int | None = None) -> None:
        length = len(payload) if length is None else length
        self.sock.sendall(struct.pack(">IHHQI", 0x668E33EF, flags, kind, handle, length) + payload)

    def data(self, handle: int, offset: int, data: bytes, flags: int = 0) -> None:
        self.chunk(handle, DATA, struct.pack(">Q", offset) + data, flags)

    def hole(self, handle: int, offset: int, length: int, flags: int = 0) -> None:
        self.chunk(handle, HOLE, struct.pack(">QI", offset, length), flags)

    def status(self, handle: int, context: int, extents: list[tuple[int, int]], flags: int = DONE) -> None:
        body = struct.pack(">I", context) + b"".join(struct.pack(">II", *extent) for extent in extents)
        self.chunk(handle, STATUS, body, flags)

    def option_reply(self, option: int, kind: int, body: bytes = b"", length: int | None = None) -> None:
        length = len(body) if length is None else length
        self.sock.sendall(struct.pack(">QIII", 0x3E889045565A9, option, kind, length) + body)

    def until_closed(self) -> None:
        """Say nothing more until the client hangs up."""
        with contextlib.suppress(OSError):
            while self.sock.recv(65536):
                pass


def answering(answer: Callable[[Peer, Request], object]) -> Callable[[Peer], None]:
    """Return a script that gives every request the same treatment until the client says goodbye."""

    def script(peer: Peer) -> None:
        while (request := peer.request()).command != DISCONNECT:
            answer(peer, request)

    return script


def read(client: NbdClient, offset: int, length: int) -> bytes:
    """Read one range into a buffer that was used before."""
    buffer = bytearray(b"\xaa" * length)
    client.pread_into(offset, memoryview(buffer))
    return bytes(buffer)


Script = Callable[[Peer], None]
OptionHook = Callable[[Peer, int, bytes], bool]


@dataclass
class HostileNbd:
    """`script` runs after the negotiation; `on_option` may answer an option itself and then returns True."""

    script: Script = Peer.until_closed
    size_bytes: int = 1 << 20
    flags: int = 0b100000001  # has flags, multi-conn
    structured: bool = True
    contexts: dict[str, int] = field(default_factory=lambda: {"base:allocation": 7})
    greeting: bytes = struct.pack(">QQH", 0x4E42444D41474943, 0x49484156454F5054, 3)
    block_sizes: tuple[int, int, int] | None = (1, 4096, 32 << 20)
    on_option: OptionHook | None = None

    @contextmanager
    def listening(self, folder: Path) -> Iterator[str]:
        """Serve every connection until the block ends; yield the address. A script's failure is raised here."""
        failures: list[Exception] = []
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(folder / "hostile.sock"))
            listener.listen()
            thread = Thread(target=self._serve, args=(listener, failures), daemon=True)
            thread.start()
            try:
                yield f"unix:{folder / 'hostile.sock'}"
            finally:
                listener.shutdown(socket.SHUT_RDWR)
                thread.join(30)
                (folder / "hostile.sock").unlink()
        assert not thread.is_alive()
        assert not failures, failures

    def _serve(self, listener: socket.socket, failures: list[Exception]) -> None:
        threads = []
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                break
            threads.append(Thread(target=self._talk, args=(sock, failures), daemon=True))
            threads[-1].start()
        for thread in threads:
            thread.join(60)

    def _talk(self, sock: socket.socket, failures: list[Exception]) -> None:
        peer = Peer(sock)
        try:
            sock.sendall(self.greeting)
            if self.greeting[:8] == b"NBDMAGIC":
                peer.exactly(4)
                if self._negotiate(peer):
                    self.script(peer)
            else:
                peer.until_closed()
        except OSError:
            pass  # the client hung up, as it should
        except Exception as error:  # noqa: BLE001 - handed to the test's thread
            failures.append(error)
        finally:
            sock.close()

    def _negotiate(self, peer: Peer) -> bool:
        while True:
            _, option, length = struct.unpack(">QII", peer.exactly(16))
            data = peer.exactly(length)
            if self.on_option is not None and self.on_option(peer, option, data):
                if option == OPT_EXPORT_NAME:
                    return True
                continue
            if option == OPT_STRUCTURED:
                peer.option_reply(option, ACK if self.structured else UNSUP)
            elif option == OPT_SET_META:
                for name, number in self.contexts.items():
                    if name.encode() in data:
                        peer.option_reply(option, META, struct.pack(">I", number) + name.encode())
                peer.option_reply(option, ACK)
            elif option == OPT_GO:
                peer.option_reply(option, INFO, struct.pack(">HQH", 0, self.size_bytes, self.flags))
                if self.block_sizes is not None:
                    peer.option_reply(option, INFO, struct.pack(">HIII", 3, *self.block_sizes))
                peer.option_reply(option, ACK)
                return True
            else:
                peer.option_reply(option, UNSUP)
