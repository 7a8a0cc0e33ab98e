"""What XenAPI tells of machines, disks and storage, as facts. Pure; imports nothing of ours.

The session has made numbers of the integers, which XML-RPC carries as strings (see `values`). Objects
are known by uuid: an OpaqueRef is good for as long as the pool's database lasts, and is kept nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

NULL = "OpaqueRef:NULL"

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Vm:
    """A machine, a template or a snapshot."""

    ref: str
    uuid: str
    name: str
    power: str
    template: bool
    control: bool
    snapshot: bool
    snapshot_of: str | None
    vbds: tuple[str, ...]
    snapshots: tuple[str, ...]
    suspend_vdi: str | None
    operations: frozenset[str]
    other_config: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Vbd:
    """Where a virtual disk is attached to a machine: `place` is its number there."""

    ref: str
    vm: str
    vdi: str | None
    place: str
    kind: str


@dataclass(frozen=True, slots=True)
class Vdi:
    """A virtual disk; `kind` is `cbt_metadata` once only its change tracking is left."""

    ref: str
    uuid: str
    name: str
    repository: str
    size_bytes: int
    kind: str
    sharable: bool
    reset_on_boot: bool
    missing: bool
    tracking: bool
    snapshot: bool
    snapshot_of: str | None
    snapshots: tuple[str, ...]
    vbds: tuple[str, ...]
    sm_config: Mapping[str, str]
    other_config: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Repository:
    """A storage repository, with what its storage manager can do; older pools name no image formats."""

    ref: str
    uuid: str
    name: str
    type: str
    features: frozenset[str]
    image_formats: frozenset[str] = frozenset()


def vm_of(ref: str, record: Record) -> Vm:
    """Read a VM's record."""
    return Vm(
        ref=ref,
        uuid=str(record["uuid"]),
        name=str(record["name_label"]),
        power=str(record["power_state"]),
        template=bool(record["is_a_template"]),
        control=bool(record["is_control_domain"]),
        snapshot=bool(record["is_a_snapshot"]),
        snapshot_of=ref_of(record.get("snapshot_of")),
        vbds=tuple(record["VBDs"]),
        snapshots=tuple(record.get("snapshots", ())),
        suspend_vdi=ref_of(record.get("suspend_VDI")),
        operations=frozenset(dict(record.get("current_operations") or {}).values()),
        other_config=dict(record.get("other_config") or {}),
    )


def vbd_of(ref: str, record: Record) -> Vbd:
    """Read a VBD's record; an empty drive has no virtual disk."""
    vdi = None if record.get("empty") else ref_of(record.get("VDI"))
    return Vbd(ref, str(record["VM"]), vdi, str(record["userdevice"]), str(record["type"]))


def vdi_of(ref: str, record: Record) -> Vdi:
    """Read a VDI's record."""
    return Vdi(
        ref=ref,
        uuid=str(record["uuid"]),
        name=str(record["name_label"]),
        repository=str(record["SR"]),
        size_bytes=int(record["virtual_size"]),
        kind=str(record["type"]),
        sharable=bool(record["sharable"]),
        reset_on_boot=record.get("on_boot") == "reset",
        missing=bool(record.get("missing", False)),
        tracking=bool(record.get("cbt_enabled", False)),
        snapshot=bool(record["is_a_snapshot"]),
        snapshot_of=ref_of(record.get("snapshot_of")),
        snapshots=tuple(record.get("snapshots", ())),
        vbds=tuple(record.get("VBDs", ())),
        sm_config=dict(record.get("sm_config") or {}),
        other_config=dict(record.get("other_config") or {}),
    )


def repository_of(ref: str, record: Record, managers: Mapping[str, Record]) -> Repository:
    """Read an SR's record; `managers` are the SM records, of which one drives each type of repository."""
    kind = str(record["type"])
    features: set[str] = set()
    formats: set[str] = set()
    for manager in managers.values():
        if manager.get("type") == kind:
            features.update(manager.get("features") or {})
            features.update(str(name).partition("/")[0] for name in manager.get("capabilities") or ())
            formats.update(map(str, manager.get("supported_image_formats") or ()))
    name, uuid = str(record["name_label"]), str(record["uuid"])
    return Repository(ref, uuid, name, kind, frozenset(features), frozenset(formats))


def ref_of(value: Any) -> str | None:
    """A reference, None for what refers to nothing."""
    return None if value in (None, "", NULL) else str(value)
