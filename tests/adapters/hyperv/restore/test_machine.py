"""Taking machines back: bytes equal, switched off, in nobody's network, and nothing left of what failed."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from adapters.errors import AdapterError, SourceConflict, SourceCorrupt, SourceInvalid, SourceUnavailable
from adapters.hyperv.restore.recipe import read_recipe
from adapters.hyperv.source import HypervSource
from adapters.port import ConfigurationFile, MachineFact, MachineRestore, SnapshotRequest
from tests.adapters.hyperv.conftest import SourceOf
from tests.support.hyperv.faults import FAILED
from tests.support.hyperv.images import Image, holey
from tests.support.hyperv.making import MakingWorldFiles
from tests.support.hyperv.world import MIB, VOLUME, HypervWorld

LABEL = "restore-7"
SIZES = (4 * MIB, 2 * MIB)


@pytest.fixture
def files(world: HypervWorld) -> MakingWorldFiles:
    """The host's files, with knobs."""
    return MakingWorldFiles(world)


@pytest.fixture
def source(world: HypervWorld, source_of: SourceOf, files: MakingWorldFiles) -> HypervSource:
    """A source on one host with one machine of two disks."""
    world.add_machine("web", *SIZES)
    return source_of(world, files)


def kept(source: HypervSource, machine: MachineFact) -> tuple[ConfigurationFile, ...]:
    """What a backup keeps of a machine."""
    bases = {disk.key: None for disk in machine.disks if disk.exclusion is None}
    snapshot = source.snapshot(machine, SnapshotRequest("backup-1", bases))
    try:
        return tuple(snapshot.configuration)
    finally:
        snapshot.release(committed=False)


def wanted(source: HypervSource, images: Sequence[Image], name: str = "again") -> MachineRestore:
    """A request for a machine like the first one."""
    (machine,) = (found for found in source.inventory() if found.name == "web")
    keys = [disk.key for disk in machine.disks if disk.exclusion is None][: len(images)]
    return MachineRestore(name, LABEL, kept(source, machine), dict(zip(keys, images, strict=True)))


def images() -> list[Image]:
    """A content for each disk."""
    return [Image(holey(size, seed)) for seed, size in enumerate(SIZES)]


def left(world: HypervWorld) -> list[str]:
    """What a restore made in the host's folders and at the host."""
    made = [str(path) for path in world.storage.root.rglob(f"*{LABEL}*")]
    return made + [machine.name for machine in world.machines.values() if machine.planned or machine.name == "again"]


def test_a_machine_comes_back_with_its_bytes_off_and_unconnected(world: HypervWorld, source: HypervSource) -> None:
    """Each disk is in the place that it was in, of the content that it had; progress is told to the last byte."""
    contents = [holey(size, seed) for seed, size in enumerate(SIZES)]
    told: list[int] = []
    made = source.restore_machine(wanted(source, [Image(content) for content in contents]), told.append)
    machine = world.machines[made.key]
    assert (machine.name, machine.state, machine.connected, machine.notes) == ("again", "off", False, "")
    original = next(machine for machine in world.machines.values() if machine.name == "web")
    assert list(machine.disks) == list(original.disks)
    assert [world.content(made.key, place) for place in machine.disks] == contents
    assert sum(told) == sum(extent.length for image in images() for extent in image.extents() if not extent.zero)
    assert any("not connected" in note for note in made.notes)
    fact = next(found for found in source.inventory() if found.key == made.key)
    assert [disk.exclusion for disk in fact.disks] == [None, None]


def test_a_restored_machine_is_another_to_change_tracking(world: HypervWorld, source: HypervSource) -> None:
    """Its disks have identities of their own: no reference point of the original speaks of them."""
    made = source.restore_machine(wanted(source, images()), lambda _: None)
    facts = {found.key: {disk.identity for disk in found.disks} for found in source.inventory()}
    others = set().union(*(identities for key, identities in facts.items() if key != made.key))
    assert not facts[made.key] & others


def test_a_machine_of_an_automatic_checkpoint_comes_back_in_one_file(world: HypervWorld, source: HypervSource) -> None:
    """The definition names .avhdx files then; the restored machine has plain disks, named as the disks were."""
    original = next(iter(world.machines))
    world.plant_checkpoint(original)
    made = source.restore_machine(wanted(source, images()), lambda _: None)
    files = [world.disk(made.key, place).live for place in world.machines[made.key].disks]
    assert all(path.endswith(".vhdx") and not path.endswith(".avhdx") for path in files)
    assert len(set(files)) == 2


