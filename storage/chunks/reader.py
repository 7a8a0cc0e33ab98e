"""Reads chunks back in bulk: neighbours in one read, worker threads, every digest checked; imports `storage` only.

Nothing that fails a check reaches the sink. A damaged record spoils only the rows that cite it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from threading import local

import numpy as np
from numpy.typing import NDArray

from storage.chunks.rows import ChunkRows
from storage.errors import Corrupt, HoldfastError
from storage.objects.port import ObjectStore
from storage.packs.decode import Decoder
from storage.packs.format import MAX_RECORD_BYTES, RECORD_OVERHEAD, Entries, pack_name
from storage.packs.reader import PackReader

Sink = Callable[[int, memoryview], None]
OnBad = Callable[[int, HoldfastError], None]

READ_BYTES = 4 << 20
GAP_BYTES = 64 << 10


@dataclass(slots=True)
class Stretch:
    """Neighbouring records of one pack: bytes `begin` to `end`, and the positions of the rows that cite them."""

    pack: bytes
    begin: int
    end: int
    rows: list[int]

    def takes(self, pack: bytes, begin: int, end: int, at_most: int) -> bool:
        """Tell whether the record at `begin` to `end`, which starts no earlier than the last, belongs here."""
        near = pack == self.pack and begin <= self.end + GAP_BYTES
        return near and (end - self.begin <= at_most or (begin, end) == (self.begin, self.end))


def plan_stretches(rows: ChunkRows, positions: NDArray[np.int64], at_most: int = READ_BYTES) -> list[Stretch]:
    """Group the rows at `positions` into reads of up to `at_most` bytes or one record, by their first blocks."""
    begins = rows.offsets[positions].astype(np.int64)
    ends = begins + rows.stored[positions]
    packs = rows.pack_index[positions]
    order = np.lexsort((ends, begins, packs))
    columns = (positions[order].tolist(), packs[order].tolist(), begins[order].tolist(), ends[order].tolist())
    stretches: list[Stretch] = []
    for at, number, begin, end in zip(*columns, strict=True):
        last = stretches[-1] if stretches else None
        if last is None or not last.takes(rows.packs[number], begin, end, at_most):
            last = Stretch(rows.packs[number], begin, end, [])
            stretches.append(last)
        last.rows.append(at)
        last.end = max(last.end, end)
    return sorted(stretches, key=lambda stretch: min(stretch.rows))


def rows_of(pack: bytes, entries: Entries) -> ChunkRows:
    """Return a pack's chunks as rows, in the order of their records; their blocks just count."""
    entries = entries[np.argsort(entries["offset"])]
    count = np.arange(len(entries), dtype=np.uint32)
    return ChunkRows(
        blocks=count,
        digests=np.ascontiguousarray(entries["digest"]),
        packs=(pack,),
        pack_index=np.zeros(len(count), np.uint16),
        offsets=np.ascontiguousarray(entries["offset"]),
        stored=np.ascontiguousarray(entries["stored"]),
    )


@dataclass(slots=True)
class _Outcome:
    """What one stretch came to."""

    plain_bytes: int = 0
    bad: list[tuple[int, HoldfastError]] = field(default_factory=list)


class Scatterer:
    """Delivers rows of one repository; `chunk_bytes` bounds what a record may claim to hold."""

    def __init__(self, objects: ObjectStore, packs: PackReader, digest_key: bytes, chunk_bytes: int) -> None:
        self.objects = objects
        self.packs = packs
        self.digest_key = digest_key
        self.chunk_bytes = chunk_bytes

    def run(self, rows: ChunkRows, sink: Sink, *, workers: int, on_bad: OnBad | None) -> int:
        """Deliver all rows; return the plain bytes delivered. Without `on_bad` the first error is raised.

        `sink` is called in the worker threads, `on_bad` in the calling one.
        """
        possible = _possible(rows, self.chunk_bytes)
        for at in np.flatnonzero(~possible).tolist():
            _report(int(rows.blocks[at]), Corrupt("a row cites no possible record", code="row-impossible"), on_bad)
        task = _Task(self, rows, sink)
        total = 0
        with ThreadPoolExecutor(workers, "holdfast-read") as pool:
            running: deque[Future[_Outcome]] = deque()
            stretches = iter(plan_stretches(rows, np.flatnonzero(possible)))
            try:
                while True:
                    running.extend(
                        pool.submit(task.deliver, each) for each in islice(stretches, 2 * workers - len(running))
                    )
                    if not running:
                        return total
                    outcome = running.popleft().result()
                    total += outcome.plain_bytes
                    for block, error in outcome.bad:
                        _report(block, error, on_bad)
            finally:
                pool.shutdown(cancel_futures=True)


