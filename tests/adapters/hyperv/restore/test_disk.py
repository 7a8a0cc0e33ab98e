"""Giving a disk back to a machine that is off: the old one stays whole until the machine has the new one."""

from __future__ import annotations

import pytest

from adapters.errors import (
    AdapterError,
    SourceConflict,
    SourceCorrupt,
    SourceInvalid,
    SourceNotFound,
    SourceUnavailable,
)
from adapters.hyperv.source import HypervSource
from adapters.port import MachineFact, SnapshotRequest, Untracked
from tests.adapters.hyperv.conftest import SourceOf
from tests.support.hyperv.images import Image, holey
from tests.support.hyperv.making import MakingWorldFiles
from tests.support.hyperv.world import MIB, HypervWorld

LABEL = "restore-9"
SIZE = 4 * MIB


@pytest.fixture
def files(world: HypervWorld) -> MakingWorldFiles:
    """The host's files, with knobs."""
    return MakingWorldFiles(world)


@pytest.fixture
def machine_id(world: HypervWorld) -> str:
    """A machine that is off, with something on its disk."""
    machine = world.add_machine("web", SIZE)
    world.write(machine, world.place(machine), 0, b"what is there")
    world.turn(machine, "off")
    return machine


@pytest.fixture
def source(world: HypervWorld, source_of: SourceOf, files: MakingWorldFiles, machine_id: str) -> HypervSource:
    """A source on the host."""
    return source_of(world, files)


def fact(source: HypervSource) -> MachineFact:
    """The machine as it is listed."""
    (machine,) = source.inventory()
    return machine


def restore(source: HypervSource, image: Image) -> None:
    """Give the machine's disk that content."""
    machine = fact(source)
    source.restore_disk(machine, machine.disks[0].key, image, LABEL, lambda _: None)


def folder_of(world: HypervWorld, machine_id: str) -> list[str]:
    """The disk files in the machine's folder."""
    folder = world.storage.local(world.machines[machine_id].folder)
    return sorted(path.name for path in folder.glob("*.*vhd*"))


def test_a_disk_gets_the_content_and_stays_the_disk(world: HypervWorld, source: HypervSource, machine_id: str) -> None:
    """The identity is kept, so that it can be restored again; the old file is gone, one file is there."""
    content = holey(SIZE)
    before = fact(source).disks[0]
    restore(source, Image(content))
    now = fact(source).disks[0]
    assert world.content(machine_id, world.place(machine_id)) == content
    assert (now.key, now.identity, now.size_bytes) == (before.key, before.identity, before.size_bytes)
    assert len(folder_of(world, machine_id)) == 1
    source.restore_disk(fact(source), now.key, Image(holey(SIZE, 2)), "restore-10", lambda _: None)
    assert world.content(machine_id, world.place(machine_id)) == holey(SIZE, 2)


def test_the_next_backup_of_it_is_a_full(world: HypervWorld, source: HypervSource, machine_id: str) -> None:
    """Pitfall: the tracking of a base from before the restore knows nothing of it, and is not believed."""
    machine = fact(source)
    key = machine.disks[0].key
    first = source.snapshot(machine, SnapshotRequest("backup-1", {key: None}))
    first.confirm()
    base = first.disks[key].base_token
    first.release(committed=True)
    assert base is not None
    restore(source, Image(holey(SIZE)))
    second = source.snapshot(fact(source), SnapshotRequest("backup-2", {key: base}))
    try:
        assert isinstance(second.disks[key].tracking, Untracked)
    finally:
        second.release(committed=False)


@pytest.mark.parametrize("state", ["running", "saved", "paused", "changing"])
def test_a_machine_that_is_not_off_is_refused(
    world: HypervWorld, source: HypervSource, machine_id: str, state: str
) -> None:
    """A saved machine's memory belongs to the disk that it was saved with."""
    world.turn(machine_id, state)
    machine = fact(source)
    with pytest.raises(SourceConflict) as raised:
        source.require_overwritable(machine, machine.disks[0].key)
    assert raised.value.code == "machine-running"
    with pytest.raises(SourceConflict):
        restore(source, Image(holey(SIZE)))
    assert world.content(machine_id, world.place(machine_id))[:13] == b"what is there"


