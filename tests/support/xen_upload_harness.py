"""A machine of its own on any pool, simulated or real, as the conformance suite wants one.

The machine is halted, so that its disk can be imported and exported: no guest is needed. Whether a storage manager
tracks what an import writes is not promised, so this is for the suite without its tracking part.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import msgspec

from adapters.errors import AdapterError
from adapters.port import ConfigurationFile, Extent, MachineRestore, Snapshot
from adapters.xen.reaching import access_to
from adapters.xen.session import Session
from adapters.xen.settings import XenSettings
from adapters.xen.source import XenSource
from adapters.xen.transport.exportread import ExportRead
from adapters.xen.transport.upload import upload

SIZE = 4 << 20
FOREIGN = "holdfast-looking, but somebody else's"
_CONFIG = {
    "format": 1,
    "VM": {
        "name_description": "made by a test of Holdfast, which removes it",
        **{f"memory_{name}": 256 << 20 for name in ("static_max", "static_min", "dynamic_max", "dynamic_min")},
        **{"VCPUs_params": {}, "VCPUs_max": 1, "VCPUs_at_startup": 1, "platform": {}, "other_config": {}},
        **{f"actions_after_{event}": "destroy" for event in ("shutdown", "reboot", "crash")},
        **{"HVM_boot_policy": "BIOS order", "HVM_boot_params": {"order": "c"}, "HVM_shadow_multiplier": 1.0},
    },
    **{"VBDs": [], "VIFs": [], "others": {}},
}


class _Image:
    """Bytes as an image."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.size_bytes = len(content)

    def extents(self) -> Iterator[Extent]:
        yield Extent(0, self.size_bytes, zero=False)

    def pread_into(self, offset: int, buffer: memoryview) -> None:
        buffer[:] = self._content[offset : offset + len(buffer)]


class UploadHarness:
    """The only disk of the machine `name`, made by a restore."""

    can_write_during_snapshot = False
    disk_key = "0"

    def __init__(self, settings: XenSettings, name: str, runtime_dir: Path) -> None:
        self._settings = settings
        self._name = name
        self._runtime_dir = runtime_dir
        self._session = Session(settings)
        files = (ConfigurationFile("config.json", json.dumps(_CONFIG).encode()),)
        image = _Image(bytes(1 << 20) + b"something to begin with" * 5000 + bytes(SIZE - (1 << 20) - 115_000))
        with closing(self.make_source()) as source:
            made = source.restore_machine(MachineRestore(name, "conformance", files, {"0": image}), lambda _: None)
        self.machine_key = made.key
        self._vm = str(self._session.call("VM.get_by_uuid", made.key))
        (self._vbd,) = self._session.call("VM.get_VBDs", self._vm)
        self._disks = [str(self._session.call("VBD.get_VDI", self._vbd))]

    def close(self) -> None:
        """Remove the machine, its snapshots and its disks."""
        with closing(self._session):
            for snapshot in self._session.call("VM.get_snapshots", self._vm):
                self._destroy(snapshot)
            self._destroy(self._vm)
            for disk in self._disks:
                with suppress(AdapterError):
                    self._session.task("VDI.destroy", disk)

    def make_source(self) -> XenSource:
        """Build a source on the pool."""
        return XenSource("pool", self._settings, self._runtime_dir)

    def write(self, offset: int, data: bytes) -> None:
        """Write the whole disk anew with `data` in it."""
        old = self.content()
        self._import(old[:offset] + data + old[offset + len(data) :])

    def discard(self, offset: int, length: int) -> None:
        """Write zeros."""
        self.write(offset, bytes(length))

    def grow(self, size_bytes: int) -> None:
        """Grow the disk."""
        self._session.task("VDI.resize", self._disks[-1], size_bytes)

    def replace_disk(self) -> None:
        """Put another disk of the same size into its place."""
        disk = self._session.call("VDI.get_record", self._disks[-1])
        vbd = self._session.call("VBD.get_record", self._vbd)
        self._session.call("VBD.destroy", self._vbd)
        wanted = ("name_label", "name_description", "SR", "virtual_size", "type", "sharable", "read_only")
        new = {**{name: disk[name] for name in wanted}, "other_config": {}, "xenstore_data": {}, "sm_config": {}}
        self._disks.append(str(self._session.call("VDI.create", new)))
        self._vbd = self._session.call("VBD.create", {**vbd, "VDI": self._disks[-1]})
        self._import(b"another disk".ljust(SIZE, b"."))

    def content(self) -> bytes:
        """The disk's present content, exported raw."""
        with closing(ExportRead(self._access(), format="raw")) as reader:
            found = bytearray(reader.size_bytes)
            reader.pread_into(0, memoryview(found))
            return bytes(found)

    def crash(self, source: XenSource, snapshot: Snapshot) -> None:
        """Drop the connection; nothing is released."""
        with suppress(AdapterError):
            source.close()

    def leftovers(self) -> Sequence[str]:
        """The machine's snapshots that are not somebody else's."""
        return [name for name in self._snapshots() if name != FOREIGN]

    def plant_foreign(self) -> None:
        """Take a snapshot that is not ours."""
        self._session.task("VM.snapshot", self._vm, FOREIGN)

    def foreign_intact(self) -> bool:
        """Whether that snapshot is still there."""
        return FOREIGN in self._snapshots()

    def invalid_base(self) -> str:
        """A base of this disk, of a snapshot that never was."""
        vdi = self._session.call("VDI.get_uuid", self._disks[-1])
        return msgspec.json.encode({"vdi": vdi, "snapshot": str(uuid.uuid4()), "size_bytes": SIZE}).decode()

    def _snapshots(self) -> list[str]:
        refs = self._session.call("VM.get_snapshots", self._vm)
        return [str(self._session.call("VM.get_name_label", ref)) for ref in refs]

    def _access(self) -> Any:
        record = self._session.call("VDI.get_record", self._disks[-1])
        return access_to(self._session, record["uuid"], self._name, record["virtual_size"], self._runtime_dir)

    def _import(self, content: bytes) -> None:
        upload(self._access(), _Image(content), lambda _: None, empty=False)

    def _destroy(self, vm: str) -> None:
        disks = [
            self._session.call("VBD.get_VDI", ref)
            for ref in self._session.call("VM.get_VBDs", vm)
            if self._session.call("VBD.get_type", ref) == "Disk"
        ]
        for method, ref in [("VM.destroy", vm), *(("VDI.destroy", disk) for disk in disks)]:
            with suppress(AdapterError):
                self._session.task(method, ref)
