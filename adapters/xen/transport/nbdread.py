"""The `nbd` transport: a snapshot's VDI read over NBD from a host of the pool, in TLS unless that was waived by name.

Imports `adapters` and this package only. A snapshot does not change: what is lost with a connection, a session or a
host is read again through a new connection, whose export's name was taken anew, until the patience ends. A disk has one
connection: hosts serve few, and several of them were not faster.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock
from typing import TypeVar

from adapters.errors import AdapterError, SourceConflict, SourceInvalid, SourceLimit, SourceNotFound, SourceUnavailable
from adapters.nbd.client import NbdClient
from adapters.nbd.protocol import BASE_ALLOCATION
from adapters.nbd.reader import zero_extents
from adapters.port import Extent
from adapters.xen.transport.access import VdiAccess
from adapters.xen.transport.nbdinfo import NbdPlace, nbd_places
from adapters.xen.transport.places import HostPlaces, Place, none_free

T = TypeVar("T")

_OF_ONE_HOST = (SourceUnavailable, SourceNotFound, SourceLimit)
"""Failures at one address that another one may not have."""

_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a read goes on after its connection was lost, and how long a disk waits for a place at a busy host:
    others may be in the middle of theirs. `timeout_seconds` bounds each answer."""

    lost_seconds: float = 180.0
    turn_seconds: float = 3600.0
    timeout_seconds: float = 60.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True, slots=True)
class _Line:
    """One connection with its place."""

    client: NbdClient
    place: Place

    def close(self) -> None:
        self.client.close()
        self.place.leave()


class NbdRead:
    """One frozen VDI. Another certificate, another size or a disk that is gone raise at once: waiting heals none."""

    def __init__(
        self,
        access: VdiAccess,
        *,
        secure: bool = True,
        patience: Patience | None = None,
    ) -> None:
        if not secure and not access.insecure_nbd:
            raise SourceInvalid(
                f"{access.label} would travel in clear text",
                code="transport-impossible",
                why="the settings do not allow insecure_nbd",
            )
        self.size_bytes = access.size_bytes
        self.transport = "nbd" if secure else "insecure_nbd"
        self._access = access
        self._secure = secure
        self._patience = patience or Patience()
        self._opening = Lock()
        self._lock = Lock()  # guards the two below
        self._current: _Line | None = None
        self._closed = False
        self._retried(lambda _: None)

    def extents(self) -> Iterator[Extent]:
        """Yield the disk in order, gapless; without `base:allocation` at the host all of it is data."""
        position = 0
        while position < self.size_bytes:
            known, position = self._retried(lambda client: _some_extents(client, position))  # noqa: B023 - run here
            yield from known

    def pread_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from `offset`. Raises SourceInvalid past the end, else what outlasts the patience."""
        if offset < 0 or offset + len(buffer) > self.size_bytes:
            raise SourceInvalid(
                f"A read of {len(buffer)} bytes at {offset} is outside the disk",
                code="read-past-end",
                why=f"it has {self.size_bytes} bytes",
            )
        self._retried(lambda client: client.pread_into(offset, buffer))

    def close(self) -> None:
        """Close the connection; twice is harmless. Reads in flight raise."""
        with self._lock:
            self._closed = True
            line, self._current = self._current, None
        if line is not None:
            line.close()

    def _retried(self, work: Callable[[NbdClient], T]) -> T:
        """Do `work` on the connection, again on another one while connections are lost and patience lasts."""
        patience, pause = self._patience, _FIRST_PAUSE_SECONDS
        failing_since: float | None = None
        while True:
            line: _Line | None = None
            try:
                line = self._line()
                return work(line.client)
            except AdapterError as error:
                if line is not None:
                    self._drop(line)
                now = patience.clock()
                failing_since = now if failing_since is None else failing_since
                if self._closed or now - failing_since + pause > self._allowed_seconds(error):
                    raise
            patience.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    def _allowed_seconds(self, error: AdapterError) -> float:
        """How long we go on after an error: it may be that of a host with too many guests, or of an ended session."""
        if error.code == "host-connections":
            return self._patience.turn_seconds
        lost = error.code in {"nbd-no-export", "nbd-closed"} or isinstance(error, SourceUnavailable)
        return self._patience.lost_seconds if lost and error.code != "nbd-no-network" else 0

    def _line(self) -> _Line:
        """The connection; where there is none, one reader opens it and the others wait."""
        if (line := self._open_line()) is not None:
            return line
        with self._opening:
            if (line := self._open_line()) is not None:
                return line
            made = self._connect()
            with self._lock:
                if not self._closed:
                    self._current = made
                    return made
            made.close()
            raise _closed()

    def _open_line(self) -> _Line | None:
        with self._lock:
            if self._closed:
                raise _closed()
            return self._current

    def _drop(self, line: _Line) -> None:
        """Close a connection that failed, unless another reader did."""
        with self._lock:
            if self._current is not line:
                return
            self._current = None
        line.close()

    def _connect(self) -> _Line:
        """Connect to one of the addresses that the pool tells now. Raises what the last of them met."""
        places = nbd_places(self._access, secure=self._secure)
        first = zlib.crc32(self._access.uuid.encode()) % len(places)  # disks spread over hosts
        *others, last = places[first:] + places[:first]
        for place in others:
            with suppress(*_OF_ONE_HOST):
                return self._connect_to(place)
        return self._connect_to(last)

    def _connect_to(self, place: NbdPlace) -> _Line:
        access, cap = self._access, self._access.connections_per_host
        turn = HostPlaces(access.runtime_dir, f"xen-nbd {place.host}", cap).try_enter()
        if turn is None:
            raise none_free(place.address, cap, self._patience.turn_seconds)
        try:
            client = NbdClient(
                place.address, place.export.reveal(), tls=place.tls, timeout_seconds=self._patience.timeout_seconds
            )
        except BaseException:
            turn.leave()
            raise
        line = _Line(client, turn)
        if client.size_bytes != self.size_bytes:
            line.close()
            raise SourceConflict(
                f"{access.label} has another size over NBD",
                code="disk-size-changed",
                why=f"{client.size_bytes} bytes instead of {self.size_bytes}",
            )
        return line


def _closed() -> SourceUnavailable:
    return SourceUnavailable("The reader was closed", code="reader-closed")


_EXTENTS_AT_ONCE = 4096


def _some_extents(client: NbdClient, start: int) -> tuple[list[Extent], int]:
    """Extents from `start` on, and where they end: the disk's end, or that of the last of many."""
    if BASE_ALLOCATION not in client.contexts:
        return [Extent(start, client.size_bytes - start, zero=False)], client.size_bytes
    found: list[Extent] = []
    for extent in zero_extents(client.block_status(BASE_ALLOCATION, start)):
        found.append(extent)
        if len(found) == _EXTENTS_AT_ONCE:
            break
    return found, found[-1].end
