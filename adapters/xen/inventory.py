"""The machines of a pool. Imports `adapters.errors`, `adapters.port` and this package.

A machine is its uuid; names and references change. Templates, snapshots, control domains and what a restore has not
made to the end are VMs to XenAPI and no machines: they are counted, so that a check can say so.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from adapters.errors import SourceInvalid, SourceNotFound
from adapters.port import MachineFact
from adapters.xen.disks import Disk, disks_of
from adapters.xen.marks import MAKING_KEY
from adapters.xen.records import Repository, Vbd, Vdi, Vm, repository_of, vbd_of, vdi_of, vm_of
from adapters.xen.session import Session


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine as the pool describes it now."""

    vm: Vm
    disks: tuple[Disk, ...]

    @property
    def key(self) -> str:
        """The uuid."""
        return self.vm.uuid

    @property
    def name(self) -> str:
        """What people call it."""
        return self.vm.name

    @property
    def fact(self) -> MachineFact:
        """The machine as the port tells it."""
        return MachineFact(self.key, self.name, tuple(disk.fact for disk in self.disks))


@dataclass(frozen=True, slots=True)
class Inventory:
    """All machines, by their uuids, how many VMs are none, by the reason, and all virtual disks."""

    machines: tuple[Machine, ...]
    others: Counter[str]
    vdis: tuple[Vdi, ...]


def list_machines(session: Session) -> Inventory:
    """Read the whole pool."""
    vms = [vm_of(ref, record) for ref, record in _all(session, "VM").items()]
    vbds = [vbd_of(ref, record) for ref, record in _all(session, "VBD").items()]
    vdis = {vdi.ref: vdi for vdi in read_vdis(session)}
    managers = _all(session, "SM")
    repositories = {ref: repository_of(ref, record, managers) for ref, record in _all(session, "SR").items()}
    attached: dict[str, list[Vbd]] = {}
    for vbd in vbds:
        attached.setdefault(vbd.vm, []).append(vbd)
    machines = [
        Machine(vm, disks_of(attached.get(vm.ref, ()), vdis, repositories)) for vm in vms if not_a_machine(vm) is None
    ]
    others = Counter(reason for vm in vms if (reason := not_a_machine(vm)) is not None)
    return Inventory(tuple(sorted(machines, key=lambda machine: machine.key)), others, tuple(vdis.values()))


def find_machine(session: Session, key: str) -> Machine:
    """Look a machine up by its uuid. Raises SourceNotFound, and SourceInvalid for a VM that is no machine."""
    vm = _find_vm(session, key)
    if (reason := not_a_machine(vm)) is not None:
        raise SourceInvalid(f"{vm.name} is no machine", code="machine-is-none", why=f"it is a {reason}")
    vbds = [vbd_of(ref, session.call("VBD.get_record", ref)) for ref in vm.vbds]
    vdis = {vbd.vdi: read_vdi(session, vbd.vdi) for vbd in vbds if vbd.kind == "Disk" and vbd.vdi is not None}
    repositories = read_repositories(session, {vdi.repository for vdi in vdis.values()})
    return Machine(vm, disks_of(vbds, vdis, repositories))


def not_a_machine(vm: Vm) -> str | None:
    """Why a VM of XenAPI is no machine; None when it is one."""
    reasons = (
        (vm.control, "control domain"),
        (vm.snapshot, "snapshot"),
        (vm.template, "template"),
        (MAKING_KEY in vm.other_config, "unfinished restore"),
    )
    return next((reason for applies, reason in reasons if applies), None)


def read_vm(session: Session, ref: str) -> Vm:
    """Read one VM. Raises SourceNotFound when it is gone."""
    return vm_of(ref, session.call("VM.get_record", ref))


def read_vdi(session: Session, ref: str) -> Vdi:
    """Read one virtual disk. Raises SourceNotFound when it is gone."""
    return vdi_of(ref, session.call("VDI.get_record", ref))


def read_repositories(session: Session, refs: set[str]) -> dict[str, Repository]:
    """Read some storage repositories, with what their storage managers can do now."""
    managers = _all(session, "SM")
    return {ref: repository_of(ref, session.call("SR.get_record", ref), managers) for ref in sorted(refs)}


def read_vdis(session: Session) -> list[Vdi]:
    """Read all virtual disks of the pool."""
    return [vdi_of(ref, record) for ref, record in _all(session, "VDI").items()]


def _find_vm(session: Session, key: str) -> Vm:
    try:
        return read_vm(session, session.call("VM.get_by_uuid", key))
    except SourceNotFound:
        raise SourceNotFound(
            f"There is no machine {key} in the pool of {session.settings.host}", code="machine-missing"
        ) from None


def _all(session: Session, kind: str) -> dict[str, Any]:
    records: dict[str, Any] = session.call(f"{kind}.get_all_records")
    return records
