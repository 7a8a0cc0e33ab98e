"""The files below a directory, always in the same order, as facts for an archive. Imports `ingest.agent.tarform`.

Nothing is followed: each step is taken from an open directory, so that who renames or links meanwhile leads nowhere
else. Other file systems are not entered; sockets have no content and are not listed.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache

from ingest.agent.tarform import MemberFacts, kind_of

MAX_SEGMENTS = 10_000
"""A sparse file with more parts of data is kept as a plain one."""
SPARSE_FROM = 64 << 10
MAX_DEPTH = 200
OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_UNSUPPORTED = {errno.ENOTSUP, errno.ENODATA, errno.EPERM}
Trouble = Callable[[bytes, str], None]


@dataclass(frozen=True, slots=True)
class Found:
    """A file as it was found, and what an archive keeps of it."""

    facts: MemberFacts
    status: os.stat_result


class Walk:
    """One walk below the open directory `root`; `trouble` hears of what could not be read.

    `mounts` are the directories of other file systems that were met.
    """

    def __init__(self, root: int, trouble: Trouble) -> None:
        self._root = root
        self._trouble = trouble
        self._device = os.fstat(root).st_dev
        self._links: dict[tuple[int, int], bytes] = {}
        self.mounts: list[bytes] = []

    def files(self) -> Iterator[Found]:
        """Yield the directory itself, then everything below it; a directory comes before what is in it."""
        status = os.fstat(self._root)
        yield Found(self._facts(self._root, ".", b"./", status), status)
        yield from self._below(self._root, b"", 0)

    def _below(self, directory: int, prefix: bytes, depth: int) -> Generator[Found]:
        for leaf in sorted(os.listdir(directory), key=os.fsencode):
            name = prefix + os.fsencode(leaf)
            try:
                status = os.stat(leaf, dir_fd=directory, follow_symlinks=False)
                if kind_of(status.st_mode) is None:
                    continue
                inside = stat.S_ISDIR(status.st_mode)
                found = Found(self._facts(directory, leaf, name + b"/" * inside, status), status)
            except OSError as error:
                self._trouble(name, error.strerror or "unreadable")
                continue
            yield found
            if inside:
                yield from self._entered(directory, leaf, name, status, depth + 1)

    def _entered(self, parent: int, leaf: str, name: bytes, status: os.stat_result, depth: int) -> Iterator[Found]:
        if status.st_dev != self._device:
            self.mounts.append(name)
            return
        if depth > MAX_DEPTH:
            self._trouble(name, "nested too deep")
            return
        try:
            directory = os.open(leaf, OPEN | os.O_DIRECTORY, dir_fd=parent)
        except OSError as error:
            self._trouble(name, error.strerror or "unreadable")
            return
        try:
            with closing(self._below(directory, name + b"/", depth)) as below:
                yield from below
        except OSError as error:
            self._trouble(name, error.strerror or "unreadable")
        finally:
            os.close(directory)

    def _facts(self, directory: int, leaf: str, name: bytes, status: os.stat_result) -> MemberFacts:
        """Raises OSError for what cannot be read."""
        kind = kind_of(status.st_mode) or b"0"
        link, segments = b"", None
        if kind == b"2":
            link = os.fsencode(os.readlink(leaf, dir_fd=directory))
        elif kind == b"0":
            identity = (status.st_dev, status.st_ino)
            if identity in self._links:
                kind, link = b"1", self._links[identity]
            else:
                segments = _segments(directory, leaf, status)
                if status.st_nlink > 1:
                    self._links[identity] = name
        return MemberFacts(
            name=name,
            kind=kind,
            mode=status.st_mode,
            uid=status.st_uid,
            gid=status.st_gid,
            user=_user(status.st_uid),
            group=_group(status.st_gid),
            size_bytes=status.st_size if kind == b"0" else 0,
            modified_ns=status.st_mtime_ns,
            link=link,
            device=status.st_rdev if kind in (b"3", b"4") else 0,
            attributes=() if kind == b"1" else _attributes(directory, leaf),
            map=segments,
        )


def _segments(directory: int, leaf: str, status: os.stat_result) -> tuple[tuple[int, int], ...] | None:
    """The parts of a file that hold data, None for a plain one; opening it shows whether it can be read at all."""
    descriptor = os.open(leaf, OPEN, dir_fd=directory)
    try:
        size = status.st_size
        if size < SPARSE_FROM or status.st_blocks * 512 >= size:
            return None
        parts: list[tuple[int, int]] = []
        at = 0
        while at < size and len(parts) <= MAX_SEGMENTS:
            data = _seek(descriptor, at, os.SEEK_DATA, size)
            at = _seek(descriptor, data, os.SEEK_HOLE, size) if data < size else size
            if at > data:
                parts.append((data, at - data))
        if len(parts) > MAX_SEGMENTS:
            return None
        return tuple(parts) if parts and sum(parts[-1]) == size else (*parts, (size, 0))
    finally:
        os.close(descriptor)


def _seek(descriptor: int, at: int, whence: int, size: int) -> int:
    try:
        return min(os.lseek(descriptor, at, whence), size)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return size
        if error.errno == errno.EINVAL:
            return at if whence == os.SEEK_DATA else size
        raise


def _attributes(directory: int, leaf: str) -> tuple[tuple[bytes, bytes], ...]:
    path = f"/proc/self/fd/{directory}/{leaf}"
    try:
        names = sorted(os.listxattr(path, follow_symlinks=False))
        found = [(os.fsencode(name), os.getxattr(path, name, follow_symlinks=False)) for name in names]
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return ()
        raise
    return tuple(found)


@lru_cache(4096)
def _user(uid: int) -> bytes:
    try:
        return os.fsencode(pwd.getpwuid(uid).pw_name)
    except KeyError:
        return b""


@lru_cache(4096)
def _group(gid: int) -> bytes:
    try:
        return os.fsencode(grp.getgrgid(gid).gr_name)
    except KeyError:
        return b""
