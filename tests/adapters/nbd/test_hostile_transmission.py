"""The client against a server that lies: an AdapterError each time, never wrong data, never a hang."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread

import pytest

from adapters.errors import AdapterError, SourceInvalid, SourceLimit, SourceUnavailable
from adapters.nbd import NbdClient, NbdReader
from tests.support import hostile_nbd as h
from tests.support.eventually import eventually
from tests.support.hostile_nbd import DONE, HostileNbd, Peer, answering, read

CONTEXT = 7


READ_LIES: dict[str, Callable[[Peer, h.Request], object]] = {
    "data before the request": lambda p, r: p.data(r.handle, r.offset - 1, bytes(r.length), DONE),
    "data past the request": lambda p, r: p.data(r.handle, r.offset + 1, bytes(r.length), DONE),
    "data longer than the request": lambda p, r: p.data(r.handle, r.offset, bytes(r.length + 1), DONE),
    "data shorter than the request": lambda p, r: p.data(r.handle, r.offset, bytes(r.length - 1), DONE),
    "no data": lambda p, r: p.chunk(r.handle, h.NONE, flags=DONE),
    "empty data": lambda p, r: p.data(r.handle, r.offset, b"", DONE),
    "a chunk of 4 GiB": lambda p, r: p.chunk(r.handle, h.DATA, struct.pack(">Q", r.offset), length=0xFFFFFFFF),
    "a hole of no length": lambda p, r: p.hole(r.handle, r.offset, 0, DONE),
    "a hole past the request": lambda p, r: p.hole(r.handle, r.offset, r.length + 1, DONE),
    "a hole of 4 GiB": lambda p, r: p.hole(r.handle, r.offset, 0xFFFFFFFF, DONE),
    "a malformed hole": lambda p, r: p.chunk(r.handle, h.HOLE, bytes(11), DONE),
    "the same data twice": lambda p, r: [
        p.data(r.handle, r.offset, bytes(r.length)),
        p.data(r.handle, r.offset, bytes(r.length), DONE),
    ],
    "a hole over data": lambda p, r: [
        p.data(r.handle, r.offset, b"\1" * r.length),
        p.hole(r.handle, r.offset + 5, 1, DONE),
    ],
    "the same data twice and no end": lambda p, r: [
        p.data(r.handle, r.offset + 5, bytes(r.length - 5)),
        p.data(r.handle, r.offset + 4, bytes(r.length - 5)),
        p.until_closed(),
    ],
    "data reaching into data and no end": lambda p, r: [
        p.data(r.handle, r.offset, bytes(9)),
        p.data(r.handle, r.offset + 8, bytes(9)),
        p.until_closed(),
    ],
    "an empty hole beside the data": lambda p, r: [
        p.data(r.handle, r.offset, bytes(r.length)),
        p.hole(r.handle, r.offset, 0, DONE),
    ],
    "a gap between chunks": lambda p, r: [
        p.data(r.handle, r.offset, bytes(10)),
        p.data(r.handle, r.offset + 11, bytes(r.length - 11), DONE),
    ],
    "an unknown handle": lambda p, r: p.data(r.handle + 99, r.offset, bytes(r.length), DONE),
    "a block status": lambda p, r: p.status(r.handle, CONTEXT, [(r.length, 0)]),
    "an unknown chunk": lambda p, r: p.chunk(r.handle, 77, bytes(16), DONE),
    "a none chunk with data": lambda p, r: p.chunk(r.handle, h.NONE, b"x", DONE),
    "a simple reply": lambda p, r: p.simple(r.handle, bytes(r.length)),
    "a wrong magic": lambda p, r: p.sock.sendall(struct.pack(">IIQ", 0xDEADBEEF, 0, r.handle)),
    "an error without room": lambda p, r: p.chunk(r.handle, h.ERROR, b"\0\0\0\5", DONE),
    "an error of 4 GiB": lambda p, r: p.chunk(r.handle, h.ERROR, b"", DONE, length=0xFFFFFFFF),
    "an error message past its chunk": lambda p, r: p.chunk(r.handle, h.ERROR, struct.pack(">IH", 5, 9) + b"x", DONE),
}


@pytest.mark.parametrize("lie", READ_LIES)
def test_a_lie_about_a_read_ends_the_connection(folder: Path, lie: str) -> None:
    """A reply that breaks a rule raises SourceInvalid, and nothing is read over that connection again."""
    server = HostileNbd(answering(READ_LIES[lie]))
    with server.listening(folder) as address:
        client = NbdClient(address, timeout_seconds=60)
        with pytest.raises(SourceInvalid) as caught:
            read(client, 4096, 4096)
        assert caught.value.code == "nbd-protocol"
        with pytest.raises(SourceInvalid):
            read(client, 0, 512)
        client.close()


def test_a_duplicate_reply_is_refused(folder: Path) -> None:
    """A second reply to a request that was answered already ends the connection."""

    def script(peer: Peer) -> None:
        first = peer.request()
        for _ in range(2):
            peer.data(first.handle, first.offset, b"\1" * first.length, DONE)
        peer.request()
        peer.until_closed()

    with HostileNbd(script).listening(folder) as address:
        client = NbdClient(address, timeout_seconds=60)
        assert read(client, 0, 512) == b"\1" * 512
        with pytest.raises(SourceInvalid, match="no request in flight"):
            read(client, 0, 512)
        client.close()


@pytest.mark.parametrize("sent", [0, 3, 20, 28, 400])
def test_a_connection_cut_in_mid_reply_is_lost(folder: Path, sent: int) -> None:
    """A server that closes before the last byte raises SourceUnavailable."""

    def script(peer: Peer) -> None:
        request = peer.request()
        reply = struct.pack(">IHHQIQ", 0x668E33EF, DONE, h.DATA, request.handle, 8 + 512, request.offset) + bytes(512)
        peer.sock.sendall(reply[:sent])

    with HostileNbd(script).listening(folder) as address:
        client = NbdClient(address, timeout_seconds=60)
        with pytest.raises(SourceUnavailable) as caught:
            read(client, 0, 512)
        assert caught.value.code == "nbd-lost"
        client.close()


@pytest.mark.parametrize("sent", [0, 10, 40])
def test_a_stall_is_bounded(folder: Path, sent: int) -> None:
    """A server that stops in the middle, its line open, raises nbd-stalled after the client's timeout."""

    def script(peer: Peer) -> None:
        request = peer.request()
        reply = struct.pack(">IHHQIQ", 0x668E33EF, DONE, h.DATA, request.handle, 8 + 512, request.offset) + bytes(512)
        peer.sock.sendall(reply[:sent])
        peer.until_closed()

    with HostileNbd(script).listening(folder) as address:
        client = NbdClient(address, timeout_seconds=0.3)
        with pytest.raises(SourceUnavailable) as caught:
            read(client, 0, 512)
        assert caught.value.code == "nbd-stalled"
        client.close()


