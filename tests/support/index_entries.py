"""Made-up pack entries for tests of the chunk index; also a process that publishes some.

`python -m tests.support.index_entries DIRECTORY FIRST COUNT` adds and publishes COUNT packs, one by one.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from storage.chunks.index import ChunkIndex
from storage.packs.format import ENTRY, Entries, digest_keys


def pack_id(number: int) -> bytes:
    """The id of a made-up pack."""
    return number.to_bytes(16, "big")


def made_entries(number: int, count: int = 50) -> Entries:
    """Entries with random digests, sorted, the same for the same pack number."""
    random = np.random.default_rng(number)
    entries = np.zeros(count, ENTRY)
    entries["digest"] = random.integers(0, 256, (count, 32), np.uint8)
    entries["offset"] = 64 + 1000 * np.arange(count)
    entries["stored"] = random.integers(65, 1000, count)
    return entries[np.argsort(digest_keys(entries["digest"]))]


if __name__ == "__main__":
    index = ChunkIndex(Path(sys.argv[1]))
    for made in range(int(sys.argv[2]), int(sys.argv[2]) + int(sys.argv[3])):
        index.add(pack_id(made), made_entries(made))
        index.publish()
