"""VHDs as streams: any order of blocks, single sectors, and no stream taken for a disk that it is not."""

from __future__ import annotations

import random
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest

from adapters.errors import AdapterError, SourceCorrupt
from adapters.port import Extent
from adapters.xen.transport.vhdstream import decode_vhd
from tests.support.nbd_peers import need
from tests.support.xapi.vhd_delta import BLOCK_BYTES, SECTOR, footer, summed, tables

SIZE = 4 * BLOCK_BYTES + 3 * SECTOR
FOOTER = footer(SIZE, 3, "disk")
BLOCKS = [random.Random(number).randbytes(BLOCK_BYTES) for number in range(5)]
FULL = b"\xff" * SECTOR


def stream(present: list[int], *, foot: bytes = FOOTER, bitmap: bytes = FULL, parent: UUID | None = None) -> bytes:
    """A VHD of some blocks, which lie in this order."""
    blocks = b"".join(bitmap + BLOCKS[number] for number in present)
    return b"".join(tables(foot, 5, present, parent=parent)) + blocks + foot


def decoded(content: bytes, size_bytes: int = SIZE, *, relative: bool = False) -> tuple[list[Extent], bytes]:
    """Decode in odd pieces; return the extents, and the disk. Each extent is there when it is told."""
    disk, position, extents = bytearray(size_bytes), 0, []
    written: list[tuple[int, int]] = []

    def read(length: int) -> bytes:
        nonlocal position
        piece = content[position : position + min(length, 77_777)]
        position += len(piece)
        return piece

    def write(offset: int, data: memoryview) -> None:
        disk[offset : offset + len(data)] = data
        written.append((offset, offset + len(data)))

    for extent in decode_vhd(read, write, size_bytes, "xvda of web", relative=relative):
        assert extent.zero or any(start <= extent.start and extent.end <= end for start, end in written)
        extents.append(extent)
    assert len(disk) == size_bytes
    return extents, bytes(disk)


def disk_of(present: list[int]) -> bytes:
    """What the disk of those blocks is."""
    return b"".join(BLOCKS[number] if number in present else bytes(BLOCK_BYTES) for number in range(5))[:SIZE]


