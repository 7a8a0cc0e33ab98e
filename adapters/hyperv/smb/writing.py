"""A new file that is written over SMB, for a restore. Imports this package.

A write at a fixed offset may be done twice: one whose answer was lost is repeated once the file is open again. What
was acknowledged and not flushed could be lost with the server's memory: it is read back then, and compared.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from blake3 import blake3

from adapters.errors import SourceConflict, SourceUnavailable
from adapters.hyperv.smb.faults import LinkLost
from adapters.hyperv.smb.handle import Handle, Purpose
from adapters.hyperv.smb.link import PIECE_BYTES, require_same_process
from adapters.hyperv.smb.links import Links
from adapters.hyperv.smb.messages import set_size
from adapters.hyperv.smb.paths import SmbPath
from adapters.hyperv.smb.patience import Patience

_FLUSH_EVERY_BYTES = 256 << 20
_LANE = 0


class SmbWriter:
    """A file that was not there before; nobody else can write to it. Used by one thread at a time, for each range once.

    Raises SourceConflict `smb-file-exists` when there is one of the name, SourceLimit when the volume is full.
    """

    def __init__(self, path: SmbPath, links: Links, patience: Patience) -> None:
        self._path = path
        self._links = links
        self._patience = patience
        self._pid = os.getpid()
        self._closed = False
        self._lost = False
        self._handle = Handle(links.get(_LANE), path, Purpose.CREATE)
        self._identity = self._handle.identity
        self._unflushed: list[tuple[int, int, bytes]] = []
        self._unflushed_bytes = 0

    def resize(self, size_bytes: int) -> None:
        """Set the file's size: what was not written reads as zeros."""
        self._repeat(lambda handle: set_size(handle, size_bytes))

    def write_at(self, offset: int, data: memoryview | bytes) -> None:
        """Write all of it; the file grows as needed."""
        whole = memoryview(data).cast("B")
        self._repeat(partial(_write, offset=offset, data=whole))
        for start in range(0, len(whole), PIECE_BYTES):
            piece = whole[start : start + PIECE_BYTES]
            self._unflushed.append((offset + start, len(piece), blake3(piece).digest()))
        self._unflushed_bytes += len(whole)
        if self._unflushed_bytes >= _FLUSH_EVERY_BYTES:
            self.flush()

    def flush(self) -> None:
        """Return when everything is on the server's disks."""
        self._repeat(Handle.flush)
        self._unflushed.clear()
        self._unflushed_bytes = 0

    def close(self) -> None:
        """Close the file as it is; twice is harmless. `flush` first, or what was written may be lost."""
        if not self._closed and os.getpid() == self._pid:
            self._closed = True
            self._handle.close()

    def _repeat(self, act: Callable[[Handle], None]) -> None:
        """Do what may be done twice, until an answer comes. Raises LinkLost when patience is over."""
        require_same_process(self._pid)
        if self._closed:
            raise SourceUnavailable(f"{self._path} was closed", code="smb-closed")
        self._patience.until_done(partial(self._attempt, act))

    def _attempt(self, act: Callable[[Handle], None]) -> None:
        try:
            if self._lost:
                self._open_again()
            act(self._handle)
        except LinkLost:
            self._lost = True
            self._links.drop(_LANE, self._handle.link)
            raise

    def _open_again(self) -> None:
        """Open the file on a new link, and see that it is ours and has what was written. Raises LinkLost."""
        link = self._links.get(_LANE)
        try:
            handle = self._handle = Handle(link, self._path, Purpose.WRITE)
        except SourceConflict as error:
            if error.code != "smb-sharing":
                raise
            # A server that has not noticed yet that our connection is gone holds the file for us.
            raise LinkLost(error.what, code=error.code, why=error.why, hint=error.hint) from None
        if handle.identity != self._identity:
            raise SourceConflict(
                f"{self._path} changed while it was written", code="smb-file-changed", why="another file took its place"
            )
        for offset, length, digest in self._unflushed:
            if _read_back(handle, offset, length) != digest:
                raise SourceUnavailable(
                    f"{self._path} lost what was written to it",
                    code="smb-write-lost",
                    why="the server was interrupted before it had the data on its disks",
                    hint="Restore again.",
                )
        self._lost = False


def _write(handle: Handle, offset: int, data: memoryview) -> None:
    """Write in pieces, several under way at once."""
    turns, sent = handle.link.turns, deque[tuple[Any, int]]()
    try:
        while data or sent:
            # Who waits for a turn holds none: else two writers could wait for each other.
            if data and turns.acquire(blocking=not sent):
                piece = data[: handle.link.piece_bytes]
                sent.append((None, 0))  # holds the turn, whatever happens
                sent[-1] = (handle.send_write(offset, piece), len(piece))
                offset, data = offset + len(piece), data[len(piece) :]
            else:
                handle.receive_write(*sent[0])
                sent.popleft()
                turns.release()
    finally:
        for _ in sent:
            turns.release()


def _read_back(handle: Handle, offset: int, length: int) -> bytes:
    hasher, piece_bytes = blake3(), handle.link.piece_bytes
    for start in range(0, length, piece_bytes):
        piece = memoryview(bytearray(min(piece_bytes, length - start)))
        handle.receive_read(handle.send_read(offset + start, len(piece)), piece)
        hasher.update(piece)
    return hasher.digest()