def test_a_definition_with_checkpoints_is_imported_without_them(world: HypervWorld, source: HypervSource) -> None:
    """The definition was kept while the backup's own checkpoint was there, and people's may be: none can come along."""
    world.plant_checkpoint(next(iter(world.machines)))
    made = source.restore_machine(wanted(source, images()), lambda _: None)
    assert world.machines[made.key].checkpoints == []
    assert not any("NO MACHINE" in note for note in made.notes)


def test_disks_that_no_backup_has_are_taken_out_and_told(
    world: HypervWorld, source_of: SourceOf, files: MakingWorldFiles
) -> None:
    """A pass-through disk is not attached to the copy: it is the original's."""
    machine = world.add_machine("web", *SIZES)
    world.add_passthrough(machine)
    source = source_of(world, files)
    made = source.restore_machine(wanted(source, images()), lambda _: None)
    assert len(world.machines[made.key].disks) == 2
    assert any("PHYSICALDRIVE7" in note for note in made.notes)


def test_a_taken_name_is_refused_before_anything_is_made(world: HypervWorld, source: HypervSource) -> None:
    """Names need not be unique at a host; a restore does not make them less so."""
    with pytest.raises(SourceConflict) as raised:
        source.restore_machine(wanted(source, images(), name="WEB"), lambda _: None)
    assert raised.value.code == "name-taken"
    assert left(world) == []


@pytest.mark.parametrize("name", ["Zürich 'prod' \"№ 5\"", "日本語", "a/b\\c:d*?", "dots. . ."])
def test_any_name_is_restored(world: HypervWorld, source: HypervSource, name: str) -> None:
    """The machine has the name as it is, its folder what of it Windows takes for a file."""
    made = source.restore_machine(wanted(source, images(), name=name), lambda _: None)
    assert world.machines[made.key].name == name


def test_without_a_definition_the_disks_are_made_and_told(world: HypervWorld, source: HypervSource) -> None:
    """No machine can be made then; its disks are there, and the notes say where and what to do."""
    request = wanted(source, images())
    plain = tuple(file for file in request.configuration if not file.name.endswith(".vmcx"))
    made = source.restore_machine(MachineRestore("again", LABEL, plain, request.disks), lambda _: None)
    assert made.key not in world.machines
    assert any("NO MACHINE" in note and ".vhdx" in note for note in made.notes)
    assert len(list(world.storage.local(made.key).glob("*.vhdx"))) == 2


def test_a_definition_that_the_host_does_not_take_leaves_the_disks(world: HypervWorld, source: HypervSource) -> None:
    """Such as of a newer version: the reason is in the notes."""
    world.jobs.failing["import-definition"] = [(FAILED, ["The version is not supported."])]
    made = source.restore_machine(wanted(source, images()), lambda _: None)
    assert any("version is not supported" in note for note in made.notes)
    assert any("NO MACHINE" in note for note in made.notes)
    assert not [machine for machine in world.machines.values() if machine.planned]


@pytest.mark.parametrize(
    "script", ["describe-machine", "disconnect-networks", "set-disk-path", "validate-machine", "realise-machine"]
)
def test_a_step_that_fails_leaves_nothing(world: HypervWorld, source: HypervSource, script: str) -> None:
    """The planned machine, the disks and the folder are gone again; the original was not touched."""
    world.jobs.refused[script] = [32775]
    with pytest.raises(SourceConflict):
        source.restore_machine(wanted(source, images()), lambda _: None)
    assert left(world) == []
    assert [machine.name for machine in world.machines.values()] == ["web"]


@pytest.mark.parametrize("script", ["realise-machine", "set-disk-path", "import-definition", "disconnect-networks"])
def test_an_answer_that_is_lost_leaves_a_whole_machine_or_nothing(
    world: HypervWorld, source: HypervSource, script: str
) -> None:
    """The step took place and nobody heard: what is at the host decides, and no half machine stays."""
    world.faults.lost[script] = 1
    try:
        made = source.restore_machine(wanted(source, images()), lambda _: None)
    except SourceUnavailable:
        assert left(world) == []
    else:
        assert world.machines[made.key].notes == ""
    assert not [machine for machine in world.machines.values() if machine.planned]


