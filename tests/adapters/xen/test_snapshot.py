"""Snapshots in the pool: asked for once, found by their name, and gone in the end with all that no base needs."""

from __future__ import annotations

import pytest

from adapters.errors import AdapterError, SourceConflict, SourceInvalid, SourceNotFound, SourceUnavailable
from adapters.port import SnapshotRequest
from adapters.xen.marks import snapshot_name
from adapters.xen.source import XenSource
from tests.adapters.xen.conftest import MakeSource, StartPool
from tests.adapters.xen.freezes import LABEL, bases_of, frozen, machine_named, ours, rebuilt, request
from tests.support.xapi.building import DiskSpec, MachineSpec
from tests.support.xapi.faults import Fail, FailTask, ForgetTask, LoseReply, Meanwhile
from tests.support.xapi.simulator import XapiSimulator

MIB = 1 << 20


@pytest.fixture
def pool(start_pool: StartPool) -> XapiSimulator:
    """A machine with one disk."""
    return start_pool([MachineSpec("vm")])


def name_of(pool: XapiSimulator) -> str:
    """What our snapshot of the machine is called."""
    return snapshot_name(LABEL, pool.record("VM", pool.vm("vm"))["uuid"])


# --- making one ---


@pytest.mark.parametrize("fault", [LoseReply(), ForgetTask()])
def test_a_lost_reply_makes_exactly_one_snapshot(
    pool: XapiSimulator, source: XenSource, fault: LoseReply | ForgetTask
) -> None:
    """Whether the reply or the task is lost: the snapshot that was made is found by its name and used."""
    pool.faults.on("VM.snapshot", fault)
    with frozen(source, "vm") as snapshot:
        assert pool.snapshots("vm") == [name_of(pool)]
        assert snapshot.disks["0"].base_token is not None
    assert pool.calls["VM.snapshot"] == 1
    assert pool.snapshots("vm") == []


def test_a_lost_request_is_an_error(pool: XapiSimulator, source: XenSource) -> None:
    """Where no snapshot turns up none is asked for again: the backup fails and leaves nothing."""
    pool.faults.on("VM.snapshot", LoseReply(before=True))
    with pytest.raises(SourceUnavailable) as caught:
        bases_of(source, "vm")
    assert caught.value.code == "reply-lost"
    assert pool.calls["VM.snapshot"] == 0
    assert ours(pool) == []


def test_a_master_that_goes_while_it_makes_one(start_pool: StartPool, source_of: MakeSource) -> None:
    """The new master knows no task, and has the snapshot: it is found and used."""
    pool = start_pool([MachineSpec("vm")], hosts=2)
    source = source_of(pool)
    bases_of(source, "vm")
    pool.faults.on("task.get_record", Meanwhile(lambda: pool.change_master(1)))
    with frozen(source, "vm"):
        assert pool.snapshots("vm") == [name_of(pool)]
    assert pool.calls["VM.snapshot"] == 2
    assert pool.snapshots("vm") == []


def test_a_refusal_is_told(pool: XapiSimulator, source: XenSource) -> None:
    """What the pool says of it is the error, and nothing is left."""
    pool.faults.on("VM.snapshot", FailTask("SR_FULL", ("1", "2")))
    with pytest.raises(AdapterError) as caught:
        bases_of(source, "vm")
    assert caught.value.code == "sr-full"
    assert pool.snapshots("vm") == []
    with frozen(source, "vm"):
        pass


def test_what_fails_after_the_snapshot_removes_it(pool: XapiSimulator, source: XenSource) -> None:
    """A pool that breaks off in the middle of the steps keeps no snapshot of ours."""
    bases = bases_of(source, "vm")
    pool.faults.on("VDI.list_changed_blocks", Fail("HOST_OFFLINE", ("x",)))
    with pytest.raises(SourceUnavailable):
        bases_of(source, "vm", bases)
    assert pool.snapshots("vm") == []
    assert [vdi.kind for vdi in ours(pool)] == ["cbt_metadata"]
    before = pool.content("vm")
    pool.write("vm", 0, 0, b"later")
    with frozen(source, "vm", bases) as snapshot:
        assert rebuilt(snapshot.disks["0"], before) == pool.content("vm")


@pytest.mark.parametrize("passing", range(2, 5))
def test_no_disk_is_forgotten_when_a_step_fails(start_pool: StartPool, source_of: MakeSource, passing: int) -> None:
    """Whichever of the snapshot's disks was not read or marked yet: all of them go with the snapshot."""
    pool = start_pool([MachineSpec("vm", disks=(DiskSpec(), DiskSpec()))])
    source = source_of(pool)
    call = "VDI.get_record" if passing < 4 else "VDI.add_to_other_config"
    pool.faults.on(call, Fail("HOST_OFFLINE", ("x",)), after=passing % 4)
    with pytest.raises(SourceUnavailable):
        bases_of(source, "vm")
    assert pool.snapshots("vm") == []
    assert ours(pool) == []


