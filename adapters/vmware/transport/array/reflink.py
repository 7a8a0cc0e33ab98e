"""An array driver for this machine's own copy-on-write file systems.

Imports `adapters.errors` and `adapters.vmware.transport` only. A volume is a btrfs subvolume with disk files (frozen
whole, at one moment), or one file that is a disk (on btrfs, XFS or another file system with reflinks). Snapshots and
clones stand in `.holdfast` below the root, named by their labels.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from adapters.errors import SourceConflict, SourceInvalid, SourceNotFound
from adapters.vmware.transport.array.cow import clone_file, delete_subvolume, is_subvolume, snapshot_subvolume
from adapters.vmware.transport.array.port import LABEL_PREFIX, Presented, check_label, folder_of
from adapters.vmware.transport.san import LocalLun

_STORE = ".holdfast"
_SNAPSHOTS, _CLONES = "snapshots", "clones"


class ReflinkArray:
    """The volumes below `root`."""

    def __init__(self, root: Path, name: str = "reflink") -> None:
        self.name = name
        self._root = root

    def snapshot(self, volume: str, label: str) -> None:
        """Freeze a volume. Raises SourceNotFound, and SourceInvalid (`array-no-reflink`) where that cannot be done."""
        source, target = self._volume(volume), self._place(_SNAPSHOTS, label)
        if not target.exists():
            _freeze(source, target)

    def present(self, volume: str, label: str) -> Presented:
        """Clone the snapshot beside it: the snapshot itself is never handed out."""
        self._volume(volume)
        source, target = self._place(_SNAPSHOTS, label), self._place(_CLONES, label)
        if not source.exists():
            raise SourceNotFound(f"There is no snapshot {label}", code="array-no-snapshot")
        if not target.exists():
            _freeze(source, target)
        return folder_of(target) if target.is_dir() else Presented(LocalLun(target))

    def withdraw(self, label: str) -> None:
        """Delete the clone."""
        _thaw(self._place(_CLONES, label))

    def remove(self, label: str) -> None:
        """Delete the snapshot."""
        if self._place(_CLONES, label).exists():
            raise SourceConflict(f"The snapshot {label} has a clone", code="array-in-use")
        _thaw(self._place(_SNAPSHOTS, label))

    def labels(self) -> Sequence[str]:
        """Return the labels of what stands there, half-made files included."""
        found = (path.name.removesuffix(".partial") for path in self._root.glob(f"{_STORE}/*/{LABEL_PREFIX}*"))
        return sorted(set(found))

    def _volume(self, volume: str) -> Path:
        path = (self._root / volume).resolve()
        if not path.is_relative_to(self._root.resolve()) or _STORE in path.parts:
            raise SourceInvalid(f"{volume} is no volume below {self._root}", code="array-volume")
        if not path.exists():
            raise SourceNotFound(f"There is no volume {volume}", code="array-volume")
        if path.is_dir() and not is_subvolume(path):
            raise SourceInvalid(
                f"{volume} cannot be frozen at one moment",
                code="array-volume",
                why="it is a folder, but no btrfs subvolume",
                hint="Keep the disks in a subvolume of their own, or name the one file that is the disk.",
            )
        return path

    def _place(self, kind: str, label: str) -> Path:
        check_label(label)
        folder = self._root / _STORE / kind
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder / label


def _freeze(source: Path, target: Path) -> None:
    if source.is_dir():
        snapshot_subvolume(source, target)
    else:
        clone_file(source, target)
    descriptor = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _thaw(path: Path) -> None:
    path.with_name(f"{path.name}.partial").unlink(missing_ok=True)
    if path.is_dir():
        delete_subvolume(path)
    else:
        path.unlink(missing_ok=True)
