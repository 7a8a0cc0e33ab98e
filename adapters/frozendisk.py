"""A frozen disk as the flow sees it, whatever hypervisor froze it. Imports the shared modules of `adapters`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from adapters.areas import Area
from adapters.errors import SourceInvalid
from adapters.port import BlockReader, DiskFact, Extent, Tracked, TransportChoice, Untracked


class Handle(BlockReader, Protocol):
    """A reader that knows what of the disk is zero."""

    def changes(self, changed: Iterable[Area], /) -> Iterator[Extent]:
        """Yield `changed`, split into what is zero now and what is to be read."""


class Readers(Protocol):
    """What hands out readers of one disk, such as `adapters.sharing.SharedReader`."""

    def open(self) -> Handle:
        """Return a reader of its own."""

    def shut(self) -> None:
        """Close what is open, whoever still reads."""


class FrozenDisk:
    """One frozen disk, whose readers share what they are opened on; `changed` may be gone through again and again."""

    def __init__(
        self,
        fact: DiskFact,
        base_token: str | None,
        tracking: Tracked | Untracked,
        changed: Iterable[Area],
        choice: TransportChoice,
        readers: Readers,
    ) -> None:
        self.fact = fact
        self.base_token = base_token
        self.tracking = tracking
        self.choice: TransportChoice | None = choice
        self._changed = changed
        self._readers = readers

    def changes(self) -> Iterator[Extent]:
        """Yield what changed since the base. Raises SourceInvalid when it is not tracked."""
        if isinstance(self.tracking, Untracked):
            raise SourceInvalid(
                f"Changes of {self.fact.label} are not known", code="untracked", why=self.tracking.cause
            )
        if next(iter(self._changed), None) is None:
            return
        handle = self._readers.open()
        try:
            yield from handle.changes(self._changed)
        finally:
            handle.close()

    def open(self) -> BlockReader:
        """Open a reader; all readers of the disk share one connection."""
        return self._readers.open()

    def shut(self) -> None:
        """Close the connection whoever still reads."""
        self._readers.shut()
