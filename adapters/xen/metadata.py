"""The pool's own export of a VM's metadata. Imports `adapters.errors`, `reaching` and the transports."""

from __future__ import annotations

from pathlib import Path

from adapters.errors import SourceLimit
from adapters.xen.inventory import Machine
from adapters.xen.reaching import access_to
from adapters.xen.session import Session
from adapters.xen.transport.exchange import Exchange

EXPORT_PATH = "/export_metadata"
_PIECE_BYTES = 1 << 16


def exported_metadata(session: Session, machine: Machine, runtime_dir: Path, most_bytes: int) -> bytes:
    """Fetch the archive, without the machine's snapshots. Raises SourceLimit beyond `most_bytes`.

    It is small, may hold secrets, and is checked by whoever reads it: a cut archive is none.
    """
    access = access_to(session, machine.key, f"the metadata of {machine.name}", 0, runtime_dir)
    query = {"uuid": machine.key, "export_snapshots": "false"}
    found = bytearray()
    with Exchange(access, "GET", EXPORT_PATH, query) as exchange:
        while piece := exchange.read(_PIECE_BYTES):
            found += piece
            if len(found) > most_bytes:
                raise SourceLimit(f"The metadata of {machine.name} is too large", code="metadata-too-long")
    return bytes(found)
