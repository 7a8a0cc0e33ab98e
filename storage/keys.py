"""The repository's master key and what is derived from it; imports `storage` only.

Every use has its own key by HKDF-SHA256, so the master key never touches data. No text of this module's
objects, errors or reprs shows key bytes; `export` is the one way out.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import textwrap
from collections.abc import Callable
from pathlib import Path

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from storage.errors import Conflict, Corrupt, Denied
from storage.files import create_file, make_directory, storage_error

MASTER_BYTES = 32
_FORMAT = 1
_MAX_FILE_BYTES = 4096
_CHECK_BYTES = 3
_SALT_BYTES = 16
_NONCE = bytes(12)
"""Each salt gives a key of its own, used once."""
_CIPHERS = {True: "aes-256-gcm", False: "none"}
_BEGIN = "-----BEGIN HOLDFAST KEY-----"
_END = "-----END HOLDFAST KEY-----"


class KeyRing:
    """Keys of one repository. `encrypts` tells whether its packs are encrypted or only authenticated."""

    __slots__ = ("_master", "encrypts", "key_id")

    def __init__(self, master: bytes, *, encrypts: bool = True) -> None:
        if len(master) != MASTER_BYTES:
            raise _bad_format("the key is not 32 bytes long")
        self._master = master
        self.encrypts = encrypts
        self.key_id = self._derive(b"key id", 8).hex()

    def __repr__(self) -> str:
        return f"KeyRing(key_id={self.key_id!r}, encrypts={self.encrypts})"

    def __reduce__(self) -> str:
        raise TypeError("a KeyRing is not pickled")

    @classmethod
    def create(cls, path: Path, *, encrypts: bool = True, random_bytes: Callable[[int], bytes] = os.urandom) -> KeyRing:
        """Make a new key and save it to `path`, mode 0600. Raises Conflict `key-exists`."""
        ring = cls(random_bytes(MASTER_BYTES), encrypts=encrypts)
        ring.save(path)
        return ring

    @classmethod
    def plain(cls, path: Path, *, random_bytes: Callable[[int], bytes] = os.urandom) -> KeyRing:
        """Make the key of an unencrypted repository: it names and authenticates chunks, and hides nothing."""
        return cls.create(path, encrypts=False, random_bytes=random_bytes)

    @classmethod
    def load(cls, path: Path) -> KeyRing:
        """Read a key file. Raises Denied `key-missing`, `key-permissions` or `key-format`."""
        try:
            with path.open("rb") as file:
                if os.fstat(file.fileno()).st_mode & 0o077:
                    raise Denied(
                        f"{path} is open to others", code="key-permissions", hint=f"chmod 600 {path}, if you trust it"
                    )
                text = file.read(_MAX_FILE_BYTES + 1)
        except FileNotFoundError as error:
            raise Denied(
                f"no key file {path}", code="key-missing", hint="restore it from its printed copy: holdfast key import"
            ) from error
        except OSError as error:
            raise storage_error(error, f"cannot read {path}") from error
        return cls._from_json(text)

    @classmethod
    def import_text(cls, text: str) -> KeyRing:
        """Read what `export` printed; spaces and case do not matter. Raises Denied `key-format`."""
        lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
        if len(lines) < 5 or lines[0] != _BEGIN or lines[-1] != _END:
            raise _bad_format("its first or last line is missing")
        fields = dict(line.split(": ", 1) for line in lines[1:-1] if ": " in line)
        body = "".join(line for line in lines[1:-1] if ": " not in line)
        try:
            packed = base64.b32decode("".join(body.split()).upper())
        except binascii.Error as error:
            raise _bad_format("a character is missing or wrong") from error
        master, check = packed[:-_CHECK_BYTES], packed[-_CHECK_BYTES:]
        if check != _checksum(master):
            raise _bad_format("its checksum differs, so a character is wrong")
        return cls._checked(master, fields.get("Cipher"), fields.get("Key id"))

    def export(self) -> str:
        """Return the key as a text block to print and lock away. It is the key: whoever has it reads the backups."""
        body = base64.b32encode(self._master + _checksum(self._master)).decode()
        groups = textwrap.wrap(" ".join(textwrap.wrap(body, 8)), 36)
        head = [_BEGIN, f"Key id: {self.key_id}", f"Cipher: {_CIPHERS[self.encrypts]}"]
        return "\n".join([*head, *groups, _END, ""])

    def save(self, path: Path) -> None:
        """Write the key file durably, mode 0600. Raises Conflict `key-exists`."""
        body = {
            "format": _FORMAT,
            "cipher": _CIPHERS[self.encrypts],
            "key_id": self.key_id,
            "key": base64.b64encode(self._master).decode(),
        }
        make_directory(path.parent)
        try:
            create_file(path, [json.dumps(body, indent=1).encode() + b"\n"], partial=path.parent, mode=0o600)
        except Conflict as error:
            raise Conflict(f"{path} exists", code="key-exists", hint="a repository's key is never replaced") from error

    def require(self, key_id: str) -> None:
        """Raise Denied `key-mismatch` unless this is the key that the repository was created with."""
        if key_id != self.key_id:
            raise Denied(
                "wrong key for this repository",
                code="key-mismatch",
                why=f"it was created with key {key_id}, this is key {self.key_id}",
            )

    def digest_key(self) -> bytes:
        """Return the 32-byte key of chunk digests: without it nobody can test what a repository holds."""
        return self._derive(b"chunk digest", 32)

    def pack_key(self, pack_id: bytes, epoch: int) -> bytes:
        """Return the 32-byte key of one pack."""
        return self._derive(b"pack" + pack_id + epoch.to_bytes(4, "little"), 32)

    def segment_key(self, salt: bytes) -> bytes:
        """Return the 32-byte key of one segment of the event log."""
        return self._derive(b"segment" + salt, 32)

    def agent_key(self, machine: bytes) -> bytes:
        """Return the 32-byte key under which the agent on one machine digests its own blocks: it fits no other's."""
        return self._derive(b"agent blocks" + machine, 32)

    def wrap(self, use: bytes, secret: bytes, *, random_bytes: Callable[[int], bytes] = os.urandom) -> bytes:
        """Return another secret, sealed for one use: 16 bytes of salt, then AES-256-GCM under a key of their own."""
        salt = random_bytes(_SALT_BYTES)
        return salt + AESGCM(self._derive(b"wrap " + use + salt, 32)).encrypt(_NONCE, secret, use)

    def unwrap(self, use: bytes, sealed: bytes) -> bytes:
        """Undo `wrap`. Raises Corrupt `sealed-secret` when it was altered or another key sealed it."""
        salt, body = sealed[:_SALT_BYTES], sealed[_SALT_BYTES:]
        try:
            return AESGCM(self._derive(b"wrap " + use + salt, 32)).decrypt(_NONCE, body, use)
        except (InvalidTag, ValueError) as error:
            raise Corrupt(
                "a sealed secret does not open", code="sealed-secret", why="altered, or another key"
            ) from error

    def _derive(self, use: bytes, length: int) -> bytes:
        return HKDF(algorithm=SHA256(), length=length, salt=None, info=b"holdfast 1 " + use).derive(self._master)

    @classmethod
    def _from_json(cls, text: bytes) -> KeyRing:
        try:
            body = json.loads(text) if len(text) <= _MAX_FILE_BYTES else None
            if not isinstance(body, dict) or body.get("format") != _FORMAT:
                raise _bad_format("it is not a key file of format 1")
            master = base64.b64decode(str(body.get("key")), validate=True)
        except ValueError as error:
            raise _bad_format("it does not parse") from error
        return cls._checked(master, body.get("cipher"), body.get("key_id"))

    @classmethod
    def _checked(cls, master: bytes, cipher: object, key_id: object) -> KeyRing:
        if cipher not in _CIPHERS.values():
            raise _bad_format("its cipher is unknown")
        ring = cls(master, encrypts=cipher == _CIPHERS[True])
        if ring.key_id != key_id:
            raise _bad_format("its key id does not belong to its key")
        return ring


def _checksum(master: bytes) -> bytes:
    return blake3(master, derive_key_context="holdfast 1 printed key").digest(_CHECK_BYTES)


def _bad_format(why: str) -> Denied:
    return Denied("the key can not be read", code="key-format", why=why)
