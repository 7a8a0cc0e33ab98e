"""The ledger's signing key beside the packs, sealed with the repository's key: so that a recovered home signs on.

Imports `catalog.home` and `storage`. A sealed key is an object of its own and never changes; the newest is in use.
"""

from __future__ import annotations

from contextlib import suppress
from hashlib import sha256

from catalog.home import Home
from storage.errors import Conflict
from storage.files import create_file
from storage.keys import KeyRing
from storage.objects.port import ObjectStore

PREFIX = "keys/ledger-"
USE = b"ledger key"


def keep_ledger_key(home: Home, keys: KeyRing, objects: ObjectStore) -> None:
    """Put the ledger's key, if it has one yet, into the store, unless it is there."""
    try:
        secret = home.ledger_key_file.read_bytes()
    except FileNotFoundError:
        return
    name = f"{PREFIX}{sha256(USE + secret).hexdigest()[:32]}.sealed"
    if any(stat.name == name for stat in objects.list(name)):
        return
    with suppress(Conflict):
        objects.put(name, memoryview(keys.wrap(USE, secret)))


def bring_ledger_key(home: Home, keys: KeyRing, objects: ObjectStore) -> None:
    """Put the newest ledger key of the store, if it has one, into the home. Raises Corrupt."""
    found = sorted(objects.list(PREFIX), key=lambda stat: (stat.modified_at, stat.name))
    if not found:
        return
    sealed = bytearray(found[-1].size_bytes)
    objects.read_into(found[-1].name, 0, memoryview(sealed))
    with suppress(Conflict):
        secret = keys.unwrap(USE, bytes(sealed))
        create_file(home.ledger_key_file, [secret], partial=home.ledger_key_file.parent, mode=0o600)
