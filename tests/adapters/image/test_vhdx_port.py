"""The image adapter passes the conformance suite of the source port on a chain of VHDX files."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from adapters.image import ImageSource
from adapters.port import Snapshot, Source
from tests.conformance.source_port import ComparingSuite
from tests.support import vhdx_files

MIB = 1 << 20
SIZE_BYTES = 4 * MIB


class ChainHarness:
    """`m1.avhdx` on `m1.vhdx`, written as a guest would."""

    can_write_during_snapshot = False  # an image in a folder cannot be frozen: confirm() catches writes
    machine_key = disk_key = "m1.avhdx"

    def __init__(self, root: Path) -> None:
        self.folder = root / "images"
        self.folder.mkdir()
        self._runtime_dir = root / "runtime"
        self._base, self._child = self.folder / "m1.vhdx", self.folder / "m1.avhdx"
        self._foreign: subprocess.Popen[bytes] | None = None
        self._make(seed=1)

    def _make(self, seed: int) -> None:
        some = random.Random(seed)
        vhdx_files.create(self._base, SIZE_BYTES, block_bytes=MIB)
        vhdx_files.write(self._base, 0, some.randbytes(200_704))
        vhdx_files.write(self._base, 3 * MIB, some.randbytes(200_704))
        vhdx_files.create_child(self._child, self._base)
        vhdx_files.write(self._child, 65536, some.randbytes(200_704))

    def make_source(self) -> Source:
        return ImageSource("images", self.folder, self._runtime_dir)

    def write(self, offset: int, data: bytes) -> None:
        start, end = offset // 512 * 512, -(-(offset + len(data)) // 512) * 512
        sectors = bytearray(vhdx_files.read(self._child, start, end - start))
        sectors[offset - start : offset - start + len(data)] = data
        vhdx_files.write(self._child, start, bytes(sectors))

    def discard(self, offset: int, length: int) -> None:
        self.write(offset, bytes(length))

    def grow(self, size_bytes: int) -> None:
        vhdx_files.resize(self._child, size_bytes)

    def replace_disk(self) -> None:
        self._child.unlink()
        self._base.unlink()
        self._make(seed=2)

    def content(self) -> bytes:
        return vhdx_files.content(self._child)

    def crash(self, source: Source, snapshot: Snapshot) -> None:
        snapshot.release(committed=False)  # what the kernel does: no process or file is left of a reader of ours
        source.close()

    def leftovers(self) -> Sequence[str]:
        return []

    def plant_foreign(self) -> None:
        self._foreign = subprocess.Popen(["sleep", "600"])

    def foreign_intact(self) -> bool:
        return self._foreign is not None and self._foreign.poll() is None

    def invalid_base(self) -> str:
        return "none"

    def close(self) -> None:
        if self._foreign is not None:
            self._foreign.kill()
            self._foreign.wait()


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[ChainHarness]:
    """A fresh folder with one chain."""
    harness = ChainHarness(tmp_path)
    yield harness
    harness.close()


class TestVhdxChain(ComparingSuite):
    """Every guarantee of the port."""
