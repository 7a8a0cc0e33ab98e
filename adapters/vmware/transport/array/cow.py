"""Copy-on-write as the Linux kernel offers it: btrfs subvolumes and reflinked files. Imports `adapters.errors` only.

Constants and layouts are those of linux/btrfs.h and linux/fs.h.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from adapters.errors import AdapterError, SourceDenied, SourceInvalid, SourceLimit, SourceUnavailable

_FICLONE = 0x40049409
_SNAPSHOT_CREATE_V2 = 0x50009417
_SNAPSHOT_DESTROY = 0x5000940F
_READ_ONLY = 1 << 1
_CREATE_ARGUMENTS = struct.Struct("=qQQ32x4040s")
_DESTROY_ARGUMENTS = struct.Struct("=q4088s")
_SUBVOLUME_INODE = 256


def is_subvolume(path: Path) -> bool:
    """Tell whether a folder is the root of a btrfs subvolume."""
    return path.is_dir() and path.stat().st_ino == _SUBVOLUME_INODE


def snapshot_subvolume(source: Path, target: Path) -> None:
    """Make `target` a read-only snapshot of a subvolume of the same file system, at one moment."""
    with _folder(source) as of, _folder(target.parent) as into:
        arguments = bytearray(_CREATE_ARGUMENTS.pack(of, 0, _READ_ONLY, os.fsencode(target.name)))
        _ioctl(into, _SNAPSHOT_CREATE_V2, arguments, target)


def delete_subvolume(path: Path) -> None:
    """Delete a snapshot."""
    with _folder(path.parent) as inside:
        arguments = bytearray(_DESTROY_ARGUMENTS.pack(0, os.fsencode(path.name)))
        _ioctl(inside, _SNAPSHOT_DESTROY, arguments, path)


def clone_file(source: Path, target: Path) -> None:
    """Make `target` share the blocks that `source` has at one moment. A half-made target is never seen."""
    partial = target.with_name(f"{target.name}.partial")
    partial.unlink(missing_ok=True)
    try:
        with open(source, "rb") as of, open(partial, "xb") as into:
            _ioctl(into.fileno(), _FICLONE, of.fileno(), target)
            os.fsync(into.fileno())
        partial.rename(target)
    except OSError as error:
        raise _translated(error, target) from None
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def _folder(path: Path) -> Iterator[int]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _translated(error, path) from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _ioctl(descriptor: int, request: int, argument: bytearray | int, path: Path) -> None:
    try:  # a mutable argument, because Python copies at most 1024 bytes of another
        fcntl.ioctl(descriptor, request, argument)
    except OSError as error:
        raise _translated(error, path) from None


def _translated(error: OSError, path: Path) -> AdapterError:
    why = error.strerror or str(error)
    what = f"{path.name} cannot be made or removed"
    if error.errno in {errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.EXDEV}:
        return SourceInvalid(what, code="array-no-reflink", why=f"the file system cannot do that here: {why}")
    if error.errno in {errno.EPERM, errno.EACCES, errno.EROFS}:
        return SourceDenied(what, code="array-denied", why=why)
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return SourceLimit(what, code="array-full", why=why)
    return SourceUnavailable(what, code="array-failed", why=why)
