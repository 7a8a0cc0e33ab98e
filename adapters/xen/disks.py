"""A machine's disks, and which of them a snapshot can hold. Pure; imports `adapters.port` and this package.

A disk's key is its number at the machine (the VBD's `userdevice`), its identity the uuid of its virtual disk. What a
storage repository can do is what its storage manager says now, never what its type has been known for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from adapters.port import DiskFact, Exclusion
from adapters.xen.bitmap import BLOCK_BYTES
from adapters.xen.records import Repository, Vbd, Vdi

SNAPSHOTS = "VDI_SNAPSHOT"
TRACKING = "VDI_CONFIG_CBT"
COMPARED_BYTES = 2 << 20
"""How much a pool compares at once where it tracks nothing: the block of a VHD."""

_AGENT = "Back it up from inside the guest with the agent."


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk at one moment. `vdi` is None where the pool does not tell of it."""

    fact: DiskFact
    vbd: Vbd
    vdi: Vdi | None
    repository: Repository | None

    @property
    def can_track(self) -> bool:
        """Whether the storage manager offers change tracking now."""
        return self.repository is not None and TRACKING in self.repository.features


def disks_of(vbds: Iterable[Vbd], vdis: Mapping[str, Vdi], repositories: Mapping[str, Repository]) -> tuple[Disk, ...]:
    """The disks among a machine's VBDs, by their places; drives for CDs and floppies are none."""
    found = [vbd for vbd in vbds if vbd.kind == "Disk" and vbd.vdi is not None]
    found.sort(key=lambda vbd: (len(vbd.place), vbd.place))
    return tuple(_disk(vbd, vdis.get(vbd.vdi or ""), repositories) for vbd in found)


def _disk(vbd: Vbd, vdi: Vdi | None, repositories: Mapping[str, Repository]) -> Disk:
    repository = repositories.get(vdi.repository) if vdi is not None else None
    name = vdi.name if vdi is not None else ""
    fact = DiskFact(
        key=vbd.place,
        label=f"{name} ({vbd.place})" if name else f"disk {vbd.place}",
        size_bytes=vdi.size_bytes if vdi is not None else 0,
        identity=vdi.uuid if vdi is not None else "unknown",
        tracking="cbt",
        granularity_bytes=BLOCK_BYTES if repository is None or TRACKING in repository.features else COMPARED_BYTES,
        exclusion=_exclusion(vdi, repository),
    )
    return Disk(fact, vbd, vdi, repository)


def _exclusion(vdi: Vdi | None, repository: Repository | None) -> Exclusion | None:
    if vdi is None or repository is None:
        return Exclusion("the pool does not show its virtual disk or its storage", "Give the user rights to see it.")
    reasons = (
        (vdi.missing, "its storage repository does not find it any more", "Repair the repository and scan it."),
        (vdi.sharable, "several machines may write to it (sharable)", _AGENT),
        (vdi.reset_on_boot, "it is reset whenever the machine starts", "Set its on-boot to persist."),
        (vdi.sm_config.get("type") == "raw", "it is a raw volume, of which no snapshot is taken", _AGENT),
        (
            SNAPSHOTS not in repository.features,
            f"its storage repository {repository.name} ({repository.type}) takes no snapshots",
            _AGENT,
        ),
    )
    return next((Exclusion(reason, way_out) for applies, reason, way_out in reasons if applies), None)
