"""What a guest at rest is worth: never more than VMware Tools can reach in it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pyVmomi import vim

from adapters.errors import SourceConflict
from adapters.vmware.disks import disks_of
from adapters.vmware.inventory import Machine
from adapters.vmware.quiesce import Rest, plan, reached

CONTROLLERS = {
    1000: vim.vm.device.ParaVirtualSCSIController(key=1000, busNumber=0),
    200: vim.vm.device.VirtualIDEController(key=200, busNumber=0),
    31000: vim.vm.device.VirtualNVMEController(key=31000, busNumber=0),
}


def machine(family: str | None, controller: int = 1000, *, disk_uuids: bool | None = True) -> Machine:
    """A running machine with Tools and one disk."""
    disk = vim.vm.device.VirtualDisk(key=2000, controllerKey=controller, unitNumber=0, capacityInBytes=512)
    disk.backing = vim.vm.device.VirtualDisk.FlatVer2BackingInfo(fileName="[ds] vm/vm.vmdk")
    disks = disks_of([CONTROLLERS[controller], disk])
    bare = Machine("vm-1", "key", "vm", disks, "connected", template=False)
    return replace(bare, power="poweredOn", tools_running=True, guest_family=family, disk_uuids=disk_uuids)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (machine("windowsGuest"), ("application", None)),
        (machine("windowsGuest", disk_uuids=False), ("filesystem", "disk-uuids-off")),
        (machine("windowsGuest", disk_uuids=None), ("filesystem", "disk-uuids-off")),
        (machine("windowsGuest", 200), ("filesystem", "disk-not-on-scsi")),
        (machine("windowsGuest", 31000), ("filesystem", "disk-not-on-scsi")),
        (machine("linuxGuest", 200, disk_uuids=False), ("filesystem", "linux-file-systems-only")),
        (machine(None), ("crash", "guest-untold")),
    ],
)
def test_rest_is_worth_what_the_guest_can_do(found: Machine, expected: tuple[str, str | None]) -> None:
    """Windows asks its applications where VSS may, Linux freezes file systems, of an unknown guest nothing is said."""
    assert plan(found, "require", "application") == Rest(True, None)
    assert reached(found, "application") == expected
    less = ("crash", "guest-untold") if found.guest_family is None else None
    assert reached(found, "filesystem") == (less or (expected[0], None))


def test_a_guest_that_cannot_freeze_is_not_asked() -> None:
    """Tools freeze Windows and Linux only: elsewhere it is a crash consistent snapshot, or none if that is required."""
    assert plan(machine("otherGuestFamily"), "prefer", "application") == Rest(False, "guest-not-freezable")
    with pytest.raises(SourceConflict) as caught:
        plan(machine("solarisGuest"), "require", "filesystem")
    assert caught.value.code == "quiesce-failed"
