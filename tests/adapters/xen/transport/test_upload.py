"""Disks sent into VDIs of a pool: the pool's own word that it wrote them, and no byte that was there before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.errors import AdapterError, SourceConflict, SourceCorrupt, SourceInvalid
from adapters.port import Extent
from adapters.xen.transport.exportread import MOST_VHD_BYTES
from adapters.xen.transport.upload import upload, upload_format
from tests.adapters.xen.transport.pools import MIB, SIZE, PoolLab, pool_lab
from tests.support.xapi.faults import CutStream, FailTask, Meanwhile

PUT = "PUT /import_raw_vdi"
CONTENT = bytes(range(256)) * (3 * MIB // 256) + bytes(5 * MIB) + b"\xa5" * (3 * MIB)


class Image:
    """A disk with a hole in the middle, which must not be read where extents say zero throughout a block."""

    size_bytes = SIZE

    def __init__(self, fails_at: int = SIZE) -> None:
        self._fails_at = fails_at

    def extents(self) -> Iterator[Extent]:
        """Data, zeros, data."""
        yield Extent(0, 3 * MIB, zero=False)
        yield Extent(3 * MIB, 5 * MIB, zero=True)
        yield Extent(8 * MIB, 3 * MIB, zero=False)

    def pread_into(self, offset: int, buffer: memoryview) -> None:
        """Fill, or fail."""
        if offset + len(buffer) > self._fails_at:
            raise SourceCorrupt("A chunk is damaged", code="chunk-damaged")
        buffer[:] = CONTENT[offset : offset + len(buffer)]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[PoolLab]:
    """A pool of one host; no task is left."""
    with pool_lab(tmp_path) as made:
        yield made
        assert not made.pool.records.find("task")


def new_vdi(lab: PoolLab, size_bytes: int = SIZE) -> str:
    """Make an empty disk at the pool."""
    (sr,) = lab.pool.records.find("SR", name_label="local")
    with lab.pool.records.lock:
        return lab.pool.disks.make(sr, size_bytes, name_label="restored")


def test_an_empty_disk_gets_a_vhd_without_what_is_zeros(lab: PoolLab) -> None:
    """Into a new disk only blocks with data travel; the content is the image's, and what went is counted."""
    vdi, sent = new_vdi(lab), []
    assert upload(lab.access(vdi), Image(), sent.append, empty=True) == "vhd"
    assert lab.content(vdi) == CONTENT
    assert 8 * MIB <= sum(sent) < 9 * MIB  # 4 blocks of the 6, and tables


def test_a_disk_with_content_gets_every_byte(lab: PoolLab) -> None:
    """Where something was, zeros are written too: what a VHD leaves out would stay."""
    lab.session.call("VM.hard_shutdown", lab.pool.vm("web"))
    vdi, sent = lab.pool.vdi("web"), []
    lab.pool.write("web", 0, 4 * MIB, b"old" * 1000)
    assert upload(lab.access(vdi), Image(), sent.append, empty=False) == "raw"
    assert lab.content(vdi) == CONTENT
    assert sum(sent) == SIZE


def test_formats_follow_from_the_disk() -> None:
    """A VHD for empty disks that fit into one, else raw."""
    sizes = (MOST_VHD_BYTES, MOST_VHD_BYTES + 512)
    assert [upload_format(size, empty=empty) for size in sizes for empty in (True, False)] == [
        "vhd",
        "raw",
        "raw",
        "raw",
    ]


@pytest.mark.parametrize("empty", [True, False])
def test_a_task_that_fails_is_a_failed_upload(lab: PoolLab, *, empty: bool) -> None:
    """The host answered 200 before the first byte and took all of them; only its task says that it failed."""
    lab.pool.faults.on(PUT, FailTask("SR_BACKEND_FAILURE_44", ("", "There is insufficient space")))
    with pytest.raises(AdapterError) as error:
        upload(lab.access(new_vdi(lab)), Image(), lambda _: None, empty=empty)
    assert error.value.code == "sr-backend-failure-44"
    assert "insufficient space" in error.value.why


def test_a_host_that_hangs_up_tells_why(lab: PoolLab) -> None:
    """A connection that breaks in the middle is told in the pool's words, not as a broken pipe."""
    lab.pool.faults.on(PUT, CutStream(MIB))
    with pytest.raises(AdapterError) as error:
        upload(lab.access(new_vdi(lab)), Image(), lambda _: None, empty=False)
    assert error.value.code == "vdi-io-error"


def test_an_image_that_fails_ends_the_upload(lab: PoolLab) -> None:
    """What the image raises is raised, and the pool is not left with a task that waits."""
    for empty in (True, False):
        with pytest.raises(SourceCorrupt, match="A chunk is damaged"):
            upload(lab.access(new_vdi(lab)), Image(fails_at=9 * MIB), lambda _: None, empty=empty)


def test_a_disk_of_another_size_is_refused(lab: PoolLab) -> None:
    """An image goes into a disk of its size only; nothing is sent else."""
    with pytest.raises(SourceInvalid) as error:
        upload(lab.access(new_vdi(lab, SIZE + MIB)), Image(), lambda _: None, empty=True)
    assert error.value.code == "size-differs"
    assert not lab.pool.calls["task.create"]


def test_a_disk_that_grows_meanwhile_is_told(lab: PoolLab) -> None:
    """The size is looked at again in the end."""
    vdi = new_vdi(lab)
    access = lab.access(vdi)
    lab.pool.faults.on("VDI.get_virtual_size", Meanwhile(lambda: lab.pool.disks.grow(vdi, SIZE + MIB)))
    with pytest.raises(SourceConflict) as error:
        upload(access, Image(), lambda _: None, empty=True)
    assert error.value.code == "disk-size-changed"


def test_a_disk_in_use_is_refused(lab: PoolLab) -> None:
    """The pool refuses a disk that a running machine writes, and the reason is told."""
    with pytest.raises(AdapterError) as error:
        upload(lab.access(lab.pool.vdi("web")), Image(), lambda _: None, empty=False)
    assert error.value.code == "vdi-in-use"
