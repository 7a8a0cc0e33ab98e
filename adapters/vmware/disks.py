"""A machine's virtual disks as vSphere describes them, and which of them a snapshot can hold.

Pure; imports `adapters.port`. A disk's key is the uuid that its file carries, which survives a move to another
controller, host or datastore; the device key, which vSphere gives to another disk as soon as it is free, stands in
where there is no uuid or two disks of a machine share one.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyVmomi import vim

from adapters.port import DiskFact, Exclusion

GRANULARITY_BYTES = 65536

_Disk = vim.vm.device.VirtualDisk
_SNAPSHOT_BACKINGS: tuple[type, ...] = (
    _Disk.FlatVer1BackingInfo,
    _Disk.FlatVer2BackingInfo,
    _Disk.SparseVer1BackingInfo,
    _Disk.SparseVer2BackingInfo,
    _Disk.SeSparseBackingInfo,
    _Disk.RawDiskMappingVer1BackingInfo,
)
_AGENT = "Back it up from inside the guest with the agent."
_CONTROLLERS: tuple[tuple[type, str], ...] = (
    (vim.vm.device.VirtualSCSIController, "scsi"),
    (vim.vm.device.VirtualAHCIController, "sata"),
    (vim.vm.device.VirtualNVMEController, "nvme"),
    (vim.vm.device.VirtualIDEController, "ide"),
)


@dataclass(frozen=True, slots=True)
class Disk:
    """A virtual disk at one moment. `chain` are its files from the one written now to the root, `[datastore] path`.

    `rdm` is the compatibility mode of a raw device mapping. `key_id` names the key of an encrypted disk; keys
    themselves never reach us. `export_key` is what the server calls the disk in a lease.
    """

    fact: DiskFact
    device_key: int
    uuid: str | None
    chain: tuple[str, ...]
    change_id: str | None
    backing: str
    datastore: str | None
    controller: str
    rdm: str | None
    key_id: str | None
    export_key: str | None = None

    @property
    def file(self) -> str:
        """The descriptor of the disk's own content."""
        return self.chain[0] if self.chain else ""

    @property
    def root_file(self) -> str:
        """The file that stays while snapshots come and go."""
        return self.chain[-1] if self.chain else ""


def disks_of(devices: Sequence[Any], *, template: bool = False) -> tuple[Disk, ...]:
    """The disks among a machine's devices, in the order of their device keys."""
    by_key = {device.key: device for device in devices}
    found = sorted((device for device in devices if isinstance(device, _Disk)), key=lambda device: device.key)
    shared = Counter(_uuid(device) for device in found)
    return tuple(_disk(device, by_key, alone=shared[_uuid(device)] == 1, template=template) for device in found)


def _disk(device: Any, by_key: Mapping[int, Any], *, alone: bool, template: bool) -> Disk:
    backing, uuid, chain = device.backing, _uuid(device), _chain(device.backing)
    controller = by_key.get(device.controllerKey)
    rooted = hashlib.sha256((chain[-1] if chain else "").encode()).hexdigest()[:32]
    fact = DiskFact(
        key=uuid if uuid and alone else f"device-{device.key}",
        label=(device.deviceInfo.label if device.deviceInfo else "") or f"disk {device.key}",
        size_bytes=_size(device),
        identity=f"disk-{uuid}" if uuid and alone else f"file-{rooted}",
        tracking="cbt",
        granularity_bytes=GRANULARITY_BYTES,
        exclusion=_TEMPLATE if template else _exclusion(backing, controller),
    )
    return Disk(
        fact=fact,
        device_key=device.key,
        uuid=uuid,
        chain=chain,
        change_id=getattr(backing, "changeId", None) or None,
        backing=type(backing).__name__.rpartition(".")[2].removesuffix("BackingInfo"),
        datastore=_moref(getattr(backing, "datastore", None)),
        controller=next((name for kind, name in _CONTROLLERS if isinstance(controller, kind)), "unknown"),
        rdm=getattr(backing, "compatibilityMode", None),
        key_id=_key_id(backing),
        export_key=_export_key(device, controller),
    )


def _size(device: Any) -> int:
    return int(device.capacityInBytes or (device.capacityInKB or 0) * 1024)


def _uuid(device: Any) -> str | None:
    uuid = getattr(device.backing, "uuid", None)
    return uuid.lower() if uuid else None


def _chain(backing: Any) -> tuple[str, ...]:
    files: list[str] = []
    while backing is not None:
        if name := getattr(backing, "fileName", None):
            files.append(name)
        backing = getattr(backing, "parent", None)
    return tuple(files)


def _key_id(backing: Any) -> str | None:
    key = getattr(backing, "keyId", None)
    return key.keyId if key is not None else None


def _export_key(device: Any, controller: Any) -> str | None:
    if controller is None or device.unitNumber is None:
        return None
    return f"{type(controller).__name__.rpartition('.')[2]}{controller.busNumber}:{device.unitNumber}"


def _moref(entity: Any) -> str | None:
    return entity._moId if entity is not None else None


def _exclusion(backing: Any, controller: Any) -> Exclusion | None:
    if not isinstance(backing, _SNAPSHOT_BACKINGS):
        kind = type(backing).__name__.rpartition(".")[2].removesuffix("BackingInfo")
        return Exclusion(f"a disk on {kind} cannot be in a snapshot", _AGENT)
    if getattr(backing, "compatibilityMode", None) == "physicalMode":
        return Exclusion(
            "a raw device mapping in physical mode passes snapshots by",
            f"{_AGENT} Or map the device in virtual mode.",
        )
    mode = str(getattr(backing, "diskMode", None) or "persistent")
    if mode != "persistent":
        return Exclusion(f"its mode is {mode}, which no snapshot holds", f"{_AGENT} Or set its mode to dependent.")
    if getattr(backing, "sharing", None) == "sharingMultiWriter":
        return Exclusion("several machines write to it (multi-writer)", _AGENT)
    if getattr(controller, "sharedBus", "noSharing") not in (None, "noSharing"):
        return Exclusion(f"its controller's bus is shared ({controller.sharedBus})", _AGENT)
    return None


_TEMPLATE = Exclusion("the machine is a template, of which no snapshot can be taken", "Convert it to a machine.")
