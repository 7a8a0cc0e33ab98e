"""Objects as files below one directory; imports `storage` only.

Invariants: an object appears by link(2), which never replaces; its bytes and its name are on disk when `put`
returns; unfinished files live in `.partial`, which no object's name can reach.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from storage.errors import Corrupt, HoldfastError, NotFound
from storage.files import create_file, fsync_directory, make_directory, storage_error
from storage.objects.names import check_name, check_prefix
from storage.objects.port import ObjectStat


def _now() -> datetime:
    return datetime.now(UTC)


class LocalObjects:
    """The ObjectStore port on a POSIX file system with hard links. `fsync=False` is for throw-away stores."""

    def __init__(self, root: Path, *, fsync: bool = True, clock: Callable[[], datetime] = _now) -> None:
        self._root = root
        self._fsync = fsync
        self._clock = clock
        self._partial = root / ".partial"
        make_directory(self._partial, fsync=fsync)

    def put(self, name: str, *buffers: memoryview) -> None:
        """Create `name` from the buffers, durably. Raises Conflict if it exists, Limit if the store is full."""
        target = self._path(name)
        try:
            make_directory(target.parent, fsync=self._fsync)
        except OSError as error:
            raise storage_error(error, f"cannot create a directory for {name}") from error
        create_file(target, buffers, partial=self._partial, fsync=self._fsync)

    def read_into(self, name: str, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from `offset`. Raises NotFound; Corrupt if the object ends before the buffer is full."""
        descriptor = self._open(name)
        try:
            _pread_all(descriptor, offset, buffer, name)
        finally:
            os.close(descriptor)

    def read_tail(self, name: str, length: int) -> tuple[int, bytes]:
        """Return the object's size and its last `length` bytes (all of it when it is shorter)."""
        descriptor = self._open(name)
        try:
            size = os.fstat(descriptor).st_size
            tail = bytearray(min(size, length))
            _pread_all(descriptor, size - len(tail), memoryview(tail), name)
            return size, bytes(tail)
        finally:
            os.close(descriptor)

    def stat(self, name: str) -> ObjectStat:
        """Describe one object. Raises NotFound."""
        try:
            found = self._path(name).lstat()
        except OSError as error:
            raise _read_error(error, name) from error
        if not stat.S_ISREG(found.st_mode):
            raise _no_object(name)
        return _describe(name, found)

    def list(self, prefix: str) -> Iterator[ObjectStat]:
        """Yield the objects whose names start with `prefix`, in name order."""
        check_prefix(prefix)
        folder, _, _ = prefix.rpartition("/")
        yield from self._walk(folder + "/" if folder else "", prefix)

    def delete(self, name: str) -> None:
        """Remove an object. Raises NotFound."""
        path = self._path(name)
        try:
            path.unlink()
            if self._fsync:
                fsync_directory(path.parent)
        except OSError as error:
            raise _read_error(error, name) from error

    def clean_partial(self, older_than: timedelta) -> int:
        """Remove what interrupted `put`s left behind, if older; return how many."""
        before = (self._clock() - older_than).timestamp()
        removed = 0
        with os.scandir(self._partial) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # a put of somebody else's may end meanwhile
                    if entry.stat(follow_symlinks=False).st_mtime < before:
                        os.unlink(entry.path)
                        removed += 1
        return removed

    def _path(self, name: str) -> Path:
        return self._root / check_name(name)

    def _open(self, name: str) -> int:
        try:
            descriptor = os.open(self._path(name), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            raise _read_error(error, name) from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise _no_object(name)
        return descriptor

    def _walk(self, folder: str, prefix: str) -> Iterator[ObjectStat]:
        for key, entry in _entries(self._root, folder):
            if key.endswith("/"):
                if key.startswith(prefix) or prefix.startswith(key):
                    yield from self._walk(key, prefix)
            elif key.startswith(prefix) and entry.is_file(follow_symlinks=False):
                try:
                    yield _describe(key, entry.stat(follow_symlinks=False))
                except FileNotFoundError:
                    continue


def _entries(root: Path, folder: str) -> list[tuple[str, os.DirEntry[str]]]:
    """Read one directory; folders carry a slash in their key, so that keys sort as whole names do."""
    try:
        with os.scandir(root / folder) as entries:
            visible = [entry for entry in entries if not entry.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise storage_error(error, f"cannot list {folder or 'the store'}") from error
    keyed = [(folder + entry.name + "/" * entry.is_dir(follow_symlinks=False), entry) for entry in visible]
    return sorted(keyed, key=lambda pair: pair[0])


def _describe(name: str, found: os.stat_result) -> ObjectStat:
    return ObjectStat(name, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))


def _pread_all(descriptor: int, offset: int, buffer: memoryview, name: str) -> None:
    done = 0
    while done < len(buffer):
        try:
            got = os.preadv(descriptor, [buffer[done:]], offset + done)
        except OSError as error:
            raise _read_error(error, name) from error
        if got == 0:
            raise Corrupt(f"{name} ends early", code="object-truncated", why=f"no byte at {offset + done}")
        done += got


def _read_error(error: OSError, name: str) -> HoldfastError:
    if isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError) or error.errno == errno.ELOOP:
        return _no_object(name)
    return storage_error(error, f"cannot read {name}")


def _no_object(name: str) -> NotFound:
    return NotFound(f"no object {name}", code="object-missing")
