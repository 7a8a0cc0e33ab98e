"""Where an NBD server listens, and how to reach it. Imports `adapters.errors` and this package only."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from pathlib import Path

from adapters.errors import SourceInvalid, SourceNotFound, SourceUnavailable
from adapters.nbd.protocol import DEFAULT_PORT
from adapters.nbd.wire import MAX_UNIX_PATH


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """A unix socket."""

    path: Path

    def __str__(self) -> str:
        return f"unix:{self.path}"


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A host and a port; a server takes port 0 as "any free one"."""

    host: str
    port: int = DEFAULT_PORT

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> UnixAddress | TcpAddress:
    """Parse `unix:PATH`, `HOST`, `HOST:PORT`, `[IPV6]` or `[IPV6]:PORT`. Raises SourceInvalid."""
    if text.startswith("unix:"):
        address = UnixAddress(Path(text.removeprefix("unix:")))
        check_path(address)
        return address
    bare = text.endswith("]") or ":" not in text
    host, _, port = (text, "", str(DEFAULT_PORT)) if bare else text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    number = int(port) if port.isascii() and port.isdigit() else 0
    if not host or not 0 < number < 65536:
        raise SourceInvalid(
            f"{text!r} is no NBD address", code="nbd-address", hint="Give unix:PATH, HOST:PORT or [IPV6]:PORT."
        )
    return TcpAddress(host, number)


def check_path(address: UnixAddress) -> None:
    """Refuse a path that the kernel cannot take. Raises SourceInvalid."""
    if len(str(address.path).encode()) > MAX_UNIX_PATH:
        raise SourceInvalid(
            f"{str(address)!r} is no usable socket address",
            code="nbd-address",
            why=f"a unix socket path has at most {MAX_UNIX_PATH} bytes",
        )


def dial(address: UnixAddress | TcpAddress, deadline: float) -> socket.socket:
    """Connect. Raises SourceNotFound for a socket path that does not exist, else SourceUnavailable."""
    seconds = max(deadline - time.monotonic(), 0.001)
    try:
        if isinstance(address, TcpAddress):
            sock = socket.create_connection((address.host, address.port), seconds)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            return sock
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.settimeout(seconds)
            sock.connect(str(address.path))
        except OSError:
            sock.close()
            raise
    except FileNotFoundError:
        raise SourceNotFound(f"No NBD server listens at {address}", code="nbd-no-socket") from None
    except OSError as error:
        raise SourceUnavailable(
            f"No NBD server answers at {address}", code="nbd-connect", why=error.strerror or str(error)
        ) from None
    return sock
