"""A real block device of this machine, backed by a file. Needs root."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def loop_device(backing: Path) -> Iterator[Path]:
    """Attach a loop device for the block; skips where that is not allowed."""
    made = subprocess.run(["losetup", "-f", "--show", backing], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"needs loop devices: {made.stderr.strip()}")
    device = Path(made.stdout.strip())
    try:
        yield device
    finally:
        subprocess.run(["losetup", "-d", device], check=True)


@contextmanager
def mounted(device: Path, at: Path, *options: str) -> Iterator[Path]:
    """A new ext4 on a device, mounted for the block."""
    subprocess.run(["mkfs.ext4", "-q", "-F", device], check=True)
    at.mkdir()
    subprocess.run(["mount", *options, device, at], check=True)
    try:
        yield at
    finally:
        subprocess.run(["umount", at], check=True)


def write_device(device: Path, offset: int, data: bytes) -> None:
    """Write to a device, durably."""
    descriptor = os.open(device, os.O_WRONLY)
    try:
        os.pwrite(descriptor, data, offset)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_device(device: Path) -> bytes:
    """All of a device."""
    return device.read_bytes()
