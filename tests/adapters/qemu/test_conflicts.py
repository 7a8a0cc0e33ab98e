"""Somebody else works on the machine, or QEMU goes away: said clearly, without a hang, and nothing is left behind."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

import pytest

from adapters.errors import AdapterError, SourceConflict, SourceInvalid, SourceUnavailable
from adapters.port import BlockReader, SnapshotRequest
from adapters.qemu.snapshot import QemuSnapshot
from adapters.qemu.views import Export, Job
from tests.adapters.qemu.conftest import MakeSource, StartVm
from tests.adapters.qemu.test_conformance import QemuHarness
from tests.support.eventually import eventually
from tests.support.qemu_backup import cause, freeze, frozen, full, machine_of, our_bitmaps, tokens
from tests.support.qemu_vm import MIB, QemuVm, VmDisk


def start_foreign_backup(vm: QemuVm) -> None:
    """Another product begins a backup of vd0, without an NBD server."""
    vm.control.execute("blockdev-add", {"driver": "null-co", "node-name": "foreign", "size": 8 * MIB})
    job = {"job-id": "foreign", "device": vm.node("vd0"), "target": "foreign", "sync": "none"}
    vm.control.execute("blockdev-backup", job)


def test_a_second_snapshot_is_refused(start_vm: StartVm, source_of: MakeSource) -> None:
    """While a snapshot is open neither this source nor another one begins a second, and the first one holds."""
    vm = start_vm(VmDisk("vd0"))
    source, other = source_of(vm), source_of(vm)
    machine = machine_of(source)
    with frozen(source, {"vd0": None}, committed=True) as snapshot:
        with pytest.raises(SourceConflict) as ours:
            freeze(source, {"vd0": None})
        with pytest.raises(SourceConflict) as reconciled:
            source.reconcile(machine, {})
        with pytest.raises(SourceConflict) as theirs:
            other.inventory()
        assert machine_of(source) == machine
        snapshot.confirm()
    assert [caught.value.code for caught in (ours, reconciled, theirs)] == [
        "backup-running",
        "backup-running",
        "qmp-busy",
    ]
    assert machine_of(other) == machine


def test_a_foreign_block_job_is_a_conflict(start_vm: StartVm, source_of: MakeSource) -> None:
    """A disk in somebody else's backup is not touched; when that has ended ours goes on incrementally."""
    vm = start_vm(VmDisk("vd0"))
    source = source_of(vm)
    facts = machine_of(source)
    bases: dict[str, str | None] = {**full(source, "vd0")}
    start_foreign_backup(vm)
    assert machine_of(source) == facts
    assert list(source.reconcile(facts, {"vd0": str(bases["vd0"])})) == []
    with pytest.raises(SourceConflict) as caught:
        freeze(source, bases)
    assert caught.value.code == "block-job-running"
    assert [job.id for job in vm.control.query("query-jobs", list[Job])] == ["foreign"]
    vm.control.execute("job-cancel", {"id": "foreign"})
    eventually(lambda: not vm.control.query("query-jobs", list[Job]), "the foreign backup ends")
    with frozen(source, bases, committed=True) as snapshot:
        assert cause(snapshot, "vd0") == "tracked"


def test_a_foreign_nbd_server_is_a_conflict(start_vm: StartVm, source_of: MakeSource) -> None:
    """QEMU's one NBD server in somebody else's hands is said clearly, and goes on serving."""
    vm = start_vm(VmDisk("vd0"))
    address = {"type": "unix", "data": {"path": str(vm.directory / "theirs")}}
    vm.control.execute("nbd-server-start", {"addr": address})
    vm.control.execute("blockdev-add", {"driver": "null-co", "node-name": "foreign", "size": MIB})
    vm.control.execute("block-export-add", {"type": "nbd", "id": "theirs", "node-name": "foreign"})
    source = source_of(vm)
    with pytest.raises(SourceConflict) as caught:
        freeze(source, {"vd0": None})
    assert caught.value.code == "nbd-server-busy"
    assert "nbd-server-stop" in caught.value.hint
    assert list(source.reconcile(machine_of(source), {})) == []
    assert [export.id for export in vm.control.query("query-block-exports", list[Export])] == ["theirs"]
    assert not our_bitmaps(vm, "vd0")


def test_a_job_ended_by_others_is_noticed(start_vm: StartVm, source_of: MakeSource) -> None:
    """When somebody cancels our job the snapshot does not hold, and confirm says so before anything is committed."""
    vm = start_vm(VmDisk("vd0"))
    source = source_of(vm)
    snapshot = freeze(source, {"vd0": None})
    (job,) = vm.control.query("query-jobs", list[Job])
    vm.control.execute("job-cancel", {"id": job.id})
    eventually(lambda: not vm.control.query("query-jobs", list[Job]), "our job is gone")
    with pytest.raises(SourceConflict) as caught:
        snapshot.confirm()
    assert caught.value.code == "snapshot-lost"
    snapshot.release(committed=False)
    assert not QemuHarness.leftovers_of(vm)