def test_a_trickle_is_bounded(folder: Path) -> None:
    """A server that sends a byte now and then does not get more than the timeout for a whole reply."""

    def script(peer: Peer) -> None:
        request = peer.request()
        peer.sock.sendall(struct.pack(">IHHQIQ", 0x668E33EF, DONE, h.DATA, request.handle, 8 + 512, request.offset))
        peer.sock.settimeout(0.02)
        while True:
            peer.sock.sendall(b"\0")
            try:
                if not peer.sock.recv(100):
                    return
            except TimeoutError:
                continue

    with HostileNbd(script).listening(folder) as address:
        client = NbdClient(address, timeout_seconds=0.3)
        with pytest.raises(SourceUnavailable) as caught:
            read(client, 0, 512)
        assert caught.value.code == "nbd-stalled"
        client.close()


STATUS_LIES: dict[str, Callable[[Peer, h.Request], object]] = {
    "an extent of no length": lambda p, r: p.status(r.handle, CONTEXT, [(512, 0), (0, 1), (r.length - 512, 0)]),
    "extents past the end": lambda p, r: p.status(r.handle, CONTEXT, [(r.length + 1, 0)]),
    "extents past the request": lambda p, r: p.status(r.handle, CONTEXT, [(r.length, 0), (512, 0)]),
    "no extent": lambda p, r: p.status(r.handle, CONTEXT, []),
    "half an extent": lambda p, r: p.chunk(r.handle, h.STATUS, struct.pack(">IIH", CONTEXT, 512, 0), DONE),
    "a context that nobody asked": lambda p, r: p.status(r.handle, 99, [(r.length, 0)]),
    "a context twice": lambda p, r: [
        p.status(r.handle, CONTEXT, [(r.length, 0)], 0),
        p.status(r.handle, CONTEXT, [(r.length, 3)]),
    ],
    "no context": lambda p, r: p.chunk(r.handle, h.NONE, flags=DONE),
    "data": lambda p, r: p.data(r.handle, r.offset, bytes(512), DONE),
    "a simple reply": lambda p, r: p.simple(r.handle),
}


