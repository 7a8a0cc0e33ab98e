"""Machines of a Hyper-V cluster from the command line, as the README shows it, on simulated hosts.

WinRM carries real NTLM over TLS, a real Samba serves the files, and the disks are real VHDX files; what the hosts do
is simulated.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random
from signal import SIGKILL
from subprocess import Popen
from threading import Event

import pytest

from catalog.domain import events as ev
from catalog.domain.run import RunState
from tests.support.hyperv.network import Served, served
from tests.support.hyperv.world import HypervWorld
from tests.support.lab import KIB, MIB, Lab

SIZE = 6 * MIB
IN_ORDER = [
    *("RunOpened", "BackupStarted", "SnapshotRequested", "SnapshotCreated"),
    *("TransportChosen", "DiskPlanned", "DiskSealed"),
    *("ConfigurationRecorded", "RestorePointCommitted", "BackupCompleted"),
    *("SnapshotReleaseRequested", "SnapshotReleased", "RunClosed"),
]


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """An empty repository below a short path."""
    with tempfile.TemporaryDirectory(prefix="hf-") as folder:
        yield Lab(Path(folder) / "lab")


@pytest.fixture
def world() -> Iterator[HypervWorld]:
    """A cluster of two nodes with a machine of two disks, of a name that a console's code page does not have."""
    with tempfile.TemporaryDirectory(prefix="hf-") as folder:
        world = HypervWorld(Path(folder), nodes=("hv1", "hv2"), cluster=True)
        machine = world.add_machine(NAME, SIZE, 2 * MIB, node="hv1")
        world.write(machine, world.place(machine, 0), 0, Random(1).randbytes(2 * MIB))
        world.write(machine, world.place(machine, 1), 300 * KIB, b"data" * 1000)
        yield world


NAME = "wéb '日本'"


