"""Measures the chunk store on mixed real data: full backup against zstd alone, verify, memory, index look-ups.

Run with `python -m tests.bench.bench_store`; a figure is the median of interleaved rounds. On a machine that others
use as well, the ratio of CPU-seconds says more than that of wall time.
"""

from __future__ import annotations

import mmap
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import numpy as np
import zstandard

from storage.chunks.index import ChunkIndex
from storage.chunks.rows import ChunkRows, concat_rows
from storage.chunks.store import ChunkStore
from storage.keys import KeyRing
from storage.objects.local import LocalObjects
from storage.packs.format import ENTRY
from tests.bench.figures import Figure, figure

MIB = 1 << 20
CHUNK_BYTES = 256 << 10
DATA_BYTES = 768 * MIB
RANDOM_SHARE = 8
ROUNDS = 5
REPOSITORY = UUID(int=1)


def make_data(path: Path, size_bytes: int = DATA_BYTES) -> None:
    """Write files of /usr one after the other, with a piece of random bytes in every eighth place."""
    piece_bytes = 4 * MIB
    files = _files(Path("/usr"))
    with path.open("wb") as out:
        pending = bytearray()
        while out.tell() < size_bytes:
            while len(pending) < piece_bytes * (RANDOM_SHARE - 1):
                pending += next(files).read_bytes()
            out.write(pending[: piece_bytes * (RANDOM_SHARE - 1)])
            del pending[: piece_bytes * (RANDOM_SHARE - 1)]
            out.write(os.urandom(piece_bytes))
        out.truncate(size_bytes)


def _files(root: Path) -> Iterator[Path]:
    for folder, _, names in sorted(os.walk(root)):
        for name in sorted(names):
            path = Path(folder, name)
            if path.is_file() and not path.is_symlink() and os.access(path, os.R_OK):
                yield path


class FileDisk:
    """A disk in a file."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY)
        self.size_bytes = os.fstat(self._descriptor).st_size

    def pread_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from the file."""
        done = 0
        while done < len(buffer):
            done += os.preadv(self._descriptor, [buffer[done:]], offset + done)


class Stopwatch:
    """Wall and CPU seconds since it was made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        """Return wall seconds, and CPU seconds of all threads."""
        return time.perf_counter() - self._wall, time.process_time() - self._cpu


def zstd_alone(path: Path, threads: int) -> tuple[float, float]:
    """Compress the file's chunks with zstd level 1 in threads and drop the results; return wall and CPU seconds."""
    with path.open("rb") as file:
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

    def compress(first: int) -> None:
        compressor = zstandard.ZstdCompressor(level=1)
        for offset in range(first, min(first + 4 * MIB, len(data)), CHUNK_BYTES):
            compressor.compress(data[offset : offset + CHUNK_BYTES])

    watch = Stopwatch()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(compress, range(0, len(data), 4 * MIB)))
    return watch.read()


def full_backup(path: Path, home: Path) -> tuple[tuple[float, float], ChunkStore, ChunkRows]:
    """Back the file up into a new encrypted store; return wall and CPU seconds, the store and the rows."""
    keys = KeyRing.create(home / "keys" / "repository.key")
    objects = LocalObjects(home / "store")
    store = ChunkStore(objects, keys, home / "index", repository_id=REPOSITORY, chunk_bytes=CHUNK_BYTES)
    disk = FileDisk(path)
    watch = Stopwatch()
    with store.writer() as writer:
        rows = [written.rows for written in writer.write(disk, [(0, -(-disk.size_bytes // CHUNK_BYTES))])]
    return watch.read(), store, concat_rows(rows)


def measure_backup(path: Path, scratch: Path) -> list[Figure]:
    """Interleave zstd alone, full backup and content verify; packs are read once before, as they are not cached."""
    threads = (os.cpu_count() or 1) + 1
    alone, backup, verify = [], [], []
    for number in range(ROUNDS):
        home = scratch / f"round-{number}"
        alone.append(zstd_alone(path, threads))
        seconds, store, rows = full_backup(path, home)
        backup.append(seconds)
        store.scatter(rows, lambda block, plain: None)
        began = time.perf_counter()
        plain_bytes = store.scatter(rows, lambda block, plain: None)
        verify.append((time.perf_counter() - began) / plain_bytes)
        shutil.rmtree(home)
    size = path.stat().st_size
    wall, cpu = (statistics.median(one[at] / two[at] for one, two in zip(alone, backup, strict=True)) for at in (0, 1))
    verified = 1 / statistics.median(verify) / 1e9
    return [
        figure("zstd alone", size / statistics.median(each[0] for each in alone) / 1e9, "GB/s"),
        figure("full backup, encrypted", size / statistics.median(each[0] for each in backup) / 1e9, "GB/s"),
        figure("full backup of mixed data, encrypted, vs Python zstd only", wall, "ratio", ">= 0.70"),
        figure("the same in CPU-seconds", cpu, "ratio"),
        figure("content verify, from the page cache", verified, "GB/s", ">= 0.8"),
    ]


def measure_memory(path: Path, scratch: Path) -> list[Figure]:
    """Back up in a fresh process and ask the kernel for its peak (not getrusage, which inherits the parent's)."""
    command = [sys.executable, "-m", "tests.bench.bench_store", "--peak", str(path), str(scratch / "peak")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    peak = int(done.stdout) / 1024
    return [figure("peak RSS of a full backup", peak, "MiB", "<= 400")]


def measure_index(scratch: Path, entries: int = 2_000_000) -> list[Figure]:
    """Look up known and unknown digests in an index of one big run, 16,384 at a time."""
    random = np.random.default_rng(7)
    folder = scratch / "lookups"
    index = ChunkIndex(folder)
    pack_entries = 50_000
    for number in range(entries // pack_entries):
        made = np.zeros(pack_entries, ENTRY)
        made["digest"] = random.integers(0, 256, (pack_entries, 32), np.uint8)
        index.add(number.to_bytes(16, "big"), made)
    index.publish()
    known = made["digest"][:8192]
    asked = np.concatenate([known, random.integers(0, 256, (8192, 32), np.uint8)])
    began = time.perf_counter()
    for _ in range(20):
        index.lookup(asked)
    rate = 20 * len(asked) / (time.perf_counter() - began)
    size = sum(file.stat().st_size for file in folder.glob("*.run"))
    return [figure("index look-ups", rate, "1/s"), figure("index", size / entries, "B/entry")]


def run() -> list[Figure]:
    """Measure everything in a scratch directory."""
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as folder:
        scratch = Path(folder)
        data = scratch / "data"
        make_data(data)
        return [*measure_backup(data, scratch), *measure_memory(data, scratch), *measure_index(scratch)]


def _peak(path: Path, home: Path) -> None:
    full_backup(path, home)
    status = Path("/proc/self/status").read_text()
    print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--peak"]:
        _peak(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        for figure in run():
            print(figure)
