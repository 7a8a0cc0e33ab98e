"""Makes and changes VHDX files as Windows does it for a running machine: fixed, dynamic, differencing.

`create` and `create_child` make files, `write`, `unmap` and `resize` do what a guest or an administrator does,
`merge` takes a checkpoint back, `read` is what the guest sees. Naive on purpose, and apart from `adapters/`: what is
written here is the other side that our reader is tested against. Children find their parents beside them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Self
from uuid import UUID, uuid4

from tests.support import vhdx_layout as layout
from tests.support.vhdx_layout import FULL, MIB, NO_GUID, NOT_PRESENT, PARTIAL, UNMAPPED, Header

BLOCK_BYTES = 2 * MIB


def create(
    path: Path,
    size_bytes: int,
    *,
    block_bytes: int = BLOCK_BYTES,
    sector_bytes: int = 512,
    fixed: bool = False,
    disk_id: UUID | None = None,
) -> None:
    """Make an empty disk; a fixed one has all of its blocks from the start."""
    flags = 1 if fixed else 0
    _make(path, size_bytes, block_bytes, sector_bytes, disk_id or uuid4(), flags, {})
    if fixed:
        with VhdxFile(path, writing=True) as file:
            for block in range(-(-size_bytes // block_bytes)):
                file.set_entry(file.payload_index(block), FULL, file.grow(block_bytes))


def create_child(path: Path, parent: Path, *, block_bytes: int | None = None, **stated: str) -> None:
    """Make a differencing disk of the same size and identity; `stated` replaces entries of its parent locator."""
    with VhdxFile(parent) as base:
        entries = {
            "parent_linkage": f"{{{base.header.data_write}}}",
            "relative_path": f".\\{parent.name}",
            "absolute_win32_path": f"C:\\VMs\\{parent.name}",
        }
        locator = {layout.PARENT_LOCATOR: layout.locator(entries | stated)}
        _make(path, base.size, block_bytes or base.block, base.sector, base.disk_id, 2, locator)


def write(path: Path, offset: int, data: bytes) -> None:
    """Write whole sectors as a guest does; a child's blocks become partial, or full once every sector is there."""
    with VhdxFile(path, writing=True) as file:
        assert offset % file.sector == 0
        assert len(data) % file.sector == 0
        assert offset + len(data) <= file.size
        file.new_data()
        for block, start, length in file.blocks(offset, len(data)):
            at = block * file.block + start - offset
            file.write_block(block, start, data[at : at + length])


def unmap(path: Path, block: int, state: int = UNMAPPED) -> None:
    """Give a whole block up (TRIM); it reads as zeros from now on."""
    with VhdxFile(path, writing=True) as file:
        file.new_data()
        file.set_entry(file.payload_index(block), state, 0)


def read(path: Path, offset: int, length: int) -> bytes:
    """Return what the guest sees, from the nearest file that has it; zeros behind a parent's end."""
    with VhdxFile(path) as file:
        content = bytearray(length)
        for block, start, count in file.blocks(offset, length):
            at = block * file.block + start - offset
            content[at : at + count] = file.read_block(block, start, count)
        return bytes(content)


def content(path: Path) -> bytes:
    """Return the whole disk."""
    with VhdxFile(path) as file:
        size = file.size
    return read(path, 0, size)


def resize(path: Path, size_bytes: int) -> None:
    """Make a disk larger (or smaller, when nothing is there); a BAT that outgrows its place moves to the end."""
    with VhdxFile(path, writing=True) as file:
        needed = 8 * layout.bat_entries(size_bytes, file.block, file.sector)
        bat = file.bat_content()
        if needed > file.bat_bytes:
            file.bat_bytes = layout.whole_mib(needed)
            file.bat_offset = file.grow(file.bat_bytes)
            file.put(file.bat_offset, bat)
            for place in layout.REGION_OFFSETS:
                file.put(place, layout.region_table(file.bat_offset, file.bat_bytes))
        file.items[layout.DISK_SIZE] = struct.pack("<Q", size_bytes)
        file.put(layout.METADATA_OFFSET, layout.metadata_region(file.items))


def merge(child: Path, parent: Path) -> None:
    """Write a child's own data into its parent and remove the child; its children are to be given `set_parent`."""
    with VhdxFile(child) as file:
        assert file.parent_path() == parent
        if file.size > disk_size(parent):
            resize(parent, file.size)
        for offset, data in file.own_data():
            write(parent, offset, data)
    child.unlink()


def set_parent(child: Path, parent: Path) -> None:
    """Let a child build on `parent` as that is now."""
    entries = {"parent_linkage": f"{{{data_write_id(parent)}}}", "relative_path": f".\\{parent.name}"}
    with VhdxFile(child, writing=True) as file:
        stated = layout.unpack_locator(file.items[layout.PARENT_LOCATOR])
        file.items[layout.PARENT_LOCATOR] = layout.locator(stated | entries)
        file.put(layout.METADATA_OFFSET, layout.metadata_region(file.items))


