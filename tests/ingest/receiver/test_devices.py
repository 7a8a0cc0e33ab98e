"""Devices and raw files through a real receiver over TLS: full, incremental by comparison, restored to the byte."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from random import Random

import pytest

from catalog.domain import events as ev
from ingest.agent.digests import DigestFile, block_digests
from ingest.agent.state import opened_state
from ingest.receiver.run import machine_of
from storage.keys import KeyRing
from tests.support.agent_lab import AgentLab, Receiving
from tests.support.lab import CHUNK, KIB, MIB, flip, make_image, pieces, punch, write_at
from tests.support.loop_device import loop_device, mounted, read_device, write_device

SIZE = 24 * MIB


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A raw file with data and holes."""
    path = tmp_path / "disk.raw"
    make_image(path, SIZE, list(pieces(Random(1), [(0, 3 * MIB), (10 * MIB, MIB), (SIZE - 5000, 5000)])))
    return path


def test_a_block_device_full_and_incremental(agents: AgentLab, door: Receiving, image: Path) -> None:
    """A loop device comes back byte for byte; the second backup reads all, and sends and stores what changed."""
    token = agents.token("web")
    with loop_device(image) as device:
        first = door.sent(token, "web", "--device", device)
        (disk,) = first["disks"]
        assert (disk["level"], disk["cause"], first["result"]) == ("full", "first-backup", "complete")
        assert agents.lab.restored(first["restore_point"]) == read_device(device)
        write_device(device, 5 * MIB + 100, Random(2).randbytes(100_000))
        write_device(device, MIB, bytes(2 * CHUNK))
        second = door.sent(token, "web", "--device", device)
        (disk,) = second["disks"]
        assert (disk["level"], disk["cause"]) == ("incremental", "compared")
        assert disk["changed_bytes"] == 4 * CHUNK
        assert second["sent_bytes"] < first["sent_bytes"]
        assert agents.lab.restored(second["restore_point"]) == read_device(device)
        assert agents.lab.restored(first["restore_point"]) != read_device(device)
    planned = agents.lab.of_type(ev.DiskPlanned)
    assert [(plan.method, plan.transport) for plan in planned] == [
        ("read_all", "agent-device"),
        ("tracked", "agent-device"),
    ]


def test_an_unchanged_disk_costs_the_sample_only(agents: AgentLab, door: Receiving, image: Path) -> None:
    """Nothing is recorded as changed, and what travels is what is read to see whether digests are to be trusted."""
    token = agents.token("web")
    door.sent(token, "web", "--device", image)
    again = door.sent(token, "web", "--device", image)
    (disk,) = again["disks"]
    assert (disk["level"], disk["changed_bytes"], disk["read_bytes"]) == ("incremental", 0, 0)
    assert again["sent_bytes"] < 64 * CHUNK + 64 * KIB
    assert agents.lab.restored(again["restore_point"]) == image.read_bytes()


def test_several_devices_are_one_machine(agents: AgentLab, door: Receiving, image: Path, tmp_path: Path) -> None:
    """Each device is a disk of one restore point, and one that grew is read in full alone."""
    other = tmp_path / "other.raw"
    make_image(other, 2 * MIB + 512, list(pieces(Random(3), [(0, MIB)])))
    token = agents.token("web")
    door.sent(token, "web", "--device", image, "--device", other)
    make_image(other, 3 * MIB, list(pieces(Random(3), [(0, MIB)])))
    made = door.sent(token, "web", "--device", image, "--device", other)
    causes = {disk["disk"]: disk["cause"] for disk in made["disks"]}
    assert causes == {str(image): "compared", str(other): "disk-resized"}
    agents.lab.ok("restore", made["restore_point"], "--to", tmp_path / "out.raw", "--disk", str(other))
    assert (tmp_path / "out.raw").read_bytes() == other.read_bytes()


def test_it_is_a_machine_like_any_other(agents: AgentLab, door: Receiving, image: Path) -> None:
    """Catalog, verification, synthetic fulls, coverage and sources see the agent's machine as they see others."""
    token = agents.token("web")
    door.sent(token, "web", "--device", image)
    write_at(image, 0, b"changed")
    made = door.sent(token, "web", "--device", image)
    (machine,) = agents.lab.json("machines")
    assert (machine["source"], machine["name"], machine["restore_points"]) == ("agent", "web", 2)
    (source,) = agents.lab.json("source", "list")
    assert (source["source"], source["kind"]) == ("agent", "agent")
    agents.lab.ok("source", "check", "agent")
    agents.lab.ok("verify")
    synthetic = agents.lab.json("synth", "agent/web")
    assert agents.lab.restored(synthetic["restore_point"]) == image.read_bytes()
    assert agents.lab.restored(made["restore_point"], "--without-index") == image.read_bytes()
    write_at(image, MIB, b"changed")
    after = door.sent(token, "web", "--device", image)
    assert (after["disks"][0]["level"], agents.lab.restored(after["restore_point"])) == (
        "incremental",
        image.read_bytes(),
    )


