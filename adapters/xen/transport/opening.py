"""Opens the reader that was chosen. Imports `adapters.errors`, `adapters.port` and this package only.

Nothing else is tried when it does not open: a fall-back is a new choice, which the caller makes and records.
"""

from __future__ import annotations

from adapters.errors import SourceInvalid
from adapters.port import BlockReader, TransportChoice
from adapters.xen.transport.access import VdiAccess
from adapters.xen.transport.exportread import ExportRead, export_format
from adapters.xen.transport.nbdread import NbdRead
from adapters.xen.transport.qcowread import QcowRead

__all__ = ["VdiAccess", "open_reader"]


def open_reader(choice: TransportChoice, access: VdiAccess) -> BlockReader:
    """Open the VDI by `choice.kind`; its `transport` is what really carries the bytes.

    Raises SourceInvalid for a kind that there is not, and whatever opening meets.
    """
    if choice.kind in ("nbd", "insecure_nbd"):
        return NbdRead(access, secure=choice.kind == "nbd")
    if choice.kind == "export":
        form = export_format(access.size_bytes, access.image_formats)
        return QcowRead(access) if form == "qcow2" else ExportRead(access, format=form)
    raise SourceInvalid(f"{access.label} cannot be opened by {choice.kind}", code="transport-impossible")
