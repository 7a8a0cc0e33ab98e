"""Machines of a Xen pool from the command line, as the README shows it: on our simulator, read over nbdkit's TLS."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

from adapters.nbd.client import NbdClient
from catalog.domain import events as ev
from catalog.domain.restoring import SourceRestoreCompleted, SourceRestoreStarted
from catalog.domain.run import RunState
from tests.support.lab import KIB, MIB, Lab
from tests.support.xapi import XapiSimulator
from tests.support.xapi.building import DiskSpec, MachineSpec
from tests.support.xapi.data import nbd_hosts, serve_streams
from tests.support.xapi.faults import CutStream, FailTask, LoseReply
from tests.support.xapi.metadata import serve_metadata
from tests.support.xapi.nbd_proxy import NbdProxy

IN_ORDER = [
    *("RunOpened", "BackupStarted", "SnapshotRequested", "SnapshotCreated"),
    *("TransportChosen", "DiskPlanned", "DiskSealed"),
    *("ConfigurationRecorded", "RestorePointCommitted", "BackupCompleted"),
    *("SnapshotReleaseRequested", "SnapshotReleased", "RunClosed"),
]
MACHINES = [
    MachineSpec("web", disks=(DiskSpec(4 * MIB, sr="shared"), DiskSpec(MIB, sr="shared"))),
    MachineSpec("db", disks=(DiskSpec(MIB, sr="shared"),)),
]


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """An empty repository below a short path."""
    monkeypatch.setenv("XEN_PASSWORD", XapiSimulator.password)
    with tempfile.TemporaryDirectory(prefix="hf-") as folder:
        yield Lab(Path(folder) / "lab")


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[XapiSimulator]:
    """A pool of two hosts with two machines."""
    with XapiSimulator(tmp_path / "pool", MACHINES, hosts=2) as running:
        serve_streams(running)
        serve_metadata(running)
        running.write("web", 0, 0, Random(1).randbytes(2 * MIB))
        running.write("web", 1, 300 * KIB, b"data" * 1000)
        running.write("db", 0, 0, Random(2).randbytes(512 * KIB))
        yield running


@pytest.fixture
def nbd(pool: XapiSimulator, tmp_path: Path) -> Iterator[list[NbdProxy]]:
    """The hosts' NBD services."""
    with nbd_hosts(pool, tmp_path / "nbd") as proxies:
        yield proxies


def _add(lab: Lab, pool: XapiSimulator, *others: str | Path) -> list[dict[str, Any]]:
    arguments = ["--kind", "xen", "--host", pool.host, "--port", str(pool.port), "--user", pool.user]
    trust = () if {"--fingerprint", "--insecure"} & set(map(str, others)) else ("--ca", pool.ca_file)
    return list(lab.json("source", "add", "pool1", *arguments, "--password", "env:XEN_PASSWORD", *trust, *others))


def _story(lab: Lab, skip: int) -> list[str]:
    """The names of the events behind position `skip` that tell of a run, rows and packs left out."""
    names = [type(event).__name__ for event in lab.recorded()[skip:]]
    return [name for name in dict.fromkeys(names) if name in IN_ORDER]


def _contents(pool: XapiSimulator, machine: str = "web") -> list[bytes]:
    return [pool.content(machine, place) for place in (0, 1)]


def _assert_restores(lab: Lab, record: dict[str, Any], contents: Sequence[bytes]) -> None:
    for disk, content in zip(record["disks"], contents, strict=True):
        assert lab.restored(record["restore_point"], "--disk", disk["disk"]) == content


def _levels(record: dict[str, Any]) -> list[tuple[str, str]]:
    return [(disk["level"], disk["cause"]) for disk in record["disks"]]


def _ours(pool: XapiSimulator) -> list[str]:
    """The kinds of all disks that are of snapshots."""
    return [pool.record("VDI", ref)["type"] for ref in pool.records.find("VDI", is_a_snapshot=True)]


