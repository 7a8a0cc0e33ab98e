"""The devices of a simulated machine, as the API tells them: a controller, a network card, and disks.

A disk's backing names its layer, and below it the ones it stands on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pyVmomi import vim

from tests.support.vsphere.datastore import Datastore
from tests.support.vsphere.disks import Change, Disk, Layer

CONTROLLER_KEY = 1000
FIRST_DISK_KEY = 2000
NETWORK_KEY = 4000
PCI_KEY = 100
DATASTORE_MOID = "datastore-1"
NETWORK_MOID = "network-1"
UNITS_PER_CONTROLLER = 16
_RESERVED_UNIT = 7

VirtualDisk = vim.vm.device.VirtualDisk
Device = vim.vm.device.VirtualDevice


@dataclass(frozen=True)
class DiskSpec:
    """A disk to make.

    `mode` is such as `persistent` or `independent_persistent`, `sharing` such as `sharingMultiWriter`; `rdm` is
    `physicalMode` or `virtualMode` for a raw device mapping, `key_id` what the disk is encrypted with.
    """

    size_bytes: int = 8 << 20
    mode: str = "persistent"
    sharing: str = "sharingNone"
    rdm: str | None = None
    key_id: str | None = None


@dataclass(frozen=True)
class AttachedDisk:
    """A disk in its slot of a machine."""

    key: int
    controller_key: int
    unit: int
    disk: Disk
    spec: DiskSpec

    @property
    def in_snapshots(self) -> bool:
        """Whether snapshots freeze it."""
        shared = self.spec.sharing == "sharingMultiWriter"
        return not (self.spec.mode.startswith("independent") or self.spec.rdm == "physicalMode" or shared)

    def holding(self, disk: Disk) -> AttachedDisk:
        """The same slot with another disk."""
        return replace(self, disk=disk)

    def device(self, store: Datastore, layer: Layer, size_bytes: int, change: Change | None) -> VirtualDisk:
        """The disk as the API tells it, standing on `layer`."""
        label = f"Hard disk {self.key - FIRST_DISK_KEY + 1}"
        return VirtualDisk(
            key=self.key, controllerKey=self.controller_key, unitNumber=self.unit,
            deviceInfo=vim.Description(label=label, summary=f"{size_bytes >> 10:,} KB"),
            capacityInKB=size_bytes >> 10, capacityInBytes=size_bytes, backing=self._backing(store, layer, change),
        )  # fmt: skip

    def _backing(self, store: Datastore, layer: Layer, change: Change | None) -> Device.BackingInfo:
        at = self.disk.layers.index(layer) if layer in self.disk.layers else 0
        below = self._backing(store, self.disk.layers[at - 1], None) if at else None
        fields = {
            "fileName": store.text(layer.descriptor), "diskMode": self.spec.mode, "uuid": self.disk.uuid,
            "contentId": "fffffffe", "changeId": change.text if change else None, "parent": below,
            "sharing": self.spec.sharing, "datastore": vim.Datastore(DATASTORE_MOID), "backingObjectId": "",
        }  # fmt: skip
        if self.spec.rdm:
            return VirtualDisk.RawDiskMappingVer1BackingInfo(
                **fields, compatibilityMode=self.spec.rdm, deviceName="vml.0200", lunUuid="0200"
            )
        crypto = vim.encryption.CryptoKeyId(keyId=self.spec.key_id) if self.spec.key_id else None
        return VirtualDisk.FlatVer2BackingInfo(
            **fields, thinProvisioned=True, writeThrough=False, split=False, keyId=crypto
        )


def built_in() -> list[Device]:
    """The devices that a machine has without being asked, under keys that are always the same."""
    kinds = {
        PCI_KEY: vim.vm.device.VirtualPCIController, 200: vim.vm.device.VirtualIDEController,
        201: vim.vm.device.VirtualIDEController, 300: vim.vm.device.VirtualPS2Controller,
        400: vim.vm.device.VirtualSIOController,
    }  # fmt: skip
    controllers = [
        kind(key=key, busNumber=key % 100, deviceInfo=_named(kind.__name__, key)) for key, kind in kinds.items()
    ]
    keyboard = vim.vm.device.VirtualKeyboard(key=600, controllerKey=300, unitNumber=0)
    card = vim.vm.device.VirtualVideoCard(key=500, controllerKey=PCI_KEY, unitNumber=0, videoRamSizeInKB=8192)
    return [*controllers, keyboard, card, vim.vm.device.VirtualVMCIDevice(key=12000, controllerKey=PCI_KEY)]


def controller(disk_keys: list[int]) -> Device:
    """The SCSI controller of the machines made for tests."""
    return vim.vm.device.ParaVirtualSCSIController(
        key=CONTROLLER_KEY, busNumber=0, sharedBus="noSharing", scsiCtlrUnitNumber=_RESERVED_UNIT, device=disk_keys,
        deviceInfo=vim.Description(label="SCSI controller 0", summary="VMware paravirtual SCSI"),
    )  # fmt: skip


def network_card(number: int) -> Device:
    """A network card on the one network."""
    return vim.vm.device.VirtualVmxnet3(
        key=NETWORK_KEY, controllerKey=PCI_KEY, unitNumber=7, addressType="assigned",
        macAddress=f"00:50:56:00:00:{number % 256:02x}",
        deviceInfo=vim.Description(label="Network adapter 1", summary="VM Network"),
        backing=vim.vm.device.VirtualEthernetCard.NetworkBackingInfo(
            deviceName="VM Network", network=vim.Network(NETWORK_MOID)
        ),
    )  # fmt: skip


def disk_key(controller_key: int, unit: int) -> int:
    """The key of the disk in a slot, as vSphere numbers those of SCSI controllers."""
    return FIRST_DISK_KEY + (controller_key - CONTROLLER_KEY) * UNITS_PER_CONTROLLER + unit


def free_unit(taken: set[int]) -> int:
    """The first unit of a controller that no disk has."""
    return next(unit for unit in range(UNITS_PER_CONTROLLER) if unit not in taken | {_RESERVED_UNIT})


def _named(kind: str, key: int) -> vim.Description:
    label = f"{kind.rpartition('.')[2].removeprefix('Virtual')} {key % 100}"
    return vim.Description(label=label, summary=label)
