"""Real NBD servers and clients for tests: nbdkit, qemu-nbd, nbdinfo, nbdcopy, libnbd's Python module."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.eventually import eventually

SYSTEM_PYTHON = "/usr/bin/python3"  # Debian's libnbd module is built for it


def need(*tools: str) -> None:
    """Skip the test when a tool is missing."""
    for tool in tools:
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")


def need_libnbd() -> None:
    """Skip the test when the system's Python has no libnbd."""
    need(SYSTEM_PYTHON)
    if subprocess.run([SYSTEM_PYTHON, "-c", "import nbd"], capture_output=True, check=False).returncode:
        pytest.skip("python3-libnbd is not installed")


@contextmanager
def running(command: list[str], ready: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until the block ends; it is ready once it wrote the file `ready`."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        eventually(lambda: ready.exists() or process.poll() is not None, command[0])
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stderr:
            process.stderr.close()


@contextmanager
def nbdkit(folder: Path, *arguments: str, port: int = 0) -> Iterator[str]:
    """Run nbdkit on a unix socket in `folder`, or on a port of loopback; yield our client's address."""
    need("nbdkit")
    place = ["-i", "127.0.0.1", "-p", str(port)] if port else ["-U", str(folder / "nbdkit.sock")]
    with running(["nbdkit", "-f", "-P", str(folder / "pid"), *place, *arguments], folder / "pid"):
        yield f"127.0.0.1:{port}" if port else f"unix:{folder / 'nbdkit.sock'}"
    (folder / "pid").unlink(missing_ok=True)
    (folder / "nbdkit.sock").unlink(missing_ok=True)


@contextmanager
def qemu_nbd(folder: Path, *arguments: str) -> Iterator[str]:
    """Run qemu-nbd on a unix socket in `folder`; yield our client's address."""
    need("qemu-nbd")
    socket = folder / "qemu-nbd.sock"
    command = ["qemu-nbd", "-t", "-e", "0", "-k", str(socket), "--pid-file", str(folder / "qpid"), *arguments]
    with running(command, folder / "qpid"):
        yield f"unix:{socket}"


def uri(address: str, export: str = "") -> str:
    """Return libnbd's address of what our client calls `address`."""
    if address.startswith("unix:"):
        return f"nbd+unix:///{export}?socket={address.removeprefix('unix:')}"
    return f"nbd://{address}/{export}"


def nbdcopy_bytes(address: str, export: str = "") -> bytes:
    """Read an export whole with libnbd."""
    need("nbdcopy")
    return subprocess.run(["nbdcopy", uri(address, export), "-"], check=True, capture_output=True).stdout


def nbdinfo_map(address: str, context: str = "base:allocation", export: str = "") -> list[tuple[int, int, int]]:
    """Return (offset, length, flags) as libnbd sees them, neighbours of equal flags merged."""
    need("nbdinfo")
    answer = subprocess.run(
        ["nbdinfo", "--json", f"--map={context}", uri(address, export)], check=True, capture_output=True
    )
    merged: list[tuple[int, int, int]] = []
    for row in json.loads(answer.stdout):
        if merged and merged[-1][2] == row["type"]:
            start, length, flags = merged.pop()
            merged.append((start, length + row["length"], flags))
        else:
            merged.append((row["offset"], row["length"], row["type"]))
    return merged


def libnbd(script: str, *arguments: str) -> str:
    """Run a libnbd script with a connected-to-nothing handle `h`; return what it prints."""
    need_libnbd()
    program = f"import nbd, sys\nh = nbd.NBD()\n{script}"
    answer = subprocess.run(
        [SYSTEM_PYTHON, "-c", program, *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout
