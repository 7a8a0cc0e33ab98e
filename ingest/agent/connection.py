"""Requests to a receiver: TLS that is verified or pinned, one connection for each thread, and patience with outages.

Imports `ingest.agent.protocol` and `storage.errors`. Plain HTTP goes to loopback only. A request is repeated after a
lost connection, which the protocol allows for every one of them; no redirect is followed.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import ipaddress
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from ingest.agent.protocol import PREFIX
from storage.errors import Conflict, Corrupt, Denied, HoldfastError, Invalid, Limit, NotFound, Unavailable

PATIENCE_SECONDS = 300.0
PAUSE_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0)
TIMEOUT_SECONDS = 60.0
"""Longer than the receiver lets a poll wait."""
MAX_ANSWER_BYTES = 4 << 20
AGAIN = frozenset({408, 429, 502, 503, 504})
KINDS: dict[str, type[HoldfastError]] = {
    kind.kind: kind for kind in (Invalid, NotFound, Denied, Conflict, Unavailable, Corrupt, Limit)
}


@dataclass(frozen=True, slots=True)
class Receiver:
    """Where to send, and whom to believe to be there. `fingerprint`: SHA-256 of its certificate, hex, pinned."""

    url: str
    ca_file: Path | None = None
    fingerprint: str | None = None
    secure: bool = field(init=False)
    host: str = field(init=False)
    port: int = field(init=False)

    def __post_init__(self) -> None:
        """Check the address. Raises Invalid; Denied for plain HTTP beyond loopback."""
        try:
            parts = urlsplit(self.url)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            parts, host, port = urlsplit(""), "", None
        if parts.scheme not in ("http", "https") or not host or parts.path.strip("/") or parts.query or parts.username:
            raise Invalid("this is no receiver's address", code="agent-server", hint="--server https://HOST:PORT")
        if parts.scheme == "http" and not _loopback(host):
            raise Denied(
                f"the token and the data would travel unencrypted to {host}", code="agent-plain", hint="use https"
            )
        if self.fingerprint is not None and len(self.pin) != hashlib.sha256().digest_size:
            raise Invalid(
                "this is no SHA-256 fingerprint", code="agent-fingerprint", hint="64 hex digits, with : or not"
            )
        object.__setattr__(self, "secure", parts.scheme == "https")
        object.__setattr__(self, "host", host)
        object.__setattr__(self, "port", port or (443 if parts.scheme == "https" else 80))

    @property
    def pin(self) -> bytes:
        """The pinned digest; empty when there is none, or it is not hexadecimal."""
        try:
            return bytes.fromhex((self.fingerprint or "").replace(":", ""))
        except ValueError:
            return b""

    def connect(self) -> http.client.HTTPConnection:
        """A new connection, which opens with its first request."""
        if not self.secure:
            return http.client.HTTPConnection(self.host, self.port, timeout=TIMEOUT_SECONDS)
        return _PinnedConnection(self)

    def context(self) -> ssl.SSLContext:
        """The system's authorities, or the given ones; with a pin and no authority the pin alone decides."""
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise Invalid(f"{self.ca_file} cannot be used", code="agent-ca", why=str(error)) from None
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.fingerprint is not None and self.ca_file is None:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


class _PinnedConnection(http.client.HTTPSConnection):
    """Checks the certificate before a byte of ours is sent."""

    def __init__(self, receiver: Receiver) -> None:
        super().__init__(receiver.host, receiver.port, timeout=TIMEOUT_SECONDS, context=receiver.context())
        self._receiver = receiver

    def connect(self) -> None:
        """Connect, shake hands, compare."""
        super().connect()
        if self._receiver.fingerprint is None:
            return
        shown = self.sock.getpeercert(binary_form=True) or b""
        if not hmac.compare_digest(hashlib.sha256(shown).digest(), self._receiver.pin):
            self.close()
            raise Denied(
                "the receiver shows another certificate",
                code="agent-tls-pin",
                why="its SHA-256 fingerprint is not the pinned one",
                hint="find out why it changed before you pin the new one",
            )


class Line:
    """Requests with a token; safe from several threads, each of which has a connection of its own.

    `sent_bytes` counts the bodies that were taken.
    """

    def __init__(
        self,
        receiver: Receiver,
        token: str,
        *,
        patience: float = PATIENCE_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not (token and token.isascii() and token.isprintable()):
            raise Invalid("that is no token", code="agent-token", hint="holdfast token create --role agent")
        self._receiver = receiver
        self._headers = {"Authorization": f"Bearer {token}"}
        self._patience = patience
        self._monotonic = monotonic
        self._sleep = sleep
        self._own = threading.local()
        self._made: list[http.client.HTTPConnection] = []
        self._counting = threading.Lock()
        self.sent_bytes = 0

    def request(self, method: str, path: str, body: bytes = b"", *, patience: float | None = None) -> bytes:
        """Ask until there is an answer, and return its body. Raises what a problem says; Unavailable, Denied."""
        until = self._monotonic() + (self._patience if patience is None else patience)
        attempt = 0
        while True:
            try:
                return self._once(method, PREFIX + path, body)
            except Unavailable as error:
                if error.code not in ("agent-line", "agent-again") or self._monotonic() >= until:
                    raise
            self._sleep(PAUSE_SECONDS[min(attempt, len(PAUSE_SECONDS) - 1)])
            attempt += 1

    def close(self) -> None:
        """Close all connections; no request may be under way."""
        for connection in self._made:
            connection.close()

    def _once(self, method: str, path: str, body: bytes) -> bytes:
        if not hasattr(self._own, "connection"):
            self._own.connection = self._receiver.connect()
            self._made.append(self._own.connection)
        # One that was closed opens again by itself.
        connection: http.client.HTTPConnection = self._own.connection
        try:
            connection.request(method, path, body, self._headers)
            with connection.getresponse() as response:
                answer = response.read(MAX_ANSWER_BYTES + 1)
            with self._counting:
                self.sent_bytes += len(body)
        except ssl.SSLCertVerificationError as error:
            connection.close()
            raise Denied(
                "the receiver's certificate is not trusted",
                code="agent-tls-untrusted",
                why=error.verify_message,
                hint="--ca FILE or --fingerprint",
            ) from None
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise Unavailable(
                f"the receiver at {self._receiver.host} does not answer",
                code="agent-line",
                why=getattr(error, "strerror", None) or type(error).__name__,
            ) from None
        if response.status != 200 or len(answer) > MAX_ANSWER_BYTES:
            connection.close()
            raise _problem(response.status, answer)
        return answer


def _problem(status: int, answer: bytes) -> HoldfastError:
    try:
        said = msgspec.json.decode(answer, type=dict[str, object])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        said = {}
    kind = KINDS.get(str(said.get("kind")))
    if kind is None:
        code = "agent-again" if status in AGAIN else "agent-answer"
        return Unavailable("the receiver answers something else", code=code, why=f"HTTP status {status}")
    if status in AGAIN:
        return Unavailable(str(said.get("detail")), code="agent-again", why=f"the receiver says {said.get('code')}")
    return kind(str(said.get("detail")), code=str(said.get("code")), hint=str(said.get("hint")))


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