def test_disks_that_no_snapshot_holds_are_left_out(start_pool: StartPool, source_of: MakeSource) -> None:
    """Shared and reset disks do not keep the others from being backed up; asking for one is refused."""
    disks = (DiskSpec(), DiskSpec(sharable=True), DiskSpec(on_boot="reset"), DiskSpec(sm_config={"type": "raw"}))
    pool = start_pool([MachineSpec("vm", disks=disks)])
    source = source_of(pool)
    with frozen(source, "vm") as snapshot:
        assert snapshot.disks.keys() == {"0"}
        assert len(ours(pool)) == 1
    machine = machine_named(source, "vm")
    assert [disk.exclusion is None for disk in machine.disks] == [True, False, False, False]
    with pytest.raises(SourceInvalid) as caught:
        source.snapshot(machine, SnapshotRequest(LABEL, {"0": None, "1": None}))
    assert caught.value.code == "disk-excluded"


def test_a_pool_that_cannot_leave_disks_out(start_pool: StartPool, source_of: MakeSource) -> None:
    """Before XenServer 8 a snapshot has all disks: that is said, and what to do."""
    pool = start_pool([MachineSpec("vm", disks=(DiskSpec(), DiskSpec(sharable=True)))])
    pool.faults.on("VM.snapshot", Fail("MESSAGE_PARAMETER_COUNT_MISMATCH", ("VM.snapshot", "2", "3")))
    with pytest.raises(SourceInvalid) as caught:
        bases_of(source_of(pool), "vm")
    assert caught.value.code == "pool-too-old"
    assert caught.value.hint


def test_a_disk_that_is_exchanged_while_it_is_frozen(pool: XapiSimulator, source: XenSource) -> None:
    """Bytes of one disk are never taken for another's: the backup fails, and nothing is left."""
    machine = machine_named(source, "vm")

    def exchange() -> None:
        (vbd,) = pool.records.find("VBD", VM=pool.vm("vm"), userdevice="0")
        old = pool.record("VDI", pool.vdi("vm"))
        pool.records.set("VBD", vbd, VDI=pool.disks.make(old["SR"], int(old["virtual_size"])))

    pool.faults.on("VM.snapshot", Meanwhile(exchange))
    with pytest.raises(SourceConflict) as caught:
        source.snapshot(machine, request(machine))
    assert caught.value.code == "disk-missing"
    assert pool.snapshots("vm") == []
    assert ours(pool) == []


# --- while it is there ---


def test_one_job_a_machine(start_pool: StartPool, source_of: MakeSource) -> None:
    """A second snapshot of a machine, and a clean-up, are refused while one is open; other machines are not."""
    pool = start_pool([MachineSpec("vm"), MachineSpec("other")])
    source, second = source_of(pool), source_of(pool)
    with frozen(source, "vm"):
        for attempt in (lambda: bases_of(second, "vm"), lambda: second.reconcile(machine_named(second, "vm"), {})):
            with pytest.raises(SourceConflict) as caught:
                attempt()
            assert caught.value.code == "backup-running"
        bases_of(second, "other")
    bases_of(second, "vm")


def test_a_snapshot_that_somebody_removes_is_no_restore_point(pool: XapiSimulator, source: XenSource) -> None:
    """`confirm` says so; the release is no error for it."""
    with frozen(source, "vm") as snapshot:
        snapshot.confirm()
        (found,) = pool.records.find("VM", is_a_snapshot=True)
        for vbd in pool.records.find("VBD", VM=found):
            pool.records.destroy("VBD", vbd)
        pool.records.destroy("VM", found)
        with pytest.raises(SourceConflict) as caught:
            snapshot.confirm()
        assert caught.value.code == "snapshot-lost"


def test_a_machine_that_is_gone(pool: XapiSimulator, source: XenSource) -> None:
    """It raises SourceNotFound."""
    machine = machine_named(source, "vm")
    pool.records.destroy("VM", pool.vm("vm"))
    with pytest.raises(SourceNotFound):
        source.snapshot(machine, request(machine))


# --- giving it back ---


def test_what_stays_is_the_tracking_of_the_last_point(pool: XapiSimulator, source: XenSource) -> None:
    """After each committed backup one disk is left for each disk, of which only the tracking is: the new base."""
    bases: dict[str, str] = {}
    for _ in range(3):
        bases = bases_of(source, "vm", bases)
        (left,) = ours(pool)
        assert (left.kind, left.uuid in bases["0"]) == ("cbt_metadata", True)


def test_a_release_without_commit_keeps_the_old_base(pool: XapiSimulator, source: XenSource) -> None:
    """The new snapshot goes wholly; changes since the old base stay complete."""
    bases = bases_of(source, "vm")
    before = pool.content("vm")
    (kept,) = ours(pool)
    pool.write("vm", 0, 0, b"first")
    with frozen(source, "vm", bases, committed=False):
        pass
    assert [vdi.uuid for vdi in ours(pool)] == [kept.uuid]
    pool.write("vm", 0, MIB, b"second")
    with frozen(source, "vm", bases) as snapshot:
        assert rebuilt(snapshot.disks["0"], before) == pool.content("vm")


