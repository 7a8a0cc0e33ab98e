"""Identifiers: natural keys become UUIDs, so that a repeated command meets its own earlier result.

Pure; imports nothing of ours.
"""

from __future__ import annotations

from uuid import UUID, uuid5
from zlib import crc32

PARTS = 64


def source_id(repository_id: UUID, name: str) -> UUID:
    """The stream of a source."""
    return uuid5(repository_id, f"source:{name}")


def machine_id(source: UUID, key: str) -> UUID:
    """The stream of a machine, from the source's own identifier of it."""
    return uuid5(source, f"machine:{key}")


def disk_id(machine: UUID, key: str) -> UUID:
    """A disk; it has no stream of its own, its machine keeps it."""
    return uuid5(machine, f"disk:{key}")


def pack_stream(repository_id: UUID, pack_id: bytes) -> UUID:
    """The stream of one pack, so that sealing it twice is a conflict and not a second fact."""
    return uuid5(repository_id, f"pack:{pack_id.hex()}")


def batch_stream(run: UUID, disk: UUID) -> UUID:
    """The stream of the row batches that one run wrote for one disk."""
    return uuid5(run, f"disk:{disk}")


def configuration_stream(run: UUID) -> UUID:
    """The stream of the machine's configuration that one run stored."""
    return uuid5(run, "configuration")


def ledger_stream(repository_id: UUID) -> UUID:
    """The stream of the ledger's own history."""
    return uuid5(repository_id, "ledger")


def access_stream(repository_id: UUID, process: UUID) -> UUID:
    """The stream of the accesses that one process answers."""
    return uuid5(repository_id, f"access:{process}")


def task_id(repository_id: UUID, caller: str, key: str) -> UUID:
    """The task that a caller's idempotency key names."""
    return uuid5(repository_id, f"task:{caller}:{key}")


def task_point_id(task: UUID, machine: UUID) -> UUID:
    """The restore point that a task makes of a machine, so that a later attempt meets the one made before."""
    return uuid5(task, f"point:{machine}")


def part_of(disk: UUID) -> int:
    """The partition, 0 to 63, that holds all rows of a disk."""
    return crc32(disk.bytes) % PARTS
