"""Snapshots of single disks that no snapshot of a machine holds. Imports `adapters.errors` and this package.

A pool freezes a machine's disks first, and makes the snapshot that holds them then. One that dies in between leaves
disks on which nothing says whose they are; somebody may have made such ones by hand. So they are named, never removed.
"""

from __future__ import annotations

from collections.abc import Iterable

from adapters.errors import AdapterError, SourceNotFound
from adapters.xen.inventory import Machine, read_vdi
from adapters.xen.marks import machine_of_disk
from adapters.xen.records import Vdi
from adapters.xen.removing import METADATA
from adapters.xen.session import Session


def loose(vdis: Iterable[Vdi]) -> list[Vdi]:
    """Those among virtual disks; what carries our mark, and mere change tracking, is none."""
    return [
        vdi for vdi in vdis if vdi.snapshot and not vdi.vbds and vdi.kind != METADATA and machine_of_disk(vdi) is None
    ]


def tell_appeared(session: Session, machine: Machine, error: AdapterError) -> None:
    """Name in an error those that are of a machine's disks and were not there when it was looked at."""
    found: list[str] = []
    for disk in machine.disks:
        if disk.vdi is None:
            continue
        try:
            now = [ref for ref in session.call("VDI.get_snapshots", disk.vdi.ref) if ref not in disk.vdi.snapshots]
            found += [vdi.uuid for vdi in loose(read_vdi(session, ref) for ref in now)]
        except SourceNotFound:
            continue  # it is being removed
    if found:
        said = f"meanwhile disks were frozen that are of no snapshot of a machine: {', '.join(found)}"
        error.why = f"{error.why}; {said}" if error.why else said
        way_out = "Unless somebody made those, remove each: xe vdi-destroy uuid=…"
        error.hint = f"{error.hint} {way_out}" if error.hint else way_out