@pytest.mark.parametrize("lie", STATUS_LIES)
def test_a_lie_about_extents_ends_the_connection(folder: Path, lie: str) -> None:
    """A block status that breaks a rule raises SourceInvalid."""
    with HostileNbd(answering(STATUS_LIES[lie])).listening(folder) as address:
        client = NbdClient(address, timeout_seconds=60)
        with pytest.raises(SourceInvalid) as caught:
            list(client.block_status("base:allocation"))
        assert caught.value.code == "nbd-protocol"
        client.close()


def test_extents_behind_the_request_are_refused(folder: Path) -> None:
    """Only the last extent of an answer may reach past the request, though all are inside the disk."""
    with HostileNbd(answering(lambda p, r: p.status(r.handle, CONTEXT, [(4096, 0), (512, 1)]))).listening(folder) as at:
        client = NbdClient(at, timeout_seconds=60)
        with pytest.raises(SourceInvalid):
            list(client.block_status("base:allocation", 0, 4096))
        client.close()


def test_a_last_extent_may_reach_further(folder: Path) -> None:
    """What an answer says beyond the range asked is cut off."""
    with HostileNbd(answering(lambda p, r: p.status(r.handle, CONTEXT, [(512, 0), (8192, 1)]))).listening(folder) as at:
        client = NbdClient(at, timeout_seconds=60)
        statuses = [(s.start, s.length, s.flags) for s in client.block_status("base:allocation", 0, 4096)]
        assert statuses == [(0, 512, 0), (512, 3584, 1)]
        client.close()


@pytest.mark.parametrize("answered_first", [0, 1])
def test_the_lead_is_handed_on(folder: Path, answered_first: int) -> None:
    """A thread whose reply comes late gets it, though the thread that received for both has left."""
    sent, returned = Event(), Event()

    def script(peer: Peer) -> None:
        requests = sorted((peer.request() for _ in range(2)), key=lambda request: request.offset)
        first, second = requests[answered_first], requests[1 - answered_first]
        assert sent.wait(60)
        peer.data(first.handle, first.offset, b"\1" * 512, DONE)
        assert returned.wait(60)
        peer.data(second.handle, second.offset, b"\2" * 512, DONE)
        peer.until_closed()

    answers: list[bytes] = []

    def reading(offset: int) -> None:
        answers.append(read(client, offset, 512))
        returned.set()

    with HostileNbd(script).listening(folder) as address:
        client = NbdClient(address, timeout_seconds=60)
        threads = [Thread(target=reading, args=(offset,), daemon=True) for offset in (0, 512)]
        for count, thread in enumerate(threads, start=1):
            thread.start()
            eventually(lambda count=count: client.in_flight == count, "the request was sent")
        sent.set()
        for thread in threads:
            thread.join(60)
        assert answers == [b"\1" * 512, b"\2" * 512]
        client.close()


def test_a_status_of_too_many_extents_is_limited(folder: Path) -> None:
    """A chunk of more descriptors than the specification allows is refused before it is received."""
    count = (1 << 20) + 1
    server = HostileNbd(answering(lambda p, r: p.chunk(r.handle, h.STATUS, length=4 + 8 * count)), size_bytes=1 << 40)
    with server.listening(folder) as address:
        client = NbdClient(address, timeout_seconds=60)
        with pytest.raises(SourceLimit):
            list(client.block_status("base:allocation"))
        client.close()


