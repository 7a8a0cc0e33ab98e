"""Datastore files over HTTPS: exactly the range that was asked for, or an error that says why."""

from __future__ import annotations

import gc
import os
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from adapters.errors import (
    AdapterError,
    SourceConflict,
    SourceCorrupt,
    SourceDenied,
    SourceInvalid,
    SourceNotFound,
    SourceUnavailable,
)
from adapters.port import Extent
from adapters.secret import Secret
from adapters.vmware.settings import VmwareSettings
from adapters.vmware.transport.folder import FolderReader, folder_target
from adapters.vmware.transport.limits import HostConnections
from adapters.vmware.transport.ranges import TRIES
from adapters.vmware.trust import trust_context
from tests.support.certificates import fingerprint
from tests.support.folder_server import FolderServer

TARGET = "/folder/web%2001/web%2001-flat.vmdk?dcPath=lab%2FDC%200&dsName=ds%201"
CONTENT = os.urandom(300_000)
Open = Callable[..., FolderReader]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FolderServer]:
    """A server with one flat file."""
    with FolderServer(tmp_path / "certificates") as running:
        running.files[TARGET] = CONTENT
        yield running


@pytest.fixture
def places() -> HostConnections:
    """Two connections at most."""
    return HostConnections("localhost", 2)


@pytest.fixture
def open_folder(server: FolderServer, places: HostConnections) -> Iterator[Open]:
    """Open readers of the file, and close them at the end."""
    readers = []

    def opened(
        size_bytes: int = len(CONTENT), trust: ssl.SSLContext | None = None, timeout_seconds: float = 60
    ) -> FolderReader:
        reader = FolderReader(
            server.server(trust),
            "ds 1",
            "web 01/web 01-flat.vmdk",
            "lab/DC 0",
            size_bytes,
            places,
            timeout_seconds=timeout_seconds,
            sleep=lambda _: None,
        )
        readers.append(reader)
        return reader

    yield opened
    for reader in readers:
        reader.close()


def read(reader: FolderReader, offset: int = 0, length: int = len(CONTENT)) -> bytes:
    """Read a range into bytes."""
    buffer = bytearray(length)
    reader.pread_into(offset, memoryview(buffer))
    return bytes(buffer)


def _patience(fault: str) -> float:
    """Short where the server is slow on purpose; else long, since a busy machine is no silent server."""
    return 0.5 if fault in {"silent", "trickle"} else 60


def test_ranges_are_read_over_one_connection(server: FolderServer, open_folder: Open) -> None:
    """Reads return the file's bytes, aligned or not, and share a connection that stays open."""
    reader = open_folder()
    assert list(reader.extents()) == [Extent(0, len(CONTENT), zero=False)]
    for offset, length in [(0, len(CONTENT)), (1, 7), (299_999, 1), (4096, 65536), (17, 0)]:
        assert read(reader, offset, length) == CONTENT[offset : offset + length]
    assert server.accepted == 1


def test_threads_read_in_parallel_within_the_limit(server: FolderServer, open_folder: Open) -> None:
    """Sixteen threads on two readers get the right bytes over no more connections than the host is allowed."""
    trust = server.trust()
    readers = [open_folder(trust=trust) for _ in range(2)]

    def check(number: int) -> None:
        offset = number * 1700
        assert read(readers[number % 2], offset, 5000) == CONTENT[offset : offset + 5000]

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(check, range(160)))
    assert server.accepted <= 2


@pytest.mark.parametrize("fault", ["reset", "short", "503", "silent", "trickle"])
def test_a_broken_answer_is_asked_for_again(server: FolderServer, open_folder: Open, fault: str) -> None:
    """A connection that breaks, a short body, a busy, silent or endlessly slow server: the next try is right."""
    reader = open_folder(timeout_seconds=_patience(fault))
    server.faults.extend([fault, fault])
    assert read(reader) == CONTENT


@pytest.mark.parametrize("fault", ["reset", "short", "503", "silent", "trickle"])
def test_tries_end(server: FolderServer, open_folder: Open, fault: str) -> None:
    """A server that stays broken is given up after a bounded number of requests."""
    reader = open_folder(timeout_seconds=_patience(fault))
    asked = len(server.requests)
    server.faults.extend([fault] * 20)
    with pytest.raises(SourceUnavailable) as refused:
        read(reader)
    assert refused.value.code == "folder-lost"
    assert len(server.requests) - asked == TRIES
    server.faults.clear()


@pytest.mark.parametrize(
    ("fault", "kind", "code"),
    [
        ("ignore-range", SourceInvalid, "range-ignored"),
        ("shifted", SourceInvalid, "range-wrong"),
        ("no-content-range", SourceInvalid, "range-wrong"),
        ("encoded", SourceInvalid, "range-encoded"),
        ("length", SourceInvalid, "range-length"),
        ("grown", SourceConflict, "folder-file-changed"),
        ("302", SourceInvalid, "folder-status"),
        ("403", SourceDenied, "folder-denied"),
        ("404", SourceNotFound, "folder-missing"),
    ],
)
def test_another_answer_is_refused(
    server: FolderServer, open_folder: Open, fault: str, kind: type[AdapterError], code: str
) -> None:
    """What is not exactly the range is an error at once, and the reader works on with the next answer."""
    reader = open_folder()
    server.faults.append(fault)
    with pytest.raises(kind) as refused:
        read(reader, 1000, 1000)
    assert refused.value.code == code
    assert read(reader, 1000, 1000) == CONTENT[1000:2000]


