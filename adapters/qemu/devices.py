"""The devices of a running QEMU whose disks cannot be protected, and why.

Imports `adapters.port` and this package's `qmp` and `views`. Devices are named by their QOM path in the two
containers that hold what the command line or a hot-plug added.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from adapters.port import Exclusion
from adapters.qemu.qmp import Qmp
from adapters.qemu.views import Child, VersionInfo

CONTAINERS = ("/machine/peripheral", "/machine/peripheral-anon")
NBD_SAFE_IN_IOTHREADS = (9, 0)

PASS_THROUGH = Exclusion(
    reason="the guest's SCSI commands go to the device unseen by QEMU",
    way_out="Attach the device as scsi-hd or virtio-blk instead of scsi-block or scsi-generic.",
)
VHOST = Exclusion(
    reason="another process serves this disk (vhost)",
    way_out="Back it up where it is served, or attach it as virtio-blk.",
)
IOTHREAD = Exclusion(
    reason="the disk runs in an I/O thread, where this QEMU ends with a failed assertion when an NBD client leaves",
    way_out="Use QEMU 9.0 or newer, or take the iothread option off the disk or its controller.",
)


def exclusions(qmp: Qmp) -> dict[str, Exclusion]:
    """Return the devices that stand in the way of a backup, by QOM path."""
    devices = dict(_devices(qmp))
    found = {path: IOTHREAD for path in _in_unsafe_iothreads(qmp, devices)}
    for path, kind in devices.items():
        if kind.startswith("vhost-"):
            found[path] = VHOST
        elif kind in ("scsi-block", "scsi-generic"):
            found[path] = PASS_THROUGH
    return found


def _devices(qmp: Qmp) -> Iterator[tuple[str, str]]:
    for container in CONTAINERS:
        for child in qmp.query("qom-list", list[Child], {"path": container}):
            if child.type.startswith("child<"):
                yield f"{container}/{child.name}", child.type[len("child<") : -1]


def _in_unsafe_iothreads(qmp: Qmp, devices: Mapping[str, str]) -> Iterator[str]:
    """Yield disks in I/O threads if QEMU's NBD server is not safe there.

    The fix of CVE-2024-7409, which stable releases before 9.0 carry too, asserts that clients leave in the main
    thread; before 9.0 they leave in the export's, which is the disk's.
    """
    version = qmp.query("query-version", VersionInfo).qemu
    if (version.major, version.minor) >= NBD_SAFE_IN_IOTHREADS or not qmp.query("query-iothreads", list[msgspec.Raw]):
        return
    threaded = {
        path
        for path, kind in devices.items()
        if kind.startswith(("virtio-blk", "virtio-scsi")) and _property(qmp, path, "iothread")
    }
    for path, kind in devices.items():
        bus = _property(qmp, path, "parent_bus") if kind.startswith("scsi-") else ""
        if path in threaded or any(bus.startswith(f"{controller}/") for controller in threaded):
            yield path


def _property(qmp: Qmp, path: str, name: str) -> str:
    return qmp.query("qom-get", str, {"path": path, "property": name})
