"""Files that appear whole and durable, or not at all; imports nothing of ours but `storage.errors`.

The order is always: write beside the target, fsync, link or rename, fsync the directory. An interrupted
publication leaves at most a file in the directory of partial files, never half a target.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from storage.errors import Conflict, HoldfastError, Limit, Unavailable

Bytes = bytes | bytearray | memoryview

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_IOV_MAX = 512
_PAGE_BYTES = 4096
_DIRECT_BYTES = 1 << 20


def storage_error(error: OSError, what: str) -> HoldfastError:
    """Turn an operating system's error into ours: Limit `store-full`, else Unavailable `store-unavailable`."""
    why = error.strerror or type(error).__name__
    if error.errno in _FULL:
        return Limit(what, code="store-full", why=why, hint="free space in the store, then run the same again")
    return Unavailable(what, code="store-unavailable", why=why)


def create_file(
    target: Path, buffers: Sequence[Bytes], *, partial: Path, mode: int = 0o644, fsync: bool = True
) -> None:
    """Create `target` durably; `partial` is a directory on the same file system. Raises Conflict if it exists."""
    _publish(target, buffers, partial, mode, fsync, replace=False)


def replace_file(target: Path, buffers: Sequence[Bytes], *, partial: Path, mode: int = 0o644) -> None:
    """Put a new durable file in the place of `target`, in one step."""
    _publish(target, buffers, partial, mode, True, replace=True)


def publish(written: Path, target: Path) -> None:
    """Fsync a file written by other means and move it to `target` in one step."""
    descriptor = os.open(written, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.rename(written, target)
    fsync_directory(target.parent)


def fsync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(path: Path, *, fsync: bool = True) -> None:
    """Create a directory and its parents, durably."""
    missing = []
    while not path.is_dir():
        missing.append(path)
        path = path.parent
    for directory in reversed(missing):
        directory.mkdir(exist_ok=True)
        if fsync:
            fsync_directory(directory.parent)


def _publish(target: Path, buffers: Sequence[Bytes], partial: Path, mode: int, fsync: bool, *, replace: bool) -> None:
    written = partial / f".{secrets.token_hex(16)}.partial"
    try:
        _write(written, buffers, mode, fsync)
        if replace:
            os.rename(written, target)
        else:
            os.link(written, target)
        if fsync:
            fsync_directory(target.parent)
    except FileExistsError as error:
        raise Conflict(f"{target.name} exists", code="object-exists") from error
    except OSError as error:
        raise storage_error(error, f"cannot write {target.name}") from error
    finally:
        written.unlink(missing_ok=True)


def _write(path: Path, buffers: Sequence[Bytes], mode: int, fsync: bool) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        views = [memoryview(buffer).cast("B") for buffer in buffers]
        if fsync and views:
            views[0] = views[0][_write_direct(descriptor, views[0]) :]
        write_all(descriptor, views)
        if fsync:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_direct(descriptor: int, view: memoryview) -> int:
    """Write the whole pages of a large buffer past the page cache, where memory and file system allow it.

    Returns how many bytes that were; the rest is to be written the usual way. Packs go to the disk at once and are
    not read soon: copying them into the cache would cost a seventh of a backup's processor time.
    """
    whole = len(view) - len(view) % _PAGE_BYTES
    if whole < _DIRECT_BYTES:
        return 0
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    done = 0
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_DIRECT)
        while done < whole and not done % _PAGE_BYTES:
            done += os.writev(descriptor, [view[done:whole]])
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    finally:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags)
    return done


def write_all(descriptor: int, buffers: Sequence[Bytes]) -> None:
    """Write every byte of the buffers at the descriptor's position."""
    views = [memoryview(buffer).cast("B") for buffer in buffers if len(buffer)]
    while views:
        done = os.writev(descriptor, views[:_IOV_MAX])
        while views and done >= len(views[0]):
            done -= len(views.pop(0))
        if done:
            views[0] = views[0][done:]
