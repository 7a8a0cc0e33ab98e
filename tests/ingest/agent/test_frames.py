"""Frames arrive as they were sent, where they were asked for, or not at all."""

from __future__ import annotations

import struct
from random import Random
from uuid import UUID

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from ingest.agent.frames import HEAD_BYTES, MAX_BODY_BYTES, decode_frame, encode_frame
from ingest.agent.protocol import FRAME_BYTES
from storage.errors import Invalid

KEY, RUN = bytes(range(32)), UUID(int=7)


@given(st.binary(max_size=5000), st.integers(0, 1 << 60))
def test_a_frame_gives_its_bytes_back(plain: bytes, number: int) -> None:
    """What is decoded under the same run, number and length is what was encoded."""
    assert decode_frame(KEY, RUN, number, encode_frame(KEY, RUN, number, memoryview(plain)), len(plain)) == plain


def test_no_frame_is_larger_than_is_accepted() -> None:
    """Even what does not compress fits into a body."""
    noise = Random(1).randbytes(FRAME_BYTES)
    assert len(encode_frame(KEY, RUN, 1, memoryview(noise))) <= MAX_BODY_BYTES


@pytest.mark.parametrize("plain", [Random(2).randbytes(4096), bytes(4096)], ids=["raw", "compressed"])
def test_any_flipped_bit_is_found(plain: bytes) -> None:
    """A frame with one bit flipped anywhere is refused."""
    frame = encode_frame(KEY, RUN, 3, memoryview(plain))
    for at in range(len(frame)):
        broken = bytearray(frame)
        broken[at] ^= 1 << at % 8
        if 5 <= at < 8:
            continue  # zeros without a meaning
        with pytest.raises(Invalid, match="did not arrive") as refused:
            decode_frame(KEY, RUN, 3, bytes(broken), len(plain))
        assert refused.value.code == "frame-damaged"


def test_a_frame_cut_off_anywhere_is_refused() -> None:
    """What a lost connection leaves of a frame is no frame."""
    frame = encode_frame(KEY, RUN, 3, memoryview(b"some bytes" * 100))
    for length in range(len(frame)):
        with pytest.raises(Invalid):
            decode_frame(KEY, RUN, 3, frame[:length], 1000)


@pytest.mark.parametrize(
    ("key", "run", "number", "length"),
    [(bytes(32), RUN, 3, 10), (KEY, UUID(int=8), 3, 10), (KEY, RUN, 4, 10), (KEY, RUN, 3, 11)],
)
def test_a_frame_fits_one_question_only(key: bytes, run: UUID, number: int, length: int) -> None:
    """Another machine's key, another run, another number or another length: replays are refused."""
    frame = encode_frame(KEY, RUN, 3, memoryview(b"0123456789"))
    with pytest.raises(Invalid):
        decode_frame(key, run, number, frame, length)


def test_a_bomb_is_not_unpacked() -> None:
    """A payload that states, or hides, a larger size than was asked for is refused before it is unpacked."""
    head = encode_frame(KEY, RUN, 3, memoryview(bytes(1000)))[:HEAD_BYTES]
    for stated in (True, False):
        compressor = zstandard.ZstdCompressor(write_content_size=stated)
        bomb = compressor.compress(bytes(100 << 20))
        with pytest.raises(Invalid):
            decode_frame(KEY, RUN, 3, head + bomb, 1000)


def test_the_layout_is_as_documented() -> None:
    """Magic, method, plain length and digest stand where the module says."""
    frame = encode_frame(KEY, RUN, 3, memoryview(b"ab"))
    assert struct.unpack_from("<4sB3xI", frame) == (b"HFA1", 0, 2)
    assert frame[HEAD_BYTES:] == b"ab"
