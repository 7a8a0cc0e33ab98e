"""Machines given back to a source: new ones and single disks, recorded before and after, never over a running one."""

from __future__ import annotations

from random import Random

import pytest

from adapters.errors import SourceUnavailable
from adapters.port import ConfigurationFile, Exclusion
from catalog.domain import events as ev
from catalog.domain.restoring import SourceRestoreCompleted, SourceRestoreFailed, SourceRestoreStarted
from ingest.progress import Silent
from ingest.signals import Interrupted
from ingest.sourcerestore import SourceRestoreRequest, restore_to_source
from tests.support.lab import CHUNK, MIB, Lab, flip
from tests.support.memory_source_simulator import Hypervisor, SimulatedDisk, SimulatedMachine

FILES = (ConfigurationFile("config.json", b"{}"), ConfigurationFile("web.nvram", Random(1).randbytes(8684)))
TO_DC1 = ("--to-source", "dc1")
SYSTEM = Random(2).randbytes(MIB) + bytes(MIB) + b"tail"
DATA = bytes(MIB) + Random(3).randbytes(CHUNK + 5)


@pytest.fixture
def web(lab: Lab, hypervisor: Hypervisor) -> SimulatedMachine:
    """A machine of two disks, added as a source's."""
    machine = hypervisor.add("web", SYSTEM, DATA, configuration=FILES)
    lab.ok("source", "add", "dc1", "--kind", "memory")
    return machine


@pytest.fixture
def point(lab: Lab, web: SimulatedMachine) -> str:
    """Its first restore point."""
    return str(lab.backup_one(target="dc1")["restore_point"])


def test_a_new_machine_is_made_of_a_point(lab: Lab, hypervisor: Hypervisor, point: str) -> None:
    """Disks and configuration are the point's, it is powered off, and what could not be made as it was is told."""
    answer = lab.run("restore", point, *TO_DC1, "--as", "web again", "--json")
    assert answer.code == 0, answer
    record = answer.json()
    made = hypervisor.machines[record["key"]]
    assert (made.name, made.running, made.configuration) == ("web again", False, FILES)
    assert {key: bytes(disk.content) for key, disk in made.disks.items()} == {"disk-0": SYSTEM, "disk-1": DATA}
    assert record["written_bytes"] == len(SYSTEM) + len(DATA)
    assert record["notes"] == ["its network was left out"]
    assert "its network was left out" in answer.err
    names = [type(event).__name__ for event in lab.recorded()]
    assert names[-2:] == ["SourceRestoreStarted", "SourceRestoreCompleted"]
    (started,) = lab.of_type(SourceRestoreStarted)
    assert (started.source, started.machine, started.target) == ("dc1", "web again", "new-machine")
    assert record["key"] == f"key-{started.label}"
    assert lab.of_type(ev.DiskOverwritten) == []


def test_what_was_made_is_a_machine_like_others(lab: Lab, hypervisor: Hypervisor, point: str) -> None:
    """Without a name it gets one that tells where it is from; it can be backed up, and has the same bytes."""
    name = lab.json("restore", point, *TO_DC1)["machine"]
    assert name == f"web-{point[:12]}"
    again = lab.backup_one(target=f"dc1/{name}")
    assert [disk["new_chunks"] for disk in again["disks"]] == [0, 0]


def test_the_event_log_is_enough(lab: Lab, hypervisor: Hypervisor, web: SimulatedMachine, point: str) -> None:
    """Without the index a machine is given back from events and packs; the event says so. So from an older point."""
    web.disks["disk-0"].write(0, b"later")
    lab.backup_one(target="dc1")
    key = lab.json("restore", point, *TO_DC1, "--without-index")["key"]
    assert bytes(hypervisor.machines[key].disks["disk-0"].content) == SYSTEM
    (started,) = lab.of_type(SourceRestoreStarted)
    assert (started.without_index, started.fallback_cause) == (True, "asked for")


