"""Steps of a backup that the QEMU adapter's tests share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from adapters.port import DiskSnapshot, MachineFact, SnapshotRequest, Tracked, Untracked
from adapters.qemu.snapshot import QemuSnapshot
from adapters.qemu.source import QemuSource
from adapters.qemu.views import Bitmap, BlockDevice
from tests.conformance.source_harness import first_difference, read_by_extents, reading
from tests.support.qemu_vm import QemuVm

LABEL = "holdfast-test"


def machine_of(source: QemuSource) -> MachineFact:
    """The one machine of a source."""
    (machine,) = source.inventory()
    return machine


def freeze(source: QemuSource, bases: Mapping[str, str | None]) -> QemuSnapshot:
    """Freeze some of the machine's disks."""
    return source.snapshot(machine_of(source), SnapshotRequest(LABEL, bases))


@contextmanager
def frozen(source: QemuSource, bases: Mapping[str, str | None], *, committed: bool) -> Iterator[QemuSnapshot]:
    """Freeze, confirm at the end, and release."""
    snapshot = freeze(source, bases)
    done = False
    try:
        yield snapshot
        snapshot.confirm()
        done = committed
    finally:
        snapshot.release(committed=done)


def full(source: QemuSource, *disks: str) -> dict[str, str]:
    """Commit a full of the disks and return their base tokens."""
    with frozen(source, dict.fromkeys(disks), committed=True) as snapshot:
        return tokens(snapshot)


def tokens(snapshot: QemuSnapshot) -> dict[str, str]:
    """What the next backup passes as bases."""
    return {key: disk.base_token for key, disk in snapshot.disks.items() if disk.base_token is not None}


def cause(snapshot: QemuSnapshot, disk: str) -> str:
    """Why a disk is not tracked, or `tracked`."""
    tracking = snapshot.disks[disk].tracking
    if isinstance(tracking, Untracked):
        return tracking.cause
    assert isinstance(tracking, Tracked)
    return "tracked"


def content_of(disk: DiskSnapshot) -> bytes:
    """Read a frozen disk whole."""
    with reading(disk) as reader:
        return bytes(read_by_extents(reader, reader.extents(), bytearray(reader.size_bytes)))


def assert_same(left: bytes, right: bytes) -> None:
    """Two contents are equal; says where not."""
    assert len(left) == len(right)
    assert first_difference(left, right) is None


def bitmaps(vm: QemuVm, disk: str) -> dict[str, Bitmap]:
    """The named bitmaps on a disk's top node."""
    for block in vm.control.query("query-block", list[BlockDevice]):
        if block.inserted is not None and disk in (block.device, *block.qdev.split("/")):
            return {bitmap.name: bitmap for bitmap in block.inserted.dirty_bitmaps if bitmap.name}
    raise AssertionError(f"no disk {disk}")


def our_bitmaps(vm: QemuVm, disk: str) -> list[str]:
    """The names of the bitmaps with our mark on a disk."""
    return [name for name in bitmaps(vm, disk) if name.startswith("holdfast-")]