class _Task:
    """One call: its rows, its sink, the buffers of its worker threads."""

    def __init__(self, store: Scatterer, rows: ChunkRows, sink: Sink) -> None:
        self._store = store
        self._rows = rows
        self._sink = sink
        self._thread = local()

    def deliver(self, stretch: Stretch) -> _Outcome:
        """Read one stretch and hand its blocks to the sink."""
        decoder, buffer = self._tools()
        data = buffer[: stretch.end - stretch.begin]
        try:
            seal = self._store.packs.seal(stretch.pack)
            self._store.objects.read_into(pack_name(stretch.pack), stretch.begin, data)
        except HoldfastError as error:
            return self._one_by_one(stretch, error)
        outcome = _Outcome()
        for at, record in self._records(stretch, data):
            digest = self._rows.digests[at[0]].tobytes()
            blocks = self._rows.blocks[at].tolist()
            try:
                plain = decoder.decode(seal, record, digest, pack_name(stretch.pack))
            except Corrupt as error:
                outcome.bad += [(block, error) for block in blocks]
                continue
            for block in blocks:
                self._sink(block, plain)
                outcome.plain_bytes += len(plain)
        return outcome

    def _one_by_one(self, stretch: Stretch, error: HoldfastError) -> _Outcome:
        """Read the records of a stretch singly, so that those before a damaged place still come."""
        outcome = _Outcome()
        singles = plan_stretches(self._rows, np.array(stretch.rows), at_most=0)
        if len(singles) == 1:
            outcome.bad = [(int(block), error) for block in self._rows.blocks[stretch.rows]]
            return outcome
        for single in singles:
            part = self.deliver(single)
            outcome.plain_bytes += part.plain_bytes
            outcome.bad += part.bad
        return outcome

    def _records(self, stretch: Stretch, data: memoryview) -> Iterator[tuple[list[int], memoryview]]:
        """Yield the positions of rows that cite the same chunk in the same place, and the record's bytes."""
        same: dict[tuple[int, int, bytes], list[int]] = {}
        for at in stretch.rows:
            key = int(self._rows.offsets[at]), int(self._rows.stored[at]), self._rows.digests[at].tobytes()
            same.setdefault(key, []).append(at)
        for (offset, stored, _), positions in same.items():
            yield positions, data[offset - stretch.begin : offset - stretch.begin + stored]

    def _tools(self) -> tuple[Decoder, memoryview]:
        if not hasattr(self._thread, "tools"):
            buffer = np.empty(max(READ_BYTES, MAX_RECORD_BYTES), np.uint8).data
            self._thread.tools = Decoder(self._store.digest_key, self._store.chunk_bytes), buffer
        tools: tuple[Decoder, memoryview] = self._thread.tools
        return tools


def _possible(rows: ChunkRows, chunk_bytes: int) -> NDArray[np.bool_]:
    fits = (rows.stored > RECORD_OVERHEAD) & (rows.stored <= RECORD_OVERHEAD + chunk_bytes)
    return fits & (rows.pack_index < len(rows.packs))


def _report(block: int, error: HoldfastError, on_bad: OnBad | None) -> None:
    if on_bad is None:
        raise error
    on_bad(block, error)