def test_nobody_else_backs_it_up(agents: AgentLab, door: Receiving, image: Path) -> None:
    """`holdfast backup` of an agent's machine says who does, and the source's name and kind are nobody else's."""
    door.sent(agents.token("web"), "web", "--device", image)
    assert agents.lab.fails(2, "backup", "agent/web")["code"] == "agent-sends"
    assert agents.lab.fails(2, "source", "add", "other", "--kind", "agent")["code"] == "source-kind"
    assert (
        agents.lab.fails(2, "source", "add", "agent", "--kind", "image", "--path", image.parent)["code"]
        == "source-kind"
    )


def test_a_full_on_request(agents: AgentLab, door: Receiving, image: Path) -> None:
    """`--full` sends everything, whatever the digests say."""
    token = agents.token("web")
    first = door.sent(token, "web", "--device", image)
    again = door.sent(token, "web", "--device", image, "--full")
    assert (again["disks"][0]["level"], again["disks"][0]["cause"]) == ("full", "full-requested")
    assert again["sent_bytes"] > 0.9 * first["sent_bytes"]
    assert agents.lab.restored(again["restore_point"]) == image.read_bytes()


@pytest.mark.parametrize(
    ("loss", "cause"), [("removed", "agent-digests-missing"), ("flipped", "agent-digests-damaged")]
)
def test_lost_digests_cost_a_full(agents: AgentLab, door: Receiving, image: Path, loss: str, cause: str) -> None:
    """Without its digests, or with damaged ones, the agent sends everything; the cause is recorded, the bytes right."""
    token = agents.token("web")
    door.sent(token, "web", "--device", image)
    (digests,) = (agents.root / "state" / "web").glob("*.digests")
    if loss == "removed":
        digests.unlink()
    else:
        flip(digests, 300)
    write_at(image, 7 * MIB, b"changed")
    made = door.sent(token, "web", "--device", image)
    assert (made["disks"][0]["level"], made["disks"][0]["cause"]) == ("full", cause)
    assert agents.lab.restored(made["restore_point"]) == image.read_bytes()


def test_digests_of_another_point_are_not_used(agents: AgentLab, door: Receiving, image: Path, tmp_path: Path) -> None:
    """A machine set back to an earlier state, its agent's memory with it, is read in full: its digests are too old."""
    token = agents.token("web")
    door.sent(token, "web", "--device", image)
    state, kept = agents.root / "state", tmp_path / "kept"
    subprocess.run(["cp", "-a", state, kept], check=True)
    write_at(image, 0, b"later")
    door.sent(token, "web", "--device", image)
    write_at(image, 0, b"again")
    made = door.sent(token, "web", "--device", image, state="kept")
    assert made["disks"][0]["cause"] == "agent-digests-missing"
    assert agents.lab.restored(made["restore_point"]) == image.read_bytes()


def test_wrong_digests_are_found_out(agents: AgentLab, door: Receiving, image: Path) -> None:
    """Digests that call changed blocks unchanged, though they check out, are distrusted: the disk is read in full."""
    token = agents.token("web")
    door.sent(token, "web", "--device", image)
    write_at(image, 0, Random(9).randbytes(SIZE))
    (path,) = (agents.root / "state" / "web").glob("*.digests")
    point = path.name.partition("-")[2].removesuffix(".digests")
    config = agents.lab.home.read_config()
    key = KeyRing.load(agents.lab.home.key_file).agent_key(machine_of(config.repository_id, "web").bytes)
    path.unlink()
    lying = DigestFile.create(path, CHUNK, SIZE, point)
    lying.put(0, block_digests(memoryview(image.read_bytes()), CHUNK, key))
    lying.finish()
    lying.close()
    made = door.sent(token, "web", "--device", image)
    assert made["disks"][0]["cause"] == "tracking-distrusted"
    assert len(agents.lab.of_type(ev.ChangeTrackingDistrusted)) == 1
    assert agents.lab.restored(made["restore_point"]) == image.read_bytes()


def test_holes_are_not_read(agents: AgentLab, door: Receiving, image: Path) -> None:
    """Holes of a raw file do not travel, and a hole that was data is zeros afterwards."""
    token = agents.token("web")
    first = door.sent(token, "web", "--device", image)
    assert first["disks"][0]["read_bytes"] < 5 * MIB
    punch(image, 10 * MIB, MIB)
    again = door.sent(token, "web", "--device", image)
    assert again["disks"][0]["changed_bytes"] == MIB
    assert agents.lab.restored(again["restore_point"]) == image.read_bytes()


def test_moved_content_does_not_travel(agents: AgentLab, door: Receiving, tmp_path: Path) -> None:
    """Blocks that are elsewhere on the disk than before are told by their old places."""
    image = tmp_path / "disk.raw"
    data = Random(5).randbytes(16 * MIB)
    image.write_bytes(data)
    token = agents.token("web")
    door.sent(token, "web", "--device", image)
    image.write_bytes(data[8 * MIB :] + data[: 8 * MIB])
    moved = door.sent(token, "web", "--device", image)
    assert moved["disks"][0]["changed_bytes"] == 16 * MIB
    assert moved["sent_bytes"] < MIB
    assert agents.lab.restored(moved["restore_point"]) == image.read_bytes()


