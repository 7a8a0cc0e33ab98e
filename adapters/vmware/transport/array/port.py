"""What a storage array must do for a backup. Imports `adapters.errors` and `adapters.vmware.transport` only.

Every step is named by our `label` alone, so that it can be asked for again, or undone, by somebody who knows only the
label: a second `snapshot` finds the first one, and removing what is not there is no error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from adapters.errors import SourceInvalid
from adapters.vmware.transport.san import IscsiLun, LocalLun, Lun

LABEL_PREFIX = "holdfast-"
"""Begins every label of ours; nothing else at an array is touched."""


@dataclass(frozen=True, slots=True)
class Presented:
    """Where a clone can be read: a LUN that is the disk, or a folder of disk files."""

    place: IscsiLun | LocalLun
    folder: bool = False

    def lun(self, path: str | None) -> Lun:
        """Return what to read: the LUN itself, or the file at `path` (within its datastore) in the folder.

        Raises SourceInvalid for a path that is missing or leads out of the folder.
        """
        if not self.folder or not isinstance(self.place, LocalLun):
            return self.place
        parts = PurePosixPath(path or "").parts
        if not parts or parts[0] == "/" or ".." in parts:
            raise SourceInvalid("The disk has no file in the clone", code="array-path", why=str(path))
        found = self.place.path.joinpath(*parts).resolve()
        if not found.is_relative_to(self.place.path.resolve()):
            raise SourceInvalid("The disk's file leads out of the clone", code="array-path", why=str(path))
        return LocalLun(found)


class ArrayDriver(Protocol):
    """One array, or what stands for one. Errors are AdapterErrors."""

    name: str

    def snapshot(self, volume: str, label: str) -> None:
        """Freeze `volume` at one moment, under `label`. Once it is there, asking again changes nothing."""

    def present(self, volume: str, label: str) -> Presented:
        """Make the snapshot readable by this machine, as a clone, and say where. Asking again finds the same one."""

    def withdraw(self, label: str) -> None:
        """Take the clone away; not being there is no error."""

    def remove(self, label: str) -> None:
        """Delete the snapshot; not being there is no error. Raises SourceConflict while its clone is there."""

    def labels(self) -> Sequence[str]:
        """Return the labels of ours that snapshots or clones at the array bear, sorted."""


def check_label(label: str) -> None:
    """Refuse a label that is not ours or could mean a path. Raises SourceInvalid."""
    plain = label.replace("-", "").replace("_", "")
    if not label.startswith(LABEL_PREFIX) or not plain.isascii() or not plain.isalnum() or len(label) > 120:
        raise SourceInvalid(f"{label!r} is no label of ours", code="array-label")


def folder_of(path: Path) -> Presented:
    """Present a folder of disk files."""
    return Presented(LocalLun(path), folder=True)
