"""What a killed restore leaves: nobody cleans up after it, and a later process finds it by its label alone.

Killed means here: from that step on nothing reaches the host or its files any more.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from adapters.errors import AdapterError, SourceNotFound, SourceUnavailable
from adapters.hyperv.restore.machine import MachineMaker
from adapters.hyperv.source import HypervSource
from adapters.port import Leftover, MachineRestore, SnapshotRequest
from tests.adapters.hyperv.conftest import SourceOf
from tests.support.hyperv.disks import Disk
from tests.support.hyperv.images import Image, holey
from tests.support.hyperv.machines import Machine
from tests.support.hyperv.making import MakingWorldFiles
from tests.support.hyperv.world import MIB, VOLUME, HypervWorld

LABEL = "holdfast-restore-7"
SIZES = (2 * MIB, MIB)
FOLDER = f"C:\\VMs\\again-{LABEL}"


class Killed(BaseException):
    """The process is gone."""


class Leaver:
    """Restores a machine `again` like `web`, and dies on the way with no time to remove anything."""

    def __init__(self, world: HypervWorld, source: HypervSource, patch: pytest.MonkeyPatch) -> None:
        self.world = world
        self.source = source
        self._patch = patch
        (machine,) = source.inventory()
        keys = [disk.key for disk in machine.disks]
        snapshot = source.snapshot(machine, SnapshotRequest("backup-1", dict.fromkeys(keys)))
        configuration = tuple(snapshot.configuration)
        snapshot.release(committed=False)
        images = [Image(holey(size, seed)) for seed, size in enumerate(SIZES)]
        self.request = MachineRestore("again", LABEL, configuration, dict(zip(keys, images, strict=True)))

    def at_call(self, script: str, after: int = 0) -> None:
        """Die before a script's call."""
        self.world.faults.then(script, self.die, after=after)
        self.run()

    def before(self, owner: type, step: str, after: int = 0) -> None:
        """Die before a method's call that follows so many others."""
        calls = iter(range(1000))
        real = getattr(owner, step)

        def dying(*given: object, **named: object) -> object:
            return self.die() if next(calls) == after else real(*given, **named)

        with self._patch.context() as patched:
            patched.setattr(owner, step, dying)
            self.run()

    def run(self) -> None:
        """Restore, up to there."""
        with self._patch.context() as patched:
            patched.setattr(MachineMaker, "_undo", lambda *_: None)
            with pytest.raises(Killed):
                self.source.restore_machine(self.request, lambda _: None)

    @staticmethod
    def die() -> None:
        """The end."""
        raise Killed

    def made(self) -> Machine:
        """The machine that is there."""
        (machine,) = (found for found in self.world.machines.values() if found.name == "again")
        return machine


@pytest.fixture
def files(world: HypervWorld) -> MakingWorldFiles:
    """The host's files, with knobs."""
    return MakingWorldFiles(world)


@pytest.fixture
def leaver(world: HypervWorld, source_of: SourceOf, files: MakingWorldFiles, monkeypatch: pytest.MonkeyPatch) -> Leaver:
    """On a host with one machine of two disks."""
    world.add_machine("web", *SIZES)
    return Leaver(world, source_of(world, files), monkeypatch)


def there(world: HypervWorld) -> list[str]:
    """All files and folders of the hosts, and their machines."""
    return sorted(map(str, world.storage.root.rglob("*"))) + sorted(world.machines)


def _half_a_marker(leaver: Leaver) -> None:
    leaver.before(MachineMaker, "_write_disks")
    marker = leaver.world.storage.local(f"{FOLDER}\\holdfast-unfinished.json")
    marker.write_bytes(marker.read_bytes()[:20])


Step = Callable[[Leaver], None]
STEPS: dict[str, Step] = {
    "folder": lambda leaver: leaver.before(MakingWorldFiles, "create", 0),
    "marker": lambda leaver: leaver.before(MachineMaker, "_write_disks"),
    "half the marker": _half_a_marker,
    "first disk": lambda leaver: leaver.before(MakingWorldFiles, "create", 2),
    "disks": lambda leaver: leaver.before(MachineMaker, "_define"),
    "half the definition": lambda leaver: leaver.before(MakingWorldFiles, "create", 4),
    "definition": lambda leaver: leaver.at_call("import-definition"),
    "named": lambda leaver: leaver.at_call("disconnect-networks"),
    "first disk attached": lambda leaver: leaver.at_call("set-disk-path", 1),
    "equipped": lambda leaver: leaver.at_call("validate-machine"),
    "validated": lambda leaver: leaver.at_call("realise-machine"),
    "realised": lambda leaver: leaver.before(MachineMaker, "_checked"),
    "upload deleted": lambda leaver: leaver.at_call("describe-machine", 1),
}


@pytest.mark.parametrize("step", STEPS)
def test_what_is_not_whole_is_removed(world: HypervWorld, leaver: Leaver, step: str) -> None:
    """Wherever it died nothing is left, nothing goes under another label, and the same restore then succeeds."""
    before = there(world)
    STEPS[step](leaver)
    left = there(world)
    assert left != before
    assert leaver.source.remove_unfinished("holdfast-restore-6", 2) == []
    assert leaver.source.remove_unfinished(f"{LABEL}0", 2) == []
    assert there(world) == left
    told = leaver.source.remove_unfinished(LABEL, 2)
    assert {found.action for found in told} == {"removed"}
    assert there(world) == before
    assert leaver.source.remove_unfinished(LABEL, 2) == []
    made = leaver.source.restore_machine(leaver.request, lambda _: None)
    assert [world.content(made.key, place) for place in world.machines[made.key].disks] == [
        holey(size, seed) for seed, size in enumerate(SIZES)
    ]


def test_a_label_that_ends_another_finds_nothing(world: HypervWorld, leaver: Leaver) -> None:
    """The folder's name ends with both; the marker says whose it is."""
    leaver.before(MachineMaker, "_define")
    left = there(world)
    assert leaver.source.remove_unfinished(LABEL.removeprefix("holdfast-"), 2) == []
    assert there(world) == left


def test_a_planned_machine_without_a_mark_is_told_and_kept(world: HypervWorld, leaver: Leaver) -> None:
    """Nothing says whose it is between import and naming: its files go, it is named, and nothing is guessed."""
    leaver.at_call("describe-machine")
    (planned,) = (machine for machine in world.machines.values() if machine.planned)
    told = leaver.source.remove_unfinished(LABEL, 2)
    assert [(planned.id in found.what, found.action.split(":")[0]) for found in told] == [
        (True, "kept"),
        (False, "removed"),
    ]
    assert not world.storage.local(FOLDER).exists()
    assert planned.id in world.machines


def test_a_planned_machine_in_the_folder_is_known_without_a_mark(world: HypervWorld, leaver: Leaver) -> None:
    """Where the host keeps a planned machine beside the definition, it is ours by the folder's label."""
    before = there(world)
    leaver.at_call("describe-machine")
    next(machine for machine in world.machines.values() if machine.planned).folder = FOLDER
    assert {found.action for found in leaver.source.remove_unfinished(LABEL, 2)} == {"removed"}
    assert there(world) == before


@pytest.mark.parametrize("marked", [True, False])
def test_what_is_whole_is_kept(world: HypervWorld, leaver: Leaver, marked: bool) -> None:
    """Without our mark in its notes a machine is whole; the marker that the dead process left goes."""
    if marked:
        leaver.before(MachineMaker, "_kept_back")
    else:
        leaver.source.restore_machine(leaver.request, lambda _: None)
    machine = leaver.made()
    kept = [Leftover(f"machine again ({machine.id})", "kept: it is whole")]
    assert leaver.source.remove_unfinished(LABEL, 2) == kept
    assert leaver.source.remove_unfinished(LABEL, 2) == kept
    assert sorted(path.name for path in world.storage.local(FOLDER).iterdir() if path.suffix != ".vhdx") == [
        "Virtual Machines"
    ]
    assert [world.content(machine.id, place) for place in machine.disks] == [
        holey(size, seed) for seed, size in enumerate(SIZES)
    ]


def test_disks_that_are_all_of_a_restore_are_kept(world: HypervWorld, leaver: Leaver) -> None:
    """Where the host takes no definition the disks are what was asked for, and no machine is there to say so."""
    leaver.request = MachineRestore(
        "again", LABEL, tuple(f for f in leaver.request.configuration if ".vm" not in f.name), leaver.request.disks
    )
    leaver.source.restore_machine(leaver.request, lambda _: None)
    before = there(world)
    assert leaver.source.remove_unfinished(LABEL, 2) == [Leftover(f"folder {FOLDER}", "kept: it is whole")]
    assert there(world) == before


def test_somebodys_plan_with_a_whole_machine_is_kept(world: HypervWorld, leaver: Leaver) -> None:
    """A planned copy that names the disks of a whole restore is no restore of ours."""
    leaver.before(MachineMaker, "_kept_back")
    plan = Machine("00000000-0000-0000-0000-000000000001", "copy", "hv1", FOLDER, state="off", planned=True)
    world.machines[plan.id] = plan
    leaver.source.remove_unfinished(LABEL, 2)
    assert plan.id in world.machines
    assert leaver.made().id in world.machines