def test_one_byte_extents_do_not_go_on_for_ever(folder: Path) -> None:
    """A server that reports a disk byte by byte is cut off."""
    flips = [(1, at % 2) for at in range(1000)]
    server = HostileNbd(answering(lambda p, r: p.status(r.handle, CONTEXT, flips)), size_bytes=1 << 40)
    with server.listening(folder) as address:
        client = NbdClient(address, timeout_seconds=60)
        with pytest.raises(SourceLimit) as caught:
            list(client.block_status("base:allocation"))
        assert caught.value.code == "nbd-status-length"
        client.close()


def test_short_status_answers_are_continued(folder: Path) -> None:
    """A server may answer less than was asked: the client asks on, and merges neighbours of equal flags."""
    server = HostileNbd(answering(lambda p, r: p.status(r.handle, CONTEXT, [(4096, 0 if r.offset < 65536 else 3)])))
    with server.listening(folder) as address:
        client = NbdClient(address, timeout_seconds=60)
        assert [(s.start, s.length, s.flags) for s in client.block_status("base:allocation")] == [
            (0, 65536, 0),
            (65536, (1 << 20) - 65536, 3),
        ]
        client.close()


def test_a_hole_that_may_hold_anything_is_read(folder: Path) -> None:
    """HOLE without ZERO has no defined content, so the reader calls it data."""
    server = HostileNbd(
        answering(lambda p, r: p.status(r.handle, CONTEXT, [(4096, 1), (4096, 2), (r.length - 8192, 3)]))
    )
    with server.listening(folder) as address:
        reader = NbdReader(NbdClient(address, timeout_seconds=60))
        assert [(e.start, e.length, e.zero) for e in reader.extents()] == [
            (0, 4096, False),
            (4096, (1 << 20) - 4096, True),
        ]
        reader.close()


ERRORS = {1: "nbd-denied", 5: "nbd-read-error", 12: "nbd-server-limit", 22: "nbd-request-refused", 108: "nbd-shutdown"}


@pytest.mark.parametrize("number", [*ERRORS, 4711])
@pytest.mark.parametrize("kind", [h.ERROR, h.ERROR_OFFSET, 32768 + 55])
def test_an_error_chunk_fails_its_request_only(folder: Path, number: int, kind: int) -> None:
    """An error chunk, of a known type or not, fails the request it belongs to; the connection lives on."""

    def answer(peer: Peer, request: h.Request) -> None:
        if request.offset:
            peer.data(request.handle, request.offset, b"\7" * request.length, DONE)
            return
        offset = struct.pack(">Q", request.offset) if kind != h.ERROR else b""
        peer.data(request.handle, request.offset, b"\6" * 100)
        peer.chunk(request.handle, kind, struct.pack(">IH", number, 4) + b"no\0!" + offset)
        peer.chunk(request.handle, h.NONE, flags=DONE)

    with HostileNbd(answering(answer)).listening(folder) as address:
        client = NbdClient(address, timeout_seconds=60)
        with pytest.raises(AdapterError, match="no !") as caught:
            read(client, 0, 512)
        assert caught.value.code == ERRORS.get(number, "nbd-read-error")
        assert read(client, 512, 512) == b"\7" * 512
        client.close()


def test_a_simple_error_reply_fails_its_request_only(folder: Path) -> None:
    """Without structured replies an error carries no data, and the next reply is in step."""

    def answer(peer: Peer, request: h.Request) -> None:
        if request.offset:
            peer.simple(request.handle, b"\7" * request.length)
        else:
            peer.simple(request.handle, error=5)

    with HostileNbd(answering(answer), structured=False).listening(folder) as address:
        client = NbdClient(address, timeout_seconds=60)
        assert client.contexts == frozenset()
        with pytest.raises(SourceUnavailable):
            read(client, 0, 512)
        assert read(client, 512, 512) == b"\7" * 512
        reader = NbdReader(client)
        assert [(e.start, e.length, e.zero) for e in reader.extents()] == [(0, 1 << 20, False)]
        client.close()


def test_a_structured_reply_that_was_not_agreed_is_refused(folder: Path) -> None:
    """A server may not use what it declined."""
    server = HostileNbd(answering(lambda p, r: p.data(r.handle, r.offset, bytes(r.length), DONE)), structured=False)
    with server.listening(folder) as address:
        client = NbdClient(address, timeout_seconds=60)
        with pytest.raises(SourceInvalid):
            read(client, 0, 512)
        client.close()