def test_an_answer_that_nobody_reads_to_its_end_keeps_no_connection(server: FolderServer, open_folder: Open) -> None:
    """A refusal that the server ends by hanging up leaves no open socket to the garbage collector."""
    reader = open_folder()
    server.faults.append("closing-403")
    with pytest.raises(SourceDenied) as refused:
        read(reader)
    assert refused.value.code == "folder-denied"
    sockets = [found for found in gc.get_objects() if isinstance(found, ssl.SSLSocket) and not found.server_side]
    assert not [found for found in sockets if found.fileno() != -1 and found.getpeername()[1] == server.port]


@pytest.mark.parametrize("fault", ["chunked", "no-length"])
def test_other_framings_are_understood(server: FolderServer, open_folder: Open, fault: str) -> None:
    """A range in chunks, or ended by hanging up, is read right."""
    reader = open_folder()
    server.faults.append(fault)
    assert read(reader) == CONTENT
    assert read(reader) == CONTENT


@pytest.mark.parametrize("missing", [1, 512, 100_000, 400_000])
def test_a_file_smaller_than_its_disk_is_refused(open_folder: Open, missing: int) -> None:
    """A disk whose end is not in the file is refused when it is opened."""
    with pytest.raises(SourceCorrupt) as refused:
        open_folder(len(CONTENT) + missing)
    assert refused.value.code == "disk-too-small"


def test_a_new_session_is_used(server: FolderServer, open_folder: Open) -> None:
    """After the session was replaced the cookie is read anew and the read goes on."""
    reader = open_folder()
    server.cookie = "another-session"
    assert read(reader) == CONTENT


def test_an_answer_of_401_is_asked_again_once(server: FolderServer, open_folder: Open) -> None:
    """One 401 is met by reading the cookie again; two mean that the session is over, and the cookie is not told."""
    reader = open_folder()
    server.faults.append("401")
    assert read(reader) == CONTENT
    server.faults.extend(["401", "401"])
    with pytest.raises(SourceDenied) as refused:
        read(reader)
    assert refused.value.code == "session-ended"
    assert server.cookie not in f"{refused.value!r}{refused.value}{refused.value.hint}"


def test_another_certificate_is_refused(server: FolderServer, open_folder: Open) -> None:
    """A server whose certificate the settings do not trust gets no request, and is not tried again."""
    with pytest.raises(SourceDenied) as refused:
        open_folder(trust=ssl.create_default_context())
    assert refused.value.code == "certificate-untrusted"
    assert server.accepted == 1
    assert not server.requests


def test_a_changed_certificate_is_refused(server: FolderServer, open_folder: Open) -> None:
    """A certificate that is not the pinned one gets no request; the pinned one is read from."""
    certificate = server.authority.folder / "server-cert.pem"
    pins = {"right": fingerprint(certificate), "wrong": "00" * 32}
    settings = {
        name: VmwareSettings("localhost", "backup", Secret(lambda: ""), fingerprint=pin) for name, pin in pins.items()
    }
    assert read(open_folder(trust=trust_context(settings["right"])), 0, 10) == CONTENT[:10]
    asked = len(server.requests)
    with pytest.raises(SourceDenied) as refused:
        open_folder(trust=trust_context(settings["wrong"]))
    assert refused.value.code == "certificate-changed"
    assert len(server.requests) == asked


def test_reads_outside_and_after_the_end_are_refused(open_folder: Open, server: FolderServer) -> None:
    """A range outside the disk is refused without a request, as is every read of a closed reader."""
    reader = open_folder()
    asked = len(server.requests)
    for offset, length in [(-1, 1), (len(CONTENT), 1), (0, len(CONTENT) + 1)]:
        with pytest.raises(SourceInvalid, match="outside the disk"):
            read(reader, offset, length)
    reader.close()
    reader.close()
    with pytest.raises(SourceUnavailable, match="was closed"):
        read(reader, 0, 1)
    assert len(server.requests) == asked


def test_a_place_is_free_once_the_server_let_go(
    server: FolderServer, places: HostConnections, open_folder: Open
) -> None:
    """Where a waiting connection is closed to make room, the server never counts more than are allowed."""
    places.limit(1)
    readers = [open_folder() for _ in range(2)]  # each has a trust of its own
    for turn in range(20):
        assert read(readers[turn % 2], turn, 1) == CONTENT[turn : turn + 1]
    assert server.accepted > 10
    assert server.most == 1


def test_a_closed_reader_leaves_no_connection(server: FolderServer, open_folder: Open, places: HostConnections) -> None:
    """Closing gives every place back."""
    reader = open_folder()
    read(reader)
    assert places.open == 1
    reader.close()
    assert places.open == 0


@pytest.mark.parametrize(
    ("names", "target"),
    [
        (("ds1", "vm/vm-flat.vmdk", "DC0"), "/folder/vm/vm-flat.vmdk?dcPath=DC0&dsName=ds1"),
        (("ds1", "vm/vm-flat.vmdk", ""), "/folder/vm/vm-flat.vmdk?dsName=ds1"),
        (
            ("a b&c", "50% off?#/ü.vmdk", "x/y%2fz"),
            "/folder/50%25%20off%3F%23/%C3%BC.vmdk?dcPath=x%2Fy%252fz&dsName=a%20b%26c",
        ),
    ],
)
def test_names_are_quoted(names: tuple[str, str, str], target: str) -> None:
    """Whatever people call their datastores, folders and disks, the server is asked for exactly that name."""
    datastore, path, datacenter = names
    assert folder_target(datastore, path, datacenter) == target
