"""A machine's files by their paths at its host, through whichever host has them best.

Imports `adapters.errors`, `adapters.virtualdisk` and this package. Where a file is read is asked anew for each opening:
machines and volumes of a cluster move while they are read. What a differencing disk says about its parent is not
followed by us: the host says which files make up a disk. It has that from the file, though, so a parent is never looked
for on another server: we would log on there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from adapters.errors import SourceCorrupt, SourceDenied, SourceNotFound
from adapters.hyperv.cluster import Hosts
from adapters.hyperv.smb.paths import SmbPath, unc_of
from adapters.virtualdisk.chain import VirtualDisk, open_disk
from adapters.virtualdisk.file import RandomFile
from adapters.virtualdisk.locator import ParentLocator

_MOST_FILES = 64


class Files(Protocol):
    """Files of hosts by their UNC paths."""

    def open(self, unc: str) -> RandomFile:
        """Open a file for reading."""

    def read_bytes(self, unc: str) -> bytes:
        """The whole of a small file."""

    def exists(self, unc: str) -> bool:
        """Whether there is a file, without opening it: somebody may have it to himself."""

    def close(self) -> None:
        """Give all connections back; closing twice is harmless."""


class MachinePlaces:
    """The files of one machine."""

    def __init__(
        self,
        hosts: Hosts,
        files: Files,
        share: str | None,
        machine_id: str,
        *,
        found_at: Callable[[str], str] = lambda path: path,
    ) -> None:
        self._hosts = hosts
        self._files = files
        self._share = share
        self._machine_id = machine_id
        self._found_at = found_at

    def moved(self, found_at: Callable[[str], str]) -> MachinePlaces:
        """The same files where something else holds them as they were, by their own paths."""
        return MachinePlaces(self._hosts, self._files, self._share, self._machine_id, found_at=found_at)

    def open(self, path: str) -> RandomFile:
        """Open a file for reading, where it is best read at this moment."""
        return self._files.open(self._unc(path))

    def read_bytes(self, path: str) -> bytes:
        """The whole of a small file."""
        return self._files.read_bytes(self._unc(path))

    def require(self, path: str) -> None:
        """Raise SourceNotFound for a file that is not there, and what keeps us from asking."""
        unc = self._unc(path)
        if not self._files.exists(unc):
            raise SourceNotFound(
                f"{unc} is not there",
                code="file-missing",
                why="the host has it under another path than its share shows, or the share is another's",
            )

    def parents(self, path: str) -> Mapping[str, str]:
        """Which file each file of a disk builds on, as the host says.

        Raises SourceCorrupt for a chain without end, SourceDenied for one that leads to another server.
        """
        found: dict[str, str] = {}
        while (parent := self._parent(path)) is not None:
            if len(found) >= _MOST_FILES or _key(parent) in found or _key(parent) == _key(path):
                raise SourceCorrupt(f"The chain of {path} has no end", code="chain-endless")
            _require_near(path, parent)
            found[_key(path)] = path = parent
        return found

    def open_disk(self, path: str) -> VirtualDisk:
        """Open a disk with all that it builds on."""
        parents = self.parents(path)

        def locate(child_path: str, locator: ParentLocator) -> str | None:
            return parents.get(_key(child_path))

        return open_disk(path, self.open, locate)

    def _parent(self, path: str) -> str | None:
        return self._hosts.read(self._machine_id, lambda calls: calls.disk_file(path)).parent_path

    def _unc(self, path: str) -> str:
        return unc_of(self._found_at(path), self._hosts.reading_host(self._machine_id, path), self._share)


def _key(path: str) -> str:
    """A path as Windows compares it."""
    return path.replace("/", "\\").casefold()


def _require_near(path: str, parent: str) -> None:
    """Let a file build on another of its host, or of its share."""
    if not parent.startswith(("\\\\", "//")):
        return
    own = SmbPath.parse(path).key[:2] if path.startswith("\\\\") else None
    if SmbPath.parse(parent).key[:2] != own:
        raise SourceDenied(
            f"{path} builds on a file elsewhere",
            code="parent-elsewhere",
            why=f"{parent} is on another share than it, and whoever wrote the disk chose that name",
            hint="Keep a disk and what it builds on in one share, or on one host.",
        )
