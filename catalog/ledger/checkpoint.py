"""A checkpoint: what the log was at one size, as c2sp.org/tlog-checkpoint writes it, signed.

Pure; imports its neighbours and `storage.errors` of ours. The same log, size and key give the same bytes, so that
publishing a checkpoint twice is no second statement.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from catalog.ledger.note import SignerKey, VerifierKey, open_note
from catalog.ledger.proofs import HASH_BYTES, MAX_SIZE
from storage.errors import Corrupt

CHAIN = "chain "
"""The extension line that carries the head of the hash chain."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The first `size` events have the tree `root` and the chain head `head`; `note` says so, signed."""

    size: int
    root: bytes
    head: bytes
    note: str


def sign_checkpoint(key: SignerKey, size: int, root: bytes, head: bytes) -> Checkpoint:
    """Sign a checkpoint; the key's name is the origin."""
    lines = [key.verifier.name, str(size), base64.b64encode(root).decode(), CHAIN + base64.b64encode(head).decode()]
    return Checkpoint(size, root, head, key.sign("\n".join(lines) + "\n"))


def read_checkpoint(note: str, key: VerifierKey) -> Checkpoint:
    """Read a checkpoint that `key` signed. Raises Corrupt `ledger-note` or `ledger-signature`."""
    lines = open_note(note, key).removesuffix("\n").split("\n")
    if len(lines) != 4 or lines[0] != key.name or not lines[3].startswith(CHAIN):
        raise _malformed("it has other lines than a checkpoint of this log")
    number = lines[1]
    if not (number.isascii() and number.isdigit()) or str(int(number[:20])) != number or int(number) > MAX_SIZE:
        raise _malformed("its size is no number")
    return Checkpoint(int(number), _hash(lines[2]), _hash(lines[3].removeprefix(CHAIN)), note)


def _hash(encoded: str) -> bytes:
    try:
        value = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        value = b""
    if len(value) != HASH_BYTES or base64.b64encode(value).decode() != encoded:
        raise _malformed("a hash is not 32 bytes of base64")
    return value


def _malformed(why: str) -> Corrupt:
    return Corrupt("this note is no checkpoint", code="ledger-note", why=why)
