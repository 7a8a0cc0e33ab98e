"""Who a connection belongs to, and the encryption that comes with it: Basic, NTLM, Negotiate and CredSSP.

NTLM and CredSSP are pyspnego's, server side; MIME parts are those of MS-WSMV 2.2.9.1. pyspnego reads accounts from the
file that an environment variable names, so all simulators of a process have the same account.
"""

from __future__ import annotations

import base64
import hashlib
import os
import struct
import tempfile
from pathlib import Path
from threading import Lock

import spnego
from spnego.channel_bindings import GssChannelBindings
from spnego.exceptions import SpnegoError

USER = "backup"
PASSWORD = "Sw0rdfish-42"
FOREIGN = ("Käthe", "pässwörd-日本")
"""Another account, for NTLM."""

_VARIABLE = "NTLM_USER_FILE"
_CONTENT_TYPE = 'multipart/encrypted;protocol="application/HTTP-SPNEGO-session-encrypted";boundary="Encrypted Boundary"'
_BOUNDARY = b"--Encrypted Boundary"
_OCTETS = b"\tContent-Type: application/octet-stream\r\n"


class Accounts:
    """The account of all simulators, where pyspnego looks for it, for as long as one of them runs."""

    _lock = Lock()
    _users = 0
    _before: str | None = None
    _path: Path | None = None

    @classmethod
    def acquire(cls) -> None:
        """Make the account known."""
        with cls._lock:
            cls._users += 1
            if cls._users == 1:
                handle, name = tempfile.mkstemp(prefix="ntlm-")
                os.write(handle, f":{USER}:{PASSWORD}\nHV:{USER}:{PASSWORD}\n:{FOREIGN[0]}:{FOREIGN[1]}\n".encode())
                os.close(handle)
                cls._path, cls._before = Path(name), os.environ.get(_VARIABLE)
                os.environ[_VARIABLE] = name

    @classmethod
    def release(cls) -> None:
        """Forget it when nobody needs it."""
        with cls._lock:
            cls._users -= 1
            if cls._users == 0 and cls._path is not None:
                cls._path.unlink()
                if cls._before is None:
                    os.environ.pop(_VARIABLE, None)
                else:
                    os.environ[_VARIABLE] = cls._before


class Peer:
    """One connection's client. `leaf` is our certificate (DER) on TLS, which NTLM binds itself to."""

    def __init__(self, leaf: bytes | None) -> None:
        self.known = False
        self._context: spnego.ContextProxy | None = None
        self._bindings = None
        if leaf is not None:
            self._bindings = GssChannelBindings(
                application_data=b"tls-server-end-point:" + hashlib.sha256(leaf).digest()
            )

    def step(self, authorization: str) -> str | None:
        """Take an Authorization header; the value of WWW-Authenticate to go on with, or None when that was all.

        Raises PermissionError for wrong credentials.
        """
        scheme, _, value = authorization.partition(" ")
        if scheme.lower() == "basic":
            self.known = base64.b64decode(value).decode() == f"{USER}:{PASSWORD}"
            if not self.known:
                raise PermissionError("wrong password")
            return None
        if scheme.lower() not in ("ntlm", "negotiate", "credssp"):
            raise PermissionError("no such scheme")
        if self._context is None or self._context.complete:
            self._context = spnego.server(protocol=scheme.lower(), channel_bindings=self._bindings)
        try:
            token = self._context.step(base64.b64decode(value))
        except SpnegoError as error:
            self._context = None
            raise PermissionError(str(error)) from error
        self.known = self._context.complete
        return f"{scheme} {base64.b64encode(token).decode()}" if token else None

    @property
    def can_seal(self) -> bool:
        """Whether there are keys to encrypt with."""
        return self._context is not None and self._context.complete

    def unseal(self, body: bytes) -> bytes:
        """Decrypt a message. PermissionError when another key was used."""
        assert self._context is not None
        start = body.index(_OCTETS) + len(_OCTETS)
        sealed = body[start : body.rindex(_BOUNDARY + b"--")]
        (length,) = struct.unpack_from("<i", sealed)
        try:
            return self._context.unwrap_winrm(sealed[4 : 4 + length], sealed[4 + length :])
        except SpnegoError as error:
            raise PermissionError("the message is not sealed with this connection's key") from error

    def seal(self, message: bytes) -> tuple[str, bytes]:
        """Encrypt a message; content type and body."""
        assert self._context is not None
        wrapped = self._context.wrap_winrm(message)
        head = (
            _BOUNDARY + b"\r\n\tContent-Type: application/HTTP-SPNEGO-session-encrypted\r\n"
            b"\tOriginalContent: type=application/soap+xml;charset=UTF-8;Length=%d\r\n" % len(message)
        )
        sealed = struct.pack("<i", len(wrapped.header)) + wrapped.header + wrapped.data
        return _CONTENT_TYPE, head + _BOUNDARY + b"\r\n" + _OCTETS + sealed + _BOUNDARY + b"--\r\n"