def test_qemu_killed_while_we_read(start_vm: StartVm, source_of: MakeSource) -> None:
    """When QEMU dies readers, confirm and release say that it is unavailable, none hangs, and a restart is clean."""
    vm = start_vm(VmDisk("vd0"))
    source = source_of(vm)
    bases = full(source, "vd0")
    snapshot = freeze(source, bases)
    reader = snapshot.disks["vd0"].open()
    reading = threading.Event()
    failures: list[AdapterError] = []
    thread = threading.Thread(target=read_until_it_fails, args=(reader, reading, failures))
    thread.start()
    assert reading.wait(30)
    vm.kill()
    thread.join(30)
    reader.close()
    with pytest.raises(SourceUnavailable):
        snapshot.confirm()
    with pytest.raises(SourceUnavailable):
        snapshot.disks["vd0"].open()
    with pytest.raises(SourceUnavailable):
        snapshot.release(committed=False)
    snapshot.release(committed=False)
    assert [type(error) for error in failures] == [SourceUnavailable]
    assert not list(vm.scratch.iterdir())
    vm.start()
    assert list(source.reconcile(machine_of(source), bases)) == []
    with frozen(source, {**bases}, committed=True) as snapshot:
        assert cause(snapshot, "vd0") == "bitmap-missing"


def read_until_it_fails(reader: BlockReader, reading: threading.Event, failures: list[AdapterError]) -> None:
    """Read over and over; keep the error that ends it."""
    try:
        while True:
            reader.pread_into(0, memoryview(bytearray(8 * MIB)))
            reading.set()
    except AdapterError as error:
        failures.append(error)


def test_qemu_ended_in_order_while_frozen(start_vm: StartVm, source_of: MakeSource) -> None:
    """When the guest is shut down during a backup the old base stays complete, and what we left is removed."""
    vm = start_vm(VmDisk("vd0"))
    source = source_of(vm)
    bases = full(source, "vd0")
    vm.write("vd0", MIB, b"before")
    snapshot = freeze(source, bases)
    vm.quit()
    with pytest.raises(SourceUnavailable):
        snapshot.release(committed=False)
    vm.start()
    vm.write("vd0", 5 * MIB, b"after")
    cleaned = source.reconcile(machine_of(source), bases)
    assert [(item.what.startswith("dirty bitmap"), item.action) for item in cleaned] == [(True, "removed")]
    with frozen(source, {**bases}, committed=True) as snapshot:
        starts = {change.start - change.start % 65536 for change in snapshot.disks["vd0"].changes()}
    assert starts == {MIB, 5 * MIB}


def test_a_requested_full_leaves_the_base_until_it_is_committed(start_vm: StartVm, source_of: MakeSource) -> None:
    """A full that fails costs nothing; one that is committed replaces the base's bitmap."""
    vm = start_vm(VmDisk("vd0"))
    source = source_of(vm)
    bases = full(source, "vd0")
    with frozen(source, {"vd0": None}, committed=False):
        pass
    with frozen(source, {**bases}, committed=False) as snapshot:
        assert cause(snapshot, "vd0") == "tracked"
    assert len(our_bitmaps(vm, "vd0")) == 1
    newer = full(source, "vd0")
    with frozen(source, {**bases}, committed=False) as snapshot:
        assert cause(snapshot, "vd0") == "bitmap-missing"
    with frozen(source, {**newer}, committed=True) as snapshot:
        assert cause(snapshot, "vd0") == "tracked"
        assert tokens(snapshot) != newer


@pytest.mark.parametrize("label", ["", "two words", "a" * 129, "-first", "a/b", 'quote"'])
def test_labels_are_checked(start_vm: StartVm, source_of: MakeSource, label: str) -> None:
    """A label that cannot be part of a name is refused before anything is created."""
    vm = start_vm(VmDisk("vd0"))
    source = source_of(vm)
    with pytest.raises(SourceInvalid):
        source.snapshot(machine_of(source), SnapshotRequest(label, {"vd0": None}))
    assert not our_bitmaps(vm, "vd0")


def test_connecting_readers_never_hang_qemu(start_vm: StartVm, source_of: MakeSource) -> None:
    """However a release falls between readers that connect and vanish, QEMU goes on and nothing is left.

    QEMU 7.2 hangs for ever when its NBD server is stopped while a client is in its handshake.
    """
    vm = start_vm(VmDisk("vd0", size_bytes=MIB))
    source = source_of(vm)
    for _ in range(25):
        snapshot = freeze(source, {"vd0": None})
        started = threading.Event()
        threads = [threading.Thread(target=open_until_it_fails, args=(snapshot, started)) for _ in range(2)]
        for thread in threads:
            thread.start()
        assert started.wait(30)
        vanish_in_the_handshake(vm)
        snapshot.release(committed=False)
        for thread in threads:
            thread.join(30)
    assert not QemuHarness.leftovers_of(vm)


def open_until_it_fails(snapshot: QemuSnapshot, started: threading.Event) -> None:
    """Open and close readers until the snapshot is gone."""
    with suppress(AdapterError):
        while True:
            snapshot.disks["vd0"].open().close()
            started.set()


def vanish_in_the_handshake(vm: QemuVm) -> None:
    """Connect to the NBD server and leave at once, as a process that is killed then."""
    (path,) = vm.scratch.glob("*.nbd")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
