"""The port to a store of named, immutable objects; imports nothing of ours but `storage.errors`.

An object is created whole or not at all, is durable once `put` returns, and never changes.
Names are relative, use `/`, and match [a-z0-9][a-z0-9._/-]*.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ObjectStat:
    """An object as the store lists it; `modified_at` is the store's own clock, aware UTC."""

    name: str
    size_bytes: int
    modified_at: datetime


class ObjectStore(Protocol):
    """Named immutable objects. Safe to use from several threads and processes."""

    def put(self, name: str, *buffers: memoryview) -> None:
        """Create `name` from the buffers, durably. Raises Conflict if it exists, Limit if the store is full."""

    def read_into(self, name: str, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from `offset`. Raises NotFound; Corrupt if the object ends before the buffer is full."""

    def read_tail(self, name: str, length: int) -> tuple[int, bytes]:
        """Return the object's size and its last `length` bytes (all of it when it is shorter)."""

    def stat(self, name: str) -> ObjectStat:
        """Describe one object. Raises NotFound."""

    def list(self, prefix: str) -> Iterator[ObjectStat]:
        """Yield the objects whose names start with `prefix`, in name order."""

    def delete(self, name: str) -> None:
        """Remove an object. Raises NotFound."""

    def clean_partial(self, older_than: timedelta) -> int:
        """Remove what interrupted `put`s left behind, if older; return how many."""
