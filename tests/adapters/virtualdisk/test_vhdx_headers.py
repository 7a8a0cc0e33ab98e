"""Headers, region tables and metadata: the one that counts is used, and nonsense is refused."""

from __future__ import annotations

import struct
from pathlib import Path
from uuid import uuid4

import pytest

from adapters.errors import SourceCorrupt, SourceInvalid
from tests.support import vhdx_files, vhdx_layout
from tests.support.virtual_disks import content, opened

MIB = 1 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A small disk with some data."""
    path = tmp_path / "disk.vhdx"
    vhdx_files.create(path, 4 * MIB)
    vhdx_files.write(path, MIB, b"data".ljust(512))
    return path


def patch(path: Path, offset: int, data: bytes) -> None:
    """Change bytes of a file."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def newer_header(path: Path) -> int:
    """Where the header that counts is."""
    with vhdx_files.VhdxFile(path) as file:
        pages = {at: vhdx_layout.unpack_header(file.get(at, 4096)) for at in vhdx_layout.HEADER_OFFSETS}
    return max(pages, key=lambda at: page.sequence if (page := pages[at]) else -1)


def test_a_newer_header_with_a_wrong_checksum_does_not_count(disk: Path) -> None:
    """The header that was being written when the host died is passed over, and the older one is in force."""
    before = vhdx_files.data_write_id(disk)
    vhdx_files.write(disk, 0, b"new".ljust(512))
    with vhdx_files.VhdxFile(disk, writing=True) as file:
        file.put_header(data_write=uuid4(), log=uuid4())
    patch(disk, newer_header(disk) + 100, b"\xff")
    assert content(disk) == vhdx_files.content(disk)
    assert vhdx_files.data_write_id(disk) != before


def test_the_parent_is_known_by_the_header_that_counts(disk: Path, tmp_path: Path) -> None:
    """A child that builds on the state of the older header is not read on top of the newer one, nor the other way."""
    child = tmp_path / "child.avhdx"
    vhdx_files.create_child(child, disk)
    assert content(child) == vhdx_files.content(disk)
    with vhdx_files.VhdxFile(disk, writing=True) as file:
        file.put_header(data_write=uuid4())
    with pytest.raises(Exception, match="is not the disk that"):
        content(child)
    patch(disk, newer_header(disk) + 100, b"\xff")
    assert content(child) == vhdx_files.content(child)


def test_no_good_header_is_an_error(disk: Path) -> None:
    """Without a right checksum nothing is guessed."""
    for at in vhdx_layout.HEADER_OFFSETS:
        patch(disk, at + 8, b"\x55")
    with pytest.raises(SourceCorrupt) as caught:
        content(disk)
    assert caught.value.code == "vhdx-header"


@pytest.mark.parametrize("same", [True, False])
def test_two_headers_of_one_sequence(disk: Path, same: bool) -> None:
    """Two equal headers are one; two that differ contradict each other."""
    header = vhdx_layout.Header(9, uuid4(), uuid4())
    other = header if same else vhdx_layout.Header(9, uuid4(), uuid4())
    for at, page in zip(vhdx_layout.HEADER_OFFSETS, (header, other), strict=True):
        patch(disk, at, page.pack())
    if same:
        assert content(disk) == vhdx_files.content(disk)
    else:
        with pytest.raises(SourceCorrupt, match="equally new"):
            content(disk)


def test_the_second_region_table_stands_in(disk: Path) -> None:
    """A damaged first table is passed over; without either nothing is read."""
    expected = vhdx_files.content(disk)
    patch(disk, vhdx_layout.REGION_OFFSETS[0] + 5000, b"\1")
    assert content(disk) == expected
    patch(disk, vhdx_layout.REGION_OFFSETS[1] + 5000, b"\1")
    with pytest.raises(SourceCorrupt) as caught:
        content(disk)
    assert caught.value.code == "vhdx-region"


@pytest.mark.parametrize("required", [True, False])
def test_regions_and_items_we_do_not_know(disk: Path, required: bool) -> None:
    """What a reader must understand and we do not is refused; what it may ignore is ignored."""
    expected = vhdx_files.content(disk)
    with vhdx_files.VhdxFile(disk) as file:
        table = bytearray(file.get(vhdx_layout.REGION_OFFSETS[0], 64 << 10))
    table[8:12] = struct.pack("<I", 3)
    table[16 + 64 : 16 + 96] = struct.pack("<16sQII", uuid4().bytes_le, 3 * MIB, MIB, int(required))
    for at in vhdx_layout.REGION_OFFSETS:
        patch(disk, at, vhdx_layout.with_checksum(bytes(table)))
    if required:
        with pytest.raises(SourceInvalid) as caught:
            content(disk)
        assert caught.value.code == "vhdx-region"
    else:
        assert content(disk) == expected


@pytest.mark.parametrize(
    ("item", "value"),
    [
        (vhdx_layout.FILE_PARAMETERS, struct.pack("<II", 3 * MIB, 0)),
        (vhdx_layout.FILE_PARAMETERS, struct.pack("<II", 512, 0)),
        (vhdx_layout.FILE_PARAMETERS, struct.pack("<II", MIB, 2)),
        (vhdx_layout.DISK_SIZE, struct.pack("<Q", 0)),
        (vhdx_layout.DISK_SIZE, struct.pack("<Q", 1000)),
        (vhdx_layout.DISK_SIZE, struct.pack("<Q", (64 << 40) + 512)),
        (vhdx_layout.DISK_SIZE, struct.pack("<Q", 32 << 40)),
        (vhdx_layout.LOGICAL_SECTOR, struct.pack("<I", 520)),
        (vhdx_layout.DISK_ID, b"short"),
    ],
)
def test_nonsense_in_the_metadata_is_refused(disk: Path, item: object, value: bytes) -> None:
    """Sizes that no disk can have, a parent that is not named and items of a wrong length are errors."""
    with vhdx_files.VhdxFile(disk, writing=True) as file:
        items = {guid: value if guid == item else held for guid, held in file.items.items()}
        file.put(vhdx_layout.METADATA_OFFSET, vhdx_layout.metadata_region(items))
    with pytest.raises(SourceCorrupt):
        content(disk)


def test_identity_and_size_are_the_disks_not_the_files(disk: Path, tmp_path: Path) -> None:
    """A copy under another name, and a checkpoint, are the same disk; a resized one is too and says its new size."""
    copy = tmp_path / "copy.vhdx"
    copy.write_bytes(disk.read_bytes())
    child = tmp_path / "child.avhdx"
    vhdx_files.create_child(child, disk)
    vhdx_files.resize(child, 6 * MIB)
    identity = str(vhdx_files.disk_id(disk))
    for path, size in ((disk, 4 * MIB), (copy, 4 * MIB), (child, 6 * MIB)):
        with opened(path) as found:
            assert (found.identity, found.size_bytes, found.format) == (identity, size, "vhdx")
    other = tmp_path / "other.vhdx"
    vhdx_files.create(other, 4 * MIB)
    with opened(other) as found:
        assert found.identity != identity
