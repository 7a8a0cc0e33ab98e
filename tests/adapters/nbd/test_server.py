"""The server's own promises: limits, patience, sockets and a graceful end."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest

from adapters.errors import AdapterError, SourceConflict, SourceInvalid, SourceUnavailable
from adapters.nbd import Limits, NbdClient, NbdServer, TcpAddress, UnixAddress
from adapters.nbd.client import exports
from tests.support.eventually import at_last, eventually
from tests.support.hostile_nbd import Peer, read
from tests.support.memory_disk import MemoryDisk

CONTENT = bytes(range(256)) * 4096
GO_D = struct.pack(">I1sH", 1, b"d", 0)


@contextmanager
def raw(server: NbdServer) -> Iterator[Peer]:
    """Connect and exchange greetings, then leave the rest to the test."""
    assert isinstance(server.address, UnixAddress)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(30)
        sock.connect(str(server.address.path))
        peer = Peer(sock)
        assert peer.exactly(18)[:16] == b"NBDMAGICIHAVEOPT"
        sock.sendall(struct.pack(">I", 3))
        yield peer


def option(peer: Peer, number: int, data: bytes = b"") -> list[int]:
    """Send an option and return the types of its replies, the last being an ACK or an error."""
    peer.sock.sendall(struct.pack(">QII", 0x49484156454F5054, number, len(data)) + data)
    kinds = []
    while not kinds or (kinds[-1] != 1 and not kinds[-1] >> 31):
        _, _, kind, length = struct.unpack(">QIII", peer.exactly(20))
        peer.exactly(length)
        kinds.append(kind)
    return kinds


def request(
    peer: Peer, command: int, offset: int = 0, length: int = 0, flags: int = 0, magic: int = 0x25609513
) -> None:
    """Send a request with handle 1."""
    peer.sock.sendall(struct.pack(">IHHQQI", magic, flags, command, 1, offset, length))


def hung_up(peer: Peer) -> bool:
    """Read on until the server closes."""
    with contextlib.suppress(ConnectionError):
        while peer.sock.recv(65536):
            pass
    return True


@pytest.fixture
def server(folder: Path) -> Iterator[NbdServer]:
    """A server of one MiB as export `d`."""
    with NbdServer(MemoryDisk(CONTENT), UnixAddress(folder / "s"), export="d") as server:
        yield server


def test_options_that_do_not_parse_are_refused(server: NbdServer) -> None:
    """Unknown, malformed and untimely options get their error reply, and the haggling goes on."""
    unsup, invalid, unknown = (1 << 31) + 1, (1 << 31) + 3, (1 << 31) + 6
    meta = struct.pack(">I1sI", 1, b"d", 1)
    with raw(server) as peer:
        assert option(peer, 99, b"junk") == [unsup]
        assert option(peer, 5) == [unsup]
        assert option(peer, 3, b"x") == [invalid]
        assert option(peer, 8, b"x") == [invalid]
        assert option(peer, 10, meta + struct.pack(">I15s", 15, b"base:allocation")) == [invalid]
        assert option(peer, 8) == [1]
        for data in (b"", b"\0\0\0\xff", meta, meta + struct.pack(">I", 9), meta + b"\0\0\0\0" * 2):
            assert option(peer, 10, data) == [invalid]
        for data in (b"", b"\xff\xff\xff\xff", GO_D + b"\0", GO_D[:-1]):
            assert option(peer, 6, data) == [invalid]
            assert option(peer, 7, data) == [invalid]
        assert option(peer, 7, struct.pack(">I4sH", 4, b"none", 0)) == [unknown]
        assert option(peer, 10, struct.pack(">I4sI", 4, b"none", 0)) == [unknown]
        assert option(peer, 10, meta + struct.pack(">I6s", 6, b"qemu:x")) == [1]
        assert option(peer, 9, meta[:5] + b"\0\0\0\0") == [4, 1]
        assert option(peer, 3) == [2, 1]
        assert option(peer, 6, GO_D) == [3, 3, 1]
        assert option(peer, 2) == [1]
        assert hung_up(peer)


def test_a_context_counts_for_its_export_only(server: NbdServer) -> None:
    """Block status is refused when the context was selected under another name than the one entered."""
    with raw(server) as peer:
        assert option(peer, 8) == [1]
        default_export = struct.pack(">III15s", 0, 1, 15, b"base:allocation")
        assert option(peer, 10, default_export) == [4, 1]
        assert option(peer, 7, GO_D) == [3, 3, 1]
        request(peer, 7, 0, 4096)
        _, flags, kind, _, length = struct.unpack(">IHHQI", peer.exactly(20))
        assert (flags, kind, struct.unpack_from(">I", peer.exactly(length))) == (1, 32769, (22,))


@pytest.mark.parametrize(
    "junk",
    [
        struct.pack(">QII", 1, 7, 0),
        struct.pack(">QII", 0x49484156454F5054, 7, 1 << 20),
        struct.pack(">QII", 0x49484156454F5054, 1, 4) + b"none",
        struct.pack(">QII", 0x49484156454F5054, 99, 0) * 300,
    ],
    ids=["magic", "too long", "unknown export by its old option", "endless"],
)
def test_a_client_that_haggles_nonsense_is_cut_off(server: NbdServer, junk: bytes) -> None:
    """A client that is out of step, sends too much or does not end is hung up on."""
    with raw(server) as peer:
        with contextlib.suppress(ConnectionError):
            peer.sock.sendall(junk)
        assert hung_up(peer)


def test_unknown_client_flags_are_cut_off(folder: Path, server: NbdServer) -> None:
    """A client that sets flags nobody offered is hung up on."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(folder / "s"))
        sock.sendall(struct.pack(">I", 0xFF))
        assert hung_up(Peer(sock))


