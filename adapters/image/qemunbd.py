"""qemu-img and qemu-nbd as child processes, for images that are not raw.

Imports `adapters.errors`, `adapters.nbd` and this package only. A server is a child as `adapters/nbd/child.py`
describes it: being not persistent, it ends with our last connection.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from adapters.errors import (
    AdapterError,
    SourceConflict,
    SourceCorrupt,
    SourceUnavailable,
)
from adapters.image.images import Image
from adapters.nbd.child import ChildEnded, NbdChild
from adapters.nbd.client import NbdClient
from adapters.nbd.reader import NbdReader

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
        raise _refusal(image, answer.stderr[-_MAX_STDERR:].decode(errors="replace").strip().splitlines())
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
        self._child = NbdChild(runtime_dir, RUN_PREFIX, {"machine": machine_key, "label": label})
        self._keeper: NbdClient | None = None
        try:
            self._keeper = self._start(image)
        except BaseException:
            self.close()
            raise

    @property
    def size_bytes(self) -> int:
        """The size of the disk inside the image."""
        return self._keeper.size_bytes if self._keeper else 0

    def open(self) -> NbdReader:
        """Open a reader of its own connection."""
        return NbdReader(NbdClient(f"unix:{self._child.socket}"), transport="nbd")

    def close(self) -> None:
        """End the server and remove what it needed; twice is harmless."""
        if self._keeper is not None:
            self._keeper.close()
        self._child.close()

    def _start(self, image: Image) -> NbdClient:
        child = self._child
        command = ["qemu-nbd", "--read-only", "--shared=0", f"--socket={child.socket}", child.pid_option]
        try:
            child.start([*command, f"json:{json.dumps(image.tree())}"])
            return child.connect()
        except FileNotFoundError:
            raise tool_missing("qemu-nbd", image) from None
        except ChildEnded as ended:
            raise _refusal(image, ended.words) from None


def _refusal(image: Image, lines: list[str]) -> AdapterError:
    """Translate qemu's last words about an image."""
    words = lines[-1] if lines else "it gave no reason"
    if "lock" in "".join(lines) and "another process" in "".join(lines):
        return SourceConflict(
            f"{image.path.name} is in use",
            code="image-in-use",
            why="a running machine writes it",
            hint="Back the machine up through its hypervisor, or shut it down.",
        )
    return SourceCorrupt(f"qemu cannot open {image.path.name}", code="image-unreadable", why=words)
