"""A simulator of xapi-nbd's own dialect: less than nbdkit speaks, and so what a host of today is read by.

TLS is forced; there are no GO, no structured replies, no metadata and no list; an export is entered by EXPORT_NAME,
with 124 zeros behind its size, or the connection is dropped without a word; requests are answered one after the other,
and those that are no whole sectors are refused. Facts are of the published server's source; it proves our side only.
"""

from __future__ import annotations

import os
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from tests.support.certificates import Authority

_OPTION_MAGIC = 0x49484156454F5054
_REPLY_MAGIC = 0x3E889045565A9
_EXPORT_NAME, _ABORT, _LIST, _STARTTLS = 1, 2, 3, 5
_ACK, _UNSUPPORTED, _POLICY, _TLS_REQUIRED = 1, (1 << 31) + 1, (1 << 31) + 2, (1 << 31) + 5
_READ, _DISCONNECT = 0, 2
_EINVAL = 22


class DialectServer:
    """One host; `resolve` returns the file of a VDI's uuid for a live session's id. `options` are all that came."""

    def __init__(
        self, folder: Path, resolve: Callable[[str, str], Path | None], *, subject: str = "xen1.example"
    ) -> None:
        certificate = Authority(folder).issue("server", [subject], common_name=subject)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate, folder / "server-key.pem")
        self._certificate = certificate.read_text()
        self._subject = subject
        self._resolve = resolve
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self.options: list[int] = []
        self.entered: list[str] = []

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self.drop_all()
        for thread in self._threads:
            thread.join(60)
        self._listening.close()

    def info(self, uuid: str, session_id: str) -> dict[str, Any]:
        """What the pool tells of a VDI here."""
        return {
            "exportname": f"/{uuid}?session_id={session_id}",
            "address": "127.0.0.1",
            "port": str(self._listening.getsockname()[1]),
            "cert": self._certificate,
            "subject": self._subject,
        }

    def drop_all(self) -> None:
        """Cut every connection."""
        for connection in list(self._open):
            try:
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
            except OSError:
                continue

    def _start(self, work: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=work, args=args, name="nbd-dialect")
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                plain, _ = self._listening.accept()
            except OSError:
                return
            self._open.add(plain)
            self._start(self._serve, plain)

    def _serve(self, plain: socket.socket) -> None:
        try:
            with plain:
                plain.sendall(b"NBDMAGIC" + struct.pack(">QH", _OPTION_MAGIC, 1))
                _take(plain, 4)
                while (option := self._option(plain)[0]) != _STARTTLS:
                    _reply(plain, option, _TLS_REQUIRED)
                _reply(plain, _STARTTLS, _ACK)
                with self._context.wrap_socket(plain, server_side=True) as secured:
                    self._open.add(secured)
                    try:
                        self._negotiate(secured)
                    finally:
                        self._open.discard(secured)
        except (OSError, EOFError):
            return  # either side may hang up at any time
        finally:
            self._open.discard(plain)

    def _negotiate(self, peer: ssl.SSLSocket) -> None:
        while True:
            option, body = self._option(peer)
            if option == _ABORT:
                _reply(peer, option, _ACK)
                return
            if option == _EXPORT_NAME:
                break
            _reply(peer, option, _POLICY if option in (_LIST, _STARTTLS) else _UNSUPPORTED)
        name = urlsplit(body.decode())
        self.entered.append(body.decode())
        path = self._resolve(name.path.removeprefix("/"), parse_qs(name.query).get("session_id", [""])[0])
        if path is not None:
            self._transmit(peer, path)

    def _transmit(self, peer: ssl.SSLSocket, path: Path) -> None:
        with open(path, "rb") as disk:
            peer.sendall(struct.pack(">QH", os.fstat(disk.fileno()).st_size, 0b11) + bytes(124))
            while True:
                _, command, handle, offset, length = struct.unpack(">IIQQI", _take(peer, 28))
                if command == _DISCONNECT:
                    return
                wrong = command != _READ or offset % 512 or length % 512
                peer.sendall(struct.pack(">IIQ", 0x67446698, _EINVAL if wrong else 0, handle))
                if not wrong:
                    disk.seek(offset)
                    peer.sendall(disk.read(length))

    def _option(self, peer: socket.socket) -> tuple[int, bytes]:
        magic, option, length = struct.unpack(">QII", _take(peer, 16))
        assert magic == _OPTION_MAGIC
        self.options.append(option)
        return option, _take(peer, length)


def _reply(peer: socket.socket, option: int, kind: int) -> None:
    peer.sendall(struct.pack(">QIII", _REPLY_MAGIC, option, kind, 0))


def _take(peer: socket.socket, length: int) -> bytes:
    found = b""
    while len(found) < length:
        piece = peer.recv(length - len(found))
        if not piece:
            raise EOFError
        found += piece
    return found
