"""Readers of a frozen disk: one connection for all of them, and changes cut from what is known to be zero."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.errors import SourceUnavailable
from adapters.port import Extent
from adapters.xen.reading import SharedReader, cut
from tests.support.memory_disk import MemoryDisk


@pytest.fixture
def opened() -> list[MemoryDisk]:
    """What was opened."""
    return []


@pytest.fixture
def shared(opened: list[MemoryDisk]) -> SharedReader:
    """Readers of one disk."""

    def open_it() -> MemoryDisk:
        opened.append(MemoryDisk(b"abcd" * 1024))
        return opened[-1]

    return SharedReader(open_it)
