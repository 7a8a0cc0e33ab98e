"""The `export` transport: a snapshot's VDI as one stream over HTTPS, and the changes between two of them.

Imports `adapters` and this package only. A disk is spooled while it arrives, so that reads may come in any order; it
ends only when the stream's end was checked and the pool's task says that it was the disk. It cannot resume.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from threading import Lock, Thread
from typing import Literal

from adapters.arriving import ArrivingDisk
from adapters.errors import AdapterError, SourceInvalid, SourceLimit, SourceUnavailable
from adapters.port import Extent
from adapters.spool import Spool
from adapters.xen.transport.access import VdiAccess
from adapters.xen.transport.exchange import LOST, Exchange
from adapters.xen.transport.rawstream import decode_raw
from adapters.xen.transport.receiving import receive_export
from adapters.xen.transport.vhdstream import decode_vhd

StreamFormat = Literal["vhd", "raw"]
ExportFormat = Literal["vhd", "raw", "qcow2"]
Decode = Callable[[Callable[[int], bytes], Callable[[int, memoryview], None], int, str], Iterator[Extent]]

MOST_VHD_BYTES = 2040 << 30
"""The largest disk that xapi sends, and that a VHD holds."""

_MOST_CHANGES = 1 << 21
_DECODERS: dict[StreamFormat, Decode] = {"vhd": decode_vhd, "raw": decode_raw}


def export_format(size_bytes: int, image_formats: Collection[str]) -> ExportFormat:
    """What to ask for: what leaves out what is empty and holds the disk, else every byte of it.

    `image_formats` are those that the disk's storage supports: a pool that has no qcow2 exports none.
    """
    if size_bytes <= MOST_VHD_BYTES:
        return "vhd"
    return "qcow2" if "qcow2" in image_formats else "raw"


class ExportRead:
    """One exported VDI. `timeout_seconds` bounds each silence of the host; the spool needs room for the disk's data."""

    transport = "export"

    def __init__(
        self,
        access: VdiAccess,
        *,
        format: StreamFormat = "vhd",
        timeout_seconds: float = 120.0,
        spool: Spool | None = None,
    ) -> None:
        if format == "vhd" and access.size_bytes > MOST_VHD_BYTES:
            raise SourceInvalid(
                f"{access.label} is too large for a VHD",
                code="vhd-too-large",
                why=f"{access.size_bytes} bytes, and the limit is {MOST_VHD_BYTES}",
            )
        self.size_bytes = access.size_bytes
        self._format: StreamFormat = format
        self._access = access
        self._timeout = timeout_seconds
        self._lock = Lock()  # guards the exchange
        self._exchange: Exchange | None = None
        self._disk = ArrivingDisk(access.size_bytes, spool or Spool(access.runtime_dir, access.size_bytes))
        self._thread = Thread(target=self._download, name="xen-export", daemon=True)
        self._thread.start()

    def extents(self) -> Iterator[Extent]:
        """Yield the disk in order, gapless, as it arrives. Ends only when all was checked."""
        return self._disk.extents()

    def pread_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from `offset`, once that has arrived. Raises SourceInvalid past the end, or the failure."""
        self._disk.pread_into(offset, buffer)

    def close(self) -> None:
        """End the download and give the space back; twice is harmless. No read may be under way."""
        if not self._disk.stop():
            return
        with self._lock:
            if self._exchange is not None:
                self._exchange.shutdown()
        self._thread.join()
        self._disk.close()

    def require_wanted(self) -> None:
        """Raise what ended the reader, if anything did."""
        self._disk.require_wanted()

    def receive(self, exchange: Exchange) -> None:
        """Decode the stream into the spool; for the download alone."""
        with self._lock:
            self._exchange = exchange
        self.require_wanted()  # it may have been closed meanwhile
        decode = _DECODERS[self._format]
        for extent in decode(exchange.read, self._disk.write, self.size_bytes, self._access.label):
            self._disk.told(extent)

    def _download(self) -> None:
        try:
            receive_export(self._access, {"format": self._format}, self._timeout, self)
            self._disk.complete()
        except AdapterError as error:
            self._disk.fail(error)
        except BaseException as error:  # whoever waits must not wait for ever
            self._disk.fail(SourceUnavailable("The export ended", code=LOST, why=type(error).__name__))
            raise


def exported_changes(access: VdiAccess, base: str, *, timeout_seconds: float = 120.0) -> tuple[Extent, ...]:
    """What differs between the VDI of uuid `base` and this one, from a VHD relative to it; checked to its end.

    In order, and never too little: the pool compares whole blocks of 2 MiB. The content is passed over: it is read by
    whatever reads the disk.
    """
    changes = _Changes(access)
    receive_export(access, {"format": "vhd", "base": base}, timeout_seconds, changes)
    return tuple(changes.found)


class _Changes:
    """Receives a relative VHD, and keeps where it has something."""

    def __init__(self, access: VdiAccess) -> None:
        self.found: list[Extent] = []
        self._access = access

    def require_wanted(self) -> None:
        """It is."""

    def receive(self, exchange: Exchange) -> None:
        """Decode the stream."""
        access = self._access
        for extent in decode_vhd(exchange.read, _pass_over, access.size_bytes, access.label, relative=True):
            if not extent.zero:
                self._add(extent)

    def _add(self, extent: Extent) -> None:
        if self.found and self.found[-1].end == extent.start:
            before = self.found.pop()
            extent = Extent(before.start, before.length + extent.length, zero=False)
        self.found.append(extent)
        if len(self.found) > _MOST_CHANGES:
            raise SourceLimit(f"The changes of {self._access.label} are in too many pieces", code="changes-too-many")


def _pass_over(offset: int, data: memoryview) -> None:
    del offset, data
