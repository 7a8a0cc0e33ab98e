"""QueryChangedDiskAreas: what changed on a disk between a change id and a snapshot, in pages.

The areas are QEMU's: dirty bitmaps for a change id, the images' own map for `*`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from pyVmomi import vim, vmodl

from tests.support.vsphere.disks import Change, Frozen
from tests.support.vsphere.engine import GRANULARITY_BYTES, Area
from tests.support.vsphere.faults import ChangeInfo, Faults

ALLOCATED = "*"


class ChangedAreas:
    """The answer to one query, page after page."""

    def __init__(self, areas: Sequence[Area], size_bytes: int) -> None:
        self._areas = areas
        self._size_bytes = size_bytes
        self._next = {0: 0}

    def knows(self, start: int) -> bool:
        """Whether an earlier page ended at `start`, so that this one can go on there."""
        return start in self._next

    def page(self, start: int, count: int) -> ChangeInfo:
        """The next `count` areas from `start`, and how far they cover the disk."""
        first = self._next.get(start)
        if first is None:
            first = next((at for at, area in enumerate(self._areas) if sum(area) > start), len(self._areas))
        last = min(first + count, len(self._areas))
        told = [self._areas[at] for at in range(first, last)]
        end = max(sum(told[-1]), start + 1) if last < len(self._areas) else self._size_bytes
        self._next[end] = last
        extents = [ChangeInfo.DiskChangeExtent(start=begin, length=length) for begin, length in told]
        return ChangeInfo(startOffset=start, length=end - start, changedArea=extents)


def changed_areas(frozen: Frozen, change_id: str, faults: Faults) -> ChangedAreas:
    """Find what changed on a frozen disk since `change_id`, or what it holds for `*`."""
    if frozen.change is None:
        raise unusable(frozen)
    if change_id == ALLOCATED:
        if faults.star_fault is not None:
            raise faults.star_fault
        areas: Sequence[Area] = list(_in_units(frozen.disk.allocated(frozen.layer), frozen.size_bytes))
    else:
        areas = frozen.disk.changed(_moment(frozen, change_id), frozen.change.sequence)
        areas = [
            (start, min(length, frozen.size_bytes - start)) for start, length in areas if start < frozen.size_bytes
        ]
    return ChangedAreas(faults.areas(areas) if faults.areas else areas, frozen.size_bytes)


def unusable(frozen: Frozen) -> vmodl.MethodFault:
    """What the server says when there is no tracking, or none since that change id."""
    path = f"/vmfs/volumes/{frozen.layer.descriptor.parent.name}/{frozen.layer.descriptor.name}"
    return vim.fault.FileFault(file=path, msg=f"Error caused by file {path}")


def _moment(frozen: Frozen, change_id: str) -> int:
    """The number of a moment of the tracking that the snapshot belongs to."""
    assert frozen.change is not None
    uuid, _, number = change_id.rpartition("/")
    if not uuid or not number.isdecimal():
        raise vmodl.fault.InvalidArgument(
            invalidProperty="changeId", msg="A specified parameter was not correct: changeId"
        )
    moment = Change(uuid, int(number))
    current = frozen.disk.change
    if current is None or {moment.uuid, current.uuid} != {frozen.change.uuid}:
        raise unusable(frozen)
    if not 1 <= moment.sequence <= frozen.change.sequence:
        raise unusable(frozen)
    return moment.sequence


def _in_units(areas: Iterable[Area], size_bytes: int) -> Iterator[Area]:
    """Round areas out to the tracking's granularity and join those that then touch."""
    start = end = 0
    for begin, length in areas:
        first = begin // GRANULARITY_BYTES * GRANULARITY_BYTES
        if first > end:
            if end > start:
                yield start, end - start
            start = first
        end = min(-(-(begin + length) // GRANULARITY_BYTES) * GRANULARITY_BYTES, size_bytes)
    if end > start:
        yield start, end - start
