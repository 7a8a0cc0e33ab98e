"""What the choice of a transport is made from: facts of a disk and of this machine. Imports nothing of ours.

Facts are gathered elsewhere and may be recorded; what is not known is said as its absence, and blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Datastore = Literal["vmfs", "nfs", "vsan", "vvol", "other"]
Controller = Literal["scsi", "nvme", "sata", "ide"]

KINDS = ("array_snapshot", "san", "hotadd", "nbdssl", "nbd", "http_folder", "export")
"""Every transport, the best first. `nbd` is clear text and is allowed by name only."""

VDDK_KINDS = frozenset({"san", "hotadd", "nbdssl", "nbd"})


@dataclass(frozen=True, slots=True)
class DiskFacts:
    """One frozen disk.

    `server_uuid` is the instance UUID of the vCenter (or host) that was asked; `luns` are the names (`naa.…`) of the
    LUNs below the datastore. `flat` says that the frozen content is one flat file. `incremental` says
    that not the whole disk is to be read. `array_volume` is where the array of the settings keeps the content, None
    when it does not.
    """

    label: str
    datastore: Datastore
    controller: Controller
    server_uuid: str
    luns: frozenset[str] = frozenset()
    flat: bool = False
    encrypted: bool = False
    incremental: bool = False
    array_volume: str | None = None


@dataclass(frozen=True, slots=True)
class ProxyFacts:
    """This machine, which reads.

    `machine_server_uuid` is the instance UUID of the vCenter that this machine is a VM of, None when it is not known to
    be one. `luns` are the names of the LUNs it sees. `vddk_missing` says what is missing for VDDK, None when nothing.
    """

    virtual: bool
    machine_server_uuid: str | None = None
    free_disk_slots: int = 0
    encrypted: bool = False
    luns: frozenset[str] = frozenset()
    vddk_missing: str | None = "it was not looked for"
    array: str | None = None
