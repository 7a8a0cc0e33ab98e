"""One export, from the request to the pool's word that it was the disk. Imports `adapters.errors` and this package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from adapters.errors import SourceCorrupt, SourceInvalid, SourceUnavailable
from adapters.xen.transport.access import VdiAccess
from adapters.xen.transport.exchange import LOST, REFUSED, Exchange
from adapters.xen.transport.rawstream import EXPORT_CUT
from adapters.xen.transport.transfertask import TransferTask

EXPORT_PATH = "/export_raw_vdi"


class Receiver(Protocol):
    """What takes the stream."""

    def receive(self, exchange: Exchange) -> None:
        """Read the stream to its end."""

    def require_wanted(self) -> None:
        """Raise when nobody waits for it any more."""


def receive_export(access: VdiAccess, query: Mapping[str, str], timeout_seconds: float, receiver: Receiver) -> None:
    """Ask for a stream, let it be received, and be sure of its end. Raises the pool's reason where it has one."""
    with TransferTask(access.pool, f"The export of {access.label}") as task:
        asked = {"vdi": access.uuid, **query, "task_id": task.reference}
        try:
            with Exchange(access, "GET", EXPORT_PATH, asked, timeout_seconds=timeout_seconds) as exchange:
                receiver.receive(exchange)
        except (SourceCorrupt, SourceInvalid, SourceUnavailable) as broken:
            if broken.code not in (EXPORT_CUT, REFUSED, LOST):
                raise
            receiver.require_wanted()  # it may have been cut by our closing it
            raise task.cause(broken) from None
        task.succeed()
