"""Tests of large objects, whose pages go past the page cache."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from storage.objects.local import LocalObjects

MIB = 1 << 20


def aligned(size_bytes: int) -> memoryview:
    """Random bytes at the start of a page, as a pack's buffer is."""
    mapped = mmap.mmap(-1, size_bytes)
    mapped.write(os.urandom(size_bytes))
    return memoryview(mapped)


def direct(descriptor: int) -> bool:
    """Whether writes go past the page cache now."""
    return bool(fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT)


def put(root: Path, *buffers: memoryview) -> bytes:
    """Store the buffers as one object and read its file."""
    LocalObjects(root).put("a", *buffers)
    return (root / "a").read_bytes()


@pytest.mark.parametrize("size_bytes", [MIB - 1, MIB, MIB + 1, 3 * MIB + 4095, 5 * MIB + 4097])
def test_every_size_is_stored_exactly(tmp_path: Path, size_bytes: int) -> None:
    """Whole pages, the odd bytes behind them and the buffers after come out as they went in."""
    body, tail = aligned(size_bytes), aligned(777)
    assert put(tmp_path, body, tail) == bytes(body) + bytes(tail)


def test_memory_off_a_page_is_stored_too(tmp_path: Path) -> None:
    """A large buffer that no direct write accepts is written the usual way."""
    body = aligned(2 * MIB + 100)[3:]
    assert put(tmp_path, body) == bytes(body)


def test_a_short_direct_write_is_carried_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that takes an odd part of a direct write still gets every byte once."""
    real = os.writev

    def short(descriptor: int, parts: Sequence[memoryview]) -> int:
        return real(descriptor, [parts[0][:MIB]]) if direct(descriptor) else real(descriptor, [parts[0][:1000]])

    monkeypatch.setattr(os, "writev", short)
    body = aligned(3 * MIB + 5000)
    assert put(tmp_path, body) == bytes(body)


def test_a_file_system_without_direct_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where direct writes are refused, even in the middle, the object is whole all the same."""
    real, seen = os.writev, []

    def refuse(descriptor: int, parts: Sequence[memoryview]) -> int:
        if direct(descriptor) and seen:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        seen.append(direct(descriptor))
        return real(descriptor, [parts[0][:MIB]])

    monkeypatch.setattr(os, "writev", refuse)
    body = aligned(3 * MIB)
    assert put(tmp_path, body) == bytes(body)
    assert len(seen) == 3
