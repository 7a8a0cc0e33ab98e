"""What a simulated machine is set to, beside its disks, and the ConfigInfo made of it."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import uuid4

from pyVmomi import vim

from tests.support.vsphere.devices import CONTROLLER_KEY, Device, VirtualDisk, built_in, controller

Config = vim.vm.ConfigInfo


@dataclass
class MachineSettings:
    """The settings that ReconfigVM_Task changes; `devices` are those that are no disks."""

    name: str
    vmx: str
    template: bool = False
    change_tracking: bool = False
    uuid: str = field(default_factory=lambda: str(uuid4()))
    instance_uuid: str = field(default_factory=lambda: str(uuid4()))
    cpus: int = 2
    memory_mb: int = 2048
    guest_id: str = "debian12_64Guest"
    version: str = "vmx-19"
    firmware: str = "efi"
    annotation: str = ""
    key_id: str | None = None
    extra: dict[str, str] = field(default_factory=dict)
    devices: list[Device] = field(default_factory=lambda: [*built_in(), controller([])])
    modified: datetime = field(default_factory=lambda: datetime.now(UTC))

    def copy(self) -> MachineSettings:
        """What a snapshot keeps."""
        return deepcopy(self)

    def config(self, disks: Sequence[VirtualDisk]) -> Config:
        """The machine's configuration with the given disks."""
        folder = self.vmx.rpartition("/")[0]
        return Config(
            changeVersion=self.modified.isoformat(), modified=self.modified, name=self.name,
            guestFullName="Debian GNU/Linux 12 (64-bit)", version=self.version, uuid=self.uuid,
            instanceUuid=self.instance_uuid, template=self.template, guestId=self.guest_id,
            alternateGuestName="", annotation=self.annotation, firmware=self.firmware,
            changeTrackingEnabled=self.change_tracking,
            files=vim.vm.FileInfo(
                vmPathName=self.vmx, snapshotDirectory=folder, suspendDirectory=folder, logDirectory=folder
            ),
            flags=vim.vm.FlagInfo(snapshotPowerOffBehavior="powerOff", diskUuidEnabled=True),
            defaultPowerOps=vim.vm.DefaultPowerOpInfo(powerOffType="soft"),
            bootOptions=vim.vm.BootOptions(bootDelay=0, efiSecureBootEnabled=False),
            keyId=vim.encryption.CryptoKeyId(keyId=self.key_id) if self.key_id else None,
            extraConfig=[vim.option.OptionValue(key=key, value=value) for key, value in self.extra.items()],
            hardware=vim.vm.VirtualHardware(
                numCPU=self.cpus, numCoresPerSocket=1, memoryMB=self.memory_mb, device=[*self._told(disks), *disks]
            ),
        )  # fmt: skip

    def entries(self, disks: Sequence[VirtualDisk]) -> dict[str, str]:
        """What the .vmx file says."""
        slots = {
            f"scsi{(disk.controllerKey - CONTROLLER_KEY)}:{disk.unitNumber}": disk.backing.fileName for disk in disks
        }
        return {
            "config.version": "8", "virtualHW.version": self.version.removeprefix("vmx-"), "displayName": self.name,
            "uuid.bios": self.uuid, "vc.uuid": self.instance_uuid, "guestOS": self.guest_id,
            "numvcpus": str(self.cpus), "memSize": str(self.memory_mb), "firmware": self.firmware,
            **({"ctkEnabled": "TRUE"} if self.change_tracking else {}), "scsi0.virtualDev": "pvscsi",
            **{f"{slot}.fileName": path.rpartition("/")[2] for slot, path in slots.items()}, **self.extra,
        }  # fmt: skip

    def _told(self, disks: Sequence[VirtualDisk]) -> list[Device]:
        """The devices, controllers with the keys of their disks."""
        devices = deepcopy(self.devices)
        for device in devices:
            if isinstance(device, vim.vm.device.VirtualController):
                device.device = [disk.key for disk in disks if disk.controllerKey == device.key]
        return devices
