"""One disk on its way: what changed since a point, which bytes are where, and the digests of all that was sent.

Imports `adapters`, `ingest.agent` and `ingest.progress`. The digests of a run become usable only whole; a block that is
not what it was when it was digested is found here, before it is sent.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping

from adapters.errors import SourceConflict, SourceInvalid
from adapters.port import Extent
from ingest.agent.digests import DIGEST_BYTES, ZERO, DigestFile, Known, block_digests, differences
from ingest.agent.protocol import PAGE_EXTENTS, Copied, Extents
from ingest.agent.volume import Volume
from ingest.progress import Progress

SCAN_BYTES = 4 << 20
PAGE_SECONDS = 3.0
"""A page of changes is told after so long, whatever was found by then."""


class SentDisk:
    """One volume in one run. Questions about it may come in several threads."""

    def __init__(
        self,
        volume: Volume,
        bases: Mapping[str, DigestFile],
        new: DigestFile,
        *,
        chunk_bytes: int,
        key: bytes,
        progress: Progress,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.volume = volume
        self.new = new
        self._bases = bases
        self._chunk_bytes = chunk_bytes
        self._key = key
        self._progress = progress
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._scanned_blocks = 0
        self._done = bytearray(new.blocks)
        self._base: DigestFile | None = None
        self._known: Known | None = None
        self._shown = False

    def extents(self, start: int) -> Extents:
        """A page of what holds data, from `start` on."""
        self._show()
        found: list[tuple[int, int, bool]] = []
        for extent in self._extents_from(start):
            if len(found) == PAGE_EXTENTS:
                return Extents(extents=tuple(found), next=extent.start)
            found.append((extent.start, extent.length, extent.zero))
        return Extents(extents=tuple(found), next=None)

    def changes(self, token: str, start: int) -> Extents:
        """A page of what differs from the point `token`, from `start` on. The disk is read on the first walk only."""
        self._show()
        base = self._bases.get(token)
        if base is None or start % self._chunk_bytes or not 0 <= start < self.volume.size_bytes:
            raise SourceInvalid("The receiver asks for what was not offered", code="agent-question")
        first = start // self._chunk_bytes
        with self._lock:
            self._base = base
            self._scan_beyond(first)
            end = self._scanned_blocks
        found: list[tuple[int, int, bool]] = []
        for block, count, zero in differences(base, self.new, first, end):
            if len(found) == PAGE_EXTENTS:
                return Extents(extents=tuple(found), next=block * self._chunk_bytes)
            at = block * self._chunk_bytes
            found.append((at, min(count * self._chunk_bytes, self.volume.size_bytes - at), zero))
        return Extents(extents=tuple(found), next=None if end == self.new.blocks else end * self._chunk_bytes)

    def read(self, offset: int, length: int, *, copy: bool) -> memoryview | Copied:
        """The bytes that are asked for; with `copy` where the base has them, if it has them all at other places.

        Their digests are kept, or compared with those that are.
        """
        plain = memoryview(bytearray(length))
        self.volume.pread_into(offset, plain)
        size, chunk = self.volume.size_bytes, self._chunk_bytes
        first = -(-offset // chunk)
        end = offset + length
        last = self.new.blocks if end == size else end // chunk
        digests = b""
        if first < last:
            whole = plain[first * chunk - offset : min(last * chunk, size) - offset]
            digests = block_digests(whole, chunk, self._key)
            self._digested(first, last - first, digests)
        with self._lock:
            if not self._scanned_blocks:
                self._progress.advance(length)
        if copy and len(digests) == -(-length // chunk) * DIGEST_BYTES:
            return self._copied(first, digests) or plain
        return plain

    def complete(self) -> None:
        """Digest what nobody asked for, so that the digests are of the whole disk: what is no hole is read."""
        chunk = self._chunk_bytes
        with self._lock:
            self._mark(0, self._scanned_blocks)
            for extent in self.volume.extents():
                if extent.zero:
                    last = self.new.blocks if extent.end == self.volume.size_bytes else extent.end // chunk
                    self._mark(-(-extent.start // chunk), last)
            most = max(SCAN_BYTES // chunk, 1)
            block = self._done.find(0)
            while block >= 0:
                until = self._done.find(1, block, block + most)
                self._digest(block, until if until >= 0 else min(block + most, self.new.blocks))
                block = self._done.find(0, block)

    def _digest(self, first: int, end: int) -> None:
        at = first * self._chunk_bytes
        plain = memoryview(bytearray(min(end * self._chunk_bytes, self.volume.size_bytes) - at))
        self.volume.pread_into(at, plain)
        self.new.put(first, block_digests(plain, self._chunk_bytes, self._key))
        self._mark(first, end)

    def _mark(self, first: int, end: int) -> None:
        if first < end:
            self._done[first:end] = b"\1" * (end - first)

    def _copied(self, first: int, digests: bytes) -> Copied | None:
        """Where the base has blocks with these digests; None if it lacks one, or has one where it still is."""
        with self._lock:
            if self._base is None:
                return None
            self._known = self._known or Known(self._base)
            known, held = self._known, self._base.get(first, len(digests) // DIGEST_BYTES)
        blocks = []
        for at in range(0, len(digests), DIGEST_BYTES):
            digest = digests[at : at + DIGEST_BYTES]
            block = -1 if digest == ZERO else known.block(digest)
            if block is None or digest == held[at : at + DIGEST_BYTES]:
                return None
            blocks.append(block)
        return Copied(blocks=tuple(blocks))

    def _digested(self, first: int, count: int, digests: bytes) -> None:
        with self._lock:
            scanned = min(max(self._scanned_blocks - first, 0), count)
            known = self.new.get(first, scanned)
            if digests[: scanned * DIGEST_BYTES] != known:
                self._differs(first, scanned, digests, known)
            self.new.put(first, digests)
            self._mark(first, first + count)

    def _differs(self, first: int, count: int, digests: bytes, known: bytes) -> None:
        """Content that moved on under us may be sent in place of what was found, but not where nothing had changed."""
        held = self._base.get(first, count) if self._base is not None else known
        for at in range(0, count * DIGEST_BYTES, DIGEST_BYTES):
            part = slice(at, at + DIGEST_BYTES)
            if digests[part] != known[part] and (self.volume.settled or held[part] == known[part]):
                raise SourceConflict(
                    f"{self.volume.key} was written to while it was read",
                    code="agent-changed",
                    why=f"block {first + at // DIGEST_BYTES} is not what it was",
                    hint="Give --snapshot-command, or run it again at a quieter time.",
                )

    def _scan_beyond(self, block: int) -> None:
        until = self._monotonic() + PAGE_SECONDS
        buffer = memoryview(bytearray(-(-SCAN_BYTES // self._chunk_bytes) * self._chunk_bytes))
        while self._scanned_blocks < self.new.blocks:
            at = self._scanned_blocks * self._chunk_bytes
            part = buffer[: min(len(buffer), self.volume.size_bytes - at)]
            self.volume.pread_into(at, part)
            self.new.put(self._scanned_blocks, block_digests(part, self._chunk_bytes, self._key))
            self._scanned_blocks += -(-len(part) // self._chunk_bytes)
            self._progress.advance(len(part))
            if self._scanned_blocks > block and self._monotonic() >= until:
                return

    def _extents_from(self, start: int) -> Iterator[Extent]:
        for extent in self.volume.extents():
            if extent.end > start:
                begin = max(extent.start, start)
                yield Extent(begin, extent.end - begin, extent.zero)

    def _show(self) -> None:
        if not self._shown:
            self._shown = True
            self._progress.disk(self.volume.key, self.volume.size_bytes)
