"""The raw image of a restore: any block, any memory, on any file system."""

from __future__ import annotations

import mmap
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest

from ingest.rawfile import RawFile

BLOCK = 64 * 1024


@pytest.mark.parametrize("aligned", [True, False])
def test_blocks_of_any_memory_arrive(tmp_path: Path, aligned: bool) -> None:
    """Blocks written by several threads, in any order, a short last one too, are the file's content."""
    content = Random(3).randbytes(40 * BLOCK + 777)
    memory = memoryview(mmap.mmap(-1, len(content) + 1))[0 if aligned else 1 :][: len(content)]
    memory[:] = content
    starts = list(range(0, len(content), BLOCK))
    Random(4).shuffle(starts)
    with RawFile.created(tmp_path / "disk", len(content)) as image, ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda start: image.write(start, memory[start : start + BLOCK]), starts))
    assert (tmp_path / "disk").read_bytes() == content


def test_what_is_not_written_is_a_hole(tmp_path: Path) -> None:
    """The image has its full size at once and takes no space for what nobody wrote."""
    with RawFile.created(tmp_path / "disk", 64 * BLOCK) as image:
        image.write(8 * BLOCK, memoryview(b"x" * BLOCK))
    status = os.stat(tmp_path / "disk")
    assert status.st_size == 64 * BLOCK
    assert status.st_blocks * 512 <= 4 * BLOCK


def test_a_file_system_without_direct_writes_serves_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the page cache cannot be gone past, it is used."""
    really_open = os.open

    def without_direct(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_DIRECT:
            raise OSError(22, "Invalid argument")
        return really_open(path, flags, mode)

    monkeypatch.setattr(os, "open", without_direct)
    with RawFile.created(tmp_path / "disk", BLOCK) as image:
        image.write(0, memoryview(mmap.mmap(-1, BLOCK)))
        image.write(0, memoryview(b"y" * BLOCK))
    assert (tmp_path / "disk").read_bytes() == b"y" * BLOCK
