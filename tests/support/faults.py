"""Faults on request: a machine that loses power at the n-th file operation, and an object store that fails.

`PowerCut` patches the operations of `os` that change files. At the n-th one the power goes: that call and all
later ones raise PowerLost, and files whose bytes were not fsynced are cut to half, as a disk may leave them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from storage.objects.port import ObjectStat, ObjectStore

_OPERATIONS = ("writev", "fsync", "link", "rename", "unlink", "mkdir", "pwrite", "ftruncate")


class PowerLost(BaseException):
    """The machine is off."""


class PowerCut:
    """A context in which operation number `at` (from 1) never happens. `operations` counts those that began."""

    def __init__(self, at: int | None = None) -> None:
        self._at = at
        self._real: dict[str, Callable[..., Any]] = {}
        self.operations = 0
        self.dirty: set[Path] = set()

    def __enter__(self) -> Self:
        for name in _OPERATIONS:
            self._real[name] = getattr(os, name)
            setattr(os, name, self._guarded(name))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name, real in self._real.items():
            setattr(os, name, real)

    def _guarded(self, name: str) -> Callable[..., Any]:
        def operation(*args: Any, **kwargs: Any) -> Any:
            self.operations += 1
            if self._at is not None and self.operations >= self._at:
                self._tear()
                raise PowerLost
            result = self._real[name](*args, **kwargs)
            self._note(name, args)
            return result

        return operation

    def _note(self, name: str, args: tuple[Any, ...]) -> None:
        """Keep the set of files and directories whose state is not on disk."""
        if name in ("writev", "pwrite", "ftruncate"):
            self.dirty.add(_path(args[0]))
        elif name == "fsync":
            self.dirty.discard(_path(args[0]))
        elif name in ("link", "rename"):
            source, target = Path(args[0]), Path(args[1])
            if source in self.dirty:
                self.dirty.add(target)
            if name == "rename":
                self.dirty.discard(source)
            self.dirty.add(target.parent)
        elif name == "mkdir":
            self.dirty.add(Path(args[0]).parent)
        elif name == "unlink":
            self.dirty.discard(Path(args[0]))

    def _tear(self) -> None:
        for path in self.dirty:
            if path.is_file():
                os.truncate(path, path.stat().st_size // 2)
        self.dirty.clear()


def _path(descriptor: int) -> Path:
    return Path(os.readlink(f"/proc/self/fd/{descriptor}"))


class FaultyObjects:
    """Passes everything on to `real`; `before` is called with the operation and the name first, and may raise."""

    def __init__(self, real: ObjectStore, before: Callable[[str, str], None]) -> None:
        self._real = real
        self._before = before

    def put(self, name: str, *buffers: memoryview) -> None:
        self._before("put", name)
        self._real.put(name, *buffers)

    def read_into(self, name: str, offset: int, buffer: memoryview) -> None:
        self._before("read_into", name)
        self._real.read_into(name, offset, buffer)

    def read_tail(self, name: str, length: int) -> tuple[int, bytes]:
        self._before("read_tail", name)
        return self._real.read_tail(name, length)

    def stat(self, name: str) -> ObjectStat:
        self._before("stat", name)
        return self._real.stat(name)

    def list(self, prefix: str) -> Iterator[ObjectStat]:
        self._before("list", prefix)
        return self._real.list(prefix)

    def delete(self, name: str) -> None:
        self._before("delete", name)
        self._real.delete(name)

    def clean_partial(self, older_than: timedelta) -> int:
        return self._real.clean_partial(older_than)
