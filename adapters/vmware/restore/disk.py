"""Overwriting one disk of a machine that is off. Imports `adapters.errors`, `adapters.port` and this package.

Change tracking does not see what is written to a disk's file, so it is switched off before the first byte: tracking
that is set up anew later has another uuid, and the next backup reads the disk in full.
"""

from __future__ import annotations

from collections.abc import Callable

from pyVmomi import vim

from adapters.errors import AdapterError, SourceConflict, SourceInvalid, SourceNotFound, tell_remains
from adapters.port import DiskImage
from adapters.vmware.disks import Disk
from adapters.vmware.inventory import Machine, look_at, require_reachable
from adapters.vmware.places import Stores, flat_path, split_file
from adapters.vmware.properties import read_object
from adapters.vmware.restore.upload import content_of, padded, put_file
from adapters.vmware.session import Session, UnansweredCall
from adapters.vmware.tasks import TaskFailed, TaskWaiter

_SECONDS = 600.0


class DiskWriter:
    """Writes a disk of one machine in place."""

    def __init__(self, session: Session, waiter: TaskWaiter, stores: Stores, machine: Machine) -> None:
        self._session = session
        self._waiter = waiter
        self._stores = stores
        self._machine = machine
        self._vm = session.bound(vim.VirtualMachine, machine.moref)

    def require_writable(self, disk_key: str) -> tuple[Disk, str]:
        """Return the disk and the path of its flat file. Raises SourceConflict while it is in use or has snapshots."""
        require_reachable(self._machine)
        disk = self._disk(disk_key)
        flat = flat_path(disk, read_object(self._session, self._vm, ["layoutEx"]).get("layoutEx"))
        what = _refused(disk, self._machine)
        if self._machine.power != "poweredOff":
            raise SourceConflict(what, code="machine-running", why="the machine is not off", hint="Power it off.")
        if self._machine.snapshots or len(disk.chain) != 1:
            raise SourceConflict(what, code="machine-has-snapshots", hint="Remove its snapshots, or restore it anew.")
        if flat is None or self._machine.encrypted or disk.key_id is not None:
            why = "it is encrypted" if flat is not None else f"it is a {disk.backing} disk, and not one flat file"
            raise SourceInvalid(what, code="disk-not-flat", why=why, hint="Restore the machine as a new one.")
        return disk, flat

    def write(self, disk_key: str, image: DiskImage, written: Callable[[int], None]) -> None:
        """Overwrite the disk. Raises SourceConflict while it is in use, has snapshots, or is of another size."""
        disk, flat = self.require_writable(disk_key)
        if padded(image.size_bytes) != disk.fact.size_bytes:
            raise SourceConflict(
                _refused(disk, self._machine),
                code="disk-resized",
                why=f"it has {disk.fact.size_bytes} bytes, the restore point {image.size_bytes}",
                hint="Restore the machine as a new one.",
            )
        self._stop_tracking()
        store = self._stores.get(disk.datastore or "")
        datastore, _ = split_file(disk.file)
        place = (self._machine.host, datastore, flat, store.datacenter_path)
        try:
            put_file(self._session, *place, disk.fact.size_bytes, content_of(image, written))
        except BaseException as error:
            tell_remains(
                error, f"{disk.fact.label} is overwritten in part: restore it again before the machine is started."
            )
            raise

    def _disk(self, key: str) -> Disk:
        for disk in self._machine.disks or ():
            if disk.fact.key == key:
                return disk
        raise SourceNotFound(f"{self._machine.name} has no disk {key}", code="disk-missing")

    def _stop_tracking(self) -> None:
        if not self._machine.tracking_enabled:
            return
        what = f"Changed block tracking of {self._machine.name} was not switched off"
        spec = vim.vm.ConfigSpec(changeTrackingEnabled=False)
        lost: AdapterError | None = None
        try:
            self._waiter.wait(
                self._session.effect(what, lambda: self._vm.ReconfigVM_Task(spec)), what, seconds=_SECONDS
            )
        except TaskFailed as failed:
            raise failed.error from None
        except UnansweredCall as unanswered:
            lost = unanswered.error
        if look_at(self._session, self._machine.moref).tracking_enabled:
            raise lost or SourceConflict(what, code="tracking-still-on", why="the server says that it is on")


def _refused(disk: Disk, machine: Machine) -> str:
    return f"{disk.fact.label} of {machine.name} cannot be overwritten"
