"""The `export` transport for disks that no VHD holds: one qcow2 stream, read by qemu-nbd once all of it is there.

Imports `adapters` and this package only. QEMU sees what was found whole by itself only (`qcowtables.py`); the server is
a child as `adapters/nbd/child.py` describes it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from threading import Condition, Thread

from adapters.arriving import again
from adapters.errors import AdapterError, SourceCorrupt, SourceUnavailable
from adapters.nbd import strays
from adapters.nbd.child import ChildEnded, NbdChild
from adapters.nbd.reader import NbdReader
from adapters.port import Extent, Leftover
from adapters.spool import Spool
from adapters.xen.transport.access import VdiAccess
from adapters.xen.transport.exchange import LOST, Exchange
from adapters.xen.transport.qcowtables import require_whole
from adapters.xen.transport.receiving import receive_export

RUN_PREFIX = "xen-qemu-nbd-"
_PIECE = 1 << 20


class QcowRead:
    """One exported VDI. `timeout_seconds` bounds each silence of the host."""

    transport = "export"

    def __init__(self, access: VdiAccess, *, timeout_seconds: float = 120.0) -> None:
        self.size_bytes = access.size_bytes
        self._access = access
        self._timeout = timeout_seconds
        self._news = Condition()  # guards the four below
        self._exchange: Exchange | None = None
        self._reader: NbdReader | None = None
        self._failed: AdapterError | None = None
        self._closed = False
        self._spool = Spool(access.runtime_dir, 0)
        self._child = NbdChild(access.runtime_dir, RUN_PREFIX, {"vdi": access.uuid, "label": access.label})
        self._thread = Thread(target=self._download, name="xen-export", daemon=True)
        self._thread.start()

    def extents(self) -> Iterator[Extent]:
        """Yield the disk in order, gapless, once all of it arrived and was checked."""
        return self._arrived().extents()

    def pread_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from `offset`, once all arrived. Raises SourceInvalid past the end, or the failure."""
        self._arrived().pread_into(offset, buffer)

    def close(self) -> None:
        """End the download and the server, and give the space back; twice is harmless. No read may be under way."""
        with self._news:
            if self._closed:
                return
            self._closed = True
            exchange = self._exchange
        self._fail(SourceUnavailable("The reader was closed", code="reader-closed"))
        if exchange is not None:
            exchange.shutdown()
        self._thread.join()
        if self._reader is not None:
            self._reader.close()
        self._child.close()
        self._spool.close()

    def require_wanted(self) -> None:
        """Raise what ended the reader, if anything did."""
        with self._news:
            if self._failed is not None:
                raise again(self._failed)

    def receive(self, exchange: Exchange) -> None:
        """Keep the stream; for the download alone."""
        with self._news:
            self._exchange = exchange
        self.require_wanted()  # it may have been closed meanwhile
        position = 0
        while piece := exchange.read(_PIECE):
            self.require_wanted()
            self._spool.write(position, piece)
            position += len(piece)

    def _arrived(self) -> NbdReader:
        with self._news:
            self._news.wait_for(lambda: self._failed is not None or self._reader is not None)
            if self._failed is not None or self._reader is None:
                raise again(self._failed or SourceUnavailable("The export ended", code=LOST))
            return self._reader

    def _download(self) -> None:
        try:
            receive_export(self._access, {"format": "qcow2"}, self._timeout, self)
            require_whole(self._spool.descriptor, self.size_bytes, self._access.label)
            reader = self._served()
            with self._news:
                self._reader = reader
                self._news.notify_all()
        except AdapterError as error:
            self._fail(error)
        except BaseException as error:  # whoever waits must not wait for ever
            self._fail(SourceUnavailable("The export ended", code=LOST, why=type(error).__name__))
            raise

    def _fail(self, error: AdapterError) -> None:
        with self._news:
            self._failed = self._failed or error
            self._news.notify_all()

    def _served(self) -> NbdReader:
        child, descriptor = self._child, self._spool.descriptor
        file = {"driver": "file", "filename": f"/dev/fd/{descriptor}", "locking": "off"}
        tree = json.dumps({"driver": "qcow2", "backing": None, "file": file})
        command = ["qemu-nbd", "--read-only", f"--socket={child.socket}", child.pid_option, f"json:{tree}"]
        try:
            child.start(command, pass_fds=(descriptor,))
            client = child.connect()
        except FileNotFoundError:
            raise SourceUnavailable(
                f"{self._access.label} cannot be read without qemu-nbd",
                code="qemu-nbd-missing",
                why="it is exported as qcow2",
                hint="Install qemu-utils (Debian), qemu-img (Fedora) or qemu-tools (SUSE), or allow NBD.",
            ) from None
        except ChildEnded as ended:
            raise SourceCorrupt(
                f"The exported stream of {self._access.label} cannot be opened",
                code="export-malformed",
                why=str(ended),
            ) from None
        return NbdReader(client)


def end_strays(runtime_dir: Path, uuid: str) -> list[Leftover]:
    """End what serves a VDI's exported content and belongs to no living run, and remove its folder."""
    return strays.end_strays(runtime_dir, RUN_PREFIX, {"vdi": uuid})
