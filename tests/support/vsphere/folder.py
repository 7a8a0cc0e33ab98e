"""Files over HTTP: the datastore's `/folder`, and the disks of leases below `/nfc`.

`/folder` wants the session's cookie, serves ranges with 206, and refuses the disk that a running machine writes to.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import parse_qs, unquote, urlsplit

from pyVmomi import vim

from tests.support.vsphere.faults import BreakStream, IgnoreRange, ShortRead
from tests.support.vsphere.inventory import DATACENTER
from tests.support.vsphere.lease import Lease
from tests.support.vsphere.machines import Machine, Power
from tests.support.vsphere.managed import World

if TYPE_CHECKING:
    from tests.support.vsphere.server import Handler

_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_PIECE_BYTES = 1 << 20


class Refused(Exception):
    """A request that is answered with a status and no file."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


def datastore_file(world: World, target: str) -> Path:
    """The file that a `/folder` address names. Raises Refused for another datastore, or a place outside."""
    parts = urlsplit(target)
    query = parse_qs(parts.query)
    if query.get("dsName") != [world.datastore.name] or query.get("dcPath", [DATACENTER]) != [DATACENTER]:
        raise Refused(HTTPStatus.NOT_FOUND)
    try:
        return world.datastore.below(unquote(parts.path).removeprefix("/folder/"))
    except vim.fault.InvalidDatastorePath:
        raise Refused(HTTPStatus.BAD_REQUEST) from None


def get_datastore_file(handler: Handler, *, head: bool) -> None:
    """Answer GET or HEAD of a datastore's file."""
    world = handler.world
    path = datastore_file(world, handler.path)
    if not path.is_file():
        raise Refused(HTTPStatus.NOT_FOUND)
    owner = _owner(world, path)
    if owner is not None:
        _refuse_locked(owner, path)
        handler.carries(owner.host_entry.title)
    with path.open("rb") as file:
        _send(handler, file, path.stat().st_size, head=head)


def put_datastore_file(handler: Handler) -> None:
    """Write a file from its beginning, in place: QEMU may have it open. No tracking sees it, as with vSphere."""
    path = datastore_file(handler.world, handler.path)
    owner = _owner(handler.world, path)
    if owner is not None:
        _refuse_locked(owner, path)
    if not path.parent.is_dir():
        raise Refused(HTTPStatus.NOT_FOUND)
    existed = path.exists()
    with path.open("r+b" if existed else "wb") as file:
        for piece in handler.body():
            file.write(piece)
        file.truncate()
    handler.send_response(HTTPStatus.OK if existed else HTTPStatus.CREATED)
    handler.send_header("Content-Length", "0")
    handler.end_headers()


def get_lease_file(handler: Handler, *, head: bool) -> None:
    """Answer GET of a lease's disk."""
    _, _, ticket, name = urlsplit(handler.path).path.split("/", 3)
    for lease in handler.world.every(vim.HttpNfcLease):
        assert isinstance(lease, Lease)
        path = lease.image(ticket, name)
        if path is None:
            continue
        handler.carries(lease.machine.host_entry.title)
        with path.open("rb") as file:
            path.unlink()
            return _send(handler, file, file.seek(0, 2), head=head)
    raise Refused(HTTPStatus.NOT_FOUND)


def _owner(world: World, path: Path) -> Machine | None:
    for entry in world.every(vim.VirtualMachine):
        assert isinstance(entry, Machine)
        if path.parent == entry.vmx.parent or any(
            path == layer.file for slot in entry.disks for layer in slot.disk.layers
        ):
            return entry
    return None


def _refuse_locked(owner: Machine, path: Path) -> None:
    """Raise Refused for the layer that a running machine writes to."""
    if owner.power_state == Power.poweredOn and any(path == slot.disk.top.file for slot in owner.disks):
        raise Refused(HTTPStatus.INTERNAL_SERVER_ERROR)


def _send(handler: Handler, file: BinaryIO, size: int, *, head: bool) -> None:
    """Send a file or the range asked for."""
    kinds = (IgnoreRange, ShortRead, BreakStream)
    action = None if head else handler.world.faults.take(handler.call_name, *kinds)
    asked = None if isinstance(action, IgnoreRange) else _RANGE.fullmatch(handler.headers.get("Range", ""))
    first, last = (int(asked[1]), int(asked[2] or size - 1)) if asked else (0, size - 1)
    last = min(last, size - 1)
    if asked and first > last:
        raise Refused(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
    if isinstance(action, ShortRead):
        last = first + (last - first) // 2
    length = last - first + 1
    handler.send_response(HTTPStatus.PARTIAL_CONTENT if asked else HTTPStatus.OK)
    handler.send_header("Accept-Ranges", "bytes")
    handler.send_header("Content-Type", "application/octet-stream")
    handler.send_header("Content-Length", str(length))
    if asked:
        handler.send_header("Content-Range", f"bytes {first}-{last}/{size}")
    handler.end_headers()
    if not head:
        file.seek(first)
        _copy(handler, file, length // 2 if isinstance(action, BreakStream) else length)
        handler.close_connection = handler.close_connection or isinstance(action, BreakStream)


def _copy(handler: Handler, file: BinaryIO, length: int) -> None:
    while length > 0:
        piece = file.read(min(length, _PIECE_BYTES))
        handler.wfile.write(piece)
        length -= len(piece)
