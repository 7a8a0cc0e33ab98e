"""What an adapter's tests give to the conformance suite, and the suite's helpers.

Imports the port only; nothing here knows a hypervisor.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from adapters.port import BlockReader, DiskSnapshot, Extent, MachineFact, Snapshot, SnapshotRequest, Source, Tracked


class SourceHarness(Protocol):
    """One real machine that the suite may treat as it likes.

    `machine_key` and `disk_key` name the disk under test. Content methods act on that disk, which
    `can_write_during_snapshot` or not.
    """

    machine_key: str
    disk_key: str
    can_write_during_snapshot: bool

    def make_source(self) -> Source:
        """Build a new Source on the same hypervisor; the suite closes it."""

    def write(self, offset: int, data: bytes) -> None:
        """Write to the disk as a guest would, durably."""

    def discard(self, offset: int, length: int) -> None:
        """Make a 64 KiB aligned range read as zeros, by trim or write-zeroes."""

    def grow(self, size_bytes: int) -> None:
        """Grow the disk; the new space reads as zeros."""

    def replace_disk(self) -> None:
        """Put another disk of the same size and other content in its place, under the same key."""

    def content(self) -> bytes:
        """Return the disk's present content, read by other means than the adapter."""

    def crash(self, source: Source, snapshot: Snapshot) -> None:
        """Leave `snapshot` behind as if our process had been killed now: no release runs."""

    def leftovers(self) -> Sequence[str]:
        """Name everything with our mark that the hypervisor holds for a snapshot in progress."""

    def plant_foreign(self) -> None:
        """Leave something of somebody else's beside ours: a bitmap, an export, a process."""

    def foreign_intact(self) -> bool:
        """Say whether what `plant_foreign` left is still there."""

    def invalid_base(self) -> str:
        """Return a well-formed base token that this source cannot honour."""


def machine_of(source: Source, harness: SourceHarness) -> MachineFact:
    """Find the machine under test in the inventory."""
    return next(machine for machine in source.inventory() if machine.key == harness.machine_key)


@contextmanager
def frozen(
    source: Source, harness: SourceHarness, base: str | None = None, *, committed: bool = False
) -> Iterator[DiskSnapshot]:
    """Snapshot the disk under test, and release it as `committed` (never so after a failure)."""
    request = SnapshotRequest(label="conformance", bases={harness.disk_key: base})
    snapshot = source.snapshot(machine_of(source, harness), request)
    outcome = False
    try:
        yield snapshot.disks[harness.disk_key]
        snapshot.confirm()
        outcome = committed
    finally:
        snapshot.release(committed=outcome)


def backed_up(source: Source, harness: SourceHarness) -> DiskSnapshot:
    """Make a point of the disk under test; return the disk as it was, with the token of the next base."""
    with frozen(source, harness, committed=True) as disk:
        pass
    return disk


@contextmanager
def reading(disk: DiskSnapshot) -> Iterator[BlockReader]:
    """Open the disk's reader and close it again."""
    reader = disk.open()
    try:
        yield reader
    finally:
        reader.close()


def read(reader: BlockReader, offset: int, length: int) -> bytes:
    """Read one range into a buffer that was used before."""
    buffer = bytearray(b"\xaa" * length)
    reader.pread_into(offset, memoryview(buffer))
    return bytes(buffer)


def read_by_extents(reader: BlockReader, extents: Iterable[Extent], onto: bytearray) -> bytearray:
    """Apply `extents` to `onto`: zeros where they say zero, the reader's bytes elsewhere."""
    for extent in extents:
        onto[extent.start : extent.end] = (
            bytes(extent.length) if extent.zero else read(reader, extent.start, extent.length)
        )
    return onto


def first_difference(left: bytes, right: bytes) -> int | None:
    """Return the first offset where two contents differ; keeps megabytes out of assertion messages."""
    if left == right:
        return None
    shorter = min(len(left), len(right))
    return next((at for at in range(shorter) if left[at] != right[at]), shorter)


def assert_ordered(extents: Sequence[Extent], size_bytes: int) -> None:
    """Extents have a length, ascend without overlap and stay inside the disk."""
    position = 0
    for extent in extents:
        assert extent.length > 0
        assert extent.start >= position
        position = extent.end
    assert position <= size_bytes


def assert_changes_complete(disk: DiskSnapshot, before: bytes, now: bytes) -> list[Extent]:
    """The base's content with the changes applied is the present content."""
    assert isinstance(disk.tracking, Tracked), disk.tracking
    changes = list(disk.changes())
    assert_ordered(changes, disk.fact.size_bytes)
    with reading(disk) as reader:
        rebuilt = read_by_extents(reader, changes, bytearray(before.ljust(len(now), b"\0")[: len(now)]))
    assert first_difference(bytes(rebuilt), now) is None
    return changes


def assert_within(changes: Iterable[Extent], written: Iterable[tuple[int, int]], granularity: int) -> None:
    """No change lies outside the written ranges rounded out to the tracking granularity."""
    units = {
        unit
        for offset, length in written
        for unit in range(offset // granularity, (offset + length - 1) // granularity + 1)
    }
    for change in changes:
        touched = range(change.start // granularity, (change.end - 1) // granularity + 1)
        assert set(touched) <= units, f"{change} was not written"
