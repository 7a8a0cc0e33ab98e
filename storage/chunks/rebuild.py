"""Loads packs' footers into index runs; imports `storage` only.

Entries are written out every half million, so memory stays bounded whatever the store's size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from storage.chunks.merging import run_of
from storage.chunks.runs import Run
from storage.errors import HoldfastError
from storage.packs.format import ENTRY, Entries
from storage.packs.reader import PackReader
from storage.packs.writer import SealedPack

_RUN_ENTRIES = 1 << 19

OnBadPack = Callable[[bytes, HoldfastError], None]


@dataclass(frozen=True, slots=True)
class IndexReport:
    """What a rebuild found: packs and entries in the index, packs read without their footer, packs left out and why."""

    packs: int
    entries: int
    salvaged: tuple[bytes, ...]
    unreadable: tuple[tuple[bytes, HoldfastError], ...]


@dataclass(slots=True)
class Loading:
    """Footers on their way into runs below `staging`."""

    reader: PackReader
    staging: Path
    salvage: bool = False
    runs: list[Run] = field(default_factory=list)
    sealed: list[SealedPack] = field(default_factory=list)
    salvaged: list[bytes] = field(default_factory=list)
    bad: list[tuple[bytes, HoldfastError]] = field(default_factory=list)

    def load(self, packs: Iterable[bytes]) -> None:
        """Read the footers of `packs`; those that fail are noted in `bad`."""
        waiting: list[tuple[bytes, Entries]] = []
        count = 0
        for pack_id in packs:
            entries = self._entries(pack_id)
            if not len(entries):
                continue
            waiting.append((pack_id, entries))
            count += len(entries)
            if count >= _RUN_ENTRIES:
                self.runs.append(run_of(waiting, self.staging))
                waiting, count = [], 0
        if waiting:
            self.runs.append(run_of(waiting, self.staging))

    def _entries(self, pack_id: bytes) -> Entries:
        """Return a pack's entries; none when it is bad."""
        try:
            sealed, entries = self.reader.entries(pack_id)
            self.sealed.append(sealed)
            return entries
        except HoldfastError as error:
            self.bad.append((pack_id, error))
        if self.salvage:
            with suppress(HoldfastError):
                entries = self.reader.scan(pack_id)
                if len(entries):
                    self.bad.pop()
                    self.salvaged.append(pack_id)
                return entries
        return np.empty(0, ENTRY)
