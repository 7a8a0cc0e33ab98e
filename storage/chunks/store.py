"""The chunk store of one repository: writers in, scatter out, the index in between; imports `storage` only.

Invariants: a row cites only durable packs; what is read is verified against its digest; the index is a cache of
the packs, and whoever calls learns when parts of it had to be loaded again.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from uuid import UUID

from storage.chunks.index import ChunkIndex
from storage.chunks.reader import OnBad, Scatterer, Sink, rows_of
from storage.chunks.rebuild import IndexReport, Loading, OnBadPack
from storage.chunks.rows import ChunkRows, empty_rows
from storage.chunks.writer import ChunkWriter
from storage.errors import Corrupt, HoldfastError, Invalid, NotFound
from storage.keys import KeyRing
from storage.objects.port import ObjectStore
from storage.packs.decode import Decoder
from storage.packs.format import (
    HEADER_BYTES,
    MAX_CHUNK_BYTES,
    MAX_PACK_BYTES,
    PACK_ID_BYTES,
    RECORD_OVERHEAD,
    PackHeader,
    pack_name,
)
from storage.packs.reader import PackReader
from storage.packs.verify import Level, PackReport, verify_stored
from storage.packs.writer import PackBuilder, SealedPack

MIN_CHUNK_BYTES = 4 << 10
DEFAULT_PACK_BYTES = 64 << 20
MAX_WORKERS = 32
_PACK_NAME = re.compile(r"packs/([0-9a-f]{2})/(\1[0-9a-f]{30})")


def _now() -> datetime:
    return datetime.now(UTC)


class ChunkStore:
    """Chunks of one repository in an object store. Safe to use from several threads.

    `chunk_bytes` is a power of two from 4 KiB to 4 MiB and fixed for the repository.
    Raises Invalid `chunk-bytes` or `pack-bytes`.
    """

    def __init__(  # noqa: PLR0913 - one place builds it, and names every argument
        self,
        objects: ObjectStore,
        keys: KeyRing,
        index_dir: Path,
        *,
        repository_id: UUID,
        chunk_bytes: int,
        pack_bytes: int = DEFAULT_PACK_BYTES,
        compression_level: int = 1,
        workers: int | None = None,
        random_bytes: Callable[[int], bytes] = os.urandom,
        clock: Callable[[], datetime] = _now,
    ) -> None:
        if not MIN_CHUNK_BYTES <= chunk_bytes <= MAX_CHUNK_BYTES or chunk_bytes & (chunk_bytes - 1):
            raise Invalid(f"chunks of {chunk_bytes} bytes are not offered", code="chunk-bytes")
        if not HEADER_BYTES + RECORD_OVERHEAD + chunk_bytes <= pack_bytes <= MAX_PACK_BYTES // 2:
            raise Invalid(f"packs of {pack_bytes} bytes are not offered", code="pack-bytes")
        self.chunk_bytes = chunk_bytes
        self.pack_bytes = pack_bytes
        self.compression_level = compression_level
        self.workers = min(workers or os.cpu_count() or 1, MAX_WORKERS)
        self.digest_key = keys.digest_key()
        self.index = ChunkIndex(index_dir)
        self._objects = objects
        self._keys = keys
        self._repository = repository_id.bytes
        self._random_bytes = random_bytes
        self._clock = clock
        self._reader = PackReader(objects, keys, self._repository)
        self._unannounced: dict[bytes, SealedPack] = {}
        self._lock = Lock()

    def writer(self) -> ChunkWriter:
        """Return a writer; use it as a context manager."""
        return ChunkWriter(self)

    def scatter(self, rows: ChunkRows, sink: Sink, *, workers: int | None = None, on_bad: OnBad | None = None) -> int:
        """Read every row and call `sink(block, plain bytes)` from worker threads; return the plain bytes delivered.

        The bytes are valid during the call only. Rows that fail go to `on_bad(block, error)`, called in this thread;
        without it the first error is raised: NotFound, Unavailable or Corrupt.
        """
        scatterer = Scatterer(self._objects, self._reader, self.digest_key, self.chunk_bytes)
        return scatterer.run(rows, sink, workers=workers or self.workers, on_bad=on_bad)

    def read_chunk(self, digest: bytes, pack_id: bytes, offset: int, stored: int) -> bytes:
        """Read one chunk. Raises NotFound, Unavailable or Corrupt."""
        if not RECORD_OVERHEAD < stored <= RECORD_OVERHEAD + self.chunk_bytes:
            raise Corrupt("a row cites no possible record", code="row-impossible")
        record = memoryview(bytearray(stored))
        self._objects.read_into(pack_name(pack_id), offset, record)
        return bytes(
            Decoder(self.digest_key, self.chunk_bytes).decode(
                self._reader.seal(pack_id), record, digest, pack_name(pack_id)
            )
        )

    def packs(self) -> Iterator[bytes]:
        """Yield the ids of the packs in the object store, in name order."""
        for found in self._objects.list("packs/"):
            name = _PACK_NAME.fullmatch(found.name)
            if name:
                yield bytes.fromhex(name[2])

    def sealed(self, pack_id: bytes) -> SealedPack:
        """Describe a pack from its header, footer and trailer. Raises NotFound; Corrupt `pack-…`."""
        return self._reader.entries(pack_id)[0]

    def verify_pack(self, pack_id: bytes, *, level: Level, workers: int | None = None) -> PackReport:
        """Check a pack: `stored` hashes its bytes, `content` also opens and rehashes every chunk.

        Damage and absence are problems; Unavailable is raised. A pack without its footer is read forwards.
        """
        stored = verify_stored(self._objects, self._reader, pack_id)
        if level == "stored":
            return stored
        problems = list(stored.problems)
        rows = self._rows_to_check(pack_id, problems)

        def note(number: int, error: HoldfastError) -> None:
            problems.append(f"{error} (chunk {rows.digests[number].tobytes().hex()} at {rows.offsets[number]})")

        plain_bytes = self.scatter(rows, lambda block, plain: None, workers=workers, on_bad=note)
        return PackReport(tuple(problems), len(rows), plain_bytes)

    def _rows_to_check(self, pack_id: bytes, problems: list[str]) -> ChunkRows:
        """Return the chunks of a pack by its footer or, that lost, those that can be read forwards."""
        try:
            return rows_of(pack_id, self._reader.entries(pack_id)[1])
        except (Corrupt, NotFound) as error:
            problems.append(str(error))
        try:
            return rows_of(pack_id, self._reader.scan(pack_id))
        except (Corrupt, NotFound):
            return empty_rows()

    def new_pack(self, buffer: memoryview) -> PackBuilder:
        """Start a pack in `buffer`, under an id and a key that were never used."""
        created_us = int(self._clock().timestamp() * 1_000_000)
        header = PackHeader(self._repository, self._random_bytes(PACK_ID_BYTES), self._keys.encrypts, created_us)
        return PackBuilder(header, self._keys, buffer)

    def seal(self, pack: PackBuilder) -> None:
        """Finish a pack, store it durably and take it into the index."""
        finished = pack.finish()
        self._objects.put(pack_name(pack.pack_id), *finished.buffers)
        with self._lock:
            self._unannounced[pack.pack_id] = finished.sealed
        self.index.add(pack.pack_id, finished.entries)

    def to_announce(self, packs: Iterable[bytes]) -> list[SealedPack]:
        """Return those of the packs, sealed by this process, that no caller has been given yet."""
        with self._lock:
            return [self._unannounced[pack] for pack in packs if pack in self._unannounced]

    def announced(self, packs: Iterable[SealedPack]) -> None:
        """Say that a caller has been given these packs and came back for more."""
        with self._lock:
            for pack in packs:
                self._unannounced.pop(pack.pack_id, None)

    @property
    def index_problems(self) -> tuple[str, ...]:
        """What was found damaged in the index, and left out of it, since it was opened."""
        return self.index.problems

    def sync_index(self, wanted: Iterable[bytes] | None = None, *, on_bad: OnBadPack | None = None) -> list[SealedPack]:
        """Make the index cite exactly the `wanted` packs (default: all in the store) and those sealed from now on.

        Returns the packs whose footers had to be loaded: new to this index, or in a part of it that was damaged
        (see `index_problems`). A wanted pack that is missing or damaged is not cited and goes to
        `on_bad(pack_id, error)`; without it the first such error is raised once the others are loaded.
        """
        present = set(self.packs())
        asked = present if wanted is None else set(wanted)
        self.index.refresh()
        self.index.keep_only(asked & present)
        loading = Loading(self._reader, self.index.staging)
        loading.bad += [(pack, _missing(pack)) for pack in sorted(asked - present)]
        loading.load(sorted((asked & present) - self.index.packs()))
        if loading.runs:
            self.index.publish(loading.runs)
        for pack_id, error in loading.bad:
            if on_bad is None:
                raise error
            on_bad(pack_id, error)
        return loading.sealed

    def rebuild_index(self, *, salvage: bool = False) -> IndexReport:
        """Build the index again from the packs' footers alone, in place of whatever is there.

        With `salvage` a pack whose footer is lost is read forwards, and named in the report.
        """
        loading = Loading(self._reader, self.index.staging, salvage=salvage)
        loading.load(self.packs())
        self.index.replace(loading.runs)
        return IndexReport(len(self.index.packs()), len(self.index), tuple(loading.salvaged), tuple(loading.bad))


def _missing(pack_id: bytes) -> NotFound:
    return NotFound(f"no object {pack_name(pack_id)}", code="object-missing")
