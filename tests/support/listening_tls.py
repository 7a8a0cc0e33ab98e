"""A TLS server that refuses everything and remembers all that it is told: what reaches a wrong receiver."""

from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path


class ListeningTls:
    """Ends a connection with its first line; `shaken` counts handshakes, `heard` is everything behind them."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate, key)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.shaken = 0
        self.heard = b""
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> ListeningTls:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(60)
        assert not self._thread.is_alive()

    def _serve(self) -> None:
        while True:
            try:
                plain, _ = self._socket.accept()
            except OSError:
                return
            with plain:
                plain.settimeout(30)
                try:
                    with self._context.wrap_socket(plain, server_side=True) as connection:
                        self.shaken += 1
                        while b"\r\n\r\n" not in self.heard and (piece := connection.recv(65536)):
                            self.heard += piece
                        if self.heard:
                            connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
                except (OSError, ssl.SSLError):
                    continue
