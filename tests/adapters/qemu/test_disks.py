"""What is a disk, what it is called, and what cannot be protected."""

from __future__ import annotations

import subprocess

import pytest

from adapters.errors import SourceInvalid
from adapters.qemu.devices import IOTHREAD, NBD_SAFE_IN_IOTHREADS, PASS_THROUGH, VHOST
from adapters.qemu.disks import disk_of
from adapters.qemu.views import BlockDevice, Image, Node
from tests.adapters.qemu.conftest import MakeSource, StartVm
from tests.support.eventually import eventually
from tests.support.qemu_backup import content_of, freeze, frozen, machine_of
from tests.support.qemu_vm import MIB, QemuVm, VmDisk


def image(vm: QemuVm, name: str, size_bytes: int = MIB) -> str:
    """Create an image and return its path."""
    path = vm.directory / name
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, str(size_bytes)], check=True)
    return str(path)


def test_keys_of_all_kinds_of_devices(start_vm: StartVm, source_of: MakeSource) -> None:
    """Every writable disk is listed under the name its owner gave it; read-only and empty media are no disks."""
    vm = start_vm(VmDisk("vd0"), VmDisk("bare", style="drive"))
    vm.restart(
        *("-blockdev", f"driver=qcow2,node-name=n1,file.driver=file,file.filename={image(vm, '1')}"),
        *("-device", "virtio-blk-pci,drive=n1"),
        *("-drive", f"if=virtio,file={image(vm, '2')},format=qcow2"),
        *("-drive", f"if=ide,file={image(vm, '3')},format=qcow2"),
        *("-drive", f"if=none,id=d4,file={image(vm, '4')},format=qcow2"),
        *("-device", "virtio-scsi-pci", "-device", "scsi-hd,drive=d4,id=sd4"),
        *("-drive", "if=ide,media=cdrom", "-drive", f"if=ide,media=cdrom,file={image(vm, '5')},format=qcow2"),
        *("-blockdev", f"driver=qcow2,node-name=n6,read-only=on,file.driver=file,file.filename={image(vm, '6')}"),
        *("-device", "scsi-hd,drive=n6,id=read-only"),
    )
    source = source_of(vm)
    facts = machine_of(source).disks
    keys = [fact.key for fact in facts]
    assert keys == ["bare", "ide0-hd0", "peripheral-anon/device[0]", "sd4", "vd0", "virtio0"]
    assert len({fact.identity for fact in facts}) == len(facts)
    with frozen(source, dict.fromkeys(keys), committed=True) as snapshot:
        assert machine_of(source).disks == facts
        assert {key: len(content_of(disk)) for key, disk in snapshot.disks.items()} == {
            fact.key: fact.size_bytes for fact in facts
        }
    vm.quit()
    vm.start()
    assert machine_of(source).disks == facts


def test_machine_is_named_by_uuid(start_vm: StartVm, source_of: MakeSource) -> None:
    """A UUID given to QEMU is the machine's key and its -name the name; else both are the source's."""
    vm = start_vm(VmDisk("vd0"))
    assert (machine_of(source_of(vm)).key, machine_of(source_of(vm)).name) == ("vm", "vm")
    uuid = "7d5f5d9c-3a5e-4b0a-9f6e-0d8ab8a6d9a1"
    vm.restart("-uuid", uuid, "-name", "mail")
    machine = machine_of(source_of(vm))
    assert (machine.key, machine.name) == (uuid, "mail")


def test_check_names_version_and_abilities(start_vm: StartVm, source_of: MakeSource) -> None:
    """A check answers QEMU's version and that changes are tracked."""
    fact = source_of(start_vm(VmDisk("vd0"))).check()
    assert fact.product == "QEMU"
    assert fact.version.count(".") == 2
    assert any("dirty bitmaps" in ability for ability in fact.abilities)


