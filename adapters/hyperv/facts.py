"""What a Hyper-V host says of its machines: the shapes of the scripts' answers. Imports nothing of ours.

Identifiers are GUIDs, lower-case hex with dashes and no braces, whatever the host spelled; sizes and offsets are bytes.
A path is the host's own (`C:\\...` or `\\\\server\\share\\...`) and untrusted like everything that a host says.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

MachineState = Literal["running", "off", "paused", "saved", "changing", "unknown"]
"""`changing`: starting, stopping, saving, being moved or frozen. A saved machine's memory belongs to its disks."""

DiskKind = Literal["file", "passthrough", "shared"]
"""`shared`: several machines may write to it, be it a VHD Set (.vhds) or a VHDX attached for sharing."""

DiskFormat = Literal["vhd", "vhdx", "vhds"]

CheckpointKind = Literal["recovery", "user", "other"]
"""`recovery` is the kind that backups make; `user` covers automatic, standard and production checkpoints of people;
`other` are planned ones, a replica's and those whose files are missing."""

JobState = Literal["running", "done", "failed", "cancelled"]

Resource = Literal["up", "down", "paused", "joining", "unknown"]


@dataclass(frozen=True, slots=True)
class Host:
    """One host: `name` as its cluster calls it, and where it puts machines that nobody placed.

    `change_tracking` is false before Windows Server 2016. `now` is the host's clock, to which the times of checkpoints
    belong.
    """

    name: str
    product: str
    version: str
    change_tracking: bool
    machine_folder: str
    now: datetime


@dataclass(frozen=True, slots=True)
class AttachedDisk:
    """A disk in its place in a machine, or in a checkpoint of it: the two have the same places.

    `place` is `controller/number/location`, from the identifier of the attachment, the machine's own part cut off; a
    SCSI or IDE controller keeps its GUID as long as the machine lives. `path` is a file, or a device for `passthrough`.
    """

    place: str
    path: str
    kind: DiskKind


@dataclass(frozen=True, slots=True)
class Machine:
    """A virtual machine; `id` is its GUID (names are not unique), `version` its configuration version such as `9.0`.

    `node` is the host that answered. `configuration_files` are the paths of its .vmcx and what belongs to it.
    `notes` is what people wrote, and our mark on a machine that a restore of ours is making.
    """

    id: str
    name: str
    state: MachineState
    version: str
    node: str
    notes: str
    configuration_files: tuple[str, ...]
    disks: tuple[AttachedDisk, ...]


@dataclass(frozen=True, slots=True)
class DiskFile:
    """What the host reads in the header of a disk file. `sector_bytes` is the logical sector.

    `virtual_disk_id` is the disk's identity: the same in all files of a chain of checkpoints, and in copies of a file.
    """

    path: str
    virtual_disk_id: str
    size_bytes: int
    parent_path: str | None
    format: DiskFormat
    sector_bytes: int


@dataclass(frozen=True, slots=True)
class Unread:
    """A disk file whose header the host could not read, and why."""

    path: str
    why: str


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint of a machine; `marks` tells whose it is by its name and notes. `created_at` is aware."""

    id: str
    machine_id: str
    kind: CheckpointKind
    name: str
    notes: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ReferencePoint:
    """A moment that the host tracks changes from.

    `rct_ids` and `disk_ids` are parallel when their lengths are equal. When they are not, some disk has no tracking
    and nobody can say which: `rct_of` then knows none (a full of every disk is due). A disk is named by its identity,
    or, as Microsoft's pages have it, by the identifier of its attachment, in which its place is.
    """

    id: str
    machine_id: str
    disk_ids: tuple[str, ...]
    rct_ids: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether each disk has its change tracking id."""
        return len(self.disk_ids) == len(self.rct_ids)

    def rct_of(self, virtual_disk_id: str, place: str) -> str | None:
        """The change tracking id of a disk; None when the point does not have the disk once, or is not complete."""
        found = [
            at for at, named in enumerate(self.disk_ids) if named == virtual_disk_id or _place(named) == place.lower()
        ]
        return self.rct_ids[found[0]] or None if self.complete and len(found) == 1 else None


def _place(attachment: str) -> str | None:
    r"""The place in an attachment's identifier, such as `Microsoft:MACHINE\CONTROLLER\0\1\L`; None in another text."""
    parts = attachment.split("\\")
    return "/".join(parts[1:4]).lower() if len(parts) == 5 else None


@dataclass(frozen=True, slots=True)
class Job:
    """A job at one moment. `affected` are the identifiers of what it made, known when it is done.

    `errors` are the texts of GetErrorEx, outermost first; `error_code` is the job's own number, 0 without an error.
    """

    id: str
    state: JobState
    percent: int
    error_code: int
    error: str
    errors: tuple[str, ...]
    affected: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Started:
    """What a method answered: a `job` to wait for, or None when it ended at once; then `affected` is what it made."""

    job: str | None
    affected: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ChangePage:
    """A part of a change list: `ranges` are (offset, length) in the first `processed` bytes from where it was asked.

    As the host has them: they may be in any order, overlap, and reach over an end. `processed` is positive.
    """

    processed: int
    ranges: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Node:
    """A node of a failover cluster; `address` is the full name that it is reached by."""

    name: str
    address: str
    state: Resource


@dataclass(frozen=True, slots=True)
class Group:
    """A clustered machine and the node that owns it now."""

    machine_id: str
    name: str
    owner: str


@dataclass(frozen=True, slots=True)
class Volume:
    """A cluster shared volume: its `path`, such as `C:\\ClusterStorage\\Volume1`, and the node that coordinates it."""

    name: str
    path: str
    owner: str
