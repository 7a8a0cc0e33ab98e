"""Machines of our vSphere simulator that are made, registered, exported and read as files."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest
from pyVmomi import vim

from tests.adapters.vmware.conftest import StartVsphere
from tests.support.vsphere.building import MachineSpec
from tests.support.vsphere.client import Client
from tests.support.vsphere.devices import DiskSpec
from tests.support.vsphere.simulator import VsphereSimulator

MIB = 1 << 20
QUERY = "?dcPath=DC0&dsName=datastore1"
Spec = vim.vm.device.VirtualDeviceSpec
Disk = vim.vm.device.VirtualDisk


def disks_of(machine: vim.VirtualMachine | vim.vm.Snapshot) -> list[Disk]:
    """The disks of a machine or a snapshot."""
    return [device for device in machine.config.hardware.device if isinstance(device, Disk)]


def new_disk(path: str, size_bytes: int, *, create: bool) -> Spec:
    """A disk for a machine to come, on a controller that comes with it."""
    backing = Disk.FlatVer2BackingInfo(fileName=path, diskMode="persistent")
    device = Disk(key=-2, controllerKey=-1, unitNumber=0, capacityInKB=size_bytes >> 10, backing=backing)
    return Spec(operation="add", fileOperation="create" if create else None, device=device)


def new_controller() -> Spec:
    """A SCSI controller for a machine to come."""
    device = vim.vm.device.ParaVirtualSCSIController(key=-1, busNumber=0, sharedBus="noSharing")
    return Spec(operation="add", device=device)


def make_machine(client: Client, name: str, *devices: Spec) -> vim.VirtualMachine:
    """Make a machine through the API."""
    place = client.content.rootFolder.childEntity[0]
    files = vim.vm.FileInfo(vmPathName="[datastore1]")
    config = vim.vm.ConfigSpec(name=name, files=files, numCPUs=1, memoryMB=512, deviceChange=list(devices))
    made = client.wait(place.vmFolder.CreateVM_Task(config, client.machine("web").resourcePool, None))
    assert isinstance(made, vim.VirtualMachine)
    return made


def test_an_export_is_the_frozen_content(vsphere: VsphereSimulator, plain: Client, tmp_path: Path) -> None:
    """A lease serves each frozen disk as a stream-optimised VMDK, without a session, while it lasts."""
    vsphere.write("db", 1, MIB, random.Random(3).randbytes(2 * MIB))
    content = vsphere.content("db", 1)
    lease = plain.snapshot(plain.machine("db"), "exported").ExportSnapshot()
    vsphere.write("db", 1, MIB, b"after the snapshot")
    url = next(device.url for device in lease.info.deviceUrl if device.key.endswith("/2001"))
    path = "/" + url.split("/", 3)[3]
    status, _, body = plain.http("GET", path, cookie=False)
    assert status == 200
    assert b'createType="streamOptimized"' in body[:4096]
    (tmp_path / "disk.vmdk").write_bytes(body)
    command = ["qemu-img", "convert", "-f", "vmdk", "-O", "raw", str(tmp_path / "disk.vmdk"), str(tmp_path / "raw")]
    subprocess.run(command, check=True)
    assert (tmp_path / "raw").read_bytes() == content
    lease.HttpNfcLeaseProgress(99)
    lease.HttpNfcLeaseComplete()
    assert plain.http("GET", path)[0] == 404


def test_files_of_a_machine_are_served(vsphere: VsphereSimulator, plain: Client) -> None:
    """What layoutEx names can be read, but for the disk that the running machine writes to."""
    machine = plain.machine("web")
    kinds = {file.type: file for file in machine.layoutEx.file}
    assert {"config", "nvram", "diskDescriptor", "diskExtent"} <= kinds.keys()

    def get(kind: str) -> tuple[int, bytes]:
        status, _, body = plain.http("GET", f"/folder/{kinds[kind].name.partition('] ')[2]}{QUERY}")
        return status, body

    assert b'displayName = "web"' in get("config")[1]
    assert get("nvram")[1].startswith(b"MRVN")
    assert b"web-flat.vmdk" in get("diskDescriptor")[1]
    assert get("diskExtent")[0] == 500
    plain.wait(machine.PowerOffVM_Task())
    assert get("diskExtent") == (200, vsphere.content("web", 0))


def test_a_machine_is_made_with_what_it_is_told(vsphere: VsphereSimulator, plain: Client) -> None:
    """A new machine has the disk and the controller of its specification, is off, and has no nvram yet."""
    machine = make_machine(plain, "made", new_controller(), new_disk("[datastore1]", 2 * MIB, create=True))
    (disk,) = disks_of(machine)
    controllers = [d for d in machine.config.hardware.device if isinstance(d, vim.vm.device.VirtualSCSIController)]
    assert (disk.capacityInBytes, disk.controllerKey, disk.backing.fileName) == (
        2 * MIB,
        controllers[0].key,
        "[datastore1] made/made.vmdk",
    )
    assert machine.runtime.powerState == "poweredOff"
    assert "nvram" not in {file.type for file in machine.layoutEx.file}
    plain.wait(machine.PowerOnVM_Task())
    vsphere.write("made", 0, 0, b"alive")
    assert vsphere.content("made", 0)[:5] == b"alive"


def test_an_uploaded_disk_is_the_new_machine_s(vsphere: VsphereSimulator, plain: Client) -> None:
    """A disk that was made and written over HTTP is attached with its content; one that is not there is refused."""
    place = plain.content.rootFolder.childEntity[0]
    plain.content.fileManager.MakeDirectory("[datastore1] back", place, False)
    path = "[datastore1] back/back.vmdk"
    spec = vim.VirtualDiskManager.FileBackedVirtualDiskSpec(diskType="thin", adapterType="lsiLogic", capacityKb=2048)
    plain.wait(plain.content.virtualDiskManager.CreateVirtualDisk_Task(path, place, spec))
    content = random.Random(4).randbytes(2 * MIB)
    assert plain.http("PUT", f"/folder/back/back-flat.vmdk{QUERY}", body=content)[0] == 200
    make_machine(plain, "back", new_controller(), new_disk(path, 2 * MIB, create=False))
    assert vsphere.content("back", 0) == content
    with pytest.raises(vim.fault.FileNotFound):
        make_machine(plain, "not", new_controller(), new_disk("[datastore1] back/not.vmdk", MIB, create=False))
    assert "not" not in [machine.name for machine in plain.machines()]


def test_a_stopped_machine_s_disk_is_overwritten_in_place(vsphere: VsphereSimulator, plain: Client) -> None:
    """An upload over a disk is what the machine reads afterwards; no change tracking sees it, as with vSphere."""
    machine = plain.machine("web")
    content = random.Random(6).randbytes(8 * MIB)
    assert plain.http("PUT", f"/folder/web/web-flat.vmdk{QUERY}", body=content)[0] == 500
    plain.wait(machine.PowerOffVM_Task())
    assert plain.http("PUT", f"/folder/web/web-flat.vmdk{QUERY}", body=content)[0] == 200
    assert vsphere.content("web", 0) == content


def test_a_machine_goes_and_comes_back(vsphere: VsphereSimulator, plain: Client) -> None:
    """Unregistered, a machine leaves its files, of which it can be registered; destroyed, it leaves none."""
    vsphere.write("db", 1, 0, b"kept")
    machine = plain.machine("db")
    plain.wait(machine.PowerOffVM_Task())
    uuid = machine.config.uuid
    machine.UnregisterVM()
    assert [entry.name for entry in plain.machines()] == ["web"]
    place = plain.content.rootFolder.childEntity[0]
    pool = plain.machine("web").resourcePool
    again = plain.wait(place.vmFolder.RegisterVM_Task("[datastore1] db/db.vmx", "db2", False, pool, None))
    assert isinstance(again, vim.VirtualMachine)
    assert (again.name, again.config.uuid, len(disks_of(again))) == ("db2", uuid, 2)
    assert vsphere.content("db2", 1)[:4] == b"kept"
    plain.wait(again.Destroy_Task())
    assert not (vsphere.datastore / "db").exists()


def test_disks_that_no_snapshot_holds(start_vsphere: StartVsphere) -> None:
    """Independent disks, physical mappings and shared disks are told as such and are not frozen; others are."""
    specs = [
        DiskSpec(),
        DiskSpec(mode="independent_persistent"),
        DiskSpec(rdm="physicalMode"),
        DiskSpec(rdm="virtualMode"),
        DiskSpec(sharing="sharingMultiWriter"),
        DiskSpec(key_id="key-1"),
    ]
    vsphere = start_vsphere(MachineSpec("odd", disks=tuple(specs)), MachineSpec("mould", template=True))
    client = Client(vsphere.host, vsphere.port, vsphere.ca_file)
    try:
        client.login(vsphere.user, vsphere.password)
        machine = client.machine("odd")
        told = [
            (
                disk.backing.diskMode,
                disk.backing.sharing,
                getattr(disk.backing, "compatibilityMode", None),
                getattr(getattr(disk.backing, "keyId", None), "keyId", None),
            )
            for disk in disks_of(machine)
        ]
        assert told == [(spec.mode, spec.sharing, spec.rdm, spec.key_id) for spec in specs]
        client.snapshot(machine, "frozen")
        assert [len(slot.disk.layers) for slot in vsphere.machine("odd").disks] == [2, 1, 1, 2, 1, 2]
        assert client.machine("mould").config.template
        assert client.machine("mould").resourcePool is None
    finally:
        client.close()