def test_what_the_point_lacks_is_told(lab: Lab, hypervisor: Hypervisor, web: SimulatedMachine) -> None:
    """A disk that was left out of the point is named with its reason."""
    web.disks["disk-1"].exclusion = Exclusion("physical mapping", "use an agent")
    answer = lab.run("backup", "dc1", "--json")
    assert answer.code == 3
    record = lab.json("restore", "latest", *TO_DC1)
    assert "disk-1 is not in the restore point: physical mapping" in record["notes"]
    assert list(hypervisor.machines[record["key"]].disks) == ["disk-0"]


def test_a_disk_is_overwritten_in_place(lab: Lab, web: SimulatedMachine, point: str) -> None:
    """One disk of a machine that is off gets the point's bytes, the other keeps its own."""
    web.disks["disk-0"].write(CHUNK, b"ransom")
    web.disks["disk-1"].write(CHUNK, b"kept")
    web.running = False
    kept = bytes(web.disks["disk-1"].content)
    record = lab.json("restore", point, *TO_DC1, "--in-place", "--disk", "disk-0")
    assert (record["machine"], record["disks"]) == ("web", ["disk-0"])
    assert bytes(web.disks["disk-0"].content) == SYSTEM
    assert bytes(web.disks["disk-1"].content) == kept


def test_no_incremental_builds_on_tracking_that_missed_the_restore(lab: Lab, web: SimulatedMachine, point: str) -> None:
    """Writes past the hypervisor's tracking would be lost: the disk is read in full next, and alone so."""
    web.disks["disk-0"].write(CHUNK, b"damage")
    lab.backup_one(target="dc1")
    web.running = False
    lab.ok("restore", point, *TO_DC1, "--in-place", "--disk", "disk-0")
    record = lab.backup_one(target="dc1")
    assert [(disk["level"], disk["cause"]) for disk in record["disks"]] == [
        ("full", "no-base-token"),
        ("incremental", "tracked"),
    ]
    assert lab.restored(record["restore_point"], "--disk", "disk-0") == SYSTEM
    assert [disk["level"] for disk in lab.backup_one(target="dc1")["disks"]] == ["incremental"] * 2


def test_a_running_machine_is_left_alone(lab: Lab, web: SimulatedMachine, point: str) -> None:
    """The source refuses, nothing is written or recorded, and the next backup is as incremental as ever."""
    web.disks["disk-0"].write(CHUNK, b"newer")
    before = bytes(web.disks["disk-0"].content)
    problem = lab.fails(8, "restore", point, *TO_DC1, "--in-place", "--disk", "disk-0")
    assert problem["code"] == "machine-running"
    assert bytes(web.disks["disk-0"].content) == before
    assert lab.of_type(SourceRestoreStarted) == []
    assert lab.of_type(ev.DiskOverwritten) == []
    record = lab.backup_one(target="dc1")
    assert record["disks"][0]["cause"] == "tracked"
    assert lab.restored(record["restore_point"], "--disk", "disk-0") == before


