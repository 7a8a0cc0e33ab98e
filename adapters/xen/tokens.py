"""Base tokens: which frozen state of a disk the next backup asks changes from. Pure.

Imports `adapters.port` and this package. What stays of the state in the pool is a virtual disk of kind `cbt_metadata`,
named by its uuid: a reference would not outlive the pool's database. A base is good for the same virtual disk only, and
only while its tracking was never off; it may have grown since.
"""

from __future__ import annotations

import msgspec

from adapters.xen.records import Vdi

_VERSION = 1
_MAX_TOKEN_BYTES = 4096


class Base(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a token says: the disk, the disk of its snapshot, and how large it was."""

    vdi: str
    snapshot: str
    size_bytes: int
    version: int = _VERSION


def token(vdi: str, snapshot: Vdi) -> str | None:
    """The base token of a snapshot's disk of the virtual disk with uuid `vdi`, None when it was not tracked."""
    if not snapshot.tracking:
        return None
    return msgspec.json.encode(Base(vdi, snapshot.uuid, snapshot.size_bytes)).decode()


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
    return None if frozen.tracking else "tracking-off"
