"""Files on a Hyper-V host and on the file servers that its machines' disks are on.

Imports `adapters.hostlimit`, the settings and this package. One `SmbFiles` has a few sessions with each server, shared
by everything that is open there. Nothing is global: each process makes its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import TypeVar

from smbprotocol.file_info import FileAttributes, FileInformationClass

from adapters.errors import SourceConflict, SourceLimit, SourceNotFound
from adapters.hostlimit import places_at
from adapters.hyperv.settings import HypervSettings
from adapters.hyperv.smb import messages
from adapters.hyperv.smb.faults import LinkLost, ServerBusy
from adapters.hyperv.smb.file import SmbFile
from adapters.hyperv.smb.handle import Handle, Purpose
from adapters.hyperv.smb.link import Link, require_same_process
from adapters.hyperv.smb.links import Links
from adapters.hyperv.smb.paths import SmbPath
from adapters.hyperv.smb.patience import Patience
from adapters.hyperv.smb.writing import SmbWriter

SERVER_CONNECTIONS = 16
"""How many SMB connections this process has to one server at most, all its jobs together."""

CONFIGURATION_BYTES = 16 << 20
ANSWER_SECONDS = 60.0
_ENTRIES = 100_000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Entry:
    """One file or folder in a folder."""

    name: str
    size_bytes: int
    is_folder: bool


@dataclass(frozen=True, slots=True)
class FileFact:
    """What a server tells of a file or a folder."""

    size_bytes: int
    is_folder: bool


class SmbFiles:
    """Reads, and for restores makes, files by their UNC paths. Safe to use from several threads.

    `reach` tells under which host and port a server of a path is reached: its own name and the settings' port unless
    given. Raises AdapterErrors; LinkLost (SourceUnavailable) for servers that cannot be reached.
    """

    def __init__(
        self,
        settings: HypervSettings,
        *,
        reach: Callable[[str], tuple[str, int]] | None = None,
        patience: Patience | None = None,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        self._settings = settings
        self._reach = reach or (lambda server: (server.strip("[]"), settings.smb_port))
        self._patience = patience or Patience()
        self._answer_seconds = answer_seconds
        self._pid = os.getpid()
        self._looking = Lock()
        self._servers: dict[str, Links] = {}

    def open(self, unc: str, *, frozen: bool = True) -> SmbFile:
        """Open a file for reading; a `frozen` one that is written to is SourceConflict `smb-file-changed`."""
        path = SmbPath.parse(unc)
        links = self._links(path)
        lanes = self._settings.smb_handles
        return self._twice(lambda: SmbFile(path, links, lanes, self._patience, frozen=frozen))

    def read_bytes(self, unc: str, at_most: int = CONFIGURATION_BYTES) -> bytes:
        """Return a whole small file. Raises SourceLimit `smb-file-too-large` above `at_most` bytes."""
        path = SmbPath.parse(unc)
        file = self._twice(lambda: SmbFile(path, self._links(path), 1, self._patience, frozen=False))
        try:
            if file.size_bytes > at_most:
                raise SourceLimit(
                    f"{path} is not read whole",
                    code="smb-file-too-large",
                    why=f"it has {file.size_bytes} bytes, of at most {at_most}",
                )
            content = bytearray(file.size_bytes)
            file.pread_into(0, memoryview(content))
            return bytes(content)
        finally:
            file.close()

    def stat(self, unc: str) -> FileFact:
        """Look at a file or folder. Raises SourceNotFound."""
        return self._twice(partial(self._with_handle, SmbPath.parse(unc), Purpose.LOOK, _fact))

    def exists(self, unc: str) -> bool:
        """Tell whether there is a file of this path. Raises SourceNotFound `smb-share-missing`."""
        try:
            return not self.stat(unc).is_folder
        except SourceNotFound as missing:
            if missing.code == "smb-share-missing":
                raise
            return False

    def list(self, unc: str) -> tuple[Entry, ...]:
        """Return what is in a folder. Raises SourceLimit above 100,000 entries."""
        return self._twice(partial(self._with_handle, SmbPath.parse(unc), Purpose.LIST, _entries))

    def create(self, unc: str, size_bytes: int | None = None) -> SmbWriter:
        """Make a new file to write. Raises SourceConflict `smb-file-exists`: nothing is ever overwritten."""
        path = SmbPath.parse(unc)
        writer = SmbWriter(path, self._links(path), self._patience)
        if size_bytes is not None:
            try:
                writer.resize(size_bytes)
            except BaseException:
                writer.close()
                raise
        return writer

    def create_folder(self, unc: str) -> None:
        """Make a new folder. Raises SourceConflict `smb-file-exists`."""
        self._with_handle(SmbPath.parse(unc), Purpose.CREATE_FOLDER, lambda handle: None)

    def delete(self, unc: str) -> None:
        """Delete a file or an empty folder. Raises SourceNotFound, SourceConflict `smb-folder-not-empty`."""
        self._with_handle(SmbPath.parse(unc), Purpose.CHANGE, messages.delete)

    def rename(self, unc: str, to: str) -> None:
        """Rename within a share. Raises SourceConflict when `to` exists, or is of another share."""
        path, target = SmbPath.parse(unc), SmbPath.parse(to)
        if path.key[:2] != target.key[:2] or not target.parts:
            raise SourceConflict(f"{path} cannot become {target}", code="smb-rename", why="they are of two shares")
        self._with_handle(path, Purpose.CHANGE, lambda handle: messages.rename(handle, target.path))

    def close(self) -> None:
        """Log off everywhere; twice is harmless, and so is a forked child's."""
        if os.getpid() != self._pid:
            return
        with self._looking:
            servers, self._servers = self._servers, {}
        for links in servers.values():
            links.close()

    def _links(self, path: SmbPath) -> Links:
        require_same_process(self._pid)
        host, port = self._reach(path.server)
        with self._looking:
            found = self._servers.get(path.server.casefold())
            if found is None:
                connect = partial(Link, path.server, host, port, self._settings, self._answer_seconds)
                places = places_at("smb", host, port, SERVER_CONNECTIONS)
                found = self._servers[path.server.casefold()] = Links(connect, self._settings.smb_handles, places)
            return found

    def _with_handle(self, path: SmbPath, purpose: Purpose, act: Callable[[Handle], T]) -> T:
        links = self._links(path)
        link = links.get(0)
        try:
            handle = Handle(link, path, purpose)
            try:
                return act(handle)
            finally:
                handle.close()
        except LinkLost:
            links.drop(0, link)
            raise

    def _twice(self, act: Callable[[], T]) -> T:
        """Try again once where a connection had idled too long, or a server was busy: for what has no effect."""
        try:
            return act()
        except (LinkLost, ServerBusy):
            return act()


def _fact(handle: Handle) -> FileFact:
    return FileFact(handle.size_bytes, handle.is_folder)


def _entries(handle: Handle) -> tuple[Entry, ...]:
    return tuple(_walk(handle))


def _walk(handle: Handle) -> Iterator[Entry]:
    count = 0
    while entries := handle.entries(FileInformationClass.FILE_DIRECTORY_INFORMATION):
        for raw in entries:
            name = raw["file_name"].get_value().decode("utf-16-le", "replace")
            if name in (".", ".."):
                continue
            if (count := count + 1) > _ENTRIES:
                raise SourceLimit(
                    "A folder is not listed", code="smb-folder-too-large", why=f"above {_ENTRIES} entries"
                )
            folder = raw["file_attributes"].has_flag(FileAttributes.FILE_ATTRIBUTE_DIRECTORY)
            yield Entry(name, raw["end_of_file"].get_value(), folder)
