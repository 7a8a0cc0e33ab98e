"""A disk that was made larger while it had a checkpoint: the file below ends earlier than the disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.virtualdisk.chain import open_disk
from adapters.virtualdisk.file import LocalFile
from tests.conformance.source_harness import read_by_extents
from tests.support import vhdx_files

MIB = 1 << 20


@pytest.mark.parametrize("below", [2 * MIB, 3 * MIB, 5 * MIB])
def test_behind_the_end_of_the_file_below_are_zeros(tmp_path: Path, below: int) -> None:
    """Its extents cover the whole disk, whichever block of it the file below ends in, and lead to its content."""
    base, child = tmp_path / "base.vhdx", tmp_path / "child.avhdx"
    vhdx_files.create(base, below)
    vhdx_files.write(base, 0, b"b" * MIB)
    vhdx_files.create_child(child, base)
    vhdx_files.resize(child, 12 * MIB)
    vhdx_files.write(child, 9 * MIB, b"c" * 512)
    disk = open_disk(str(child), LocalFile, lambda child_path, locator: str(base))
    try:
        assert sum(extent.length for extent in disk.extents()) == disk.size_bytes == 12 * MIB
        assert bytes(read_by_extents(disk, disk.extents(), bytearray(12 * MIB))) == vhdx_files.content(child)
    finally:
        disk.close()
