"""A machine backed up twice while it runs, and its changes checked against all of its bytes: on simulated hosts, and
on a machine of yours, where the environment names one.

HOLDFAST_HYPERV_MACHINE is its name; HOLDFAST_HYPERV its host, or cluster when HOLDFAST_HYPERV_CLUSTER is set, too;
HOLDFAST_HYPERV_CA the file of the authorities that are trusted, in place of a fingerprint. The other variables are
those of `control/test_real_host.py`. Two recovery checkpoints are made of the machine and, in the end, nothing of ours
is left of it. Its disks must fit twice into the temporary directory, sparsely.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from adapters.hyperv.settings import HypervSettings
from adapters.hyperv.snapshot import HypervSnapshot
from adapters.hyperv.source import HypervSource
from adapters.port import BlockReader, Extent, MachineFact, SnapshotRequest, Tracked
from adapters.secret import Secret
from tests.support.hyperv.network import served
from tests.support.hyperv.world import HypervWorld

MACHINE = os.environ.get("HOLDFAST_HYPERV_MACHINE")
PIECE_BYTES = 4 << 20


def copy(reader: BlockReader, extents: Iterable[Extent], to: Path) -> None:
    """Write extents into a file of the disk's size; zeros become holes or zeros."""
    with to.open("r+b" if to.exists() else "x+b") as file:
        file.truncate(reader.size_bytes)
        for extent in extents:
            for at in range(extent.start, extent.end, PIECE_BYTES):
                piece = bytearray(min(PIECE_BYTES, extent.end - at))
                if not extent.zero:
                    reader.pread_into(at, memoryview(piece))
                file.seek(at)
                file.write(piece)


def differing(one: Path, other: Path) -> int | None:
    """The first piece in which two files differ."""
    with one.open("rb") as left, other.open("rb") as right:
        at = 0
        while (piece := left.read(PIECE_BYTES)) == right.read(PIECE_BYTES):
            if not piece:
                return None
            at += len(piece)
        return at


def freeze(source: HypervSource, machine: MachineFact, bases: dict[str, str | None]) -> HypervSnapshot:
    """Take a snapshot of the disks that can be protected."""
    wanted = {disk.key: bases.get(disk.key) for disk in machine.disks if disk.exclusion is None}
    taken = source.snapshot(machine, SnapshotRequest("holdfast-test", wanted, source.consistency))
    assert isinstance(taken, HypervSnapshot)
    return taken


def back_up_twice(source: HypervSource, name: str, folder: Path) -> None:
    """The changes since the first backup, on top of it, are what the second one's checkpoint holds."""
    machine = next(machine for machine in source.inventory() if machine.name == name)
    source.reconcile(machine, {})
    bases: dict[str, str | None] = {}
    for round_ in (1, 2):
        snapshot = freeze(source, machine, bases)
        committed = False
        try:
            for number, disk in enumerate(snapshot.disks.values()):
                reader = disk.open()
                built, whole = folder / f"built-{number}", folder / f"whole-{number}"
                if round_ == 2 and disk.fact.tracking == "rct":
                    assert isinstance(disk.tracking, Tracked), disk.tracking
                    copy(reader, disk.changes(), built)
                    copy(reader, reader.extents(), whole)
                    assert differing(built, whole) is None
                else:
                    copy(reader, reader.extents(), built)
                reader.close()
            snapshot.confirm()
            committed = True
        finally:
            snapshot.release(committed=committed)
        bases = {key: disk.base_token for key, disk in snapshot.disks.items()}
        assert source.reconcile(machine, {key: base for key, base in bases.items() if base is not None}) == []
    source.reconcile(machine, {})
    assert source.reconcile(machine, {}) == []


def test_a_simulated_machine(tmp_path: Path) -> None:
    """The test below, where we know what it must find."""
    world = HypervWorld(tmp_path / "hosts", nodes=("hv1", "hv2"), cluster=True)
    key = world.add_machine("web", 6 << 20, 2 << 20)
    place = world.place(key)
    world.write(key, place, 0, b"before" * 10_000)
    world.faults.then("create-checkpoint", lambda: world.write(key, place, 3 << 20, b"between" * 10_000), after=1)
    with served(world) as where:
        source = HypervSource("hv", where.settings(cluster=True), tmp_path / "run")
        try:
            back_up_twice(source, "web", tmp_path)
        finally:
            source.close()
    assert world.machines[key].checkpoints == []
    assert world.machines[key].reference_points == []
    assert (tmp_path / "built-0").read_bytes() == world.content(key, place)


if MACHINE is not None:

    def test_your_machine(tmp_path: Path) -> None:
        """A machine of yours, while it runs."""
        settings = HypervSettings(
            os.environ["HOLDFAST_HYPERV"],
            os.environ["HOLDFAST_HYPERV_USER"],
            Secret(lambda: os.environ["HOLDFAST_HYPERV_PASSWORD"]),
            port=int(os.environ.get("HOLDFAST_HYPERV_PORT", "5986")),
            authentication=os.environ.get("HOLDFAST_HYPERV_AUTH", "ntlm"),
            ca_file=Path(ca) if (ca := os.environ.get("HOLDFAST_HYPERV_CA")) else None,
            fingerprint=os.environ.get("HOLDFAST_HYPERV_FINGERPRINT"),
            cluster="HOLDFAST_HYPERV_CLUSTER" in os.environ,
        )
        source = HypervSource("hv", settings, tmp_path / "run")
        try:
            back_up_twice(source, str(MACHINE), tmp_path)
        finally:
            source.close()
