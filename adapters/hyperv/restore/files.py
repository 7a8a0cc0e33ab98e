"""Making files at a host for a restore, and taking them away again when it fails.

Imports `adapters.errors`, `adapters.port`, `adapters.virtualdisk` and the package around it.
Only what a restore made itself is ever deleted, and nothing that is there is written over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from adapters.errors import AdapterError, SourceNotFound
from adapters.hyperv.smb.files import Entry
from adapters.port import DiskImage
from adapters.virtualdisk.writer import write_vhdx


class FileWriter(Protocol):
    """A new file, used by one thread."""

    def resize(self, size_bytes: int) -> None:
        """Set the file's size: what is not written reads as zeros."""

    def write_at(self, offset: int, data: memoryview | bytes) -> None:
        """Write all of it."""

    def flush(self) -> None:
        """Return when everything is on disks."""

    def close(self) -> None:
        """Close the file; closing twice is harmless."""


class MakingFiles(Protocol):
    """Files of hosts by their UNC paths, to make and to delete."""

    def create(self, unc: str) -> FileWriter:
        """Make a new file. Raises SourceConflict where there is one."""

    def create_folder(self, unc: str) -> None:
        """Make a new folder. Raises SourceConflict where there is one."""

    def delete(self, unc: str) -> None:
        """Delete a file or an empty folder. Raises SourceNotFound, SourceConflict `smb-folder-not-empty`."""

    def read_bytes(self, unc: str) -> bytes:
        """The whole of a small file. Raises SourceNotFound."""

    def list(self, unc: str) -> Sequence[Entry]:
        """What is in a folder. Raises SourceNotFound."""


@dataclass(slots=True)
class Made:
    """What a restore made at a host, by UNC paths, in order."""

    files: MakingFiles
    paths: list[str] = field(default_factory=list)

    def folder(self, unc: str) -> None:
        """Make a folder."""
        self.files.create_folder(unc)
        self.paths.append(unc)

    def disk(
        self, unc: str, image: DiskImage, identity: str | None, sector_bytes: int, written: Callable[[int], None]
    ) -> None:
        """Make a VHDX file of a disk; without an identity it gets a new one."""

        def write(to: FileWriter) -> None:
            known = UUID(identity) if identity is not None else None
            write_vhdx(image, to, identity=known, sector_bytes=sector_bytes, written=written)

        self.file(unc, write)

    def file(self, unc: str, write: Callable[[FileWriter], None]) -> None:
        """Make a file and write it to its end, on the host's disks. A half one counts as made."""
        writer = self.files.create(unc)
        self.paths.append(unc)
        try:
            write(writer)
            writer.flush()
        finally:
            writer.close()

    def forget(self, unc: str) -> None:
        """Delete one of them now."""
        self.files.delete(unc)
        self.paths.remove(unc)

    def remove(self) -> list[str]:
        """Delete everything, the last one first; return what could not be."""
        stays: list[str] = []
        for unc in reversed(self.paths):
            try:
                with suppress(SourceNotFound):
                    self.files.delete(unc)
            except AdapterError as error:
                stays.append(f"{unc} ({error})")
        self.paths.clear()
        return stays
