"""A real file system in a file, mounted for the length of a block; skips with the reason where it cannot be."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.nbd_peers import need

SIZES = {"btrfs": 256 << 20, "xfs": 384 << 20}
MAKE = {"btrfs": ["mkfs.btrfs", "-q"], "xfs": ["mkfs.xfs", "-q", "-m", "reflink=1"]}


@contextmanager
def loop_filesystem(kind: str, folder: Path) -> Iterator[Path]:
    """Make, mount, yield where, unmount."""
    need(MAKE[kind][0], "mount")
    if os.geteuid():
        pytest.skip("only root mounts")
    image, place = folder / f"{kind}.img", folder / kind
    with image.open("wb") as file:
        file.truncate(SIZES[kind])
    subprocess.run([*MAKE[kind], image], check=True, capture_output=True)
    place.mkdir()
    mounted = subprocess.run(["mount", "-o", "loop", image, place], capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"{kind} cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)
