"""Putting a restored disk in the place of one that a switched-off machine has.

Imports `adapters.errors`, `adapters.port` and the package around it. The new file is written beside the old one, which
stays whole until the machine has the new one: whatever fails before leaves the machine as it was. The new file has the
identity of the old, and no change tracking: a base from before is unknown to the host, so the next backup is a full.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from adapters.errors import (
    AdapterError,
    SourceConflict,
    SourceInvalid,
    SourceNotFound,
    SourceUnavailable,
    tell_remains,
)
from adapters.hyperv.calls import Calls
from adapters.hyperv.facts import DiskFile, Machine
from adapters.hyperv.inventory import Disk, Found
from adapters.hyperv.marks import require_label
from adapters.hyperv.restore.files import Made
from adapters.hyperv.restore.machine import Tools
from adapters.hyperv.restore.places import Places, fit_name
from adapters.port import DiskImage

T = TypeVar("T")

_SECONDS = 600.0


class DiskWriter:
    """Writes a disk of one machine."""

    def __init__(self, tools: Tools, found: Found) -> None:
        self._tools = tools
        self._found = found
        self._machine = found.machine

    def require_writable(self, disk_key: str) -> tuple[Disk, DiskFile]:
        """Return the disk and its file. Raises SourceConflict while the machine is not off or has checkpoints."""
        disk = next((disk for disk in self._found.disks if disk.fact.key == disk_key), None)
        if disk is None:
            raise SourceNotFound(f"{self._machine.name} has no disk {disk_key}", code="disk-missing")
        what = self._refused(disk)
        if disk.header is None or disk.fact.exclusion is not None:
            why = disk.fact.exclusion.reason if disk.fact.exclusion is not None else "it is no file"
            raise SourceInvalid(what, code="disk-not-a-file", why=why, hint="Restore the machine as a new one.")
        self._require_idle(what, self._read(lambda calls: calls.machine(self._machine.id)), disk)
        if disk.header.parent_path is not None:
            why = f"{disk.header.path} builds on another file"
            raise SourceConflict(what, code="disk-has-parent", why=why, hint="Restore the machine as a new one.")
        return disk, disk.header

    def write(self, disk_key: str, image: DiskImage, label: str, written: Callable[[int], None]) -> None:
        """Replace the disk's content. Raises SourceConflict while it is in use, or when it is of another size."""
        require_label(label)
        disk, old = self.require_writable(disk_key)
        what = self._refused(disk)
        if image.size_bytes != old.size_bytes:
            why = f"it has {old.size_bytes} bytes, the restore point {image.size_bytes}"
            raise SourceConflict(what, code="disk-resized", why=why, hint="Restore the machine as a new one.")
        folder, _, name = old.path.rpartition("\\")
        address = self._tools.hosts.reading_host(self._machine.id, old.path)
        places = Places(self._tools.hosts, address, self._tools.share, folder)
        fresh = f"{fit_name(name.rpartition('.')[0]) or 'disk'}-{label}.vhdx"
        made = Made(self._tools.files)
        try:
            made.disk(places.unc(fresh), image, old.virtual_disk_id, old.sector_bytes, written)
            self._require_idle(what, self._read(lambda calls: calls.machine(self._machine.id)), disk)
        except BaseException as error:
            _undo(made, error)
            raise
        self._attach(disk, places.path(fresh), what, made)
        self._drop(places.unc(name), disk)

    def _require_idle(self, what: str, machine: Machine, disk: Disk) -> None:
        if machine.state != "off":
            why = f"the machine is {machine.state}"
            raise SourceConflict(what, code="machine-running", why=why, hint="Shut it down.")
        if self._read(lambda calls: calls.checkpoints(machine.id)):
            hint = "Remove its checkpoints, or restore the machine as a new one."
            raise SourceConflict(what, code="machine-has-checkpoints", hint=hint)
        if all(there.path != disk.attached.path for there in machine.disks):
            raise SourceConflict(what, code="disk-moved", why=f"{disk.attached.path} is not attached any more")

    def _attach(self, disk: Disk, path: str, what: str, made: Made) -> None:
        """Give the machine the new file. What became of a lost answer is seen at the machine."""
        owner = self._tools.hosts.owner(self._machine.id)
        place = disk.attached.place
        try:
            started = self._tools.making(owner).set_disk_path(self._machine.id, place, path)
            self._tools.hosts.finish(owner, started, what, seconds=_SECONDS)
        except AdapterError as error:
            if self._has(place, path):
                return
            if isinstance(error, SourceUnavailable | SourceNotFound):  # the host may do it yet
                old = disk.attached.path
                tell_remains(
                    error, f"See which file the machine has before it starts, {path} or {old}: delete the other."
                )
            else:
                _undo(made, error)
            raise

    def _has(self, place: str, path: str) -> bool:
        """Whether the machine is known to have the file."""
        try:
            now = self._read(lambda calls: calls.machine(self._machine.id))
        except AdapterError:
            return False
        return any(there.place == place and there.path.casefold() == path.casefold() for there in now.disks)

    def _drop(self, unc: str, disk: Disk) -> None:
        try:
            self._tools.files.delete(unc)
        except SourceNotFound:
            return
        except AdapterError as error:
            raise SourceConflict(
                f"{disk.fact.label} of {self._machine.name} is restored, and its old file is still there",
                code="old-file-remains",
                why=str(error),
                hint=f"Delete {unc} by hand.",
            ) from None

    def _read(self, ask: Callable[[Calls], T]) -> T:
        return self._tools.hosts.read(self._machine.id, ask)

    def _refused(self, disk: Disk) -> str:
        return f"{disk.fact.label} of {self._machine.name} cannot be overwritten"


def _undo(made: Made, error: BaseException) -> None:
    if stays := made.remove():
        tell_remains(error, f"The machine is as it was. Delete by hand: {'; '.join(stays)}.")
