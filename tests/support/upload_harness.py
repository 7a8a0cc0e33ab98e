"""A server that is not ours as the conformance suite wants a source: a machine of our making, written by upload.

Change tracking does not see uploads, and vcsim's snapshots do not freeze files: neither is asked for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pyVmomi import vim

from adapters.errors import AdapterError
from adapters.port import ConfigurationFile, Extent, MachineRestore, Snapshot
from adapters.vmware.inventory import find_machine, look_at
from adapters.vmware.places import Stores, split_file
from adapters.vmware.restore.upload import descriptor, put_file
from adapters.vmware.session import Session
from adapters.vmware.settings import VmwareSettings
from adapters.vmware.source import VmwareSource
from adapters.vmware.tasks import TaskWaiter

MIB = 1 << 20
FOREIGN = "before the upgrade"
_CONFIG = {
    "format": 1,
    "name": "template",
    "config": {"guestId": "otherGuest", "hardware": {"numCPU": 1, "memoryMB": 64, "device": []}},
}
_Spec = vim.vm.device.VirtualDeviceSpec


class _Blank:
    """An empty disk."""

    size_bytes = 2 * MIB

    def extents(self) -> list[Extent]:
        return [Extent(0, self.size_bytes, zero=True)]

    def pread_into(self, offset: int, buffer: memoryview) -> None:
        raise AssertionError("zeros are not read")


class UploadHarness:
    """One machine, off, with one disk of 2 MiB."""

    can_write_during_snapshot = False

    def __init__(self, settings: VmwareSettings, name: str, runtime_dir: Path) -> None:
        self._settings = settings
        self._runtime_dir = runtime_dir
        self._session = Session(settings)
        self._stores = Stores(self._session)
        source = self.make_source()
        files = (ConfigurationFile("config.json", json.dumps(_CONFIG).encode()),)
        made = source.restore_machine(MachineRestore(name, "conformance", files, {"0": _Blank()}), lambda _: None)
        source.close()
        self.machine_key = made.key
        self._moref = find_machine(self._session, made.key).moref
        self._content = bytearray(_Blank.size_bytes)
        self.write(MIB, b"something to begin with" * 5000)

    def close(self) -> None:
        """Remove the machine."""
        with suppress(AdapterError):
            self._run(self._machine.Destroy_Task)
        self._session.close()

    @property
    def disk_key(self) -> str:
        """The disk now in the slot."""
        return self._disk.fact.key

    def make_source(self) -> VmwareSource:
        """Build a source on the server."""
        return VmwareSource("vc", self._settings, self._runtime_dir)

    def write(self, offset: int, data: bytes) -> None:
        """Replace the file with one that has the data."""
        self._content[offset : offset + len(data)] = data
        self._put(self._disk.file.removesuffix(".vmdk") + "-flat.vmdk", bytes(self._content))

    def discard(self, offset: int, length: int) -> None:
        """Write zeros."""
        self.write(offset, bytes(length))

    def grow(self, size_bytes: int) -> None:
        """Grow the disk and its file."""
        device = self._device()
        device.capacityInBytes, device.capacityInKB = size_bytes, size_bytes >> 10
        self._reconfigure(_Spec(operation="edit", device=device))
        self._content += bytes(size_bytes - len(self._content))
        self.write(0, b"")

    def replace_disk(self) -> None:
        """Put a disk with another file into the slot."""
        old = self._device()
        folder = self._disk.file.rpartition("/")[0]
        self._content = bytearray(b"another" * len(self._content))[: len(self._content)]
        self._put(f"{folder}/other-flat.vmdk", bytes(self._content))
        self._put(f"{folder}/other.vmdk", descriptor(len(self._content), "other-flat.vmdk"))
        backing = type(old.backing)(fileName=f"{folder}/other.vmdk", diskMode="persistent")
        new = type(old)(key=-1, controllerKey=old.controllerKey, unitNumber=old.unitNumber, backing=backing)
        new.capacityInBytes, new.capacityInKB = old.capacityInBytes, old.capacityInKB
        self._reconfigure(_Spec(operation="remove", device=old))
        self._reconfigure(_Spec(operation="add", device=new))

    def content(self) -> bytes:
        """What was written."""
        return bytes(self._content)

    def crash(self, source: VmwareSource, snapshot: Snapshot) -> None:
        """Let the source go."""
        source.close()

    def leftovers(self) -> Sequence[str]:
        """Snapshots but the foreign one."""
        return [node.name for node in look_at(self._session, self._moref).snapshots if node.name != FOREIGN]

    def plant_foreign(self) -> None:
        """Take a snapshot as somebody else."""
        self._run(lambda: self._machine.CreateSnapshot_Task(FOREIGN, "", False, False))

    def foreign_intact(self) -> bool:
        """Whether it is still there."""
        return any(node.name == FOREIGN for node in look_at(self._session, self._moref).snapshots)

    def invalid_base(self) -> str:
        """A token of a tracking that the disk does not have."""
        return json.dumps({"change_id": "52 aa/1", "uuid": None, "file": "", "size_bytes": 1})

    @property
    def _machine(self) -> vim.VirtualMachine:
        return self._session.bound(vim.VirtualMachine, self._moref)

    @property
    def _disk(self) -> Any:
        (disk,) = look_at(self._session, self._moref).disks or ()
        return disk

    def _device(self) -> Any:
        devices = self._session.read("devices", lambda: self._machine.config.hardware.device)
        return next(device for device in devices if isinstance(device, vim.vm.device.VirtualDisk))

    def _put(self, name: str, content: bytes) -> None:
        datastore, path = split_file(name)
        datacenter = self._stores.get(self._disk.datastore).datacenter_path
        put_file(self._session, None, datastore, path, datacenter, len(content), [memoryview(content)])

    def _reconfigure(self, change: _Spec) -> None:
        self._run(lambda: self._machine.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=[change])))

    def _run(self, start: Callable[[], vim.Task]) -> None:
        TaskWaiter(self._session).wait(self._session.effect("a test's call", start), "a test's task", seconds=30)
