"""Disks: how they are known again, and which no snapshot can hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyVmomi import vim

from adapters.areas import cut
from adapters.port import Extent
from adapters.vmware.disks import Disk, disks_of
from adapters.vmware.places import flat_path, split_file
from adapters.vmware.reading import gaps_of, with_zeros

VirtualDisk = vim.vm.device.VirtualDisk
Flat = VirtualDisk.FlatVer2BackingInfo
SCSI = vim.vm.device.ParaVirtualSCSIController(key=1000, busNumber=0, sharedBus="noSharing")
NVME = vim.vm.device.VirtualNVMEController(key=31000, busNumber=1)


def disk(backing: object, key: int = 2000, controller: int = 1000, **more: object) -> VirtualDisk:
    """A virtual disk as the API shows it."""
    return VirtualDisk(
        **{
            "key": key,
            "controllerKey": controller,
            "unitNumber": key % 1000,
            "capacityInBytes": 1 << 30,
            "capacityInKB": 1 << 20,
            "deviceInfo": vim.Description(label=f"Hard disk {key % 1000 + 1}", summary=""),
            "backing": backing,
        }
        | more
    )


def flat(uuid: str | None = "6000C29A-1", name: str = "[ds] vm/vm.vmdk", **more: object) -> Flat:
    """A flat backing."""
    return Flat(**{"fileName": name, "uuid": uuid, "diskMode": "persistent"} | more)


def one(backing: object, *others: object, template: bool = False, **more: object) -> Disk:
    """The only disk of a machine."""
    (found,) = disks_of([SCSI, NVME, disk(backing, **more), *others], template=template)
    return found


def test_a_disk_is_its_uuid() -> None:
    """The key is the uuid, whatever slot, controller and file the disk has."""
    here, there = one(flat()), one(flat(name="[other] x/x.vmdk"), key=2005, controller=31000)
    assert here.fact.key == there.fact.key == "6000c29a-1"
    assert here.fact.identity == there.fact.identity
    assert (here.controller, there.controller) == ("scsi", "nvme")
    assert (here.export_key, there.export_key) == ("ParaVirtualSCSIController0:0", "VirtualNVMEController1:5")
    assert here.fact.label == "Hard disk 1"
    assert here.fact.size_bytes == 1 << 30
    assert here.fact.exclusion is None


def test_without_a_uuid_the_slot_and_the_file_tell() -> None:
    """Another file in the slot is another disk under the same key."""
    old, new = one(flat(None)), one(flat(None, "[ds] vm/other.vmdk"))
    assert old.fact.key == new.fact.key == "device-2000"
    assert old.fact.identity != new.fact.identity


def test_two_disks_with_one_uuid_are_two() -> None:
    """Disks that were copied by hand within a machine keep apart."""
    found = disks_of([SCSI, disk(flat()), disk(flat(name="[ds] vm/copy.vmdk"), key=2001)])
    assert [item.fact.key for item in found] == ["device-2000", "device-2001"]
    assert len({item.fact.identity for item in found}) == 2


def test_a_chain_is_walked_to_its_root() -> None:
    """Snapshots add files; the disk's own content and its root are told apart."""
    root = flat()
    middle = flat(name="[ds] vm/vm-000001.vmdk", parent=root)
    found = one(flat(name="[ds] vm/vm-000002.vmdk", parent=middle, changeId="52 01/3"))
    assert (found.file, found.root_file, len(found.chain)) == ("[ds] vm/vm-000002.vmdk", "[ds] vm/vm.vmdk", 3)
    assert found.change_id == "52 01/3"


RDM = VirtualDisk.RawDiskMappingVer1BackingInfo


@pytest.mark.parametrize(
    ("backing", "word"),
    [
        (RDM(fileName="[ds] vm/r.vmdk", compatibilityMode="physicalMode", diskMode="persistent"), "physical mode"),
        (flat(diskMode="independent_persistent"), "independent_persistent"),
        (flat(diskMode="independent_nonpersistent"), "independent_nonpersistent"),
        (flat(diskMode="nonpersistent"), "nonpersistent"),
        (flat(sharing="sharingMultiWriter"), "multi-writer"),
        (VirtualDisk.LocalPMemBackingInfo(fileName="[pmem] vm/p.vmdk", diskMode="persistent"), "LocalPMem"),
    ],
)
def test_what_no_snapshot_holds_is_excluded(backing: object, word: str) -> None:
    """Each exclusion says why, and names the agent as a way out."""
    exclusion = one(backing).fact.exclusion
    assert exclusion is not None
    assert word in exclusion.reason
    assert "agent" in exclusion.way_out