def _at_read(monkeypatch: pytest.MonkeyPatch, number: int, happens: Any) -> None:
    """Let something happen at the `number`-th read over NBD, before it is sent."""
    seen = [0]
    inner = NbdClient.pread_into

    def counted(client: NbdClient, offset: int, buffer: memoryview) -> None:
        seen[0] += 1
        if seen[0] == number:
            happens()
        inner(client, offset, buffer)

    monkeypatch.setattr(NbdClient, "pread_into", counted)


def test_a_full_and_three_incrementals_through_all_that_goes_wrong(
    lab: Lab, pool: XapiSimulator, nbd: list[NbdProxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lost snapshot reply, a grown disk, a session that ends in a read and a new master: each point is exact."""
    added = _add(lab, pool)
    assert sorted((row["machine"], row["disks"]) for row in added) == [("db", 1), ("web", 2)]
    records, contents = [], []

    def back_up() -> dict[str, Any]:
        before = len(lab.recorded())
        records.append(lab.backup_one(target="pool1/web"))
        contents.append(_contents(pool))
        assert _story(lab, before) == IN_ORDER
        assert pool.snapshots("web") == []
        assert _ours(pool) == ["cbt_metadata"] * 2
        return records[-1]

    assert _levels(back_up()) == [("full", "first-backup")] * 2

    pool.write("web", 0, 3 * MIB + 5, b"written later")
    pool.faults.on("VM.snapshot", LoseReply())
    taken = pool.calls["VM.snapshot"]
    assert _levels(back_up()) == [("incremental", "tracked")] * 2
    assert pool.calls["VM.snapshot"] == taken + 1

    pool.grow("web", 0, 5 * MIB)
    pool.write("web", 0, 5 * MIB - 100, b"new space")
    pool.write("web", 1, 0, b"and the other disk")
    with monkeypatch.context() as patch:
        _at_read(patch, 3, lambda: (pool.expire_sessions(), [proxy.drop_all() for proxy in nbd]))
        assert _levels(back_up()) == [("incremental", "tracked")] * 2

    pool.change_master(1)
    pool.write("web", 0, 4 * MIB, b"on the new master")
    third = back_up()
    assert _levels(third) == [("incremental", "tracked")] * 2
    assert sum(disk["read_bytes"] for disk in third["disks"]) <= 256 * KIB

    synthetic = lab.json("synth", "web")["restore_point"]
    lab.ok("verify")
    for record, expected in zip(records, contents, strict=True):
        _assert_restores(lab, record, expected)
    _assert_restores(lab, {**third, "restore_point": synthetic}, contents[-1])
    grown = records[2]
    for disk, content in zip(grown["disks"], contents[2], strict=True):
        assert lab.restored(grown["restore_point"], "--disk", disk["disk"], "--without-index") == content
    files = {row["file"] for row in lab.json("show", synthetic)["configuration"]}
    assert files == {"config.json", "ova.xml"}
    made = lab.json("restore", synthetic, "--to-source", "pool1", "--as", "web again")
    assert _contents(pool, "web again") == contents[-1]
    assert made["key"] == pool.record("VM", pool.vm("web again"))["uuid"]
    with lab.services() as services:
        runs = [RunState.fold(services.log.stream(event.run_id)) for event in lab.of_type(ev.RunOpened)]
    assert [(run.outcome, run.snapshot) for run in runs if run] == [("completed", "released")] * 4
    assert {event.kind for event in lab.of_type(ev.TransportChosen)} == {"nbd"}
    assert {point.consistency for point in lab.of_type(ev.RestorePointCommitted)} == {"crash"}


def test_a_machine_is_given_back(lab: Lab, pool: XapiSimulator, nbd: list[NbdProxy]) -> None:
    """A new machine has the point's disks and is off; a disk is overwritten in place, and read in full next."""
    _add(lab, pool)
    point = lab.backup_one(target="pool1/web")["restore_point"]
    contents = _contents(pool)
    made = lab.json("restore", point, "--to-source", "pool1", "--as", "web again")
    assert _contents(pool, "web again") == contents
    assert pool.record("VM", pool.vm("web again"))["power_state"] == "Halted"
    (started,) = lab.of_type(SourceRestoreStarted)
    (completed,) = lab.of_type(SourceRestoreCompleted)
    assert (started.machine, completed.key) == ("web again", made["key"])

    again = lab.backup_one(target="pool1/web again")
    pool.write("web again", 0, MIB, b"ransom" * 1000)
    damaged = pool.content("web again", 0)
    in_place = ["restore", again["restore_point"], "--to-source", "pool1", "--in-place", "--disk"]
    lab.ok(*in_place, again["disks"][0]["disk"])
    assert pool.content("web again", 0) == contents[0] != damaged
    record = lab.backup_one(target="pool1/web again")
    assert _levels(record) == [("full", "no-base-token"), ("incremental", "tracked")]
    _assert_restores(lab, record, contents)
    problem = lab.fails(8, "restore", point, "--to-source", "pool1", "--in-place", "--disk", record["disks"][0]["disk"])
    assert problem["code"] == "machine-running"


def test_without_a_network_for_nbd_the_export_is_taken_and_said(lab: Lab, pool: XapiSimulator) -> None:
    """The choice and what was against the others are events; full and incremental are exact."""
    _add(lab, pool)
    for _ in range(2):
        record = lab.backup_one(target="pool1/web")
        _assert_restores(lab, record, _contents(pool))
        pool.write("web", 0, MIB, b"later")
    assert _levels(record) == [("incremental", "tracked")] * 2
    chosen = lab.of_type(ev.TransportChosen)
    assert {event.kind for event in chosen} == {"export"}
    assert any("no network" in passed.why for event in chosen for passed in event.rejected)


@pytest.mark.parametrize("fault", [CutStream(100 * KIB), FailTask("VDI_IO_ERROR", ("Device I/O errors",))])
def test_a_stream_that_breaks_is_no_restore_point(lab: Lab, pool: XapiSimulator, fault: CutStream | FailTask) -> None:
    """Cut after a status of 200, or called failed after all its bytes: no point, nothing left, the next is exact."""
    _add(lab, pool)
    pool.faults.on("GET /export_raw_vdi", fault, times=50)
    assert lab.run("backup", "pool1/web", "--json").code != 0
    assert lab.of_type(ev.RestorePointCommitted) == []
    assert len(lab.of_type(ev.BackupFailed)) == 1
    assert pool.snapshots("web") == []
    assert _ours(pool) == []
    pool.faults.clear()
    _assert_restores(lab, lab.backup_one(target="pool1/web"), _contents(pool))


def test_only_clear_text_is_refused_unless_allowed(lab: Lab, pool: XapiSimulator, tmp_path: Path) -> None:
    """Where only insecure_nbd is served nothing travels so by itself; whoever names it gets it, and reads so."""
    with nbd_hosts(pool, tmp_path / "nbd", purpose="insecure_nbd"):
        _add(lab, pool, "--transport", "nbd")
        problem = lab.fails(7, "backup", "pool1/web")
        assert problem["code"] == "no-transport"
        assert "insecure_nbd" in problem["detail"]
        assert pool.snapshots("web") == []
        lab.ok("source", "remove", "pool1")
        _add(lab, pool, "--transport", "nbd", "--transport", "insecure_nbd")
        _assert_restores(lab, lab.backup_one(target="pool1/web"), _contents(pool))
    assert any("INSECURE" in ability for ability in lab.json("source", "check", "pool1")["abilities"])


def test_a_snapshot_that_stays_is_removed_by_the_next_run(lab: Lab, pool: XapiSimulator, nbd: list[NbdProxy]) -> None:
    """The restore point stands with its clean-up pending; the next run removes what is left, and is incremental."""
    _add(lab, pool)
    lab.backup_one(target="pool1/db")
    pool.faults.on("VM.destroy", FailTask("INTERNAL_ERROR", ("busy",)))
    pool.write("db", 0, 700 * KIB, b"later")
    record = lab.backup_one(target="pool1/db")
    assert any("clean-up is pending" in warning for warning in record["warnings"])
    assert len(pool.snapshots("db")) == 1
    assert len(lab.of_type(ev.SnapshotReleaseFailed)) == 1
    pool.write("db", 0, 800 * KIB, b"later still")
    again = lab.backup_one(target="pool1/db")
    assert pool.snapshots("db") == []
    assert len(lab.of_type(ev.LeftoverCleaned)) >= 1
    assert _levels(again) == [("incremental", "tracked")]
    assert lab.restored(again["restore_point"]) == pool.content("db", 0)


def test_every_full_says_why(lab: Lab, pool: XapiSimulator, nbd: list[NbdProxy]) -> None:
    """A licence that does not track, tracking that was off, a disk that moved: each an event with its cause."""
    _add(lab, pool)
    pool.restrict_cbt()
    lab.backup_one(target="pool1/db")
    assert _levels(lab.backup_one(target="pool1/db")) == [("full", "cbt-licence")]
    pool.records.set("pool", pool.world.pool, restrictions={"restrict_cbt": "false"})
    lab.backup_one(target="pool1/db")
    pool.disks.track(pool.vdi("db"), enabled=False)
    assert _levels(lab.backup_one(target="pool1/db")) == [("full", "tracking-was-off")]
    pool.migrate_disk("db", 0, "local")
    record = lab.backup_one(target="pool1/db")
    assert _levels(record) == [("full", "disk-replaced")]
    planned = [event.cause for event in lab.of_type(ev.DiskPlanned)]
    assert planned == ["first-backup", "cbt-licence", "no-base-token", "tracking-was-off", "disk-replaced"]
    assert _levels(lab.backup_one(target="pool1/db")) == [("incremental", "tracked")]
    assert _ours(pool) == ["cbt_metadata"]


def test_tracking_that_lies_is_found(
    lab: Lab, pool: XapiSimulator, nbd: list[NbdProxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writes that the pool keeps quiet about show in the sample: the disk is read in full, and comes back exactly."""
    _add(lab, pool)
    lab.backup_one(target="pool1/db")
    monkeypatch.setattr("tests.support.xapi.cbt.CbtLog.mark", lambda *_: None)
    pool.write("db", 0, 0, Random(7).randbytes(MIB))
    record = lab.backup_one(target="pool1/db")
    assert _levels(record) == [("full", "tracking-distrusted")]
    assert len(lab.of_type(ev.ChangeTrackingDistrusted)) == 1
    assert lab.restored(record["restore_point"]) == pool.content("db", 0)


def test_what_is_kept_quiet_in_new_space_is_found(
    lab: Lab, pool: XapiSimulator, nbd: list[NbdProxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind the old end of a disk that grew there are zeros, or else the tracking is not believed."""
    _add(lab, pool)
    lab.backup_one(target="pool1/db")
    pool.grow("db", 0, 2 * MIB)
    assert _levels(lab.backup_one(target="pool1/db")) == [("incremental", "tracked")]
    pool.grow("db", 0, 4 * MIB)
    with monkeypatch.context() as patch:
        patch.setattr("tests.support.xapi.cbt.CbtLog.mark", lambda *_: None)
        pool.write("db", 0, 2 * MIB, Random(8).randbytes(2 * MIB))
    record = lab.backup_one(target="pool1/db")
    assert _levels(record) == [("full", "tracking-distrusted")]
    assert lab.restored(record["restore_point"]) == pool.content("db", 0)


def test_disks_that_are_left_out_are_in_the_point(lab: Lab, pool: XapiSimulator, nbd: list[NbdProxy]) -> None:
    """A shared disk makes the point partial, with a reason and a way out."""
    _add(lab, pool)
    pool.records.set("VDI", pool.vdi("web", 1), sharable=True)
    answer = lab.run("backup", "pool1/web", "--json")
    (record,) = answer.json()
    assert (answer.code, record["result"]) == (3, "partial")
    (left,) = record["left_out"]
    assert "sharable" in left["reason"]
    assert len(record["disks"]) == 1


def test_the_catalog_is_rebuilt_from_its_events(lab: Lab, pool: XapiSimulator, nbd: list[NbdProxy]) -> None:
    """A new index of the same log answers the same, and each snapshot that was asked for was released."""
    _add(lab, pool)
    lab.backup("--parallel", "2", target="pool1")
    pool.write("web", 0, MIB, b"later")
    lab.backup("--parallel", "2", target="pool1")
    before = [lab.json("points"), lab.json("machines")]
    lab.ok("rebuild", "index")
    assert [lab.json("points"), lab.json("machines")] == before
    asked, released = lab.of_type(ev.SnapshotRequested), lab.of_type(ev.SnapshotReleased)
    assert sorted(event.label for event in asked) == sorted(event.label for event in released)
    assert len(asked) == 4


def test_a_stranger_is_refused(lab: Lab, pool: XapiSimulator) -> None:
    """Unknown, nothing is sent to the host; pinned it is trusted; several fingerprints are one for each host."""
    command = ["source", "add", "pool1", "--kind", "xen", "--host", pool.host, "--port", str(pool.port)]
    problem = lab.fails(6, *command, "--user", pool.user, "--password", "env:XEN_PASSWORD")
    assert problem["code"] == "certificate-untrusted"
    assert pool.fingerprint in problem["detail"]
    assert lab.of_type(ev.SourceAdded) == []
    _add(lab, pool, "--fingerprint", f"{pool.fingerprint.replace(':', '').lower()},{'ab' * 32}")
    (listed,) = lab.json("source", "list")
    assert listed["settings"]["password"] == "env:XEN_PASSWORD"
    assert listed["settings"]["fingerprint"].endswith("," + ":".join(["AB"] * 32))


def test_secrets_are_nowhere(
    lab: Lab,
    pool: XapiSimulator,
    nbd: list[NbdProxy],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Neither the password nor any session's id is in an answer, event, file or log, whatever goes wrong."""
    sessions: list[str] = []
    inner = pool.world.log_in

    def seen(*arguments: Any) -> str:
        sessions.append(inner(*arguments))
        return sessions[-1]

    monkeypatch.setattr(pool.world, "log_in", seen)
    _add(lab, pool)
    answers = [lab.run(*command) for command in (["backup", "pool1"], ["source", "list"], ["source", "check", "pool1"])]
    pool.faults.on("VDI.get_nbd_info", FailTask("INTERNAL_ERROR", ("x",)))
    _at_read(monkeypatch, 1, lambda: [proxy.drop_all() for proxy in nbd])
    answers.append(lab.run("backup", "pool1", "--json"))
    monkeypatch.setenv("XEN_PASSWORD", "wr0ng-canary")
    refused = lab.run("backup", "pool1", "--json")
    assert refused.code == 6
    said = "".join(answer.out + answer.err for answer in [*answers, refused]) + caplog.text + repr(lab.recorded())
    files = b"".join(path.read_bytes() for path in lab.root.rglob("*") if path.is_file())
    assert len(sessions) >= 4
    for secret in (XapiSimulator.password, "wr0ng-canary", *sessions):
        assert secret not in said
        assert secret.encode() not in files


def test_ways_to_trust_exclude_each_other(lab: Lab) -> None:
    """Two ways at once are refused before anything is asked of the pool, and nothing is recorded."""
    command = ["source", "add", "pool1", "--kind", "xen", "--host", "127.0.0.1", "--port", "9", "--user", "ada"]
    trust = ["--insecure", "--fingerprint", "ab" * 32]
    assert lab.fails(2, *command, "--password", "env:XEN_PASSWORD", *trust)["code"] == "xen-settings"
    assert lab.of_type(ev.SourceAdded) == []