@pytest.fixture
def hosts(world: HypervWorld, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """The cluster behind real sockets."""
    with served(world) as where:
        monkeypatch.setenv("HV_PASSWORD", where.password)
        yield where


def machine_of(world: HypervWorld) -> str:
    """The machine of the cluster."""
    return next(key for key, machine in world.machines.items() if machine.name == NAME)


def contents(world: HypervWorld) -> list[bytes]:
    """What the guest sees of both disks."""
    machine = machine_of(world)
    return [world.content(machine, world.place(machine, number)) for number in (0, 1)]


def add(lab: Lab, hosts: Served, *options: str | Path) -> list[dict[str, object]]:
    """Add the cluster as a source."""
    where = ["--host", hosts.host, "--port", str(hosts.port), "--smb-port", str(hosts.smb_port), "--user", hosts.user]
    command = ["source", "add", "hv", "--kind", "hyperv", *where, "--password", "env:HV_PASSWORD", "--cluster"]
    return list(lab.json(*command, *(options or ("--ca", hosts.ca_file))))


def story(lab: Lab, skip: int) -> list[str]:
    """The names of the events behind position `skip` that tell of a run, rows and packs left out."""
    names = [type(event).__name__ for event in lab.recorded()[skip:]]
    return [name for name in dict.fromkeys(names) if name in IN_ORDER]


def backed_up(lab: Lab) -> dict[str, object]:
    """One backup of the machine, told in order."""
    before = len(lab.recorded())
    record = lab.backup_one(target=f"hv/{NAME}")
    assert story(lab, before) == IN_ORDER
    return record


@pytest.mark.slow
def test_full_three_incrementals_synthetic_and_restore(lab: Lab, world: HypervWorld, hosts: Served) -> None:
    """A live migration, an automatic checkpoint and a resize lie between them: every point comes back exactly."""
    machine = machine_of(world)
    first, second = world.place(machine, 0), world.place(machine, 1)
    assert add(lab, hosts) == [{"machine": NAME, "disks": 2, "size_bytes": SIZE + 2 * MIB}]
    points = [(backed_up(lab), contents(world))]

    world.write(machine, first, 3 * MIB + 5, b"after the full")
    world.migrate(machine, "hv2")
    points.append((backed_up(lab), contents(world)))

    world.plant_checkpoint(machine)
    world.write(machine, first, 0, b"in the .avhdx of an automatic checkpoint")
    world.discard(machine, first, 4 * MIB, 2 * MIB)
    points.append((backed_up(lab), contents(world)))

    world.resize(machine, second, 3 * MIB)
    world.write(machine, second, 2 * MIB + 100 * KIB, b"behind the old end")
    world.write(machine, first, 5 * MIB, b"last")
    points.append((backed_up(lab), contents(world)))

    levels = [[(disk["level"], disk["cause"]) for disk in record["disks"]] for record, _ in points]
    tracked = ("incremental", "tracked")
    assert levels == [[("full", "first-backup")] * 2, [tracked] * 2, [tracked] * 2, [tracked, ("full", "disk-resized")]]
    assert [record["consistency"] for record, _ in points] == ["application"] * 4
    assert all(disk["read_bytes"] <= 256 * KIB for record, _ in points[1:3] for disk in record["disks"])
    found = world.machines[machine]
    assert [checkpoint.kind for checkpoint in found.checkpoints] == ["user"]
    assert len(found.reference_points) == 1

    synthetic = lab.json("synth", NAME)
    lab.ok("verify")
    for record, expected in [*points, (synthetic | {"disks": points[-1][0]["disks"]}, points[-1][1])]:
        for disk, content in zip(record["disks"], expected, strict=True):
            assert lab.restored(record["restore_point"], "--disk", disk["disk"]) == content
    files = {row["file"] for row in lab.json("show", synthetic["restore_point"])["configuration"]}
    assert files == {"machine.json", f"{machine.upper()}.vmcx", f"{machine.upper()}.vmgs"}
    with lab.services() as services:
        runs = [RunState.fold(services.log.stream(event.run_id)) for event in lab.of_type(ev.RunOpened)]
    assert [(run.outcome, run.snapshot) for run in runs if run] == [("completed", "released")] * 4


def test_a_machine_is_given_back(lab: Lab, world: HypervWorld, hosts: Served) -> None:
    """A new machine has the point's disks and is off; a disk is replaced in place, and read in full next."""
    add(lab, hosts)
    machine = machine_of(world)
    record = backed_up(lab)
    expected = contents(world)
    lab.json("restore", record["restore_point"], "--to-source", "hv", "--as", "web again")
    again = next(key for key, found in world.machines.items() if found.name == "web again")
    assert again != machine
    assert [world.content(again, world.place(again, number)) for number in (0, 1)] == expected
    assert world.machines[again].state == "off"
    assert {disk["cause"] for disk in lab.backup_one(target="hv/web again")["disks"]} == {"first-backup"}

    disk = record["disks"][0]["disk"]
    in_place = ["restore", record["restore_point"], "--to-source", "hv", "--in-place", "--disk", disk]
    assert lab.fails(8, *in_place)["code"] == "machine-running"
    world.write(machine, world.place(machine), MIB, b"ransom" * 1000)
    world.turn(machine, "off")
    lab.ok(*in_place)
    assert contents(world) == expected
    levels = {disk["cause"] for disk in backed_up(lab)["disks"]}
    assert levels == {"no-base-token", "tracked"}
    assert len(world.machines[machine].reference_points) == 1


def test_a_guest_that_does_not_come_to_rest_is_told(lab: Lab, world: HypervWorld, hosts: Served) -> None:
    """The point is crash consistent; the event and the command's answer say why."""
    add(lab, hosts)
    world.faults.no_application.add(machine_of(world))
    record = backed_up(lab)
    assert record["consistency"] == "crash"
    assert any("application-consistency-failed" in warning for warning in record["warnings"])
    assert [event.fallback_cause for event in lab.of_type(ev.SnapshotCreated)] == ["application-consistency-failed"]


def test_a_disk_of_the_host_makes_the_point_partial(lab: Lab, world: HypervWorld, hosts: Served) -> None:
    """It is never skipped silently: the point says which disk is not in it, and what its owner can do."""
    world.add_passthrough(machine_of(world))
    add(lab, hosts)
    answer = lab.run("backup", f"hv/{NAME}", "--json")
    assert (answer.code, answer.json()[0]["result"]) == (3, "partial")
    (event,) = lab.of_type(ev.RestorePointCommitted)
    (left_out,) = event.left_out
    assert "pass-through" in left_out.reason
    assert left_out.way_out


def test_a_full_always_has_its_cause(lab: Lab, world: HypervWorld, hosts: Served) -> None:
    """Another product removed the reference point: the next point is full, and its event says so."""
    add(lab, hosts)
    backed_up(lab)
    world.delete_reference_points(machine_of(world))
    record = backed_up(lab)
    assert [(disk["level"], disk["cause"]) for disk in record["disks"]] == [("full", "reference-point-gone")] * 2
    planned = [event for event in lab.of_type(ev.DiskPlanned) if event.level == "full"]
    assert {event.cause for event in planned} == {"first-backup", "reference-point-gone"}
    assert {disk["level"] for disk in backed_up(lab)["disks"]} == {"incremental"}


def test_the_same_log_gives_the_same_catalog(lab: Lab, hosts: Served) -> None:
    """The index, made anew from the events alone, says what it said before."""
    add(lab, hosts)
    record = backed_up(lab)
    before = lab.json("show", record["restore_point"])
    lab.ok("rebuild", "index")
    assert lab.json("show", record["restore_point"]) == before


def test_a_release_that_fails_is_finished_by_the_next_run(lab: Lab, world: HypervWorld, hosts: Served) -> None:
    """The point stands with its clean-up pending; the next run is incremental and leaves one reference point."""
    machine = machine_of(world)
    add(lab, hosts)
    backed_up(lab)
    world.jobs.failing["destroy-reference-point"] = [(32768, ["The file is in use."])]
    record = lab.backup_one(target=f"hv/{NAME}")
    assert any("clean-up is pending" in warning for warning in record["warnings"])
    assert len(lab.of_type(ev.SnapshotReleaseFailed)) == 1
    assert len(world.machines[machine].reference_points) == 2
    again = lab.backup_one(target=f"hv/{NAME}")
    assert len(lab.of_type(ev.LeftoverCleaned)) == 1
    assert {disk["level"] for disk in again["disks"]} == {"incremental"}
    assert len(world.machines[machine].reference_points) == 1


def test_a_run_that_fails_is_no_restore_point(lab: Lab, world: HypervWorld, hosts: Served) -> None:
    """The host's reason is recorded, the snapshot is given back, and the next run goes on from the last point."""
    machine = machine_of(world)
    add(lab, hosts)
    backed_up(lab)
    world.write(machine, world.place(machine), MIB, b"changed")
    world.jobs.failing["convert-to-reference-point"] = [(32768, ["Failed to write the attachment."])]
    answer = lab.run("backup", "hv", "--json")
    assert answer.code != 0
    assert "Failed to write the attachment." in answer.err
    assert len(lab.of_type(ev.RestorePointCommitted)) == 1
    (failed,) = lab.of_type(ev.BackupFailed)
    with lab.services() as services:
        runs = [RunState.fold(services.log.stream(event.run_id)) for event in lab.of_type(ev.RunOpened)]
    assert [(run.outcome, run.snapshot) for run in runs if run] == [("completed", "released"), ("failed", "released")]
    assert failed.why
    assert world.machines[machine].checkpoints == []
    record = backed_up(lab)
    assert {disk["level"] for disk in record["disks"]} == {"incremental"}
    assert lab.restored(record["restore_point"], "--disk", record["disks"][0]["disk"]) == contents(world)[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "committed"),
    [("create-checkpoint", 1), ("changes", 1), ("convert-to-reference-point", 1), ("destroy-reference-point", 2)],
)
def test_a_worker_that_is_killed_leaves_nothing_for_long(
    lab: Lab, world: HypervWorld, hosts: Served, script: str, committed: int
) -> None:
    """Killed with a request under way that the host still fulfils: the next run cleans up, is incremental and exact."""
    machine = machine_of(world)
    add(lab, hosts)
    backed_up(lab)
    world.write(machine, world.place(machine), MIB, b"before the kill" * 100)
    running = Event()
    processes: list[Popen[bytes]] = []

    def kill() -> None:
        assert running.wait(60)
        processes[0].kill()
        processes[0].wait(60)

    world.faults.then(script, kill)
    processes.append(lab.start("backup", "hv"))
    running.set()
    with processes[0] as process:
        process.communicate(timeout=120)
    assert process.returncode == -SIGKILL
    assert len(lab.of_type(ev.RestorePointCommitted)) == committed
    world.write(machine, world.place(machine), 2 * MIB, b"after the kill" * 100)
    record = lab.backup_one(target="hv")
    assert {disk["level"] for disk in record["disks"]} == {"incremental"}
    assert lab.restored(record["restore_point"], "--disk", record["disks"][0]["disk"]) == contents(world)[0]
    assert world.machines[machine].checkpoints == []
    assert len(world.machines[machine].reference_points) == 1
    lab.ok("verify")
    for simulator in hosts.simulators:
        simulator.forget_shells()  # those of a killed worker end by themselves, when they were idle for long enough


