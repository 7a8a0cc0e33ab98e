"""XenAPI records for tests of rules that need no pool."""

from __future__ import annotations

from typing import Any


def vdi_record(**fields: Any) -> dict[str, Any]:
    """A virtual disk of 1 MiB on `OpaqueRef:sr`."""
    return {
        "uuid": "00000000-0000-0000-0000-00000000000d",
        "name_label": "system",
        "SR": "OpaqueRef:sr",
        "virtual_size": 1 << 20,
        "type": "user",
        "sharable": False,
        "on_boot": "persist",
        "missing": False,
        "cbt_enabled": False,
        "is_a_snapshot": False,
        "snapshot_of": "OpaqueRef:NULL",
        "VBDs": [],
        "sm_config": {},
        "other_config": {},
        **fields,
    }


def vbd_record(**fields: Any) -> dict[str, Any]:
    """The first disk of `OpaqueRef:vm`."""
    return {
        "VM": "OpaqueRef:vm",
        "VDI": "OpaqueRef:vdi",
        "userdevice": "0",
        "type": "Disk",
        "empty": False,
        **fields,
    }


def sr_record(**fields: Any) -> dict[str, Any]:
    """A storage repository of type `ext`."""
    return {"uuid": "00000000-0000-0000-0000-00000000005a", "name_label": "local", "type": "ext", **fields}


def sm_record(*features: str, **fields: Any) -> dict[str, Any]:
    """The storage manager of type `ext`."""
    return {"type": "ext", "features": dict.fromkeys(features, 1), "capabilities": list(features), **fields}
