"""A directory with files of every kind, and how two directories are compared file by file."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from random import Random

from tests.support.lab import MIB


def make_tree(path: Path, random: Random) -> None:
    """Make files large and small, sparse, linked, with odd names, modes, times and attributes."""
    (path / "sub" / "empty").mkdir(parents=True)
    (path / "small").write_bytes(b"small")
    (path / "nothing").touch()
    (path / "large").write_bytes(random.randbytes(700_000))
    (path / "sub" / "deep").write_bytes(random.randbytes(5000))
    (path / ("long" * 50)).write_bytes(b"a name longer than a header's field")
    (path / "odd \udcff\n name é").write_bytes(b"odd")
    (path / "link").symlink_to("sub/deep")
    (path / "broken").symlink_to("x" * 300)
    os.link(path / "large", path / "sub" / "hard")
    os.mkfifo(path / "fifo")
    with (path / "sparse").open("wb") as file:
        file.truncate(20 * MIB)
        for at in (0, 3 * MIB, 7 * MIB + 4096):
            file.seek(at)
            file.write(random.randbytes(70_000))
    with (path / "hole").open("wb") as file:
        file.truncate(5 * MIB)
    for number in range(80):
        (path / "sub" / f"file-{number}").write_bytes(random.randbytes(number * 50))
    os.setxattr(path / "small", "user.binary", b"\x00\xff=\n")
    os.setxattr(path / "sub", "user.directory", b"yes")
    (path / "small").chmod(0o4710)
    (path / "sub" / "empty").chmod(0o1750)
    os.utime(path / "small", ns=(1, 1_234_567_890_123_456_789))
    os.utime(path / "large", ns=(1, -5_500_000_000))
    if os.geteuid() == 0:
        os.chown(path / "nothing", 3_000_000, 12)


def assert_same_tree(left: Path, right: Path) -> None:
    """Both hold the same files, alike in all that a backup keeps."""
    names = sorted(os.fsencode(path.relative_to(left)) for path in left.rglob("*"))
    assert sorted(os.fsencode(path.relative_to(right)) for path in right.rglob("*")) == names
    inodes: dict[int, int] = {}
    for name in [b".", *names]:
        one, other = left / os.fsdecode(name), right / os.fsdecode(name)
        old, new = one.lstat(), other.lstat()
        about = (old.st_mode, old.st_uid, old.st_gid, old.st_mtime_ns)
        assert (new.st_mode, new.st_uid, new.st_gid, new.st_mtime_ns) == about, name
        assert _attributes(one) == _attributes(other), name
        assert inodes.setdefault(old.st_ino, new.st_ino) == new.st_ino, name
        if stat.S_ISLNK(old.st_mode):
            assert os.readlink(one) == os.readlink(other)
        elif stat.S_ISREG(old.st_mode):
            assert one.read_bytes() == other.read_bytes(), name
            assert new.st_blocks <= old.st_blocks + 64, name  # a sparse file stays one


def _attributes(path: Path) -> dict[str, bytes]:
    names = [name for name in os.listxattr(path, follow_symlinks=False) if name.startswith("user.")]
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in names}
