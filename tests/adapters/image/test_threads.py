"""One source, several threads, each with a machine of its own, as backups side by side have it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from random import Random

from adapters.image import ImageSource
from adapters.port import MachineFact, SnapshotRequest
from tests.support.image_folder import ImageFolder

SIZE = 1 << 20
MACHINES = 6
TURNS = 3


def _content(number: int) -> bytes:
    return Random(number).randbytes(SIZE)


def _read(source: ImageSource, machine: MachineFact) -> bytes:
    (disk,) = machine.disks
    assert source.reconcile(machine, {}) == []
    snapshot = source.snapshot(machine, SnapshotRequest("holdfast-test", {disk.key: None}))
    reader = snapshot.disks[disk.key].open()
    buffer = bytearray(SIZE)
    reader.pread_into(0, memoryview(buffer))
    reader.close()
    snapshot.confirm()
    snapshot.release(committed=True)
    return bytes(buffer)


def test_threads_have_a_machine_each(source: ImageSource, images: ImageFolder) -> None:
    """They clean up, open, read and release at once: each gets its bytes, and nobody ends another's server."""
    for number in range(MACHINES):
        suffix = ("raw", "qcow2")[number % 2]
        images.convert(f"m{number}.{suffix}", suffix, _content(number))
    machines = sorted(source.inventory(), key=lambda machine: machine.name)
    together = threading.Barrier(MACHINES, timeout=60)

    def work(number: int) -> None:
        for _ in range(TURNS):
            together.wait()
            assert _read(source, machines[number]) == _content(number)

    with ThreadPoolExecutor(MACHINES) as pool:
        list(pool.map(work, range(MACHINES)))
