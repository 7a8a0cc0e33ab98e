"""The machines of a vCenter or an ESXi host. Imports `adapters.errors`, `adapters.port` and this package.

A machine is its instanceUuid, which vCenter keeps unique; names and managed object references change. What the server
does not tell of a machine, such as one whose host is down, stays None here and is never taken for no.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pyVmomi import vim

from adapters.errors import SourceConflict, SourceInvalid, SourceNotFound, SourceUnavailable
from adapters.port import Exclusion, MachineFact
from adapters.vmware.disks import Disk, disks_of
from adapters.vmware.properties import Found, read_all, read_objects
from adapters.vmware.session import Session

_LISTED = (
    "name",
    "config.instanceUuid",
    "config.template",
    "config.hardware.device",
    "runtime.connectionState",
    "summary.config.instanceUuid",
)
_LOOKED_AT = (
    *_LISTED,
    "capability.changeTrackingSupported",
    "config.changeTrackingEnabled",
    "config.flags.diskUuidEnabled",
    "config.keyId",
    "guest.guestFamily",
    "guest.toolsRunningStatus",
    "runtime.consolidationNeeded",
    "runtime.host",
    "runtime.powerState",
    "snapshot",
)


@dataclass(frozen=True, slots=True)
class SnapshotNode:
    """A snapshot of a machine, ours or somebody's; `depth` counts from 1."""

    moref: str
    name: str
    description: str
    depth: int


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine as the server describes it now; None is what it does not tell.

    `disk_uuids`: the guest is shown the uuids of its disks."""

    moref: str
    key: str
    name: str
    disks: tuple[Disk, ...] | None
    connection: str | None
    template: bool
    power: str | None = None
    host: str | None = None
    guest_family: str | None = None
    tools_running: bool | None = None
    tracking_supported: bool | None = None
    tracking_enabled: bool | None = None
    consolidation_needed: bool | None = None
    encrypted: bool = False
    disk_uuids: bool | None = None
    snapshots: tuple[SnapshotNode, ...] = ()

    @property
    def fact(self) -> MachineFact:
        """The machine as the port tells it."""
        return MachineFact(self.key, self.name, tuple(disk.fact for disk in self.disks or ()))


def list_machines(session: Session) -> list[Machine]:
    """List all machines that have a key, sorted by it; of several with one key the first, with all disks excluded."""
    by_key: dict[str, list[Machine]] = {}
    for item in read_all(session, vim.VirtualMachine, _LISTED):
        if (machine := _machine(item)) is not None:
            by_key.setdefault(machine.key, []).append(machine)
    return [_only(sorted(by_key[key], key=lambda machine: machine.moref)) for key in sorted(by_key)]


def _only(machines: Sequence[Machine]) -> Machine:
    first, *others = machines
    if not others:
        return first
    exclusion = Exclusion(
        f"{', '.join(other.name for other in others)} has the same instanceUuid",
        "Give one of them another instanceUuid: it was copied by hand.",
    )
    disks = tuple(replace(disk, fact=replace(disk.fact, exclusion=exclusion)) for disk in first.disks or ())
    return replace(first, disks=disks)


def look_at(session: Session, moref: str) -> Machine:
    """Read one machine. Raises SourceNotFound when it is gone."""
    found = read_objects(session, [session.bound(vim.VirtualMachine, moref)], _LOOKED_AT)
    machine = _machine(found[0]) if found else None
    if machine is None:
        raise SourceNotFound(f"The server does not tell of {moref}", code="machine-missing")
    return machine


def find_machine(session: Session, key: str) -> Machine:
    """Look up a machine by its instanceUuid. Raises SourceNotFound, and SourceConflict when two machines have it."""
    index = session.content.searchIndex
    found = session.read("The machine cannot be looked up", lambda: _by_uuid(index, key) if index is not None else [])
    if len(found) > 1:
        raise SourceConflict(
            f"{len(found)} machines have the instanceUuid {key}",
            code="machine-ambiguous",
            why=", ".join(sorted(entity._moId for entity in found)),
            hint="Give one of them another instanceUuid: it was copied by hand.",
        )
    if not found:
        raise SourceNotFound(f"There is no machine {key} at {session.host}", code="machine-missing")
    return look_at(session, found[0]._moId)


def require_reachable(machine: Machine) -> None:
    """Raise when no snapshot can be taken of `machine` now."""
    if machine.template:
        raise SourceInvalid(
            f"{machine.name} is a template", code="machine-template", hint="Convert it to a machine to back it up."
        )
    if machine.connection != "connected" or machine.disks is None:
        raise SourceUnavailable(
            f"{machine.name} cannot be reached by its server now",
            code="machine-inaccessible",
            why=f"its state is {machine.connection or 'not told'}",
            hint="Bring its host and its datastores back, or remove it from the inventory.",
        )


def _by_uuid(index: vim.SearchIndex, key: str) -> Sequence[Any]:
    try:
        return index.FindAllByUuid(None, key, True, True) or []
    except vim.fault.NotFound:
        return []


def _machine(found: Found) -> Machine | None:
    values = found.values
    key = values.get("config.instanceUuid") or values.get("summary.config.instanceUuid")
    if not key:
        return None  # nothing to know it again by
    devices = values.get("config.hardware.device")
    template = bool(values.get("config.template"))
    host = values.get("runtime.host")
    tools = values.get("guest.toolsRunningStatus")
    return Machine(
        moref=found.moref,
        key=key,
        name=values.get("name") or key,
        disks=None if devices is None else disks_of(devices, template=template),
        connection=_word(values, "runtime.connectionState"),
        template=template,
        power=_word(values, "runtime.powerState"),
        host=host._moId if host is not None else None,
        guest_family=values.get("guest.guestFamily"),
        tools_running=None if tools is None else tools == "guestToolsRunning",
        tracking_supported=values.get("capability.changeTrackingSupported"),
        tracking_enabled=values.get("config.changeTrackingEnabled"),
        consolidation_needed=values.get("runtime.consolidationNeeded"),
        encrypted=values.get("config.keyId") is not None,
        disk_uuids=values.get("config.flags.diskUuidEnabled"),
        snapshots=tuple(_snapshots(values["snapshot"].rootSnapshotList, 1)) if values.get("snapshot") else (),
    )


def _word(values: Mapping[str, Any], path: str) -> str | None:
    return str(values[path]) if values.get(path) is not None else None


def _snapshots(trees: Sequence[Any], depth: int) -> list[SnapshotNode]:
    nodes: list[SnapshotNode] = []
    for tree in trees:
        nodes.append(SnapshotNode(tree.snapshot._moId, tree.name or "", tree.description or "", depth))
        nodes += _snapshots(tree.childSnapshotList or [], depth + 1)
    return nodes
