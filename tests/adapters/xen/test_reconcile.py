"""After a process of ours died, at any step, nothing of it stays that no base needs, and no base is lost."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from adapters.nbd.child import NbdChild
from adapters.xen.marks import DISK_KEY
from adapters.xen.source import XenSource
from adapters.xen.transport.qcowread import RUN_PREFIX
from tests.adapters.xen.conftest import MakeSource, StartPool
from tests.adapters.xen.dying import Killed, dying
from tests.adapters.xen.freezes import bases_of, frozen, machine_named, ours, rebuilt, request
from tests.support.nbd_peers import need
from tests.support.xapi.building import MachineSpec
from tests.support.xapi.simulator import XapiSimulator


@pytest.fixture
def pool(start_pool: StartPool) -> XapiSimulator:
    """A machine with one disk."""
    return start_pool([MachineSpec("vm")])


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(
    ("method", "committed"),
    [
        ("VDI.enable_cbt", False),
        ("VM.snapshot", False),
        ("VDI.add_to_other_config", False),
        ("VDI.list_changed_blocks", False),
        ("VM.destroy", False),
        ("VDI.destroy", False),
        ("VM.destroy", True),
        ("VDI.data_destroy", True),
        ("VDI.destroy", True),
    ],
)
def test_killed_at_each_step(
    pool: XapiSimulator,
    source_of: MakeSource,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    committed: bool,
    after: bool,
) -> None:
    """Before or after each effect: the next run finds only the bases in force, and changes since them are complete."""
    source = source_of(pool)
    bases = {} if method == "VDI.enable_cbt" else bases_of(source, "vm")
    before = pool.content("vm")
    pool.write("vm", 0, 70_000, b"before it died")
    doomed = source_of(pool)
    machine = machine_named(doomed, "vm")
    now = pool.content("vm")

    def run() -> None:
        nonlocal bases, before
        snapshot = doomed.snapshot(machine, request(machine, bases))
        if committed:
            bases, before = {"0": snapshot.disks["0"].base_token or ""}, now
        snapshot.release(committed=committed)

    with monkeypatch.context() as patch:
        dying(doomed, patch, method, after=after)
        with pytest.raises(Killed):
            run()
    pool.write("vm", 0, 700_000, b"after it died")
    source.reconcile(machine, bases)
    assert pool.snapshots("vm") == []
    assert [(vdi.kind, vdi.uuid in "".join(bases.values())) for vdi in ours(pool)] == [("cbt_metadata", True)] * len(
        bases
    )
    assert source.reconcile(machine, bases) == []
    with frozen(source, "vm", bases) as later:
        if bases:
            assert rebuilt(later.disks["0"], before) == pool.content("vm")


def test_somebody_elses_things_stay(pool: XapiSimulator, source: XenSource) -> None:
    """Snapshots, tracking and marked disks of other machines are not ours to remove."""
    session = source._session
    machine = machine_named(source, "vm")
    session.task("VM.snapshot", pool.vm("vm"), "holdfast-of-somebody")
    foreign = ours(pool)
    pool.records.set("VDI", foreign[0].ref, other_config={DISK_KEY: "another-machine holdfast-1"})
    assert source.reconcile(machine, {}) == []
    assert [vdi.uuid for vdi in ours(pool)] == [vdi.uuid for vdi in foreign]
    assert pool.snapshots("vm") == ["holdfast-of-somebody"]


def left_behind(pool: XapiSimulator, source_of: MakeSource) -> str:
    """Let a run die over its snapshot of the machine, and return the snapshot."""
    source = source_of(pool)
    machine = machine_named(source, "vm")
    source.snapshot(machine, request(machine))
    source.close()
    (taken,) = pool.records.find("VM", snapshot_of=pool.vm("vm"))
    return taken


def test_a_machine_that_went_back_to_our_snapshot_keeps_its_disk(pool: XapiSimulator, source_of: MakeSource) -> None:
    """A pool copies marks with disks: a copy, which is the machine's own disk now, is not ours to remove."""
    pool.write("vm", 0, 5, b"the only copy")
    taken = left_behind(pool, source_of)
    source = source_of(pool)
    source._session.task("VM.revert", taken)
    assert DISK_KEY in pool.record("VDI", pool.vdi("vm"))["other_config"]
    source.reconcile(machine_named(source, "vm"), {})
    assert pool.content("vm")[5:18] == b"the only copy"
    assert ours(pool) == []


