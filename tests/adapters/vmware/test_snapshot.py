"""Snapshots at the server: asked for once, found by their label, and gone in the end."""

from __future__ import annotations

import json
import shutil

import pytest
from pyVmomi import vim

from adapters.errors import AdapterError, SourceConflict, SourceInvalid, SourceLimit, SourceUnavailable
from adapters.port import Consistency
from adapters.vmware.snapshots import Patience
from adapters.vmware.source import VmwareSource
from tests.adapters.vmware.conftest import MakeSource, StartVsphere
from tests.adapters.vmware.freezes import LABEL, bases_of, frozen, machine_named, request
from tests.support.vsphere import VsphereSimulator
from tests.support.vsphere.building import MachineSpec
from tests.support.vsphere.devices import DiskSpec

MIB = 1 << 20


@pytest.fixture
def vsphere(start_vsphere: StartVsphere) -> VsphereSimulator:
    """One machine with one disk."""
    return start_vsphere(MachineSpec("vm", disks=(DiskSpec(MIB),)))


@pytest.fixture
def source(vsphere: VsphereSimulator, source_of: MakeSource) -> VmwareSource:
    """A source on it."""
    return source_of(vsphere)


# --- calls that go wrong ---


def test_a_lost_reply_to_creating_is_found_by_the_label(vsphere: VsphereSimulator, source: VmwareSource) -> None:
    """The snapshot that was made is used; no second one is."""
    bases_of(source, "vm")
    vsphere.faults.lose_reply("CreateSnapshot_Task")
    with frozen(source, "vm"):
        assert vsphere.snapshots("vm") == [LABEL]
    assert vsphere.snapshots("vm") == []


def test_a_lost_request_is_an_error(vsphere: VsphereSimulator, source_of: MakeSource) -> None:
    """Where no snapshot turns up, the backup fails and leaves nothing."""
    source = source_of(vsphere)
    bases_of(source, "vm")
    vsphere.faults.refuse("CreateSnapshot_Task", vim.fault.HostConnectFault())
    with pytest.raises(AdapterError):
        bases_of(source, "vm")
    assert vsphere.snapshots("vm") == []
    assert all(bases_of(source, "vm").values())


def test_a_lost_reply_to_removing_is_seen_by_its_absence(vsphere: VsphereSimulator, source: VmwareSource) -> None:
    """A removal that was heard is not asked for again, and is no error."""
    vsphere.faults.lose_reply("RemoveSnapshot_Task")
    with frozen(source, "vm"):
        pass
    assert vsphere.snapshots("vm") == []


