"""A disk of real data through the whole application: full backup, restore, verification, export.

Rates are of logical bytes, the source in the page cache. What a rate can reach is measured beside it, in turns, so
that the ratio holds on a busy machine too. Run alone: `python -m tests.bench flow`.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import local

import zstandard
from blake3 import blake3
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from adapters.nbd.address import UnixAddress
from ingest.export import export_disk, uri_of
from ingest.progress import Silent
from ingest.restoreflow import RestoreRequest, restore_point
from ingest.verify import Verifier
from ingest.wiring import InitOptions, Services
from tests.bench.figures import Figure, figure
from tests.support.bench_home import back_up, holdfast_peak_mib, repository, seconds
from tests.support.mixed_data import make_data

MIB = 1 << 20
DATA_BYTES = 1024 * MIB
CHUNK_BYTES = InitOptions().chunk_bytes
LEVEL = InitOptions().compression_level
GROUP_BYTES = 4 * MIB
THREADS = os.cpu_count() or 1
ROUNDS = 5


def run() -> list[Figure]:
    """Measure everything in a scratch directory."""
    with tempfile.TemporaryDirectory(prefix="hf-") as folder:
        root = Path(folder)
        images = root / "images"
        images.mkdir()
        disk = images / "vm.raw"
        make_data(disk, DATA_BYTES)
        found = _full(root, disk)
        with repository(root / "home", "image", path=str(images)) as services:
            back_up(services)
            _warm(services)
            found += [*_restore(services, disk, root), *_verify(services, disk), *_export(services, root)]
        return found


def _warm(services: Services) -> None:
    """Read the packs into the page cache, which writing them went past."""
    for pack in (services.home.store_dir / "packs").rglob("*"):
        if pack.is_file():
            pack.read_bytes()


def _full(root: Path, disk: Path) -> list[Figure]:
    """Full backups and zstd alone, in turns; then one more backup as a command of its own, for its memory."""
    whole, alone, worked = [], [], []
    _started(root, disk)
    for number in range(ROUNDS):
        started = time.process_time()
        alone.append(seconds(lambda: _zstd_alone(disk)))
        limit = time.process_time() - started
        home = root / f"full-{number}"
        with repository(home, "image", path=str(disk.parent)) as services:
            started = time.process_time()
            whole.append(seconds(lambda services=services: back_up(services)))
            worked.append(limit / (time.process_time() - started))
        shutil.rmtree(home)
    ratio = statistics.median(limit / taken for limit, taken in zip(alone, whole, strict=True))
    home = root / "full"
    with repository(home, "image", path=str(disk.parent)):
        pass
    peak = holdfast_peak_mib(home, "backup", "lab")
    shutil.rmtree(home)
    return [
        figure("full backup, whole flow, encrypted", _rate(whole), "GB/s"),
        figure("Python zstd only, same data and threads", _rate(alone), "GB/s"),
        figure("full backup, whole flow, encrypted, vs Python zstd only", ratio, "ratio", ">= 0.70"),
        figure("full backup vs Python zstd only, by processor time", statistics.median(worked), "ratio"),
        figure("peak RSS of a full `holdfast backup`", peak, "MiB", "<= 400"),
    ]


def _started(root: Path, disk: Path) -> None:
    """Take one backup that does not count: a process's first one also imports modules."""
    home = root / "first"
    with repository(home, "image", path=str(disk.parent)) as services:
        back_up(services)
    shutil.rmtree(home)


def _restore(services: Services, disk: Path, root: Path) -> list[Figure]:
    """Restores to a file; beside them, the bare work on the same chunks: open, decompress, rehash, write, sync."""
    bare = _BareDisk(disk, root / "bare.raw")
    whole, alone = [], []
    for number in range(ROUNDS):
        alone.append(seconds(bare.restore))
        target = root / f"restored-{number}.raw"
        request = RestoreRequest("latest", None, target)
        whole.append(seconds(lambda request=request: restore_point(services, request, progress=Silent())))
        if not number:
            subprocess.run(["cmp", str(disk), str(target)], check=True)
        target.unlink()
    ratio = statistics.median(limit / taken for limit, taken in zip(alone, whole, strict=True))
    return [
        figure("restore to a raw file, packs in the page cache, file synced", _rate(whole), "GB/s", ">= 0.4"),
        figure("restore, share of its limit (decrypt, decompress, rehash, write, sync alone)", ratio, "ratio"),
    ]


