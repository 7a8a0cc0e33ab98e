"""Storage that tracks no changes: a disk's last snapshot stays, if that is wanted, and the pool compares with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.port import Tracked, Untracked
from adapters.xen.source import XenSource
from adapters.xen.transport.exchange import Exchange
from tests.adapters.xen.conftest import MakeSource, StartPool
from tests.adapters.xen.freezes import bases_of, frozen, machine_named, ours, rebuilt
from tests.conformance.source_port import OnlineSuite
from tests.support.xapi import XapiSimulator
from tests.support.xapi.building import NO_TRACKING, DiskSpec, MachineSpec, SrSpec
from tests.support.xapi.data import nbd_hosts, serve_streams
from tests.support.xapi.faults import FailTask
from tests.support.xapi.harness import FOREIGN, MACHINE, XenHarness

MIB = 1 << 20
UNTRACKED = (SrSpec("local", features=NO_TRACKING),)


class KeptHarness(XenHarness):
    """The source keeps snapshots; disks that are bases count as no leftovers."""

    def make_source(self) -> XenSource:
        """Build a source that keeps snapshots."""
        return self.source(keep_snapshots=True)

    def leftovers(self) -> list[str]:
        """Snapshots of the machine that are not somebody else's."""
        return [name for name in self.pool.snapshots(MACHINE) if name != FOREIGN]


class TestKeptSnapshots(OnlineSuite):
    """A machine on storage without change tracking."""

    @pytest.fixture
    def harness(self, tmp_path: Path) -> Iterator[KeptHarness]:
        machines = (MachineSpec(MACHINE, disks=(DiskSpec(16 * MIB),)),)
        with XapiSimulator(tmp_path / "pool", machines, srs=UNTRACKED) as pool, nbd_hosts(pool, tmp_path):
            serve_streams(pool)
            yield KeptHarness(pool, tmp_path / "run")


@pytest.fixture
def pool(start_pool: StartPool) -> XapiSimulator:
    """A machine with one disk, on storage that tracks nothing."""
    started = start_pool([MachineSpec("vm")], srs=UNTRACKED)
    serve_streams(started)
    return started


@pytest.fixture
def source(pool: XapiSimulator, source_of: MakeSource) -> XenSource:
    """A source that keeps snapshots."""
    return source_of(pool, keep_snapshots=True)


def test_only_what_differs_is_read(pool: XapiSimulator, source: XenSource) -> None:
    """The changes since the kept snapshot rebuild the disk; afterwards the new one is kept, and it alone."""
    bases = bases_of(source, "vm")
    (first,) = ours(pool)
    before = pool.content("vm")
    pool.write("vm", 0, 3 * MIB, b"later")
    with frozen(source, "vm", bases) as snapshot:
        disk = snapshot.disks["0"]
        assert disk.tracking == Tracked()
        assert sum(extent.length for extent in disk.changes()) <= 2 * MIB
        assert rebuilt(disk, before) == pool.content("vm")
    (second,) = ours(pool)
    assert second.uuid != first.uuid
    assert second.kind == "user"
    assert pool.snapshots("vm") == []


def test_it_must_be_asked_for(pool: XapiSimulator, source_of: MakeSource) -> None:
    """Without the setting nothing is left in the pool, and each backup is a full with its cause."""
    source = source_of(pool)
    assert bases_of(source, "vm") == {}
    assert ours(pool) == []
    with frozen(source, "vm") as snapshot:
        assert snapshot.disks["0"].tracking == Untracked("cbt-unsupported")


def test_nothing_is_kept_that_could_not_be_compared(start_pool: StartPool, source_of: MakeSource) -> None:
    """A pool tells differences of VHDs only: where its storage has none, a snapshot would stay for nothing."""
    formats = ("raw", "qcow2")
    pool = start_pool([MachineSpec("vm")], srs=(SrSpec("local", features=NO_TRACKING, image_formats=formats),))
    assert bases_of(source_of(pool, keep_snapshots=True), "vm") == {}
    assert ours(pool) == []


def test_what_the_pool_sends_for_changes_is_the_differences(
    start_pool: StartPool, source_of: MakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a large disk one block of 2 MiB, and tables, though the whole disk has data."""
    pool = start_pool([MachineSpec("vm", disks=(DiskSpec(16 * MIB),))], srs=UNTRACKED)
    serve_streams(pool)
    pool.write("vm", 0, 0, bytes([1]) * (16 * MIB))
    source = source_of(pool, keep_snapshots=True)
    bases = bases_of(source, "vm")
    pool.write("vm", 0, 5 * MIB, b"later")
    received: list[int] = []
    inner = Exchange.read

    def counted(exchange: Exchange, length: int) -> bytes:
        piece = inner(exchange, length)
        received.append(len(piece))
        return piece

    monkeypatch.setattr(Exchange, "read", counted)
    with frozen(source, "vm", bases) as snapshot:
        found = [(extent.start, extent.length) for extent in snapshot.disks["0"].changes()]
    assert found == [(4 * MIB, 2 * MIB)]
    exported = sum(received)
    assert 2 * MIB < exported < 2 * MIB + 64 * 1024


def test_a_run_that_fails_keeps_the_old_base(pool: XapiSimulator, source: XenSource) -> None:
    """The snapshot of the last restore point stays whole, that of the failed run goes."""
    bases = bases_of(source, "vm")
    (kept,) = ours(pool)
    with frozen(source, "vm", bases, committed=False):
        pass
    assert [vdi.uuid for vdi in ours(pool)] == [kept.uuid]
    source.reconcile(machine_named(source, "vm"), bases)
    assert [vdi.uuid for vdi in ours(pool)] == [kept.uuid]
    source.reconcile(machine_named(source, "vm"), {})
    assert ours(pool) == []


def test_a_base_that_does_not_serve_is_a_full_with_its_cause(pool: XapiSimulator, source: XenSource) -> None:
    """An export that fails, a disk that grew, a snapshot that somebody removed: each costs a full, and says why."""

    def cause(bases: dict[str, str]) -> str:
        with frozen(source, "vm", bases, committed=False) as snapshot:
            tracking = snapshot.disks["0"].tracking
            assert isinstance(tracking, Untracked)
            return tracking.cause

    bases = bases_of(source, "vm")
    pool.faults.on("GET /export_raw_vdi", FailTask("VDI_IO_ERROR"))
    assert cause(bases) == "changes-not-exported"
    (kept,) = ours(pool)
    pool.disks.destroy(kept.ref)
    assert cause(bases) == "base-missing"
    bases = bases_of(source, "vm")
    pool.grow("vm", 0, 6 * MIB)
    assert cause(bases) == "disk-resized"


def test_tracking_that_comes_later_takes_over(pool: XapiSimulator, source: XenSource) -> None:
    """The kept snapshot is compared with once more; then the change tracking is the base."""
    bases = bases_of(source, "vm")
    (manager,) = pool.records.find("SM", type="ext")
    pool.records.set("SM", manager, features={name: "1" for name in (*NO_TRACKING, "VDI_CONFIG_CBT")})
    pool.write("vm", 0, MIB, b"meanwhile")
    with frozen(source, "vm", bases) as snapshot:
        assert snapshot.disks["0"].tracking == Tracked()
        token = snapshot.disks["0"].base_token
    assert token is not None
    assert '"kept":false' in token
    assert [vdi.kind for vdi in ours(pool)] == ["cbt_metadata"]