def test_a_full_that_was_asked_for_replaces_the_base(pool: XapiSimulator, source: XenSource) -> None:
    """Bases that nobody asked from go with the commit, too."""
    bases_of(source, "vm")
    bases = bases_of(source, "vm")
    assert [vdi.uuid in bases["0"] for vdi in ours(pool)] == [True]


def test_an_attachment_that_lingers_is_waited_for(pool: XapiSimulator, source_of: MakeSource) -> None:
    """The host that served a disk gives it back later than the pool itself waits: destroying is asked for again."""
    pool.world.data_destroy_seconds = 0.01
    held: list[str] = []
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            pool.detach(held.pop())

    source = source_of(pool, sleep=pause)
    machine = machine_named(source, "vm")
    snapshot = source.snapshot(machine, request(machine))
    (vdi,) = ours(pool)
    held.append(pool.attach_to_control_domain(vdi.ref))
    snapshot.release(committed=True)
    (left,) = ours(pool)
    assert left.kind == "cbt_metadata"
    assert not held


def test_an_attachment_that_stays_is_told_and_made_up_for(pool: XapiSimulator, source: XenSource) -> None:
    """The release raises, so that the clean-up is pending; the next reconcile strips the disk, and keeps the base."""
    pool.world.data_destroy_seconds = 0.01
    machine = machine_named(source, "vm")
    snapshot = source.snapshot(machine, request(machine))
    base = snapshot.disks["0"].base_token
    assert base is not None
    (vdi,) = ours(pool)
    held = pool.attach_to_control_domain(vdi.ref)
    with pytest.raises(SourceConflict) as caught:
        snapshot.release(committed=True)
    assert caught.value.code == "vdi-in-use"
    snapshot.release(committed=True)
    pool.detach(held)
    assert len(source.reconcile(machine, {"0": base})) == 1
    (left,) = ours(pool)
    assert (left.uuid, left.kind) == (vdi.uuid, "cbt_metadata")
    before = pool.content("vm")
    pool.write("vm", 0, 0, b"later")
    with frozen(source, "vm", {"0": base}) as later:
        assert rebuilt(later.disks["0"], before) == pool.content("vm")


@pytest.mark.parametrize("call", ["VM.destroy", "VDI.data_destroy"])
@pytest.mark.parametrize("fault", [LoseReply(), ForgetTask(), LoseReply(before=True)])
def test_a_lost_reply_to_destroying(
    pool: XapiSimulator, source: XenSource, call: str, fault: LoseReply | ForgetTask
) -> None:
    """Whether it was heard is seen in the pool; it is asked for again only where it was not, and twice is harmless."""
    pool.faults.on(call, fault)
    bases = bases_of(source, "vm")
    assert pool.snapshots("vm") == []
    assert [(vdi.kind, vdi.uuid in bases["0"]) for vdi in ours(pool)] == [("cbt_metadata", True)]


def test_destroying_data_twice_is_harmless(pool: XapiSimulator, source: XenSource) -> None:
    """A disk of which only the tracking is left stays as it is when a clean-up meets it again."""
    bases = bases_of(source, "vm")
    machine = machine_named(source, "vm")
    assert source.reconcile(machine, bases) == []
    source._tools.keeper.remove(None, ours(pool), [vdi.uuid for vdi in ours(pool)])
    assert [vdi.kind for vdi in ours(pool)] == ["cbt_metadata"]


def test_a_disk_that_is_removed_meanwhile(pool: XapiSimulator, source: XenSource) -> None:
    """Its snapshot is released all the same; what it leaves goes in the next clean-up."""
    bases = bases_of(source, "vm")
    machine = machine_named(source, "vm")
    snapshot = source.snapshot(machine, request(machine, bases))
    pool.disks.destroy(pool.vdi("vm"))
    snapshot.release(committed=True)
    assert pool.snapshots("vm") == []
    source.reconcile(machine, {"0": snapshot.disks["0"].base_token or ""})
    assert len(ours(pool)) == 1


def test_a_failing_disk_does_not_keep_the_others(start_pool: StartPool, source_of: MakeSource) -> None:
    """All disks are tried; the first failure is told."""
    pool = start_pool([MachineSpec("vm", disks=(DiskSpec(), DiskSpec()))])
    source = source_of(pool)
    machine = machine_named(source, "vm")
    snapshot = source.snapshot(machine, request(machine))
    pool.faults.on("VDI.data_destroy", FailTask("SR_BACKEND_FAILURE_46", ("", "busy", "")))
    with pytest.raises(AdapterError):
        snapshot.release(committed=True)
    assert sorted(vdi.kind for vdi in ours(pool)) == ["cbt_metadata", "user"]


def test_tracking_that_ended_meanwhile(pool: XapiSimulator, source: XenSource) -> None:
    """A snapshot's disk whose tracking is gone cannot become a base: it goes, and the next backup is a full."""
    machine = machine_named(source, "vm")
    snapshot = source.snapshot(machine, request(machine))
    (vdi,) = ours(pool)
    pool.records.set("VDI", vdi.ref, cbt_enabled=False)
    with pytest.raises(SourceConflict):
        snapshot.release(committed=True)
    source.reconcile(machine, {"0": snapshot.disks["0"].base_token or ""})
    assert ours(pool) == []
