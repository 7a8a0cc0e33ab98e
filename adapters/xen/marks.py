"""Our mark on what a backup makes in a pool: the name of a snapshot, and a key of a virtual disk. Pure.

Imports `adapters.errors` and `records`. A snapshot gets its name in the moment it is made; the end of the name follows
from machine and label, so that nobody's snapshot carries it by chance. Its disks outlive it, and are marked for
themselves: a pool copies `other_config` with a disk, so a mark says whose it is, and is none on a copy.
"""

from __future__ import annotations

import hashlib
import re

from adapters.errors import SourceInvalid
from adapters.xen.records import Vdi

MARK = "holdfast-"
DISK_KEY = "holdfast"
"""The key in a virtual disk's `other_config`."""

MAKING_KEY = "holdfast-restoring"
"""The key in `other_config` of a machine, and of its disks, that a restore has not made to the end: its label."""

_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def snapshot_name(label: str, machine: str) -> str:
    """The name of the machine's snapshot for a label. Raises SourceInvalid for what is no label."""
    if not _LABEL.fullmatch(label):
        raise SourceInvalid(
            f"{label!r} cannot be a label",
            code="label",
            why="it takes up to 64 letters, digits, dots, hyphens and underscores",
        )
    stem = MARK + label.removeprefix(MARK)
    return f"{stem}-{_check(stem, machine)}"


def is_snapshot_name_of(name: str, machine: str) -> bool:
    """Whether a run of ours made the machine's snapshot of this name."""
    stem, _, check = name.rpartition("-")
    return stem.startswith(MARK) and check == _check(stem, machine)


def disk_mark(label: str, machine: str, disk: str) -> str:
    """What `other_config` of a snapshot's virtual disk, whose uuid is `disk`, says under `DISK_KEY`."""
    return f"{machine} {label} {disk}"


def machine_of_disk(vdi: Vdi) -> str | None:
    """For a snapshot of which machine a run of ours made the virtual disk; None when none did."""
    machine, _, rest = vdi.other_config.get(DISK_KEY, "").partition(" ")
    return machine if vdi.snapshot and rest.endswith(f" {vdi.uuid}") else None


def is_disk_of(vdi: Vdi, machine: str) -> bool:
    """Whether a run of ours made the virtual disk, for a snapshot of the machine."""
    return machine_of_disk(vdi) == machine


def _check(stem: str, machine: str) -> str:
    return hashlib.sha256(f"{machine}\0{stem}".encode()).hexdigest()[:16]
