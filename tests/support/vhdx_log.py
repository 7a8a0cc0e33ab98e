"""Leaves VHDX files as a host that was cut off leaves them: changes of tables in the log, not yet in their places.

`logged` makes a file in which what some change did to the tables stands in the log only; `add_log` writes a log of
given entries. Written from the specification, apart from our reader.
"""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

from tests.support import vhdx_layout as layout
from tests.support.vhdx_files import VhdxFile

PAGE = 4096
Write = tuple[int, bytes | int]
"""A file offset, and the 4 KiB to put there or how many bytes of zeros."""


@dataclass(frozen=True, slots=True)
class Entry:
    """The writes of one entry; `tail` counts entries back from this one, the first of the log by default."""

    writes: Sequence[Write]
    tail: int | None = None


def pack_entry(
    writes: Sequence[Write], guid: UUID, sequence: int, tail: int, file_bytes: int, flushed: int | None = None
) -> bytes:
    """The bytes of one entry, whole pages."""
    descriptors, pages = b"", b""
    for offset, what in writes:
        if isinstance(what, int):
            descriptors += struct.pack("<4sIQQQ", b"zero", 0, what, offset, sequence)
            continue
        assert len(what) == PAGE
        descriptors += struct.pack("<4s4s8sQQ", b"desc", what[-4:], what[:8], offset, sequence)
        high, low = sequence >> 32, sequence & 0xFFFFFFFF
        pages += struct.pack("<4sI", b"data", high) + what[8:-4] + struct.pack("<I", low)
    head_bytes = -(-(64 + len(descriptors)) // PAGE) * PAGE
    sizes = (flushed if flushed is not None else file_bytes, file_bytes)
    head = struct.pack(
        "<4sIIIQII16sQQ",
        b"loge",
        0,
        head_bytes + len(pages),
        tail,
        sequence,
        len(writes),
        0,
        guid.bytes_le,
        *sizes,
    )
    return layout.with_checksum((head + descriptors).ljust(head_bytes, b"\0") + pages)


def add_log(
    path: Path,
    entries: Sequence[Entry],
    *,
    start: int = 0,
    first_sequence: int = 1,
    file_bytes: int | None = None,
    flushed: int | None = None,
) -> list[int]:
    """Write the entries into the ring from `start` on, and name the log in the header; return the entries' offsets."""
    guid = uuid4()
    with VhdxFile(path, writing=True) as file:
        size = file_bytes or path.stat().st_size
        offsets: list[int] = []
        place = start
        for number, entry in enumerate(entries):
            offsets.append(place)
            tail = offsets[0 if entry.tail is None else number - entry.tail]
            packed = pack_entry(entry.writes, guid, first_sequence + number, tail, size, flushed)
            assert len(packed) <= layout.LOG_BYTES
            before_end = layout.LOG_BYTES - place
            file.put(layout.LOG_OFFSET + place, packed[:before_end])
            file.put(layout.LOG_OFFSET, packed[before_end:])
            place = (place + len(packed)) % layout.LOG_BYTES
        file.put_header(log=guid)
        return offsets


def logged(path: Path, *changes: Callable[[Path], None], start: int = 0, first_sequence: int = 1) -> list[int]:
    """Let each change become an entry: its blocks go into the file, what it did to the tables into the log only.

    Returns the entries' offsets in the log.
    """
    entries = []
    work = path.with_name(path.name + ".work")
    shutil.copyfile(path, work)
    for change in changes:
        before = work.read_bytes()
        change(work)
        after = work.read_bytes()
        with VhdxFile(work) as file:
            tables = _table_ranges(file)
        writes: list[Write] = []
        with path.open("r+b") as into:
            into.truncate(len(after))
            for offset in range(layout.METADATA_OFFSET, len(after), PAGE):
                page = after[offset : offset + PAGE]
                if page == before[offset : offset + PAGE]:
                    continue
                if any(first <= offset < end for first, end in tables):
                    writes.append((offset, page if any(page) else PAGE))
                else:
                    into.seek(offset)
                    into.write(page)
        entries.append(Entry(writes))
    work.unlink()
    return add_log(path, entries, start=start, first_sequence=first_sequence)


def _table_ranges(file: VhdxFile) -> list[tuple[int, int]]:
    """Where metadata, the BAT and the sector bitmaps are."""
    ranges = [
        (layout.METADATA_OFFSET, layout.METADATA_OFFSET + layout.METADATA_BYTES),
        (file.bat_offset, file.bat_offset + file.bat_bytes),
    ]
    for block in range(0, -(-file.size // file.block), file.ratio):
        state, place = file.entry(file.bitmap_index(block))
        if state == layout.FULL:
            ranges.append((place, place + layout.MIB))
    return ranges
