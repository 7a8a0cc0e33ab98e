"""Backups of a real, running QEMU: dirty bitmaps, their loss, its death, and two backups at once."""

from __future__ import annotations

import subprocess
import time
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from adapters.qemu.snapshot import QemuSnapshot
from catalog.domain import events as ev
from tests.ingest.conftest import StartVm
from tests.support.guest_agent_simulator import GuestAgentSimulator
from tests.support.lab import MIB, Lab
from tests.support.qemu_vm import QemuVm, VmDisk

SIZE = 16 * MIB


@pytest.fixture
def vm(short_lab: Lab, start_vm: StartVm) -> QemuVm:
    """A machine with one disk, half full, and a source for it."""
    machine = start_vm(VmDisk("disk0", size_bytes=SIZE))
    machine.write("disk0", 0, Random(51).randbytes(8 * MIB))
    short_lab.ok("source", "add", "vm", "--kind", "qemu", "--qmp", machine.qmp_path)
    return machine


def _backup(lab: Lab) -> dict[str, object]:
    return lab.backup_one(target="vm")


def test_incrementals_from_bitmaps_are_exact(short_lab: Lab, vm: QemuVm) -> None:
    """A full and incrementals of writes, zeroes and discards each come back as QEMU itself shows the disk."""
    lab, random = short_lab, Random(52)
    taken = [(_backup(lab), vm.content("disk0"))]
    vm.write("disk0", 9 * MIB + 512, random.randbytes(MIB))
    vm.write("disk0", 2 * MIB, bytes(MIB))
    taken.append((_backup(lab), vm.content("disk0")))
    vm.discard("disk0", 4 * MIB, 2 * MIB)
    vm.write("disk0", SIZE - 512, random.randbytes(512))
    taken.append((_backup(lab), vm.content("disk0")))
    for record, content in taken:
        assert lab.restored(record["restore_point"]) == content
    disks = [record["disks"][0] for record, _ in taken]
    assert [(disk["level"], disk["cause"]) for disk in disks] == [
        ("full", "first-backup"),
        ("incremental", "tracked"),
        ("incremental", "tracked"),
    ]


def test_an_incremental_reads_the_change_only(short_lab: Lab, vm: QemuVm) -> None:
    """One changed byte makes an incremental read a few blocks, whatever the disk's size."""
    _backup(short_lab)
    vm.write("disk0", 5 * MIB, b"x" * 512)
    (disk,) = _backup(short_lab)["disks"]  # type: ignore[misc]  # JSON
    assert 0 < disk["read_bytes"] <= 2 * 65536
    assert disk["new_chunks"] == 1


def test_a_discard_is_a_change(short_lab: Lab, vm: QemuVm) -> None:
    """What the guest discarded counts as changed, though nothing of it is read."""
    _backup(short_lab)
    vm.discard("disk0", 4 * MIB, 2 * MIB)
    (disk,) = _backup(short_lab)["disks"]  # type: ignore[misc]  # JSON
    assert (disk["changed_bytes"], disk["read_bytes"], disk["new_chunks"]) == (2 * MIB, 0, 0)


def test_a_silent_guest_agent_is_a_recorded_fall_back(short_lab: Lab, vm: QemuVm) -> None:
    """File systems are frozen where there is a guest agent; that they could not be is in the event and said.

    The agent is a simulator: the guest has no file systems.
    """
    with GuestAgentSimulator().serving(short_lab.root / "agent") as agent:
        short_lab.ok("source", "add", "guest", "--kind", "qemu", "--qmp", vm.qmp_path, "--ga", agent)
        assert short_lab.backup_one(target="guest")["consistency"] == "filesystem"
    record = short_lab.backup_one(target="guest")
    created = short_lab.of_type(ev.SnapshotCreated)[-1]
    assert (record["consistency"], created.consistency) == ("crash", "crash")
    assert created.fallback_cause
    assert any(created.fallback_cause in warning for warning in record["warnings"])


def test_a_lost_bitmap_is_a_full_with_its_cause(short_lab: Lab, vm: QemuVm) -> None:
    """After QEMU was killed its bitmap is inconsistent: that disk is read in full, and JSON and event say why."""
    _backup(short_lab)
    vm.write("disk0", MIB, b"y" * 512)
    vm.kill()
    vm.start()
    record = _backup(short_lab)
    (disk,) = record["disks"]  # type: ignore[misc]  # JSON
    assert disk["level"] == "full"
    assert "bitmap" in disk["cause"]
    planned = short_lab.of_type(ev.DiskPlanned)[-1]
    assert (planned.level, planned.cause) == ("full", disk["cause"])
    assert short_lab.restored(record["restore_point"]) == vm.content("disk0")
    assert _backup(short_lab)["disks"][0]["level"] == "incremental"  # type: ignore[index]  # JSON


