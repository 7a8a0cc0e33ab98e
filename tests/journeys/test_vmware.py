"""A machine of vSphere from the command line, as the README shows it: on our simulator, and on a third party's.

Our simulator's disks are written by a real QEMU and its changed areas are a dirty bitmap's. The third-party one has no
changed block tracking and no snapshots of content: there each backup is a full, of what its datastore serves.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from pyVmomi import vim

from adapters.vmware.transport.limits import HostConnections
from catalog.domain import events as ev
from catalog.domain.restoring import SourceRestoreCompleted, SourceRestoreStarted
from catalog.domain.run import RunState
from tests.support.eventually import eventually
from tests.support.lab import KIB, MIB, Lab
from tests.support.qemu_vm import MISSING_TOOLS
from tests.support.vcsim_disk import give_disk
from tests.support.vcsim_process import PASSWORD, Vcsim, running_vcsim
from tests.support.vsphere import VsphereSimulator
from tests.support.vsphere.building import MachineSpec
from tests.support.vsphere.devices import DiskSpec
from tests.support.vsphere.faults import hide

SIZE = 4 * MIB
IN_ORDER = [
    *("RunOpened", "BackupStarted", "SnapshotRequested", "SnapshotCreated"),
    *("TransportChosen", "DiskPlanned", "DiskSealed"),
    *("ConfigurationRecorded", "RestorePointCommitted", "BackupCompleted"),
    *("SnapshotReleaseRequested", "SnapshotReleased", "RunClosed"),
]


@pytest.fixture
def lab() -> Iterator[Lab]:
    """An empty repository below a short path."""
    with tempfile.TemporaryDirectory(prefix="hf-") as folder:
        yield Lab(Path(folder) / "lab")


@pytest.fixture
def vsphere() -> Iterator[VsphereSimulator]:
    """A vCenter with two machines."""
    if MISSING_TOOLS:
        pytest.skip(f"needs {', '.join(MISSING_TOOLS)}")
    specs = [MachineSpec("web", disks=(DiskSpec(SIZE), DiskSpec(MIB))), MachineSpec("db", disks=(DiskSpec(MIB),))]
    with (
        tempfile.TemporaryDirectory(prefix="hf-") as folder,
        VsphereSimulator(Path(folder) / "vsphere", specs) as running,
    ):
        running.write("web", 0, 0, Random(1).randbytes(2 * MIB))
        running.write("web", 1, 300 * KIB, b"data" * 1000)
        running.write("db", 0, 0, Random(2).randbytes(512 * KIB))
        yield running


def _add(lab: Lab, server: VsphereSimulator | Vcsim, user: str, *trust: str | Path) -> list[dict[str, object]]:
    arguments = ["--kind", "vmware", "--host", server.host, "--port", str(server.port), "--user", user]
    return list(lab.json("source", "add", "dc1", *arguments, "--password", "env:VC_PASSWORD", *trust))


def _story(lab: Lab, skip: int) -> list[str]:
    """The names of the events behind position `skip` that tell of a run, rows and packs left out."""
    names = [type(event).__name__ for event in lab.recorded()[skip:]]
    return [name for name in dict.fromkeys(names) if name in IN_ORDER]


def _restored(lab: Lab, point: str, disk: str) -> bytes:
    return lab.restored(point, "--disk", disk)


def test_full_incremental_synthetic_and_restore(
    lab: Lab, vsphere: VsphereSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Added, listed, backed up, written, backed up again, synthesised, verified and restored: bytes equal, in order."""
    monkeypatch.setenv("VC_PASSWORD", vsphere.password)
    added = _add(lab, vsphere, vsphere.user, "--fingerprint", vsphere.fingerprint)
    assert sorted((row["machine"], row["disks"]) for row in added) == [("db", 1), ("web", 2)]
    assert {row["machine"] for row in lab.json("machines")} == {"db", "web"}
    before = len(lab.recorded())
    full = lab.backup_one(target="dc1/web")
    contents = [vsphere.content("web", 0), vsphere.content("web", 1)]
    assert _story(lab, before) == IN_ORDER
    assert [disk["level"] for disk in full["disks"]] == ["full", "full"]
    labels = [disk["disk"] for disk in full["disks"]]

    vsphere.write("web", 0, 3 * MIB + 5, b"written later")
    vsphere.discard("web", 0, 0, 64 * KIB)
    before = len(lab.recorded())
    incremental = lab.backup_one(target="dc1/web")
    later = [vsphere.content("web", 0), vsphere.content("web", 1)]
    assert _story(lab, before) == IN_ORDER
    assert [(disk["level"], disk["cause"]) for disk in incremental["disks"]] == [("incremental", "tracked")] * 2
    assert sum(disk["read_bytes"] for disk in incremental["disks"]) <= 256 * KIB
    assert vsphere.snapshots("web") == []

    synthetic = lab.json("synth", "web")["restore_point"]
    lab.ok("verify")
    for point, expected in ((full, contents), (incremental, later), ({"restore_point": synthetic}, later)):
        for label, content in zip(labels, expected, strict=True):
            assert _restored(lab, point["restore_point"], label) == content
    files = {row["file"] for row in lab.json("show", synthetic)["configuration"]}
    assert "config.json" in files
    assert any(name.endswith(".vmx") for name in files)
    lab.ok("restore", synthetic, "--configuration", "--to", lab.root / "configuration", "--without-index")
    assert len(list((lab.root / "configuration").iterdir())) == len(files)
    with lab.services() as services:
        runs = [RunState.fold(services.log.stream(event.run_id)) for event in lab.of_type(ev.RunOpened)]
    assert [(run.outcome, run.snapshot) for run in runs if run] == [("completed", "released")] * 2


