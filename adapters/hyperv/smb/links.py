"""The links to one server, shared by the files that are open there. Imports `adapters.hostlimit` and this package."""

from __future__ import annotations

import os
from collections.abc import Callable
from threading import Lock

from adapters.errors import SourceUnavailable
from adapters.hostlimit import HostPlaces
from adapters.hyperv.smb.link import Link, require_same_process


class Links:
    """Up to `wanted` links, `count` of them: as many as the host has places for, one at least.

    A link is made when it is first asked for, and made anew when it was lost. Safe to use from several threads; in a
    forked child every use raises SourceInvalid.
    """

    def __init__(self, connect: Callable[[], Link], wanted: int, places: HostPlaces) -> None:
        self._connect = connect
        self._places = places
        self._pid = os.getpid()
        self._closed = False
        places.enter()
        self.count = 1
        while self.count < wanted and places.try_enter():
            self.count += 1
        self._links: list[Link | None] = [None] * self.count
        self._locks = [Lock() for _ in range(self.count)]

    def get(self, number: int) -> Link:
        """Return a link that was alive when last looked at. Raises what `connect` does, SourceUnavailable if closed."""
        require_same_process(self._pid)
        with self._locks[number]:
            if self._closed:
                raise SourceUnavailable("The SMB connections were closed", code="smb-closed")
            link = self._links[number]
            if link is not None and not link.alive:
                link.abandon()
                link = self._links[number] = None
            if link is None:
                link = self._links[number] = self._connect()
            return link

    def drop(self, number: int, link: Link) -> None:
        """Give up a link on which something went wrong, unless another thread did."""
        with self._locks[number]:
            if self._links[number] is link:
                self._links[number] = None
        link.abandon()

    def close(self) -> None:
        """Log off everywhere; twice is harmless."""
        if self._closed or os.getpid() != self._pid:
            return
        self._closed = True
        for number, lock in enumerate(self._locks):
            with lock:
                link, self._links[number] = self._links[number], None
            if link is not None:
                link.close()
            self._places.leave()