@pytest.mark.parametrize("present", [[0, 1, 2, 3, 4], [4, 2, 0], [1], [], [3, 4, 0, 1], [2, 1, 0]])
def test_blocks_in_any_order_are_the_disk(present: list[int]) -> None:
    """Extents come in order, gapless, each once it is there, whatever the order of the blocks in the stream."""
    extents, disk = decoded(stream(present))
    assert disk == disk_of(present)
    assert [extent.start for extent in extents] == [0, *(extent.end for extent in extents[:-1])]
    assert extents[-1].end == SIZE
    assert all(extent.zero != (extent.start // BLOCK_BYTES in present) for extent in extents)


def test_single_sectors_are_told_apart() -> None:
    """Sectors without their bit are zeros, whatever the stream has in their place; the first is the highest bit."""
    extents, disk = decoded(stream([1], bitmap=b"\x81" + bytes(510) + b"\x01"))
    at, last = BLOCK_BYTES, 2 * BLOCK_BYTES - SECTOR
    assert [(extent.start, extent.length) for extent in extents if not extent.zero] == [
        (at, SECTOR),
        (at + 7 * SECTOR, SECTOR),
        (last, SECTOR),
    ]
    assert disk[at : at + SECTOR] == BLOCKS[1][:SECTOR]
    assert not any(disk[at + SECTOR : at + 7 * SECTOR])


def test_qemu_writes_what_we_read(tmp_path: Path) -> None:
    """A dynamic VHD of QEMU's is the disk that it was made of."""
    need("qemu-img")
    raw, vhd = tmp_path / "raw", tmp_path / "vhd"
    raw.write_bytes(disk_of([0, 3]))
    command = ["qemu-img", "convert", "-f", "raw", "-O", "vpc", "-o", "subformat=dynamic,force_size", raw, vhd]
    subprocess.run(command, check=True)
    extents, disk = decoded(vhd.read_bytes())
    assert disk == raw.read_bytes()
    assert Extent(BLOCK_BYTES, 2 * BLOCK_BYTES, zero=True) in extents


def test_a_differencing_one_is_taken_when_asked_for() -> None:
    """What is relative to another disk is none by itself: it is taken as changes only."""
    content = stream([2], foot=footer(SIZE, 4, "disk"), parent=UUID(int=7))
    extents, _ = decoded(content, relative=True)
    assert [extent for extent in extents if not extent.zero] == [Extent(2 * BLOCK_BYTES, BLOCK_BYTES, zero=False)]
    with pytest.raises(SourceCorrupt) as error:
        decoded(content)
    assert error.value.code == "export-malformed"


def test_every_cut_is_found() -> None:
    """A stream that ends anywhere before its end is an error, at each boundary of its parts and beside it."""
    content = stream([3, 0])
    table = 1536 + SECTOR
    ends = [table, table + SECTOR, table + SECTOR + BLOCK_BYTES, len(content) - SECTOR, len(content)]
    for end in [0, 1, SECTOR, 1536, *(end + by for end in ends for by in (-1, 0, 1) if end + by < len(content))]:
        with pytest.raises(SourceCorrupt):
            decoded(content[:end])


def changed(at: int, data: bytes, *, sum_at: int | None = None, part: tuple[int, int] = (0, 0)) -> Callable[[], bytes]:
    """The stream of all blocks with other bytes at a place, the checksum of a part set right."""

    def make() -> bytes:
        content = bytearray(stream([0, 1, 2, 3, 4]))
        content[at : at + len(data)] = data
        if sum_at is not None:
            raw = bytes(content[part[0] : part[1]])
            content[part[0] : part[1]] = summed(raw[:sum_at] + bytes(4) + raw[sum_at + 4 :], sum_at)
        return bytes(content)

    return make


HEADER = (SECTOR, SECTOR + 1024)
MALFORMED: dict[str, Callable[[], bytes]] = {
    "footer's sum": changed(20, b"\1"),
    "header's sum": changed(SECTOR + 60, b"\1"),
    "another cookie": changed(0, b"connectiX"),
    "blocks overlap": changed(1536 + 4, struct.pack(">I", (1536 + SECTOR) // SECTOR)),
    "a block in the header": changed(1536, struct.pack(">I", 1)),
    "a block behind the end": changed(1536, struct.pack(">I", 1 << 24)),
    "too few entries": changed(SECTOR + 28, struct.pack(">I", 3), sum_at=36, part=HEADER),
    "table before the header": changed(SECTOR + 16, struct.pack(">Q", 0), sum_at=36, part=HEADER),
    "table far away": changed(SECTOR + 16, struct.pack(">Q", 1 << 40), sum_at=36, part=HEADER),
    "blocks of no bytes": changed(SECTOR + 32, struct.pack(">I", 0), sum_at=36, part=HEADER),
    "another footer at the end": lambda: stream([1])[:-SECTOR] + footer(SIZE, 3, "another"),
    "more behind the footer": lambda: stream([1]) + bytes(SECTOR),
    "a fixed disk": lambda: stream([], foot=footer(SIZE, 2, "disk")),
    "another size": lambda: stream([1], foot=footer(SIZE + SECTOR, 3, "disk")),
    "no VHD": lambda: bytes(4 << 20),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_a_stream_that_contradicts_itself_is_refused(what: str) -> None:
    """Tables that lie, and ends that do not match, are errors of the source, never another disk."""
    with pytest.raises(AdapterError) as error:
        decoded(MALFORMED[what]())
    assert error.value.kind in {"corrupt", "invalid"}


def test_random_damage_of_the_tables_never_yields_a_traceback() -> None:
    """Whatever bytes the tables have, the stream is a disk of the right size or an error of ours."""
    whole = stream([0, 2])
    dice = random.Random(11)
    for _ in range(60):
        content = bytearray(whole)
        for _ in range(dice.randrange(1, 4)):
            content[dice.randrange(1536 + 20)] = dice.randrange(256)
        try:
            extents, _ = decoded(bytes(content))
        except AdapterError:
            continue
        assert extents[-1].end == SIZE
