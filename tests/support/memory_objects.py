"""Objects in memory: the ObjectStore port without a disk. Nothing survives the process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from threading import Lock

from storage.errors import Conflict, Corrupt, NotFound
from storage.objects.names import check_name, check_prefix
from storage.objects.port import ObjectStat


def _now() -> datetime:
    return datetime.now(UTC)


class MemoryObjects:
    """The ObjectStore port on a dictionary."""

    def __init__(self, *, clock: Callable[[], datetime] = _now) -> None:
        self._objects: dict[str, tuple[bytes, datetime]] = {}
        self._lock = Lock()
        self._clock = clock

    def put(self, name: str, *buffers: memoryview) -> None:
        """Create `name` from the buffers. Raises Conflict if it exists."""
        check_name(name)
        content = b"".join(buffers)
        with self._lock:
            if name in self._objects:
                raise Conflict(f"{name} exists", code="object-exists")
            self._objects[name] = (content, self._clock())

    def read_into(self, name: str, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from `offset`. Raises NotFound; Corrupt if the object ends before the buffer is full."""
        content, _ = self._get(name)
        piece = content[offset : offset + len(buffer)]
        if len(piece) < len(buffer):
            raise Corrupt(f"{name} ends early", code="object-truncated", why=f"no byte at {offset + len(piece)}")
        buffer[:] = piece

    def read_tail(self, name: str, length: int) -> tuple[int, bytes]:
        """Return the object's size and its last `length` bytes (all of it when it is shorter)."""
        content, _ = self._get(name)
        return len(content), content[max(0, len(content) - length) :]

    def stat(self, name: str) -> ObjectStat:
        """Describe one object. Raises NotFound."""
        content, modified_at = self._get(name)
        return ObjectStat(name, len(content), modified_at)

    def list(self, prefix: str) -> Iterator[ObjectStat]:
        """Yield the objects whose names start with `prefix`, in name order."""
        check_prefix(prefix)
        with self._lock:
            found = sorted(item for item in self._objects.items() if item[0].startswith(prefix))
        for name, (content, modified_at) in found:
            yield ObjectStat(name, len(content), modified_at)

    def delete(self, name: str) -> None:
        """Remove an object. Raises NotFound."""
        check_name(name)
        with self._lock:
            if self._objects.pop(name, None) is None:
                raise NotFound(f"no object {name}", code="object-missing")

    def clean_partial(self, older_than: timedelta) -> int:
        """Answer 0: a put into memory leaves nothing behind."""
        del older_than
        return 0

    def _get(self, name: str) -> tuple[bytes, datetime]:
        check_name(name)
        with self._lock:
            if name not in self._objects:
                raise NotFound(f"no object {name}", code="object-missing")
            return self._objects[name]
