"""Files of the simulated hosts that a restore makes, straight in their folder."""

from __future__ import annotations

import os
from pathlib import Path

from adapters.errors import SourceConflict, SourceNotFound, SourceUnavailable
from adapters.hyperv.restore.files import FileWriter
from adapters.hyperv.smb.files import Entry
from tests.support.hyperv.files import WorldFiles

PIECE = 1 << 20


class MakingWorldFiles(WorldFiles):
    """As WorldFiles. `refusing` are names of files whose deletion fails, `failing_after` bytes the volume is full."""

    refusing: str | None = None
    failing_after: int | None = None
    written: int = 0

    def create(self, unc: str) -> FileWriter:
        """Make a new file."""
        path = self._local(unc)
        if path.exists():
            raise SourceConflict(f"{unc} is there", code="smb-file-exists")
        return WorldWriter(self, path)

    def create_folder(self, unc: str) -> None:
        """Make a new folder."""
        path = self._local(unc)
        if path.exists():
            raise SourceConflict(f"{unc} is there", code="smb-file-exists")
        if not path.parent.is_dir():
            raise SourceNotFound(f"{unc} has no parent", code="smb-file-missing")
        path.mkdir()

    def delete(self, unc: str) -> None:
        """Delete a file or an empty folder."""
        path = self._local(unc)
        if self.refusing is not None and self.refusing in path.name:
            raise SourceConflict(f"{unc} is held", code="smb-sharing")
        if not path.exists():
            raise SourceNotFound(f"{unc} is not there", code="smb-file-missing")
        if path.is_dir() and any(path.iterdir()):
            raise SourceConflict(f"{unc} is not empty", code="smb-folder-not-empty")
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink()

    def read_bytes(self, unc: str) -> bytes:
        """The whole of a file."""
        if not self._local(unc).is_file():
            raise SourceNotFound(f"{unc} is not there", code="smb-file-missing")
        return super().read_bytes(unc)

    def list(self, unc: str) -> tuple[Entry, ...]:
        """What is in a folder."""
        path = self._local(unc)
        if not path.is_dir():
            raise SourceNotFound(f"{unc} is not there", code="smb-file-missing")
        return tuple(Entry(one.name, one.stat().st_size, one.is_dir()) for one in sorted(path.iterdir()))

    def _local(self, unc: str) -> Path:
        return self._world.storage.local(self._split(unc)[1])


class WorldWriter:
    """A new file of the folder."""

    def __init__(self, files: MakingWorldFiles, path: Path) -> None:
        self._files = files
        self._file = path.open("xb")

    def resize(self, size_bytes: int) -> None:
        """Set the file's size."""
        self._file.truncate(size_bytes)

    def write_at(self, offset: int, data: memoryview | bytes) -> None:
        """Write all of it."""
        self._files.written += len(data)
        if self._files.failing_after is not None and self._files.written > self._files.failing_after:
            raise SourceUnavailable("the volume is gone", code="smb-lost")
        self._file.seek(offset)
        self._file.write(data)

    def flush(self) -> None:
        """Write through."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()