def test_an_answer_lost_at_the_very_end_loses_no_machine(world: HypervWorld, source: HypervSource) -> None:
    """The mark is off already, so the machine is whole and nobody's to remove: with it its disks stay."""
    started = source.restore_machine
    world.faults.then("describe-machine", lambda: world.faults.lost.update({"describe-machine": 1}), after=1)
    made = started(wanted(source, images()), lambda _: None)
    assert [world.content(made.key, place) for place in world.machines[made.key].disks] == [
        holey(size, seed) for seed, size in enumerate(SIZES)
    ]


def test_a_damaged_image_leaves_nothing(world: HypervWorld, source: HypervSource) -> None:
    """The first disk was written whole, the second breaks off: both are gone."""
    broken = Image(holey(SIZES[1], 1), fails_at=MIB)
    with pytest.raises(SourceCorrupt):
        source.restore_machine(wanted(source, [images()[0], broken]), lambda _: None)
    assert left(world) == []


def test_whoever_stops_the_restore_finds_nothing_left(world: HypervWorld, source: HypervSource) -> None:
    """Also what is no error of ours cleans up."""

    def stop(written: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        source.restore_machine(wanted(source, images()), stop)
    assert left(world) == []


def test_what_cannot_be_removed_is_told(world: HypervWorld, source: HypervSource, files: MakingWorldFiles) -> None:
    """The error names the files that remain, and keeps its own reason."""
    files.refusing = "disk0"
    world.jobs.refused["validate-machine"] = [32775]
    with pytest.raises(SourceConflict) as raised:
        source.restore_machine(wanted(source, images()), lambda _: None)
    assert raised.value.code == "machine-busy"
    assert "disk0" in raised.value.hint
    assert any("disk0" in note for note in raised.value.__notes__)


def test_a_machine_that_cannot_be_removed_keeps_its_disks(world: HypervWorld, source: HypervSource) -> None:
    """Nothing is taken from under a machine that is there, whatever state it is in."""
    world.faults.then("describe-machine", lambda: world.jobs.refused.update({"describe-machine": [32775]}), after=1)
    world.jobs.refused["destroy-machine"] = [32769]
    with pytest.raises(AdapterError) as raised:
        source.restore_machine(wanted(source, images()), lambda _: None)
    (made,) = (machine for machine in world.machines.values() if machine.name == "again")
    assert made.id in raised.value.hint
    assert [world.content(made.id, place) for place in made.disks] == [
        holey(size, seed) for seed, size in enumerate(SIZES)
    ]


def test_in_a_cluster_the_disks_go_to_the_volume_that_had_them(cluster: HypervWorld, source_of: SourceOf) -> None:
    """Written through the volume's coordinator of the moment; that the machine is no role of the cluster is told."""
    cluster.add_machine("web", *SIZES, node="hv2")
    cluster.move_volume(VOLUME, "hv3")
    files = MakingWorldFiles(cluster)
    source = source_of(cluster, files)
    made = source.restore_machine(wanted(source, images()), lambda _: None)
    machine = cluster.machines[made.key]
    assert machine.folder.startswith(VOLUME)
    assert any("no role of the cluster" in note for note in made.notes)
    assert [cluster.content(made.key, place) for place in machine.disks] == [
        holey(size, seed) for seed, size in enumerate(SIZES)
    ]


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b'{"format": 2, "notes": "", "disks": [], "files": []}'])
def test_a_configuration_that_is_none_is_refused(content: bytes) -> None:
    """Nothing is guessed of what cannot be read."""
    with pytest.raises(SourceCorrupt) as raised:
        read_recipe([ConfigurationFile("machine.json", content)])
    assert raised.value.code == "configuration-unreadable"


def test_a_label_that_is_none_is_refused(world: HypervWorld, source: HypervSource) -> None:
    """It is part of paths and of our mark."""
    request = wanted(source, images())
    with pytest.raises(SourceInvalid) as raised:
        source.restore_machine(MachineRestore("again", "..\\up", request.configuration, request.disks), lambda _: None)
    assert raised.value.code == "label"
