"""The `export` transport: a snapshot's VDI as one stream over HTTPS, and the changes between two of them.

Imports `adapters` and this package only. A disk is spooled while it arrives, so that reads may come in any order; it
ends only when the stream's end was checked and the pool's task says that it was the disk. It cannot resume.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from threading import Lock, Thread
from typing import Literal

from adapters.arriving import ArrivingDisk
from adapters.errors import AdapterError, SourceCorrupt, SourceInvalid, SourceLimit, SourceUnavailable
from adapters.port import Extent
from adapters.spool import Spool
from adapters.xen.transport.access import VdiAccess
from adapters.xen.transport.exchange import REFUSED, Exchange
from adapters.xen.transport.rawstream import EXPORT_CUT, decode_raw
from adapters.xen.transport.transfertask import TransferTask
from adapters.xen.transport.vhdstream import decode_vhd

ExportFormat = Literal["vhd", "raw"]
Decode = Callable[[Callable[[int], bytes], Callable[[int, memoryview], None], int, str], Iterator[Extent]]

MOST_VHD_BYTES = 2040 << 30
"""The largest disk that xapi sends, and that a VHD holds."""

EXPORT_PATH = "/export_raw_vdi"
_MOST_CHANGES = 1 << 21
_DECODERS: dict[ExportFormat, Decode] = {"vhd": decode_vhd, "raw": decode_raw}


def export_format(size_bytes: int) -> ExportFormat:
    """What to ask for: a VHD, which leaves out what is empty, as long as the disk fits into one."""
    return "vhd" if size_bytes <= MOST_VHD_BYTES else "raw"


class ExportRead:
    """One exported VDI. `timeout_seconds` bounds each silence of the host; the spool needs room for the disk's data."""

    transport = "export"

    def __init__(
        self,
        access: VdiAccess,
        *,
        format: ExportFormat | None = None,
        timeout_seconds: float = 120.0,
        spool: Spool | None = None,
    ) -> None:
        self.format: ExportFormat = format or export_format(access.size_bytes)
        if self.format == "vhd" and access.size_bytes > MOST_VHD_BYTES:
            raise SourceInvalid(
                f"{access.label} is too large for a VHD",
                code="vhd-too-large",
                why=f"{access.size_bytes} bytes, and the limit is {MOST_VHD_BYTES}",
            )
        self.size_bytes = access.size_bytes
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

    def _download(self) -> None:
        try:
            _export(self._access, {"format": self.format}, self._timeout, self._entered, self._receive)
            self._disk.complete()
        except AdapterError as error:
            self._disk.fail(error)
        except BaseException as error:  # whoever waits must not wait for ever
            self._disk.fail(SourceUnavailable("The export ended", code="transfer-lost", why=type(error).__name__))
            raise

    def _entered(self, exchange: Exchange) -> None:
        with self._lock:
            self._exchange = exchange
        self._disk.require_wanted()  # it may have been closed meanwhile

    def _receive(self, exchange: Exchange) -> None:
        decode = _DECODERS[self.format]
        for extent in decode(exchange.read, self._disk.write, self.size_bytes, self._access.label):
            self._disk.told(extent)


def exported_changes(access: VdiAccess, base: str, *, timeout_seconds: float = 120.0) -> tuple[Extent, ...]:
    """What differs between the VDI of uuid `base` and this one, from a VHD relative to it; checked to its end.

    In order, and never too little: the pool compares whole blocks of 2 MiB. The content is passed over: it is read by
    whatever reads the disk.
    """
    changes: list[Extent] = []

    def receive(exchange: Exchange) -> None:
        for extent in decode_vhd(exchange.read, _pass_over, access.size_bytes, access.label, relative=True):
            if extent.zero:
                continue
            if changes and changes[-1].end == extent.start:
                changes[-1] = Extent(changes[-1].start, extent.end - changes[-1].start, zero=False)
            elif len(changes) < _MOST_CHANGES:
                changes.append(extent)
            else:
                raise SourceLimit(f"The changes of {access.label} are in too many pieces", code="changes-too-many")

    _export(access, {"format": "vhd", "base": base}, timeout_seconds, lambda _: None, receive)
    return tuple(changes)


def _pass_over(offset: int, data: memoryview) -> None:
    del offset, data


def _export(
    access: VdiAccess,
    query: Mapping[str, str],
    timeout_seconds: float,
    entered: Callable[[Exchange], None],
    receive: Callable[[Exchange], None],
) -> None:
    """Ask for a stream, hand it to `receive`, and be sure of its end."""
    with TransferTask(access.pool, f"The export of {access.label}") as task:
        asked = {"vdi": access.uuid, **query, "task_id": task.reference}
        try:
            with Exchange(access, "GET", EXPORT_PATH, asked, timeout_seconds=timeout_seconds) as exchange:
                entered(exchange)
                receive(exchange)
        except (SourceCorrupt, SourceInvalid) as broken:
            raise task.cause(broken) if broken.code in (EXPORT_CUT, REFUSED) else broken from None
        task.succeed()
