"""Overwriting one disk of a machine that is halted. Imports `adapters.errors`, `adapters.port` and this package.

Whether a storage manager tracks what an import writes is not promised, so change tracking is switched off before the
first byte: tracking that is set up anew knows no older base, and the next backup reads the disk in full.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from adapters.errors import AdapterError, SourceConflict, SourceInvalid, SourceNotFound, tell_remains
from adapters.port import DiskImage
from adapters.xen.disks import Disk
from adapters.xen.inventory import Machine, read_vdi
from adapters.xen.reaching import access_to
from adapters.xen.records import Vdi
from adapters.xen.session import Session
from adapters.xen.transport.upload import upload


class DiskWriter:
    """Writes a disk of one machine in place."""

    def __init__(self, session: Session, runtime_dir: Path, machine: Machine) -> None:
        self._session = session
        self._runtime_dir = runtime_dir
        self._machine = machine

    def require_writable(self, disk_key: str) -> tuple[Disk, Vdi]:
        """Return the disk. Raises SourceConflict while the machine is not halted, SourceInvalid for shared disks."""
        disk = next((disk for disk in self._machine.disks if disk.fact.key == disk_key), None)
        if disk is None or disk.vdi is None:
            raise SourceNotFound(f"{self._machine.name} has no disk {disk_key}", code="disk-missing")
        if self._machine.vm.power != "Halted":
            raise SourceConflict(
                self._refused(disk), code="machine-running", why="the machine is not halted", hint="Shut it down."
            )
        if disk.fact.exclusion is not None:
            raise SourceInvalid(self._refused(disk), code="disk-excluded", why=disk.fact.exclusion.reason)
        return disk, disk.vdi

    def write(self, disk_key: str, image: DiskImage, written: Callable[[int], None]) -> None:
        """Overwrite the disk. Raises SourceConflict while it is in use or of another size."""
        disk, vdi = self.require_writable(disk_key)
        if image.size_bytes != vdi.size_bytes:
            raise SourceConflict(
                self._refused(disk),
                code="disk-resized",
                why=f"it has {vdi.size_bytes} bytes, the restore point {image.size_bytes}",
                hint="Restore the machine as a new one.",
            )
        self._stop_tracking(vdi)
        access = access_to(self._session, vdi.uuid, disk.fact.label, vdi.size_bytes, self._runtime_dir)
        try:
            upload(access, image, written, empty=False)
        except BaseException as error:
            tell_remains(
                error, f"{disk.fact.label} is overwritten in part: restore it again before the machine is started."
            )
            raise

    def _stop_tracking(self, vdi: Vdi) -> None:
        if not vdi.tracking:
            return
        try:
            self._session.task("VDI.disable_cbt", vdi.ref)
        except AdapterError:
            if read_vdi(self._session, vdi.ref).tracking:
                raise

    def _refused(self, disk: Disk) -> str:
        return f"{disk.fact.label} of {self._machine.name} cannot be overwritten"
