"""qemu-img and qemu-nbd as child processes, for images that are not raw.

Imports `adapters.errors`, `adapters.nbd` and this package only. A server has one run folder: `owner` (locked
by us while we live) and `pid`. It serves one private socket and, being not persistent, ends with our last
connection, however we die; what slipped through is found by its run folder.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import BinaryIO

from adapters.errors import (
    AdapterError,
    SourceConflict,
    SourceCorrupt,
    SourceNotFound,
    SourceUnavailable,
)
from adapters.image.images import Image
from adapters.nbd.client import NbdClient
from adapters.nbd.reader import NbdReader

_START_SECONDS = 20.0
_END_SECONDS = 5.0
_ANSWER_SECONDS = 30.0
_MAX_STDERR = 4096
RUN_PREFIX = "qemu-nbd-"


def virtual_size(image: Image) -> int:
    """Ask qemu-img how large the disk inside an image is. Raises SourceCorrupt if it cannot be opened."""
    command = ["qemu-img", "info", "-U", "--output=json", f"json:{json.dumps(image.top())}"]
    try:
        answer = subprocess.run(command, capture_output=True, timeout=_ANSWER_SECONDS, check=False)
    except FileNotFoundError:
        raise tool_missing("qemu-img", image) from None
    except subprocess.TimeoutExpired:
        raise SourceUnavailable(f"qemu-img does not answer about {image.path.name}", code="qemu-img-stalled") from None
    if answer.returncode:
        raise _refusal(image, answer.stderr)
    return int(json.loads(answer.stdout)["virtual-size"])


def tool_version() -> str | None:
    """Return the version of qemu-nbd, None when it is not installed."""
    try:
        answer = subprocess.run(
            ["qemu-nbd", "--version"], capture_output=True, timeout=_ANSWER_SECONDS, check=False, text=True
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    words = answer.stdout.split()
    return words[1] if len(words) > 1 else None


def tool_missing(tool: str, image: Image) -> SourceUnavailable:
    """Build the error of a machine without qemu's tools."""
    return SourceUnavailable(
        f"{image.path.name} cannot be read without {tool}",
        code="qemu-nbd-missing",
        why=f"{image.format} images are read through it, and it is not installed",
        hint="Install qemu-utils (Debian), qemu-img (Fedora) or qemu-tools (SUSE).",
    )


class ImageServer:
    """A qemu-nbd of our own that serves one image, from construction to `close`."""

    def __init__(self, image: Image, runtime_dir: Path, machine_key: str, label: str) -> None:
        self._image = image
        runtime_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._run_dir = Path(tempfile.mkdtemp(prefix=RUN_PREFIX, dir=runtime_dir))
        self._socket_dir = Path(tempfile.mkdtemp(prefix="holdfast-"))  # short: a socket's path has few bytes
        self._owner = _claim(self._run_dir, self._socket_dir, machine_key, label)
        self._child: subprocess.Popen[bytes] | None = None
        self._keeper: NbdClient | None = None
        try:
            self._child = self._spawn()
            self._keeper = self._first_connection(self._child)
        except BaseException:
            self.close()
            raise

    @property
    def size_bytes(self) -> int:
        """The size of the disk inside the image."""
        return self._keeper.size_bytes if self._keeper else 0

    def open(self) -> NbdReader:
        """Open a reader of its own connection."""
        return NbdReader(self._connect(), transport="nbd")

    def close(self) -> None:
        """End the server and remove what it needed; twice is harmless."""
        if self._keeper is not None:
            self._keeper.close()
        if self._child is not None:
            _end(self._child)
        shutil.rmtree(self._socket_dir, ignore_errors=True)
        shutil.rmtree(self._run_dir, ignore_errors=True)
        self._owner.close()

    def _connect(self) -> NbdClient:
        return NbdClient(f"unix:{self._socket_dir / 's'}")

    def _spawn(self) -> subprocess.Popen[bytes]:
        command = ["qemu-nbd", "--read-only", "--shared=0"]
        command += [f"--socket={self._socket_dir / 's'}", f"--pid-file={self._run_dir / 'pid'}"]
        command.append(f"json:{json.dumps(self._image.tree())}")
        with open(self._run_dir / "stderr", "wb") as stderr:
            try:
                return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr)
            except FileNotFoundError:
                raise tool_missing("qemu-nbd", self._image) from None

    def _first_connection(self, child: subprocess.Popen[bytes]) -> NbdClient:
        """Connect as soon as the socket answers; a child that ended says why not."""
        deadline = time.monotonic() + _START_SECONDS
        while True:
            ended = child.poll() is not None
            try:
                return self._connect()
            except (SourceNotFound, SourceUnavailable):
                if ended:
                    raise _refusal(self._image, (self._run_dir / "stderr").read_bytes()) from None
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.005)


def _claim(run_dir: Path, socket_dir: Path, machine_key: str, label: str) -> BinaryIO:
    """Write who runs the server and lock it: the lock ends with this process."""
    owner = open(run_dir / "owner", "x+b", buffering=0)  # noqa: SIM115 - closed with the server
    fcntl.flock(owner, fcntl.LOCK_EX)
    owner.write(json.dumps({"machine": machine_key, "label": label, "socket_dir": str(socket_dir)}).encode())
    return owner


def _end(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _refusal(image: Image, stderr: bytes) -> AdapterError:
    """Translate qemu's last words about an image."""
    lines = stderr[-_MAX_STDERR:].decode(errors="replace").strip().splitlines()
    words = lines[-1] if lines else "it gave no reason"
    if "lock" in "".join(lines) and "another process" in "".join(lines):
        return SourceConflict(
            f"{image.path.name} is in use",
            code="image-in-use",
            why="a running machine writes it",
            hint="Back the machine up through its hypervisor, or shut it down.",
        )
    return SourceCorrupt(f"qemu cannot open {image.path.name}", code="image-unreadable", why=words)