def test_a_machine_that_is_started_meanwhile_is_left_alone(
    lab: Lab, web: SimulatedMachine, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Started after it was asked about: the intent stands, the failure is recorded, the next backup is a full."""
    from tests.support.memory_source_simulator import MemorySource

    asked = MemorySource.require_overwritable

    def start(source: MemorySource, *about: object) -> None:
        web.running = bool(lab.of_type(SourceRestoreStarted))
        asked(source, *about)  # type: ignore[arg-type]

    monkeypatch.setattr(MemorySource, "require_overwritable", start)
    problem = lab.fails(8, "restore", point, *TO_DC1, "--in-place", "--disk", "disk-0")
    assert problem["code"] == "machine-running"
    (failed,) = lab.of_type(SourceRestoreFailed)
    assert (failed.kind, failed.code) == ("conflict", "machine-running")
    assert lab.backup_one(target="dc1")["disks"][0]["cause"] == "no-base-token"


def test_a_machine_in_work_is_not_overwritten(lab: Lab, web: SimulatedMachine, point: str) -> None:
    """While a backup holds the machine a restore in place is refused before anything is recorded."""
    from ingest.backup import machine_lock

    web.running = False
    with lab.services() as services, machine_lock(services, services.catalog.machines()[0], "backed up"):
        problem = lab.fails(8, "restore", point, *TO_DC1, "--in-place", "--disk", "disk-0")
    assert problem["code"] == "busy"
    assert lab.of_type(SourceRestoreStarted) == []


@pytest.mark.parametrize(
    ("change", "code", "exit_code"),
    [
        (lambda web: web.disks["disk-0"].content.extend(bytes(CHUNK)), "disk-differs", 8),
        (lambda web: web.disks.update({"disk-0": SimulatedDisk(bytearray(SYSTEM), "other")}), "disk-differs", 8),
        (lambda web: web.disks.pop("disk-0"), "disk-unknown", 5),
    ],
    ids=["resized", "replaced", "gone"],
)
def test_only_the_disk_that_was_backed_up_is_overwritten(
    lab: Lab, web: SimulatedMachine, point: str, change: object, code: str, exit_code: int
) -> None:
    """A disk of another size or identity, or none, is refused before anything is recorded."""
    web.running = False
    change(web)  # type: ignore[operator]  # a lambda
    problem = lab.fails(exit_code, "restore", point, *TO_DC1, "--in-place", "--disk", "disk-0")
    assert problem["code"] == code
    assert lab.of_type(SourceRestoreStarted) == []
    assert lab.of_type(ev.DiskOverwritten) == []


def test_a_machine_that_is_gone_is_told(lab: Lab, hypervisor: Hypervisor, web: SimulatedMachine, point: str) -> None:
    """Nothing in place of what is not there; a new machine can be made of it."""
    del hypervisor.machines["key-web"]
    problem = lab.fails(5, "restore", point, *TO_DC1, "--in-place", "--disk", "disk-0")
    assert problem["code"] == "machine-unknown"
    lab.ok("restore", point, *TO_DC1)


def test_in_place_means_the_machines_own_source(lab: Lab, hypervisor: Hypervisor, point: str) -> None:
    """The same key at another source may be another machine: it is not overwritten."""
    lab.ok("source", "add", "dc2", "--kind", "memory")
    problem = lab.fails(2, "restore", point, "--to-source", "dc2", "--in-place", "--disk", "disk-0")
    assert problem["code"] == "source-differs"
    lab.ok("restore", point, "--to-source", "dc2")


def test_sources_that_are_only_read_say_so(lab: Lab, point: str) -> None:
    """A source that cannot take machines back has its own error, with the way out."""
    (lab.images / "vm.raw").write_bytes(b"1" * CHUNK)
    lab.add_images()
    problem = lab.fails(2, "restore", point, "--to-source", "lab")
    assert problem["code"] == "source-takes-nothing-back"
    assert "--to" in problem["hint"]
    assert lab.fails(5, "restore", point, "--to-source", "nowhere")["code"] == "source-unknown"


def test_damage_is_never_given_back(lab: Lab, hypervisor: Hypervisor, point: str) -> None:
    """A chunk that does not verify ends the restore, and no half machine is left."""
    flip(lab.packs()[0], lab.packs()[0].stat().st_size // 2)
    assert lab.fails(4, "restore", point, *TO_DC1)["kind"] == "corrupt"
    assert list(hypervisor.machines) == ["key-web"]
    (failed,) = lab.of_type(SourceRestoreFailed)
    assert failed.kind == "corrupt"


def test_a_disk_that_is_overwritten_in_part_is_told(lab: Lab, web: SimulatedMachine) -> None:
    """When the point's bytes turn out damaged on the way, the error and the event say what state the disk is in."""
    web.disks["disk-0"].content = bytearray(Random(5).randbytes(3 * MIB))
    point = lab.backup_one(target="dc1")["restore_point"]
    web.running = False
    for pack in lab.packs()[1:]:
        flip(pack, pack.stat().st_size // 2)
    problem = lab.fails(4, "restore", point, *TO_DC1, "--in-place", "--disk", "disk-0")
    assert "disk-0 is overwritten in part" in problem["hint"]
    (failed,) = lab.of_type(SourceRestoreFailed)
    assert "disk-0 is overwritten in part" in failed.why


def test_an_interrupt_leaves_no_half_machine(lab: Lab, hypervisor: Hypervisor, point: str) -> None:
    """Asked to stop in the middle, the restore ends, what was made is removed, and the end is recorded."""
    asked = []

    def stop() -> bool:
        asked.append(len(hypervisor.machines))
        return len(asked) > 10

    with lab.services() as services, pytest.raises(Interrupted):
        restore_to_source(services, SourceRestoreRequest(point, "dc1"), progress=Silent(), stop=stop)
    assert max(asked) == 2
    assert list(hypervisor.machines) == ["key-web"]
    (failed,) = lab.of_type(SourceRestoreFailed)
    assert (failed.kind, failed.code) == ("interrupted", "signal")


def test_what_remains_at_the_source_is_told(
    lab: Lab, hypervisor: Hypervisor, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that the source could not remove again is named, though the failure was not the source's own."""
    from tests.support.memory_source_simulator import MemorySource

    inner = MemorySource.restore_machine

    def leave(*arguments: object) -> object:
        try:
            return inner(*arguments)  # type: ignore[arg-type]
        except BaseException as error:
            error.add_note("Remove web again by hand.")
            raise

    monkeypatch.setattr(MemorySource, "restore_machine", leave)
    flip(lab.packs()[0], lab.packs()[0].stat().st_size // 2)
    assert "Remove web again by hand." in lab.fails(4, "restore", point, *TO_DC1)["hint"]
    with lab.services() as services, pytest.raises(Interrupted):
        restore_to_source(services, SourceRestoreRequest(point, "dc1"), progress=Silent(), stop=lambda: True)
    assert all("Remove web again by hand." in failed.why for failed in lab.of_type(SourceRestoreFailed))
    assert len(lab.of_type(SourceRestoreFailed)) == 2


def test_a_source_that_fails_is_recorded(
    lab: Lab, hypervisor: Hypervisor, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the source says is the failure's reason, and the event has no sibling that claims success."""
    from tests.support.memory_source_simulator import MemorySource

    def fail(*_arguments: object) -> None:
        raise SourceUnavailable("the datastore is full", code="datastore-full")

    monkeypatch.setattr(MemorySource, "restore_machine", fail)
    assert lab.fails(7, "restore", point, *TO_DC1)["code"] == "datastore-full"
    (failed,) = lab.of_type(SourceRestoreFailed)
    assert "the datastore is full" in failed.why
    assert lab.of_type(SourceRestoreCompleted) == []


def test_a_restore_that_died_is_told_by_the_doctor(
    lab: Lab, hypervisor: Hypervisor, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its label, by which to look for what it left at the source; one that ended is not named."""
    from ingest.sourcerestore import SourceRestore

    def checked() -> dict[str, str]:
        return next(row for row in lab.run("doctor", "--json").json() if row["check"] == "restores")

    lab.ok("restore", point, *TO_DC1)
    assert checked()["status"] == "ok"
    with monkeypatch.context() as patched:
        patched.setattr(SourceRestore, "_completed", lambda *_: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            lab.run("restore", point, *TO_DC1, "--as", "half")
    died = lab.of_type(SourceRestoreStarted)[-1]
    assert (checked()["status"], died.label in checked()["detail"]) == ("warn", True)
    assert "dc1/half" in checked()["detail"]


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--to", "x", *TO_DC1],
        [*TO_DC1, "--format", "qcow2"],
        [*TO_DC1, "--force"],
        [*TO_DC1, "--salvage"],
        [*TO_DC1, "--configuration"],
        [*TO_DC1, "--disk", "disk-0"],
        [*TO_DC1, "--in-place"],
        [*TO_DC1, "--in-place", "--disk", "disk-0", "--as", "new"],
        ["--to", "x", "--as", "new"],
        ["--to", "x", "--in-place"],
        ["--to", "x", "--configuration", "--disk", "disk-0"],
        ["--configuration"],
    ],
)
def test_options_that_contradict_each_other_are_refused(lab: Lab, point: str, options: list[str]) -> None:
    """Nothing is guessed about where bytes go."""
    problem = lab.fails(2, "restore", point, *options)
    assert problem["code"] == "restore-options"
    assert lab.of_type(SourceRestoreStarted) == []