@pytest.mark.parametrize("name", ["VirtualMachine.removeSnapshot", "vim.vm.Snapshot.remove"])
def test_a_removal_that_goes_on_is_waited_for(
    vsphere: VsphereSimulator, source_of: MakeSource, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """After a lost reply the task is known by its description, whichever of its names the server gives it."""
    source = source_of(vsphere, patience=Patience(remove_seconds=0.2))
    machine = machine_named(source, "vm")
    snapshot = source.snapshot(machine, request(machine))
    monkeypatch.setattr("tests.support.vsphere.tasks._description_id", lambda *_: name)
    vsphere.faults.stall_task("RemoveSnapshot_Task")
    vsphere.faults.lose_reply("RemoveSnapshot_Task")
    with pytest.raises(SourceUnavailable) as caught:
        snapshot.release(committed=True)
    assert caught.value.code == "task-timeout"


def test_a_removal_that_fails_is_told_and_made_up_for(vsphere: VsphereSimulator, source: VmwareSource) -> None:
    """The release raises, so that the clean-up is pending; the next reconcile removes the snapshot."""
    bases_of(source, "vm")
    machine = machine_named(source, "vm")
    snapshot = source.snapshot(machine, request(machine))
    vsphere.faults.fail_task("RemoveSnapshot_Task", vim.fault.FileLocked(file="x"))
    with pytest.raises(SourceConflict) as caught:
        snapshot.release(committed=True)
    assert caught.value.code == "file-locked"
    assert vsphere.snapshots("vm") == [LABEL]
    snapshot.release(committed=True)
    (leftover,) = source.reconcile(machine, {})
    assert LABEL in leftover.what
    assert vsphere.snapshots("vm") == []


def test_a_need_to_consolidate_is_met(vsphere: VsphereSimulator, source: VmwareSource) -> None:
    """A removal that leaves files behind is followed by a consolidation."""
    bases_of(source, "vm")
    vsphere.faults.leave_deltas()
    bases_of(source, "vm")
    assert not vsphere.machine("vm").unconsolidated


def test_a_consolidation_is_tried_again(vsphere: VsphereSimulator, source: VmwareSource) -> None:
    """A file that is held for a moment costs a pause."""
    bases_of(source, "vm")
    vsphere.faults.leave_deltas()
    vsphere.faults.fail_task("ConsolidateVMDisks_Task", vim.fault.FileLocked(file="x"), times=2)
    bases_of(source, "vm")
    assert not vsphere.machine("vm").unconsolidated


def test_a_consolidation_that_never_ends_is_told(vsphere: VsphereSimulator, source_of: MakeSource) -> None:
    """After a bounded number of tries the release raises; the machine is free for the next job."""
    source = source_of(vsphere, patience=Patience(consolidations=2))
    bases_of(source, "vm")
    machine = machine_named(source, "vm")
    snapshot = source.snapshot(machine, request(machine))
    vsphere.faults.consolidation_stuck = True
    with pytest.raises(SourceConflict) as caught:
        snapshot.release(committed=True)
    assert caught.value.code == "consolidation-needed"
    with pytest.raises(SourceConflict) as caught:
        source.reconcile(machine, {})
    assert caught.value.code == "consolidation-needed"
    vsphere.faults.consolidation_stuck = False
    assert all(bases_of(source, "vm").values())


def test_a_task_that_never_ends_is_cancelled(vsphere: VsphereSimulator, source_of: MakeSource) -> None:
    """A server that does not get on with a snapshot is asked to give up."""
    source = source_of(vsphere, patience=Patience(create_seconds=0.3))
    vsphere.machine("vm").set.change_tracking = True
    vsphere.faults.stall_task("CreateSnapshot_Task")
    with pytest.raises(SourceUnavailable) as caught:
        bases_of(source, "vm")
    assert caught.value.code == "task-timeout"
    assert vsphere.snapshots("vm") == []


def test_a_failure_after_the_snapshot_removes_it(vsphere: VsphereSimulator, source_of: MakeSource) -> None:
    """No transport for a disk: the error is told, and the snapshot is gone."""
    source = source_of(vsphere, transports=("san",))
    with pytest.raises(SourceUnavailable) as caught:
        bases_of(source, "vm")
    assert caught.value.code == "no-transport"
    assert vsphere.snapshots("vm") == []


def test_a_snapshot_that_somebody_removes_did_not_hold(vsphere: VsphereSimulator, source: VmwareSource) -> None:
    """What was read of it is not confirmed, and giving back what is gone is harmless."""
    with frozen(source, "vm") as snapshot:
        snapshot.confirm()
        vsphere.drop_snapshot("vm", LABEL)
        with pytest.raises(SourceConflict) as caught:
            snapshot.confirm()
    assert caught.value.code == "snapshot-lost"


def test_a_session_that_is_killed_costs_nothing(vsphere: VsphereSimulator, source: VmwareSource) -> None:
    """Sessions end while the snapshot is open, while it is read and before it is removed."""
    vsphere.write("vm", 0, 0, b"data" * 1000)
    with frozen(source, "vm") as snapshot:
        vsphere.expire_sessions()
        reader = next(iter(snapshot.disks.values())).open()
        vsphere.expire_sessions()
        piece = bytearray(4000)
        reader.pread_into(0, memoryview(piece))
        assert bytes(piece) == b"data" * 1000
        reader.close()
        vsphere.expire_sessions()
    assert vsphere.snapshots("vm") == []


def test_a_datastore_that_is_almost_full_is_spared(
    vsphere: VsphereSimulator, source: VmwareSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guest would stop when its snapshot fills it: no snapshot is taken."""
    free = shutil.disk_usage(vsphere.datastore)._replace(free=(256 << 20) - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    with pytest.raises(SourceLimit) as caught:
        bases_of(source, "vm")
    assert caught.value.code == "datastore-full"
    assert vsphere.snapshots("vm") == []


def test_a_chain_that_is_full_is_told(vsphere: VsphereSimulator, source_of: MakeSource) -> None:
    """A machine with thirty snapshots gets no more of them."""
    for number in range(30):
        vsphere.plant_snapshot("vm", f"forgotten {number}")
    with pytest.raises(SourceLimit) as caught:
        bases_of(source_of(vsphere), "vm")
    assert caught.value.code == "too-many-snapshots"


# --- whose snapshots ---


def test_only_our_snapshots_are_removed(vsphere: VsphereSimulator, source_of: MakeSource) -> None:
    """Name and description tell ours; a name like ours is not enough."""
    vsphere.plant_snapshot("vm", "holdfast-by-hand")
    dead = source_of(vsphere)
    machine = machine_named(dead, "vm")
    dead.snapshot(machine, request(machine))
    dead.close()
    source = source_of(vsphere)
    assert [item.action for item in source.reconcile(machine, {})] == ["removed"]
    assert vsphere.snapshots("vm") == ["holdfast-by-hand"]
    assert source.reconcile(machine, {}) == []


def test_one_job_for_a_machine(vsphere: VsphereSimulator, source_of: MakeSource) -> None:
    """A second backup, and a clean-up, of a machine that is being backed up are refused until it ends."""
    first, second = source_of(vsphere), source_of(vsphere)
    machine = machine_named(first, "vm")
    with frozen(first, "vm"):
        for attempt in (lambda: bases_of(second, "vm"), lambda: second.reconcile(machine, {})):
            with pytest.raises(SourceConflict) as caught:
                attempt()
            assert caught.value.code == "backup-running"
            assert LABEL in str(caught.value)
    assert second.reconcile(machine, {}) == []
    assert bases_of(second, "vm")


@pytest.mark.parametrize("label", ["", "two words", "a" * 65, "-x", "x\n"])
def test_what_is_no_label_is_refused(source: VmwareSource, label: str) -> None:
    """A label becomes a name at the server."""
    machine = machine_named(source, "vm")
    with pytest.raises(SourceInvalid) as caught:
        source.snapshot(machine, type(request(machine))(label, {}))
    assert caught.value.code == "label"


# --- consistency ---


def consistency(source: VmwareSource, wanted: str) -> tuple[Consistency, str | None]:
    """What a snapshot reached."""
    with frozen(source, "vm", consistency=wanted) as snapshot:
        return snapshot.consistency, snapshot.fallback_cause


def test_the_guest_comes_to_rest(source: VmwareSource) -> None:
    """With Tools running, Linux file systems are at rest; that nobody tells of its applications is told."""
    assert source.consistency == "application"
    assert consistency(source, "application") == ("filesystem", "linux-file-systems-only")
    assert consistency(source, "filesystem") == ("filesystem", None)
    assert consistency(source, "crash") == ("crash", None)


def test_a_refusal_is_tried_again_and_then_told(vsphere: VsphereSimulator, source: VmwareSource) -> None:
    """A guest that does not come to rest gives a crash consistent snapshot with its cause."""
    vsphere.faults.quiesce_fault = vim.fault.ApplicationQuiesceFault()
    assert consistency(source, "application") == ("crash", "quiesce-failed")
    vsphere.faults.quiesce_fault = vim.fault.ToolsUnavailable()
    assert consistency(source, "application") == ("crash", "tools-not-running")
    assert vsphere.snapshots("vm") == []


def test_one_refusal_is_not_the_end(vsphere: VsphereSimulator, source: VmwareSource) -> None:
    """The second attempt counts."""
    bases_of(source, "vm")
    vsphere.faults.fail_task("CreateSnapshot_Task", vim.fault.FilesystemQuiesceFault())
    assert consistency(source, "filesystem") == ("filesystem", None)


def test_a_policy_may_require_rest(vsphere: VsphereSimulator, source_of: MakeSource) -> None:
    """Under `require` there is no backup of a guest that does not come to rest, and nothing is left."""
    source = source_of(vsphere, quiesce="require")
    vsphere.faults.quiesce_fault = vim.fault.ApplicationQuiesceFault()
    with pytest.raises(SourceConflict) as caught:
        consistency(source, "application")
    assert caught.value.code == "quiesce-failed"
    assert vsphere.snapshots("vm") == []


def test_a_policy_may_leave_the_guest_alone(vsphere: VsphereSimulator, source_of: MakeSource) -> None:
    """Under `never` the guest is not asked, whatever a backup wants."""
    source = source_of(vsphere, quiesce="never")
    vsphere.faults.quiesce_fault = vim.fault.ApplicationQuiesceFault()
    assert source.consistency == "crash"
    assert consistency(source, "application") == ("crash", None)


def test_other_faults_are_not_the_guests(vsphere: VsphereSimulator, source: VmwareSource) -> None:
    """A datastore that is full is an error, and no reason to ask for less."""
    bases_of(source, "vm")
    vsphere.faults.fail_task("CreateSnapshot_Task", vim.fault.NoDiskSpace(datastore="ds", file="x"))
    with pytest.raises(AdapterError) as caught:
        consistency(source, "application")
    assert caught.value.code == "datastore-full"


def test_a_machine_that_is_off_cannot_come_to_rest(start_vsphere: StartVsphere, source_of: MakeSource) -> None:
    """Nothing runs in it: a required rest is no obstacle."""
    vsphere = start_vsphere(MachineSpec("vm", disks=(DiskSpec(MIB),), powered_on=False))
    assert consistency(source_of(vsphere, quiesce="require"), "application") == ("crash", "machine-off")


# --- what is kept of the machine ---


def test_the_configuration_is_kept(vsphere: VsphereSimulator, source: VmwareSource) -> None:
    """ConfigInfo as JSON, the vmx and the nvram; the same machine gives the same JSON."""

    def files() -> dict[str, bytes]:
        with frozen(source, "vm") as snapshot:
            return {file.name: file.content for file in snapshot.configuration}

    files()
    first, second = files(), files()
    assert first["config.json"] == second["config.json"]
    assert set(first) == {"config.json", "vm.vmx", "vm.nvram"}
    document = json.loads(first["config.json"])
    assert document["name"] == "vm"
    assert document["config"]["hardware"]["numCPU"] == 2
    assert b"changeId" not in first["config.json"]
    assert b'displayName = "vm"' in first["vm.vmx"]


def test_secrets_are_left_out(start_vsphere: StartVsphere, source_of: MakeSource) -> None:
    """Neither JSON nor vmx holds a password; what was withheld is named."""
    secrets = {
        "RemoteDisplay.vnc.password": "sesame-1",
        "guestinfo.userdata": "sesame-2",
        "encryption.keySafe": "sesame-3",
    }
    vsphere = start_vsphere(MachineSpec("vm", disks=(DiskSpec(MIB),), extra={**secrets, "annotation.plain": "kept"}))
    with frozen(source_of(vsphere), "vm") as snapshot:
        files = {file.name: file.content for file in snapshot.configuration}
    assert not any(b"sesame" in content for content in files.values())
    assert b"kept" in files["config.json"]
    assert b"kept" in files["vm.vmx"]
    assert json.loads(files["config.json"])["withheld"] == sorted(secrets)


def test_a_file_that_cannot_be_read_is_named(vsphere: VsphereSimulator, source: VmwareSource) -> None:
    """A machine that was never powered on has no nvram; one whose file is refused says why."""
    vsphere.faults.ignore_range("GET /folder", times=0)
    (vsphere.datastore / "vm" / "vm.nvram").chmod(0)
    (vsphere.datastore / "vm" / "vm.nvram").unlink()
    with frozen(source, "vm") as snapshot:
        files = {file.name for file in snapshot.configuration}
    assert files == {"config.json", "vm.vmx"}
