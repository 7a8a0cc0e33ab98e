"""Exported disks: the whole disk or an error, and a lease that is kept alive and always ended."""

from __future__ import annotations

import random
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from adapters.errors import (
    AdapterError,
    SourceCorrupt,
    SourceDenied,
    SourceInvalid,
    SourceLimit,
    SourceNotFound,
    SourceUnavailable,
)
from adapters.port import Extent
from adapters.spool import Spool
from adapters.vmware.transport.export import ExportReader
from adapters.vmware.trust import thumbprint_sha1
from tests.support.folder_server import FolderServer
from tests.support.nfc_lease_simulator import NfcLease
from tests.support.stream_vmdk import stream_vmdk
from tests.support.vmware_access import disk_access

MIB = 1 << 20
KEY = "VirtualLsiLogicController0:0"
TARGET = "/nfc/52-ab/disk-0.vmdk"
DISK = random.Random(5).randbytes(3 * MIB) + bytes(40 * MIB) + random.Random(6).randbytes(MIB)
STREAM = stream_vmdk(DISK)
Open = Callable[..., ExportReader]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FolderServer]:
    """A server that has the disk's stream."""
    with FolderServer(tmp_path / "certificates") as running:
        running.files[TARGET] = STREAM
        yield running


@pytest.fixture
def lease(server: FolderServer) -> NfcLease:
    """A lease on one disk."""
    return NfcLease({KEY: f"https://*:{server.port}{TARGET}"})


@pytest.fixture
def runtime_dir(tmp_path: Path) -> Iterator[Path]:
    """Where disks are spooled; nothing stays there."""
    yield tmp_path / "runtime"
    assert not list((tmp_path / "runtime").glob("*"))


@pytest.fixture
def open_export(server: FolderServer, lease: NfcLease, runtime_dir: Path) -> Iterator[Open]:
    """Open readers, and close them at the end."""
    readers: list[ExportReader] = []

    def opened(
        spool: Spool | None = None, alive_seconds: float = 60.0, timeout_seconds: float = 60.0, **changes: Any
    ) -> ExportReader:
        settings = {
            "port": server.port,
            "ssl_context": server.trust(),
            "cookie": lambda: server.cookie,
            "size_bytes": len(DISK),
            "export_lease": lambda: lease,
        }
        reader = ExportReader(
            disk_access(runtime_dir, **(settings | changes)),
            timeout_seconds=timeout_seconds,
            lease_options={"alive_seconds": alive_seconds, "sleep": lambda _: None},
            spool=spool,
        )
        readers.append(reader)
        return reader

    yield opened
    for reader in readers:
        reader.close()


def read(reader: ExportReader, offset: int = 0, length: int = len(DISK)) -> bytes:
    """Read a range into bytes."""
    buffer = bytearray(length)
    reader.pread_into(offset, memoryview(buffer))
    return bytes(buffer)


def refused(reader: ExportReader) -> AdapterError:
    """Return what both ways of reading raise."""
    with pytest.raises(AdapterError) as listing:
        list(reader.extents())
    with pytest.raises(type(listing.value)):
        read(reader)
    return listing.value


def test_the_disk_is_read(open_export: Open, lease: NfcLease, runtime_dir: Path) -> None:
    """Extents and bytes are the disk's, in whatever order they are read, and the lease is completed."""
    reader = open_export()
    assert list(reader.extents()) == [
        Extent(0, 3 * MIB, zero=False),
        Extent(3 * MIB, 40 * MIB, zero=True),
        Extent(43 * MIB, MIB, zero=False),
    ]
    for offset, length in [(43 * MIB + 5, 1000), (0, len(DISK)), (len(DISK), 0)]:
        assert read(reader, offset, length) == DISK[offset : offset + length]
    with pytest.raises(SourceInvalid, match="outside the disk"):
        read(reader, len(DISK), 1)
    assert not list(runtime_dir.iterdir())  # the spool has no name
    reader.close()
    reader.close()
    assert lease.ends() == ["complete"]
    with pytest.raises(SourceUnavailable, match="closed"):
        read(reader, 0, 1)


def test_a_lease_that_needs_time_is_waited_for(open_export: Open, lease: NfcLease) -> None:
    """While the server prepares the disks we look again."""
    lease.initializing = 5
    assert read(open_export()) == DISK


def test_the_lease_is_kept_alive(open_export: Open, lease: NfcLease, server: FolderServer) -> None:
    """The server hears of us while it sends."""
    server.faults.append("trickle")
    reader = open_export(alive_seconds=0.01)
    assert lease.progressed.wait(30)
    reader.close()
    assert lease.ends() == ["abort"]


