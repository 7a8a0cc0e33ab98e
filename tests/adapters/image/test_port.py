"""The image adapter passes the conformance suite of the source port, raw and qcow2."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from adapters.image import ImageSource
from adapters.image.qemunbd import RUN_PREFIX
from adapters.port import Snapshot, Source
from tests.conformance.source_port import ComparingSuite

SIZE_BYTES = 4 << 20


class ImageHarness:
    """One image file `m1.SUFFIX` in a folder of its own; other tools read and write it."""

    can_write_during_snapshot = False  # an image in a folder cannot be frozen: confirm() catches writes

    def __init__(self, root: Path, image_format: str) -> None:
        self.folder = root / "images"
        self.folder.mkdir()
        self.runtime_dir = root / "runtime"
        self.format = image_format
        self.machine_key = self.disk_key = f"m1.{image_format}"
        self.image = self.folder / self.machine_key
        self._foreign: subprocess.Popen[bytes] | None = None
        self._fill(self.image, seed=1)

    def _fill(self, path: Path, seed: int) -> None:
        raw = path.with_name("filling")
        with raw.open("wb") as file:
            file.truncate(SIZE_BYTES)
            for offset in (0, 1 << 20, 3 << 20):
                file.seek(offset)
                file.write(random.Random(seed).randbytes(200_000))
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", self.format, raw, path], check=True)
        raw.unlink()

    def _io(self, command: str) -> None:
        subprocess.run(
            ["qemu-io", "-f", self.format, "-d", "unmap", "-c", command, self.image],
            check=True,
            stdout=subprocess.DEVNULL,
        )

    def make_source(self) -> Source:
        return ImageSource("images", self.folder, self.runtime_dir)

    def write(self, offset: int, data: bytes) -> None:
        with tempfile.NamedTemporaryFile() as pattern:
            pattern.write(data)
            pattern.flush()
            self._io(f"write -s {pattern.name} {offset} {len(data)}")

    def discard(self, offset: int, length: int) -> None:
        self._io(f"write -z -u {offset} {length}")

    def grow(self, size_bytes: int) -> None:
        subprocess.run(["qemu-img", "resize", "-q", "-f", self.format, self.image, str(size_bytes)], check=True)

    def replace_disk(self) -> None:
        self._fill(self.folder / "other", seed=2)
        os.replace(self.folder / "other", self.image)

    def content(self) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            raw = Path(folder) / "raw"
            subprocess.run(["qemu-img", "convert", "-U", "-f", self.format, "-O", "raw", self.image, raw], check=True)
            return raw.read_bytes()

    def crash(self, source: Source, snapshot: Snapshot) -> None:
        snapshot.release(committed=False)  # the kernel does as much; what it does not is tested in test_strays.py
        source.close()

    def leftovers(self) -> Sequence[str]:
        return [path.name for path in self.runtime_dir.glob(f"{RUN_PREFIX}*")]

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


@pytest.fixture(params=["raw", "qcow2"])
def harness(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ImageHarness]:
    """A fresh folder with one image."""
    for tool in ("qemu-img", "qemu-io", "qemu-nbd"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    harness = ImageHarness(tmp_path, request.param)
    yield harness
    harness.close()


class TestImageSource(ComparingSuite):
    """Every guarantee of the port."""
