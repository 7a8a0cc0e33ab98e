"""However a reply is cut, ordered and interleaved, the client assembles the right bytes or raises."""

from __future__ import annotations

import socket
import struct
from concurrent.futures import ThreadPoolExecutor
from threading import Thread

from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.errors import AdapterError
from adapters.nbd.connection import Connection, deadline_in
from adapters.nbd.handshake import Export
from adapters.nbd.protocol import FLAG_HAS_FLAGS
from adapters.nbd.replies import PendingRead
from adapters.nbd.wire import PlainWire
from tests.support.hostile_nbd import DATA, DONE, HOLE, NONE

SIZE_BYTES = 1 << 16
CONTENT = bytes((at * 7 + at // 256) % 255 + 1 for at in range(SIZE_BYTES // 2)) + bytes(SIZE_BYTES // 2)


def chunk(handle: int, kind: int, payload: bytes, flags: int = 0) -> bytes:
    """Frame one chunk."""
    return struct.pack(">IHHQI", 0x668E33EF, flags, kind, handle, len(payload)) + payload


@st.composite
def reads(draw: st.DrawFn) -> list[tuple[int, list[int]]]:
    """Draw requests as (offset, cut points relative to it); the last cut is the length."""
    drawn = []
    for _ in range(draw(st.integers(1, 5))):
        offset = draw(st.integers(0, SIZE_BYTES - 1))
        cuts = draw(st.sets(st.integers(1, min(4096, SIZE_BYTES - offset)), min_size=1, max_size=8))
        drawn.append((offset, sorted(cuts)))
    return drawn


@st.composite
def conversations(draw: st.DrawFn) -> tuple[list[tuple[int, list[int]]], bytes]:
    """Draw requests, and the bytes of truthful replies to them in some order."""
    asked = draw(reads())
    waiting: list[list[bytes]] = []
    for handle, (offset, cuts) in enumerate(asked, start=1):
        chunks = []
        for start, end in zip([0, *cuts], cuts, strict=False):
            at, data = offset + start, CONTENT[offset + start : offset + end]
            if any(data) or draw(st.booleans()):
                chunks.append(chunk(handle, DATA, struct.pack(">Q", at) + data))
            else:
                chunks.append(chunk(handle, HOLE, struct.pack(">QI", at, len(data))))
        chunks = draw(st.permutations(chunks))
        if draw(st.booleans()):
            chunks.append(chunk(handle, NONE, b"", DONE))
        else:
            chunks[-1] = chunks[-1][:5] + bytes([DONE]) + chunks[-1][6:]
        waiting.append(list(chunks))
    stream = b""
    while waiting:
        at = draw(st.integers(0, len(waiting) - 1))
        stream += waiting[at].pop(0)
        waiting = [chunks for chunks in waiting if chunks]
    return asked, stream


def converse(asked: list[tuple[int, list[int]]], stream: bytes, threads: int) -> list[bytes | AdapterError]:
    """Send the requests over a socket pair whose other end plays `stream` and hangs up; return each outcome."""
    ours, theirs = socket.socketpair()
    connection = Connection(PlainWire(ours), Export(SIZE_BYTES, FLAG_HAS_FLAGS, structured=True))
    requests = [
        PendingRead(offset, memoryview(bytearray(b"\xaa" * cuts[-1])), deadline_in(10)) for offset, cuts in asked
    ]
    for request in requests:
        connection.submit(request)

    def play() -> None:
        theirs.sendall(stream)
        theirs.shutdown(socket.SHUT_WR)

    player = Thread(target=play)
    player.start()

    def outcome(request: PendingRead) -> bytes | AdapterError:
        try:
            connection.wait(request)
        except AdapterError as error:
            return error
        return bytes(request.buffer)

    try:
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(outcome, requests))
    finally:
        connection.close(deadline_in(1))
        player.join()
        theirs.close()


@given(conversations(), st.integers(1, 3))
@settings(max_examples=150, deadline=None)
def test_any_truthful_order_gives_the_bytes(
    conversation: tuple[list[tuple[int, list[int]]], bytes], threads: int
) -> None:
    """Chunks in any order, cut anywhere, interleaved with other replies, land where they belong."""
    asked, stream = conversation
    for (offset, cuts), outcome in zip(asked, converse(asked, stream, threads), strict=True):
        assert outcome == CONTENT[offset : offset + cuts[-1]]


@given(conversations(), st.data())
@settings(max_examples=150, deadline=None)
def test_a_damaged_header_never_gives_wrong_bytes(
    conversation: tuple[list[tuple[int, list[int]]], bytes], data: st.DataObject
) -> None:
    """With one byte of a chunk's header changed, each read raises or returns the right bytes."""
    asked, stream = conversation
    heads, at = [], 0
    while at < len(stream):
        heads += range(at, at + 20)
        at += 20 + struct.unpack_from(">I", stream, at + 16)[0]
    position = data.draw(st.sampled_from(heads))
    damaged = bytearray(stream)
    damaged[position] ^= data.draw(st.integers(1, 255))
    for (offset, cuts), outcome in zip(asked, converse(asked, bytes(damaged), 1), strict=True):
        assert isinstance(outcome, AdapterError) or outcome == CONTENT[offset : offset + cuts[-1]]


@given(conversations(), st.data())
@settings(max_examples=60, deadline=None)
def test_a_cut_stream_never_gives_wrong_bytes(
    conversation: tuple[list[tuple[int, list[int]]], bytes], data: st.DataObject
) -> None:
    """A stream that ends early fails the reads that are not answered whole."""
    asked, stream = conversation
    cut = data.draw(st.integers(0, len(stream) - 1))
    outcomes = converse(asked, stream[:cut], 1)
    for (offset, cuts), outcome in zip(asked, outcomes, strict=True):
        assert isinstance(outcome, AdapterError) or outcome == CONTENT[offset : offset + cuts[-1]]
    assert any(isinstance(outcome, AdapterError) for outcome in outcomes)