def test_a_machine_is_given_back(lab: Lab, vsphere: VsphereSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new machine has the point's disks and is off; a disk is overwritten in place, and read in full next."""
    monkeypatch.setenv("VC_PASSWORD", vsphere.password)
    _add(lab, vsphere, vsphere.user, "--fingerprint", vsphere.fingerprint)
    point = lab.backup_one(target="dc1/web")["restore_point"]
    contents = [vsphere.content("web", index) for index in (0, 1)]
    made = lab.json("restore", point, "--to-source", "dc1", "--as", "web again")
    assert [vsphere.content("web again", index) for index in (0, 1)] == contents
    assert vsphere.machine("web again").power_state == "poweredOff"
    (started,) = lab.of_type(SourceRestoreStarted)
    (completed,) = lab.of_type(SourceRestoreCompleted)
    assert (started.machine, completed.key) == ("web again", made["key"])

    again = lab.backup_one(target="dc1/web again")
    vsphere.write("web again", 0, MIB, b"ransom" * 1000)
    damaged = vsphere.content("web again", 0)
    in_place = ["restore", again["restore_point"], "--to-source", "dc1", "--in-place", "--disk"]
    lab.ok(*in_place, again["disks"][0]["disk"])
    assert vsphere.content("web again", 0) == contents[0] != damaged
    record = lab.backup_one(target="dc1/web again")
    assert (record["disks"][0]["level"], record["disks"][0]["cause"]) == ("full", "no-base-token")
    assert _restored(lab, record["restore_point"], record["disks"][0]["disk"]) == contents[0]
    problem = lab.fails(8, "restore", point, "--to-source", "dc1", "--in-place", "--disk", record["disks"][0]["disk"])
    assert problem["code"] == "machine-running"


def test_a_machine_that_a_killed_restore_left_is_removed(
    lab: Lab, vsphere: VsphereSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while a disk is on its way: the next backup finds the machine and its files, and removes them."""
    monkeypatch.setenv("VC_PASSWORD", vsphere.password)
    _add(lab, vsphere, vsphere.user, "--fingerprint", vsphere.fingerprint)
    point = lab.backup_one(target="dc1/web")["restore_point"]
    before = sorted(path.name for path in vsphere.datastore.iterdir())
    vsphere.faults.stay_silent("PUT /folder", after=2)
    with lab.start("restore", point, "--to-source", "dc1", "--as", "half") as restore:
        first = vsphere.datastore / "half" / "disk-0.vmdk"
        eventually(lambda: vsphere.faults.all_happened or restore.poll() is not None, "the second disk is on its way")
        restore.kill()
    assert first.exists()
    answer = lab.run("backup", "dc1/db")
    assert (answer.code, "a restore of half had died; machine half: removed" in answer.err) == (0, True)
    assert sorted(path.name for path in vsphere.datastore.iterdir()) == before
    assert lab.json("restore", point, "--to-source", "dc1", "--as", "half")["machine"] == "half"


def test_a_snapshot_that_stays_is_removed_by_the_next_run(
    lab: Lab, vsphere: VsphereSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The restore point stands with its clean-up pending; the next run removes what is left, and is incremental."""
    monkeypatch.setenv("VC_PASSWORD", vsphere.password)
    _add(lab, vsphere, vsphere.user, "--fingerprint", vsphere.fingerprint)
    lab.backup_one(target="dc1/db")
    vsphere.faults.fail_task("RemoveSnapshot_Task", vim.fault.FileLocked(msg="somebody reads it"))
    vsphere.write("db", 0, 700 * KIB, b"later")
    record = lab.backup_one(target="dc1/db")
    assert any("clean-up is pending" in warning for warning in record["warnings"])
    assert len(vsphere.snapshots("db")) == 1
    assert len(lab.of_type(ev.SnapshotReleaseFailed)) == 1
    assert lab.restored(record["restore_point"]) == vsphere.content("db", 0)
    vsphere.write("db", 0, 800 * KIB, b"later still")
    again = lab.backup_one(target="dc1/db")
    assert vsphere.snapshots("db") == []
    assert len(lab.of_type(ev.LeftoverCleaned)) == 1
    assert again["disks"][0]["level"] == "incremental"
    assert lab.restored(again["restore_point"]) == vsphere.content("db", 0)


def test_tracking_that_lies_is_found(lab: Lab, vsphere: VsphereSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writes that the server keeps quiet about show in the sample: the disk is read in full, and comes back exactly."""
    monkeypatch.setenv("VC_PASSWORD", vsphere.password)
    _add(lab, vsphere, vsphere.user, "--fingerprint", vsphere.fingerprint)
    lab.backup_one(target="dc1/web")
    vsphere.faults.areas = hide(0, 3 * MIB)
    vsphere.write("web", 0, 0, Random(7).randbytes(3 * MIB))
    record = lab.backup_one(target="dc1/web")
    assert record["disks"][0]["cause"] == "tracking-distrusted"
    assert len(lab.of_type(ev.ChangeTrackingDistrusted)) == 1
    assert _restored(lab, record["restore_point"], record["disks"][0]["disk"]) == vsphere.content("web", 0)


def test_a_block_written_again_as_it_was_stores_nothing(
    lab: Lab, vsphere: VsphereSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What tracking calls changed and is the same is read, and costs no room."""
    monkeypatch.setenv("VC_PASSWORD", vsphere.password)
    _add(lab, vsphere, vsphere.user, "--fingerprint", vsphere.fingerprint)
    lab.backup_one(target="dc1/db")
    content = vsphere.content("db", 0)
    vsphere.write("db", 0, 0, content[: 128 * KIB])
    (disk,) = lab.backup_one(target="dc1/db")["disks"]
    assert (disk["level"], disk["changed_bytes"], disk["new_chunks"]) == ("incremental", 128 * KIB, 0)
    assert vsphere.content("db", 0) == content


@pytest.mark.parametrize("fault", ["ignore_range", "short_read", "break_stream"])
def test_bytes_that_do_not_come_are_no_restore_point(
    lab: Lab, vsphere: VsphereSimulator, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """Answers that are not the range asked for end the backup: no point, nothing left, and the next one is exact."""
    monkeypatch.setenv("VC_PASSWORD", vsphere.password)
    _add(lab, vsphere, vsphere.user, "--fingerprint", vsphere.fingerprint)
    getattr(vsphere.faults, fault)(after=6, times=1000)  # the machine's small files and the disk's size come whole
    answer = lab.run("backup", "dc1/web", "--json")
    assert answer.code != 0
    assert lab.of_type(ev.RestorePointCommitted) == []
    assert len(lab.of_type(ev.BackupFailed)) == 1
    assert vsphere.snapshots("web") == []
    vsphere.faults.end()
    record = lab.backup_one(target="dc1/web")
    assert _restored(lab, record["restore_point"], record["disks"][0]["disk"]) == vsphere.content("web", 0)


def test_side_by_side(lab: Lab, vsphere: VsphereSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both machines at once, through one connection limit for their host: exact, and nothing left behind."""
    monkeypatch.setenv("VC_PASSWORD", vsphere.password)
    _add(lab, vsphere, vsphere.user, "--ca", vsphere.ca_file, "--connections", "1")
    records = {record["machine"]: record for record in lab.backup("--parallel", "2", target="dc1")}
    assert records.keys() == {"db", "web"}
    (disk,) = records["db"]["disks"]
    assert _restored(lab, records["db"]["restore_point"], disk["disk"]) == vsphere.content("db", 0)
    assert vsphere.snapshots("web") == vsphere.snapshots("db") == []


def test_a_stranger_is_refused_with_what_to_compare(
    lab: Lab, vsphere: VsphereSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unknown, the server's fingerprint is shown to be compared; pinned it is trusted; changed it is refused."""
    monkeypatch.setenv("VC_PASSWORD", vsphere.password)
    command = ["source", "add", "dc1", "--kind", "vmware", "--host", vsphere.host, "--port", str(vsphere.port)]
    problem = lab.fails(6, *command, "--user", vsphere.user, "--password", "env:VC_PASSWORD")
    assert problem["code"] == "certificate-untrusted"
    assert vsphere.fingerprint in problem["detail"]
    assert lab.of_type(ev.SourceAdded) == []
    _add(lab, vsphere, vsphere.user, "--fingerprint", vsphere.fingerprint.replace(":", "").lower())
    (listed,) = lab.json("source", "list")
    assert listed["settings"]["password"] == "env:VC_PASSWORD"
    assert listed["settings"]["fingerprint"] == vsphere.fingerprint
    vsphere.change_certificate()
    problem = lab.fails(6, "backup", "dc1/web")
    assert problem["code"] == "certificate-changed"
    assert vsphere.fingerprint in problem["detail"]
    assert lab.of_type(ev.RestorePointCommitted) == []
    lab.ok("source", "remove", "dc1")
    _add(lab, vsphere, vsphere.user, "--fingerprint", vsphere.fingerprint)
    assert lab.backup_one(target="dc1/web")["disks"]


def test_insecure_is_asked_for_and_told(lab: Lab, vsphere: VsphereSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The opt-out is recorded with the source, and every check says so."""
    monkeypatch.setenv("VC_PASSWORD", vsphere.password)
    _add(lab, vsphere, vsphere.user, "--insecure")
    assert lab.of_type(ev.SourceAdded)[0].settings["insecure"] == "true"
    assert any("INSECURE" in ability for ability in lab.json("source", "check", "dc1")["abilities"])


def test_the_password_is_nowhere(
    lab: Lab, vsphere: VsphereSimulator, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Right or wrong, it is in no answer, event, file or log; a wrong one is refused with a code of its own."""
    monkeypatch.setenv("VC_PASSWORD", vsphere.password)
    _add(lab, vsphere, vsphere.user, "--fingerprint", vsphere.fingerprint)
    answers = [lab.run(*command) for command in (["backup", "dc1"], ["source", "list"], ["source", "check", "dc1"])]
    monkeypatch.setenv("VC_PASSWORD", "wr0ng-canary")
    refused = lab.run("backup", "dc1", "--json")
    assert (refused.code, refused.problem()["code"]) == (6, "login-refused")
    said = "".join(answer.out + answer.err for answer in [*answers, refused]) + caplog.text + repr(lab.recorded())
    files = b"".join(path.read_bytes() for path in lab.root.rglob("*") if path.is_file())
    for secret in (vsphere.password, "wr0ng-canary"):
        assert secret not in said
        assert secret.encode() not in files


def test_ways_to_trust_exclude_each_other(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two ways at once are refused before anything is asked of the server, and nothing is recorded."""
    monkeypatch.setenv("VC_PASSWORD", "x")
    command = ["source", "add", "dc1", "--kind", "vmware", "--host", "127.0.0.1", "--port", "9", "--user", "ada"]
    trust = ["--insecure", "--fingerprint", "ab" * 32]
    assert lab.fails(2, *command, "--password", "env:VC_PASSWORD", *trust)["code"] == "vmware-settings"
    assert lab.of_type(ev.SourceAdded) == []


@pytest.fixture(scope="module")
def vcsim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vcsim]:
    """The third party's simulator."""
    with running_vcsim(tmp_path_factory.mktemp("vcsim"), "-vm", "5") as running:
        yield running


def test_a_third_partys_simulator(lab: Lab, vcsim: Vcsim, monkeypatch: pytest.MonkeyPatch) -> None:
    """Added, listed, backed up, synthesised, verified and restored through the same commands: bytes equal."""
    monkeypatch.setenv("VC_PASSWORD", PASSWORD)
    content = Random(3).randbytes(MIB) + bytes(2 * MIB) + Random(4).randbytes(MIB)
    added = _add(lab, vcsim, "user", "--ca", vcsim.ca_file)
    name = str(added[0]["machine"])
    give_disk(vcsim, name, content)
    before = len(lab.recorded())
    record = lab.backup_one(target=f"dc1/{name}")
    assert _story(lab, before) == IN_ORDER
    (disk,) = record["disks"]
    assert (disk["level"], disk["size_bytes"]) == ("full", len(content))
    synthetic = lab.json("synth", name)["restore_point"]
    lab.ok("verify")
    for point in (record["restore_point"], synthetic):
        assert lab.restored(point) == content
    again = lab.backup_one(target=f"dc1/{name}")
    assert [disk["new_chunks"] for disk in again["disks"]] == [0]
    assert {row["machine"] for row in lab.json("machines")} == {str(row["machine"]) for row in added}


def test_many_machines_and_few_connections(lab: Lab, vcsim: Vcsim, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten machines at once, two disks of an ESXi host at a time: never more are open, and each has its own bytes."""
    monkeypatch.setenv("VC_PASSWORD", PASSWORD)
    most: dict[str, int] = {}
    inner = HostConnections.take

    def counted(places: HostConnections, *arguments: Any, **others: Any) -> Any:
        taken = inner(places, *arguments, **others)
        most[places._host] = max(most.get(places._host, 0), places.open)
        return taken

    monkeypatch.setattr(HostConnections, "take", counted)
    names = [str(row["machine"]) for row in _add(lab, vcsim, "user", "--ca", vcsim.ca_file, "--connections", "2")]
    contents = {name: Random(name).randbytes(256 * KIB) for name in names}
    for name, content in contents.items():
        give_disk(vcsim, name, content)
    records = lab.backup("--parallel", "10", target="dc1")
    assert {record["machine"] for record in records} == contents.keys()
    assert len(names) == 10
    for record in records:
        assert lab.restored(record["restore_point"]) == contents[record["machine"]]
    of_hosts = [number for host, number in most.items() if "/" in host]
    assert len(of_hosts) > 1
    assert max(of_hosts) <= 2