def test_snapshots_of_a_copied_disk_are_whose_they_are(pool: XapiSimulator, source_of: MakeSource) -> None:
    """Of a machine made from our snapshot: what we take is known as its own, what somebody takes stays somebody's."""
    taken = left_behind(pool, source_of)
    source = source_of(pool)
    pool.records.set("VM", source._session.task("VM.clone", taken, "copy"), is_a_template=False)
    source._session.task("VM.snapshot", pool.vm("copy"), "somebody's")
    (theirs,) = pool.records.find("VM", name_label="somebody's")
    disk = pool.record("VBD", pool.record("VM", theirs)["VBDs"][0])["VDI"]
    bases = bases_of(source, "copy")
    assert source.reconcile(machine_named(source, "vm"), {}) != []
    assert source.reconcile(machine_named(source, "copy"), bases) == []
    assert [vdi.uuid in bases["0"] or vdi.ref == disk for vdi in ours(pool)] == [True, True]
    pool.write("copy", 0, 9, b"later")
    with frozen(source, "copy", bases) as snapshot:
        assert rebuilt(snapshot.disks["0"], pool.content("vm")) == pool.content("copy")
    assert pool.records.exists("VDI", disk)


@pytest.mark.parametrize("snapshot_stays", [True, False])
def test_a_dead_reader_is_ended(
    pool: XapiSimulator, source_of: MakeSource, tmp_path: Path, snapshot_stays: bool
) -> None:
    """A server of an exported disk whose owner died ends, with its folder, whether its snapshot is there or not."""
    need("qemu-nbd")
    taken = left_behind(pool, source_of)
    (vdi,) = ours(pool)
    source = source_of(pool)
    if not snapshot_stays:
        source._session.task("VM.destroy", taken)
    child = NbdChild(tmp_path / "run", RUN_PREFIX, {"vdi": vdi.uuid, "label": "disk"})
    disk = str(pool.disks.path(vdi.ref))
    child.start(["qemu-nbd", "--read-only", "--format=raw", f"--socket={child.socket}", child.pid_option, disk])
    try:
        with closing(child.connect()):
            child._owner.close()  # the kernel does as much for the dead
            done = [leftover.action for leftover in source.reconcile(machine_named(source, "vm"), {})]
        assert done == ["ended", "removed"]
        assert list((tmp_path / "run").glob(f"{RUN_PREFIX}*")) == []
        assert ours(pool) == []
    finally:
        child.close()


def test_broken_tracking_does_not_pile_up(pool: XapiSimulator, source: XenSource) -> None:
    """A base that could not be compared goes with the commit of the full that replaces it, or in the next clean-up."""
    bases = bases_of(source, "vm")
    (old,) = ours(pool)
    pool.disks.logs.pop(old.uuid)
    bases = bases_of(source, "vm", bases)
    assert [vdi.uuid in bases["0"] for vdi in ours(pool)] == [True]
    source.reconcile(machine_named(source, "vm"), {})
    assert ours(pool) == []


def test_the_tracking_of_a_disk_that_was_removed(pool: XapiSimulator, source: XenSource) -> None:
    """Once no token names it, it goes, though its disk is no longer there to lead to it."""
    bases = bases_of(source, "vm")
    pool.migrate_disk("vm", 0, "shared")
    machine = machine_named(source, "vm")
    assert source.reconcile(machine, bases) == []
    new = bases_of(source, "vm")
    assert len(source.reconcile(machine, new)) == 1
    assert [vdi.uuid in new["0"] for vdi in ours(pool)] == [True]


def test_a_source_that_closes_leaves_its_snapshot_to_reconcile(pool: XapiSimulator, source_of: MakeSource) -> None:
    """Closing is no release: what is open is found by the next run."""
    source, other = source_of(pool), source_of(pool)
    machine = machine_named(source, "vm")
    source.snapshot(machine, request(machine))
    source.close()
    assert len(other.reconcile(machine, {})) == 1
    assert pool.snapshots("vm") == []
    assert ours(pool) == []
