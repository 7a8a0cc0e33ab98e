"""Machines, their slots for disks and their network interfaces, and the calls on them."""

from __future__ import annotations

from typing import Any

from tests.support.xapi.disks import assert_allowed
from tests.support.xapi.published import NULL, PUBLISHED, XapiFailure
from tests.support.xapi.world import Call, World, new_mac, now

_VBD_KEPT = ("device", "userdevice", "bootable", "mode", "type", "unpluggable", "empty", "other_config")
_VIF_KEPT = ("device", "network", "MTU", "other_config", "locking_mode")
_NOT_COPIED = ("uuid", "VBDs", "VIFs", "snapshots", "allowed_operations", "current_operations", "resident_on", "domid")


def disks_of(world: World, vm: str) -> dict[str, str]:
    """The disks of a machine: VBD references by their places (`userdevice`)."""
    records = world.records
    vbds = [ref for ref in records.find("VBD", VM=vm, type="Disk") if records.get("VBD", ref)["VDI"] != NULL]
    return {records.get("VBD", ref)["userdevice"]: ref for ref in vbds}


def _copied(call: Call, vm: str, **changes: Any) -> str:
    record = call.world.records.get("VM", vm)
    kept = {name: value for name, value in record.items() if name not in _NOT_COPIED}
    kept = {name: dict(value) if isinstance(value, dict) else value for name, value in kept.items()}
    made = call.world.records.create("VM", **{**kept, "domid": -1, "power_state": "Halted", **changes})
    for vif in call.world.records.find("VIF", VM=vm):
        entry = call.world.records.get("VIF", vif)
        fields = {name: entry[name] for name in _VIF_KEPT}
        call.world.records.create("VIF", VM=made, MAC=new_mac(), **fields)
    return made


def _with_disks(call: Call, vm: str, made: str, disk_of: Any) -> None:
    """Give `made` the slots of `vm`; `disk_of` makes a disk of each disk."""
    records = call.world.records
    for vbd in records.find("VBD", VM=vm):
        entry = records.get("VBD", vbd)
        disk = entry["VDI"]
        if entry["type"] == "Disk" and disk != NULL:
            disk = disk_of(disk)
            if disk is None:
                continue
        records.create("VBD", VM=made, VDI=disk, **{name: entry[name] for name in _VBD_KEPT})


def _snapshot(call: Call, vm: str, name: str, ignored: list[str] | None = None) -> str:
    world, record = call.world, call.world.records.get("VM", vm)
    if record["is_a_snapshot"] or record["is_a_template"]:
        raise XapiFailure("VM_IS_SNAPSHOT" if record["is_a_snapshot"] else "VM_IS_TEMPLATE", vm)
    if "snapshot" in record["blocked_operations"]:
        raise XapiFailure("OPERATION_BLOCKED", vm, record["blocked_operations"]["snapshot"])
    disks = [world.records.get("VBD", vbd)["VDI"] for vbd in disks_of(world, vm).values()]
    for disk in disks:
        if disk not in (ignored or ()):
            assert_allowed(world, disk, "snapshot")
    made = _copied(
        call,
        vm,
        name_label=name,
        is_a_snapshot=True,
        is_a_template=True,
        snapshot_of=vm,
        snapshot_time=now(),
        snapshot_info={"power-state-at-snapshot": record["power_state"], "disk-snapshot-type": "crash_consistent"},
    )
    _with_disks(call, vm, made, lambda disk: None if disk in (ignored or ()) else world.disks.snapshot(disk))
    return made


def _clone(call: Call, vm: str, name: str) -> str:
    made = _copied(call, vm, name_label=name, is_a_snapshot=False, snapshot_of=NULL)
    disks = call.world.disks
    _with_disks(call, vm, made, lambda disk: disks.copy(disk, call.world.records.get("VDI", disk)["SR"]))
    return made


def _revert(call: Call, taken: str) -> None:
    """Go back to a snapshot: other disks, with other uuids, take the places of those there were."""
    world, records = call.world, call.world.records
    record = records.get("VM", taken)
    if not record["is_a_snapshot"]:
        raise XapiFailure("REVERT_ONLY_ALLOWED_ON_SNAPSHOT")
    vm = record["snapshot_of"]
    for vbd in disks_of(world, vm).values():
        world.disks.destroy(records.get("VBD", vbd)["VDI"])
    for vbd in disks_of(world, taken).values():
        entry = records.get("VBD", vbd)
        disk = world.disks.copy(entry["VDI"], records.get("VDI", entry["VDI"])["SR"])
        records.create("VBD", VM=vm, VDI=disk, **{name: entry[name] for name in _VBD_KEPT})
    records.set("VM", vm, power_state="Halted")


