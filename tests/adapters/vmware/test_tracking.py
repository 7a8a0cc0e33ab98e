"""Changed block tracking: switched on by its rules, and never believed beyond them."""

from __future__ import annotations

import pytest
from pyVmomi import vim, vmodl

from adapters.errors import SourceDenied
from adapters.port import DiskSnapshot, Tracked, Untracked
from adapters.vmware.source import VmwareSource
from tests.adapters.vmware.conftest import MakeSource, StartVsphere
from tests.adapters.vmware.freezes import bases_of, frozen
from tests.support.vsphere import VsphereSimulator, faults
from tests.support.vsphere.building import MachineSpec
from tests.support.vsphere.devices import DiskSpec

MIB = 1 << 20
SIZE = 4 * MIB


@pytest.fixture
def vsphere(start_vsphere: StartVsphere) -> VsphereSimulator:
    """One machine with two disks."""
    return start_vsphere(MachineSpec("vm", disks=(DiskSpec(SIZE), DiskSpec(SIZE))))


@pytest.fixture
def source(vsphere: VsphereSimulator, source_of: MakeSource) -> VmwareSource:
    """A source on it."""
    return source_of(vsphere)


def rebuilt(disk: DiskSnapshot, before: bytes) -> bytes:
    """The old content with the reported changes put over it."""
    content = bytearray(before)
    reader = disk.open()
    try:
        for change in disk.changes():
            piece = bytearray(change.length)
            if not change.zero:
                reader.pread_into(change.start, memoryview(piece))
            content[change.start : change.end] = piece
    finally:
        reader.close()
    return bytes(content)


def causes(source: VmwareSource, bases: dict[str, str | None]) -> list[str]:
    """Why the disks are not tracked, or that they are."""
    with frozen(source, "vm", bases) as snapshot:
        states = [disk.tracking for disk in snapshot.disks.values()]
        return [state.cause if isinstance(state, Untracked) else "tracked" for state in states]


def test_tracking_is_switched_on_once(vsphere: VsphereSimulator, source: VmwareSource) -> None:
    """The first snapshot switches tracking on and already has a base, though a snapshot is what sets tracking off."""
    assert not vsphere.machine("vm").set.change_tracking
    bases = bases_of(source, "vm")
    assert vsphere.machine("vm").set.change_tracking
    assert all(bases.values())
    assert causes(source, bases) == ["tracked", "tracked"]
    assert vsphere.snapshots("vm") == []


def test_tracking_is_not_switched_on_under_a_snapshot(vsphere: VsphereSimulator, source: VmwareSource) -> None:
    """With anybody's snapshot present nothing is switched on; the backup goes on without a base and says why."""
    vsphere.plant_snapshot("vm", "before the upgrade")
    bases = bases_of(source, "vm")
    assert not vsphere.machine("vm").set.change_tracking
    assert set(bases.values()) == {None}
    old = '{"change_id":"52 01/1","uuid":null,"file":"","size_bytes":1}'
    assert causes(source, dict.fromkeys(bases, old)) == ["tracking-blocked-by-snapshot"] * 2
    vsphere.drop_snapshot("vm", "before the upgrade")
    assert all(bases_of(source, "vm").values())


def test_a_missing_right_to_switch_it_on_is_told(vsphere: VsphereSimulator, source: VmwareSource) -> None:
    """A role without the privilege is an error and not years of full backups; nothing is left behind."""
    vsphere.faults.refuse("ReconfigVM_Task", vim.fault.NoPermission(privilegeId="VirtualMachine.Config.ChangeTracking"))
    with pytest.raises(SourceDenied) as caught:
        bases_of(source, "vm")
    assert caught.value.code == "permission-missing"
    assert "VirtualMachine.Config.ChangeTracking" in str(caught.value)
    assert vsphere.snapshots("vm") == []


