"""Base tokens: which frozen state of a disk the next backup asks changes from. Pure.

Imports this package only. What stays of the state in the pool is a virtual disk of kind `cbt_metadata`, or, where
nothing is tracked and the settings say so, the snapshot's disk itself. It is named by its uuid: a reference would not
outlive the pool's database. A base is good for the same virtual disk only. A tracked one must never have been off, and
may have grown since.
"""

from __future__ import annotations

import msgspec

from adapters.xen.records import Vdi

_VERSION = 1
_MAX_TOKEN_BYTES = 4096


class Base(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a token says: the disk, the disk of its snapshot, how large it was, and whether that is `kept` whole."""

    vdi: str
    snapshot: str
    size_bytes: int
    version: int = _VERSION
    kept: bool = False


def token(vdi: str, snapshot: Vdi, *, keep: bool = False) -> str | None:
    """The base token of a snapshot's disk of the virtual disk with uuid `vdi`.

    None when it was not tracked, unless we are to `keep` it whole.
    """
    if not snapshot.tracking and not keep:
        return None
    return msgspec.json.encode(Base(vdi, snapshot.uuid, snapshot.size_bytes, kept=not snapshot.tracking)).decode()


def parse(text: str) -> Base | None:
    """Read a token; None when it is not one of ours."""
    if len(text) > _MAX_TOKEN_BYTES:
        return None
    try:
        base = msgspec.json.decode(text, type=Base)
    except (msgspec.MsgspecError, UnicodeEncodeError):
        return None
    return base if base.version == _VERSION else None


def refusal(base: Base | None, vdi: str, frozen: Vdi) -> str | None:
    """Why the changes of `frozen`, a snapshot's disk of `vdi`, cannot be asked for from `base`; None when they can."""
    if base is None:
        return "base-unreadable"
    if base.vdi != vdi:
        return "disk-replaced"
    if frozen.size_bytes < base.size_bytes:
        return "disk-shrunk"
    if base.snapshot == frozen.uuid:
        return "base-is-this-snapshot"
    if base.kept:
        return None if frozen.size_bytes == base.size_bytes else "disk-resized"
    return None if frozen.tracking else "tracking-off"
