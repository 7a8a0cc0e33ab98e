"""What a restore made that did not end: known by its mark, which goes when all is made, and removed by a later process.

Imports `adapters.port` and this package. A machine that was made to its end is not touched, nor one that runs, has
snapshots or was copied: somebody uses it, and it loses the mark. Of disks only those go that no other machine has.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from adapters.port import Leftover
from adapters.xen.inventory import read_vdis, read_vm
from adapters.xen.marks import MAKING_KEY
from adapters.xen.records import Vdi, Vm, vm_of
from adapters.xen.removing import Remover
from adapters.xen.restore.recipe import LABEL_KEY
from adapters.xen.session import Session


def finish(session: Session, vm: str, vdis: Iterable[str]) -> None:
    """Say that all is made, or is somebody's now: of the machine first, which decides."""
    session.call("VM.remove_from_other_config", vm, MAKING_KEY)
    for vdi in vdis:
        session.call("VDI.remove_from_other_config", vdi, MAKING_KEY)


def remove_unfinished(session: Session, remover: Remover, label: str) -> Sequence[Leftover]:
    """Remove what the restore of this label, whose process is dead, did not end. Raises what keeps it."""
    records: dict[str, Any] = session.call("VM.get_all_records")
    made = {ref: record for ref, record in records.items() if _carries(record, LABEL_KEY, label)}
    disks = [vdi for vdi in read_vdis(session) if not vdi.snapshot and vdi.other_config.get(MAKING_KEY) == label]
    if any(not _carries(record, MAKING_KEY, label) for record in made.values()):
        for vdi in disks:
            session.call("VDI.remove_from_other_config", vdi.ref, MAKING_KEY)
        return [Leftover(f"machine {record['name_label']}", "kept: it is whole") for record in made.values()]
    found = _without_machines(session, remover, [vm_of(ref, record) for ref, record in made.items()])
    for vdi in disks:
        if _is_attached(session, vdi):
            session.call("VDI.remove_from_other_config", vdi.ref, MAKING_KEY)
            found.append(Leftover(f"disk {vdi.uuid} ({vdi.name})", "kept: a machine has it"))
        else:
            remover.vdi(vdi)
            found.append(Leftover(f"disk {vdi.uuid} ({vdi.name})", "removed"))
    return found


def _carries(record: dict[str, Any], key: str, label: str) -> bool:
    return not record["is_a_snapshot"] and record["other_config"].get(key) == label


def _without_machines(session: Session, remover: Remover, machines: Sequence[Vm]) -> list[Leftover]:
    found = []
    for vm in machines:
        used = len(machines) > 1 or vm.power != "Halted" or vm.snapshots
        if used:
            finish(session, vm.ref, ())
        else:
            remover.vm(vm)
        found.append(Leftover(f"machine {vm.name}", "kept, unfinished: somebody uses it" if used else "removed"))
    return found


def _is_attached(session: Session, vdi: Vdi) -> bool:
    """Whether a machine has the disk now; hosts let go of it by themselves."""
    vbds = [session.call("VBD.get_record", ref) for ref in session.call("VDI.get_VBDs", vdi.ref)]
    return any(not read_vm(session, vbd["VM"]).control for vbd in vbds)
