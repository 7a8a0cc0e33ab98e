"""Our mark: the names of everything we create in a QEMU and in the scratch directory.

Pure; imports `adapters.errors` and a constant of `adapters.nbd`. Whatever carries the mark is ours to remove, nothing
else is. QEMU limits node names to 31 bytes, so only bitmaps, which outlive a run, carry the run's label.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from adapters.errors import SourceInvalid
from adapters.nbd.wire import MAX_UNIX_PATH

MARK = "holdfast-"
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_NONCE_BYTES = 6


@dataclass(frozen=True, slots=True)
class Place:
    """Where one source keeps scratch files and its NBD socket.

    `sockets` takes the socket when the path of `directory` is too long for one: where the QMP socket is, both QEMU
    and we can reach it.
    """

    directory: Path
    source: str
    sockets: Path

    @property
    def _prefix(self) -> str:
        return f"{MARK}{hashlib.sha256(self.source.encode()).hexdigest()[:12]}"

    @property
    def nbd_socket(self) -> Path:
        """The socket of the NBD server while it is ours."""
        own = self.directory / f"{self._prefix}.nbd"
        if len(str(own).encode()) <= MAX_UNIX_PATH:
            return own
        return self.sockets / f"{MARK}{hashlib.sha256(str(own).encode()).hexdigest()[:12]}.nbd"

    @property
    def freeze_note(self) -> Path:
        """Exists from before the guest is frozen until after it is thawed."""
        return self.directory / f"{self._prefix}.frozen"

    def scratch_file(self, nonce: str) -> Path:
        """The file that takes what the guest overwrites."""
        return self.directory / f"{self._prefix}-{nonce}.qcow2"

    def scratch_files(self) -> list[Path]:
        """List this source's scratch files."""
        return sorted(self.directory.glob(f"{self._prefix}-*.qcow2"))


@dataclass(frozen=True, slots=True)
class Marks:
    """The names for one disk of one snapshot."""

    label: str
    nonce: str

    @property
    def bitmap(self) -> str:
        """Records what changes from this snapshot on."""
        return f"{MARK}{self.label.removeprefix(MARK)}-{self.nonce}"

    @property
    def export_bitmap(self) -> str:
        """The frozen copy of the base's bitmap that is exported."""
        return f"{MARK}since-{self.nonce}"

    @property
    def node(self) -> str:
        """The frozen view: a scratch overlay on the disk."""
        return f"{MARK}{self.nonce}"

    @property
    def file_node(self) -> str:
        """The scratch file under the frozen view."""
        return f"{MARK}{self.nonce}-file"

    @property
    def job(self) -> str:
        """The block job that saves old data before the guest overwrites it."""
        return f"{MARK}{self.nonce}"

    @property
    def create_job(self) -> str:
        """The job that makes the scratch file."""
        return f"{MARK}{self.nonce}-create"

    @property
    def export(self) -> str:
        """The NBD export, id and name."""
        return f"{MARK}{self.nonce}"


def marks(label: str, random: bytes) -> Marks:
    """Name the parts of one disk's snapshot; `random` makes them unique. Raises SourceInvalid for a bad label."""
    if not _LABEL.fullmatch(label):
        raise SourceInvalid(
            f"{label!r} cannot be a label",
            code="label",
            why="it takes up to 128 letters, digits, dots, hyphens and underscores",
        )
    return Marks(label, random[:_NONCE_BYTES].hex())
