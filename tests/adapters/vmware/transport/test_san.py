"""The LUN read path, on a real iSCSI target in user space, and on files and devices of this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.errors import AdapterError, SourceCorrupt, SourceDenied, SourceInvalid, SourceUnavailable
from adapters.secret import Secret
from adapters.vmware.transport.childreader import ChildReader
from adapters.vmware.transport.san import RUN_PREFIX, IscsiLun, LocalLun, Lun, open_lun
from adapters.vmware.transport.strays import end_strays
from tests.support.iscsi_target import IscsiTarget, iscsi_target
from tests.support.nbd_peers import need

MIB = 1 << 20
CONTENT = os.urandom(5 * MIB)
CHAP_PASSWORD = "twelve-letters"


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A raw disk."""
    (tmp_path / "lun.raw").write_bytes(CONTENT)
    return tmp_path / "lun.raw"


@pytest.fixture
def target(disk: Path) -> Iterator[IscsiTarget]:
    """The disk behind an iSCSI target."""
    with iscsi_target(disk) as running:
        yield running


@pytest.fixture
def runtime_dir(tmp_path: Path) -> Iterator[Path]:
    """Where run folders are; none is left at the end."""
    yield tmp_path / "runtime"
    assert not list((tmp_path / "runtime").glob("*"))


def opened(lun: Lun, runtime_dir: Path, size: int = len(CONTENT)) -> ChildReader:
    """Open a LUN."""
    return open_lun(lun, size, "san", runtime_dir, machine="vm-16", host="vc", label="disk")


def content(reader: ChildReader) -> bytes:
    """Read all extents and close."""
    out = bytearray()
    for extent in reader.extents():
        buffer = bytearray(extent.length)
        if not extent.zero:
            reader.pread_into(extent.start, memoryview(buffer))
        out += buffer
    reader.close()
    return bytes(out)


def test_an_iscsi_lun_is_read(target: IscsiTarget, runtime_dir: Path) -> None:
    """The LUN's bytes come over iSCSI, all of them and of a disk that takes only its beginning."""
    lun = IscsiLun(target.portal, target.target, 1)
    reader = opened(lun, runtime_dir)
    assert reader.transport == "san"
    assert content(reader) == CONTENT
    assert content(opened(lun, runtime_dir, 3 * MIB)) == CONTENT[: 3 * MIB]


def test_chap_is_spoken(target: IscsiTarget, runtime_dir: Path) -> None:
    """With a user and its password the LUN is read; with another password it is refused, and neither is shown."""
    target.admin("--mode", "account", "--op", "new", "--user", "backup", "--password", CHAP_PASSWORD)
    target.admin("--mode", "account", "--op", "bind", "--tid", "1", "--user", "backup")

    def lun(password: str) -> IscsiLun:
        return IscsiLun(target.portal, target.target, 1, user="backup", password=Secret(lambda: password))

    reader = opened(lun(CHAP_PASSWORD), runtime_dir)
    for process in Path("/proc").glob("[0-9]*"):
        try:
            shown = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            continue
        assert CHAP_PASSWORD.encode() not in shown
    assert content(reader) == CONTENT
    with pytest.raises(SourceDenied) as refused:
        opened(lun("another-password"), runtime_dir)
    assert refused.value.code == "lun-denied"
    assert "another-password" not in f"{refused.value}"


@pytest.mark.parametrize(("lun", "target_name"), [(7, ""), (1, "iqn.2024-01.invalid.holdfast:none")])
def test_a_lun_that_is_not_there_is_an_error(
    target: IscsiTarget, runtime_dir: Path, lun: int, target_name: str
) -> None:
    """An unknown target or LUN number is told in qemu's words, and nothing stays."""
    with pytest.raises(AdapterError) as refused:
        opened(IscsiLun(target.portal, target_name or target.target, lun), runtime_dir)
    assert refused.value.why


def test_a_lun_smaller_than_its_disk_is_refused(target: IscsiTarget, runtime_dir: Path) -> None:
    """A LUN that ends before the disk does is not read at all."""
    with pytest.raises(SourceCorrupt) as refused:
        opened(IscsiLun(target.portal, target.target, 1), runtime_dir, len(CONTENT) + 512)
    assert refused.value.code == "disk-too-small"


def test_a_file_is_read(disk: Path, runtime_dir: Path) -> None:
    """A file on a mounted clone is read the same way, its holes as zeros."""
    need("qemu-nbd")
    with disk.open("r+b") as file:
        file.truncate(len(CONTENT) + 8 * MIB)
    reader = opened(LocalLun(disk), runtime_dir, len(CONTENT) + 8 * MIB)
    assert any(extent.zero for extent in reader.extents())
    assert content(reader) == CONTENT + bytes(8 * MIB)


def test_a_missing_file_or_program_is_told(
    tmp_path: Path, disk: Path, runtime_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path that is not there, and a machine without qemu-nbd, are different errors."""
    need("qemu-nbd")
    with pytest.raises(SourceInvalid) as missing:
        opened(LocalLun(tmp_path / "absent"), runtime_dir)
    assert missing.value.code == "lun-missing"
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SourceUnavailable) as absent:
        opened(LocalLun(disk), runtime_dir)
    assert absent.value.code == "qemu-nbd-missing"


def test_folders_of_dead_readers_are_removed(runtime_dir: Path) -> None:
    """What a dead run left of a LUN's reader is removed for its own machine."""
    run_dir = runtime_dir / f"{RUN_PREFIX}dead"
    run_dir.mkdir(parents=True)
    (run_dir / "owner").write_text('{"machine": "vm-16", "host": "vc", "label": "disk"}')
    assert end_strays(runtime_dir, "vc", "vm-17") == []
    (leftover,) = end_strays(runtime_dir, "vc", "vm-16")
    assert leftover.what == "run folder of disk"