@pytest.mark.parametrize(
    ("fault", "kind", "code"),
    [
        ("cut", SourceCorrupt, "vmdk-malformed"),
        ("reset", SourceUnavailable, "export-lost"),
        ("silent", SourceUnavailable, "export-lost"),
        ("404", SourceUnavailable, "export-status"),
        ("503", SourceUnavailable, "export-status"),
    ],
)
def test_a_broken_download_is_an_error(
    open_export: Open, lease: NfcLease, server: FolderServer, fault: str, kind: type[AdapterError], code: str
) -> None:
    """A stream that is cut, refused or silent fails every reader, and the lease is aborted."""
    server.faults.append(fault)
    reader = open_export(timeout_seconds=0.5 if fault == "silent" else 60)
    error = refused(reader)
    assert (type(error), error.code) == (kind, code)
    reader.close()
    assert lease.ends() == ["abort"]


def test_a_spoilt_stream_is_an_error(open_export: Open, server: FolderServer, lease: NfcLease) -> None:
    """A single changed byte in the last grain fails the export, though the beginning could be read."""
    server.files[TARGET] = STREAM[:-200_000] + bytes([STREAM[-200_000] ^ 1]) + STREAM[-199_999:]
    assert refused(open_export()).code == "vmdk-malformed"


def test_another_disk_is_refused(open_export: Open) -> None:
    """A stream of a disk of another size is not read."""
    assert refused(open_export(size_bytes=len(DISK) + 512)).code == "vmdk-malformed"


def test_a_lost_lease_ends_the_export(open_export: Open, lease: NfcLease) -> None:
    """When the server no longer knows the lease, what arrives after that is not trusted."""
    lease.progress_fails = True
    reader = open_export(alive_seconds=0.0001)
    error = refused(reader)
    assert error.code == "export-lease"
    assert "timed out" in error.why


@pytest.mark.parametrize("state", ["error", "done"])
def test_a_lease_that_never_is_ready_is_refused(open_export: Open, lease: NfcLease, state: str) -> None:
    """A lease in error is told in the server's words, and ended."""
    lease.state_at_last = state
    with pytest.raises(SourceUnavailable) as error:
        open_export()
    assert error.value.code == "export-refused"
    assert ("locked" if state == "error" else "done") in error.value.why
    assert lease.ends() == ["abort"]


def test_the_right_disk_is_taken(open_export: Open, lease: NfcLease, server: FolderServer) -> None:
    """Of several disks the one with the key is exported; without a key, or with a wrong one, none is."""
    lease.urls["VirtualLsiLogicController0:1"] = f"https://*:{server.port}/nfc/other"
    assert read(open_export(export_key=KEY)) == DISK
    with pytest.raises(SourceInvalid) as ambiguous:
        open_export()
    assert ambiguous.value.code == "export-ambiguous"
    with pytest.raises(SourceNotFound):
        open_export(export_key="ParaVirtualSCSIController1:0")
    assert lease.ends() == ["complete", "abort", "abort"]


def test_clear_text_is_refused(open_export: Open, lease: NfcLease, server: FolderServer) -> None:
    """A disk that would travel unencrypted is not asked for."""
    lease.urls[KEY] = f"http://*:{server.port}{TARGET}"
    with pytest.raises(SourceInvalid, match="clear text"):
        open_export()
    assert not server.requests


def test_another_host_must_show_the_certificate_its_server_names(
    open_export: Open, lease: NfcLease, server: FolderServer
) -> None:
    """A vCenter sends us to a host by its certificate's thumbprint: that certificate, or no download."""
    lease.urls[KEY] = f"https://127.0.0.1:{server.port}{TARGET}"
    certificate = (server.authority.folder / "server-cert.pem").read_text()
    lease.thumbprint = thumbprint_sha1(ssl.PEM_cert_to_DER_cert(certificate))
    assert read(open_export()) == DISK
    lease.thumbprint = "00" * 20
    asked = len(server.requests)
    error = refused(open_export())
    assert (type(error), error.code, len(server.requests)) == (SourceDenied, "certificate-untrusted", asked)


def test_an_untrusted_server_is_refused(open_export: Open, server: FolderServer) -> None:
    """A certificate that the settings do not trust gets no request."""
    error = refused(open_export(ssl_context=ssl.create_default_context()))
    assert (type(error), error.code) == (SourceDenied, "certificate-untrusted")
    assert not server.requests


def test_a_full_disk_is_told(open_export: Open, runtime_dir: Path) -> None:
    """The spool ends the export before the file system is full, and the hint says what it needs."""
    error = refused(open_export(spool=Spool(runtime_dir, len(DISK), free_bytes=lambda _: 1000)))
    assert (type(error), error.code) == (SourceLimit, "spool-full")
    assert "as much space" in error.hint


def test_closing_in_the_middle_ends_all(open_export: Open, lease: NfcLease, server: FolderServer) -> None:
    """A reader that is closed while the server is silent does not wait for it."""
    server.faults.append("trickle")
    reader = open_export()
    reader.close()
    assert lease.ends() == ["abort"]


def test_a_source_without_a_lease_is_refused(open_export: Open) -> None:
    """Where the snapshot cannot be exported the reader says so."""
    with pytest.raises(SourceInvalid):
        open_export(export_lease=None)
