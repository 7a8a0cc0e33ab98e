"""Fixtures: an object store in memory, and a chunk store with small chunks and packs on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.chunks import pending
from storage.chunks.store import ChunkStore
from tests.support.chunk_store import CHUNK, make_store
from tests.support.memory_objects import MemoryObjects


@pytest.fixture
def objects() -> MemoryObjects:
    """An empty object store."""
    return MemoryObjects()


@pytest.fixture
def store(objects: MemoryObjects, tmp_path: Path) -> ChunkStore:
    """An encrypted chunk store on `objects`: 4 KiB chunks, 64 KiB packs, two workers."""
    return make_store(objects, tmp_path / "index")


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Units of 8 blocks, and batches of 50 rows."""
    monkeypatch.setattr("storage.chunks.writer.UNIT_BYTES", 8 * CHUNK)
    monkeypatch.setattr(pending, "BATCH_ROWS", 50)