def test_the_password_is_nowhere(
    lab: Lab, hosts: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Right or wrong, it is in no answer, event, file or log; a wrong one is refused."""
    add(lab, hosts)
    answers = [lab.run(*command) for command in (["backup", "hv"], ["source", "list"], ["source", "check", "hv"])]
    monkeypatch.setenv("HV_PASSWORD", "wr0ng-canary")
    refused = lab.run("backup", "hv", "--json")
    assert refused.code == 6
    said = "".join(answer.out + answer.err for answer in [*answers, refused]) + caplog.text + repr(lab.recorded())
    files = b"".join(path.read_bytes() for path in lab.root.rglob("*") if path.is_file())
    for secret in (hosts.password, "wr0ng-canary"):
        assert secret not in said
        assert secret.encode() not in files


def test_a_host_that_is_not_trusted_is_refused(lab: Lab, hosts: Served) -> None:
    """Nothing is recorded; an opt-out is recorded, and told at every check."""
    where = ["--host", hosts.host, "--port", str(hosts.port), "--smb-port", str(hosts.smb_port), "--user", hosts.user]
    command = ["source", "add", "hv", "--kind", "hyperv", *where, "--password", "env:HV_PASSWORD", "--cluster"]
    assert lab.fails(6, *command)["code"] == "certificate-untrusted"
    assert lab.of_type(ev.SourceAdded) == []
    add(lab, hosts, "--insecure")
    assert any("INSECURE" in ability for ability in lab.json("source", "check", "hv")["abilities"])


def test_ways_to_connect_that_exclude_each_other(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A password in clear text, and two ways to trust, are refused before anything is asked of the host."""
    monkeypatch.setenv("HV_PASSWORD", "x")
    command = ["source", "add", "hv", "--kind", "hyperv", "--host", "127.0.0.1", "--user", "ada"]
    command += ["--password", "env:HV_PASSWORD"]
    for options in (["--http", "--auth", "basic"], ["--insecure", "--fingerprint", "ab" * 32]):
        assert lab.fails(2, *command, *options)["code"] == "hyperv-settings"
    assert lab.of_type(ev.SourceAdded) == []
