"""Snapshots that cannot be removed: the restore point stands, the clean-up is pending, and the next run retries it."""

from __future__ import annotations

from adapters.errors import SourceConflict
from catalog.domain import events as ev
from catalog.domain.run import RunState
from tests.support.lab import CHUNK, Lab
from tests.support.memory_source_simulator import Hypervisor

LOCKED = "the snapshot's disk is locked"


def _busy() -> SourceConflict:
    return SourceConflict(LOCKED, code="snapshot-locked")


def _doctor(lab: Lab) -> dict[str, str]:
    """What `doctor` says of snapshots."""
    (found,) = (check for check in lab.json("doctor") if check["check"] == "snapshots")
    return dict(found)


def test_a_removal_that_fails_leaves_the_point_and_is_retried(lab: Lab, hypervisor: Hypervisor) -> None:
    """Exit 0 with a warning, and `doctor` names the snapshot; the next run removes it and is incremental still."""
    machine = hypervisor.add("web", b"1" * CHUNK)
    lab.ok("source", "add", "dc1", "--kind", "memory")
    hypervisor.release_errors = [_busy()]
    record = lab.backup_one(target="dc1")
    assert record["warnings"] == [f"clean-up is pending: {LOCKED}"]
    (failed,) = lab.of_type(ev.SnapshotReleaseFailed)
    assert (failed.code, failed.why) == ("snapshot-locked", LOCKED)
    assert machine.snapshots == [failed.label]
    told = _doctor(lab)
    assert told["status"] == "warn"
    assert f"dc1/web ({failed.label}: {LOCKED})" in told["detail"]
    with lab.services() as services:
        (opened,) = lab.of_type(ev.RunOpened)
        run = RunState.fold(services.log.stream(opened.run_id))
    assert run is not None
    assert (run.outcome, run.snapshot) == ("completed", "releasing")
    machine.disks["disk-0"].write(0, b"2")
    second = lab.backup_one(target="dc1")
    assert machine.snapshots == []
    assert _doctor(lab)["status"] == "ok"
    assert any(f"snapshot {failed.label}" in warning for warning in second["warnings"])
    assert [event.action for event in lab.of_type(ev.LeftoverCleaned)] == ["removed"]
    assert second["disks"][0]["level"] == "incremental"
    assert lab.restored(second["restore_point"]) == bytes(machine.disks["disk-0"].content)
    assert lab.restored(record["restore_point"]) == b"1" * CHUNK


def test_a_removal_that_goes_on_failing_costs_no_backup(lab: Lab, hypervisor: Hypervisor) -> None:
    """Run after run the point is made and the pending clean-up told; once it can be done it is done."""
    machine = hypervisor.add("web", b"1" * CHUNK)
    lab.ok("source", "add", "dc1", "--kind", "memory")
    hypervisor.release_errors = [_busy(), _busy(), _busy()]
    for number in range(4):
        machine.disks["disk-0"].write(number, b"2")
        record = lab.backup_one(target="dc1")
        assert lab.restored(record["restore_point"]) == bytes(machine.disks["disk-0"].content)
    assert len(lab.of_type(ev.SnapshotReleaseFailed)) == 3
    assert machine.snapshots == []
    assert len(machine.disks["disk-0"].changed) == 1


def test_a_failed_backup_whose_snapshot_stays_says_why_it_failed(lab: Lab, hypervisor: Hypervisor) -> None:
    """The failure that counts is the backup's; what stayed at the source is found by the next run."""
    machine = hypervisor.add("web", b"1" * CHUNK)
    lab.ok("source", "add", "dc1", "--kind", "memory")

    def fail(_key: str) -> None:
        raise SourceConflict("the disk moved", code="disk-moved")

    hypervisor.read_hook = fail
    hypervisor.release_errors = [_busy()]
    assert lab.fails(8, "backup", "dc1")["code"] == "disk-moved"
    assert len(machine.snapshots) == 1
    hypervisor.read_hook = lambda _key: None
    lab.backup_one(target="dc1")
    assert machine.snapshots == []