def test_a_machine_with_checkpoints_is_refused(world: HypervWorld, source: HypervSource, machine_id: str) -> None:
    """Their files build on the one that would be replaced."""
    world.plant_checkpoint(machine_id)
    machine = fact(source)
    with pytest.raises(SourceConflict) as raised:
        source.require_overwritable(machine, machine.disks[0].key)
    assert raised.value.code == "machine-has-checkpoints"


def test_a_machine_that_starts_meanwhile_keeps_its_disk(
    world: HypervWorld, source: HypervSource, machine_id: str
) -> None:
    """It is looked at again before the change; the new file is gone."""
    machine = fact(source)

    def start(written: int) -> None:
        world.turn(machine_id, "running")

    with pytest.raises(SourceConflict) as raised:
        source.restore_disk(machine, machine.disks[0].key, Image(holey(SIZE)), LABEL, start)
    assert raised.value.code == "machine-running"
    assert world.content(machine_id, world.place(machine_id))[:13] == b"what is there"
    assert len(folder_of(world, machine_id)) == 1


def test_another_size_is_refused(world: HypervWorld, source: HypervSource, machine_id: str) -> None:
    """Nothing is cut off, and nothing is filled up."""
    with pytest.raises(SourceConflict) as raised:
        restore(source, Image(holey(SIZE + MIB)))
    assert raised.value.code == "disk-resized"


def test_disks_that_are_no_files_are_refused(world: HypervWorld, source: HypervSource, machine_id: str) -> None:
    """A pass-through disk is not the host's file, and one that is not there is not found."""
    world.add_passthrough(machine_id)
    machine = fact(source)
    passthrough = next(disk.key for disk in machine.disks if disk.exclusion is not None)
    with pytest.raises(SourceInvalid) as raised:
        source.require_overwritable(machine, passthrough)
    assert raised.value.code == "disk-not-a-file"
    with pytest.raises(SourceNotFound):
        source.require_overwritable(machine, "no/such/place")


@pytest.mark.parametrize("failure", ["image", "volume", "attach"])
def test_what_fails_leaves_the_machine_as_it_was(
    world: HypervWorld, source: HypervSource, files: MakingWorldFiles, machine_id: str, failure: str
) -> None:
    """The old disk is attached and whole, the new file is gone."""
    image = Image(holey(SIZE), fails_at=MIB if failure == "image" else None)
    files.failing_after = MIB if failure == "volume" else None
    if failure == "attach":
        world.jobs.failing["set-disk-path"] = [(32768, ["Access is denied."])]
    kinds = {"image": SourceCorrupt, "volume": SourceUnavailable, "attach": AdapterError}
    with pytest.raises(kinds[failure]):
        restore(source, image)
    assert world.content(machine_id, world.place(machine_id))[:13] == b"what is there"
    assert len(folder_of(world, machine_id)) == 1


def test_a_lost_answer_to_the_change_is_settled_at_the_machine(
    world: HypervWorld, source: HypervSource, machine_id: str
) -> None:
    """The host did it and nobody heard: the machine has the new file, so the restore is done."""
    world.faults.lost["set-disk-path"] = 1
    restore(source, Image(holey(SIZE)))
    assert world.content(machine_id, world.place(machine_id)) == holey(SIZE)
    assert len(folder_of(world, machine_id)) == 1


def test_a_change_that_may_still_come_removes_neither_file(
    world: HypervWorld, source_of: SourceOf, files: MakingWorldFiles, machine_id: str
) -> None:
    """A hung job may end yet: both files stay, and the error says to look."""
    world.jobs.hanging["set-disk-path"] = 1
    ticks = iter(range(0, 100_000, 50))
    source = source_of(world, files, clock=lambda: float(next(ticks)))
    with pytest.raises(SourceUnavailable) as raised:
        restore(source, Image(holey(SIZE)))
    assert raised.value.code == "job-timeout"
    assert LABEL in raised.value.hint
    assert len(folder_of(world, machine_id)) == 2


def test_an_old_file_that_stays_is_told(
    world: HypervWorld, source: HypervSource, files: MakingWorldFiles, machine_id: str
) -> None:
    """The disk is restored; that its old file takes room is no secret."""
    old = folder_of(world, machine_id)[0]
    files.refusing = old
    with pytest.raises(SourceConflict) as raised:
        restore(source, Image(holey(SIZE)))
    assert raised.value.code == "old-file-remains"
    assert old in raised.value.hint
    assert world.content(machine_id, world.place(machine_id)) == holey(SIZE)
