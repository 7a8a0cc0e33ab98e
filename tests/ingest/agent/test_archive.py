"""A directory's archive: what GNU tar and Python's tarfile read back, and how little of it changes."""

from __future__ import annotations

import os
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random

import pytest

from ingest.agent.archive import DirectoryVolume
from ingest.agent.tarform import PAD_LEAST, padding, paddings
from tests.support.file_tree import assert_same_tree, make_tree
from tests.support.lab import KIB, MIB

CHUNK = 64 * KIB


@contextmanager
def _volume(path: Path, scratch: Path) -> Iterator[DirectoryVolume]:
    volume = DirectoryVolume("/srv", path, CHUNK, scratch, live=True)
    try:
        yield volume
    finally:
        volume.close()


def _content(path: Path, scratch: Path) -> bytes:
    """The archive without the room behind it."""
    with _volume(path, scratch) as volume:
        used = next(volume.extents()).length
        buffer = bytearray(used)
        for at in range(0, used, MIB):
            volume.pread_into(at, memoryview(buffer)[at : at + MIB])
        assert volume.confirm() == ()
    return bytes(buffer)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Files of every kind that an archive holds."""
    path = tmp_path / "tree"
    make_tree(path, Random(1))
    return path


def test_tar_gives_every_file_back(tree: Path, tmp_path: Path) -> None:
    """GNU tar restores content, modes, times, links, sparse files, odd names and extended attributes."""
    archive, target = tmp_path / "archive.tar", tmp_path / "target"
    archive.write_bytes(_content(tree, tmp_path))
    target.mkdir()
    command = ["tar", "--xattrs", "--xattrs-include=*", "-xpf", archive, "-C", target]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all("implausibly old time stamp" in line for line in done.stderr.splitlines()), done.stderr
    assert_same_tree(tree, target)


def test_python_reads_it_too(tree: Path, tmp_path: Path) -> None:
    """An independent reader lists every file, with content and to the nanosecond."""
    archive = tmp_path / "archive.tar"
    archive.write_bytes(_content(tree, tmp_path))
    with tarfile.open(archive) as opened:
        found = {member.name: member for member in opened.getmembers()}
        for path in tree.rglob("*"):
            member = found[str(path.relative_to(tree))]
            assert float(member.pax_headers.get("mtime", member.mtime)) == pytest.approx(
                path.lstat().st_mtime, abs=1e-6
            )
            if member.isreg() and not path.is_symlink():
                extracted = opened.extractfile(member)
                assert extracted is not None
                assert extracted.read() == path.read_bytes()


def test_reads_at_any_offset_agree(tree: Path, tmp_path: Path) -> None:
    """Whatever is read of it in whatever pieces, the bytes are the same."""
    whole = _content(tree, tmp_path)
    dice = Random(2)
    with _volume(tree, tmp_path) as volume:
        for _ in range(500):
            offset = dice.randrange(len(whole))
            buffer = bytearray(b"\xaa" * min(dice.choice([1, 511, 512, 70_000, 300_000]), len(whole) - offset))
            volume.pread_into(offset, memoryview(buffer))
            assert bytes(buffer) == whole[offset : offset + len(buffer)]


def test_the_same_files_make_the_same_archive(tree: Path, tmp_path: Path) -> None:
    """Two archives of a directory are equal, whatever order the file system lists it in."""
    assert _content(tree, tmp_path) == _content(tree, tmp_path)


def test_a_large_file_begins_at_a_block(tmp_path: Path) -> None:
    """The content of a large file is cut as the file is, so its blocks are the same wherever it stands."""
    tree = tmp_path / "tree"
    tree.mkdir()
    data = Random(3).randbytes(5 * CHUNK)
    (tree / "a-small").write_bytes(b"small")
    (tree / "large").write_bytes(data)
    whole = _content(tree, tmp_path)
    assert whole.index(data) % CHUNK == 0


def test_a_change_stays_where_it_is(tmp_path: Path) -> None:
    """A changed file changes few blocks of an archive, and one that grows leaves all others in other places."""
    tree = tmp_path / "tree"
    tree.mkdir()
    dice = Random(4)
    for number in range(300):
        (tree / f"small-{number:03}").write_bytes(dice.randbytes(2000))
        if number % 30 == 0:
            (tree / f"small-{number:03}-large").write_bytes(dice.randbytes(300_000))
    before = _blocks(_content(tree, tmp_path))
    (tree / "small-005").write_bytes(dice.randbytes(2000))
    after = _blocks(_content(tree, tmp_path))
    assert sum(old != new for old, new in zip(before, after, strict=True)) <= 2
    (tree / "small-000-large").write_bytes(dice.randbytes(500_000))
    grown = _blocks(_content(tree, tmp_path))
    new = set(grown) - set(after)
    assert len(new) * CHUNK < 500_000 + 8 * CHUNK
    assert len(grown) * CHUNK > 3 * MIB


def _blocks(content: bytes) -> list[bytes]:
    return [content[at : at + CHUNK] for at in range(0, len(content), CHUNK)]


def test_what_changes_meanwhile_is_told(tree: Path, tmp_path: Path) -> None:
    """A file that changed, was replaced or vanished after the layout is named; the others are as they were."""
    with _volume(tree, tmp_path) as volume:
        (tree / "small").write_bytes(b"other content")
        (tree / "large").unlink()
        other = tree / "other"
        other.write_bytes(b"x")
        other.rename(tree / "sub" / "deep")
        buffer = bytearray(next(volume.extents()).length)
        volume.pread_into(0, memoryview(buffer))
        (told,) = volume.confirm()
    assert told.label == "/srv: files that changed"
    for name in ("small", "large", "sub/deep"):
        assert f"{name} (" in told.reason
    assert told.reason.startswith("3 files may not be whole in it")


def test_a_link_put_in_a_files_place_is_not_followed(tmp_path: Path) -> None:
    """Who swaps a file for a link to another one gets nothing of that other one into the backup."""
    tree, secret = tmp_path / "tree", tmp_path / "secret"
    tree.mkdir()
    (tree / "file").write_bytes(b"a" * 1000)
    secret.write_bytes(b"s" * 1000)
    with _volume(tree, tmp_path) as volume:
        (tree / "file").unlink()
        (tree / "file").symlink_to(secret)
        buffer = bytearray(next(volume.extents()).length)
        volume.pread_into(0, memoryview(buffer))
        (told,) = volume.confirm()
    assert b"s" * 100 not in buffer
    assert "file (" in told.reason


def test_many_troubles_are_bounded(tmp_path: Path) -> None:
    """Of very many files that changed some are named, and all are counted."""
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(200):
        (tree / f"{'long' * 30}-{number}").write_bytes(b"a")
    with _volume(tree, tmp_path) as volume:
        for path in tree.iterdir():
            path.write_bytes(b"ab")
        (told,) = volume.confirm()
    assert told.reason.startswith("200 files")
    assert told.reason.endswith("more")
    assert len(told.reason) <= 1000


def test_its_size_has_room(tmp_path: Path) -> None:
    """A few more files leave the size of the disk as it is, so that the next backup is an incremental."""
    tree = tmp_path / "tree"
    tree.mkdir()
    sizes = set()
    for number in range(3):
        (tree / f"file-{number}").write_bytes(Random(number).randbytes(MIB))
        with _volume(tree, tmp_path) as volume:
            sizes.add(volume.size_bytes)
    assert sizes == {64 * MIB}


@pytest.mark.parametrize("length", [0, *range(PAD_LEAST, 5 * PAD_LEAST, 512), 128 * KIB, 129 * KIB, MIB])
def test_paddings_fill_exactly(length: int) -> None:
    """Any gap in whole blocks, from the least, is filled by members of the right length."""
    pieces = paddings(length)
    assert sum(len(padding(piece)) for piece in pieces) == sum(pieces) == length


def _open_below(folder: Path) -> list[str]:
    """What of a folder this process has open; other threads' descriptors come and go."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            found.append(os.readlink(f"/proc/self/fd/{number}"))
    return [name for name in found if name.startswith(str(folder))]


def test_nothing_stays_open(tree: Path, tmp_path: Path) -> None:
    """An archive that was read and closed leaves no descriptor."""
    with open(next(path for path in tree.rglob("*") if path.is_file()), "rb"):
        assert _open_below(tree)
    _content(tree, tmp_path)
    assert _open_below(tree) == _open_below(tmp_path) == []
