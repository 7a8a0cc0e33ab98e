"""A restore point as a disk over NBD: read by others' clients, on this machine only, and recorded."""

from __future__ import annotations

import json
import shutil
import signal
import socketserver
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest

from adapters.errors import SourceUnavailable
from adapters.qemu.qmp import Qmp
from catalog.domain import events as ev
from tests.support.eventually import eventually
from tests.support.lab import MIB, Lab, flip, make_image, pieces, write_at

SIZE = 6 * MIB + 512


@pytest.fixture
def image(lab: Lab) -> Path:
    """An image whose newest point is an incremental with holes."""
    path = lab.images / "vm.raw"
    make_image(path, SIZE, list(pieces(Random(81), [(0, MIB), (4 * MIB + 99, 300_000)])))
    lab.add_images()
    lab.backup()
    write_at(path, 2 * MIB, b"change")
    lab.backup()
    return path


@contextmanager
def exported(lab: Lab, nbd: str) -> Iterator[str]:
    """Serve the newest point in a process of its own, which must end well at SIGTERM."""
    process = lab.start("export", "latest", "--nbd", nbd, "--json")
    assert process.stdout is not None
    answer = b""
    while not answer.rstrip().endswith(b"}"):
        line = process.stdout.readline()
        assert line, process.communicate()
        answer += line
    try:
        yield json.loads(answer)["uri"]
    finally:
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 0, err


@pytest.fixture
def socket() -> Iterator[str]:
    """A place for a unix socket, with a short path."""
    with TemporaryDirectory(prefix="hf-") as directory:
        yield f"unix:{directory}/s"


def _free_port() -> int:
    with socketserver.TCPServer(("127.0.0.1", 0), socketserver.BaseRequestHandler) as server:
        return int(server.server_address[1])


def _need(*tools: str) -> None:
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")


@pytest.mark.parametrize("over", ["unix", "tcp"])
def test_other_clients_read_the_same_bytes(lab: Lab, image: Path, socket: str, over: str) -> None:
    """qemu-img and nbdcopy get exactly the source's bytes, over a unix socket and over loopback; both are recorded."""
    _need("qemu-img", "nbdcopy")
    with exported(lab, socket if over == "unix" else f"127.0.0.1:{_free_port()}") as uri:
        command = ["qemu-img", "compare", "-f", "raw", "-F", "raw", str(image), uri]
        compared = subprocess.run(command, capture_output=True, text=True, check=False)
        assert compared.returncode == 0, compared
        copied = lab.root / "copied"
        subprocess.run(["nbdcopy", uri, str(copied)], check=True)
    assert copied.read_bytes() == image.read_bytes()
    (started,), (stopped,) = lab.of_type(ev.ExportStarted), lab.of_type(ev.ExportStopped)
    assert started.disk_id == stopped.disk_id
    assert stopped.read_bytes > 0


def test_holes_are_told(lab: Lab, image: Path, socket: str) -> None:
    """A client that asks learns where the disk has no data."""
    _need("nbdinfo")
    with exported(lab, socket) as uri:
        told = subprocess.run(["nbdinfo", "--map", "--json", uri], capture_output=True, check=True)
    zero = sum(extent["length"] for extent in json.loads(told.stdout) if extent["type"] & 2)
    assert SIZE - 2 * MIB < zero < SIZE


def test_a_machine_starts_from_it(lab: Lab, image: Path, socket: str) -> None:
    """qemu-system opens the export as a drive with a snapshot over it, reads our bytes and writes its own."""
    _need("qemu-system-x86_64")
    with exported(lab, socket) as uri, TemporaryDirectory(prefix="hf-") as directory:
        command = ["qemu-system-x86_64", "-M", "none", "-nodefaults", "-display", "none", "-S"]
        command += ["-qmp", f"unix:{directory}/qmp,server=on,wait=off"]
        command += ["-drive", f"if=none,id=disk0,file={uri},format=raw,snapshot=on"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            qmp = eventually(lambda: _connected(Path(directory) / "qmp"), "QEMU answers")
            for line in ("write -P 7 0 65536", "read -P 7 0 65536", f"read -v {2 * MIB} 6"):
                qmp.query("human-monitor-command", str, {"command-line": f'qemu-io disk0 "{line}"'})
            qmp.execute("quit")
            qmp.close()
            out, _ = process.communicate(timeout=30)
        finally:
            process.kill()
            process.wait()
    assert b"read 65536/65536" in out
    assert b"Pattern verification failed" not in out
    assert b"63 68 61 6e 67 65" in out  # "change"


def _connected(path: Path) -> Qmp | None:
    try:
        return Qmp(path)
    except SourceUnavailable:
        return None


def test_damage_is_a_read_error(lab: Lab, image: Path, socket: str) -> None:
    """A client that reads a damaged chunk gets an error and no bytes; the rest is still served."""
    _need("qemu-io")
    flip(lab.packs()[0], 5000)
    with exported(lab, socket) as uri:
        bad = subprocess.run(["qemu-io", "-r", "-f", "raw", "-c", "read 0 1M", uri], capture_output=True, check=False)
        good = subprocess.run(
            ["qemu-io", "-r", "-f", "raw", "-c", "read 2M 64k", uri], capture_output=True, check=False
        )
    assert b"Input/output error" in bad.stdout + bad.stderr
    assert b"read 65536/65536" in good.stdout


def test_it_serves_without_an_index(lab: Lab, image: Path, socket: str) -> None:
    """With the index gone the export resolves from the event log."""
    _need("nbdcopy")
    shutil.rmtree(lab.home.lake_dir)
    with exported(lab, socket) as uri:
        copied = lab.root / "copied"
        subprocess.run(["nbdcopy", uri, str(copied)], check=True)
    assert copied.read_bytes() == image.read_bytes()


@pytest.mark.parametrize("address", ["0.0.0.0:10809", "[::]:10809", "192.0.2.1:10809", "backup.example:10809"])
def test_only_this_machine_is_served(lab: Lab, image: Path, address: str) -> None:
    """NBD asks nobody who they are: an address that others reach is refused with exit 6."""
    assert lab.fails(6, "export", "latest", "--nbd", address)["code"] == "nbd-not-loopback"
    assert lab.of_type(ev.ExportStarted) == []


def test_one_disk_at_a_time(lab: Lab) -> None:
    """A point of two disks asks which, and names them."""
    (lab.images / "db").mkdir()
    for name in ("a.raw", "b.raw"):
        make_image(lab.images / "db" / name, MIB, [(0, b"1")])
    lab.add_images()
    lab.backup()
    problem = lab.fails(2, "export", "latest", "--nbd", "127.0.0.1:10809")
    assert problem["code"] == "disk-ambiguous"
    assert "a.raw" in problem["hint"]