def test_a_lost_reply_to_switching_on_is_looked_up(vsphere: VsphereSimulator, source: VmwareSource) -> None:
    """Whether tracking is on is read from the machine."""
    vsphere.faults.lose_reply("ReconfigVM_Task")
    assert all(bases_of(source, "vm").values())


def test_changes_of_one_disk_are_not_the_others(vsphere: VsphereSimulator, source: VmwareSource) -> None:
    """Each disk has its own changes."""
    bases = bases_of(source, "vm")
    before = [vsphere.content("vm", index) for index in (0, 1)]
    vsphere.write("vm", 1, 3 * MIB, b"changed" * 999)
    with frozen(source, "vm", bases) as snapshot:
        first, second = snapshot.disks.values()
        assert list(first.changes()) == []
        assert rebuilt(second, before[1]) == vsphere.content("vm", 1)


def test_tracking_set_up_anew_is_a_full(vsphere: VsphereSimulator, source: VmwareSource) -> None:
    """Another tracking uuid is no base, and the next one works."""
    bases = bases_of(source, "vm")
    vsphere.reset_tracking("vm")
    assert causes(source, bases) == ["tracking-reset"] * 2
    assert causes(source, bases_of(source, "vm")) == ["tracked"] * 2


def test_a_machine_taken_back_is_a_full(vsphere: VsphereSimulator, source: VmwareSource) -> None:
    """After a revert to an older snapshot the base of the lost future is not used."""
    bases_of(source, "vm")
    vsphere.plant_snapshot("vm", "then")
    vsphere.write("vm", 0, 0, b"lost future" * 99)
    bases = bases_of(source, "vm")
    vsphere.revert("vm", "then")
    assert all(cause in ("tracking-rewound", "tracking-reset", "tracking-refused") for cause in causes(source, bases))


def test_one_disk_falls_back_alone(vsphere: VsphereSimulator, source: VmwareSource) -> None:
    """A base that does not hold is that disk's own matter."""
    bases = bases_of(source, "vm")
    first, second = bases
    bases[first] = "no token"
    with frozen(source, "vm", bases) as snapshot:
        assert snapshot.disks[first].tracking == Untracked("base-unreadable")
        assert snapshot.disks[second].tracking == Tracked()


def test_disks_come_and_go(vsphere: VsphereSimulator, source: VmwareSource) -> None:
    """A new disk has no base, a removed one is gone, and the disk that stays is tracked."""
    bases = bases_of(source, "vm")
    (_, kept) = bases
    vsphere.remove_disk("vm", 0)
    vsphere.add_disk("vm", DiskSpec(SIZE))
    with frozen(source, "vm", bases) as snapshot:
        assert len(snapshot.disks) == 2
        assert snapshot.disks[kept].tracking == Tracked()
        (added,) = (disk for key, disk in snapshot.disks.items() if key != kept)
        assert added.tracking == Untracked("no-base")


def test_another_disk_in_the_slot_is_another_disk(vsphere: VsphereSimulator, source: VmwareSource) -> None:
    """A device key that goes to another disk does not take the key or the base with it."""
    bases = bases_of(source, "vm")
    vsphere.replace_disk("vm", 0)
    with frozen(source, "vm", bases) as snapshot:
        assert len(set(snapshot.disks) - set(bases)) == 1


def test_a_moved_disk_is_a_full(vsphere: VsphereSimulator, source: VmwareSource) -> None:
    """After a storage vMotion the files are others: read in full, under the same key."""
    bases = bases_of(source, "vm")
    vsphere.storage_vmotion("vm", "elsewhere")
    assert causes(source, bases) == ["disk-moved"] * 2


@pytest.mark.parametrize(
    ("page", "cause"),
    [(faults.wrong_start, "tracking-answer-misplaced"), (faults.zero_length, "tracking-answer-empty")],
)
def test_a_wrong_answer_is_a_full(
    vsphere: VsphereSimulator, source: VmwareSource, page: faults.Page, cause: str
) -> None:
    """Pages that contradict the question are not used, and end."""
    bases = bases_of(source, "vm")
    vsphere.write("vm", 0, MIB, b"changed")
    vsphere.faults.page = page
    assert causes(source, bases) == [cause] * 2