def _create(call: Call, given: dict[str, Any]) -> str:
    fields = PUBLISHED.constructor("VM", given)
    return call.world.records.create("VM", **{**fields, "power_state": "Halted", "domid": -1})


def _destroy(call: Call, vm: str) -> None:
    """Destroy a machine; its disks stay."""
    records = call.world.records
    state = records.get("VM", vm)["power_state"]
    if state not in ("Halted", "Suspended"):
        raise XapiFailure("VM_BAD_POWER_STATE", vm, "halted", state.lower())
    for kind in ("VBD", "VIF"):
        for ref in records.find(kind, VM=vm):
            records.destroy(kind, ref)
    records.destroy("VM", vm)


def _power(call: Call, vm: str, *, on: bool) -> None:
    records = call.world.records
    state = records.get("VM", vm)["power_state"]
    expected = "Halted" if on else "Running"
    if state != expected:
        raise XapiFailure("VM_BAD_POWER_STATE", vm, expected.lower(), state.lower())
    if records.get("VM", vm)["is_a_template"]:
        raise XapiFailure("VM_IS_TEMPLATE", vm)
    records.set("VM", vm, power_state="Running" if on else "Halted", resident_on=call.host if on else NULL)
    for kind in ("VBD", "VIF"):
        for ref in records.find(kind, VM=vm):
            records.set(kind, ref, currently_attached=on)


def _start(call: Call, vm: str, _paused: bool = False, _force: bool = False) -> None:
    _power(call, vm, on=True)


def _stop(call: Call, vm: str) -> None:
    _power(call, vm, on=False)


def _create_vbd(call: Call, given: dict[str, Any]) -> str:
    records, fields = call.world.records, PUBLISHED.constructor("VBD", given)
    records.get("VM", fields["VM"])
    if fields["VDI"] != NULL:
        if records.get("VDI", fields["VDI"])["type"] == "cbt_metadata":
            raise XapiFailure("VDI_INCOMPATIBLE_TYPE", fields["VDI"], "cbt_metadata")
    elif not fields.get("empty"):
        raise XapiFailure("HANDLE_INVALID", "VDI", fields["VDI"])
    if records.find("VBD", VM=fields["VM"], userdevice=fields["userdevice"]):
        raise XapiFailure("DEVICE_ALREADY_EXISTS", fields["userdevice"])
    return records.create("VBD", **{**fields, "currently_attached": False})


def _destroy_vbd(call: Call, vbd: str) -> None:
    if call.world.records.get("VBD", vbd)["currently_attached"]:
        raise XapiFailure("OPERATION_NOT_ALLOWED", f"VBD '{vbd}' still attached")
    call.world.records.destroy("VBD", vbd)


def _plug_vbd(call: Call, vbd: str) -> None:
    if call.world.records.get("VBD", vbd)["currently_attached"]:
        raise XapiFailure("DEVICE_ALREADY_ATTACHED", vbd)
    call.world.records.set("VBD", vbd, currently_attached=True)


def _unplug_vbd(call: Call, vbd: str) -> None:
    if not call.world.records.get("VBD", vbd)["currently_attached"]:
        raise XapiFailure("DEVICE_ALREADY_DETACHED", vbd)
    call.world.records.set("VBD", vbd, currently_attached=False)


def _create_vif(call: Call, given: dict[str, Any]) -> str:
    records, fields = call.world.records, PUBLISHED.constructor("VIF", given)
    records.get("VM", fields["VM"])
    records.get("network", fields["network"])
    if records.find("VIF", VM=fields["VM"], device=fields["device"]):
        raise XapiFailure("DEVICE_ALREADY_EXISTS", fields["device"])
    mac = fields["MAC"] or new_mac()
    return records.create("VIF", **{**fields, "MAC": mac, "MAC_autogenerated": not fields["MAC"]})


def _destroy_vif(call: Call, vif: str) -> None:
    if call.world.records.get("VIF", vif)["currently_attached"]:
        raise XapiFailure("OPERATION_NOT_ALLOWED", f"VIF '{vif}' still attached")
    call.world.records.destroy("VIF", vif)


HANDLERS = {
    "VM.snapshot": _snapshot,
    "VM.clone": _clone,
    "VM.revert": _revert,
    "VM.create": _create,
    "VM.destroy": _destroy,
    "VM.start": _start,
    "VM.hard_shutdown": _stop,
    "VM.clean_shutdown": _stop,
    "VBD.create": _create_vbd,
    "VBD.destroy": _destroy_vbd,
    "VBD.plug": _plug_vbd,
    "VBD.unplug": _unplug_vbd,
    "VIF.create": _create_vif,
    "VIF.destroy": _destroy_vif,
}