def test_haggling_is_bounded_in_time(folder: Path) -> None:
    """A client that says nothing is hung up on; one that is in transmission may be idle."""
    with NbdServer(MemoryDisk(CONTENT), UnixAddress(folder / "s"), limits=Limits(haggling_seconds=0.2)) as server:
        client = at_last(lambda: NbdClient(str(server.address)), AdapterError, "a client in time")
        with raw(server) as silent:
            assert hung_up(silent)
        assert read(client, 5, 5) == CONTENT[5:10]
        client.close()


@pytest.mark.parametrize("nonsense", [{"magic": 1}, {"command": 1, "length": (32 << 20) + 1}])
def test_a_client_out_of_step_is_cut_off(server: NbdServer, nonsense: dict[str, int]) -> None:
    """A wrong request magic, or a write longer than allowed, ends the session."""
    with raw(server) as peer:
        option(peer, 7, GO_D)
        request(peer, **{"command": 0, **nonsense})
        assert hung_up(peer)


def test_an_old_client_is_served(server: NbdServer) -> None:
    """EXPORT_NAME enters transmission with simple replies, and writes are consumed and refused."""
    with raw(server) as peer:
        peer.sock.sendall(struct.pack(">QII", 0x49484156454F5054, 1, 1) + b"d")
        size, flags = struct.unpack(">QH", peer.exactly(10))
        assert (size, flags & 3) == (len(CONTENT), 3)
        request(peer, 1, 0, 70_000)
        peer.sock.sendall(bytes(70_000))
        assert struct.unpack(">IIQ", peer.exactly(16)) == (0x67446698, 1, 1)
        request(peer, 0, 10, 20)
        assert struct.unpack(">IIQ", peer.exactly(16)) == (0x67446698, 0, 1)
        assert peer.exactly(20) == CONTENT[10:30]
        request(peer, 0, 10, (32 << 20) + 1)
        assert struct.unpack(">IIQ", peer.exactly(16)) == (0x67446698, 75, 1)
        request(peer, 2)
        assert hung_up(peer)


def test_connections_are_limited(folder: Path) -> None:
    """One connection too many is closed at once; when another leaves there is room again."""
    with NbdServer(MemoryDisk(CONTENT), UnixAddress(folder / "s"), limits=Limits(connections=2)) as server:
        address = str(server.address)
        first, second = NbdClient(address), NbdClient(address)
        with pytest.raises(SourceUnavailable):
            NbdClient(address, timeout_seconds=60)
        second.close()

        def third() -> NbdClient | None:
            try:
                return NbdClient(address, timeout_seconds=60)
            except SourceUnavailable:
                return None

        client = eventually(third, "a connection is free")
        assert read(client, 0, 10) == read(first, 0, 10) == CONTENT[:10]
        client.close()
        first.close()


