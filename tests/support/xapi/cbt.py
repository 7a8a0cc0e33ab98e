"""Changed block tracking as the storage manager keeps it: one log a disk, chained from the older to the newer.

A log says which blocks of 64 KiB differ from its parent's disk, the lowest bit of its first byte for block 0; a reply
turns the bits of each byte around.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass, field

from tests.support.xapi.published import XapiFailure

BLOCK_BYTES = 64 * 1024
_TURNED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass
class CbtLog:
    """The log of one disk; `parent` and `child` are uuids."""

    size_bytes: int
    bits: bytearray = field(default_factory=bytearray)
    parent: str | None = None
    child: str | None = None

    def __post_init__(self) -> None:
        self.resize(self.size_bytes)

    def resize(self, size_bytes: int) -> None:
        """Follow a disk that grew."""
        self.size_bytes = size_bytes
        self.bits.extend(bytes(-(-size_bytes // (8 * BLOCK_BYTES)) - len(self.bits)))

    def mark(self, offset: int, length: int) -> None:
        """Note a write."""
        for block in range(offset // BLOCK_BYTES, -(-(offset + length) // BLOCK_BYTES)):
            self.bits[block >> 3] |= 1 << (block & 7)


Logs = dict[str, CbtLog]
"""Of one storage repository, by the disks' uuids."""


def snapshot(logs: Logs, disk: str, taken: str) -> None:
    """Give the log of `disk` to its new snapshot `taken`, and the disk a new one."""
    log = logs[taken] = logs.pop(disk)
    if log.parent in logs:
        logs[log.parent].child = taken
    logs[disk] = CbtLog(log.size_bytes, parent=taken, child=log.child)
    log.child = disk


def forget(logs: Logs, disk: str) -> None:
    """Take a disk's log away, and add what it says to its child's."""
    log = logs.pop(disk)
    parent, child = logs.get(log.parent or ""), logs.get(log.child or "")
    if parent is not None:
        parent.child = log.child
    if child is not None:
        child.parent = log.parent
        child.bits[:] = _either(child.bits, log.bits[: len(child.bits)])


def stop(logs: Logs, disk: str) -> None:
    """Take the log of a disk away without a trace, as switching off does: its chain ends before it."""
    log = logs.pop(disk)
    if log.parent in logs:
        logs[log.parent].child = None


def changed_blocks(logs: Logs, older: str, newer: str) -> str:
    """Return the bitmap in base64 of what changed between two disks. Raises the backend's failures."""
    if older == newer:
        raise _changed_blocks_error("Source and target VDI are same")
    if older in logs and newer in logs:
        merged, size, current = b"", 0, older
        while (following := logs[current].child) in logs:
            assert following is not None
            current, log = following, logs[following]
            if len(log.bits) < log.size_bytes // BLOCK_BYTES // 8:
                raise _inconsistent()
            shrunk = log.size_bytes < size or len(log.bits) < len(merged)
            grown_within_a_byte = log.size_bytes > size and len(log.bits) <= len(merged)
            if merged and (shrunk or grown_within_a_byte):
                raise _inconsistent()
            size, merged = log.size_bytes, _either(log.bits, merged)
            if current == newer:
                return b64encode(merged.translate(_TURNED)).decode()
    raise _changed_blocks_error("Source and target VDI are unrelated")


def _either(longer: bytes, shorter: bytes) -> bytes:
    """The bits set in one of two logs."""
    both = int.from_bytes(longer, "little") | int.from_bytes(shorter, "little")
    return both.to_bytes(len(longer), "little")


def _changed_blocks_error(why: str) -> XapiFailure:
    said = f"Failed to calculate changed blocks for given VDIs. [opterr={why}]"
    return XapiFailure("SR_BACKEND_FAILURE_460", "", said, "")


def _inconsistent() -> XapiFailure:
    said = "Changed block tracking log is in an inconsistent state. [opterr=Inconsistent bitmaps]"
    return XapiFailure("SR_BACKEND_FAILURE_459", "", said, "")
