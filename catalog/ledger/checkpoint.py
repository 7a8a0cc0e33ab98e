"""A checkpoint: what the log was at one size, as c2sp.org/tlog-checkpoint writes it, signed.

Pure; imports its neighbours and `storage.errors` of ours. The same log, size and key give the same bytes, so that
publishing a checkpoint twice is no second statement.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection
from dataclasses import dataclass

from catalog.ledger.note import DASH, SignerKey, VerifierKey, open_note
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
    return _parsed(note, open_note(note, key), key.name)


def read_retired(note: str, name: str, key_ids: Collection[str]) -> Checkpoint:
    """Read a checkpoint that names a key we had once, and believe nothing in it: it can only be compared with the log.

    Raises Corrupt `ledger-note` when it names none of these keys.
    """
    text, _, block = note.rpartition("\n\n")
    found = (line.removeprefix(f"{DASH}{name} ") for line in block.split("\n") if line.startswith(f"{DASH}{name} "))
    if not any(key_id_of(encoded) in key_ids for encoded in found):
        raise _malformed("it is not signed by a key of this log")
    return _parsed(note, text + "\n", name)


def _parsed(note: str, text: str, name: str) -> Checkpoint:
    lines = text.removesuffix("\n").split("\n")
    if len(lines) != 4 or lines[0] != name or not lines[3].startswith(CHAIN):
        raise _malformed("it has other lines than a checkpoint of this log")
    number = lines[1]
    if not (number.isascii() and number.isdigit()) or str(int(number[:20])) != number or int(number) > MAX_SIZE:
        raise _malformed("its size is no number")
    return Checkpoint(int(number), _hash(lines[2]), _hash(lines[3].removeprefix(CHAIN)), note)


def key_id_of(encoded: str) -> str:
    """The id of the key that made a signature, as eight hex digits; empty when it is none."""
    try:
        return base64.b64decode(encoded, validate=True)[:4].hex()
    except (binascii.Error, ValueError):
        return ""


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
