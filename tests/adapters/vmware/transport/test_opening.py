"""The chosen transport, and no other, is what is opened."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from adapters.errors import SourceInvalid, SourceUnavailable
from adapters.port import TransportChoice
from adapters.vmware.transport.array.port import folder_of
from adapters.vmware.transport.opening import open_reader
from tests.support.folder_server import FolderServer
from tests.support.nbd_peers import need
from tests.support.nfc_lease_simulator import NfcLease
from tests.support.stream_vmdk import stream_vmdk
from tests.support.vddk import VddkStandIn
from tests.support.vmware_access import disk_access

CONTENT = os.urandom(128 << 10)
FOLDER = "/folder/web%2001/web%2001-flat.vmdk?dcPath=DC0&dsName=ds%201"
EXPORT = "/nfc/52-ab/disk-0.vmdk"


def choice(kind: str) -> TransportChoice:
    """Choose."""
    return TransportChoice(kind, None, ())


@pytest.mark.parametrize("kind", ["http_folder", "export", "san", "hotadd", "nbdssl", "nbd", "array_snapshot"])
def test_each_kind_reads_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Whatever is chosen, the reader has the disk's size and bytes, and says what carries them."""
    need("qemu-nbd")
    stand_in = VddkStandIn(tmp_path / "stand-in", monkeypatch)
    stand_in.disk(CONTENT)
    clone = tmp_path / "clone" / "web 01" / "web 01-flat.vmdk"
    clone.parent.mkdir(parents=True)
    clone.write_bytes(CONTENT)
    with FolderServer(tmp_path / "certificates") as server:
        server.files = {FOLDER: CONTENT, EXPORT: stream_vmdk(CONTENT)}
        lease = NfcLease({"VirtualLsiLogicController0:0": f"https://*:{server.port}{EXPORT}"})
        access = disk_access(
            tmp_path / "runtime",
            port=server.port,
            ssl_context=server.trust(),
            cookie=lambda: server.cookie,
            size_bytes=len(CONTENT),
            vddk_dir=stand_in.vddk_dir,
            export_lease=lambda: lease,
        )
        presented = folder_of(tmp_path / "clone") if kind == "array_snapshot" else None
        reader = open_reader(choice(kind), access, presented)
        out = bytearray()
        for extent in reader.extents():
            buffer = bytearray(extent.length)
            reader.pread_into(extent.start, memoryview(buffer))
            out += buffer
        assert (reader.transport, reader.size_bytes) == (kind, len(CONTENT))
        reader.close()
    assert out == CONTENT
    assert not list((tmp_path / "runtime").glob("*"))


@pytest.mark.parametrize("kind", ["http_folder", "export", "array_snapshot", "smoke"])
def test_what_a_kind_lacks_is_told(tmp_path: Path, kind: str) -> None:
    """A kind without its flat file, lease or clone is refused, and nothing else is tried."""
    with pytest.raises(SourceInvalid):
        open_reader(choice(kind), disk_access(tmp_path, flat_path=None, size_bytes=512))


def test_an_absent_vddk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without nbdkit a VDDK transport says so; the bytes do not come some other way."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SourceUnavailable) as refused:
        open_reader(choice("nbdssl"), disk_access(tmp_path / "runtime", size_bytes=512))
    assert refused.value.code == "vddk-missing"
