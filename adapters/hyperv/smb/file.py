"""A file over several links at once: a `RandomFile` for the virtual disk's reader. Imports this package.

A lost connection is made anew, and the file opened again: it must be the one that it was, or the read fails.
"""

from __future__ import annotations

import os
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from threading import Lock

from adapters.errors import AdapterError, SourceConflict, SourceInvalid, SourceUnavailable
from adapters.hyperv.smb.faults import LinkLost
from adapters.hyperv.smb.handle import Handle, Purpose
from adapters.hyperv.smb.link import require_same_process
from adapters.hyperv.smb.links import Links
from adapters.hyperv.smb.paths import SmbPath
from adapters.hyperv.smb.patience import Patience
from adapters.hyperv.smb.reads import ReadRequest

_UNDER_WAY = 8
"""How many pieces one call has under way at most."""

Piece = tuple[int, memoryview]


@dataclass(frozen=True, slots=True)
class _Sent:
    """A piece that was asked for; it holds a turn of its handle's link."""

    lane: int
    handle: Handle
    request: ReadRequest
    offset: int
    buffer: memoryview


class SmbFile:
    """Random reads of a file, over up to `lanes` handles, each on a link of its own. Safe to use from several threads.

    A `frozen` file must keep its time of writing as long as it is open here, every file its size: whatever changed
    under us is SourceConflict `smb-file-changed`. Opening raises SourceNotFound, SourceDenied, SourceConflict
    `smb-sharing`.
    """

    def __init__(self, path: SmbPath, links: Links, lanes: int, patience: Patience, *, frozen: bool) -> None:
        self._path = path
        self._links = links
        self._patience = patience
        self._frozen = frozen
        self._pid = os.getpid()
        self._closed = False
        self._looking = Lock()
        self._turn = 0
        self._first: Handle | None = None
        self._handles: list[Handle | None] = [None] * min(lanes, links.count)
        self.size_bytes = self._handle(0).size_bytes

    def pread_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from `offset`. Raises SourceInvalid past the end, SourceUnavailable when patience is over."""
        require_same_process(self._pid)
        if offset < 0 or offset + len(buffer) > self.size_bytes:
            raise SourceInvalid(
                f"A read of {len(buffer)} bytes at {offset} is outside {self._path}",
                code="read-past-end",
                why=f"it has {self.size_bytes} bytes",
            )
        if buffer:
            for at, piece in self._read(offset, buffer.cast("B")):
                self._patience.until_done(partial(self._read_alone, at, piece))

    def close(self) -> None:
        """Close the handles; the links stay. Twice is harmless, and so is a forked child's."""
        if self._closed or os.getpid() != self._pid:
            return
        self._closed = True
        with self._looking:
            for handle in self._handles:
                if handle is not None:
                    handle.close()

    def _read(self, offset: int, buffer: memoryview) -> list[Piece]:
        """Read in pieces, several at once, and return what lost links left to do."""
        under_way: deque[_Sent] = deque()
        lost: list[Piece] = []
        try:
            while buffer or under_way:
                sent = None
                if buffer and len(under_way) < _UNDER_WAY:
                    try:
                        # Who waits for a turn holds none: else two threads could wait for each other.
                        sent = self._send(offset, buffer, wait=not under_way)
                    except LinkLost:
                        lost.append((offset, buffer))
                        buffer = buffer[:0]
                if sent is not None:
                    under_way.append(sent)
                    offset, buffer = offset + len(sent.buffer), buffer[len(sent.buffer) :]
                elif under_way:
                    first = under_way.popleft()
                    try:
                        self._finish(first)
                    except LinkLost:
                        lost.append((first.offset, first.buffer))
        finally:
            for sent in under_way:  # after a failure: nothing may write into the buffer once we are gone
                with suppress(AdapterError):
                    self._finish(sent)
        return lost

    def _read_alone(self, offset: int, buffer: memoryview) -> None:
        """Read piece after piece. Raises LinkLost."""
        while buffer:
            if sent := self._send(offset, buffer, wait=True):
                self._finish(sent)
                offset, buffer = offset + len(sent.buffer), buffer[len(sent.buffer) :]

    def _send(self, offset: int, buffer: memoryview, *, wait: bool) -> _Sent | None:
        """Ask for the first piece of the buffer on the next lane that has a turn; None when no lane has, unless `wait`.

        Raises LinkLost.
        """
        lanes = len(self._handles)
        self._turn = start = (self._turn + 1) % lanes
        for step in range(lanes + wait):
            lane = (start + step) % lanes
            handle = self._handle(lane)
            if not handle.link.turns.acquire(blocking=step == lanes):
                continue
            piece = buffer[: handle.link.piece_bytes]
            try:
                return _Sent(lane, handle, handle.send_read(offset, len(piece)), offset, piece)
            except BaseException as error:
                handle.link.turns.release()
                if isinstance(error, LinkLost):
                    self._links.drop(lane, handle.link)
                raise
        return None

    def _finish(self, sent: _Sent) -> None:
        """Wait for a piece. Raises LinkLost."""
        try:
            sent.handle.receive_read(sent.request, sent.buffer)
        except LinkLost:
            self._links.drop(sent.lane, sent.handle.link)
            raise
        finally:
            sent.handle.link.turns.release()

    def _handle(self, lane: int) -> Handle:
        """Return the lane's handle, opened when it is first needed and when its link was lost. Raises LinkLost."""
        if self._closed:
            raise SourceUnavailable(f"{self._path} was closed", code="smb-closed")
        link = self._links.get(lane)
        with self._looking:
            handle = self._handles[lane]
            if handle is None or handle.link is not link:
                try:
                    handle = Handle(link, self._path, Purpose.READ)
                except LinkLost:
                    self._links.drop(lane, link)
                    raise
                self._require_unchanged(handle)
                self._handles[lane] = handle
            return handle

    def _require_unchanged(self, handle: Handle) -> None:
        """Raise SourceConflict unless the handle is of the file that was opened first, as it was then."""
        first = self._first = self._first or handle
        why = None
        if handle.identity != first.identity:
            why = "another file took its place"
        elif handle.size_bytes != first.size_bytes:
            why = f"it has {handle.size_bytes} bytes, and had {first.size_bytes}"
        elif self._frozen and handle.written != first.written:
            why = "it was written to"
        if why is not None:
            handle.close()
            raise SourceConflict(f"{self._path} changed while it was read", code="smb-file-changed", why=why)