def test_a_mounted_device_is_live(agents: AgentLab, door: Receiving, image: Path, tmp_path: Path) -> None:
    """A device in use is crash consistent, with the cause recorded; one that nobody uses needs no excuse."""
    token = agents.token("web")
    with loop_device(image) as device:
        # Read-only, so that the file system does not write of its own accord.
        with mounted(device, tmp_path / "mount", "-o", "ro"):
            made = door.sent(token, "web", "--device", device)
            assert made["consistency"] == "crash"
            assert agents.lab.of_type(ev.SnapshotCreated)[-1].fallback_cause == "agent-not-frozen"
        door.sent(token, "web", "--device", device)
        assert agents.lab.of_type(ev.SnapshotCreated)[-1].fallback_cause is None


def test_frozen_it_is_file_system_consistent(agents: AgentLab, door: Receiving, image: Path, tmp_path: Path) -> None:
    """With commands that freeze and thaw a mounted file system is one moment, and usable afterwards."""
    token = agents.token("web")
    with loop_device(image) as device, mounted(device, tmp_path / "mount") as at:
        (at / "file").write_bytes(b"content")
        hooks = ["--freeze-command", f"fsfreeze -f {at}", "--thaw-command", f"fsfreeze -u {at}"]
        made = door.sent(token, "web", "--device", device, *hooks)
        assert made["consistency"] == "filesystem"
        (at / "file").write_bytes(b"it is thawed")
    restored = agents.lab.restore(made["restore_point"])
    found = subprocess.run(["debugfs", "-R", "cat /file", restored], capture_output=True, check=True)
    assert found.stdout == b"content"


def test_a_snapshot_command_names_the_place_to_read(
    agents: AgentLab, door: Receiving, image: Path, tmp_path: Path
) -> None:
    """What is read is the snapshot, under the device's own name, and the snapshot is given back."""
    copy = tmp_path / "copy.raw"
    script = tmp_path / "snapshot"
    script.write_text(f'#!/bin/sh\ncp "$HOLDFAST_TARGET" {copy}\necho {copy}\n')
    script.chmod(0o755)
    hooks = ["--snapshot-command", str(script), "--release-command", "sh -c 'rm \"$HOLDFAST_SNAPSHOT\"'"]
    made = door.sent(agents.token("web"), "web", "--device", image, *hooks)
    assert made["disks"][0]["disk"] == str(image)
    assert agents.lab.restored(made["restore_point"]) == image.read_bytes()
    assert not copy.exists()


def test_a_write_while_it_is_read_makes_no_point(agents: AgentLab, door: Receiving, image: Path) -> None:
    """A device that others write to during the run fails it clearly; nothing of it is a restore point."""
    token = agents.token("web")
    with loop_device(image) as device:
        write = f"head -c 4096 /dev/urandom | dd of={device} bs=4096 oflag=direct conv=notrunc"
        command = ["sh", "-c", f"while sleep 0.01; do {write}; done"]
        writer = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            problem = door.refused(8, token, "web", "--device", device)
        finally:
            os.killpg(writer.pid, signal.SIGKILL)
            writer.wait()
    assert problem["code"] in ("agent-device-changed", "agent-changed")
    assert agents.lab.json("points") == []
    (failed,) = agents.lab.of_type(ev.BackupFailed)
    assert failed.code == problem["code"]


def test_a_snapshot_that_was_left_is_told(agents: AgentLab, door: Receiving, image: Path, tmp_path: Path) -> None:
    """Output and JSON warn of a snapshot that nothing releases; once it is released, the catalog tells of that."""
    token = agents.token("web")
    with opened_state(agents.root / "state", "web") as state:
        state.note(snapshots=((str(image), "/snap/a"),))
    for _ in range(2):
        answer = door.agent(token, "web", "--device", image)
        assert answer.code == 0
        (warning,) = answer.json()["warnings"]
        assert f"snapshot /snap/a of {image}" in warning
        assert "warning: an earlier run left the snapshot /snap/a" in answer.err
    hooks = ["--snapshot-command", "sh -c 'echo $HOLDFAST_TARGET'", "--release-command", "true"]
    assert door.sent(token, "web", "--device", image, *hooks)["warnings"] == []
    (cleaned,) = agents.lab.of_type(ev.LeftoverCleaned)
    assert (cleaned.what, cleaned.action) == (f"snapshot /snap/a of {image}", "released")
    with opened_state(agents.root / "state", "web") as state:
        state.note(snapshots=((str(image), "/snap/b"),))
    assert door.sent(token, "web", "--device", image, "--forget-snapshots")["warnings"] == []
    assert door.sent(token, "web", "--device", image)["warnings"] == []
