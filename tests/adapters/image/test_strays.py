"""Our qemu-nbd processes end with us, and reconcile ends those that slipped through, and no others."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.image import ImageSource
from adapters.image.qemunbd import RUN_PREFIX
from adapters.nbd.strays import end_process
from tests.support.eventually import eventually
from tests.support.image_folder import ImageFolder, machine, snapshot_of
from tests.support.nbd_peers import need

WORKER = """
import sys, time
from pathlib import Path
from adapters.image import ImageSource
from adapters.port import SnapshotRequest
source = ImageSource("images", Path(sys.argv[1]), Path(sys.argv[2]))
(machine,) = source.inventory()
snapshot = source.snapshot(machine, SnapshotRequest("crashed", {machine.disks[0].key: None}))
print("open", flush=True)
time.sleep(600)
"""


def servers(runtime_dir: Path) -> list[int]:
    """Return the process ids of the qemu-nbd processes that have this runtime folder on their command line."""
    mark = os.fsencode(f"--pid-file={runtime_dir}")
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if mark in command and command.startswith(b"qemu-nbd"):
                found.append(int(entry.name))
    return found


@pytest.fixture
def runtime_dir(tmp_path: Path, images: ImageFolder) -> Path:
    """The source's runtime folder, once there is a qcow2 to serve."""
    need("qemu-nbd", "qemu-img")
    images.convert("m1.qcow2", "qcow2", bytes(range(256)) * 4096)
    return tmp_path / "runtime"


@pytest.fixture
def stray(runtime_dir: Path, images: ImageFolder) -> Iterator[subprocess.Popen[bytes]]:
    """A qemu-nbd as a process of ours leaves it that dies between starting it and connecting to it."""
    run_dir = runtime_dir / f"{RUN_PREFIX}stray"
    socket_dir = runtime_dir.parent / "holdfast-stray"
    run_dir.mkdir(parents=True)
    socket_dir.mkdir()
    about = {"machine": "m1.qcow2", "label": "crashed", "socket_dir": str(socket_dir)}
    (run_dir / "owner").write_text(json.dumps(about))
    command = ["qemu-nbd", "--read-only", "--persistent", f"--pid-file={run_dir / 'pid'}", f"--socket={socket_dir}/s"]
    process = subprocess.Popen([*command, str(images.path / "m1.qcow2")])
    eventually((run_dir / "pid").exists, "qemu-nbd is up")
    yield process
    process.kill()
    process.wait()


def test_a_killed_worker_leaves_no_server(runtime_dir: Path, images: ImageFolder, source: ImageSource) -> None:
    """When our process is killed its qemu-nbd ends by itself; reconcile removes the folders it left."""
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, images.path, runtime_dir], stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]
    )
    try:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"open\n"
        (child,) = servers(runtime_dir)
        assert source.reconcile(machine(source, "m1"), {}) == []  # its owner lives
        assert servers(runtime_dir) == [child]
    finally:
        worker.send_signal(signal.SIGKILL)
        worker.communicate()
    eventually(lambda: not servers(runtime_dir), "qemu-nbd noticed")
    (leftover,) = source.reconcile(machine(source, "m1"), {})
    assert "crashed" in leftover.what
    assert not list(runtime_dir.iterdir())


def test_a_stray_is_ended(runtime_dir: Path, source: ImageSource, stray: subprocess.Popen[bytes]) -> None:
    """A qemu-nbd of ours without an owner is ended and named; a second look finds nothing."""
    (leftover,) = source.reconcile(machine(source, "m1"), {})
    assert leftover.what == f"qemu-nbd {stray.pid} of crashed"
    assert leftover.action == "ended"
    assert stray.wait(30) == 0
    assert not list(runtime_dir.iterdir())
    assert not (runtime_dir.parent / "holdfast-stray").exists()
    assert source.reconcile(machine(source, "m1"), {}) == []


def test_another_machine_s_stray_is_left(
    runtime_dir: Path, images: ImageFolder, source: ImageSource, stray: subprocess.Popen[bytes]
) -> None:
    """Reconciling one machine leaves the other machines' processes alone."""
    images.raw("m2.raw")
    assert source.reconcile(machine(source, "m2"), {}) == []
    assert stray.poll() is None


def test_a_reused_process_id_is_not_ended(
    runtime_dir: Path, source: ImageSource, stray: subprocess.Popen[bytes]
) -> None:
    """A process that only has the number that our pid file names lives on."""
    with subprocess.Popen(["sleep", "600"]) as innocent:
        (runtime_dir / f"{RUN_PREFIX}stray" / "pid").write_text(f"{innocent.pid}\n")
        (leftover,) = source.reconcile(machine(source, "m1"), {})
        assert leftover.action == "removed"
        assert innocent.poll() is None
        assert stray.poll() is None
        innocent.kill()


def test_processes_that_are_gone_are_not_ended(runtime_dir: Path) -> None:
    """A process id that nobody has is no success."""
    process = subprocess.Popen(["true"])
    process.wait()
    assert end_process(process.pid, "true") is False


def test_our_own_open_snapshot_is_left(runtime_dir: Path, source: ImageSource) -> None:
    """Reconcile does not touch a snapshot that is in use, and release leaves nothing."""
    with snapshot_of(source, machine(source, "m1")) as snapshot:
        assert source.reconcile(machine(source, "m1"), {}) == []
        reader = snapshot.disks["m1.qcow2"].open()
        buffer = bytearray(256)
        reader.pread_into(0, memoryview(buffer))
        assert bytes(buffer) == bytes(range(256))
        (child,) = servers(runtime_dir)
    assert not servers(runtime_dir)
    assert not list(runtime_dir.iterdir())
    assert not Path(f"/proc/{child}").exists()


def test_a_server_that_cannot_start_leaves_nothing(
    runtime_dir: Path, images: ImageFolder, source: ImageSource, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """When qemu-nbd fails its last words are the error, and no folder or process stays."""
    found = machine(source, "m1")
    broken = tmp_path / "bin"
    broken.mkdir()
    (broken / "qemu-nbd").write_text("#!/bin/sh\necho 'qemu-nbd: out of luck' >&2\nexit 1\n")
    (broken / "qemu-nbd").chmod(0o755)
    monkeypatch.setenv("PATH", str(broken), prepend=":")
    with pytest.raises(Exception, match="out of luck"), snapshot_of(source, found):
        pass
    assert not list(runtime_dir.iterdir())