def disk_size(path: Path) -> int:
    """Return the virtual size."""
    with VhdxFile(path) as file:
        return file.size


def disk_id(path: Path) -> UUID:
    """Return the virtual disk's identity."""
    with VhdxFile(path) as file:
        return file.disk_id


def data_write_id(path: Path) -> UUID:
    """Return what a child's parent linkage must be."""
    with VhdxFile(path) as file:
        return file.header.data_write


def parent_of(path: Path) -> Path | None:
    """Return the parent's path, None for a disk that is not differencing."""
    with VhdxFile(path) as file:
        return file.parent_path()


class VhdxFile:
    """One open file; writing changes its header's write GUID once, as the first write after opening does."""

    def __init__(self, path: Path, *, writing: bool = False) -> None:
        self.path = path
        self._file: BinaryIO = path.open("r+b" if writing else "rb")
        headers = [layout.unpack_header(self.get(at, 4096)) for at in layout.HEADER_OFFSETS]
        self.header = max((header for header in headers if header), key=lambda header: header.sequence)
        regions = self.get(layout.REGION_OFFSETS[0], 80)
        self.bat_offset, self.bat_bytes = struct.unpack_from("<QI", regions, 32)
        self.items = layout.unpack_metadata(self.get(layout.METADATA_OFFSET, MIB))
        self.block, flags = struct.unpack("<II", self.items[layout.FILE_PARAMETERS])
        self.differencing = bool(flags & 2)
        (self.size,) = struct.unpack("<Q", self.items[layout.DISK_SIZE])
        (self.sector,) = struct.unpack("<I", self.items[layout.LOGICAL_SECTOR])
        self.disk_id = UUID(bytes_le=self.items[layout.DISK_ID])
        self.ratio = layout.chunk_ratio(self.sector, self.block)
        if writing:
            self.put_header(file_write=uuid4())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def get(self, offset: int, length: int) -> bytes:
        """Return bytes of the file, zeros behind its end."""
        self._file.seek(offset)
        return self._file.read(length).ljust(length, b"\0")

    def put(self, offset: int, data: bytes) -> None:
        """Write bytes of the file."""
        self._file.seek(offset)
        self._file.write(data)

    def grow(self, length: int) -> int:
        """Append zeros, aligned to a MiB; return where."""
        offset = layout.whole_mib(self._file.seek(0, 2))
        self._file.truncate(offset + layout.whole_mib(length))
        return offset

    def put_header(
        self, *, file_write: UUID | None = None, data_write: UUID | None = None, log: UUID = NO_GUID
    ) -> None:
        """Write a newer header into the older one's place."""
        now = self.header
        self.header = Header(now.sequence + 1, file_write or now.file_write, data_write or now.data_write, log)
        self.put(layout.HEADER_OFFSETS[self.header.sequence % 2], self.header.pack())

    def new_data(self) -> None:
        """Say that the guest's data changed."""
        self.put_header(data_write=uuid4())

    def bat_content(self) -> bytes:
        """Return the whole BAT."""
        return self.get(self.bat_offset, self.bat_bytes)

    def payload_index(self, block: int) -> int:
        """Where in the BAT a block's entry is."""
        return block + block // self.ratio

    def bitmap_index(self, block: int) -> int:
        """Where in the BAT the entry of the bitmap that a block's sectors are in is."""
        return (block // self.ratio) * (self.ratio + 1) + self.ratio

    def entry(self, index: int) -> tuple[int, int]:
        """Return an entry's state and file offset."""
        (word,) = struct.unpack("<Q", self.get(self.bat_offset + 8 * index, 8))
        return word & 7, word >> 20 << 20

    def set_entry(self, index: int, state: int, offset: int) -> None:
        """Change an entry."""
        self.put(self.bat_offset + 8 * index, struct.pack("<Q", offset | state))

    def blocks(self, offset: int, length: int) -> Iterator[tuple[int, int, int]]:
        """Cut a range into blocks: number, offset within, length."""
        while length:
            block, start = divmod(offset, self.block)
            count = min(length, self.block - start)
            yield block, start, count
            offset, length = offset + count, length - count

    def parent_path(self) -> Path | None:
        """Follow the relative path of the parent locator."""
        if not self.differencing:
            return None
        entries = layout.unpack_locator(self.items[layout.PARENT_LOCATOR])
        return self.path.parent / entries["relative_path"].removeprefix(".\\").replace("\\", "/")

    def bitmap(self, block: int) -> tuple[int, int]:
        """Return a block's part of its sector bitmap as a number (bit 0 is the first sector), and its file offset."""
        _, place = self.entry(self.bitmap_index(block))
        length = self.block // self.sector // 8
        offset = place + block % self.ratio * length
        return int.from_bytes(self.get(offset, length), "little"), offset

    def set_bitmap(self, block: int, bits: int) -> None:
        """Write a block's part of its sector bitmap, making the bitmap's block when there is none."""
        index = self.bitmap_index(block)
        if self.entry(index)[0] != FULL:
            self.set_entry(index, FULL, self.grow(MIB))
        length = self.block // self.sector // 8
        self.put(self.bitmap(block)[1], bits.to_bytes(length, "little"))

    def write_block(self, block: int, start: int, data: bytes) -> None:
        """Write within one block, allocating it."""
        index = self.payload_index(block)
        state, place = self.entry(index)
        if state not in {FULL, PARTIAL}:
            place = self.grow(self.block)
            # What was unmapped reads as zeros, so that only a block which was not there at all can be partial.
            fresh = PARTIAL if self.differencing and state == NOT_PRESENT else FULL
            if fresh == PARTIAL:
                self.set_bitmap(block, 0)
            state = fresh
        self.put(place + start, data)
        if state == PARTIAL:
            bits = self.bitmap(block)[0] | ((1 << len(data) // self.sector) - 1) << start // self.sector
            self.set_bitmap(block, bits)
            if bits == (1 << self.block // self.sector) - 1:
                state = FULL
        self.set_entry(index, state, place)

    def read_block(self, block: int, start: int, length: int) -> bytes:
        """Read within one block, from the parents where the block says so."""
        state, place = self.entry(self.payload_index(block))
        if state == FULL:
            return self.get(place + start, length)
        below = self._below(block, start, length) if state in {NOT_PRESENT, PARTIAL} else bytes(length)
        if state != PARTIAL:
            return below
        return b"".join(
            self.get(place + at, count) if ours else below[at - start : at - start + count]
            for at, count, ours in self._pieces(block, start, length)
        )

    def own_data(self) -> Iterator[tuple[int, bytes]]:
        """Yield what this file holds itself, zeros that hide the parent's data included."""
        for block, _, length in self.blocks(0, self.size):
            state, place = self.entry(self.payload_index(block))
            if state == PARTIAL:
                for at, count, ours in self._pieces(block, 0, length):
                    if ours:
                        yield block * self.block + at, self.get(place + at, count)
            elif state != NOT_PRESENT:
                yield block * self.block, self.read_block(block, 0, length)

    def _pieces(self, block: int, start: int, length: int) -> Iterator[tuple[int, int, bool]]:
        """Cut a range of a partial block by sectors, in runs: offset within the block, length, whether it is ours."""
        bits, _ = self.bitmap(block)
        at, end = start, start + length
        while at < end:
            sector = at // self.sector
            ours = bits >> sector & 1
            while sector * self.sector < end and bits >> sector & 1 == ours:
                sector += 1
            stop = min(sector * self.sector, end)
            yield at, stop - at, bool(ours)
            at = stop

    def _below(self, block: int, start: int, length: int) -> bytes:
        parent = self.parent_path()
        if parent is None:
            return bytes(length)
        offset = block * self.block + start
        there = max(0, min(length, disk_size(parent) - offset))
        return (read(parent, offset, there) if there else b"").ljust(length, b"\0")


def _make(
    path: Path,
    size_bytes: int,
    block_bytes: int,
    sector_bytes: int,
    identity: UUID,
    flags: int,
    further: dict[UUID, bytes],
) -> None:
    """Write a file with an empty BAT."""
    bat_bytes = layout.whole_mib(8 * layout.bat_entries(size_bytes, block_bytes, sector_bytes))
    bat_offset = layout.METADATA_OFFSET + layout.METADATA_BYTES
    items = {
        layout.FILE_PARAMETERS: struct.pack("<II", block_bytes, flags),
        layout.DISK_SIZE: struct.pack("<Q", size_bytes),
        layout.DISK_ID: identity.bytes_le,
        layout.LOGICAL_SECTOR: struct.pack("<I", sector_bytes),
        layout.PHYSICAL_SECTOR: struct.pack("<I", 4096),
        **further,
    }
    with path.open("xb") as file:
        file.write(layout.identifier())
        for sequence, place in enumerate(layout.HEADER_OFFSETS):
            file.seek(place)
            file.write(Header(sequence, uuid4(), uuid4()).pack())
        for place in layout.REGION_OFFSETS:
            file.seek(place)
            file.write(layout.region_table(bat_offset, bat_bytes))
        file.seek(layout.METADATA_OFFSET)
        file.write(layout.metadata_region(items))
        file.truncate(bat_offset + bat_bytes)