def _verify(services: Services, disk: Path) -> list[Figure]:
    point = services.catalog.find_point("latest")
    bare = _BareDisk(disk, None)
    whole, alone = [], []
    for _ in range(ROUNDS):
        alone.append(seconds(bare.restore))
        whole.append(seconds(lambda: _check(services, point)))
    ratio = statistics.median(limit / taken for limit, taken in zip(alone, whole, strict=True))
    return [
        figure("verify a restore point, content", _rate(whole), "GB/s", ">= 0.8"),
        figure("verify, share of its limit (decrypt, decompress, rehash alone)", ratio, "ratio"),
    ]


def _check(services: Services, point: object) -> None:
    outcome = Verifier(services, "content", Silent()).verify(point)
    if outcome.result != "ok" or outcome.checked_bytes == 0:
        raise AssertionError(outcome.problems)


def _export(services: Services, root: Path) -> list[Figure]:
    """A copy of the exported disk by nbdcopy, thrown away at its end."""
    if shutil.which("nbdcopy") is None:
        return []
    point = services.catalog.find_point("latest")
    resolver = services.catalog.index_resolver()
    taken = []
    for _ in range(ROUNDS):
        with export_disk(services, point, point.disks[0], resolver, UnixAddress(root / "nbd")) as server:
            copy = ["nbdcopy", uri_of(server.address), "null:"]
            taken.append(seconds(lambda copy=copy: subprocess.run(copy, check=True)))
    return [figure("nbdcopy of an exported restore point", _rate(taken), "GB/s")]


def _rate(taken: list[float]) -> float:
    return DATA_BYTES / statistics.median(taken) / 1e9


def _zstd_alone(disk: Path) -> None:
    """Read the disk and compress its chunks, in as many threads as a backup has, and drop the results."""
    thread = local()

    def compress(offset: int) -> None:
        if not hasattr(thread, "zstd"):
            thread.zstd, thread.buffer = zstandard.ZstdCompressor(level=LEVEL), memoryview(bytearray(GROUP_BYTES))
        os.preadv(descriptor, [thread.buffer], offset)
        for at in range(0, GROUP_BYTES, CHUNK_BYTES):
            thread.zstd.compress(thread.buffer[at : at + CHUNK_BYTES])

    descriptor = os.open(disk, os.O_RDONLY)
    try:
        with ThreadPoolExecutor(THREADS + 1) as pool:
            list(pool.map(compress, range(0, DATA_BYTES, GROUP_BYTES)))
    finally:
        os.close(descriptor)


class _BareDisk:
    """The disk's chunks, encrypted and compressed in memory, and the least work that gives them back."""

    def __init__(self, disk: Path, target: Path | None) -> None:
        self._target = target
        self._cipher = AESGCM(bytes(32))
        zstd = zstandard.ZstdCompressor(level=LEVEL)
        with disk.open("rb") as file:
            self._records = [
                self._cipher.encrypt(bytes(12), zstd.compress(file.read(CHUNK_BYTES)), None)
                for _ in range(DATA_BYTES // CHUNK_BYTES)
            ]

    def restore(self) -> None:
        """Open, decompress and hash every chunk; write it, if there is a target."""
        thread = local()

        def work(first: int) -> None:
            if not hasattr(thread, "zstd"):
                thread.zstd = zstandard.ZstdDecompressor()
            for number in range(first, min(first + 16, len(self._records))):
                plain = thread.zstd.decompress(self._cipher.decrypt(bytes(12), self._records[number], None))
                blake3(plain, key=bytes(32), max_threads=1).digest()
                if descriptor is not None:
                    os.pwrite(descriptor, plain, number * CHUNK_BYTES)

        descriptor = os.open(self._target, os.O_RDWR | os.O_CREAT | os.O_TRUNC) if self._target else None
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(work, range(0, len(self._records), 16)))
        if descriptor is not None:
            os.fsync(descriptor)
            os.close(descriptor)
