"""The agent's token, by reference: where it is, never what it is. Imports `storage.errors`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from storage.errors import Denied, Invalid

MAX_BYTES = 4096


def token_at(reference: str, environ: Mapping[str, str] = os.environ) -> str:
    """The secret that `env:NAME` or `file:PATH` leads to. Raises Invalid, and Denied for a file open to others."""
    kind, _, place = reference.partition(":")
    if kind == "env" and place:
        secret = environ.get(place, "")
    elif kind == "file" and place:
        secret = _read(Path(place))
    else:
        raise Invalid("this is no reference to a token", code="agent-token", hint="--token env:NAME or file:PATH")
    secret = secret.strip()
    if not secret or not secret.isascii() or not secret.isprintable():
        raise Invalid(f"{reference} holds no token", code="agent-token", hint="holdfast token create --role agent")
    return secret


def _read(path: Path) -> str:
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_mode & 0o077:
            raise Denied(f"{path} is open to others", code="agent-token-permissions", hint=f"chmod 600 {path}")
        return file.read(MAX_BYTES).decode(errors="replace")
