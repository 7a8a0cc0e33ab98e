"""Cursors: where a list goes on. Opaque, signed, pinned to the position that the first page was answered at.

Imports `storage` and `catalog.access`. A cursor is good for the same question of a caller with the same
scope only, so that pages neither shift nor leak.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec

from catalog.access.caller import Scope
from storage.errors import Conflict, Corrupt, Invalid
from storage.files import create_file, make_directory

VERSION = 1
KEY_BYTES = 32
MAC_BYTES = 32
DIGEST_BYTES = 12
NOT_OF_THE_QUERY = ("cursor", "limit", "min_position")

Key = tuple[str | int, ...]


class _Payload(msgspec.Struct, frozen=True, array_like=True):
    version: int
    operation: str
    query: bytes
    scope: bytes
    position: int
    after: Key
    expires: int


@dataclass(frozen=True, slots=True)
class Question:
    """What a cursor belongs to."""

    operation: str
    query: bytes
    scope: bytes

    @classmethod
    def of(cls, operation: str, path: str, parameters: Iterable[tuple[str, str]], scope: Scope) -> Question:
        """The question asked by a path and its parameters; the size of a page is not part of it."""
        asked = sorted(pair for pair in parameters if pair[0] not in NOT_OF_THE_QUERY)
        return cls(operation, _digest((path, asked)), _digest(scope.globs))


class Cursors:
    """Makes and reads cursors with one key."""

    def __init__(self, key: bytes, clock: Callable[[], datetime], seconds: int) -> None:
        self._key = key
        self._clock = clock
        self._seconds = seconds

    def make(self, question: Question, position: int, after: Key) -> str:
        """The cursor of the rows behind `after`, as of `position`."""
        expires = int(self._clock().timestamp()) + self._seconds
        payload = _Payload(VERSION, question.operation, question.query, question.scope, position, after, expires)
        raw = msgspec.msgpack.encode(payload)
        return urlsafe_b64encode(self._mac(raw) + raw).rstrip(b"=").decode()

    def read(self, text: str, question: Question) -> tuple[int, Key]:
        """Position and key of a cursor. Raises Invalid: tampered with, of another question or scope, or too old."""
        payload = self._opened(text)
        if (payload.operation, payload.query) != (question.operation, question.query):
            raise Invalid(
                "the cursor belongs to another query",
                code="cursor-query",
                hint="repeat all parameters of the first page, the path included",
            )
        if payload.scope != question.scope:
            raise Invalid("the cursor belongs to another scope", code="cursor-scope", hint="begin at the first page")
        if payload.expires < self._clock().timestamp():
            raise Invalid("the cursor has expired", code="cursor-expired", hint="begin at the first page")
        return payload.position, payload.after

    def _opened(self, text: str) -> _Payload:
        try:
            raw = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
            if hmac.compare_digest(raw[:MAC_BYTES], self._mac(raw[MAC_BYTES:])):
                return msgspec.msgpack.decode(raw[MAC_BYTES:], type=_Payload)
        except (ValueError, msgspec.MsgspecError):
            pass
        raise Invalid("this is no cursor of this server", code="cursor-tampered", hint="pass it on as it was given")

    def _mac(self, raw: bytes) -> bytes:
        return hmac.digest(self._key, b"holdfast cursor\0" + raw, "sha256")


def service_key(path: Path, random: Callable[[int], bytes] = os.urandom) -> bytes:
    """The key of this home's service, made with mode 0600 when there is none. Raises Corrupt, Unavailable."""
    if not path.exists():
        make_directory(path.parent)
        with suppress(Conflict):
            create_file(path, [random(KEY_BYTES)], partial=path.parent, mode=0o600)
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise Corrupt(f"{path} is no key", code="service-key", hint="remove it: cursors given out will not be accepted")
    return key


def _digest(value: object) -> bytes:
    return hashlib.sha256(msgspec.msgpack.encode(value)).digest()[:DIGEST_BYTES]
