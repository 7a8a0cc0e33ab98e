"""Backups of images: what is read, what is stored, and that every restore point comes back exactly."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from catalog.domain import events as ev
from catalog.domain.facts import DiskPoint
from catalog.domain.run import RunState
from storage.errors import Conflict
from tests.support.lab import CHUNK, KIB, MIB, Lab, allocated_bytes, make_image, pieces, punch, write_at

SIZE = 6 * MIB + 12_345
DISK_KEYS = {"disk", "level", "cause", "size_bytes", "changed_bytes", "read_bytes", "new_chunks", "stored_bytes"}
POINT_KEYS = {"restore_point", "machine", "result", "recorded_at", "disks"}
needs_qemu_img = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="needs qemu-img")


def _first(image: Path, random: Random) -> None:
    """Data at the start, unaligned in the middle, and in the last, partial block."""
    make_image(image, SIZE, list(pieces(random, [(0, MIB), (3 * MIB + 777, 200_001), (SIZE - 345, 345)])))


def _writes(image: Path, random: Random) -> None:
    write_at(image, 5 * CHUNK + 1, random.randbytes(3))
    write_at(image, 2 * MIB, random.randbytes(CHUNK))
    write_at(image, SIZE - 1, random.randbytes(1))


def _zeroes(image: Path, _random: Random) -> None:
    write_at(image, 3 * MIB, bytes(2 * CHUNK))
    write_at(image, 100, bytes(50))


def _holes(image: Path, random: Random) -> None:
    punch(image, 0, 4 * CHUNK)
    punch(image, 2 * MIB + 4 * KIB, 8 * KIB)
    write_at(image, 4 * MIB - 10, random.randbytes(20))


STEPS: list[Callable[[Path, Random], None]] = [_first, _writes, _zeroes, _holes]


def test_every_restore_point_comes_back_exactly(lab: Lab) -> None:
    """A full and three incrementals, with writes, zeroed ranges and holes, are each restored byte by byte, sparse."""
    random, image = Random(1), lab.images / "vm.raw"
    taken = []
    for step in STEPS:
        step(image, random)
        if not taken:
            lab.add_images()
        taken.append((lab.backup_one(), image.read_bytes(), allocated_bytes(image)))
    for record, content, allocated in taken:
        target = lab.restore(record["restore_point"])
        assert target.read_bytes() == content
        assert allocated_bytes(target) <= allocated + 8 * CHUNK < SIZE
    levels = [record["disks"][0]["level"] for record, _, _ in taken]
    assert levels == ["full", "incremental", "incremental", "incremental"]


def test_json_of_a_backup_is_the_contract(lab: Lab) -> None:
    """`backup --json` is a list of restore points with the promised keys, and the figures add up."""
    image = lab.images / "vm.raw"
    _first(image, Random(2))
    lab.add_images()
    first, again = lab.backup_one(), lab.backup_one()
    for record in (first, again):
        assert record.keys() >= POINT_KEYS
        assert record["result"] == "complete"
        assert record["machine"] == "vm"
        assert all(disk.keys() >= DISK_KEYS for disk in record["disks"])
    (full,), (incremental,) = first["disks"], again["disks"]
    assert (full["level"], full["cause"], full["size_bytes"]) == ("full", "first-backup", SIZE)
    assert 0 < full["new_chunks"] <= -(-full["read_bytes"] // CHUNK)
    assert full["read_bytes"] <= SIZE
    assert (incremental["level"], incremental["cause"]) == ("incremental", "compared")
    assert (incremental["changed_bytes"], incremental["new_chunks"], incremental["stored_bytes"]) == (0, 0, 0)


def test_an_incremental_stores_the_change_only(lab: Lab) -> None:
    """Writing one byte costs one chunk."""
    image = lab.images / "vm.raw"
    _first(image, Random(3))
    lab.add_images()
    lab.backup()
    write_at(image, 5 * MIB, b"x")
    (disk,) = lab.backup_one()["disks"]
    assert (disk["new_chunks"], disk["changed_bytes"]) == (1, CHUNK)


def test_a_change_is_never_larger_than_the_disk(lab: Lab) -> None:
    """A short last block counts with the bytes it has."""
    image = lab.images / "vm.raw"
    make_image(image, 1000, [(0, b"a" * 1000)])
    lab.add_images()
    lab.backup()
    write_at(image, 0, b"b")
    (disk,) = lab.backup_one()["disks"]
    assert disk["changed_bytes"] == 1000


def test_an_empty_disk_is_a_restore_point(lab: Lab) -> None:
    """A disk without any data stores nothing and comes back as one hole."""
    make_image(lab.images / "vm.raw", SIZE, [])
    lab.add_images()
    record = lab.backup_one()
    assert record["disks"][0]["new_chunks"] == 0
    target = lab.restore(record["restore_point"])
    assert target.read_bytes() == bytes(SIZE)
    assert allocated_bytes(target) == 0


def test_a_folder_of_images_is_one_machine(lab: Lab) -> None:
    """Two images in one folder are two disks of one machine, in one restore point, restored by name."""
    random, folder = Random(4), lab.images / "db"
    folder.mkdir()
    for name in ("system.raw", "data.raw"):
        make_image(folder / name, 2 * MIB, list(pieces(random, [(CHUNK, 300_000)])))
    lab.add_images()
    record = lab.backup_one(target="lab/db")
    assert sorted(disk["disk"] for disk in record["disks"]) == ["data.raw", "system.raw"]
    target = lab.root / "out"
    target.mkdir()
    lab.ok("restore", record["restore_point"], "--to", target)
    assert sorted(path.name for path in target.iterdir()) == ["data.raw.raw", "system.raw.raw"]
    for name in ("system.raw", "data.raw"):
        assert (target / f"{name}.raw").read_bytes() == (folder / name).read_bytes()
        assert lab.restored(record["restore_point"], "--disk", name) == (folder / name).read_bytes()


@needs_qemu_img
@pytest.mark.skipif(shutil.which("qemu-nbd") is None, reason="needs qemu-nbd")
@pytest.mark.parametrize("image_format", ["qcow2", "vmdk", "vhdx"])
def test_images_of_other_formats_are_sources(lab: Lab, image_format: str) -> None:
    """The disk inside a qcow2, VMDK or VHDX file is backed up, incrementally too, and not the file."""
    random, plain = Random(5), lab.root / "plain.raw"
    size = 6 * MIB
    make_image(plain, size, list(pieces(random, [(0, MIB), (4 * MIB, 333)])))
    image = lab.images / f"vm.{image_format}"

    def convert() -> None:
        command = ["qemu-img", "convert", "-f", "raw", "-O", image_format, str(plain), str(image)]
        subprocess.run(command, check=True)

    convert()
    lab.add_images()
    first, before = lab.backup_one(), plain.read_bytes()
    write_at(plain, 2 * MIB + 5, random.randbytes(10))
    convert()
    second = lab.backup_one()
    assert first["disks"][0]["size_bytes"] == size
    assert (second["disks"][0]["level"], second["disks"][0]["new_chunks"]) == ("incremental", 1)
    assert lab.restored(first["restore_point"]) == before
    assert lab.restored(second["restore_point"]) == plain.read_bytes()


def test_resized_disks_are_read_in_full(lab: Lab) -> None:
    """A disk that grew or shrank gets a full with cause disk-resized, and both old and new come back exactly."""
    random, image = Random(6), lab.images / "vm.raw"
    make_image(image, 2 * MIB, list(pieces(random, [(0, MIB)])))
    lab.add_images()
    taken = [(lab.backup_one(), image.read_bytes())]
    for size in (3 * MIB + 10, MIB + 7):
        with image.open("r+b") as file:
            file.truncate(size)
        write_at(image, size - 5, b"tail!")
        taken.append((lab.backup_one(), image.read_bytes()))
    assert [record["disks"][0]["cause"] for record, _ in taken] == ["first-backup", "disk-resized", "disk-resized"]
    for record, content in taken:
        assert lab.restored(record["restore_point"]) == content


def test_an_image_replaced_under_its_name_comes_back_exactly(lab: Lab) -> None:
    """Another image under the same name is compared block by block, so no byte of the old one shows."""
    random, image = Random(7), lab.images / "vm.raw"
    make_image(image, 2 * MIB, list(pieces(random, [(0, MIB)])))
    lab.add_images()
    lab.backup()
    image.unlink()
    make_image(image, 2 * MIB, list(pieces(random, [(MIB + 5, 100_000)])))
    assert lab.restored(lab.backup_one()["restore_point"]) == image.read_bytes()


def test_a_disk_that_cannot_be_read_makes_the_point_partial(lab: Lab) -> None:
    """The other disk is kept, the point says partial and which disk is left out why, and the exit code is 3."""
    folder = lab.images / "db"
    folder.mkdir()
    make_image(folder / "good.raw", MIB, [(0, b"good")])
    (folder / "bad.qcow2").write_bytes(b"not an image at all" * 100)
    lab.add_images()
    answer = lab.run("backup", "lab", "--json")
    (record,) = answer.json()
    assert (answer.code, record["result"]) == (3, "partial")
    assert [disk["disk"] for disk in record["disks"]] == ["good.raw"]
    assert record["left_out"][0]["disk"] == "bad.qcow2"
    assert "bad.qcow2" in answer.err


def test_a_machine_without_a_readable_disk_fails_alone(lab: Lab) -> None:
    """The other machines get their restore points; the command exits 3 and names the machine."""
    make_image(lab.images / "good.raw", MIB, [(0, b"good")])
    (lab.images / "bad.qcow2").write_bytes(b"not an image at all" * 100)
    lab.add_images()
    answer = lab.run("backup", "lab", "--json")
    assert answer.code == 3
    assert [record["machine"] for record in answer.json()] == ["good"]
    assert answer.problem()["code"] == "no-disks"
    assert [event.code for event in lab.of_type(ev.BackupFailed)] == ["no-disks"]


def test_full_is_asked_for(lab: Lab) -> None:
    """`--full` reads everything whatever there is to build on, and stores nothing twice."""
    make_image(lab.images / "vm.raw", MIB, [(0, Random(8).randbytes(MIB))])
    lab.add_images()
    lab.backup()
    (disk,) = lab.backup_one("--full")["disks"]
    assert (disk["level"], disk["cause"], disk["read_bytes"]) == ("full", "full-requested", MIB)
    assert disk["new_chunks"] == 0


def test_every_run_tells_a_whole_story(lab: Lab) -> None:
    """Each run's events fold, in an order that the domain allows, to a completed and cleaned-up run."""
    make_image(lab.images / "vm.raw", MIB, [(0, b"1")])
    lab.add_images()
    lab.backup()
    lab.backup()
    with lab.services() as services:
        runs = [RunState.fold(services.log.stream(event.run_id)) for event in lab.of_type(ev.RunOpened)]
        assert [(run.outcome, run.snapshot) for run in runs if run is not None] == [("completed", "released")] * 2
        (state,) = services.catalog.machines()
        assert not state.open_runs


