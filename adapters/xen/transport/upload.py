"""A disk's content into a VDI of a pool, for restores. Imports `adapters` and this package only.

xapi answers 200 before the first byte, and tells in its task whether it wrote what it got. Of a VHD it writes what
is there, and leaves all else as it was: only in a new, empty disk is that the image.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Literal
from uuid import uuid4

from adapters.errors import AdapterError, SourceConflict, SourceInvalid, SourceUnavailable
from adapters.port import DiskImage
from adapters.virtualdisk.vhdwriter import VhdStream
from adapters.xen.transport.access import VdiAccess
from adapters.xen.transport.exchange import Exchange
from adapters.xen.transport.exportread import MOST_VHD_BYTES
from adapters.xen.transport.transfertask import TransferTask

IMPORT_PATH = "/import_raw_vdi"
UploadFormat = Literal["vhd", "raw"]

_PIECE = 1 << 20


def upload_format(size_bytes: int, *, empty: bool) -> UploadFormat:
    """A VHD, which leaves out what is zeros, for a VDI that is known to be empty and small enough; else every byte."""
    return "vhd" if empty and size_bytes <= MOST_VHD_BYTES else "raw"


def upload(
    access: VdiAccess,
    image: DiskImage,
    written: Callable[[int], None],
    *,
    empty: bool,
    timeout_seconds: float = 300.0,
) -> UploadFormat:
    """Write `image` into the VDI; return the format it travelled in. `written` is told of the bytes sent.

    `empty` says that the VDI is new, and its storage gives zeros for what was never written (all but the SR type
    `equal` do). `timeout_seconds` bounds each silence of the host. Whatever is raised, the VDI may be half written.
    """
    size = access.size_bytes
    if image.size_bytes != size:
        raise SourceInvalid(
            f"The content is not one for {access.label}",
            code="size-differs",
            why=f"it has {image.size_bytes} bytes, the disk {size}",
        )
    form = upload_format(size, empty=empty)
    vhd = VhdStream(image, uuid4(), int(time.time()), dynamic=True) if form == "vhd" else None
    length, pieces = (size, _raw(image)) if vhd is None else (vhd.length_bytes, iter(vhd))
    with TransferTask(access.pool, f"The import of {access.label}") as task:
        query = {"vdi": access.uuid, "format": form, "task_id": task.reference}
        with _begun(access, query, length, timeout_seconds, task) as exchange:
            for piece in pieces:
                try:
                    exchange.send(piece)
                except AdapterError as lost:
                    raise task.cause(lost) from None
                written(len(piece))
            with suppress(AdapterError):  # a host that is done may hang up roughly; its task tells
                while exchange.read(_PIECE):
                    pass
        task.succeed()
    _check_size(access)
    return form


def _begun(
    access: VdiAccess, query: Mapping[str, str], length: int, timeout_seconds: float, task: TransferTask
) -> Exchange:
    try:
        return Exchange(access, "PUT", IMPORT_PATH, query, length=length, timeout_seconds=timeout_seconds)
    except (SourceInvalid, SourceUnavailable) as broken:
        raise task.cause(broken) from None


def _raw(image: DiskImage) -> Iterator[memoryview]:
    """Yield every byte of the disk; zeros are not read, but sent."""
    buffer, zeros = memoryview(bytearray(_PIECE)), memoryview(bytes(_PIECE))
    for extent in image.extents():
        for start in range(extent.start, extent.end, _PIECE):
            count = min(_PIECE, extent.end - start)
            if not extent.zero:
                image.pread_into(start, buffer[:count])
            yield (zeros if extent.zero else buffer)[:count]


def _check_size(access: VdiAccess) -> None:
    """A disk that changed its size while it was written is not what was asked for. Raises SourceConflict."""
    pool = access.pool
    found = pool.call("VDI.get_virtual_size", pool.call("VDI.get_by_uuid", access.uuid))
    if found != access.size_bytes:
        raise SourceConflict(
            f"{access.label} changed its size meanwhile",
            code="disk-size-changed",
            why=f"it has {found} bytes instead of {access.size_bytes}",
        )