@pytest.mark.parametrize("lie", [faults.reverse, faults.overlap, faults.past_capacity(SIZE)])
@pytest.mark.parametrize("page", [None, faults.overshoot])
def test_an_odd_answer_is_understood(
    vsphere: VsphereSimulator, source: VmwareSource, lie: faults.Lie, page: faults.Page | None
) -> None:
    """Unsorted and overlapping areas, areas and pages that end behind the disk: all that changed is read."""
    bases = bases_of(source, "vm")
    before = vsphere.content("vm", 0)
    for offset in (0, MIB, SIZE - 700):
        vsphere.write("vm", 0, offset, b"changed" * 100)
    vsphere.faults.areas, vsphere.faults.page = lie, page
    with frozen(source, "vm", bases) as snapshot:
        disk = next(iter(snapshot.disks.values()))
        assert disk.tracking == Tracked()
        assert rebuilt(disk, before) == vsphere.content("vm", 0)


def test_many_pages_are_followed(vsphere: VsphereSimulator, source: VmwareSource) -> None:
    """One area a page, and a session that is killed and a reply that is lost between pages: nothing is missed."""
    bases = bases_of(source, "vm")
    before = vsphere.content("vm", 0)
    for number in range(16):
        vsphere.write("vm", 0, number * 4 * 65536, b"changed")
    vsphere.faults.page_size = 1
    vsphere.faults.expire_sessions("QueryChangedDiskAreas", after=3)
    vsphere.faults.lose_reply("QueryChangedDiskAreas", after=6)
    with frozen(source, "vm", bases) as snapshot:
        disk = next(iter(snapshot.disks.values()))
        assert rebuilt(disk, before) == vsphere.content("vm", 0)


@pytest.mark.parametrize("fault", [vim.fault.FileFault(file="x"), vmodl.fault.InvalidArgument(invalidProperty="x")])
def test_a_refused_question_is_a_full(
    vsphere: VsphereSimulator, source: VmwareSource, fault: vmodl.MethodFault
) -> None:
    """A server that cannot honour a change id costs that disk a full, and the backup goes on."""
    bases = bases_of(source, "vm")
    vsphere.faults.refuse("QueryChangedDiskAreas", fault)
    assert causes(source, bases) == ["tracking-refused", "tracked"]


@pytest.mark.parametrize(
    "fault", [None, vim.fault.FileFault(file="x"), vmodl.fault.InvalidArgument(invalidProperty="x")]
)
def test_a_full_reads_what_is_allocated(
    vsphere: VsphereSimulator, source: VmwareSource, fault: vmodl.MethodFault | None
) -> None:
    """The wildcard saves reading what was never written; where the server refuses it, all is read."""
    vsphere.write("vm", 0, MIB, b"data" * 1000)
    vsphere.faults.star_fault = fault
    with frozen(source, "vm") as snapshot:
        reader = next(iter(snapshot.disks.values())).open()
        extents = list(reader.extents())
        reader.close()
    assert sum(extent.length for extent in extents) == SIZE
    read = sum(extent.length for extent in extents if not extent.zero)
    assert (read == SIZE) == (fault is not None)
    assert any(not extent.zero and extent.start <= MIB < extent.end for extent in extents)


def test_a_wildcard_that_lies_is_found(vsphere: VsphereSimulator, source: VmwareSource) -> None:
    """Where a sample of what is called unallocated holds data, everything is read."""
    vsphere.write("vm", 0, 0, b"x" * SIZE)
    vsphere.faults.areas = faults.hide(0, SIZE // 2)
    with frozen(source, "vm") as snapshot:
        reader = next(iter(snapshot.disks.values())).open()
        assert not any(extent.zero for extent in reader.extents())
        reader.close()