def test_a_machine_found_changed_during_its_backup_is_no_conflict(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who lists the source while a backup runs, and finds a disk grown, does not make the backup fail."""
    image = lab.images / "vm.raw"
    make_image(image, MIB, [(0, b"1")])
    (lab.images / "db").mkdir()
    make_image(lab.images / "db" / "one.raw", MIB, [(0, b"1")])
    lab.add_images()
    from ingest import flow
    from ingest.inventory import discover
    from ingest.sources import connected

    inner = flow.MachineBackup._copy_disks
    seen = []

    def copy_then_meet_another(self: flow.MachineBackup, *arguments: object) -> list[DiskPoint]:
        points = inner(self, *arguments)  # type: ignore[arg-type]  # passed on as it came
        if not seen:
            make_image(lab.images / "db" / "two.raw", MIB, [])
            with lab.services() as other, connected(other, "lab") as source:
                seen.extend(discover(other, "lab", source))
        return points

    monkeypatch.setattr(flow.MachineBackup, "_copy_disks", copy_then_meet_another)
    records = lab.backup()
    assert sorted(record["machine"] for record in records) == ["db", "vm"]
    assert lab.of_type(ev.BackupFailed) == []


def test_machines_of_one_source_at_the_same_time(lab: Lab) -> None:
    """Processes that back up different machines with shared chunks do not disturb each other."""
    random = Random(9)
    shared = random.randbytes(2 * MIB)
    names = ("a", "b", "c")
    for name in names:
        make_image(lab.images / f"{name}.raw", 6 * MIB, [(0, shared), (3 * MIB, random.randbytes(2 * MIB))])
    lab.add_images()
    for _ in range(2):
        running = [lab.start("backup", f"lab/{name}", "--full") for name in names]
        for process in running:
            _, err = process.communicate()
            assert process.returncode == 0, err
    for point in lab.json("points"):
        content = (lab.images / f"{point['machine']}.raw").read_bytes()
        assert lab.restored(point["restore_point"]) == content
    lab.ok("verify")
    stored = [path for path in (lab.home.store_dir / "packs").glob("*/*") if path.is_file()]
    assert sorted(stored) == sorted(lab.packs())


def test_a_busy_machine_is_a_conflict(lab: Lab) -> None:
    """While somebody holds a machine, its backup exits 8, and nothing is recorded about a run."""
    from ingest.backup import machine_lock

    make_image(lab.images / "vm.raw", MIB, [(0, b"1")])
    lab.add_images()
    with lab.services() as services:
        (state,) = services.catalog.machines()
        with machine_lock(services, state, "worked on"):
            assert lab.fails(8, "backup", "lab")["code"] == "busy"
    assert lab.of_type(ev.RunOpened) == []
    lab.backup()


def test_a_damaged_index_does_not_take_a_restore_point_back(lab: Lab) -> None:
    """The backup is recorded and printed although the index cannot follow, and a rebuild shows it."""
    make_image(lab.images / "vm.raw", MIB, [(0, b"1")])
    lab.add_images()
    lab.backup()
    shutil.rmtree(lab.home.lake_dir)
    answer = lab.run("backup", "lab", "--json")
    assert answer.code == 0
    assert "rebuild index" in answer.err
    lab.ok("rebuild", "index")
    assert [row["restore_point"] for row in lab.json("points")][-1] == answer.json()[0]["restore_point"]


def test_a_run_that_died_after_its_commit_keeps_its_outcome(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that ended between the restore point and its closing is closed as completed, not as interrupted."""
    from ingest import flow

    make_image(lab.images / "vm.raw", MIB, [(0, b"1")])
    lab.add_images()

    def die(*_arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(flow.MachineBackup, "_close_completed", die)
        assert lab.run("backup", "lab").code == 130
    lab.backup()
    assert [event.outcome for event in lab.of_type(ev.RunClosed)] == ["completed", "completed"]
    assert lab.of_type(ev.BackupInterrupted) == []
    assert len(lab.json("points")) == 2


def test_a_log_that_is_full_still_lets_the_snapshot_go(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """When no event can be recorded any more the source is released all the same, and the next run tidies up."""
    from adapters.image.snapshot import ImageSnapshot
    from catalog.log import EventLog
    from storage.errors import Limit

    make_image(lab.images / "vm.raw", MIB, [(0, b"1")])
    lab.add_images()
    released = []
    save, release = EventLog.save, ImageSnapshot.release
    full = []

    def limited(self: EventLog, *events: ev.Event) -> int:
        if full or any(isinstance(event, ev.DiskSealed) for event in events):
            full.append(True)
            raise Limit("no space for the event log", code="log-full")
        return save(self, *events)

    def noted(self: ImageSnapshot, *, committed: bool) -> None:
        released.append(committed)
        release(self, committed=committed)

    with monkeypatch.context() as patched:
        patched.setattr(EventLog, "save", limited)
        patched.setattr(ImageSnapshot, "release", noted)
        assert lab.fails(9, "backup", "lab")["code"] == "log-full"
    assert released == [False]
    record = lab.backup_one()
    assert lab.restored(record["restore_point"]) == (lab.images / "vm.raw").read_bytes()
    assert [event.outcome for event in lab.of_type(ev.RunClosed)] == ["interrupted", "completed"]


def test_conflicts_are_not_swallowed(lab: Lab) -> None:
    """A stream that always moves ends in the Conflict, not in an endless loop."""
    from ingest.streams import ATTEMPTS, despite_others

    calls = []

    def attempt() -> None:
        calls.append(1)
        raise Conflict("moved", code="event-version")

    with pytest.raises(Conflict):
        despite_others(attempt)
    assert len(calls) == ATTEMPTS
