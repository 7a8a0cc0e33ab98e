"""What our vSphere simulator says changed is what was written, and what it froze stays."""

from __future__ import annotations

import random
from collections.abc import Iterable
from itertools import combinations

import pytest
from pyVmomi import vim, vmodl

from tests.support.vsphere.client import Client
from tests.support.vsphere.devices import DiskSpec
from tests.support.vsphere.simulator import VsphereSimulator

UNIT = 65536
MIB = 1 << 20
SIZE = 8 * MIB
KEY = 2000


@pytest.fixture
def web(plain: Client) -> vim.VirtualMachine:
    """A machine with one disk and change tracking switched on."""
    machine = plain.machine("web")
    plain.wait(machine.ReconfigVM_Task(vim.vm.ConfigSpec(changeTrackingEnabled=True)))
    return machine


def disk_of(config: vim.vm.ConfigInfo) -> vim.vm.device.VirtualDisk:
    """The first disk of a configuration."""
    return next(device for device in config.hardware.device if isinstance(device, vim.vm.device.VirtualDisk))


def change_id(snapshot: vim.vm.Snapshot) -> str | None:
    """The change id of a snapshot's first disk."""
    found: str | None = disk_of(snapshot.config).backing.changeId
    return found


def units(areas: Iterable[tuple[int, int]]) -> set[int]:
    """The tracking units that areas touch."""
    return {unit for start, length in areas for unit in range(start // UNIT, (start + length - 1) // UNIT + 1)}


def changed(client: Client, machine: vim.VirtualMachine, snapshot: vim.vm.Snapshot | None, since: str) -> set[int]:
    """The units that the simulator calls changed, over all pages."""
    pages = client.pages(machine, snapshot, KEY, since, SIZE)
    return units((area.start, area.length) for page in pages for area in page.changedArea)


def frozen_content(client: Client, snapshot: vim.vm.Snapshot) -> bytes:
    """The content of a snapshot that stands on the disk's flat file, read over HTTP."""
    path = disk_of(snapshot.config).backing.fileName.partition("] ")[2].replace(".vmdk", "-flat.vmdk")
    status, _, body = client.http("GET", f"/folder/{path}?dcPath=DC0&dsName=datastore1")
    assert status == 200
    return body


def test_changed_areas_equal_the_writes(vsphere: VsphereSimulator, plain: Client, web: vim.VirtualMachine) -> None:
    """Between any two snapshots exactly the units that were written are told, each pair by its own change id."""
    dice = random.Random(5)
    snapshots, epochs = [plain.snapshot(web, "s0")], []
    for number in range(1, 4):
        written = [(dice.randrange(SIZE - 200_000), dice.randrange(1, 200_000)) for _ in range(4)]
        for offset, length in written:
            vsphere.write("web", 0, offset, dice.randbytes(length))
        epochs.append(units(written))
        snapshots.append(plain.snapshot(web, f"s{number}"))
    for older, newer in combinations(range(4), 2):
        since = change_id(snapshots[older])
        assert since
        assert changed(plain, web, snapshots[newer], since) == set().union(*epochs[older:newer])


def test_what_is_not_told_as_changed_is_the_same(
    vsphere: VsphereSimulator, plain: Client, web: vim.VirtualMachine
) -> None:
    """Two frozen contents differ inside the told units only, and do differ in each."""
    vsphere.write("web", 0, 0, random.Random(1).randbytes(SIZE // 2))
    first = plain.snapshot(web, "first")
    before, since = frozen_content(plain, first), change_id(first)
    plain.wait(first.RemoveSnapshot_Task(False))
    for offset, length in ((5, 3), (MIB - 1, 2), (3 * MIB, 70_000), (SIZE - 512, 512)):
        vsphere.write("web", 0, offset, b"\xa5" * length)
    second = plain.snapshot(web, "second")
    after = frozen_content(plain, second)
    different = {at for at in range(SIZE // UNIT) if before[at * UNIT :][:UNIT] != after[at * UNIT :][:UNIT]}
    assert since
    assert changed(plain, web, second, since) == different


def test_a_frozen_disk_stays_still(vsphere: VsphereSimulator, plain: Client, web: vim.VirtualMachine) -> None:
    """Writes after a snapshot reach the guest's disk and not the frozen file, and survive the snapshot's removal."""
    vsphere.write("web", 0, MIB, b"before" * 1000)
    content = vsphere.content("web", 0)
    snapshot = plain.snapshot(web, "frozen")
    vsphere.write("web", 0, MIB, b"after." * 1000)
    vsphere.discard("web", 0, 4 * MIB, UNIT)
    assert frozen_content(plain, snapshot) == content
    now = vsphere.content("web", 0)
    assert now != content
    plain.wait(snapshot.RemoveSnapshot_Task(False))
    assert vsphere.content("web", 0) == now


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (1, 2, 0)])
def test_snapshots_go_in_any_order(
    order: tuple[int, ...], vsphere: VsphereSimulator, plain: Client, web: vim.VirtualMachine
) -> None:
    """Whatever snapshot is taken away, the disk keeps its content, and at last its one file."""
    snapshots = []
    for number in range(3):
        vsphere.write("web", 0, number * MIB, bytes([number + 1]) * 100_000)
        snapshots.append(plain.snapshot(web, f"s{number}"))
    vsphere.write("web", 0, MIB + 10, b"last")
    content = vsphere.content("web", 0)
    for number in order:
        plain.wait(snapshots[number].RemoveSnapshot_Task(False))
        assert vsphere.content("web", 0) == content
    disk = vsphere.slot("web", 0).disk
    assert [layer.file.name for layer in disk.layers] == ["web-flat.vmdk"]
    assert disk.layers[0].file.read_bytes() == content
    assert not list(disk.layers[0].file.parent.glob("*-delta.vmdk"))


def test_discards_are_changes(vsphere: VsphereSimulator, plain: Client, web: vim.VirtualMachine) -> None:
    """A discarded range reads as zeros, is told as changed, and is not among what the disk holds."""
    vsphere.write("web", 0, 2 * MIB, b"\x55" * (4 * UNIT))
    first = plain.snapshot(web, "first")
    since = change_id(first)
    plain.wait(first.RemoveSnapshot_Task(False))
    vsphere.discard("web", 0, 2 * MIB + UNIT, 2 * UNIT)
    second = plain.snapshot(web, "second")
    unit = 2 * MIB // UNIT
    assert since
    assert changed(plain, web, second, since) == {unit + 1, unit + 2}
    assert changed(plain, web, second, "*") == {unit, unit + 3}
    assert frozen_content(plain, second)[2 * MIB + UNIT :][: 2 * UNIT] == bytes(2 * UNIT)


def test_the_star_tells_all_data(vsphere: VsphereSimulator, plain: Client, web: vim.VirtualMachine) -> None:
    """What `*` leaves out is zeros, in a snapshot on the flat file and in one on another snapshot."""
    plain.snapshot(web, "first")
    vsphere.write("web", 0, 300_000, b"in the delta" * 5000)
    content = vsphere.content("web", 0)
    second = plain.snapshot(web, "second")
    vsphere.write("web", 0, 6 * MIB, b"after")
    data = {at for at in range(SIZE // UNIT) if any(content[at * UNIT :][:UNIT])}
    assert changed(plain, web, second, "*") == data


def test_areas_come_in_pages(vsphere: VsphereSimulator, plain: Client, web: vim.VirtualMachine) -> None:
    """Each page begins where the one before ended, the last ends with the disk, and none has more than its share."""
    first = plain.snapshot(web, "first")
    for number in range(7):
        vsphere.write("web", 0, number * MIB, b"x")
    second = plain.snapshot(web, "second")
    vsphere.faults.page_size = 3
    since = change_id(first)
    assert since
    pages = list(plain.pages(web, second, KEY, since, SIZE))
    assert [len(page.changedArea) for page in pages] == [3, 3, 1]
    assert [page.startOffset for page in pages] == [0, 2 * MIB + UNIT, 5 * MIB + UNIT]
    assert pages[-1].startOffset + pages[-1].length == SIZE
    middle = web.QueryChangedDiskAreas(second, KEY, 3 * MIB + 10, since)
    assert [area.start for area in middle.changedArea] == [3 * MIB, 4 * MIB, 5 * MIB]
    with pytest.raises(vmodl.fault.InvalidArgument):
        web.QueryChangedDiskAreas(second, KEY, SIZE, since)


def test_change_ids_come_with_the_first_snapshot(vsphere: VsphereSimulator, plain: Client) -> None:
    """Without tracking there is no change id; switched on below a snapshot, none either until that is gone."""
    machine = plain.machine("web")
    untracked = plain.snapshot(machine, "untracked")
    assert change_id(untracked) is None
    plain.wait(machine.ReconfigVM_Task(vim.vm.ConfigSpec(changeTrackingEnabled=True)))
    assert machine.config.changeTrackingEnabled
    assert change_id(plain.snapshot(machine, "too early")) is None
    with pytest.raises(vim.fault.FileFault):
        machine.QueryChangedDiskAreas(untracked, KEY, 0, "*")
    plain.wait(machine.RemoveAllSnapshots_Task())
    assert disk_of(machine.config).backing.changeId is None
    ids = [change_id(plain.snapshot(machine, name)) for name in ("one", "two")]
    assert [str(text).rpartition("/")[2] for text in ids] == ["1", "2"]


def test_a_reset_tracking_has_another_uuid(vsphere: VsphereSimulator, plain: Client, web: vim.VirtualMachine) -> None:
    """After a reset old change ids are refused, as are those that are none or were never given out."""
    old = change_id(plain.snapshot(web, "old"))
    plain.wait(web.RemoveAllSnapshots_Task())
    vsphere.reset_tracking("web")
    snapshot = plain.snapshot(web, "new")
    new = change_id(snapshot)
    assert old
    assert new
    assert old.rpartition("/")[0] != new.rpartition("/")[0]
    for refused in (old, new.replace("/1", "/2")):
        with pytest.raises(vim.fault.FileFault):
            web.QueryChangedDiskAreas(snapshot, KEY, 0, refused)
    with pytest.raises(vmodl.fault.InvalidArgument):
        web.QueryChangedDiskAreas(snapshot, KEY, 0, "nonsense")


def test_a_reverted_disk_goes_back(vsphere: VsphereSimulator, plain: Client, web: vim.VirtualMachine) -> None:
    """A revert brings the content of the snapshot back, and a lower sequence of the change id with it."""
    vsphere.write("web", 0, 0, b"kept")
    kept = plain.snapshot(web, "kept")
    content = vsphere.content("web", 0)
    vsphere.write("web", 0, 0, b"lost")
    lost = change_id(plain.snapshot(web, "lost"))
    vsphere.revert("web", "kept")
    assert vsphere.content("web", 0) == content
    assert disk_of(web.config).backing.changeId == change_id(kept)
    with pytest.raises(vim.fault.FileFault):
        web.QueryChangedDiskAreas(kept, KEY, 0, lost)
    vsphere.write("web", 0, MIB, b"after the revert")
    after = plain.snapshot(web, "after")
    assert changed(plain, web, after, str(change_id(kept))) == {MIB // UNIT}


def test_a_stopped_machine_tells_changes_without_a_snapshot(
    vsphere: VsphereSimulator, plain: Client, web: vim.VirtualMachine
) -> None:
    """Of a machine that is off the present state can be asked for; of one that runs it cannot."""
    since = str(change_id(plain.snapshot(web, "first")))
    plain.wait(web.RemoveAllSnapshots_Task())
    vsphere.write("web", 0, 5 * MIB, b"y")
    with pytest.raises(vmodl.fault.InvalidArgument):
        web.QueryChangedDiskAreas(None, KEY, 0, since)
    plain.wait(web.PowerOffVM_Task())
    assert changed(plain, web, None, since) == {5 * MIB // UNIT}


def test_disks_grow_come_and_go(vsphere: VsphereSimulator, plain: Client, web: vim.VirtualMachine) -> None:
    """A grown disk keeps its tracking, another disk in its slot has another uuid, and a removed one is gone."""
    since = str(change_id(plain.snapshot(web, "first")))
    with pytest.raises(vim.fault.InvalidDeviceOperation):
        vsphere.grow("web", 0, SIZE + MIB)
    plain.wait(web.RemoveAllSnapshots_Task())
    vsphere.grow("web", 0, SIZE + MIB)
    vsphere.write("web", 0, SIZE, b"new space")
    grown = plain.snapshot(web, "grown")
    assert disk_of(grown.config).capacityInBytes == SIZE + MIB == len(vsphere.content("web", 0))
    pages = plain.pages(web, grown, KEY, since, SIZE + MIB)
    assert [area.start for page in pages for area in page.changedArea] == [SIZE]
    plain.wait(web.RemoveAllSnapshots_Task())
    old = disk_of(web.config)
    vsphere.replace_disk("web", 0)
    new = disk_of(web.config)
    assert (new.key, new.capacityInBytes, new.backing.fileName) == (KEY, SIZE + MIB, old.backing.fileName)
    assert new.backing.uuid != old.backing.uuid
    assert new.backing.changeId is None
    assert vsphere.add_disk("web", DiskSpec(MIB)) == KEY + 1
    vsphere.remove_disk("web", 0)
    assert disk_of(web.config).key == KEY + 1


def test_a_moved_disk_keeps_everything_but_its_path(
    vsphere: VsphereSimulator, plain: Client, web: vim.VirtualMachine
) -> None:
    """After a storage vMotion the disk has another file name, and its content and tracking as before."""
    since = str(change_id(plain.snapshot(web, "first")))
    plain.wait(web.RemoveAllSnapshots_Task())
    before = disk_of(web.config)
    vsphere.storage_vmotion("web", "elsewhere")
    vsphere.write("web", 0, MIB, b"after the move")
    after = disk_of(web.config)
    assert after.backing.fileName == "[datastore1] elsewhere/web.vmdk"
    assert (after.key, after.backing.uuid) == (before.key, before.backing.uuid)
    assert changed(plain, web, plain.snapshot(web, "second"), since) == {MIB // UNIT}