def test_qemu_dies_during_a_backup(short_lab: Lab, vm: QemuVm, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clear error, no restore point, no open run; when QEMU runs again the next backup is exact."""
    inner = QemuSnapshot.confirm

    def die_then_confirm(self: QemuSnapshot) -> None:
        vm.kill()
        inner(self)

    with monkeypatch.context() as patched:
        patched.setattr(QemuSnapshot, "confirm", die_then_confirm)
        problem = short_lab.fails(7, "backup", "vm")
    assert problem["title"]
    assert short_lab.json("points") == []
    assert short_lab.fails(7, "backup", "vm")["title"]
    vm.start()
    assert short_lab.restored(_backup(short_lab)["restore_point"]) == vm.content("disk0")
    assert {event.outcome for event in short_lab.of_type(ev.RunClosed)} == {"failed", "completed"}


def test_qemu_dies_while_it_is_read(short_lab: Lab, vm: QemuVm) -> None:
    """QEMU killed at a random moment of a real backup process ends it with exit 7 and no point, or lets it pass."""
    random = Random(53)
    for _ in range(2):
        process = short_lab.start("backup", "vm", "--full")
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=random.uniform(0.05, 0.6))
        vm.kill()
        _, err = process.communicate(timeout=60)
        assert process.returncode in (0, 7), err
        assert b"Traceback" not in err
        vm.start()
    assert short_lab.restored(_backup(short_lab)["restore_point"]) == vm.content("disk0")


def test_two_backups_of_one_machine(short_lab: Lab, vm: QemuVm) -> None:
    """Of two processes at once one makes the restore point and the other exits 8; the bitmap chain goes on."""
    from ingest.backup import machine_lock

    _backup(short_lab)
    with short_lab.services() as services:
        (state,) = services.catalog.machines()
        with machine_lock(services, state, "backed up"):
            loser = short_lab.start("backup", "vm", "--json")
            _, err = loser.communicate()
            assert loser.returncode == 8, err
    vm.write("disk0", MIB, b"z" * 512)
    racers = [short_lab.start("backup", "vm", "--json") for _ in range(2)]
    codes = sorted((racer.communicate(), racer.returncode)[1] for racer in racers)
    assert codes in ([0, 0], [0, 8])
    record = _backup(short_lab)
    assert record["disks"][0]["level"] == "incremental"  # type: ignore[index]  # JSON
    assert short_lab.restored(record["restore_point"]) == vm.content("disk0")


def test_a_source_that_is_gone_is_unavailable(short_lab: Lab, vm: QemuVm) -> None:
    """A machine that is switched off is exit 7 with a reason, for a backup and for a check."""
    vm.kill()
    for command in (["backup", "vm"], ["source", "check", "vm"]):
        assert short_lab.fails(7, *command)["title"]


def test_killed_runs_are_cleaned_up(short_lab: Lab, vm: QemuVm) -> None:
    """What a killed backup leaves in QEMU is removed by the next run, which tells so in an event and a warning."""
    process = short_lab.start("backup", "vm")
    deadline = time.monotonic() + 30
    while not any(isinstance(event, ev.SnapshotCreated) for event in short_lab.recorded()):
        assert time.monotonic() < deadline
        assert process.poll() is None or short_lab.json("points")
    process.kill()
    process.communicate()
    record = _backup(short_lab)
    if short_lab.of_type(ev.BackupInterrupted):
        assert short_lab.of_type(ev.LeftoverCleaned)
        assert any("cleaned up" in warning for warning in record["warnings"])  # type: ignore[attr-defined]  # JSON
    assert short_lab.restored(record["restore_point"]) == vm.content("disk0")


def test_scratch_space_is_inside_the_home(short_lab: Lab, vm: QemuVm) -> None:
    """Nothing of a backup is left outside the home, nor in its scratch space."""
    before = set(vm.directory.iterdir())
    _backup(short_lab)
    assert {path.name for path in set(vm.directory.iterdir()) - before} == set()
    left = [path for path in short_lab.home.scratch_dir.rglob("*") if not path.is_dir()]
    assert [path for path in left if not _is_lock(path)] == []


def _is_lock(path: Path) -> bool:
    return path.suffix == ".lock"


def test_a_resized_disk_is_read_in_full(short_lab: Lab, vm: QemuVm) -> None:
    """A disk that grew while QEMU runs gets a full with its cause, and both sizes come back exactly."""
    first, before = _backup(short_lab), vm.content("disk0")
    vm.resize("disk0", SIZE + 3 * MIB)
    vm.write("disk0", SIZE + MIB, b"grown" + bytes(507))
    second = _backup(short_lab)
    (disk,) = second["disks"]  # type: ignore[misc]  # JSON
    assert (disk["level"], disk["cause"], disk["size_bytes"]) == ("full", "disk-resized", SIZE + 3 * MIB)
    assert short_lab.restored(first["restore_point"]) == before
    assert short_lab.restored(second["restore_point"]) == vm.content("disk0")


def test_a_replaced_disk_is_read_in_full(short_lab: Lab, vm: QemuVm) -> None:
    """Another image under the same name has no bitmap of ours: a full with its cause, and exact."""
    _backup(short_lab)
    vm.quit()
    vm.image("disk0").unlink()
    vm.create_image(vm.disks["disk0"])
    vm.start()
    vm.write("disk0", 3 * MIB, b"another disk" + bytes(500))
    record = _backup(short_lab)
    (disk,) = record["disks"]  # type: ignore[misc]  # JSON
    assert disk["level"] == "full"
    assert disk["cause"] in ("disk-replaced", "bitmap-missing")
    assert short_lab.restored(record["restore_point"]) == vm.content("disk0")
