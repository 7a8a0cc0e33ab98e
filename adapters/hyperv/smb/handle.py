"""One open file or folder on one link. Imports smbprotocol, `adapters.errors` and this package."""

from __future__ import annotations

from contextlib import suppress
from enum import Enum
from typing import Any

from smbprotocol.create_contexts import CreateContextName, SMB2CreateContextRequest, SMB2CreateQueryOnDiskIDResponse
from smbprotocol.exceptions import NoMoreFiles
from smbprotocol.file_info import FileAttributes
from smbprotocol.open import CreateDisposition, CreateOptions, FilePipePrinterAccessMask, ImpersonationLevel, Open
from smbprotocol.open import ShareAccess as Share

from adapters.errors import AdapterError, SourceConflict
from adapters.hyperv.smb.faults import translating
from adapters.hyperv.smb.link import Link
from adapters.hyperv.smb.paths import SmbPath
from adapters.hyperv.smb.reads import ReadRequest

_LOOK = FilePipePrinterAccessMask.FILE_READ_ATTRIBUTES | FilePipePrinterAccessMask.SYNCHRONIZE
_READ = FilePipePrinterAccessMask.FILE_READ_DATA | _LOOK
_WRITE = _READ | FilePipePrinterAccessMask.FILE_WRITE_DATA
_DELETE = FilePipePrinterAccessMask.DELETE | _LOOK
_ALL = Share.FILE_SHARE_READ | Share.FILE_SHARE_WRITE | Share.FILE_SHARE_DELETE
_BACKUP = CreateOptions.FILE_OPEN_FOR_BACKUP_INTENT
_FILE = CreateOptions.FILE_NON_DIRECTORY_FILE
_FOLDER = CreateOptions.FILE_DIRECTORY_FILE
_OPEN, _CREATE = CreateDisposition.FILE_OPEN, CreateDisposition.FILE_CREATE


class Purpose(Enum):
    """What a file or folder is opened for: access, sharing, disposition, options.

    Who reads shares with readers and writers: the worker of a running machine holds its disks for writing. Who writes
    shares with readers only, and makes what is not there yet: nothing is ever overwritten.
    """

    LOOK = (_LOOK, _ALL, _OPEN, _BACKUP)
    READ = (_READ, Share.FILE_SHARE_READ | Share.FILE_SHARE_WRITE, _OPEN, _BACKUP | _FILE)
    LIST = (_READ, _ALL, _OPEN, _BACKUP | _FOLDER)
    CREATE = (_WRITE, Share.FILE_SHARE_READ, _CREATE, _FILE)
    WRITE = (_WRITE, Share.FILE_SHARE_READ, _OPEN, _FILE)
    CREATE_FOLDER = (_LOOK, _ALL, _CREATE, _FOLDER)
    CHANGE = (_DELETE, _ALL, _OPEN, CreateOptions.FILE_OPEN_REPARSE_POINT)


class Handle:
    """Something opened for `purpose`. Raises AdapterErrors, LinkLost when the link is gone.

    `identity` tells a file from another one of the same name: its number on its volume and the volume's, or, from
    servers that tell none, when it was made.
    """

    def __init__(self, link: Link, path: SmbPath, purpose: Purpose) -> None:
        self.link = link
        self._what = f"{path} cannot be {_DONE[purpose]}"
        with translating(self._what):
            self.tree = link.tree(path)
            # In a DFS namespace a path begins with its root's name.
            name = str(path)[2:] if self.tree.is_dfs_share else path.path
            self.open: Any = Open(self.tree, name)
            contexts = self.open.create(
                ImpersonationLevel.Impersonation,
                purpose.value[0],
                FileAttributes.FILE_ATTRIBUTE_NORMAL if purpose in (Purpose.CREATE, Purpose.WRITE) else 0,
                purpose.value[1],
                purpose.value[2],
                purpose.value[3],
                create_contexts=[_asking_for_number()],
            )
        self.identity: object = _number(contexts) or self.open.creation_time
        self.size_bytes = int(self.open.end_of_file)
        self.written: object = self.open.last_write_time
        self.is_folder = bool(self.open.file_attributes & FileAttributes.FILE_ATTRIBUTE_DIRECTORY)

    def send_read(self, offset: int, length: int) -> ReadRequest:
        """Ask for a range, at most the link's `piece_bytes`; `receive_read` waits for it."""
        with translating(self._what):
            return self.link.connection.send_read(self.link.session, self.tree, self.open.file_id, offset, length)

    def receive_read(self, request: ReadRequest, buffer: memoryview) -> None:
        """Fill the buffer. Raises SourceConflict when the file is shorter than it was."""
        with translating(self._what):
            data = self.link.connection.receive_read(request)
        if len(data) != len(buffer):
            raise SourceConflict(
                self._what, code="smb-file-changed", why=f"the server has {len(data)} of {len(buffer)} bytes there"
            )
        buffer[:] = data

    def send_write(self, offset: int, data: memoryview) -> Any:
        """Write at most the link's `piece_bytes`; `receive_write` waits for it."""
        with translating(self._what):
            message, _ = self.open.write(bytes(data), offset, send=False)
            return self.link.send(message, self.tree)

    def receive_write(self, request: Any, length: int) -> None:
        """Wait until all of a write is acknowledged."""
        with translating(self._what):
            count = self.open._write_response(request)
        if count != length:
            raise SourceConflict(self._what, code="smb-write-short", why=f"{count} of {length} bytes were written")

    def flush(self) -> None:
        """Have the server write everything to its disks."""
        with translating(self._what):
            self.open.flush()

    def exchange(self, message: Any) -> Any:
        """Send a request about what is open, and return the header of its answer."""
        message["file_id"] = self.open.file_id
        with translating(self._what):
            return self.link.connection.receive(self.link.send(message, self.tree))

    def entries(self, information_class: int) -> list[Any]:
        """Return one answer's worth of a folder's entries; none at the end."""
        with translating(self._what):
            try:
                found: list[Any] = self.open.query_directory("*", information_class)
            except NoMoreFiles:
                return []
        return found

    def close(self) -> None:
        """Close it; what the server says to that matters to nobody."""
        with suppress(AdapterError), translating(self._what):
            if self.link.alive:
                self.open.close()


_DONE = {
    Purpose.LOOK: "looked at",
    Purpose.READ: "read",
    Purpose.LIST: "listed",
    Purpose.CREATE: "created",
    Purpose.WRITE: "written",
    Purpose.CREATE_FOLDER: "created",
    Purpose.CHANGE: "removed or renamed",
}


def _asking_for_number() -> SMB2CreateContextRequest:
    asking = SMB2CreateContextRequest()
    asking["buffer_name"] = CreateContextName.SMB2_CREATE_QUERY_ON_DISK_ID
    return asking


def _number(contexts: list[Any] | None) -> bytes:
    for context in contexts or ():
        if isinstance(context, SMB2CreateQueryOnDiskIDResponse):
            return bytes(context.pack())
    return b""
