"""Writes disks into packs: units in, rows out, in block order; imports `storage` only.

The calling thread packs, so there is no queue to jam: it hands out buffers, takes the units' results in order, and
a pack that is full is hashed and stored by one background thread. Rows leave only when every pack they cite is
durable. Whatever fails, the open pack is dropped and the error comes out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Protocol, Self

from storage.chunks.index import ChunkIndex, Location
from storage.chunks.pending import MAX_UNMARKED_ROWS, PendingRows, UnitRows, Written
from storage.chunks.pipeline import Baseline, Buffers, NewChunk, Preparer, Readable, Unit, split_runs
from storage.errors import Conflict, Limit
from storage.packs.writer import PackBuilder, SealedPack

UNIT_BYTES = 2 << 20
BUFFER_BUDGET_BYTES = 96 << 20
MAX_BLOCKS = 1 << 32


class PackSink(Protocol):
    """Where packs come from and go to: the store."""

    chunk_bytes: int
    pack_bytes: int
    compression_level: int
    workers: int
    digest_key: bytes
    index: ChunkIndex

    def new_pack(self, buffer: memoryview) -> PackBuilder:
        """Start a pack with a new id."""

    def seal(self, pack: PackBuilder) -> None:
        """Finish and store a pack durably, and take it into the index."""

    def to_announce(self, packs: Iterable[bytes]) -> list[SealedPack]:
        """Return those of the packs that no caller has been given yet."""

    def announced(self, packs: Iterable[SealedPack]) -> None:
        """Say that the caller has been given these."""


class ChunkWriter:
    """Writes disks one after the other; a context manager. One thread at a time.

    `interrupted` tells whether the last write ended early because `stop` said so.
    """

    def __init__(self, store: PackSink) -> None:
        self._store = store
        self.interrupted = False
        self._busy = False
        # One thread more than cores: the packer and the disk hold one of them back now and then.
        threads = store.workers + 1
        blocks = max(1, min(UNIT_BYTES, BUFFER_BUDGET_BYTES // (2 * threads + 2)) // store.chunk_bytes)
        self._unit_blocks = blocks
        unit_bytes = blocks * store.chunk_bytes
        count = max(threads + 1, min(2 * threads + 2, BUFFER_BUDGET_BYTES // unit_bytes))
        self._buffers = Buffers(count, unit_bytes)
        self._pack_buffers = Buffers(2, store.pack_bytes)
        self._pool = ThreadPoolExecutor(threads, "holdfast-chunk")
        self._sealer = ThreadPoolExecutor(1, "holdfast-seal")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._sealer.shutdown()
        if error is None:
            self._store.index.publish()

    def write(
        self,
        disk: Readable,
        runs: Iterable[tuple[int, int]],
        *,
        baseline: Baseline | None = None,
        progress: Callable[[int], None] | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> Iterator[Written]:
        """Store the blocks of `runs` (first block, count; ascending, disjoint) and yield where they are.

        `progress` is called with the bytes read since its last call. A pack is listed in the first Written that
        cites it, and again in later ones until the caller has come back for more. Errors of the disk come out
        unchanged; Limit `store-full` or `disk-size`, Invalid `block-runs`, Conflict `writer-busy`.
        """
        blocks = -(-disk.size_bytes // self._store.chunk_bytes)
        if blocks > MAX_BLOCKS:
            raise Limit(f"a disk of {disk.size_bytes} bytes has too many blocks", code="disk-size")
        if self._busy:
            raise Conflict("the writer has not finished its last disk", code="writer-busy")
        self._busy, self.interrupted = True, False
        preparer = Preparer(
            disk,
            self._store.chunk_bytes,
            digest_key=self._store.digest_key,
            level=self._store.compression_level,
            lookup=self._store.index.lookup,
            baseline=baseline,
        )
        todo = split_runs(runs, blocks, self._unit_blocks)
        packing = _Packing(self._store, self._pack_buffers, self._sealer)
        units = self._units(preparer, todo, stop)
        try:
            for unit in units:
                packing.take(unit)
                if progress:
                    progress(unit.read_bytes)
                yield from self._deliver(packing, last=False)
            packing.close()
            yield from self._deliver(packing, last=True)
        finally:
            units.close()
            packing.drop()
            self._busy = False

    def _deliver(self, packing: _Packing, *, last: bool) -> Iterator[Written]:
        for written in packing.rows.ready(last=last):
            yield written
            self._store.announced(written.packs)

    def _units(
        self, preparer: Preparer, todo: Iterator[tuple[int, int]], stop: Callable[[], bool] | None
    ) -> Generator[Unit]:
        """Yield units in order, keeping every buffer at work. However it ends, no thread is left on a buffer."""
        running: deque[tuple[Future[Unit], memoryview]] = deque()
        try:
            while True:
                while len(running) < self._buffers.count and (span := self._next_span(todo, stop)):
                    buffer = self._buffers.take()
                    running.append((self._pool.submit(preparer.prepare, *span, buffer), buffer))
                if not running:
                    return
                yield running[0][0].result()
                self._buffers.give(running.popleft()[1])
        finally:
            for future, _ in running:
                future.cancel()
            wait([future for future, _ in running])
            for _, buffer in running:
                self._buffers.give(buffer)

    def _next_span(self, todo: Iterator[tuple[int, int]], stop: Callable[[], bool] | None) -> tuple[int, int] | None:
        span = None if self.interrupted else next(todo, None)
        if span is not None and stop is not None and stop():
            self.interrupted = True
            return None
        return span


class _Packing:
    """The packer's state for one write: the open pack, the one being stored, the rows that wait for them."""

    def __init__(self, store: PackSink, buffers: Buffers, sealer: ThreadPoolExecutor) -> None:
        self.rows = PendingRows(store.to_announce)
        self._store = store
        self._buffers = buffers
        self._sealer = sealer
        self._open: PackBuilder | None = None
        self._open_buffer: memoryview | None = None
        self._open_chunks: dict[bytes, Location] = {}
        self._sealing: tuple[Future[None], memoryview] | None = None
        self._sealing_chunks: dict[bytes, Location] = {}

    def take(self, unit: Unit) -> None:
        """Pack the unit's new chunks and note its rows."""
        if self._sealing is not None and self._sealing[0].done():
            self._wait()
        rows = UnitRows(unit)
        for number, outcome in enumerate(unit.outcomes):
            if isinstance(outcome, Location):
                rows.locations.append(outcome)
            else:
                rows.locations.append(self._place(unit.digests[number].tobytes(), outcome, rows))
        self.rows.add(rows)
        if self._open is None and self._sealing is None:
            self.rows.mark()
            self.rows.durable()
        elif self.rows.unmarked_rows > MAX_UNMARKED_ROWS:
            self._seal()

    def close(self) -> None:
        """Store the open pack and wait until everything is durable."""
        self._seal()
        self._wait()

    def drop(self) -> None:
        """Forget the open pack and wait for the one being stored; harmless after `close`."""
        if self._open_buffer is not None:
            self._buffers.give(self._open_buffer)
            self._open, self._open_buffer = None, None
        if self._sealing is not None:
            wait([self._sealing[0]])
            self._buffers.give(self._sealing[1])
            self._sealing = None

    def _place(self, digest: bytes, chunk: NewChunk, rows: UnitRows) -> Location:
        """Return where the chunk is: it may have been packed since the index was asked."""
        known = self._open_chunks.get(digest) or self._sealing_chunks.get(digest) or self._store.index.recent(digest)
        if known is not None:
            return known
        if self._open is not None and not self._open.has_room(len(chunk.payload)):
            self._seal()
        if self._open is None:
            self._open_buffer = self._buffers.take()
            self._open = self._store.new_pack(self._open_buffer)
        offset, stored = self._open.add(digest, chunk.plain_bytes, chunk.method, chunk.payload)
        self._open_chunks[digest] = location = Location(self._open.pack_id, offset, stored)
        rows.new_chunks += 1
        rows.stored_bytes += stored
        return location

    def _seal(self) -> None:
        """Hand the open pack to the background; at most one is there at a time."""
        self._wait()
        self.rows.mark()
        if self._open is None or self._open_buffer is None:
            self.rows.durable()
            return
        self._sealing = self._sealer.submit(self._store.seal, self._open), self._open_buffer
        self._sealing_chunks, self._open_chunks = self._open_chunks, {}
        self._open, self._open_buffer = None, None

    def _wait(self) -> None:
        """Wait for the pack being stored. Raises what went wrong with it."""
        if self._sealing is None:
            return
        future, buffer = self._sealing
        future.result()
        self._sealing, self._sealing_chunks = None, {}
        self._buffers.give(buffer)
        self.rows.durable()
