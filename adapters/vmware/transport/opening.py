"""Opens the reader that was chosen. Imports `adapters.errors`, `adapters.port` and this package only.

Nothing else is tried when it does not open: a fall-back is a new choice, which the caller makes and records.
"""

from __future__ import annotations

from adapters.errors import SourceInvalid
from adapters.port import BlockReader, TransportChoice
from adapters.vmware.transport.access import DiskAccess
from adapters.vmware.transport.array.port import Presented
from adapters.vmware.transport.export import ExportReader
from adapters.vmware.transport.facts import VDDK_KINDS
from adapters.vmware.transport.folder import FolderReader
from adapters.vmware.transport.limits import connections_to
from adapters.vmware.transport.ranges import HttpsServer
from adapters.vmware.transport.san import open_lun
from adapters.vmware.transport.vddk import open_vddk

__all__ = ["DiskAccess", "open_reader"]


def open_reader(choice: TransportChoice, access: DiskAccess, presented: Presented | None = None) -> BlockReader:
    """Open the disk by `choice.kind`; its `transport` is what really carries the bytes.

    `presented` is the clone of an array snapshot that holds the disk: needed by, and only by, `array_snapshot`.
    Raises SourceInvalid for what the kind lacks, and whatever opening meets.
    """
    if choice.kind in VDDK_KINDS:
        return open_vddk(access, choice.kind)
    if choice.kind == "http_folder":
        return _folder(access)
    if choice.kind == "export":
        return ExportReader(access)
    if choice.kind == "array_snapshot" and presented is not None:
        return open_lun(
            presented.lun(access.flat_path),
            access.size_bytes,
            choice.kind,
            access.runtime_dir,
            machine=access.vm_moref,
            host=access.host,
            label=access.name,
        )
    raise SourceInvalid(f"{access.name} cannot be opened by {choice.kind}", code="transport-impossible")


def _folder(access: DiskAccess) -> FolderReader:
    if access.flat_path is None:
        raise SourceInvalid(
            f"{access.name} cannot be read by http_folder",
            code="transport-impossible",
            why="the frozen content is not one flat file",
        )
    return FolderReader(
        HttpsServer(access.host, access.port, access.ssl_context, access.cookie, access.renew),
        access.datastore,
        access.flat_path,
        access.datacenter_path,
        access.size_bytes,
        connections_to(access.place, access.port),
    )
