"""What QEMU says about itself: the parts of QMP answers that we use, typed and checked on decoding.

Imports nothing of ours. Field names are QEMU's (docs/interop/qemu-qmp-ref), with underscores for hyphens.
"""

from __future__ import annotations

from typing import Any

import msgspec


class View(msgspec.Struct, frozen=True, rename=lambda name: name.replace("_", "-")):
    """Part of an answer; unknown fields are ignored."""


class Bitmap(View, frozen=True):
    """BlockDirtyInfo. Bitmaps that QEMU's own filters use have no name."""

    recording: bool
    busy: bool
    persistent: bool
    granularity: int
    name: str = ""
    inconsistent: bool = False


class FormatSpecific(View, frozen=True):
    """ImageInfoSpecific; `data` depends on `type`."""

    type: str
    data: dict[str, Any] = {}


class Image(View, frozen=True):
    """ImageInfo."""

    virtual_size: int
    format_specific: FormatSpecific | None = None


class Node(View, frozen=True):
    """BlockDeviceInfo: a node of the block graph."""

    drv: str
    ro: bool
    file: str
    image: Image
    node_name: str = ""
    dirty_bitmaps: tuple[Bitmap, ...] = ()

    @property
    def keeps_bitmaps(self) -> bool:
        """Whether bitmaps can outlive the process: qcow2 version 3 stores them in the image."""
        specific = self.image.format_specific
        return specific is not None and specific.type == "qcow2" and specific.data.get("compat") != "0.10"


class BlockDevice(View, frozen=True):
    """BlockInfo: what a guest device (`qdev`) or a -drive (`device`) is attached to."""

    device: str
    removable: bool
    qdev: str = ""
    inserted: Node | None = None


class GraphNode(View, frozen=True):
    """XDbgBlockGraphNode: `type` is block-backend, block-job or block-driver."""

    id: int
    type: str
    name: str


class GraphEdge(View, frozen=True):
    """XDbgBlockGraphEdge: the parent stands on the child."""

    parent: int
    child: int


class Graph(View, frozen=True):
    """XDbgBlockGraph."""

    nodes: tuple[GraphNode, ...]
    edges: tuple[GraphEdge, ...]


class Child(View, frozen=True):
    """ObjectPropertyInfo of a QOM container; `type` is such as `child<virtio-blk-pci>`."""

    name: str
    type: str


class Job(View, frozen=True):
    """JobInfo."""

    id: str
    status: str
    error: str = ""


class Export(View, frozen=True):
    """BlockExportInfo."""

    id: str


class RunState(View, frozen=True):
    """StatusInfo."""

    status: str


class Version(View, frozen=True):
    """VersionTriple inside VersionInfo."""

    major: int
    minor: int
    micro: int


class VersionInfo(View, frozen=True):
    """VersionInfo."""

    qemu: Version
    package: str = ""


class NameInfo(View, frozen=True):
    """NameInfo; no name unless QEMU was started with -name."""

    name: str = ""


class Uuid(msgspec.Struct, frozen=True):
    """UuidInfo; all zeros unless QEMU was started with -uuid."""

    UUID: str
