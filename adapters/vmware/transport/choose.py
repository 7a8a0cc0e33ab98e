"""Which way a disk's bytes travel: a pure function of recorded facts.

Imports the shared modules of `adapters` and this package. What blocks each kind stands here, the choice in `choosing`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from adapters.choosing import choose
from adapters.port import TransportChoice
from adapters.vmware.transport.facts import KINDS, DiskFacts, ProxyFacts

_CIPHERTEXT = "the machine is encrypted: what is stored is ciphertext"


def choose_transport(disk: DiskFacts, proxy: ProxyFacts, allowed: Collection[str]) -> TransportChoice:
    """Choose for one disk among the kinds that are `allowed`. Raises what `choose` does."""
    return choose(
        {kind: blockers(kind, disk, proxy) for kind in KINDS},
        allowed,
        label=disk.label,
        way_out="Remove one of the obstacles (VDDK: source add --vddk DIR), or allow another transport (--transport).",
    )


def blockers(kind: str, disk: DiskFacts, proxy: ProxyFacts) -> tuple[str, ...]:
    """Say why `kind` cannot carry this disk's bytes to this machine; empty when it can."""
    return tuple(_BLOCKERS[kind](disk, proxy))


def _array(disk: DiskFacts, proxy: ProxyFacts) -> list[str]:
    found = []
    if proxy.array is None:
        found.append("no storage array is configured")
    elif disk.array_volume is None:
        found.append(_not_on_array(disk, proxy))
    if not disk.flat and disk.raw_lun is None:
        found.append("the frozen content is neither one flat file nor one LUN")
    if disk.encrypted:
        found.append(_CIPHERTEXT)
    return found


def _not_on_array(disk: DiskFacts, proxy: ProxyFacts) -> str:
    if disk.raw_lun is not None:
        return f"the settings of the array {proxy.array} do not name the LUN {disk.raw_lun}"
    if proxy.array_luns_only:
        return (
            f"the array {proxy.array} presents LUNs, and a file on a LUN (VMFS) cannot be read from it:"
            " only a disk that is a whole LUN can, a raw device mapping in virtual mode"
        )
    return f"the disk is not on a volume of the array {proxy.array}"


def _san(disk: DiskFacts, proxy: ProxyFacts) -> list[str]:
    found = _vddk(disk, proxy)
    if proxy.virtual:
        found.append("this machine is a virtual machine")
    if disk.datastore != "vmfs":
        found.append(f"the datastore is {_named(disk)}, which has no LUN to read")
    elif not disk.luns:
        found.append("the LUNs of the datastore are not known")
    elif missing := sorted(disk.luns - proxy.luns):
        found.append(f"this machine does not see the LUN {', '.join(missing)}")
    if disk.encrypted:
        found.append(_CIPHERTEXT)
    return found


def _hotadd(disk: DiskFacts, proxy: ProxyFacts) -> list[str]:
    found = _vddk(disk, proxy)
    if not proxy.virtual:
        found.append("this machine is not a virtual machine")
    elif proxy.machine_server_uuid is None or proxy.machine_server_uuid != disk.server_uuid:
        found.append("this machine is not a virtual machine of the same vCenter")
    if disk.controller == "ide":
        found.append("the disk is on an IDE controller")
    if proxy.virtual and proxy.free_disk_slots < 1:
        found.append("this machine has no free SCSI slot")
    if disk.encrypted and not proxy.encrypted:
        found.append("the machine is encrypted and this machine is not")
    return found


def _nbd(disk: DiskFacts, proxy: ProxyFacts) -> list[str]:
    found = _vddk(disk, proxy)
    if disk.encrypted:
        found.append("the machine is encrypted, and this would send it in clear text")
    return found


def _vddk(disk: DiskFacts, proxy: ProxyFacts) -> list[str]:
    del disk
    return [f"VDDK cannot be used: {proxy.vddk_missing}"] if proxy.vddk_missing is not None else []


def _folder(disk: DiskFacts, proxy: ProxyFacts) -> list[str]:
    del proxy
    found = []
    if disk.datastore in {"vsan", "vvol"}:
        found.append(f"the datastore is {_named(disk)}, whose disks are not files")
    if not disk.flat:
        found.append("the frozen content is not one flat file")
    if disk.encrypted:
        found.append(_CIPHERTEXT)
    return found


def _export(disk: DiskFacts, proxy: ProxyFacts) -> list[str]:
    del proxy
    found = []
    if disk.incremental:
        found.append("it reads whole disks only, and this is an incremental")
    if disk.encrypted:
        found.append("the machine is encrypted: it cannot be exported")
    return found


def _named(disk: DiskFacts) -> str:
    return {"vsan": "vSAN", "vvol": "vVol", "nfs": "NFS", "vmfs": "VMFS", "other": "of another kind"}[disk.datastore]


_BLOCKERS: dict[str, Callable[[DiskFacts, ProxyFacts], list[str]]] = {
    "array_snapshot": _array,
    "san": _san,
    "hotadd": _hotadd,
    "nbdssl": _vddk,
    "nbd": _nbd,
    "http_folder": _folder,
    "export": _export,
}