def test_requests_of_one_connection_overlap(folder: Path) -> None:
    """While one read waits for its disk another on the same connection is answered."""

    class Gated(MemoryDisk):
        def pread(self, offset: int, length: int) -> memoryview:
            if not offset:
                entered.set()
                assert gate.wait(30)
            return super().pread(offset, length)

    entered, gate = Event(), Event()
    with NbdServer(Gated(CONTENT), UnixAddress(folder / "s")) as server:
        client = NbdClient(str(server.address))
        answers: list[bytes] = []
        thread = Thread(target=lambda: answers.append(read(client, 0, 10)))
        thread.start()
        assert entered.wait(30)
        assert read(client, 100, 10) == CONTENT[100:110]
        assert not answers
        gate.set()
        thread.join(30)
        assert answers == [CONTENT[:10]]
        client.close()


def test_stop_answers_what_is_under_way(folder: Path) -> None:
    """A read that has begun is answered, nobody new gets in, and the bytes served are counted."""
    disk = MemoryDisk(CONTENT)
    disk.gate = Event()
    server = NbdServer(disk, UnixAddress(folder / "s"))
    server.start()
    client = NbdClient(str(server.address))
    answers: list[bytes] = []
    reader = Thread(target=lambda: answers.append(read(client, 0, 1000)))
    reader.start()
    assert disk.entered.wait(30)
    served: list[int] = []
    stopper = Thread(target=lambda: served.append(server.stop(30)))
    stopper.start()
    eventually(lambda: not (folder / "s").exists(), "the socket is gone")
    disk.gate.set()
    for thread in (reader, stopper):
        thread.join(30)
    assert answers == [CONTENT[:1000]]
    assert served == [1000]
    with pytest.raises(AdapterError):
        read(client, 0, 1)
    with pytest.raises(AdapterError):
        NbdClient(f"unix:{folder / 's'}", timeout_seconds=60)
    client.close()
    assert server.stop() == 1000


def test_the_socket_is_private(folder: Path) -> None:
    """The socket is 0600 in a folder made 0700, whatever the umask is."""
    place = UnixAddress(folder / "run" / "s")
    before = os.umask(0)
    try:
        with NbdServer(MemoryDisk(CONTENT), place):
            assert stat.S_IMODE(place.path.stat().st_mode) == 0o600
            assert stat.S_IMODE(place.path.parent.stat().st_mode) == 0o700
    finally:
        os.umask(before)
    assert not place.path.exists()


def test_a_stale_socket_is_replaced_and_nothing_else(folder: Path, server: NbdServer) -> None:
    """A dead server's socket is taken over; a living one, a file and a taken port raise."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(folder / "dead"))
    with NbdServer(MemoryDisk(CONTENT), UnixAddress(folder / "dead")) as over:
        assert exports(str(over.address)) == [""]
    (folder / "file").write_text("precious")
    for taken in (folder / "s", folder / "file"):
        with pytest.raises(SourceConflict):
            NbdServer(MemoryDisk(CONTENT), UnixAddress(taken)).start()
    assert (folder / "file").read_text() == "precious"
    assert exports(str(server.address)) == ["d"]
    with NbdServer(MemoryDisk(CONTENT), TcpAddress("127.0.0.1", 0)) as tcp, pytest.raises(SourceUnavailable):
        NbdServer(MemoryDisk(CONTENT), tcp.address).start()
    with pytest.raises(SourceInvalid):
        NbdServer(MemoryDisk(CONTENT), UnixAddress(folder / ("x" * 120))).start()


def test_extents_that_contradict_themselves(folder: Path) -> None:
    """A disk whose extents have gaps is cut at the gap; one that has none at all, or raises, gives an error."""

    class Broken(MemoryDisk):
        def extents(self, start: int, length: int) -> Iterator[tuple[int, int, bool]]:
            if start:
                raise ValueError("a fault on request")
            yield 0, 4096, False
            yield 8192, length, True

    with NbdServer(Broken(CONTENT), UnixAddress(folder / "s")) as server:
        client = NbdClient(str(server.address))
        with pytest.raises(SourceUnavailable) as caught:
            list(client.block_status("base:allocation"))
        assert caught.value.code == "nbd-read-error"
        assert [s.length for s in client.block_status("base:allocation", 0, 4096)] == [4096]
        client.close()
