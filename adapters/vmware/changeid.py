"""Base tokens: which state of a disk's change tracking the next backup asks from, and whether it still can.

Pure; imports `adapters.port` and this package's `disks`. A change id is `uuid/sequence`: tracking that was set up anew
has another uuid, and on a disk that was taken back to an older snapshot the sequence does not go on. A base is trusted
only for the same disk, of the same size, in the same place, on the same tracking; all else is Untracked with its cause,
for that disk alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import msgspec

from adapters.port import Tracked, Untracked
from adapters.vmware.disks import Disk

_MAX_TOKEN_BYTES = 8192
_CHANGE_ID = re.compile(r"([0-9A-Fa-f][0-9A-Fa-f -]{0,126})/(\d{1,19})", re.ASCII)


@dataclass(frozen=True, slots=True)
class ChangeId:
    """A change id's two parts."""

    tracking: str
    sequence: int


class Base(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a token says: the change id, and the disk that it is of."""

    change_id: str
    uuid: str | None
    file: str
    size_bytes: int


def parse_change_id(text: str | None) -> ChangeId | None:
    """Read a change id; None when there is none or it is not one."""
    match = _CHANGE_ID.fullmatch(text.strip()) if text else None
    if match is None:
        return None
    return ChangeId(re.sub(r"[ -]", "", match[1]).lower(), int(match[2]))


def token(disk: Disk) -> str | None:
    """The base token of a frozen disk, None when its tracking is not active."""
    if disk.change_id is None or parse_change_id(disk.change_id) is None:
        return None
    base = Base(disk.change_id, disk.uuid, disk.root_file, disk.fact.size_bytes)
    return msgspec.json.encode(base).decode()


def parse(text: str) -> Base | None:
    """Read a token; None when it is not one of ours."""
    if len(text) > _MAX_TOKEN_BYTES:
        return None
    try:
        return msgspec.json.decode(text, type=Base)
    except (msgspec.MsgspecError, UnicodeEncodeError):
        return None


def judge(text: str | None, frozen: Disk) -> tuple[Tracked | Untracked, str | None]:
    """Say whether the changes of a frozen disk since the base can be asked for, and since which change id."""
    if text is None:
        return Untracked("no-base"), None
    base = parse(text)
    since = parse_change_id(base.change_id) if base is not None else None
    if base is None or since is None:
        return Untracked("base-unreadable"), None
    cause = _disk_cause(base, frozen) or _tracking_cause(since, frozen)
    return (Untracked(cause), None) if cause else (Tracked(), base.change_id)


def _disk_cause(base: Base, frozen: Disk) -> str | None:
    if base.uuid != frozen.uuid:
        return "disk-replaced"
    if base.size_bytes != frozen.fact.size_bytes:
        return "disk-resized"
    return "disk-moved" if base.file != frozen.root_file else None


def _tracking_cause(since: ChangeId, frozen: Disk) -> str | None:
    now = parse_change_id(frozen.change_id)
    if now is None:
        return "tracking-inactive"
    if now.tracking != since.tracking:
        return "tracking-reset"
    # Every snapshot begins a new sequence number, so an equal one is of another branch of the machine's history.
    return "tracking-rewound" if now.sequence <= since.sequence else None
