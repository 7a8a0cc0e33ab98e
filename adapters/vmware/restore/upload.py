"""Writing files of a datastore through `/folder`, and the two files that are a flat disk.

Imports `adapters.errors`, `adapters.port` and this package. A file is sent as one stream: what is not sent to its end
has failed as a whole.
"""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterable, Iterator

from adapters.errors import SourceCorrupt, SourceDenied, SourceUnavailable
from adapters.port import DiskImage
from adapters.vmware.faults import translated
from adapters.vmware.session import Session
from adapters.vmware.transport.folder import folder_target
from adapters.vmware.transport.limits import connections_of, hang_up

_PIECE_BYTES = 1 << 20
SECTOR = 512
_ACCEPTED = (http.client.OK, http.client.CREATED, http.client.NO_CONTENT)

_DESCRIPTOR = """# Disk DescriptorFile
version=1
encoding="UTF-8"
CID=fffffffe
parentCID=ffffffff
createType="vmfs"

# Extent description
RW {sectors} VMFS "{flat}"

# The Disk Data Base
#DDB

ddb.adapterType = "lsilogic"
ddb.geometry.cylinders = "{cylinders}"
ddb.geometry.heads = "255"
ddb.geometry.sectors = "63"
ddb.virtualHWVersion = "13"
"""


def descriptor(size_bytes: int, flat_name: str) -> bytes:
    """The descriptor of a flat disk; `flat_name` lies beside it."""
    sectors = size_bytes // SECTOR
    return _DESCRIPTOR.format(sectors=sectors, flat=flat_name, cylinders=max(1, sectors // (255 * 63))).encode()


def padded(size_bytes: int) -> int:
    """A disk's size in whole sectors."""
    return -(-size_bytes // SECTOR) * SECTOR


def put_file(
    session: Session,
    host: str | None,
    datastore: str,
    path: str,
    datacenter_path: str,
    size_bytes: int,
    pieces: Iterable[memoryview],
) -> None:
    """Write a file of exactly `size_bytes`, over one that is there. Raises SourceUnavailable when it was not sent.

    `host` is the reference of the ESXi host whose connections it counts for.
    """
    with connections_of(session.settings, host).one():
        _put(session, datastore, path, datacenter_path, size_bytes, pieces)


def _put(
    session: Session, datastore: str, path: str, datacenter_path: str, size_bytes: int, pieces: Iterable[memoryview]
) -> None:
    session.touch()
    name, settings = f"[{datastore}] {path}", session.settings
    connection = http.client.HTTPSConnection(
        settings.host, settings.port, timeout=session.timing.call_seconds, context=session.context
    )
    try:
        with translated(f"{name} cannot be written", session.host):
            connection.putrequest("PUT", folder_target(datastore, path, datacenter_path))
            connection.putheader("Cookie", f"vmware_soap_session={session.cookie()}")
            connection.putheader("Content-Type", "application/octet-stream")
            connection.putheader("Content-Length", str(size_bytes))
            connection.endheaders()
            for piece in pieces:
                connection.send(piece)
            with connection.getresponse() as response:
                response.read(_PIECE_BYTES)
                status = response.status
    finally:
        hang_up(connection)
    _require_accepted(name, status)


def _require_accepted(name: str, status: int) -> None:
    if status in _ACCEPTED:
        return
    if status in (http.client.UNAUTHORIZED, http.client.FORBIDDEN):
        raise SourceDenied(
            f"{name} may not be written",
            code="permission-missing",
            why=f"HTTP status {status}",
            hint="Give the user Datastore.FileManagement on the datastore.",
        )
    raise SourceUnavailable(f"{name} was not written", code="upload-refused", why=f"HTTP status {status}")


def content_of(image: DiskImage, written: Callable[[int], None]) -> Iterator[memoryview]:
    """Yield an image's bytes in order, filled up to whole sectors; a piece is overwritten by the next one.

    `written` is told of each piece when the next one is asked for, that is, once it was sent.
    """
    buffer, zeros = memoryview(bytearray(_PIECE_BYTES)), memoryview(bytes(_PIECE_BYTES))
    position = 0
    for extent in image.extents():
        if extent.start != position or extent.end > image.size_bytes:
            raise SourceCorrupt("The image's extents have gaps", code="image-gaps", why=f"at byte {position}")
        while position < extent.end:
            length = min(_PIECE_BYTES, extent.end - position)
            piece = zeros[:length] if extent.zero else buffer[:length]
            if not extent.zero:
                image.pread_into(position, piece)
            yield piece
            written(length)
            position += length
    if position != image.size_bytes:
        raise SourceCorrupt("The image's extents end early", code="image-gaps", why=f"at byte {position}")
    if tail := padded(position) - position:
        yield zeros[:tail]
