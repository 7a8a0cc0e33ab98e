"""Measures reads over SMB against smbclient, from the same Samba and the same file, in the same run.

Run with `python -m tests.bench smb`; figures are medians of interleaved rounds. smbclient's rate is the one that it
tells itself, without its log-on. We read as a backup does: 2 MiB at a time from one thread more than there are cores,
over four handles. The file is in the page cache, client and server share the machine.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from adapters.hyperv.smb.file import SmbFile
from adapters.hyperv.smb.files import SmbFiles
from tests.bench.figures import Figure, figure
from tests.support.samba_server import HOST, Samba, samba_server

MIB = 1 << 20
DATA_BYTES = 512 * MIB
READ_BYTES = 2 * MIB
SMALL_READS = 1000
ROUNDS = 5
_RATE = re.compile(r"average ([\d.]+) KiloBytes/sec")


def run() -> list[Figure]:
    """Measure signed, then encrypted."""
    with tempfile.TemporaryDirectory(prefix="smb-bench-") as name:
        folder = Path(name)
        (folder / "disk").write_bytes(os.urandom(8 * MIB) * (DATA_BYTES // (8 * MIB)))
        with samba_server({"disks": folder}) as samba:
            return [*_measured(samba, "signed", ">= 0.8"), *_measured(samba, "encrypted", None)]


def _measured(samba: Samba, how: str, target: str | None) -> list[Figure]:
    files = SmbFiles(samba.settings(smb_encrypt=how == "encrypted"))
    file = files.open(rf"\\{HOST}\disks\disk")
    protection = "encrypt" if how == "encrypted" else "sign"
    theirs, ours = _rates(lambda: _smbclient(samba, protection), lambda: _read(file))
    figures = [
        figure(f"SMB reader, {how}", ours, "GB/s"),
        figure(f"smbclient, {how}", theirs, "GB/s"),
        figure(f"SMB reader / smbclient, {how}", ours / theirs, "ratio", target),
    ]
    if how == "signed":
        figures.append(figure("SMB reader, 64 KiB at random, one thread", _random(file), "reads/s"))
    file.close()
    files.close()
    return figures


def _smbclient(samba: Samba, protection: str) -> float:
    """Get the file, and return the rate in GB/s."""
    share = ["-p", str(samba.port), f"//{HOST}/disks", "-U", samba.user, f"--client-protection={protection}"]
    command = ["smbclient", *share, "-c", "get disk /dev/null"]
    told = subprocess.run(command, env=samba.environment(), capture_output=True, text=True, check=True)
    found = _RATE.search(told.stdout + told.stderr)
    assert found is not None, told
    return float(found[1]) * 1024 / 1e9


def _read(file: SmbFile) -> float:
    """Read the file as a backup's threads do, and return the rate in GB/s."""
    threads = (os.cpu_count() or 1) + 1
    buffers = [memoryview(bytearray(READ_BYTES)) for _ in range(threads)]

    def read_every(first: int) -> None:
        for offset in range(first * READ_BYTES, DATA_BYTES, threads * READ_BYTES):
            file.pread_into(offset, buffers[first][: min(READ_BYTES, DATA_BYTES - offset)])

    began = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(read_every, range(threads)))
    return DATA_BYTES / 1e9 / (time.perf_counter() - began)


def _random(file: SmbFile) -> float:
    buffer = memoryview(bytearray(64 << 10))
    began = time.perf_counter()
    for number in range(SMALL_READS):
        file.pread_into(number * 7_919_003 % (DATA_BYTES - len(buffer)), buffer)
    return SMALL_READS / (time.perf_counter() - began)


def _rates(*reads: Callable[[], float]) -> list[float]:
    """Return each read's median rate; a first round warms up and is not counted."""
    rates: list[list[float]] = [[] for _ in reads]
    for _ in range(ROUNDS + 1):
        for found, read in zip(rates, reads, strict=True):
            found.append(read())
    return [statistics.median(found[1:]) for found in rates]
