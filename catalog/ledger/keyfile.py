"""The file of the key that signs checkpoints, mode 0600; made when it is first needed.

Imports `catalog.ledger.note`, `storage.files` and `storage.errors` of ours. A key is never replaced.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

from catalog.ledger.note import KEY_BYTES, SignerKey
from storage.errors import Conflict, Denied, Invalid
from storage.files import create_file, make_directory, storage_error

_MAX_FILE_BYTES = 4096


def key_name(repository_id: UUID) -> str:
    """The name that a repository's ledger signs under, which is its origin too."""
    return f"holdfast/{repository_id}"


def load_key(path: Path, name: str) -> SignerKey | None:
    """Read the key file, None when there is none. Raises Denied `ledger-key-permissions`, `ledger-key-unreadable`."""
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise Denied(
                    f"{path} is open to others",
                    code="ledger-key-permissions",
                    hint=f"chmod 600 {path}, if you trust it",
                )
            text = file.read(_MAX_FILE_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise storage_error(error, f"cannot read {path}") from error
    try:
        key = SignerKey.parse(text.decode())
    except (Invalid, ValueError) as error:
        raise Denied(f"the key in {path} cannot be read", code="ledger-key-unreadable", why=str(error)) from error
    if key.verifier.name != name:
        raise Denied(
            f"the key in {path} is another repository's",
            code="ledger-key-unreadable",
            why=f"it signs as {key.verifier.name}",
        )
    return key


def make_key(path: Path, name: str, random_bytes: Callable[[int], bytes] = os.urandom) -> SignerKey:
    """Make a key, durably, and return the one that is in the file: of several processes one wins."""
    make_directory(path.parent)
    key = SignerKey(name, random_bytes(KEY_BYTES))
    try:
        create_file(path, [key.secret_text().encode() + b"\n"], partial=path.parent, mode=0o600)
    except Conflict:
        found = load_key(path, name)
        if found is None:
            raise
        return found
    return key