def test_a_share_that_is_gone_is_not_an_empty_one(
    world: HypervWorld, leaver: Leaver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing can be seen it is not said that nothing is there."""
    leaver.before(MachineMaker, "_define")
    missing = SourceNotFound("no such share", code="smb-share-missing")

    def gone(*_: object) -> None:
        raise missing

    monkeypatch.setattr(MakingWorldFiles, "list", gone)
    with pytest.raises(SourceNotFound):
        leaver.source.remove_unfinished(LABEL, 2)


@pytest.mark.parametrize("use", ["started", "checkpoint", "disk"])
def test_what_somebody_uses_is_kept(world: HypervWorld, leaver: Leaver, use: str) -> None:
    """Started, with a checkpoint or with a disk of somebody's, an unfinished machine is not ours to remove."""
    leaver.before(MachineMaker, "_checked")
    machine = leaver.made()
    if use == "started":
        world.turn(machine.id, "running")
    elif use == "checkpoint":
        world.plant_checkpoint(machine.id)
    else:
        path = "C:\\VMs\\somebodys.vhdx"
        world.storage.local(path).write_bytes(b"")
        machine.disks["c/0/9"] = Disk(world.storage, [path])
    before = there(world)
    assert leaver.source.remove_unfinished(LABEL, 2) == [
        Leftover(f"machine again ({machine.id})", "kept: somebody uses it")
    ]
    assert there(world) == before


def test_disks_that_a_machine_has_are_kept(world: HypervWorld, leaver: Leaver) -> None:
    """Somebody who could not wait made a machine of the disks: they are its own."""
    leaver.before(MachineMaker, "_define")
    (web,) = world.machines.values()
    disk = next(world.storage.local(FOLDER).glob("*.vhdx"))
    web.disks["c/0/9"] = Disk(world.storage, [f"{FOLDER}\\{disk.name}"])
    assert [found.action for found in leaver.source.remove_unfinished(LABEL, 2)] == ["kept: it is whole"]
    assert len(list(world.storage.local(FOLDER).glob("*.vhdx"))) == 2


def test_what_is_not_ours_in_the_folder_is_kept(world: HypervWorld, leaver: Leaver) -> None:
    """Only the files that the marker names are deleted."""
    leaver.before(MachineMaker, "_define")
    somebodys = world.storage.local(FOLDER) / "somebodys.vhdx"
    somebodys.write_bytes(b"x")
    (told,) = leaver.source.remove_unfinished(LABEL, 2)
    assert told.action.startswith("kept: ")
    assert [path.name for path in somebodys.parent.glob("*.vhdx")] == ["somebodys.vhdx"]


@pytest.mark.parametrize("what", ["destroy", "disk", "marker", "folder"])
def test_a_removal_that_broke_off_goes_on(
    world: HypervWorld, leaver: Leaver, files: MakingWorldFiles, what: str
) -> None:
    """What keeps it is raised, and the machine's disks stay while it is there; asked again, the rest goes."""
    before = there(world)
    leaver.before(MachineMaker, "_checked")
    if what == "destroy":
        world.jobs.refused["destroy-machine"] = [32775]
    else:
        files.refusing = {"disk": "disk0", "marker": "holdfast-unfinished", "folder": f"again-{LABEL}"}[what]
    with pytest.raises(AdapterError):
        leaver.source.remove_unfinished(LABEL, 2)
    assert len(list(world.storage.local(FOLDER).glob("*.vhdx"))) == {"destroy": 2, "disk": 1}.get(what, 0)
    files.refusing = None
    assert {found.action for found in leaver.source.remove_unfinished(LABEL, 2)} == {"removed"}
    assert there(world) == before


def test_in_a_cluster_every_node_and_volume_is_looked_at(
    cluster: HypervWorld, source_of: SourceOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine has moved since, and its volume too; while a node is silent, nothing is touched."""
    cluster.add_machine("web", *SIZES, node="hv2")
    leaver = Leaver(cluster, source_of(cluster, MakingWorldFiles(cluster)), monkeypatch)
    before = there(cluster)
    leaver.before(MachineMaker, "_checked")
    assert leaver.made().folder.startswith(VOLUME)
    cluster.migrate(leaver.made().id, "hv3")
    cluster.move_volume(VOLUME, "hv2")
    left = there(cluster)
    cluster.faults.silent.add("hv3")
    with pytest.raises(SourceUnavailable):
        leaver.source.remove_unfinished(LABEL, 2)
    assert there(cluster) == left
    cluster.faults.silent.clear()
    assert {found.action for found in leaver.source.remove_unfinished(LABEL, 2)} == {"removed"}
    assert there(cluster) == before
