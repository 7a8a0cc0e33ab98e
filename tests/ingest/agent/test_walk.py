"""What is not in an archive is told, and nothing is entered that was not meant."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ingest.agent.walk import MAX_DEPTH, Walk

NOBODY = 65534


def _names(path: Path) -> tuple[list[bytes], dict[bytes, str], list[bytes]]:
    troubles: dict[bytes, str] = {}
    root = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        walk = Walk(root, troubles.__setitem__)
        return [found.facts.name for found in walk.files()], troubles, walk.mounts
    finally:
        os.close(root)


def test_directories_come_first_and_order_is_fixed(tmp_path: Path) -> None:
    """A directory stands before what is in it, and names are in the order of their bytes."""
    for name in ("b", "a", "é", "B"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    expected = [b"./", *(part for name in (b"B", b"a", b"b", "é".encode()) for part in (name + b"/", name + b"/file"))]
    assert _names(tmp_path) == (expected, {}, [])


def test_sockets_are_no_files(tmp_path: Path) -> None:
    """A socket has no content and is passed over without a word."""
    with closing(socket.socket(socket.AF_UNIX)) as made:
        made.bind(str(tmp_path / "socket"))
        assert _names(tmp_path) == ([b"./"], {}, [])


@pytest.fixture
def unprivileged() -> Iterator[None]:
    """Be a user who may not read everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A folder that every user may enter, which pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="holdfast-walk-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def test_what_cannot_be_read_is_told(reachable: Path, request: pytest.FixtureRequest) -> None:
    """A file or directory that this user may not read is named with the reason; all others are there."""
    (reachable / "closed").mkdir()
    (reachable / "closed" / "inside").touch()
    for name in ("open", "secret"):
        (reachable / name).touch()
    (reachable / "closed").chmod(0)
    (reachable / "secret").chmod(0)
    request.getfixturevalue("unprivileged")
    names, troubles, _ = _names(reachable)
    assert names == [b"./", b"closed/", b"open"]
    assert troubles == {b"closed": "Permission denied", b"secret": "Permission denied"}


def test_other_file_systems_are_not_entered(tmp_path: Path) -> None:
    """A directory where another file system is mounted is kept empty, and said."""
    mount = tmp_path / "mount"
    mount.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "none", mount], capture_output=True, check=False).returncode:
        pytest.skip("may not mount")
    try:
        (mount / "foreign").touch()
        assert _names(tmp_path) == ([b"./", b"mount/"], {}, [b"mount"])
    finally:
        subprocess.run(["umount", mount], check=True)


def test_nesting_is_bounded(tmp_path: Path) -> None:
    """Directories nested without end are left out from some depth on, and said."""
    parent = os.open(tmp_path, os.O_RDONLY)
    for _ in range(MAX_DEPTH + 5):
        os.mkdir("d", dir_fd=parent)
        child = os.open("d", os.O_RDONLY, dir_fd=parent)
        os.close(parent)
        parent = child
    os.close(parent)
    names, troubles, _ = _names(tmp_path)
    assert len(names) == MAX_DEPTH + 2
    assert list(troubles.values()) == ["nested too deep"]