def test_file_names_stay_out_of_identities(start_vm: StartVm, source_of: MakeSource) -> None:
    """An identity shows nothing of the file's name, which may hold a password."""
    vm = start_vm(VmDisk("vd0"))
    (fact,) = machine_of(source_of(vm)).disks
    assert str(vm.directory) not in fact.identity
    assert "vd0" not in fact.identity


def test_vhost_disks_are_excluded(start_vm: StartVm, source_of: MakeSource) -> None:
    """A disk that another process serves is listed as one we cannot back up, and asking for it is refused."""
    vm = start_vm(VmDisk("vd0"))
    socket = vm.directory / "vhost"
    daemon = subprocess.Popen(
        [
            "qemu-storage-daemon",
            *("--blockdev", f"driver=qcow2,node-name=n,file.driver=file,file.filename={image(vm, 'served')}"),
            *("--export", f"type=vhost-user-blk,id=e,node-name=n,addr.type=unix,addr.path={socket},writable=on"),
        ]
    )
    try:
        eventually(socket.exists, "the daemon listens")
        vm.restart(
            *("-object", "memory-backend-memfd,id=mem,size=32M,share=on", "-numa", "node,memdev=mem"),
            *("-chardev", f"socket,id=c,path={socket}", "-device", "vhost-user-blk-pci,chardev=c,id=vu0"),
        )
        source = source_of(vm)
        facts = {fact.key: fact for fact in machine_of(source).disks}
        assert facts["vu0"].exclusion == VHOST
        assert facts["vd0"].exclusion is None
        with pytest.raises(SourceInvalid) as caught:
            freeze(source, {"vd0": None, "vu0": None})
        assert caught.value.code == "disk-excluded"
        vm.kill()
    finally:
        daemon.kill()
        daemon.wait()


def test_disks_in_iothreads_are_excluded(start_vm: StartVm, source_of: MakeSource) -> None:
    """With a QEMU whose NBD server would end the machine, disks in I/O threads are excluded, the others are not."""
    vm = start_vm(VmDisk("vd0"))
    vm.restart(
        *("-object", "iothread,id=io0"),
        *("-blockdev", f"driver=qcow2,node-name=n1,file.driver=file,file.filename={image(vm, '1')}"),
        *("-device", "virtio-blk-pci,drive=n1,id=vd1,iothread=io0"),
        *("-blockdev", f"driver=qcow2,node-name=n2,file.driver=file,file.filename={image(vm, '2')}"),
        *("-device", "virtio-scsi-pci,iothread=io0", "-device", "scsi-hd,drive=n2,id=sd2"),
        *("-blockdev", f"driver=qcow2,node-name=n3,file.driver=file,file.filename={image(vm, '3')}"),
        *("-device", "virtio-scsi-pci", "-device", "scsi-hd,bus=scsi.1,drive=n3,id=sd3"),
    )
    source = source_of(vm)
    if tuple(int(part) for part in source.check().version.split(".")[:2]) >= NBD_SAFE_IN_IOTHREADS:
        pytest.skip("this QEMU's NBD server may run in I/O threads")
    found = {fact.key: fact.exclusion for fact in machine_of(source).disks}
    assert found == {"vd0": None, "vd1": IOTHREAD, "sd2": IOTHREAD, "sd3": None}


def test_passed_through_disks_are_excluded() -> None:
    """A device in the way of a backup excludes its disk, and no other."""
    node = Node(drv="host_device", ro=False, file="/dev/sdx", image=Image(virtual_size=MIB), node_name="n")
    block = BlockDevice(device="", removable=False, qdev="lun0", inserted=node)
    found = disk_of(block, {"/machine/peripheral/lun0": PASS_THROUGH})
    assert found is not None
    assert (found.fact.key, found.fact.exclusion, found.node) == ("lun0", PASS_THROUGH, None)
    plain = disk_of(block, {"/machine/peripheral/lun1": PASS_THROUGH})
    assert plain is not None
    assert (plain.fact.exclusion, plain.node) == (None, node)
