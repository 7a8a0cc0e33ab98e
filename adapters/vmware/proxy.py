"""What this machine is, which reads the disks: facts for the choice of a transport.

Imports this package only. What cannot be told, for want of rights or files, is said as its absence, and blocks.
"""

from __future__ import annotations

import re
from pathlib import Path

from pyVmomi import vim

from adapters.vmware.properties import read_object
from adapters.vmware.session import Session
from adapters.vmware.transport.facts import ProxyFacts
from adapters.vmware.transport.nbdkit import vddk_missing

_DMI = Path("sys/class/dmi/id")
_DISKS = Path("dev/disk/by-id")
_SLOTS = 15
"""Disks on one SCSI controller; the controller itself has the sixteenth place."""

_WWN = re.compile(r"wwn-0x([0-9a-f]+)")


def proxy_facts(session: Session, root: Path = Path("/")) -> ProxyFacts:
    """Look at this machine, below `root`, and for it at the server."""
    settings = session.settings
    virtual = _text(root / _DMI / "sys_vendor").startswith("VMware")
    slots = _free_slots(session, _text(root / _DMI / "product_uuid")) if virtual else None
    return ProxyFacts(
        virtual=virtual,
        machine_server_uuid=session.content.about.instanceUuid if slots is not None else None,
        free_disk_slots=slots[0] if slots is not None else 0,
        encrypted=slots[1] if slots is not None else False,
        luns=_luns(root / _DISKS),
        vddk_missing=vddk_missing(settings.vddk_dir),
        array=settings.array,
    )


def _free_slots(session: Session, uuid: str) -> tuple[int, bool] | None:
    """How many disks this machine can still take, and whether it is encrypted; None when the server has no such VM."""
    index = session.content.searchIndex
    if not uuid or index is None:
        return None
    machine = session.read("This machine cannot be looked up", lambda: index.FindByUuid(None, uuid, True, False))
    if machine is None:
        return None
    values = read_object(session, machine, ["config.hardware.device", "config.keyId"])
    controllers = [
        device
        for device in values.get("config.hardware.device") or ()
        if isinstance(device, vim.vm.device.VirtualSCSIController)
    ]
    free = sum(max(_SLOTS - len(controller.device or ()), 0) for controller in controllers)
    return free, values.get("config.keyId") is not None


def _luns(directory: Path) -> frozenset[str]:
    """The LUNs under the names that vSphere gives them."""
    if not directory.is_dir():
        return frozenset()
    return frozenset(f"naa.{match[1]}" for path in directory.iterdir() if (match := _WWN.fullmatch(path.name)))


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
