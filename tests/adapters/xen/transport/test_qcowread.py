"""Disks exported as qcow2: read once all of it came and was found whole, and never with another file's bytes."""

from __future__ import annotations

import os
import random
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from adapters.errors import AdapterError, SourceCorrupt, SourceUnavailable
from adapters.port import Extent
from adapters.xen.transport.qcowread import RUN_PREFIX, QcowRead, end_strays
from adapters.xen.transport.qcowtables import require_whole
from tests.adapters.xen.transport.pools import MIB, SIZE, PoolLab, pool_lab
from tests.support.nbd_peers import need
from tests.support.xapi.building import SrSpec
from tests.support.xapi.faults import CutStream, FailTask, StaySilent

GET = "GET /export_raw_vdi"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[PoolLab]:
    """A pool of one host; no task, no spool and no server is left."""
    need("qemu-img", "qemu-nbd")
    with pool_lab(tmp_path, srs=(SrSpec("local", image_formats=("raw", "vhd", "qcow2")),)) as made:
        yield made
        assert not made.pool.records.find("task")
        assert not list(made.runtime_dir.glob(f"{RUN_PREFIX}*"))


def refused(lab: PoolLab) -> AdapterError:
    """Return what both ways of reading raise."""
    reader = QcowRead(lab.access(lab.snapshot()), timeout_seconds=60)
    with pytest.raises(AdapterError) as error:
        list(reader.extents())
    with pytest.raises(type(error.value)):
        reader.pread_into(0, memoryview(bytearray(512)))
    reader.close()
    return error.value


def test_the_disk_is_read(lab: PoolLab) -> None:
    """Extents and bytes are the snapshot's; the server ends with the reader."""
    access = lab.access(lab.snapshot())
    reader = QcowRead(access, timeout_seconds=60)
    extents = list(reader.extents())
    assert [extent.start for extent in extents] == [0, *(extent.end for extent in extents[:-1])]
    assert Extent(3 * MIB, 4 * MIB, zero=True) in extents
    disk = bytearray(SIZE)
    reader.pread_into(0, memoryview(disk))
    assert (bytes(disk), reader.transport, reader.size_bytes) == (lab.pool.content("web"), "export", SIZE)
    assert not end_strays(lab.runtime_dir, access.uuid)  # its owner lives
    reader.close()
    reader.close()
    with pytest.raises(SourceUnavailable, match="closed"):
        reader.extents()


@pytest.mark.parametrize("fault", [CutStream(0), CutStream(3 * MIB), FailTask("VDI_IO_ERROR")])
def test_a_failed_task_is_a_failed_export(lab: PoolLab, fault: CutStream | FailTask) -> None:
    """What the pool calls failed is not read, whatever came."""
    lab.pool.faults.on(GET, fault)
    assert refused(lab).code == "vdi-io-error"


def test_closing_in_the_middle_ends_all(lab: PoolLab) -> None:
    """A reader that is closed while the host is silent does not wait for it."""
    lab.pool.faults.on(GET, StaySilent())
    QcowRead(lab.access(lab.snapshot()), timeout_seconds=60).close()


def image(folder: Path, *options: str) -> bytearray:
    """A qcow2 of QEMU's with data at both ends."""
    need("qemu-img")
    raw, made = folder / "raw", folder / "qcow2"
    with open(raw, "wb") as file:
        file.write(random.Random(1).randbytes(MIB))
        file.truncate(SIZE - 4096)
        file.seek(SIZE - 4096)
        file.write(random.Random(2).randbytes(4096))
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", *options, raw, made], check=True)
    return bytearray(made.read_bytes())


def checked(folder: Path, content: bytes | bytearray) -> None:
    """Look at a file of these bytes as a disk."""
    path = folder / "spooled"
    path.write_bytes(content)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        require_whole(descriptor, SIZE, "xvda of web")
    finally:
        os.close(descriptor)


def test_whole_files_are_taken(tmp_path: Path) -> None:
    """Those that QEMU makes, of both versions and any size of clusters."""
    for options in ((), ("-o", "compat=0.10"), ("-o", "cluster_size=4k"), ("-o", "cluster_size=2M")):
        checked(tmp_path, image(tmp_path, *options))


def test_every_cut_is_found(tmp_path: Path) -> None:
    """QEMU would read zeros behind the end of a file that was cut: it never gets one."""
    content = image(tmp_path)
    for end in (0, 100, 65536, 3 * 65536, len(content) - MIB, len(content) - 65536):
        with pytest.raises(SourceCorrupt):
            checked(tmp_path, content[:end])


SPOILT: dict[str, Callable[[bytearray], None]] = {
    "a backing file": lambda content: struct.pack_into(">QI", content, 8, 512, 11),
    "a key": lambda content: struct.pack_into(">I", content, 32, 1),
    "an external data file": lambda content: struct.pack_into(">Q", content, 72, 4),
    "an unknown feature": lambda content: struct.pack_into(">Q", content, 72, 1 << 20),
    "another size": lambda content: struct.pack_into(">Q", content, 24, SIZE + 512),
    "no qcow2": lambda content: struct.pack_into(">I", content, 0, 0),
    "a table elsewhere": lambda content: struct.pack_into(">Q", content, 40, 1 << 40),
    "too short a table": lambda content: struct.pack_into(">I", content, 36, 0),
    "too long a table": lambda content: struct.pack_into(">I", content, 36, 1 << 31),
    "clusters of no size": lambda content: struct.pack_into(">I", content, 20, 0),
}


@pytest.mark.parametrize("what", SPOILT)
def test_a_file_that_is_not_whole_by_itself_is_refused(tmp_path: Path, what: str) -> None:
    """Neither a file of this machine nor a key can become part of a disk, and tables must make sense."""
    content = image(tmp_path)
    SPOILT[what](content)
    with pytest.raises(SourceCorrupt) as error:
        checked(tmp_path, content)
    assert error.value.code == "export-malformed"


def test_compressed_files_are_refused(tmp_path: Path) -> None:
    """No pool sends them, and their clusters' places mean something else."""
    with pytest.raises(SourceCorrupt, match="compressed"):
        checked(tmp_path, image(tmp_path, "-c"))
