"""Base tokens: the reference point and the change tracking id that the next backup of a disk asks from.

Pure; imports `adapters.port` and this package's `facts`. A token is JSON and no secret. It is trusted only on the same
machine, for the same disk of the same size, while its reference point is there and says of the disk what the token
says: all else is Untracked with its cause, for that disk alone.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from adapters.hyperv.facts import DiskFile, ReferencePoint
from adapters.port import Tracked, Untracked

_VERSION = 1
_MAX_TOKEN_BYTES = 4096


class Base(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a token says. `rct` is None when the reference point knows no change tracking id of the disk."""

    version: int
    machine: str
    disk: str
    size_bytes: int
    point: str
    rct: str | None


def token(machine_id: str, disk: DiskFile, place: str, point: ReferencePoint) -> str:
    """The base token of a disk, in its place, from a reference point on."""
    rct = point.rct_of(disk.virtual_disk_id, place)
    base = Base(_VERSION, machine_id, disk.virtual_disk_id, disk.size_bytes, point.id, rct)
    return msgspec.json.encode(base).decode()


def parse(text: str) -> Base | None:
    """Read a token; None when it is not one of ours, or of a later version."""
    if len(text) > _MAX_TOKEN_BYTES:
        return None
    try:
        base = msgspec.json.decode(text, type=Base)
    except (msgspec.MsgspecError, UnicodeEncodeError):
        return None
    return base if base.version == _VERSION else None


def points_of(tokens: Mapping[str, str | None], machine_id: str) -> frozenset[str]:
    """The reference points of a machine that tokens name."""
    bases = [parse(text) for text in tokens.values() if text is not None]
    return frozenset(base.point for base in bases if base is not None and base.machine == machine_id)


def judge(
    text: str | None, machine_id: str, disk: DiskFile, place: str, points: Mapping[str, ReferencePoint]
) -> tuple[Tracked | Untracked, str | None]:
    """Say whether the changes of a frozen disk since the base can be asked for, and from which change tracking id on.

    `points` are the machine's reference points, by their identifiers.
    """
    if text is None:
        return Untracked("no-base"), None
    base = parse(text)
    if base is None:
        return Untracked("base-unreadable"), None
    cause = _disk_cause(base, machine_id, disk) or _point_cause(base, place, points.get(base.point))
    if cause is not None or base.rct is None:
        return Untracked(cause or "rct-missing"), None
    return Tracked(), base.rct


def _disk_cause(base: Base, machine_id: str, disk: DiskFile) -> str | None:
    if base.machine != machine_id:
        return "machine-replaced"
    if base.disk != disk.virtual_disk_id:
        return "disk-replaced"
    if base.size_bytes != disk.size_bytes:
        return "disk-resized"
    return "rct-unsupported" if disk.format != "vhdx" else None


def _point_cause(base: Base, place: str, point: ReferencePoint | None) -> str | None:
    if point is None:
        return "reference-point-gone"
    if not point.complete:
        return "rct-incomplete"  # and nobody can say of which disk
    rct = point.rct_of(base.disk, place)
    if rct is None or base.rct is None:
        return "rct-missing"
    return "rct-differs" if rct != base.rct else None
