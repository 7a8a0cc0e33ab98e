"""Machines on a storage array from the command line: a real btrfs below our vSphere simulator is the array."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from adapters.vmware.transport.array.building import build_array
from adapters.vmware.transport.array.settings import ArraySettings, ReflinkSettings
from catalog.domain import events as ev
from tests.support.eventually import eventually
from tests.support.lab import KIB, MIB, Lab
from tests.support.loop_filesystem import loop_filesystem
from tests.support.qemu_vm import MISSING_TOOLS
from tests.support.vsphere.building import MachineSpec
from tests.support.vsphere.devices import DiskSpec
from tests.support.vsphere.on_btrfs import BTRFS_BYTES, VOLUME, vsphere_on_btrfs
from tests.support.vsphere.simulator import DATASTORE, VsphereSimulator

IN_ORDER = [
    *("RunOpened", "BackupStarted", "SnapshotRequested", "SnapshotCreated"),
    *("TransportChosen", "DiskPlanned", "DiskSealed"),
    *("ConfigurationRecorded", "RestorePointCommitted", "BackupCompleted"),
    *("SnapshotReleaseRequested", "SnapshotReleased", "RunClosed"),
]
Site = tuple[VsphereSimulator, ArraySettings]


@pytest.fixture
def lab() -> Iterator[Lab]:
    """An empty repository below a short path."""
    with tempfile.TemporaryDirectory(prefix="hf-") as folder:
        yield Lab(Path(folder) / "lab")


@pytest.fixture(scope="module")
def btrfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A btrfs, mounted once for all."""
    if MISSING_TOOLS:
        pytest.skip(f"needs {', '.join(MISSING_TOOLS)}")
    with loop_filesystem("btrfs", tmp_path_factory.mktemp("btrfs"), BTRFS_BYTES) as mount:
        yield mount


@pytest.fixture
def site(btrfs: Path) -> Iterator[Site]:
    """A vCenter with one machine, whose datastore is on the array."""
    with vsphere_on_btrfs(btrfs, [MachineSpec("web", disks=(DiskSpec(4 * MIB), DiskSpec(MIB)))]) as (running, array):
        running.write("web", 0, 0, Random(1).randbytes(2 * MIB))
        running.write("web", 1, 300 * KIB, b"data" * 1000)
        yield running, array


def add(lab: Lab, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Add the vCenter as a source, with its array described in a file that is gone afterwards."""
    vsphere, array = site
    assert isinstance(array.driver, ReflinkSettings)
    monkeypatch.setenv("VC_PASSWORD", vsphere.password)
    described = lab.root / "array.toml"
    described.write_text(
        f'driver = "reflink"\nroot = "{array.driver.root}"\n\n[datastores]\n"{DATASTORE}" = "{VOLUME}"\n'
    )
    where = ["--host", vsphere.host, "--port", str(vsphere.port), "--fingerprint", vsphere.fingerprint]
    who = ["--user", vsphere.user, "--password", "env:VC_PASSWORD"]
    lab.ok("source", "add", "dc1", "--kind", "vmware", *where, *who, "--array", described)
    described.unlink()


def left(site: Site) -> tuple[int, int]:
    """How many snapshots of ours the machine and the array have."""
    return len(site[0].snapshots("web")), len(build_array(site[1]).labels())


def test_full_incremental_and_restore(lab: Lab, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read from the array, recorded in order as such, incremental after writes, restored: bytes equal, nothing left."""
    vsphere, _ = site
    add(lab, site, monkeypatch)
    before = len(lab.recorded())
    full = lab.backup_one(target="dc1/web")
    contents = [vsphere.content("web", index) for index in (0, 1)]
    vsphere.write("web", 0, 3 * MIB + 5, b"written later")
    vsphere.discard("web", 0, 0, 64 * KIB)
    incremental = lab.backup_one(target="dc1/web")
    later = [vsphere.content("web", index) for index in (0, 1)]

    names = [type(event).__name__ for event in lab.recorded()[before:]]
    for run in (names[: names.index("RunClosed") + 1], names[names.index("RunClosed") + 1 :]):
        assert [name for name in dict.fromkeys(run) if name in IN_ORDER] == IN_ORDER
    assert [(disk["level"], disk["cause"]) for disk in incremental["disks"]] == [("incremental", "tracked")] * 2
    assert [event.kind for event in lab.of_type(ev.TransportChosen)] == ["array_snapshot"] * 4
    assert [event.transport for event in lab.of_type(ev.DiskPlanned)] == ["array_snapshot"] * 4
    assert lab.of_type(ev.TransportFellBack) == lab.of_type(ev.SnapshotReleaseFailed) == []
    assert left(site) == (0, 0)
    labels = [disk["disk"] for disk in full["disks"]]
    for point, expected in ((full, contents), (incremental, later)):
        assert [lab.restored(point["restore_point"], "--disk", label) for label in labels] == expected
    lab.ok("verify")


def test_a_kill_before_the_machines_snapshot_is_dropped(lab: Lab, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed when the array has its snapshot and the machine still has its own: the next run removes both."""
    vsphere, _ = site
    add(lab, site, monkeypatch)
    first = lab.backup_one(target="dc1/web")
    vsphere.faults.stay_silent("RemoveSnapshot_Task")
    vsphere.write("web", 0, 100, b"before the kill")
    process = lab.start("backup", "dc1/web")
    try:
        eventually(lambda: left(site) == (1, 1), "both snapshots are there")
    finally:
        process.kill()
        process.communicate()
    vsphere.faults.end()
    vsphere.write("web", 0, MIB, b"after the kill")
    cleaned_and_backed_up(lab, site, ["holdfast-", "array snapshot holdfast-"])
    assert first["restore_point"] in {point["restore_point"] for point in lab.json("points", "web")}


def test_a_kill_before_the_first_read(lab: Lab, site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Killed when the machine's snapshot is gone and nothing is read yet: the next run removes the array's."""
    vsphere, _ = site
    add(lab, site, monkeypatch)
    lab.backup_one(target="dc1/web")
    waits = tmp_path / "qemu-nbd"
    waits.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 600\n")
    waits.chmod(0o755)
    with monkeypatch.context() as patched:
        patched.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        process = lab.start("backup", "dc1/web")
    try:
        eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip(), "it would read")
    finally:
        process.kill()
        process.communicate()
        os.kill(int((tmp_path / "pid").read_text()), 9)
    assert left(site) == (0, 1)
    vsphere.write("web", 0, MIB, b"after the kill")
    cleaned_and_backed_up(lab, site, ["run folder of ", "array snapshot holdfast-"])


def cleaned_and_backed_up(lab: Lab, site: Site, cleaned: list[str]) -> None:
    """The next run cleans up what is named, is incremental, and restores to what the machine holds."""
    vsphere, _ = site
    again = lab.backup_one(target="dc1/web")
    told = [event.what.removeprefix("snapshot ") for event in lab.of_type(ev.LeftoverCleaned)]
    assert len(told) == len(cleaned)
    assert all(what.startswith(start) for what, start in zip(told, cleaned, strict=True)), told
    assert left(site) == (0, 0)
    assert [disk["level"] for disk in again["disks"]] == ["incremental"] * 2
    assert lab.restored(again["restore_point"], "--disk", again["disks"][0]["disk"]) == vsphere.content("web", 0)
