"""Base tokens: which bitmap has recorded since the last point, and whether it can still be trusted.

Imports `adapters.errors`, `adapters.port` and `adapters.qemu.disks`. A token is JSON. A bitmap is trusted
only when it is there, consistent, recording, of our granularity, on a disk of the same image and size:
everything else is Untracked with its cause, for that disk alone.
"""

from __future__ import annotations

import msgspec

from adapters.errors import SourceConflict
from adapters.port import DiskFact, Tracked, Untracked
from adapters.qemu.disks import LiveDisk
from adapters.qemu.views import Bitmap

_MAX_TOKEN_BYTES = 4096


class Base(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a token says: the bitmap's name, and the disk it was put on."""

    bitmap: str
    identity: str
    size_bytes: int
    granularity_bytes: int


def token(bitmap: str, fact: DiskFact) -> str:
    """Return the base token of a bitmap that records from now on."""
    return msgspec.json.encode(Base(bitmap, fact.identity, fact.size_bytes, fact.granularity_bytes)).decode()


def parse(text: str) -> Base | None:
    """Read a token; None when it is not one of ours."""
    if len(text) > _MAX_TOKEN_BYTES:
        return None
    try:
        return msgspec.json.decode(text, type=Base)
    except (msgspec.MsgspecError, UnicodeEncodeError):
        return None


def judge(text: str | None, disk: LiveDisk) -> tuple[Tracked | Untracked, str | None]:
    """Say whether changes since the base are known, and the bitmap that knows them.

    Raises SourceConflict while somebody uses the bitmap.
    """
    if text is None:
        return Untracked("no-base"), None
    base = parse(text)
    cause = "base-unreadable" if base is None else _disk_cause(base, disk.fact)
    if base is None or cause is not None:
        return Untracked(cause or "base-unreadable"), None
    found = next((b for b in disk.node.dirty_bitmaps if b.name == base.bitmap), None) if disk.node else None
    if found is not None and found.busy:
        raise SourceConflict(
            f"The dirty bitmap of {disk.fact.label} is in use",
            code="bitmap-busy",
            why=f"{found.name} is exported, merged or migrated by somebody",
            hint="Wait for the other backup or migration of this machine, or end it.",
        )
    cause = _bitmap_cause(found, disk.fact.granularity_bytes)
    return (Untracked(cause), None) if cause else (Tracked(), base.bitmap)


def _disk_cause(base: Base, fact: DiskFact) -> str | None:
    if base.identity != fact.identity:
        return "disk-replaced"
    return "disk-resized" if base.size_bytes != fact.size_bytes else None


def _bitmap_cause(bitmap: Bitmap | None, granularity_bytes: int) -> str | None:
    if bitmap is None:
        return "bitmap-missing"
    if bitmap.inconsistent:
        return "bitmap-inconsistent"
    if not bitmap.recording:
        return "bitmap-stopped"
    return "bitmap-granularity" if bitmap.granularity != granularity_bytes else None
