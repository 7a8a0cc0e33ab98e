"""Objects as files: the common guarantees, and what a crash or a full disk leaves behind."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from storage.errors import Limit, NotFound, Unavailable
from storage.objects.local import LocalObjects
from tests.conformance.object_store import ObjectStoreSuite, content, views
from tests.support.faults import PowerCut, PowerLost


class TestLocalObjects(ObjectStoreSuite):
    @pytest.fixture
    def objects(self, tmp_path: Path) -> LocalObjects:
        return LocalObjects(tmp_path / "store")


def test_all_is_on_disk_when_put_returns(tmp_path: Path) -> None:
    """After a put no file and no directory, new ones included, waits for an fsync."""
    objects = LocalObjects(tmp_path / "store")
    with PowerCut() as machine:
        objects.put("packs/3f/one", *views(b"x" * 10_000))
        assert machine.operations > 4
        assert machine.dirty == set()


def test_a_power_cut_leaves_an_object_whole_or_absent(tmp_path: Path) -> None:
    """Wherever the power goes during a put, the name shows all bytes or nothing, and the put can be done again."""
    body = b"0123456789" * 1000
    seen = set()
    for at in range(1, 50):
        objects = LocalObjects(tmp_path / f"store-{at}")
        with PowerCut(at) as machine:
            with suppress(PowerLost):
                objects.put("packs/3f/one", *views(body))
            finished = machine.operations < at
        after = LocalObjects(tmp_path / f"store-{at}")
        found = list(after.list(""))
        seen.add(len(found))
        if found:
            assert content(after, "packs/3f/one") == body
        else:
            after.put("packs/3f/one", *views(body))
        if finished:
            break
    assert finished
    assert seen == {0, 1}


def test_what_a_crash_left_is_cleaned_once_old(tmp_path: Path) -> None:
    """Partial files are removed when older than asked, and spared while a writer may still be at them."""
    now = datetime.now(UTC)
    objects = LocalObjects(tmp_path, clock=lambda: now)
    with PowerCut(3), pytest.raises(PowerLost):
        objects.put("a", *views(b"x"))
    left = list((tmp_path / ".partial").iterdir())
    assert len(left) == 1
    os.utime(left[0], (now.timestamp() - 3600, now.timestamp() - 3600))
    assert objects.clean_partial(timedelta(hours=2)) == 0
    assert objects.clean_partial(timedelta(minutes=30)) == 1
    assert list((tmp_path / ".partial").iterdir()) == []


def test_a_put_that_ends_while_others_clean_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A partial file that is listed and then gone, because it got its name, is passed over."""
    objects = LocalObjects(tmp_path)
    going = tmp_path / ".partial" / "going"
    going.write_bytes(b"x")
    real = os.scandir

    @contextmanager
    def scandir(path: Path) -> Iterator[Iterator[os.DirEntry[str]]]:
        with real(path) as entries:
            found = list(entries)
        going.unlink()
        yield iter(found)

    monkeypatch.setattr("storage.objects.local.os.scandir", scandir)
    assert objects.clean_partial(timedelta(0)) == 0


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
@pytest.mark.parametrize("operation", ["writev", "fsync", "link"])
def test_a_full_store_is_a_limit_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str, number: int
) -> None:
    """When the file system is full the error says so, no object appears and the partial file is removed."""
    objects = LocalObjects(tmp_path)

    def full(*args: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, operation, full)
    with pytest.raises(Limit) as caught:
        objects.put("a", *views(b"x"))
    assert caught.value.code == "store-full"
    assert list((tmp_path / ".partial").iterdir()) == []
    assert list(objects.list("")) == []


def test_a_short_write_is_carried_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that takes only part of the buffers at a time still gets all bytes in order."""
    real = os.writev
    monkeypatch.setattr(os, "writev", lambda descriptor, parts: real(descriptor, [parts[0][:3]]))
    objects = LocalObjects(tmp_path)
    objects.put("a", *views(b"0123456789", b"", b"abcdefgh"))
    assert content(objects, "a") == b"0123456789abcdefgh"


def test_other_errors_are_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fails to read or write is reported as unavailable, and no byte is made up."""
    objects = LocalObjects(tmp_path)
    objects.put("a", *views(b"x"))

    def broken(*args: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "preadv", broken)
    monkeypatch.setattr(os, "writev", broken)
    with pytest.raises(Unavailable):
        objects.read_into("a", 0, memoryview(bytearray(1)))
    with pytest.raises(Unavailable):
        objects.put("b", *views(b"x"))


def test_links_are_not_followed(tmp_path: Path) -> None:
    """A symbolic link planted in the store does not lead a reader out of it."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    objects = LocalObjects(tmp_path / "store")
    (tmp_path / "store" / "a").symlink_to(secret)
    with pytest.raises(NotFound):
        objects.read_tail("a", 10)
    assert list(objects.list("")) == []
