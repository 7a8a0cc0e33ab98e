"""A disk of a simulated machine: a chain of real VHDX files, and every write that was made.

Change tracking is told from the writes, as a host tells it: in whole units, since an identifier that a checkpoint gave,
up to the moment that a file was frozen.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import uuid4

from tests.support import vhdx_files
from tests.support.hyperv.storage import Storage

UNIT_BYTES = 65536
"""What the simulated tracking counts in."""

Range = tuple[int, int]


@dataclass
class Disk:
    """A disk by its files, the first one first; the guest writes to the last.

    `moments` are how many writes had been made when a change tracking identifier was given out, `frozen` when a file
    of the chain was.
    """

    storage: Storage
    chain: list[str]
    shared: bool = False
    writes: list[Range] = field(default_factory=list)
    moments: dict[str, int] = field(default_factory=dict)
    frozen: dict[str, int] = field(default_factory=dict)
    tracked: bool = True
    _told: tuple[tuple[int, int, int], list[Range]] | None = None

    @property
    def live(self) -> str:
        """The file that the guest writes to."""
        return self.chain[-1]

    @property
    def size_bytes(self) -> int:
        """How large the guest sees it."""
        return vhdx_files.disk_size(self.storage.local(self.live))

    @property
    def virtual_disk_id(self) -> str:
        """Its identity."""
        return str(vhdx_files.disk_id(self.storage.local(self.live)))

    def write(self, offset: int, data: bytes) -> None:
        """Write as the guest does; ends that are no whole sectors are read first."""
        path = self.storage.local(self.live)
        with vhdx_files.VhdxFile(path) as file:
            sector = file.sector
        start = offset // sector * sector
        end = -(-(offset + len(data)) // sector) * sector
        whole = bytearray(vhdx_files.read(path, start, end - start))
        whole[offset - start : offset - start + len(data)] = data
        vhdx_files.write(path, start, bytes(whole))
        self.writes.append((offset, len(data)))

    def discard(self, offset: int, length: int) -> None:
        """Give a range up as the guest's TRIM does: whole blocks are unmapped, of others the range is zeroed."""
        path = self.storage.local(self.live)
        with vhdx_files.VhdxFile(path) as file:
            pieces, size = list(file.blocks(offset, length)), file.block
        for block, start, count in pieces:
            if count == size:
                vhdx_files.unmap(path, block)
                self.writes.append((block * size, count))
            else:
                self.write(block * size + start, bytes(count))

    def content(self) -> bytes:
        """What the guest sees."""
        return vhdx_files.content(self.storage.local(self.live))

    def resize(self, size_bytes: int) -> None:
        """Make it larger, as an administrator does."""
        vhdx_files.resize(self.storage.local(self.live), size_bytes)

    def freeze(self) -> str:
        """Let the guest go on in a new file; return the one that stays as it is."""
        frozen = self.live
        stem = self.chain[0].removesuffix(".vhdx").removesuffix(".avhdx")
        child = f"{stem}_{str(uuid4()).upper()}.avhdx"
        vhdx_files.create_child(self.storage.local(child), self.storage.local(frozen))
        self.chain.append(child)
        self.frozen[frozen] = len(self.writes)
        return frozen

    def new_moment(self) -> str:
        """An identifier for the changes from now on."""
        rct = f"rctX:{uuid4().hex[:8]}:{uuid4().hex[:4]}:{uuid4().hex[:4]}:00000001"
        self.moments[rct] = len(self.writes)
        return rct

    def merge(self, frozen: str) -> str:
        """Take the freezing of a file back; return the file that is merged away."""
        at = self.chain.index(frozen)
        child = self.chain.pop(at + 1)
        vhdx_files.merge(self.storage.local(child), self.storage.local(frozen))
        self.frozen.pop(frozen)
        if child in self.frozen:
            self.frozen[frozen] = self.frozen.pop(child)
        if at + 1 < len(self.chain):
            vhdx_files.set_parent(self.storage.local(self.chain[at + 1]), self.storage.local(frozen))
        return child

    def changed(self, path: str, rct: str) -> list[Range]:
        """What was written between an identifier and the moment of a file, in whole units, merged and in order.

        Raises LookupError for an identifier that this disk never gave or has forgotten.
        """
        asked = (self.moments[rct], self.frozen.get(path, len(self.writes)), self.size_bytes)
        if self._told is None or self._told[0] != asked:
            self._told = asked, merged_units(self.writes[asked[0] : asked[1]], asked[2])
        return self._told[1]


def merged_units(writes: Iterable[Range], size_bytes: int) -> list[Range]:
    """Ranges rounded out to units, merged, cut off at the disk's end."""
    units: set[int] = set()
    for offset, length in writes:
        units.update(range(offset // UNIT_BYTES, (offset + length - 1) // UNIT_BYTES + 1))
    runs: list[list[int]] = []
    for unit in sorted(units):
        if runs and runs[-1][1] == unit:
            runs[-1][1] = unit + 1
        else:
            runs.append([unit, unit + 1])
    cut = ((first * UNIT_BYTES, min(last * UNIT_BYTES, size_bytes)) for first, last in runs)
    return [(start, end - start) for start, end in cut if end > start]
