"""A running QEMU's disks: what the guest's devices are attached to, and how to name it for ever.

Imports `adapters.port` and this package's `devices`, `qmp` and `views`.

- A disk's key is the first of: the device's own id, the -drive's id, the device's place in the machine. All
  come from the command line, so they survive a restart of the same configuration; node names do not (libvirt
  counts them), and a block job hides them.
- Its identity is a digest of the image's file name (which may hold a credential, hence the digest). A file
  that was swapped in place keeps it, and is found out by its bitmap: bitmaps live in the image or die with
  the process, so another image does not have ours.
- Media that the guest can only read, and empty drives, are no disks.
- A QEMU that has no drive at all, such as one that only serves images, has its named nodes as disks.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from adapters.port import DiskFact, Exclusion
from adapters.qemu.devices import CONTAINERS, VHOST, exclusions
from adapters.qemu.marks import MARK
from adapters.qemu.qmp import Qmp
from adapters.qemu.views import BlockDevice, Graph, Node

GRANULARITY_BYTES = 65536
_FILTERS_OF_JOBS = frozenset({"copy-before-write", "mirror_top", "commit_top"})
_DEVICE = re.compile(r"/machine/peripheral/([^/]+)")


@dataclass(frozen=True, slots=True)
class LiveDisk:
    """A disk and the node that carries it now; `node` is None when it is excluded."""

    fact: DiskFact
    node: Node | None = None

    @property
    def in_job(self) -> bool:
        """Whether a block job has put its filter above the disk, so that the node is not the disk's own."""
        return self.node is not None and self.node.drv in _FILTERS_OF_JOBS


def list_disks(qmp: Qmp) -> list[LiveDisk]:
    """Ask QEMU for its disks, those that cannot be protected included."""
    excluded = exclusions(qmp)
    blocks = qmp.query("query-block", list[BlockDevice])
    disks = [disk_of(block, excluded) for block in blocks]
    if all(block.inserted is None for block in blocks):
        disks += [_live(node.node_name, node) for node in top_nodes(qmp) if not node.ro]
    disks += [_excluded(_key_of_path(path), VHOST) for path, exclusion in excluded.items() if exclusion is VHOST]
    return sorted((disk for disk in disks if disk is not None), key=lambda disk: disk.fact.key)


def disk_of(block: BlockDevice, excluded: Mapping[str, Exclusion]) -> LiveDisk | None:
    """Return the disk of a block device, None when it is none; `excluded` devices are named by QOM path."""
    node = block.inserted
    if node is None or node.ro:
        return None
    key = disk_key(block)
    if (exclusion := excluded.get(_qom_path(block.qdev))) is not None:
        return _excluded(key, exclusion, node.image.virtual_size)
    return _live(key, node)


def _live(key: str, node: Node) -> LiveDisk:
    identity = "file-" + hashlib.sha256(node.file.encode()).hexdigest()[:32]
    return LiveDisk(DiskFact(key, key, node.image.virtual_size, identity, "bitmap", GRANULARITY_BYTES), node)


def top_nodes(qmp: Qmp) -> list[Node]:
    """The nodes that their owner named and that no other such node stands on: the disks of a QEMU without drives.

    Ours do not count, nor do those that QEMU named itself, such as the filters of jobs.
    """
    graph = qmp.query("x-debug-query-block-graph", Graph)
    named = {
        node.id: node.name
        for node in graph.nodes
        if node.type == "block-driver" and not node.name.startswith(("#", MARK))
    }
    below = {edge.child for edge in graph.edges if edge.parent in named}
    tops = {name for number, name in named.items() if number not in below}
    nodes = qmp.query("query-named-block-nodes", list[Node], {"flat": True})
    return [node for node in nodes if node.node_name in tops]


def disk_key(block: BlockDevice) -> str:
    """Name a disk by what its owner named, device or drive, else by its place."""
    if block.qdev and not block.qdev.startswith("/"):
        return block.qdev
    own = _DEVICE.match(block.qdev)
    return own[1] if own else block.device or _key_of_path(block.qdev)


def _qom_path(qdev: str) -> str:
    """The device's path in a container; a virtio device is the parent of the backend that QEMU names."""
    return (qdev if qdev.startswith("/") else f"{CONTAINERS[0]}/{qdev}").removesuffix("/virtio-backend")


def _key_of_path(path: str) -> str:
    return path.removeprefix("/machine/").removesuffix("/virtio-backend").removeprefix("peripheral/")


def _excluded(key: str, exclusion: Exclusion, size_bytes: int = 0) -> LiveDisk:
    return LiveDisk(DiskFact(key, key, size_bytes, f"device-{key}", "bitmap", GRANULARITY_BYTES, exclusion))
