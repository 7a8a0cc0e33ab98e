"""What of ours a pool holds for a machine, and removing what no base needs.

Imports `adapters.errors`, `adapters.port` and this package. A run that dies leaves one of these, and the next one makes
it good:

- before the snapshot: nothing, or one that nobody was told of, under our name;
- while it is read: the snapshot with all its disks. None is a base, so all goes, and the older bases stay whole;
- after the commit: the same, but its disks are the bases now: their change tracking stays and their data goes, but
  where nothing is tracked and they are kept whole;
- between the steps of the release: disks without a snapshot, or older bases beside the new ones, under our mark.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from adapters.errors import SourceNotFound
from adapters.port import Leftover
from adapters.xen.inventory import Machine, read_vdi, read_vdis, read_vm
from adapters.xen.marks import is_disk_of, is_snapshot_name_of
from adapters.xen.records import Vdi, Vm
from adapters.xen.removing import METADATA
from adapters.xen.session import Session
from adapters.xen.snapshots import SnapshotKeeper
from adapters.xen.tokens import parse
from adapters.xen.transport.qcowread import end_strays


def clean(
    session: Session, keeper: SnapshotKeeper, machine: Machine, keep: Mapping[str, str], runtime_dir: Path
) -> Sequence[Leftover]:
    """Remove our snapshots of the machine, and our disks that no token of `keep` names. Raises what keeps one.

    Readers of dead runs are ended first.
    """
    in_force = [base for text in keep.values() if (base := parse(text)) is not None]
    bases = frozenset(base.snapshot for base in in_force)
    whole = frozenset(base.snapshot for base in in_force if base.kept)
    cleaned: list[Leftover] = []
    for vm in our_snapshots(session, machine.vm):
        disks = list(keeper.disks(vm).values())
        for vdi in disks:
            cleaned += end_strays(runtime_dir, vdi.uuid)
        keeper.remove(vm, disks, bases, whole)
        cleaned.append(Leftover(f"snapshot {vm.name}", "removed"))
    for vdi in strays(session, machine.key, bases, whole):
        cleaned += end_strays(runtime_dir, vdi.uuid)
        keeper.remove(None, [vdi], bases)
        what = "change tracking" if vdi.kind == METADATA else "disk"
        cleaned.append(Leftover(f"{what} {vdi.uuid} of a snapshot of {machine.name}", "removed"))
    return cleaned


def our_snapshots(session: Session, machine: Vm) -> Iterable[Vm]:
    """The machine's snapshots that runs of ours made."""
    for ref in machine.snapshots:
        vm = read_vm(session, ref)
        if is_snapshot_name_of(vm.name, machine.uuid):
            yield vm


def strays(session: Session, machine: str, bases: Collection[str], whole: Collection[str]) -> list[Vdi]:
    """Our disks that belong to no snapshot any more, but for the change tracking of `bases`, and those in `whole`."""
    return [
        vdi
        for vdi in read_vdis(session)
        if is_disk_of(vdi, machine) and vdi.uuid not in whole and not (vdi.uuid in bases and vdi.kind == METADATA)
    ]


def older_bases(session: Session, live: Iterable[str], machine: str, kept: Collection[str]) -> list[Vdi]:
    """Our disks of snapshots of the virtual disks `live` (references), but for those whose uuids are in `kept`."""
    found: list[Vdi] = []
    for vdi in live:
        with suppress(SourceNotFound):  # somebody removed it, or a snapshot of it: what is left is for `clean`
            found += [read_vdi(session, ref) for ref in session.call("VDI.get_snapshots", vdi)]
    return [vdi for vdi in found if is_disk_of(vdi, machine) and vdi.uuid not in kept]