@pytest.mark.parametrize(
    "backing",
    [
        flat(),
        flat(sharing="sharingNone"),
        RDM(fileName="[ds] vm/r.vmdk", compatibilityMode="virtualMode", diskMode="persistent"),
        VirtualDisk.SeSparseBackingInfo(fileName="[ds] vm/s.vmdk", diskMode="persistent"),
    ],
)
def test_what_a_snapshot_holds_is_not_excluded(backing: object) -> None:
    """A raw device mapping in virtual mode can be in a snapshot; what is not told is not taken for no."""
    assert one(backing).fact.exclusion is None


def test_a_shared_bus_excludes_its_disks() -> None:
    """vSphere takes no snapshot of disks on a shared SCSI bus."""
    shared = vim.vm.device.ParaVirtualSCSIController(key=1001, busNumber=1, sharedBus="physicalSharing")
    exclusion = one(flat(), shared, controller=1001).fact.exclusion
    assert exclusion is not None
    assert "bus is shared" in exclusion.reason


def test_a_template_excludes_all() -> None:
    """Templates have no snapshots."""
    assert one(flat(), template=True).fact.exclusion is not None


def test_the_name_of_a_key_is_kept() -> None:
    """Of an encrypted disk its key's identifier is known, and nothing else."""
    found = one(flat(keyId=vim.encryption.CryptoKeyId(keyId="key-7")))
    assert found.key_id == "key-7"


def test_the_flat_file_is_the_layouts() -> None:
    """Where the machine's layout names the extent, it is not guessed; a chain of deltas has none."""
    found = one(flat())
    assert flat_path(found, None) == "vm/vm-flat.vmdk"
    info = vim.vm.FileLayoutEx.FileInfo
    layout = vim.vm.FileLayoutEx(
        file=[
            info(key=1, name="[ds] vm/vm.vmdk", type="diskDescriptor", size=1),
            info(key=2, name="[ds] vm/odd.vmdk", type="diskExtent", size=1),
        ],
        disk=[vim.vm.FileLayoutEx.DiskLayout(key=2000, chain=[vim.vm.FileLayoutEx.DiskUnit(fileKey=[1, 2])])],
    )
    assert flat_path(found, layout) == "vm/odd.vmdk"
    assert flat_path(one(flat(name="[ds] vm/vm-000001.vmdk", parent=flat())), layout) is None
    assert flat_path(one(VirtualDisk.SeSparseBackingInfo(fileName="[ds] a.vmdk", diskMode="persistent")), None) is None


@pytest.mark.parametrize(
    ("name", "parts"), [("[ds 1] a b/c.vmdk", ("ds 1", "a b/c.vmdk")), ("[ds]x.vmdk", ("ds", "x.vmdk"))]
)
def test_a_datastore_path_has_two_parts(name: str, parts: tuple[str, str]) -> None:
    """Spaces belong to the names."""
    assert split_file(name) == parts


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 9)), max_size=9), st.lists(st.booleans(), max_size=7))
def test_zeros_are_where_nothing_is_allocated(spans: list[tuple[int, int]], zeros: list[bool]) -> None:
    """Marked extents cover the disk, and are data exactly where the disk is allocated and not known to be zero."""
    areas, position = [], 0
    for gap, length in spans:
        areas.append((position + gap, length))
        position += gap + length
    size = position + 10
    step = size // (len(zeros) or 1) + 1
    extents = [
        Extent(at, min(step, size - at), zeros[place] if zeros else False)
        for place, at in enumerate(range(0, size, step))
    ]
    marked = list(with_zeros(extents, areas))
    assert [extent.start for extent in marked] == [0, *(extent.end for extent in marked)][:-1]
    assert marked[-1].end == size
    data = {at for extent in marked if not extent.zero for at in range(extent.start, extent.end)}
    known = {at for extent in extents if extent.zero for at in range(extent.start, extent.end)}
    assert data == {at for start, length in areas for at in range(start, start + length)} - known
    assert sum(length for _, length in gaps_of(areas, size)) == size - sum(length for _, length in areas)
    cut_out = {at for extent in cut(areas, extents) for at in range(extent.start, extent.end)}
    assert cut_out == {at for start, length in areas for at in range(start, start + length)}
